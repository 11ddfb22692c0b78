"""Shared fixtures: where the reference's numbers lie, and which tests run by default."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

# Networks this small lose more to threads than they gain; the suite runs a process per core instead. Commands that
# tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
# What a script puts into the background begins with Ctrl-C ignored; the tests, and the commands they start, send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # nohup ignores it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

import numpy as np
import pytest
import torch
import yaml
from hypothesis import settings

from ultralytics.nn import registry
from ultralytics.utils.images import imwrite

pytest.register_assert_rewrite("tests.helpers")
# Timings of a busy machine say nothing; and the same examples every time, so that a red suite is red again.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

CLONE = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("ULTRALYTICS_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the generated files anew: default.yaml, the docs")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the reference's numbers, weights and real data; tests that need it are skipped without it."""
    if not (SHARED / "fixtures").is_dir():
        pytest.skip(f"the reference's fixtures are not here ({SHARED}); set ULTRALYTICS_SHARED to their folder")
    return SHARED


@pytest.fixture(scope="session")
def fixtures(shared: Path) -> Path:
    return shared / "fixtures"


@pytest.fixture(scope="session", autouse=True)
def _quiet_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _plugins_of_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes that a test's plugins bring go before ours of their names: the next test begins without them."""
    monkeypatch.setattr(registry, "_OFFERED", [])


def pytest_collection() -> None:
    """Thousands of tests and what they import are no garbage: to look for some among them takes seconds each time."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _frozen_objects() -> None:
    """A training with workers, in a test before, has thawed them."""
    if not gc.get_freeze_count():
        pytest_collection_finish()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A data set of 12 + 6 images with bright squares of three classes on dark grounds; its YAML."""
    return write_toy(tmp_path)


def write_toy(folder: Path) -> Path:
    """Draw the toy set below a folder."""
    for split, count in (("train", 12), ("val", 6)):
        for i in range(count):
            draw_toy(folder / "toy", split, i)
    file = folder / "toy" / "toy.yaml"
    file.write_text("train: images/train\nval: images/val\nnames: [red, 绿, blue]\n", encoding="utf-8")
    return file


def draw_toy(root: Path, split: str, i: int) -> None:
    """Image i of the toy set and its labels; the last of a split has no boxes and no label file."""
    rng = np.random.default_rng((i, len(split)))
    h, w = [(96, 128), (128, 96), (100, 100), (60, 140)][i % 4]
    image = rng.integers(0, 60, (h, w, 3), np.uint8)
    rows = []
    for k in range(i % 3):
        side = int(rng.integers(14, 40))
        x, y = int(rng.integers(0, w - side)), int(rng.integers(0, h - side))
        cls = (i + k) % 3
        image[y : y + side, x : x + side] = 200
        image[y : y + side, x : x + side, 2 - cls] = 255
        rows.append(f"{cls} {(x + side / 2) / w:.6f} {(y + side / 2) / h:.6f} {side / w:.6f} {side / h:.6f}\n")
    name = f"{i} 图" if i % 5 == 0 else f"{i}"
    imwrite(root / "images" / split / f"{name}.png", image)
    if rows:
        label = root / "labels" / split / f"{name}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(rows), encoding="utf-8")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """YOLOv8-FLA with very few channels: the real network's every part, in milliseconds."""
    return write_tiny(tmp_path)


def write_tiny(folder: Path) -> Path:
    """Write the tiny network's YAML into a folder."""
    data = yaml.safe_load((CLONE / "cfg" / "models" / "yolov8-fla.yaml").read_text(encoding="utf-8"))
    data["scales"] = {"n": [0.1, 0.06, 256]}
    data["backbone"][10][3] = [256, [4, 4], 2]
    file = folder / "tiny-fla.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return file
