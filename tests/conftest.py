"""Shared fixtures: where the reference's numbers lie, and which tests run by default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Timings of a busy machine say nothing; and the same examples every time, so that a red suite is red again.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

SHARED = Path(os.environ.get("ULTRALYTICS_SHARED", Path(__file__).resolve().parents[2] / "shared"))


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
    torch.set_num_threads(min(torch.get_num_threads(), 2))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))
