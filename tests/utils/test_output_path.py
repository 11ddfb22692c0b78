import pytest

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.output_path import target_file


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
