"""Images and labels of a task, drawn at random: the same for whoever asks. It needs torch alone."""

from __future__ import annotations

import torch
from torch import Tensor

OBJECTS = 8  # an image
SUFFIXES = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}  # of model YAMLs
KEYPOINTS = 17
RATIO = 4  # pixels of an image, along each side, that are one of its masks


def random_batch(task: str, images: int, imgsz: int, nc: int, objects: int = OBJECTS) -> dict[str, Tensor]:
    """Return a batch as a network of the task is trained with it.

    Args:
        images: how many; imgsz: their side, pixels; nc: classes of the labels; objects: of an image.

    Returns:
        `img` (B, 3, imgsz, imgsz), 0..1; `cls`; but for a classifier `batch_idx` and `bboxes` of the objects,
        and `masks` (index maps of ellipses), `keypoints` (17, 3) or angles.
    """
    img = torch.rand(images, 3, imgsz, imgsz)
    if task == "classify":
        return {"img": img, "cls": torch.randint(0, nc, (images,))}
    n = objects * images
    batch = {
        "img": img,
        "batch_idx": torch.arange(images).repeat_interleave(objects).float(),
        "cls": torch.randint(0, nc, (n, 1)).float(),
        "bboxes": torch.rand(n, 4) * 0.2 + 0.3,
    }
    centre, size = batch["bboxes"].chunk(2, 1)
    if task == "segment":
        batch["masks"] = _index_maps(batch["bboxes"].view(images, objects, 4), imgsz // RATIO)
    elif task == "pose":
        places = centre[:, None] + (torch.rand(n, KEYPOINTS, 2) - 0.5) * size[:, None]
        batch["keypoints"] = torch.cat([places, torch.randint(0, 3, (n, KEYPOINTS, 1)).float()], 2)
    elif task == "obb":
        batch["bboxes"] = torch.cat([batch["bboxes"], torch.rand(n, 1) * 1.5], 1)
    return batch


def _index_maps(boxes: Tensor, side: int) -> Tensor:
    """Return maps (B, side, side): i + 1 in the ellipse within the i-th of boxes (B, m, 4), 0 elsewhere."""
    at = (torch.arange(side) + 0.5) / side
    x, y, w, h = boxes[..., None, None].unbind(2)
    within = ((at - x) / w) ** 2 + ((at[:, None] - y) / h) ** 2 < 0.25
    numbers = torch.arange(1, boxes.shape[1] + 1)[None, :, None, None]
    return (within * numbers).amax(1).to(torch.uint8)
