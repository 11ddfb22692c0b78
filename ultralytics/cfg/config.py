"""The configuration of a run, resolved from the defaults, a YAML of keys (`cfg=`), and `key=value` pairs, later ones
winning; where each value came from is remembered and written to args.yaml.

Keys are declared in `cfg.keys`; everything a caller needs of them can be imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ultralytics.cfg.keys import (
    KNOBS,
    MODE_DEFAULTS,
    OPTIMIZERS,
    PAIRS,
    TASK_NAMES,
    TVP,
    VP,
    Config,
    E,
    P,
    T,
    X,
    file_of,
    unknown_key,
)
from ultralytics.cfg.knob import RUNS, check_switches
from ultralytics.cfg.paths import find_recipe
from ultralytics.cfg.unsupported import NEGATED, RENAMED, UNSUPPORTED, asks_nothing
from ultralytics.cfg.values import id_list
from ultralytics.cfg.words import NUMBER, parse_value, unquoted
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.yaml import read_yaml

__all__ = [
    "KNOBS",
    "MODE_DEFAULTS",
    "OPTIMIZERS",
    "UNSUPPORTED",
    "WITHOUT_EFFECT",
    "Config",
    "as_mapping",
    "asks_nothing",
    "check_classes",
    "check_switches",
    "get_cfg",
    "keys_of",
    "parse_value",
    "parse_word",
    "unknown_key",
    "without_effect",
]


def parse_word(key: str, text: str) -> Any:
    """Read a word of the command line as the key's kind of value; as text where there is no such key."""
    if key in KNOBS:
        return KNOBS[key].parse(text)
    return None if parse_value(text) is None else unquoted(text.strip())


_MIXED = ("mosaic", "mixup", "copy_paste")
_DRAWN = ("show_labels", "show_conf", "show_boxes", "line_width")
_OF_BOXES = ("conf", "iou", "max_det", "classes", "agnostic_nms", "single_cls")


def _looks_once(c: Config) -> bool:
    """Return True if nothing has to be joined; a list of networks is text here."""
    several = str(c.model or "").startswith("[")
    return c.tiles is None and not c.augment and not several


def _nothing_to_close(c: Config) -> bool:
    return c.close_mosaic > 0 and not (c.rect or c.mosaic or c.mixup or c.copy_paste)


def _draws_nothing(c: Config) -> bool:
    return not (c.save or c.show or c.save_frames)


# Keys that do nothing beside others: modes, keys, when, and why (a format of the Config `c`).
WITHOUT_EFFECT: tuple[tuple[tuple[str, ...], tuple[str, ...], Callable[[Config], bool], str], ...] = (
    (T, ("patience",), lambda c: bool(c.patience) and not c.val, "val=False, so no progress is measured"),
    (T, ("save_period",), lambda c: c.save_period > 0 and not c.save, "save=False"),
    (T, ("save_period",), lambda c: c.save and c.save_period > c.epochs and not c.time, "there are {c.epochs} epochs"),
    (T, _MIXED, lambda c: c.rect, "rect=True, and rectangles are not mixed"),
    (T, ("close_mosaic",), lambda c: c.close_mosaic > 0 and c.rect, "rect=True, so there is no mosaic"),
    (T, ("close_mosaic",), _nothing_to_close, "mosaic=0, mixup=0, copy_paste=0"),
    (T, ("warmup_momentum", "warmup_bias_lr"), lambda c: not c.warmup_epochs, "warmup_epochs=0"),
    (T, ("distill", "distill_gain"), lambda c: c.teacher is None, "there is no teacher="),
    (T, ("epochs",), lambda c: c.time is not None, "time={c.time:g} decides how many there are"),
    (("val", *P), ("save_conf",), lambda c: c.save_conf and not c.save_txt, "save_txt=False"),
    (X, ("points", "heads"), lambda c: c.kind != "attention", "kind={c.kind}"),
    (X, ("max_images",), lambda c: c.kind != "erf", "kind={c.kind}"),
    (X, _OF_BOXES, lambda c: c.kind == "erf", "kind=erf asks for no boxes"),
    (E, ("conf", "iou", "max_det", "agnostic_nms"), lambda c: not c.nms, "nms=False, so boxes are not suppressed"),
    (TVP, ("overlap", "whole"), lambda c: c.tiles is None, "there are no tiles="),
    (T, ("tile_visible", "tile_background", "merge", "merge_iou"), lambda c: c.tiles is None, "there are no tiles="),
    (VP, ("merge", "merge_iou"), _looks_once, "there is one network, and neither tiles= nor augment=True"),
    (P, _DRAWN, _draws_nothing, "save=False, show=False and save_frames=False, so nothing is drawn"),
    (RUNS, ("agnostic_nms",), lambda c: c.agnostic_nms and c.single_cls, "single_cls=True leaves one class"),
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
    for key, knob in KNOBS.items():
        task = knob.help.partition(":")[0]  # of a key that one task alone reads
        if task in TASK_NAMES and task != config.task and mode in knob.modes and getattr(config, key) != knob.default:
            found.append((key, f"it is for task={task}"))
    return [
        f"{key}={getattr(config, key)} has no effect: {why.format(c=config)}"
        for key, why in found
        if is_given(config, key)
    ]


def is_given(config: Config, key: str) -> bool:
    """Return True if the user has given a key. Files that hold all keys, as args.yaml does, give
    those that say something."""
    source = config.sources.get(key, "default")
    typed = source in ("command line", "argument")
    return typed or (bool(file_of(source)) and getattr(config, key) != KNOBS[key].default)


def check_classes(classes: int | list[int] | None, nc: int, whose: str) -> None:
    """Refuse ids in `classes` that there are not.

    Raises:
        ConfigError: naming the first.
    """
    for number in id_list(classes) or []:
        if number >= nc:
            raise ConfigError(f"classes={classes}: there is no class {number}", hint=f"{whose} has 0 to {nc - 1}")


def get_cfg(
    cfg: Config | str | Path | Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    source: str = "argument",
    mode: str = "train",
) -> Config:
    """Resolve a configuration.

    Args:
        cfg: a YAML of keys (a path or a bundled recipe's name), a mapping, or a Config to start from.
        overrides: keys that win over it; a `cfg` among them is such a YAML.
        source: what to call the overrides' origin: "argument", "command line", "checkpoint".
        mode: what it is for; imgsz may be a pair in predict, track, explain and export only.

    Raises:
        ConfigError, MissingFileError.
    """
    config = Config()
    overrides = dict(overrides or {})
    cfg = overrides.pop("cfg", None) or cfg
    if isinstance(cfg, Config):
        for key in KNOBS:
            config.set(key, getattr(cfg, key), cfg.sources.get(key, "default"))
        config.pair = cfg.pair
    elif isinstance(cfg, Mapping):
        _set_keys(config, cfg, "argument")
    elif cfg is not None:
        path = find_recipe(cfg)
        _set_keys(config, _read_yaml(path), str(path))
    _set_keys(config, overrides, source)
    if config.pair and mode not in PAIRS:
        height, width = config.pair
        raise ConfigError(
            f"imgsz=[{height},{width}]: a pair is possible in predict, track, explain and export only",
            hint=f"train and val take one number, such as imgsz={config.imgsz}, and rect=True for smaller borders",
        )
    return config


def as_mapping(args: Any) -> Mapping[str, Any] | None:
    """Return keys and values of a mapping, or of an object that holds them as attributes, as the reference's does."""
    return args if args is None or isinstance(args, Mapping) else vars(args)


def keys_of(
    cfg: Config | str | Path | Mapping[str, Any] | None, overrides: Config | Mapping[str, Any] | None, mode: str
) -> Config:
    """Return the keys of a run: `overrides` itself where it is a Config, else those of `cfg` with it on top; both may
    be objects that hold keys as attributes. The others as of `get_cfg`."""
    if isinstance(overrides, Config):
        return overrides
    cfg = cfg if cfg is None or isinstance(cfg, Config | str | Path) else as_mapping(cfg)
    return get_cfg(cfg, as_mapping(overrides), mode=mode)


def _set_keys(config: Config, values: Mapping[str, Any], source: str) -> None:
    for key, value in values.items():
        if key in RENAMED or key in NEGATED:
            new = RENAMED.get(key) or NEGATED[key]
            LOGGER.warning("the key %r is now called %r", key, new)
            key, value = new, (not value if key in NEGATED else value)
        config.set(str(key), value, source)


def _read_yaml(path: Path) -> dict[str, Any]:
    data = read_yaml(path, ConfigError).data
    if not isinstance(data, dict):
        raise ConfigError("a recipe is a mapping of keys to values", str(path))
    values = {}
    for key, value in data.items():
        knob = KNOBS.get(key)
        if key == "save_dir":  # of the run that wrote the file
            continue
        if knob and knob.optional and value in (None, "None") and knob.default is None:
            continue  # the reference's files hold all keys; what is left open says nothing
        # YAML reads 1e-3 as text; on a command line it is a number, so it is one here too.
        values[key] = parse_word(key, value) if knob and isinstance(value, str) and NUMBER.fullmatch(value) else value
    return values
