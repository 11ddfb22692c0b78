"""The drawing of the embedded datasets: polygons with textures on textured grounds, every mark exact.

Every image is a function of its seed. A class is a shape; size, angle, colour and texture are no hint to it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np

from ultralytics.utils.types import Float64Array, UInt8Array

NAMES = ("disc", "square", "triangle", "star", "ring", "cross")
SIZES = ((240, 320), (320, 240), (256, 256), (200, 320), (320, 320))  # (height, width)
VERSION = 2  # of the drawing; another number draws the files anew
ALONE = (96, 160)  # least and greatest side of an image of one shape
ALONE_VERSION = 3  # of the drawing of one shape
DARK, LIGHT = (25, 105), (150, 235)  # colours of the ground and of the shape there
OVERSAMPLE = 4
HIDDEN = 0.5  # no object covers more of an earlier one than this part of its box
SQUEEZED = (0.3, 0.6)  # width of a squeezed shape, in parts of what it was


class DrawnShape(NamedTuple):
    """A shape in an image."""

    cls: int
    box: tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels, cut to the image
    contours: list[Float64Array]  # (k, 2) x and y in pixels each, not cut
    centre: tuple[float, float]  # x and y in pixels
    mask: UInt8Array  # (H * OVERSAMPLE, W * OVERSAMPLE), 255 where the shape is, also where a later one hides it


def outline(kind: str, centre: tuple[float, float], radius: float, angle: float) -> list[Float64Array]:
    """Return the contours of a shape, (k, 2) x and y in pixels each; the ring has an inner one."""

    def polygon(angles: Any, radii: Any) -> Float64Array:
        a = np.asarray(angles) + angle
        r = np.asarray(radii) * radius
        return np.stack([centre[0] + r * np.cos(a), centre[1] + r * np.sin(a)], 1)

    turn = 2 * math.pi
    if kind in ("disc", "ring"):
        circle = np.linspace(0, turn, 72, endpoint=False)
        return [polygon(circle, 1.0)] + ([polygon(circle, 0.55)] if kind == "ring" else [])
    if kind == "square":
        return [polygon(np.arange(4) * turn / 4, 1.0)]
    if kind == "triangle":
        return [polygon(np.arange(3) * turn / 3, 1.0)]
    if kind == "star":
        return [polygon(np.arange(10) * turn / 10, [1.0, 0.42] * 5)]
    assert kind == "cross", kind
    arm = 0.3
    corner = [(1, -arm), (1, arm), (arm, arm)]
    points = np.array(
        [
            (x * math.cos(q) - y * math.sin(q), x * math.sin(q) + y * math.cos(q))
            for q in np.arange(4) * turn / 4
            for x, y in corner
        ]
    )
    return [polygon(np.arctan2(points[:, 1], points[:, 0]), np.hypot(points[:, 0], points[:, 1]))]


def _smooth_noise(rng: np.random.Generator, h: int, w: int, cell: int) -> Float64Array:
    """Return smooth noise of (h, w) in −1..1 with features of about `cell` pixels."""
    coarse = rng.uniform(-1, 1, (h // cell + 3, w // cell + 3))
    return cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]  # float64 stays float64


def _draw_grain(rng: np.random.Generator, h: int, w: int, strength: float) -> Float64Array:
    """Return a pattern of (h, w), about −strength..strength: noise, stripes, checks or a slope."""
    y, x = np.mgrid[:h, :w]
    kind = rng.integers(4)
    period, angle = rng.uniform(6, 30), rng.uniform(0, math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    if kind == 0:
        pattern = 0.6 * _smooth_noise(rng, h, w, 24) + 0.4 * _smooth_noise(rng, h, w, 6)
    elif kind == 1:
        pattern = np.sin(along * 2 * math.pi / period)
    elif kind == 2:
        across = y * math.cos(angle) - x * math.sin(angle)
        pattern = np.sign(np.sin(along * math.pi / period) * np.sin(across * math.pi / period))
    else:
        pattern = 2 * (along - along.min()) / max(float(np.ptp(along)), 1.0) - 1
    return strength * np.asarray(pattern, np.float64)


def _draw_fill(rng: np.random.Generator, colour: Float64Array, h: int, w: int, strength: float) -> Float64Array:
    """Return a textured patch of (h, w, 3)."""
    return colour + _draw_grain(rng, h, w, strength)[..., None] * rng.uniform(0.5, 1.0, 3) + rng.normal(0, 4, (h, w, 1))


def draw(seed: tuple[int, ...], squeezed: bool = False) -> tuple[UInt8Array, list[DrawnShape]]:
    """Draw an image, BGR uint8 (H, W, 3), and the shapes in it, from the lowest to the topmost.

    Args:
        seed: of the drawing.
        squeezed: each shape is narrower one way than the other, so that its angle can be seen, and the smallest
        rectangle around it lies in the image.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    h, w = SIZES[rng.integers(len(SIZES))]
    ground = rng.uniform(40, 215, 3)
    image = _draw_fill(rng, ground, h, w, rng.uniform(8, 28))
    drawn: list[DrawnShape] = []
    for _ in range(int(rng.integers(2, 11))):
        for _ in range(20):  # attempts to find a place
            cls = int(rng.integers(len(NAMES)))
            radius = math.exp(rng.uniform(math.log(15 if squeezed else 7), math.log(60)))
            centre = (rng.uniform(0.3 * radius, w - 0.3 * radius), rng.uniform(0.3 * radius, h - 0.3 * radius))
            angle = rng.uniform(0, 2 * math.pi)
            contours = outline(NAMES[cls], centre, radius, angle)
            if squeezed:
                contours = _squeeze(contours, centre, angle, rng.uniform(*SQUEEZED))
                corners = smallest_rectangle(contours[0])
                if corners.min() < 0 or (corners > (w, h)).any():
                    continue
            (x1, y1), (x2, y2) = contours[0].min(0), contours[0].max(0)
            box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(w)), min(y2, float(h)))
            shown = (box[2] - box[0]) * (box[3] - box[1]) / ((x2 - x1) * (y2 - y1))
            if shown > 0.5 and all(_covered_part(d.box, box) < HIDDEN for d in drawn):
                break
        else:
            continue
        mask = _paint(rng, image, contours, ground)
        # Of a shape cut by the frame, the part that is left may end before the cut box does.
        x1, y1, x2, y2 = _extent(mask) if shown < 1 else (float(v) for v in box)
        drawn.append(DrawnShape(cls, (x1, y1, x2, y2), contours, centre, mask))
    return np.clip(image, 0, 255).astype(np.uint8), drawn


def draw_one(seed: tuple[int, ...], cls: int) -> UInt8Array:
    """Draw an image, BGR uint8 (S, S, 3), of one shape of a class, all of it in the image and lighter than the ground.

    It is square because a classifier is validated on the middle square of an image, which would cut the shape. The
    shape is the lighter part, so that one filter finds its edge whatever the two colours are.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    side = int(rng.integers(*ALONE, endpoint=True))
    image = _draw_fill(rng, rng.uniform(*DARK, 3), side, side, rng.uniform(8, 28))
    radius = rng.uniform(0.25, 0.45) * side
    centre = (rng.uniform(radius, side - radius), rng.uniform(radius, side - radius))
    paint = _draw_fill(rng, rng.uniform(*LIGHT, 3), side, side, rng.uniform(4, 22))
    _fill_in(image, outline(NAMES[cls], centre, radius, rng.uniform(0, 2 * math.pi)), paint)
    return np.clip(image, 0, 255).astype(np.uint8)


def smallest_rectangle(points: Float64Array) -> Float64Array:
    """Return the corners (4, 2) of the smallest rectangle, at any angle, around points (k, 2)."""
    return cv2.boxPoints(cv2.minAreaRect(points.astype(np.float32))).astype(np.float64)


def _squeeze(
    contours: list[Float64Array], centre: tuple[float, float], angle: float, part: float
) -> list[Float64Array]:
    """Return contours made narrower across the shape's own angle, to a part of what they were."""
    across = np.array([-math.sin(angle), math.cos(angle)])
    return [c - (1 - part) * ((c - centre) @ across)[:, None] * across for c in contours]


def _paint(
    rng: np.random.Generator, image: Float64Array, contours: list[Float64Array], ground: Float64Array
) -> UInt8Array:
    """Paint a shape in a colour that differs from the ground's, with a texture; return its mask."""
    h, w = image.shape[:2]
    colour = rng.uniform(20, 235, 3)
    while np.abs(colour - ground).max() < 60:
        colour = rng.uniform(20, 235, 3)
    return _fill_in(image, contours, _draw_fill(rng, colour, h, w, rng.uniform(4, 22)))


def _covered_part(below: tuple[float, ...], above: tuple[float, ...]) -> float:
    """Return the part of a box that another hides; the smaller of both counts, so nothing small vanishes behind or
    before something large."""
    w = min(below[2], above[2]) - max(below[0], above[0])
    h = min(below[3], above[3]) - max(below[1], above[1])
    area = min((b[2] - b[0]) * (b[3] - b[1]) for b in (below, above))
    return max(w, 0.0) * max(h, 0.0) / area


def _fill_in(image: Float64Array, contours: list[Float64Array], paint: Float64Array) -> UInt8Array:
    """Paint a shape, its edge weighted by the part of each pixel it covers; return its mask, see `DrawnShape`."""
    h, w = image.shape[:2]
    mask = np.zeros((h * OVERSAMPLE, w * OVERSAMPLE), np.uint8)
    # A pixel's centre lies half a pixel from its corner; 4 bits of the coordinates are fractions.
    points = [np.round((c * OVERSAMPLE - 0.5) * 16).astype(np.int32) for c in contours]
    cv2.fillPoly(mask, points, 255, shift=4)
    share = cv2.resize(mask, (w, h), interpolation=cv2.INTER_AREA)[..., None] / 255
    image *= 1 - share
    image += share * paint
    return mask


def _extent(mask: UInt8Array) -> tuple[float, float, float, float]:
    """Return the corners of the box around what is inside the frame, to 1/4 pixel."""
    x, y, across, down = cv2.boundingRect(mask)
    return x / OVERSAMPLE, y / OVERSAMPLE, (x + across) / OVERSAMPLE, (y + down) / OVERSAMPLE
