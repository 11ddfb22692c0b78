import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ultralytics.cli import main
from ultralytics.engine.run.folder import RunLock
from ultralytics.study import pool, runner
from ultralytics.study.job import JOB_FILE, Job
from ultralytics.study.plan import read_study
from ultralytics.study.pool import LOCK
from ultralytics.study.record import FAILED, FINISHED, RunRecord, read_record, read_seen, write_record
from ultralytics.study.runner import Runner, check_data, collect, complaint, run_study, unfinished_arms
from ultralytics.utils import events
from ultralytics.utils.errors import ConfigError, DatasetError

CLONE = Path(__file__).resolve().parents[2]


class Done:
    """A process that has ended, or never does (None)."""

    pid = 0

    def __init__(self, code=0):
        self.code, self.asked = code, []

    def poll(self):
        return self.code

    def terminate(self):
        self.asked.append("terminate")
        self.code = -15

    def kill(self):
        self.asked.append("kill")


class Starts:
    """Finishes each run that it is to start, but for those named otherwise: with a code or a line of error."""

    def __init__(self, **otherwise):
        self.otherwise = otherwise
        self.began = []
        self.devices = []

    def __call__(self, file, device):
        run = Job.from_dict(json.loads(file.read_text(encoding="utf-8"))).run
        self.began.append(run.name)
        self.devices.append((device, run.keys.get("device"), run.keys.get("workers")))
        how = self.otherwise.get(run.name.replace("-", "_"))
        if isinstance(how, BaseException):
            raise how
        if isinstance(how, int):
            return Done(how)
        state = FAILED if how else FINISHED
        cost = {"parameters": 3, "epoch_seconds": random.random()}
        write_record(
            file.parent, RunRecord(run.arm, run.seed, state, run.name, how or "", {"mAP50-95": 0.5}, cost=cost)
        )
        return Done(2 if how else 0)


@pytest.fixture
def study(tmp_path, toy, tiny, monkeypatch):
    monkeypatch.setattr(pool, "PAUSE", 0)
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)

    def read(extra="", seeds=2):
        text = f"base: {{data: {toy}, imgsz: 64{extra}}}\nseeds: {seeds}\n"
        text += f"arms: {{plain: {{model: {tiny}}}, fla: {{model: {tiny}}}}}\n"
        (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
        return read_study(tmp_path / "s.yaml")

    return read


def test_runs_are_done_in_order_and_once(study, tmp_path):
    starts = Starts()
    Runner(study(), tmp_path / "out", start=starts).run()
    assert starts.began == ["plain-0", "fla-0", "fla-1", "plain-1"]
    Runner(study(seeds=3), tmp_path / "out", start=starts).run()  # more seeds later
    assert starts.began[4:] == ["plain-2", "fla-2"]
    assert read_study(tmp_path / "out" / "study.yaml").runs() == study(seeds=3).runs()
    assert not list((tmp_path / "out").glob(f"*/{LOCK}"))


def test_programs_hear_how_many_runs_are_done_and_the_time_left(study, tmp_path, monkeypatch):
    clock = iter([100, 100, 110, 110, 110, 116, 116, 116, 118, 118, 118, 122, 122])
    monkeypatch.setattr(pool, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    heard = []
    with events.heard_by(heard.append):
        Runner(study(), tmp_path / "out", start=Starts(fla_0="no")).run()
    progress = [r for r in heard if r["event"] == "progress" and r["task"] == "Study"]
    assert [(r["done"], r["total"], r["run"], r["state"]) for r in progress] == [
        (1, 4, "plain-0", FINISHED), (2, 4, "fla-0", FAILED), (3, 4, "fla-1", FINISHED), (4, 4, "plain-1", FINISHED)
    ]  # fmt: skip
    assert [(r["elapsed"], r["left"]) for r in progress] == [(10, 30), (16, 16), (18, 6), (22, 0)]


def test_times_stand_apart(study, tmp_path):
    found = []
    for name in "ab":
        Runner(study(), tmp_path / name, start=Starts()).run()
        found.append(collect(study(), tmp_path / name))
    times = [f.pop("times") for f in found]
    assert found[0] == found[1]
    assert times[0] != times[1]
    assert set(times[0]) == {"plain-0", "fla-0", "fla-1", "plain-1"}


@pytest.fixture
def ends(monkeypatch):
    """Counts the reports that are written; each process stays at it until it may go on."""
    write = runner.write_held_report
    found = SimpleNamespace(began=threading.Event(), go=threading.Event(), written=0)

    def written(out, fair):
        analysis = write(out, fair)
        found.written += 1
        found.began.set()
        assert found.go.wait(60)
        return analysis

    monkeypatch.setattr(runner, "write_held_report", written)
    monkeypatch.setattr(runner, "measure", lambda *_, **__: None)
    monkeypatch.setattr("ultralytics.study.report.PAUSE", 0.01)
    monkeypatch.setattr("ultralytics.study.report.draw_all", lambda *_: [])
    return found


@pytest.mark.parametrize("late", [False, True])
def test_of_two_processes_that_end_a_study_at_once_one_writes(study, tmp_path, ends, caplog, late):
    """`late`: the second one ends a run after the first one has looked; then it has more to tell, and writes too."""
    caplog.set_level("INFO", "ultralytics")
    made, out = study(), tmp_path / "out"
    Runner(made, out, start=Starts()).run()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(runner.finish, made, out, True)
        assert ends.began.wait(120)
        if late:
            write_record(out / "fla-1", replace(read_record(out / "fla-1"), error="it went on"))
        second = threads.submit(runner.finish, made, out, True)
        until = time.monotonic() + 50
        while "waiting for it" not in caplog.text and not second.done() and time.monotonic() < until:
            time.sleep(0.01)
        waited, written = "waiting for it" in caplog.text, ends.written
        ends.go.set()
        first.result()
        found = second.result()
    assert waited
    assert written == 1
    assert ends.written == 1 + late
    assert ("which another process has written" in caplog.text) == (not late)
    kept = json.loads((out / "study.json").read_text(encoding="utf-8"))
    assert [RunRecord.from_dict(r) for r in kept["records"]] == found
    assert "analysis" in kept
    assert not list(out.glob(".report*"))


def test_an_end_alone_writes_whatever_is_there(study, tmp_path, ends):
    made, out = study(), tmp_path / "out"
    Runner(made, out, start=Starts()).run()
    ends.go.set()
    for _ in range(2):
        runner.finish(made, out, True)
    assert ends.written == 2


def test_failed_runs_are_told_and_the_rest_goes_on(study, tmp_path, caplog):
    caplog.set_level("INFO", "ultralytics")
    starts = Starts(fla_0="no such file", plain_1=-9, fla_1=1)
    Runner(study(), tmp_path, start=starts).run()
    assert len(starts.began) == 4
    records = {n: read_record(tmp_path / n) for n in starts.began}
    assert records["plain-0"].state == FINISHED
    assert {n: r.state for n, r in records.items() if n != "plain-0"} == dict.fromkeys(
        ("fla-0", "fla-1", "plain-1"), FAILED
    )
    assert "killed (no memory left?)" in records["plain-1"].error
    assert "exit code 1" in records["fla-1"].error
    error = complaint(list(records.values()))
    assert str(error).startswith("3 runs of 4 failed: fla-0, fla-1, plain-1; fla-0: no such file")
    assert complaint([records["plain-0"]]) is None
    # The same command tries them again.
    again = Starts()
    Runner(study(), tmp_path, start=again).run()
    assert again.began == ["fla-0", "fla-1", "plain-1"]
    assert read_record(tmp_path / "fla-0").state == FINISHED


def test_a_run_that_another_process_works_at_is_left_to_it(study, tmp_path, caplog):
    caplog.set_level("INFO", "ultralytics")
    (tmp_path / "fla-0").mkdir()
    starts = Starts()
    with RunLock(tmp_path / "fla-0", LOCK):
        Runner(study(), tmp_path, start=starts).run()
    assert starts.began == ["plain-0", "fla-1", "plain-1"]
    assert f"fla-0 is left to another process: process {os.getpid()}" in caplog.text


def test_a_run_that_another_process_has_failed_meanwhile_is_not_tried_again(study, tmp_path):
    starts = Starts()
    mine = Runner(study(), tmp_path, start=starts)
    Runner(study(), tmp_path, start=Starts(fla_1="no")).run()
    mine.run()
    assert starts.began == []


@pytest.mark.parametrize(("extra", "key"), [(", lr0: 0.02", "lr0=None"), (", epochs: 3", "epochs")])
def test_a_run_of_another_study_is_refused_and_the_key_named(study, tmp_path, extra, key):
    Runner(study(), tmp_path, start=Starts()).run()
    starts = Starts()
    with pytest.raises(ConfigError, match=f"plain-0: the run there has {key}"):
        Runner(study(extra), tmp_path, start=starts).run()
    assert starts.began == []


@pytest.mark.parametrize(
    ("arm", "split", "says"),
    [
        ("data: gone.yaml", "test", "gone.yaml: the data of the arm 'fla': the val images are missing"),
        ("data: untested.yaml", "test", "untested.yaml: the data of the arm 'fla': the test images are missing"),
        ("data: untested.yaml", "val", "all data are there"),
    ],
)
def test_the_data_of_every_arm_is_looked_for_before_the_first_run(
    tmp_path, toy, tiny, capsys, monkeypatch, arm, split, says
):
    (toy.parent / "gone.yaml").write_text("train: images/train\nval: images/gone\nnames: [a, b, c]\n", encoding="utf-8")
    (toy.parent / "untested.yaml").write_text(toy.read_text(encoding="utf-8") + "test: images/test\n", encoding="utf-8")
    (toy.parent / "s.yaml").write_text(
        f"base: {{data: toy.yaml, imgsz: 64}}\ntest: {{split: {split}}}\n"
        f"arms: {{plain: {{model: {tiny}}}, fla: {{model: {tiny}, {arm}}}}}\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(runner, "slots_of", lambda *_: (_ for _ in ()).throw(ConfigError("all data are there")))
    assert main(["study", f"cfg={toy.parent / 's.yaml'}", f"out={tmp_path / 'out'}"]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_data_of_arms_that_have_finished_may_be_gone(study, tmp_path):
    made = study()
    assert unfinished_arms(made, tmp_path) == ["plain", "fla"]
    Runner(made, tmp_path, start=Starts(fla_1="no")).run()
    assert unfinished_arms(made, tmp_path) == ["fla"]
    for file in (tmp_path / "toy" / "images" / "val").iterdir():
        file.unlink()
    (tmp_path / "toy" / "images" / "val").rmdir()
    check_data(made, [])
    with pytest.raises(DatasetError, match="the data of the arm 'fla': the val images are missing"):
        check_data(made, ["fla"])


def test_what_no_figure_depends_on_may_change(study, tmp_path):
    Runner(study(), tmp_path, start=Starts()).run()
    Runner(study(", workers: 1, device: cpu, plots: True, cache: ram"), tmp_path, start=Starts()).run()


def test_each_device_has_a_run(study, tmp_path):
    starts = Starts()
    Runner(study(), tmp_path, ["0", "1"], start=starts).run()
    assert [(d, k) for d, k, _ in starts.devices] == [("0", "0"), ("1", "1"), ("0", "0"), ("1", "1")]


def test_runs_at_a_time_share_the_cores(study, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "cores", lambda: 8)
    monkeypatch.setattr(pool.torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(pool.torch.cuda, "is_available", lambda: False)
    starts = Starts()
    Runner(study(), tmp_path, [None] * 4, start=starts).run()
    assert starts.devices == [(None, None, 2)] * 4


def test_the_number_of_threads_is_the_studys(study, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "cores", lambda: 8)
    monkeypatch.setattr(pool.torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(pool.torch.cuda, "is_available", lambda: False)

    def threads(slots, extra=""):
        return runner._with_threads(study(extra), tmp_path, slots).base.get("threads")

    assert threads([None] * 4) == 2
    assert threads(["0"]) is None
    assert threads([None], ", threads: 3") == 3
    (tmp_path / "recipe.yaml").write_text("threads: 5\n", encoding="utf-8")
    assert threads([None], ", cfg: recipe.yaml") is None  # the recipe's counts
    mixed = study()
    first, *others = mixed.arms
    mixed = replace(mixed, arms={**mixed.arms, first: {**mixed.arms[first], "cfg": str(tmp_path / "recipe.yaml")}})
    made = runner._with_threads(mixed, tmp_path, [None] * 4)
    assert [made.run(arm, 0).keys["threads"] for arm in (first, *others)] == [5] + [2] * len(others)
    (tmp_path / "study.yaml").write_text(made.yaml_text(), encoding="utf-8")
    made = runner._with_threads(mixed, tmp_path, [None])
    assert [made.run(arm, 0).keys["threads"] for arm in (first, *others)] == [5] + [2] * len(others)  # as it began
    (tmp_path / "study.yaml").unlink()
    made = runner._with_threads(study(), tmp_path, [None] * 4)
    (tmp_path / "study.yaml").write_text(made.yaml_text(), encoding="utf-8")
    assert threads([None]) == 2  # as it began
    (tmp_path / "study.yaml").unlink()
    monkeypatch.setattr(pool.torch.cuda, "is_available", lambda: True)
    assert threads([None]) is None
    assert threads([None], ", device: cpu") == 8


@pytest.mark.parametrize(
    ("devices", "jobs", "slots"),
    [
        (None, None, [None]), (None, 3, [None] * 3), ([0, 1], None, ["0", "1"]), ("0,1", None, ["0", "1"]),
        (2, None, ["2"]), ([0, 1], 3, ["0", "1", "0"]),
    ],
)  # fmt: skip
def test_places_for_runs(devices, jobs, slots):
    assert pool.slots_of(devices, jobs) == slots


@pytest.mark.parametrize(("devices", "jobs"), [("a", None), ([0, 0], None), (None, 0), (None, True), (None, "2")])
def test_places_that_there_are_not(devices, jobs):
    with pytest.raises(ConfigError):
        pool.slots_of(devices, jobs)


def test_a_stop_lets_the_runs_save_and_tells_how_to_go_on(study, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", "ultralytics")
    never = Done(None)

    def start(file, device):
        return never

    def interrupt(_):
        monkeypatch.setattr(pool.time, "sleep", lambda _: None)
        raise KeyboardInterrupt

    monkeypatch.setattr(pool.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Runner(study(), tmp_path, start=start, command="go on").run()
    assert never.asked == ["terminate"]
    assert "Go on with: go on" in caplog.text
    assert read_record(tmp_path / "plain-0") is None  # it has not failed
    assert not (tmp_path / "plain-0" / LOCK).exists()


def test_a_process_that_cannot_be_started_holds_no_run(study, tmp_path):
    with pytest.raises(OSError, match="no processes"):
        Runner(study(), tmp_path, start=Starts(plain_0=OSError("no processes"))).run()
    assert not (tmp_path / "plain-0" / LOCK).exists()


def test_a_record_that_is_damaged_is_named(study, tmp_path):
    Runner(study(), tmp_path, start=Starts()).run()
    (tmp_path / "fla-1" / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"fla-1.run\.json: not valid JSON"):
        Runner(study(), tmp_path, start=Starts()).run()
    (tmp_path / "fla-1" / "run.json").unlink()
    for text in ("[]", '{"study": "s", "arm": "fla", "seed": 1, "keys": [], "test": {}}'):
        (tmp_path / "fla-1" / JOB_FILE).write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=r"fla-1.job\.json: this is not a job"):
            Runner(study(), tmp_path, start=Starts()).run()


# Real runs


def write_study(folder, toy, tiny, epochs, more=""):
    text = f"base: {{data: {toy}, imgsz: 64, epochs: {epochs}, batch: 4, workers: 0, device: cpu, threads: 1}}\n"
    text += f"arms: {{plain: {{model: {tiny}}}, fla: {{model: {tiny}{more}}}}}\nseeds: 2\n"
    file = folder / "s.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def command(file, out):
    return [sys.executable, str(CLONE / "ultralytics"), "study", f"cfg={file}", f"out={out}"]


@pytest.fixture
def started():
    """Starts studies; none outlives its test."""
    found = []

    def start(file, out):
        words, pipe = command(file, out), subprocess.PIPE
        found.append(subprocess.Popen(words, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True))
        return found[-1]

    yield start
    for process in found:
        if process.poll() is None:
            process.kill()  # its runs leave with it
            process.communicate()


def children(pid):
    """Processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except (OSError, IndexError):
            continue
    return found


def epochs_done(out):
    return sum(len(f.read_text(encoding="utf-8").splitlines()) - 1 for f in out.glob("*/results.csv"))


def wait_for_epochs(out, more):
    until = epochs_done(out) + more
    wait_for(lambda: epochs_done(out) >= until)


def wait_for(happened, seconds=300):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked for in /proc")
def test_a_study_that_was_killed_five_times_ends_as_one_that_was_not(tmp_path, toy, tiny, started):
    file = write_study(tmp_path, toy, tiny, epochs=8, more=", lr0: 0.02, optimizer: SGD")
    # Never killed, and shared by two processes: each run is begun by one of them.
    both = [started(file, tmp_path / "whole") for _ in range(2)]
    message = [p.communicate(timeout=900)[0] for p in both]
    assert [p.returncode for p in both] == [0, 0], message
    assert sorted(re.findall(r"begins: +(\S+)", "".join(message))) == ["fla-0", "fla-1", "plain-0", "plain-1"]
    # Killed at random moments: after up to three more epochs, and a part of one.
    chance = random.Random(0)
    out = tmp_path / "killed"
    for _ in range(5):
        process = started(file, out)
        wait_for_epochs(out, chance.randint(0, 3))
        time.sleep(chance.uniform(0, 1))
        assert process.poll() is None, process.communicate()
        run = children(process.pid)
        process.kill()
        process.communicate()
        wait_for(lambda run=run: not any(Path("/proc", str(p)).exists() for p in run), 20)
    # Then a run's own process, which the study survives: the run has failed, and the next call goes on with it.
    process = started(file, out)
    wait_for_epochs(out, 1)
    wait_for(lambda: children(process.pid))
    os.kill(children(process.pid)[0], signal.SIGKILL)
    message = process.communicate(timeout=900)[0]
    assert process.returncode == 2, message
    assert "its process was killed" in message
    process = started(file, out)
    message = process.communicate(timeout=900)[0]
    assert process.returncode == 0, message
    found = [json.loads((folder / "study.json").read_text(encoding="utf-8")) for folder in (tmp_path / "whole", out)]
    for data in found:
        assert {"fla-0", "fla-1", "plain-0", "plain-1"} <= set(data.pop("times"))
    assert found[0] == found[1]
    assert [r["state"] for r in found[0]["records"]] == ["finished"] * 4
    for name in ("fla-0", "plain-1"):
        pairs = [read_seen(folder / name / "test" / "seen.npz") for folder in (tmp_path / "whole", out)]
        assert all((a.found == b.found).all() and a.file == b.file for a, b in zip(*pairs, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_of_real_runs(tmp_path, toy, tiny, started):
    """Stopped by SIGTERM, gone on with, one run of it failing; what is recorded, and that the test is `val`'s."""
    file = write_study(tmp_path, toy, tiny, epochs=6, more=", freeze: [99]")
    process = started(file, tmp_path / "out")
    wait_for_epochs(tmp_path / "out", 1)
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=120)[0]
    assert process.returncode == 143, message
    assert "Go on with: " in message
    assert not (tmp_path / "out" / "plain-0" / "run.json").exists()
    records = {f"{r.arm}-{r.seed}": r for r in run_study(file, tmp_path / "out")}
    assert "Resuming" in (tmp_path / "out" / "plain-0" / "train.log").read_text(encoding="utf-8")
    assert {n: r.state for n, r in records.items()} == {
        "plain-0": FINISHED, "fla-0": FAILED, "plain-1": FINISHED, "fla-1": FAILED,
    }  # fmt: skip
    assert "freeze=[99]" in records["fla-0"].error
    plain = records["plain-0"]
    facts = plain.facts
    assert (facts["test split"], facts["selection and test"]) == ("val", "on the same split")
    assert (facts["epochs planned"], facts["epochs run"]) == (6, 6)
    assert facts["steps done"] == facts["steps planned"] == 9
    assert (facts["device"], facts["threads"]) == ("cpu", 1)
    assert len(facts["test data"]) == 64
    assert plain.cost["parameters"] > 0
    metrics = json.loads((tmp_path / "out" / "plain-0" / "test" / "metrics.json").read_text(encoding="utf-8"))
    assert plain.figures["AP"] == metrics["coco"]["AP"]
    assert plain.figures["mAP50-95"] == metrics["mAP50-95"]
    seen = read_seen(tmp_path / "out" / "plain-0" / "test" / "seen.npz")
    assert len(seen) == 6
    assert sum(len(s.truths) for s in seen) == metrics["instances"]
    done = subprocess.run(command(file, tmp_path / "out"), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: 2 runs of 4 failed: fla-0, fla-1" in done.stderr
    assert (tmp_path / "out" / "table.md").exists()
