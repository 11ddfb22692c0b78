"""Making datasets ready: by program, or from other formats."""

from ultralytics.data.prepare.auto import prepare_auto
from ultralytics.data.prepare.coco import prepare_coco
from ultralytics.data.prepare.export import export_coco
from ultralytics.data.prepare.kitti import prepare_kitti
from ultralytics.data.prepare.labelme import prepare_labelme
from ultralytics.data.prepare.shapes import prepare_shapes
from ultralytics.data.prepare.visdrone import prepare_visdrone
from ultralytics.data.prepare.voc import prepare_bccd, prepare_voc
from ultralytics.data.prepare.yolo import prepare_coco128, prepare_yolo

__all__ = [
    "export_coco",
    "prepare_auto",
    "prepare_bccd",
    "prepare_coco",
    "prepare_coco128",
    "prepare_kitti",
    "prepare_labelme",
    "prepare_shapes",
    "prepare_visdrone",
    "prepare_voc",
    "prepare_yolo",
]
