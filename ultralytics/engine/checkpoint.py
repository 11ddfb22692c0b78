"""Weights files: the project's own (tensors and plain data) and the reference's pickles, read without running anything
in them.

The schema is told in docs/checkpoint.md.
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultralytics.cfg.model import MODEL_KEYS
from ultralytics.utils.errors import CheckpointError
from ultralytics.utils.files import missing, write_atomically

FORMAT = "ultralytics-fla"
FORMAT_VERSION = 1


@dataclass
class Checkpoint:
    """What any weights file comes down to.

    Attributes:
        spec: the model YAML as plain data, with its scale; names: class names.
        weights: tensors to evaluate with (the average where there is one), fp32.
        train_args: the run's configuration; source: "own" or "reference".
        state: everything else of an own file, for resuming.
        share: part of the tensors that came from a file, where others are as initialised.
        plugins: files that registered modules of the model when it was trained. They are named in messages and never
        run:
            a weights file may come from anywhere.
    """

    path: Path
    spec: dict[str, Any]
    names: dict[int, str]
    weights: dict[str, Tensor]
    train_args: dict[str, Any] = field(default_factory=dict)
    source: str = "own"
    state: dict[str, Any] = field(default_factory=dict)
    plugins: list[str] = field(default_factory=list)
    share: float = 1.0


def save_checkpoint(path: Path, data: dict[str, Any]) -> None:
    """Write an own checkpoint, whole or not at all.

    Raises:
        UserError: no space or no permission; the file that was there stays.
    """
    data = {"format": FORMAT, "format_version": FORMAT_VERSION, **data}
    write_atomically(path, lambda f: torch.save(data, f))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weights file of either kind.

    Raises:
        MissingFileError, CheckpointError: with the path and the reason.
    """
    path = Path(path)
    if not path.is_file():
        raise missing("weights file", path, "give the path of a .pt file; nothing is downloaded")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            "not a PyTorch weights file, or cut short", str(path), "use the .pt as it was saved, or an earlier copy"
        )
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError):
        return _load_reference(path)
    if isinstance(data, dict) and data.get("format") == FORMAT:
        return _from_own(path, data)
    if isinstance(data, dict) and data and all(isinstance(v, Tensor) for v in data.values()):
        raise CheckpointError(
            "a bare state dict without its model",
            str(path),
            "load it with YOLO('model.yaml').model.load(torch.load(path, weights_only=True))",
        )
    raise CheckpointError(
        f"no checkpoint of this project or of the reference ({type(data).__name__} inside)", str(path)
    )


def _from_own(path: Path, data: dict[str, Any]) -> Checkpoint:
    version = data.get("format_version", 0)
    if not isinstance(version, int):
        raise CheckpointError(f"damaged: its format_version is {version!r}", str(path), "use an earlier copy")
    if version > FORMAT_VERSION:
        raise CheckpointError(f"written by a later version (format {version})", str(path), "update the code")
    missing = [k for k in ("model", "names") if k not in data]
    weights = data.get("ema") or data.get("weights")
    if missing or not weights:
        raise CheckpointError(f"incomplete: no {', '.join(missing or ['weights'])}", str(path))
    kinds = {"model": data["model"], "names": data["names"], "train_args": data.get("train_args", {}), "ema": weights}
    wrong = [k for k, v in kinds.items() if not isinstance(v, dict)]
    if wrong or not all(isinstance(v, Tensor) for v in weights.values()):
        raise CheckpointError(f"damaged: {', '.join(wrong or ['ema'])} is not what it should be", str(path))
    args = dict(data.get("train_args", {}))
    spec = dict(data["model"])
    plugins = [str(p) for p in [*(spec.pop("plugins", None) or []), *(args.pop("plugins", None) or [])]]
    return Checkpoint(path, spec, data["names"], weights, args, "own", data, plugins)


# The reference's files are pickled module objects. The reader below gives pickle nothing to call but the constructors
# of inert records: every class or function a file names becomes a `Record` that keeps its arguments and state. Tensors
# are rebuilt from
# raw storages.


class Record:
    """An object of a foreign class: its dotted class path, constructor arguments and state, and no behaviour."""

    path = ""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    state: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs, self.state = args, kwargs, {}

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        record = super().__new__(cls)
        record.args, record.kwargs, record.state = args, kwargs, {}
        return record

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # (dict, slots)
            state = {**(state[0] or {}), **(state[1] or {})}
        self.state = state if isinstance(state, dict) else {"state": state}

    def __setitem__(self, key: Any, value: Any) -> None:
        self.state[key] = value

    def append(self, value: Any) -> None:
        self.state.setdefault("items", []).append(value)

    def extend(self, values: Any) -> None:
        self.state.setdefault("items", []).extend(values)

    def add(self, value: Any) -> None:
        self.append(value)

    def get(self, key: str, default: Any = None) -> Any:
        return self.state.get(key, default)


@dataclass(frozen=True)
class _Storage:
    """A raw storage of the file: its element type and bytes."""

    dtype: torch.dtype
    data: bytes

    def tensor(self, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        if any(not isinstance(n, int) or n < 0 for n in (offset, *size, *stride)) or len(size) != len(stride):
            raise CheckpointError("a tensor with impossible sizes")
        if 0 in size:
            return torch.zeros(size, dtype=self.dtype)
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if (last + 1) * self.dtype.itemsize > len(self.data):
            raise CheckpointError("a tensor larger than its storage")
        flat = torch.frombuffer(bytearray(self.data), dtype=self.dtype)
        return flat.as_strided(size, stride, offset).clone()


_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def _rebuild_tensor(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if not isinstance(storage, _Storage):
        raise CheckpointError("a tensor without a storage")
    return storage.tensor(offset, tuple(size), tuple(stride))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


# The only callables a file can reach, besides Record: containers, and our own tensor builders.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


class _InertUnpickler(pickle.Unpickler):
    """Unpickles a torch archive's object graph into tensors, containers and records."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{prefix}/data.pkl")))
        self._archive, self._prefix = archive, prefix
        self._storages: dict[str, _Storage] = {}
        self._classes: dict[tuple[str, str], Any] = dict(_ALLOWED)

    def find_class(self, module: str, name: str) -> Any:
        key = (module, name)
        if key not in self._classes:
            if module == "torch" and name in _STORAGES:
                self._classes[key] = _STORAGES[name]
            else:
                self._classes[key] = type("Record", (Record,), {"path": f"{module}.{name}"})
        return self._classes[key]

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 3 and pid[0] == "storage" and isinstance(pid[1], torch.dtype)):
            raise CheckpointError("an unknown kind of persistent object")
        key = str(pid[2])
        if key not in self._storages:
            self._storages[key] = _Storage(pid[1], self._archive.read(f"{self._prefix}/data/{key}"))
        return self._storages[key]


def read_inert(path: Path) -> Any:
    """The object graph of a torch zip archive, with every foreign object as a Record.

    Raises:
        CheckpointError: the file is damaged or of a kind that cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [n for n in archive.namelist() if n.count("/") == 1 and n.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise CheckpointError("a zip file without PyTorch's data in it", str(path))
            prefix = pickles[0].rsplit("/", 1)[0]
            if f"{prefix}/byteorder" in archive.namelist() and archive.read(f"{prefix}/byteorder") != b"little":
                raise CheckpointError("written on a big-endian machine", str(path))
            return _InertUnpickler(archive, prefix).load()
    except CheckpointError as e:
        raise CheckpointError(e.what, str(path), e.mend) from None
    except Exception as e:  # whatever a damaged or hostile stream provokes
        raise CheckpointError(
            f"damaged, or not a weights file ({type(e).__name__}: {e})".splitlines()[0], str(path)
        ) from None


def _load_reference(path: Path) -> Checkpoint:
    data = read_inert(path)
    model = data if isinstance(data, Record) else None
    if isinstance(data, dict):
        model = data.get("ema") or data.get("model")
    if not isinstance(model, Record) or not isinstance(model.get("_modules"), dict):
        raise CheckpointError("no model inside that can be read", str(path), "expected a YOLOv8 detection checkpoint")
    spec = model.get("yaml")
    if not isinstance(spec, dict) or "backbone" not in spec:
        raise CheckpointError(
            "its model has no YAML to rebuild it from", str(path), "expected a YOLOv8 detection checkpoint"
        )
    weights: dict[str, Tensor] = {}
    _collect(model, "", weights)
    names = model.get("names") or {}
    names = dict(enumerate(names)) if isinstance(names, list) else {int(k): str(v) for k, v in names.items()}
    args = (data.get("train_args") if isinstance(data, dict) else None) or {}
    args = args.state if isinstance(args, Record) else args
    plain = {str(k): v for k, v in args.items() if isinstance(v, str | int | float | bool | list | type(None))}
    rows = {k: spec[k] for k in MODEL_KEYS if k in spec and k != "plugins"}
    return Checkpoint(path, rows, names, weights, plain, "reference")


def _collect(record: Any, prefix: str, into: dict[str, Tensor]) -> None:
    """Gather parameters and buffers of a pickled module under their state-dict names."""
    if not isinstance(record, Record):
        return
    for kind in ("_parameters", "_buffers"):
        for name, value in (record.get(kind) or {}).items():
            if isinstance(value, Tensor) and name not in (record.get("_non_persistent_buffers_set") or ()):
                into[f"{prefix}{name}"] = value.float() if value.is_floating_point() else value
    for name, child in (record.get("_modules") or {}).items():
        _collect(child, f"{prefix}{name}.", into)
