"""Shared fixtures: where the reference's numbers lie, and which tests run by default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
