"""A tune's order of trials, with processes that are none: what a trial reaches follows from its settings."""

import csv
import hashlib
import json
import os
import random
import shlex
from types import SimpleNamespace

import pytest
import yaml

from ultralytics.cfg.config import get_cfg
from ultralytics.cli import main
from ultralytics.engine.run.folder import RunLock
from ultralytics.study import pool
from ultralytics.study.job import Job
from ultralytics.study.record import FAILED, FINISHED, PRUNED, RunRecord, read_record, write_record
from ultralytics.study.tune import search
from ultralytics.study.tune.options import read_options
from ultralytics.study.tune.report import write_tune_report
from ultralytics.study.tune.search import Search, base_keys, tune_with
from ultralytics.study.tune.suggest import suggest
from ultralytics.study.tune.trial import FIRST, pruned_after
from ultralytics.utils import events
from ultralytics.utils.errors import ConfigError, UserError

EPOCHS = 8


class KilledError(BaseException):
    """The tune's process is no more."""


def number_of(*parts):
    """A number in 0..1 that depends on the parts alone."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16) / 16**12


def propose(space, past, seed, sampler):
    """Depends on all that a sampler may know."""
    known = [(sorted(p.values.items()), p.state, p.value, p.epochs) for p in past]
    return {"mosaic": round(number_of(known, seed, sampler), 5), "optimizer": "SGD" if len(past) % 2 else "AdamW"}


class Machine:
    """Starts processes that take a while each, fail, or die with the tune after some looks."""

    def __init__(self, seed=0, lives=10**9, failing=()):
        self.chance, self.lives, self.failing = random.Random(seed), lives, failing
        self.began, self.most, self.working = [], 0, 0

    def __call__(self, file, device):
        self.began.append((file.parent.name, device))
        self.working += 1
        self.most = max(self.most, self.working)
        job = Job.from_dict(json.loads(file.read_text(encoding="utf-8")))
        return Working(self, job, file.parent, self.chance.randint(0, 4))


class Working:
    pid = 0

    def __init__(self, machine, job, folder, looks):
        self.machine, self.job, self.folder, self.looks = machine, job, folder, looks

    def poll(self):
        self.machine.lives -= 1
        if self.machine.lives == -1:
            raise KilledError
        if self.machine.lives < 0:
            return None
        self.looks -= 1
        if self.looks >= 0:
            return None
        self.machine.working -= 1
        run, trial = self.job.run, self.job.trial
        if run.arm in self.machine.failing:
            write_record(self.folder, RunRecord(run.arm, run.seed, FAILED, run.name, error="no memory"))
            return 2
        best = number_of(trial["values"]["mosaic"], run.seed)
        curve = [best * (e + 1) / EPOCHS for e in range(EPOCHS)]
        after = pruned_after(curve, trial["least"])
        curve = curve[:after]
        figures = {"fitness": curve[-1], "mAP50": curve[-1] / 2}
        state = FINISHED if after is None else PRUNED
        write_record(
            self.folder,
            RunRecord(run.arm, run.seed, state, run.name, figures=figures, curve=curve, cost={"epoch_seconds": 1.0}),
        )
        return 0

    def terminate(self):
        self.looks = -1

    def kill(self):
        pass


@pytest.fixture
def tune(tmp_path, toy, tiny, monkeypatch):
    monkeypatch.setattr(pool, "PAUSE", 0)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is lost here
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    monkeypatch.setattr(
        "ultralytics.study.tune.report._draw_figures", lambda *_: None
    )  # its figures have a test of their own

    def make(name="out", slots=1, machine=None, base=None, propose=propose, **options):
        keys = {"model": str(tiny), "data": str(toy), "imgsz": 64, "epochs": EPOCHS, "optimizer": "AdamW", "threads": 1}
        space = {"mosaic": [0, 1], "optimizer": ["SGD", "AdamW"]}
        options = read_options({"space": space, "trials": 12, **options})
        return Search(base_keys({**keys, **(base or {})}), options, tmp_path / name, [None] * slots,
                      start=machine or Machine(), propose=propose)  # fmt: skip

    return make


def result(folder):
    data = json.loads((folder / "tune.json").read_text(encoding="utf-8"))
    data.pop("times")
    return data


def test_trials_are_done_in_order_and_the_first_is_the_base(tune, tmp_path):
    machine = Machine()
    found = tune(machine=machine).run()
    assert [name for name, _ in machine.began] == [f"t{n:03d}-0" for n in range(1, 13)]
    assert found.trials[0].values == {"mosaic": 1.0, "optimizer": "AdamW"}
    best = max((t for t in found.trials if t.state == FINISHED), key=lambda t: t.value)
    assert (found.values, found.value) == (best.values, best.value)
    assert {t.state for t in found.trials} == {FINISHED, PRUNED}
    assert all(t.state == FINISHED for t in found.trials[:FIRST])
    assert PRUNED in {t.state for t in found.trials}
    again = Machine()
    assert tune(machine=again).run() == found
    assert again.began == []
    tune(machine=again, trials=14).run()  # more trials later
    assert [name for name, _ in again.began] == ["t013-0", "t014-0"]


@pytest.mark.parametrize("lag", [1, 4])
def test_no_suggestion_depends_on_the_speed_of_a_process(tune, tmp_path, lag):
    machines = [Machine(seed) for seed in range(3)]
    for i, machine in enumerate(machines):
        tune(f"{i}", lag, machine, trials=9).run()
    results = [result(tmp_path / f"{i}") for i in range(3)]
    assert all(r["trials"] == results[0]["trials"] for r in results)
    assert machines[0].most == lag
    assert len({tuple(m.began) for m in machines}) == 1


def assert_kills_change_nothing(tune, folder, seed, failing=(), **options):
    """Kill a tune at random moments, and go on with it with another number of processes, until it is done."""
    tune("whole", 3, Machine(failing=failing), **options).run()
    chance, kills = random.Random(seed), 0
    for _ in range(200):
        lives, slots = chance.randint(0, 12), chance.randint(1, 4) if kills else 3
        try:
            tune("killed", slots, Machine(kills, lives, failing), **options).run()
            break
        except KilledError:
            kills += 1
    assert kills >= 5
    assert result(folder / "killed") == result(folder / "whole")
    for name in ("tune_results.csv", "best_hyperparameters.yaml"):
        whole = (folder / "whole" / name).read_text(encoding="utf-8").replace("in whole", "in killed")
        assert (folder / "killed" / name).read_text(encoding="utf-8") == whole


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_tune_that_is_killed_at_any_moment_ends_as_one_that_is_not(tune, tmp_path, seeds):
    assert_kills_change_nothing(tune, tmp_path, seeds, ("t004",), seeds=seeds)


def test_so_it_is_with_optuna(tune, tmp_path):
    pytest.importorskip("optuna", reason="Optuna is not installed: its suggestions are not tested")
    assert_kills_change_nothing(tune, tmp_path, 3, propose=suggest, trials=18)


def test_each_device_has_a_run_and_more_devices_later_change_nothing(tune, tmp_path):
    machine = Machine()
    search = tune("gpus", 2, machine)
    search.pool._free = ["0", "1"]
    search.run()
    assert {device for _, device in machine.began} == {"0", "1"}
    more = Machine()
    later = tune("gpus", 8, more, trials=20)
    later.run()
    assert more.most == 2  # as it began
    tune("whole", 2, trials=20).run()
    assert result(tmp_path / "gpus")["trials"] == result(tmp_path / "whole")["trials"]


def test_seeds_of_a_trial_run_one_after_another_and_their_mean_counts(tune, tmp_path):
    machine = Machine()
    found = tune(machine=machine, seeds=3, trials=4, prune=False).run()
    assert [name for name, _ in machine.began[:4]] == ["t001-0", "t001-1", "t001-2", "t002-0"]
    trial = found.trials[1]
    assert trial.value == pytest.approx(sum(number_of(trial.values["mosaic"], s) for s in range(3)) / 3)


def test_a_failed_trial_is_reported_and_the_rest_goes_on(tune, tmp_path, caplog):
    caplog.set_level("INFO", "ultralytics")
    found = tune(machine=Machine(failing=("t002", "t012"))).run()
    assert [t.number for t in found.trials if t.state == FAILED] == [2, 12]
    assert "failed:   t002-0: no memory" in caplog.text
    # The same command tries again only what no later trial rests on.
    again = Machine()
    found = tune(machine=again).run()
    assert [name for name, _ in again.began] == ["t012-0"]
    assert read_record(tmp_path / "out" / "t002-0").state == FAILED
    assert found.trials[11].state != FAILED


def test_programs_hear_how_many_trials_are_done_and_the_time_left(tune, monkeypatch):
    """Two seeds a trial; a run takes 10 seconds by this clock, which moves while the tune waits."""
    clock = [100.0]

    def sleep(_):
        clock[0] += 10

    class Once(random.Random):
        def randint(self, *_):
            return 1

    monkeypatch.setattr(pool, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    machine = Machine(failing=("t002",))
    machine.chance = Once()
    heard = []
    with events.heard_by(heard.append):
        tune(machine=machine, trials=3, seeds=2, prune=False).run()
    progress = [r for r in heard if r["event"] == "progress" and r["task"] == "Tune"]
    assert [(r["done"], r["total"], r["run"], r["state"]) for r in progress] == [
        (0, 3, "t001-0", FINISHED), (1, 3, "t001-1", FINISHED), (2, 3, "t002-0", FAILED),
        (2, 3, "t003-0", FINISHED), (3, 3, "t003-1", FINISHED),
    ]  # fmt: skip
    assert [r["elapsed"] for r in progress] == [10, 20, 30, 40, 50]
    assert [r["left"] for r in progress] == [50, 40, 20, 10, 0]  # of the failed trial no second run


def test_a_tune_of_which_everything_fails_stops(tune):
    machine = Machine(failing=tuple(f"t{n:03d}" for n in range(20)))
    with pytest.raises(UserError, match="the first 3 trials have all failed; t001-0: no memory"):
        tune(machine=machine).run()
    assert len(machine.began) == 3
    with pytest.raises(UserError, match="no trial of 1 has finished: no memory"):
        tune("one", machine=machine, trials=1).run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": {"imgsz": 32}}, "imgsz=64, and the tune says 32"),
        ({"metric": "mAP50"}, "metric=fitness, and the tune says mAP50"),
        ({"prune": False}, "prune=True"),
        ({"space": {"mosaic": [0, 0.5]}}, "space="),
        ({"seed": 4}, "seeds="),
    ],
)
def test_another_tune_in_the_folder_is_refused(tune, change, message):
    tune(trials=2).run()
    with pytest.raises(ConfigError, match=message):
        tune(trials=2, **change).run()
    tune(trials=2, base={"workers": 3, "plots": True}).run()  # no figure depends on them


@pytest.mark.parametrize("line", ["lag: abc", "lag: 0", "lag: true", "lag: [1]", "base: [1]", "base: text"])
def test_a_damaged_plan_is_one_line(tune, tmp_path, line):
    tune(trials=2).run()
    plan = tmp_path / "out" / "tune.yaml"
    kept = [row for row in plan.read_text(encoding="utf-8").splitlines() if row.startswith(("seed:", "trials:"))]
    plan.write_text("\n".join([*kept, line]), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"tune.yaml: this is not the plan of a tune: {line[:4]}"):
        tune(trials=2).run()


@pytest.mark.parametrize("trial", [[1], {"values": {"mosaic": 1.0}}, {"values": 3}, None])
def test_a_damaged_job_of_a_trial_is_one_line(tune, tmp_path, trial):
    tune(trials=2).run()
    file = tmp_path / "out" / "t002-0" / "job.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"trial": trial}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"t002-0.job\.json: this is not the job of a trial of this tune"):
        tune(trials=2).run()


@pytest.mark.parametrize(
    "change",
    [
        {"values": {"mosaic": 1.0}},
        {"values": [1]},
        {"number": "1"},
        {"value": "high"},
        {"state": "lost"},
        {"state": "pruned", "curves": []},
        {"curves": [["a"]]},
        {"figures": [3]},
        {"folders": "t001-0"},
        {"other": 1},
    ],
)
def test_a_damaged_trial_in_the_results_is_one_line(tune, tmp_path, change):
    tune(trials=2).run()
    file = tmp_path / "out" / "tune.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    data["trials"][0] |= change
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match="not the result of a tune"):
        write_tune_report(tmp_path / "out")


@pytest.mark.parametrize("change", [{"seeds": 1}, {"metric": None}, {"base": [1]}])
def test_a_damaged_plan_in_the_results_is_one_line(tune, tmp_path, change):
    tune(trials=2).run()
    file = tmp_path / "out" / "tune.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    data["tune"] |= change
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match="not the result of a tune"):
        write_tune_report(tmp_path / "out")


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ({"data": "gone.yaml"}, "no such dataset YAML"),
        ({"model": "gone.yaml"}, "no such model YAML"),
        ({"model": "gone.pt"}, r"gone\.pt: no such weights file"),
        ({"pretrained": "gone.pt"}, r"gone\.pt: no such weights file"),
        ({"val": False}, "val=False is not a key of a tune"),
        ({"project": "x"}, "project=x is not a key of a tune"),
        ({"device": [0, 1]}, "prune=True cannot reach"),
    ],
)
def test_what_no_trial_could_run_with_is_said_at_once(tune, base, message):
    machine = Machine()
    with pytest.raises(UserError, match=message):
        tune(machine=machine, base=base).run()
    assert machine.began == []


def test_a_base_outside_the_space_is_no_trial(tune, caplog):
    caplog.set_level("INFO", "ultralytics")
    found = tune(trials=2, space={"mosaic": [0, 0.5], "optimizer": ["SGD", "AdamW"]}).run()
    assert "No trial has the settings of the base: mosaic=1.0 is not in the space" in caplog.text
    assert found.trials[0].values["mosaic"] != 1.0


def test_the_recipe_is_one_and_the_table_has_the_trials(tune, tmp_path):
    found = tune(metric="mAP50").run()
    text = found.recipe.read_text(encoding="utf-8")
    assert "mAP50" in text.splitlines()[0]
    assert yaml.safe_load(text) == dict(found.values)
    config = get_cfg(found.recipe)
    assert (config.mosaic, config.optimizer) == (found.values["mosaic"], found.values["optimizer"])
    with (tmp_path / "out" / "tune_results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["trial"] for r in rows] == [str(n) for n in range(1, 13)]
    assert {r["state"] for r in rows} == {FINISHED, PRUNED}
    assert float(rows[0]["value"]) == pytest.approx(found.trials[0].value)


def test_the_report_is_made_from_the_folder_alone(tune, tmp_path):
    tune().run()
    before = {f.name: f.read_bytes() for f in (tmp_path / "out").glob("*") if f.is_file()}
    (tmp_path / "out" / "tune_results.csv").unlink()
    write_tune_report(tmp_path / "out")
    assert {f.name: f.read_bytes() for f in (tmp_path / "out").glob("*") if f.is_file()} == before
    (tmp_path / "out" / "tune.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="not the result of a tune"):
        write_tune_report(tmp_path / "out")
    with pytest.raises(ConfigError, match="no trial of a tune has ended in it"):
        write_tune_report(tmp_path)


def test_the_commands_answer_with_what_they_made(tune, tmp_path, monkeypatch, capsys):
    found = tune().run()
    monkeypatch.setattr("ultralytics.study.tune.search.run_tune", lambda **_: found)
    out = tmp_path / "out"
    capsys.readouterr()
    assert main(["tune", "model=yolov8n.yaml", "data=data/shapes.yaml", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[1])
    assert (answer["event"], answer["text"]) == ("result", str(out / "best_hyperparameters.yaml"))
    assert answer["values"] == found.values
    assert answer["value"] == pytest.approx(found.value)
    assert main(["tune", "report", str(out), "--quiet"]) == 0
    assert capsys.readouterr().out == f"{out / 'tune_results.csv'}\n"


def test_figures_are_drawn(tmp_path, tune, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(pool, "PAUSE", 0)
    tune(trials=7).run()
    assert (tmp_path / "out" / "tune_fitness.png").stat().st_size > 1000
    assert (tmp_path / "out" / "tune_scatter_plots.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trials": 0}, "trials=0 must be an integer of 1 or more"),
        ({"metric": "map"}, r"metric=map is not possible \(one of fitness"),
        ({"sampler": "cma"}, "sampler=cma is not possible"),
        ({"seeds": [0, 0]}, "seeds="),
        ({"seeds": 0}, "seeds=0 must be how many"),
        ({"prune": "no"}, "prune=no must be True or False"),
        ({"trails": 3}, r"unknown key 'trails' \(did you mean 'trials'\?\)"),
    ],
)
def test_a_wrong_option_is_one_line(given, message):
    with pytest.raises(ConfigError, match=message):
        read_options(given)


def test_the_command_to_go_on_works_in_another_folder(tmp_path, tiny, monkeypatch):
    """A dataset may be a folder of class folders; names of bundled files stay names."""
    said = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowers" / "train").mkdir(parents=True)
    (tmp_path / "my space.yaml").write_text("mosaic: [0, 1]\n", encoding="utf-8")
    monkeypatch.setattr(search, "Search", lambda *given: said.append(given) or SimpleNamespace(run=lambda: None))
    keys = {"model": tiny.name, "data": "flowers", "optimizer": "SGD"}
    search.run_tune({**keys, "pretrained": "yolov8n.pt"}, space="my space.yaml", out="out")
    search.run_tune(keys, space="{mosaic: [0, 1], mixup: [0, 1], " + "# " * 150 + "\n}")
    base, *_, command = said[0]
    assert base["data"] == str(tmp_path / "flowers")
    words = shlex.split(command)
    assert f"data={tmp_path / 'flowers'}" in words
    assert f"model={tiny}" in words
    assert f"space={tmp_path / 'my space.yaml'}" in words
    assert f"out={tmp_path / 'out'}" in words
    assert "pretrained=yolov8n.pt" in words  # which is not there, as the tune will say
    assert list(said[1][1].space) == ["mosaic", "mixup"]


def test_a_tune_that_another_process_works_at_names_its_own_option(tune, tmp_path):
    made = tune()
    (tmp_path / "out").mkdir()
    message = r"is training in this folder \(wait for it, or choose another out=\)"
    with RunLock(tmp_path / "out", search.LOCK), pytest.raises(ConfigError, match=message):
        made.run()


def test_keyword_arguments_are_options_or_keys(monkeypatch):
    taken = []
    monkeypatch.setattr("ultralytics.study.tune.search.run_tune", lambda keys, **own: taken.append((keys, own)))
    tune_with({"data": "x", "prune": False, "trials": 3}, {"trials": 10, "space": None})
    assert taken == [({"data": "x"}, {"trials": 3, "space": None, "prune": False})]
