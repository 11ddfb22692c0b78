"""Draws the samples of a batch with torch, on the device of the run (`augment_on=gpu`).

Workers decode images and plan samples; of each image they send the pixels that can be seen (`pack`), and of each plan
a row of numbers. `draw` makes the batch of them: bilinear sampling as OpenCV's, four taps for every pixel, then
colours. It equals `drawing.Artist` up to rounding. It has no atomic operation and reads nothing back from the device,
so the same plans give the same batch, and the host never waits.

Legend: B samples of H×W pixels, P pixels of all images, V views of a sample, T tiles of a view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor

from ultralytics.data.drawing import Plan, View
from ultralytics.data.letterbox import FILL
from ultralytics.utils.types import Float64Array, UInt8Array

VIEWS, TILES = 2, 4  # of a sample at most
AT_ONCE = 2**21  # pixels that are drawn at a time, which bounds the memory: some 200 bytes for each
# The numbers of a sample, in this order; those of its views follow.
_HEIGHT, _WIDTH, _WARPED, _VIEWS, _WEIGHT, _UPSIDE_DOWN, _MIRRORED, _JITTERED, _BGR, _GAINS = range(10)
_SAMPLE = _GAINS + 3
_TILE = 7  # first pixel, width and height of the image; x1, y1, x2, y2 of its place
_VIEW = 9 + _TILE * TILES  # the matrix from frame to canvas, and the tiles


def pack(plans: Sequence[Plan], room: Callable[[int], Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Put what `draw` needs into two tensors.

    Args:
        plans: of the samples of a batch, of one size.
        room: gives a uint8 tensor of so many bytes.

    Returns:
        Pixels, uint8 (P, 3) BGR, the first of them grey; and numbers, float64 (B, …).
    """
    numbers = np.zeros((len(plans), _SAMPLE + VIEWS * _VIEW))
    numbers[:, _SAMPLE + 8 :: _VIEW] = 1  # the matrix of a view that a sample lacks must not divide by 0
    images: list[UInt8Array] = [np.full((1, 1, 3), FILL, np.uint8)]
    first = 1
    for row, plan in zip(numbers, plans, strict=True):
        warped = plan.views[0].places is None
        row[:_JITTERED] = *plan.frame, warped, len(plan.views), plan.weight, plan.upside_down, plan.mirrored
        row[_JITTERED], row[_BGR] = plan.gains is not None, plan.bgr
        if plan.gains is not None:
            row[_GAINS:_SAMPLE] = plan.gains
        for k, view in enumerate(plan.views):
            at = row[_SAMPLE + k * _VIEW :][:_VIEW]
            at[:9] = np.linalg.inv(view.matrix).ravel()
            for i, (image, place) in enumerate(_seen(view)):
                at[9 + i * _TILE :][:_TILE] = first, image.shape[1], image.shape[0], *place
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


def _seen(view: View) -> list[tuple[UInt8Array, tuple[int, int, int, int]]]:
    """List the visible parts of the tiles' images, and the place of each: in the frame, or on the canvas where that is
    warped."""
    layout, found = view.layout, []
    if view.places is not None:
        for tile, (part, place) in zip(layout.tiles, view.places, strict=True):
            sx1, sy1, sx2, sy2 = part
            found.append((tile.source.image[sy1:sy2, sx1:sx2], place))
        return [f for f in found if f[0].size]
    left, top, right, bottom = _window(view.matrix, layout.frame, layout.canvas)
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


def draw(pixels: Tensor, numbers: Tensor, plan: Float64Array) -> Tensor:
    """Draw a batch.

    Args:
        pixels: uint8 (P, 3), as `pack` has made them, on the device.
        numbers: float64 (B, …), as `pack` has made them, on the device.
        plan: the same in the memory of the host, which decides on them what there is to do.

    Returns:
        uint8 (B, 3, H, W) RGB, channels last.
    """
    count, height, width = len(plan), int(plan[0, _HEIGHT]), int(plan[0, _WIDTH])
    words = F.pad(pixels, (0, 1)).view(torch.int32).view(-1)  # a tap reads the channels of a pixel at once
    out = torch.empty((count, height, width, 3), dtype=torch.uint8, device=pixels.device)
    step = max(AT_ONCE // (height * width), 1)
    for i in range(0, count, step):
        out[i : i + step] = _draw_some(words, numbers[i : i + step], plan[i : i + step], (height, width))
    return out.permute(0, 3, 1, 2)


def _draw_some(words: Tensor, numbers: Tensor, plan: Float64Array, frame: tuple[int, int]) -> Tensor:
    """Draw some samples of a batch: (b, H, W, 3) RGB, whole numbers."""
    upside_down, mirrored = (numbers[:, i, None] > 0 for i in (_UPSIDE_DOWN, _MIRRORED))
    y, x = (torch.arange(n, dtype=torch.float64, device=words.device)[None] for n in frame)
    y, x = torch.where(upside_down, frame[0] - 1 - y, y), torch.where(mirrored, frame[1] - 1 - x, x)
    taps = _warped_taps if plan[0, _WARPED] else _scaled_taps
    views = [numbers[:, _SAMPLE + k * _VIEW :][:, :_VIEW] for k in range(VIEWS)]
    image = _blend(words, *taps(views[0], y, x))
    if (plan[:, _VIEWS] > 1).any():
        weight = numbers[:, _WEIGHT, None, None, None].float()
        image = (image * weight + _blend(words, *taps(views[1], y, x)) * (1 - weight)).floor()
    rgb = image.flip(-1)
    if plan[0, _JITTERED]:
        rgb = jitter(rgb, numbers[:, _GAINS:_SAMPLE].float()[:, None, None])
    if plan[:, _BGR].any():
        rgb = torch.where(numbers[:, _BGR, None, None, None] > 0, rgb.flip(-1), rgb)
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


def _tiles(view: Tensor) -> list[tuple[Tensor, ...]]:
    """List the tiles of views (b, …): first pixel, width, height, x1, y1, x2, y2, each (b, 1)."""
    return [view[:, 9 + i * _TILE :][:, :_TILE, None].unbind(1) for i in range(TILES)]


def _scaled_taps(view: Tensor, y: Tensor, x: Tensor) -> Taps:
    """Find the pixels of images that are resized into their places; their edges are repeated, as cv2.resize does.

    Args:
        view: (b, …) numbers of the views.
        y, x: (b, H) and (b, W), pixels of the frame.
    """
    shape = len(view), y.shape[1], x.shape[1]
    corner, right, down = (torch.zeros(shape, dtype=torch.int32, device=view.device) for _ in range(3))
    fx, fy = (torch.zeros(shape, device=view.device) for _ in range(2))
    for first, w, h, x1, y1, x2, y2 in _tiles(view):
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


def _warped_taps(view: Tensor, y: Tensor, x: Tensor) -> Taps:
    """Find the pixels of a canvas that is seen through a matrix; beyond its tiles it is grey."""
    m = view[:, :9, None, None].unbind(1)
    y, x = y[:, :, None], x[:, None]
    depth = m[6] * x + m[7] * y + m[8]
    across, down = (m[0] * x + m[1] * y + m[2]) / depth, (m[3] * x + m[4] * y + m[5]) / depth
    left, top = across.floor(), down.floor()
    tiles = [tuple(n[..., None] for n in tile) for tile in _tiles(view)]
    four = []
    for cy, cx in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        at = torch.zeros_like(cx, dtype=torch.int32)
        for first, w, _, x1, y1, x2, y2 in tiles:
            inside = (cx >= x1) & (cx < x2) & (cy >= y1) & (cy < y2)
            at = torch.where(inside, (first + (cy - y1) * w + (cx - x1)).int(), at)
        four.append(at)
    return tuple(four), (across - left).float(), (down - top).float()


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
