"""An ONNX file before a runtime reads it: where its data lie, and how much of it there is.

ONNX Runtime 1.32 refuses data outside the model's folder itself; older ones read any file that the path names. Only
the few fields of the format that lead to such paths are followed here, without the onnx package.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from ultralytics.utils.errors import ExportError
from ultralytics.utils.files import open_regular, real_path

MOST_NODES = 50_000  # the largest network of this project has some thousands
MOST_FIELDS = 2_000_000  # some seconds
DEEPEST = 16  # graphs within graphs
# Fields of a message that hold other messages, by name of the message; see onnx.proto.
_TREE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}


class _DamagedError(Exception):
    """The reason why a file is none of ONNX."""


def check_onnx(path: Path) -> None:
    """Check that a file is a message of ONNX's, not too large to be opened, and that its data stay beside it.

    Raises:
        ExportError: they do not, or it is damaged.
    """
    try:
        with open_regular(path) as file:
            # a file of no bytes cannot be mapped
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
            _Walk(path).message(memoryview(data), "model", 0)
    except _DamagedError as e:
        raise ExportError(f"it is damaged, or no ONNX file: {e}", str(path)) from None
    except OSError as e:
        raise ExportError(f"it cannot be read: {e.strerror or e}", str(path)) from None


class _Walk:
    """Follows messages to the tensors in them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fields = self.nodes = 0

    def message(self, data: memoryview, kind: str, depth: int) -> None:
        """Follow a message; `depth` counts the messages that it is in."""
        if depth > DEEPEST * 3:  # a graph in an attribute in a node
            raise _DamagedError(f"graphs are nested more than {DEEPEST} deep")
        self.nodes += kind == "node"
        if self.nodes > MOST_NODES:
            raise _DamagedError(f"it has more than {MOST_NODES:,} nodes")
        inner = _TREE[kind]
        for number, value in self.parts(data):
            if number not in inner:
                continue
            if isinstance(value, int):
                raise _DamagedError("a number where a message belongs")
            if inner[number] == "entry":
                self.entry(value)
            else:
                self.message(value, inner[number], depth + 1)

    def parts(self, data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
        """Give the number of each field and what it holds."""
        place, end = 0, len(data)
        while place < end:
            self.fields += 1
            if self.fields > MOST_FIELDS:
                raise _DamagedError(f"it has more than {MOST_FIELDS:,} fields")
            tag, place = _varint(data, place)
            number, wire = tag >> 3, tag & 7
            if wire == 0:
                value, place = _varint(data, place)
                yield number, value
                continue
            if wire not in (1, 2, 5):
                raise _DamagedError("it has a field of an unknown kind")
            length, place = _varint(data, place) if wire == 2 else (8 if wire == 1 else 4, place)
            if place + length > end:
                raise _DamagedError("it is cut short")
            yield number, data[place : place + length]
            place += length

    def entry(self, data: memoryview) -> None:
        """Check one statement about where a tensor's data lie."""
        said = {number: bytes(value).decode(errors="replace") for number, value in self.parts(data) if value != 0}
        if said.get(1) != "location":
            return
        name = said.get(2, "")
        folder = real_path(self.path).parent
        file = folder / name
        if "\0" in name or Path(name).is_absolute() or not real_path(file).is_relative_to(folder):
            raise ExportError(f"its data are outside its folder: {name}", str(self.path), "they must lie beside it")
        if not file.is_file():
            raise ExportError(f"its data are not there: {name}", str(self.path), "copy them beside it")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place behind it."""
    value = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    raise _DamagedError("it is cut short")
