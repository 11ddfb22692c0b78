import io
import json
import logging
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ultralytics
from tests.conftest import write_tiny, write_toy
from ultralytics.cli import MODES, main
from ultralytics.utils import console, log
from ultralytics.utils.log import LOGGER, Lines, progress, setup_console

CLONE = Path(ultralytics.__file__).parents[1]
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
POSIX = pytest.mark.skipif(os.name != "posix", reason="descriptors are closed by a shell")
ENCODINGS = ["ascii", "cp1252", "cp437", "latin-1", "gbk", "shift_jis", "cp1251", "utf-8", "utf-16", "koi8-r"]


def stream_of(encoding):
    """A strict stream of an encoding, as a redirection on Windows gives one, and what was written to it."""
    written = io.BytesIO()
    return io.TextIOWrapper(written, encoding=encoding, errors="strict", write_through=True), written


class GoneStream(io.StringIO):
    """A stream whose every operation fails."""

    encoding = "utf-8"

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    flush = isatty = lambda self: (_ for _ in ()).throw(self.error)


class TerminalStream(io.StringIO):
    """A terminal in memory."""

    def __init__(self, encoding="utf-8", error=None):
        super().__init__()
        self.codec, self.error = encoding, error

    @property
    def encoding(self):
        return self.codec

    def isatty(self):
        return True

    def write(self, text):
        if self.error is not None:
            raise self.error
        text.encode(self.codec)
        return super().write(text)


# Encodings


@given(st.text(alphabet=st.characters(codec=None), max_size=100), st.sampled_from(ENCODINGS))
def test_any_text_can_be_written_in_any_encoding(text, encoding):
    stream, written = stream_of(encoding)
    if not any("\ud800" <= c <= "\udfff" for c in text):  # UTF-16 knows these
        console.write(text, stream)
        stream.flush()
        written.getvalue().decode(encoding)
    console.write(text, stream_of("ascii")[0])


def test_what_an_encoding_lacks_stays_readable():
    text = "3×4 – 5 … 图 ä → %s\n"
    assert console.showable(text, "ascii") == "3x4 - 5 ... \\u56fe \\xe4 -> %s\n"
    assert console.showable(text, "gbk") == "3×4 – 5 … 图 \\xe4 → %s\n"
    assert console.showable(text, "cp1252") == "3×4 – 5 … \\u56fe ä -> %s\n"
    assert console.showable(text, "utf-8") == console.showable(text, None) == text
    assert console.showable(text, "no-such-encoding") == console.showable(text, "ascii")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "gbk"])
def test_help_messages_and_errors_on_any_console(encoding, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    out, written = stream_of(encoding)
    err, errors = stream_of(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    for words in ([], *([mode, "--help"] for mode in MODES), ["prepare", "coco", "--help"]):
        assert main(words) == 0
    assert main(["train", "model=yolov8n.yaml", "data=图 \udcff ä.yaml"]) == 2
    assert main(["tráin"]) == 2
    # Not by the logger: pytest captures what it is given, and cannot send such a letter between its processes.
    [handler] = [h for h in LOGGER.handlers if isinstance(h, log._Console)]
    handler.emit(logging.makeLogRecord({"msg": "%s \udcff", "args": ("细胞 × 3",), "levelno": logging.INFO}))
    assert "usage: python -m ultralytics train" in written.getvalue().decode(encoding)
    assert errors.getvalue().decode(encoding).count("error: ") == 2


def test_json_is_alone_on_standard_output(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(log, "EVERY", 0.0)
    monkeypatch.setattr("ultralytics.data.check.chart.plot_dataset", lambda *_: None)
    main(["check-data", f"data={toy}", "near=False", "--json"])
    done = capsys.readouterr()
    assert json.loads(done.out)
    assert "Reading images: 1 of 18" in done.err
    main(["check-data", f"data={toy}", "near=False"])
    assert "Reading images: 1 of 18" in capsys.readouterr().out


def test_bars_are_drawn_in_what_the_terminal_has(monkeypatch):
    for encoding in ("cp1252", "cp437", "ascii", "gbk", "utf-8"):
        terminal = TerminalStream(encoding)
        monkeypatch.setattr(sys, "stderr", terminal)
        assert list(progress(range(5), desc="图 \x1b[2J", mininterval=0.0)) == list(range(5))
        assert "5/5" in terminal.getvalue()
        assert "\x1b[2J" not in terminal.getvalue()
        assert ("█" in terminal.getvalue()) == (encoding in ("gbk", "utf-8"))


# No console


@pytest.mark.parametrize(
    "stream",
    [
        None,
        *(GoneStream(e) for e in (OSError(28, "full"), OSError(5, "gone"), BrokenPipeError(), ValueError("closed"))),
        GoneStream(RuntimeError("wrapped C/C++ object has been deleted")),
        type("OnlyWrite", (), {"write": lambda self, text: None})(),
    ],
    ids=lambda s: type(getattr(s, "error", s)).__name__,
)
def test_messages_and_loops_need_no_stream(stream, monkeypatch):
    setup_console()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    LOGGER.info("a message")
    LOGGER.warning("another")
    console.say("a third", error=True)
    console.settle()
    assert list(progress(range(3))) == [0, 1, 2]
    assert main(["trian"]) == 2


def test_a_terminal_that_goes_away_ends_no_loop(monkeypatch):
    terminal = TerminalStream()
    monkeypatch.setattr(sys, "stderr", terminal)
    done = []
    for i in progress(range(6), mininterval=0.0):
        done.append(i)
        if i == 2:
            terminal.error = OSError(28 if i % 2 else 5, "Input/output error")
            LOGGER.info("in between")
    assert done == list(range(6))


@FULL
def test_a_full_disk_leaves_nothing_behind_in_the_stream():
    """What stays in a buffer fails again when workers are forked, and at the end of the program."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        console.tell("x" * 100_000, full)
        with pytest.raises(OSError, match="No space left"):
            console.write("x", full)
        full.flush()
        os.close(os.dup(full.fileno()))


@FULL
def test_what_was_asked_for_must_arrive(monkeypatch, capsys):
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["train", "--help"]) == 2
        LOGGER.info("not this")
    assert capsys.readouterr().err == "error: standard output: the output cannot be written: No space left on device\n"


def run(code, redirection, cwd, **env):
    """Run Python code in a shell that closes or redirects descriptors."""
    return subprocess.run(
        ["bash", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code], cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(CLONE), **env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@POSIX
@pytest.mark.parametrize("redirection", ["<&- >&- 2>&-", ">&- 2>&-", "2>&-"])
def test_no_file_gets_the_number_of_a_closed_stream(redirection, tmp_path):
    code = (
        "import os, sys, subprocess\n"
        "from ultralytics.utils.console import prepare_streams\n"
        "prepare_streams()\n"
        "file = open('file', 'wb')\n"
        "assert file.fileno() > 2\n"
        "os.write(1, b'stray'); os.write(2, b'stray'); print('stray'); sys.stderr.write('stray'); sys.stdin.read()\n"
        "child = 'import os, sys; [os.fstat(i) for i in range(3)]; print(1)'\n"
        "assert subprocess.run([sys.executable, '-c', child]).returncode == 0\n"
        "file.write(b'whole')\n"
    )
    assert run(code, redirection, tmp_path).returncode == 0
    assert (tmp_path / "file").read_bytes() == b"whole"


@FULL
@POSIX
@pytest.mark.parametrize("redirection", ["> /dev/full 2>&1", ">&- 2>&-"])
def test_an_end_with_unwritten_prints_of_others_is_no_failure(redirection, tmp_path):
    code = (
        "import sys; from ultralytics.__main__ import run; import ultralytics.cli.program as cli\n"
        "cli._dispatch = lambda words: print('a plugin prints') or 0\n"
        "sys.exit(run())"
    )
    assert run(code, redirection, tmp_path).returncode == 0


# Lines where no bar is seen


def test_a_line_every_minute(capsys):
    setup_console()
    now = [0.0]
    bar = Lines(enumerate(range(10), 2), "1/3 0G 0.5", total=12, initial=2, clock=lambda: now[0])
    for i, _ in bar:
        now[0] += 25
        bar.set_description(f"1/3 0G {i}")
    assert capsys.readouterr().out.splitlines() == [
        "1/3 0G 4: 5 of 12, 01:15 passed, 02:55 left",
        "1/3 0G 7: 8 of 12, 02:30 passed, 01:40 left",
        "1/3 0G 10: 11 of 12, 03:45 passed, 00:25 left",
    ]
    for _ in Lines(iter("abc"), "Reading", clock=lambda: now[0]):
        now[0] += 61
    assert capsys.readouterr().out.splitlines()[0] == "Reading: 1, 01:01 passed"
    with Lines(desc="a.tar", total=4 << 20, unit="B", unit_scale=True, unit_divisor=1024, clock=lambda: now[0]) as bar:
        now[0] += 60
        bar.update(1 << 20)
    assert capsys.readouterr().out.splitlines() == ["a.tar: 1.00M of 4.00MB, 01:00 passed, 03:00 left"]


def test_a_short_loop_and_a_silent_process_tell_nothing(monkeypatch, capsys):
    setup_console()
    list(progress(range(1000), desc="quick"))
    monkeypatch.setattr(log, "_silent", True)
    monkeypatch.setattr(log, "EVERY", 0.0)
    setup_console()
    list(progress(range(3), desc="of another rank"))
    monkeypatch.setattr(log, "_silent", False)
    setup_console()
    assert capsys.readouterr().out == ""
    list(progress(range(3), desc="of the leader"))
    assert capsys.readouterr().out.splitlines()[0].startswith("of the leader: 1 of 3, ")


def test_a_line_costs_less_than_a_microsecond_a_turn():
    best = min(_seconds(Lines(range(100_000))) for _ in range(3))
    assert best < 0.2


def _seconds(loop):
    start = time.perf_counter()
    for _ in loop:
        pass
    return time.perf_counter() - start


# Whole runs


@pytest.fixture(scope="module")
def given_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, write_tiny(folder), write_toy(folder)


def train_words(model, data, *more):
    words = ["train", f"model={model}", f"data={data}", "epochs=2", "imgsz=32", "batch=4", "device=cpu", "workers=1"]
    return [sys.executable, "-m", "ultralytics", *words, "plots=False", "exist_ok=True", "preflight=False", *more]


@FULL
@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
@pytest.mark.parametrize(
    "redirection",
    [">&- 2>&-", "<&- >&- 2>&-", "> /dev/full", "> /dev/full 2>&1", "2> /dev/full", "| true", "2>&1 | head -n 1"],
)
def test_a_run_needs_no_console(redirection, device, given_run, tmp_path):
    _, model, data = given_run
    script = f'"$@" {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *train_words(model, data, f"device={device}")], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CLONE)}, capture_output=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr + done.stdout
    run = tmp_path / "runs" / "detect" / "train"
    assert json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert main(["info", f"model={run / 'weights' / 'last.pt'}"]) == 0


@POSIX
@pytest.mark.slow
def test_a_closed_terminal_ends_no_run_that_ignores_its_signal(given_run, tmp_path):
    _, model, data = given_run
    mine, terminal = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", "trap '' HUP; exec \"$@\"", "bash", *train_words(model, data)], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CLONE)}, stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    while b"Training 2" not in seen:
        seen += os.read(mine, 1000)
    os.close(mine)
    assert process.wait(240) == 0
    assert (tmp_path / "runs" / "detect" / "train" / "metrics.json").is_file()


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("redirection", [">&- 2>&-", "> /dev/full 2>&1"])
def test_a_program_without_a_console_trains(redirection, given_run, tmp_path):
    """As in a window program (pythonw) or a daemon: `sys.stdout` is None."""
    _, model, data = given_run
    code = (
        "from ultralytics import YOLO\n"
        "if __name__ == '__main__':\n"
        f"    model = YOLO({str(model)!r})\n"
        f"    model.train(data={str(data)!r}, epochs=1, imgsz=32, batch=4, device='cpu', workers=1, plots=False)\n"
        f"    model.predict({str(data.parent / 'images' / 'val')!r}, imgsz=32, save=True)\n"
        "    open('done', 'w').close()\n"
    )
    assert run(code, redirection, tmp_path).returncode == 0
    assert (tmp_path / "done").exists()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii:strict", "cp1252", "gbk"])
def test_every_command_on_consoles_that_are_not_utf8(encoding, tmp_path):
    data = write_toy(tmp_path)
    folder = tmp_path / "数据 [é]"
    data.parent.rename(folder)
    data = folder / "细胞 ä.yaml"
    (folder / "toy.yaml").rename(data)
    model = write_tiny(tmp_path)
    best = tmp_path / "runs" / "图 ä" / "weights" / "best.pt"
    common = ["imgsz=32", "device=cpu"]
    commands = [
        ["check-data", f"data={data}"],
        train_words(model, data, "project=runs", "name=图 ä", "plots=True")[3:],
        ["val", f"model={best}", f"data={data}", "save_txt=True", *common],
        ["predict", f"model={best}", f"source={folder / 'images' / 'val'}", "conf=0.001", *common],
        ["predict", f"model={best}", f"source={folder / 'nichts ä'}"],
        ["info", f"model={best}"],
        ["show", f"data={data}", "n=2"],
        ["subset", f"data={data}", f"out={folder / '子.yaml'}", "classes=绿"],
        ["export-coco", f"data={data}", f"out={folder / '子.json'}"],
        ["insert", "model=yolov8n.yaml", "after=9", "module=FLABlock", f"out={folder / '网.yaml'}"],
    ]
    for words in commands:
        done = subprocess.run(
            [sys.executable, "-m", "ultralytics", *words], cwd=tmp_path, capture_output=True, timeout=120, check=False,
            env={**os.environ, "PYTHONPATH": str(CLONE), "PYTHONIOENCODING": encoding},
        )  # fmt: skip
        message = done.stdout + done.stderr
        assert b"Traceback" not in message, message
        assert b"Unicode" not in message, message
        assert done.returncode == (2 if "nichts" in words[-1] else done.returncode if words[0] == "check-data" else 0)


def test_the_name_of_a_file_breaks_no_line(capsys):
    setup_console()
    LOGGER.warning("%s: is cut off, %d bytes", "a\nb\x1b.jpg", 3)
    LOGGER.warning("%s: no", Path("c\nd"))
    LOGGER.warning("%s", "a table\nof two lines")
    assert capsys.readouterr().out == "a\\x0ab\\x1b.jpg: is cut off, 3 bytes\nc\\x0ad: no\na table\nof two lines\n"
