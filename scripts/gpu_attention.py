"""Focused linear attention by itself: ours, its plain twin, both compiled, and the module of the tutorials."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.nn.modules.FLA import FocusedLinearAttention

FUSED = importlib.util.find_spec("ultralytics.nn.ops") is not None  # this code has kernels of its own
SIZES = ((32, 40), (32, 20), (32, 80), (1, 20), (32, 160))  # images, side of the map; most telling first
C, HEADS = 256, 8
# What a layer must move at the least, with library products: elements of B·N·C, forward and with backward.
TRAFFIC = {"forward_ms": 11, "both_ms": 35}


class PlainAttention(FocusedLinearAttention):
    """Ours without kernels: what overrides `mix` is computed by plain operations."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        """As the class above."""
        return super().mix(q, k, v, size)


class TutorialAttention(nn.Module):
    """The module that the tutorials paste, operation by operation: square maps of the table's size, everything in the
    input's precision, the tokens' tensors copied by head."""

    def __init__(self, dim: int, side: int, heads: int, power: int = 3) -> None:
        super().__init__()
        self.heads, self.power = heads, power
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.dwc = nn.Conv2d(dim // heads, dim // heads, 5, padding=2, groups=dim // heads)
        self.scale = nn.Parameter(torch.zeros(1, 1, dim))
        self.positional_encoding = nn.Parameter(torch.zeros(1, side * side, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        B, channels, H, W = x.shape
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).reshape(B, H * W, 3, channels).permute(2, 0, 1, 3)
        scale = nn.functional.softplus(self.scale)
        q, k = ((nn.functional.relu(t) + 1e-6) / scale for t in (q, k + self.positional_encoding))
        lengths = [t.norm(dim=-1, keepdim=True) for t in (q, k)]
        q, k = (t**self.power for t in (q, k))
        q, k = (t / t.norm(dim=-1, keepdim=True) * n for t, n in zip((q, k), lengths, strict=True))
        q, k, v = (t.reshape(B, H * W, self.heads, -1).transpose(1, 2).flatten(0, 1) for t in (q, k, v))
        z = 1 / (torch.einsum("bic,bc->bi", q, k.sum(1)) + 1e-6)
        out = torch.einsum("bic,bcd,bi->bid", q, torch.einsum("bjc,bjd->bcd", k, v), z)
        maps = v.transpose(1, 2).reshape(B * self.heads, -1, H, W)
        out = out + self.dwc(maps).flatten(2).transpose(1, 2)
        out = out.reshape(B, self.heads, H * W, -1).transpose(1, 2).flatten(2)
        return self.proj(out).transpose(1, 2).reshape(B, channels, H, W)


def layers(side: int) -> dict[str, nn.Module]:
    """Return the layers that are compared, of equal weights; `ours` is there where it has kernels."""
    torch.manual_seed(0)
    plain = PlainAttention(C, (side, side), HEADS)
    with torch.no_grad():
        plain.positional_encoding.normal_(std=0.02)
        plain.scale.normal_(std=0.2)
    found: dict[str, nn.Module] = {"ours": FocusedLinearAttention(C, (side, side), HEADS)} if FUSED else {}
    found |= {"plain": plain, "tutorial": TutorialAttention(C, side, HEADS)}
    for layer in found.values():
        layer.load_state_dict(plain.state_dict())
    return found


def measure(card: bool, left: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Time the layers at all sizes, those that must be compiled last; yield a row each."""
    device, dtype = (torch.device("cuda"), torch.bfloat16) if card else (torch.device("cpu"), torch.float32)
    bandwidth = copy_bandwidth() if card else None
    sizes = SIZES if card else ((1, 8),)
    for compiled in (False, True) if card else (False,):
        for B, side in sizes:
            for name, layer in layers(side).items():
                if compiled and name == "tutorial":
                    continue
                about = {"layer": f"{name}, compiled" if compiled else name, "B": B, "N": side * side}
                if left() < (15 if compiled else 2):
                    yield {"skipped": "no time left", **about}
                    continue
                torch.manual_seed(0)
                inputs = [  # as the network gives and takes them: channels last
                    torch.randn(B, C, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
                    for _ in range(4)
                ]
                call: Any = layer.to(device, dtype)
                try:
                    figures = time_of(torch.compile(call, dynamic=False) if compiled else call, call, inputs, card)
                except Exception as e:  # one that fails must not hide the others
                    yield {"error": f"{type(e).__name__}: {e}"[:500], **about}
                    continue
                if bandwidth:
                    moved = {k: n * B * side * side * C * 2 / bandwidth * 1e3 for k, n in TRAFFIC.items()}
                    figures |= {f"{k.split('_')[0]}_of_floor": figures[k] / moved[k] for k in moved}
                yield {**about, "C": C, "h": HEADS, "dtype": str(dtype).removeprefix("torch."), **figures}
                del layer, call, inputs


def time_of(call: Any, layer: nn.Module, inputs: list[Tensor], card: bool) -> dict[str, Any]:
    """Return the milliseconds of a forward pass without gradients, of one with its backward pass, and peak memory. On a
    card also without the gaps between launches (`_device_ms`): the queue is filled before the clock starts."""
    gradient = torch.randn_like(inputs[0])
    held = list(layer.parameters())

    def forward(x: Tensor) -> None:
        with torch.no_grad():
            call(x)

    def both(x: Tensor) -> None:
        x = x.detach().requires_grad_()
        torch.autograd.grad(call(x), [x, *held], gradient)

    if card:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if card else 0
    figures: dict[str, Any] = {
        "forward_ms": milliseconds(forward, inputs, card),
        "both_ms": milliseconds(both, inputs, card),
    }
    if card:
        for key, of in (("forward", forward), ("both", both)):
            ahead = int(3e6 * min(figures[f"{key}_ms"], 20) + 2e6)  # cycles in which all of it can be launched
            figures[f"{key}_device_ms"] = milliseconds(of, inputs, card, 15, ahead)
        figures["peak_gib"] = (torch.cuda.max_memory_allocated() - before) / 2**30
    return figures


def milliseconds(
    call: Callable[[Tensor], None], inputs: list[Tensor], card: bool, repeats: int = 30, ahead: int = 0
) -> float:
    """Return the median milliseconds of a call by the card's events; inputs take turns, so that no cache holds them.
    The card first waits for `ahead` cycles."""
    for x in inputs[:3]:
        call(x)
    taken = []
    for i in range(repeats):
        x = inputs[i % len(inputs)]
        if card:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            if ahead:
                torch.cuda._sleep(ahead)  # type: ignore[no-untyped-call]  # torch has no types for it
            begin.record()
            call(x)
            end.record()
            end.synchronize()
            taken.append(begin.elapsed_time(end))
        else:
            started = time.perf_counter()
            call(x)
            taken.append((time.perf_counter() - started) * 1e3)
    return statistics.median(taken)


def copy_bandwidth(megabytes: int = 512) -> float:
    """Return the bytes per second that a copy within the card reads and writes."""
    held = [torch.empty(megabytes << 20, dtype=torch.uint8, device="cuda").random_() for _ in range(2)]

    def copy(x: Tensor) -> None:
        held[1].copy_(x)

    return 2 * held[0].numel() / milliseconds(copy, held[:1] * 4, card=True) * 1e3
