"""What a training sample shows, as data, and how OpenCV draws it.

`augment.Augmentation` draws the random numbers of a sample and makes a `Plan`: which part of which image lies where,
through which transform, in which colours, and where its objects end up. No pixel is read for it. The pixels are drawn
here, or by torch on the device of the run (`utils.device_drawing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from ultralytics.data.copy_paste import paste
from ultralytics.data.instances import Instances
from ultralytics.data.letterbox import FILL
from ultralytics.utils.types import Float64Array, UInt8Array


@dataclass(slots=True)
class Labelled:
    """An image as it was loaded, BGR (h, w, 3), and its objects."""

    image: UInt8Array
    instances: Instances


@dataclass
class Tile:
    """An image on the canvas: its top-left corner at (x, y),
    visible inside the canvas rectangle `seen` (x1, y1, x2, y2); pixels."""

    source: Labelled
    x: int
    y: int
    seen: tuple[int, int, int, int]


@dataclass
class Layout:
    """Tiles on a grey canvas of (height, width), of which a frame of (height,
    width) will be rendered. Tiles do not overlap."""

    tiles: list[Tile]
    canvas: tuple[int, int]
    frame: tuple[int, int]


class Place(NamedTuple):
    """Part of a tile's image, and where in the frame it goes; x1, y1, x2, y2 in whole pixels, ends exclusive."""

    part: tuple[int, int, int, int]
    frame: tuple[int, int, int, int]


@dataclass
class Scene:
    """A layout seen through a transform.

    Attributes:
        layout: what there is to see.
        matrix: (3, 3), from canvas to frame pixels.
        places: where the transform only scales and shifts: each image is resized straight into its place, and the
            canvas, four times as large, is never drawn. None where the canvas is warped.
        pasted: (height, width), not 0 where copy-paste puts the mirror image of the frame, mirrored too.
    """

    layout: Layout
    matrix: Float64Array
    places: list[Place] | None
    pasted: UInt8Array | None = None


@dataclass
class Plan:
    """Everything about a sample but its pixels.

    Attributes:
        scenes: one, or two that mixup blends.
        weight: of the first of two.
        upside_down, mirrored: the flips.
        gains: (3,) factors of hue, saturation and value; None for 1.
        bgr: the colour channels are swapped.
        instances: the objects, in pixels of the finished frame.
    """

    scenes: Sequence[Scene]
    weight: float
    upside_down: bool
    mirrored: bool
    gains: Float64Array | None
    bgr: bool
    instances: Instances

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the sample, pixels."""
        return self.scenes[0].layout.frame


class Scratch:
    """Memory for an image that is drawn over at every call: taking fresh pages costs as much as the drawing."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def __call__(self, height: int, width: int) -> UInt8Array:
        """Return an image (height, width, 3) of undefined content, valid until the next call."""
        size = height * width * 3
        if self._memory.size < size:
            self._memory = np.empty(size, np.uint8)
        return self._memory[:size].reshape(height, width, 3)


class Artist:
    """Draws plans with OpenCV."""

    def __init__(self) -> None:
        self._scenes = Scratch(), Scratch()
        self._flips = Scratch(), Scratch()
        self._hsv = Scratch()

    def __call__(self, plan: Plan) -> UInt8Array:
        """Draw a sample: RGB (height, width, 3), in memory of its own."""
        image, *others = (draw_scene(v, s(*plan.frame)) for v, s in zip(plan.scenes, self._scenes, strict=False))
        for other in others:
            image = (image * plan.weight + other * (1 - plan.weight)).astype(np.uint8)
        for flipped, axis, scratch in zip((plan.upside_down, plan.mirrored), (0, 1), self._flips, strict=True):
            if flipped:
                image = cv2.flip(image, axis, dst=scratch(*plan.frame))  # type: ignore[assignment]  # stays uint8
        rgb = jittered_rgb(image, plan.gains, self._hsv)
        return np.ascontiguousarray(rgb[..., ::-1]) if plan.bgr else rgb


def draw_scene(scene: Scene, image: UInt8Array) -> UInt8Array:
    """Draw a scene into `image`, BGR (height, width, 3) of the frame, and return it."""
    if scene.places is None:
        _draw_warped(scene.layout, scene.matrix, image)
    else:
        image.fill(FILL)
        for tile, place in zip(scene.layout.tiles, scene.places, strict=True):
            (sx1, sy1, sx2, sy2), (x1, y1, x2, y2) = place
            if x2 > x1 and y2 > y1:
                source = tile.source.image[sy1:sy2, sx1:sx2]
                cv2.resize(source, (x2 - x1, y2 - y1), dst=image[y1:y2, x1:x2], interpolation=cv2.INTER_LINEAR)
    if scene.pasted is not None:
        paste(image, scene.pasted)
    return image


def _draw_warped(layout: Layout, m: Float64Array, image: UInt8Array) -> None:
    """Draw a layout into `image` through any matrix, by way of the whole canvas."""
    canvas = np.full((*layout.canvas, 3), FILL, np.uint8)
    for tile in layout.tiles:
        x1, y1, x2, y2 = tile.seen
        if x2 > x1 and y2 > y1:
            canvas[y1:y2, x1:x2] = tile.source.image[y1 - tile.y : y2 - tile.y, x1 - tile.x : x2 - tile.x]
    size, border = (layout.frame[1], layout.frame[0]), (FILL, FILL, FILL)
    if m[2, 0] or m[2, 1]:
        cv2.warpPerspective(canvas, m, size, dst=image, borderValue=border)
    else:
        cv2.warpAffine(canvas, m[:2], size, dst=image, borderValue=border)


def jittered_rgb(image: UInt8Array, gains: Float64Array | None, scratch: Scratch) -> UInt8Array:
    """Multiply hue, saturation and value of a BGR image by `gains` (3,), and return it as RGB."""
    if gains is None:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]  # uint8 stays uint8
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV, dst=scratch(*image.shape[:2]))
    if 179 * gains[0] < 255:
        # Saturation and value end at 255 by themselves, and the way back takes a hue beyond 180 as the hue modulo
        # 180.
        cv2.transform(hsv, np.diag(gains), dst=hsv)
    else:
        steps = np.arange(256)[:, None] * gains
        table = np.stack([np.round(steps[:, 0]) % 180, *np.round(steps[:, 1:]).clip(0, 255).T], 1).astype(np.uint8)
        cv2.LUT(hsv, table[:, None], dst=hsv)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)  # type: ignore[return-value]  # uint8 stays uint8
