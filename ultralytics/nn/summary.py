"""Sizes of a network: layers, parameters, operations, row by row and in all."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

from ultralytics.nn.building import Bounded
from ultralytics.nn.modules.cib import RepVGGDW
from ultralytics.nn.modules.conv import Conv, Conv2, ConvTranspose, RepConv
from ultralytics.nn.modules.csp import DFL
from ultralytics.utils.errors import ModelError
from ultralytics.utils.text import counted

PROBE = 32  # pixels of the reference's probe
LARGEST = 2**30  # elements of a product of matrices: beyond it the figure is left out


def summarise(model: nn.Module, imgsz: int = 640) -> dict[str, float]:
    """Layers, parameters, gradients (trainable parameters) and GFLOPs, in the reference's convention.

    GFLOPs are 2 × multiply-adds of convolutions and linear layers plus 4 per element and batch norm, measured on a
    32-pixel image and scaled by the area. Matrix products inside attention are not in that convention. A network that
    takes no such image is measured at `imgsz`; NaN where it does not take that either.
    """
    gflops = math.nan
    for size in (PROBE, imgsz):
        with (
            contextlib.suppress(Exception),
            Bounded(LARGEST),
        ):  # whatever a module makes of a map it was not written for
            gflops = 2 * multiply_adds(model, size) / 1e9 * (imgsz / size) ** 2
            break
    return {
        "layers": len(list(model.modules())),
        "parameters": sum(p.numel() for p in model.parameters()),
        "gradients": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "gflops": gflops,
    }


@torch.no_grad()
def multiply_adds(model: nn.Module, size: int) -> float:
    """Multiply-adds of the layers the reference counts, for one size×size image."""
    total = 0.0

    def count(module: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            kernel = module.kernel_size[0] * module.kernel_size[1]
            total += out.numel() * (module.in_channels // module.groups) * kernel
        elif isinstance(module, nn.ConvTranspose2d):
            total += inputs[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += out.numel() * module.in_features
        elif isinstance(module, nn.BatchNorm2d):
            total += 4 * inputs[0].numel() / (2 if not module.affine else 1)
        elif isinstance(module, nn.AdaptiveAvgPool2d):  # an addition per pixel and a division
            total += inputs[0].numel() + out.numel()
        elif isinstance(module, DFL):  # its convolution is computed as a product
            total += out.numel() * module.c1

    counted = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d, nn.AdaptiveAvgPool2d, DFL)
    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, counted)]
    training = model.training
    parameter = next(model.parameters())
    try:
        model.eval()
        model(
            torch.zeros(
                1,
                getattr(getattr(model, "spec", None), "ch", 3),
                size,
                size,
                device=parameter.device,
                dtype=parameter.dtype,
            )
        )
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return total


@dataclass(frozen=True)
class RowReport:  # size: a row of `info`'s table, a field a column
    """A row at one image size.

    Attributes:
        channels: requested in the YAML, after the scale's width and cap, and as they come out (None: does not apply).
        shapes: of the outputs, batch first; stride: input pixels per cell of the first.
        macs: multiply-adds; flops: 2·macs; share: of the network's flops, 0..1.
        inferred: how the arguments of a class without a rule were read.
    """

    number: int
    name: str
    sources: list[int]
    repeats: int
    module: str
    args: list[Any]
    requested: int | None
    scaled: int | None
    channels: int | None
    shapes: list[list[int]]
    stride: float | None
    parameters: int
    macs: int
    flops: int
    share: float
    inferred: str = ""


@dataclass(frozen=True)
class ModelReport:  # size: what `info` prints and writes as JSON, a field a figure
    """What `explain` found. Counted are convolutions, linear layers and every matrix product that depends on the
    image, those inside attention too, at the true size, for the whole batch; unfused also batch norms, a multiply-add
    per element. Not counted are activations, other normalisations, pooling and further element-wise work. FLOPs are
    2·MACs."""

    model: str
    scale: str
    nc: int
    imgsz: list[int]
    batch: int
    layers: int
    parameters: int
    parameters_fused: int
    macs: int
    macs_fused: int
    flops: int
    flops_fused: int
    flops_reference_convention: float
    rows: list[RowReport]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the table for a reader."""
        names = any(r.name for r in self.rows)
        head = ["#", *(["name"] if names else []), "from", "n", "module", "channels", "output", "stride", "parameters"]
        table = [[*head, "MFLOPs", "share"]]
        for r in self.rows:
            named = [str((self.rows[s].name if s >= 0 else "") or s) for s in r.sources]
            sources = named[0] if len(named) == 1 else f"[{', '.join(named)}]"
            steps = [r.requested, r.scaled, r.channels]
            shown = " → ".join("–" if c is None else str(c) for c in steps)
            shape = "×".join(map(str, r.shapes[0][1:])) + (f" +{len(r.shapes) - 1}" if len(r.shapes) > 1 else "")
            stride = "–" if r.stride is None else f"{r.stride:g}"
            label = [r.name] if names else []
            cells = [str(r.number), *label, sources, str(r.repeats), r.module, shown, shape, stride]
            table.append([*cells, f"{r.parameters:,}", f"{r.flops / 1e6:,.2f}", f"{r.share:.1%}"])
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        left = {1, 2, 4} if names else {1, 3}
        out = [
            "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in table
        ]
        out += [f"row {r.number} ({r.module}) is read as {r.inferred}" for r in self.rows if r.inferred]
        size = "×".join(map(str, self.imgsz))
        scale = f" (scale {self.scale})" if self.scale else ""
        out += [
            "",
            f"{self.model}{scale}, {counted(self.nc, 'class')}, {size} pixels, batch {self.batch}, "
            f"{counted(self.layers, 'layer')}",
            f"  unfused: {self.parameters:,} parameters, {self.macs / 1e9:.3f} GMACs, {self.flops / 1e9:.3f} GFLOPs",
            f"  fused:   {self.parameters_fused:,} parameters, {self.macs_fused / 1e9:.3f} GMACs, "
            f"{self.flops_fused / 1e9:.3f} GFLOPs",
            "  FLOPs = 2·MACs, matrix products of attention included"
            + (
                "; the reference's count is left out: the network takes neither 32 nor 640 pixels"
                if math.isnan(self.flops_reference_convention)
                else f"; {self.flops_reference_convention:.1f} GFLOPs as the reference counts (640 square, without)"
            ),
        ]
        return out


def explain(model: nn.Module, imgsz: int | tuple[int, int] = 640, batch: int = 1) -> ModelReport:
    """Channels, shapes, parameters and operations of every row of a DetectionModel, from one forward pass of one image.

    Args:
        imgsz: pixels, or (height, width); multiples of the largest stride. batch: images.
    """
    size = (imgsz, imgsz) if isinstance(imgsz, int) else (int(imgsz[0]), int(imgsz[1]))
    net: Any = copy.deepcopy(model).eval()
    spec = net.spec
    products, norms, shapes = _measure(net, (1, spec.ch, *size))
    macs = [batch * (a + b) for a, b in zip(products, norms, strict=True)]
    total = sum(macs)
    rows = []
    for i, (layer, row) in enumerate(zip(net.model, spec.rows, strict=True)):
        first = shapes[i][0] if shapes[i] else []
        is_map = len(first) == 4
        built = layer.built
        rows.append(
            RowReport(
                number=i,
                name=row.name,
                sources=row.sources,
                repeats=spec.repeats(row),
                module=row.module,
                args=row.args,
                requested=built.requested if isinstance(built.requested, int) else None,
                scaled=built.scaled,
                channels=first[1] if is_map else None,
                shapes=[[batch, *s[1:]] for s in shapes[i]],
                stride=size[0] / first[2] if is_map else None,
                parameters=sum(p.numel() for p in layer.parameters()),
                macs=macs[i],
                flops=2 * macs[i],
                share=macs[i] / total if total else 0.0,
                inferred=built.inferred,
            )
        )
    counts = summarise(net)
    branched = any(isinstance(m, RepConv | RepVGGDW | Conv2) for m in net.modules())
    fused = net.fuse()
    if branched:  # branches become one convolution
        products = _measure(fused, (1, spec.ch, *size))[0]
    return ModelReport(
        model=Path(spec.yaml_file).name or "model",
        scale=spec.scale,
        nc=spec.nc,
        imgsz=list(size),
        batch=batch,
        layers=int(counts["layers"]),
        parameters=int(counts["parameters"]),
        parameters_fused=sum(p.numel() for p in fused.parameters()),
        macs=total,
        macs_fused=batch * sum(products),
        flops=2 * total,
        flops_fused=2 * batch * sum(products),
        flops_reference_convention=counts["gflops"],
        rows=rows,
    )


def _measure(net: Any, shape: tuple[int, ...]) -> tuple[list[int], list[int], list[list[list[int]]]]:
    """Per row: multiply-adds of products, of batch norms that fusing folds away, and the shapes of the outputs."""
    products, norms = [0] * len(net.model), [0] * len(net.model)
    shapes: list[list[list[int]]] = [[] for _ in net.model]
    current = 0

    def count(flops: int) -> None:
        products[current] += flops // 2

    def enter(layer: Any, _: Any) -> None:
        nonlocal current
        current = layer.i

    def leave(layer: Any, _: Any, out: Any) -> None:
        maps = out[1] if isinstance(out, tuple) and len(out) == 2 and isinstance(out[1], list | tuple) else out
        shapes[layer.i] = [list(t.shape) for t in tree_leaves(maps) if isinstance(t, Tensor)]

    def norm(layer: nn.Module, _: Any, out: Tensor) -> None:
        norms[current] += out.numel()

    handles = [h for row in net.model for h in (row.register_forward_pre_hook(enter), row.register_forward_hook(leave))]
    holders = [m for m in net.modules() if isinstance(m, Conv | ConvTranspose | RepConv)]
    folded = [bn for bn in (getattr(m, "bn", None) for m in holders) if isinstance(bn, nn.BatchNorm2d)]
    handles += [m.register_forward_hook(norm) for m in folded]
    like = next(net.parameters())
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its one operation hides the products inside
    try:
        with torch.no_grad():
            image = torch.zeros(shape, device=like.device, dtype=like.dtype)
            with ProductCounter(image, count):
                net(image)
    except Exception as e:  # as above
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        row = net.spec.rows[current]
        raise ModelError(
            f"it takes no image of {shape[2]}×{shape[3]} pixels: {type(e).__name__}: {reason}",
            row.where or f"row {current} ({row.module})",
            "another imgsz=, or `check` with the settings of a run",
        ) from None
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
    return products, norms, shapes


def _attention_flops(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    """Both products of softmax attention: q kᵀ and weights·v."""
    B, h, N, d = q.shape
    return 2 * B * h * N * k.shape[-2] * (d + v.shape[-1])


def _matrix_vector_flops(a: Tensor, b: Tensor, *_: Any, **__: Any) -> int:
    return 2 * a.numel()


# torch's own formulas, and the CPU's fused attention and products with vectors, which they lack.
_FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten.mv: _matrix_vector_flops,
    torch.ops.aten.dot: _matrix_vector_flops,
    torch.ops.aten.addmv: lambda _, a, b, *__, **___: _matrix_vector_flops(a, b),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    **flop_registry,
}


class ProductCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Reports the FLOPs of every convolution and matrix product whose operands depend on the image.

    Products of parameters alone, such as the interpolation of a positional table, are the same for every image and are
    not part of its cost.

    Args:
        image: the input; count: called with the FLOPs of each product, by torch's own formulas.
    """

    def __init__(self, image: Tensor, count: Callable[[int], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.count = count
        self.dependent = WeakIdKeyDictionary()
        self.dependent[image] = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if any(isinstance(t, Tensor) and t in self.dependent for t in tree_leaves((args, kwargs))):
            for t in tree_leaves(out):
                if isinstance(t, Tensor):
                    self.dependent[t] = True
            formula = _FORMULAS.get(func._overloadpacket)
            if formula is not None:
                self.count(int(formula(*args, **kwargs, out_val=out)))
        return out
