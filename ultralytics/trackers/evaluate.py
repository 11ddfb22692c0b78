"""How well objects were followed: CLEAR MOT (Bernardin and Stiefelhagen 2008), IDF1 (Ristani et al. 2016) and HOTA
(Luiten et al. 2021), from ground truth and tracks of the same frames.

G objects of the ground truth, T tracks, K pairs of a box of one and a box of the other in one frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from ultralytics.trackers.mot import COUNTS, IGNORED, MotFile, read_mot
from ultralytics.trackers.utils.matching import iou_of
from ultralytics.utils.errors import DatasetError, MissingFileError
from ultralytics.utils.types import Float64Array

Ints = npt.NDArray[np.int64]
ALPHAS = np.arange(1, 20) / 20  # overlaps over which HOTA is the mean
ROUNDING = 1e-9  # an overlap that is less below a threshold than this has reached it
MOSTLY_TRACKED, MOSTLY_LOST = 0.8, 0.2  # parts of an object's frames: more than, less than
FIGURES = {
    "HOTA": "mean over 19 overlaps of the square root of DetA x AssA",
    "DetA": "boxes found, of all boxes of either",
    "AssA": "how far the pairs of one object are of one track, and those of one track of one object",
    "LocA": "mean IoU of the pairs of HOTA",
    "MOTA": "1 less (FN + FP + IDSW) per box of the ground truth; below 0 where there are more of them than boxes",
    "MOTP": "mean IoU of the pairs",
    "IDF1": "boxes with the right id, of the mean of both numbers of boxes",
    "IDP": "boxes with the right id, of those found",
    "IDR": "boxes with the right id, of those of the ground truth",
    "IDSW": "times an object got another id",
    "FP": "boxes found where there is none",
    "FN": "boxes missed",
    "MT": "objects tracked for more than 80 % of their frames",
    "ML": "objects tracked for less than 20 %",
    "objects": "of the ground truth",
    "tracks": "found",
    "boxes": "of the ground truth",
    "found": "boxes found",
}


class _Frame(NamedTuple):
    objects: Ints  # (n,) numbers 0 to G
    tracks: Ints  # (m,) numbers 0 to T
    iou: Float64Array  # (n, m)


def evaluate_tracks(truth: MotFile, found: MotFile, iou: float = 0.5) -> dict[str, float]:
    """Return the figures of FIGURES; those that are parts are 0..1, and 0 where there is nothing to divide by.

    Args:
        truth, found: of the same video.
        iou: least overlap of a pair, of MOTA and IDF1.
    """
    truth, found = _counted(truth, found, iou)
    objects, truth_ids = np.unique(truth.ids, return_inverse=True)
    tracks, found_ids = np.unique(found.ids, return_inverse=True)
    sizes = np.bincount(truth_ids, minlength=len(objects)), np.bincount(found_ids, minlength=len(tracks))
    frames = [
        _Frame(truth_ids[a], found_ids[b], iou_of(truth.boxes[a], found.boxes[b], np.finfo(float).tiny))
        for a, b in _by_frame(truth, found)
    ]
    figures = {
        **_hota(frames, *sizes),
        **_clear(frames, sizes[0], len(found.ids), iou - ROUNDING),
        **_identity(frames, *sizes, iou - ROUNDING),
        "objects": len(objects),
        "tracks": len(tracks),
        "boxes": len(truth.ids),
        "found": len(found.ids),
    }
    return {name: float(figures[name]) for name in FIGURES}


def evaluate_files(gt: Path, found: Path, iou: float = 0.5) -> dict[str, dict[str, float]]:
    """Return the figures of each video by its name, and, of several, of all together as "all"; where a video is called
    that, as "all videos".

    Args:
        gt, found: files, or folders: of FOUND/NAME.txt the ground truth is GT/NAME.txt or GT/NAME/gt/gt.txt, as the
            MOT challenge has it. Folders hold the same videos.
        iou: see `evaluate_tracks`.

    Raises:
        MissingFileError: a file is not there.
        DatasetError: a file cannot be used.
    """
    for name, path in (("gt", gt), ("found", found)):
        if not path.exists():
            raise MissingFileError("no such file or folder", str(path), f"{name}= is a file, or a folder of files")
    if not found.is_dir() and not gt.is_dir():
        pair = read_mot(gt, truth=True), read_mot(found)
        _check_truth([pair[0]], gt)
        return {found.stem: evaluate_tracks(*pair, iou)}
    if not found.is_dir() or not gt.is_dir():
        what = "gt and found must both be files, or both folders"
        raise DatasetError(what, str(gt if gt.is_dir() else found), "give the file in it")
    truths, founds = _by_name(gt), _by_name(found)
    for names, others, folder in ((truths, founds, found), (founds, truths, gt)):
        for name in names.keys() - others.keys():
            raise DatasetError(f"there is no {name}.txt", str(folder), f"its other half is {names[name]}")
    if not truths:
        raise DatasetError("there are no .txt files in it", str(gt), "NAME.txt, or NAME/gt/gt.txt")
    pairs = {name: (read_mot(file, truth=True), read_mot(founds[name])) for name, file in truths.items()}
    _check_truth([truth for truth, _ in pairs.values()], gt)
    result = {name: evaluate_tracks(*pair, iou) for name, pair in pairs.items()}
    if len(pairs) > 1:
        together = "all"
        while together in result:
            together += " videos"
        result[together] = evaluate_tracks(*joined(*zip(*pairs.values(), strict=True)), iou)
    return result


def _check_truth(truths: Sequence[MotFile], gt: Path) -> None:
    if not any((truth.roles == COUNTS).any() for truth in truths):
        raise DatasetError("the ground truth has no box that counts", str(gt), "is it the right file?")


def _by_name(folder: Path) -> dict[str, Path]:
    """The files of a folder by the names of their videos."""
    nested = {p.parents[1].name: p for p in sorted(folder.glob("*/gt/gt.txt"))}
    return nested | {p.stem: p for p in sorted(folder.glob("*.txt"))}


def joined(truths: Sequence[MotFile], founds: Sequence[MotFile]) -> tuple[MotFile, MotFile]:
    """Return ground truth and tracks of several videos as one of each, with the same frames."""
    last = [int(max(t.frames.max(initial=0), f.frames.max(initial=0))) for t, f in zip(truths, founds, strict=True)]
    shift = np.cumsum([0, *last]).tolist()
    a, b = ([f._replace(frames=f.frames + s) for f, s in zip(files, shift, strict=False)] for files in (truths, founds))
    return _with_own_ids(a), _with_own_ids(b)


def _with_own_ids(files: Sequence[MotFile]) -> MotFile:
    shift = np.cumsum([0, *(f.ids.max(initial=0) + 1 for f in files)]).tolist()
    files = [f._replace(ids=f.ids + s) for f, s in zip(files, shift, strict=False)]
    return MotFile(*(np.concatenate(column) for column in zip(*files, strict=True)))


def _by_frame(truth: MotFile, found: MotFile) -> Iterator[tuple[Ints, Ints]]:
    """Yield the places of the boxes of each frame in both files, frame by frame."""
    frames = np.union1d(truth.frames, found.frames)
    places = []
    for file in (truth, found):
        order = np.argsort(file.frames, kind="stable")
        places.append(np.split(order, np.searchsorted(file.frames[order], frames[1:])))
    if len(frames):
        yield from zip(*places, strict=True)


def _counted(truth: MotFile, found: MotFile, iou: float) -> tuple[MotFile, MotFile]:
    """Return the boxes that count: of the ground truth those that are asked for, of the tracks those that are not
    paired with a box to be ignored, as the MOT challenge has it."""
    keep = np.ones(len(found.ids), bool)
    if (truth.roles != COUNTS).any():
        for a, b in _by_frame(truth, found):
            overlap = iou_of(truth.boxes[a], found.boxes[b], np.finfo(float).tiny)
            rows, columns = _paired(np.where(overlap < iou - ROUNDING, 0, overlap))
            keep[b[columns[truth.roles[a[rows]] == IGNORED]]] = False
    return truth.only(truth.roles == COUNTS), found.only(keep)


def _paired(gain: Float64Array) -> tuple[Ints, Ints]:
    """Return the rows and columns of the pairs of the largest sum, those of a gain of 0 left out."""
    rows, columns = linear_sum_assignment(-gain)
    good = gain[rows, columns] > 0
    return rows[good], columns[good]


def _part(a: float, of: float) -> float:
    return a / of if of else 0.0


def _clear(frames: Sequence[_Frame], sizes: Ints, found: int, least: float) -> dict[str, float]:
    """CLEAR MOT. A pair of the last frame is kept while it overlaps enough; the others are those of the largest sum."""
    last = np.full(len(sizes), -1)  # the last track of each object
    now = last.copy()  # that of the last frame
    matched, pairs, overlap, switches = np.zeros(len(sizes), np.int64), 0, 0.0, 0
    for objects, tracks, iou in frames:
        kept = now[objects][:, None] == tracks
        rows, columns = _paired(np.where(iou < least, 0, iou + 1000 * kept))
        mine, theirs = objects[rows], tracks[columns]
        switches += int(((last[mine] >= 0) & (last[mine] != theirs)).sum())
        now[:] = -1
        now[mine] = last[mine] = theirs
        matched[mine] += 1
        pairs += len(rows)
        overlap += float(iou[rows, columns].sum())
    boxes = int(sizes.sum())
    return {
        "MOTA": _part(pairs - (found - pairs) - switches, boxes),
        "MOTP": _part(overlap, pairs),
        "IDSW": switches,
        "FP": found - pairs,
        "FN": boxes - pairs,
        "MT": int((matched > MOSTLY_TRACKED * sizes).sum()),
        "ML": int((matched < MOSTLY_LOST * sizes).sum()),
    }


def _identity(frames: Sequence[_Frame], sizes: Ints, lengths: Ints, least: float) -> dict[str, float]:
    """IDF1: each object has the one track, and each track the one object, with which most boxes overlap enough."""
    together = np.zeros((len(sizes), len(lengths)))
    for objects, tracks, iou in frames:
        rows, columns = np.nonzero(iou >= least)
        together[objects[rows], tracks[columns]] += 1
    right = float(together[linear_sum_assignment(-together)].sum())
    boxes, found = float(sizes.sum()), float(lengths.sum())
    return {"IDF1": _part(2 * right, boxes + found), "IDP": _part(right, found), "IDR": _part(right, boxes)}


def _hota(frames: Sequence[_Frame], sizes: Ints, lengths: Ints) -> dict[str, float]:
    """HOTA. Pairs are chosen once, by overlap × how much object and track belong together (equation 16 in the
    supplement of the authors' code), and count at every threshold that they reach."""
    together = np.zeros((len(sizes), len(lengths)))
    for objects, tracks, iou in frames:
        share = iou / np.maximum(iou.sum(0) + iou.sum(1)[:, None] - iou, np.finfo(float).tiny)
        together[objects[:, None], tracks] += share
    belong = together / np.maximum(sizes[:, None] + lengths - together, np.finfo(float).tiny)
    chosen: list[tuple[Ints, Ints, Float64Array]] = []
    for objects, tracks, iou in frames:
        rows, columns = linear_sum_assignment(-belong[objects[:, None], tracks] * iou)
        chosen.append((objects[rows], tracks[columns], iou[rows, columns]))
    mine, theirs, overlap = (
        np.concatenate([c[k] for c in chosen]) if chosen else np.zeros(0, dtype)
        for k, dtype in enumerate((int, int, float))
    )
    both = float(sizes.sum() + lengths.sum())
    rows_of = []
    for alpha in ALPHAS:
        good = overlap >= alpha - ROUNDING
        pairs = int(good.sum())
        codes, counts = np.unique(mine[good] * len(lengths) + theirs[good], return_counts=True)
        union = sizes[codes // max(len(lengths), 1)] + lengths[codes % max(len(lengths), 1)] - counts
        association = _part(float((counts * (counts / union)).sum()), pairs)
        detection = _part(pairs, both - pairs)
        located = float(overlap[good].mean()) if pairs else 1.0
        rows_of.append(((detection * association) ** 0.5, detection, association, located))
    return dict(zip(("HOTA", "DetA", "AssA", "LocA"), np.mean(rows_of, 0).tolist(), strict=True))
