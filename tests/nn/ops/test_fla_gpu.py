"""The kernels on a card, against the plain twin in fp64 on the same card."""

import pytest
import torch

from tests.nn.ops.twins import apart, check, fused, opened, plain, problem, step
from ultralytics.nn.ops.fla import focused_mix, obstacle

pytestmark = pytest.mark.gpu
HALF, FULL, BRAIN = torch.float16, torch.float32, torch.bfloat16
# The largest error over the largest value; products of half precision are made of tf32.
BOUND = {FULL: 3e-5, HALF: 6e-3, BRAIN: 2e-2}
SIZES = ((1, 1), (1, 37), (7, 9), (20, 20), (40, 40), (80, 80))


@pytest.fixture(autouse=True)
def _served():
    assert obstacle("cuda", torch.cuda.current_device(), FULL, 32) == ""


@pytest.mark.parametrize(
    ("head", "dtype", "p", "k"),
    [(32, BRAIN, 3, 5), (32, FULL, 3, 5), (64, HALF, 3, 5), (16, FULL, 4.5, 3), (8, BRAIN, 8, 7)],
)
def test_kernels_equal_their_twin(head, dtype, p, k):
    for H, W in SIZES:
        layer, qkv, grad = problem(4 * head, 4, H, W, p=p, k=k, dtype=dtype, device="cuda")
        got = fused(layer, qkv, grad, (H, W))
        check(got, plain(layer, qkv, grad, (H, W)), BOUND[dtype], f"{H}x{W}")
        again = fused(layer, qkv, grad, (H, W))
        unlike = [n for n in got if not torch.equal(got[n], again[n])]
        assert not unlike, f"{H}x{W}: not the same bits twice: {unlike}"


def test_a_large_batch_is_a_small_ones_images():
    """Offsets between images, parts of other sizes."""
    layer, qkv, grad = problem(128, 4, 33, 47, B=24, dtype=BRAIN, device="cuda")
    check(fused(layer, qkv, grad, (33, 47)), plain(layer, qkv, grad, (33, 47)), BOUND[BRAIN])


def test_many_images_lie_further_apart_than_32_bits_reach():
    C, H, W = 128, 96, 96
    layer, _, _ = problem(C, 4, 1, 1, B=1, dtype=BRAIN, device="cuda", dead=False)
    B = 2**31 // (H * W * 3 * C) + 2
    if torch.cuda.mem_get_info()[0] < 30 * 2**30:
        pytest.skip("30 GiB are not free")
    qkv = torch.randn(B, H * W, 3 * C, device="cuda", dtype=BRAIN)
    grad = torch.randn(B, H * W, C, device="cuda", dtype=BRAIN)
    got = fused(layer, qkv, grad, (H, W))
    want = fused(layer, qkv[-2:], grad[-2:], (H, W))
    names = ("out", "q", "k", "v")
    check({n: got[n][-2:] for n in names}, {n: want[n].double() for n in names}, BOUND[BRAIN])


def test_a_block_under_autocast_equals_the_plain_one(monkeypatch):
    block, x = opened(128, 4, "cuda"), torch.randn(2, 128, 20, 20, device="cuda")

    def under_autocast(layer):
        with torch.autocast("cuda", torch.bfloat16):
            return step(layer, x)

    eager, compiled = under_autocast(block), under_autocast(torch.compile(block, fullgraph=True))
    monkeypatch.setenv("ULTRALYTICS_FLA", "plain")
    want = under_autocast(block)
    found = [apart(eager, want), apart(compiled, want)]
    assert max(found) < 5e-2, f"eager {found[0]:.1e}, compiled {found[1]:.1e}"


def test_no_step_waits_for_the_card_and_a_graph_can_hold_it():
    block, x = opened(128, 4, "cuda"), torch.randn(2, 128, 20, 20, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
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
    far = apart(got, want)
    assert far < 1e-4, f"{far:.1e}"


def test_nothing_is_compiled_anew_for_another_size():
    from ultralytics.nn.ops import fla_kernels as kernels  # needs Triton

    def compiled():
        made = [n for n in vars(kernels) if n.endswith("_kernel")]
        return {n: sum(len(held[0]) for held in getattr(kernels, n).device_caches.values()) for n in made}

    def run(H, W, B):
        layer, qkv, grad = problem(128, 4, H, W, B=B, device="cuda")
        fused(layer, qkv, grad, (H, W))
        return compiled()

    first = run(4, 4, 2)
    assert sum(first.values())
    for H, W, B in ((1, 1, 1), (16, 16, 4), (5, 7, 3), (40, 64, 16)):
        more = {n: (first[n], count) for n, count in run(H, W, B).items() if count != first[n]}
        assert not more, f"{B} images of {H}x{W}: {more}"


def test_dead_tokens_and_large_values_are_finite():
    for dtype, head in ((FULL, 32), (HALF, 64), (BRAIN, 32)):
        C = 4 * head
        position, sigma = torch.zeros(64, C, device="cuda"), torch.ones(C, device="cuda")
        taps, bias = torch.ones(head, 25, device="cuda"), torch.zeros(head, device="cuda")
        for value in (-1.0, 0.0, 300.0):
            qkv = torch.full((1, 64, 3 * C), value, device="cuda", dtype=dtype).requires_grad_()
            out = focused_mix(qkv, position, sigma, taps, bias, 4, 8, 3.0)[0]
            out.sum().backward()
            assert torch.isfinite(out).all(), f"{dtype} {value}"
            assert torch.isfinite(qkv.grad).all(), f"{dtype} {value}"
