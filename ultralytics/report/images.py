"""Images inside the page: decoded and encoded anew, so that no byte of a file gets into it, up to a bound."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

import cv2

from ultralytics.report.markup import Html, tag
from ultralytics.utils.charts import optional
from ultralytics.utils.images import imread
from ultralytics.utils.text import counted
from ultralytics.utils.types import UInt8Array

SIDE = 1280  # pixels of the longer side, at most
QUALITY = 80


class Album:
    """Images of a page.

    Args:
        most: bytes of all of them as text.

    Attributes:
        left_out: names of the images for which there was no room, or that could not be read.
    """

    def __init__(self, most: int) -> None:
        self.room = most
        self.left_out: list[str] = []

    def file(self, path: Path, alt: str, caption: str) -> Html | None:
        """Return the figure of an image file; None where there is none, or no room."""
        if not path.is_file():
            return None
        image = imread(path)
        if image is None:
            self.left_out.append(path.name)
            return None
        return self.array(image, path.name, alt, caption)

    def files(self, images: Iterable[tuple[Path, str, str]]) -> list[Html]:
        """Return the figures of those image files that there are and that have room; each is path, alt, caption."""
        return [found for image in images if (found := self.file(*image)) is not None]

    def array(self, image: UInt8Array, name: str, alt: str, caption: str) -> Html | None:
        """Return the figure of an image (h, w, 3), BGR; None where there is no room."""
        data = ""
        with optional(name):
            data = encode(image)
        if not data or len(data) > self.room:
            self.left_out.append(name)
            return None
        self.room -= len(data)
        height, width = image.shape[:2]
        shown = tag("img", src=data, alt=alt, width=width, height=height)
        return tag("figure", shown, tag("figcaption", caption), class_="image")

    def note(self) -> str:
        """Say what was left out; "" where nothing was."""
        names = ", ".join(self.left_out[:8]) + (", …" if len(self.left_out) > 8 else "")
        many = counted(len(self.left_out), "image")
        return f"{many} left out, for lack of room or unreadable (images= sets the room): {names}" if names else ""


def encode(image: UInt8Array) -> str:
    """Return an image (h, w, 3), BGR, as the data URI of a JPEG with at most SIDE pixels a side."""
    scale = SIDE / max(image.shape[:2])
    if scale < 1:
        size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]  # uint8 stays uint8
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
