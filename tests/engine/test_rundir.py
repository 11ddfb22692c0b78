import pytest

from ultralytics.engine.rundir import new_run_dir
from ultralytics.utils.errors import ConfigError, UserError


def test_runs_are_numbered(tmp_path):
    names = [new_run_dir(tmp_path, "train").name for _ in range(3)]
    assert names == ["train", "train2", "train3"]
    assert new_run_dir(tmp_path, "train", exist_ok=True).name == "train"


def test_the_default_is_below_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(new_run_dir(None, "val")) == "runs/detect/val"


def test_a_place_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the run folder"):
        new_run_dir(tmp_path / "file", "train")
    with pytest.raises(ConfigError, match="it is a file"):
        new_run_dir(tmp_path, "file", exist_ok=True)
