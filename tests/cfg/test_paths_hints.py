"""Hints name what is there."""

import os
from pathlib import Path

import pytest

from ultralytics.cfg import paths
from ultralytics.cli import main
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.utils.errors import MissingFileError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(name, age, text=""):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (1e9 - age, 1e9 - age))


def message(capsys, *words):
    assert main(list(words)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_the_newest_weights_are_named(capsys):
    assert "there are none in" in message(capsys, "val", "data=shapes.yaml")
    touch("runs/detect/train/weights/best.pt", 9)
    touch("runs/detect/my run/weights/best.pt", 5)
    touch("old.pt", 7)
    touch("older.pt", 99)
    hint = "'model=runs/detect/my run/weights/best.pt' or model=old.pt or model=runs/detect/train/weights/best.pt)"
    assert hint in message(capsys, "val", "data=shapes.yaml")
    assert hint in message(capsys, "predict", "source=x.jpg")
    with pytest.raises(MissingFileError, match=r"nothing\.pt.*there is runs/detect/my run/weights/best.pt and old.pt"):
        load_checkpoint("nothing.pt")
    with pytest.raises(MissingFileError, match=r"did you mean 'old.*'\?; nothing is downloaded"):
        load_checkpoint("olds.pt")


def test_the_data_sets_there_are_are_named(capsys, tiny):
    assert "bundled one: VOC.yaml, bccd.yaml" in message(capsys, "check-data")
    touch("mine.yaml", 0, "path: x\ntrain: images\nnames: [a]\n")
    touch("data/other.yml", 0, "names:\n  0: a\nval: images\n")
    touch("args.yaml", 0, "data: x.yaml\nepochs: 3\n")
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe.yaml")
    hint = "no dataset given (data=mine.yaml or data=data/other.yml)"
    assert hint in message(capsys, "check-data")
    assert hint in message(capsys, "train", f"model={tiny}")
    assert hint in message(capsys, "val", f"model={tiny}")
    assert "did you mean 'mine.yaml'" in message(capsys, "train", f"model={tiny}", "data=mien.yaml")


def test_a_bundled_model_is_found_from_any_folder(capsys, toy):
    name = paths.MODEL_HINT.split(",")[0].removeprefix("model=")
    assert paths.find_model_yaml(name)
    assert paths.MODEL_HINT in message(capsys, "info")
    assert paths.MODEL_HINT in message(capsys, "train", f"data={toy}")
