"""Where a step turns bad."""

import json

import pytest
import torch
from torch import nn

from ultralytics.engine.safety.diagnose import MAX_RECORDS, first_bad_module, record_batch
from ultralytics.engine.safety.guard import BadStepError, Guard

CPU = torch.device("cpu")


class Root(nn.Module):
    """Finite forwards, an infinite gradient at zero."""

    def forward(self, x):
        return (x * 0).sqrt()


class Divide(nn.Module):
    def forward(self, x):
        return x / (x - x)


class Rows(nn.Module):
    def __init__(self, *rows):
        super().__init__()
        self.model = nn.Sequential(*rows)

    def forward(self, x):
        return self.model(x)


def conv():
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))


def blame(*rows, loss=lambda y: y.square().mean()):
    torch.manual_seed(0)
    net = Rows(*rows)
    return first_bad_module(net, lambda: loss(net(torch.rand(2, 3, 4, 4))))


def test_the_first_module_with_a_bad_output_is_named():
    where, what = blame(conv(), nn.Sequential(conv(), Divide()), conv())
    assert where == "row 1 (Sequential) (1)"
    assert what == "its output is not finite"


def test_weights_that_are_bad_already_are_named():
    bad = conv()
    bad[0].weight.data[0, 0] = float("inf")
    where, what = blame(conv(), bad, Divide())
    assert where == "row 1 (Sequential) (0)"
    assert what == "its weight is not finite"


def test_a_module_with_a_bad_gradient_is_named():
    where, what = blame(conv(), Root(), conv())
    assert where == "row 1 (Root)"
    assert what == "its gradient is not finite"


def test_a_bad_loss_is_told_from_a_bad_model():
    assert blame(conv(), loss=lambda y: y.mean() / 0)[0] == "the loss"
    where, what = blame(conv(), loss=lambda y: (y * 0).sqrt().sum())
    assert where.startswith("row 0 (Sequential)")
    assert what == "the gradient that reaches its output is not finite"
    assert blame(conv(), conv())[0] == ""


def test_a_careful_guard_raises_and_puts_statistics_back():
    net = Rows(conv())
    guard = Guard(net, CPU)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    guard.remember()
    net(torch.full((2, 3, 4, 4), float("nan")))
    with pytest.raises(BadStepError):
        guard.check(torch.tensor(float("nan")), "loss")
    guard.undo()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    guard.check(torch.tensor(1.0), "loss")
    assert not guard.found_bad()


def test_a_guard_that_is_not_careful_only_notes():
    guard = Guard(Rows(conv()), CPU)
    guard.careful = False
    guard.check(torch.tensor(1.0), "loss")
    assert not guard.found_bad()
    guard.check(torch.tensor(float("inf")), "gradient")
    guard.check(torch.tensor(1.0), "loss")
    assert guard.found_bad()
    guard.reset()
    assert not guard.found_bad()


def test_a_guard_waits_for_no_gpu(monkeypatch):
    """Nothing between two looks reads a value from the device."""
    guard = Guard(Rows(conv()), torch.device("meta"))
    value = torch.ones((), device="meta")  # reading it raises
    assert not guard.careful
    guard.check(value, "loss")
    with pytest.raises(RuntimeError, match="meta"):
        guard.found_bad()


def test_records_are_safe_and_not_endless(tmp_path):
    batch = {"img": torch.rand(1, 3, 4, 4), "im_file": ["a.png"]}
    for i in range(MAX_RECORDS + 2):
        made = record_batch(tmp_path / "nan", f"e{i}", {"batch": i}, batch, lambda path: path.write_bytes(b"jpg"))
        assert (made is None) == (i >= MAX_RECORDS)
    assert json.loads((tmp_path / "nan" / "e3.json").read_text()) == {"batch": 3}
    assert torch.equal(torch.load(tmp_path / "nan" / "e3.pt", weights_only=True)["img"], batch["img"])
    assert len(list((tmp_path / "nan").iterdir())) == 3 * MAX_RECORDS


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_glance_finds_what_was_noted_before_an_earlier_one(device):
    guard = Guard(nn.BatchNorm2d(2).to(device), torch.device(device))
    guard.careful = False
    guard.check(torch.tensor(float("nan"), device=device), "loss")
    guard.glance((0, 1))  # on its way
    if device == "cuda":
        torch.cuda.synchronize()
    with pytest.raises(BadStepError):
        guard.glance((0, 2))
    guard.reset()
    for batch in range(3):
        guard.check(torch.tensor(1.0, device=device), "loss")
        guard.glance((0, batch))
        guard.look_back((0, batch))


def test_statistics_of_all_types_are_put_back():
    norm = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(3))
    guard = Guard(norm, CPU)
    before = [b.clone() for b in norm.buffers()]
    guard.remember()
    norm[0](torch.rand(2, 2, 4, 4))
    norm[1](torch.rand(2, 3, 4, 4))
    assert not any(torch.equal(a, b) for a, b in zip(before, norm.buffers(), strict=True))
    guard.undo()
    assert all(torch.equal(a, b) for a, b in zip(before, norm.buffers(), strict=True))
