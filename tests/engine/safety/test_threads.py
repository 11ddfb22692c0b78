"""How many threads a CPU run takes, with machines that are played and with this one."""

import itertools
import random
import time

import numpy as np
import pytest
import torch

from tests.conftest import write_tiny, write_toy
from ultralytics.cfg.config import get_cfg
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.engine.formats.format import FileBackend
from ultralytics.engine.ranks.team import Team
from ultralytics.engine.safety import threads
from ultralytics.engine.safety.threads import Choice, candidates, fastest, settle, trace, try_inference, try_training
from ultralytics.engine.setup import settle_threads
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator
from ultralytics.nn.backend import inference_copy
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.threads import kept_threads, one_thread

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads_of_the_suite():
    with kept_threads():
        yield


@pytest.fixture
def free(monkeypatch):
    """A machine of two cores on which nobody has named a number of threads. It is played: two real ones would wait for
    each other where the suite runs on all cores."""
    number = [2]
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: number[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: number.__setitem__(0, n))


@pytest.fixture
def two_threads(monkeypatch):
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(2)


def played(seconds, points=10):
    """Trials of steps that take so many seconds by number of threads, broken off like real ones."""

    def trial(n):
        each = next(seconds[n]) if hasattr(seconds[n], "__next__") else seconds[n]
        whole = [each * (i + 1) / points for i in range(points)]
        late = next((i for i, t in enumerate(whole) if t > threads.STEP_SECONDS), points)
        return whole[: late + 1]

    return trial


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({1: 0.4, 2: 0.2}, 2),  # an idle machine
        ({1: 0.4, 2: 20.0}, 1),  # one other busy process on two cores
        ({1: 3.5, 2: 25.0}, 1),  # five of them; neither step ends in time
        ({1: 30.0, 2: 15.0}, 2),  # a large model on an idle machine
        ({1: 0.010, 2: 0.012}, 2),  # a tiny one: not worth another rounding
        ({1: 0.010, 2: 0.016}, 1),
        ({1: 1.0, 2: 0.5, 4: 0.3, 8: 0.2, 16: 0.15, 32: 0.12, 64: 0.1}, 64),
        ({1: 1.0, 2: 0.5, 4: 0.3, 8: 0.2, 16: 0.15, 32: 4.0, 64: 9.0}, 16),  # 64 cores of which a container has 16
        ({1: 0.1, 3: 0.05, 6: 0.5}, 3),
    ],
)
def test_all_cores_are_taken_unless_fewer_are_clearly_faster(seconds, chosen):
    found = fastest(played(seconds), max(seconds))
    assert found.threads == chosen
    assert set(found.ratios) == set(seconds)
    assert f"threads={chosen}" in found.line()


def test_one_slow_step_among_many_decides_nothing():
    steps = itertools.chain([0.02, 0.02, 0.12], itertools.repeat(0.02))
    assert fastest(played({1: 0.03, 2: steps}), 2).threads == 2


def test_a_machine_that_is_busy_now_and_then_is_busy():
    steps = itertools.cycle([0.02, 0.02, 0.3])
    assert fastest(played({1: 0.03, 2: steps}), 2).threads == 1


def test_candidates_are_halves():
    assert [candidates(n) for n in (1, 2, 6, 64)] == [[1], [1, 2], [1, 3, 6], [1, 2, 4, 8, 16, 32, 64]]


def test_a_slow_step_is_broken_off_in_both_passes():
    """Two threads on a busy machine take half a minute for a step; the trial does not wait for it."""

    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            time.sleep(threads.STEP_SECONDS + 0.05)
            return g.clone()

    net = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(4)))

    def step():
        x = torch.ones(1, 2)
        for layer in net:
            x = Slow.apply(layer(x))
        x.sum().backward()

    times = trace(net, step, 1)
    assert 4 < len(times) <= 6  # the forward pass, and the first gradients
    assert all(not m._forward_pre_hooks for m in net.modules())
    assert all(not p._backward_hooks for p in net.parameters())
    quick = trace(net, lambda: net(torch.ones(1, 2)), 1)
    assert len(quick) == 5
    assert quick == sorted(quick)


def test_a_slow_prediction_is_broken_off(tmp_path, free, monkeypatch):
    """With the network as prediction runs it, which names the row of an exception."""
    monkeypatch.setattr(threads, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(threads, "TRIAL_SECONDS", 0.0)
    net = inference_copy(DetectionModel(str(write_tiny(tmp_path)), nc=3, verbose=False), CPU)
    assert net.names_rows
    found = try_inference(net, (1, 3, 32, 32), 2)
    assert found is not None
    assert set(found.ratios) == {1, 2}


def test_a_trial_leaves_the_run_as_it_is(tmp_path):
    model = DetectionModel(str(write_tiny(tmp_path)), nc=3, verbose=False)
    model.add_module("drop", torch.nn.Dropout())
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    streams = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    number = torch.get_num_threads()
    found = try_training(model, lambda: torch.autocast("cpu", enabled=False), 4, 32, 2)
    assert set(found.ratios) == {1, 2}
    assert torch.get_num_threads() == number
    assert not model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    assert (random.getstate(), np.random.get_state()[1].tolist()) == streams[:2]
    assert torch.equal(torch.get_rng_state(), streams[2])


class Runtime(FileBackend):
    """A file whose runtime has threads of its own, or computes with torch's."""

    def __init__(self, own):
        self.taken = []
        if own:
            self.open_at(lambda count: self.taken.append(count) or count)

    def run(self, images):
        return [images]


@pytest.mark.usefixtures("free")
def test_a_runtime_with_threads_of_its_own_gets_all():
    torch.set_num_threads(4)
    net = Runtime(own=True)
    torch.set_num_threads(2)
    mine = threads.given_to(net)
    assert (mine.threads, mine.opened, torch.get_num_threads()) == (2, 2, 1)
    assert (net.threads, net.opened) == (4, 4), "what others use stays as it is"
    torch.set_num_threads(2)
    assert threads.given_to(mine) is mine
    torch.set_num_threads(2)
    threads.given_to(net)
    assert net.taken == [4, 2], "the next run with this number finds it open"
    torch.set_num_threads(2)
    for other in (Runtime(own=False), torch.nn.Identity()):
        assert threads.given_to(other) is other
        assert torch.get_num_threads() == 2


def test_a_model_that_fails_is_for_others_to_tell():
    net = torch.nn.Sequential(torch.nn.Linear(3, 3))  # takes no images
    assert try_training(net, lambda: torch.autocast("cpu", enabled=False), 4, 32, 2) is None


def settled(given=None, device=CPU, choose=lambda most: Choice(1, {1: 1.0, most: 9.0})):
    args = get_cfg(None, {} if given is None else {"threads": given})
    asked = []
    settle(args, device, lambda most: (asked.append(most), choose(most))[1])
    return args.threads, args.sources.get("threads", "default"), torch.get_num_threads(), asked


@pytest.mark.usefixtures("free")
def test_who_decides_on_the_number(monkeypatch):
    assert settled() == (1, "auto", 1, [2])
    torch.set_num_threads(2)
    assert settled("auto") == (1, "auto", 1, [2])
    torch.set_num_threads(2)
    assert settled(choose=lambda _: None) == (2, "auto", 2, [2])
    assert settled(3) == (3, "argument", 3, [])
    torch.set_num_threads(1)  # by the program
    assert settled() == (1, "auto", 1, [])
    torch.set_num_threads(2)
    assert settled(device=torch.device("meta")) == (None, "default", 2, [])
    for name in threads.VARIABLES:
        monkeypatch.setenv(name, "2")
        assert settled() == (2, "auto", 2, [])
        monkeypatch.delenv(name)


def test_a_cpus_number_does_not_follow_a_run_to_a_gpu():
    args = get_cfg()
    args.set("threads", 3, "auto")
    number = torch.get_num_threads()
    settle(args, torch.device("meta"), lambda _: None)
    assert torch.get_num_threads() == number


@pytest.mark.parametrize("value", [0, -1, 1.5, "all", True])
def test_a_number_of_threads_is_one_or_more(value):
    with pytest.raises(ConfigError, match="threads="):
        get_cfg(None, {"threads": value})


# In a run


def keys(folder, toy):
    return {
        "model": str(write_tiny(folder)), "data": str(toy), "epochs": 2, "imgsz": 32, "batch": 6, "workers": 0,
        "device": "cpu", "project": str(folder), "plots": False, "val": False, "preflight": False,
    }  # fmt: skip


@pytest.mark.usefixtures("free")
def test_a_long_prediction_tries_after_a_few_batches(tmp_path, monkeypatch):
    tried, used = [], []

    def trial(model, shape, most):
        tried.append((shape, most))
        return Choice(1, {1: 1.0, 2: 9.0})

    monkeypatch.setattr(threads, "try_inference", trial)
    model = DetectionModel(str(write_tiny(tmp_path)), nc=3, verbose=False)
    images = [np.zeros((32, 64, 3), np.uint8)] * 5
    for given, expected in ((None, [2, 2, 2, 1, 1]), (1, [1] * 5)):
        used.clear()
        predictor = DetectionPredictor(
            overrides=get_cfg(
                None,
                {"imgsz": 64, "verbose": False, "save": False} | ({"threads": given} if given else {}) | {"batch": 1},
            ),
        )
        detect = predictor.detect
        predictor.detect = lambda found, detect=detect: used.append(torch.get_num_threads()) or detect(found)
        between = [torch.get_num_threads() for _ in predictor(images, model, stream=True)]
        assert used == expected
        assert between == [2] * 5, "what the program does meanwhile has its own number"
    assert tried == [((1, 3, 32, 64), 2)]
    predictor(images[:3])
    assert len(tried) == 1  # a short one is not worth it


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize(("images", "settings", "expected"), [(6, {}, 1), (2, {}, 2), (6, {"threads": 1}, 1)])
def test_a_validation_keeps_one_number(tmp_path, monkeypatch, images, settings, expected):
    used = []
    monkeypatch.setattr(threads, "try_inference", lambda *_: Choice(1, {1: 1.0, 2: 9.0}))
    args = get_cfg(None, {"imgsz": 32, "batch": 1, "plots": False, "verbose": False, **settings})
    data = load_dataset(write_toy(tmp_path))
    dataset = build_yolo_dataset(args, data.split("val"), 1, data, mode="val")
    loader = Counted(build_dataloader(dataset, 1, 0, shuffle=False), images, used)
    model = DetectionModel(str(write_tiny(tmp_path)), nc=3, verbose=False)
    DetectionValidator(loader, tmp_path, args=args, data=data)(model=model)
    assert used == [expected] * images
    assert torch.get_num_threads() == 2


class Counted:
    """Some batches of a loader, and the number of threads when each is asked for."""

    def __init__(self, loader, count, used):
        self.loader, self.count, self.used = loader, count, used

    def __len__(self):
        return self.count

    def __iter__(self):
        for _, batch in zip(range(self.count), self.loader, strict=False):
            self.used.append(torch.get_num_threads())
            yield batch


def test_all_ranks_share_the_cores(monkeypatch, tmp_path, toy):
    """A number that one process had is not multiplied by several."""
    trainer = DetectionTrainer(overrides=keys(tmp_path, toy))
    trainer.args.set("threads", threads.cores(), "auto")
    trainer.step.loss.team = Team(0, 2, 0, 2)
    settle_threads(trainer.args, trainer.step.loss, None)
    assert trainer.args.threads == torch.get_num_threads() == 1
    trainer.args.set("threads", threads.cores(), "command line")
    settle_threads(trainer.args, trainer.step.loss, None)
    assert torch.get_num_threads() == threads.cores()


@pytest.fixture
def stopped(free, tmp_path, toy, monkeypatch):
    """A run that a trial gave one thread, stopped after its first epoch; what was tried, and the numbers in use."""
    trials, used = [], []

    def trial(model, autocast, batch, imgsz, most):
        trials.append((batch, imgsz, most))
        return Choice(1, {1: 1.0, 2: 9.0})

    monkeypatch.setattr(threads, "try_training", trial)
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)

    def stop(trainer):
        used.append(torch.get_num_threads())
        raise KeyboardInterrupt

    trainer = DetectionTrainer(overrides=keys(tmp_path, toy))
    trainer.add_callback("on_model_save", stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    return trainer, trials, used


def test_a_run_records_its_number_and_gives_back_the_programs(stopped, caplog):
    trainer, trials, used = stopped
    assert (trials, used, torch.get_num_threads()) == ([(6, 32, 2)], [1], 2)
    assert "threads: 1  # auto\n" in (trainer.save_dir / "args.yaml").read_text(encoding="utf-8")
    state = load_checkpoint(trainer.last).state
    assert (state["train_args"]["threads"], state["sources"]["threads"]) == (1, "auto")


@pytest.mark.slow
def test_a_resumed_run_keeps_its_number(stopped, monkeypatch, caplog):
    caplog.set_level("INFO", "ultralytics")
    trainer, trials, _ = stopped

    def resumed(**more):
        again = DetectionTrainer(overrides={"resume": str(trainer.save_dir), **more})
        with kept_threads():
            again._setup()
        return again.args.threads

    assert resumed() == 1
    assert len(trials) == 1  # not tried again
    assert resumed(threads=2) == 2
    message = "With threads=2 instead of 1 its sums are rounded in another order: it will not equal, to the bit"
    assert message in caplog.text
    assert resumed(threads="auto") == 1
    assert len(trials) == 2
    assert "threads=1: with all 2 it takes 9.0 times as long now (load average" in caplog.text
    monkeypatch.setattr(threads, "cores", lambda: 0)  # a smaller machine
    assert resumed() == 1
    assert len(trials) == 3
    assert "The run had threads=1, and there are 0 cores here" in caplog.text


@pytest.mark.usefixtures("free")
def test_models_are_built_by_one_thread_and_the_programs_number_stays(tmp_path, monkeypatch):
    used = []
    real = DetectionModel.forward
    monkeypatch.setattr(
        DetectionModel, "forward", lambda *a, **k: (used.append(torch.get_num_threads()), real(*a, **k))[1]
    )
    DetectionModel(str(write_tiny(tmp_path)), nc=3, verbose=False)
    assert set(used) == {1}
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == 2


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_a_run_with_a_trial_equals_one_with_its_number(tmp_path, toy):
    """The trial itself leaves no trace in the numbers, whichever number it finds."""
    runs = [DetectionTrainer(overrides={**keys(tmp_path, toy), "name": "tried"})]
    runs[0].train()
    number = runs[0].args.threads
    runs.append(DetectionTrainer(overrides={**keys(tmp_path, toy), "name": "named", "threads": number}))
    runs[1].train()
    a, b = (torch.load(r.last, weights_only=True) for r in runs)
    assert all(torch.equal(v, b["weights"][k]) for k, v in a["weights"].items())
    assert torch.equal(a["rng"]["torch"], b["rng"]["torch"])
