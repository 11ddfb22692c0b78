"""What the log was told."""

import logging

import pytest


@pytest.fixture
def told(caplog, monkeypatch):
    """The messages of a command; `.text`."""
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level(logging.INFO, "ultralytics")
    return caplog
