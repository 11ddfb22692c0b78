from types import SimpleNamespace

import pytest

from ultralytics.cfg.paths import CLONE
from ultralytics.cfg.tracker import TRACKER_KNOBS, TRACKERS, TrackerConfig, load_tracker
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError


@pytest.mark.parametrize("name", TRACKERS)
def test_the_bundled_files_hold_the_defaults(name):
    assert load_tracker(f"{name}.yaml") == TrackerConfig(tracker_type=name)
    assert (CLONE / "cfg" / "trackers" / f"{name}.yaml").is_file()


def test_a_tracker_may_be_a_file_a_mapping_or_an_object(tmp_path):
    (tmp_path / "my.yaml").write_text("tracker_type: botsort\ntrack_buffer: 90\ngmc_method: null\n")
    wanted = TrackerConfig("botsort", track_buffer=90, gmc_method="none")
    assert load_tracker(tmp_path / "my.yaml") == wanted
    assert load_tracker(vars(wanted)) == load_tracker(SimpleNamespace(**vars(wanted))) == load_tracker(wanted) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tracker_type: sort\n", r"my.yaml: tracker_type=sort is not possible \(one of bytetrack, botsort\)"),
        ("track_buffer: 9\n", "my.yaml: tracker_type is missing"),
        ("tracker_type: bytetrack\ntrack_bufer: 9\n", "unknown key 'track_bufer' of a tracker .*'track_buffer'"),
        ("tracker_type: bytetrack\ntrack_buffer: -1\n", "track_buffer=-1 is out of range"),
        ("tracker_type: bytetrack\nmatch_thresh: 3\n", "match_thresh=3 is out of range"),
        ("tracker_type: bytetrack\nfuse_score: often\n", "fuse_score='often' must be True or False"),
        ("tracker_type: botsort\nwith_reid: True\n", "with_reid=True is not offered"),
        ("tracker_type: botsort\nwith_reid: 3\n", "with_reid=3 must be False"),
        ("tracker_type: botsort\ngmc_method: surf\n", "gmc_method=surf is not possible"),
        ("tracker_type: botsort\ntrack_low_thresh: 0.7\n", "track_low_thresh=0.7 is above track_high_thresh=0.5"),
        ("- a\n", "a tracker is a mapping"),
        ("a: [\n", "my.yaml"),
    ],
)
def test_a_wrong_file_is_one_line(text, message, tmp_path):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_tracker(tmp_path / "my.yaml")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_names_the_nearest():
    with pytest.raises(MissingFileError, match=r"no such tracker YAML.*did you mean 'bytetrack.yaml'"):
        load_tracker("bytetrak.yaml")


@pytest.mark.parametrize("key", TRACKER_KNOBS)
@pytest.mark.parametrize("value", [None, "x", [], {}, float("nan"), -1, 10**30, True])
def test_any_value_is_taken_or_refused_in_one_line(key, value):
    message = ""
    try:
        load_tracker({key: value})
    except UserError as e:
        message = str(e)
    assert "\n" not in message


def test_the_page_lists_every_key_with_its_default():
    page = (CLONE / "docs" / "tracking.md").read_text(encoding="utf-8")
    table = page[page.index("## The trackers") : page.index("## How good")]
    for key, knob in TRACKER_KNOBS.items():
        [row] = [line for line in table.splitlines() if line.startswith("| ") and f"`{key}`" in line.split("|")[1]]
        assert key == "tracker_type" or str(knob.default) in row.split("|")[2], key
