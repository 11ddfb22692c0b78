"""From a detector's output to its detections, the same in validation, prediction and explanation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ultralytics.cfg.config import Config, is_given
from ultralytics.cfg.keys import KNOBS
from ultralytics.engine.formats.metadata import SUPPRESSION
from ultralytics.utils.log import LOGGER
from ultralytics.utils.nms import non_max_suppression


def with_suppression(net: Any, args: Config) -> Any:
    """Return a file that suppresses boxes itself so that it does by the keys that the user gives, where it takes them;
    else by its own, which then are the keys of the run. A key of the user's that it cannot follow is a warning.

    Args:
        net: a Backend; one of any other kind is returned as it is.
        args: conf, iou, max_det, agnostic_nms; those that are not given are set.
    """
    metadata = getattr(net, "metadata", None)
    if metadata is None or not metadata.nms:
        return net
    own = {
        k: KNOBS[k].checked(metadata.args[k], str(net.path)) for k in SUPPRESSION if metadata.args.get(k) is not None
    }
    wanted = [k for k in SUPPRESSION if is_given(args, k) or args.sources.get(k) == "track default"]
    asked = {k: getattr(args, k) for k in wanted if getattr(args, k) is not None}
    given = {k: float(v) for k, v in asked.items() if k in net.takes}
    ignored = []
    for key, value in own.items():
        if key not in asked:
            args.set(key, value, "exported file")
        elif key not in given and asked[key] != value:
            # A higher conf and a lower max_det cut what the file gives.
            less = {"conf": asked[key] > value, "max_det": asked[key] < value}
            if not less.get(key):
                ignored.append(f"{key}={asked[key]}")
    if args.single_cls and own.get("agnostic_nms") is False and net.nc > 1:
        ignored.append("single_cls=True")
    if ignored:
        words = ", ".join(f"{k}={v}" for k, v in own.items())
        LOGGER.warning("%s suppresses boxes by %s, and cannot do so by %s", net.path, words, ", ".join(ignored))
    return net.of_run(given)


def detections(output: Any, args: Config, nc: int, conf: float, multi_label: bool = False) -> list[Tensor]:
    """Return the (n, 6) detections of each image: corners in pixels of the frame, score, class.

    Args:
        output: (B, 4 + nc, A), or (B, n, 6) of an end-to-end head; or a model's (that, raw), whose raw is a mapping
            where boxes are final.
        args: conf, iou, max_det, classes, agnostic_nms, single_cls.
        nc: classes of the model.
        conf: the lowest score where `args.conf` is not set.
        multi_label: a box may be of several classes.
    """
    y, *raw = (output,) if isinstance(output, Tensor) else output
    return non_max_suppression(
        (y.float(), *raw),
        conf if args.conf is None else args.conf,
        args.iou,
        args.classes,
        agnostic=args.single_cls or args.agnostic_nms,
        multi_label=multi_label,
        max_det=args.max_det,
        nc=nc,
    )
