import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from tests.nn.ops.twins import errors, fused, opened, plain, problem, step
from ultralytics.nn.modules import FocusedLinearAttention
from ultralytics.nn.ops import fla
from ultralytics.nn.ops.fla import focused_mix, focused_mix_backward
from ultralytics.utils.errors import ModelError

interpreted = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") != "1",
    reason="Triton is not installed, or a CUDA device runs the kernels themselves (tests marked gpu)",
)
slow = pytest.mark.slow
# The largest error over the largest value, against fp64.
BOUND = {torch.float32: 5e-6, torch.float16: 3e-3, torch.bfloat16: 1.5e-2}


@interpreted
@pytest.mark.parametrize(
    ("C", "heads", "H", "W", "options"),
    [
        (16, 2, 2, 3, {}),
        (32, 2, 1, 1, {"B": 1, "k": 3}),
        pytest.param(48, 2, 7, 9, {}, marks=slow),
        pytest.param(32, 4, 1, 37, {"p": 1}, marks=slow),
        pytest.param(64, 2, 4, 37, {"p": 2, "B": 1}, marks=slow),
        pytest.param(32, 2, 8, 9, {"p": 4}, marks=slow),
        pytest.param(32, 2, 9, 8, {"p": 8}, marks=slow),
        pytest.param(32, 2, 8, 9, {"p": 4.5, "k": 3}, marks=slow),
        pytest.param(96, 4, 7, 9, {"k": 0}, marks=slow),
        pytest.param(128, 2, 5, 9, {"B": 1, "k": 3}, marks=slow),
        pytest.param(128, 2, 5, 9, {"B": 1, "k": 3, "dtype": torch.bfloat16}, marks=slow),
        pytest.param(32, 1, 3, 67, {"dtype": torch.float16, "k": 3}, marks=slow),
        pytest.param(32, 2, 9, 8, {"dtype": torch.bfloat16}, marks=slow),
    ],
)
def test_kernels_equal_their_twin(C, heads, H, W, options):
    layer, qkv, grad = problem(C, heads, H, W, **options)
    found = errors(fused(layer, qkv, grad, (H, W)), plain(layer, qkv, grad, (H, W)))
    assert max(found.values()) < BOUND[qkv.dtype], found


@interpreted
@slow
def test_neither_blocks_nor_parts_change_what_is_computed():
    from ultralytics.nn.ops.fla_launch import Blocks, forced  # needs Triton

    layer, qkv, grad = problem(24, 3, 5, 7)
    want = plain(layer, qkv, grad, (5, 7))
    for blocks in (
        Blocks(parts=1, walks=1),
        Blocks(16, 32, 16, 32, 32, parts=10**6, walks=10**6, cells=1, apart=True),
    ):
        with forced(blocks):
            found = errors(fused(layer, qkv, grad, (5, 7)), want)
        assert max(found.values()) < BOUND[torch.float32], (blocks, found)


@interpreted
@slow
@pytest.mark.parametrize("k", [0, 3])
def test_the_operations_keep_the_rules_of_torch(k):
    _layer, qkv, grad = problem(16, 2, 2, 3, k=k)
    taps = torch.randn(8, k * k, requires_grad=True) if k else None
    bias = torch.randn(8, requires_grad=True) if k else None
    position, sigma = torch.randn(6, 16, requires_grad=True), torch.rand(16).add(0.1).requires_grad_()
    given = (qkv.requires_grad_(), position, sigma, taps, bias, 2, 3, 3.0)
    torch.library.opcheck(focused_mix, given)
    _, state, stats = focused_mix(*given)
    plain_ones = [t if t is None else t.detach() for t in (grad, *given[:4], state, stats)]
    torch.library.opcheck(focused_mix_backward, (*plain_ones, 2, 3, 3.0))


@interpreted
@slow
def test_a_block_uses_them_also_when_it_is_compiled(monkeypatch):
    block, x = opened(16, 2), torch.randn(2, 16, 3, 4)
    want = step(block, x)
    monkeypatch.setenv("ULTRALYTICS_FLA", "fused")
    called = []
    monkeypatch.setattr("ultralytics.nn.modules.FLA.mixed", lambda *a: called.append(1) or fla.mixed(*a))
    for got in (step(block, x), step(torch.compile(block, backend="aot_eager", fullgraph=True), x)):
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))
    assert called


class Changed(FocusedLinearAttention):
    def mix(self, q, k, v, size):
        return v


def test_the_plain_twin_serves_wherever_the_kernels_do_not(monkeypatch):
    qkv = torch.randn(1, 12, 48)
    monkeypatch.setattr("ultralytics.nn.modules.attention.obstacle", lambda *_: "")
    layer = FocusedLinearAttention(16, (3, 4), 2)
    assert layer.fusible(qkv)
    assert not layer.fusible(qkv[:0])
    assert not Changed(16, (3, 4), 2).fusible(qkv)
    monkeypatch.setattr("ultralytics.nn.modules.attention.exporting", lambda: True)
    assert not layer.fusible(qkv)


def test_a_network_that_is_traced_is_plain(monkeypatch):
    seen = []
    monkeypatch.setattr("ultralytics.nn.modules.attention.obstacle", lambda *_: seen.append(1) or "never on a CPU")
    layer, x = FocusedLinearAttention(16, (3, 4), 2).eval(), torch.randn(1, 16, 3, 4)
    layer(x)
    assert len(seen) == 1
    torch.jit.trace(layer, x, check_trace=False)
    assert len(seen) == 1


def test_the_environment_chooses(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert fla.obstacle("cpu", None, torch.float32, 32) == "it needs a CUDA device, not cpu"
    monkeypatch.setenv("ULTRALYTICS_FLA", "fused")
    with pytest.raises(ModelError, match="asks for fused attention, but it needs a CUDA device") as e:
        fla.obstacle("cpu", None, torch.float32, 32)
    assert "\n" not in str(e.value)
    monkeypatch.setenv("ULTRALYTICS_FLA", "plain")
    assert fla.obstacle("cpu", None, torch.float32, 32) == "it is switched off"
    monkeypatch.setenv("ULTRALYTICS_FLA", "fast")
    with pytest.raises(ModelError, match="auto, plain, fused"):
        fla.obstacle("cpu", None, torch.float32, 32)


@pytest.fixture
def card(monkeypatch):
    """Pretend a CUDA device of which nothing but its kind is known."""
    forget = fla._unable.cache_clear
    forget()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a card")
    yield monkeypatch
    forget()


def test_what_a_card_lacks_is_said_when_fused_attention_is_asked_for_and_not_otherwise(card):
    card.setattr(importlib.util, "find_spec", lambda name: None)
    assert fla.obstacle("cuda", 0, torch.float32, 32) == "Triton is not installed"
    card.setenv("ULTRALYTICS_FLA", "fused")
    with pytest.raises(ModelError, match="Triton is not installed"):
        fla.obstacle("cuda", 0, torch.float32, 32)
    card.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    with pytest.raises(ModelError, match=r"a card is older than compute capability 8\.0"):
        fla.obstacle("cuda", 1, torch.float32, 32)


def test_what_the_kernels_do_not_know_is_named(card):
    card.setattr(fla, "_unable", lambda *_: "")
    assert fla.obstacle("cuda", 0, torch.bfloat16, 64) == ""
    assert fla.obstacle("cuda", 0, torch.float64, 32) == "it does not know float64"
    assert fla.obstacle("cuda", 0, torch.bfloat16, 65) == "a head has 65 channels, more than 64"
    assert fla.obstacle("cuda", 0, torch.bfloat16, 32, 9) == "the convolution is 9×9, larger than 7×7"


@pytest.mark.parametrize("k", [0, 3])
def test_operations_are_counted_as_of_the_twin(k):
    layer, qkv, _ = problem(16, 2, 4, 5, k=k)
    with FlopCounterMode(display=False) as counter:
        out = layer.attend(qkv.double().requires_grad_(), layer.window_size)
    taps, bias = ((8, k * k), (8,)) if k else (None, None)
    given = (qkv.shape, (20, 16), (16,), taps)
    assert fla.count(*given, bias, 2, 5, 3.0) == counter.get_total_flops()
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    # Of a grouped convolution's weight gradient torch counts as many operations as without groups.
    products = backward.get_flop_counts()["Global"][torch.ops.aten.bmm]
    convolution = 2 * 2 * qkv.numel() // 3 * k * k
    assert fla.count_backward(out.shape, *given, (), (), 2, 5, 3.0) == products + convolution
    assert {torch.ops.ultralytics.focused_mix, torch.ops.ultralytics.focused_mix_backward} <= flop_registry.keys()


@slow
def test_neither_kernels_nor_a_compiler_are_imported_before_they_are_needed():
    ours, theirs = "ultralytics.nn.ops.fla_launch", "torch._dynamo"  # torch's own counter imports Triton if it can
    code = f"import sys, ultralytics.nn.tasks; assert not {{'{ours}', '{theirs}'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
