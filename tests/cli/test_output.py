"""`--quiet` and `--json`: what a command writes, and where."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers.runs import settings_of
from ultralytics.cli import main
from ultralytics.cli.command import COMMANDS
from ultralytics.cli.output import split_output
from ultralytics.utils import events, log
from ultralytics.utils.errors import ConfigError


def read(text):
    records = [json.loads(line, parse_constant=lambda name: 1 / 0) for line in text.splitlines()]
    for record in records:
        assert record["version"] == events.VERSION
        assert record["event"] in events.STREAM
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", record["time"])
    assert [r["time"] for r in records] == sorted(r["time"] for r in records)
    names = [r["event"] for r in records]
    assert (names[0], names[-1]) == ("start", "end")
    assert names.count("start") == names.count("end") == 1
    return records


@pytest.mark.parametrize(
    ("words", "rest", "output"),
    [
        ("train epochs=1", "train epochs=1", "text"),
        ("train --json epochs=1", "train epochs=1", "json"),
        ("--quiet train", "train", "quiet"),
        ("train quiet", "train", "quiet"),
        ("train quiet=True json=False", "train", "quiet"),
        ("predict json=events --quiet", "predict", "json"),
        ("train --quiet=false", "train", "text"),
        ("info --json", "info --json", "text"),
        ("info json=True", "info json=True", "text"),
        ("info json=events", "info", "json"),
        ("--json=events check-data", "check-data", "json"),
        ("train source=json", "train source=json", "text"),
        ("study report quiet", "study report", "quiet"),
    ],
)
def test_words_that_choose_the_output(words, rest, output):
    assert split_output(words.split()) == (rest.split(), output)


@pytest.mark.parametrize("word", ["quiet=loud", "json=xml", "--json=1.5"])
def test_other_values_are_errors(word, capsys):
    with pytest.raises(ConfigError, match="must be True or False"):
        split_output(["train", word])
    assert main(["train", word]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("name", [n for n, c in COMMANDS.items() if not c.kinds()])
def test_a_mistake_in_any_command_is_an_event_with_its_hint(name, capsys):
    assert main([*name.split(), "epochz=3", "json=events"]) == 2
    out, err = capsys.readouterr()
    start, error, end = read(out)
    assert start["command"] == [*name.split(), "epochz=3"]
    assert (error["event"], error["kind"], error["code"], end["code"]) == ("error", "mistake", 2, 2)
    assert "epochz" in error["message"]
    assert error["hint"]
    assert err == f"error: {error['text']}\n"
    assert not events.heard()
    assert log.output() == "text"


def test_a_fault_of_ours_is_an_event_too(capsys, monkeypatch):
    monkeypatch.setattr(COMMANDS["compare"], "run", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["compare", "runs=[a,b]", "--json"])
    records = read(capsys.readouterr().out)
    assert [(r["event"], r.get("kind"), r.get("code")) for r in records] == [
        ("start", None, None), ("error", "fault", 1), ("end", None, 1)
    ]  # fmt: skip


def test_a_missing_package_is_a_mistake(capsys, monkeypatch):
    def work(self):
        raise ModuleNotFoundError("No module named 'tqdn'", name="tqdn")

    monkeypatch.setattr(COMMANDS["compare"], "run", work)
    with pytest.raises(ModuleNotFoundError):  # `__main__` prints the line, and leaves with 2
        main(["compare", "runs=[a,b]", "--json"])
    _, error, end = read(capsys.readouterr().out)
    assert (error["kind"], error["code"], end["code"]) == ("mistake", 2, 2)


def test_an_answer_is_a_result(capsys):
    assert main(["--version", "--json"]) == 0
    _, result, _ = read(capsys.readouterr().out)
    assert re.match(r"\d+\.\d+", result["text"])


def test_what_is_printed_goes_to_standard_error(capsys, monkeypatch):
    def chatter(self):
        print("a library")
        log.LOGGER.info("a message")
        log.LOGGER.warning("look\nthere")
        return 0

    monkeypatch.setattr(COMMANDS["compare"], "run", chatter)
    assert main(["compare", "runs=[a,b]", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [r.get("text") for r in read(out)] == [None, "look\nthere", None]
    assert err == "a library\na message\nlook\nthere\n"


def test_quiet_leaves_errors_and_answers(capsys, monkeypatch):
    def work(self):
        for _ in log.progress(range(3), desc="Working"):
            log.LOGGER.info("a message")
            log.LOGGER.warning("a warning")
        log.LOGGER.error("a failure")
        events.emit("result", text="the answer", figure=1)
        return 0

    monkeypatch.setattr(COMMANDS["compare"], "run", work)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["compare", "runs=[a,b]", "--quiet"]) == 0
    assert capsys.readouterr() == ("a failure\nthe answer\n", "")
    assert log.LOGGER.level == log.logging.INFO


def test_progress_is_heard_once_a_second_at_most(monkeypatch):
    now = [0.0]
    heard = []
    lines = log.Lines(range(100), desc="  Checking   images", clock=lambda: now[0])
    with events.heard_by(heard.append):
        for _ in lines:
            now[0] += 0.25
    assert 20 <= len(heard) <= 25
    assert {r["task"] for r in heard} == {"Checking images"}
    assert heard[0]["left"] == pytest.approx(heard[0]["elapsed"] / heard[0]["done"] * (100 - heard[0]["done"]))


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX's")
@pytest.mark.parametrize(
    ("columns", "variables", "drawn"),
    [(80, {}, True), (24, {"COLUMNS": "3"}, True), (80, {"NO_COLOR": "1"}, True), (80, {"TERM": "dumb"}, False),
     (12, {}, False), (0, {}, False)],
)  # fmt: skip
def test_no_garbage_on_any_terminal(columns, variables, drawn, monkeypatch):
    """A bar goes back to the beginning of its line, and stays within it; elsewhere there are lines alone."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    monkeypatch.setenv("TERM", "xterm")
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    with open(theirs, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        for _ in log.progress(range(20), desc="A description that is longer than a narrow terminal"):
            pass
        stream.write("end")
    text = os.read(ours, 100_000).decode()
    os.close(ours)
    monkeypatch.undo()
    shown = text.replace("\r\n", "\n").removesuffix("end")
    assert bool(shown) == drawn
    assert all(len(part) <= columns for part in re.split(r"[\r\n]", shown))
    assert not re.search(r"\x1b(?!\[A)|\t", shown)


def test_an_output_whose_reader_has_left_costs_a_run_nothing(monkeypatch):
    """The command is done, and the exit code says that its output was lost."""

    class Left:
        encoding = "utf-8"

        def write(self, text):
            raise BrokenPipeError

    done = []
    monkeypatch.setattr(sys, "stdout", Left())
    monkeypatch.setattr(COMMANDS["compare"], "run", lambda self: done.append(1) or 0)
    assert main(["compare", "runs=[a,b]", "--json"]) == 141
    assert done == [1]


def start(words, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "ultralytics", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


@pytest.mark.slow
def test_a_training_and_a_prediction_as_events(tiny, toy, tmp_path):
    keys = settings_of(tmp_path, tiny, toy) | {"epochs": 2}
    plugin = tmp_path / "loud.py"
    plugin.write_text("import os\nos.write(1, b'from C\\n')\nprint('from Python')\n")
    words = [f"{k}={v}" for k, v in keys.items()]
    process = start(["train", *words, f"plugins={plugin}", "--json"])
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    records = [r for r in read(out) if r["event"] not in ("progress", "warning")]
    assert [r["event"] for r in records] == ["start", "run", "epoch", "epoch", "metrics", "result", "end"]
    folder = tmp_path / "runs" / "run"
    assert records[1]["folder"] == str(folder)
    assert records[1]["settings"]["epochs"] == 2
    header = (folder / "results.csv").read_text().splitlines()[0].split(",")
    assert [list(r["figures"]) for r in records[2:4]] == [header, header]
    assert [r["epoch"] for r in records[2:4]] == [1, 2]
    assert records[-2]["weights"] == str(folder / "weights" / "best.pt")
    assert records[-2]["figures"]["metrics/mAP50-95(B)"] == records[-3]["figures"]["metrics/mAP50-95(B)"]
    assert {"from C", "from Python"} <= set(err.splitlines())
    assert "\r" not in err  # no terminal, no bar
    source = next((toy.parent / "images").rglob("*.png"), None) or next((toy.parent / "images").rglob("*.jpg"))
    process = start(["predict", f"model={folder / 'weights' / 'best.pt'}", f"source={source}",
                     f"project={tmp_path / 'p'}", "--json"])  # fmt: skip
    records = read(process.communicate(timeout=300)[0])
    assert (records[-2]["event"], records[-2]["images"]) == ("result", 1)
    seen = [r for r in records if r["event"] == "image"]
    assert [(r["path"], len(r["objects"])) for r in seen] == [(str(source), records[-2]["boxes"])]
    process = start(["val", f"model={folder / 'weights' / 'best.pt'}", "--quiet", f"project={tmp_path / 'v'}"])
    out, err = process.communicate(timeout=300)
    assert (len(out.splitlines()), err) == (1, "")
    assert "mAP50-95 " in out


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_says_so_last(tiny, toy, tmp_path, number, code):
    keys = settings_of(tmp_path, tiny, toy) | {"epochs": 10000, "patience": 0}
    process = start(["train", *(f"{k}={v}" for k, v in keys.items()), "--json"])
    line = ""
    while '"epoch"' not in line:
        line = process.stdout.readline()
        assert line
    os.kill(process.pid, number)
    rest, err = process.communicate(timeout=300)
    *_, stopped, end = [json.loads(r) for r in rest.splitlines()]
    assert (stopped["event"], stopped["signal"], stopped["code"]) == ("interrupted", signal.Signals(number).name, code)
    assert (end["event"], end["code"], process.returncode) == ("end", code, code)
    assert "Go on with" in err


@pytest.mark.slow
def test_several_processes_are_one_stream(tiny, toy, tmp_path):
    keys = settings_of(tmp_path, tiny, toy) | {"epochs": 2, "device": "cpu,cpu", "batch": 4}
    process = start(["train", *(f"{k}={v}" for k, v in keys.items()), "--json"])
    began = time.monotonic()
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, (err, time.monotonic() - began)
    names = [r["event"] for r in read(out) if r["event"] not in ("progress", "warning")]
    assert names == ["start", "run", "epoch", "epoch", "metrics", "result", "end"]
