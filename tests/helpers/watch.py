"""Run commands of the package in this process over many files, and tell what each did. A program of its own, so that
memory can be limited and Python's audit events be seen:

    python watch.py JOB.json

JOB: commands (each a list of words with FILE in it; "python" and "load" are the two ways of the Python interface),
files (`only`: the first words of the commands that some of them are for), the folder that may be written, in which
TMPDIR should be, and `control`, some MB. One JSON line per run: exit code, standard error, seconds of CPU, forbidden
events, and `peak`, the MB that it held beyond what was held before. The first line is of a run that does what is
forbidden and holds `control` MB, to show that both would be seen.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import resource
import signal
import socket
import sys
import sysconfig
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MEMORY = 2 * 2**30  # bytes beyond what the imports take
SECONDS = 300  # of the clock, which a busy machine may need; what a run computes is reported
FORBIDDEN = (
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn",
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request", "webbrowser.open",
    "pickle.find_class",
)  # fmt: skip

events: list[str] = []
watching = False
writable = ""
TORCH = Path(str(find_spec("torch").origin)).parents[1]  # type: ignore[union-attr]  # it is installed
# Code of these places may be imported while a command runs: lazy imports of torch and of our own.
TRUSTED = tuple(
    str(Path(p).resolve())
    for p in {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix, Path(__file__).resolve().parents[2], TORCH}
)


def hook(event: str, args: tuple[Any, ...]) -> None:
    if not watching:
        return
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        name = os.path.realpath(os.fsdecode(args[0])) if isinstance(args[0], str | bytes) else ""
        if name and not name.startswith((writable, "/dev/null")):
            events.append(f"wrote {name}")
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link"):
        name = os.path.realpath(os.fsdecode(args[0]))
        if not name.startswith(writable):
            events.append(f"{event} {name}")
    elif event == "exec":
        name = getattr(args[0], "co_filename", "")
        generated = name.startswith("<") and sys._getframe(1).f_code.co_filename.startswith(TRUSTED)
        if not generated and not os.path.realpath(name).startswith(TRUSTED) and not name.startswith("<frozen"):
            events.append(f"ran {name}")
    elif event in ("subprocess.Popen", "os.posix_spawn") and os.path.basename(os.fsdecode(args[0])) == "git":
        return  # a run that has begun records whether the clone is as committed; the second is how Python 3.13 does it
    elif event in FORBIDDEN:
        events.append(f"{event} {args!r}"[:200])


def run(words: list[str], file: str) -> int:
    """One command on one file."""
    from ultralytics import YOLO
    from ultralytics.cli import main
    from ultralytics.utils.errors import UserError

    if words[0] == "control":
        pickle.loads(b"cos\nsystem\n(Vtrue\ntR.")
        exec(compile("pass", "/stranger.py", "exec"))  # noqa: S102  # what the watch is for
        bytearray(b"x") * (int(file) * 2**20)
        Path("/dev/full").write_text("", encoding="utf-8")
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
        return 0
    if words[0] not in ("python", "load"):
        return main([w.replace("FILE", file) for w in words])
    try:
        if words[0] == "python":
            YOLO(file)
        else:
            YOLO(words[1]).load(file)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


def resident(peak: bool = False) -> int:
    """MB that this process holds now, or the most since `forget_peak`. Not `ru_maxrss`, which outlives the start of a
    program: a child's begins at what its parent held."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(fields["VmHWM" if peak else "VmRSS"].split()[0]) // 1024


def forget_peak() -> None:
    """Let the next peak be that of the next command; where the system does not allow it, it is the largest so far."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def expired(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def main() -> None:
    global watching, writable
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    writable = os.path.realpath(job["folder"])
    from ultralytics.models.yolo.model import YOLO  # what the commands import, so that the limit is theirs alone

    with contextlib.redirect_stdout(io.StringIO()):
        YOLO("yolov8n.yaml")
    taken = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.RLIM_INFINITY))
    sys.addaudithook(hook)
    signal.signal(signal.SIGALRM, expired)
    for words in [["control"], *job["commands"]]:
        for name, file in [("", str(job["control"]))] if words == ["control"] else job["files"].items():
            if words[0] not in job["only"].get(name, [words[0]]):
                continue
            out, err = io.StringIO(), io.StringIO()
            events.clear()
            forget_peak()
            held = resident()
            started = time.process_time()
            signal.alarm(SECONDS)
            watching = True
            try:
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    code = run(words, file)
            except BaseException:
                code = 1
                err.write(traceback.format_exc())
            watching = False
            signal.alarm(0)
            message = {"command": " ".join(words[:2]), "file": name, "code": code, "err": err.getvalue()[-6000:]}
            message |= {"seconds": round(time.process_time() - started, 3), "events": list(events)}
            message["peak"] = resident(peak=True) - held
            print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
