"""Every knob of the project, once: name, type, default, range, meaning.

Names and defaults are the reference's. Values come from the defaults, a YAML of keys (`cfg=`), and `key=value` pairs,
later ones winning; where each came from is remembered and written to args.yaml.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ultralytics.cfg.paths import find_recipe
from ultralytics.utils.errors import ConfigError, nearest
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import one_line
from ultralytics.utils.yaml import read_yaml

ALL = ("train", "val", "predict", "explain")
T, V, P = ("train",), ("val",), ("predict",)
TV, VP = ("train", "val"), ("val", "predict")
PX, X = ("predict", "explain"), ("explain",)
OPTIMIZERS = ("auto", "SGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp")
# Defaults that a mode has of its own; a None of `Config` is told apart in the knob's `none`.
MODE_DEFAULTS: dict[str, dict[str, Any]] = {
    "val": {"conf": 0.001, "rect": True},
    "predict": {"batch": 1, "conf": 0.25},
    "explain": {"conf": 0.25},
}
INT_MAX = 2**31 - 1  # no number of anything here is larger


def knob(
    default: Any,
    kind: str,
    help: str,  # the word every option parser uses
    modes: tuple[str, ...] = ALL,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    none: bool | str = False,
    group: str = "run",
    positive: bool = False,
) -> Any:
    """Define a knob. `kind` is one of int, float, fraction, bool, str, path (text, True or False), any; `none` admits
    None, and as a text says what it means; `positive` refuses 0."""
    if kind == "fraction":
        low, high = 0.0, 1.0
    if kind == "int" and high is None:
        high = INT_MAX
    metadata = {
        "kind": kind,
        "help": help,
        "modes": modes,
        "low": low,
        "high": high,
        "choices": choices,
        "none": none,
        "group": group,
        "positive": positive,
    }
    return field(default=default, metadata=metadata)


# ruff: noqa: RUF009  # `knob` is dataclasses.field with our metadata
@dataclass
class Config:
    """The resolved configuration of a run; `sources[key]` says where a value came from."""

    task: str = knob("detect", "str", "the task; this project detects", choices=("detect",))
    mode: str = knob("train", "str", "train, val, predict or explain", choices=ALL)
    model: str | None = knob(
        None, "str", "model YAML (a scale letter may be in its name) or weights file (.pt)", none=True
    )
    model_scale: str | None = knob(
        None, "str", "scale letter of the model YAML, written scale=n", choices=("n", "s", "m", "l", "x"), none=True
    )
    data: str | None = knob(None, "str", "data set YAML; its paths are relative to itself", TV, none=True)

    epochs: int = knob(100, "int", "passes over the training images", T, low=1)
    time: float | None = knob(
        None, "float", "hours to train; overrides epochs", T, low=0, none="no limit", positive=True
    )
    patience: int = knob(100, "int", "stop after so many epochs without progress (0: never)", T, low=0)
    batch: int = knob(  # a trainer turns -1 and fractions into a number before anything else reads it
        16,
        "int",
        "images per step; in train also -1 or 0.1 to 0.9: what fits that part of the GPU's memory (-1: 0.6)",
        ("train", "val", "predict"),
    )
    imgsz: int = knob(
        640,
        "int",
        "longest side of the input, pixels (predict, explain: also [height,width]); weights remember theirs",
        ALL,
        low=32,
        high=8192,
    )
    save: bool = knob(
        True,
        "bool",
        "train: write checkpoints (False: only where a stop, save_every or on_nan needs one); predict: write pictures",
        ("train", "predict"),
    )
    save_period: int = knob(-1, "int", "also keep epochN.pt every so many epochs (-1: no)", T, low=-1)
    save_every: float | None = knob(
        30.0, "float", "minutes between saves within an epoch (0: only at its end)", T, low=0, none="0"
    )
    on_nan: str = knob(
        "stop",
        "str",
        "a loss or gradient that is not finite: stop, skip the batch, or rollback to the last save at half the rate",
        T,
        choices=("stop", "skip", "rollback"),
    )
    cache: bool | str = knob(
        False, "any", "keep decoded images: False, ram or disk", TV, choices=(False, True, "ram", "disk")
    )
    device: str | int | list[int] | None = knob(
        None, "any", "cpu, mps or a GPU's number; train: several as 0,1; auto: the first GPU, else the CPU", none="auto"
    )
    workers: int = knob(8, "int", "processes that load images, at most one per core (0: none)", TV, low=0)
    threads: int | None = knob(
        None,
        "int",
        "of a CPU that compute; auto: one per core, fewer where they are clearly faster",
        low=1,
        none="auto",
    )
    project: str | None = knob(None, "str", "folder of runs", none="runs/detect")
    name: str | None = knob(None, "str", "name of the run, numbered when it exists", none="the mode")
    exist_ok: bool = knob(False, "bool", "write into an existing run folder")
    pretrained: bool | str = knob(True, "path", "weights file to start from; False: start a .pt model from scratch", T)
    transfer: str = knob(
        "structure",
        "str",
        "how pretrained tensors find their layer: by structure, or by name (row number), as the reference does",
        T,
        choices=("structure", "name"),
    )
    min_transfer: float = knob(0.0, "fraction", "stop when a smaller part of the pretrained tensors transfers", T)
    adapter: str | None = knob(
        None, "str", "file of save-adapter: fills new rows of the same kind and width", T, none="none"
    )
    train_only: str = knob(
        "all",
        "str",
        "new: freeze what came from the pretrained weights, batch norms too, and train the rest",
        T,
        choices=("all", "new"),
    )
    teacher: str | None = knob(None, "str", "weights file of a larger network to learn from", T, none="none")
    distill: str = knob(
        "feature",
        "str",
        "what to learn from the teacher: the maps its head reads (feature; cwd: channel by channel), or class logits",
        T,
        choices=("feature", "cwd", "logits"),
    )
    distill_gain: float | None = knob(
        None, "float", "gain of the loss to the teacher; auto: feature 6, cwd 50, logits 1", T, low=0, none="auto"
    )
    preflight: bool = knob(True, "bool", "try the model at every shape of the run before it begins", T)
    optimizer: str = knob("auto", "str", "auto: by the length of the run", T, choices=OPTIMIZERS)
    plugins: str | list[str] | None = knob(
        None, "any", "Python files that register your own modules, as [a.py,b.py]", none="none"
    )
    verbose: bool = knob(True, "bool", "print rows, classes and images one by one")
    seed: int = knob(0, "int", "of everything random", T, low=0, high=2**63 - 1)
    deterministic: bool = knob(
        True, "bool", "only deterministic algorithms: equal seeds (on a CPU also equal threads) give equal weights", T
    )
    single_cls: bool = knob(False, "bool", "treat all classes as one", ALL)
    rect: bool = knob(False, "bool", "rectangular batches; in training they are neither shuffled nor mosaicked", TV)
    rect_val: bool = knob(True, "bool", "rectangular batches at validation; False: square ones", TV)
    cos_lr: bool = knob(False, "bool", "cosine instead of linear learning-rate decay", T)
    close_mosaic: int = knob(10, "int", "last epochs without mosaic and mixup (0: none)", T, low=0)
    resume: bool | str = knob(
        False,
        "path",
        "go on with a stopped run: its folder or last.pt, True for the newest, auto: where there is one",
        T,
    )
    amp: bool = knob(True, "bool", "mixed precision where the hardware has it (bf16, else fp16 on GPUs)", T)
    sync_bn: bool = knob(False, "bool", "batch norms see the images of all GPUs, not of their own alone", T)
    fraction: float = knob(1.0, "fraction", "part of the training images to use", T, positive=True)
    freeze: int | list[int] | None = knob(None, "any", "first rows to freeze, or a list of rows", T, none="none")
    multi_scale: bool = knob(False, "bool", "vary the size by 0.5 to 1.5 from batch to batch", T)
    val: bool = knob(True, "bool", "validate after every epoch", T)

    split: str = knob("val", "str", "split to validate on", V, choices=("train", "val", "test"))
    conf: float | None = knob(None, "fraction", "lowest score kept", ALL, none="0.001; in predict and explain 0.25")
    iou: float = knob(0.7, "fraction", "overlap above which NMS drops a box", ALL)
    max_det: int = knob(300, "int", "most boxes per image", ALL, low=1)
    half: bool = knob(False, "bool", "fp16 weights (GPU)", VP)
    coco: bool = knob(True, "bool", "COCO's figures in metrics.json (in train: of the best weights)", TV)
    analyse: bool = knob(False, "bool", "kinds of errors, figures by size, calibration, and a gallery of the worst", V)
    gallery: int = knob(12, "int", "most images of each kind of error in the gallery of analyse=True", V, low=0)
    save_json: bool = knob(False, "bool", "write predictions.json, in COCO's results format", V)
    plots: bool = knob(True, "bool", "draw pictures and curves", TV)
    font: str | None = knob(
        None,
        "str",
        "for class names: a font file, or an installed one's name; auto: one that has the letters",
        none="auto",
    )
    agnostic_nms: bool = knob(False, "bool", "NMS across classes", ALL)
    classes: int | list[int] | None = knob(None, "any", "keep these class ids only", ALL, none="all")

    source: str | None = knob(None, "str", "image, folder, glob, list (.txt) or video (not in explain)", PX, none=True)
    kind: str = knob(
        "cam",
        "str",
        "cam: what the boxes' scores rest on; attention: with which tokens a pixel's is mixed; "
        "erf: which pixels reach a map's centre",
        X,
        choices=("cam", "attention", "erf"),
    )
    rows: int | str | list[int | str] | None = knob(
        None,
        "any",
        "rows to look at, by number or name, as [4,6]; auto: cam: those the head reads; else those with attention",
        X,
        none="auto",
    )
    points: list[list[float]] | None = knob(
        None,
        "any",
        "attention: pixels of the image, as [[x,y],[x,y]]; auto: centres of the best boxes",
        X,
        none="auto",
    )
    heads: int | list[int] | str | None = knob(
        None, "any", "attention: heads to draw, as [0,3], or all; auto: their mean", X, none="auto"
    )
    max_images: int = knob(50, "int", "erf: most images of the source to average over", X, low=1)
    vid_stride: int = knob(1, "int", "take every so many frames of a video", P, low=1)
    show_labels: bool = knob(True, "bool", "draw class names", P)
    show_conf: bool = knob(True, "bool", "draw scores", P)
    show_boxes: bool = knob(True, "bool", "draw boxes", P)
    line_width: int | None = knob(None, "int", "of drawn boxes, pixels; auto: by image size", P, low=1, none="auto")
    save_txt: bool = knob(False, "bool", "write boxes as labels/NAME.txt", VP)
    save_conf: bool = knob(False, "bool", "add the score to save_txt", VP)
    save_crop: bool = knob(False, "bool", "write each box as a picture", P)

    lr0: float = knob(0.01, "fraction", "initial learning rate", T, group="recipe")
    lrf: float = knob(0.01, "fraction", "final learning rate as a fraction of lr0", T, group="recipe")
    momentum: float = knob(0.937, "fraction", "SGD momentum, or beta1 of Adam", T, group="recipe")
    weight_decay: float = knob(0.0005, "fraction", "at the nominal batch nbs", T, group="recipe")
    warmup_epochs: float = knob(
        3.0, "float", "epochs of warm-up, at least 100 steps (0: none)", T, low=0, group="recipe"
    )
    warmup_momentum: float = knob(0.8, "fraction", "momentum at the start", T, group="recipe")
    warmup_bias_lr: float = knob(0.1, "fraction", "learning rate of biases at the start", T, group="recipe")
    box: float = knob(7.5, "float", "gain of the box loss", T, low=0, group="recipe")
    cls: float = knob(0.5, "float", "gain of the class loss", T, low=0, group="recipe")
    dfl: float = knob(1.5, "float", "gain of the distribution focal loss", T, low=0, group="recipe")
    nbs: int = knob(64, "int", "nominal batch: gradients gather up to so many images", T, low=1, group="recipe")
    lr_transferred: float = knob(
        1.0, "float", "times the learning rate: of tensors that came from pretrained weights", T, low=0, group="recipe"
    )
    lr_new: float | None = knob(
        None,
        "float",
        "times the learning rate: of tensors that are new beside pretrained ones; auto: 10 with the Adams, else 1",
        T,
        low=0,
        none="auto",
        group="recipe",
        positive=True,
    )
    lr_gate: float | None = knob(
        None,
        "float",
        "times the learning rate: of the gates of new blocks; auto: 50 with the Adams, else 1",
        T,
        low=0,
        none="auto",
        group="recipe",
        positive=True,
    )
    ema: float | str = knob(
        2000.0,
        "any",
        "tau of the average of the weights, in optimiser steps; auto: by the run's length; 0: no average",
        T,
        group="recipe",
    )

    hsv_h: float = knob(0.015, "fraction", "hue jitter", T, group="augmentation")
    hsv_s: float = knob(0.7, "fraction", "saturation jitter", T, group="augmentation")
    hsv_v: float = knob(0.4, "fraction", "brightness jitter", T, group="augmentation")
    degrees: float = knob(0.0, "float", "rotation, +/- degrees", T, low=0, high=180, group="augmentation")
    translate: float = knob(0.1, "fraction", "shift, +/- part of the size", T, group="augmentation")
    scale: float = knob(
        0.5, "fraction", "zoom, 1 +/- gain; a letter chooses the model's scale instead", T, group="augmentation"
    )
    shear: float = knob(0.0, "float", "shear, +/- degrees", T, low=0, high=90, group="augmentation")
    perspective: float = knob(0.0, "fraction", "perspective, +/- (0 to 0.001 is usual)", T, group="augmentation")
    flipud: float = knob(0.0, "fraction", "chance of an up-down flip", T, group="augmentation")
    fliplr: float = knob(0.5, "fraction", "chance of a left-right flip", T, group="augmentation")
    bgr: float = knob(0.0, "fraction", "chance of swapped red and blue", T, group="augmentation")
    mosaic: float = knob(1.0, "fraction", "chance of a mosaic of four images", T, group="augmentation")
    mixup: float = knob(0.0, "fraction", "chance of blending two samples", T, group="augmentation")

    sources: dict[str, str] = field(default_factory=dict, repr=False)
    pair: tuple[int, int] | None = field(default=None, repr=False)  # (height, width), where imgsz was given as a pair

    @property
    def frame(self) -> tuple[int, int]:
        """(height, width) that images are fitted into, pixels."""
        return self.pair or (self.imgsz, self.imgsz)

    def set(self, key: str, value: Any, source: str) -> None:
        """Check a value and take it; `source` says where it comes from.

        Raises:
            ConfigError: unknown key (the nearest is named), wrong type, out of range.
        """
        if key == "scale" and isinstance(value, str):
            key = "model_scale"
        if asks_nothing(key, value):
            return
        if key not in KNOBS:
            raise unknown_key(key, source)
        if key == "imgsz":
            value, self.pair = _side_and_pair(value, source)
        setattr(self, key, _checked(key, value, source))
        self.sources[key] = source

    def to_dict(self) -> dict[str, Any]:
        """Keys and values, as plain data."""
        return {key: getattr(self, key) for key in KNOBS}

    def yaml_text(self, head: Sequence[str] = ()) -> str:
        """The values, each with its source when it is not the default; `cfg=` reads a file of it back. `head` are lines
        of comment above them."""
        lines = [f"# {one_line(line)}" for line in head]
        for key in KNOBS:
            text = yaml.safe_dump(
                {key: getattr(self, key)}, allow_unicode=True, default_flow_style=True, width=10**6
            ).strip()[1:-1]
            source = self.sources.get(key, "default")
            lines.append(text if source == "default" else f"{text}  # {one_line(source)}")
        return "\n".join(lines) + "\n"

    def save_yaml(self, path: str | Path, head: Sequence[str] = ()) -> None:
        """Write `yaml_text` to a file."""
        Path(path).write_text(self.yaml_text(head), encoding="utf-8")


KNOBS: dict[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(Config) if f.metadata}


class Inert(NamedTuple):
    """A key of the reference that does nothing here.

    Attributes:
        off: its default there, which asks for nothing and is accepted.
        why: what any other value is answered with.
    """

    off: Any
    why: str


_SEGMENT = "it belongs to segmentation, and this project detects boxes"
_CLASSIFY = "it belongs to classification, and this project detects boxes"
_POSE = "it belongs to pose estimation, and this project detects boxes"
_EXPORT = "it belongs to export, which is not offered yet"
_MAPS = "feature maps are not offered yet"
# Keys of the reference that do nothing here.
UNSUPPORTED: dict[str, Inert] = {
    "overlap_mask": Inert(True, _SEGMENT),
    "mask_ratio": Inert(4, _SEGMENT),
    "retina_masks": Inert(False, _SEGMENT),
    "dropout": Inert(0.0, _CLASSIFY),
    "auto_augment": Inert("randaugment", _CLASSIFY),
    "erasing": Inert(0.4, _CLASSIFY),
    "crop_fraction": Inert(1.0, _CLASSIFY),
    "format": Inert("torchscript", _EXPORT),
    "keras": Inert(False, _EXPORT),
    "optimize": Inert(False, _EXPORT),
    "int8": Inert(False, _EXPORT),
    "dynamic": Inert(False, _EXPORT),
    "simplify": Inert(True, _EXPORT),
    "opset": Inert(None, _EXPORT),
    "workspace": Inert(4, _EXPORT),
    "nms": Inert(False, _EXPORT),
    "pose": Inert(12.0, _POSE),
    "kobj": Inert(1.0, _POSE),
    "copy_paste": Inert(0.0, "it needs polygons, and this project reads boxes"),
    "label_smoothing": Inert(0.0, "the reference never reads it either"),
    "tracker": Inert("botsort.yaml", "tracking is not offered"),
    "show": Inert(False, "no window is opened: use save=True and look at the pictures"),
    "save_frames": Inert(False, "use save=True, which writes an annotated video"),
    "stream_buffer": Inert(False, "live streams are not offered"),
    "profile": Inert(False, "use scripts/benchmark.sh"),
    "dnn": Inert(False, "ONNX models are not offered yet"),
    "embed": Inert(None, _MAPS),
    "visualize": Inert(False, _MAPS),
    "augment": Inert(False, "test-time augmentation is not offered yet"),
    "save_hybrid": Inert(False, "use save_txt=True"),
    "save_dir": Inert(None, "a run's folder is project/name: use project= and name="),
    "cfg": Inert(None, "a file of keys cannot name another one"),
}


def asks_nothing(key: str, value: Any) -> bool:
    """Whether a key does nothing here and its value does not ask for more: the reference's default, or its equal."""
    if key not in UNSUPPORTED:
        return False
    off = UNSUPPORTED[key].off
    if isinstance(value, str):
        value = parse_value(value)
    return value is None or bool(value == off) or not (value or off)


_RENAMED = {"boxes": "show_boxes", "line_thickness": "line_width"}
_NEGATED = {"hide_labels": "show_labels", "hide_conf": "show_conf"}


def unknown_key(key: str, source: str = "") -> ConfigError:
    """The error for a key that is no knob."""
    if key in UNSUPPORTED:
        return ConfigError(
            f"the key {key!r} has no effect in this project: {UNSUPPORTED[key].why}", hint="leave it out"
        )
    where = source if source.endswith((".yaml", ".yml")) else ""
    return ConfigError(
        f"unknown key {key!r}", where, nearest(key, KNOBS) or "`python -m ultralytics train --help` lists the keys"
    )


def _checked(key: str, value: Any, source: str) -> Any:
    """The value in the knob's type, or a ConfigError that names the valid ones."""
    m = KNOBS[key].metadata
    kind, low, high, choices = m["kind"], m["low"], m["high"], m["choices"]
    where = source if source.endswith((".yaml", ".yml")) else ""
    key = "scale" if key == "model_scale" else key  # what users write
    if value is None or (value == "None" and kind not in ("str", "path")):  # text is what the reference's files have
        if m["none"]:
            return None
        raise ConfigError(f"{key}=None is not possible", where, f"default {KNOBS[key].default}")
    if isinstance(value, Path):
        value = str(value)
    if kind in ("int", "float") and isinstance(value, str) and value == m["none"]:  # the word that --help shows
        return None
    if kind in ("any", "path"):
        return _checked_any(key, value, where, choices)
    words = {"int": "an integer", "float": "a number", "fraction": "a number", "bool": "True or False", "str": "text"}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {"bool": isinstance(value, bool), "str": isinstance(value, str)}.get(kind, number)
    if kind == "str" and number:
        value, fits = str(value), True
    if kind == "int" and number:
        if key == "batch" and value < 1:
            if value == -1 or 0 < value < 1:
                return value
            raise ConfigError(f"batch={value} is out of range", where, "valid: 1 or more; -1 or 0.1 to 0.9: what fits")
        fits = isinstance(value, int) or value.is_integer()
        value = int(value) if fits else value
    if not fits:
        raise ConfigError(f"{key}={value!r} must be {words[kind]}", where)
    if kind in ("float", "fraction"):
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
        if math.isinf(value):
            raise ConfigError(f"{key}={value} must be finite", where)
    if kind in ("int", "float", "fraction") and not ((low is None or value >= low) and (high is None or value <= high)):
        valid = (
            f"{low:g} to {high:g}"
            if high not in (None, INT_MAX) and low is not None
            else f"{low:g} or more"
            if low is not None
            else f"up to {high:g}"
        )
        told = str(value) if kind == "int" else f"{value:g}"
        raise ConfigError(f"{key}={told} is out of range", where, f"valid: {valid}")
    if m["positive"] and value == 0:
        raise ConfigError(f"{key}={value:g} is out of range", where, "valid: above 0")
    if choices and isinstance(value, str):
        value = next((c for c in choices if c.lower() == value.lower()), value)
    if choices and value not in choices:
        raise ConfigError(f"{key}={value} is not possible", where, f"one of {', '.join(map(str, choices))}")
    return value


_PAIR = re.compile(r"[\[(]?\s*(\d{1,9})\s*[,x×]\s*(\d{1,9})\s*[\])]?")


def _side_and_pair(value: Any, source: str) -> tuple[Any, tuple[int, int] | None]:
    """The longer side of an imgsz, and the pair (height, width) it was given as: [h, w], (h, w) or "h,w"."""
    written = _PAIR.fullmatch(value.strip()) if isinstance(value, str) else None
    sides = [*map(int, written.groups())] if written else list(value) if isinstance(value, list | tuple) else [value]
    if len(sides) == 1:
        return sides[0], None
    if len(sides) != 2:
        raise ConfigError(f"imgsz={value} must be one number, or in predict and explain [height,width]")
    height, width = (int(_checked("imgsz", side, source)) for side in sides)
    return max(height, width), (height, width) if height != width else None


def _checked_any(key: str, value: Any, where: str, choices: tuple[Any, ...]) -> Any:
    """Knobs of several types."""
    if isinstance(value, tuple):
        value = list(value)
    if key == "cache":
        value = value.lower() if isinstance(value, str) else value
        if value not in choices or (isinstance(value, int) and not isinstance(value, bool)):
            raise ConfigError(f"cache={value} is not possible", where, "False, ram or disk")
        return "ram" if value is True else value
    if key in ("pretrained", "resume"):
        if not isinstance(value, bool | str):
            raise ConfigError(f"{key}={value!r} must be True, False or a path", where)
        return value
    if key == "ema":
        if value == "auto":
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
            return float(value)
        raise ConfigError(f"ema={value!r} must be auto or a number of 0 or more", where)
    if key == "plugins":
        files = [value] if isinstance(value, str) else value
        if not isinstance(files, list) or not all(isinstance(f, str) and f for f in files):
            raise ConfigError(f"plugins={value!r} must be a Python file or a list of them", where)
        return files
    if key in ("classes", "freeze"):
        numbers = value if isinstance(value, list) else [value]
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers):
            raise ConfigError(f"{key}={value!r} must be an integer of 0 or more, or a list of them", where)
        return value
    if key in ("rows", "points", "heads"):
        return _checked_place(key, value, where)
    if key == "device" and (isinstance(value, bool) or not isinstance(value, int | str | list)):
        raise ConfigError(f"device={value!r} must be cpu, mps or the number of a GPU", where)
    return value


def _checked_place(key: str, value: Any, where: str) -> Any:
    """Which rows, pixels or heads to look at."""
    parts = value if isinstance(value, list) else [value]
    numbers = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in parts)
    if key == "heads":
        if not (value == "all" or (parts and numbers)):
            raise ConfigError(f"heads={value!r} must be all, an integer of 0 or more, or a list of them", where)
        return value
    if key == "rows":
        words = all((isinstance(n, str) and n) or (isinstance(n, int) and not isinstance(n, bool)) for n in parts)
        if not parts or not words:
            raise ConfigError(f"rows={value!r} must be numbers or names of rows, as [4,6]", where)
        return value
    pairs = parts if all(isinstance(p, list | tuple) for p in parts) else [parts]
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(n, int | float) and not isinstance(n, bool) and n >= 0 for n in pair):
            raise ConfigError(f"points={value!r} must be pixels, as [[x,y],[x,y]]", where)
    if not pairs:
        raise ConfigError("points=[] names no pixel", where, "leave it out for the centres of the best boxes")
    return [[float(n) for n in pair] for pair in pairs]


_INT = re.compile(r"[-+]?\d+")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


# Between commas; those in quotes that a part begins with, or in a list within the list, separate nothing.
_PART = re.compile(r"""\s*\[[^][]*\]\s*(?=,|$)|\s*"[^"]*"\s*(?=,|$)|\s*'[^']*'\s*(?=,|$)|[^,]+""")


def parse_value(text: str) -> Any:
    """A command-line word as data: none, true, false, numbers, [lists], else text. Nothing is evaluated."""
    word = text.strip()
    lower = word.lower()
    if lower in ("none", "null", ""):
        return None
    if lower in ("true", "false"):
        return lower == "true"
    if _INT.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    if word.startswith(("[", "(")) and word.endswith(("]", ")")):
        return [parse_value(part) for part in _PART.findall(word[1:-1]) if part.strip()]
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1]
    return word


def parse_word(key: str, text: str) -> Any:
    """A command-line word as the key's kind of value: text stays as it is written, anything else is `parse_value`d."""
    kind = KNOBS[key].metadata["kind"] if key in KNOBS else "str"
    word = text.strip()
    value = parse_value(word if kind in ("str", "path") else word.rstrip(","))
    if kind == "str" or (kind == "path" and not isinstance(value, bool)):
        quoted = len(word) > 1 and word[0] == word[-1] and word[0] in "'\""
        return None if value is None else word[1:-1] if quoted else word
    told = KNOBS[key].metadata["none"]  # the word that --help shows for None is understood as well
    return None if isinstance(told, str) and isinstance(value, str) and value.lower() == told else value


def check_switches(given: Mapping[str, Any], keys: Iterable[str] | None = None) -> None:
    """Switches are True or False: text such as "no", which Python would take for true, is refused.

    Args:
        given: keys and values; keys: those that are switches, all when None.

    Raises:
        ConfigError: a value is neither.
    """
    for key in given if keys is None else keys:
        if key in given and not isinstance(given[key], bool):
            raise ConfigError(f"{key}={given[key]} must be True or False")


_MIXED = ("mosaic", "mixup")
_DRAWN = ("show_labels", "show_conf", "show_boxes", "line_width")
_OF_BOXES = ("conf", "iou", "max_det", "classes", "agnostic_nms", "single_cls")
_YAML = (".yaml", ".yml")


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
    """A line for each key that was given and does nothing in this combination.

    Args:
        unable: keys that the machine makes nothing of, and why; told where they are on.
    """
    found = [(k, why) for modes, keys, when, why in WITHOUT_EFFECT if mode in modes and when(config) for k in keys]
    found += [(k, why) for k, why in (unable or {}).items() if getattr(config, k)]
    return [
        f"{key}={getattr(config, key)} has no effect: {why.format(c=config)}"
        for key, why in found
        if _given(config, key)
    ]


def _given(config: Config, key: str) -> bool:
    """Whether the user has given a key. Files that hold all keys, as args.yaml does, give those that say something."""
    source = config.sources.get(key, "default")
    typed = source in ("command line", "argument")
    return typed or (source.endswith(_YAML) and getattr(config, key) != KNOBS[key].default)


def check_classes(classes: int | list[int] | None, nc: int, whose: str) -> None:
    """Refuse ids in `classes` that there are not.

    Raises:
        ConfigError: naming the first.
    """
    numbers = [] if classes is None else classes if isinstance(classes, list) else [classes]
    for number in numbers:
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
        mode: what it is for; imgsz may be a pair in predict and explain only.

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
        _apply(config, cfg, "argument")
    elif cfg is not None:
        path = find_recipe(cfg)
        _apply(config, _read_yaml(path), str(path))
    _apply(config, overrides, source)
    if config.pair and mode not in PX:
        height, width = config.pair
        raise ConfigError(
            f"imgsz=[{height},{width}]: a pair is possible in predict and explain only",
            hint=f"train and val take one number, such as imgsz={config.imgsz}, and rect=True for smaller borders",
        )
    return config


def as_mapping(args: Any) -> Mapping[str, Any] | None:
    """Keys and values of a mapping, or of an object that holds them as attributes, as the reference's does."""
    return args if args is None or isinstance(args, Mapping) else vars(args)


def _apply(config: Config, values: Mapping[str, Any], source: str) -> None:
    for key, value in values.items():
        if key in _RENAMED or key in _NEGATED:
            new = _RENAMED.get(key) or _NEGATED[key]
            LOGGER.warning("the key %r is now called %r", key, new)
            key, value = new, (not value if key in _NEGATED else value)
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
        if knob and knob.metadata["none"] and value in (None, "None") and knob.default is None:
            continue  # the reference's files hold all keys; what is left open says nothing
        # YAML reads 1e-3 as text; on a command line it is a number, so it is one here too.
        values[key] = parse_word(key, value) if knob and isinstance(value, str) and _FLOAT.fullmatch(value) else value
    return values
