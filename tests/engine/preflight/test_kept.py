"""What a pass keeps for the backward pass, and the rows of `checkpoint_rows=`."""

import copy

import pytest
import torch

from tests.conftest import write_tiny
from ultralytics.cfg.config import get_cfg, parse_word
from ultralytics.engine.preflight.kept import SHARE, kept_by_row, rows_to_recompute
from ultralytics.engine.preflight.probes import Probe
from ultralytics.engine.preflight.trial import preflight
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError

SIZE = 64


@pytest.fixture
def model(tmp_path):
    return DetectionModel(write_tiny(tmp_path), verbose=False).train()


def kept(model, rows=()):
    net = copy.deepcopy(model)
    net.checkpoint_rows = frozenset(rows)
    return kept_by_row(net, lambda: net(torch.rand(2, 3, SIZE, SIZE)))


def choose(model, wanted):
    return rows_to_recompute(model, wanted, lambda: model(torch.zeros(2, 3, SIZE, SIZE)))


def test_rows_that_are_computed_again_keep_their_inputs_alone(model):
    plain, all_again = kept(model), kept(model, range(len(model.model)))
    assert sum(all_again.values()) < 0.45 * sum(plain.values())
    within = plain[2]
    assert 0.8 * within < sum(plain.values()) - sum(kept(model, [2]).values()) <= within


def test_auto_takes_the_rows_that_keep_the_most(model):
    before, plain = copy.deepcopy(model.state_dict()), kept(model)
    rows, total = choose(model, "auto"), sum(plain.values())
    held = sum(plain[k] for k in rows)
    assert SHARE * total <= held < total
    assert held - min(plain[k] for k in rows) < SHARE * total  # not one row more than that takes
    assert min(plain[k] for k in rows) >= max(v for k, v in plain.items() if k not in rows)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert choose(model, "all") == frozenset(range(len(model.model)))


def test_a_row_that_is_not_there_is_named(model):
    assert choose(model, [2, 4]) == {2, 4}
    with pytest.raises(ConfigError, match=r"checkpoint_rows names row 99, and the model has rows 0 to 23"):
        choose(model, [2, 99])


@pytest.mark.parametrize(
    ("word", "rows"),
    [
        ("[2,4,6]", [2, 4, 6]),
        ("0-3", [0, 1, 2, 3]),
        ("[0-2,7]", [0, 1, 2, 7]),
        ("5", [5]),
        ("2,4-5", [2, 4, 5]),
        ("Auto", "auto"),
    ],
)
def test_rows_as_they_are_written(word, rows):
    value = parse_word("checkpoint_rows", word)
    assert get_cfg(None, {"checkpoint_rows": value}).checkpoint_rows == rows
    assert get_cfg(None, {"checkpoint_rows": rows}).checkpoint_rows == rows


@pytest.mark.parametrize("wrong", ["most", "3-1", "-1", True, [1.5], "1-", {"a": 1}, "0-99999999"])
def test_what_names_no_rows_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"must be rows as \[2,4,6\] or 0-9, auto or all"):
        get_cfg(None, {"checkpoint_rows": wrong})


def test_the_estimate_of_memory_follows(model):
    def estimate(rows):
        model.checkpoint_rows = frozenset(rows)
        probe = Probe("training size", 2, (SIZE, SIZE), True)
        device = torch.device("cpu")
        report = preflight(model, [probe], device=device, amp_dtype=None, deterministic=True, batch=2)
        return report.memory.activations

    plain = estimate(())
    assert estimate(range(len(model.model))) < 0.7 * plain
