"""Every key of a run, once: name, type, default, range, meaning. Names and defaults are the reference's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ultralytics.cfg.knob import ALL, RUNS, Fraction, knob, knobs_of
from ultralytics.cfg.tasks import TASKS
from ultralytics.cfg.unsupported import UNSUPPORTED, asks_nothing
from ultralytics.cfg.values import (
    COMPILE_MODES,
    LOGGER_NAMES,
    WHOLE_NUMBERS,
    check_average,
    check_cache,
    check_compile,
    check_device,
    check_files,
    check_heads,
    check_loggers,
    check_numbers,
    check_points,
    check_rows,
    check_span,
)
from ultralytics.utils.errors import ConfigError, nearest
from ultralytics.utils.text import one_line

T, V, P, F = ("train",), ("val",), ("predict", "track"), ("track",)
TV, VP = ("train", "val"), ("val", *P)
TVP = (*TV, *P)
PX, X, E = (*P, "explain"), ("explain",), ("export",)
PAIRS = (*PX, *E)  # modes whose imgsz may be [height, width]
TASK_NAMES = tuple(TASKS)
OPTIMIZERS = ("auto", "SGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSProp")
AUTO_AUGMENTS = ("randaugment", "autoaugment", "augmix")  # `data.class_augment`
TILE_KEYS = ("tiles", "overlap", "whole", "tile_visible", "tile_background")  # which samples a training has
MERGES = ("cut", "nms", "nmm", "wbf")  # `utils.fusion.join_parts` of tiles, and the kinds of `utils.fusion.join`
# Defaults that a mode has of its own; what the None of a key means is the `none` of its knob.
VAL_CONF, PREDICT_CONF, TRACK_CONF = 0.001, 0.25, 0.1  # lowest scores where `conf` is not set
MODE_DEFAULTS: dict[str, dict[str, Any]] = {
    "train": {"conf": VAL_CONF},
    "val": {"conf": VAL_CONF, "rect": True},
    "predict": {"batch": 1, "conf": PREDICT_CONF},
    "track": {"batch": 1, "conf": TRACK_CONF},
    "explain": {"conf": PREDICT_CONF},
    "export": {"batch": 1, "conf": PREDICT_CONF},
}
recipe, varied = partial(knob, modes=T, group="recipe"), partial(knob, modes=T, group="augmentation")
exported = partial(knob, modes=E, group="export")


# ruff: noqa: RUF009  # `knob` is dataclasses.field with our metadata
@dataclass
class Config:  # size: every key of a run, each declared once
    """The resolved configuration of a run; `sources[key]` says where a value came from."""

    task: str = knob(TASK_NAMES[0], "what is trained or done", choices=TASK_NAMES)
    mode: str = knob("train", "train, val, predict, track, explain or export", choices=ALL)
    model: str | None = knob(
        None,
        "model YAML (a scale letter may be in its name) or weights (.pt); val, predict and track also take an exported "
        "file, or several models as [a.pt,b.onnx]",
    )
    model_scale: str | None = knob(
        None, "scale letter of the model YAML, written scale=n", choices=("n", "s", "m", "l", "x")
    )
    data: str | None = knob(None, "dataset YAML; its paths are relative to itself", (*TV, *E))

    epochs: int = knob(100, "passes over the training images", T, low=1)
    time: float | None = knob(None, "hours to train; overrides epochs", T, low=0, none="no limit", positive=True)
    patience: int = knob(100, "stop after so many epochs without progress (0: never)", T, low=0)
    batch: int = knob(  # a trainer turns -1 and fractions into a number before anything else reads it
        16,
        "images per step; in train also -1 or 0.1 to 0.9: what fits that part of the GPU's memory (-1: 0.6)",
        (*TV, *P, "export"),
        low=1,
        also=lambda n: n == -1 or 0 < n < 1,
        what="1 or more; -1 or 0.1 to 0.9: what fits",
    )
    imgsz: int = knob(
        640,
        "longest side of the input, pixels (except in train and val also [height,width]); weights remember theirs",
        ALL,
        low=32,
        high=8192,
    )
    save: bool = knob(
        True,
        "train: write checkpoints (False: only where a stop, save_every or on_nan needs one); else write images",
        ("train", *P),
    )
    save_period: int = knob(-1, "also keep epochN.pt every so many epochs (-1: no)", T, low=-1)
    save_every: float | None = knob(
        30.0, "minutes between saves within an epoch (0: only at its end)", T, low=0, none="0"
    )
    on_nan: str = knob(
        "stop",
        "a loss or gradient that is not finite: stop, skip the batch, or rollback to the last save at half the rate",
        T,
        choices=("stop", "skip", "rollback"),
    )
    cache: bool | str = knob(
        False, "keep decoded images: False, ram or disk", TV, check=check_cache, what="False, ram or disk"
    )
    device: str | int | list[int] | None = knob(
        None,
        "cpu, mps or a GPU's number; train: several as 0,1; auto: the first GPU, else the CPU",
        none="auto",
        check=check_device,
        what="cpu, mps or the number of a GPU",
    )
    workers: int = knob(8, "processes that load images, at most one per core (0: none)", TV, low=0)
    threads: int | None = knob(
        None, "CPU threads for computing; auto: one per core, fewer where they are clearly faster", low=1, none="auto"
    )
    project: str | None = knob(None, "folder of runs", none="runs/TASK")
    name: str | None = knob(None, "name of the run, numbered when it exists", none="the mode")
    exist_ok: bool = knob(False, "write into an existing run folder")
    pretrained: bool | str = knob(True, "weights file to start from; False: start a .pt model from scratch", T)
    transfer: str = knob(
        "structure",
        "how pretrained tensors find their layer: by structure, or by name (row number), as the reference does",
        T,
        choices=("structure", "name"),
    )
    min_transfer: Fraction = knob(0.0, "stop when a smaller part of the pretrained tensors transfers", T)
    adapter: str | None = knob(None, "file of save-adapter: fills new rows of the same kind and width", T, none="none")
    train_only: str = knob(
        "all",
        "new: freeze what came from the pretrained weights, batch norms too, and train the rest",
        T,
        choices=("all", "new"),
    )
    teacher: str | None = knob(None, "weights file of a larger network to learn from", T, none="none")
    distill: str = knob(
        "feature",
        "what to learn from the teacher: the maps its head reads (feature; cwd: channel by channel), or class logits",
        T,
        choices=("feature", "cwd", "logits"),
    )
    distill_gain: float | None = knob(
        None, "gain of the loss to the teacher; auto: feature 6, cwd 50, logits 1", T, low=0, none="auto"
    )
    preflight: bool = knob(True, "try the model at every shape of the run before it begins", T)
    optimizer: str = knob("auto", "auto: by the length of the run", T, choices=OPTIMIZERS)
    plugins: str | list[str] | None = knob(
        None,
        "Python files that register your own modules, as [a.py,b.py]",
        none="none",
        check=check_files,
        what="a Python file or a list of them",
    )
    log: str | list[str] | None = knob(
        None,
        "loggers that get the run's figures, as [tensorboard,wandb]: tensorboard, wandb, mlflow, csv",
        T,
        none="none",
        check=check_loggers,
        what=f"{', '.join(LOGGER_NAMES)} or a list of them",
    )
    log_group: str | None = knob(None, "group of the run in the loggers; in a study its arm", T, none="none")
    log_images: bool = knob(False, "give the loggers the run's plots too, at its end", T)
    log_weights: bool = knob(False, "give the loggers best.pt too, at its end (wandb and mlflow)", T)
    verbose: bool = knob(True, "print rows, classes and images one by one")
    seed: int = knob(0, "random seed", T, low=0, high=2**63 - 1)
    deterministic: bool = knob(
        True, "only deterministic algorithms: equal seeds (on a CPU also equal threads) give equal weights", T
    )
    single_cls: bool = knob(False, "treat all classes as one", RUNS)
    rect: bool = knob(False, "rectangular batches; in training they are neither shuffled nor mosaicked", TV)
    rect_val: bool = knob(True, "rectangular batches at validation; False: square ones", TV)
    cos_lr: bool = knob(False, "cosine instead of linear learning-rate decay", T)
    close_mosaic: int = knob(10, "last epochs without mosaic, mixup and copy_paste (0: none)", T, low=0)
    resume: bool | str = knob(
        False, "continue a stopped run: its folder or last.pt, True for the newest, auto: where there is one", T
    )
    amp: bool = knob(True, "mixed precision where the hardware has it (bf16, else fp16 on GPUs)", T)
    compile: bool | str = knob(
        False,
        "compile the network for training: True where it can be; or torch.compile's mode, else an error",
        T,
        check=check_compile,
        what=f"True, False or {', '.join(COMPILE_MODES)}",
    )
    augment_on: str = knob(
        "cpu", "where training samples are drawn: cpu, or gpu (the run's device: workers decode and plan)", T,
        choices=("cpu", "gpu"),
    )  # fmt: skip
    checkpoint_rows: int | str | list[int | str] | None = knob(
        None,
        "rows to compute again in the backward pass instead of keeping what is in them, as [2,4,6] or 0-9; "
        "auto: those that keep half of the memory; all",
        T,
        none="none",
        check=check_span,
        what="rows as [2,4,6] or 0-9, auto or all",
    )
    sync_bn: bool = knob(False, "batch norms see the images of all GPUs, not of their own alone", T)
    fraction: Fraction = knob(1.0, "part of the training images to use", T, positive=True)
    freeze: int | list[int] | None = knob(
        None, "first rows to freeze, or a list of rows", T, none="none", check=check_numbers, what=WHOLE_NUMBERS
    )
    multi_scale: bool = knob(False, "vary the size by 0.5 to 1.5 from batch to batch", T)
    val: bool = knob(True, "validate after every epoch", T)

    overlap_mask: bool = knob(True, "segment: the masks of an image in one map, smaller objects in front", TV)
    mask_ratio: int = knob(4, "segment: pixels of the image, along a side, that are one of a mask", TV, low=1, high=32)

    split: str = knob("val", "split to validate on", V, choices=("train", "val", "test"))
    conf: Fraction | None = knob(
        None,
        "confidence threshold",
        ALL,
        none=f"{VAL_CONF:g}; in track {TRACK_CONF:g}, in predict, explain and export {PREDICT_CONF:g}",
    )
    iou: Fraction = knob(0.7, "overlap above which NMS drops a box", ALL)
    max_det: int = knob(300, "maximum detections per image", ALL, low=1)
    half: bool = knob(False, "fp16 weights (val and predict: on a GPU)", (*VP, *E))
    coco: bool = knob(
        True, "COCO's figures in metrics.json, of rotated boxes DOTA's (in train: of the best weights)", TV
    )
    analyse: bool = knob(False, "kinds of errors, figures by size, calibration, and a gallery of the worst", V)
    gallery: int = knob(12, "most images of each kind of error in the gallery of analyse=True", V, low=0)
    save_json: bool = knob(False, "write predictions.json, in COCO's results format", V)
    plots: bool = knob(True, "draw plots", TV)
    augment: bool = knob(False, "test-time augmentation: three passes at several sizes, one of them flipped", VP)
    tiles: int | None = knob(
        None,
        "side of the tiles, pixels, that images are cut into; the network sees each at its own size",
        TVP,
        low=32,
        high=8192,
        none="none",
    )
    overlap: float = knob(0.2, "least part of a tile's side that it shares with the next", TVP, low=0, high=0.9)
    whole: bool = knob(True, "beside the tiles, the whole image too, fitted into imgsz", TVP)
    tile_visible: Fraction = knob(0.1, "least part of an object's area that a tile shows, to be labelled there", T)
    tile_background: Fraction = knob(1.0, "part of the tiles without objects to train on, chosen by the seed", T)
    merge: str | None = knob(
        None,
        "how boxes of several networks, tiles or passes are joined: nms drops, nmm merges contained boxes, "
        "wbf averages, cut (of tiles) is nms that makes cut objects whole; auto: tiles cut, networks wbf, passes nms",
        TVP,
        choices=MERGES,
        none="auto",
    )
    merge_iou: Fraction | None = knob(
        None,
        "overlap from which they are one; auto: cut and nms as iou, nmm 0.5 (of the smaller box), wbf 0.55",
        TVP,
        none="auto",
    )
    crop_fraction: float = knob(
        1.0, "classify: part of the resized image's shorter side that val and predict look at", TVP, low=0.001, high=1
    )
    font: str | None = knob(
        None, "for class names: a font file, or an installed one's name; auto: one that has the letters", none="auto"
    )
    agnostic_nms: bool = knob(False, "NMS across classes", ALL)
    classes: int | list[int] | None = knob(
        None, "keep these class ids only", RUNS, none="all", check=check_numbers, what=WHOLE_NUMBERS
    )

    source: str | None = knob(
        None, "image, folder, glob, list (.txt) or URL; not in explain: video, stream, camera (0), screen", PX
    )
    kind: str = knob(
        "cam",
        "cam: what the boxes' scores are based on; attention: with which tokens a pixel's is mixed; "
        "erf: which pixels reach a map's centre",
        X,
        choices=("cam", "attention", "erf"),
    )
    rows: int | str | list[int | str] | None = knob(
        None,
        "rows to look at, by number or name, as [4,6]; auto: cam: those the head reads; else those with attention",
        X,
        none="auto",
        check=check_rows,
        what="numbers or names of rows, as [4,6]",
    )
    points: list[list[float]] | None = knob(
        None,
        "attention: pixels of the image, as [[x,y],[x,y]]; auto: centres of the best boxes",
        X,
        none="auto",
        check=check_points,
        what="pixels, as [[x,y],[x,y]]",
    )
    heads: int | list[int] | str | None = knob(
        None,
        "attention: heads to draw, as [0,3], or all; auto: their mean",
        X,
        none="auto",
        check=check_heads,
        what=f"all, {WHOLE_NUMBERS}",
    )
    max_images: int = knob(50, "erf: most images of the source to average over", X, low=1)
    vid_stride: int = knob(1, "take every so many frames of a video or stream", P, low=1)
    stream_buffer: bool = knob(False, "of live streams take every frame, not the newest", P)
    reconnect: float | None = knob(
        60.0, "seconds to keep reconnecting to a broken live stream (0: not at all)", P, low=0, none="no limit"
    )
    show: bool = knob(False, "show the drawn images in a window, where there is a display", P)
    visualize: bool = knob(False, "write the maps of every row for each image", P)
    embed: int | list[int] | None = knob(
        None,
        "rows whose averaged maps are returned as a vector, instead of detections",
        ("predict",),
        none="none",
        check=check_numbers,
        what=WHOLE_NUMBERS,
    )
    show_labels: bool = knob(True, "draw class names", P)
    show_conf: bool = knob(True, "draw scores", P)
    show_boxes: bool = knob(True, "draw boxes", P)
    retina_masks: bool = knob(False, "masks of the image's size instead of the network's", P)
    line_width: int | None = knob(
        None, "of drawn boxes, pixels; auto: by the sizes of the image and of its boxes", P, low=1, none="auto"
    )
    save_txt: bool = knob(False, "write boxes as labels/NAME.txt", VP)
    save_conf: bool = knob(False, "add the score to save_txt", VP)
    save_crop: bool = knob(False, "write each box as an image", P)
    save_frames: bool = knob(False, "write each drawn frame of a video or stream as an image", P)
    tracker: str = knob("botsort.yaml", "bytetrack.yaml, botsort.yaml or a YAML of your own", F)
    trails: int = knob(30, "frames of each object's path that are drawn (0: none)", F, low=0)
    save_mot: bool = knob(False, "write each video's tracks as mot/NAME.txt, in the MOT challenge's format", F)

    format: str = exported("torchscript", "what to write: torchscript, onnx, openvino and others; docs/export.md")
    dynamic: bool = exported(False, "leave the number of images and their size free")
    int8: bool = exported(False, "8-bit weights and activations, calibrated on data=")
    nms: bool = exported(False, "put non-maximum suppression, by conf, iou and max_det, into the file")
    simplify: bool = exported(True, "fold constants of ONNX graphs")
    opset: int | None = exported(None, "version of ONNX's operators; auto: 18", low=18, high=30, none="auto")
    demo: str | None = exported(None, "folder for a page that runs the ONNX file in a browser")
    workspace: float | None = exported(4.0, "TensorRT build memory, GiB; all: no limit", low=0, none="all")

    lr0: Fraction = recipe(0.01, "initial learning rate")
    lrf: Fraction = recipe(0.01, "final learning rate as a fraction of lr0")
    momentum: Fraction = recipe(0.937, "SGD momentum, or beta1 of Adam")
    weight_decay: Fraction = recipe(0.0005, "at the nominal batch nbs")
    warmup_epochs: float = recipe(3.0, "epochs of warm-up, at least 100 steps (0: none)", low=0)
    warmup_momentum: Fraction = recipe(0.8, "momentum at the start")
    warmup_bias_lr: Fraction = recipe(0.1, "learning rate of biases at the start")
    box: float = recipe(7.5, "gain of the box loss", low=0)
    cls: float = recipe(0.5, "gain of the class loss", low=0)
    dfl: float = recipe(1.5, "gain of the distribution focal loss", low=0)
    pose: float = recipe(12.0, "gain of the loss of keypoints' places", low=0)
    kobj: float = recipe(1.0, "gain of the loss of keypoints' visibility", low=0)
    dropout: Fraction = recipe(0.0, "classify: dropout before the last layer")
    nbs: int = recipe(64, "nominal batch: gradients gather up to so many images", low=1)
    lr_transferred: float = recipe(1.0, "times the learning rate: of tensors that came from pretrained weights", low=0)
    lr_new: float | None = recipe(
        None,
        "times the learning rate: of tensors that are new beside pretrained ones; auto: 10 with the Adams, else 1",
        low=0,
        none="auto",
        positive=True,
    )
    lr_gate: float | None = recipe(
        None,
        "times the learning rate: of the gates of new blocks; auto: 50 with the Adams, else 1",
        low=0,
        none="auto",
        positive=True,
    )
    ema: float | str = recipe(
        2000.0,
        "tau of the average of the weights, in optimiser steps; auto: by the run's length; 0: no average",
        check=check_average,
        what="auto or a number of 0 or more",
    )

    hsv_h: Fraction = varied(0.015, "hue jitter")
    hsv_s: Fraction = varied(0.7, "saturation jitter")
    hsv_v: Fraction = varied(0.4, "brightness jitter")
    degrees: float = varied(0.0, "rotation, +/- degrees", low=0, high=180)
    translate: Fraction = varied(0.1, "shift, +/- part of the size")
    scale: Fraction = varied(0.5, "zoom, 1 +/- gain; a letter chooses the model's scale instead")
    shear: float = varied(0.0, "shear, +/- degrees", low=0, high=90)
    perspective: Fraction = varied(0.0, "perspective, +/- (0 to 0.001 is usual)")
    flipud: Fraction = varied(0.0, "chance of an up-down flip")
    fliplr: Fraction = varied(0.5, "chance of a left-right flip")
    bgr: Fraction = varied(0.0, "chance of swapped red and blue")
    mosaic: Fraction = varied(1.0, "chance of a mosaic of four images")
    mixup: Fraction = varied(0.0, "chance of blending two samples")
    copy_paste: Fraction = varied(0.0, "of objects with polygons: part of their mirrored copies that is pasted in")
    auto_augment: str | None = varied(
        "randaugment",
        "classify: augmentation policy; none: jitter by hsv_h, hsv_s and hsv_v",
        choices=AUTO_AUGMENTS,
        none="none",
    )
    erasing: Fraction = varied(0.4, "classify: chance that a rectangle of the image becomes black")

    sources: dict[str, str] = field(default_factory=dict, repr=False)
    pair: tuple[int, int] | None = field(default=None, repr=False)  # (height, width), where imgsz was given as a pair

    @property
    def frame(self) -> tuple[int, int]:
        """Return (height, width) that images are fitted into, pixels."""
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
        setattr(self, key, KNOBS[key].checked(value, file_of(source)))
        self.sources[key] = source

    def is_default(self, key: str) -> bool:
        """Return True if nothing has given a key a value."""
        return self.sources.get(key, "default") == "default"

    def given(self, *without: str) -> dict[str, Any]:
        """Return the keys that were given a value, but for some, and their values."""
        return {k: getattr(self, k) for k in self.sources if not self.is_default(k) and k not in without}

    def to_dict(self) -> dict[str, Any]:
        """Return keys and values, as plain data."""
        return {key: getattr(self, key) for key in KNOBS}

    def yaml_text(self, head: Sequence[str] = ()) -> str:
        """Return the values, each with its source when it is not the default; `cfg=` reads a file of it back. `head`:
        lines of comment above them."""
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


KNOBS = knobs_of(Config)


def file_of(source: str) -> str:
    """Return the YAML that a value comes from, "" where it comes from none."""
    return source if source.endswith((".yaml", ".yml")) else ""


def unknown_key(key: str, source: str = "") -> ConfigError:
    """Return the error for a key that there is not."""
    if key in UNSUPPORTED:
        reason = UNSUPPORTED[key].why
        return ConfigError(f"the key {key!r} has no effect in this project: {reason}", hint="leave it out")
    hint = nearest(key, KNOBS) or "`python -m ultralytics train --help` lists the keys"
    return ConfigError(f"unknown key {key!r}", file_of(source), hint)


_PAIR = re.compile(r"[\[(]?\s*(\d{1,9})\s*[,x×]\s*(\d{1,9})\s*[\])]?")


def _side_and_pair(value: Any, source: str) -> tuple[Any, tuple[int, int] | None]:
    """Return the longer side of an imgsz, and the (height, width) that it was given as: [h, w], (h, w) or "h,w"."""
    written = _PAIR.fullmatch(value.strip()) if isinstance(value, str) else None
    sides = [*map(int, written.groups())] if written else list(value) if isinstance(value, list | tuple) else [value]
    if len(sides) == 1 and not isinstance(sides[0], str):
        return sides[0], None
    if len(sides) != 2:
        raise ConfigError(f"imgsz={value!r} must be one integer, or, except in train and val, [height,width]")
    height, width = (int(KNOBS["imgsz"].checked(side, file_of(source))) for side in sides)
    return max(height, width), (height, width) if height != width else None
