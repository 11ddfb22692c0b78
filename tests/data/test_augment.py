"""Training samples: images and boxes move alike, and chance comes from the seed."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.cfg.config import get_cfg
from ultralytics.data import augment
from ultralytics.data.augment import (
    Augmentation,
    Labelled,
    MixUp,
    Mosaic,
    RandomFlip,
    RandomHSV,
    RandomPerspective,
    letterbox_layout,
)
from ultralytics.data.instances import Instances

BOXES = np.array([[0.5, 0.5, 0.4, 0.3], [0.2, 0.8, 0.2, 0.2]], np.float32)


CLASSES = np.array([3, 7], np.float32)


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def smooth_image(h, w, seed=0):
    """A picture without edges, so that half a pixel's shift changes little."""
    small = rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    return cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC)


def picture(h=120, w=160, seed=0):
    return Labelled(smooth_image(h, w, seed), Instances(CLASSES, BOXES))


@given(st.integers(0, 10**6))
def test_resizing_into_place_equals_warping_the_canvas(seed):
    """The short way of drawing is the long way's picture, at most half a pixel off, with the same boxes."""
    g = rng(seed)
    pictures = [picture(int(g.integers(40, 161)), 160, seed + i) for i in range(4)]
    layout = Mosaic(160)(pictures, g)
    m, gain = RandomPerspective(translate=0.1, scale=0.5).matrix(layout.canvas, layout.frame, g)
    short = augment._draw_scaled(layout, gain, m[0, 2], m[1, 2], np.empty((160, 160, 3), np.uint8))
    full = augment._draw_warped(layout, m, gain, np.empty((160, 160, 3), np.uint8))
    difference = np.abs(short.image.astype(int) - full.image.astype(int)).max(-1)
    assert np.mean(difference > 24) < 0.06  # only the tiles' edges differ
    every = {tuple(np.round(b).astype(int)): c for b, c in zip(full.instances.bboxes, full.instances.cls, strict=True)}
    matched = sum(
        any(c == k and np.abs(b - np.array(o)).max() <= 2 for o, k in every.items())
        for b, c in zip(short.instances.bboxes, short.instances.cls, strict=True)
    )
    assert matched >= len(short.instances.bboxes) - 1  # one at the limit of what is kept may fall on the other side
    assert abs(len(short.instances.bboxes) - len(full.instances.bboxes)) <= 1


def test_a_mosaic_shows_four_pictures_around_a_point():
    pictures = [
        Labelled(np.full((100, 100, 3), v, np.uint8), Instances(CLASSES[:1], BOXES[:1])) for v in (10, 60, 110, 160)
    ]
    layout = Mosaic(100)(pictures, rng(3))
    canvas = augment._draw_warped(layout, np.eye(3), 1.0, np.empty((100, 100, 3), np.uint8))
    xc, yc = layout.tiles[3].x, layout.tiles[3].y
    assert 50 <= xc <= 150
    assert 50 <= yc <= 150
    assert layout.canvas == (200, 200)
    assert canvas.image[max(yc - 1, 0), max(xc - 1, 0)].tolist() in ([10] * 3, [114] * 3)
    corners = [(t.x < xc, t.y < yc) for t in layout.tiles]
    assert corners == [(True, True), (False, True), (True, False), (False, False)]


def test_boxes_follow_a_rotation():
    image = np.zeros((200, 200, 3), np.uint8)
    cv2.rectangle(image, (60, 80), (119, 99), (255, 255, 255), -1)
    layout = letterbox_layout(
        Labelled(image, Instances(np.zeros(1, np.float32), np.array([[0.45, 0.45, 0.3, 0.1]], np.float32))), (200, 200)
    )
    perspective = RandomPerspective(degrees=45, translate=0, scale=0, shear=5)
    drawn = perspective(layout, rng(5))
    ys, xs = np.nonzero(drawn.image[..., 0] == 255)
    box = drawn.instances.bboxes[0]
    assert box[0] - 2 <= xs.min()
    assert xs.max() <= box[2] + 2
    assert abs(xs.min() - box[0]) < 3
    assert abs(ys.max() - box[3]) < 3


@given(
    st.integers(0, 10**6),
    st.floats(0, 180),
    st.floats(0, 0.9),
    st.floats(0, 0.9),
    st.floats(0, 30),
    st.floats(0, 0.001),
)
def test_boxes_stay_inside_whatever_the_transform(seed, degrees, translate, scale, shear, perspective):
    drawn = RandomPerspective(degrees, translate, scale, shear, perspective)(
        letterbox_layout(picture(), (160, 160)), rng(seed)
    )
    assert drawn.image.shape == (160, 160, 3)
    assert ((drawn.instances.bboxes >= 0) & (drawn.instances.bboxes <= 160)).all()
    assert (drawn.instances.bboxes[:, 2:] - drawn.instances.bboxes[:, :2] > 2).all()
    assert len(drawn.instances.cls) == len(drawn.instances.bboxes)


def test_hsv_by_matrix_equals_hsv_by_table():
    image = rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    hsv = RandomHSV()
    for gains in ([1.015, 1.7, 1.4], [0.985, 0.3, 0.6], [1.0, 1.0, 1.0], [1.2, 0.01, 1.9]):
        gains = np.array(gains)
        steps = np.arange(256)
        tables = [(steps * g).round() for g in gains]
        h, s, v = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV))
        by_table = cv2.merge([
            (tables[0] % 180).astype(np.uint8)[h], tables[1].clip(0, 255).astype(np.uint8)[s],
            tables[2].clip(0, 255).astype(np.uint8)[v],
        ])  # fmt: skip
        want = cv2.cvtColor(by_table, cv2.COLOR_HSV2RGB)
        difference = np.abs(hsv.apply(image, gains).astype(int) - want.astype(int))
        assert difference.max() <= 9  # a hue on the edge may round to its neighbour, which is 2 degrees off
        assert np.mean(difference > 1) < 0.02


def test_hsv_with_a_wide_hue_wraps_around():
    red = np.full((4, 4, 3), (0, 0, 255), np.uint8)
    assert RandomHSV().apply(red, np.array([1.9, 1.0, 1.0])).tolist() == red[..., ::-1].tolist()
    image = rng(2).integers(0, 256, (16, 16, 3), np.uint8)
    out = RandomHSV().apply(image, np.array([1.9, 1.0, 1.0])).astype(int)
    assert np.abs(out.max(-1) - image.max(-1).astype(int)).max() <= 1  # value is untouched


def test_no_jitter_leaves_the_colours():
    image = rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(RandomHSV(0, 0, 0)(image, rng()), image[..., ::-1])


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_flips_move_picture_and_boxes(direction):
    drawn = Labelled(
        rng().integers(0, 255, (20, 30, 3), np.uint8), Instances(CLASSES[:1], np.array([[2.0, 3.0, 10.0, 8.0]]))
    )
    once = RandomFlip(1.0, direction)(drawn, rng())
    x1, y1, x2, y2 = once.instances.bboxes[0].astype(int)
    patch = once.image[y1:y2, x1:x2]
    want = drawn.image[3:8, 2:10]
    np.testing.assert_array_equal(patch, want[:, ::-1] if direction == "horizontal" else want[::-1])
    assert RandomFlip(0.0, direction)(drawn, rng()) is drawn


def test_mixup_keeps_both():
    a = Labelled(np.full((4, 4, 3), 100, np.uint8), Instances(CLASSES, np.zeros((2, 4))))
    b = Labelled(np.full((4, 4, 3), 200, np.uint8), Instances(CLASSES[:1], np.ones((1, 4))))
    out = MixUp()(a, b, rng())
    assert 120 < out.image.mean() < 180
    assert out.instances.cls.tolist() == [3, 7, 3]


SETTINGS = [
    {}, {"mosaic": 0.0}, {"mixup": 1.0}, {"degrees": 10.0, "shear": 2.0, "flipud": 1.0}, {"bgr": 1.0, "hsv_h": 0.9},
    {"scale": 0.0, "translate": 0.0}, {"perspective": 0.001},
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_sample_is_a_function_of_its_seed(settings):
    augmentation = Augmentation(get_cfg(None, settings), 96)
    pictures = [picture(int(40 + 10 * i), 96, i) for i in range(5)]

    def draw(seed):
        return augmentation(0, (1, 2, 3, 4), lambda i: pictures[i], rng(seed))

    first, other, again = draw(1), draw(2), draw(1)
    assert first["img"].shape == (3, 96, 96)
    for key in first:
        assert first[key].equal(again[key]), key
    assert not first["img"].equal(other["img"])
    assert ((first["bboxes"] >= 0) & (first["bboxes"] <= 1)).all()
    assert not np.shares_memory(first["img"].numpy(), again["img"].numpy())


def test_partners_are_drawn_evenly_when_there_are_none():
    augmentation = Augmentation(get_cfg(), 64)
    out = augmentation(0, (), lambda i: picture(64, 64, i), rng())
    assert out["img"].shape == (3, 64, 64)


def test_an_image_without_boxes_is_a_sample():
    empty = Labelled(smooth_image(64, 64), Instances(np.zeros(0, np.float32), np.zeros((0, 4), np.float32)))
    for settings in SETTINGS:
        out = Augmentation(get_cfg(None, settings), 64)(0, (), lambda _: empty, rng())
        assert out["bboxes"].shape == (0, 4)
        assert out["cls"].shape == (0,)


def test_rectangular_samples_keep_their_frame():
    out = Augmentation(get_cfg(), 96)(0, (0,), lambda _: picture(), rng(), frame=(64, 96))
    assert out["img"].shape == (3, 64, 96)
    assert math.isfinite(float(out["bboxes"].sum()))
