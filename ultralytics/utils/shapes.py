"""Masks and skeletons drawn on images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

from ultralytics.utils.colors import Colors, colors
from ultralytics.utils.types import UInt8Array

Color = tuple[int, int, int]
# COCO's person: pairs of keypoints that a line joins, numbers from 0.
LIMBS = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
LEGS, TRUNK, ARMS, HEAD = (Colors.hex2rgb(h) for h in ("#3399ff", "#ff33ff", "#ff8000", "#00ff00"))
LIMB_COLORS = (LEGS,) * 4 + (TRUNK,) * 3 + (ARMS,) * 5 + (HEAD,) * 7  # RGB, as those of the points
POINT_COLORS = (HEAD,) * 5 + (ARMS,) * 6 + (LEGS,) * 6


def blend(image: UInt8Array, masks: Iterable[npt.NDArray[Any]], tints: Sequence[Color], alpha: float = 0.5) -> None:
    """Tint an image where masks are, and draw their outlines; in place.

    Args:
        image: uint8 (H, W, 3).
        masks: (H, W) each, of 0 and others; the last is on top.
        tints: their colours, in the image's order of channels.
        alpha: part of the colour, 0..1.
    """
    width = max(round(sum(image.shape[:2]) / 2 * 0.0015), 1)
    for mask, tint in zip(masks, tints, strict=True):
        rows = np.flatnonzero(mask.any(1))
        if not len(rows):
            continue
        columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(0))
        part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        inner = np.ascontiguousarray(mask[part]).astype(np.uint8)
        under = np.ascontiguousarray(image[part])
        tinted = cv2.addWeighted(under, 1 - alpha, np.full_like(under, tint), alpha, 0)
        outlines, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        drawn = cv2.copyTo(tinted, inner, under)
        cv2.drawContours(drawn, outlines, -1, tint, width, cv2.LINE_AA)
        image[part] = drawn


def skeleton(
    draw: ImageDraw.ImageDraw,
    points: npt.NDArray[Any],
    shape: Sequence[int],
    radius: float = 5,
    width: int = 2,
    lines: bool = True,
    least: float = 0.25,
    color: Color | None = None,
) -> None:
    """Draw the keypoints of an object as dots; those of a person are joined by lines.

    Args:
        points: (K, 2) x and y in pixels, or (K, 3) with confidences.
        shape: (H, W) of the image; points on its border were cut to it, and are not drawn.
        radius: of dots; width: of lines, pixels.
        lines: draw them.
        least: lowest confidence drawn.
        color: RGB; None: by part of the body, or of other objects point by point.
    """
    height, breadth = shape[:2]
    places = [(float(p[0]), float(p[1])) for p in points]
    seen = [
        (len(p) < 3 or p[2] >= least) and math.isfinite(x + y) and x % breadth != 0 and y % height != 0
        for p, (x, y) in zip(points, places, strict=True)
    ]
    person = len(points) == len(POINT_COLORS)
    if person and lines:
        for (a, b), tint in zip(LIMBS, LIMB_COLORS, strict=True):
            if seen[a] and seen[b]:
                draw.line((*places[a], *places[b]), fill=color or tint, width=width)
    for i, (x, y) in enumerate(places):
        if seen[i]:
            tint = color or (POINT_COLORS[i] if person else colors(i))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tint)
