"""Which run `resume=` means and what it may be told, from folders made by hand."""

import pytest
import torch

from ultralytics.cfg.config import get_cfg
from ultralytics.engine.checkpoint import save_checkpoint
from ultralytics.engine.resume import read_resume
from ultralytics.utils.errors import ConfigError, MissingFileError


def a_run(folder, args=None, **state):
    """A run's folder as training leaves it, as far as reading goes; its last.pt."""
    config = get_cfg(None, {"model": "yolov8n.yaml", "data": "data/shapes.yaml", "epochs": 9} | (args or {}))
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    (folder / "args.yaml").write_text(config.yaml_text(), encoding="utf-8")
    last = folder / "weights" / "last.pt"
    save_checkpoint(last, content(config) | state)
    return last


def content(config):
    tensors = {"a": torch.zeros(2)}
    return {
        "model": {"nc": 1}, "names": {0: "a"}, "ema": tensors, "weights": tensors, "epoch": 3, "batches": 6,
        "batches_done": 0, "optimizer_name": "SGD", "optimizer": {"param_groups": [], "state": {}},
        "train_args": config.to_dict(),
    }  # fmt: skip


def read(resume, **overrides):
    given = {"resume": str(resume), **overrides}
    return read_resume(get_cfg(None, given), given)


# Which run


def test_a_checkpoint_outside_a_run_is_refused_before_anything_is_written(tmp_path):
    last = a_run(tmp_path / "run")
    home = tmp_path / "home"
    (home / "Downloads").mkdir(parents=True)
    (home / "weights").mkdir()
    loose = home / "Downloads" / "last.pt"
    loose.write_bytes(last.read_bytes())
    (home / "args.yaml").write_text((tmp_path / "run" / "args.yaml").read_text())  # not even a run makes it one
    with pytest.raises(ConfigError, match=r"last\.pt: it does not lie in a run's folder"):
        read(loose)
    (home / "weights" / "last.pt").write_bytes(last.read_bytes())
    assert read(home / "weights" / "last.pt").folder == home
    for strange in ("", "epochs: 3\nmodel: a\ndata: b\n", "[1, 2", "task: detect\nmode: train\nlabel_smoothing: 0\n"):
        (home / "args.yaml").write_text(strange)
        for meant in (home, home / "weights" / "last.pt"):
            with pytest.raises(ConfigError, match="it does not lie in a run's folder"):
                read(meant)


def test_a_missing_checkpoint_begins_no_run_where_none_was(tmp_path):
    begun = a_run(tmp_path / "run")
    begun.unlink()
    assert read(tmp_path / "run").checkpoint is None
    (tmp_path / "other").mkdir()
    (tmp_path / "args.yaml").write_text((tmp_path / "run" / "args.yaml").read_text())
    for absent in ("other/last.pt", "weights/last.pt.txt"):
        with pytest.raises(MissingFileError):
            read(tmp_path / absent)


def test_a_link_and_a_path_from_within_the_run_mean_it(tmp_path, monkeypatch):
    last = a_run(tmp_path / "run")
    (tmp_path / "newest.pt").symlink_to(last)
    assert read(tmp_path / "newest.pt").folder == tmp_path / "run"
    monkeypatch.chdir(last.parent)
    assert read("last.pt").folder.absolute() == tmp_path / "run"
    monkeypatch.chdir(last.parent.parent)
    for meant in (".", "weights/last.pt", "./weights/last.pt"):
        assert read(meant).folder.samefile(tmp_path / "run")


def test_the_newest_run_is_one_of_this_project(tmp_path, monkeypatch):
    last = a_run(tmp_path / "runs" / "a")
    stranger = tmp_path / "runs" / "b" / "weights" / "last.pt"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(last.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert read_resume(get_cfg(None, {"resume": True}), {"resume": True}).folder.name == "a"
