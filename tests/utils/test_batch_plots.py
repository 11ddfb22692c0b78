"""Masks, keypoints and rotated boxes on the pictures of a batch."""

import numpy as np
import torch

from ultralytics.utils.batch_plots import plot_images
from ultralytics.utils.images import imread


def drawn(tmp_path, **more):
    """A picture of two grey images, the first with one object, of the class 0."""
    batch = {
        "img": torch.full((2, 3, 128, 128), 90, dtype=torch.uint8), "im_file": ["a.png", "b.png"],
        "batch_idx": torch.zeros(1), "cls": torch.zeros(1), "bboxes": torch.tensor([[0.5, 0.5, 0.5, 0.25]]), **more,
    }  # fmt: skip
    file = tmp_path / "plot.png"
    plot_images(batch, file, {0: "thing"}, columns=2)
    return imread(file).astype(int)


def changed(image, plain, y, x):
    return bool(np.abs(image[y, x] - plain[y, x]).max() > 20)


def test_masks_tint_their_object_alone(tmp_path):
    plain = drawn(tmp_path)
    index = torch.zeros((2, 32, 32), dtype=torch.uint8)
    index[0, 14:18, 10:22] = 1
    for masks in (index, index[:1]):  # a map of each image; a mask of the one object
        image = drawn(tmp_path, masks=masks)
        assert changed(image, plain, 64, 50)
        assert not changed(image, plain, 74, 50)
        assert not changed(image, plain, 64, 128 + 50)


def test_visible_keypoints_are_dots(tmp_path):
    plain = drawn(tmp_path)
    image = drawn(tmp_path, keypoints=torch.tensor([[[0.4, 0.5, 2], [0.6, 0.5, 0]]]))
    assert changed(image, plain, 64, 51)
    assert not changed(image, plain, 64, 77)


def test_a_turned_box_is_drawn_turned(tmp_path):
    image = drawn(tmp_path, bboxes=torch.tensor([[0.5, 0.5, 0.5, 0.25, np.pi / 2]]))
    upright = drawn(tmp_path)
    across, down = (np.abs(image[64, :128] - 90).max(1), np.abs(image[:, 64] - 90).max(1))
    assert np.flatnonzero(across[5:-5] > 20).min() + 5 in range(45, 50)  # half of 32 pixels from the middle
    assert np.flatnonzero(down[30:100] > 20).max() + 30 in range(94, 99)
    assert (image != upright).any()
