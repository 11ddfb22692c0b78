"""The grid of tiles that covers an image."""

from __future__ import annotations

import math
from collections.abc import Sequence

Tile = tuple[int, int, int, int]  # left, top, right, bottom, pixels of the image


def starts(length: int, side: int, overlap: float) -> list[int]:
    """Return where tiles begin along a side of an image: as few as cover it, evenly, none beyond its end.

    Args:
        length: of the image's side, pixels.
        side: of a tile; an image that is no longer is one tile.
        overlap: least part of a tile that it shares with the next, 0 to below 1.
    """
    if length <= side:
        return [0]
    shared = min(math.ceil(side * overlap), side - 1)
    last = math.ceil((length - side) / (side - shared))
    return [i * (length - side) // last for i in range(last + 1)]


def grid(shape: Sequence[int], side: int, overlap: float) -> list[Tile]:
    """Return the tiles of an image of shape (h, w), row by row; all are of one size."""
    height, width = shape[:2]
    return [
        (left, top, min(left + side, width), min(top + side, height))
        for top in starts(height, side, overlap)
        for left in starts(width, side, overlap)
    ]
