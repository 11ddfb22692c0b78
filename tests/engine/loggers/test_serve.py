"""What a logger's process does with the events of a run."""

import csv
import json
import math

import pytest

from ultralytics.engine.loggers import serve, table
from ultralytics.engine.loggers.logger import Logger

METHODS = ("open", "note", "epoch", "final", "images", "weights", "close")


def row(epoch):
    return {"epoch": epoch, "time": 1.5 * epoch, "metrics/mAP50(B)": epoch / 10, "val/box_loss": None}


def begun(folder, rows=(), continued=False):
    return {
        "event": "run", "folder": str(folder), "project": "detect", "name": folder.name, "group": "fla",
        "continued": continued, "settings": {"epochs": 3, "lr0": 0.01, "data": "~/a,b.yaml"}, "rows": list(rows),
    }  # fmt: skip


def epoch(number):
    return {"event": "epoch", "epoch": number, "figures": row(number)}


def story(folder, plot):
    weights = folder / "best.pt"
    weights.write_bytes(b"w")
    plot.write_bytes(b"p")
    return [
        begun(folder), epoch(1), epoch(2), {"event": "warning", "text": "of no logger's concern"},
        {"event": "metrics", "figures": {"metrics/mAP50(B)": 0.2}},
        {"event": "files", "kind": "images", "files": [str(plot), str(folder / "gone.png")]},
        {"event": "files", "kind": "weights", "files": [str(weights)]}, {"event": "end", "status": "finished"},
    ]  # fmt: skip


@pytest.fixture
def fake(monkeypatch):
    """A logger that notes its calls, and fails at one of them."""

    class Fake(Logger):
        name = "fake"
        calls, fails = [], ""

        def __getattribute__(self, method):
            if method not in METHODS:
                return super().__getattribute__(method)

            def call(*values):
                type(self).calls.append((method, *values))
                if method == type(self).fails:
                    raise type(self).error(f"no\n{method}")
                return "id-7" if method == "open" else "see there" if method == "note" else None

            return call

        error = RuntimeError

    monkeypatch.setitem(table.LOGGERS, "fake", Fake)
    return Fake


def fed(records, word="fake"):
    said = []
    serve.feed(word, [json.dumps(r) for r in records], lambda *a: said.append(a))
    return said


def test_a_logger_gets_a_run_in_order(fake, tmp_path):
    assert fed(story(tmp_path, tmp_path / "results.png")) == [("info", "see there"), ("closed", "")]
    assert [c[0] for c in fake.calls] == ["open", "note", "epoch", "epoch", "final", "images", "weights", "close"]
    run = fake.calls[0][1]
    assert (run.folder, run.project, run.name, run.group, run.id, run.done) == (
        tmp_path, "detect", tmp_path.name, "fla", "", 0
    )  # fmt: skip
    assert fake.calls[3][1:] == (2, {"epoch": 2, "time": 3.0, "metrics/mAP50(B)": 0.2})  # null is not logged
    assert fake.calls[5] == ("images", 2, [tmp_path / "results.png"])  # what is gone is left out
    assert fake.calls[-1] == ("close", "finished")
    assert json.loads((tmp_path / "loggers" / "fake.json").read_text()) == {"id": "id-7", "epochs": 2}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt, AssertionError])
def test_whatever_fails_is_one_warning_and_the_log_is_closed(fake, tmp_path, method, error):
    fake.fails, fake.error = method, error
    said = [a for a in fed(story(tmp_path, tmp_path / "results.png")) if a[0] != "info"]
    assert said == [("warning", f"{error.__name__}: no {method}: it is off, and the run continues"), ("closed", "")]
    assert [c[0] for c in fake.calls].count(method) == 1
    if method not in ("open", "note", "close"):
        assert fake.calls[-1][0] == "close"


def test_a_run_that_goes_on_keeps_its_id_and_brings_what_was_not_logged(fake, tmp_path):
    fed([begun(tmp_path), epoch(1), epoch(2)])  # killed: the input ends
    assert fake.calls[-1] == ("close", "killed")
    fake.calls.clear()
    fed([begun(tmp_path, [row(1), row(2), row(3)], continued=True), epoch(4), {"event": "end", "status": "stopped"}])
    assert (fake.calls[0][1].id, fake.calls[0][1].done) == ("id-7", 3)
    assert [c[1] for c in fake.calls if c[0] == "epoch"] == [3, 4]
    assert fake.calls[-1] == ("close", "stopped")
    fake.calls.clear()
    fed([begun(tmp_path, [row(1)], continued=True), epoch(2)])  # from an earlier save
    assert [c[1] for c in fake.calls if c[0] == "epoch"] == [2]
    fake.calls.clear()
    fed([begun(tmp_path), epoch(1)])  # a new run in the folder
    assert fake.calls[0][1].id == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"id": 3, "epochs": "many"}'])
def test_a_damaged_state_costs_the_logger_at_most(fake, tmp_path, content):
    (tmp_path / "loggers").mkdir()
    (tmp_path / "loggers" / "fake.json").write_bytes(content)
    said = fed([begun(tmp_path, [row(1)], continued=True), epoch(2)])
    assert said[-1] == ("closed", "")


def test_a_run_that_never_began_leaves_nothing(fake, tmp_path):
    assert fed([{"event": "end", "status": "failed"}]) == [("closed", "")]
    assert fake.calls == []
    assert list(tmp_path.iterdir()) == []


def test_the_csv_can_be_grouped(tmp_path):
    assert fed(story(tmp_path, tmp_path / "a.png"), "csv") == [("closed", "")]
    with open(tmp_path / "log.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert {(r["name"], r["value"]) for r in lines if r["epoch"] == ""} == {
        ("args/epochs", "3"), ("args/lr0", "0.01"), ("args/data", "~/a,b.yaml")
    }  # fmt: skip
    figures = {(r["epoch"], r["name"]): float(r["value"]) for r in lines if r["epoch"]}
    assert figures["2", "metrics/mAP50(B)"] == 0.2
    assert figures["2", "final/metrics/mAP50(B)"] == 0.2
    assert all(math.isfinite(v) for v in figures.values())
    fed([begun(tmp_path, [row(1), row(2)], continued=True), epoch(3)], "csv")
    with open(tmp_path / "log.csv", newline="", encoding="utf-8") as file:
        assert [r["epoch"] for r in csv.DictReader(file) if r["name"] == "time"] == ["1", "2", "3"]


def test_tensorboard_reads_its_files_back(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install .[tensorboard]")
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    records = story(tmp_path, tmp_path / "results.png")
    Image.new("RGB", (4, 3)).save(tmp_path / "results.png")
    assert fed(records, "tensorboard")[-1] == ("closed", "")
    # Killed after an epoch that its save does not have, and resumed.
    fed([begun(tmp_path, [row(1), row(2)], continued=True), {**epoch(3), "figures": {"time": 99.0}}], "tensorboard")
    fed([begun(tmp_path, [row(1), row(2)], continued=True), epoch(3)], "tensorboard")
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("time")] == [(1, 1.5), (2, 3.0), (3, 4.5)]
    assert [e.step for e in read.Scalars("final/metrics/mAP50(B)")] == [2]
    assert "val/box_loss" not in read.Tags()["scalars"]
    assert [(e.height, e.width) for e in read.Images("plots/results")] == [(3, 4)]
    assert b"|lr0|0.01|" in read.Tensors("settings")[0].tensor_proto.string_val[0]
