"""The kernels on a card, against the plain twin in fp64 on the same card."""

import pytest
import torch

from tests.nn.ops.test_fla import opened, step
from tests.nn.ops.twins import errors, fused, plain, problem
from ultralytics.nn.ops.fla import focused_mix, obstacle

pytestmark = pytest.mark.gpu
HALF, FULL, BRAIN = torch.float16, torch.float32, torch.bfloat16
# The largest error over the largest value; products of half precision are made of tf32.
BOUND = {FULL: 3e-5, HALF: 6e-3, BRAIN: 2e-2}
SIZES = ((1, 1), (1, 37), (7, 9), (20, 20), (40, 40), (80, 80))


@pytest.fixture(autouse=True)
def _ieee():
    """The twin may not take a short cut either."""
    assert not torch.backends.cuda.matmul.allow_tf32
    assert obstacle("cuda", torch.cuda.current_device(), FULL, 32) == ""


@pytest.mark.parametrize(
    ("head", "dtype", "p", "k"),
    [
        *((32, BRAIN, 3, 5), (32, FULL, 3, 5), (64, BRAIN, 3, 5), (16, BRAIN, 3, 5), (32, HALF, 3, 5)),
        *((16, FULL, 4.5, 3), (64, FULL, 3, 5), (24, FULL, 1, 0), (8, BRAIN, 8, 7)),
    ],
)
def test_kernels_equal_their_twin(head, dtype, p, k):
    for H, W in SIZES:
        layer, qkv, grad = problem(4 * head, 4, H, W, p=p, k=k, dtype=dtype, device="cuda")
        got = fused(layer, qkv, grad, (H, W))
        found = errors(got, plain(layer, qkv, grad, (H, W)))
        assert max(found.values()) < BOUND[dtype], (H, W, found)
        again = fused(layer, qkv, grad, (H, W))
        assert all(torch.equal(got[n], again[n]) for n in got), "not the same bits twice"


def test_a_large_batch_is_a_small_ones_images():
    """Offsets between images, programs that hold all heads, parts of other sizes."""
    layer, qkv, grad = problem(128, 4, 33, 47, B=24, dtype=BRAIN, device="cuda")
    found = errors(fused(layer, qkv, grad, (33, 47)), plain(layer, qkv, grad, (33, 47)))
    assert max(found.values()) < BOUND[BRAIN], found


def test_many_images_lie_further_apart_than_32_bits_reach():
    layer, qkv, grad = problem(64, 2, 1, 1, B=1, dtype=BRAIN, device="cuda", dead=False)
    H = W = 96
    B = 2**31 // (H * W * 192) + 2
    qkv = torch.randn(B, H * W, 192, device="cuda", dtype=BRAIN)
    grad = torch.randn(B, H * W, 64, device="cuda", dtype=BRAIN)
    got = fused(layer, qkv, grad, (H, W))
    want = fused(layer, qkv[-2:], grad[-2:], (H, W))
    for name in ("out", "q", "k", "v"):
        torch.testing.assert_close(got[name][-2:], want[name], rtol=2e-2, atol=1e-2 * float(want[name].abs().max()))


def test_a_compiled_block_under_autocast_equals_the_plain_one(monkeypatch):
    block, x = opened(64, 2, "cuda"), torch.randn(2, 64, 20, 20, device="cuda")

    def under_autocast(layer):
        with torch.autocast("cuda", torch.bfloat16):
            return step(layer, x)

    fused_step = under_autocast(block)
    compiled_step = under_autocast(torch.compile(block, fullgraph=True))
    monkeypatch.setenv("ULTRALYTICS_FLA", "plain")
    for got in (fused_step, compiled_step):
        for a, b in zip(got, under_autocast(block), strict=True):
            assert float((a.float() - b.float()).abs().max()) < 4e-2 * float(b.abs().max())


def test_no_step_waits_for_the_card_and_a_graph_can_hold_it():
    block, x = opened(64, 2, "cuda"), torch.randn(2, 64, 20, 20, device="cuda")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            want = step(block, x)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(block, x)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = step(block, x)
    graph.replay()
    torch.cuda.synchronize()
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def test_nothing_is_compiled_anew_for_another_size():
    from ultralytics.nn.ops import fla_kernels as kernels  # needs Triton

    def compiled():
        made = [getattr(kernels, n) for n in vars(kernels) if n.endswith("_kernel")]
        return sum(len(entry[0]) for kernel in made for entry in kernel.device_caches.values())

    def run(H, W, B):
        layer, qkv, grad = problem(32, 2, H, W, B=B, k=3, device="cuda")
        fused(layer, qkv, grad, (H, W))
        return compiled()

    first = run(4, 4, 2)
    assert first
    assert [run(H, W, B) for H, W, B in ((1, 1, 1), (16, 16, 4), (5, 7, 3), (40, 64, 16))] == [first] * 4


def test_dead_tokens_and_large_values_are_finite():
    for dtype in (FULL, HALF, BRAIN):
        for value in (-1.0, 0.0, 300.0):
            qkv = torch.full((1, 64, 96), value, device="cuda", dtype=dtype).requires_grad_()
            position, sigma = torch.zeros(64, 32, device="cuda"), torch.ones(32, device="cuda")
            out = focused_mix(qkv, position, sigma, None, None, 2, 8, 3.0)[0]
            out.sum().backward()
            assert torch.isfinite(out).all()
            assert torch.isfinite(qkv.grad).all()
