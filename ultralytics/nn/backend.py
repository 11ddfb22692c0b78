"""A network that is ready to run, whatever runs it: validation and prediction know nothing else of one."""

from __future__ import annotations

import copy
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from ultralytics.cfg.config import Config
from ultralytics.nn.building import channels_last
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.ops import make_divisible
from ultralytics.utils.tensors import layout
from ultralytics.utils.threads import one_thread

N = TypeVar("N", bound=nn.Module)


class Backend(Protocol):
    """Runs a network on images.

    Attributes:
        names: class names by id.
        nc: classes.
        stride: the largest, in pixels: heights and widths of the images are multiples of it.
        device, dtype: of the images that it takes.
        fixed: (height, width) of the only images that it takes; None: it takes any.
        layout: how images lie in memory fastest for it; it takes any.
    """

    names: dict[int, str]
    stride: int
    device: torch.device
    dtype: torch.dtype
    fixed: tuple[int, int] | None
    layout: torch.memory_format

    @property
    def nc(self) -> int:
        """Return the number of classes."""

    def __call__(self, images: Tensor) -> Any:
        """Return the head's output in evaluation for images (B, 3, H, W), RGB 0..1: for a detector see `Detect`."""


@runtime_checkable
class Unready(Protocol):
    """What becomes a backend once its networks are ready to run."""

    def ready(self, device: torch.device | None, half: bool) -> Backend:
        """Return it on a device; None: where the weights lie."""


class TorchBackend(nn.Module):
    """A network of PyTorch's; it is copied and fused, not changed.

    Args:
        model: it has `names`, `nc`, `stride` and `fuse`.
        device: to run on; where its weights lie when None.
        half: fp16 weights (CUDA only).

    Attributes:
        model: the copy; the others as of a `Backend`.
    """

    def __init__(self, model: nn.Module, device: torch.device | None = None, half: bool = False) -> None:
        super().__init__()
        self.device = device or next(model.parameters()).device
        copied: Any = inference_copy(model, self.device, half)
        self.model = copied
        self.names: dict[int, str] = copied.names
        self.nc: int = copied.nc
        self.stride = int(copied.stride.max())
        self.task: str = getattr(copied, "task", "detect")
        self.kpt_shape: tuple[int, int] | None = getattr(copied, "kpt_shape", None)
        self.dtype = next(copied.parameters()).dtype
        self.fp16 = self.dtype == torch.float16  # the reference's name
        self.fixed: tuple[int, int] | None = None
        self.layout = layout(self.device)
        self.training = False

    def forward(self, images: Tensor) -> Any:
        """Run the copy."""
        return self.model(images)


def backend_of(model: nn.Module | Backend, device: torch.device | None = None, half: bool = False) -> Backend:
    """Return what runs a model: itself, where it is a backend; an ensemble with what runs each of its networks."""
    if isinstance(model, Unready):
        return model.ready(device, half)
    if isinstance(model, TorchBackend) or not isinstance(model, nn.Module):
        return model
    return TorchBackend(model, device, half)


def frame_of(net: Backend, args: Config) -> tuple[int, int]:
    """Return the (height, width) that images are fitted into: what the keys say, in multiples of the stride, or the
    only one that a network takes.

    Raises:
        ConfigError: a user asks for another one.
    """
    step = max(net.stride, 32)
    height, width = (make_divisible(n, step) for n in args.frame)
    if net.fixed in (None, (height, width)):
        return height, width
    if args.sources.get("imgsz") in ("argument", "command line"):
        takes = "×".join(map(str, net.fixed))
        raise ConfigError(
            f"imgsz={args.imgsz}: the exported file takes images of {takes} pixels alone",
            hint="leave imgsz out, or export with dynamic=True",
        )
    return net.fixed


@one_thread()
def inference_copy(model: N, device: torch.device, half: bool = False) -> N:
    """Return a fused copy in evaluation mode, channels last, on the device; the model itself is left as it is.

    Args:
        model: a network that can be fused.
        device: for the copy.
        half: fp16 weights (CUDA only).
    """
    if half and device.type != "cuda":
        LOGGER.warning("half=True needs a GPU: going on in fp32")
    copied: Any = copy.deepcopy(model).to(device).float().eval().requires_grad_(False)
    copied = copied.fuse()
    copied.names_rows = True
    channels_last(copied)
    found: N = copied.half() if half and device.type == "cuda" else copied
    return found
