"""From a detector's output to its detections, the same in validation, prediction and explanation."""

from __future__ import annotations

from torch import Tensor

from ultralytics.cfg.config import Config
from ultralytics.utils.nms import non_max_suppression


def detections(output: Tensor, args: Config, nc: int, conf: float, multi_label: bool = False) -> list[Tensor]:
    """Return the (n, 6) detections of each image: corners in pixels of the frame, score, class.

    Args:
        output: (B, 4 + nc, A), or (B, n, 6) of an end-to-end head.
        args: conf, iou, max_det, classes, agnostic_nms, single_cls.
        nc: classes of the model.
        conf: the lowest score where `args.conf` is not set.
        multi_label: a box may be of several classes.
    """
    return non_max_suppression(
        output.float(),
        conf if args.conf is None else args.conf,
        args.iou,
        args.classes,
        agnostic=args.single_cls or args.agnostic_nms,
        multi_label=multi_label,
        max_det=args.max_det,
        nc=nc,
    )
