"""A rendered sequence: boxes of one class, each of its own colour, that move, hide each other, enter and leave; and a
network that finds them by their colours, as detectors do: nearly, and not always."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

SIZE = (96, 160)  # height and width, multiples of the stride
VISIBLE = 0.6  # part of a rectangle that must be seen to be found
# Of dark patches: without texture nothing tells that the camera stands still.
GROUND = np.random.default_rng(7).integers(0, 60, (SIZE[0] // 8, SIZE[1] // 8)).repeat(8, 0).repeat(8, 1)
GROUND = np.repeat(GROUND[..., None], 3, 2).astype(np.uint8)


@dataclass(frozen=True)
class Drawn:
    """A rectangle."""

    color: tuple[int, int, int]  # BGR
    start: tuple[float, float]  # upper left corner in frame 1, pixels
    speed: tuple[float, float]
    size: tuple[int, int]
    frames: tuple[int, int] = (1, 10**9)


# The second passes in front of the first and hides it for a few frames; the third enters late, the fourth leaves.
SCENE = (
    Drawn((0, 0, 255), (10, 40), (1.5, 0.0), (14, 18)),
    Drawn((0, 255, 0), (140, 30), (-1.8, 0.0), (22, 34)),
    Drawn((255, 0, 0), (-20, 4), (1.6, 0.2), (18, 14), (12, 10**9)),
    Drawn((0, 255, 255), (90, 75), (2.4, 0.1), (20, 16)),
    Drawn((255, 255, 0), (30, 74), (0.4, 0.0), (16, 18)),
)


def draw(number):
    """A frame (H, W, 3) BGR, numbered from 1, and the boxes that can be seen: id → xyxy."""
    image, owner = GROUND.copy(), np.zeros(SIZE, int)
    for i, one in enumerate(SCENE, 1):
        if one.frames[0] <= number <= one.frames[1]:
            x, y = (round(s + (number - 1) * v) for s, v in zip(one.start, one.speed, strict=True))
            part = slice(max(y, 0), max(y + one.size[1], 0)), slice(max(x, 0), max(x + one.size[0], 0))
            image[part], owner[part] = one.color, i
    boxes = {}
    for i in range(1, len(SCENE) + 1):
        ys, xs = np.nonzero(owner == i)
        if len(ys) >= VISIBLE * np.prod(SCENE[i - 1].size):
            boxes[i] = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], float)
    return image, boxes


class ColorFinder:
    """A `Backend` that finds the rectangles of SCENE.

    Args:
        noise: standard deviation of the corners, pixels.
        misses: part of the boxes that is not found.
    """

    names, nc, stride, fixed = {0: "box"}, 1, 32, None
    device, dtype = torch.device("cpu"), torch.float32
    layout = torch.contiguous_format

    def __init__(self, noise=0.6, misses=0.05, seed=0):
        self.noise, self.misses, self.rng = noise, misses, np.random.default_rng(seed)
        self.calls = 0

    def __call__(self, images):
        """(B, 4 + nc, n) centre, width, height, score."""
        rows = np.zeros((len(images), len(SCENE), 5), np.float32)
        for image, found in zip(images.numpy(), rows, strict=True):
            self.calls += 1
            for one, row in zip(SCENE, found, strict=True):
                rgb = np.array(one.color[::-1], np.float32)[:, None, None] / 255
                ys, xs = np.nonzero((np.abs(image - rgb) < 0.35).all(0))
                if len(ys) >= VISIBLE * np.prod(one.size) and self.rng.random() >= self.misses:
                    x1, y1, x2, y2 = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) + self.shake()
                    row[:] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, self.rng.uniform(0.62, 0.95)
        return torch.from_numpy(rows).mT, None

    def shake(self):
        """By how much the corners of a box are wrong."""
        return self.rng.normal(0, self.noise, 4)


def mot_text(frames):
    """The ground truth of frames 1 to `frames`, in the MOT challenge's format."""
    lines = []
    for number in range(1, frames + 1):
        for i, (x1, y1, x2, y2) in draw(number)[1].items():
            lines.append(f"{number},{i},{x1:g},{y1:g},{x2 - x1:g},{y2 - y1:g},1,-1,-1,-1\n")
    return "".join(lines)
