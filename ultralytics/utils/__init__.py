"""The logger under the reference's import path."""

from ultralytics.utils.log import LOGGER

__all__ = ["LOGGER"]
