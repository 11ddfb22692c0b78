"""Several processes against one. The ranks talk through gloo on 127.0.0.1."""

import copy
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import CLONE, draw_toy
from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.data.build import EpochSampler
from ultralytics.engine.ranks import lifeline
from ultralytics.engine.ranks.collective import LOST, stopped_ranks
from ultralytics.engine.ranks.device import device_names
from ultralytics.engine.ranks.launch import first_failure, several_devices
from ultralytics.engine.ranks.sync_norm import SyncBatchNorm
from ultralytics.engine.ranks.team import Team, join
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.errors import ConfigError, LostRankError, UserError
from ultralytics.utils.types import Share

FLOOR = 1e-10
NORMS = (torch.nn.BatchNorm2d, SyncBatchNorm)


# Slices


@given(st.integers(0, 200), st.integers(1, 17))
def test_slices_partition_a_batch_evenly_and_rank_0_has_the_first_image(count, ranks):
    slices = [Share(r, ranks).images(count) for r in range(ranks)]
    assert [i for s in slices for i in s] == list(range(count))
    lengths = {len(s) for s in slices}
    assert max(lengths) - min(lengths) <= 1
    assert not count or 0 in slices[0]


@given(st.integers(0, 50), st.integers(1, 9))
def test_whole_batches_are_dealt_out_once(count, ranks):
    dealt = [b for r in range(ranks) for b in Share(r, ranks, whole=True).batches(count)]
    assert sorted(dealt) == list(range(count))


class Images:
    uses_partners = True

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 6), st.integers(0, 3))
def test_ranks_draw_exactly_the_keys_of_one_process(images, batch, ranks, epoch):
    def epoch_of(share):
        sampler = EpochSampler(Images(images), min(batch, images), True, 7, share)
        sampler.epoch = epoch
        return sampler, list(sampler)

    _, whole = epoch_of(Share())
    parts = [epoch_of(Share(r, ranks)) for r in range(ranks)]
    for b, keys in enumerate(whole):
        own = [part[b] for sampler, part in parts if sampler.own(b)]
        assert [k for part in own for k in part] == keys
        for sampler, part in parts:  # a rank without images of its own takes part with another's
            assert part[b] == keys[:1] or len(sampler.own(b))
        assert all(len(part) == len(whole) for _, part in parts)


# One process


def test_a_single_process_needs_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    team = join()
    assert (team.rank, team.size, team.leads, team.many) == (0, 1, True, False)
    x = torch.ones(3)
    assert team.sum(x) is x
    assert team.gather("a") == ["a"]
    assert team.lead(lambda: 5) == 5
    assert team.agree(True)
    assert not team.agree(False)
    with team.first():
        team.wait()
    assert team.workers(3) == 3
    assert team.share() == Share()


def test_devices_are_told_apart(monkeypatch):
    assert device_names("0, 1") == device_names([0, 1]) == device_names("[0,1]") == ["0", "1"]
    assert device_names("cuda:1") == ["1"]
    assert device_names(None) == device_names("") == []
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert several_devices("cpu,cpu") == ["cpu", "cpu"]
    assert several_devices(0) == several_devices("cpu") == several_devices(None) == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert several_devices("cpu,cpu") == []


def test_each_rank_gets_a_device_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    second = Team(1, 2, 1, 2)
    assert second.device_name(None) == second.device_name("cuda") == "1"
    assert second.device_name("2,3") == "3"
    assert second.device_name("cpu") == "cpu"
    assert Team(3, 4, 0, 1).device_name(2) == 2  # one process on each machine
    assert Team().device_name("0") == "0"
    with pytest.raises(ConfigError, match="device=0 is one GPU, and there are 2 processes"):
        second.device_name(0)
    with pytest.raises(ConfigError, match="names 3 devices, and there are 2 processes"):
        second.device_name("0,1,2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="2 processes and 1 GPU"):
        second.device_name(None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert second.device_name(None) is None


def test_a_world_without_a_meeting_place_is_told(monkeypatch, tiny, toy):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ConfigError, match=r"WORLD_SIZE=2 without .*torchrun"):
        DetectionTrainer(overrides={"model": str(tiny), "data": str(toy)})
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(ConfigError, match="WORLD_SIZE=many is not a number"):
        join()


def test_an_error_of_a_rank_names_it_and_is_told_once(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    assert main(["train", "epochs=-1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: rank 1: epochs=-1 is out of range")
    assert error.count("\n") == 1
    assert "rank 1: epochs=-1" in json.loads((tmp_path / "error.json").read_text())["message"]["message"]
    monkeypatch.setattr(lifeline, "first_to_fail", lambda: False)
    assert main(["train", "epochs=-1"]) == 2
    assert capsys.readouterr().err == ""


def test_resume_auto_goes_on_where_there_is_a_run(tmp_path, tiny, toy):
    keys = {"model": str(tiny), "data": str(toy), "imgsz": 64, "batch": 4, "workers": 0, "device": "cpu"}
    keys |= {"project": str(tmp_path / "r"), "name": "it", "plots": False, "val": False, "preflight": False}
    keys |= {"lr0": 0.02, "cfg": str(tmp_path / "recipe.yaml"), "resume": "auto"}
    (tmp_path / "recipe.yaml").write_text("mosaic: 0.5\nmomentum: 0.8\n")
    (tmp_path / "r" / "it" / "weights").mkdir(parents=True)  # as a kill before the first file leaves it
    first = DetectionTrainer(overrides={**keys, "epochs": 1})
    assert first.save_dir == tmp_path / "r" / "it"
    first.train()
    assert first.args.lr0 != 0.02  # as optimizer=auto has it
    second = DetectionTrainer(overrides={**keys, "epochs": 2})
    assert second.args.lr0 == first.args.lr0
    assert second.save_dir == first.save_dir
    assert second.resumption.checkpoint.state["epoch"] == 0


# Two ranks in one go: starting a process costs more than what it does


def settings(folder):
    """A run whose last batch has one image: the second rank has none of its own in it, and 5 images do not divide."""
    return {
        "model": str(folder / "tiny.yaml"), "data": str(folder / "toy" / "toy.yaml"), "imgsz": 64, "batch": 5, "nbs": 5,
        "workers": 0, "epochs": 1, "amp": False, "optimizer": "SGD", "device": "cpu", "plots": False,
        "preflight": False, "project": str(folder / "runs"), "verbose": False, "warmup_epochs": 0.0, "close_mosaic": 0,
    }  # fmt: skip


def trained(folder, name, norms, **more):
    """Train, and say what happened: the gradients of every step, the state at the end, what one validation gave.

    norms: "frozen", "sync", or "own" for each rank's own. The network of "sync" is fp64, because in fp32 batch norms
        over a few pixels blow up the rounding of a sum in another order, a hundred times.
    """
    trainer = DetectionTrainer(overrides=settings(folder) | {"name": name, "sync_bn": norms == "sync"} | more)
    reported = {"gradients": [], "after": []}
    clip = torch.nn.utils.clip_grad_norm_

    def record(parameters, limit):
        reported["gradients"].append(
            {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
        )
        norm = clip(parameters, limit)
        return norm * float("nan") if name == "nan_step" and len(reported["gradients"]) == 1 else norm

    def look(trainer):
        saved = trainer.saver.content()
        own = dict(trainer.model.named_buffers())
        means = {n: b.clone() for n, b in own.items() if n.endswith("running_mean")}
        reported["after"].append((trainer.images_since, [set(r.get("buffers", ())) for r in saved["ranks"]], means))

    def begin(trainer):
        reported["before"] = copy.deepcopy(trainer.model.state_dict())
        if norms == "frozen":
            figures, fitness = trainer.validate()
            reported["validation"] = figures | {"fitness": fitness}
            reported["maps"] = torch.from_numpy(trainer.metrics.maps)
        reported["kinds"] = sorted({type(m).__name__ for m in trainer.model.modules() if isinstance(m, NORMS)})
        if norms == "frozen":
            trainer.frozen = [m for m in trainer.model.modules() if isinstance(m, NORMS)]
        if norms == "sync":
            trainer.model.double()
            trainer.ema.ema.double()

    def preprocess(batch):
        DetectionTrainer.preprocess_batch(trainer, batch)
        if name == "skipped" and trainer.iteration == 1 and trainer.team.rank == 1:
            batch["img"].fill_(float("nan"))
        batch["img"] = batch["img"].to(next(trainer.model.parameters()).dtype)
        return batch

    trainer.preprocess_batch = preprocess
    torch.nn.utils.clip_grad_norm_ = record
    trainer.add_callback("on_train_start", begin)
    if name == "nan_step":
        trainer.add_callback("on_train_batch_end", look)
    trainer.train()
    torch.nn.utils.clip_grad_norm_ = clip
    reported |= {"weights": trainer.model.state_dict(), "ema": trainer.ema.ema.state_dict(), "loss": trainer.mean_loss}
    reported |= {"folder": str(trainer.save_dir), "fitness": trainer.fitness}
    return reported


def rank_of_two(folder, rank, port, runs):
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    torch.set_num_threads(1)
    reported = {n: trained(folder, n, *RUNS[n], **more(n)) for n in runs}
    team = join()
    reported["alone"] = team.gather(rank)
    try:
        team.lead(failing)
    except UserError as e:
        reported["error"] = str(e)
    try:
        team.check_same(rank, "images")
    except ConfigError as e:
        reported["other"] = str(e)
    torch.save(reported, folder / f"rank{rank}.pt")


RUNS = {"frozen": ["frozen"], "sync": ["sync"]} | {n: ["own"] for n in ("own", "gathered", "skipped", "nan_step")}


def more(run):
    reported = {"gathered": {"nbs": 64}, "skipped": {"on_nan": "skip"}, "nan_step": {"on_nan": "skip", "nbs": 10}}
    return {"val": run == "frozen"} | reported.get(run, {})


def failing():
    raise ConfigError("the leader cannot", "here", "like this")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What each of two ranks tells, and what a single process does."""
    return compared(tmp_path_factory.mktemp("world"), ["frozen"], ["frozen"])


@pytest.fixture(scope="module")
def other_world(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("world"), ["own", "sync", "gathered", "skipped", "nan_step"], ["sync"])


def compared(folder, runs, alone):
    """The labels are detections of the network itself, so that the metrics are not zero."""
    for split, count in (("train", 11), ("val", 23)):
        for i in range(count):
            draw_toy(folder / "toy", split, i)
    data = folder / "toy" / "toy.yaml"
    data.write_text("train: images/train\nval: images/val\nnames: [red, 绿, blue]\n", encoding="utf-8")
    model = yaml.safe_load((CLONE / "cfg" / "models" / "yolov8-fla.yaml").read_text(encoding="utf-8"))
    model["scales"] = {"n": [0.1, 0.06, 256]}
    model["backbone"][10][3] = [256, [4, 4], 2]
    (folder / "tiny.yaml").write_text(yaml.safe_dump(model), encoding="utf-8")
    label_with_detections(folder)
    context, port = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn"), free_port()
    # What takes seconds to import is imported once for both; the second is what a deterministic run has torch import.
    context.set_forkserver_preload([__name__, "torch._inductor"])
    ranks = [context.Process(target=rank_of_two, args=(folder, r, port, runs)) for r in range(2)]
    for process in ranks:
        process.start()
    single = {n: trained(folder, f"{n}1", *RUNS[n], **more(n)) for n in alone}
    for process in ranks:
        process.join(120)
        for other in ranks if process.exitcode else ():
            other.kill()
        assert process.exitcode == 0
    return single, [torch.load(folder / f"rank{r}.pt", weights_only=False) for r in range(2)]


def label_with_detections(folder):
    trainer = DetectionTrainer(overrides=settings(folder) | {"name": "labels"})
    trainer._setup()  # the weights that every run begins with
    yolo = YOLO(str(folder / "tiny.yaml"), nc=3)
    yolo.model.load_state_dict(trainer.ema.ema.state_dict())
    source = str(folder / "toy" / "images" / "val")
    for found in yolo.predict(source, conf=0.0, max_det=3, imgsz=64, device="cpu", save=False, verbose=False):
        boxes = found.boxes
        rows = [f"{int(c)} " + " ".join(f"{v:.6f}" for v in b) for c, b in zip(boxes.cls, boxes.xywhn, strict=True)]
        labels = folder / "toy" / "labels" / "val" / f"{Path(found.path).stem}.txt"
        labels.write_text("\n".join(rows), encoding="utf-8")


def largest_difference(a, b):
    """Relative to the largest value of each tensor that is more than rounding."""
    assert a.keys() == b.keys()
    floats = [k for k in a if a[k].is_floating_point()]
    return max(float((a[k] - b[k]).abs().max() / b[k].abs().max().clamp(min=FLOOR)) for k in floats)


def check_gradients(world, norms):
    alone, ranks = world
    for reported in ranks:
        first, expected = reported[norms]["gradients"][0], alone[norms]["gradients"][0]
        assert largest_difference(reported[norms]["before"], alone[norms]["before"]) == 0
        assert largest_difference(first, expected) < 1e-5
        assert len(reported[norms]["gradients"]) == len(alone[norms]["gradients"]) == 3
        # An epoch later. The last image was there twice, which changes no norm but the unbiased variance.
        after, expected = (
            {k: v for k, v in t[norms]["weights"].items() if "running_var" not in k} for t in (reported, alone)
        )
        assert largest_difference(after, expected) < 1e-4
        np.testing.assert_allclose(reported[norms]["loss"], alone[norms]["loss"], rtol=1e-5)


def test_gradients_are_those_of_one_process_with_the_whole_batch(world):
    check_gradients(world, "frozen")


@pytest.mark.slow
def test_so_they_are_with_moving_batch_norms_that_see_all_images(other_world):
    check_gradients(other_world, "sync")
    assert other_world[1][0]["sync"]["kinds"] == ["SyncBatchNorm"]
    assert other_world[0]["sync"]["kinds"] == ["BatchNorm2d"]


@pytest.mark.slow
def test_an_own_batch_norm_per_rank_gives_other_gradients(other_world):
    """So the equality above is not for want of a difference."""
    assert largest_difference(other_world[1][0]["own"]["gradients"][0], other_world[0]["sync"]["gradients"][0]) > 1e-3


def check_equal_ranks(world, run):
    _, (a, b) = world
    for what in ("weights", "ema"):
        assert a[run][what].keys() == b[run][what].keys()
        assert all(torch.equal(v, b[run][what][k]) for k, v in a[run][what].items()), what
    assert a[run]["loss"] == b[run]["loss"]
    assert a[run]["fitness"] == b[run]["fitness"]
    assert a[run]["folder"] == b[run]["folder"]


def test_ranks_stay_equal_bit_for_bit(world):
    check_equal_ranks(world, "frozen")


@pytest.mark.slow
@pytest.mark.parametrize("run", ["own", "sync", "gathered", "skipped", "nan_step"])
def test_ranks_stay_equal_bit_for_bit_with_moving_norms_gathered_gradients_and_bad_steps(other_world, run):
    check_equal_ranks(other_world, run)


@pytest.mark.slow
def test_a_bad_batch_of_one_rank_is_skipped_by_all_and_recorded_by_that_one(other_world):
    _, ranks = other_world
    assert [len(r["skipped"]["gradients"]) for r in ranks] == [2, 2]
    records = sorted(p.name for p in (Path(ranks[0]["skipped"]["folder"]) / "nan").iterdir())
    assert records == [f"epoch1_batch2_rank1.{kind}" for kind in ("jpg", "json", "pt")]
    assert all(torch.isfinite(v).all() for r in ranks for v in r["skipped"]["weights"].values())


@pytest.mark.slow
def test_statistics_that_a_bad_gradient_undoes_are_saved_and_averaged_as_what_they_are(other_world):
    """The step is after the second of 3 batches, and bad; the statistics of the first are each rank's own."""
    _, (a, b) = other_world
    a, b = a["nan_step"]["after"], b["nan_step"]["after"]
    assert [since for since, *_ in a] == [3, 3, 4]
    assert [since for since, *_ in b] == [2, 2, 2]
    for (_, buffers, means), (_, _, other_means) in zip(a, b, strict=True):
        assert any(not torch.equal(m, other_means[n]) for n, m in means.items())
        assert all(set(means) <= names for names in buffers)


def test_metrics_are_exactly_those_of_one_process(world):
    """23 images are 3 batches of 10, 10 and 3."""
    alone, ranks = world
    expected = alone["frozen"]
    assert expected["validation"]["metrics/mAP50(B)"] > 0.01
    assert "val/box_loss" in expected["validation"]
    for reported in ranks:
        assert reported["frozen"]["validation"] == expected["validation"]
        assert torch.equal(reported["frozen"]["maps"], expected["maps"])


def test_ranks_talk(world):
    _, ranks = world
    assert [r["alone"] for r in ranks] == [[0, 1], None]
    assert {r["error"] for r in ranks} == {"here: the leader cannot (like this)"}
    assert all("rank 1 has other images than rank 0" in r["other"] for r in ranks)


def test_a_file_is_written_by_the_leader_alone(world):
    _, ranks = world
    folder = Path(ranks[0]["frozen"]["folder"])
    rows = (folder / "results.csv").read_text().splitlines()
    assert len(rows) == 2
    assert sorted(p.name for p in folder.parent.iterdir()) == ["frozen", "frozen1", "labels"]


# Under torchrun's agent


def plain(tiny, toy, tmp_path, **more):
    keys = {"model": str(tiny), "data": str(toy), "imgsz": 64, "batch": 4, "workers": 0, "amp": False, "plots": False}
    return keys | {"project": str(tmp_path / "r"), "name": "it", "preflight": False, "verbose": False} | more


def words(keys):
    return [f"{k}={v}" for k, v in keys.items()]


def start(keys, *torchrun, **popen):
    agent = ["-m", "torch.distributed.run", "--standalone", *torchrun] if torchrun else []
    command = [sys.executable, *agent, "-m", "ultralytics", "train", *words(keys)]
    return subprocess.Popen(
        command, cwd=CLONE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **popen
    )


def finished(process, limit=120):
    out, err = process.communicate(timeout=limit)
    return process.returncode, out, err


def pid_of_rank(project, rank, limit=60):
    """The process that trains as this rank, once the run has a checkpoint."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        if list(project.glob("*/weights/last.pt")):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    env = (process / "environ").read_bytes().split(b"\0")
                    words = (process / "cmdline").read_bytes()
                except OSError:
                    continue
                if f"RANK={rank}".encode() in env and str(project).encode() in words + read_job(words):
                    return int(process.name)
        time.sleep(0.1)
    raise AssertionError("the run did not begin")


def read_job(words):
    job = next((w for w in words.split(b"\0") if w.endswith(b"job.json")), None)
    try:
        return Path(job.decode()).read_bytes() if job else b""
    except OSError:
        return b""


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the ranks in /proc")
def test_a_killed_rank_ends_the_run_which_goes_on_with_one_or_two(tiny, toy, tmp_path):
    keys = plain(tiny, toy, tmp_path, epochs=200, device="cpu,cpu", val=False, close_mosaic=0)
    process = start(keys)
    victim = pid_of_rank(tmp_path / "r", 1)
    os.kill(victim, signal.SIGKILL)
    code, _, err = finished(process, 120)  # others would wait for half an hour
    assert code == 1
    assert err == "error: rank 1 (device cpu) was ended by SIGKILL\n"
    run = tmp_path / "r" / "it"
    assert load_checkpoint(run / "weights" / "last.pt").state["provenance"]["command"][0] == "train"
    done = load_checkpoint(run / "weights" / "last.pt").state["epoch"] + 1
    for device, more in (("cpu", 2), ("cpu,cpu", 4)):
        code, out, err = finished(start({"resume": run, "epochs": done + more, "device": device}))
        assert code == 0, out + err
        assert load_checkpoint(run / "weights" / "last.pt").state["epoch"] + 1 == done + more
    assert len(list((tmp_path / "r").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the ranks in /proc")
@pytest.mark.parametrize("torchrun", [(), ("--nproc_per_node=2",)], ids=["device=cpu,cpu", "torchrun"])
def test_ranks_leave_when_the_process_that_started_them_is_killed(tiny, toy, tmp_path, torchrun):
    (tmp_path / "tmp").mkdir()
    device = "cpu" if torchrun else "cpu,cpu"
    keys = plain(tiny, toy, tmp_path, epochs=3000, device=device, val=False, close_mosaic=0, workers=1)
    process = start(keys, *torchrun, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})
    ranks = [pid_of_rank(tmp_path / "r", r) for r in range(2)]
    process.kill()
    process.wait()
    killed = time.monotonic()
    while any(is_running(r) for r in ranks) and time.monotonic() - killed < 60:
        time.sleep(0.1)
    left = [r for r in ranks if is_running(r)]
    for r in left:
        os.kill(r, signal.SIGKILL)
    assert not left
    finished(process)  # what they started has gone as well: nobody has the pipes open
    assert not list((tmp_path / "tmp").glob("job_*"))
    run = tmp_path / "r" / "it"
    done = load_checkpoint(run / "weights" / "last.pt").state["epoch"] + 1
    code, out, err = finished(start({"resume": run, "epochs": done + 2, "device": "cpu,cpu"}))
    assert code == 0, out + err
    assert load_checkpoint(run / "weights" / "last.pt").state["epoch"] + 1 == done + 2


def is_running(pid):
    """Whether a process is there, and more than an entry that nobody has asked for yet."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["kill a rank", "SIGTERM", "Ctrl-C"])
def test_two_ranks_that_are_stopped_and_resumed_end_where_two_that_were_not_do(tiny, toy, tmp_path, stop):
    """Gradients gather over 2 or 3 batches of 3 per epoch, so there are some under way wherever it stops."""
    keys = plain(tiny, toy, tmp_path, epochs=30, nbs=10, warmup_epochs=0.0, device="cpu,cpu", val=False)
    code, out, err = finished(start(keys | {"name": "whole"}))
    assert code == 0, out + err
    (tmp_path / "s").mkdir()
    process = start(keys | {"project": str(tmp_path / "s")})
    victim = pid_of_rank(tmp_path / "s", 0)
    time.sleep(1)
    if stop == "kill a rank":
        os.kill(victim, signal.SIGKILL)
        assert finished(process)[0] == 1
    else:
        process.send_signal(signal.SIGTERM if stop == "SIGTERM" else signal.SIGINT)
        code, out, err = finished(process)
        assert code == (-signal.SIGTERM if stop == "SIGTERM" else 130)
        assert out.count(", and saved.") == 1
        assert "Traceback" not in out + err
    run = tmp_path / "s" / "it"
    assert load_checkpoint(run / "weights" / "last.pt").state["epoch"] < 29
    code, out, err = finished(start({"resume": run, "device": "cpu,cpu"}))
    assert code == 0, out + err
    whole, resumed = (load_checkpoint(r / "weights" / "last.pt").state for r in (tmp_path / "r" / "whole", run))
    for what in ("weights", "ema", "pending_gradients"):
        assert equal(whole[what], resumed[what]), what


@pytest.mark.slow
@pytest.mark.parametrize("torchrun", [(), ("--nproc_per_node=2",)], ids=["device=cpu,cpu", "torchrun"])
def test_a_mistake_is_one_line_of_one_rank(tiny, toy, tmp_path, torchrun):
    (toy.parent / "labels" / "train" / "1.txt").write_text("7 0.5 0.5 0.1 0.1\n", encoding="utf-8")
    keys = plain(tiny, toy, tmp_path, epochs=1, device="cpu" if torchrun else "cpu,cpu")
    code, out, err = finished(start(keys, *torchrun))
    reported = [line for line in (out + err).splitlines() if line.startswith("error: ")]
    assert len(reported) == 1
    assert re.match(r"error: rank \d: .*1\.txt:1: class id 7 is out of range", reported[0])
    assert code == (1 if torchrun else 2)
    assert torchrun or err.count("\n") == 1
    assert not list((tmp_path / "r").glob("*"))


@pytest.mark.slow
def test_torchrun_starts_dead_ranks_anew_and_the_run_goes_on(tiny, toy, tmp_path):
    keys = plain(tiny, toy, tmp_path, epochs=40, device="cpu", val=False)
    process = start(keys, "--nproc_per_node=2", "--max-restarts=2")
    os.kill(pid_of_rank(tmp_path / "r", 0), signal.SIGKILL)
    code, out, err = finished(process)
    assert code == 0, out + err
    assert "Resuming" in out
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["it"]
    rows = (tmp_path / "r" / "it" / "results.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [str(n) for n in range(1, 41)]


@pytest.mark.slow
def test_the_python_call_trains_on_several_devices_and_brings_the_metrics_back(tiny, toy, tmp_path):
    keys = plain(tiny, toy, tmp_path, epochs=1, device=["cpu", "cpu"], plots=True)
    yolo = YOLO(keys.pop("model"))
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    metrics = yolo.train(**keys)
    run = tmp_path / "r" / "it"
    reported = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    ours = json.loads(json.dumps(metrics.to_dict()))
    assert ours == reported
    assert metrics.names == {0: "red", 1: "绿", 2: "blue"}
    assert metrics.confusion_matrix.matrix.shape == (4, 4)
    assert Path(yolo.ckpt_path) == run / "weights" / "best.pt"
    assert handlers == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    assert lifeline.LAUNCHED not in os.environ
    assert {p.name for p in run.glob("*.jpg")} >= {"labels.jpg", "train_batch0.jpg", "val_batch0_pred.jpg"}
    with pytest.raises(UserError, match=r"rank \d: .*no dataset given"):
        YOLO(str(tiny)).train(device="cpu,cpu", epochs=1)
    yolo.add_callback("on_train_start", print)
    with pytest.raises(ConfigError, match="callbacks cannot follow"):
        yolo.train(**keys)


SCRIPT = """
import json, sys
from ultralytics import YOLO

yolo = YOLO(sys.argv[1])
yolo.add_callback("on_train_end", lambda trainer: print(f"rank {trainer.team.rank} of {trainer.team.size}", flush=True))
metrics = yolo.train(**json.loads(sys.argv[2]))
print(f"taken {yolo.ckpt_path} {metrics.box.map!r}", flush=True)
"""


@pytest.mark.slow
def test_a_script_of_the_users_runs_under_torchrun(tiny, toy, tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT, encoding="utf-8")
    keys = plain(tiny, toy, tmp_path, epochs=1, device="cpu", sync_bn=True)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        tmp_path / "mine.py",
    ]
    env = {**os.environ, "PYTHONPATH": str(CLONE)}
    done = subprocess.run(
        [*command, keys.pop("model"), json.dumps(keys)],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {"rank 0 of 2", "rank 1 of 2"} <= set(done.stdout.splitlines())
    reported = [line for line in done.stdout.splitlines() if line.startswith("taken ")]
    assert len(reported) == 2
    assert len(set(reported)) == 1


@pytest.mark.slow
def test_val_under_torchrun_is_that_of_one_process(tiny, toy, tmp_path):
    yolo = YOLO(str(tiny), nc=3)
    yolo.save(tmp_path / "m.pt")
    keys = {"model": tmp_path / "m.pt", "data": toy, "imgsz": 64, "batch": 4, "workers": 0, "device": "cpu"}
    keys |= {"project": tmp_path / "r", "plots": False, "conf": 1e-5, "analyse": True, "gallery": 2}
    reported = []
    for name, agent in (("one", []), ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"])):
        command = [sys.executable, *agent, "-m", "ultralytics", "val", *words(keys | {"name": name})]
        subprocess.run(command, cwd=CLONE, check=True, capture_output=True, timeout=120)
        reported.append(json.loads((tmp_path / "r" / name / "metrics.json").read_text(encoding="utf-8")))
    for metrics in reported:
        del metrics["speed_ms_per_image"]
    assert reported[0] == reported[1]
    assert reported[0]["images"] == 6
    assert reported[0]["analysis"]["errors"]["Bkg"]["count"] > 0
    galleries = [(tmp_path / "r" / name / "gallery.json").read_bytes() for name in ("one", "two")]
    assert galleries[0] == galleries[1]


STUCK = """
import ctypes, signal
from ultralytics.engine.ranks import lifeline
signal.signal(signal.SIGTERM, lambda *_: print("never"))
lifeline.GRACE = 0.5
lifeline.leave_when_stuck()
print("ready", flush=True)
lock = ctypes.create_string_buffer(64)
for _ in range(2):  # the second waits forever, signals or not
    ctypes.CDLL(None).pthread_mutex_lock(lock)
"""


@pytest.mark.slow
def test_a_rank_that_is_stuck_in_a_call_leaves_all_the_same():
    process = subprocess.Popen([sys.executable, "-c", STUCK], cwd=CLONE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    process.wait(120)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_stopped_rank_is_named_by_the_first_that_is_not():
    process = subprocess.Popen(["sleep", "60"])
    try:
        ranks = {0: os.getpid(), 1: process.pid}
        assert stopped_ranks(ranks, os.getpid(), 31.0) == []
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        reported = f"(process {process.pid}, stopped; kill -CONT {process.pid} lets it go on) for 31 s"
        assert stopped_ranks(ranks, os.getpid(), 31.0) == [f"Waiting for rank 1 {reported}"]
        swapped = {0: process.pid, 1: os.getpid(), 2: os.getppid()}
        assert stopped_ranks(swapped, os.getpid(), 31.0) == [f"Waiting for rank 0 {reported}"]
        assert stopped_ranks(swapped, os.getppid(), 31.0) == []  # one line is enough
    finally:
        process.kill()
        process.wait()


WAITS = """
import os, sys, time
from ultralytics.engine.ranks import collective
from ultralytics.engine.ranks.team import join
from ultralytics.utils.log import setup_console
setup_console()
collective.REPORTED = 0.6
team = join()
print(f"rank {team.rank} {os.getpid()}", flush=True)
if team.leads:
    time.sleep(float(sys.argv[1]))
team.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_rank_that_waits_for_a_stopped_one_says_so():
    port = str(free_port())
    env = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(CLONE)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", WAITS, "2"], env={**env, "RANK": str(r)}, stdout=subprocess.PIPE, text=True
        )
        for r in range(2)
    ]
    try:
        for rank, process in enumerate(ranks):
            assert process.stdout.readline().startswith(f"rank {rank} ")
        ranks[0].send_signal(signal.SIGSTOP)
        reported = ranks[1].stdout.readline()
        assert reported.startswith(f"Waiting for rank 0 (process {ranks[0].pid}, stopped; ")
        ranks[0].send_signal(signal.SIGCONT)
        assert [p.wait(30) for p in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
            process.stdout.close()


def test_the_cause_is_told_and_not_what_follows_from_it(tmp_path):
    class Failure:
        def __init__(self, exitcode, message=""):
            self.exitcode = exitcode
            self.error_file = str(tmp_path / f"{exitcode}{len(message)}.json")
            if message:
                Path(self.error_file).write_text(json.dumps({"message": {"message": message}}), encoding="utf-8")

    lost = Failure(1, f"rank 0: {LOST} (closed)")
    names = ["0", "1"]
    cause = first_failure({0: lost, 1: Failure(-9)}, names)
    assert isinstance(cause, LostRankError)
    assert str(cause) == "rank 1 (device 1) was ended by SIGKILL"
    cause = first_failure({0: lost, 1: Failure(2, "rank 1: no such file")}, names)
    assert isinstance(cause, UserError)
    assert str(cause) == "rank 1: no such file"
    assert str(first_failure({0: lost}, names)).startswith("rank 0 (device 0) failed: lost the connection")
    assert str(first_failure({0: Failure(-15), 1: Failure(3)}, names)) == "rank 1 (device 1) ended with code 3"


@pytest.mark.gpu
@pytest.mark.slow
def test_gpus_train_together(tiny, toy, tmp_path):
    """As many ranks as there are GPUs, one at least: NCCL, synchronised batch norms, sharded validation."""
    count = torch.cuda.device_count()
    keys = plain(tiny, toy, tmp_path, epochs=2, batch=4 * count, sync_bn=True)
    code, out, err = finished(start(keys, f"--nproc_per_node={count}"), 300)
    assert code == 0, out + err
    assert (tmp_path / "r" / "it" / "metrics.json").exists()
