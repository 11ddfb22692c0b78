"""Masks, keypoints and rotated boxes of a batch."""

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.utils.batch_plots import plot_images
from ultralytics.utils.colors import colors


def batch_of(images=2, rows=((0, 0), (0, 1), (1, 0)), **more):
    """Grey images of 96 pixels; rows of (image, class), whose boxes are small and in a corner."""
    table = torch.tensor(rows, dtype=torch.float32).view(-1, 2)
    return {
        "img": torch.full((images, 3, 96, 96), 100, dtype=torch.uint8),
        "im_file": [""] * images,
        "batch_idx": table[:, 0],
        "cls": table[:, 1],
        "bboxes": torch.tensor([[0.95, 0.95, 0.05, 0.05]]).expand(len(table), 4),
        **more,
    }


def drawn(batch, path):
    plot_images(batch, path, {0: "a", 1: "b"})
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def tinted(c):
    return (100 + np.array(colors(c))) / 2


@pytest.mark.parametrize("overlapping", [True, False])
def test_masks_lie_on_their_objects_image(tmp_path, overlapping):
    """A map per image whose numbers are rows of that image, or a mask per row."""
    maps = torch.zeros((2, 24, 24), dtype=torch.uint8)
    maps[0, 2:8, 2:8], maps[0, 2:8, 14:20], maps[1, 12:18, 2:8] = 1, 2, 1
    each = torch.stack([maps[0] == 1, maps[0] == 2, maps[1] == 1]).to(torch.uint8)
    image = drawn(batch_of(masks=maps if overlapping else each), tmp_path / "a.png")
    for (y, x), c in (((20, 20), 0), ((20, 68), 1), ((60, 96 + 20), 0)):
        assert np.abs(image[y, x] - tinted(c)).max() <= 1
    assert np.array_equal(image[60, 20], [100] * 3)


def test_as_many_masks_as_images_are_masks_of_rows_where_an_image_has_two(tmp_path):
    each = torch.zeros((2, 24, 24), dtype=torch.uint8)
    each[0, 2:8, 2:8] = each[1, 2:8, 14:20] = 1
    image = drawn(batch_of(rows=((0, 0), (0, 1)), masks=each), tmp_path / "a.png")
    assert np.abs(image[20, 20] - tinted(0)).max() <= 1
    assert np.abs(image[20, 68] - tinted(1)).max() <= 1
    assert np.array_equal(image[20, 96 + 68], [100] * 3)


def test_keypoints_that_are_not_visible_are_not_drawn(tmp_path):
    points = torch.tensor([[[0.25, 0.25, 2], [0.5, 0.5, 0]]])
    image = drawn(batch_of(1, ((0, 0),), keypoints=points), tmp_path / "a.png")
    assert np.array_equal(image[24, 24], colors(0))
    assert np.array_equal(image[48, 48], [100] * 3)


def test_rotated_boxes_are_drawn_turned(tmp_path):
    """A square turned by an eighth: its corners lie above, below and beside its centre."""
    box, image = torch.tensor([[0.5, 0.5, 0.5, 0.5, np.pi / 4]]), torch.full((1, 3, 240, 240), 100, dtype=torch.uint8)
    batch = batch_of(1, ((0, 0),), bboxes=box, img=image)
    image = drawn(batch, tmp_path / "a.png")
    reach = 0.5 * 240 / 2**0.5
    red = np.abs(image - colors(0)).max(-1) == 0
    assert red[int(120 + reach) - 2 : int(120 + reach) + 2, 120].any()
    assert red[120, int(120 - reach) - 2 : int(120 - reach) + 2].any()
    assert not red[62:66, 62:66].any()  # where an upright one has its corner


def test_a_batch_without_objects_is_drawn(tmp_path):
    for more in (
        {"masks": torch.zeros((2, 24, 24))},
        {"masks": torch.zeros((0, 24, 24)), "keypoints": torch.zeros(0, 17, 3)},
        {"bboxes": torch.zeros(0, 5)},
    ):
        image = drawn(batch_of(rows=(), **more), tmp_path / "a.png")
        assert (image == 100).any()


def test_maps_of_more_images_than_are_drawn(tmp_path):
    """A validation keeps the images that it draws, and the labels of the whole batch."""
    maps = torch.zeros((3, 24, 24), dtype=torch.uint8)
    maps[0, 2:8, 2:8], maps[0, 2:8, 14:20] = 1, 2
    batch = batch_of(images=1, rows=((0, 0), (0, 1), (1, 0), (2, 0)), masks=maps)
    image = drawn(batch, tmp_path / "a.png")
    assert np.abs(image[20, 20] - tinted(0)).max() <= 1
    assert np.abs(image[20, 68] - tinted(1)).max() <= 1
