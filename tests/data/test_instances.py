"""Objects keep their rows together, and move as the image does."""

import ast
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.data import augment, dataset
from ultralytics.data.instances import FIELDS, Instances
from ultralytics.data.polygons import Polygons
from ultralytics.data.targets import OBJECTS
from ultralytics.utils.ops import segment2box

seeds = st.integers(0, 10**6)


def some(seed, m=5):
    """Labelled objects with polygons and keypoints in their boxes, and their size of image."""
    plain, size = boxes_alone(seed, m)
    rng = np.random.default_rng(seed)
    low, wh = plain.bboxes[:, :2] - plain.bboxes[:, 2:] / 2, plain.bboxes[:, 2:]
    extremes = np.array([[0, 0.5], [0.5, 0], [1, 0.5], [0.5, 1]])  # so that the box is the polygon's
    shapes = [np.concatenate([extremes, rng.random((int(rng.integers(0, 9)), 2))]) for _ in range(m)]
    polygons = Polygons.of([(a + s * b).astype(np.float32) for a, b, s in zip(low, wh, shapes, strict=True)])
    points = low[:, None] + rng.random((m, 3, 2)) * wh[:, None]
    seen = rng.integers(0, 3, (m, 3, 1))
    return Instances(plain.cls, plain.bboxes, polygons, np.concatenate([points, seen], 2).astype(np.float32)), size


def boxes_alone(seed, m=5):
    """Labelled boxes, and their size of image."""
    rng = np.random.default_rng(seed)
    wh = rng.uniform(0.01, 0.4, (m, 2))
    boxes = np.concatenate([rng.uniform(wh / 2, 1 - wh / 2), wh], 1).astype(np.float32)
    return Instances(rng.integers(0, 9, m).astype(np.float32), boxes), (int(rng.integers(20, 900)), 480)


def test_rows_are_taken_and_joined_in_every_field():
    a, b = some(1)[0], some(2, 3)[0]
    both = Instances.concatenate([a, b])
    assert (len(a), len(both)) == (5, 8)
    for field in FIELDS:
        same(getattr(both.keep(slice(5, 8)), field), getattr(b, field))
        same(getattr(both.keep([0, 7]), field), getattr(both, field)[[0, 7]])
        assert len(getattr(both.keep(np.zeros(8, bool)), field)) == 0
    boxes = Instances.concatenate([boxes_alone(1)[0], boxes_alone(2)[0]]).keep([0, 7])
    assert (boxes.segments, boxes.keypoints) == (None, None)


def same(a, b, atol=0.0):
    if isinstance(a, Polygons):
        np.testing.assert_array_equal(a.offsets, b.offsets)
        a, b = a.points, b.points
    np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@given(seeds)
def test_objects_come_back_from_the_frame_as_they_were_labelled(seed):
    labelled, (w, h) = some(seed)
    for placed in (labelled.place((w, h), (0, 0)), labelled.in_pixels(w, h)):
        tensors = placed.tensors(w, h)
        assert tuple(tensors) == OBJECTS[:3]
        for field in tensors:
            np.testing.assert_allclose(tensors[field], getattr(labelled, field), atol=1e-5)
        assert tuple(boxes_alone(seed)[0].place((w, h), (0, 0)).tensors(w, h)) == ("cls", "bboxes")
    for corner in ((0, 0), (-7, 30)):
        back = labelled.place((w, h), corner).label((w, h), corner)
        for field in FIELDS:
            same(getattr(back, field), getattr(labelled, field), 1e-5)


@given(seeds, st.floats(0.2, 3), st.floats(-50, 50))
def test_scaling_and_shifting_are_a_warp(seed, gain, by):
    placed = some(seed)[0].place((300, 200), (7, 9))
    matrix = np.array([[gain, 0, by], [0, 2 * gain, -by], [0, 0, 1]])
    moved = placed.scale((gain, 2 * gain)).shift((by, -by))
    for field in FIELDS:
        same(getattr(moved, field), getattr(placed.warp(matrix), field), 1e-4)
    np.testing.assert_allclose(moved.bboxes, moved.segments.bounds(), atol=1e-4)
    plain = boxes_alone(seed)[0].place((300, 200), (7, 9))
    np.testing.assert_allclose(
        plain.scale((gain, 2 * gain)).shift((by, -by)).bboxes, plain.warp(matrix).bboxes, atol=1e-6
    )


@given(seeds, st.sampled_from([0, 1]))
def test_mirroring_twice_changes_nothing(seed, axis):
    placed = some(seed)[0].place((300, 300), (0, 0))
    once = placed.flip(300, axis)
    for field in FIELDS:
        same(getattr(once.flip(300, axis), field), getattr(placed, field), 1e-9)
    assert (once.bboxes[:, 2:] >= once.bboxes[:, :2]).all()
    np.testing.assert_allclose(once.bboxes, once.segments.bounds(), atol=1e-4)


def test_left_and_right_keypoints_change_places_in_a_mirror():
    points = np.array([[[10, 1, 2], [30, 2, 1], [20, 3, 0]]], np.float32)
    one = Instances(np.zeros(1, np.float32), np.array([[10, 1, 30, 3]], np.float32), keypoints=points)
    mirrored = one.flip(100, 0, (1, 0, 2)).keypoints
    assert mirrored.tolist() == [[[70, 2, 1], [90, 1, 2], [80, 3, 0]]]
    assert one.flip(100, 1).keypoints.tolist() == [[[10, 99, 2], [30, 98, 1], [20, 97, 0]]]
    assert points[0, 0, 0] == 10  # in memory of its own


def test_keypoints_outside_are_out_of_sight_and_polygons_are_cut():
    points = np.array([[[-5, 20, 2], [20, 20, 1], [20, 120, 2], [100, 0, 2]]], np.float64)
    square = Polygons.of([np.array([[-10, 10], [30, 10], [30, 30], [-10, 30.0]])])
    one = Instances(np.zeros(1, np.float32), np.array([[-10, 10, 30, 30.0]]), square, points)
    cut = one.clip((0, 0), (100, 100))
    assert cut.keypoints.tolist() == [[[0, 20, 0], [20, 20, 1], [20, 100, 0], [100, 0, 2]]]
    assert cut.bboxes.tolist() == cut.segments.bounds().tolist() == [[0, 10, 30, 30]]
    assert points[0, 0].tolist() == [-5, 20, 2]


def test_less_of_an_object_is_worth_keeping_where_its_outline_is_known():
    boxes = np.array([[95, 0, 195, 50.0]])
    outline = Polygons.of([np.array([[95, 0], [195, 0], [195, 50], [95, 50.0]])])
    for polygons, kept in ((None, False), (outline, True)):
        one = Instances(np.zeros(1, np.float32), boxes, polygons)
        assert one.clip((0, 0), (100, 100)).worth_keeping(one, 1.0).tolist() == [kept]


def test_boxes_and_keypoints_move_as_the_references_do(fixtures):
    z = np.load(fixtures / "affine_labels.npz")
    width, height = (int(n) for n in z["size"])
    cls, matrix = np.zeros(5, np.float32), z["M"].astype(np.float64)
    placed = Instances(cls, z["boxes"].astype(np.float64), keypoints=z["keypoints"].astype(np.float64))
    moved = placed.warp(matrix)
    np.testing.assert_allclose(moved.keypoints[..., :2], z["keypoints_out"][..., :2], atol=1e-3)
    cut = moved.clip((0, 0), (width, height))
    np.testing.assert_array_equal(cut.keypoints[..., 2], z["keypoints_out"][..., 2])
    np.testing.assert_allclose(moved.bboxes, z["boxes_from_boxes"], atol=1e-3)


def test_polygons_move_as_the_references_do_and_are_cut_where_they_cross_the_edge(fixtures):
    """The reference takes the points inside for the whole of what is left; ours goes on to the edge."""
    z = np.load(fixtures / "affine_labels.npz")
    size = z["size"].astype(np.float64)
    outlines = Polygons.of(list(z["segments"].astype(np.float64)))
    moved = Instances(np.zeros(5, np.float32), outlines.bounds(), outlines).warp(z["M"].astype(np.float64))
    theirs = np.stack([segment2box(one, *size) for one in moved.segments.points.reshape(5, 40, 2)])
    np.testing.assert_allclose(theirs, z["boxes_from_segments"], atol=1e-3)
    ours = moved.clip((0, 0), size)
    for i, (segment, box) in enumerate(zip(z["segments_out"], z["boxes_from_segments"], strict=True)):
        points = moved.segments.one(i)
        inside = ((points >= 0) & (points <= size)).all(1)
        np.testing.assert_allclose(points[inside], segment[inside], atol=1e-3)
        assert (ours.bboxes[i] * [1, 1, -1, -1] <= box * [1, 1, -1, -1] + 1e-3).all()
        if inside.all():
            np.testing.assert_allclose(ours.bboxes[i], box, atol=1e-3)


def test_what_is_cut_too_far_is_not_worth_keeping():
    boxes = np.array([[0, 0, 50, 50], [96, 0, 145, 50], [0, 0, 1, 50], [5, 5, 9, 9.0]])
    before = Instances(np.zeros(4, np.float32), boxes)
    after = before.clip((0, 0), (100, 100))
    assert after.worth_keeping(before, 1.0).tolist() == [True, False, False, True]
    assert not after.worth_keeping(before, 4.0)[0]  # a sixteenth of what it was


def test_nothing_else_names_the_kinds_of_annotation():
    """Augmentation and datasets move instances as a whole: another kind does not touch them."""
    for module in (augment, dataset):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        assert not {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} & set(FIELDS), module.__name__
