import os

import pytest

from ultralytics.utils.walk import walk_files


def test_each_real_folder_is_visited_once_however_many_links_lead_to_it(tmp_path):
    top = tmp_path / "top"
    for folder in ("top/a/deep", "outside/sub", "beside"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_text("")
    for name, target in {
        "a/self": ".", "a/up": "..", "above": "../..", "twin": "a/deep", "out": "../outside", "out2": "../outside",
        "a/deep/loop": "loop", "nowhere": "gone",
    }.items():  # fmt: skip
        (top / name).symlink_to(target)
    (tmp_path / "outside" / "back").symlink_to(top)
    skipped = []
    found = {os.path.relpath(folder, top): sorted(names) for folder, names in walk_files(top, skipped=skipped)}
    assert found == {
        ".": ["nowhere"], "a": [], "a/deep": ["file", "loop"], "out": [], "out/sub": ["file"],
    }  # fmt: skip
    assert sorted(os.path.relpath(s, top) for s in skipped) == ["a/self", "a/up", "above", "out/back", "out2", "twin"]


def test_a_link_back_to_a_folder_around_the_first_is_not_followed(tmp_path):
    """Not even from outside: what lies beside the first folder is not in it."""
    for folder in ("data/top/a", "data/beside", "outside"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data" / "top" / "a" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "back").symlink_to(tmp_path / "data")
    (tmp_path / "outside" / "over").symlink_to(tmp_path / "data" / "beside")
    top, skipped = tmp_path / "data" / "top", []
    found = {os.path.relpath(folder, top) for folder, _ in walk_files(top, skipped=skipped)}
    assert found == {".", "a", "a/out", "a/out/over"}
    assert [os.path.relpath(s, top) for s in skipped] == ["a/out/back"]


def test_hidden_names_are_left_out_where_that_is_asked(tmp_path):
    for name in (".top/a/x", ".top/.b/x", ".top/a/.c/x", ".top/a/.x", ".top/.x", "far/.x", "far/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".top" / ".link").symlink_to(tmp_path / "far")
    (tmp_path / ".top" / "link").symlink_to(tmp_path / "far")
    found = {os.path.relpath(f, tmp_path / ".top"): n for f, n in walk_files(tmp_path / ".top", hidden=False)}
    assert found == {".": [], "a": ["x"], "link": ["x"]}
    assert len(list(walk_files(tmp_path / ".top"))) == 5


def test_links_that_double_at_every_level_end(tmp_path):
    for name in ("x", "y", "z"):
        (tmp_path / name).symlink_to(".")
    assert [names for _, names in walk_files(tmp_path)] == [[]]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind here")
def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    errors = []
    assert len(list(walk_files(tmp_path, errors.append))) == 2
    assert errors[0].filename == str(tmp_path / "closed")


def test_a_link_back_to_the_folder_that_names_a_linked_one_is_not_followed(tmp_path):
    for folder in ("data/beside", "far"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data" / "top").symlink_to(tmp_path / "far")
    for name, target in (("back", "data"), ("above", "."), ("over", "data/beside")):
        (tmp_path / "far" / name).symlink_to(tmp_path / target)
    top, skipped = tmp_path / "data" / "top", []
    assert {os.path.relpath(f, top) for f, _ in walk_files(top, skipped=skipped)} == {".", "over"}
    assert sorted(os.path.relpath(s, top) for s in skipped) == ["above", "back"]
