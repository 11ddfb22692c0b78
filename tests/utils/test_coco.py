"""COCO's figures against pycocotools, on made-up sets of every kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.coco import NAMES, made, same
from ultralytics.data.prepare.names import COCO_IDS
from ultralytics.utils.coco import Seen, coco_figures, predictions


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6), crowds=st.sampled_from([0.0, 0.3]), whole=st.booleans(), masks=st.booleans(),
)  # fmt: skip
def test_they_are_pycocotools(seed, crowds, whole, masks):
    same(made(seed, crowds=crowds, whole=whole, masks=masks), NAMES)


def test_areas_at_the_borders_count_on_both_sides():
    """As COCO's: an object of exactly 32² is small and medium, one of 96² medium and large."""
    for area, sizes in ((1024.0, "SM"), (9216.0, "ML"), (1023.99, "S"), (9216.01, "L")):
        row = [0.0, 0, 60, 60]
        found = np.array([[*row, 0.9, 0]])
        seen = [Seen("a.jpg", (100, 100), found, np.array([[*row, 0, 0]]), np.array([area]))]
        figures = same(seen, {0: "a"})
        assert "".join(k for k in "SML" if figures[f"AP_{k}"] is not None) == sizes


def test_score_ties_and_empty_images():
    seen = made(11, images=8, objects=10, detections=60, whole=True)
    seen[2] = seen[2]._replace(truths=np.zeros((0, 6)))
    seen[5] = Seen("empty.jpg", (10, 10), np.zeros((0, 6)), np.zeros((0, 6)))
    assert len(np.unique(np.concatenate([s.found[:, 4] for s in seen]))) <= 5
    same(seen, NAMES)


@pytest.mark.parametrize(
    ("seen", "names"),
    [
        (made(1, nc=1), {0: "only"}),
        (made(2, images=3, detections=300, objects=40), NAMES),
        (made(3, objects=0), NAMES),
        (made(4, detections=0), NAMES),
        (made(5, images=1), {**NAMES, 7: "never seen"}),
    ],
    ids=["one class", "300 detections", "no objects", "no detections", "a class without objects"],
)
def test_odd_sets(seen, names):
    figures = same(seen, names)
    assert all(v is None or 0 <= v <= 1 for v in figures.values())


def test_perfect_detections():
    box = [10.0, 20.0, 50.0, 40.0]
    seen = [Seen("a.jpg", (100, 100), np.array([[*box, 0.9, 0]]), np.array([[*box, 0, 0]]))]
    figures = coco_figures(seen, {0: "a"})
    assert (figures["AP"], figures["AP_M"], figures["AP_S"]) == (pytest.approx(1), pytest.approx(1), None)
    assert figures["per_class"] == {"a": pytest.approx(1)}


def test_predictions_are_what_coco_reads():
    seen = [
        Seen("x/000000000139.jpg", (9, 9), np.array([[1, 2, 3, 4, 0.123456, 79.0]]), np.zeros((0, 6))),
        Seen("x/b c.jpg", (9, 9), np.array([[1.00049, 2, 3, 4, 1, 0.0]]), np.zeros((0, 6))),
    ]
    first, second = predictions(seen, COCO_IDS)
    assert first == {
        "image_id": 139, "file_name": "000000000139.jpg", "category_id": 90, "bbox": [1, 2, 3, 4], "score": 0.12346,
    }  # fmt: skip
    assert (second["image_id"], second["category_id"], second["bbox"][0]) == ("b c", 1, 1.0)
    assert predictions(seen, range(1, 81))[0]["category_id"] == 80
