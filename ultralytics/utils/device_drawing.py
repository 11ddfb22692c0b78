"""Draws the training samples of a batch with torch, on the device of the run (`augment_on=gpu`).

Workers decode images and plan samples; `data.packing.pack` puts the pixels that can be seen and the plans into two
tensors. `draw_plans` makes the batch of them: bilinear sampling as OpenCV's, four taps for every pixel, then colours.
It equals `data.drawing.Artist` up to rounding. It has no atomic operation and reads nothing back from the device, so
the same plans give the same batch, and the host never waits.

Legend: B samples of H×W pixels, P pixels of all images; a sample shows one scene or two, and a scene up to four tiles,
each an image or part of one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor

from ultralytics.utils.types import Float64Array

SCENES, TILES = 2, 4  # of a sample, of a scene, at most
AT_ONCE = 2**21  # pixels that are drawn at a time, some 200 bytes for each, besides four for each pixel of the images
# The numbers of a sample, in this order; those of its scenes follow. WARPED and JITTERED hold for a whole batch.
HEIGHT, WIDTH, WARPED, SHOWN, WEIGHT, UPSIDE_DOWN, MIRRORED, JITTERED, BGR, GAINS = range(10)
SAMPLE = GAINS + 3
TILE = 7  # first pixel, width and height of the image; x1, y1, x2, y2 of its place
SCENE = 9 + TILE * TILES  # the matrix from frame to canvas, and the tiles
NUMBERS = SAMPLE + SCENES * SCENE


def draw_plans(pixels: Tensor, numbers: Tensor, plan: Float64Array) -> Tensor:
    """Draw a batch.

    Args:
        pixels: uint8 (P, 3), as `pack` has made them, on the device.
        numbers: float64 (B, …), as `pack` has made them, on the device.
        plan: the same in the memory of the host, which decides on them what there is to do.

    Returns:
        uint8 (B, 3, H, W) RGB, channels last.
    """
    count, height, width = len(plan), int(plan[0, HEIGHT]), int(plan[0, WIDTH])
    words = F.pad(pixels, (0, 1)).view(torch.int32).view(-1)  # a tap reads the channels of a pixel at once
    out = torch.empty((count, height, width, 3), dtype=torch.uint8, device=pixels.device)
    step = max(AT_ONCE // (height * width), 1)
    for i in range(0, count, step):
        out[i : i + step] = _draw_some(words, numbers[i : i + step], plan[i : i + step], (height, width))
    return out.permute(0, 3, 1, 2)


def _draw_some(words: Tensor, numbers: Tensor, plan: Float64Array, frame: tuple[int, int]) -> Tensor:
    """Draw some samples of a batch: (b, H, W, 3) RGB, whole numbers."""
    upside_down, mirrored = (numbers[:, i, None] > 0 for i in (UPSIDE_DOWN, MIRRORED))
    y, x = (torch.arange(n, dtype=torch.float64, device=words.device)[None] for n in frame)
    y, x = torch.where(upside_down, frame[0] - 1 - y, y), torch.where(mirrored, frame[1] - 1 - x, x)
    taps = _warped_taps if plan[0, WARPED] else _scaled_taps
    scenes = [numbers[:, SAMPLE + k * SCENE :][:, :SCENE] for k in range(SCENES)]
    image = _blend(words, *taps(scenes[0], y, x))
    if (plan[:, SHOWN] > 1).any():
        weight = numbers[:, WEIGHT, None, None, None].float()
        image = (image * weight + _blend(words, *taps(scenes[1], y, x)) * (1 - weight)).floor()
    rgb = image.flip(-1)
    if plan[0, JITTERED]:
        rgb = jitter(rgb, numbers[:, GAINS:SAMPLE].float()[:, None, None])
    if plan[:, BGR].any():
        rgb = torch.where(numbers[:, BGR, None, None, None] > 0, rgb.flip(-1), rgb)
    return rgb


Taps = tuple[tuple[Tensor, ...], Tensor, Tensor]  # four pixels: above left, above right, below left, below right; x, y


def _blend(words: Tensor, four: tuple[Tensor, ...], x: Tensor, y: Tensor) -> Tensor:
    """Interpolate between four pixels for each of (b, H, W), at the fractions x and y: (b, H, W, 3) whole numbers."""
    above_left, above_right, below_left, below_right = (_colours(words, t) for t in four)
    x, y = x[..., None], y[..., None]
    above, below = torch.lerp(above_left, above_right, x), torch.lerp(below_left, below_right, x)
    return torch.lerp(above, below, y).add_(0.5).floor_()


def _colours(words: Tensor, at: Tensor) -> Tensor:
    return words.index_select(0, at.reshape(-1)).view(torch.uint8).view(*at.shape, 4)[..., :3].float()


def _tiles_of(scene: Tensor) -> list[tuple[Tensor, ...]]:
    """List the tiles of scenes (b, …): first pixel, width, height, x1, y1, x2, y2, each (b, 1)."""
    return [scene[:, 9 + i * TILE :][:, :TILE, None].unbind(1) for i in range(TILES)]


def _scaled_taps(scene: Tensor, y: Tensor, x: Tensor) -> Taps:
    """Find the pixels of images that are resized into their places; their edges are repeated, as cv2.resize does.

    Args:
        scene: (b, …) numbers of the scenes.
        y, x: (b, H) and (b, W), pixels of the frame.
    """
    shape = len(scene), y.shape[1], x.shape[1]
    corner, right, down = (torch.zeros(shape, dtype=torch.int32, device=scene.device) for _ in range(3))
    fx, fy = (torch.zeros(shape, device=scene.device) for _ in range(2))
    for first, w, h, x1, y1, x2, y2 in _tiles_of(scene):
        across, column, more_x = _along(x, x1, x2, w)
        upward, line, more_y = _along(y, y1, y2, h)
        inside = upward[:, :, None] & across[:, None]
        at = (first[:, :, None] + line.floor()[:, :, None] * w[:, :, None] + column.floor()[:, None]).int()
        corner = torch.where(inside, at, corner)
        right = torch.where(inside, more_x.int()[:, None], right)
        down = torch.where(inside, (more_y * w).int()[:, :, None], down)
        fx = torch.where(inside, column.frac().float()[:, None], fx)
        fy = torch.where(inside, line.frac().float()[:, :, None], fy)
    return (corner, corner + right, corner + down, corner + right + down), fx, fy


def _along(at: Tensor, low: Tensor, high: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Along one axis, for pixels `at` of the frame and an image of `size` pixels in low..high: which of them are there,
    where in the image, and whether a pixel follows."""
    place = (high - low).clamp(min=1)
    where = ((at + 0.5 - low) * size / place - 0.5).clamp(min=0).minimum((size - 1).clamp(min=0))
    return (at >= low) & (at < high), where, where.floor() < size - 1


def _warped_taps(scene: Tensor, y: Tensor, x: Tensor) -> Taps:
    """Find the pixels of a canvas that is seen through a matrix; beyond its tiles it is grey."""
    m = scene[:, :9, None, None].unbind(1)
    y, x = y[:, :, None], x[:, None]
    depth = m[6] * x + m[7] * y + m[8]
    across, down = (m[0] * x + m[1] * y + m[2]) / depth, (m[3] * x + m[4] * y + m[5]) / depth
    left, top = across.floor(), down.floor()
    tiles = [tuple(n[..., None] for n in tile) for tile in _tiles_of(scene)]
    four = []
    for cy, cx in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        at = torch.zeros_like(cx, dtype=torch.int32)
        for first, w, _, x1, y1, x2, y2 in tiles:
            inside = (cx >= x1) & (cx < x2) & (cy >= y1) & (cy < y2)
            at = torch.where(inside, (first + (cy - y1) * w + (cx - x1)).int(), at)
        four.append(at)
    # Where a perspective has no depth, neither has a fraction: all four are grey there.
    return tuple(four), (across - left).nan_to_num().float(), (down - top).nan_to_num().float()


def jitter(rgb: Tensor, gains: Tensor) -> Tensor:
    """Multiply hue, saturation and value, in the steps of OpenCV's 8 bits: 180 hues, 256 of the others.

    Args:
        rgb: (…, 3) whole numbers 0..255. gains: (…, 3), broadcast to it.

    Returns:
        (…, 3) whole numbers 0..255.
    """
    red, green, blue = rgb.unbind(-1)
    value, least = rgb.amax(-1), rgb.amin(-1)
    spread = value - least
    per = 30 / spread.clamp(min=1)
    of_green, of_blue = 60 + (blue - red) * per, 120 + (red - green) * per
    hue = torch.where(value == red, (green - blue) * per, torch.where(value == green, of_green, of_blue))
    hue = (hue + 0.5).floor() % 180
    saturation = (255 * spread / value.clamp(min=1) + 0.5).floor()
    hue = (hue * gains[..., 0]).round() % 180
    saturation, value = ((n * gains[..., i]).round().clamp(max=255) for i, n in ((1, saturation), (2, value)))
    turned = (hue[..., None] / 30 + 5 - 2 * torch.arange(3, device=rgb.device)) % 6  # of red, green and blue
    faded = torch.minimum(turned, 4 - turned).clamp(0, 1)
    return (value[..., None] * (1 - saturation[..., None] / 255 * faded) + 0.5).floor()
