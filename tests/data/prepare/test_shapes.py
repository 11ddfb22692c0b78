import hashlib
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.prepare import embedded, prepare_shapes, shapes
from ultralytics.data.scan import scan
from ultralytics.utils.errors import UserError


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(embedded, "COUNTS", {"train": 6, "val": 3, "test": 2})


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(str(p.relative_to(folder)).encode() + p.read_bytes() for p in files)).hexdigest()


def test_the_same_seed_gives_the_same_files(tmp_path, few):
    made = prepare_shapes(tmp_path / "a")
    prepare_shapes(tmp_path / "b")
    prepare_shapes(tmp_path / "c", seed=1)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")
    spec = load_dataset(made)
    labels = scan(spec.split("train"), spec.nc)
    assert len(labels) == 6
    assert labels.left_out == 0
    assert not labels.problems


def test_a_second_call_does_nothing_and_a_stopped_one_leaves_nothing(tmp_path, few, monkeypatch):
    out = tmp_path / "out"
    drawing, calls = embedded.draw, []

    def stopped(seed, squeezed):
        calls.append(seed)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return drawing(seed, squeezed)

    monkeypatch.setattr(embedded, "draw", stopped)
    with pytest.raises(KeyboardInterrupt):
        prepare_shapes(out)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(embedded, "draw", drawing)
    prepare_shapes(out)
    image = out / "images" / "train" / "0000.jpg"
    before = image.stat().st_mtime_ns
    prepare_shapes(out)
    assert image.stat().st_mtime_ns == before
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["splits"] == embedded.COUNTS
    with pytest.raises(UserError, match="seed"):
        prepare_shapes(out, seed=1)


def test_a_drawing_of_another_version_is_replaced(tmp_path, few, monkeypatch):
    prepare_shapes(tmp_path / "new")
    wanted = digest(tmp_path / "new")
    monkeypatch.setitem(embedded.SETS, "detect", embedded.SETS["detect"]._replace(version=1))
    prepare_shapes(tmp_path / "a")
    assert digest(tmp_path / "a") != wanted
    monkeypatch.undo()
    monkeypatch.setattr(embedded, "COUNTS", {"train": 6, "val": 3, "test": 2})
    prepare_shapes(tmp_path / "a")
    old = tmp_path / "b"  # as it was before there was a manifest
    (old / "images").mkdir(parents=True)
    (old / "done.json").write_text('{"version": 2, "seed": 0, "images": {}}')
    prepare_shapes(old)
    assert digest(tmp_path / "a") == digest(old) == wanted


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from(shapes.NAMES), st.floats(8, 50), st.floats(0, 6.3))
def test_boxes_are_exact(seed, kind, radius, angle):
    """A shape drawn alone on black: its box is the extent of its pixels."""
    rng = np.random.default_rng(seed)
    centre = tuple(rng.uniform(55, 145, 2))
    contours = shapes.outline(kind, centre, radius, angle)
    image = np.zeros((200, 200, 3))
    shapes._fill_in(image, contours, np.full((200, 200, 3), 255.0))
    ys, xs = np.nonzero(image[..., 0] > 8)
    (x1, y1), (x2, y2) = contours[0].min(0), contours[0].max(0)
    assert abs(xs.min() - x1) <= 1.5
    assert abs(xs.max() + 1 - x2) <= 1.5
    assert abs(ys.min() - y1) <= 1.5
    assert abs(ys.max() + 1 - y2) <= 1.5


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_every_box_is_inside_and_large_enough_to_see(seed):
    image, drawn = shapes.draw((seed,))
    h, w = image.shape[:2]
    assert drawn
    for cls, (x1, y1, x2, y2), *_ in drawn:
        assert 0 <= cls < len(shapes.NAMES)
        assert 0 <= x1 < x2 <= w
        assert 0 <= y1 < y2 <= h
        assert min(x2 - x1, y2 - y1) >= 3


def test_grounds_are_textured():
    image, _ = shapes.draw((5,))
    assert cv2.Laplacian(image, cv2.CV_64F).std() > 3


def test_a_place_that_cannot_be_written_is_told(tmp_path, few):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        prepare_shapes(tmp_path / "file" / "x")
