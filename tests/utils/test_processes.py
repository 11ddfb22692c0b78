import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from tests.conftest import CLONE
from ultralytics.utils import processes
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.processes import (
    WORKER,
    doing,
    frozen_objects,
    importable_main,
    leave_unguarded,
    signal_name,
    spare_handles,
    unguarded_line,
)

orphans = pytest.mark.skipif(os.name != "posix", reason="orphans keep their parent's number")
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
CHILD = """
import os, sys, time
from pathlib import Path
from ultralytics.utils.processes import leave_with
leave_with(int(sys.argv[1]), 0.02, Path(sys.argv[2]).touch)
print(os.getpid(), flush=True)
time.sleep(300)
"""
PARENT = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid()), sys.argv[2]])
time.sleep(300)
"""


@orphans
def test_a_process_leaves_with_its_parent_and_not_before(tmp_path):
    last = tmp_path / "last"
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, str(last)], stdout=subprocess.PIPE, text=True, env=ENV
    )
    try:
        child = int(process.stdout.readline())
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        os.kill(child, 0)
        assert not last.exists()
        process.kill()
        process.wait()
        assert process.communicate(timeout=120)[0] == ""  # ends when all who could write have gone
        assert last.exists()
    finally:
        process.kill()
        process.stdout.close()


@orphans
def test_a_process_leaves_whose_parent_has_gone_before(tmp_path):
    last = tmp_path / "last"
    words = [sys.executable, "-c", CHILD, "999999999", str(last)]
    assert subprocess.run(words, stdout=subprocess.PIPE, env=ENV, timeout=120, check=False).returncode == 1
    assert last.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_what_a_process_is_doing():
    process = subprocess.Popen(["sleep", "60"])
    try:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert doing(process.pid) == f"stopped; kill -CONT {process.pid} lets it go on"
    finally:
        process.kill()
        process.wait()
    assert doing(process.pid) == ""
    assert doing(os.getpid()) == "runs"


def test_files_that_are_open_are_counted(tmp_path):
    before = spare_handles()
    with open(tmp_path / "a", "w"):
        assert spare_handles() == before - 1 or before == processes.UNLIMITED


@pytest.mark.skipif(processes.resource is None, reason="limits of POSIX")
def test_a_low_limit_is_raised_as_far_as_allowed(monkeypatch):
    limits = {"now": (64, 1000)}
    fake = types.SimpleNamespace(
        RLIMIT_NOFILE=7, RLIM_INFINITY=-1,
        getrlimit=lambda _: limits["now"], setrlimit=lambda _, pair: limits.update(now=pair),
    )  # fmt: skip
    monkeypatch.setattr(processes, "resource", fake)
    assert 900 < spare_handles() < 1000
    assert limits["now"] == (1000, 1000)
    limits["now"] = (64, -1)
    assert spare_handles() > 1000
    limits["now"] = (-1, -1)
    assert spare_handles() == processes.UNLIMITED
    monkeypatch.setattr(processes, "resource", None)
    assert spare_handles() == processes.UNLIMITED


def test_work_that_begins_while_a_process_imports_a_script_is_refused(monkeypatch):
    leave_unguarded()
    process = multiprocessing.current_process()
    monkeypatch.setattr(process, "_inheriting", True, raising=False)
    with pytest.raises(ConfigError, match="__main__"):
        leave_unguarded()
    ended = []
    monkeypatch.setattr(processes.os, "_exit", lambda code: ended.append(code) or sys.exit())
    name = process.name
    process.name = f"{WORKER} 0"
    try:
        with pytest.raises(SystemExit):
            leave_unguarded()
    finally:
        process.name = name
    assert ended == [processes.UNGUARDED]


START = "run()\n"
GUARDED = 'if __name__ == "__main__":\n    run()\n'


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (START, 1),
        ("import torch\n\nfor _ in range(2):\n    run()\n", 4),
        ("def main():\n    run()\n\nmain()\n", 4),
        ("import logging\nlog = logging.getLogger(__name__)\nrun()\n", 3),
        (f"import torch.multiprocessing as mp\nmp.set_start_method('spawn')\n{GUARDED}", 2),
        (f"from multiprocessing import *\nset_start_method(method='forkserver')\n{GUARDED}", 2),
        (f"import multiprocessing as mp\nmp.set_start_method('spawn', force=True)\n{GUARDED}", 0),
        (GUARDED, 0),
        ("if '__main__' == __name__:\n    import multiprocessing as mp\n    mp.set_start_method\n    run()\n", 0),
        ("import multiprocessing as mp\nif mp.parent_process() is None:\n    run()\n", 0),
    ],
)
def test_a_main_script_without_a_guard_is_seen_before_a_worker_imports_it(tmp_path, monkeypatch, text, line):
    script, found = tmp_path / "my script.py", []
    script.write_text(text)
    monkeypatch.setattr(multiprocessing, "set_start_method", lambda *_, **__: None)
    monkeypatch.setattr(torch.multiprocessing, "set_start_method", lambda *_, **__: None)
    runpy.run_path(str(script), {"run": lambda: found.append(unguarded_line())}, "__main__")
    assert set(found) == {f"{script}, line {line}" if line else ""}


def test_a_main_module_that_no_worker_imports_needs_no_guard(monkeypatch, tmp_path):
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert unguarded_line() == ""  # a notebook
    main.__file__ = str(tmp_path / "gone.py")
    assert unguarded_line() == ""
    main.__spec__ = types.SimpleNamespace(name="package.__main__")
    assert unguarded_line() == ""


def test_a_main_module_of_no_file_is_not_looked_for(monkeypatch):
    main = types.ModuleType("__main__")
    main.__file__ = "<stdin>"
    monkeypatch.setitem(sys.modules, "__main__", main)
    with importable_main():
        assert not hasattr(main, "__file__")
    assert main.__file__ == "<stdin>"
    main.__file__ = __file__
    with importable_main():
        assert main.__file__ == __file__


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="orphans of POSIX")
def test_a_process_of_a_fork_server_ends_with_its_run(tmp_path):
    program = f"""
import multiprocessing, os, time, sys
sys.path.insert(0, {str(CLONE)!r})
from ultralytics.utils.processes import leave_with
def child(parent):
    leave_with(parent, 0.05, served=True)
    time.sleep(0.3)
    print(os.getpid(), flush=True)
    time.sleep(60)
if __name__ == "__main__":
    multiprocessing.get_context("forkserver").Process(target=child, args=(os.getpid(),)).start()
    time.sleep(60)
"""
    (tmp_path / "script.py").write_text(program)
    run = subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline().strip().isdigit()  # it did not take the server for a dead parent
    run.kill()
    run.wait()
    assert run.stdout.read() == ""  # an end: the child, which has the other end of the pipe, is gone
    run.stdout.close()


def test_a_signal_without_a_name_has_its_number():
    assert signal_name(signal.SIGTERM) == "SIGTERM"
    assert signal_name(40) == "signal 40"  # one of Linux's real-time signals


def test_objects_are_spared_from_collections_where_there_are_workers():
    gc.unfreeze()
    with frozen_objects(0):
        assert gc.get_freeze_count() == 0
    with frozen_objects(2):
        assert gc.get_freeze_count() > 1000
    assert gc.get_freeze_count() == 0
