import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ultralytics.engine.safety import memory
from ultralytics.engine.safety.memory import largest_batch, peak_memory, trial_step


@given(st.integers(1, 300), st.integers(0, 3000), st.integers(0, 100_000), st.integers(1, 1024))
def test_the_largest_batch_fits_and_a_larger_one_hardly_would(per_image, fixed, budget, limit):
    tried = []

    def peak(n):
        assert 1 <= n <= limit
        tried.append(n)
        return None if n * per_image + fixed > 2 * budget else n * per_image + fixed

    found = largest_batch(peak, budget, limit)
    assert 0 <= found <= limit
    best = min(max((budget - fixed) // per_image, 0), limit)
    assert found <= best
    assert best - found <= max(found // 16, 1) - (found == 0)
    assert len(tried) == len(set(tried)) <= 24


def test_out_of_memory_is_too_much(monkeypatch):
    for name in ("init", "empty_cache", "reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 77)

    def fail():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    assert peak_memory(fail, torch.device("cuda", 0)) is None
    assert peak_memory(lambda: None, torch.device("cuda", 0)) == 77


def test_a_trial_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    stream = torch.get_rng_state()
    seen = []

    def forward(img):
        seen.append((tuple(img.shape), net.training, torch.is_grad_enabled()))
        return net(img)

    trial_step(net, forward, lambda y, n: y.sum() / n, 3, (8, 8), (6, 4), torch.device("cpu"), extra=100)
    assert seen == [((3, 3, 8, 8), True, True), ((6, 3, 6, 4), False, False)]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(net[0].weight.grad, torch.ones_like(net[0].weight))
    assert net[0].bias.grad is None
    assert net.training
    assert torch.equal(torch.get_rng_state(), stream)


@pytest.mark.gpu
def test_a_real_gpu_tells_its_peak():
    device = torch.device("cuda", 0)
    small = peak_memory(lambda: torch.zeros(2**20, device=device), device)
    large = peak_memory(lambda: torch.zeros(2**26, device=device), device)
    assert small < large
    assert peak_memory(lambda: torch.zeros(2**50, device=device), device) is None
    memory.free(device)
