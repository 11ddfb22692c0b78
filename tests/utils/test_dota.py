"""DOTA's figures, by hand and against a plain implementation."""

import tracemalloc

import numpy as np
import pytest

from tests.helpers import dota as plain
from ultralytics.utils.coco import CROWD, DIFFICULT
from ultralytics.utils.dota import RotatedImage, _part_inside, dota_figures, largest_pieces, shared_areas
from ultralytics.utils.types import ANY_CLASS

NAMES = {0: "ship", 1: "plane"}


def square(x, y, side=10.0):
    """The corners of an upright square from its upper left corner."""
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


def detections(*rows):
    """Rows x, y (upper left of a square of 10 pixels), score and perhaps a class."""
    made = [[x + 5, y + 5, 10, 10, score, *(more or [0]), 0] for x, y, score, *more in rows]
    return np.array(made, np.float64).reshape(-1, 7)


def image(found=(), objects=()):
    """An image; an object is x, y of a square of 10 pixels, and perhaps its kind and class."""
    kinds = [(more or [0])[0] for _, _, *more in objects]
    classes = [more[1] if len(more) > 1 else 0 for _, _, *more in objects]
    polygons = [square(x, y) for x, y, *_ in objects]
    return RotatedImage(detections(*found), polygons, np.array(classes, float), np.array(kinds, np.int64))


def of_ships(*images):
    return dota_figures(images, NAMES)["per_class"]["ship"]


def test_areas_that_are_known():
    boxes = np.array(
        [[5, 5, 10, 10, 0], [5, 5, 10, 4, np.pi / 2], [0, 0, 2, 2, np.pi / 4], [5, 5, 2, 2, 1], [0, 0, 9, 0, 1]]
    )
    lower = [[0, 0], [10, 0], [10, 5], [0, 5]]
    arrow = [[0, 0], [10, 5], [0, 10], [4, 5]]  # not convex: of 5 by 10 and a dent of 4 by 10
    polygons = np.array(
        [lower, lower, [[0, -9], [9, -9], [9, 9], [0, 9]], [[20, 0], [30, 0], [30, 9], [20, 9]], lower], float
    )
    assert shared_areas(boxes, polygons) == pytest.approx([50, 20, 2, 0, 0])
    assert shared_areas(boxes[:1], np.array([arrow], float)) == pytest.approx([30])
    assert shared_areas(boxes[:1], np.array([arrow[::-1]], float)) == pytest.approx([30]), "either direction"


def test_areas_are_those_of_clipped_polygons():
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.uniform(0, 20, (300, 2)), rng.uniform(0.1, 25, (300, 2)), rng.uniform(-4, 4, 300)])
    # Stars around a point, so that no edges cross; some points twice, some edges upright.
    angles = np.sort(rng.uniform(0, 2 * np.pi, (300, 6)), 1)
    far = rng.uniform(1, 12, (300, 6, 1))
    polygons = np.stack([np.cos(angles), np.sin(angles)], 2) * far + rng.uniform(0, 20, (300, 1, 2))
    polygons[:50, 1] = polygons[:50, 0]
    polygons[50:100, 3, 0] = polygons[50:100, 2, 0]
    boxes[100:150, 4] = 0
    found = shared_areas(boxes, polygons)
    wanted = [
        abs(plain.area(plain.clipped(p.tolist(), plain.turned(*b)))) for b, p in zip(boxes, polygons, strict=True)
    ]
    assert found == pytest.approx(wanted, abs=1e-9)
    assert (found > 1).sum() > 150


def test_average_precision_by_hand():
    """Down the scores: right, wrong, right, of three objects."""
    found = of_ships(image([(0, 0, 0.9), (50, 50, 0.8), (20, 0, 0.7)], [(0, 0), (20, 0), (40, 0)]))
    assert found["AP50"] == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert found["AP50_voc07"] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)  # recalls 0 to 0.3, and 0.4 to 0.6
    assert found["objects"] == 3


def test_three_tenths_are_below_the_fourth_point():
    """As in DOTA's script, whose fourth point is 0.30000000000000004."""
    found = of_ships(image([(20 * i, 0, 0.9) for i in range(3)], [(20 * i, 0) for i in range(10)]))
    assert found["AP50_voc07"] == pytest.approx(3 / 11)
    assert found["AP50"] == pytest.approx(0.3)


def test_a_second_detection_of_an_object_is_wrong():
    found = of_ships(image([(0, 0, 0.9), (0, 1, 0.8), (20, 0, 0.7)], [(0, 0), (20, 0)]))
    assert found["AP50"] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_a_detection_belongs_to_what_it_overlaps_most_even_if_that_is_taken():
    """The second would fit the other object by 0.54 as well: VOC does not give it there."""
    found = of_ships(image([(0, 0, 0.9), (1, 0, 0.8)], [(0, 0), (4, 0)]))
    assert found["AP50"] == pytest.approx(1 / 2)


def test_difficult_objects_do_not_count():
    objects = [(0, 0), (20, 0, DIFFICULT)]
    assert of_ships(image([(20, 0, 0.9), (20, 1, 0.8), (0, 0, 0.7)], objects))["AP50"] == 1
    assert of_ships(image([(0, 0, 0.7)], objects))["objects"] == 1
    # By 0.33 it is not the object's, and wrong.
    assert of_ships(image([(25, 0, 0.9), (0, 0, 0.7)], objects))["AP50"] == pytest.approx(1 / 2)
    assert of_ships(image([(20, 0, 0.9)], [(20, 0, DIFFICULT)])) is None, "no object counts"


def test_what_lies_in_a_crowd_does_not_count():
    field = RotatedImage(
        detections((20, 20, 0.9), (50, 50, 0.8), (36, 36, 0.8), (0, 0, 0.7)),
        [square(0, 0), square(20, 20, 20)],
        np.array([0.0, ANY_CLASS]),
        np.array([0, CROWD]),
    )
    # The first lies in it, the second elsewhere, of the third 16 % do.
    assert of_ships(field)["AP50"] == pytest.approx(1 / 3)


def test_of_equal_scores_the_first_image_comes_first():
    right, wrong = image([(0, 0, 0.5)], [(0, 0)]), image([(0, 0, 0.5)], [(50, 0)])
    assert of_ships(right, wrong)["AP50"] == pytest.approx(1 / 2)
    assert of_ships(wrong, right)["AP50"] == pytest.approx(1 / 2 * 1 / 2)


def test_empty_images_and_classes_without_objects():
    figures = dota_figures([image(), image([(0, 0, 0.9, 1)]), image([(0, 0, 0.8)], [(0, 0)])], NAMES)
    assert figures["per_class"]["plane"] is None
    assert figures["mAP50"] == figures["mAP50-95"] == 1, "the mean is over classes with objects"
    assert of_ships(image([], [(0, 0)]))["AP50"] == 0
    nothing = dota_figures([image([(0, 0, 0.9)])], NAMES)
    assert nothing == {
        **dict.fromkeys(("mAP50", "mAP75", "mAP50-95", "mAP50_voc07")),
        "per_class": {"ship": None, "plane": None},
    }
    assert dota_figures([], NAMES)["mAP50"] is None


def test_classes_of_one_name_are_measured_each():
    seen = [image([(0, 0, 0.9)], [(0, 0), (50, 50, 0, 1)])]  # one right detection of class 0, none of class 1
    figures = dota_figures(seen, {0: "a", 1: "a"})
    assert figures["mAP50"] == 0.5
    assert {k: row["AP50"] for k, row in figures["per_class"].items()} == {"a": 1, "a (1)": 0}


def test_an_overlap_must_be_above_the_threshold():
    """Of squares of 10 that are moved by d, it is (10 - d) / (10 + d)."""
    found = of_ships(image([(1.4, 0, 0.9), (22, 0, 0.8)], [(0, 0), (20, 0)]))  # 0.754 and 0.667
    assert (found["AP50"], found["AP75"]) == (1, pytest.approx(1 / 2))
    assert found["AP50-95"] == pytest.approx((4 + 2 * 1 / 2) / 10)  # up to 0.65 both, up to 0.75 one
    half = RotatedImage(detections((0, 0, 0.9)), [square(0, 0)[:, ::1] * (1, 0.5)], np.zeros(1), np.zeros(1, np.int64))
    assert of_ships(half)["AP50"] == 0, "exactly half is not more"


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_a_plain_implementation(seed):
    rng, images = np.random.default_rng(seed), []
    for _ in range(12):
        m = int(rng.integers(0, 12))
        boxes = np.column_stack([rng.uniform(0, 80, (m, 2)), rng.uniform(8, 30, (m, 2)), rng.uniform(0, np.pi, m)])
        classes, kinds = rng.integers(0, 2, m).astype(float), np.where(rng.random(m) < 0.25, DIFFICULT, 0)
        # Corners as people click them: no exact rectangles.
        polygons = [np.array(plain.turned(*b)) + rng.uniform(-0.5, 0.5, (4, 2)) for b in boxes]
        copies = np.repeat(np.arange(m), rng.integers(0, 4, m))
        near = boxes[copies] + rng.normal(0, 1, (len(copies), 5)) * (2, 2, 2, 2, 0.1)
        away = np.column_stack([rng.uniform(0, 80, (5, 2)), rng.uniform(8, 30, (5, 2)), rng.uniform(0, np.pi, 5)])
        found = np.concatenate([near, away])
        found[:, 2:4] = found[:, 2:4].clip(1)
        labels = np.concatenate([classes[copies], rng.integers(0, 2, 5)])
        score = rng.integers(1, 50, len(found)) / 50  # many are equal
        rows = np.column_stack([found[:, :4], score, labels, found[:, 4]])
        images.append(RotatedImage(rows, polygons, classes, kinds.astype(np.int64)))
    figures = dota_figures(images, NAMES)
    for number, name in NAMES.items():
        found = [
            (i, row[4], plain.turned(*row[:4], row[6]))
            for i, each in enumerate(images) for row in each.found.tolist() if row[5] == number
        ]  # fmt: skip
        objects = {
            i: [
                (p.tolist(), kind == DIFFICULT)
                for p, cls, kind in zip(each.polygons, each.classes, each.kinds, strict=True) if cls == number
            ]
            for i, each in enumerate(images)
        }  # fmt: skip
        curves = [plain.evaluate(found, objects, t) for t in np.linspace(0.5, 0.95, 10)]
        areas = [plain.ap(*curve) for curve in curves]
        of_class = figures["per_class"][name]
        assert (of_class["AP50"], of_class["AP75"]) == pytest.approx((areas[0], areas[5]))
        assert of_class["AP50-95"] == pytest.approx(np.mean(areas))
        assert of_class["AP50_voc07"] == pytest.approx(plain.ap_voc07(*curves[0]))
        assert 0.2 < areas[0] < 0.95
    assert figures["mAP50"] == pytest.approx(np.mean([row["AP50"] for row in figures["per_class"].values()]))


def test_many_boxes_are_compared_in_parts(monkeypatch):
    rng = np.random.default_rng(3)
    places = rng.uniform(0, 400, (60, 2))
    many = image([(x, y, s) for (x, y), s in zip(places, rng.random(60), strict=True)], [(x, y) for x, y in places])
    wanted = dota_figures([many], NAMES)
    monkeypatch.setattr("ultralytics.utils.dota.POINTS", 400)
    assert dota_figures([many], NAMES) == wanted


def test_the_largest_piece_of_an_object_is_kept():
    whole = np.array([[0, 0], [30, 0], [30, 10], [0, 10]], float)
    left, right = whole * (0.7, 1), whole * (0.7, 1) + np.array([9, 0])  # they share 12 of 21
    other = whole + np.array([0, 3])
    pieces = [left, whole, right, other]
    boxes = np.array([[*(p.min(0) + p.max(0)) / 2, *np.ptp(p, 0), 0] for p in pieces])
    assert largest_pieces(pieces, boxes, np.array([0, 1, 2, 1])).tolist() == [False, True, False, True]
    assert largest_pieces(pieces, boxes, np.array([0, 0, 0, 0])).tolist() == [True] * 4, "of one tile: other objects"
    # Without the whole one, the first of the two is kept.
    assert largest_pieces([left, right], boxes[[0, 2]], np.array([0, 1])).tolist() == [True, False]


def test_memory_is_bounded_by_points():
    """A crowd's outline of 1000 points beside many detections: 2 ** 20 points at a time, not 2 ** 18 pairs."""
    turn = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    crowd = np.stack([np.cos(turn), np.sin(turn)], 1) * 50
    boxes = np.tile([[0.0, 0, 10, 10, 0], [90, 0, 10, 10, 0], [50, 0, 20, 10, 0]], (3000, 1))
    tracemalloc.start()
    part = _part_inside(boxes, [crowd])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part[:2].tolist() == pytest.approx([1, 0])
    assert part[2] == pytest.approx(0.5, abs=0.02)
    assert (part.reshape(-1, 3) == part[:3]).all()
    assert peak < 500 << 20
