"""Tunes of a study's arms, with processes that are none."""

import json
import os

import pytest

from ultralytics.study import pool
from ultralytics.study.fairness import differences
from ultralytics.study.job import Job
from ultralytics.study.plan import Study, read_study
from ultralytics.study.record import FAILED, FINISHED, RunRecord, write_record
from ultralytics.study.runner import Runner, collect
from ultralytics.study.tune import arms as module
from ultralytics.study.tune import search
from ultralytics.utils.errors import UserError


class Ended:
    pid = 0

    def poll(self):
        return 0


class Machine:
    """Each trial reaches its lr0, of one arm the less the better; those named fail."""

    def __init__(self, failing=()):
        self.jobs, self.failing = [], failing

    def __call__(self, file, device):
        job = Job.from_dict(json.loads(file.read_text(encoding="utf-8")))
        self.jobs.append(job)
        run = job.run
        if job.trial is None:
            record = RunRecord(run.arm, run.seed, FINISHED, run.name, facts=dict(job.facts), keys=dict(run.keys))
        elif (file.parents[1].name, run.arm) in self.failing:
            record = RunRecord(run.arm, run.seed, FAILED, run.name, error="no memory")
        else:
            value = job.trial["values"]["lr0"]
            value = 1 - value if file.parents[1].name == "fla" else value
            record = RunRecord(run.arm, run.seed, FINISHED, run.name, figures={"fitness": value}, curve=[value])
        write_record(file.parent, record)
        return Ended()


def propose(space, past, seed, sampler):
    return {"lr0": 0.01 * (len(past) + 1), "nbs": 4}


@pytest.fixture
def read(tmp_path, toy, tiny, monkeypatch):
    monkeypatch.setattr(pool, "PAUSE", 0)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is lost here
    monkeypatch.setattr(module, "need_optuna", lambda: None)
    monkeypatch.setattr(search.Search.__init__, "__defaults__", (*search.Search.__init__.__defaults__[:-1], propose))
    monkeypatch.setattr("ultralytics.study.tune.report._draw_figures", lambda *_: None)
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)

    def study(tune, base="optimizer: SGD"):
        text = f"base: {{data: {toy}, imgsz: 64, threads: 1, {base}}}\nseeds: 2\n"
        text += f"arms: {{plain: {{model: {tiny}}}, fla: {{model: {tiny}}}}}\ntune: {tune}\n"
        (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
        return read_study(tmp_path / "s.yaml")

    return study


SPACE = "{space: {lr0: [0.001, 0.1], nbs: {choices: [4, 64]}}, trials: 4}"


def test_each_arm_runs_with_its_own_best(read, tmp_path):
    out, machine = tmp_path / "out", Machine()
    study = module.tune_arms(read(SPACE), out, [None], "", machine)
    assert {a: t["values"]["lr0"] for a, t in study.tuned.items()} == {"plain": 0.04, "fla": 0.01}
    trials = [j for j in machine.jobs if j.trial]
    assert len(trials) == 8
    assert {j.run.seed for j in trials} == {2}  # not one of the runs
    assert [j.trial["values"] for j in trials[:4]] == [j.trial["values"] for j in trials[4:]]
    Runner(study, out, start=machine).run()
    data = collect(study, out)
    assert {(r["arm"], r["keys"]["lr0"]) for r in data["records"]} == {("plain", 0.04), ("fla", 0.01)}
    assert {r["facts"]["tuning"] for r in data["records"]} == {"4 trials by fitness on val"}
    assert data["differences"] == []
    assert data["tuned"]["fla"]["trials"] == 4
    # All again from what is there: nothing is run.
    again = Machine()
    assert module.tune_arms(read_study(tmp_path / "s.yaml"), out, [None], "", again).tuned == study.tuned
    assert again.jobs == []
    kept = read_study(out / "study.yaml")
    assert kept.tune == study.tune
    assert {"lr0", "nbs", "steps planned"} <= Study(file=out, **kept.to_dict()).declared


def test_an_arm_that_was_searched_less_is_a_difference(read, tmp_path):
    machine = Machine(failing={("fla", "t003")})
    study = module.tune_arms(read(SPACE), tmp_path / "out", [None], "", machine)
    Runner(study, tmp_path / "out", start=machine).run()
    found = collect(study, tmp_path / "out")["differences"]
    assert len(found) == 1
    assert "tuning: 4 trials by fitness on val, 1 of them failed and 4 trials by fitness on val" in found[0]


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ("{space: {lr0: [0, 2]}}", "s.yaml, line 4: lr0=2 is out of range"),
        ("{space: gone.yaml}", "gone.yaml: no such space of a tune"),
        ("{trails: 3}", "s.yaml, line 4: unknown key 'trails' (did you mean 'trials'?)"),
        ("{space: {model: [a.yaml, b.yaml]}}", "no such model YAML"),
        ("{space: {model: [yolov8n.yaml, yolov8s.yaml]}}", "the space has model, by which the arms differ"),
        ("{seed: 1}", "seed 1 is one of the runs: it would be tuned on"),
        ("3", "tune must be a mapping of options"),
    ],
)
def test_a_mistake_is_named_by_its_line(read, tune, message):
    with pytest.raises(UserError) as caught:
        read(tune)
    assert message in str(caught.value)


def test_steps_may_differ_only_where_what_they_follow_from_is_tuned():
    a, b = (RunRecord(n, 0, FINISHED, n, facts={"steps planned": s}) for n, s in (("a", 10), ("b", 20)))
    assert differences([a, b], "a", ()) != []
    assert differences([a, b], "a", ("nbs", "steps planned", "steps done")) == []
