"""Making data sets ready: by program, or from other formats."""

from ultralytics.data.prepare.shapes import prepare_shapes
from ultralytics.data.prepare.voc import prepare_voc

__all__ = ["prepare_shapes", "prepare_voc"]
