"""Write a torch archive whose pickle names classes of another package, without importing that package.

The counterpart of `inert.py`: objects are InertRecords, a class path and a state. Only the program that unpickles
the file makes objects of those classes.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import torch
from torch import Tensor, nn

from ultralytics.engine.weights.inert import InertRecord

_STORAGES = {torch.float32: "FloatStorage", torch.float16: "HalfStorage", torch.int64: "LongStorage"}
_MARK, _EMPTY_TUPLE, _REDUCE, _TUPLE = b"(", b")", b"R", b"t"


def write_pickled(file: IO[bytes], data: Any, name: str = "archive") -> None:
    """Write data as torch.save would: None, numbers, text, lists, tuples, mappings, sets, tensors, and Records.

    Args:
        file: open for writing; name: the folder inside the archive.

    Raises:
        TypeError: a value is of none of these kinds.
    """
    pickler = _Pickler()
    pickler.save(data)
    records = {"data.pkl": b"\x80\x02" + bytes(pickler.out) + b".", "byteorder": sys.byteorder.encode()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for key, content in records.items():
            archive.writestr(zipfile.ZipInfo(f"{name}/{key}"), content)
        for number, tensor in enumerate(pickler.tensors):
            archive.writestr(zipfile.ZipInfo(f"{name}/data/{number}"), tensor.numpy().tobytes())
        archive.writestr(zipfile.ZipInfo(f"{name}/version"), b"3\n")


class _Pickler:
    """Writes pickle's instructions, protocol 2."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.tensors: list[Tensor] = []
        self._places: dict[int, tuple[int, Any]] = {}  # id of a InertRecord → its place in the memo, and itself
        self._kinds: list[tuple[type | tuple[type, ...], Callable[[Any], None]]] = [
            (bool, lambda v: self._emit(b"\x88" if v else b"\x89")),
            (int, self._int),
            (float, lambda v: self._emit(b"G" + struct.pack(">d", v))),
            (str, self._str),
            (nn.Parameter, self._parameter),
            (Tensor, self._tensor),
            (tuple, self._tuple),
            (list, self._list),
            (OrderedDict, lambda v: self._call("collections", "OrderedDict", (), v)),
            (Mapping, self._dict),
            ((set, frozenset), lambda v: self._call("__builtin__", "set", (sorted(v),))),
            (InertRecord, self._record),
        ]

    def save(self, value: Any) -> None:
        """Write a value.

        Raises:
            TypeError: of no kind that can be written.
        """
        if value is None:
            self._emit(b"N")
            return
        for kind, write in self._kinds:
            if isinstance(value, kind):
                write(value)
                return
        raise TypeError(f"a {type(value).__name__}")

    def _emit(self, data: bytes) -> None:
        self.out += data

    def _int(self, value: int) -> None:
        if -(2**31) <= value < 2**31:
            self._emit(b"J" + struct.pack("<i", value))
        else:
            size = value.bit_length() // 8 + 1
            self._emit(b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True))

    def _str(self, value: str) -> None:
        data = value.encode("utf-8", "surrogatepass")
        self._emit(b"X" + struct.pack("<I", len(data)) + data)

    def _name(self, module: str, name: str) -> None:
        self._emit(f"c{module}\n{name}\n".encode())

    def _tuple(self, values: Sequence[Any]) -> None:
        self._emit(_MARK if values else _EMPTY_TUPLE)
        for value in values:
            self.save(value)
        self._emit(_TUPLE if values else b"")

    def _list(self, values: Sequence[Any]) -> None:
        self._emit(b"](")
        for value in values:
            self.save(value)
        self._emit(b"e")

    def _items(self, values: Mapping[Any, Any]) -> None:
        self._emit(_MARK if values else b"")
        for key, value in values.items():
            self.save(key)
            self.save(value)
        self._emit(b"u" if values else b"")

    def _dict(self, values: Mapping[Any, Any]) -> None:
        self._emit(b"}")
        self._items(values)

    def _call(self, module: str, name: str, args: Sequence[Any], items: Mapping[Any, Any] | None = None) -> None:
        """Write a call of one of torch's or Python's names, which the reader of the file makes."""
        self._name(module, name)
        self._tuple(args)
        self._emit(_REDUCE)
        self._items(items or {})

    def _record(self, record: InertRecord) -> None:
        if id(record) in self._places:
            self._emit(b"j" + struct.pack("<I", self._places[id(record)][0]))
            return
        place = len(self._places)
        self._places[id(record)] = place, record
        module, _, name = record.path.rpartition(".")
        self._name(module, name)
        self._emit(_EMPTY_TUPLE + b"\x81r" + struct.pack("<I", place))
        self._dict(record.state)
        self._emit(b"b")

    def _tensor(self, tensor: Tensor) -> None:
        tensor = tensor.detach().cpu().contiguous()
        if tensor.dtype not in _STORAGES:
            raise TypeError(f"a tensor of {tensor.dtype}")
        self._name("torch._utils", "_rebuild_tensor_v2")
        self._emit(_MARK + _MARK)
        self.save("storage")
        self._name("torch", _STORAGES[tensor.dtype])
        for part in (str(len(self.tensors)), "cpu", tensor.numel()):
            self.save(part)
        self._emit(_TUPLE + b"Q")
        self.tensors.append(tensor)
        rest: tuple[Any, ...] = (0, tuple(tensor.shape), tensor.stride(), False, OrderedDict())
        for value in rest:
            self.save(value)
        self._emit(_TUPLE + _REDUCE)

    def _parameter(self, parameter: nn.Parameter) -> None:
        self._call("torch._utils", "_rebuild_parameter", (parameter.detach(), parameter.requires_grad, OrderedDict()))
