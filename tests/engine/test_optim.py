import pytest
import torch

from ultralytics.engine.optim import OPTIMIZERS, OptimizerChoice, build_optimizer, choose_optimizer, parameter_groups
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
    assert choose_optimizer("auto", 0.5, 0.5, nc, images, batch, 64, epochs) == OptimizerChoice(*want)


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if n != "auto"])
def test_every_optimiser_steps(name):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    optimizer = build_optimizer(model, choose_optimizer(name.lower(), 0.01, 0.9, 1, 1, 1, 64, 1), 0.1)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 0.1, 0.0]
    before = model[0].weight.detach().clone()
    model(torch.ones(4, 3)).pow(2).sum().backward()
    model[0].weight.grad += 1
    optimizer.step()
    assert not torch.equal(before, model[0].weight)


def test_an_unknown_one_gets_the_nearest():
    with pytest.raises(ConfigError, match="Adam"):
        choose_optimizer("AdamV", 0.01, 0.9, 1, 1, 1, 64, 1)
