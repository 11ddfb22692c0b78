import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ultralytics.data.prepare.outlines import (
    MOST_PARTS,
    MOST_REGION_PARTS,
    area_of,
    clip,
    decode_rle,
    join,
    outline_mask,
    trace,
)
from ultralytics.utils import masks

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def filled(points, shape):
    """The pixels whose centres lie inside an outline, by the even-odd rule, in a finer grid."""
    h, w = shape
    fine = np.zeros((h * 16, w * 16), np.uint8)
    cv2.fillPoly(fine, [np.round(points * 16 - 0.5).astype(np.int32)], 1)
    return fine[8::16, 8::16] > 0


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_every_pixel_is_inside_its_outline_and_no_other(mask):
    parts = trace(mask)
    inside = np.zeros(mask.shape, bool)
    for part in parts:
        inside ^= filled(part, mask.shape)
    assert (inside == mask).all()


def test_a_square_with_a_hole_keeps_its_box_and_area():
    mask = np.zeros((30, 40), bool)
    mask[5:25, 10:30] = True
    mask[10:20, 15:25] = False
    joined = outline_mask(mask)
    assert joined.min(0).tolist() == [10, 5]
    assert joined.max(0).tolist() == [30, 25]
    assert area_of(joined) == pytest.approx(300, abs=1.5)  # eight corners are cut by an eighth of a pixel
    assert outline_mask(np.zeros((4, 4), bool)) is None


def test_parts_are_joined_by_bridges_without_width():
    squares = [np.array([[x, 0.0], [x + 2, 0], [x + 2, 2], [x, 2]]) for x in (0, 10, 5)]
    joined = join(squares)
    assert len(joined) == 12 + 2 * 2
    assert area_of(joined) == pytest.approx(12)
    assert {tuple(p) for p in joined.tolist()} == {tuple(p) for s in squares for p in s.tolist()}


def test_an_outline_is_cut_to_the_image():
    diamond = np.array([[0.0, -10], [10, 0], [0, 10], [-10, 0]])
    inside = clip(diamond, (20, 20))
    assert area_of(inside) == pytest.approx(50)
    assert inside.min() >= 0
    assert len(clip(diamond - 100, (20, 20))) == 0
    assert clip(diamond + 10, (20, 20)).tolist() == (diamond + 10).tolist()


@settings(max_examples=30, deadline=None)
@given(MASKS)
def test_run_lengths_are_those_of_pycocotools(mask):
    coco = pytest.importorskip("pycocotools.mask")
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    found = decode_rle(encoded["counts"].decode(), list(mask.shape))
    assert (found == mask).all()


def test_large_run_lengths_are_those_of_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((300, 400), np.uint8)
    cv2.circle(mask, (200, 140), 90, 1, -1)
    found = decode_rle(coco.encode(np.asfortranarray(mask))["counts"].decode(), [300, 400])
    assert (found == mask).all()


def test_run_lengths_as_numbers_and_those_that_are_none():
    assert decode_rle([1, 2, 3], [2, 3]).tolist() == [[False, True, False], [True, False, False]]
    for counts, size in (
        ([1, 2], [2, 3]), ([-1, 7], [2, 3]), ([1.0, 5], [2, 3]), ("\0", [2, 3]), ("oooooooooooooooooo", [2, 3]),
        ("o", [2, 3]), (None, [2, 3]), ([6], [2]), ([6], [0, 6]), ([6], "23"), ("11", [1 << 20, 1 << 20]),
    ):  # fmt: skip
        assert decode_rle(counts, size) is None


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_a_joined_outline_filled_is_its_mask(mask):
    """Several parts and holes, as a label file and a scan keep them: ten digits, single precision."""
    outline = outline_mask(mask)
    if outline is None:
        return
    h, w = mask.shape
    kept = np.array([float(f"{v:.10g}") for v in (outline / (w, h)).ravel()], np.float32).reshape(-1, 2)
    assert (masks.filled(kept * np.array([w, h], np.float64), h, w) == mask).all()


def test_a_crowd_may_have_many_parts():
    mask = np.zeros((60, 60), bool)
    mask[::3, ::3] = True  # 400 of them
    outline = outline_mask(mask, MOST_REGION_PARTS)
    assert (masks.filled(outline, 60, 60) == mask).all()
    assert masks.filled(outline_mask(mask), 60, 60).sum() == MOST_PARTS
