"""The compiled part of a step. Quick tests compile with backends that only trace; the slow ones with torch's own."""

import copy
import csv
import logging
import shutil
import signal

import pytest
import torch
import yaml
from torch import nn

from tests.conftest import write_toy
from ultralytics import YOLO
from ultralytics.cfg.config import get_cfg
from ultralytics.engine.run.state import RunState
from ultralytics.engine.step import compiled as module
from ultralytics.engine.step.compiled import Compiled, options_of
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.nn.registry import register, same_width
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError


@register(same_width)
class Peeking(nn.Module):
    """Reads a number out of a tensor, as a compiler cannot."""

    def __init__(self, dim):
        super().__init__()
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x):
        return self.bn(x) if x.mean().item() < 1e9 else x


def mini(middle=("Conv", [8, 1])):
    rows = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, middle[0], middle[1]], [-1, 1, "Conv", [8, 3, 2]]]
    return {"nc": 3, "backbone": rows, "head": [[[2], 1, "Detect", ["nc"]]]}


def network(*middle):
    torch.manual_seed(0)
    return DetectionModel(mini(*middle), verbose=False).train()


@pytest.fixture
def traced(monkeypatch):
    """A backend that runs what was traced; how often it was asked."""
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    monkeypatch.setattr(module, "BACKEND", backend)
    return graphs


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="ultralytics")
    return caplog


def compiled(model, state=None, key=True):
    return Compiled(model, key, True, lambda: torch.autocast("cpu", enabled=False), state or RunState())


def images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def gradients(model, outputs):
    model.zero_grad()
    sum(t.square().sum() for t in outputs).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_a_compiled_step_is_that_of_the_network_which_stays_as_it_is(traced):
    model, twin = network(), network()
    before, keys, stream = copy.deepcopy(model.state_dict()), set(vars(model)), torch.get_rng_state()
    state = RunState()
    part = compiled(model, state)
    x = images(2, 3, 32, 32)
    part.begin(x)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())  # the trial has moved nothing
    assert torch.equal(torch.get_rng_state(), stream)
    outputs, plain = part(x), twin(x)
    assert len(traced) == 1
    assert all(torch.equal(a, b) for a, b in zip(outputs, plain, strict=True))
    for a, b in zip(gradients(model, outputs), gradients(twin, plain), strict=True):
        torch.testing.assert_close(a, b)
    assert all(torch.equal(v, twin.state_dict()[k]) for k, v in model.state_dict().items())  # statistics moved once
    assert set(vars(model)) == keys  # nothing compiled hangs on it
    assert state.compiled == [[32, 32]]


def test_smaller_batches_and_further_sizes_go_uncompiled(traced, monkeypatch, log):
    monkeypatch.setattr(module, "MAX_SIZES", 2)
    state = RunState()
    part = compiled(network(), state)
    part.begin(images(2, 3, 32, 32))
    for shape in ((1, 3, 32, 32), (2, 3, 32, 48), (2, 3, 48, 32), (2, 3, 64, 32), (2, 3, 32, 32)):
        part(images(*shape))
    assert len(traced) == 2
    assert state.compiled == [[32, 32], [32, 48]]
    assert sum("more than 2 sizes" in r.getMessage() for r in log.records) == 1
    again = RunState()
    again.load_state_dict({**RunState(batches=1).state_dict(), "batches": 1, "compiled": state.compiled})
    assert again.compiled == state.compiled  # a resumed run compiles for the same


def test_a_hook_sees_every_pass(traced, log):
    model = network()
    part, seen = compiled(model), []
    part.begin(images(2, 3, 32, 32))
    handle = model.model[1].register_forward_hook(lambda *_: seen.append(1))
    part(images(2, 3, 32, 32))
    part(images(2, 3, 32, 32))
    handle.remove()
    part(images(2, 3, 32, 32))
    assert len(seen) == 2
    assert sum("a hook watches" in r.getMessage() for r in log.records) == 1


def test_a_row_that_breaks_the_graph_is_named_with_its_reason(traced, log):
    part = compiled(network(("Peeking", [])))
    part.begin(images(2, 3, 32, 32))
    lines = [r.getMessage() for r in log.records if "breaks the graph" in r.getMessage()]
    assert len(lines) == 1
    assert "row 1 (Peeking)" in lines[0]
    assert "item()" in lines[0]
    assert not part.off


@pytest.mark.parametrize("where", ["compiler", "python"])
def test_without_a_compiler_true_goes_on_and_a_mode_is_an_error(where, monkeypatch, log):
    def fail(*_, **__):
        raise RuntimeError("\nNo working C++ compiler found\nin: g++\n")

    if where == "compiler":
        monkeypatch.setattr(module, "BACKEND", fail)
    else:
        monkeypatch.setattr(torch, "compile", fail)
    x = images(2, 3, 32, 32)
    part, twin = compiled(network()), network()
    part.begin(x)
    assert all(torch.equal(a, b) for a, b in zip(part(x), twin(x), strict=True))
    lines = [r.getMessage() for r in log.records if r.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert "compile=True has no effect" in lines[0]
    assert "No working C++ compiler found" in lines[0]
    with pytest.raises(ConfigError, match=r"compile=default: the network cannot be compiled"):
        compiled(network(), key="default").begin(x)


def test_gradients_are_taken_out_of_the_memory_that_graphs_write_again(traced):
    model = network()
    part = compiled(model)
    part.graphs = True
    before = gradients(model, model(images(2, 3, 32, 32)))
    learning = [p for p in model.parameters() if p.requires_grad]
    held = [p.grad for p in learning]
    part.keep_gradients()
    for gradient in held:
        gradient.zero_()  # as the next step does
    assert all(torch.equal(p.grad, g) for p, g in zip(learning, before, strict=True))


def test_modes_are_torchs():
    assert options_of("reduce-overhead", False)["triton.cudagraphs"]
    assert "triton.cudagraphs" not in options_of("default", True)
    with pytest.raises(ConfigError, match="compile='fast' must be True, False or default"):
        get_cfg(None, {"compile": "fast"})
    assert get_cfg(None, {"compile": "Reduce-Overhead"}).compile == "reduce-overhead"


# With torch's own compiler

KEYS = {"imgsz": 32, "batch": 4, "workers": 0, "threads": 1, "device": "cpu", "amp": False, "plots": False}
KEYS |= {"verbose": False, "preflight": False, "epochs": 2, "nbs": 8, "optimizer": "SGD", "lr0": 0.01, "val": False}


def train(folder, name, stop=None, **keys):
    file = folder / "mini.yaml"
    file.write_text(yaml.safe_dump(mini(("FLABlock", [2]))), encoding="utf-8")
    data = folder / "toy" / "toy.yaml"
    given = {**KEYS, "data": str(data if data.exists() else write_toy(folder)), "project": str(folder / "r"), **keys}
    model = YOLO(str(file))
    if stop:
        model.add_callback("on_train_batch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            model.train(**given, name=name)
        YOLO(str(file)).train(resume=str(folder / "r" / name))
    else:
        model.train(**given, name=name)
    rows = list(csv.DictReader((folder / "r" / name / "results.csv").open(encoding="utf-8")))
    losses = [[float(v) for k, v in row.items() if k.startswith("train/")] for row in rows]
    return load_checkpoint(folder / "r" / name / "weights" / "last.pt").state, losses


def stop_in_the_second_epoch(trainer):
    if (trainer.finished, trainer.batches_done) == (1, 1):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_a_compiled_run_is_the_plain_one_but_for_rounding_and_resumes_to_the_bit(tmp_path):
    plain, wanted = train(tmp_path, "plain")
    whole, losses = train(tmp_path, "whole", compile=True)
    stopped, _ = train(tmp_path, "stopped", compile=True, stop=stop_in_the_second_epoch)
    assert whole["compiled"] == [[32, 32]]
    assert plain["compiled"] == []
    for row, other in zip(losses, wanted, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    for kind in ("weights", "ema"):
        for key, value in whole[kind].items():
            assert torch.equal(value, stopped[kind][key]), key
            torch.testing.assert_close(value, plain[kind][key], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_run_that_computes_rows_again_leaves_the_same_weights(tmp_path):
    plain, losses = train(tmp_path, "plain")
    for wanted in ("auto", [0, 3]):
        again, same = train(tmp_path, f"again{wanted}", checkpoint_rows=wanted, stop=stop_in_the_second_epoch)
        assert same == losses
        for kind in ("weights", "ema"):
            assert all(torch.equal(v, plain[kind][k]) for k, v in again[kind].items())
        assert again["train_args"]["checkpoint_rows"] == wanted


@pytest.mark.gpu
@pytest.mark.parametrize("key", [True, "reduce-overhead"])
def test_on_a_gpu_gathered_gradients_are_those_of_the_plain_network(key):
    model, twin = network(("FLABlock", [2])).cuda(), network(("FLABlock", [2])).cuda()
    part = Compiled(model, key, True, lambda: torch.autocast("cuda", enabled=False), RunState())
    batches = [images(4, 3, 64, 64).cuda() * (i + 1) / 5 for i in range(5)]
    part.begin(batches[0])
    assert not part.off
    for x in batches:
        sum(t.square().mean() for t in part(x)).backward()
        part.keep_gradients()
        sum(t.square().mean() for t in twin(x)).backward()
    learned = {f"{n}.grad": p.grad for n, p in model.named_parameters() if p.grad is not None}
    wanted = {f"{n}.grad": p.grad for n, p in twin.named_parameters() if p.grad is not None}
    assert learned.keys() == wanted.keys()
    state = {k: v for k, v in model.state_dict().items() if "running" in k}
    for name, value in {**learned, **state}.items():  # both round to TF32, and may choose other algorithms
        other = wanted[name] if name in wanted else twin.state_dict()[name]
        assert torch.linalg.vector_norm(value - other) <= 2e-2 * torch.linalg.vector_norm(other) + 1e-5, name
    for (name, tracked), other in zip(model.named_buffers(), twin.buffers(), strict=True):
        assert "tracked" not in name or torch.equal(tracked, other), name  # statistics move once a batch
