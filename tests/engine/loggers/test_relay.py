"""Runs with loggers: whatever those do, the run is the one without them."""

import json
import logging
import os
import subprocess
import sys
import time

import pytest
import torch

from tests.helpers.runs import settings_of
from ultralytics.cfg.values import LOGGER_NAMES
from ultralytics.cli import main
from ultralytics.engine.loggers import relay, serve, table
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import events
from ultralytics.utils.errors import UserError

# A package that writes down its calls, and fails at the call that a variable names.
WANDB = """
import json, os, random, sys, time
import numpy as np

def note(what, **more):
    print("chatter of the package", file=sys.stderr)
    print("more of it")
    random.random(), np.random.rand()
    with open(os.environ["FAKE_CALLS"], "a") as file:
        print(json.dumps([what, more], default=str), file=file)
    if os.environ.get("FAKE_FAILS") == what:
        how = os.environ.get("FAKE_HOW", "raise")
        if how == "raise":
            raise ConnectionError("no server\\nanywhere")
        if how == "exit":
            sys.exit(3)
        if how == "die":
            os._exit(3)
        if how == "kill":
            os.kill(os.getpid(), 9)
        time.sleep(600)

note("import")

class Settings(dict):
    pass

class Config:
    def update(self, values, **_):
        note("config")

class Summary:
    def update(self, values):
        note("summary", keys=sorted(values))

class Image:
    def __init__(self, file):
        note("image")

class Artifact:
    def __init__(self, *_, **__):
        pass
    def add_file(self, file):
        note("artifact", file=file)

class Run:
    id, url, config, summary = "run-1", "", Config(), Summary()
    def define_metric(self, *_, **__):
        note("define_metric")
    def log(self, values):
        note("log", epoch=values["epoch"], keys=sorted(values))
    def log_artifact(self, artifact):
        note("log_artifact")
    def finish(self, exit_code):
        note("finish", code=exit_code)

def login(prompt=True):
    return False

def init(**keys):
    note("init", **{k: keys[k] for k in ("id", "mode", "project", "name", "group")})
    return Run()
"""


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """The package above instead of wandb; returns the calls of it."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "wandb.py").write_text(WANDB)
    for key in [k for k in os.environ if k.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("FAKE_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(folder))

    def calls():
        file = tmp_path / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    return calls


@pytest.fixture
def train(tmp_path, tiny, toy):
    def run(name, before=lambda trainer: None, **keys):
        trainer = DetectionTrainer(overrides={**settings_of(tmp_path, tiny, toy), "epochs": 2, "name": name, **keys})
        before(trainer)
        trainer.train()
        return trainer

    return run


def outcome(trainer):
    rows = [{k: v for k, v in r.items() if not k.startswith("time")} for r in trainer.rows]
    return rows, load_checkpoint(trainer.last).weights


def same(a, b):
    return a[0] == b[0] and all(torch.equal(v, b[1][k]) for k, v in a[1].items())


def test_every_logger_has_its_word_and_its_extra():
    assert tuple(table.LOGGERS) == LOGGER_NAMES
    assert all(logger.name == word for word, logger in table.LOGGERS.items())


def test_a_missing_package_stops_a_run_before_it_has_a_folder(train, tmp_path, monkeypatch):
    monkeypatch.setattr(table.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"log=mlflow: the package mlflow is missing.*\.\[mlflow\]"):
        train("none", log=["csv", "mlflow"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", ["wandbb", ["csv", 3], {"csv": 1}, 5, True])
def test_a_word_that_names_no_logger_is_an_error(value):
    with pytest.raises(UserError, match="tensorboard, wandb, mlflow, csv"):
        DetectionTrainer(overrides={"log": value, "model": "yolov8n.yaml", "data": "shapes.yaml"})


def test_a_logger_process_needs_no_torch():
    code = "import sys, ultralytics.engine.loggers.serve; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_rank_that_does_not_lead_starts_nothing(monkeypatch):
    monkeypatch.setattr(relay.subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    loggers = relay.Loggers(["csv"], leads=False)
    with loggers:
        loggers.begin()
    assert not events.heard()


@pytest.mark.slow
def test_a_failing_logger_changes_nothing_of_a_run(train, wandb, caplog, monkeypatch):
    plain = outcome(train("plain"))
    moments = ("import", "init", "define_metric", "log", "summary", "image", "artifact", "log_artifact", "finish")
    for how, places in {"raise": moments, "exit": ("init",), "die": ("log",), "kill": ("log",)}.items():
        for moment in places:
            monkeypatch.setenv("FAKE_FAILS", moment)
            monkeypatch.setenv("FAKE_HOW", how)
            caplog.clear()
            with caplog.at_level(logging.INFO, "ultralytics"):
                name = f"{how}-{moment}"
                trainer = train(name, log="wandb", log_images=True, log_weights=True, plots=moment == "image")
            said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
            said = [line for line in said if line.startswith("wandb:")]
            assert len(said) == 1, (name, said)
            assert ("ConnectionError: no server anywhere" in said[0]) == (how == "raise")
            assert same(outcome(trainer), plain), name
            assert not events.heard()


@pytest.mark.slow
def test_a_logger_that_hangs_is_waited_for_at_the_end_alone(train, wandb, caplog, monkeypatch):
    monkeypatch.setattr(relay, "PATIENT", 0.2)
    monkeypatch.setattr(relay, "PATIENCE", 3.0)
    plain = outcome(train("plain"))
    monkeypatch.setenv("FAKE_FAILS", "init")
    monkeypatch.setenv("FAKE_HOW", "hang")
    ends = []
    trainer = train("hangs", lambda t: t.add_callback("on_fit_epoch_end", lambda _: ends.append(time.monotonic())),
                    log="wandb")  # fmt: skip
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("wandb:")]
    assert said == ["wandb: it has not finished within 3 seconds, and was ended"]
    assert ends[-1] - ends[0] < 60
    assert same(outcome(trainer), plain)


@pytest.mark.slow
def test_what_a_logger_gets_of_a_run_that_is_stopped_and_resumed(train, wandb, tmp_path):
    def stop(trainer):
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("run", lambda t: t.add_callback("on_train_epoch_end", stop), log="wandb", log_group="fla")
    trainer = DetectionTrainer(overrides={"resume": str(tmp_path / "runs" / "run"), "workers": 2})
    ends = []
    trainer.add_callback("on_fit_epoch_end", lambda _: ends.append(time.monotonic()))
    trainer.train()
    assert time.monotonic() - ends[-1] < 60  # its workers, which hold the pipe too, do not keep the logger waiting
    calls = wandb()
    made = [c[1] for c in calls if c[0] == "init"]
    assert [m["id"] for m in made] == [None, "run-1"]
    assert made[0] == {"id": None, "mode": "offline", "project": "runs", "name": "run", "group": "fla"}
    logged = [c[1] for c in calls if c[0] == "log"]
    assert [e["epoch"] for e in logged] == [1, 2]
    assert set(logged[0]["keys"]) == set(trainer.rows[0])
    assert [c[1]["code"] for c in calls if c[0] == "finish"] == [1, 0]
    assert "artifact" not in {c[0] for c in calls}  # no weights without being asked for
    assert "image" not in {c[0] for c in calls}


@pytest.mark.slow
def test_a_killed_run_still_closes_its_log(tiny, toy, wandb, tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.write_text("import os\ndef on_train_epoch_end(t):\n    if t.epoch == 1: os.kill(os.getpid(), 9)\n")
    keys = settings_of(tmp_path, tiny, toy) | {"log": "wandb", "plugins": str(plugin)}
    words = [f"{k}={v}" for k, v in keys.items()]
    done = subprocess.run(
        [sys.executable, "-m", "ultralytics", "train", *words], timeout=300, capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr
    until = time.monotonic() + 60
    while "finish" not in [c[0] for c in wandb()] and time.monotonic() < until:
        time.sleep(0.1)
    assert wandb()[-1] == ["finish", {"code": 1}]


@pytest.mark.slow
@pytest.mark.parametrize("word", ["tensorboard", "wandb", "mlflow"])
def test_the_real_packages_without_a_network(word, train, tmp_path, monkeypatch, caplog):
    pytest.importorskip(word, reason=f"pip install .[{word}]")
    for key in [k for k in os.environ if k.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(key)
    trainer = train("run", log=word, log_images=True, log_weights=True, plots=True)
    assert not [r for r in caplog.records if r.getMessage().startswith(f"{word}:") and r.levelno >= logging.WARNING]
    state = json.loads((trainer.save_dir / serve.STATE / f"{word}.json").read_text())
    assert state["epochs"] == 2
    if word == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        read = EventAccumulator(str(trainer.save_dir))
        read.Reload()
        for column in trainer.rows[0].keys() - {"epoch"}:
            found = [e.value for e in read.Scalars(column)]
            assert found == pytest.approx([r[column] for r in trainer.rows], rel=1e-6)
        assert "plots/results" in read.Tags()["images"]
    elif word == "wandb":
        assert list(trainer.save_dir.glob("wandb/offline-run-*/run-*.wandb"))
    else:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{trainer.save_dir.parent / 'mlflow.db'}")
        run = client.get_run(state["id"])
        assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
        assert run.data.params["epochs"] == "2"
        history = client.get_metric_history(state["id"], "metrics/mAP50B")
        assert [(m.step, m.value) for m in history] == [
            (r["epoch"], pytest.approx(r["metrics/mAP50(B)"])) for r in trainer.rows
        ]
        assert "results.png" in {os.path.basename(f.path) for f in client.list_artifacts(state["id"], "plots")}
        assert [f.path for f in client.list_artifacts(state["id"], "weights")] == ["weights/best.pt"]
        settings = {"resume": str(trainer.save_dir), "epochs": 3, "log_images": False}
        DetectionTrainer(overrides=settings).train()
        run = client.get_run(state["id"])
        assert (run.data.params["epochs"], run.data.tags["resumed.epochs"]) == ("2", "3")
        assert len(client.get_metric_history(state["id"], "metrics/mAP50B")) == 3
        assert len(client.search_runs([run.info.experiment_id])) == 1


def test_the_key_is_read_from_words(capsys):
    assert main(["train", "--help"]) == 0
    assert "log_weights" in capsys.readouterr().out
