"""Pascal VOC's SegmentationObject: an image for each image, in which the pixels of its XML's n-th object are n."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ultralytics.data.prepare.boxes import Header
from ultralytics.data.prepare.coco_shapes import turned_points
from ultralytics.data.prepare.outlines import outline_mask
from ultralytics.utils.images import open_header, read_image_file
from ultralytics.utils.types import Float64Array, Int64Array

FOLDERS = ("SegmentationObject", "segmentationobject")


def mask_folder(folder: Path) -> Path | None:
    """Return the folder of masks in a VOC folder; None where there is none."""
    return next((folder / name for name in FOLDERS if (folder / name).is_dir()), None)


def read_objects(path: Path, header: Header, upright: bool) -> Int64Array | str:
    """Return the number of the object of each pixel (h, w) of a mask, 0 for none and 255 for a border; or why it cannot
    be used. Colours are numbers too, by VOC's palette."""
    try:
        image = open_header(read_image_file(str(path)))
        pixels = None if image is None else np.asarray(image if image.mode in ("P", "L", "1") else image.convert("RGB"))
    except Exception as e:  # Pillow raises what a damaged file makes its parsers raise
        return f"the mask cannot be read: {e}"
    if pixels is None:
        return "the mask cannot be read"
    shape = header.shape if upright else header.stored
    if pixels.shape[:2] != shape:
        return f"the mask has {pixels.shape[1]}x{pixels.shape[0]} pixels, the image {shape[1]}x{shape[0]}"
    if pixels.ndim == 2:
        return pixels.astype(np.int64)
    # The palette: bit 3j + c of the number is bit 7 − j of colour c.
    numbers = np.zeros(shape, np.int64)
    for channel in range(3):
        for j in range(3):
            numbers |= (pixels[..., channel].astype(np.int64) >> (7 - j) & 1) << (3 * j + channel)
    return numbers & 255


def outline_of_object(numbers: Int64Array, number: int, header: Header, upright: bool) -> Float64Array | None:
    """Return the outline (k, 2) of an object in pixels of the image as it is shown; None where no pixel is its own."""
    outline = outline_mask(numbers == number)
    return outline if outline is None or upright else turned_points(outline, header)
