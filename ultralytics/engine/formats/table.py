"""The table of formats, and which one a file is of."""

from __future__ import annotations

from pathlib import Path

import torch

from ultralytics.engine.formats.coreml import CoreMl
from ultralytics.engine.formats.engine import Engine
from ultralytics.engine.formats.executorch import ExecuTorch
from ultralytics.engine.formats.format import FileBackend, Format, needed
from ultralytics.engine.formats.litert import LiteRt
from ultralytics.engine.formats.ncnn import Ncnn
from ultralytics.engine.formats.onnx import Onnx
from ultralytics.engine.formats.openvino import OpenVino
from ultralytics.engine.formats.torchscript import TorchScript
from ultralytics.utils.errors import ConfigError, ExportError, nearest
from ultralytics.utils.files import missing, user_path

FORMATS: dict[str, Format] = {
    f.name: f for f in (TorchScript(), Onnx(), OpenVino(), Engine(), Ncnn(), CoreMl(), ExecuTorch(), LiteRt())
}
SUFFIXES = {f.suffix: f for f in FORMATS.values()}


def format_named(name: str) -> Format:
    """Return a format by its name or another name of it.

    Raises:
        ConfigError: there is none.
    """
    word = name.lower().lstrip(".")
    for known in FORMATS.values():
        if word in (known.name, *known.aliases):
            return known
    hint = nearest(word, FORMATS) or f"formats: {', '.join(FORMATS)}"
    raise ConfigError(f"format={name} is not offered", hint=hint)


def format_of(path: str | Path) -> Format | None:
    """Return the format that a path's name says; None of any other name."""
    name = str(path).rstrip("/\\")
    return next((f for suffix, f in SUFFIXES.items() if name.endswith(suffix)), None)


def open_exported(path: str | Path, device: torch.device | None = None) -> FileBackend:
    """Open an exported file.

    Args:
        path: its name says its format.
        device: to run on, where the runtime can.

    Raises:
        UserError: it is not there, damaged, or its runtime is not installed.
    """
    found = format_of(path)
    if found is None:
        raise ExportError("it is not an exported file", str(path), f"their names end in {', '.join(SUFFIXES)}")
    file = user_path(path)
    if not file.exists():
        raise missing("exported file", file)
    if file.is_dir() != found.folder:
        raise ExportError(f"a {found.title} model is a {'file' if file.is_dir() else 'folder'}", str(path))
    needed(found.reads, f"{found.title} file", found.install)
    if found.lacks():
        raise ExportError(f"a {found.title} model needs {found.lacks()}", str(path))
    return found.open(file, device)
