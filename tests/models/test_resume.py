"""Runs that are stopped, by what comes to a run, and end as the run that was never stopped."""

import contextlib
import gc
import multiprocessing
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.conftest import write_toy
from tests.helpers.networks import write_attended
from tests.helpers.runs import EPOCHS, equal_runs, interrupt, left, settings_of, stop_at
from ultralytics.cli import main
from ultralytics.engine.run import saver as module
from ultralytics.engine.run.folder import RunLock
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.detect import postprocess as detections
from ultralytics.utils import files
from ultralytics.utils.errors import CheckpointError, ConfigError, LostWorkerError, MissingFileError, UserError

BATCHES = 6


@pytest.fixture
def given(tmp_path, toy):
    """A run of 3 epochs of 6 batches, with mosaic, an accumulation of 4 and a last epoch without mosaic."""
    return settings_of(tmp_path, write_attended(tmp_path), toy)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the run that is never stopped leaves; the data are the same wherever they lie."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = DetectionTrainer(overrides=settings_of(folder, write_attended(folder), write_toy(folder)))
    trainer.train()
    return left(trainer.save_dir)


class KilledError(BaseException):
    """Stands for a kill signal."""


def resume(folder, **more):
    trainer = DetectionTrainer(overrides={"resume": str(folder), **more})
    trainer.train()
    return trainer


# Signals


@pytest.mark.parametrize(
    ("epoch", "batch"), [(1, 3), *(pytest.param(*p, marks=pytest.mark.slow) for p in ((0, 1), (0, 6), (1, 6), (2, 2)))]
)
def test_a_run_stopped_after_any_batch_ends_as_one_that_was_not(given, whole, epoch, batch, monkeypatch, caplog):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    trainer = DetectionTrainer(overrides=given)
    stop_at(trainer, "on_train_batch_end", epoch, batch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert f"Stopped in epoch {epoch + 1} after {batch} of 6 batches, and saved." in caplog.text
    assert f" train resume={trainer.save_dir}" in caplog.text
    state = load_checkpoint(trainer.last).state
    assert (state["epoch"] + 1, state["batches_done"]) == (epoch, batch)
    assert equal_runs(left_of(resume(trainer.save_dir, workers=2 if epoch else 0)), whole)


def left_of(trainer):
    return left(trainer.save_dir)


@pytest.mark.slow
def test_skipped_batches_are_not_even_loaded(given, monkeypatch):
    trainer = DetectionTrainer(overrides=given)
    stop_at(trainer, "on_train_batch_end", 0, 4, interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    seen = []
    resumed = DetectionTrainer(overrides={"resume": str(trainer.save_dir)})
    resumed.add_callback("on_train_batch_end", lambda t: seen.append((t.epoch, t.batches_done)))
    loaded = []

    def begin(t):
        getitem = type(t.train_loader.dataset).__getitem__
        monkeypatch.setattr(
            type(t.train_loader.dataset), "__getitem__", lambda d, k: (loaded.append(k), getitem(d, k))[1]
        )

    resumed.add_callback("on_train_start", begin)
    stop_at(resumed, "on_train_epoch_end", 0, stop=interrupt)
    with pytest.raises(KeyboardInterrupt):
        resumed.train()
    assert seen == [(0, 5), (0, 6)]
    assert [k.seed for k in loaded if k.seed[1] == 0 and k.partners] == [(0, 0, p) for p in range(8, 12)]


@pytest.mark.slow
def test_a_signal_in_validation_or_saving_loses_nothing(given, whole, monkeypatch):
    nms, save = detections.non_max_suppression, module.save_checkpoint
    left_to_stop = [1, 1]

    def slow(*args, **kwargs):
        if left_to_stop[0]:
            left_to_stop[0] = 0
            interrupt(signal.SIGTERM)
        return nms(*args, **kwargs)

    def saving(path, *args):
        if left_to_stop[1] and path.name == "best.pt":
            left_to_stop[1] = 0
            interrupt(signal.SIGTERM)
        save(path, *args)

    monkeypatch.setattr(detections, "non_max_suppression", slow)
    trainer = DetectionTrainer(overrides=given)
    with pytest.raises(SystemExit) as left_with:
        trainer.train()
    assert left_with.value.code == 143
    state = load_checkpoint(trainer.last).state
    assert (state["epoch"], state["batches_done"]) == (-1, BATCHES)
    monkeypatch.setattr(module, "save_checkpoint", saving)
    with pytest.raises(SystemExit):
        resume(trainer.save_dir)
    state = load_checkpoint(trainer.last).state
    assert (state["epoch"], state["batches_done"]) == (0, 0)
    assert equal_runs(left_of(resume(trainer.save_dir)), whole)


def test_a_signal_before_the_first_step_leaves_at_once(given, monkeypatch):
    trainer = DetectionTrainer(overrides={**given, "exist_ok": False, "name": "early"})
    monkeypatch.setattr(trainer, "get_criterion", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert not trainer.save_dir.exists()


@pytest.mark.slow
def test_a_signal_while_the_best_weights_are_validated_lets_a_resumed_run_finish(given, whole, monkeypatch):
    trainer = DetectionTrainer(overrides=given)
    monkeypatch.setattr(trainer, "final_eval", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert not (trainer.save_dir / "metrics.json").exists()
    assert equal_runs(left_of(resume(trainer.save_dir)), whole)
    assert (trainer.save_dir / "metrics.json").exists()
    with pytest.raises(ConfigError, match="nothing is left to resume"):
        resume(trainer.save_dir)


def test_a_second_ctrl_c_leaves_at_once_with_files_that_load(given):
    trainer = DetectionTrainer(overrides=given)

    def twice():
        interrupt()
        with contextlib.suppress(SystemError):
            interrupt()
        raise AssertionError("the second one came too late")

    stop_at(trainer, "on_train_batch_end", 1, 2, twice)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    state = load_checkpoint(trainer.last).state
    assert (state["epoch"], state["batches_done"]) == (0, 0)


@pytest.mark.slow
def test_sigterm_goes_on_to_the_programs_own_handler(given):
    message = []
    before = signal.signal(signal.SIGTERM, lambda *_: message.append("mine"))
    try:
        trainer = DetectionTrainer(overrides=given)
        stop_at(trainer, "on_train_batch_end", 0, 1, lambda: interrupt(signal.SIGTERM))
        with pytest.raises(SystemExit):
            trainer.train()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert message == ["mine"]


@pytest.mark.slow
def test_a_thread_trains_without_handlers(given):
    failed = []

    def train():
        try:
            DetectionTrainer(overrides={**given, "epochs": 1}).train()
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert not failed


# Saves within an epoch


@pytest.mark.slow
def test_save_every_saves_within_an_epoch_and_changes_nothing(given, whole):
    saved = []
    trainer = DetectionTrainer(overrides={**given, "save_every": 1e-9})
    trainer.add_callback("on_train_batch_end", lambda t: saved.append(load_checkpoint(t.last).state["batches_done"]))

    def kill():
        raise KilledError

    stop_at(trainer, "on_train_batch_end", 1, 5, kill)
    with pytest.raises(KilledError):
        trainer.train()
    assert saved == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4]
    resumed = resume(trainer.save_dir, save_every=None)
    assert equal_runs(left_of(resumed), whole)


@pytest.mark.parametrize(
    "settings",
    [
        {"cache": "ram", "optimizer": "SGD", "save_every": 1e-9},
        {"cache": "disk", "multi_scale": True, "mixup": 0.5},
        {"close_mosaic": 3, "workers": 2, "cos_lr": True},
        {"amp": False, "freeze": 2, "nbs": 2, "deterministic": False},
        {"rect": True, "val": False, "warmup_epochs": 3.0},
        {"save": False, "patience": 1},
        {"augment_on": "gpu", "workers": 2, "mixup": 0.5, "degrees": 5.0},
    ],
    ids=str,
)
@pytest.mark.slow
def test_every_setting_resumes_exactly(given, settings):
    DetectionTrainer(overrides={**given, **settings, "name": "whole"}).train()
    trainer = DetectionTrainer(overrides={**given, **settings})
    stop_at(trainer, "on_train_batch_end", 1, 3, interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    resume(trainer.save_dir)
    project = Path(given["project"])
    assert equal_runs(left(project / "run"), left(project / "whole"))


@pytest.mark.slow
def test_random_streams_of_the_program_go_on(given):
    """What a callback or a plugin draws from the global generators is the same after a resumption."""

    def draws(trainer, into):
        def draw(_):
            into.append((random.random(), float(np.random.rand()), float(torch.rand(()))))

        trainer.add_callback("on_train_batch_end", draw)
        return trainer

    straight, pieces = [], []
    draws(DetectionTrainer(overrides={**given, "epochs": 2, "name": "whole"}), straight).train()
    trainer = draws(DetectionTrainer(overrides={**given, "epochs": 2}), pieces)
    stop_at(trainer, "on_train_batch_end", 0, 4, interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    draws(DetectionTrainer(overrides={"resume": str(trainer.save_dir), "workers": 1}), pieces).train()
    assert pieces == straight


# What a resumed run is reported anew


@pytest.mark.slow
def test_more_epochs_say_what_they_change(given, monkeypatch, caplog):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    first = DetectionTrainer(overrides={**given, "epochs": 1})
    first.train()
    again = resume(first.save_dir, epochs=2)
    assert "The schedule now spans 2 epochs instead of 1: the learning rate goes on at" in caplog.text
    assert len(left_of(again)["rows"]) == 2


@pytest.mark.slow
def test_another_batch_goes_on_at_the_same_image(given):
    trainer = DetectionTrainer(overrides=given)
    stop_at(trainer, "on_train_batch_end", 1, 4, interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    resumed = DetectionTrainer(overrides={"resume": str(trainer.save_dir), "batch": 4})
    seen = []
    resumed.add_callback("on_train_batch_end", lambda t: seen.append((t.epoch, t.batches_done)))
    updates = load_checkpoint(trainer.last).state["updates"]
    resumed.train()
    assert seen == [(1, 3), (2, 1), (2, 2), (2, 3)]
    assert resumed.ema.updates > updates  # it does not wait for an iteration number that was counted in other batches


@pytest.mark.slow
def test_a_run_that_stopped_early_is_over(given):
    trainer = DetectionTrainer(overrides={**given, "epochs": 9, "patience": 1})
    trainer.validate = falling(trainer.validate)
    trainer.train()
    done = len(trainer.rows)
    assert done < 9
    with pytest.raises(ConfigError, match=rf"stopped early, after epoch {done}, nothing is left"):
        resume(trainer.save_dir)
    assert len(resume(trainer.save_dir, patience=0, epochs=done + 1).rows) == done + 1


def falling(validate):
    fitness = iter((0.5, 0.4, 0.3, 0.2))
    return lambda: (validate()[0], next(fitness))


# Data that have moved, and steps that have become slow


@pytest.mark.slow
def test_data_and_run_that_have_moved_end_as_a_run_that_was_not_stopped(given, whole, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    trainer = DetectionTrainer(overrides=given)
    stop_at(trainer, "on_train_batch_end", 1, 3, interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    (tmp_path / "toy").rename(tmp_path / "other place")
    Path(given["model"]).unlink()
    run = tmp_path / "kept run"
    trainer.save_dir.rename(run)
    with pytest.raises(MissingFileError, match="data=NEW_PLACE"):
        resume(run)
    resumed = resume(run, data=str(tmp_path / "other place" / "toy.yaml"))
    assert resumed.save_dir == run
    assert equal_runs(left(run), whole)
    assert "changed" not in caplog.text
    assert "will not equal" not in caplog.text


@pytest.mark.slow
def test_a_run_whose_data_change_goes_on_and_says_so(given, monkeypatch, caplog):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    trainer = DetectionTrainer(overrides={**given, "name": "J", "resume": "auto"})
    stop_at(trainer, "on_train_batch_end", 1, 3, interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    toy = Path(given["data"]).parent
    for split, fewer in (("train", 2), ("val", 1)):
        for image in sorted((toy / "images" / split).iterdir())[:fewer]:
            image.unlink()
    again = DetectionTrainer(overrides={**given, "name": "J", "resume": "auto"})
    again.train()
    assert len(again.rows) == EPOCHS
    assert "train data have changed since the run was saved (12 images then, 10 now)" in caplog.text
    assert "val data have changed since the run was saved (6 images then, 5 now)" in caplog.text
    caplog.clear()
    resume(again.save_dir, epochs=EPOCHS + 1)
    assert "have changed" not in caplog.text  # it is reported once


@pytest.mark.slow
@pytest.mark.parametrize("late", [True, False])
def test_a_run_that_becomes_slow_says_why(given, monkeypatch, caplog, late):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    for name, value in (("SKIPPED", 1), ("BEGINNING", 5), ("LATELY", 3)):
        monkeypatch.setattr(f"ultralytics.engine.safety.pace.{name}", value)
    trainer = DetectionTrainer(overrides={**given, "val": False})

    def begin(t):
        owner, name = (type(t.train_loader.dataset), "__getitem__") if late else (type(t), "preprocess_batch")
        real = getattr(owner, name)

        def slow(*args):
            if t.epoch == 2:
                time.sleep(2.0)
            return real(*args)

        monkeypatch.setattr(owner, name, slow)

    trainer.add_callback("on_train_start", begin)
    trainer.train()
    message = [line for line in caplog.messages if "A training step now takes" in line]
    assert len(set(message)) == 1
    assert "load average" in message[0]
    assert ("the images come late" if late else "fewer threads=") in message[0]
    began = load_checkpoint(trainer.last).state["pace"]
    assert began == trainer.pace.began > 0
    assert DetectionTrainer(overrides={"resume": str(trainer.save_dir), "epochs": 4}).pace.began is None  # not yet read
    longer = DetectionTrainer(overrides={"resume": str(trainer.save_dir), "epochs": 4})
    longer._setup()
    assert longer.pace.began == began
    other = DetectionTrainer(overrides={"resume": str(trainer.save_dir), "epochs": 4, "batch": 4})
    other._setup()
    assert other.pace.began is None


# Kills


@pytest.mark.slow
def test_a_run_killed_before_its_first_save_begins_again(given, whole, tmp_path, monkeypatch):
    trainer = DetectionTrainer(overrides=given)

    def kill(*_):
        shutil.copytree(trainer.save_dir, tmp_path / "as it was")  # a kill would clean nothing up
        raise KilledError

    monkeypatch.setattr(trainer, "get_criterion", kill)
    with pytest.raises(KilledError):
        trainer.train()
    shutil.copytree(tmp_path / "as it was", trainer.save_dir, dirs_exist_ok=True)
    assert not trainer.last.exists()
    assert equal_runs(left_of(resume(trainer.save_dir)), whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_kill_between_any_two_file_operations_loses_nothing(given, whole, seed, monkeypatch):
    """At a random one of the renames, links and syncs of a run; what is done is done, what is not is not."""
    rng = random.Random(seed)
    operations = [(name, getattr(os, name)) for name in ("replace", "link", "fsync")]
    count, limit = 0, 0

    def watched(real):
        def operate(*args, **kwargs):
            nonlocal count
            count += 1
            if limit and count >= limit:
                raise KilledError
            return real(*args, **kwargs)

        return operate

    for name, real in operations:
        monkeypatch.setattr(files.os, name, watched(real))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process tidies nothing up
    folder = Path(given["project"]) / "run"
    limit = rng.randrange(8, 40)
    with pytest.raises(KilledError):
        DetectionTrainer(overrides=given).train()
    for _ in range(2):
        count, limit = 0, rng.randrange(1, 25)
        with contextlib.suppress(KilledError, ConfigError):
            resume(folder)
    limit = 0
    monkeypatch.undo()
    with contextlib.suppress(ConfigError):  # it may have come to its end
        resume(folder)
    assert equal_runs(left(folder), whole)
    assert not [p for p in (folder / "weights").iterdir() if p.name.startswith(".")]


RUNNER = "import sys; from ultralytics.cli import main; sys.exit(main(sys.argv[1:]))"


def spawn(*words, out):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", RUNNER, "train", *words]
    with open(out, "a", encoding="utf-8") as log:  # the child has its own of it
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def words_of(given):
    return [f"{k}={v}" for k, v in given.items()]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_kills_at_twenty_random_moments_change_nothing(given, tmp_path, seed):
    """Six epochs with two workers, killed again and again: while loading, in a step, in validation, while saving.

    A third of the moments are drawn over the start of the process, the others over the training that is left.
    """
    given |= {"epochs": 6, "workers": 2, "close_mosaic": 2, "preflight": True, "save_every": 0.005}
    started = time.perf_counter()
    assert spawn(*words_of({**given, "name": "whole"}), out=tmp_path / "whole.log").wait() == 0
    folder, rng = Path(given["project"]) / "run", random.Random(seed)
    wanted = left(folder.with_name("whole"))
    table = (folder.with_name("whole") / "results.csv").read_text().splitlines()
    training = float(table[-1].split(",")[1])
    loading = time.perf_counter() - started - training
    places, done, ends = [], 0, 0
    while done < 20:
        log = tmp_path / f"run{done + ends}.log"
        begun = (folder / "args.yaml").exists()
        process = spawn(*([f"resume={folder}"] if begun else words_of(given)), out=log)
        if rng.random() < 1 / 3:
            time.sleep(rng.uniform(0, loading))
        else:
            while process.poll() is None and "results go to" not in log.read_text():
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.8 * training))
        if process.poll() is None:
            process.kill()
            process.wait()
            done += 1
            text = log.read_text()
            with contextlib.suppress(UserError):
                state = load_checkpoint(folder / "weights" / "last.pt").state
                places.append(("T" if "results go to" in text else "L", state["epoch"] + 1, state["batches_done"]))
        else:  # it came to its end: once more from the beginning
            assert process.returncode == 0 or "nothing is left to resume" in log.read_text(), log.read_text()[-3000:]
            ends += 1
            assert equal_runs(left(folder), wanted)
            shutil.rmtree(folder)
    code = spawn(f"resume={folder}", out=tmp_path / "end.log").wait()
    log = (tmp_path / "end.log").read_text()
    assert code == 0 or "nothing is left to resume" in log, log[-3000:]
    print(f"{done} kills, {ends + 1} ends; found after each (loading or training, epochs, batches): {places}")
    assert equal_runs(left(folder), wanted)


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_whole_group_saves_and_the_command_told_goes_on(given, tmp_path, signum, code):
    """As a terminal, a batch system or `timeout` sends it: the workers get it as well."""
    given |= {"workers": 2}
    assert spawn(*words_of({**given, "name": "whole"}), out=tmp_path / "whole.log").wait() == 0
    process = spawn(*words_of({**given, "epochs": EPOCHS}), out=tmp_path / "run.log")
    folder = Path(given["project"]) / "run"
    while not (folder / "weights" / "best.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signum)
    assert process.wait(30) == code
    log = (tmp_path / "run.log").read_text()
    assert "Traceback" not in log
    command = shlex.split(log.split("Go on with: ")[1].splitlines()[0])
    assert spawn(*command[command.index("train") + 1 :], out=tmp_path / "run.log").wait() == 0
    assert equal_runs(left(folder), left(folder.with_name("whole")))


# Workers that end, or give no batch


@pytest.mark.slow
@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="its workers are there at once")
@pytest.mark.parametrize(("epoch", "batch"), [(0, 1), (1, 6)])  # the second: the validation's worker
def test_a_run_whose_worker_is_killed_is_saved_and_ends_as_one_that_was_not(
    given, whole, epoch, batch, caplog, monkeypatch
):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    trainer = DetectionTrainer(overrides={**given, "workers": 2})

    def kill():
        loader = trainer.train_loader if batch < 6 else trainer.val_loader
        if loader is trainer.val_loader:
            iter_of = type(loader).__iter__

            def dies(self):
                for number, item in enumerate(iter_of(self)):
                    if not number:
                        os.kill(self.worker_pids[0], signal.SIGKILL)
                        time.sleep(0.2)
                    yield item

            type(loader).__iter__ = dies
            undo.callback(setattr, type(loader), "__iter__", iter_of)
        else:
            os.kill(loader.worker_pids[0], signal.SIGKILL)

    stop_at(trainer, "on_train_batch_end", epoch, batch, kill)
    with contextlib.ExitStack() as undo, pytest.raises(LostWorkerError) as caught:
        trainer.train()
    text = str(caught.value)
    assert "\n" not in text
    assert "was ended by SIGKILL" in text
    # Batches after it may have been there already.
    assert re.search(rf"in epoch {epoch + 1} after \d+ batch(es)?, and the run is saved", text)
    command = shlex.split(caplog.text.split("Go on with: ")[1].splitlines()[0])
    assert main([*command[command.index("train") :], "workers=0"]) == 0
    assert equal_runs(left(trainer.save_dir), whole)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="signals of POSIX")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_does_not_wait_for_a_worker_that_is_stopped(given, tmp_path, signum, code):
    given |= {"workers": 2, "epochs": 200, "close_mosaic": 0}
    process = spawn(*words_of(given), out=tmp_path / "run.log")
    folder = Path(given["project"]) / "run"
    while not (folder / "weights" / "best.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGSTOP)
    time.sleep(1)
    process.send_signal(signum)
    begun = time.monotonic()
    assert process.wait(30) == code
    assert time.monotonic() - begun < 15
    log = (tmp_path / "run.log").read_text()
    assert "and saved." in log
    assert "Traceback" not in log
    assert not [c for c in children if Path("/proc", c).exists()]


# Damaged files, and folders in use


@pytest.mark.parametrize(
    "harm", ["flipped", *(pytest.param(h, marks=pytest.mark.slow) for h in ("cut", "zeroed", "gone"))]
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(given, whole, harm, monkeypatch, caplog):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    trainer = DetectionTrainer(overrides=given)
    stop_at(trainer, "on_train_batch_end", 2, 2, interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    data = bytearray(trainer.last.read_bytes())
    if harm == "cut":
        data = data[: len(data) // 2]
    elif harm == "zeroed":
        data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    else:
        data[len(data) // 3] ^= 4
    trainer.last.write_bytes(data)
    if harm == "gone":
        trainer.last.unlink()
    resumed = resume(trainer.save_dir)
    assert "going on from the one before it" in caplog.text
    assert str(trainer.previous) in caplog.text
    assert equal_runs(left_of(resumed), whole)


@pytest.mark.slow
def test_when_both_are_damaged_it_is_told(given):
    trainer = DetectionTrainer(overrides={**given, "epochs": 1})
    trainer.train()
    for file in (trainer.last, trainer.previous):
        file.write_bytes(b"\0" * 5000)
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        resume(trainer.save_dir)
    (trainer.save_dir / "args.yaml").unlink()
    trainer.last.unlink()
    trainer.previous.unlink()
    with pytest.raises(MissingFileError):
        resume(trainer.save_dir)


def test_a_folder_in_which_a_run_trains_is_refused(given, capsys):
    trainer = DetectionTrainer(overrides={**given, "epochs": 1})
    codes = []

    def second():
        codes.append(main(["train", *words_of(given)]))
        codes.append(main(["train", f"resume={trainer.save_dir}"]))

    stop_at(trainer, "on_train_batch_end", 0, 1, second)
    trainer.train()
    assert codes == [2, 2]
    message = capsys.readouterr().err
    assert message.count(f"process {os.getpid()} on ") == message.count("is training in this folder") == 2
    assert not list(trainer.save_dir.glob(".lock"))
    with RunLock(trainer.save_dir):
        pass


def test_a_folder_that_another_process_has_trained_in_since_it_was_read_is_left_alone(given):
    trainer = DetectionTrainer(overrides={**given, "epochs": 1, "val": False})
    trainer.train()
    late = DetectionTrainer(overrides={"resume": str(trainer.save_dir), "epochs": 3})
    DetectionTrainer(overrides={"resume": str(trainer.save_dir), "epochs": 2}).train()
    before = {p.name: p.stat().st_mtime_ns for p in trainer.save_dir.rglob("*")}
    with pytest.raises(ConfigError, match="another process has trained in this folder since it was read"):
        late.train()
    assert {p.name: p.stat().st_mtime_ns for p in trainer.save_dir.rglob("*")} == before


@pytest.mark.slow
def test_results_are_written_anew_from_the_checkpoint(given, whole):
    """As after a kill between results.csv and last.pt, or a table cut short by hand."""
    trainer = DetectionTrainer(overrides=given)
    stop_at(trainer, "on_train_batch_end", 2, 1, interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    table = trainer.save_dir / "results.csv"
    table.write_text(table.read_text() + "3,1,2\n4,")
    assert equal_runs(left_of(resume(trainer.save_dir)), whole)


@pytest.mark.slow
def test_an_earlier_run_in_the_folder_is_no_fallback(given):
    DetectionTrainer(overrides={**given, "epochs": 1}).train()
    trainer = DetectionTrainer(overrides={**given, "seed": 5})
    stop_at(trainer, "on_train_batch_end", 0, 1, interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert load_checkpoint(trainer.previous).train_args["seed"] == 5
    assert not (trainer.save_dir / "metrics.json").exists()
    assert yaml.safe_load((trainer.save_dir / "args.yaml").read_text())["seed"] == 5


# Equal runs, and long ones


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [6])
def test_a_run_twice_is_equal_and_another_seed_is_not(given, epochs):
    runs = []
    for name, seed, workers in (("a", 0, 0), ("b", 0, 2), ("c", 1, 0)):
        given |= {"epochs": epochs, "seed": seed, "workers": workers, "name": name}
        trainer = DetectionTrainer(overrides=given)
        trainer.train()
        runs.append(left(trainer.save_dir))
    assert equal_runs(runs[0], runs[1])
    with pytest.raises(AssertionError):
        equal_runs(runs[0], runs[2])


@pytest.mark.slow
def test_no_objects_gather(given):
    counts = []
    trainer = DetectionTrainer(overrides={**given, "epochs": 5, "batch": 12, "close_mosaic": 4})
    trainer.add_callback("on_fit_epoch_end", lambda _: (gc.collect(), counts.append(len(gc.get_objects()))))
    trainer.train()
    assert counts[4] - counts[2] < 60  # two rows of results, and nothing that a step makes


MEMORY = """
import gc, sys
sys.path[:0] = [{root!r}]
from tests.helpers.runs import proportional
from ultralytics.models.yolo.detect import DetectionTrainer
import os
def told(trainer):
    print("pss", trainer.epoch, *proportional(os.getpid()), flush=True)
trainer = DetectionTrainer(overrides={given!r})
trainer.add_callback("on_fit_epoch_end", told)
trainer.train()
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell")
@pytest.mark.slow
@pytest.mark.parametrize("epochs", [30])
def test_memory_does_not_grow(given, epochs):
    given |= {"epochs": epochs, "workers": 2}
    root = str(Path(__file__).resolve().parents[2])
    code = MEMORY.format(root=root, given=given)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    single = [[int(n) for n in line.split()[2:]] for line in out.splitlines() if line.startswith("pss")]
    sizes = [sum(s) for s in single]
    assert len(sizes) == epochs + 1  # the event comes once more, after the validation of the best weights
    sizes = sizes[:epochs]
    growth = max(sizes[-3:]) / sizes[2] - 1
    print(
        f"PSS after epoch 3: {sizes[2] / 2**20:.1f} MiB, at the end {max(sizes[-3:]) / 2**20:.1f} MiB ({growth:+.2%})"
    )
    print(*([round(n / 2**20, 1) for n in s] for s in single))
    assert growth <= 0.015  # 1.1 % of a busy machine
