"""Making datasets ready: by program, or from other formats."""

from ultralytics.data.prepare.auto import prepare_auto as prepare_auto
from ultralytics.data.prepare.classify import prepare_classify as prepare_classify
from ultralytics.data.prepare.coco import prepare_coco as prepare_coco
from ultralytics.data.prepare.dota import prepare_dota as prepare_dota
from ultralytics.data.prepare.embedded import prepare_shapes as prepare_shapes
from ultralytics.data.prepare.export import export_coco as export_coco
from ultralytics.data.prepare.kitti import prepare_kitti as prepare_kitti
from ultralytics.data.prepare.labelme import prepare_labelme as prepare_labelme
from ultralytics.data.prepare.visdrone import prepare_visdrone as prepare_visdrone
from ultralytics.data.prepare.voc import prepare_bccd as prepare_bccd
from ultralytics.data.prepare.voc import prepare_voc as prepare_voc
from ultralytics.data.prepare.yolo import prepare_coco128 as prepare_coco128
from ultralytics.data.prepare.yolo import prepare_yolo as prepare_yolo
