"""The network under the reference's import path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultralytics.utils.lazy import later

if TYPE_CHECKING:
    from ultralytics.nn.tasks import DetectionModel

__all__ = ["DetectionModel"]
_TASKS = """BaseModel ClassificationModel DetectionModel SegmentationModel attempt_load_one_weight attempt_load_weights
guess_model_scale guess_model_task parse_model torch_safe_load yaml_model_load"""
# torch takes seconds to import, and parts of this room do without it
__getattr__ = later(__name__, {name: f"ultralytics.nn.tasks:{name}" for name in _TASKS.split()})
