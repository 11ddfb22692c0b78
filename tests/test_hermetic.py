"""What `ULTRALYTICS_HERMETIC=1` refuses, and that the package needs none of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[1]
PROBE = """
import os, socket, subprocess, sys, tempfile
def tried(what):
    try:
        what()
    except PermissionError:
        return "refused"
    except OSError:
        return "failed"
    return "done"
home, site = os.path.expanduser("~"), os.path.dirname(os.__file__)
def child():
    code = "import os; open(os.path.expanduser('~/x'), 'w')"
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True)
    if b"read-only" in done.stderr: raise PermissionError
def local():
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname()).close()
print(
    tried(lambda: open(os.path.join(home, "x"), "w")), tried(lambda: os.mkdir(os.path.join(home, "x"))),
    tried(lambda: open(os.path.join(site, "x"), "w")), tried(lambda: open("x", "w")),
    tried(lambda: socket.create_connection(("192.0.2.1", 80), 1)), tried(lambda: socket.getaddrinfo("example.org", 80)),
    tried(child), tried(local), tried(lambda: tempfile.TemporaryFile()), tried(lambda: open("/dev/null", "w")),
)
"""


def hermetic_python(*words, cwd=CLONE, tmp):
    environment = {**os.environ, "ULTRALYTICS_HERMETIC": "1", "TMPDIR": str(tmp), "ULTRALYTICS_HERMETIC_TMP": str(tmp)}
    (tmp / "home").mkdir()
    environment |= {"ULTRALYTICS_HERMETIC_HOME": str(tmp / "home")}
    environment["PYTHONPATH"] = os.pathsep.join([str(CLONE / "tests" / "hermetic"), str(CLONE)])
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_what_is_refused_and_what_is_not(tmp_path):
    done = hermetic_python("-c", PROBE, tmp=tmp_path)
    assert done.stdout.split() == ["refused"] * 7 + ["done"] * 3, done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_needs_no_network_no_home_and_no_warning(tmp_path, toy, tiny):
    """Training with all plots, then prediction; the home folder stays empty and nothing complains about it."""
    run = ["-m", "ultralytics", "train", f"model={tiny}", f"data={toy}", "epochs=1", "imgsz=64", "batch=4", "workers=1"]
    done = hermetic_python(*run, f"project={tmp_path / 'runs'}", "device=cpu", cwd=tmp_path, tmp=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "matplotlib" not in done.stdout + done.stderr
    assert "Warning" not in done.stderr
    assert (tmp_path / "runs" / "train" / "results.png").exists()
    assert not list((tmp_path / "home").iterdir())
