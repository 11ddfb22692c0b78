"""The figures by hand, and against the authors' code where it is installed."""

import shutil

import numpy as np
import pytest

from ultralytics.cli import main
from ultralytics.trackers.evaluate import FIGURES, evaluate_files, evaluate_tracks, joined
from ultralytics.trackers.mot import MotFile, mot_rows, read_mot
from ultralytics.trackers.utils.matching import iou_of
from ultralytics.utils.errors import DatasetError, UserError


def file(*rows):
    """A file of (frame, id, left, width) of boxes 10 high."""
    table = np.array(rows, float).reshape(-1, 4)
    zero = np.zeros(len(table))
    corners = np.stack([table[:, 2], zero, table[:, 2] + table[:, 3], zero + 10], 1)
    return MotFile(table[:, 0].astype(int), table[:, 1].astype(int), corners, zero.astype(int))


def test_what_is_equal_is_perfect():
    truth = file((1, 1, 0, 10), (2, 1, 5, 10), (2, 2, 50, 10), (3, 2, 50, 10))
    found = evaluate_tracks(truth, truth)
    assert all(found[k] == 1 for k in ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR"))
    assert (found["IDSW"], found["FP"], found["FN"], found["MT"], found["ML"]) == (0, 0, 0, 2, 0)
    assert (found["objects"], found["tracks"], found["boxes"], found["found"]) == (2, 2, 4, 4)
    assert found.keys() == FIGURES.keys()


def test_a_switch_by_hand():
    """An object of four frames, found everywhere, by one track for three frames and by another for the last.

    MOTA = 1 - 1/4. IDF1: three boxes are right, 2 × 3 / (4 + 4). HOTA, at every overlap: three pairs of association
    3 / (4 + 3 - 3) and one of 1 / (4 + 1 - 1): AssA = (3 × 3/4 + 1/4) / 4 = 0.625, DetA = 1."""
    truth = file(*((n, 1, 0, 10) for n in (1, 2, 3, 4)))
    found = evaluate_tracks(truth, file((1, 7, 0, 10), (2, 7, 0, 10), (3, 7, 0, 10), (4, 8, 0, 10)))
    assert (found["MOTA"], found["IDSW"], found["MOTP"]) == (0.75, 1, 1)
    assert found["IDF1"] == found["IDP"] == found["IDR"] == 0.75
    assert (found["DetA"], found["AssA"]) == (1, 0.625)
    assert found["HOTA"] == pytest.approx(0.625**0.5)


def test_misses_and_false_boxes_by_hand():
    """Two objects of two frames; one box is missed and two are false: MOTA = 1 - 3/4, DetA = 3 / (4 + 5 - 3)."""
    truth = file((1, 1, 0, 10), (2, 1, 0, 10), (1, 2, 50, 10), (2, 2, 50, 10))
    found = evaluate_tracks(truth, file((1, 1, 0, 10), (2, 1, 0, 10), (1, 2, 50, 10), (1, 3, 90, 10), (2, 3, 90, 10)))
    assert (found["FN"], found["FP"], found["IDSW"], found["MOTA"]) == (1, 2, 0, 0.25)
    assert found["DetA"] == pytest.approx(0.5)
    assert found["IDF1"] == pytest.approx(2 * 3 / 9)
    assert (found["MT"], found["ML"]) == (1, 0)


def test_overlap_by_hand():
    """Boxes of 10 that lie 2.5 apart overlap by 7.5 / 12.5 = 0.6: a pair at 12 of the 19 overlaps of HOTA."""
    found = evaluate_tracks(file((1, 1, 0, 10)), file((1, 1, 2.5, 10)))
    assert found["MOTP"] == pytest.approx(0.6)
    assert found["HOTA"] == pytest.approx(12 / 19)
    assert evaluate_tracks(file((1, 1, 0, 10)), file((1, 1, 2.5, 10)), iou=0.6)["MOTA"] == 1
    assert evaluate_tracks(file((1, 1, 0, 10)), file((1, 1, 2.5, 10)), iou=0.7)["MOTA"] == -1


def test_a_pair_of_the_last_frame_is_kept():
    """A nearer box appears; the object keeps its track as long as that overlaps enough (Bernardin and Stiefelhagen)."""
    truth = file((1, 1, 0, 10), (2, 1, 0, 10))
    found = evaluate_tracks(truth, file((1, 5, 2, 10), (2, 5, 2, 10), (2, 6, 0, 10)))
    assert (found["IDSW"], found["FP"]) == (0, 1)


@pytest.mark.parametrize("empty", ["truth", "found", "both"])
def test_empty_files_have_figures(empty):
    some, none = file((1, 1, 0, 10)), file()
    found = evaluate_tracks(none if empty != "found" else some, none if empty != "truth" else some)
    assert all(np.isfinite(v) for v in found.values())
    assert found["HOTA"] == found["MOTA"] == found["IDF1"] == 0


def random_sequence(rng):
    """Ground truth and tracks that miss, invent and confuse."""
    count, rows = int(rng.integers(1, 8)), ([], [])
    at, speed, size = rng.uniform(0, 200, (count, 2)), rng.normal(0, 4, (count, 2)), rng.uniform(15, 50, (count, 2))
    ids, new = np.arange(count), 100
    for frame in range(1, 30):
        at += speed
        if rng.random() < 0.2:
            rng.shuffle(ids)
        for i, box in enumerate(np.concatenate([at, at + size], 1)):
            if rng.random() < 0.05:
                ids[i], new = new, new + 1
            if rng.random() < 0.9:
                rows[0].append((frame, 2 * i, *box))
            if rng.random() < 0.8:
                rows[1].append((frame, ids[i], *(box + rng.normal(0, 4, 4))))
        if rng.random() < 0.5:
            rows[1].append((frame, new, *rng.uniform(0, 100, 2), *rng.uniform(110, 150, 2)))
            new += 1
    tables = [np.array(r).reshape(-1, 6) for r in rows]
    return [MotFile(t[:, 0].astype(int), t[:, 1].astype(int), t[:, 2:], np.zeros(len(t), int)) for t in tables]


@pytest.mark.parametrize("seed", range(8))
def test_the_authors_code_says_the_same(seed):
    """TrackEval, by the authors of HOTA; its data are numbers of objects and tracks from 0, frame by frame."""
    metrics = pytest.importorskip("trackeval.metrics", reason="TrackEval is not installed")
    truth, found = random_sequence(np.random.default_rng(seed))
    (objects, a), (tracks, b) = (np.unique(f.ids, return_inverse=True) for f in (truth, found))
    frames = np.union1d(truth.frames, found.frames)
    data = {
        "num_timesteps": len(frames), "num_gt_ids": len(objects), "num_tracker_ids": len(tracks),
        "num_gt_dets": len(a), "num_tracker_dets": len(b),
        "gt_ids": [a[truth.frames == n] for n in frames], "tracker_ids": [b[found.frames == n] for n in frames],
        "similarity_scores": [
            iou_of(truth.boxes[truth.frames == n], found.boxes[found.frames == n], 1e-300) for n in frames
        ],
    }  # fmt: skip
    settings = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
    theirs = metrics.HOTA().eval_sequence(data)
    theirs |= metrics.CLEAR(settings).eval_sequence(data) | metrics.Identity(settings).eval_sequence(data)
    mine = evaluate_tracks(truth, found)
    for name in ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR", "IDSW", "MT", "ML"):
        assert mine[name] == pytest.approx(float(np.mean(theirs[name])), abs=1e-9), name


def test_several_videos_together_are_not_mixed():
    rng = np.random.default_rng(0)
    pairs = [random_sequence(rng) for _ in range(3)]
    alone = [evaluate_tracks(*p) for p in pairs]
    together = evaluate_tracks(*joined(*zip(*pairs, strict=True)))
    for name in ("IDSW", "FP", "FN", "MT", "ML", "objects", "tracks", "boxes", "found"):
        assert together[name] == sum(f[name] for f in alone), name
    right = sum(f["IDP"] * f["found"] for f in alone)
    assert together["IDF1"] == pytest.approx(2 * right / (together["boxes"] + together["found"]))


# Files


def test_rows_are_read_as_they_were_written(tmp_path):
    boxes, scores = np.array([[1.5, 2, 30.25, 40], [0, 0, 5, 5]]), np.array([0.9, 0.5])
    text = mot_rows(3, np.array([7, 8]), boxes, scores)
    assert text.splitlines()[0] == "3,7,1.50,2.00,28.75,38.00,0.9000,-1,-1,-1"
    (tmp_path / "a.txt").write_text(text)
    read = read_mot(tmp_path / "a.txt")
    assert (read.frames.tolist(), read.ids.tolist()) == ([3, 3], [7, 8])
    np.testing.assert_array_equal(read.boxes, boxes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1,0,0,9\n", "line 1: 6 numbers or more are needed, not 5"),
        ("1,1,0,0,9,9\n\n1,1,0,0,8,8\n", "line 3: id 1 is in frame 1 twice, first in line 1"),
        ("frame,id,x,y,w,h\n", "line 1: no row of numbers: frame,id"),
        ("0,1,0,0,9,9\n", "line 1: frame 0 and id 1 must be integers, the frame of 1 or more"),
        ("1,1.5,0,0,9,9\n", "id 1.5 must be"),
        ("1,-1,0,0,9,9\n", "the box has no id"),
        ("1,1,0,0,nan,9\n", "not finite"),
        ("1,1,0,0,inf,9\n", "not finite"),
        ("1,1,0,0,9,9\n2,1,0,0,-9,9\n", "line 2: width -9 and height 9 must not be below 0"),
        ("1,1,0,0,9,-0.5\n", "line 1: width 9 and height -0.5 must not be below 0"),
    ],
)
def test_a_wrong_line_is_named(text, message, tmp_path):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_mot(tmp_path / "a.txt")
    assert "\n" not in str(caught.value)


def test_what_is_to_be_ignored_neither_counts_nor_fails(tmp_path):
    """A pedestrian; one marked 0; a dummy (class 8), on which a box is found; a car (class 3), likewise."""
    rows = ("1,1,0,0,10,10,1,1,1", "1,2,50,0,10,10,0,1,1", "1,3,100,0,10,10,1,8,1", "1,4,150,0,10,10,0,3,1")
    (tmp_path / "gt.txt").write_text("\n".join(rows))
    found = file((1, 1, 0, 10), (1, 2, 100, 10), (1, 3, 150, 10))
    figures = evaluate_tracks(read_mot(tmp_path / "gt.txt", truth=True), found)
    assert (figures["boxes"], figures["FN"], figures["FP"]) == (1, 0, 1)


def test_files_and_folders_are_compared(tmp_path, capsys):
    text = mot_rows(1, np.array([1]), np.array([[0.0, 0, 9, 9]]), np.array([1.0]))
    for name in ("gt/a/gt/gt.txt", "gt/b.txt", "found/a.txt", "found/b.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert list(evaluate_files(tmp_path / "gt", tmp_path / "found")) == ["a", "b", "all"]
    assert list(evaluate_files(tmp_path / "gt" / "b.txt", tmp_path / "found" / "a.txt")) == ["a"]
    assert main(["track-eval", f"gt={tmp_path / 'gt'}", f"found={tmp_path / 'found'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["video", "HOTA"]
    assert [line.split()[:2] for line in lines[1:]] == [["a", "100.0"], ["b", "100.0"], ["all", "100.0"]]
    (tmp_path / "found" / "b.txt").unlink()
    with pytest.raises(UserError, match=r"there is no b\.txt"):
        evaluate_files(tmp_path / "gt", tmp_path / "found")
    with pytest.raises(UserError, match="both be files, or both folders"):
        evaluate_files(tmp_path / "gt", tmp_path / "found" / "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"there are no \.txt files"):
        evaluate_files(tmp_path / "empty", tmp_path / "empty")
    for text in ("", "1,1,0,0,9,9,0\n"):  # no box, and one that does not count
        (tmp_path / "none.txt").write_text(text)
        assert main(["track-eval", f"gt={tmp_path / 'none.txt'}", f"found={tmp_path / 'found' / 'a.txt'}"]) == 2
        assert "none.txt: the ground truth has no box that counts" in capsys.readouterr().err
    (tmp_path / "found" / "b.txt").touch()  # tracks may be empty
    (tmp_path / "gt" / "b.txt").write_text("")  # and so may one video of several
    assert evaluate_files(tmp_path / "gt", tmp_path / "found")["all"]["boxes"] == 1
    (tmp_path / "gt" / "a" / "gt" / "gt.txt").write_text("")
    with pytest.raises(UserError, match="the ground truth has no box that counts"):
        evaluate_files(tmp_path / "gt", tmp_path / "found")
    for gt, found in (("gone.txt", "found/a.txt"), ("gone", "found"), ("gt", "gone"), ("gt/b.txt", "gone.txt")):
        capsys.readouterr()
        assert main(["track-eval", f"gt={tmp_path / gt}", f"found={tmp_path / found}"]) == 2
        key, name = ("gt", gt) if "gone" in gt else ("found", found)
        assert f"{tmp_path / name}: no such file or folder ({key}= is" in capsys.readouterr().err
    assert main(["track-eval", "gt=gone.txt"]) == 2
    assert "no tracks given" in capsys.readouterr().err


def test_a_video_called_all_keeps_its_row(tmp_path, capsys):
    """Of `all` the one box is found, of `b` none: together half of them."""
    box, other = "1,1,0,0,9,9\n", "1,1,50,50,9,9\n"
    for name, text in (("gt/all", box), ("gt/b", box), ("found/all", box), ("found/b", other)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.txt").write_text(text)
    figures = evaluate_files(tmp_path / "gt", tmp_path / "found")
    assert {name: row["IDR"] for name, row in figures.items()} == {"all": 1, "b": 0, "all videos": 0.5}
    for folder in ("gt", "found"):
        shutil.copy(tmp_path / folder / "b.txt", tmp_path / folder / "all videos.txt")
    assert list(evaluate_files(tmp_path / "gt", tmp_path / "found")) == ["all videos", "all", "b", "all videos videos"]
    assert main(["track-eval", f"gt={tmp_path / 'gt'}", f"found={tmp_path / 'found'}"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split("  ")[0] for line in lines] == ["all videos", "all", "b", "all videos videos"]


def test_a_box_without_area_is_none_that_is_found(tmp_path):
    (tmp_path / "a.txt").write_text("1,1,0,0,0,0\n1,2,0,0,-0,9\n1,3,0,0,9,9\n")
    (tmp_path / "b.txt").write_text("1,3,0,0,9,9\n")
    figures = evaluate_files(tmp_path / "a.txt", tmp_path / "b.txt")["b"]
    assert (figures["boxes"], figures["FN"], figures["FP"], figures["IDSW"]) == (3, 2, 0, 0)
