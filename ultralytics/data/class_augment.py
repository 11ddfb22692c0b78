"""How a classifier's images are cut, bent and coloured: on Pillow's images, which the reference's weights know.

The operations and their ranges are those of RandAugment (Cubuk et al. 2019), AutoAugment's policy for ImageNet (Cubuk
et al. 2018), AugMix (Hendrycks et al. 2019) and random erasing (Zhong et al. 2017). All random numbers come from the
generator that is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from ultralytics.cfg.config import Config, is_given
from ultralytics.cfg.keys import KNOBS
from ultralytics.utils.log import LOGGER
from ultralytics.utils.types import UInt8Array

Rng = np.random.Generator
BILINEAR = Image.Resampling.BILINEAR
TRIES = 10  # for a rectangle that lies within the image
LARGEST = 1 << 25  # pixels that are resized as a whole, as the reference does
LONGEST = 32  # times the side: what is longer is cut before it is resized
RATIO, ERASED, ERASED_RATIO = (3 / 4, 4 / 3), (0.02, 0.33), (0.3, 3.3)  # of crops and of erased rectangles

IMGSZ = 224  # pixels, where no size is given
# keys of a training that a classifier's samples do not ask for
IDLE = (
    "mosaic", "mixup", "copy_paste", "degrees", "translate", "shear", "perspective", "bgr", "rect", "close_mosaic"
)  # fmt: skip
JITTER = ("hsv_h", "hsv_s", "hsv_v")


def settle_size(args: Config) -> None:
    """Give a run its image size where none is given."""
    if args.is_default("imgsz"):
        args.set("imgsz", IMGSZ, "classify default")


def warn_idle(args: Config) -> None:
    """Name the keys that are given and change nothing of a classifier's samples."""
    idle = dict.fromkeys(IDLE, "a classifier's images are neither mixed nor bent by it")
    if args.auto_augment:
        idle |= dict.fromkeys(JITTER, f"auto_augment={args.auto_augment} chooses the colours (None: jitter)")
    for key, why in idle.items():
        if is_given(args, key) and getattr(args, key) != KNOBS[key].default:
            LOGGER.warning("%s=%s has no effect: %s", key, getattr(args, key), why)


def resized_crop(image: UInt8Array, size: tuple[int, int], crop_fraction: float = 1.0) -> UInt8Array:
    """Fit an image into a frame as validation and prediction see it: RGB (h, w, 3) → (height, width, 3).

    The shorter side becomes that of a square frame divided by `crop_fraction`, and the centre is cut out; for another
    frame the image is stretched.

    Args:
        size: (height, width), pixels.
        crop_fraction: 0..1, part of the resized image's shorter side that is kept.
    """
    pil = Image.fromarray(image)
    height, width = (math.floor(n / crop_fraction) for n in size)
    if height == width:
        short, long = sorted(pil.size)
        if long * height > short * LONGEST * height:  # a line of pixels would become an enormous image
            pil = ImageOps.fit(pil, (short, short), Image.Resampling.NEAREST)
            short = long = pil.width
        longer = int(height * long / short)
        wide = pil.width >= pil.height
        width, height = (longer, height) if wide else (height, longer)
    top, left = round((height - size[0]) / 2.0), round((width - size[1]) / 2.0)
    if width * height > LARGEST:  # what is cut out alone is resized
        x, y = pil.width / width, pil.height / height
        box = (left * x, top * y, (left + size[1]) * x, (top + size[0]) * y)
        return np.asarray(pil.resize((size[1], size[0]), BILINEAR, box))
    if pil.size != (width, height):
        pil = pil.resize((width, height), BILINEAR)
    return np.asarray(pil)[top : top + size[0], left : left + size[1]]


def _log_uniform(bounds: tuple[float, float], rng: Rng) -> float:
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))


def random_crop(pil: Image.Image, size: int, scale: float, rng: Rng) -> Image.Image:
    """Cut out a random part of 1 − `scale` to 1 of the area, and resize it to a square."""
    width, height = pil.size
    for _ in range(TRIES):
        area = width * height * rng.uniform(1 - scale, 1)
        ratio = _log_uniform(RATIO, rng)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            break
    else:  # the middle, as much as the ratios allow
        low, high = RATIO
        w = min(width, max(round(height * high), 1))
        h = min(height, max(round(width / low), 1))
        top, left = (height - h) // 2, (width - w) // 2
    return pil.resize((size, size), BILINEAR, box=(left, top, left + w, top + h))


def erased(pixels: UInt8Array, rng: Rng) -> UInt8Array:
    """Return the image with a random rectangle in black."""
    height, width = pixels.shape[:2]
    for _ in range(TRIES):
        area = height * width * rng.uniform(*ERASED)
        ratio = _log_uniform(ERASED_RATIO, rng)
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < h < height and 0 < w < width:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            pixels = pixels.copy()
            pixels[top : top + h, left : left + w] = 0
            return pixels
    return pixels


def jittered(pil: Image.Image, hue: float, saturation: float, value: float, rng: Rng) -> Image.Image:
    """Change brightness and contrast by 1 ± value, saturation by 1 ± saturation and the hue by ± hue of the circle, in
    random order."""

    def factor(gain: float) -> float:
        return float(rng.uniform(max(1 - gain, 0), 1 + gain))

    steps: list[Callable[[Image.Image], Image.Image]] = [
        partial(enhance, magnitude=factor(gain))
        for enhance, gain in ((_brighter, value), (_contrasted, value), (_coloured, saturation))
        if gain
    ]
    if hue:
        turn = round(rng.uniform(-hue, hue) * 255)
        steps.append(partial(_turned, turn=turn))
    for i in rng.permutation(len(steps)):
        pil = steps[i](pil)
    return pil


def _turned(pil: Image.Image, turn: int) -> Image.Image:
    hsv = np.array(pil.convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + turn) % 256
    return Image.fromarray(hsv, "HSV").convert("RGB")


# Operations of the automatic augmentations: an image and a magnitude → an image

Operation = Callable[[Image.Image, float], Image.Image]


def _affine(pil: Image.Image, *matrix: float) -> Image.Image:
    return pil.transform(pil.size, Image.Transform.AFFINE, matrix, BILINEAR)


def _brighter(pil: Image.Image, magnitude: float) -> Image.Image:
    return ImageEnhance.Brightness(pil).enhance(magnitude)


def _contrasted(pil: Image.Image, magnitude: float) -> Image.Image:
    return ImageEnhance.Contrast(pil).enhance(magnitude)


def _coloured(pil: Image.Image, magnitude: float) -> Image.Image:
    return ImageEnhance.Color(pil).enhance(magnitude)


OPERATIONS: dict[str, Operation] = {
    "Identity": lambda p, m: p,
    "ShearX": lambda p, m: _affine(p, 1, m, -m * p.height / 2, 0, 1, 0),
    "ShearY": lambda p, m: _affine(p, 1, 0, 0, m, 1, -m * p.width / 2),
    "TranslateX": lambda p, m: _affine(p, 1, 0, -int(m * p.width), 0, 1, 0),
    "TranslateY": lambda p, m: _affine(p, 1, 0, 0, 0, 1, -int(m * p.height)),
    "Rotate": lambda p, m: p.rotate(m, BILINEAR),
    "Brightness": lambda p, m: _brighter(p, 1 + m),
    "Color": lambda p, m: _coloured(p, 1 + m),
    "Contrast": lambda p, m: _contrasted(p, 1 + m),
    "Sharpness": lambda p, m: ImageEnhance.Sharpness(p).enhance(1 + m),
    "Posterize": lambda p, m: ImageOps.posterize(p, max(int(m), 1)),
    "Solarize": lambda p, m: ImageOps.solarize(p, int(m)),
    "AutoContrast": lambda p, m: ImageOps.autocontrast(p),
    "Equalize": lambda p, m: ImageOps.equalize(p),
    "Invert": lambda p, m: ImageOps.invert(p),
}
# operation → the largest magnitude; the smallest is 0, and the sign is random
SIGNED = {
    "ShearX": 0.3, "ShearY": 0.3, "TranslateX": 150 / 331, "TranslateY": 150 / 331, "Rotate": 30.0,
    "Brightness": 0.9, "Color": 0.9, "Contrast": 0.9, "Sharpness": 0.9,
}  # fmt: skip
RANDOM = ("Identity", *SIGNED, "Posterize", "Solarize", "AutoContrast", "Equalize")  # of RandAugment
MIXED = (*SIGNED, "Posterize", "Solarize", "AutoContrast", "Equalize")  # of AugMix
# AutoAugment's policy, table 9 of the paper: pairs of an operation, its chance in tenths and its magnitude, 0..9
POLICY_TEXT = """
Posterize 4 8, Rotate 6 9 | Solarize 6 5, AutoContrast 6 0 | Equalize 8 0, Equalize 6 0 | Posterize 6 7, Posterize 6 6
| Equalize 4 0, Solarize 2 4 | Equalize 4 0, Rotate 8 8 | Solarize 6 3, Equalize 6 0 | Posterize 8 5, Equalize 10 0
| Rotate 2 3, Solarize 6 8 | Equalize 6 0, Posterize 4 6 | Rotate 8 8, Color 4 0 | Rotate 4 9, Equalize 6 0
| Equalize 0 0, Equalize 8 0 | Invert 6 0, Equalize 10 0 | Color 6 4, Contrast 10 8 | Rotate 8 8, Color 10 2
| Color 8 8, Solarize 8 7 | Sharpness 4 7, Invert 6 0 | ShearX 6 5, Equalize 10 0 | Color 4 0, Equalize 6 0
| Equalize 4 0, Solarize 2 4 | Solarize 6 5, AutoContrast 6 0 | Invert 6 0, Equalize 10 0 | Color 6 4, Contrast 10 8
| Equalize 8 0, Equalize 6 0"""


def _read_policy(text: str) -> list[list[tuple[str, float, int]]]:
    """Return pairs of (operation, chance, magnitude)."""
    rows = [[part.split() for part in pair.split(",")] for pair in text.split("|")]
    return [[(name, int(tenths) / 10, int(level)) for name, tenths, level in pair] for pair in rows]


POLICY = _read_policy(POLICY_TEXT)


def magnitude_of(name: str, level: int, bins: int, bits: int = 8) -> float:
    """Return the magnitude of an operation at a level of 0 to bins − 1; `bits` are those that no posterizing leaves."""
    part = level / (bins - 1)
    if name == "Posterize":
        return bits - round(level / ((bins - 1) / 4))
    return 255 * (1 - part) if name == "Solarize" else SIGNED.get(name, 0.0) * part


def _applied(pil: Image.Image, name: str, magnitude: float, rng: Rng) -> Image.Image:
    if name in SIGNED and rng.random() < 0.5:
        magnitude = -magnitude
    return OPERATIONS[name](pil, magnitude)


def randaugment(pil: Image.Image, rng: Rng, count: int = 2, level: int = 9, bins: int = 31) -> Image.Image:
    """Apply `count` random operations at one level."""
    for i in rng.integers(len(RANDOM), size=count):
        pil = _applied(pil, RANDOM[i], magnitude_of(RANDOM[i], level, bins), rng)
    return pil


def autoaugment(pil: Image.Image, rng: Rng) -> Image.Image:
    """Apply a random pair of AutoAugment's policy, each operation by its chance."""
    for name, chance, level in POLICY[int(rng.integers(len(POLICY)))]:
        if rng.random() < chance:
            pil = _applied(pil, name, magnitude_of(name, level, 10), rng)
    return pil


def augmix(pil: Image.Image, rng: Rng, severity: int = 3, width: int = 3) -> Image.Image:
    """Mix the image with `width` chains of 1 to 3 random operations, by random weights."""
    kept, mixed = rng.dirichlet((1.0, 1.0))
    found = kept * np.asarray(pil, np.float32)
    for weight in rng.dirichlet((1.0,) * width) * mixed:
        chain = pil
        for i in rng.integers(len(MIXED), size=int(rng.integers(1, 4))):
            level = int(rng.integers(severity))
            chain = _applied(chain, MIXED[i], magnitude_of(MIXED[i], level, 10, bits=4), rng)
        found += weight * np.asarray(chain, np.float32)
    return Image.fromarray(found.astype(np.uint8))


_BY_NAME: dict[str, Callable[[Image.Image, Rng], Image.Image]] = {
    "randaugment": randaugment,
    "autoaugment": autoaugment,
    "augmix": augmix,
}


class ClassAugmentation:
    """Draws a training image of a classifier.

    Args:
        hyp: ranges (`cfg.config.Config`): scale, fliplr, flipud, auto_augment, hsv_h, hsv_s, hsv_v, erasing.
        size: side of the square that comes out, pixels.
    """

    def __init__(self, hyp: Any, size: int) -> None:
        self.size, self.scale = size, float(hyp.scale)
        self.fliplr, self.flipud, self.erasing = hyp.fliplr, hyp.flipud, hyp.erasing
        self.automatic = _BY_NAME.get(hyp.auto_augment or "")
        self.jitter = hyp.hsv_h, hyp.hsv_s, hyp.hsv_v

    def __call__(self, image: UInt8Array, rng: Rng) -> UInt8Array:
        """Draw: RGB (h, w, 3) → (size, size, 3)."""
        pil = random_crop(Image.fromarray(image), self.size, self.scale, rng)
        if self.fliplr and rng.random() < self.fliplr:
            pil = pil.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.flipud and rng.random() < self.flipud:
            pil = pil.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        pil = jittered(pil, *self.jitter, rng) if self.automatic is None else self.automatic(pil, rng)
        pixels = np.asarray(pil)
        return erased(pixels, rng) if self.erasing and rng.random() < self.erasing else pixels
