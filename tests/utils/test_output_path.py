from pathlib import Path

import pytest

from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.output_path import make_folder, target_file


def test_a_place_that_nothing_can_be_written_to_is_said_before_the_work(tmp_path):
    (tmp_path / "file.json").touch()
    assert target_file(tmp_path / "new.json", overwrite=False) == tmp_path / "new.json"
    assert target_file(tmp_path / "file.json") == tmp_path / "file.json"
    with pytest.raises(ConfigError, match="the file already exists"):
        target_file(tmp_path / "file.json", overwrite=False)
    with pytest.raises(ConfigError, match="this is a folder"):
        target_file(tmp_path)
    with pytest.raises(ConfigError, match="the output folder does not exist"):
        target_file(tmp_path / "gone" / "new.json")
    for needs_folder in (True, False):
        with pytest.raises(ConfigError, match="this is a file, not a folder"):
            target_file(tmp_path / "file.json" / "new.json", needs_folder=needs_folder)
    assert target_file(tmp_path / "gone" / "new.json", needs_folder=False).name == "new.json"


def test_a_folder_that_cannot_be_made_is_one_line_with_the_key(tmp_path, monkeypatch):
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "new" / "er"):
        with pytest.raises(ConfigError, match=r"file: this is a file, not a folder \(choose another project=\)"):
            make_folder(folder, "project")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(UserError, match=r"new: could not be written: No space left on device .*another out="):
        make_folder(tmp_path / "new")
