"""What a training step asks of the device."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from tests.conftest import write_tiny, write_toy
from tests.helpers.tasks import QUIET, class_folders, classify_network, task_data, tiny_network
from ultralytics.engine import setup
from ultralytics.engine.safety.guard import BadStepError
from ultralytics.engine.step import optim, rates
from ultralytics.engine.step.feed import Feed
from ultralytics.models.yolo.detect.train import DetectionTrainer
from ultralytics.models.yolo.task import TASKS
from ultralytics.utils import loss, tal, task_loss
from ultralytics.utils.device_drawing import draw_plans
from ultralytics.utils.errors import ConfigError


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
        trainer = DetectionTrainer(overrides={k: str(v) if isinstance(v, Path) else v for k, v in keys.items()})
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


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_images_are_rounded_once_whether_they_pass_through_fp32_or_not(device, dtype):
    img = torch.arange(256, dtype=torch.uint8, device=device)
    assert torch.equal(img.to(dtype) / 255, (img.float() / 255).to(dtype))


def test_images_have_16_bits_where_autocast_would_give_them_to_the_first_row(made):
    trainer, batches = made()
    step = trainer.step.loss
    assert step.image_dtype == torch.float32
    step.device, step.amp_dtype = torch.device("cuda"), torch.bfloat16
    assert step.image_dtype == torch.bfloat16
    first = step.model.model[0]
    step.model.model[0] = torch.nn.Sequential(first)  # whose first operation nobody knows
    assert step.image_dtype == torch.float32
    step.model.model[0], step.device = first, torch.device("cpu")
    assert trainer.preprocess_batch(dict(batches[0]))["img"].dtype == torch.float32


class Unwaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU: to read a number, to pick by a mask, to learn how many there are, to
    make a tensor of numbers on the host."""

    WAITS = (
        "nonzero",
        "_local_scalar_dense",
        "masked_select",
        "unique",
        "bincount",
        "equal",
        "lift_fresh",
        "_pin_memory",
    )

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.__name__.partition(".")[0]
        assert not name.startswith(self.WAITS), name
        if name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"):
            assert all(i is None or i.dtype not in (torch.bool, torch.uint8) for i in args[1]), f"{name} by a mask"
        assert name != "repeat_interleave" or (kwargs or {}).get("output_size") is not None
        return function(*args, **(kwargs or {}))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Compute as a GPU would, on a CPU."""
    for module in (tal, loss, task_loss):
        monkeypatch.setattr(module, "masked", lambda device: True)
    choose = optim.make_optimizer

    def fused(groups, choice):
        made = choose(groups, choice)
        for group in made.param_groups:
            group["fused"] = True
        return made

    monkeypatch.setattr(rates, "make_optimizer", fused)


@pytest.mark.parametrize("keys", [{"optimizer": "SGD"}, {"optimizer": "AdamW"}, {"teacher": True, "distill": "cwd"}])
@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_step_never_waits(made, keys, tmp_path):
    if "teacher" in keys:
        keys["teacher"] = tmp_path / "teacher.pt"
        made()[0].saver.save_position()
        (tmp_path / "r" / "it" / "weights" / "last.pt").rename(keys["teacher"])
    trainer, batches = made(**keys)
    trainer.guard.careful = False
    trainer.train_step(dict(batches[0]), 0)
    ready = [trainer.preprocess_batch(dict(batch)) for batch in batches[1:]]
    trainer.preprocess_batch = lambda batch: batch
    before = [p.clone() for p in trainer.model.parameters()]
    with Unwaiting():
        for i, batch in enumerate(ready, 1):
            trainer.state.add_loss(trainer.train_step(batch, i))
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    assert torch.isfinite(trainer.state.loss_mean).all()


@pytest.mark.parametrize(("task", "waits"), [("segment", 1), ("pose", 0), ("obb", 0), ("classify", 0)])
@pytest.mark.usefixtures("as_on_a_gpu")
def test_steps_of_other_tasks_wait_for_the_number_of_masks_alone(tmp_path, monkeypatch, task, waits):
    data = task_data(tmp_path / "d", task) if task != "classify" else class_folders(tmp_path / "d")
    net = tiny_network(tmp_path, task) if task != "classify" else classify_network(tmp_path)
    keys = {**QUIET, "model": str(net), "data": str(data), "project": str(tmp_path / "r"), "amp": False}
    trainer = TASKS[task].trainer(overrides=keys)
    trainer._setup()
    trainer.model.train()
    trainer.guard.careful = False
    trainer.train_loader.set_epoch(0, 0)
    [first, *_] = list(trainer.train_loader)
    trainer.step.loss.images = len(first["img"])
    trainer.train_step(dict(first), 0)
    ready = trainer.preprocess_batch(dict(first))
    trainer.preprocess_batch = lambda batch: batch
    waited, most_of = [], task_loss.most_of

    def known(foreground):
        with _disable_current_modes():
            waited.append(most_of(foreground))
        return waited[-1]

    monkeypatch.setattr(task_loss, "most_of", known)
    with Unwaiting():
        parts = trainer.train_step(ready, 1)
    assert torch.isfinite(parts).all()
    assert len(waited) == waits


@pytest.mark.parametrize("wait", ["item", "mask", "nonzero", "made"])
def test_what_waits_is_refused(wait):
    x = torch.rand(3)
    with pytest.raises(AssertionError), Unwaiting():
        {"item": x.sum().item, "mask": lambda: x[x > 0.5], "nonzero": x.nonzero, "made": lambda: torch.tensor([1.0])}[
            wait
        ]()


@pytest.mark.parametrize("keys", [{}, {"degrees": 5.0, "mixup": 0.5, "bgr": 0.5}])
def test_drawing_a_batch_never_waits(made, keys):
    _, batches = made(augment_on="gpu", **keys)
    for batch in batches:
        plan = batch["plan"].numpy()
        with Unwaiting():
            images = draw_plans(batch["img"], batch["plan"], plan)
        assert images.shape == (len(plan), 3, 64, 64)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "keys", [{"optimizer": "SGD"}, {"optimizer": "AdamW"}, {"augment_on": "gpu", "mixup": 0.5, "degrees": 5.0}]
)
def test_a_step_on_a_gpu_never_waits(made, keys):
    trainer, batches = made(device="0", amp=torch.cuda.get_device_capability() >= (8, 0), **keys)
    ready = [{k: v.pin_memory() if isinstance(v, torch.Tensor) else v for k, v in b.items()} for b in batches * 2]
    for i, batch in enumerate(ready[:3]):
        trainer.state.add_loss(trainer.train_step(dict(batch), i))
        trainer.step.look_back(wait=False)
        trainer.step.progress_line(batch, wait=False)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for i, batch in enumerate(ready[3:], 3):
            trainer.state.add_loss(trainer.train_step(dict(batch), i))
            trainer.step.look_back(wait=False)
            trainer.step.progress_line(batch, wait=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    trainer.step.look_back()
    assert torch.isfinite(trainer.state.loss_mean).all()


@pytest.mark.gpu
def test_batches_that_are_copied_beside_the_step_are_whole():
    device = torch.device("cuda", torch.cuda.current_device())
    feed, total = Feed(device), torch.zeros((), device=device)
    work = torch.rand(2048, 2048, device=device)
    for i in range(50):
        batch = {"img": torch.full((1 << 22,), i, dtype=torch.uint8).pin_memory(), "cls": torch.ones(3).pin_memory()}
        moved = feed.move(batch)
        for _ in range(10):
            work = work @ work
            work /= work.norm()
        total += (moved["img"].float() - i).abs().sum() + (moved["cls"] - 1).abs().sum()
        del moved, batch  # what they lay in may be used again
    assert total.item() == 0
    assert torch.cuda.memory_reserved(device) < 2 << 30


def test_a_cpu_is_fed_as_it_is():
    batch = {"img": torch.zeros(2, dtype=torch.uint8)}
    assert Feed(torch.device("cpu")).move(batch)["img"] is batch["img"]


def test_no_save_holds_a_step_that_was_bad(made):
    trainer, _ = made()
    trainer.guard.careful = False
    trainer.guard.check(torch.tensor(float("nan")), "loss")
    with pytest.raises(BadStepError):
        trainer.saver.save(best=False)


def test_a_network_that_fails_while_rows_are_chosen_is_left_to_the_preflight(made, monkeypatch):
    trainer, _ = made()

    def fail(*_):
        raise RuntimeError("no such size\nand more")

    monkeypatch.setattr(setup, "rows_to_recompute", fail)
    trainer.args.set("preflight", True, "argument")
    setup.checkpoint_rows(trainer, trainer.step)
    assert trainer.model.checkpoint_rows == frozenset()
    trainer.args.set("preflight", False, "argument")
    with pytest.raises(ConfigError, match="which fails: no such size"):
        setup.checkpoint_rows(trainer, trainer.step)
