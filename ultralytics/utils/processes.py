"""Processes: what ends with what, what one still may open, and what another one is doing."""

from __future__ import annotations

import ast
import contextlib
import gc
import inspect
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ultralytics.utils.errors import ConfigError

resource: Any
try:
    import resource
except ImportError:  # Windows, which has no such limits
    resource = None

WORKER = "ultralytics loader worker"  # how the names of our worker processes begin
UNGUARDED = 79  # exit code of a worker that was about to train again, because the user's script has no main guard
GUARD = 'put what starts it under `if __name__ == "__main__":`'
ENOUGH_HANDLES = 4096  # a soft limit on open files below this is raised, as far as the system allows
UNLIMITED = 2**31


def signal_name(number: int) -> str:
    """Return what a signal is called: "SIGKILL"; of one without a name, as most real-time signals are, "signal 40"."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def leave_with(parent: int, pause: float, last: Callable[[], object] = int, served: bool = False) -> None:
    """Watch from a thread, and end this process, with code 1, once the process `parent` is no longer its parent: a
    process that is killed can tell nobody. Where the system gives orphans no other parent (Windows), it never does.

    Args:
        parent: a process id; pause: seconds between two looks; last: is called before the end.
        served: a fork server started this process for `parent`, so the system names the server as the parent; then
            multiprocessing's own pipe to `parent` is watched.
    """

    def watch() -> None:
        run = multiprocessing.parent_process() if served else None
        if run is not None:
            run.join()
        else:
            while os.getppid() == parent:
                time.sleep(pause)
        try:
            last()
        finally:
            os._exit(1)

    threading.Thread(target=watch, daemon=True, name="leave with the parent").start()


def leave_unguarded() -> None:
    """Call this where work begins that starts worker processes. By `spawn` and `forkserver` a worker imports the
    user's script first; without a main guard the script would do its work once more in there. Such a worker of ours
    ends here without a word, and the run tells why.

    Raises:
        ConfigError: another program's worker is importing a script without a main guard.
    """
    process = multiprocessing.current_process()
    if not getattr(process, "_inheriting", False):  # set while a process imports the main module of its parent
        return
    if process.name.startswith(WORKER):
        os._exit(UNGUARDED)
    raise ConfigError("a worker process started this by importing the main script", hint=GUARD)


def unguarded_line() -> str:
    """Find the line at which the main script, without a main guard, makes this call at its top level or sets the
    start method: "FILE, line N". "" where all is well, or it cannot be said."""
    main = sys.modules.get("__main__")
    file, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if file is None or (spec is not None and spec.name.rpartition(".")[2] == "__main__"):  # which nobody imports
        return ""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return ""
    nodes = list(ast.walk(tree))
    asked = {n.attr for n in nodes if isinstance(n, ast.Attribute)} | {n.id for n in nodes if isinstance(n, ast.Name)}
    guarded = any(isinstance(n, ast.Compare) and _mentions(n, "__name__") for n in nodes)
    if not guarded and not asked & {"current_process", "parent_process"}:
        frame = inspect.currentframe()
        while frame is not None:
            if frame.f_code.co_name == "<module>" and frame.f_globals is vars(main):
                return f"{file}, line {frame.f_lineno}"
            frame = frame.f_back
    for node in tree.body:  # in a worker the method is set already, so this raises
        call = node.value if isinstance(node, ast.Expr) else None
        if not isinstance(call, ast.Call) or not _mentions(call.func, "set_start_method"):
            continue
        if len(call.args) < 2 and not any(k.arg == "force" for k in call.keywords):
            return f"{file}, line {node.lineno}"
    return ""


def _mentions(tree: ast.AST, name: str) -> bool:
    return any(name in (getattr(n, "id", ""), getattr(n, "attr", "")) for n in ast.walk(tree))


@contextlib.contextmanager
def importable_main() -> Iterator[None]:
    """Start processes by `spawn` or `forkserver` within this: a main module that came from no file (`python - < file`)
    is not looked for by them."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is None or file is None or getattr(main, "__spec__", None) is not None or Path(file).exists():
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = file


def spare_handles() -> int:
    """Count how many more files, pipes and sockets this process may open. A low soft limit is raised first."""
    if resource is None:
        return UNLIMITED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < ENOUGH_HANDLES:
        more = ENOUGH_HANDLES if hard == resource.RLIM_INFINITY else min(hard, ENOUGH_HANDLES)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(more, soft), hard))
            soft = max(more, soft)
    if soft == resource.RLIM_INFINITY:
        return UNLIMITED
    try:
        used = len(os.listdir("/dev/fd")) - 1  # one is that of the folder itself
    except OSError:
        used = 0
    return max(int(soft) - used, 0)


class EndedError(SystemExit):
    """SIGTERM or SIGHUP has come; the exit code is that of a process that the signal ended.

    Attributes:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signal.Signals(signum)


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Within this, the first SIGTERM or SIGHUP raises EndedError, so that unfinished files are closed or removed;
    further ones are passed over, as `timeout` sends two. Signals that someone handles or ignores are left alone."""
    process, came = os.getpid(), list[int]()

    def leave(signum: int, _: object) -> None:
        if os.getpid() != process:  # a forked process, which has nothing of this one's to finish
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        elif not came:
            came.append(signum)
            raise EndedError(signum)

    signals = [getattr(signal, n) for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)]
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        signals = []
    ours = [s for s in signals if signal.getsignal(s) == signal.SIG_DFL]
    try:
        for signum in ours:
            signal.signal(signum, leave)
        yield
    finally:
        for signum in ours:
            signal.signal(signum, signal.SIG_DFL)


STOPPED = "stopped; kill -CONT {pid} lets it go on"
_STATES = {"T": STOPPED, "t": STOPPED, "D": "waits for a disk or a network", "Z": "has ended", "R": "runs"}


def doing(pid: int) -> str:
    """Say what a process of this machine is doing: "stopped; kill -CONT 7 lets it go on", "runs", "sleeps"; "" where
    the system does not say (no /proc) or there is no such process."""
    try:
        state = Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return _STATES.get(state[0], "sleeps").format(pid=pid) if state else ""


@contextlib.contextmanager
def frozen_objects(workers: int) -> Iterator[None]:
    """Spare what is there already from garbage collections within the block, where there are workers.

    They write to every object, and what workers made by fork share with this process would be copied page by page.
    """
    if not workers:
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def memory_held(peak: bool = False) -> float | None:
    """Return the MiB of memory that this process holds now, libraries included, or with `peak` the most since it
    began; None where the system does not say. Not `ru_maxrss` on Linux, which begins with what the parent held."""
    field = "VmHWM:" if peak else "VmRSS:"
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    except OSError:  # another system
        pass
    if peak and resource is not None and sys.platform == "darwin":
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 2**20  # macOS counts bytes
    return None
