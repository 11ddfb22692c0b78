"""The form of a model that validation and prediction run."""

from __future__ import annotations

import copy

import torch

from ultralytics.nn.building import channels_last
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.log import LOGGER
from ultralytics.utils.threads import one_thread


@one_thread()
def inference_copy(model: DetectionModel, device: torch.device, half: bool = False) -> DetectionModel:
    """A fused copy in evaluation mode, channels last, on the device; the model itself is left as it is.

    Args:
        half: fp16 weights (CUDA only).
    """
    if half and device.type != "cuda":
        LOGGER.warning("half=True needs a GPU: going on in fp32")
    copied = copy.deepcopy(model).to(device).float().eval().requires_grad_(False).fuse()
    copied.names_rows = True
    channels_last(copied)
    return copied.half() if half and device.type == "cuda" else copied
