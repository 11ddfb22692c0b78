"""A script that was written for ultralytics 8.2.103 runs here unchanged."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CLONE, write_toy

# Three levels, and modules that ultralytics has.
NET = """
nc: 3
scales: {n: [0.33, 0.0625, 128]}
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, C2f, [64, True]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, SPPF, [128, 5]]
head:
  - [[3, 4, 6], 1, Detect, [nc]]
"""


def run(python, folder, path):
    """What the script reports."""
    (folder / "net.yaml").write_text(NET, encoding="utf-8")
    words = [
        python,
        str(Path(__file__).with_name("script_8_2_103.py")),
        "net.yaml",
        str(write_toy(folder)),
        str(folder),
    ]
    names = {"PYTHONPATH": path, "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(folder / "config")}
    subprocess.run(words, cwd=folder, env={**os.environ, **names}, check=True, timeout=600, stdout=sys.stderr)
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


EXPECTED = {
    "validated": 3,
    "epochs": 2,
    "validator": "DetectionValidator",
    "shape": [3, 64, 64],
    "images": 12,
    "names": ["red", "绿", "blue"],
    "cam": [1, 2, 2],
    "boxes": [1, 4, 84],
    "pil": 1,
    "numpy": 1,
    "path": 1,
    "list": 2,
    "video": 3,
    "predictor": 1,
}


def check(report):
    assert {k: report[k] for k in EXPECTED} == EXPECTED
    assert report["steps"] >= 1
    assert {"batch_size", "fitness", "train/box_loss", "metrics/mAP50(B)", "val/dfl_loss", "lr/pg0"} <= set(
        report["columns"]
    )
    assert report["metrics"] == report["alone"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="the script's to_df needs pandas")
def test_a_script_for_the_reference_runs_here(tmp_path):
    check(run(sys.executable, tmp_path, os.pathsep.join([str(CLONE), *sys.path[1:]])))


@pytest.mark.slow
def test_it_is_a_script_for_the_reference(tmp_path):
    """Set ULTRALYTICS_REFERENCE to the Python of an environment with ultralytics 8.2.103."""
    python = os.environ.get("ULTRALYTICS_REFERENCE", "")
    if not Path(python).is_file():
        pytest.skip("ULTRALYTICS_REFERENCE names no Python with ultralytics 8.2.103")
    check(run(python, tmp_path, ""))
