"""Images by paths with any letters, and weights, under the reference's names."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch

from ultralytics.utils.errors import UserError
from ultralytics.utils.images import imwrite as write_image
from ultralytics.utils.lazy import later
from ultralytics.utils.types import UInt8Array

__getattr__ = later(
    __name__,
    {},
    {
        "imshow": "no window is opened: imwrite(filename, image) and look at it",
        "torch_load": "YOLO(file) reads weights, `nn.tasks.torch_safe_load` their content; no pickle is run",
    },
)


def imread(filename: str, flags: int = cv2.IMREAD_COLOR) -> UInt8Array | None:
    """Return an image as OpenCV decodes it, BGR; None where it cannot."""
    image: UInt8Array | None = cv2.imdecode(np.fromfile(filename, np.uint8), flags)  # type: ignore[assignment]  # uint8
    return image


def imwrite(filename: str, img: UInt8Array, params: Any = None) -> bool:
    """Write an image, BGR; False where it cannot be written. `params` is of the reference."""
    try:
        write_image(filename, img)
    except (UserError, OSError):
        return False
    return True


def torch_save(*args: Any, use_dill: bool = True, **kwargs: Any) -> None:
    """torch.save; `use_dill` is of the reference."""
    torch.save(*args, **kwargs)
