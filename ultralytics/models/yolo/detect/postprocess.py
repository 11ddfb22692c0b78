"""From a detector's output to its detections, the same in validation, prediction and explanation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultralytics.cfg.config import Config, is_given
from ultralytics.cfg.keys import KNOBS
from ultralytics.engine.formats.metadata import SUPPRESSION
from ultralytics.nn.several import Augmented, EnsembleBackend, Several, with_networks
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.fusion import NMM_OVERLAP, WBF_IOU, join
from ultralytics.utils.log import LOGGER
from ultralytics.utils.nms import non_max_suppression


def with_suppression(net: Any, args: Config) -> Any:
    """Return a file that suppresses boxes itself so that it does by the keys that the user gives, where it takes them;
    else by its own, which then are the keys of the run. A key of the user's that it cannot follow is a warning.

    Args:
        net: a Backend; a network of PyTorch's is returned as it is.
        args: conf, iou, max_det, agnostic_nms; those that are not given are set.
    """
    return with_networks(net, lambda one: _with_suppression(one, args))


def _with_suppression(net: Any, args: Config) -> Any:
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


def detections(
    output: Any,
    args: Config,
    nc: int,
    conf: float,
    multi_label: bool = False,
    rotated: bool = False,
    extras: int | None = 0,
) -> list[Tensor]:
    """Return the (n, 6 + extras) detections of each image: corners in pixels of the frame, score, class, and what lies
    behind the scores, such as coefficients of masks or keypoints; of rotated boxes (n, 7): centre, width, height,
    score, class, angle.

    Args:
        output: (B, 4 + nc + extras, A), or (B, n, 6) of an end-to-end head; or a model's (that, raw), whose raw is a
            mapping where boxes are final; or `Several`, whose boxes are joined.
        args: conf, iou, max_det, classes, agnostic_nms, single_cls; merge, merge_iou.
        nc: classes of the model.
        conf: the lowest score where `args.conf` is not set.
        multi_label: a box may be of several classes.
        rotated: boxes have an angle in radians, the first row behind the scores.
        extras: rows behind the scores; None: as many as there are, of a head that is not end-to-end.
    """
    conf = conf if args.conf is None else args.conf
    if not rotated and extras == 0:
        return _detections(output, args, nc, conf, multi_label)
    y, *raw = (output,) if isinstance(output, Tensor) else output
    extras = y.shape[1] - 4 - nc if extras is None else extras
    return _suppressed((y.float(), *raw), args, nc, conf, multi_label, rotated, extras)


def _detections(output: Any, args: Config, nc: int, conf: float, multi_label: bool) -> list[Tensor]:
    agnostic = args.single_cls or args.agnostic_nms
    if isinstance(output, Several):
        how, overlap = merging(args, output.how)
        if how == "nms" and output.open:  # as the reference: one suppression of all anchors
            output = torch.cat([y for y, _ in output.outputs], -1)
        else:
            members = len(output.outputs)
            # A fused score is a mean over the members: a score below `conf` may lift one that is above.
            floor = conf / members if how == "wbf" else conf
            parts = [_detections(each, args, nc, floor, multi_label) for each in output.outputs]
            joined = [join(torch.cat(boxes), how, overlap, members, agnostic) for boxes in zip(*parts, strict=True)]
            return [boxes[boxes[:, 4] > conf][: args.max_det] for boxes in joined]
    y, *raw = (output,) if isinstance(output, Tensor) else output
    return _suppressed((y.float(), *raw), args, nc, conf, multi_label)


def _suppressed(
    output: tuple[Any, ...],
    args: Config,
    nc: int,
    conf: float,
    multi_label: bool,
    rotated: bool = False,
    extras: int = 0,
) -> list[Tensor]:
    return non_max_suppression(
        output,
        conf,
        args.iou,
        args.classes,
        agnostic=args.single_cls or args.agnostic_nms,
        multi_label=multi_label,
        max_det=args.max_det,
        nc=nc,
        rotated=rotated,
        extras=extras,
    )


def merging(args: Config, how: str) -> tuple[str, float]:
    """Return how boxes of several networks, passes or tiles are joined, and the overlap from which they are.

    Args:
        args: merge, merge_iou, iou.
        how: one of `cfg.keys.MERGES`, where `merge` says none.
    """
    how = how if args.merge in (None, "cut") else args.merge  # networks and passes cut nothing
    overlap = {"cut": args.iou, "nms": args.iou, "nmm": NMM_OVERLAP, "wbf": WBF_IOU}[how]
    return how, overlap if args.merge_iou is None else args.merge_iou


def prepared(net: Any, args: Config, joins: bool = True) -> Any:
    """Return a network as a run asks for it: an exported file with the run's suppression, and with `augment` several
    passes.

    Args:
        net: a Backend.
        args: augment, tiles and those of `with_suppression`.
        joins: what it finds can be joined: boxes; else it looks at an image once, as in the reference.

    Raises:
        ConfigError: several networks or tiles, which nothing joins.
    """
    if not joins:
        if isinstance(net, EnsembleBackend) or args.tiles is not None:
            asked = "an ensemble's networks" if args.tiles is None else "tiles"
            hint = "leave tiles out" if args.tiles is not None else "give one network"
            raise ConfigError(f"{asked} are joined box by box, and this network finds more than boxes", hint=hint)
        if args.augment:
            LOGGER.warning("augment=True joins boxes, and this network finds more: it looks at each image once")
            args.set("augment", False, "task")
    net = with_suppression(net, args)
    if not args.augment:
        return net
    trim = merging(args, "nms")[0] == "nms"
    return with_networks(net, lambda one: Augmented(one, trim))
