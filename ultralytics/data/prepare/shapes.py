"""A small detection dataset drawn by program: polygons with textures on textured grounds, boxes exact.

Every image is a function of its seed. A class is a shape; size, angle, colour and texture are no hint to it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from ultralytics.data.prepare.annotated import in_threads
from ultralytics.data.prepare.folder import make_once, prepared, write_manifest
from ultralytics.data.prepare.format import storage_error
from ultralytics.data.prepare.sources import default_out
from ultralytics.utils.files import user_path
from ultralytics.utils.images import imwrite
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted
from ultralytics.utils.types import Float64Array, UInt8Array

NAMES = ("disc", "square", "triangle", "star", "ring", "cross")
COUNTS = {"train": 320, "val": 64, "test": 64}
SIZES = ((240, 320), (320, 240), (256, 256), (200, 320), (320, 320))  # (height, width)
VERSION = 2  # of the drawing; another number draws the files anew
OVERSAMPLE = 4
HIDDEN = 0.5  # no object covers more of an earlier one than this part of its box


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


def draw(seed: tuple[int, ...]) -> tuple[UInt8Array, list[tuple[int, float, float, float, float]]]:
    """Draw an image, BGR uint8 (H, W, 3), and its boxes: class, x1, y1, x2, y2 in pixels, cut to the image."""
    rng = np.random.Generator(np.random.PCG64(seed))
    h, w = SIZES[rng.integers(len(SIZES))]
    ground = rng.uniform(40, 215, 3)
    image = _draw_fill(rng, ground, h, w, rng.uniform(8, 28))
    boxes: list[tuple[int, float, float, float, float]] = []
    for _ in range(int(rng.integers(2, 11))):
        for _ in range(20):  # attempts to find a place
            cls = int(rng.integers(len(NAMES)))
            radius = math.exp(rng.uniform(math.log(7), math.log(60)))
            centre = (rng.uniform(0.3 * radius, w - 0.3 * radius), rng.uniform(0.3 * radius, h - 0.3 * radius))
            contours = outline(NAMES[cls], centre, radius, rng.uniform(0, 2 * math.pi))
            (x1, y1), (x2, y2) = contours[0].min(0), contours[0].max(0)
            box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(w)), min(y2, float(h)))
            shown = (box[2] - box[0]) * (box[3] - box[1]) / ((x2 - x1) * (y2 - y1))
            if shown > 0.5 and all(_covered_part(b[1:], box) < HIDDEN for b in boxes):
                break
        else:
            continue
        colour = rng.uniform(20, 235, 3)
        while np.abs(colour - ground).max() < 60:
            colour = rng.uniform(20, 235, 3)
        visible = _fill_in(image, contours, _draw_fill(rng, colour, h, w, rng.uniform(4, 22)))
        # Of a shape cut by the frame, the part that is left may end before the cut box does.
        boxes.append((cls, *(visible if shown < 1 else (float(v) for v in box))))
    return np.clip(image, 0, 255).astype(np.uint8), boxes


def _covered_part(below: tuple[float, ...], above: tuple[float, ...]) -> float:
    """Return the part of a box that another hides; the smaller of both counts, so nothing small vanishes behind or
    before something large."""
    w = min(below[2], above[2]) - max(below[0], above[0])
    h = min(below[3], above[3]) - max(below[1], above[1])
    area = min((b[2] - b[0]) * (b[3] - b[1]) for b in (below, above))
    return max(w, 0.0) * max(h, 0.0) / area


def _fill_in(
    image: Float64Array, contours: list[Float64Array], paint: Float64Array
) -> tuple[float, float, float, float]:
    """Paint a shape, its edge weighted by the part of each pixel it covers; the corners of what is inside the frame, to
    1/4 pixel."""
    h, w = image.shape[:2]
    mask = np.zeros((h * OVERSAMPLE, w * OVERSAMPLE), np.uint8)
    # A pixel's centre lies half a pixel from its corner; 4 bits of the coordinates are fractions.
    points = [np.round((c * OVERSAMPLE - 0.5) * 16).astype(np.int32) for c in contours]
    cv2.fillPoly(mask, points, 255, shift=4)
    share = cv2.resize(mask, (w, h), interpolation=cv2.INTER_AREA)[..., None] / 255
    image *= 1 - share
    image += share * paint
    x, y, across, down = cv2.boundingRect(mask)
    return x / OVERSAMPLE, y / OVERSAMPLE, (x + across) / OVERSAMPLE, (y + down) / OVERSAMPLE


def prepare_shapes(out: str | Path | None = None, seed: int = 0) -> Path:
    """Draw the dataset into a folder; nothing is done when it is there already.

    Args:
        out: the folder, data/shapes when None.
        seed: of the drawing.

    Returns:
        The dataset's YAML, OUT/data.yaml.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    out = default_out("shapes") if out is None else user_path(out)
    options = {"version": VERSION, "seed": seed, "images": COUNTS}
    _remove_outdated(out, seed)
    done = prepared(out, "shapes", options)
    if done is not None:
        return done
    objects = make_once(out, "shapes", options, "", lambda folder: _draw_all(folder, out, seed, options))
    if objects is None:
        return out / "data.yaml"
    LOGGER.info(
        "%s: %s, %s of %s",
        out,
        ", ".join(counted(n, f"{s} image") for s, n in COUNTS.items()),
        counted(sum(objects.values()), "object"),
        counted(len(NAMES), "class"),
    )
    return out / "data.yaml"


def _draw_all(folder: Path, out: Path, seed: int, options: Mapping[str, Any]) -> Counter[int]:
    """Fill a folder that will become OUT, and count the objects of each class."""
    jobs = [(split, i) for split, count in COUNTS.items() for i in range(count)]
    try:
        for split in COUNTS:
            for kind in ("images", "labels"):
                (folder / kind / split).mkdir(parents=True)
        drawn = in_threads(lambda which: _draw_file(folder, seed, *which), jobs, "Drawing shapes")
        spec = {"path": ".", **{s: f"images/{s}" for s in COUNTS}, "names": dict(enumerate(NAMES))}
        (folder / "data.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8", newline="\n")
    except OSError as e:
        raise storage_error(e, folder, out) from None
    objects = Counter(c for classes in drawn for c in classes)
    write_manifest(folder, "shapes", options, [], COUNTS, {name: objects[i] for i, name in enumerate(NAMES)})
    return objects


def _draw_file(folder: Path, seed: int, split: str, i: int) -> list[int]:
    """Write an image and its labels; the classes in it."""
    image, boxes = draw((seed, VERSION, list(COUNTS).index(split), i))
    h, w = image.shape[:2]
    imwrite(folder / "images" / split / f"{i:04d}.jpg", image, quality=92)
    rows = (
        f"{c} {(x1 + x2) / 2 / w:.6f} {(y1 + y2) / 2 / h:.6f} {(x2 - x1) / w:.6f} {(y2 - y1) / h:.6f}\n"
        for c, x1, y1, x2, y2 in boxes
    )
    (folder / "labels" / split / f"{i:04d}.txt").write_text("".join(rows), encoding="utf-8", newline="\n")
    return [c for c, *_ in boxes]


def _remove_outdated(out: Path, seed: int) -> None:
    """Remove what an earlier version of the drawing made here with the same seed: nothing is lost by drawing it anew.
    Before there was a manifest, done.json said so."""
    for name, key in (("manifest.json", "options"), ("done.json", None)):
        try:
            found = json.loads((out / name).read_text(encoding="utf-8"))
            if key is not None:
                found = found[key] if found["kind"] == "shapes" else {}
            if found["seed"] != seed or (key is not None and found["version"] == VERSION):
                return
        except (OSError, ValueError, KeyError, TypeError):
            continue
        LOGGER.info("%s is of another version of the drawing; it is drawn anew", out)
        shutil.rmtree(out, ignore_errors=True)
        return
