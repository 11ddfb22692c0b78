import copy
import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ultralytics.cfg.config import get_cfg
from ultralytics.engine.run.parts import _restore_optimizer
from ultralytics.engine.step.optim import (
    OPTIMIZERS,
    OptimizerChoice,
    choose_optimizer,
    make_optimizer,
    parameter_groups,
)
from ultralytics.engine.step.rates import build_groups
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError


def test_groups_of_yolov8n_are_the_references():
    model = DetectionModel("yolov8n.yaml", nc=80, verbose=False)
    assert [len(g) for g in parameter_groups(model)] == [
        63,
        63,
        57,
    ]  # the reference's 64th is the constant kernel of DFL


def test_attentions_free_parameters_are_not_decayed():
    model = DetectionModel("yolov8n-fla.yaml", nc=1, verbose=False)
    _, decayed, rest = parameter_groups(model)
    layer = model.model[10]
    assert any(p is layer.scale for p in rest)
    assert any(p is layer.positional_encoding for p in rest)
    assert any(p is layer.qkv.weight for p in decayed)
    norms = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert not norms & {id(p) for p in decayed}
    together = [id(p) for g in parameter_groups(model) for p in g]
    assert len(together) == len(set(together)) == sum(p.requires_grad for p in model.parameters())


def test_what_a_parameter_is_decides_and_not_its_name():
    class Odd(torch.nn.Module):
        undecayed = ("table",)

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(8))  # a vector called weight: a gate
            self.gate_bias_table = torch.nn.Parameter(torch.ones(4, 4))  # a matrix with bias in its name
            self.mixing = torch.nn.Parameter(torch.ones(1, 3, 1, 5))
            self.gain = torch.nn.Parameter(torch.ones(1, 7, 1, 1))
            self.table = torch.nn.Parameter(torch.ones(9, 9))
            self.linear_bias = torch.nn.Linear(2, 2)
            self.norm = torch.nn.RMSNorm(3)
            self.again = self.linear_bias  # shared: counted once
            self.words = torch.nn.Embedding(3, 2)

    odd = Odd()
    bias, decayed, rest = ([id(p) for p in group] for group in parameter_groups(odd))
    assert bias == [id(odd.linear_bias.bias)]
    assert set(decayed) == {id(p) for p in (odd.gate_bias_table, odd.mixing, odd.linear_bias.weight, odd.words.weight)}
    assert set(rest) == {id(p) for p in (odd.weight, odd.gain, odd.table, odd.norm.weight)}


@pytest.mark.parametrize("name", ["yolov8n-fla-p345.yaml", "yolov8n-fla-c2f-neck.yaml", "yolov8n-conv-sppf.yaml"])
def test_gates_tables_scales_and_norms_of_every_block_are_not_decayed(name):
    model = DetectionModel(name, nc=1, verbose=False)
    decayed = {id(p) for p in parameter_groups(model)[1]}
    spared = ("gate", "positional_encoding", "scale")
    for n, p in model.named_parameters():
        if n.endswith(spared) or ".norm." in n or ".bn." in n:
            assert id(p) not in decayed, n
        elif n.endswith(("qkv.weight", "proj.weight", "conv.weight", "dwc.weight")) and p.requires_grad:
            assert id(p) in decayed, n


@pytest.mark.parametrize(
    ("images", "batch", "epochs", "nc", "want"),
    [
        (118287, 16, 100, 80, ("SGD", 0.01, 0.9)),
        (205, 16, 30, 3, ("AdamW", 0.001429, 0.9)),
        (205, 16, 30, 80, ("AdamW", 0.000119, 0.9)),
        (64 * 100, 64, 100, 1, ("AdamW", 0.002, 0.9)),  # 10,000 steps are not over 10,000
        (64 * 100 + 1, 64, 100, 1, ("SGD", 0.01, 0.9)),
    ],
)
def test_auto_follows_the_references_rule(images, batch, epochs, nc, want):
    assert choose_optimizer("auto", 0.5, 0.5, nc, math.ceil(images / max(batch, 64)) * epochs) == OptimizerChoice(*want)


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if n != "auto"])
def test_every_optimiser_steps(name):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    choice = choose_optimizer(name.lower(), 0.01, 0.9, 1, 1)
    optimizer, _ = build_groups(model, choice, 0.1, get_cfg(), [])
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 0.1, 0.0]
    before = model[0].weight.detach().clone()
    model(torch.ones(4, 3)).pow(2).sum().backward()
    model[0].weight.grad += 1
    optimizer.step()
    assert not torch.equal(before, model[0].weight)


def test_two_steps_of_sgd_worked_out_by_hand():
    """Nesterov's momentum of 0.9, rate 0.1, a gradient of 1: 0.1 · (1 + 0.9 · 1), then 0.1 · (1 + 0.9 · 1.9)."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    group = {"params": [parameter], "weight_decay": 0.0, "lr": 0.1}
    optimizer = make_optimizer([group], OptimizerChoice("SGD", 0.1, 0.9))
    for want in (-0.19, -0.19 - 0.271):
        parameter.grad = torch.ones(1)
        optimizer.step()
        assert parameter.item() == pytest.approx(want)
    adam = make_optimizer([{**group, "params": [parameter]}], OptimizerChoice("AdamW", 0.1, 0.9))
    assert adam.param_groups[0]["betas"] == (0.9, 0.999)


def test_an_unknown_one_gets_the_nearest():
    with pytest.raises(ConfigError, match="Adam"):
        choose_optimizer("AdamV", 0.01, 0.9, 1, 1)


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if n != "auto"])
def test_a_gpu_gets_the_fused_form_where_torch_has_one(name):
    with FakeTensorMode():
        groups = [{"params": [torch.nn.Parameter(torch.empty(2, device=d))], "lr": 0.1} for d in ("cuda", "cpu")]
    choice = OptimizerChoice(name, 0.1, 0.9)
    assert bool(make_optimizer(groups[:1], choice).defaults.get("fused")) == (name in ("SGD", "Adam", "AdamW"))
    assert not make_optimizer(groups[1:], choice).defaults.get("fused")


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize("saved", [True, None])
def test_the_state_of_one_form_goes_on_in_the_other(name, saved):
    def made(fused, start):
        weight = torch.nn.Parameter(start.clone())
        own = {} if name == "SGD" else {"betas": (0.9, 0.999)}
        own |= {"momentum": 0.9} if name == "SGD" else {}
        return weight, getattr(torch.optim, name)([weight], lr=0.1, fused=fused, **own)

    def step(weight, optimizer, count):
        for i in range(count):
            weight.grad = torch.full_like(weight, 0.1 * (i + 1))
            optimizer.step()

    start = torch.linspace(-1, 1, 5)
    weight, optimizer = made(saved, start)
    step(weight, optimizer, 3)
    there, other = made(None if saved else True, weight.detach())
    _restore_optimizer(other, copy.deepcopy(optimizer.state_dict()))
    assert other.param_groups[0]["fused"] is (None if saved else True)
    step(weight, optimizer, 2)
    step(there, other, 2)
    torch.testing.assert_close(there, weight, rtol=1e-6, atol=1e-7)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_a_state_survives_the_way_to_a_gpu_and_back(name):
    def made(device, start):
        groups = [{"params": [torch.nn.Parameter(start.to(device, copy=True))], "lr": 0.1}]
        return make_optimizer(groups, OptimizerChoice(name, 0.1, 0.9))

    def step(optimizer):
        weight = optimizer.param_groups[0]["params"][0]
        weight.grad = torch.full_like(weight, 0.1)
        optimizer.step()
        return weight.detach().cpu()

    on_cpu = made("cpu", torch.linspace(-1, 1, 5))
    start = step(on_cpu)
    on_gpu = made("cuda", start)
    _restore_optimizer(on_gpu, copy.deepcopy(on_cpu.state_dict()))
    middle = step(on_gpu)
    torch.testing.assert_close(middle, step(on_cpu))
    back = made("cpu", middle)
    _restore_optimizer(back, copy.deepcopy(on_gpu.state_dict()))  # torch shares the count of steps
    torch.testing.assert_close(step(back), step(on_gpu))
    assert not back.param_groups[0].get("fused")
