"""Objects keep their rows together, and move as the image does."""

import ast
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.data import augment, dataset
from ultralytics.data.instances import FIELDS, Instances

seeds = st.integers(0, 10**6)


def some(seed, m=5):
    """Labelled objects, and their size of image."""
    rng = np.random.default_rng(seed)
    wh = rng.uniform(0.01, 0.4, (m, 2))
    boxes = np.concatenate([rng.uniform(wh / 2, 1 - wh / 2), wh], 1).astype(np.float32)
    return Instances(rng.integers(0, 9, m).astype(np.float32), boxes), (int(rng.integers(20, 900)), 480)


def test_rows_are_taken_and_joined_in_every_field():
    a, b = some(1)[0], some(2, 3)[0]
    both = Instances.concatenate([a, b])
    assert (len(a), len(both)) == (5, 8)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(both.keep(slice(5, 8)), field), getattr(b, field))
        np.testing.assert_array_equal(getattr(both.keep([0, 7]), field), getattr(both, field)[[0, 7]])
        assert len(getattr(both.keep(np.zeros(8, bool)), field)) == 0


@given(seeds)
def test_objects_come_back_from_the_frame_as_they_were_labelled(seed):
    labelled, (w, h) = some(seed)
    for placed in (labelled.place((w, h), (0, 0)), labelled.in_pixels(w, h)):
        tensors = placed.tensors(w, h)
        assert tuple(tensors) == FIELDS
        for field in FIELDS:
            np.testing.assert_allclose(tensors[field], getattr(labelled, field), atol=1e-5)


@given(seeds, st.floats(0.2, 3), st.floats(-50, 50))
def test_scaling_and_shifting_are_a_warp(seed, gain, by):
    placed = some(seed)[0].place((300, 200), (7, 9))
    matrix = np.array([[gain, 0, by], [0, 2 * gain, -by], [0, 0, 1]])
    moved = placed.scale((gain, 2 * gain)).shift((by, -by))
    np.testing.assert_allclose(moved.bboxes, placed.warp(matrix).bboxes, atol=1e-6)


@given(seeds, st.sampled_from([0, 1]))
def test_mirroring_twice_changes_nothing(seed, axis):
    placed = some(seed)[0].place((300, 300), (0, 0))
    once = placed.flip(300, axis)
    np.testing.assert_allclose(once.flip(300, axis).bboxes, placed.bboxes, atol=1e-9)
    assert (once.bboxes[:, 2:] >= once.bboxes[:, :2]).all()


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
