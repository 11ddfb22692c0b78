"""Both trackers: the reference's numbers, and what it gets wrong."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ultralytics.engine.results import Boxes
from ultralytics.trackers import BOTSORT, BYTETracker
from ultralytics.trackers.basetrack import TrackState

CASES = {
    "bytetrack": {},
    "bytetrack_nofuse": {"fuse_score": False},
    "bytetrack_short": {"track_buffer": 5, "match_thresh": 0.6},
    "botsort": {},
    "bytetrack_obb": {},
    "botsort_obb": {},
}


def make(kind, **keys):
    if kind == "botsort":
        return BOTSORT({"tracker_type": kind, "gmc_method": "none", **keys})
    return BYTETracker({"tracker_type": kind, **keys})


def boxes(*rows):
    table = np.array(rows, np.float32).reshape(-1, 6)
    return SimpleNamespace(xyxy=table[:, :4], conf=table[:, 4], cls=table[:, 5])


@pytest.mark.parametrize("case", CASES)
def test_ids_equal_the_reference(fixtures, case):
    numbers = np.load(fixtures / "tracking.npz")
    tracker = make(case.split("_")[0], **CASES[case])
    rotated = case.endswith("obb")
    rows, counts = [], []
    for frame in range(int(numbers["frames"])):
        found = numbers["obb" if rotated else "dets"][numbers["frame"] == frame]
        part = {"xywhr" if rotated else "xyxy": found[:, :-2], "conf": found[:, -2], "cls": found[:, -1]}
        rows += [[frame, *row] for row in tracker.update(SimpleNamespace(**part)).tolist()]
        counts.append((len(tracker.tracked_stracks), len(tracker.lost_stracks)))
    mine, theirs = np.array(rows), numbers[case]
    end = 6 if rotated else 5
    np.testing.assert_array_equal(mine[:, [0, end, end + 2, end + 3]], theirs[:, [0, end, end + 2, end + 3]])
    np.testing.assert_allclose(mine[:, 1:end], theirs[:, 1:end], atol=1e-3)
    np.testing.assert_allclose(mine[:, end + 1], theirs[:, end + 1], atol=1e-6)
    np.testing.assert_array_equal(counts, numbers[f"{case}_tracked_lost"])


@pytest.mark.parametrize("kind", ["bytetrack", "botsort"])
def test_tensors_give_what_arrays_give(kind):
    rows = [[10.0, 10, 40, 60, 0.9, 2], [100, 20, 150, 90, 0.8, 0]]
    data = torch.tensor(rows)
    given = make(kind).update(Boxes(data, (200, 200)))
    np.testing.assert_array_equal(given, make(kind).update(boxes(*rows)))
    assert given[:, 4].tolist() == [1, 2]
    assert given[:, 6:].tolist() == [[2, 0], [0, 1]]


def test_trackers_do_not_share_their_ids():
    """The reference counts in one place for all, and a new tracker sets it back for those at work."""
    first, second = make("bytetrack"), make("bytetrack")
    row = [10.0, 10, 40, 60, 0.9, 0]
    assert first.update(boxes(row))[0, 4] == second.update(boxes(row))[0, 4] == 1
    other = [100.0, 10, 140, 60, 0.9, 0]
    first.update(boxes(row, other))
    make("botsort")
    assert first.update(boxes(row, other))[:, 4].tolist() == [1, 2]


def test_a_new_object_is_confirmed_when_it_is_seen_twice():
    tracker = make("bytetrack")
    row, other = [10.0, 10, 40, 60, 0.9, 0], [100.0, 10, 140, 60, 0.9, 0]
    assert len(tracker.update(boxes(row))) == 1  # all are, in the first frame
    assert tracker.update(boxes(row, other))[:, 4].tolist() == [1]
    assert tracker.update(boxes(row, other))[:, 4].tolist() == [1, 2]
    once = [200.0, 10, 240, 60, 0.9, 0]
    tracker.update(boxes(row, other, once))
    tracker.update(boxes(row, other))
    assert [t.state for t in tracker.removed_stracks] == [TrackState.Removed]


def test_scores_decide_what_a_box_may_do():
    tracker = make("bytetrack")
    at = [10.0, 10, 40, 60]
    assert len(tracker.update(boxes([*at, 0.55, 0]))) == 0  # assigned, but it starts nothing
    tracker.reset()
    assert tracker.update(boxes([*at, 0.6, 0]))[:, 4].tolist() == [1]
    assert tracker.update(boxes([*at, 0.2, 0]))[:, 4].tolist() == [1]  # keeps it alive
    assert len(tracker.update(boxes([*at, 0.1, 0]))) == 0
    assert len(tracker.lost_stracks) == 1


def test_empty_frames_age_the_tracks():
    tracker = make("bytetrack", track_buffer=3)
    row = [10.0, 10, 40, 60, 0.9, 0]
    tracker.update(boxes(row))
    for _ in range(3):
        assert tracker.update(boxes()).shape == (0, 8)
    assert tracker.update(boxes(row))[:, 4].tolist() == [1]
    for _ in range(6):
        tracker.update(boxes())
    assert not tracker.lost_stracks
    assert len(tracker.update(boxes(row))) == 0
    assert tracker.update(boxes(row))[:, 4].tolist() == [2]


def test_a_hidden_object_keeps_its_id_and_goes_on_moving():
    tracker = make("botsort")
    for n in range(10):
        tracker.update(boxes([10 + 5 * n, 10, 40 + 5 * n, 60, 0.9, 0]))
    for _ in range(5):
        tracker.update(boxes())
    x = 10 + 5 * 15
    assert tracker.update(boxes([x, 10, x + 30, 60, 0.9, 0]))[:, 4].tolist() == [1]


@pytest.mark.parametrize("kind", ["bytetrack", "botsort"])
def test_boxes_that_are_none_start_nothing(kind):
    tracker = make(kind)
    nan, good = float("nan"), [10.0, 10, 40, 60, 0.9, 0]
    odd = [[nan, 1, 2, 3, 0.9, 0], [5, 5, 5, 9, 0.9, 0], [9, 9, 5, 5, 0.9, 0], [1, 1, 9, 9, nan, 0]]
    for _ in range(3):
        rows = tracker.update(boxes(*odd, good))
    assert rows[:, 4].tolist() == [1]
    assert rows[0, 7] == 4  # its place among the boxes given
    assert np.isfinite(rows).all()


def test_removed_tracks_do_not_add_up():
    tracker = make("bytetrack", track_buffer=0)
    rng = np.random.default_rng(0)
    for _ in range(210):
        x, y = rng.uniform(0, 2000, (2, 10, 1))
        tracker.update(boxes(*np.concatenate([x, y, x + 10, y + 10, x * 0 + 0.9, x * 0], 1)))
    assert tracker._last_id > 2000
    assert len(tracker.removed_stracks) <= 1000


def test_a_track_shows_its_box_in_each_form():
    tracker = make("bytetrack")
    tracker.update(boxes([10, 20, 40, 80, 0.9, 0]))
    [track] = tracker.tracked_stracks
    np.testing.assert_allclose(track.xywh, [25, 50, 30, 60])
    np.testing.assert_allclose(track.tlwh, [10, 20, 30, 60])
    np.testing.assert_allclose(track.xyxy, [10, 20, 40, 80])
    assert (repr(track), track.end_frame) == ("STrack_1_(1-1)", 1)


def test_what_the_camera_does_is_taken_out():
    """The image moves by 30 pixels a frame, and the object with it: without it the boxes would not overlap."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 255, (30, 60, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    ids = {}
    for method in ("sparseOptFlow", "none"):
        tracker = BOTSORT({"tracker_type": "botsort", "gmc_method": method})
        seen = []
        for n in range(4):
            x = 200 - 30 * n
            found = tracker.update(boxes([x, 100, x + 25, 140, 0.9, 0]), scene[:, 30 * n : 30 * n + 240])
            seen.append(found[:, 4].tolist())
        ids[method] = seen
    assert ids["sparseOptFlow"] == [[1]] * 4
    assert ids["none"] != [[1]] * 4
