import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="orphans keep their parent's number")
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


def test_a_process_leaves_whose_parent_has_gone_before(tmp_path):
    last = tmp_path / "last"
    words = [sys.executable, "-c", CHILD, "999999999", str(last)]
    assert subprocess.run(words, stdout=subprocess.PIPE, env=ENV, timeout=120, check=False).returncode == 1
    assert last.exists()
