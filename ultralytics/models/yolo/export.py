"""Files made of weights: a checkpoint that ultralytics 8.2.103 loads, for its tools, and an adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ultralytics import REFERENCE_VERSION
from ultralytics.engine.weights.adapter import write_adapter
from ultralytics.engine.weights.checkpoint import Checkpoint
from ultralytics.engine.weights.inert import InertRecord
from ultralytics.engine.weights.pickled import write_pickled
from ultralytics.models.yolo.weights import load_trained, new_weights_file
from ultralytics.nn.tasks import DetectionModel, network_of
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.files import write_atomically
from ultralytics.utils.log import LOGGER
from ultralytics.utils.output_path import make_folder
from ultralytics.utils.text import counted

_DETECT = ("nc", "nl", "reg_max", "no", "stride")
# The reference's modules for YOLO's networks, by the file below ultralytics/nn/modules that holds them, and the
# attributes of their instances besides torch's own, as its instances have them.
_ATTRIBUTES: dict[str, dict[str, tuple[str, ...]]] = {
    "conv": {
        **dict.fromkeys(("Conv", "Conv2", "LightConv", "DWConv", "ConvTranspose", "Focus", "GhostConv"), ()),
        **dict.fromkeys(("ChannelAttention", "SpatialAttention", "CBAM"), ()),
        "Concat": ("d",),
        "RepConv": ("g", "c1", "c2", "bn"),
    },
    "block": {
        **dict.fromkeys(("C1", "C3", "C3TR", "C3Ghost", "GhostBottleneck", "BottleneckCSP", "SPP", "SPPF"), ()),
        **dict.fromkeys(("Proto", "SCDown", "RepCSP", "AConv", "RepC3", "HGStem", "ResNetBlock"), ()),
        **dict.fromkeys(("C2", "C2f", "C2fCIB", "PSA", "ADown", "SPPELAN", "ELAN1", "RepNCSPELAN4"), ("c",)),
        **dict.fromkeys(("Bottleneck", "CIB", "RepBottleneck", "HGBlock"), ("add",)),
        "C3x": ("c_",),
        "DFL": ("c1",),
        "ResNetLayer": ("is_first",),
        "Attention": ("num_heads", "head_dim", "key_dim", "scale"),
        "RepVGGDW": ("dim",),
        "CBLinear": ("c2s",),
        "CBFuse": ("idx",),
    },
    "transformer": {
        **dict.fromkeys(("TransformerLayer", "MLPBlock"), ()),
        "TransformerBlock": ("conv", "c2"),
        "AIFI": ("normalize_before",),
        "TransformerEncoderLayer": ("normalize_before",),
    },
    "head": {
        **dict.fromkeys(("Detect", "v10Detect"), _DETECT),
        "Segment": (*_DETECT, "nm", "npr"),
        "Pose": (*_DETECT, "kpt_shape", "nk"),
        "OBB": (*_DETECT, "ne"),
        "Classify": (),
    },
}
_PACKAGE = "ultralytics.nn.modules"
KNOWN = {f"{_PACKAGE}.{file}.{name}": names for file, some in _ATTRIBUTES.items() for name, names in some.items()}
_TORCH = "torch.nn.modules."
_OF_A_MODULE = tuple(vars(nn.Module()))  # what torch keeps in every module
# Keys of a run here that the reference does not know.
OWN_KEYS = (
    *("transfer", "min_transfer", "preflight", "plugins", "threads", "font", "rect_val", "on_nan", "save_every"),
    *("sync_bn", "model_scale", "cfg", "lr_transferred", "lr_new", "lr_gate", "ema", "coco", "adapter", "train_only"),
    *("teacher", "distill", "distill_gain", "compile", "checkpoint_rows"),
    *("tiles", "overlap", "whole", "merge", "merge_iou", "tile_visible", "tile_background"),
)


def export_weights(
    model: str | Path, out: str | Path, format: str = "ultralytics", half: bool = True, overwrite: bool = False
) -> Path:
    """Write a weights file as ultralytics 8.2.103 writes and loads it; returns its path. The options are those of the
    command `export-weights`.

    Raises:
        ConfigError: another format, or the file exists. ModelError: the network has modules that the reference does
        not know; their rows are named.
    """
    if format != "ultralytics":
        raise ConfigError(f"format={format} is not offered", hint="format=ultralytics, whose tools export to others")
    target = new_weights_file(out, overwrite)
    net, checkpoint = load_trained(model)
    content = reference_checkpoint(net, checkpoint, half)
    make_folder(target.parent)
    write_atomically(target, lambda f: write_pickled(f, content, target.stem), "out")
    return target


def reference_checkpoint(
    net: DetectionModel, checkpoint: Checkpoint | None = None, half: bool = True
) -> dict[str, Any]:
    """Return the content of the file: Records in place of the reference's objects.

    Raises:
        ModelError: the network has modules that the reference does not know.
    """
    _check_known(net)
    given = checkpoint.train_args if checkpoint is not None else {}
    args = {"task": net.task, "mode": "train"} | {k: v for k, v in given.items() if k not in OWN_KEYS}
    return {
        "date": datetime.now().isoformat(),
        "version": REFERENCE_VERSION,
        "epoch": -1,  # as of a run that is over: there is nothing to resume
        "best_fitness": None,
        "model": _Recorder(half).network(net, args),
        "ema": None,
        "updates": None,
        "optimizer": None,
        "train_args": args,
        "train_metrics": {},
        "train_results": {},
    }


def _check_known(net: DetectionModel) -> None:
    unknown: dict[str, list[int]] = {}
    for i, row in enumerate(net.model):
        for module in row.modules():
            if _reference_path(module) is None:
                unknown.setdefault(type(module).__name__, []).append(i)
    if unknown:
        rows = sorted({i for found in unknown.values() for i in found})
        words = ", ".join(f"row {i} ({type(net.model[i]).__name__})" for i in rows[:6]) + (", …" if rows[6:] else "")
        has = f"{counted(len(unknown), 'module')} that ultralytics {REFERENCE_VERSION} does not have"
        raise ModelError(
            f"{has}: {', '.join(sorted(unknown))}",
            words,
            "ultralytics loads networks of its own modules, such as yolov8n.yaml",
        )


def _reference_path(module: nn.Module) -> str | None:
    """The class's dotted path in the reference or in torch; None of any other."""
    kind = type(module)
    path = f"{kind.__module__}.{kind.__qualname__}"
    return path if path in KNOWN or kind.__module__.startswith(_TORCH) else None


class _Recorder:
    """Makes Records of modules; one that is shared stays one."""

    def __init__(self, half: bool) -> None:
        self.half = half
        self._made: dict[int, InertRecord] = {}

    def network(self, net: DetectionModel, args: Mapping[str, Any]) -> InertRecord:
        """Return the InertRecord of a network."""
        spec = dict(net.yaml)
        state = self._common(net) | {
            "yaml": {"ch": 3} | {k: v for k, v in spec.items() if v is not None},
            "save": list(net.save),
            "names": dict(net.names),
            "stride": net.stride.clone(),
            "args": dict(args),
            "criterion": None,
            "task": args["task"],
        }
        if not net.whole_image:  # a classifier has none of these, and its image size is the run's (`args`)
            end2end = bool(getattr(net.model[-1], "end2end", False))
            state |= {"inplace": True, "end2end": end2end, "nc": net.nc}
        if net.spec.kpt_shape:
            state["kpt_shape"] = list(net.spec.kpt_shape)
        return InertRecord(f"ultralytics.nn.tasks.{network_of(net.spec).__name__}", state=state)

    def module(self, module: nn.Module) -> InertRecord:
        """Return the InertRecord of a module below it."""
        if id(module) in self._made:
            return self._made[id(module)]
        path = _reference_path(module)
        assert path is not None
        own = [k for k in vars(module) if k not in _OF_A_MODULE] if path.startswith(_TORCH) else KNOWN[path]
        own = [k for k in own if k not in _OF_A_ROW and k not in module._modules]
        state = self._common(module) | {k: self._value(getattr(module, k)) for k in own}
        state |= {k: v for k, v in vars(module).items() if k in ("i", "f", "type")}
        if path.startswith(f"{_PACKAGE}.head.") and KNOWN[path]:
            state["inplace"] = True
        self._made[id(module)] = record = InertRecord(path, state=state)
        return record

    def _common(self, module: nn.Module) -> dict[str, Any]:
        """Return what torch keeps in a module: no hooks, evaluation mode, nothing that asks for gradients."""
        state: dict[str, Any] = {
            k: type(v)() if isinstance(v, dict) else v for k, v in vars(nn.Module()).items() if k != "_modules"
        }
        state["training"] = False
        state["_non_persistent_buffers_set"] = set(module._non_persistent_buffers_set)
        state["_parameters"] = {
            k: None if p is None else nn.Parameter(self._value(p.detach()), requires_grad=False)
            for k, p in module._parameters.items()
        }
        state["_buffers"] = {k: self._value(b) for k, b in module._buffers.items()}
        return state | {"_modules": {k: None if m is None else self.module(m) for k, m in module._modules.items()}}

    def _value(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.half() if self.half and value.is_floating_point() else value
        return value


_OF_A_ROW = ("i", "f", "type", "np", "channels_read", "strides_read", "contiguous", "built")  # what `parse_model` adds


def save_adapter(
    model: str | Path, out: str | Path, rows: int | Sequence[int] | None = None, overwrite: bool = False
) -> Path:
    """Write the tensors of the rows that a run has inserted into its network. The options are those of the command
    `save-adapter`.

    Raises:
        UserError: nothing was inserted, there is no such row, or the file is there already.
    """
    path = new_weights_file(out, overwrite)
    chosen: Any = [] if rows is None else [rows] if isinstance(rows, int) else rows
    if rows is not None and (isinstance(chosen, str) or not isinstance(chosen, Sequence) or not chosen):
        raise ConfigError(f"rows={rows} must be row numbers", hint="such as rows=[10,16]")
    if not all(type(row) is int for row in chosen):
        raise ConfigError(f"rows={rows} must be row numbers", hint="such as rows=[10,16]")
    net, checkpoint = load_trained(model)
    inserted = checkpoint.state.get("inserted", [])
    if rows is not None:
        for row in chosen:
            if not 0 <= row < len(net.model):
                raise ConfigError(f"rows={rows}: there is no row {row}", str(model), f"0 to {len(net.model) - 1}")
        inserted = [f"model.{row}.{name}" for row in chosen for name, _ in net.model[row].named_parameters()]
    for held in write_adapter(path, net, checkpoint, inserted):
        LOGGER.info("row %d, %s: %d tensors", held.row, held, len(held.tensors))
    return path
