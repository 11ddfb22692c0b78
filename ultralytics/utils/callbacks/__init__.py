"""Callbacks under the reference's import path; `engine.callbacks` has the events."""

from ultralytics.utils.callbacks.base import add_integration_callbacks, get_default_callbacks
from ultralytics.utils.lazy import later

__all__ = ["add_integration_callbacks", "get_default_callbacks"]
__getattr__ = later(__name__, {"default_callbacks": "ultralytics.utils.callbacks.base:default_callbacks"})
