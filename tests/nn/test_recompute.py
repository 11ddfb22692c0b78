"""Rows that are computed again in the backward pass: everything as without, but for the memory."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ultralytics.nn.recompute import recomputed
from ultralytics.nn.registry import register, same_width
from ultralytics.nn.tasks import DetectionModel


@register(same_width)
class Restless(nn.Module):
    """Dropout, a batch norm, and a buffer that the output hangs on and every pass moves."""

    def __init__(self, dim):
        super().__init__()
        self.bn, self.drop = nn.BatchNorm2d(dim), nn.Dropout(0.5)
        self.register_buffer("passes", torch.ones(()))

    def forward(self, x):
        self.passes.add_(1)
        return self.drop(self.bn(x).sin()) / self.passes.clone()


ROWS = [
    [-1, 1, "Conv", [8, 3, 2]],
    [-1, 1, "Restless", []],
    [-1, 1, "FLABlock", [2, [4, 4]]],
    [[1, 2], 1, "Concat", [1]],
    [-1, 1, "Conv", [8, 3, 2]],
]
MODEL = {"nc": 3, "backbone": ROWS, "head": [[[3, 4], 1, "Detect", ["nc"]]]}


def step(rows, batch=2, freeze=False):
    """A training step: outputs, gradients, state and the random stream after it; and how often hooks saw each row."""
    torch.manual_seed(0)
    model = DetectionModel(copy.deepcopy(MODEL), verbose=False).train()
    for block in (m for m in model.modules() if isinstance(getattr(m, "gate", None), nn.Parameter)):
        nn.init.normal_(block.gate)
    if freeze:
        model.model[0].requires_grad_(False).eval()
    model.checkpoint_rows = frozenset(rows)
    seen = []
    for row in model.model:
        row.register_forward_hook(lambda row, *_: seen.append(row.i))
    outputs = model(torch.rand(batch, 3, 32, 32))
    sum(t.square().sum() for t in outputs).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return outputs, gradients, model.state_dict(), torch.get_rng_state(), seen


@settings(max_examples=3)
@given(st.sets(st.integers(0, len(ROWS))), st.integers(1, 3), st.booleans())
def test_a_step_is_the_same_to_the_bit(rows, batch, freeze):
    outputs, gradients, state, stream, seen = step(rows, batch, freeze)
    wanted, wanted_gradients, wanted_state, wanted_stream, _ = step((), batch, freeze)
    assert all(torch.equal(a, b) for a, b in zip(outputs, wanted, strict=True))
    assert gradients.keys() == wanted_gradients.keys()
    assert all(torch.equal(g, wanted_gradients[n]) for n, g in gradients.items())
    assert all(torch.equal(v, wanted_state[n]) for n, v in state.items())  # statistics have moved once
    assert torch.equal(stream, wanted_stream)
    assert seen == list(range(len(ROWS) + 1))  # hooks have not seen the second time


def test_nothing_is_computed_again_where_nothing_is_trained():
    model = DetectionModel(copy.deepcopy(MODEL), verbose=False)
    model.checkpoint_rows = frozenset(range(len(ROWS) + 1))
    calls = []
    model.model[4].conv.register_forward_hook(lambda *_: calls.append(1))
    for train, grad in ((True, False), (False, True)):
        model.train(train)
        with torch.set_grad_enabled(grad):
            model(torch.rand(2, 3, 32, 32))
    assert len(calls) == 2
    assert copy.deepcopy(model).checkpoint_rows == model.checkpoint_rows


@pytest.mark.slow
def test_a_compiled_row_is_computed_again_too():
    row, twin = (nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.SiLU()) for _ in range(2))
    twin.load_state_dict(row.state_dict())

    def run(row, x):
        return recomputed(row, x)

    x = torch.rand(2, 4, 8, 8)
    out, wanted = torch.compile(run, backend="aot_eager", fullgraph=True)(row, x), twin(x)
    out.square().sum().backward()
    wanted.square().sum().backward()
    assert torch.equal(out, wanted)
    assert all(torch.equal(v, twin.state_dict()[k]) for k, v in row.state_dict().items())
    for a, b in zip(row.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
