"""The kernels of linear attentions whose φ acts number by number, on a card, against their plain twins in fp64."""

import pytest
import torch

from tests.nn.ops.twins import apart, check, linear_fused, opened, plain, problem, step
from ultralytics.nn.modules import MagnitudeAwareLinearAttention, MALABlock, ReLULinearAttention, ReLULinearBlock
from ultralytics.nn.ops.fla import obstacle

pytestmark = pytest.mark.gpu
HALF, FULL, BRAIN = torch.float16, torch.float32, torch.bfloat16
# The largest error over the largest value; products of half precision are made of tf32.
BOUND = {FULL: 3e-5, HALF: 6e-3, BRAIN: 2e-2}
SIZES = ((1, 1), (1, 37), (7, 9), (20, 20), (40, 40), (80, 80))
LAYERS = (ReLULinearAttention, MagnitudeAwareLinearAttention)


@pytest.fixture(autouse=True)
def _served():
    assert obstacle("cuda", torch.cuda.current_device(), FULL, 32) == ""


@pytest.mark.parametrize("of", LAYERS)
@pytest.mark.parametrize(("head", "dtype"), [(32, BRAIN), (32, FULL), (64, HALF), (64, FULL), (8, BRAIN)])
def test_kernels_equal_their_twin(of, head, dtype):
    for H, W in SIZES:
        layer, qkv, grad = problem(4 * head, 4, H, W, of=of, dtype=dtype, device="cuda")
        got = linear_fused(layer, qkv, grad, (H, W))
        check(got, plain(layer, qkv, grad, (H, W)), BOUND[dtype], f"{H}x{W}")
        again = linear_fused(layer, qkv, grad, (H, W))
        unlike = [n for n in got if not torch.equal(got[n], again[n])]
        assert not unlike, f"{H}x{W}: not the same bits twice: {unlike}"


@pytest.mark.parametrize("of", [ReLULinearBlock, MALABlock])
def test_a_block_under_autocast_equals_the_plain_one_and_waits_for_nothing(of, monkeypatch):
    block, x = opened(128, 4, "cuda", of), torch.randn(2, 128, 20, 20, device="cuda")

    def under_autocast(layer):
        with torch.autocast("cuda", torch.bfloat16):
            return step(layer, x)

    eager = under_autocast(block)
    torch.cuda.set_sync_debug_mode("error")
    try:
        under_autocast(block)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    monkeypatch.setenv("ULTRALYTICS_FLA", "plain")
    assert apart(eager, under_autocast(block)) < 5e-2


def test_nothing_is_compiled_anew_for_another_size():
    from ultralytics.nn.ops import fla_kernels as kernels  # needs Triton

    def compiled(H, W, B):
        layer, qkv, grad = problem(128, 4, H, W, B=B, of=ReLULinearAttention, device="cuda")
        linear_fused(layer, qkv, grad, (H, W))
        made = [n for n in vars(kernels) if n.endswith("_kernel")]
        return {n: sum(len(held[0]) for held in getattr(kernels, n).device_caches.values()) for n in made}

    first = compiled(4, 4, 2)
    assert sum(first.values())
    for H, W, B in ((1, 1, 1), (16, 16, 4), (5, 7, 3), (40, 64, 16)):
        assert compiled(H, W, B) == first, f"{B} images of {H}x{W}"
