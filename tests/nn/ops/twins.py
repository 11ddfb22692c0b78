"""Compare the fused operations with their plain twins in fp64: the output and every gradient."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name

from ultralytics.nn.modules import FLABlock, FocusedLinearAttention
from ultralytics.nn.ops.fla import focused_mix
from ultralytics.nn.ops.linear import linear_mix


@contextlib.contextmanager
def poisoned():
    """Fill what torch.empty gives with NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


def problem(C, heads, H, W, B=2, p=3, k=5, dtype=torch.float32, device="cpu", dead=True, of=None):
    """A layer in fp64 with parameters that matter, q, k and v side by side, and a gradient of the output. Among the
    tokens one is dead, and one head of another. `of`: the class of a layer that is not focused."""
    torch.manual_seed(0)
    options = {} if of else {"focusing_factor": p, "kernel_size": k}
    layer = (of or FocusedLinearAttention)(C, (4, 5), heads, **options).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    N = H * W
    qkv, grad = torch.randn(B, N, 3 * C, dtype=torch.float64), torch.randn(B, N, C, dtype=torch.float64)
    if dead:
        qkv[0, 0, : 2 * C] = -5
        qkv[:, N // 2, : C // heads] = -5
    return layer.to(device), qkv.to(device, dtype), grad.to(device, dtype)


def plain(layer, qkv, grad, size):
    """Output and gradients of the twin, in the layer's precision."""
    qkv = qkv.to(layer.proj.weight.dtype).requires_grad_()
    layer.zero_grad()
    q, k, v = qkv.chunk(3, -1)
    position = layer.positions(*size).detach().requires_grad_()
    out = layer.mix(q, k + position, v, size)
    out.backward(grad.to(out.dtype))
    found = {"out": out.detach(), **parts(qkv.grad), "position": position.grad[0]}
    if isinstance(layer, FocusedLinearAttention):
        found["scale"] = layer.scale.grad
    if getattr(layer, "dwc", None) is not None:
        found |= {"weight": layer.dwc.weight.grad, "bias": layer.dwc.bias.grad}
    return found


def fused(layer, qkv, grad, size, mix=focused_mix):
    """Output and gradients of the operation, of the same problem; parameters in fp32."""
    qkv = qkv.detach().clone().requires_grad_()
    own = {n: t.detach().float().requires_grad_() for n, t in layer.named_parameters()}
    position = layer.positions(*size).detach()[0].float().contiguous().requires_grad_()
    taps = bias = None
    if layer.dwc is not None:
        taps, bias = own["dwc.weight"].flatten(1), own["dwc.bias"]
    with poisoned():
        sigma = F.softplus(own["scale"]).flatten()
        out = mix(qkv, position, sigma, taps, bias, layer.num_heads, size[1], float(layer.focusing_factor))[0]
        out.backward(grad)
    found = {"out": out.detach(), **parts(qkv.grad), "position": position.grad, "scale": own["scale"].grad}
    if layer.dwc is not None:
        found |= {"weight": own["dwc.weight"].grad, "bias": own["dwc.bias"].grad}
    return found


def linear_fused(layer, qkv, grad, size, mix=linear_mix):
    """Output and gradients of `linear_mix`, of a layer that is not focused."""
    qkv = qkv.detach().clone().requires_grad_()
    position = layer.positions(*size).detach()[0].float().contiguous().requires_grad_()
    with poisoned():
        out = mix(qkv, position, layer.num_heads, layer.kind)[0]
        out.backward(grad)
    return {"out": out.detach(), **parts(qkv.grad), "position": position.grad}


def parts(grad):
    return dict(zip("qkv", grad.chunk(3, -1), strict=True))


def errors(got, want):
    """The largest difference of each over the largest value there; of a single token, whose dq and dk cancel, over that
    of dv."""
    least = float(want["v"].abs().max()) if want["v"].shape[1] == 1 else 0.0
    return {n: float((got[n].double() - want[n]).abs().max()) / max(float(want[n].abs().max()), least) for n in want}


def check(got, want, bound, about=""):
    """Fail with the errors in one line."""
    found = errors(got, want)
    text = ", ".join(f"{name} {error:.1e}" for name, error in found.items())
    assert max(found.values()) < bound, f"{about} over {bound}: {text}"


def apart(got, want):
    """The largest distance of two lists of tensors, each over the length of its second one."""
    return max(float((a.double() - b.double()).norm() / b.double().norm()) for a, b in zip(got, want, strict=True))


def step(layer, x):
    x = x.detach().requires_grad_()
    y = layer(x)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])]


def opened(C, heads, device="cpu", of=FLABlock, **options):
    torch.manual_seed(0)
    block = of(C, heads, window_size=(4, 5), **options)
    torch.nn.init.normal_(block.gate)
    torch.nn.init.normal_(block.attn.positional_encoding)
    return block.to(device)
