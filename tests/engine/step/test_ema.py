import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.engine.step.ema import ModelEMA


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)


def test_equals_the_reference(fixtures):
    z = np.load(fixtures / "ema.npz")
    model = Tiny()
    with torch.no_grad():
        model.layer.weight.copy_(torch.from_numpy(z["w0"]))
    ema = ModelEMA(model)
    for step in range(1, 6):
        with torch.no_grad():
            model.layer.weight.copy_(torch.from_numpy(z[f"w{step}"]))
            model.norm.running_mean.fill_(step)
        ema.update(model)
        np.testing.assert_allclose(ema.ema.layer.weight, z[f"ema{step}"], atol=1e-7)
        np.testing.assert_allclose(ema.ema.norm.running_mean, z[f"ema_rm{step}"], rtol=1e-7, atol=1e-7)


def test_the_average_worked_out_by_hand():
    """From 1, two steps towards 3 and then 5: v ← d v + (1 − d) m, d = 0.9999 (1 − exp(−step / 2000))."""
    model = Tiny()
    nn.init.constant_(model.layer.weight, 1)
    model.norm.running_mean.fill_(1)
    ema, want = ModelEMA(model), 1.0
    for step, value in ((1, 3.0), (2, 5.0)):
        nn.init.constant_(model.layer.weight, value)
        model.norm.running_mean.fill_(value)
        ema.update(model)
        d = 0.9999 * (1 - math.exp(-step / 2000))
        want = d * want + (1 - d) * value
        for averaged in (ema.ema.layer.weight, ema.ema.norm.running_mean):
            torch.testing.assert_close(averaged, torch.full_like(averaged, want))
    assert want == pytest.approx(4.998000, abs=1e-6)
    assert ema.updates == 2
    assert ModelEMA(model).decay(10**6) == pytest.approx(0.9999)


def test_complex_weights_are_averaged_too():
    model = nn.ParameterList([torch.ones(2, dtype=torch.complex64)])
    ema = ModelEMA(model, tau=1.0)
    with torch.no_grad():
        model[0].mul_(3j)
    ema.update(model)
    d = ema.decay(1)
    torch.testing.assert_close(ema.ema[0], torch.full((2,), d + (1 - d) * 3j, dtype=torch.complex64))


def test_attributes_follow_when_asked():
    model = Tiny()
    ema = ModelEMA(model)
    model.names, model.other, model._own = {0: "red"}, 1, 2
    ema.update_attr(model, include=["names"])
    assert (ema.enabled, ema.ema.names, hasattr(ema.ema, "other")) == (True, {0: "red"}, False)
    ema.update_attr(model, exclude=("names",))
    assert (ema.ema.other, hasattr(ema.ema, "_own")) == (1, False)


def test_integers_stay_and_no_gradients():
    model = Tiny()
    ema = ModelEMA(model)
    model.norm.num_batches_tracked += 7
    ema.update(model)
    assert int(ema.ema.norm.num_batches_tracked) == 0
    assert not any(p.requires_grad for p in ema.ema.parameters())
    assert not ema.ema.training


def test_the_decay_ramps_up():
    ema = ModelEMA(Tiny(), decay=0.9999, tau=2000)
    assert ema.decay(0) == 0
    assert math.isclose(ema.decay(2000), 0.9999 * (1 - math.exp(-1)))
    assert ema.decay(10**6) <= 0.9999


def plainly(average, model, share):
    """Return the average's next state, tensor by tensor."""
    now = model.state_dict()
    return {k: torch.lerp(v, now[k], share) if v.is_floating_point() else v for k, v in average.state_dict().items()}


class Doubled(Tiny):
    """Its state dict holds a tensor that is made for it."""

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}twice"] = self.layer.bias.detach() * 2


CHANGES = {
    "nothing": lambda m: None,
    "parameter": lambda m: setattr(m.layer, "weight", nn.Parameter(torch.rand(3, 4))),
    "data": lambda m: setattr(m.layer.weight, "data", torch.rand(3, 4)),
    "buffer": lambda m: setattr(m.norm, "running_mean", torch.rand(3)),
    "module": lambda m: setattr(m, "layer", nn.Linear(4, 3)),
    "assigned": lambda m: m.load_state_dict({k: torch.ones_like(v) for k, v in m.state_dict().items()}, assign=True),
    "double": lambda m: m.double(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("whose", ["model", "average"])
def test_what_is_replaced_in_between_is_averaged(change, whose):
    torch.manual_seed(0)
    model = Tiny()
    ema = ModelEMA(model, tau=1.0)
    for updates in range(1, 4):
        if updates == 2:
            for of in (model, ema.ema) if change == "double" else (model if whose == "model" else ema.ema,):
                CHANGES[change](of.requires_grad_(False))
        model.layer.requires_grad_(False).weight.add_(1)
        want = plainly(ema.ema, model, 1 - ema.decay(updates))
        ema.update(model)
        assert all(torch.equal(v, want[k]) for k, v in ema.ema.state_dict().items())


def test_another_model_can_be_followed_and_an_average_replaced():
    models = [Tiny(), Tiny()]
    ema = ModelEMA(models[0], tau=1.0)
    for updates, model in enumerate([*models, *models], 1):
        if updates == 3:
            ema.ema = copy.deepcopy(models[1])
        want = plainly(ema.ema, model, 1 - ema.decay(updates))
        ema.update(model)
        assert all(torch.equal(v, want[k]) for k, v in ema.ema.state_dict().items())


def test_lists_are_built_once_and_each_time_where_a_state_dict_is_of_a_modules_own(monkeypatch):
    for model, count in ((Tiny(), 2), (Doubled(), 6)):
        ema, made = ModelEMA(model), []
        for m in (model, ema.ema):
            monkeypatch.setattr(
                m, "state_dict", lambda m=m, made=made, **k: made.append(m) or nn.Module.state_dict(m, **k)
            )
        for _ in range(3):
            ema.update(model)
        assert len(made) == count
