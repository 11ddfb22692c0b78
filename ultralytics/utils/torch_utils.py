"""Helpers around networks and devices, under the reference's names."""

from __future__ import annotations

import contextlib
import copy
import math
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ultralytics.utils.environment import TORCHVISION_VERSION
from ultralytics.utils.fold import folded
from ultralytics.utils.lazy import later, resolve
from ultralytics.utils.log import LOGGER
from ultralytics.utils.tensors import scaled
from ultralytics.utils.text import counted

__getattr__ = later(
    __name__,
    {
        "ModelEMA": "ultralytics.engine.step.ema:ModelEMA",
        "EarlyStopping": "ultralytics.engine.step.stopping:EarlyStopping",
        "PYTHON_VERSION": "ultralytics.utils.environment:PYTHON_VERSION",
        "NUM_THREADS": "ultralytics.utils.environment:NUM_THREADS",
        "WINDOWS": "ultralytics.utils.environment:WINDOWS",
        "DEFAULT_CFG_DICT": "ultralytics.cfg.reference:DEFAULT_CFG_DICT",
        "DEFAULT_CFG_KEYS": "ultralytics.cfg.reference:DEFAULT_CFG_KEYS",
        "__version__": "ultralytics:__version__",
    },
    {
        "get_latest_opset": "`export` writes opset 18, or what opset= says",
        "model_info_for_loggers": "model_info(model) counts, results.csv has the times",
    },
)
TORCH_1_9 = TORCH_1_13 = TORCH_2_0 = True
TORCH_2_4 = tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2]) >= (2, 4)
TORCHVISION_0_10 = TORCHVISION_0_11 = TORCHVISION_0_13 = TORCHVISION_0_18 = bool(TORCHVISION_VERSION)
Convolution = TypeVar("Convolution", nn.Conv2d, nn.ConvTranspose2d)


def select_device(device: Any = "", batch: int = 0, newline: bool = False, verbose: bool = True) -> torch.device:
    """The torch device of a name; see `engine.device.select_device`. `batch` and `newline` are of the reference."""
    chosen: torch.device = resolve("ultralytics.engine.ranks.device:select_device")(device, quiet=not verbose)
    return chosen


def init_seeds(seed: int = 0, deterministic: bool = False) -> None:
    """Seed Python, NumPy and torch; `deterministic` chooses deterministic algorithms."""
    resolve("ultralytics.engine.ranks.device:seed_everything")(seed, deterministic)


def time_sync() -> float:
    """Seconds, once the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.time()


def autocast(enabled: bool, device: str = "cuda") -> Any:
    """torch's mixed precision as a context."""
    return torch.autocast(device, enabled=enabled and (device != "cuda" or torch.cuda.is_available()))


def smart_inference_mode() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: without gradients."""
    return torch.inference_mode()


@contextlib.contextmanager
def torch_distributed_zero_first(local_rank: int) -> Iterator[None]:
    """A block that the first process of a machine runs before the others."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    if together and local_rank not in (-1, 0):
        torch.distributed.barrier()
    yield
    if together and local_rank == 0:
        torch.distributed.barrier()


def get_cpu_info() -> str:
    """Return the CPU's name."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def get_num_params(model: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for p in model.parameters())


def get_num_gradients(model: nn.Module) -> int:
    """Parameters that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def get_flops(model: nn.Module, imgsz: int | Sequence[int] = 640) -> float:
    """GFLOPs in the reference's convention, see `nn.summary.summarise`; of a pair by its area."""
    sides = [imgsz, imgsz] if isinstance(imgsz, int) else list(imgsz)
    net = de_parallel(model)
    at = resolve("ultralytics.nn.summary:summarise")(net, sides[0])["gflops"]
    return float(at * sides[1] / sides[0])


def get_flops_with_torch_profiler(model: nn.Module, imgsz: int | Sequence[int] = 640) -> float:
    """GFLOPs as torch's profiler counts them, of an image of two strides, scaled by the area."""
    sides = [imgsz, imgsz] if isinstance(imgsz, int) else list(imgsz)
    net = de_parallel(model)
    first = next(net.parameters())
    size = 2 * max(int(torch.as_tensor(getattr(net, "stride", 32)).max()), 32)
    x = torch.zeros(1, first.shape[1] if first.ndim > 1 else 3, size, size, dtype=first.dtype, device=first.device)
    with torch.profiler.profile(with_flops=True) as seen:
        net(x)
    flops = sum(event.flops for event in seen.key_averages())
    return float(flops / 1e9 * sides[0] * sides[1] / size**2)


def model_info(
    model: nn.Module, detailed: bool = False, verbose: bool = True, imgsz: int | Sequence[int] = 640
) -> tuple[int, int, int, float] | None:
    """Log and return layers, parameters, trained parameters and GFLOPs; None where not verbose, as in the reference.

    Args:
        detailed: log every parameter too.
    """
    if not verbose:
        return None
    if detailed:
        for i, (name, p) in enumerate(model.named_parameters()):
            spread = float(p.float().std()) if p.numel() > 1 else 0.0
            line = "%5d %-40s %-9s %12d %-20s mean %10.3g, spread %10.3g, %s"
            trained = "trained" if p.requires_grad else "frozen"
            LOGGER.info(line, i, name, trained, p.numel(), list(p.shape), float(p.float().mean()), spread, p.dtype)
    layers, parameters, gradients = len(list(model.modules())), get_num_params(model), get_num_gradients(model)
    gflops = get_flops(model, imgsz)
    said = "" if math.isnan(gflops) else f", {gflops:.1f} GFLOPs"
    LOGGER.info(
        "%s: %s, %s parameters, %s gradients%s",
        type(model).__name__,
        counted(layers, "layer"),
        f"{parameters:,}",
        f"{gradients:,}",
        said,
    )
    return layers, parameters, gradients, gflops


def fuse_conv_and_bn(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that does what a convolution and the batch norm behind it do, for inference."""
    return _with_weights(conv, *folded(conv.weight, bn, conv.bias))


def fuse_deconv_and_bn(deconv: nn.ConvTranspose2d, bn: nn.BatchNorm2d) -> nn.ConvTranspose2d:
    """As `fuse_conv_and_bn`, of a transposed convolution."""
    return _with_weights(deconv, *folded(deconv.weight, bn, deconv.bias, transposed=True, groups=deconv.groups))


@torch.no_grad()
def _with_weights(conv: Convolution, weight: Tensor, bias: Tensor) -> Convolution:
    """Return a copy of a convolution with other weights, which are not trained."""
    copied = copy.deepcopy(conv)
    copied.weight = nn.Parameter(weight.clone(), requires_grad=False)
    copied.bias = nn.Parameter(bias, requires_grad=False)
    return copied


def initialize_weights(model: nn.Module) -> None:
    """Batch norms get the reference's constants, activations work in place; weights stay as torch has drawn them."""
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eps, m.momentum = 1e-3, 0.03
        elif isinstance(m, nn.Hardswish | nn.LeakyReLU | nn.ReLU | nn.ReLU6 | nn.SiLU):
            m.inplace = True


def scale_img(img: Tensor, ratio: float = 1.0, same_shape: bool = False, gs: int = 32) -> Tensor:
    """Images (B, 3, h, w) scaled by a ratio and, unless `same_shape`, padded to multiples of `gs` with grey."""
    return scaled(img, ratio, None if same_shape else gs)


def copy_attr(a: Any, b: Any, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
    """Copy the public attributes of `b` to `a`: those included, all where none are, without those excluded."""
    for name, value in vars(b).items():
        if (not include or name in include) and not name.startswith("_") and name not in exclude:
            setattr(a, name, value)


def intersect_dicts(
    da: Mapping[str, Tensor], db: Mapping[str, Tensor], exclude: Sequence[str] = ()
) -> dict[str, Tensor]:
    """The tensors of `da` that `db` has with the same shape; names that hold a word of `exclude` are left out."""
    return {k: v for k, v in da.items() if k in db and not any(x in k for x in exclude) and v.shape == db[k].shape}


def is_parallel(model: nn.Module) -> bool:
    """Return True if a model is wrapped for several devices."""
    return isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)


def de_parallel(model: nn.Module) -> Any:
    """Return the model itself, out of a wrapper for several devices."""
    return model.module if is_parallel(model) else model


def one_cycle(y1: float = 0.0, y2: float = 1.0, steps: int = 100) -> Callable[[float], float]:
    """Half a cosine from y1 to y2 over `steps` (Bag of Tricks, arXiv:1812.01187)."""
    return lambda x: max((1 - math.cos(x * math.pi / steps)) / 2, 0) * (y2 - y1) + y1


def convert_optimizer_state_dict_to_fp16(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Convert an optimiser's fp32 tensors, but for the step, to half precision, in place."""
    for state in state_dict["state"].values():
        for name, value in state.items():
            if name != "step" and isinstance(value, Tensor) and value.dtype is torch.float32:
                state[name] = value.half()
    return state_dict


def strip_optimizer(
    f: str | Path = "best.pt", s: str | Path = "", updates: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write weights without what resuming a run needs, over themselves or as `s`; returns what was written.

    Raises:
        CheckpointError: no weights file.
    """
    checkpoint = resolve("ultralytics.engine.weights.checkpoint:load_checkpoint")(f)
    content = {
        "model": resolve("ultralytics.engine.weights.checkpoint:portable")(checkpoint.spec),
        "names": dict(checkpoint.names),
        "ema": dict(checkpoint.weights),
        "train_args": dict(checkpoint.train_args),
        **({"provenance": checkpoint.state["provenance"]} if "provenance" in checkpoint.state else {}),
        **(updates or {}),
    }
    resolve("ultralytics.engine.weights.checkpoint:save_checkpoint")(Path(s or f), content)
    return content


def profile(
    input: Tensor | Sequence[Tensor], ops: nn.Module | Sequence[Any], n: int = 10, device: Any = None
) -> list[list[Any] | None]:
    """Time modules forwards and backwards on inputs, and log a line for each pair.

    Args:
        n: times each is run; device: see `select_device`.

    Returns:
        For each input and module: parameters, GFLOPs, GPU memory (GB), milliseconds forwards and backwards, and the
        shapes that go in and come out; None where the module fails.
    """
    where = device if isinstance(device, torch.device) else select_device(device or "", verbose=False)
    results: list[list[Any] | None] = []
    columns = "%12s%12s%14s%14s%14s%24s%24s"
    LOGGER.info(columns, "parameters", "GFLOPs", "GPU_mem (GB)", "forward (ms)", "backward (ms)", "input", "output")
    inputs: list[Tensor] = list(input) if isinstance(input, list | tuple) else [input]  # type: ignore[list-item]  # one
    for x in inputs:
        x = x.to(where).requires_grad_()
        for m in ops if isinstance(ops, list | tuple) else [ops]:
            m = m.to(where) if isinstance(m, nn.Module) else m
            try:
                results.append(_timed(m, x, n, where))
            except Exception as e:  # whatever a module makes of the input
                LOGGER.info("%s: %s", type(m).__name__, e)
                results.append(None)
                continue
            p, flops, memory, forward, backward, came, went = results[-1]  # type: ignore[misc]  # just appended
            LOGGER.info("%12d%12.4g%14.3f%14.4g%14.4g%24s%24s", p, flops, memory, forward, backward, came, went)
    return results


def _timed(m: Any, x: Tensor, n: int, device: torch.device) -> list[Any]:
    forward = backward = 0.0
    y: Any = None
    for _ in range(n):
        start = time_sync()
        y = m(x)
        middle = time_sync()
        total = sum(t.sum() for t in y) if isinstance(y, list | tuple) else y.sum()
        if total.requires_grad:
            total.backward()
        forward, backward = forward + (middle - start) * 1e3 / n, backward + (time_sync() - middle) * 1e3 / n
    flops = 0.0
    if isinstance(m, nn.Module):
        with torch.profiler.profile(with_flops=True) as seen, torch.no_grad():
            m(x)
        flops = sum(event.flops for event in seen.key_averages()) / 1e9
    memory = torch.cuda.memory_reserved() / 1e9 if device.type == "cuda" else 0
    parameters = get_num_params(m) if isinstance(m, nn.Module) else 0
    went = tuple(y.shape) if isinstance(y, Tensor) else "list"
    return [parameters, flops, memory, forward, backward, tuple(x.shape), went]
