"""COCO's figures against pycocotools, on made-up sets of every kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.coco import NAMES, made, same, summarised
from ultralytics.data.prepare.names import COCO_IDS
from ultralytics.utils.coco import FIGURES, Seen, coco_figures, predictions, within


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


def test_detections_of_other_classes_go_with_their_shapes_and_change_no_figure():
    found = np.array([[0, 0, 9, 9, 0.9, 7], [0, 0, 60, 60, 0.8, 0], [5, 5, 9, 9, 0.7, 1.0]])
    seen = Seen("a.jpg", (100, 100), found, np.array([[0, 0, 60, 60, 0, 0.0]]), found_shapes=["x", "y", "z"])
    left = within(seen, {0: "a"})
    assert (left.found.tolist(), left.found_shapes) == ([found[1].tolist()], ["y"])
    assert within(left, {0: "a"}) is left
    plain = seen._replace(found_shapes=None)
    assert within(plain, {0: "a", 1: "b"}).found_shapes is None
    assert coco_figures([within(plain, {0: "a"})], {0: "a"}) == coco_figures([plain], {0: "a"})


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


def test_classes_of_one_name_have_a_figure_each():
    found, truths = np.array([[10.0, 20, 50, 40, 0.9, 0]]), np.array([[10.0, 20, 50, 40, 0, 0], [90.0, 90, 9, 9, 1, 0]])
    seen = [Seen("a.jpg", (100, 100), found, truths)]
    assert coco_figures(seen, {0: "a", 1: "a"})["per_class"] == {"a": pytest.approx(1), "a (1)": 0}


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


def document_of(seen, shape_of):
    """An instances document and results with masks or poses, by images whose objects and detections have some."""
    annotations, results = [], []
    for i, s in enumerate(seen, 1):
        for (x, y, w, h, cls, crowd), shape in zip(s.truths.tolist(), s.truth_shapes, strict=True):
            row = {"id": len(annotations) + 1, "image_id": i, "category_id": int(cls), "bbox": [x, y, w, h]}
            annotations.append(row | {"area": w * h, "iscrowd": int(crowd)} | shape_of(shape))
        for (x, y, w, h, score, cls), shape in zip(s.found.tolist(), s.found_shapes, strict=True):
            row = {"image_id": i, "category_id": int(cls), "bbox": [x, y, w, h], "score": score}
            results.append(row | shape_of(shape))
    images = [{"id": i, "height": s.shape[0], "width": s.shape[1]} for i, s in enumerate(seen, 1)]
    categories = [{"id": c, "name": n} for c, n in NAMES.items()]
    return {"images": images, "annotations": annotations, "categories": categories}, results


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_figures_of_masks_are_pycocotools(seed):
    """Objects are polygons (the diamond of their box), detections run lengths of other boxes' diamonds."""
    mask = pytest.importorskip("hotcoco").mask

    def diamond(row):
        x, y, w, h = row[:4]
        return [[x, y + h / 2, x + w / 2, y, x + w, y + h / 2, x + w / 2, y + h]]

    def encoded(row, shape):
        drawn = np.zeros(shape, np.uint8, order="F")
        x, y, w, h = (int(v) for v in row[:4])
        drawn[max(y, 0) : y + h, max(x, 0) : x + w] = 1
        return mask.encode(drawn)

    seen = [
        s._replace(
            truth_shapes=[diamond(row) for row in s.truths], found_shapes=[encoded(row, s.shape) for row in s.found]
        )
        for s in made(seed)
    ]
    document, results = document_of(seen, lambda shape: {"segmentation": shape})
    theirs = summarised(document, results, "segm").stats.tolist()
    ours = coco_figures(seen, NAMES, "segm")
    assert [ours[k] for k in FIGURES] == pytest.approx([None if v < 0 else v for v in theirs], abs=1e-9)
    rows = predictions(seen, range(3), "segm")
    assert all(isinstance(row["segmentation"]["counts"], str) for row in rows)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), points=st.sampled_from([17, 4]))
def test_figures_of_poses_are_pycocotools(seed, points):
    rng = np.random.default_rng(seed)
    seen, sigmas = [], None if points == 17 else [0.25] * 4

    def pose(row, marks):
        xy = np.asarray(row[:2]) + rng.random((points, 2)) * np.asarray(row[2:4])
        return np.column_stack([xy.round(), marks])

    for s in made(seed):
        truths = [pose(row, rng.integers(0, 3, points)) for row in s.truths]
        found = [pose(row, rng.random(points)) for row in s.found]
        for i, row in enumerate(s.found):  # some are right
            same_class = [k for k, t in enumerate(s.truths) if t[4] == row[5]]
            if same_class and rng.random() < 0.6:
                found[i][:, :2] = truths[same_class[0]][:, :2] + rng.normal(0, 2, (points, 2))
        seen.append(s._replace(truth_shapes=truths, found_shapes=found))

    def shape_of(shape):
        return {"keypoints": shape.ravel().tolist(), "num_keypoints": int((shape[:, 2] > 0).sum())}

    document, results = document_of(seen, shape_of)
    stats = [None if v < 0 else v for v in summarised(document, results, "keypoints", sigmas).stats.tolist()]
    ours = coco_figures(seen, NAMES, "keypoints", sigmas)
    assert [ours[k] for k in ("AP", "AP50", "AP75", "AP_M", "AP_L", "AR_100", "AR_M", "AR_L")] == pytest.approx(
        [*stats[:6], *stats[8:]], abs=1e-9
    )
    assert len(predictions(seen, range(3), "keypoints")[0]["keypoints"]) == 3 * points if results else True
