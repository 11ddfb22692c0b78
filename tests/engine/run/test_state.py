"""Position and counters of a run, as entries of a checkpoint."""

from dataclasses import fields

import pytest
import torch

from ultralytics.engine.run.state import RunState

# The entries that last.pt of earlier code holds; a run that it was saved by must go on.
EARLIER = {
    *("epoch", "fitness", "new_tensors", "inserted", "untransferred", "last_opt_step", "batches_done", "batches"),
    *("epochs", "loss_mean", "loss_count", "elapsed", "over", "lr_factor", "rollbacks", "skipped", "skips_in_a_row"),
    "results",
}


def run_state(**changes):
    state = RunState(batches=6, epochs=4, loss_mean=torch.tensor([1.0, 2.0]), loss_count=3)
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def test_the_entries_are_those_of_earlier_checkpoints():
    entries = run_state(finished=2).state_dict()
    assert set(entries) == EARLIER | {"compiled"}
    assert entries["epoch"] == 1  # the last that is whole, from 0


def test_what_is_saved_comes_back():
    rows = [{"epoch": 1, "time": 2.0}]
    saved = run_state(finished=1, batches_done=3, last_opt_step=7, rows=rows, rollbacks=2, lr_factor=0.25, fitness=0.5)
    saved.compiled = [[64, 96]]
    found = RunState(batches=6, loss_mean=torch.zeros(2))
    found.load_state_dict(saved.state_dict())
    for field in fields(RunState):
        if field.metadata and field.name not in ("loss_mean", "elapsed"):
            assert getattr(found, field.name) == getattr(saved, field.name), field.name
    assert torch.equal(found.loss_mean, saved.loss_mean)
    assert found.start_epoch == 1


def test_files_of_earlier_code_lack_some_entries():
    entries = {"epoch": 0, "fitness": None, "last_opt_step": 5, "results": [{"time": 9.0}], "loss_mean": torch.ones(2)}
    found = run_state()
    found.load_state_dict(entries)
    assert (found.finished, found.elapsed, found.lr_factor, found.batches) == (1, 9.0, 1.0, 6)
    with pytest.raises(KeyError, match="last_opt_step"):
        found.load_state_dict({k: v for k, v in entries.items() if k != "last_opt_step"})
    with pytest.raises(ValueError, match="the loss has 2 parts"):
        found.load_state_dict(entries | {"loss_mean": torch.ones(3)})


def test_a_rollback_keeps_what_it_must_not_forget():
    entries = run_state(finished=1, last_opt_step=5).state_dict()
    state = run_state(finished=2, rollbacks=1, lr_factor=0.5, skipped=3, elapsed=7.0, last_opt_step=11)
    state.load_state_dict(entries, rolled_back=True)
    assert (state.finished, state.rollbacks, state.lr_factor, state.skipped, state.elapsed) == (1, 1, 0.5, 3, 7.0)


def test_another_number_of_batches_goes_on_after_as_many_images():
    """Half of an epoch is half of it, and what had gathered for a step stays gathered."""
    saved = run_state(finished=1, batches_done=3, last_opt_step=7)  # iteration 8 has gathered
    found = RunState(batches=12, loss_mean=torch.zeros(2))
    found.load_state_dict(saved.state_dict())
    assert (found.batches, found.batches_done, found.last_opt_step) == (12, 6, 12 + 6 - 1 - 1)
