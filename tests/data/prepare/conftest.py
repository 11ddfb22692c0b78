"""What was logged."""

import logging

import pytest


@pytest.fixture
def log(caplog, monkeypatch):
    """The messages of a command; `.text`."""
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level(logging.INFO, "ultralytics")
    return caplog
