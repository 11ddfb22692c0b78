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
