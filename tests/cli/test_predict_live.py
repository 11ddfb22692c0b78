"""The command `predict` on a live stream, in a process of its own: Ctrl-C finishes the files and ends it."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.helpers.servers import camera, served
from ultralytics.engine.sources import load_source


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no such signals")
@pytest.mark.parametrize("stalls", [False, True])
def test_ctrl_c_ends_a_live_prediction_within_seconds(tiny, tmp_path, stalls):
    """Also where the camera has gone quiet, and a thread waits for the network."""
    enough, quiet = threading.Event(), threading.Event()

    def pause(number):
        time.sleep(0.01)
        if number == 30:
            enough.set()
            if stalls:
                quiet.wait(60)

    words = [
        "predict",
        f"model={tiny}",
        "imgsz=64",
        "device=cpu",
        "stream_buffer=True",
        f"project={tmp_path}",
        "name=r",
    ]
    with served(camera(frames=10**5, connections=1, pause=pause)) as url:
        process = subprocess.Popen(
            [sys.executable, "-m", "ultralytics", *words, f"source={url}/cam"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )  # fmt: skip
        try:
            assert enough.wait(120)
            [video] = wait_for(lambda: list((tmp_path / "r").glob(".*.avi")))
            time.sleep(1)
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=60)
            took = time.monotonic() - begin
        finally:
            quiet.set()
            process.kill()
    assert process.returncode == 130, output
    assert took < 30
    assert "Traceback" not in output
    assert not video.exists()
    [written] = (tmp_path / "r").glob("*.avi")
    assert len(list(load_source(written))) > 0


def wait_for(found, seconds=60.0):
    """What a function returns once that is something."""
    until = time.monotonic() + seconds
    while not (there := found()) and time.monotonic() < until:
        time.sleep(0.05)
    return there
