"""Training augmentation and the letterbox, on BGR uint8 images and objects in pixels.

A training sample is planned in three steps: a `Layout` says which part of which image lies where on a canvas (a mosaic
of four, or one image letterboxed); `RandomPerspective` looks at it through a random transform; colour and flips
follow. The plan is drawn at once (`drawing.Artist`), or on the device of the run (`utils.device_drawing`).

Every random number comes from the generator passed in, so a sample is a function of its seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from ultralytics.cfg.dataset import mirrors
from ultralytics.data.copy_paste import copy_paste
from ultralytics.data.drawing import Artist, Labelled, Layout, Place, Plan, Scene, Tile
from ultralytics.data.instances import Instances
from ultralytics.data.labels import FEWEST_POINTS
from ultralytics.data.letterbox import LetterBox as LetterBox
from ultralytics.data.letterbox import _resize
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
        **dict.fromkeys(("CopyPaste", "MixUp", "RandomFlip", "RandomHSV"), _KEYS),
        "RandomLoadText": "classes are those of the training",
    },
)
TORCHVISION_0_10 = TORCHVISION_0_11 = TORCHVISION_0_13 = True
Generator = np.random.Generator


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
    """Look at a layout through a random rotation, scaling, shear, perspective and shift.

    The matrix is T·S·R·P·C: centre, perspective, rotation with scale, shear, translation. A box is kept when, after the
    transform and clipping, it is over 2 pixels wide and high, over a tenth of its area is left, and its sides are no
    more than 100 to 1.

    Args:
        degrees, translate, scale, shear, perspective: ranges, as the keys of the configuration.
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

    @property
    def warps(self) -> bool:
        """True if there is more to a transform than scaling and shifting."""
        return bool(self.degrees or self.shear or self.perspective)

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

    def __call__(self, layout: Layout, rng: Generator) -> tuple[Scene, Instances]:
        """Draw a transform; return the scene, and the objects that are left in it."""
        m, gain = self.matrix(layout.canvas, layout.frame, rng)
        return (_warped_scene if self.warps else _scaled_scene)(layout, m, gain)


def _place_tiles(layout: Layout) -> tuple[Instances, Int64Array]:
    """Place the objects of all tiles on the canvas, cut to what is seen of their tile; the tile of each."""
    tiles = layout.tiles
    which = np.repeat(np.arange(len(tiles)), [len(t.source.instances) for t in tiles])
    sizes = np.array([(t.source.image.shape[1], t.source.image.shape[0]) for t in tiles], np.float64)[which]
    corner = np.array([(t.x, t.y) for t in tiles], np.float64)[which]
    seen = np.array([t.seen for t in tiles], np.float64)[which]
    placed = Instances.concatenate([t.source.instances for t in tiles]).place(sizes, corner)
    return placed.clip(seen[:, :2], seen[:, 2:]), which


def _scaled_scene(layout: Layout, m: Float64Array, gain: float) -> tuple[Scene, Instances]:
    """Scene a layout through x ↦ gain·x + (dx, dy): every tile is resized straight into its place.

    A tile's place is rounded to whole pixels, at most half a pixel off; its boxes follow the rounded place.
    """
    (h, w), (dx, dy), places = layout.frame, m[:2, 2], []
    maps = np.tile([gain, gain, dx, dy], (len(layout.tiles), 1))  # scale x, y and shift x, y of each tile's boxes
    for i, tile in enumerate(layout.tiles):
        across = _place(tile.seen[0] - tile.x, tile.seen[2] - tile.x, tile.x, gain, dx, w)
        down = _place(tile.seen[1] - tile.y, tile.seen[3] - tile.y, tile.y, gain, dy, h)
        if across is None or down is None:
            places.append(_NOWHERE)
            continue
        (sx1, sx2, x1, x2), (sy1, sy2, y1, y2) = across, down
        places.append(Place((sx1, sy1, sx2, sy2), (x1, y1, x2, y2)))
        kx, ky = (x2 - x1) / (sx2 - sx1), (y2 - y1) / (sy2 - sy1)
        maps[i] = kx, ky, x1 - kx * (sx1 + tile.x), y1 - ky * (sy1 + tile.y)
    placed, which = _place_tiles(layout)
    after = placed.scale(maps[which, :2]).shift(maps[which, 2:])
    return Scene(layout, m, places), _keep_objects(layout, placed, after, gain)


_NOWHERE = Place((0, 0, 0, 0), (0, 0, 0, 0))  # of a tile that is out of the frame


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


def _warped_scene(layout: Layout, m: Float64Array, gain: float) -> tuple[Scene, Instances]:
    """Scene a layout through any matrix."""
    placed, _ = _place_tiles(layout)
    return Scene(layout, m, None), _keep_objects(layout, placed, placed.warp(m), gain)


def _keep_objects(layout: Layout, before: Instances, after: Instances, gain: float) -> Instances:
    """Keep the objects worth it, cut to the frame; see `RandomPerspective`."""
    after = after.clip((0, 0), layout.frame[::-1])
    return after.keep(after.worth_keeping(before, gain))


def mirror_chance(fliplr: float, annotations: str, flip_idx: Sequence[int] | None, yaml: object = "the YAML") -> float:
    """Return the chance with which images are mirrored: `fliplr`, or 0, with a warning, where they cannot be, see
    `cfg.dataset.mirrors`."""
    if not fliplr or mirrors(annotations == "keypoints", flip_idx):
        return fliplr
    text = "%s has no flip_idx, which says what each keypoint is in a mirrored image: fliplr=0 instead of %g"
    LOGGER.warning(text, yaml, fliplr)
    return 0.0


Drawn = tuple[dict[str, torch.Tensor], Int64Array | None]  # tensors of a sample; see `Targets`


def to_sample(rgb: UInt8Array, instances: Instances, targets: Targets) -> Drawn:
    """Return a sample's tensors: `img` (3, H, W) uint8, a channels-last view of the RGB image, and the objects'; and
    the order of the objects."""
    tensors, order = targets(instances, *rgb.shape[:2])
    return {"img": torch.from_numpy(rgb).permute(2, 0, 1), **tensors}, order


class Augmentation:
    """The whole training augmentation: mosaic, perspective, copy-paste, mixup (arXiv:1710.09412: two samples blended
    with a weight from Beta(32, 32), objects of both kept), flips, colour.

    Args:
        hyp: mosaic, copy_paste, mixup, degrees, translate, scale, shear, perspective, hsv_h, hsv_s, hsv_v, flipud,
            fliplr, bgr; augment_on.
        imgsz: side of the frame, pixels.
        targets: what is made of the objects.
        flip_idx: the order of the keypoints of an object whose left and right are swapped.
    """

    def __init__(
        self,
        hyp: Any,
        imgsz: int,
        targets: Targets = LABELLED,
        flip_idx: Sequence[int] | None = None,
    ) -> None:
        self.targets = targets
        self.mosaic_p, self.mixup_p, self.bgr_p = hyp.mosaic, hyp.mixup, hyp.bgr
        self.copy_paste_p = hyp.copy_paste if targets.annotations in FEWEST_POINTS else 0.0
        if hyp.copy_paste and not self.copy_paste_p:
            LOGGER.warning("copy_paste=%g has no effect: it needs polygons", hyp.copy_paste)
        self.flips = hyp.flipud, mirror_chance(hyp.fliplr, targets.annotations, flip_idx)
        self.flip_idx = flip_idx
        self.mosaic = Mosaic(imgsz)
        self.perspective = RandomPerspective(hyp.degrees, hyp.translate, hyp.scale, hyp.shear, hyp.perspective)
        self.jitter = np.array([hyp.hsv_h, hyp.hsv_s, hyp.hsv_v])
        self.artist = Artist()
        # Samples are plans, which the device of the run draws; what is pasted is drawn here.
        self.planned = hyp.augment_on == "gpu" and not self.copy_paste_p
        if self.copy_paste_p and hyp.augment_on == "gpu":
            LOGGER.warning("augment_on=gpu has no effect: copy_paste=%g is drawn on the CPU", hyp.copy_paste)

    def most_pixels(self, frame: int) -> int:
        """Return how many pixels of images a sample of `frame` pixels shows at most."""
        canvas = 4 * frame if self.mosaic_p else frame
        gain = 0.0 if self.perspective.warps else max(1 - self.perspective.scale, 0.0)
        seen = min(frame / gain**2, canvas) if gain else canvas
        return math.ceil(seen) * (2 if self.mixup_p else 1)

    def sample(self, plan: Plan) -> dict[str, Any]:
        """Make a plan's tensors: `img` and those of its objects; of a `planned` sample `plan` instead of `img`."""
        if self.planned:
            return {"plan": plan, **self.targets(plan.instances, *plan.frame)[0]}
        return to_sample(self.artist(plan), plan.instances, self.targets)[0]

    def plan(
        self,
        index: int,
        partners: Sequence[int],
        load: Callable[[int], Labelled],
        rng: Generator,
        mix: bool = True,
        frame: tuple[int, int] | None = None,
    ) -> Plan:
        """Draw the random numbers of a sample.

        Args:
            index: the image.
            partners: images that mosaic and mixup take at random, `index` alone when empty.
            load: decodes an image, its longer side imgsz.
            mix: mosaic, copy-paste and mixup are on.
            frame: (height, width) of a rectangular sample, which has none of them.
        """
        mix = mix and frame is None
        pool = partners or (index,)
        scene, objects = self._scene(index, pool, load, rng, mix, frame)
        scenes, weight = [scene], 1.0
        if mix and self.mixup_p and rng.random() < self.mixup_p:
            other, others = self._scene(int(pool[int(rng.integers(len(pool)))]), pool, load, rng, mix, frame)
            scenes, weight = [scene, other], float(rng.beta(32.0, 32.0))
            objects = Instances.concatenate([objects, others])
        upside_down, mirrored = (bool(p) and rng.random() < p for p in self.flips)
        if upside_down:
            objects = objects.flip(scene.layout.frame[0], 1)
        if mirrored:
            objects = objects.flip(scene.layout.frame[1], 0, self.flip_idx)
        gains = rng.uniform(-1, 1, 3) * self.jitter + 1 if self.jitter.any() else None
        bgr = bool(self.bgr_p) and rng.random() < self.bgr_p
        return Plan(scenes, weight, upside_down, mirrored, gains, bgr, objects)

    def _scene(
        self,
        index: int,
        pool: Sequence[int],
        load: Callable[[int], Labelled],
        rng: Generator,
        mix: bool,
        frame: tuple[int, int] | None,
    ) -> tuple[Scene, Instances]:
        if mix and self.mosaic_p and rng.random() < self.mosaic_p:
            chosen = [index, *(int(pool[i]) for i in rng.integers(len(pool), size=3))]
            layout = self.mosaic([load(i) for i in chosen], rng)
        else:
            layout = letterbox_layout(load(index), frame or (self.mosaic.imgsz, self.mosaic.imgsz))
        scene, objects = self.perspective(layout, rng)
        if mix and self.copy_paste_p:
            objects, scene.pasted = copy_paste(objects, layout.frame, self.copy_paste_p, rng)
        return scene, objects


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
