import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from ultralytics.utils import masks as module
from ultralytics.utils import ops
from ultralytics.utils.masks import (
    crop_mask,
    filled,
    filled_part,
    masks2segments,
    object_masks,
    object_parts,
    process_mask,
    process_mask_native,
    scale_masks,
)


@pytest.fixture
def numbers(fixtures):
    return {k: torch.from_numpy(v) for k, v in np.load(fixtures / "process_mask.npz").items()}


def test_masks_equal_the_reference(numbers):
    """At most one pixel in 200 differs, where a logit is near 0."""
    protos, coefficients, shape = numbers["protos"], numbers["coefficients"], numbers["shape"].tolist()
    low = process_mask(protos, coefficients, numbers["boxes"], shape)
    up = process_mask(protos, coefficients, numbers["boxes"], shape, upsample=True)
    native = process_mask_native(protos, coefficients, numbers["native_boxes"], numbers["native_shape"].tolist())
    for got, said in ((low, "mask_low"), (up, "mask_up"), (native, "mask_native")):
        assert got.shape == numbers[said].shape
        assert (got.bool() != numbers[said]).float().mean() <= 0.005
    assert ops.process_mask is process_mask
    none = process_mask(protos, coefficients[:0], numbers["boxes"][:0], shape, upsample=True)
    assert none.shape == (0, *shape)
    assert process_mask_native(protos, coefficients[:0], numbers["boxes"][:0], shape).shape == (0, *shape)


@given(st.lists(st.lists(st.floats(-50, 200) | st.just(float("nan")), min_size=4, max_size=4), max_size=4))
@settings(max_examples=25, deadline=None)
def test_masks_cut_box_by_box_are_those_cut_as_a_whole(boxes):
    """Whatever the boxes are: outside, turned round, not a number."""
    rng = torch.Generator().manual_seed(0)
    protos, coefficients = torch.randn(3, 16, 20, generator=rng), torch.randn(len(boxes), 3, generator=rng)
    corners = torch.tensor(boxes).reshape(-1, 4)
    found = process_mask(protos, coefficients, corners, (64, 80))
    logits = torch.einsum("nk,khw->nhw", coefficients, protos)
    assert torch.equal(found, (crop_mask(logits, corners / 4) > 0).float())


def test_masks_at_full_precision_are_those_of_every_pixel(numbers):
    """Cut by the box among the pixels of the result: the reference's, but for a strip along the box."""
    shape = numbers["shape"].tolist()
    protos, coefficients, boxes = numbers["protos"].float(), numbers["coefficients"].float(), numbers["boxes"]
    found = object_masks(protos, coefficients, boxes, shape)
    logits = interpolate(torch.einsum("nk,khw->nhw", coefficients, protos)[None], shape, mode="bilinear")[0]
    plain = crop_mask((logits > 0).float(), boxes)
    assert (found != plain).float().mean() < 1e-4
    for mask, said, (x1, y1, x2, y2) in zip(
        found.bool(), numbers["mask_up"], boxes.round().int().tolist(), strict=True
    ):
        inner = slice(y1 + 8, y2 - 8), slice(x1 + 8, x2 - 8)
        if mask[inner].numel():
            assert (mask[inner] != said[inner]).float().mean() <= 0.005


def test_masks_of_an_image_lie_where_its_letterbox_does():
    """A ramp among the prototypes is 0 at column 8; the image is 30 wide, twice enlarged, with 2 pixels before it."""
    protos = (torch.arange(16.0) - 8 + 0.01).expand(1, 4, 16).contiguous()
    boxes = torch.tensor([[0.0, 0, 30, 8]])
    mask = object_masks(protos, torch.ones(1, 1), boxes, (16, 64), (8, 30))[0]
    assert mask.shape == (8, 30)
    # Column 8 of the prototypes is at pixel 34 of the frame, and at (34 - 2) / 2 = 16 of the image, whose pixel 16
    # has its centre at 16.5.
    assert mask.sum(1).tolist() == [14.0] * 8
    assert mask[0, 16] == 1
    assert mask[0, 15] == 0


@settings(max_examples=25)
@given(
    st.integers(0, 2**31), st.sampled_from([(32, 40), (40, 32), (24, 24)]), st.sampled_from([(37, 51), (90, 20), None])
)
def test_regions_equal_whole_maps(seed, frame, image):
    generator = torch.Generator().manual_seed(seed)
    protos = torch.randn((4, frame[0] // 4, frame[1] // 4), generator=generator)
    coefficients = torch.randn((3, 4), generator=generator)
    size = torch.tensor((image or frame)[::-1] * 2)
    corners = torch.rand((3, 4), generator=generator) * (size + 8) - 4
    boxes = torch.cat([corners[:, :2].minimum(corners[:, 2:]), corners[:, :2].maximum(corners[:, 2:])], 1)
    found = object_masks(protos, coefficients, boxes, frame, image)
    whole = object_masks(protos, coefficients, torch.tensor([[0.0, 0, *size[:2]]]).expand(3, 4), frame, image)
    assert torch.equal(found, crop_mask(whole, boxes))
    for mask, (left, top, part) in zip(found, object_parts(protos, coefficients, boxes, frame, image), strict=True):
        again = torch.zeros_like(mask)
        again[top : top + part.shape[0], left : left + part.shape[1]] = torch.from_numpy(part)
        assert torch.equal(mask, again)


@pytest.mark.parametrize("at_once", [2**26, 1])
def test_masks_made_all_at_once_are_those_made_one_by_one(numbers, monkeypatch, at_once):
    """As a GPU makes them."""
    protos, coefficients, boxes, shape = (numbers[k] for k in ("protos", "coefficients", "boxes", "shape"))
    expected = object_masks(protos, coefficients, boxes, shape.tolist())
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    logits, rows, columns = module._grid_of(protos, coefficients, shape.tolist(), None, None)
    assert (module._all_at_once(logits, boxes.float(), rows, columns) != expected).float().mean() < 1e-4


def test_maps_are_scaled_without_their_padding():
    maps = torch.zeros(1, 1, 8, 16)
    maps[..., 2:6, :] = 1  # an image four times as wide as high, 2 pixels above and below
    assert scale_masks(maps, (16, 64)).min() == 1
    assert scale_masks(maps[..., 2:, :], (16, 64), padding=False).shape == (1, 1, 16, 64)
    assert scale_masks(maps[:, :0], (16, 64)).shape == (1, 0, 16, 64)


def cyclic(points, said):
    """Points begin anywhere on an outline."""
    assert points.shape == said.shape
    if not len(said):
        return True
    return any(np.allclose(np.roll(points, k, 0), said, atol=1e-3) for k in range(len(said)))


def test_outlines_equal_the_reference(fixtures):
    z = np.load(fixtures / "masks2segments.npz")
    for i, (largest, concat) in enumerate(
        zip(masks2segments(z["masks"]), masks2segments(torch.from_numpy(z["masks"]), "concat"), strict=True)
    ):
        assert cyclic(largest, z[f"largest{i}"])
        assert sorted(map(tuple, concat)) == sorted(map(tuple, z[f"concat{i}"]))
    with pytest.raises(ValueError, match="strategy"):
        masks2segments(z["masks"], "most")


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(0, 6))
def test_one_outline_holds_every_part(seed, parts):
    """Drawn, it gives the mask back, but for bridges a pixel wide."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((60, 80), np.uint8)
    for _ in range(parts):
        x, y, w, h = rng.integers(0, (70, 50, 25, 25))
        mask[y : y + h + 1, x : x + w + 1] = 1
    (outline,) = masks2segments(mask[None], "all")
    assert len(outline) == 0 if not parts else len(outline) >= 1
    drawn = np.zeros_like(mask)
    if parts:
        cv2.fillPoly(drawn, [outline.astype(np.int32)], 1)
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0], -1, 1, -1)
    assert not (filled & ~drawn).any()
    assert cv2.erode(drawn & ~filled, np.ones((3, 3), np.uint8)).sum() == 0


def test_an_outline_is_filled_where_pixels_have_their_centres():
    """A ring whose hole is reached by a bridge, a second part, and pixels at the edge."""
    ring = [(1, 1), (7, 1), (7, 7), (1, 7), (1, 1), (3, 3), (3, 5), (5, 5), (5, 3), (3, 3)]
    inside = filled(np.array(ring, float), 8, 9)
    expected = np.zeros((8, 9), np.uint8)
    expected[1:7, 1:7], expected[3:5, 3:5] = 1, 0
    assert inside.tolist() == expected.tolist()
    # The triangle's slope leads through centres: what lies on it to the left belongs to it.
    assert filled(np.array([(0, 0), (4, 0), (0, 4)]), 3, 3).tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert filled(np.array([(-5, -5), (50, -5), (50, 50), (-5, 50)]), 3, 2).all()
    assert not filled(np.zeros((0, 2)), 3, 2).any()


def test_filling_works_on_what_an_outline_spans():
    outline = np.array([(700, 500), (720, 500), (720, 510), (700, 510)], float)
    left, top, part = filled_part(outline, 3000, 4000)
    assert (left, top, part.shape, part.all()) == (700, 500, (10, 20), True)
    left, top, part = filled_part(outline - (710, 505), 3000, 4000)  # half of it is outside of the image
    assert (left, top, part.shape, part.all()) == (0, 0, (5, 10), True)
    assert not filled_part(outline + 5000, 3000, 4000)[2].any()
    tracemalloc.start()
    mask = filled(outline, 3000, 4000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (mask.sum(), mask[500:510, 700:720].all()) == (200, True)
    assert peak < 1.1 * mask.nbytes


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(-3, 12), st.floats(-3, 12)), min_size=3, max_size=9),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_filling_is_by_the_winding_number(points, size):
    """Point by point, by the angle that the outline goes around it."""
    inside = filled(np.array(points), *size)
    for row in range(size[0]):
        for column in range(size[1]):
            away = np.array(points) - (column + 0.5, row + 0.5)
            after = np.roll(away, -1, 0)
            cross = away[:, 0] * after[:, 1] - away[:, 1] * after[:, 0]
            length = np.hypot(*(after - away).T)
            if (np.abs(cross) < 1e-6 * np.maximum(length, 1)).any():
                continue  # on the outline, or on an edge's line: either side will do
            turn = np.arctan2(cross, (away * after).sum(1)).sum() / (2 * np.pi)
            assert inside[row, column] == (round(turn) != 0)
