import json
import sys

import numpy as np
import pytest

from ultralytics.cfg.config import KNOBS
from ultralytics.cfg.surgery import insert_rows
from ultralytics.nn import registry
from ultralytics.nn.plugins import load_plugins
from ultralytics.study import job, latency
from ultralytics.study.job import TEST_KEYS, Job, failed
from ultralytics.study.plan import Run
from ultralytics.study.record import FAILED, FINISHED, RunRecord, read_record, read_seen, write_record, write_seen
from ultralytics.utils.coco import Seen

RUN = Run("fla", 3, {"model": "m.yaml", "epochs": 100, "lr0": 0.02, "seed": 3, "device": "0"}, {"split": "test"})


def test_a_job_is_read_as_it_was_written():
    made = Job(RUN, "study.yaml")
    assert Job.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert RUN.name == "fla-3"


def test_a_record_names_what_is_not_at_its_default():
    record = failed(RUN, "no memory")
    assert (record.state, record.error, record.folder) == (FAILED, "no memory", "fla-3")
    assert record.keys == {"model": "m.yaml", "lr0": 0.02}


def test_what_the_meter_has_read_is_kept_by_row():
    rows = [{"epoch": 1, "block/10/share": 0.5}, {"epoch": 2, "block/10/share": 0.1, "block/15.m.0/gate_max": 0.2}]
    assert job._blocks(rows) == {"10": {"share": 0.1}, "15.m.0": {"gate_max": 0.2}}
    assert job._blocks([]) == {}


def test_keys_of_a_test_are_keys_of_val():
    assert all("val" in KNOBS[key].modes for key in TEST_KEYS)


def test_a_failure_is_recorded_with_its_line(tmp_path, monkeypatch):
    def train(_, folder):
        raise MemoryError("no more\nof it")

    monkeypatch.setattr(job, "train", train)
    monkeypatch.setattr(job, "leave_with", lambda *_: None)
    monkeypatch.setattr(job.signal, "signal", lambda *_: None)
    (tmp_path / "job.json").write_text(json.dumps(Job(RUN, "s.yaml").to_dict()), encoding="utf-8")
    assert job.run_job(tmp_path / "job.json", 0) == 1
    assert read_record(tmp_path).error == "MemoryError: no more of it (train.log holds more)"


def test_a_record_is_read_as_it_was_written(tmp_path):
    assert read_record(tmp_path) is None
    what = {"figures": {"AP": None}, "blocks": {"4": {"share": 0.1}}, "per_class": {"绿": 1.0}}
    record = RunRecord("a", 0, FINISHED, "a-0", **what)
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record


def test_what_was_seen_is_read_as_it_was_written(tmp_path):
    none, one = np.zeros((0, 6)), np.ones((1, 6))
    seen = [Seen("a.png", (3, 4), np.ones((2, 6)), none), Seen("图.png", (5, 6), none, one)]
    write_seen(tmp_path / "seen.npz", seen)
    for a, b in zip(read_seen(tmp_path / "seen.npz"), seen, strict=True):
        assert (a.file, a.shape) == (b.file, b.shape)
        assert (a.found == b.found).all()
        assert (a.truths == b.truths).all()
    assert [p.name for p in tmp_path.iterdir()] == ["seen.npz"]


def test_a_logged_run_is_in_the_group_of_its_arm(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(job.modes, "train", lambda cfg, overrides, source, callbacks=None: asked.append(overrides))
    (tmp_path / "fla-3").mkdir()
    for keys in ({"log": ["csv"]}, {"log": ["csv"], "log_group": "mine"}, {}):
        job.train(Job(Run("fla", 3, keys, {}), "study.yaml"), tmp_path / "fla-3")
    assert [(k["name"], k.get("log_group")) for k in asked] == [("fla-3", "fla"), ("fla-3", "mine"), ("fla-3", None)]


PLUGIN = """\
from pathlib import Path

from torch import nn
from ultralytics.nn.registry import register, same_width

@register(same_width)
class Wave(nn.Module):
    def __init__(self, c1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c1, 3, padding=1, groups=c1)

    def forward(self, x):
        return x + self.conv(x)

def on_fit_epoch_end(trainer):
    if Path(__file__).with_name("stop").exists():
        raise ValueError("stopped")
"""


@pytest.fixture
def waved(tmp_path, tiny, monkeypatch):
    """A model YAML that names a plugin beside it, and what a new process begins with: the plugin is not loaded."""
    (tmp_path / "wave.py").write_text(PLUGIN, encoding="utf-8")
    file = tmp_path / "waved.yaml"
    file.write_text(f"plugins: [wave.py]\n{insert_rows(tiny, 9, 'Wave')}", encoding="utf-8")

    def begin():
        monkeypatch.setattr(registry, "_OFFERED", [])
        monkeypatch.delitem(registry._MODULES, "Wave", raising=False)
        for name in [n for n in sys.modules if n.startswith("ultralytics_plugin_wave")]:
            monkeypatch.delitem(sys.modules, name)

    return file, begin


def test_a_run_needs_the_plugins_of_its_yaml_too(waved, tmp_path):
    file, plugin = str(waved[0]), str(tmp_path / "wave.py")
    for keys, plugins in (
        ({"model": file}, [plugin]), ({"model": file, "plugins": ["/b.py", plugin]}, ["/b.py", plugin]),
        ({"model": "yolov8n.yaml"}, []), ({"model": "best.pt", "plugins": "/b.py"}, ["/b.py"]),
        ({"model": str(tmp_path / "gone.yaml")}, []),
    ):  # fmt: skip
        assert Run("fla", 3, keys, {}).plugins == plugins


@pytest.mark.slow
def test_a_run_with_a_plugin_of_its_yaml_goes_on_and_is_tested_in_another_process(waved, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "leave_with", lambda *_: None)
    monkeypatch.setattr(job.signal, "signal", lambda *_: None)
    keys = {"data": str(toy), "imgsz": 32, "epochs": 2, "batch": 4, "workers": 0, "device": "cpu", "threads": 1}
    run = Run("waved", 0, {**keys, "model": str(waved[0]), "plots": False, "preflight": False}, {})
    folder = tmp_path / "out" / run.name
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(Job(run, "s.yaml").to_dict()), encoding="utf-8")
    (tmp_path / "stop").touch()
    assert job.run_job(folder / "job.json", 0) == 2
    assert "stopped" in read_record(folder).error
    assert len((folder / "results.csv").read_text(encoding="utf-8").splitlines()) == 2
    (tmp_path / "stop").unlink()
    waved[1]()
    assert job.run_job(folder / "job.json", 0) == 0, read_record(folder).error
    record = read_record(folder)
    assert record.facts["epochs run"] == 2
    waved[1]()
    (folder / "run.json").unlink()  # as if it had been killed during the test
    assert job.run_job(folder / "job.json", 0) == 0, read_record(folder).error
    assert read_record(folder).figures == record.figures
    waved[1]()  # the study's own process measures the networks
    latency.measure(tmp_path / "out", [record], plugins=lambda: load_plugins(run.plugins))
    assert latency.read(tmp_path / "out")["waved"]["parameters"] == record.cost["parameters"]
