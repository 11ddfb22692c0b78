"""Training on tiles: a stop changes nothing, and its figures are those of `val` with the same tiles."""

import csv
import os
import signal

import numpy as np
import pytest
import torch

from tests.helpers.runs import loader, settings_of
from ultralytics.cli import main
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.utils.yaml import read_yaml

SIDE = 64


@pytest.fixture
def given(tmp_path, tiny, toy):
    return settings_of(tmp_path, tiny, toy) | {"tiles": SIDE, "tile_background": 0.3, "imgsz": SIDE, "batch": 8}


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "batch", "more"), [(0, 2, {"workers": 2}), (2, 3, {"cache": "ram"})])
def test_a_run_on_tiles_that_is_stopped_ends_as_one_that_was_not(given, toy, epoch, batch, more):
    whole = DetectionTrainer(overrides=given | {"name": "whole"})
    whole.train()
    samples = len(whole.train_loader.dataset)
    assert 12 < samples < len(loader(toy, tiles=SIDE).dataset)
    assert whole.state.batches == -(-samples // 8)
    stopped = DetectionTrainer(overrides=given | {"cache": "disk"})

    def stop(t):
        if (t.epoch, t.batches_done) == (epoch, batch):
            os.kill(os.getpid(), signal.SIGINT)

    stopped.add_callback("on_train_batch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = DetectionTrainer(overrides={"resume": str(stopped.save_dir), **more})
    resumed.train()
    for name in ("last", "best"):
        a, b = (load_checkpoint(run.save_dir / "weights" / f"{name}.pt").state for run in (resumed, whole))
        assert (a["epoch"], a.get("updates")) == (b["epoch"], b.get("updates"))
        for key in {"weights", "ema"} & a.keys():
            assert a[key].keys() == b[key].keys()
            assert all(torch.equal(a[key][k], b[key][k]) for k in a[key])


@pytest.mark.slow
def test_its_figures_are_those_of_val_with_the_same_tiles(given, tmp_path):
    """Compared by the scores of all detections: so small a network finds nothing."""
    trainer = DetectionTrainer(overrides=given | {"plots": True, "workers": 1})
    trainer.train()
    during = trainer.validator.stats
    assert len(during["conf"]) == 6  # images, one by one
    assert trainer.validator.tiler.side == SIDE
    common = {"model": str(trainer.best), "data": given["data"], "imgsz": SIDE, "plots": False, "threads": 1}

    def scores(**keys):
        validator = DetectionValidator(save_dir=tmp_path, args=common | keys)
        validator(model=str(trainer.best))
        return np.concatenate(validator.stats["conf"])

    assert np.array_equal(scores(tiles=SIDE, batch=8), np.concatenate(during["conf"]))
    assert not np.array_equal(scores(), np.concatenate(during["conf"]))  # none by default: weights remember no tiles
    with (trainer.save_dir / "results.csv").open(encoding="utf-8") as file:
        columns = next(csv.reader(file))
    assert "metrics/mAP50-95(B)" in columns
    assert not [c for c in columns if c.startswith("val/")]
    args = read_yaml(trainer.save_dir / "args.yaml", ValueError).data
    assert (args["tiles"], args["tile_background"], args["overlap"]) == (SIDE, 0.3, 0.2)
    assert {"labels.jpg", "train_batch0.jpg", "val_batch0_pred.jpg", "results.png"} <= {
        f.name for f in trainer.save_dir.iterdir()
    }
    labels = trainer.train_loader.dataset.labels
    assert len(labels.cls) > len(trainer.train_loader.dataset.tiles.images.cls)
    assert trainer.describe_data()["train"]["images"] == 12
    assert trainer.describe_data()["train"]["samples"] == len(labels)


def test_what_does_not_go_with_tiles_is_one_line(given, capsys):
    words = [f"{k}={v}" for k, v in given.items() if k != "imgsz"]
    for more, text in (
        (
            "imgsz=32",
            "imgsz=32 and tiles=64: tiles are trained on at their own size (leave out imgsz, or give tiles=32)",
        ),
        ("rect=True", "rect=True and tiles=64: tiles are of one size (leave out rect)"),
    ):
        assert main(["train", *words, more]) == 2
        assert capsys.readouterr().err.splitlines()[-1].endswith(text)
