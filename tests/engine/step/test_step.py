"""What a training step asks of the device."""

from collections import Counter

import pytest
import torch

from tests.conftest import write_tiny, write_toy
from ultralytics.models.yolo.detect.train import DetectionTrainer


@pytest.fixture
def made(tmp_path):
    """Return a function from keys of a run to its trainer, ready for a step, and the batches of an epoch."""

    def make(**keys):
        keys = {
            **{"model": write_tiny(tmp_path), "data": write_toy(tmp_path), "imgsz": 64, "batch": 4, "nbs": 4},
            **{"workers": 0, "threads": 1, "device": "cpu", "amp": False, "plots": False, "verbose": False},
            **{"preflight": False, "project": tmp_path / "r", "name": "it"},
            **keys,
        }
        trainer = DetectionTrainer(
            overrides={k: str(v) if k in ("model", "data", "project") else v for k, v in keys.items()}
        )
        trainer._setup()
        trainer.model.train()
        trainer.train_loader.set_epoch(0, 0)
        trainer.step.loss.images = 4
        return trainer, list(trainer.train_loader)

    return make


def trained(trainer, batches):
    """Return the weights, their average and the loss parts after a step on each batch."""
    parts = [trainer.train_step(dict(batch), i) for i, batch in enumerate(batches)]
    return [*parts, *trainer.model.state_dict().values(), *trainer.ema.ema.state_dict().values()]


def test_no_result_depends_on_what_lies_in_new_memory(made, monkeypatch):
    clean = trained(*made())
    assert not torch.utils.deterministic.fill_uninitialized_memory
    trainer, batches = made()
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    assert torch.empty(3).isnan().all()  # torch's poison
    poisoned = trained(trainer, batches)
    assert len(clean) == len(poisoned)
    assert all(torch.equal(a, b) for a, b in zip(clean, poisoned, strict=True))


def operators(trainer, batches):
    """Count the operators of the last batch's step, by name."""
    for i, batch in enumerate(batches[:-1]):
        trainer.train_step(dict(batch), i)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        trainer.train_step(dict(batches[-1]), len(batches) - 1)
    return Counter(event.name for event in profile.events())


def test_activations_copy_nothing_under_autograd(made):
    found = operators(*made())
    assert found["aten::silu"] == found["aten::silu_backward"] > 10
    assert not found["aten::silu_"]
