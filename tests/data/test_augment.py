"""Training samples: images and boxes move alike, and chance comes from the seed."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.cfg.config import get_cfg
from ultralytics.data import augment
from ultralytics.data.augment import Augmentation, Mosaic, RandomPerspective, letterbox_layout
from ultralytics.data.drawing import Artist, Labelled, Plan, Scratch, draw_scene, jittered_rgb
from ultralytics.data.instances import Instances

BOXES = np.array([[0.5, 0.5, 0.4, 0.3], [0.2, 0.8, 0.2, 0.2]], np.float32)


CLASSES = np.array([3, 7], np.float32)


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def smooth_image(h, w, seed=0):
    """A picture without edges, so that half a pixel's shift changes little."""
    small = rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    return cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC)


def drawn(scene):
    return draw_scene(scene, np.empty((*scene.layout.frame, 3), np.uint8))


def picture(h=120, w=160, seed=0):
    return Labelled(smooth_image(h, w, seed), Instances(CLASSES, BOXES))


@given(st.integers(0, 10**6))
def test_resizing_into_place_equals_warping_the_canvas(seed):
    """The short way of drawing is the long way's picture, at most half a pixel off, with the same boxes."""
    g = rng(seed)
    pictures = [picture(int(g.integers(40, 161)), 160, seed + i) for i in range(4)]
    layout = Mosaic(160)(pictures, g)
    m, gain = RandomPerspective(translate=0.1, scale=0.5).matrix(layout.canvas, layout.frame, g)
    (short, few), (full, many) = augment._scaled_scene(layout, m, gain), augment._warped_scene(layout, m, gain)
    difference = np.abs(drawn(short).astype(int) - drawn(full).astype(int)).max(-1)
    assert np.mean(difference > 24) < 0.06  # only the tiles' edges differ
    every = {tuple(np.round(b).astype(int)): c for b, c in zip(many.bboxes, many.cls, strict=True)}
    matched = sum(
        any(c == k and np.abs(b - np.array(o)).max() <= 2 for o, k in every.items())
        for b, c in zip(few.bboxes, few.cls, strict=True)
    )
    assert matched >= len(few) - 1  # one at the limit of what is kept may fall on the other side
    assert abs(len(few) - len(many)) <= 1


def test_a_mosaic_shows_four_pictures_around_a_point():
    pictures = [
        Labelled(np.full((100, 100, 3), v, np.uint8), Instances(CLASSES[:1], BOXES[:1])) for v in (10, 60, 110, 160)
    ]
    layout = Mosaic(100)(pictures, rng(3))
    canvas = drawn(augment._warped_scene(layout, np.eye(3), 1.0)[0])
    xc, yc = layout.tiles[3].x, layout.tiles[3].y
    assert 50 <= xc <= 150
    assert 50 <= yc <= 150
    assert layout.canvas == (200, 200)
    assert canvas[max(yc - 1, 0), max(xc - 1, 0)].tolist() in ([10] * 3, [114] * 3)
    corners = [(t.x < xc, t.y < yc) for t in layout.tiles]
    assert corners == [(True, True), (False, True), (True, False), (False, False)]


def test_boxes_follow_a_rotation():
    image = np.zeros((200, 200, 3), np.uint8)
    cv2.rectangle(image, (60, 80), (119, 99), (255, 255, 255), -1)
    layout = letterbox_layout(
        Labelled(image, Instances(np.zeros(1, np.float32), np.array([[0.45, 0.45, 0.3, 0.1]], np.float32))), (200, 200)
    )
    perspective = RandomPerspective(degrees=45, translate=0, scale=0, shear=5)
    scene, objects = perspective(layout, rng(5))
    ys, xs = np.nonzero(drawn(scene)[..., 0] == 255)
    box = objects.bboxes[0]
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
    scene, objects = RandomPerspective(degrees, translate, scale, shear, perspective)(
        letterbox_layout(picture(), (160, 160)), rng(seed)
    )
    assert drawn(scene).shape == (160, 160, 3)
    assert ((objects.bboxes >= 0) & (objects.bboxes <= 160)).all()
    assert (objects.bboxes[:, 2:] - objects.bboxes[:, :2] > 2).all()
    assert len(objects.cls) == len(objects.bboxes)


def test_hsv_by_matrix_equals_hsv_by_table():
    image = rng(1).integers(0, 256, (64, 64, 3), np.uint8)
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
        difference = np.abs(jittered_rgb(image, gains, Scratch()).astype(int) - want.astype(int))
        assert difference.max() <= 9  # a hue on the edge may round to its neighbour, which is 2 degrees off
        assert np.mean(difference > 1) < 0.02


def test_hsv_with_a_wide_hue_wraps_around():
    red = np.full((4, 4, 3), (0, 0, 255), np.uint8)
    assert jittered_rgb(red, np.array([1.9, 1.0, 1.0]), Scratch()).tolist() == red[..., ::-1].tolist()
    image = rng(2).integers(0, 256, (16, 16, 3), np.uint8)
    out = jittered_rgb(image, np.array([1.9, 1.0, 1.0]), Scratch()).astype(int)
    assert np.abs(out.max(-1) - image.max(-1).astype(int)).max() <= 1  # value is untouched


def test_no_jitter_leaves_the_colours():
    image = rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(jittered_rgb(image, None, Scratch()), image[..., ::-1])
    still = {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}
    assert plan_of(still, Labelled(image, Instances(CLASSES, BOXES))).gains is None


def plan_of(settings, *pictures, side=None):
    """Plan a sample of the first picture, without anything random that is not in the settings."""
    plain = {"mosaic": 0.0, "scale": 0.0, "translate": 0.0, "fliplr": 0.0}
    augmentation = Augmentation(get_cfg(None, {**plain, **settings}), side or pictures[0].image.shape[0])
    return augmentation.plan(0, range(len(pictures)), lambda i: pictures[i], rng())


@pytest.mark.parametrize("key", ["fliplr", "flipud"])
def test_flips_move_picture_and_boxes(key):
    box = np.array([[6 / 30, 5.5 / 30, 8 / 30, 5 / 30]], np.float32)
    source = Labelled(rng().integers(0, 255, (30, 30, 3), np.uint8), Instances(CLASSES[:1], box))
    plan = plan_of({key: 1.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}, source)
    x1, y1, x2, y2 = plan.instances.bboxes[0].round().astype(int)
    patch = Artist()(plan)[y1:y2, x1:x2, ::-1]
    want = source.image[3:8, 2:10]
    np.testing.assert_array_equal(patch, want[:, ::-1] if key == "fliplr" else want[::-1])


def test_mixup_keeps_both():
    images = [np.full((40, 40, 3), v, np.uint8) for v in (100, 200)]
    objects = Instances(CLASSES, BOXES), Instances(CLASSES[:1], BOXES[:1])
    scenes = [
        RandomPerspective(0, 0, 0)(letterbox_layout(Labelled(*s), (40, 40)), rng())
        for s in zip(images, objects, strict=True)
    ]
    plan = Plan([v for v, _ in scenes], 0.25, False, False, None, False, Instances.concatenate([o for _, o in scenes]))
    assert (Artist()(plan) == 175).all()
    assert plan.instances.cls.tolist() == [3, 7, 3]
    drawn = plan_of({"mixup": 1.0}, picture(), picture(seed=1))
    assert len(drawn.scenes) == 2
    assert 0.2 < drawn.weight < 0.8


SETTINGS = [
    {}, {"mosaic": 0.0}, {"mixup": 1.0}, {"degrees": 10.0, "shear": 2.0, "flipud": 1.0}, {"bgr": 1.0, "hsv_h": 0.9},
    {"scale": 0.0, "translate": 0.0}, {"perspective": 0.001},
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_sample_is_a_function_of_its_seed(settings):
    augmentation = Augmentation(get_cfg(None, settings), 96)
    pictures = [picture(int(40 + 10 * i), 96, i) for i in range(5)]

    def draw(seed):
        return augmentation.sample(augmentation.plan(0, (1, 2, 3, 4), lambda i: pictures[i], rng(seed)))

    first, other, again = draw(1), draw(2), draw(1)
    assert first["img"].shape == (3, 96, 96)
    for key in first:
        assert first[key].equal(again[key]), key
    assert not first["img"].equal(other["img"])
    assert ((first["bboxes"] >= 0) & (first["bboxes"] <= 1)).all()
    assert not np.shares_memory(first["img"].numpy(), again["img"].numpy())


def test_partners_are_drawn_evenly_when_there_are_none():
    augmentation = Augmentation(get_cfg(), 64)
    out = augmentation.sample(augmentation.plan(0, (), lambda i: picture(64, 64, i), rng()))
    assert out["img"].shape == (3, 64, 64)


def test_an_image_without_boxes_is_a_sample():
    empty = Labelled(smooth_image(64, 64), Instances(np.zeros(0, np.float32), np.zeros((0, 4), np.float32)))
    for settings in SETTINGS:
        augmentation = Augmentation(get_cfg(None, settings), 64)
        out = augmentation.sample(augmentation.plan(0, (), lambda _: empty, rng()))
        assert out["bboxes"].shape == (0, 4)
        assert out["cls"].shape == (0,)


def test_rectangular_samples_keep_their_frame():
    augmentation = Augmentation(get_cfg(), 96)
    out = augmentation.sample(augmentation.plan(0, (0,), lambda _: picture(), rng(), frame=(64, 96)))
    assert out["img"].shape == (3, 64, 96)
    assert math.isfinite(float(out["bboxes"].sum()))
