import importlib.util
import os

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from tests.nn.ops.twins import errors, linear_fused, opened, plain, problem, step
from ultralytics.nn.modules import (
    MagnitudeAwareLinearAttention,
    MALABlock,
    RankAugmentedLinearAttention,
    ReLULinearAttention,
    ReLULinearBlock,
)
from ultralytics.nn.ops import linear
from ultralytics.nn.ops.linear import linear_mix, linear_mix_backward

interpreted = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") != "1",
    reason="Triton is not installed, or a CUDA device runs the kernels themselves (tests marked gpu)",
)
slow = pytest.mark.slow
# The largest error over the largest value, against fp64.
BOUND = {torch.float32: 5e-6, torch.float16: 3e-3, torch.bfloat16: 1.5e-2}
LAYERS = {"relu": ReLULinearAttention, "magnitude": MagnitudeAwareLinearAttention}
each = pytest.mark.parametrize("kind", LAYERS)


@interpreted
@each
@pytest.mark.parametrize(
    ("C", "heads", "H", "W", "options"),
    [
        (16, 2, 2, 3, {}),
        (24, 1, 5, 15, {"B": 1}),
        (20, 5, 1, 37, {}),
        pytest.param(32, 2, 1, 1, {"B": 1, "dead": False}, marks=slow),
        pytest.param(96, 2, 9, 8, {}, marks=slow),
        pytest.param(64, 1, 7, 9, {}, marks=slow),
        pytest.param(32, 1, 3, 67, {"dtype": torch.float16}, marks=slow),
        pytest.param(32, 2, 9, 8, {"dtype": torch.bfloat16}, marks=slow),
    ],
)
def test_kernels_equal_their_twin(kind, C, heads, H, W, options):
    layer, qkv, grad = problem(C, heads, H, W, of=LAYERS[kind], **options)
    found = errors(linear_fused(layer, qkv, grad, (H, W)), plain(layer, qkv, grad, (H, W)))
    assert max(found.values()) < BOUND[qkv.dtype], found


@interpreted
def test_large_numbers_cancel_in_the_state():
    """What MALA adds up and subtracts again, the kernels leave out. Computed like the twin, they would err like it."""
    layer, qkv, grad = problem(16, 1, 5, 7, B=1, of=MagnitudeAwareLinearAttention)
    qkv[..., :32] += 30
    qkv[..., 32:] += 100
    want = plain(layer, qkv, grad, (5, 7))
    kernels, twin = (errors(got(layer.float(), qkv, grad, (5, 7)), want) for got in (linear_fused, plain))
    assert kernels["out"] < twin["out"]
    assert kernels["k"] < twin["k"] / 2
    assert kernels["v"] < twin["v"] / 2


@interpreted
@each
def test_neither_blocks_nor_parts_change_what_is_computed(kind):
    from ultralytics.nn.ops.fla_launch import Blocks, forced  # needs Triton

    layer, qkv, grad = problem(24, 3, 5, 7, of=LAYERS[kind])
    want = plain(layer, qkv, grad, (5, 7))
    for blocks in (Blocks(parts=1), Blocks(16, 32, 16, 32, 32, parts=10**6)):
        with forced(blocks):
            found = errors(linear_fused(layer, qkv, grad, (5, 7)), want)
        assert max(found.values()) < BOUND[torch.float32], (blocks, found)


@interpreted
@each
def test_dead_tokens_and_large_values_are_finite(kind):
    for value in (-300.0, 0.0, 3000.0):
        qkv = torch.full((1, 6, 96), value, dtype=torch.float16).requires_grad_()
        out = linear_mix(qkv, torch.zeros(6, 32), 2, kind)[0]
        out.sum().backward()
        assert torch.isfinite(out).all(), value
        assert torch.isfinite(qkv.grad).all(), value


@interpreted
@slow
@each
def test_the_operations_keep_the_rules_of_torch(kind):
    qkv, position, grad = torch.randn(2, 6, 48), torch.randn(6, 16), torch.randn(2, 6, 16)
    torch.library.opcheck(linear_mix, (qkv.clone().requires_grad_(), position.clone().requires_grad_(), 2, kind))
    _, state = linear_mix(qkv, position, 2, kind)
    torch.library.opcheck(linear_mix_backward, (grad, qkv, position, state, 2, kind))


@interpreted
@pytest.mark.parametrize("of", [ReLULinearBlock, MALABlock])
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=slow)])
def test_a_block_uses_them_also_when_it_is_compiled(monkeypatch, of, compiled):
    block, x = opened(16, 2, of=of), torch.randn(2, 16, 3, 4)
    want = step(block, x)
    monkeypatch.setenv("ULTRALYTICS_FLA", "fused")
    called = []
    monkeypatch.setattr(
        "ultralytics.nn.modules.attention.linearly_mixed", lambda *a: called.append(1) or linear.linearly_mixed(*a)
    )
    got = step(torch.compile(block, backend="aot_eager", fullgraph=True) if compiled else block, x)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))
    assert called


class Changed(ReLULinearAttention):
    def mix(self, q, k, v, size):
        return v


class Named(MagnitudeAwareLinearAttention):
    """Nothing changed."""


def test_the_plain_twin_serves_wherever_the_kernels_do_not(monkeypatch):
    qkv, size = torch.randn(1, 12, 48), (3, 4)
    monkeypatch.setattr("ultralytics.nn.modules.attention.obstacle", lambda *_: "")
    monkeypatch.setattr("ultralytics.nn.modules.attention.linearly_mixed", lambda *_: "fused")
    for of in (ReLULinearAttention, MagnitudeAwareLinearAttention, Named):
        assert of(16, size, 2).attend(qkv, size) == "fused"
    assert Changed(16, size, 2).attend(qkv, size).shape == (1, 12, 16)
    assert RankAugmentedLinearAttention(16, size, 2).attend(qkv, size).shape == (1, 12, 16)
    layer = ReLULinearAttention(16, size, 2)
    assert not layer.fusible(qkv[:0])
    traced = torch.jit.trace(layer.eval(), torch.randn(1, 16, *size), check_trace=False)
    assert "linear_mix" not in str(traced.inlined_graph)


def test_on_a_cpu_and_in_fp64_they_are_plain(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not ReLULinearAttention(16, (3, 4), 2).fusible(torch.randn(1, 12, 48))
    monkeypatch.setattr("ultralytics.nn.ops.fla._unable", lambda *_: "")
    assert ReLULinearAttention(16, (3, 4), 2).fusible(torch.randn(1, 12, 48))
    assert not ReLULinearAttention(16, (3, 4), 2).fusible(torch.randn(1, 12, 48).double())


@each
def test_operations_are_counted_as_of_the_twin(kind):
    layer, qkv, _ = problem(16, 2, 4, 5, of=LAYERS[kind])
    with FlopCounterMode(display=False) as counter:
        out = layer.attend(qkv.double().requires_grad_(), layer.window_size)
    assert linear.count_linear(qkv.shape, (20, 16), 2, kind) == counter.get_total_flops()
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    assert linear.count_linear_backward(out.shape, qkv.shape, (20, 16), (), 2, kind) == backward.get_total_flops()
    assert {torch.ops.ultralytics.linear_mix, torch.ops.ultralytics.linear_mix_backward} <= flop_registry.keys()
