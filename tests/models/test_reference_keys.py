"""What a script or a file of ultralytics 8.2.103 sets is taken in every mode, as keywords and as cfg=."""

import numpy as np
import pytest
import yaml

from tests.helpers.reference import REFERENCE_DEFAULTS
from ultralytics import YOLO
from ultralytics.cli import main


@pytest.mark.slow
def test_all_keys_of_the_reference_in_every_mode(tiny, toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = {"data": str(toy), "epochs": 1, "imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False}
    keys = {k: v for k, v in {**REFERENCE_DEFAULTS, **own}.items() if k not in ("model", "mode", "cfg", "source")}
    model = YOLO(tiny)
    assert model.train(**keys).fitness >= 0
    assert model.val(**keys).fitness >= 0
    assert len(model.predict(np.zeros((64, 64, 3), np.uint8), **keys)) == 1
    # As the reference writes args.yaml of a run.
    written = {**REFERENCE_DEFAULTS, **own, "model": str(tiny), "save_dir": "runs/detect/train"}
    (tmp_path / "args.yaml").write_text(yaml.safe_dump(written))
    YOLO(tiny).train(cfg="args.yaml")
    source = f"source={toy.parent / 'images' / 'val'}"
    for words in (["train", "detect"], ["val"], ["mode=val", "task=detect"], ["detect", "predict", source]):
        assert main([*words, "cfg=args.yaml"]) == 0
    assert len(list((tmp_path / "runs" / "detect").glob("train*"))) == 3
