import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812  # torch's customary name

from ultralytics.nn.modules import FocusedLinearAttention
from ultralytics.nn.modules.attention import interpolation_matrix, linear_attention
from ultralytics.nn.modules.FLA import focus
from ultralytics.utils.errors import ModelError


@pytest.mark.parametrize("case", range(5))
def test_equals_the_tutorials_module_on_square_maps(fixtures, case):
    z = np.load(fixtures / "fla_seed.npz")
    dim, h, w, heads, p, k = (int(v) for v in z[f"{case}.config"])
    layer = FocusedLinearAttention(dim, (h, w), heads, focusing_factor=p, kernel_size=k).double()
    layer.load_state_dict({n: torch.from_numpy(z[f"{case}.param.{n}"]) for n in layer.state_dict()})
    x = torch.from_numpy(z[f"{case}.x"]).requires_grad_()
    y = layer(x)
    y.backward(torch.from_numpy(z[f"{case}.grad_y"]))
    np.testing.assert_allclose(y.detach(), z[f"{case}.y"], atol=1e-9)
    np.testing.assert_allclose(x.grad, z[f"{case}.grad_x"], atol=1e-9)
    for name, parameter in layer.named_parameters():
        np.testing.assert_allclose(parameter.grad, z[f"{case}.grad.{name}"], atol=1e-9, err_msg=name)


def by_the_paper(layer, x):
    """Focused linear attention of a map (C, H, W), token by token (Han et al. 2023, eqs. 5, 6, 10 and 12), in NumPy."""
    state = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
    (C, H, W), h, p = x.shape, layer.num_heads, layer.focusing_factor
    d = C // h
    q, k, v = np.split(x.reshape(C, -1).T @ state["qkv.weight"].T + state["qkv.bias"], 3, 1)
    k = k + state["positional_encoding"][0]  # the map has the window's size
    sigma = np.log1p(np.exp(state["scale"][0]))

    def phi(u):
        u = (np.maximum(u, 0) + 1e-6) / sigma
        return u**p * np.linalg.norm(u, axis=1, keepdims=True) / np.linalg.norm(u**p, axis=1, keepdims=True)

    q, k, out = phi(q), phi(k), np.zeros_like(v)
    for i in range(h):
        channels = slice(i * d, (i + 1) * d)
        alike = q[:, channels] @ k[:, channels].T
        out[:, channels] = alike / (alike.sum(1, keepdims=True) + 1e-6) @ v[:, channels]
    side = layer.dwc.kernel_size[0] if layer.dwc is not None else 0
    for c in range(C if side else 0):  # the kernel of a head's channel is that of every head's
        padded = np.pad(v[:, c].reshape(H, W), side // 2)
        for y in range(H):
            for z in range(W):
                seen = (padded[y : y + side, z : z + side] * state["dwc.weight"][c % d, 0]).sum()
                out[y * W + z, c] += seen + state["dwc.bias"][c % d]
    return (out @ state["proj.weight"].T + state["proj.bias"]).T.reshape(C, H, W)


@pytest.mark.parametrize(("p", "side"), [(3, 5), (2, 3), (4.5, 0), (1, 1)])
def test_the_module_is_the_papers(p, side):
    torch.manual_seed(0)
    layer = FocusedLinearAttention(12, (3, 4), 3, focusing_factor=p, kernel_size=side).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 12, 3, 4, dtype=torch.float64)
    want = np.stack([by_the_paper(layer, image.numpy()) for image in x])
    np.testing.assert_allclose(layer(x).detach(), want, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2, 3, 4.5, 32]), st.integers(0, 1000))
def test_runs_at_any_size_and_focusing_factor(h, w, p, seed):
    torch.manual_seed(seed)
    layer = FocusedLinearAttention(16, (4, 6), 4, focusing_factor=p)
    x = torch.randn(2, 16, h, w, requires_grad=True)
    y = layer(x)
    y.square().mean().backward()
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_half_precision_stays_finite_and_near(dtype, scale):
    torch.manual_seed(0)
    layer = FocusedLinearAttention(32, (20, 20), 8)
    x = torch.randn(1, 32, 20, 20) * scale
    want = layer(x).detach()
    got = layer.to(dtype)(x.to(dtype)).detach().float()
    assert torch.isfinite(got).all()
    bound = {torch.float32: 1e-6, torch.float16: 5e-3, torch.bfloat16: 5e-2}[dtype]
    assert float((got - want).abs().max()) <= bound * float(want.abs().max())


def test_autocast_computes_the_attention_wide():
    torch.manual_seed(0)
    layer = FocusedLinearAttention(32, (8, 8), 4)
    x = torch.randn(1, 32, 8, 8)
    want = layer(x).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = layer(x).detach()
    assert float((got.float() - want).abs().max()) < 5e-2 * float(want.abs().max())


@given(st.integers(2, 40), st.integers(0, 1000))
def test_linear_form_equals_the_quadratic_one(n, seed):
    g = torch.Generator().manual_seed(seed)
    q, k, v = (torch.rand(1, 2, n, 4, generator=g, dtype=torch.float64) for _ in range(3))
    scores = q @ k.transpose(-2, -1)
    want = scores @ v / (scores.sum(-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(linear_attention(q, k, v), want, atol=1e-10, rtol=1e-10)


@given(st.floats(1, 32), st.integers(0, 1000))
def test_focus_keeps_norms_and_order_and_sharpens(p, seed):
    u = torch.rand(5, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01
    out = focus(u, p)
    torch.testing.assert_close(out.norm(dim=-1), u.norm(dim=-1))
    assert torch.equal(out.argsort(-1), u.argsort(-1))
    assert (out.amax(-1) >= u.amax(-1) - 1e-9).all()


def test_positions_are_the_table_at_the_window_and_bilinear_elsewhere():
    layer = FocusedLinearAttention(8, (4, 6), 2).double()
    torch.nn.init.normal_(layer.positional_encoding)
    assert layer.positions(4, 6) is layer.positional_encoding
    grid = layer.positional_encoding.view(1, 4, 6, 8).permute(0, 3, 1, 2)
    for h, w in ((8, 12), (3, 5), (1, 1), (10, 4)):
        want = F.interpolate(grid, (h, w), mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)
        torch.testing.assert_close(layer.positions(h, w), want)
    assert torch.equal(interpolation_matrix(5, 5, torch.zeros(1)), torch.eye(5))


def test_positions_are_a_grid_not_a_line():
    """A map and its transpose must give transposed results: flattening (H, W) as a line would not."""
    torch.manual_seed(0)
    layer = FocusedLinearAttention(8, (4, 4), 2)
    torch.nn.init.normal_(layer.positional_encoding)
    table = layer.positional_encoding.data.view(4, 4, 8)
    table.copy_((table + table.transpose(0, 1)) / 2)
    layer.dwc.weight.data.copy_((layer.dwc.weight + layer.dwc.weight.transpose(2, 3)).data / 2)
    x = torch.randn(1, 8, 3, 7)
    torch.testing.assert_close(layer(x.transpose(2, 3)), layer(x).transpose(2, 3), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_heads": 5}, "valid counts: 1, 2, 4, 8, 16"),
        ({"focusing_factor": 0}, "1..32"),
        ({"focusing_factor": 33}, "1..32"),
        ({"kernel_size": 4}, "odd"),
        ({"window_size": (0, 4)}, "window_size"),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    with pytest.raises(ModelError, match=message.replace(".", r"\.")):
        FocusedLinearAttention(16, **kwargs)


def test_masked_out_tokens_do_not_divide_by_zero():
    layer = FocusedLinearAttention(8, (2, 2), 2)
    with torch.no_grad():
        layer.qkv.bias.fill_(-1e4)  # every query and key is negative
    y = layer(torch.zeros(1, 8, 2, 2)).detach()
    assert torch.isfinite(y).all()
    assert not math.isnan(float(y.sum()))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gpu_equals_cpu(dtype):
    torch.manual_seed(0)
    layer = FocusedLinearAttention(64, (20, 20), 8)
    x = torch.randn(2, 64, 24, 20)
    with torch.no_grad():
        want = layer(x)
        got = layer.to("cuda", dtype)(x.to("cuda", dtype)).float().cpu()
    assert float((got - want).abs().max()) < 5e-2 * float(want.abs().max())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attn_drop": 2.0}, r"attn_drop must lie in 0\.\.1"), ({"attn_drop": "much"}, "attn_drop must be a number"),
        ({"focusing_factor": "3"}, "focusing_factor must be a number"),
        ({"qk_scale": [1]}, "qk_scale must be a number"),
        ({"proj_drop": "half"}, "proj_drop must be a number"), ({"qkv_bias": "yes"}, "qkv_bias must be True or False"),
    ],
)  # fmt: skip
def test_arguments_of_the_wrong_kind_are_told(arguments, message):
    with pytest.raises(ModelError, match=message):
        FocusedLinearAttention(64, **arguments)
