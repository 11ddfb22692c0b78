"""Mirrored copies of objects are pasted where they cover little."""

import numpy as np
import pytest

from ultralytics.data.copy_paste import copy_paste, paste
from ultralytics.data.instances import Instances
from ultralytics.data.polygons import Polygons


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def squares(*corners):
    boxes = np.array([[x, y, x + 10, y + 10] for x, y in corners], np.float64)
    outlines = [box[[[0, 1], [2, 1], [2, 3], [0, 3]]] for box in boxes]
    return Instances(np.arange(len(corners), dtype=np.float32), boxes, Polygons.of(outlines))


def test_copies_equal_the_references(fixtures):
    z = np.load(fixtures / "copy_paste.npz")
    image, outlines = z["img"].copy(), Polygons.of(list(z["segments"].astype(np.float64)))
    objects = Instances(z["cls"][:, 0], z["boxes_xyxy"].astype(np.float64), outlines)
    found, mask = copy_paste(objects, image.shape[:2], 1.0, rng())
    if mask is not None:
        paste(image, mask)
    rows = np.column_stack([found.cls, found.bboxes]), np.column_stack([z["cls_out"], z["boxes_out"]])
    ours, theirs = (array[np.lexsort(array.astype(np.float64).round(2).T)] for array in rows)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    np.testing.assert_array_equal(image, z["img_out"])


def test_a_copy_is_the_object_in_a_mirror():
    image = rng().integers(0, 255, (40, 60, 3), np.uint8)
    before = image.copy()
    found, mask = copy_paste(squares((5, 7)), (40, 60), 1.0, rng())
    paste(image, mask)
    assert found.bboxes.tolist() == [[5, 7, 15, 17], [45, 7, 55, 17]]
    assert found.segments[1:].bounds().tolist() == [[45, 7, 55, 17]]
    assert found.cls.tolist() == [0, 0]
    np.testing.assert_array_equal(image[7:18, 44:55], before[7:18, 5:16][:, ::-1])
    np.testing.assert_array_equal(image[:, :44], before[:, :44])


@pytest.mark.parametrize("objects", [squares((25, 7)), squares(), squares((5, 7), (45, 7))])
def test_nothing_is_drawn_nor_chosen_where_no_copy_fits(objects):
    one, other = rng(), rng()
    assert copy_paste(objects, (40, 60), 1.0, one) == (objects, None)
    assert one.random() == other.random()


def test_a_part_of_the_copies_is_pasted():
    objects = squares(*((0, 12 * i) for i in range(8)))
    assert len(copy_paste(objects, (100, 60), 0.5, rng())[0]) == 12
    assert len(copy_paste(objects, (100, 60), 0.05, rng())[0]) == 8
    plain = Instances(objects.cls, objects.bboxes)
    assert copy_paste(plain, (100, 60), 1.0, rng())[0] is plain  # boxes have no outline to cut along
