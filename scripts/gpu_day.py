"""Measure on a GPU all that matters here, within the given minutes; a run that is cut short says what it has seen.

    gpu_day.py OUT [minutes=10 parts=all data=DATA.yaml models=… switches=all imgsz=640 batch=64 device=auto commit=…]

Each part runs in a process group of its own and is ended at its limit, with what it has written kept. A part's limit is
its weight's share of the time that is left, so what a part does not use goes to those behind it. Parts, in their order:
versions, data, step, fla, tests, train, memory, batch, val, ranks.

OUT/gpu_day.jsonl   one line per measurement, written at once
OUT/summary.md      tables and ratios, written anew after every part
OUT/memory.md       the batch that fits by card, network and size
OUT/log.txt         what all parts have printed
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from benchmark import options_of
from gpu_parts import PARTS, Clock, Options, Report, listed
from gpu_summary import summarise

from ultralytics.cfg.dataset import load_dataset
from ultralytics.utils.console import say
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import user_path

DEFAULTS: dict[str, Any] = {
    **{
        "minutes": 10,
        "parts": "all",
        "data": "",
        "imgsz": 0,
        "batch": 0,
        "device": "",
        "models": "",
        "switches": "all",
    },
    **{"commit": ""},
}
GRACE = 5.0  # seconds between the request to end and the kill
LEAST = 3.0  # seconds without which a part is not begun


def main(words: list[str]) -> int:
    """Run the parts; 0 when all came to their end, 1 otherwise, 2 for a mistake in the words."""
    if {"-h", "--help", "help"} & set(words):
        say(str(__doc__))
        return 0
    try:
        if not hasattr(os, "setsid"):
            raise ConfigError("gpu_day.py needs process groups, which Windows has not", hint="run it within WSL2")
        if not words or "=" in words[0]:
            raise ConfigError("where to?", hint="gpu_day.sh OUT [minutes=10]: a folder for the results")
        options = options_of("gpu_day", DEFAULTS, words[1:])
        chosen = parts_of(options["parts"])
        if not isinstance(options["minutes"], int | float) or not 0 < options["minutes"] <= 24 * 60:
            raise ConfigError(f"minutes={options['minutes']} is not a length", hint="a number of minutes, such as 10")
        if options["data"]:
            options["data"] = str(load_dataset(str(options["data"])).yaml_file)
        out = user_path(words[0]).absolute()
        out.mkdir(parents=True, exist_ok=True)
    except (UserError, OSError) as e:
        say(f"error: {e}", error=True)
        return 2
    for name in ("gpu_day.jsonl", "summary.md", "memory.md", "log.txt"):
        (out / name).unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = Path(tempfile.mkdtemp(prefix="gpu-day-"))
    try:
        return run_parts(chosen, out, Options.of(options, out, work), 60 * float(options["minutes"]))
    finally:
        shutil.rmtree(work, ignore_errors=True)
        write_summary(out)
        say(f"\n{(out / 'summary.md').read_text(encoding='utf-8')}\n{out}: summary.md, gpu_day.jsonl, log.txt")


def parts_of(words: Any) -> list[str]:
    """The parts that are asked for, in the order in which they run; versions and data always."""
    asked = listed(words)
    unknown = [w for w in asked if w not in PARTS and w != "all"]
    if unknown:
        raise ConfigError(f"parts: there is no {unknown[0]!r}", hint=f"all, or some of {', '.join(PARTS)}")
    return [name for name in PARTS if "all" in asked or name in asked or name in ("versions", "data")]


def run_parts(chosen: list[str], out: Path, options: Options, seconds: float) -> int:
    """Run parts in turn until the time is over; return the exit code."""
    end = time.monotonic() + seconds
    code = 0
    for i, name in enumerate(chosen):
        report = Report(out / "gpu_day.jsonl", "run", echo=False)
        left = end - time.monotonic() - GRACE
        weights = [PARTS[n].weight for n in chosen[i:]]
        limit = min(max(left * weights[0] / sum(weights), PARTS[name].least), left)
        if limit < LEAST:
            report("part", name=name, state="skipped: no time left", seconds=0.0, limit=0.0)
            say(f"{name}: skipped, no time left")
            code = 1
            continue
        say(f"{name}: at most {limit:.0f} s …")
        started = time.monotonic()
        state = run_part(name, out, options, limit)
        taken = time.monotonic() - started
        report("part", name=name, state=state, seconds=round(taken, 2), limit=round(limit, 1))
        say(f"{name}: {state} after {taken:.1f} s")
        code = code if state == "done" or state.startswith("skipped: no CUDA") else 1
        write_summary(out)
    return code


def run_part(name: str, out: Path, options: Options, limit: float) -> str:
    """Run a part in a process group of its own; return how it ended."""
    # The interpreter with everything imported is copied: importing torch once per part would take a minute in all. A
    # process in which CUDA has begun cannot be.
    assert not torch.cuda.is_initialized()
    process = multiprocessing.get_context("fork").Process(target=enter, args=(name, out, options, limit))
    process.start()
    assert process.pid is not None
    try:
        process.join(limit)
        state = f"ended at its limit of {limit:.0f} s"
        if process.exitcode is not None:
            states = {0: "done", 3: "skipped: no CUDA device", 4: "done, with errors"}
            state = states.get(process.exitcode, f"failed ({process.exitcode})")
        return state
    finally:
        end_group(process)


def end_group(process: Any) -> None:
    """Ask a part and all that it has started to end, and kill what does not."""
    if process.exitcode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.join(GRACE)
    with contextlib.suppress(ProcessLookupError):  # what a part leaves behind as well
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # before it has a group of its own
    process.join()


def enter(name: str, out: Path, options: Options, limit: float) -> None:
    """Be the process of a part: its messages go to the log."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with (out / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"\n===== {name} (at most {limit:.0f} s)\n")
        log.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    report = Report(out / "gpu_day.jsonl", name)
    part, code = PARTS[name], 0
    try:
        if part.needs_card and not options.on_card:
            code = 3
            report("skipped", why="no CUDA device")
        else:
            part.run(report, options, Clock(limit))
            code = 4 if report.errors else 0
    except BaseException as e:
        code = 1
        report("error", error=f"{type(e).__name__}: {e}"[:1000])
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def write_summary(out: Path) -> None:
    """Write summary.md of what there is."""
    file = out / "gpu_day.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError):  # cut short by a kill
            rows.append(json.loads(line))
    (out / "summary.md").write_text(summarise(rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
