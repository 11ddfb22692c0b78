"""Images in memory as sources: arrays and tensors."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch

from ultralytics.utils.errors import UserError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.types import UInt8Array


def images_of(batch: torch.Tensor) -> list[UInt8Array]:
    """Return the images of a tensor RGB 0..1 (B, 3, H, W) or (3, H, W) as BGR uint8.

    Raises:
        UserError: it holds none.
    """
    wanted = "give RGB in 0..1, shape (B, 3, H, W)"
    if batch.ndim == 3:
        batch = batch[None]
    if batch.ndim != 4 or batch.shape[1] != 3 or 0 in batch.shape:
        raise UserError(f"images cannot be a tensor of shape {tuple(batch.shape)}", hint=wanted)
    if not batch.is_floating_point():
        raise UserError(f"images cannot be a tensor of {batch.dtype}: which value is white?", hint=f"{wanted}: x / 255")
    batch = batch.detach().float().cpu()
    if not bool(batch.isfinite().all()) or float(batch.min()) < -1e-3:
        raise UserError("images cannot be a tensor with values below 0 or not finite", hint=wanted)
    if float(batch.max()) > 1 + 1e-3:
        LOGGER.warning("the tensor has values above 1, and is divided by 255")
        batch = batch / 255
    pixels = (batch * 255).round().clamp(0, 255).to(torch.uint8).flip(1).permute(0, 2, 3, 1).contiguous().numpy()
    return list(pixels)


def bgr(array: Any) -> UInt8Array:
    """Return an array BGR uint8 (H, W, 3), or grey (H, W), as BGR uint8 (H, W, 3).

    Raises:
        UserError: it has another shape or type.
    """
    wanted = "give uint8 of 0..255 in the order BGR, shape (H, W, 3), or grey, shape (H, W)"
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        if array.ndim == 3 and array.shape[2:] == (4,):
            wanted += "; of RGBA: cv2.cvtColor(image, cv2.COLOR_RGBA2BGR)"
        elif array.ndim == 3 and array.shape[0] in (1, 3):
            wanted += "; of (3, H, W): image.transpose(1, 2, 0)"
        elif array.ndim == 4:
            wanted += "; of a batch: list(images)"
        raise UserError(f"an image cannot be an array of shape {array.shape}", hint=wanted)
    if array.dtype != np.uint8:
        raise UserError(f"an image cannot be an array of {array.dtype}: which value is white?", hint=wanted)
    if array.ndim == 2 or array.shape[2] == 1:
        array = cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_GRAY2BGR)
    image: UInt8Array = array
    return image
