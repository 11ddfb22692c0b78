"""Keys that do nothing beside others, and are reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ultralytics.cfg.keys import KNOBS, Config, P, T, X, file_of
from ultralytics.cfg.knob import ALL

_MIXED = ("mosaic", "mixup")
_DRAWN = ("show_labels", "show_conf", "show_boxes", "line_width")
_OF_BOXES = ("conf", "iou", "max_det", "classes", "agnostic_nms", "single_cls")


# Keys that do nothing beside others: modes, keys, when, and why (a format of the Config `c`).
WITHOUT_EFFECT: tuple[tuple[tuple[str, ...], tuple[str, ...], Callable[[Config], bool], str], ...] = (
    (T, ("patience",), lambda c: bool(c.patience) and not c.val, "val=False, so no progress is measured"),
    (T, ("save_period",), lambda c: c.save_period > 0 and not c.save, "save=False"),
    (T, ("save_period",), lambda c: c.save and c.save_period > c.epochs and not c.time, "there are {c.epochs} epochs"),
    (T, _MIXED, lambda c: c.rect, "rect=True, and rectangles are not mixed"),
    (T, ("close_mosaic",), lambda c: c.close_mosaic > 0 and c.rect, "rect=True, so there is no mosaic"),
    (T, ("close_mosaic",), lambda c: c.close_mosaic > 0 and not (c.rect or c.mosaic or c.mixup), "mosaic=0, mixup=0"),
    (T, ("warmup_momentum", "warmup_bias_lr"), lambda c: not c.warmup_epochs, "warmup_epochs=0"),
    (T, ("distill", "distill_gain"), lambda c: c.teacher is None, "there is no teacher="),
    (T, ("epochs",), lambda c: c.time is not None, "time={c.time:g} decides how many there are"),
    (("val", "predict"), ("save_conf",), lambda c: c.save_conf and not c.save_txt, "save_txt=False"),
    (X, ("points", "heads"), lambda c: c.kind != "attention", "kind={c.kind}"),
    (X, ("max_images",), lambda c: c.kind != "erf", "kind={c.kind}"),
    (X, _OF_BOXES, lambda c: c.kind == "erf", "kind=erf asks for no boxes"),
    (P, _DRAWN, lambda c: not c.save, "save=False, so nothing is drawn"),
    (ALL, ("agnostic_nms",), lambda c: c.agnostic_nms and c.single_cls, "single_cls=True leaves one class"),
)  # fmt: skip


def without_effect(config: Config, mode: str, unable: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each key that was given and does nothing in this combination.

    Args:
        config: the keys.
        mode: what they are for.
        unable: keys that the machine makes nothing of, and why; reported where they are on.
    """
    found = [(k, why) for modes, keys, when, why in WITHOUT_EFFECT if mode in modes and when(config) for k in keys]
    found += [(k, why) for k, why in (unable or {}).items() if getattr(config, k)]
    return [
        f"{key}={getattr(config, key)} has no effect: {why.format(c=config)}"
        for key, why in found
        if _is_given(config, key)
    ]


def _is_given(config: Config, key: str) -> bool:
    """Return True if the user has given a key. Files that hold all keys, as args.yaml does, give
    those that say something."""
    source = config.sources.get(key, "default")
    typed = source in ("command line", "argument")
    return typed or (bool(file_of(source)) and getattr(config, key) != KNOBS[key].default)
