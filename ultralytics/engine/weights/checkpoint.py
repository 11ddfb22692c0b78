"""Weights files: the project's own (tensors and plain data) and the reference's pickles, read without running anything
in them.

The schema is in docs/checkpoint.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ultralytics.cfg.model import MODEL_KEYS
from ultralytics.cfg.paths import weights_here
from ultralytics.engine.run.provenance import without_home
from ultralytics.engine.weights.inert import InertRecord, read_inert
from ultralytics.engine.weights.plain import NotPlainError, plain
from ultralytics.utils.errors import CheckpointError, UserError, nearest
from ultralytics.utils.files import Checksums, missing, user_path, write_atomically
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import one_line

FORMAT = "ultralytics-fla"
ADAPTER = "ultralytics-fla-adapter"  # see engine/weights/adapter.py
FORMAT_VERSION = 1


@dataclass
class Checkpoint:
    """The content of a weights file of any kind."""

    path: Path
    spec: dict[str, Any]  # the model YAML as plain data, with its scale
    names: dict[int, str]  # class names
    weights: dict[str, Tensor]  # tensors to evaluate with (the average where there is one), fp32
    train_args: dict[str, Any] = field(default_factory=dict)  # the run's configuration
    source: str = "own"  # "own" or "reference"
    state: dict[str, Any] = field(default_factory=dict)  # everything else of an own file, for resuming
    # files that registered modules of the model when it was trained. They are named in messages and never run: a
    # weights file may come from anywhere.
    plugins: list[str] = field(default_factory=list)
    share: float = 1.0  # part of the tensors that came from a file, where others are as initialised

    # What custom trainers for the reference do with the `weights` that their get_model is handed

    @property
    def yaml(self) -> dict[str, Any]:
        """The spec."""
        return self.spec

    @property
    def args(self) -> dict[str, Any]:
        """The run's configuration."""
        return self.train_args

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights."""
        return self.weights

    def content(self) -> dict[str, Any]:
        """Return what scripts for the reference read in a weights file, but for the model."""
        kept = {k: self.state.get(k) for k in ("date", "version", "epoch", "best_fitness")}
        return kept | {"train_args": dict(self.train_args)}

    def __getitem__(self, key: str) -> Any:
        return self.content()[key]

    def __contains__(self, key: object) -> bool:
        return key in self.content()

    def get(self, key: str, default: Any = None) -> Any:
        """Return an entry of `content`."""
        return self.content().get(key, default)

    def float(self) -> Checkpoint:
        """Return itself: its weights are fp32."""
        return self


# The checksum is the archive's comment, its last bytes: to every reader of zip files the archive stays what it is.
_MARK = b"ultralytics-fla sha256:"
_COMMENT = len(_MARK) + 64
_END_RECORD = b"PK\x05\x06"
_END_RECORD_SIZE = 22


def save_checkpoint(path: Path, data: dict[str, Any], previous: Path | None = None, key: str = "project") -> None:
    """Write an own checkpoint with its checksum, whole or not at all; `previous` keeps the file that was there. `key`
    is what a user sets to write elsewhere.

    Raises:
        UserError: no space or no permission; the file that was there stays.
    """
    data = {"format": FORMAT, "format_version": FORMAT_VERSION, **data}
    write_atomically(path, lambda f: _write_hashed(data, f), key, previous)


def _write_hashed(data: dict[str, Any], file: IO[bytes]) -> None:
    hashed = _Hashed(file)
    torch.save(data, hashed)  # type: ignore[arg-type]  # it writes and flushes, and that is all torch asks for
    file.seek(-2, os.SEEK_END)  # the length of the comment, which torch leaves at 0
    file.write(_COMMENT.to_bytes(2, "little") + _MARK + hashed.digest().encode())


class _Hashed:
    """A file written from front to back, and the hash of all of it but its last two bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.hash, self.held = file, hashlib.sha256(), b""

    def write(self, data: bytes | memoryview) -> int:
        """Write and hash."""
        written = self.file.write(data)
        if len(data) < 2:
            data = self.held + bytes(data)
        else:
            self.hash.update(self.held)
        self.hash.update(data[:-2])
        self.held = bytes(data[-2:])
        return written

    def flush(self) -> None:
        """Flush the file."""
        self.file.flush()

    def digest(self) -> str:
        """Return 64 hexadecimal digits."""
        return self.hash.hexdigest()


def verify_checksum(path: Path) -> bool:
    """Compare a file with its checksum; False when it has none (written by earlier code, or by others).

    Raises:
        CheckpointError: they differ.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        tail = min(size, _END_RECORD_SIZE + _COMMENT)
        file.seek(size - tail)
        end = file.read(tail)
        if not end[-_COMMENT:].startswith(_MARK):
            # A file that has lost its checksum, or part of it, ends otherwise than its end announces.
            record = end[end.rfind(_END_RECORD) :]
            announced = _END_RECORD_SIZE + int.from_bytes(record[20:22], "little")
            if record.startswith(_END_RECORD) and (len(record) != announced or announced == tail):
                raise _checksum_error(path)
            return False
        file.seek(0)
        left, digest = size - _COMMENT - 2, hashlib.sha256()
        while left > 0:
            part = file.read(min(left, 2**20))
            if not part:
                break
            digest.update(part)
            left -= len(part)
    if end[-_COMMENT - 2 : -_COMMENT] != _COMMENT.to_bytes(2, "little"):
        raise _checksum_error(path)
    if digest.hexdigest().encode() != end[-64:]:
        raise _checksum_error(path)
    return True


def digest_of(path: str | Path) -> str:
    """Return sha256: and the digest of a file's bytes."""
    return f"sha256:{Checksums.of(user_path(path), md5=False).sha256.hexdigest()}"


def _checksum_error(path: Path) -> CheckpointError:
    return CheckpointError("damaged: it does not match its checksum", str(path), "use an earlier copy")


def load_newest(path: Path, previous: Path) -> Checkpoint:
    """Read a checkpoint; where it is missing or damaged, the one before it, and say so.

    Raises:
        MissingFileError, CheckpointError: about `path`, when neither can be read.
    """
    try:
        return load_checkpoint(path)
    except UserError as e:
        if not previous.is_file():
            raise
        try:
            older = load_checkpoint(previous)
        except UserError:
            raise e from None
        LOGGER.warning("%s; going on from the one before it, %s", e, previous)
        return older


def portable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings or a model spec as a file takes them: of the paths that this project has made absolute, those below the
    home folder begin with "~", and a model YAML keeps its name alone. So shared weights do not tell whose they were."""
    made = {k: without_home(v) if k in ("data", "plugins", "teacher") else v for k, v in settings.items()}
    return made | ({"yaml_file": Path(made["yaml_file"]).name} if made.get("yaml_file") else {})


@contextlib.contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Take up the state of a run; what does not fit is the file's fault.

    Raises:
        CheckpointError: with the path.
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as e:
        reason = one_line(f"its state does not fit the run: {type(e).__name__}: {' '.join(str(e).split())}", 400)
        raise CheckpointError(reason, str(path), "use an earlier copy, or train from its weights with model=") from e


def _read_archive(path: Path, kind: str) -> Any:
    """The content of a whole file, whatever it is.

    Raises:
        MissingFileError, CheckpointError: with the path and the reason.
    """
    if not path.is_file():
        beside = [p.name for p in path.parent.glob("*.pt")] if path.parent.is_dir() else []
        here = weights_here()
        hint = nearest(path.name, beside) or (
            f"there is {' and '.join(here)}" if here else "give the path of a .pt file"
        )
        raise missing(kind, path, f"{hint}; nothing is downloaded")
    verify_checksum(path)
    if not _is_zip(path):
        raise CheckpointError(
            "not a PyTorch weights file, or cut short", str(path), "use the .pt as it was saved, or an earlier copy"
        )
    return read_inert(path)


def _check_version(path: Path, version: Any) -> None:
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(f"written by a later version (format {version})", str(path), "update the code")


def _copy_plain(path: Path, data: Any) -> Any:
    try:
        return plain(data)
    except NotPlainError as e:
        raise CheckpointError(f"damaged: it holds {e}, which no file of this project does", str(path)) from None


def read_own(path: Path, kind: str) -> Any:
    """Return the content of a file of tensors and plain data, written by `save_checkpoint`.

    Args:
        kind: what to call it where it is missing.

    Raises:
        MissingFileError, CheckpointError: with the path and the reason.
    """
    data = _read_archive(path, kind)
    _check_version(path, data.get("format_version") if isinstance(data, dict) else None)
    return _copy_plain(path, data)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weights file of either kind.

    Raises:
        MissingFileError, CheckpointError: with the path and the reason.
    """
    path = user_path(path)
    data = _read_archive(path, "weights file")
    if isinstance(data, dict) and data.get("format") == FORMAT:
        return _from_own(path, data)
    if isinstance(data, dict) and data.get("format") == ADAPTER:
        raise CheckpointError("an adapter, tensors of inserted rows alone", str(path), "name it with adapter=")
    if isinstance(data, dict) and data and all(isinstance(v, Tensor) for v in data.values()):
        raise CheckpointError(
            "a bare state dict without its model",
            str(path),
            "load it with YOLO('model.yaml').model.load(torch.load(path, weights_only=True))",
        )
    if isinstance(data, InertRecord) or (isinstance(data, dict) and ("ema" in data or "model" in data)):
        return _load_reference(path, data)
    raise CheckpointError(
        f"no checkpoint of this project or of the reference ({type(data).__name__} inside)", str(path)
    )


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # the end of a damaged one
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and -1 <= value < 2**62


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) for k in value)


def _are_tensors(value: Any) -> bool:
    return _is_mapping(value) and all(isinstance(v, Tensor) for v in value.values())


def _are_names(value: Any) -> bool:
    words = isinstance(value, dict) and all(isinstance(k, int) and isinstance(v, str) for k, v in value.items())
    return words and sorted(value) == list(range(len(value)))


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and all(_is_mapping(row) and all(map(_is_number, row.values())) for row in value)


def _is_optimizer(value: Any) -> bool:
    groups, state = (value.get("param_groups"), value.get("state")) if _is_mapping(value) else (None, None)
    return isinstance(groups, list) and all(map(_is_mapping, groups)) and isinstance(state, dict)


_COUNTS = (
    *("epoch", "updates", "best_epoch", "batches_done"),
    *("loss_count", "rollbacks", "skipped", "skips_in_a_row"),
)


# What the entries of an own file must be, wherever they are there.
_ENTRIES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("model", "train_args", "asked", "scaler", "rng", "provenance"), _is_mapping),
    "sources": lambda v: _is_mapping(v) and all(isinstance(s, str) for s in v.values()),
    **dict.fromkeys(("ema", "weights", "pending_gradients"), _are_tensors),
    **dict.fromkeys(_COUNTS, _is_count),
    "last_opt_step": lambda v: isinstance(v, int),
    **dict.fromkeys(("version", "torch", "date", "optimizer_name"), lambda v: isinstance(v, str)),
    "names": _are_names,
    **dict.fromkeys(("fitness", "pace"), lambda v: v is None or _is_number(v)),
    **dict.fromkeys(("best_fitness", "elapsed", "lr_factor"), _is_number),
    "loss_mean": lambda v: isinstance(v, Tensor),
    **dict.fromkeys(("new_tensors", "inserted", "untransferred"), _are_words),
    "over": lambda v: isinstance(v, bool),
    "optimizer": _is_optimizer,
    "results": _are_rows,
    "ranks": lambda v: isinstance(v, list) and all(_is_mapping(r) and _is_mapping(r.get("rng")) for r in v),
    **dict.fromkeys(("batches", "epochs"), lambda v: isinstance(v, int) and v > 0),
}


def _from_own(path: Path, data: dict[str, Any]) -> Checkpoint:
    version = data.get("format_version", 0)
    if not isinstance(version, int):
        raise CheckpointError("damaged: its format_version is not a number", str(path), "use an earlier copy")
    _check_version(path, version)
    data = _copy_plain(path, data)
    absent = [k for k in ("model", "names") if k not in data]
    wrong = [k for k, fits in _ENTRIES.items() if k in data and not fits(data[k])]
    if wrong:
        raise CheckpointError(f"damaged: {', '.join(wrong)} is not what it should be", str(path), "use an earlier copy")
    weights = data.get("ema") or data.get("weights")
    if absent or not weights:
        raise CheckpointError(f"incomplete: no {', '.join(absent or ['weights'])}", str(path))
    try:
        args, spec = _as_settings(data.get("train_args", {})), _as_settings(data["model"])
    except NotPlainError as e:
        raise CheckpointError(
            f"damaged: {e} stands where a setting belongs", str(path), "use an earlier copy"
        ) from None
    # Neither the files that a checkpoint names are run, nor is a recipe that it names read, which could name some.
    named = [spec.pop("plugins", None), args.pop("plugins", None), args.pop("cfg", None)][:2]
    plugins = list(dict.fromkeys(str(p) for files in named if isinstance(files, list) for p in files))
    names = {k: one_line(data["names"][k], 200) for k in sorted(data["names"])}
    return Checkpoint(path, spec, names, weights, args, "own", data, plugins)


def _as_settings(value: Any) -> Any:
    """Plain data without tensors, bytes and sets, as a YAML holds it; tuples become lists."""
    if isinstance(value, dict):
        return {k: _as_settings(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_as_settings(v) for v in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise NotPlainError(f"a {type(value).__name__}")


MAX_WIDENED = 8  # times a file's size: tensors of half precision that share a storage become one each
MAX_MODULES = 100_000
MAX_NESTING = 64  # of modules


def _load_reference(path: Path, data: Any) -> Checkpoint:
    """A checkpoint of the reference: its module objects are records, of which the tensors and the YAML are taken."""
    found = [data] if isinstance(data, InertRecord) else [data.get("ema"), data.get("model")]
    model = next((r for r in found if isinstance(r, InertRecord) and isinstance(r.get("_modules"), dict)), None)
    if model is None:
        raise CheckpointError("no model inside that can be read", str(path), "expected a YOLOv8 checkpoint")
    spec = model.get("yaml")
    if not isinstance(spec, dict) or "backbone" not in spec:
        raise CheckpointError(
            "the model in the file has no YAML to rebuild it from", str(path), "expected a YOLOv8 checkpoint"
        )
    args = (data.get("train_args") if isinstance(data, dict) else None) or {}
    args = args.state if isinstance(args, InertRecord) else args
    names = model.get("names") or {}
    names = dict(enumerate(names)) if isinstance(names, list) else names
    try:
        weights = _Weights(MAX_WIDENED * path.stat().st_size).collect(model)
        rows = _as_settings(plain({k: spec[k] for k in MODEL_KEYS if k in spec and k != "plugins"}))
        names = {int(k): one_line(str(v), 200) for k, v in plain(names).items()}
        kept = {k: v for k, v in args.items() if isinstance(v, str | int | float | bool | list | type(None))}
        kept = _as_settings(plain({str(k): v for k, v in kept.items() if k not in ("plugins", "cfg")}))
        if not _are_names(names):
            raise NotPlainError("class names with other ids than 0, 1, 2, …")
    except (NotPlainError, AttributeError, TypeError, ValueError, OverflowError) as e:
        reason = f"damaged: its model holds {e}" if isinstance(e, NotPlainError) else f"damaged ({e})"
        raise CheckpointError(reason, str(path), "expected a YOLOv8 checkpoint") from None
    return Checkpoint(path, rows, names, weights, kept, "reference")


class _Weights:
    """Gathers the parameters and buffers of a pickled module under their state-dict names, fp32.

    Args:
        limit: bytes they may take.
    """

    def __init__(self, limit: int) -> None:
        self.left, self.modules = limit, 0
        self.tensors: dict[str, Tensor] = {}

    def collect(self, record: InertRecord, prefix: str = "", depth: int = 0) -> dict[str, Tensor]:
        """Those of a module and of the modules in it.

        Raises:
            NotPlainError: modules within themselves, or more tensors than the file could hold.
        """
        self.modules += 1
        if depth > MAX_NESTING or self.modules > MAX_MODULES:
            raise NotPlainError("modules without end")
        hidden = record.get("_non_persistent_buffers_set")
        for kind in ("_parameters", "_buffers"):
            for name, value in (record.get(kind) or {}).items():
                if isinstance(value, Tensor) and not (isinstance(hidden, set) and name in hidden):
                    self.left -= value.numel() * (4 if value.is_floating_point() else value.itemsize)
                    if self.left < 0:
                        raise NotPlainError("more tensors than the file has bytes for")
                    self.tensors[f"{prefix}{name}"] = value.float() if value.is_floating_point() else value
        for name, child in (record.get("_modules") or {}).items():
            if isinstance(child, InertRecord):
                self.collect(child, f"{prefix}{name}.", depth + 1)
        return self.tensors
