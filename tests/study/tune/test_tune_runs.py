"""Tunes of real runs."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ultralytics.data.prepare import prepare_shapes
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models import YOLO
from ultralytics.study.job import Job, run_job
from ultralytics.study.plan import Run
from ultralytics.study.record import read_record

pytest.importorskip("optuna", reason="Optuna is not installed: no tune can run")
CLONE = Path(__file__).resolve().parents[3]
SPACE = "{lr0: [1e-4, 0.05, log], mosaic: [0, 1], nbs: {choices: [4, 16]}}"


def words(data, model, out, *more):
    keys = ["imgsz=96", "epochs=2", "batch=8", "workers=0", "device=cpu", "threads=1", "optimizer=AdamW"]
    own = [f"model={model}", f"data={data}", f"space={SPACE}", f"out={out}", "fraction=0.25", "trials=4"]
    return [sys.executable, str(CLONE / "ultralytics"), "tune", *own, *keys, *more]


@pytest.fixture
def learned(tmp_path, tiny):
    """The embedded drawing, and a network that finds something of it: what a trial reaches says more than 0."""
    data = prepare_shapes(tmp_path / "shapes")
    keys = {"imgsz": 96, "batch": 8, "workers": 0, "device": "cpu", "threads": 1, "mosaic": 0.0, "plots": False}
    keys |= {
        "epochs": 8,
        "optimizer": "AdamW",
        "lr0": 0.005,
        "warmup_epochs": 0.5,
        "preflight": False,
        "verbose": False,
    }
    yolo = YOLO(tiny)
    yolo.train(data=str(data), project=str(tmp_path / "first"), **keys)
    return data, yolo.trainer.best


def is_gone(pid):
    return not Path("/proc", str(pid)).exists()


def result(out):
    data = json.loads((out / "tune.json").read_text(encoding="utf-8"))
    assert len(data.pop("times")) == len(data["trials"])
    return data


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked for in /proc")
def test_a_tune_that_was_killed_five_times_has_the_same_trials(tmp_path, learned):
    done = subprocess.run(words(*learned, tmp_path / "whole", "jobs=2"), capture_output=True, text=True,
                          timeout=900, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    chance, out = random.Random(0), tmp_path / "killed"
    for kill in range(5):
        jobs = 2 if kill == 0 else chance.choice([1, 2, 3])
        process = subprocess.Popen(words(*learned, out, f"jobs={jobs}"), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        try:
            # Killed once its trials train: some have an epoch behind them, some not.
            began = len(list(out.glob("*/train.log")))
            size = sum(f.stat().st_size for f in out.glob("*/train.log"))
            until = time.monotonic() + 300
            while process.poll() is None and time.monotonic() < until:
                logs = list(out.glob("*/train.log"))
                if len(logs) > began or sum(f.stat().st_size for f in logs) > size + 500:
                    break
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 4))
            assert process.poll() is None, "the tune has ended before it could be killed five times"
        finally:
            process.kill()
            process.wait()
    # At once: trials whose tune was killed may still be there for a moment.
    done = subprocess.run(words(*learned, out, "jobs=2"), capture_output=True, text=True, timeout=900,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert result(out) == result(tmp_path / "whole")
    trials = result(out)["trials"]
    assert [t["state"] for t in trials] == ["finished"] * 4
    assert len({t["value"] for t in trials} - {0.0}) == 4
    for folder in sorted(tmp_path.glob("whole/t00*")):
        one, other = (load_checkpoint(tmp_path / n / folder.name / "weights" / "last.pt") for n in ("whole", "killed"))
        assert all(torch.equal(one.weights[k], other.weights[k]) for k in one.weights), folder.name


@pytest.mark.slow
def test_a_trial_that_falls_behind_is_stopped_in_order(tmp_path, toy, tiny):
    keys = {"model": str(tiny), "data": str(toy), "imgsz": 32, "epochs": 4, "batch": 4, "workers": 0, "device": "cpu"}
    run = Run("t009", 0, {**keys, "threads": 1, "plots": False, "optimizer": "SGD"}, {})
    folder = tmp_path / run.name
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps(Job(run, "s", trial={"values": {}, "least": [None, 2.0]}).to_dict()))
    for _ in range(2):  # a second time it is left as it is
        assert run_job(folder / "job.json", os.getppid()) == 0
        record = read_record(folder)
        assert (record.state, len(record.curve)) == ("pruned", 2)
        assert len((folder / "results.csv").read_text(encoding="utf-8").splitlines()) == 3
        assert (folder / "metrics.json").exists()  # as any run has it, of its best weights


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tune_from_python(tmp_path, toy, tiny, monkeypatch):
    """One trial that fails, and a recipe that `train` takes."""
    monkeypatch.chdir(tmp_path)
    space = {"lr0": [0.001, 0.01], "optimizer": ["SGD", "AdamW"]}
    keys = {"imgsz": 32, "epochs": 1, "batch": 4, "workers": 0, "device": "cpu", "threads": 1}
    found = YOLO(tiny).tune(data=str(toy), iterations=2, space=space, out="out", optimizer="AdamW", **keys)
    assert [t.state for t in found.trials] == ["finished", "finished"]
    assert found.trials[0].values == {"lr0": 0.01, "optimizer": "AdamW"}
    yolo = YOLO(tiny)
    yolo.train(data=str(toy), cfg=str(found.recipe), plots=False, **keys)
    assert yolo.trainer.args.lr0 == pytest.approx(found.values["lr0"])
    assert yolo.trainer.args.sources["lr0"] == str(found.recipe)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_tunes_its_arms(tmp_path, toy, tiny):
    text = (
        f"base: {{data: {toy}, imgsz: 32, epochs: 1, batch: 4, workers: 0, device: cpu, threads: 1, optimizer: SGD}}\n"
    )
    text += f"arms: {{plain: {{model: {tiny}}}, fla: {{model: {tiny}, lrf: 0.1}}}}\nseeds: 1\n"
    text += "tune: {space: {lr0: [0.001, 0.05, log], nbs: {choices: [4, 64]}}, trials: 2}\n"
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    command = [
        sys.executable,
        str(CLONE / "ultralytics"),
        "study",
        f"cfg={tmp_path / 's.yaml'}",
        f"out={tmp_path / 'o'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads((tmp_path / "o" / "study.json").read_text(encoding="utf-8"))
    assert data["differences"] == []
    for record in data["records"]:
        tuned = data["tuned"][record["arm"]]
        job = json.loads((tmp_path / "o" / record["folder"] / "job.json").read_text(encoding="utf-8"))
        assert {k: job["keys"][k] for k in ("lr0", "nbs")} == tuned["values"]
        assert record["facts"]["tuning"] == "2 trials by fitness on val"
        trial = json.loads(
            (tmp_path / "o" / "tune" / record["arm"] / "t001-1" / "job.json").read_text(encoding="utf-8")
        )
        assert trial["keys"]["seed"] == 1  # not one of the runs
    assert "each arm's own, the best of 2 trials" in (tmp_path / "o" / "table.md").read_text(encoding="utf-8")
