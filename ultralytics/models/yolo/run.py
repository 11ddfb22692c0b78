"""A command, run to its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.cfg.config import get_cfg
from ultralytics.cfg.paths import weights_hint
from ultralytics.engine.ranks.team import leave
from ultralytics.models.yolo.model import YOLO
from ultralytics.models.yolo.modes import train
from ultralytics.models.yolo.task import task_named
from ultralytics.utils.errors import ConfigError, UserError


def benchmark(
    model: str | Path = "yolov8n.pt",
    data: str | None = None,
    imgsz: int = 640,
    half: bool = False,
    int8: bool = False,
    device: Any = None,
    verbose: bool | float = False,
    eps: float = 1e-3,
    **options: Any,
) -> dict[str, Any]:
    """Measure a model in each format; see `YOLO.benchmark`. The reference's name and order of arguments.

    Args:
        model: weights file, exported file or YAML.
        verbose: raise where a format fails.
        eps: of the reference, without effect.
        options: further options of `python -m ultralytics benchmark --help`.
    """
    keys = {"data": data, "imgsz": imgsz, "half": half, "int8": int8, "device": device, "verbose": verbose}
    return YOLO(model).benchmark(**keys, **options)


def run(mode: str, given: Mapping[str, Any], source: str = "command line") -> None:
    """Do what a command says, and keep nothing but what it writes.

    Args:
        mode: train, check, val, predict, explain or export.
        given: keys of the mode; `cfg`, a YAML of keys, may name the model. predict saves by default.
        source: of the keys, for messages and args.yaml.

    Raises:
        UserError: it cannot be done; or, after all is predicted, a video could be read in part only.
    """
    keys = dict(given)
    if mode == "train":
        trainer = train(None, keys, source).trainer
        if trainer is not None:
            leave(trainer.team)
        return
    if mode == "check":
        task_named(get_cfg(None, keys, source).task).trainer.check(keys, source=source)
        return
    keys.pop("mode", None)
    model = keys.pop("model", None) or (keys.get("cfg") and get_cfg(None, keys, source, mode).model)
    if not model:
        raise ConfigError("no model given", hint=weights_hint())
    yolo = YOLO(model, task=keys.pop("task", None), scale=keys.pop("scale", None), plugins=keys.get("plugins"))
    if mode == "val":
        yolo.val(_source=source, **keys)
    elif mode == "export":
        yolo.export(_source=source, **keys)
    elif mode == "explain":
        for _ in yolo.explain(stream=True, _source=source, **keys):
            pass
    else:
        _run_predict(yolo, {"save": True} | keys, source)


def _run_predict(yolo: YOLO, keys: Mapping[str, Any], source: str) -> None:
    """Predict, keep no results, and say which video is incomplete."""
    for _ in yolo.predict(stream=True, _source=source, **keys):
        pass
    assert yolo.predictor is not None
    incomplete = yolo.predictor.incomplete
    if incomplete:
        file, what = next(iter(incomplete.items()))
        more = f", and {len(incomplete) - 1} more as named above" if len(incomplete) > 1 else ""
        raise UserError(f"{what}{more}", file, "everything that could be read is done")
