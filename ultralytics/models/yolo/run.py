"""A command, run to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ultralytics.cfg.config import get_cfg
from ultralytics.cfg.paths import weights_hint
from ultralytics.engine.ranks.team import join, leave
from ultralytics.models.yolo.model import YOLO
from ultralytics.models.yolo.modes import Trained, task_for, train
from ultralytics.models.yolo.task import task_named
from ultralytics.utils import events
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.log import output
from ultralytics.utils.precision import names_of
from ultralytics.utils.text import counted


def benchmark(
    model: str | Path = "yolov8n.pt",
    data: str | None = None,
    imgsz: int | None = None,
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
        mode: train, check, val, predict, track, explain or export.
        given: keys of the mode; `cfg`, a YAML of keys, may name the model. predict and track save by default.
        source: of the keys, for messages and args.yaml.

    Raises:
        UserError: it cannot be done; or, after all is predicted, a video could be read in part only.
    """
    keys = dict(given)
    if mode == "train":
        _tell_trained(train(None, keys, source))
        return
    if mode == "check":
        task_named(task_for(get_cfg(None, keys, source))).trainer.check(keys, source=source)
        events.emit("result", text="The run can begin.")
        return
    keys.pop("mode", None)
    model = keys.pop("model", None) or (keys.get("cfg") and get_cfg(None, keys, source, mode).model)
    if not model:
        raise ConfigError("no model given", hint=weights_hint())
    yolo = YOLO(model, task=keys.pop("task", None), scale=keys.pop("scale", None), plugins=keys.get("plugins"))
    if mode == "val":
        metrics = yolo.val(_source=source, **keys)
        if join().leads:
            figures = metrics.results_dict
            events.emit("result", text=_line_of(figures, metrics.save_dir), folder=metrics.save_dir, figures=figures)
    elif mode == "export":
        file = yolo.export(_source=source, **keys)
        events.emit("result", text=file, file=file)
    elif mode == "explain":
        files = [f for found in yolo.explain(stream=True, _source=source, **keys) for f in found.files]
        events.emit("result", text=str(files[0].parent) if files else "", files=files)
    else:
        _run_predict(yolo, yolo.track if mode == "track" else yolo.predict, {"save": True} | keys, source)


def _tell_trained(trained: Trained) -> None:
    """Say what a training has made, and let its processes go."""
    leads = trained.trainer is None or trained.trainer.team.leads
    folder, metrics = trained.save_dir, trained.metrics
    figures = {} if metrics is None else metrics.results_dict
    found = [p for p in (folder / "weights" / n for n in ("best.pt", "last.pt")) if p.exists()]
    if leads:
        weights = found[0] if found else None
        text = _line_of(figures, weights or folder)
        events.emit("result", text=text, folder=folder, weights=weights, figures=figures)
    if trained.trainer is not None:
        leave(trained.trainer.team)


def _line_of(figures: Mapping[str, float], path: Path) -> str:
    """Return the figures of a validation and where they lie, in a line."""
    shown = [f"{name} {figures[k]:.4f}" for k, name in names_of(k for k in figures if k != "fitness").items()]
    return ": ".join([*([", ".join(shown)] if shown else []), str(path)])


def _run_predict(yolo: YOLO, predict: Callable[..., Any], keys: Mapping[str, Any], source: str) -> None:
    """Predict or track, keep no results, and say which video is incomplete."""
    images = boxes = 0
    for result in predict(stream=True, _source=source, **keys):
        images, boxes = images + 1, boxes + (0 if result.probs is not None else len(result))
        if output() == "json":
            events.emit("image", path=result.path, shape=result.orig_shape, objects=result.summary())
    assert yolo.predictor is not None
    folder = yolo.predictor.save_dir
    found = f", {counted(boxes, 'box')}" if task_named(yolo.task).follows else ""
    text = f"{counted(images, 'image')}{found}" + (f": {folder}" if folder else "")
    events.emit("result", text=text, folder=folder, images=images, boxes=boxes)
    incomplete = yolo.predictor.incomplete
    if incomplete:
        file, what = next(iter(incomplete.items()))
        more = f", and {len(incomplete) - 1} more as named above" if len(incomplete) > 1 else ""
        raise UserError(f"{what}{more}", file, "everything that could be read is done")
