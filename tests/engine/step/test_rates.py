"""Learning rates by what a parameter is to the run, the average by its length, and the meter of what a block does."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ultralytics.cfg.config import get_cfg
from ultralytics.engine.step.ema import DECAY, TAU, ModelEMA, window
from ultralytics.engine.step.meter import Meter
from ultralytics.engine.step.optim import OPTIMIZERS, OptimizerChoice, parameter_groups, rates
from ultralytics.engine.step.rates import AUTO_GATE, AUTO_NEW, build_groups, describe, reach, role_of, settle_rates
from ultralytics.engine.step.schedule import Schedule
from ultralytics.nn.modules import ConvBlock, FLABlock, GatedAdd
from ultralytics.utils.errors import ConfigError


class Net(nn.Module):
    """A convolution, an inserted block, and one more."""

    def __init__(self, kind=FLABlock):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 8, 1), kind(8, num_heads=2, window_size=(4, 4)), nn.Conv2d(8, 4, 1))

    def forward(self, x):
        return self.model(x)


NEW = [f"model.1.{n}" for n, _ in FLABlock(8, num_heads=2).named_parameters()]
ADAMW = OptimizerChoice("AdamW", 0.001, 0.9)


def built(new, **keys):
    args = get_cfg(None, keys)
    settle_rates(args, "AdamW", new)
    net = Net()
    optimizer, groups = build_groups(net, ADAMW, 0.0005, args, new)
    return net, optimizer, groups


def test_without_new_tensors_there_are_the_references_groups():
    net, optimizer, groups = built([])
    assert [(g.kind, g.role, g.factor) for g in groups] == [
        ("bias", "transferred", 1.0),
        ("weight", "transferred", 1.0),
        ("other", "transferred", 1.0),
    ]
    assert describe(groups) == []
    for group, expected in zip(optimizer.param_groups, parameter_groups(net), strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in expected]


def test_new_tensors_and_gates_have_groups_of_their_own():
    net, optimizer, groups = built(NEW)
    of = {id(p): n for n, p in net.named_parameters()}
    seen = [of[id(p)] for g in optimizer.param_groups for p in g["params"]]
    assert sorted(seen) == sorted(of.values())
    for group, which in zip(optimizer.param_groups, groups, strict=True):
        assert [of[id(p)] for p in group["params"]] == list(which.names)
        assert all(role_of(n, NEW) == which.role for n in which.names)
        assert group["weight_decay"] == (0.0005 if which.kind == "weight" else 0.0)
    factors = {n: g.factor for g in groups for n in g.names}
    assert factors["model.0.weight"] == 1
    assert factors["model.1.attn.qkv.weight"] == AUTO_NEW
    assert factors["model.1.gate"] == AUTO_GATE
    assert describe(groups) == [
        "learning rate x 1: 4 transferred",
        f"learning rate x 10: {len(NEW) - 1} new",
        "learning rate x 50: 1 gates of new blocks",
    ]


def test_the_convolution_control_has_a_gate_as_the_attention_has():
    new = [f"model.1.{n}" for n, _ in ConvBlock(8, num_heads=2).named_parameters()]
    _, groups = build_groups(Net(ConvBlock), ADAMW, 0.0005, get_cfg(None, {"lr_new": 10.0, "lr_gate": 50.0}), new)
    factors = {n: g.factor for g in groups for n in g.names}
    assert {n: f for n, f in factors.items() if f != 1} == {n: 50 if n == "model.1.gate" else 10 for n in new}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_auto_factors_are_for_optimisers_whose_steps_do_not_follow_the_gradient(name):
    if name == "auto":
        pytest.skip("no optimiser")
    args = get_cfg(None, {})
    settle_rates(args, name, NEW)
    assert (args.lr_new, args.lr_gate) == ((10.0, 50.0) if "Adam" in name else (1.0, 1.0))
    assert args.sources["lr_new"] == "auto"
    asked = get_cfg(None, {"lr_new": 3, "lr_gate": 4.0})
    settle_rates(asked, name, NEW)
    assert (asked.lr_new, asked.lr_gate) == (3.0, 4.0)
    alone = get_cfg(None, {})
    settle_rates(alone, name, [])
    assert alone.lr_new is None


def test_the_optimiser_carries_the_factors_and_the_biases_trained_before_come_first():
    for new in ([], NEW):
        _, optimizer, groups = built(new, lr_transferred=0.5)
        assert rates(optimizer, ADAMW.lr) == pytest.approx([g.factor for g in groups])
        assert (groups[0].kind, groups[0].role, groups[0].factor) == ("bias", "transferred", 0.5)


@given(
    epochs=st.integers(1, 12),
    batches=st.integers(1, 40),
    batch=st.integers(1, 64),
    nbs=st.integers(1, 128),
    warmup=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_planned_steps_are_those_that_a_run_makes(epochs, batches, batch, nbs, warmup):
    schedule = Schedule(epochs, batches, batch, nbs, warmup_epochs=warmup)
    last, made = -1, []
    for iteration in range(epochs * batches):  # as BaseTrainer.train_step decides
        if iteration - last >= schedule.at(iteration, iteration // batches).accumulate:
            last = iteration
            made.append(iteration)
    assert list(schedule.steps()) == made


def test_no_step_of_adam_goes_further_than_it_is_told():
    schedule = Schedule(5, 30, 16, nbs=16, lr0=0.01)
    gate = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([gate], lr=0.01, weight_decay=0.0)
    for i in schedule.steps():
        optimizer.param_groups[0]["lr"] = schedule.at(i, i // 30).lr * 5
        gate.grad = torch.ones(1)  # always the same way: as far as it can go
        optimizer.step()
    assert float(-gate.detach()) == pytest.approx(reach(schedule, 5.0), rel=1e-3)


def test_the_average_by_the_length_of_a_run():
    long = Schedule(300, 1000, 64)
    assert window("auto", long) == (DECAY, TAU) == window(2000.0, long)
    short = Schedule(30, 13, 16, nbs=16)
    decay, tau = window("auto", short)
    assert (decay, tau) == (pytest.approx(1 - 10 / 390), 39.0)
    ema = ModelEMA(nn.Linear(2, 2), decay, tau)
    assert ema.decay(0) == 0
    assert ema.decay(390) == pytest.approx(decay, abs=1e-3)
    assert window("auto", Schedule(1, 1, 16))[0] == 0.5


def test_no_average_at_all():
    model = nn.Linear(2, 2)
    ema = ModelEMA(model, *window(0.0, Schedule(3, 3, 16)))
    with torch.no_grad():
        model.weight.fill_(3)
    ema.update(model)
    assert torch.equal(ema.ema.weight, model.weight)


@pytest.mark.parametrize("value", ["short", True, -1, math.nan, math.inf, [1]])
def test_what_is_no_average(value):
    with pytest.raises(ConfigError, match="ema="):
        get_cfg(None, {"ema": value})


@pytest.mark.parametrize("kind", [FLABlock, ConvBlock])
def test_the_meter_measures_the_first_batch_of_a_copy(kind):
    net = Net(kind).eval()
    meter = Meter(net)
    assert meter.blocks == {"block/1": kind.__name__}
    assert meter.row() == {"block/1/gate_mean": 0.0, "block/1/gate_max": 0.0}
    with torch.no_grad():
        net.model[1].gate.uniform_(-0.5, 0.25)
        first, second = torch.randn(2, 3, 9, 7), torch.randn(2, 3, 9, 7)
        with meter.watching():
            copied = copy.deepcopy(net)
            copied(first)
            copied(second)
        x = net.model[0](first)
        share = float((net.model[1](x) - x).norm() / x.norm())
    row = meter.row()
    assert row["block/1/share"] == pytest.approx(share, rel=1e-5)
    assert row["block/1/gate_max"] == pytest.approx(float(net.model[1].gate.abs().max()))
    assert not net.model[1]._forward_hooks


def test_the_meter_measures_what_a_gated_sum_adds():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(GatedAdd(4))

        def forward(self, x):
            return self.model([x, x.flip(-1)])

    net, x = Branch(), torch.randn(1, 4, 3, 5)
    nn.init.constant_(net.model[0].gate, -0.5)
    meter = Meter(net)
    with meter.watching():
        net(x)
    assert meter.row()["block/0/share"] == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("share", "message"), [(0.2, "has learned"), (0.05, "learned little"), (0.01, "hardly learned")]
)
def test_the_verdict(share, message):
    meter = Meter(Net())
    row = {"block/1/gate_mean": 0.1, "block/1/gate_max": 0.2, "block/1/share": share}
    [line] = meter.verdict([{}, row])
    assert message in line
    assert line.startswith("row 1 (FLABlock) changes its map by ")
    assert meter.verdict([]) == []
    assert Meter(nn.Linear(1, 1)).verdict([row]) == []
