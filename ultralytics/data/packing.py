"""Puts the plans of a batch into tensors, which the device of the run draws (`utils.device_drawing`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ultralytics.data.drawing import Plan, Scene
from ultralytics.data.letterbox import FILL
from ultralytics.utils.device_drawing import BGR, GAINS, JITTERED, NUMBERS, SAMPLE, SCENE, TILE
from ultralytics.utils.types import Float64Array, UInt8Array


def pack(plans: Sequence[Plan], room: Callable[[int], Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Put what `utils.device_drawing.draw_plans` needs into two tensors.

    Args:
        plans: of the samples of a batch, of one size.
        room: gives a uint8 tensor of so many bytes.

    Returns:
        Pixels, uint8 (P, 3) BGR, the first of them grey; and numbers, float64 (B, …).
    """
    assert len({(s.places is None, p.gains is None) for p in plans for s in p.scenes}) == 1  # settled by the run's keys
    assert all(s.pasted is None for p in plans for s in p.scenes)
    numbers = np.zeros((len(plans), NUMBERS))
    numbers[:, SAMPLE + 8 :: SCENE] = 1  # the matrix of a scene that a sample lacks must not divide by 0
    images: list[UInt8Array] = [np.full((1, 1, 3), FILL, np.uint8)]
    first = 1
    for row, plan in zip(numbers, plans, strict=True):
        warped = plan.scenes[0].places is None
        row[:JITTERED] = *plan.frame, warped, len(plan.scenes), plan.weight, plan.upside_down, plan.mirrored
        row[JITTERED], row[BGR] = plan.gains is not None, plan.bgr
        if plan.gains is not None:
            row[GAINS:SAMPLE] = plan.gains
        for k, scene in enumerate(plan.scenes):
            at = row[SAMPLE + k * SCENE :][:SCENE]
            at[:9] = np.linalg.inv(scene.matrix).ravel()
            for i, (image, place) in enumerate(_parts_seen(scene)):
                at[9 + i * TILE :][:TILE] = first, image.shape[1], image.shape[0], *place
                images.append(image)
                first += image.shape[0] * image.shape[1]
    flat = torch.empty(3 * first, dtype=torch.uint8) if room is None else room(3 * first)
    pixels, first = flat.view(-1, 3), 0
    whole = pixels.numpy()
    for image in images:
        h, w = image.shape[:2]
        whole[first : first + h * w].reshape(h, w, 3)[...] = image
        first += h * w
    return pixels, torch.from_numpy(numbers)


def _parts_seen(scene: Scene) -> list[tuple[UInt8Array, tuple[int, int, int, int]]]:
    """List the visible parts of the tiles' images, and the place of each: in the frame, or on the canvas where that is
    warped."""
    layout, found = scene.layout, []
    if scene.places is not None:
        for tile, (part, place) in zip(layout.tiles, scene.places, strict=True):
            sx1, sy1, sx2, sy2 = part
            found.append((tile.source.image[sy1:sy2, sx1:sx2], place))
        return [f for f in found if f[0].size]
    left, top, right, bottom = _window(scene.matrix, layout.frame, layout.canvas)
    for tile in layout.tiles:
        x1, y1 = max(tile.seen[0], left), max(tile.seen[1], top)
        x2, y2 = min(tile.seen[2], right), min(tile.seen[3], bottom)
        if x2 > x1 and y2 > y1:
            seen = tile.source.image[y1 - tile.y : y2 - tile.y, x1 - tile.x : x2 - tile.x]
            found.append((seen, (x1, y1, x2, y2)))
    return found


def _window(m: Float64Array, frame: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the part of the canvas that the frame shows: x1, y1, x2, y2, a pixel more on each side than is read; all
    of it where a perspective puts some of the frame behind the eye."""
    h, w = frame
    corners = np.array([[0, 0, 1], [w, 0, 1], [0, h, 1], [w, h, 1]]) @ np.linalg.inv(m).T
    depth = corners[:, 2:]
    if depth.min() <= 0:
        return 0, 0, canvas[1], canvas[0]
    points = corners[:, :2] / depth
    x1, y1 = (int(v) for v in np.floor(points.min(0)) - 2)
    x2, y2 = (int(v) for v in np.ceil(points.max(0)) + 3)
    return x1, y1, x2, y2
