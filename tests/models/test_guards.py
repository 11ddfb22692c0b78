"""Losses and gradients that are not finite, and GPUs that are full, in whole runs."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from tests.helpers.networks import write_attended
from tests.helpers.runs import settings_of
from ultralytics.cli import main
from ultralytics.engine.safety import memory
from ultralytics.engine.safety.recovery import NonFiniteLossError
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.errors import ConfigError


@pytest.fixture
def given(tmp_path, toy):
    """2 epochs of 6 batches; a step every 2 batches."""
    return settings_of(tmp_path, write_attended(tmp_path), toy) | {"epochs": 2, "nbs": 4}


def nan_step(given, epoch, batch, how, times=1, **settings):
    """A trainer whose step at a place (from 0) has a NaN so many times: in the "output" of row 2, in the "loss", or
    in the "gradient" of row 3."""
    trainer = DetectionTrainer(overrides={**given, **settings})
    left = [times]

    def here():
        return left[0] > 0 and trainer.epoch == epoch and trainer.batches_done == batch and trainer.model.training

    def begin(t):
        criterion = t.criterion

        def loss(outputs, labels):
            total, parts = criterion(outputs, labels)
            return (total * math.nan, parts * math.nan) if how == "loss" and here() else (total, parts)

        t.criterion = loss
        if how == "output":
            t.model.model[2].cv1.register_forward_hook(lambda m, x, y: y * math.nan if here() else None)
        if how == "gradient":
            harmful, current, step = t.train_loader.batch_at(epoch, batch)["im_file"], [], t.batch_loss

            def remembering(given_batch):
                current[:] = given_batch["im_file"]
                return step(given_batch)

            t.batch_loss = remembering
            t.model.model[3].conv.weight.register_hook(
                lambda g: g * math.inf if left[0] > 0 and trainer.epoch == epoch and current == harmful else None
            )

    def done(t):
        if t.epoch == epoch and t.batches_done == batch + 1:
            left[0] -= 1

    trainer.add_callback("on_train_start", begin)
    trainer.add_callback("on_train_batch_end", done)
    trainer.spoil = left
    return trainer


def finite(state):
    tensors = [*state["weights"].values(), *state["ema"].values()]
    return all(torch.isfinite(t).all() for t in tensors if t.is_floating_point())


@pytest.mark.parametrize(
    ("how", "batch", "module", "found"),
    [
        ("output", 3, r"attended\.yaml, line \d+: row 2 \(C2f\) \(cv1\)", "its output is not finite"),
        ("loss", 2, "the loss", "it is not finite"),
        ("gradient", 2, r"attended\.yaml, line \d+: row 3 \(Conv\) \(conv\)", "its gradient is not finite"),
    ],
)
def test_stop_names_the_module_and_the_images_and_keeps_them(given, how, batch, module, found):
    trainer = nan_step(given, 1, batch, how, times=9)
    with pytest.raises(
        NonFiniteLossError, match=rf"in epoch 2, batch {batch + 1} .*png.*{module}: {found}.*last\.pt"
    ) as e:
        trainer.train()
    assert "\n" not in str(e.value)
    folder = trainer.save_dir / "nan"
    message = json.loads((folder / f"epoch2_batch{batch + 1}.json").read_text(encoding="utf-8"))
    assert (message["epoch"], message["batch"], len(message["im_file"])) == (2, batch + 1, 2)
    tensors = torch.load(folder / f"epoch2_batch{batch + 1}.pt", weights_only=True)
    trainer.train_loader.set_epoch(1)
    again = list(trainer.train_loader)[batch]
    assert again["im_file"] == message["im_file"]
    assert torch.equal(tensors["img"], again["img"] / 255)
    assert (folder / f"epoch2_batch{batch + 1}.jpg").stat().st_size
    state = load_checkpoint(trainer.last).state
    assert state["epoch"] == 0
    assert finite(state)


@pytest.mark.parametrize(
    ("how", "since"),
    [
        pytest.param("output", [2, 0, 0, 0, 2, 0], marks=pytest.mark.slow),
        ("gradient", [2, 0, 2, 2, 4, 0]),  # met at the step after the fourth batch
    ],
)
def test_skip_drops_the_batch_and_goes_on(given, how, since, caplog, monkeypatch):
    """since: the images that the statistics of batch norms have seen since ranks averaged them, after each batch."""
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    trainer = nan_step(given, 0, 2, how, on_nan="skip")
    seen = []
    trainer.add_callback("on_train_batch_end", lambda t: seen.append(t.images_since))
    trainer.train()
    assert seen[:6] == since
    state = load_checkpoint(trainer.last).state
    assert finite(state)
    assert (state["skipped"], state["skips_in_a_row"]) == (1, 0)
    assert "skipped (1 so far)" in caplog.text
    assert all(math.isfinite(v) for row in trainer.rows for v in row.values())


@pytest.mark.slow
def test_too_many_skips_stop(given):
    trainer = DetectionTrainer(overrides={**given, "on_nan": "skip", "epochs": 5})
    trainer.add_callback("on_train_start", lambda t: t.model.model[0].conv.register_forward_hook(lambda *a: a[2] / 0))
    with pytest.raises(NonFiniteLossError, match="11 batches one after another"):
        trainer.train()
    assert finite(load_checkpoint(trainer.last).state)
    assert len(list((trainer.save_dir / "nan").glob("*.json"))) == 10


@pytest.mark.slow
def test_rollback_halves_the_learning_rate_and_remembers(given):
    plain = DetectionTrainer(overrides={**given, "name": "plain"})
    plain.train()
    trainer = nan_step(given, 1, 3, "loss", on_nan="rollback")
    go_back = trainer._go_back

    def once(bad):
        trainer.spoil[0] = 0  # at a lower rate it does not happen again
        go_back(bad)

    trainer._go_back = once
    trainer.train()
    assert trainer.rollbacks == 1
    state = load_checkpoint(trainer.last).state
    assert (state["rollbacks"], state["lr_factor"]) == (1, 0.5)
    assert finite(state)
    assert trainer.rows[0]["lr/pg1"] == plain.rows[0]["lr/pg1"]
    assert trainer.rows[1]["lr/pg1"] == plain.rows[1]["lr/pg1"] / 2
    resumed = DetectionTrainer(overrides={"resume": str(trainer.save_dir), "epochs": 3})
    resumed.train()
    assert (resumed.rollbacks, resumed.lr_factor) == (1, 0.5)


def test_a_rollback_opens_the_mosaic_again(given):
    """With save=False the last good save may lie before the epoch that closed it."""
    trainer = nan_step(given, 2, 1, "loss", on_nan="rollback", save=False, close_mosaic=1, epochs=3)
    go_back = trainer._go_back

    def once(bad):
        trainer.spoil[0] = 0
        state = load_checkpoint(trainer.last).state
        assert state["epoch"] == 1  # kept for the sake of the rollback
        go_back(bad)
        trainer.finished = trainer.batches_done = 0  # as if the save were the first one

    trainer._go_back = once
    closed = []
    trainer.add_callback("on_train_batch_end", lambda t: closed.append((t.epoch, t.train_loader.dataset.mosaic_closed)))
    trainer.train()
    assert trainer.rollbacks == 1
    assert all(shut == (epoch == 2) for epoch, shut in closed)


def test_a_step_is_repeated_with_its_random_numbers(given):
    """A module that fails for one draw in many is found, because the repeated step draws the same."""
    trainer = nan_step(given, 9, 9, "loss")
    drawn = []

    def draw(module, inputs, output):
        number = torch.rand(())
        drawn.append(float(number))
        return output / 0 if len(drawn) == 3 or float(number) in drawn[2:3] else None

    trainer.add_callback("on_train_start", lambda t: t.model.model[2].register_forward_hook(draw))
    with pytest.raises(NonFiniteLossError, match=r"batch 3 \(box_loss nan.*row 2 \(C2f\): its output is not finite"):
        trainer.train()
    assert drawn[3] == drawn[2]


@pytest.mark.slow
def test_a_fourth_rollback_is_none(given):
    trainer = nan_step(given, 1, 3, "loss", times=99, on_nan="rollback")
    with pytest.raises(NonFiniteLossError, match="rolled back 3 times before"):
        trainer.train()
    assert trainer.lr_factor == 1 / 8
    assert load_checkpoint(trainer.last).state["rollbacks"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("how", ["output", "gradient"])
def test_what_a_gpu_notices_late_is_repeated_and_seen(given, how, caplog, monkeypatch):
    """Where a look would wait for the device, the weights may hold NaN before it is noticed."""
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    at_once = nan_step({**given, "name": "at_once"}, 1, 3, how, on_nan="skip")
    at_once.train()
    late = nan_step(given, 1, 3, how, on_nan="skip")
    look, seen = late.step.look_back, []

    def careless(t):
        t.guard.careful = False

    late.add_callback("on_train_start", careless)
    late.step.look_back = lambda *_: look() if late.batches_done % 5 == 0 else None
    late.add_callback("on_train_batch_end", lambda t: seen.append((t.epoch, t.batches_done)))
    done = late.callbacks["on_train_batch_end"].pop(0)
    late.add_callback("on_train_batch_end", lambda t: done(t) if t.guard.careful else None)
    late.train()
    assert "repeating from epoch 2, batch 1 to see where" in caplog.text
    assert seen.count((1, 4)) == 2
    a, b = (load_checkpoint(t.last).state for t in (at_once, late))
    assert all(torch.equal(v, b["weights"][k]) for k, v in a["weights"].items())
    assert a["skipped"] == b["skipped"] == 1


@pytest.mark.slow
def test_a_nan_step_run_is_not_saved(given):
    trainer = nan_step(given, 0, 2, "output", times=9)
    trainer.add_callback("on_train_start", lambda t: setattr(t.guard, "careful", False))
    trainer.train_step = wrapped(trainer)
    with pytest.raises(NonFiniteLossError):
        trainer.train()
    assert finite(load_checkpoint(trainer.last).state)


def wrapped(trainer):
    """Saves after every step, whatever the step was."""
    step = trainer.train_step

    def train_step(batch, iteration):
        parts = step(batch, iteration)
        trainer.saver.save_sound()
        return parts

    return train_step


def test_infinite_gradients_of_a_scaled_loss_are_normal(given):
    trainer = nan_step(given, 0, 1, "gradient")
    trainer.add_callback(
        "on_train_start", lambda t: setattr(t, "scaler", torch.amp.GradScaler("cpu", init_scale=1024.0))
    )
    trainer.train()
    assert trainer.scaler.get_scale() == 512
    assert finite(load_checkpoint(trainer.last).state)


@pytest.mark.slow
def test_gradients_that_no_scale_mends_are_told(given):
    trainer = nan_step(given, 0, 1, "gradient")
    trainer.add_callback(
        "on_train_start", lambda t: setattr(t, "scaler", torch.amp.GradScaler("cpu", init_scale=2.0**-10))
    )
    with pytest.raises(NonFiniteLossError, match="the gradient is not finite"):
        trainer.train()


# Memory


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of 1000 bytes, of which an image takes 30."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=1000))
    monkeypatch.setattr(memory.WorstStep, "peak", lambda trainer, n, extra=0: 30 * n if n < 20 else None)


@pytest.mark.parametrize(
    ("stage", "position"),
    [
        ("forward", (1, 3)),
        pytest.param("backward", (1, 3), marks=pytest.mark.slow),
        pytest.param("step", (1, 0), marks=pytest.mark.slow),
        pytest.param("validation", (0, 6), marks=pytest.mark.slow),
    ],
)
def test_a_full_gpu_is_told_and_nothing_is_lost(given, gpu, capsys, monkeypatch, stage, position):
    given |= {"nbs": 2 if stage == "backward" else 4, "batch": 2, "epochs": 2, "workers": 0}
    real = DetectionTrainer.train_step

    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand so on")

    def train_step(self, batch, iteration):
        if iteration == 9 and stage == "forward":
            self.criterion = full
        if iteration == 9 and stage == "backward":
            self.guard.check = lambda loss, kind: loss.register_hook(full)
        if iteration == 9 and stage == "step":
            self.optimizer_step = full
        return real(self, batch, iteration)

    monkeypatch.setattr(DetectionTrainer, "train_step", train_step)
    if stage == "validation":
        monkeypatch.setattr(DetectionTrainer, "validate", full)
    assert main(["train", *(f"{k}={v}" for k, v in given.items())]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: CUDA out of memory at batch=2, imgsz=32 in ")
    assert "validation 1" in message if stage == "validation" else "epoch 2, batch 4" in message
    assert "batch=1 fits (tried)" in message
    assert "\n" not in message
    folder = given["project"] + "/run"
    assert f" train resume={folder} batch=1" in message
    state = load_checkpoint(folder + "/weights/last.pt").state
    assert (state["epoch"] + 1, state["batches_done"]) == position
    monkeypatch.undo()
    DetectionTrainer(overrides={"resume": folder}).train()
    whole = DetectionTrainer(overrides={**given, "name": "whole"})
    whole.train()
    a, b = (load_checkpoint(f"{given['project']}/{n}/weights/last.pt").state["weights"] for n in ("run", "whole"))
    assert all(torch.equal(v, b[k]) for k, v in a.items())


def worst_step(trainer):
    return memory.WorstStep(trainer.step.loss, trainer.args, trainer.stride, trainer.trial_labels)


def test_a_batch_is_found_by_trying(given, gpu, monkeypatch):
    tried = []

    def peak(worst, n, extra=0):
        tried.append((n, extra))
        return 30 * n if n < 20 else None

    monkeypatch.setattr(memory.WorstStep, "peak", peak)
    for asked, found in ((-1, 19), (0.3, 10)):
        trainer = DetectionTrainer(overrides={**given, "batch": asked})
        trainer.model = trainer.get_model()
        trainer.device = torch.device("cuda", 0)
        memory.find_batch(worst_step(trainer))
        assert trainer.args.batch == found
        assert trainer.args.sources["batch"] == "auto"
    weights = sum(p.numel() * 4 for p in trainer.model.parameters())
    assert {extra for _, extra in tried} == {3 * weights}  # the average, and two of the optimiser
    trainer.args.batch = 0.02
    with pytest.raises(ConfigError, match="not even one image of imgsz=32 fits into 2% of the GPU"):
        memory.find_batch(worst_step(trainer))


def test_the_worst_case_is_tried(given, monkeypatch):
    trainer = DetectionTrainer(overrides={**given, "multi_scale": True, "imgsz": 64})
    trainer.args.set("batch", 4, "argument")
    trainer._setup()
    sizes = []
    monkeypatch.setattr(memory, "trial_step", lambda m, f, loss, n, *sizes_: sizes.append((n, *sizes_[:2])))
    monkeypatch.setattr(memory, "peak_memory", lambda step, device: step() or 5)
    assert worst_step(trainer).peak(3) == 5
    assert sizes == [(3, (96, 96), (96, 96))]
    labels = trainer.trial_labels(3)
    assert len(labels["cls"]) == 3 * 4 * 2  # four images of the fullest, which has two boxes
    assert labels["batch_idx"].max() == 2


def test_the_trial_runs_the_real_step(given, monkeypatch):
    trainer = DetectionTrainer(overrides=given)
    trainer._setup()
    monkeypatch.setattr(memory, "peak_memory", lambda step, device: step() or 5)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    assert worst_step(trainer).peak(2, extra=10) == 5
    assert all(torch.equal(v, before[k]) for k, v in trainer.model.state_dict().items())


@pytest.mark.slow
def test_on_a_cpu_a_batch_cannot_be_tried(given, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    trainer = DetectionTrainer(overrides={**given, "batch": -1, "epochs": 1})
    trainer.train()
    assert "batch=-1 needs a GPU to try: using 16" in caplog.text
    assert load_checkpoint(trainer.last).train_args["batch"] == 16


def test_other_commands_need_a_number(given, capsys):
    assert main(["val", "model=yolov8n.yaml", "batch=-1", f"data={given['data']}"]) == 2
    assert "batch=-1 finds a batch to train with" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [-1, 0.1])
def test_a_real_gpu_finds_its_batch(given, batch):
    trainer = DetectionTrainer(overrides={**given, "batch": batch, "device": 0, "epochs": 1, "imgsz": 640})
    trainer.train()
    assert trainer.args.batch >= 1
    total = torch.cuda.get_device_properties(0).total_memory
    assert torch.cuda.max_memory_reserved() <= total


@pytest.mark.gpu
def test_a_real_gpu_that_is_full_names_what_fits(given, capsys):
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        words = given | {"batch": 12, "device": 0, "imgsz": 2048, "preflight": False, "model": "yolov8n.yaml"}
        assert main(["train", *(f"{k}={v}" for k, v in words.items())]) == 2
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "CUDA out of memory at batch=12" in capsys.readouterr().err
