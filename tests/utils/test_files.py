import json
import os

import pytest

from ultralytics.utils.errors import UserError
from ultralytics.utils.files import remove_unfinished, write_atomically, write_json


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1, "名": 2})

    def fails(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="untouched"):
        write_atomically(path, fails)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1, "名": 2}

    def interrupted(file):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_files_have_the_permissions_the_user_gives_all_files(tmp_path):
    old = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(old)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    stale = [".last.pt.0f1e2d3c", ".best.pt.x_8jk2ab", ".epoch12.pt.abcdefgh", ".results.csv.12345678"]
    kept = ["last.pt", ".hidden", ".notes.txt.abcdefgh", "a.pt.abcdefgh"]
    for name in stale + kept:
        (tmp_path / name).write_text("")
    remove_unfinished(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_the_mend_names_what_a_user_sets(tmp_path):
    with pytest.raises(UserError, match="another out="):
        write_json(tmp_path / "none" / "a.json", {}, "out")
