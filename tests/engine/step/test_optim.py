import math

import pytest
import torch

from ultralytics.cfg.config import get_cfg
from ultralytics.engine.step.optim import OPTIMIZERS, OptimizerChoice, choose_optimizer, parameter_groups
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


def test_an_unknown_one_gets_the_nearest():
    with pytest.raises(ConfigError, match="Adam"):
        choose_optimizer("AdamV", 0.01, 0.9, 1, 1)
