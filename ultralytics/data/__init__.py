"""Loaders under the reference's import path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultralytics.utils.lazy import later

if TYPE_CHECKING:
    from ultralytics.data.build import build_dataloader, build_yolo_dataset

__all__ = ["build_dataloader", "build_yolo_dataset"]
_SEMANTIC = "masks are of objects, as label rows say: YOLODataset"
__getattr__ = later(  # torch takes seconds to import, and parts of this room do without it
    __name__,
    {
        "YOLODataset": "ultralytics.data.dataset:YOLODataset",
        "load_inference_source": "ultralytics.data.loaders:load_inference_source",
        **{name: f"ultralytics.data.build:{name}" for name in __all__},
        **{name: f"ultralytics.data.dataset:{name}" for name in ("ClassificationDataset", "SemanticDataset")},
        **{name: f"ultralytics.data.dataset:{name}" for name in ("GroundingDataset", "YOLOMultiModalDataset")},
        "YOLOConcatDataset": "ultralytics.data.dataset:YOLOConcatDataset",
        "BaseDataset": "ultralytics.data.base:BaseDataset",
        "build_grounding": "ultralytics.data.build:build_grounding",
    },
)
