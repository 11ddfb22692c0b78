"""Training augmentation and the letterbox, on BGR uint8 images and objects in pixels.

A training sample is drawn in three steps: a `Layout` says which part of which image lies where on a canvas (a mosaic
of four, or one image letterboxed); `RandomPerspective` renders it through a random transform; colour and flips
follow. Where the transform only scales and shifts (the default recipe), each image is resized straight into its place
in the result: the canvas, four times as large, is never drawn.

Every random number comes from the generator passed in, so a sample is a function of its seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from ultralytics.cfg.dataset import mirrors
from ultralytics.data.copy_paste import copy_paste
from ultralytics.data.instances import Instances
from ultralytics.data.labels import FEWEST_POINTS
from ultralytics.data.letterbox import FILL, _resize
from ultralytics.data.letterbox import LetterBox as LetterBox
from ultralytics.data.targets import LABELLED, Targets
from ultralytics.utils.lazy import later
from ultralytics.utils.log import LOGGER
from ultralytics.utils.types import Float64Array, Int64Array, RatioPad, UInt8Array

_KEYS = "the augmentation is set by keys of training, and Augmentation applies it"
_CLASSES = "ClassificationDataset cuts and augments images by the keys of a run"
__getattr__ = later(
    __name__,
    {},
    {
        **dict.fromkeys(("Albumentations", "BaseMixTransform", "BaseTransform", "Compose", "Format"), _KEYS),
        **dict.fromkeys(("ToTensor", "v8_transforms"), _KEYS),
        **dict.fromkeys(("CenterCrop", "ClassifyLetterBox", "classify_augmentations", "classify_transforms"), _CLASSES),
        **dict.fromkeys(("DEFAULT_CROP_FRACTION", "DEFAULT_MEAN", "DEFAULT_STD"), _CLASSES),
        "CopyPaste": _KEYS,
        "RandomLoadText": "classes are those of the training",
    },
)
TORCHVISION_0_10 = TORCHVISION_0_11 = TORCHVISION_0_13 = True
Generator = np.random.Generator


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


@dataclass(slots=True)
class Labelled:
    """An image, BGR (h, w, 3), and its objects: labelled where it was loaded, placed inside the frame once drawn."""

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


def letterbox_layout(source: Labelled, frame: tuple[int, int]) -> Layout:
    """Lay out one image, fitted to the frame and centred."""
    (h, w), (top, _, left, _), _ = LetterBox(frame).geometry(source.image.shape)
    if (h, w) != source.image.shape[:2]:
        source = Labelled(_resize(source.image, (h, w)), source.instances)
    return Layout([Tile(source, left, top, (left, top, left + w, top + h))], frame, frame)


class Mosaic:
    """Four images around a random point of a canvas of twice the size (YOLOv4, arXiv:2004.10934, section 3.3).

    Args:
        imgsz: side of the frame, pixels; the canvas has 2·imgsz.
    """

    def __init__(self, imgsz: int = 640) -> None:
        self.imgsz = imgsz

    def __call__(self, sources: Sequence[Labelled], rng: Generator) -> Layout:
        """Lay out four images: above left, above right, below left, below right of the point."""
        s = self.imgsz
        yc, xc = (int(rng.uniform(s / 2, 3 * s / 2)) for _ in range(2))
        tiles = []
        for i, source in enumerate(sources):
            h, w = source.image.shape[:2]
            x, y = (xc - w, xc)[i % 2], (yc - h, yc)[i // 2]
            tiles.append(Tile(source, x, y, (max(x, 0), max(y, 0), min(x + w, 2 * s), min(y + h, 2 * s))))
        return Layout(tiles, (2 * s, 2 * s), (s, s))


class RandomPerspective:
    """Render a layout through a random rotation, scaling, shear, perspective and shift.

    The matrix is T·S·R·P·C: centre, perspective, rotation with scale, shear, translation. A box is kept when, after the
    transform and clipping, it is over 2 pixels wide and high, over a tenth of its area is left, and its sides are no
    more than 100 to 1.

    Args:
        degrees, translate, scale, shear, perspective: ranges, as the keys of the configuration.

    A drawn image is valid until the second call after it, so two can be blended.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.1,
        scale: float = 0.5,
        shear: float = 0.0,
        perspective: float = 0.0,
    ) -> None:
        self.degrees, self.translate, self.scale = degrees, translate, scale
        self.shear, self.perspective = shear, perspective
        self._scratch = Scratch(), Scratch()

    def matrix(self, canvas: tuple[int, int], frame: tuple[int, int], rng: Generator) -> tuple[Float64Array, float]:
        """Draw a random transform of canvas pixels to frame pixels, and its scale."""
        c, p, r, s, t = (np.eye(3) for _ in range(5))
        c[:2, 2] = -canvas[1] / 2, -canvas[0] / 2
        p[2, :2] = rng.uniform(-self.perspective, self.perspective, 2)
        angle = math.radians(rng.uniform(-self.degrees, self.degrees))
        gain = float(rng.uniform(1 - self.scale, 1 + self.scale))
        r[:2, :2] = gain * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        s[0, 1], s[1, 0] = np.tan(np.radians(rng.uniform(-self.shear, self.shear, 2)))
        t[:2, 2] = rng.uniform(0.5 - self.translate, 0.5 + self.translate, 2) * (frame[1], frame[0])
        return t @ s @ r @ p @ c, gain

    def __call__(self, layout: Layout, rng: Generator) -> Labelled:
        """Draw a layout."""
        m, gain = self.matrix(layout.canvas, layout.frame, rng)
        self._scratch = self._scratch[::-1]
        out = self._scratch[0](*layout.frame)
        if self.degrees == self.shear == self.perspective == 0:
            return _draw_scaled(layout, gain, m[0, 2], m[1, 2], out)
        return _draw_warped(layout, m, gain, out)


def _place_tiles(layout: Layout) -> tuple[Instances, Int64Array]:
    """Place the objects of all tiles on the canvas, cut to what is seen of their tile; the tile of each."""
    tiles = layout.tiles
    which = np.repeat(np.arange(len(tiles)), [len(t.source.instances) for t in tiles])
    sizes = np.array([(t.source.image.shape[1], t.source.image.shape[0]) for t in tiles], np.float64)[which]
    corner = np.array([(t.x, t.y) for t in tiles], np.float64)[which]
    seen = np.array([t.seen for t in tiles], np.float64)[which]
    placed = Instances.concatenate([t.source.instances for t in tiles]).place(sizes, corner)
    return placed.clip(seen[:, :2], seen[:, 2:]), which


def _draw_scaled(layout: Layout, gain: float, dx: float, dy: float, image: UInt8Array) -> Labelled:
    """Draw a layout into `image` through x ↦ gain·x + (dx, dy): every tile is resized straight into its place.

    A tile's place is rounded to whole pixels, at most half a pixel off; its boxes follow the rounded place.
    """
    h, w = layout.frame
    image.fill(FILL)
    maps = np.tile([gain, gain, dx, dy], (len(layout.tiles), 1))  # scale x, y and shift x, y of each tile's boxes
    for i, tile in enumerate(layout.tiles):
        across = _place(tile.seen[0] - tile.x, tile.seen[2] - tile.x, tile.x, gain, dx, w)
        down = _place(tile.seen[1] - tile.y, tile.seen[3] - tile.y, tile.y, gain, dy, h)
        if across is None or down is None:
            continue
        (sx1, sx2, x1, x2), (sy1, sy2, y1, y2) = across, down
        source, place = tile.source.image[sy1:sy2, sx1:sx2], image[y1:y2, x1:x2]
        cv2.resize(source, (x2 - x1, y2 - y1), dst=place, interpolation=cv2.INTER_LINEAR)
        kx, ky = (x2 - x1) / (sx2 - sx1), (y2 - y1) / (sy2 - sy1)
        maps[i] = kx, ky, x1 - kx * (sx1 + tile.x), y1 - ky * (sy1 + tile.y)
    placed, which = _place_tiles(layout)
    return _keep_objects(image, placed, placed.scale(maps[which, :2]).shift(maps[which, 2:]), gain)


def _place(
    first: int, last: int, offset: int, gain: float, shift: float, size: int
) -> tuple[int, int, int, int] | None:
    """Along one axis: which source pixels of a tile go to which frame pixels; None when none do.

    `first:last` are the tile's visible source pixels, at `offset` on the canvas; frame coordinate = gain·(source +
    offset) + shift.
    """
    origin = gain * offset + shift
    low, high = max(round(origin + gain * first), 0), min(round(origin + gain * last), size)
    if high <= low:
        return None
    s1 = min(max(round((low - origin) / gain), first), last - 1)
    s2 = min(max(round((high - origin) / gain), s1 + 1), last)
    return s1, s2, low, high


def _draw_warped(layout: Layout, m: Float64Array, gain: float, image: UInt8Array) -> Labelled:
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
    placed, _ = _place_tiles(layout)
    return _keep_objects(image, placed, placed.warp(m), gain)


def _keep_objects(image: UInt8Array, before: Instances, after: Instances, gain: float) -> Labelled:
    """Return what was drawn, with the objects worth keeping; see `RandomPerspective`."""
    after = after.clip((0, 0), image.shape[1::-1])
    return Labelled(image, after.keep(after.worth_keeping(before, gain)))


class MixUp:
    """Blend two samples with a weight from Beta(32, 32), boxes of both kept (arXiv:1710.09412)."""

    def __call__(self, a: Labelled, b: Labelled, rng: Generator) -> Labelled:
        """Blend two samples of one size."""
        r = rng.beta(32.0, 32.0)
        image = (a.image * r + b.image * (1 - r)).astype(np.uint8)
        return Labelled(image, Instances.concatenate([a.instances, b.instances]))


class RandomHSV:
    """Multiply hue, saturation and value by random gains of 1 ± the arguments, and turn BGR to RGB.

    Args:
        hgain, sgain, vgain: ranges, 0..1.
    """

    def __init__(self, hgain: float = 0.015, sgain: float = 0.7, vgain: float = 0.4) -> None:
        self.gains = np.array([hgain, sgain, vgain])
        self._scratch = Scratch()

    def __call__(self, image: UInt8Array, rng: Generator) -> UInt8Array:
        """Jitter a BGR image, and return it as RGB in memory of its own."""
        if not self.gains.any():
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]  # uint8 stays uint8
        return self.apply(image, rng.uniform(-1, 1, 3) * self.gains + 1)

    def apply(self, image: UInt8Array, gains: Float64Array) -> UInt8Array:
        """Multiply hue, saturation and value of a BGR image by `gains` (3,), and return it as RGB."""
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV, dst=self._scratch(*image.shape[:2]))
        if 179 * gains[0] < 255:
            # Saturation and value end at 255 by themselves, and the way back takes a hue beyond 180 as the hue modulo
            # 180.
            cv2.transform(hsv, np.diag(gains), dst=hsv)
        else:
            steps = np.arange(256)[:, None] * gains
            table = np.stack([np.round(steps[:, 0]) % 180, *np.round(steps[:, 1:]).clip(0, 255).T], 1).astype(np.uint8)
            cv2.LUT(hsv, table[:, None], dst=hsv)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)  # type: ignore[return-value]  # RGB at no cost: the network's order


def mirror_chance(fliplr: float, annotations: str, flip_idx: Sequence[int] | None, yaml: object = "the YAML") -> float:
    """Return the chance with which images are mirrored: `fliplr`, or 0, with a warning, where they cannot be, see
    `cfg.dataset.mirrors`."""
    if not fliplr or mirrors(annotations == "keypoints", flip_idx):
        return fliplr
    text = "%s has no flip_idx, which says what each keypoint is in a mirrored image: fliplr=0 instead of %g"
    LOGGER.warning(text, yaml, fliplr)
    return 0.0


class RandomFlip:
    """Mirror with a chance `p`: "horizontal" swaps left and right, "vertical" up and down.

    Args:
        flip_idx: the order of the keypoints of an object whose left and right are swapped.
    """

    def __init__(self, p: float = 0.5, direction: str = "horizontal", flip_idx: Sequence[int] | None = None) -> None:
        assert direction in ("horizontal", "vertical"), direction
        self.p, self.direction = p, direction
        self.flip_idx = flip_idx if direction == "horizontal" else None
        self._scratch = Scratch()

    def __call__(self, drawn: Labelled, rng: Generator) -> Labelled:
        """Mirror, or not; the image is valid until the next call."""
        if not self.p or rng.random() >= self.p:
            return drawn
        axis = 0 if self.direction == "horizontal" else 1
        out = cv2.flip(drawn.image, 1 - axis, dst=self._scratch(*drawn.image.shape[:2]))
        flipped = drawn.instances.flip(drawn.image.shape[1 - axis], axis, self.flip_idx)
        return Labelled(out, flipped)  # type: ignore[arg-type]  # uint8 stays uint8


Drawn = tuple[dict[str, torch.Tensor], Int64Array | None]  # tensors of a sample; see `Targets`


def to_sample(rgb: UInt8Array, instances: Instances, targets: Targets) -> Drawn:
    """Return a sample's tensors: `img` (3, H, W) uint8, a channels-last view of the RGB image, and the objects'; and
    the order of the objects."""
    tensors, order = targets(instances, *rgb.shape[:2])
    return {"img": torch.from_numpy(rgb).permute(2, 0, 1), **tensors}, order


class Augmentation:
    """The whole training augmentation: mosaic, perspective, copy-paste, mixup, colour, flips.

    Args:
        hyp: mosaic, copy_paste, mixup, degrees, translate, scale, shear, perspective, hsv_h, hsv_s, hsv_v, flipud,
            fliplr, bgr.
        imgsz: side of the frame, pixels.
        targets: what is made of the objects.
        flip_idx: see `RandomFlip`.
    """

    def __init__(
        self,
        hyp: Any,
        imgsz: int,
        targets: Targets = LABELLED,
        flip_idx: Sequence[int] | None = None,
    ) -> None:
        self.imgsz, self.targets = imgsz, targets
        self.mosaic_p, self.mixup_p, self.bgr_p = hyp.mosaic, hyp.mixup, hyp.bgr
        self.copy_paste_p = hyp.copy_paste if targets.annotations in FEWEST_POINTS else 0.0
        if hyp.copy_paste and not self.copy_paste_p:
            LOGGER.warning("copy_paste=%g has no effect: it needs polygons", hyp.copy_paste)
        fliplr = mirror_chance(hyp.fliplr, targets.annotations, flip_idx)
        self.mosaic = Mosaic(imgsz)
        self.perspective = RandomPerspective(hyp.degrees, hyp.translate, hyp.scale, hyp.shear, hyp.perspective)
        self.mixup = MixUp()
        self.hsv = RandomHSV(hyp.hsv_h, hyp.hsv_s, hyp.hsv_v)
        self.flips = (RandomFlip(hyp.flipud, "vertical"), RandomFlip(fliplr, "horizontal", flip_idx))

    def __call__(
        self,
        index: int,
        partners: Sequence[int],
        load: Callable[[int], Labelled],
        rng: Generator,
        mix: bool = True,
        frame: tuple[int, int] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Draw a sample.

        Args:
            index: the image.
            partners: images that mosaic and mixup take at random, `index` alone when empty.
            load: decodes an image, its longer side imgsz.
            mix: mosaic, copy-paste and mixup are on.
            frame: (height, width) of a rectangular sample, which has none of them.
        """
        mix = mix and frame is None
        pool = partners or (index,)
        drawn = self._draw(index, pool, load, rng, mix, frame)
        if mix and self.mixup_p and rng.random() < self.mixup_p:
            other = self._draw(int(pool[int(rng.integers(len(pool)))]), pool, load, rng, mix, frame)
            drawn = self.mixup(drawn, other, rng)
        for flip in self.flips:
            drawn = flip(drawn, rng)
        rgb = self.hsv(drawn.image, rng)
        if self.bgr_p and rng.random() < self.bgr_p:
            rgb = np.ascontiguousarray(rgb[..., ::-1])
        return to_sample(rgb, drawn.instances, self.targets)[0]

    def _draw(
        self,
        index: int,
        pool: Sequence[int],
        load: Callable[[int], Labelled],
        rng: Generator,
        mix: bool,
        frame: tuple[int, int] | None,
    ) -> Labelled:
        if mix and self.mosaic_p and rng.random() < self.mosaic_p:
            chosen = [index, *(int(pool[i]) for i in rng.integers(len(pool), size=3))]
            layout = self.mosaic([load(i) for i in chosen], rng)
        else:
            layout = letterbox_layout(load(index), frame or (self.imgsz, self.imgsz))
        drawn = self.perspective(layout, rng)
        if mix and self.copy_paste_p:
            drawn.instances = copy_paste(drawn.image, drawn.instances, self.copy_paste_p, rng)
        return drawn


def letterboxed_sample(
    source: Labelled, frame: tuple[int, int], gain: tuple[float, float], targets: Targets
) -> tuple[Drawn, RatioPad]:
    """Draw the validation sample: letterboxed without enlarging.

    Args:
        gain: (h, w) by which loading has already scaled.
        targets: what is made of the objects.

    Returns:
        The tensors and the order of the objects; gain and pad of the whole way from the file.
    """
    box, (h, w) = LetterBox(frame, scaleup=False), source.image.shape[:2]
    _, (top, _, left, _), (gain_h, gain_w) = box.geometry((h, w))
    rgb: UInt8Array = cv2.cvtColor(box.render(source.image), cv2.COLOR_BGR2RGB)  # type: ignore[assignment]  # stays uint8
    placed = source.instances.in_pixels(w, h).scale((gain_w, gain_h)).shift((left, top))
    return to_sample(rgb, placed, targets), ((gain[0] * gain_h, gain[1] * gain_w), (left, top))
