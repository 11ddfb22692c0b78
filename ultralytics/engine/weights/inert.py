"""PyTorch archives, read without running anything in them.

A `.pt` file is a zip archive of raw tensor storages and one pickle that describes the objects. Python's own unpickler
calls whatever a pickle names; the interpreter below knows the instructions that torch.save writes, and nothing it does
is a call into what a file names. Numbers, text, lists and mappings become themselves, tensors are views of the file's
storages, and every other object becomes a `Record`: its class path, arguments and state, without behaviour.

What a file costs is bounded by its size: archives hold stored records alone, none twice and none overlapping, tensors
stay within their storages, and the pickle's length and number of instructions are limited.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultralytics.utils.errors import CheckpointError

MAX_PICKLE = 64 * 2**20  # bytes; yolov8n's is 93 kB
MAX_INSTRUCTIONS = 1_000_000  # 3 s and 300 MB at worst; yolov8n's has 37,432, and 10,000 rows of results 300,000
MAX_ENTRIES = 100_000  # records of an archive
MAX_REPEATED = 64 * 2**20  # bytes, of tensors that are larger than their storage because they repeat its elements
MAX_DEPTH = 50  # of plain data
MAX_VALUES = 2_000_000  # of plain data, a value that is shared counted at each of its places
MAX_TEXT = 64 * 2**20  # characters of plain data, counted likewise


@dataclass(frozen=True, eq=False)
class Name:
    """A class or function that a file names: "os.system". It can do nothing."""

    path: str


@dataclass(eq=False)
class Record:
    """An object of a foreign class: its dotted class path, constructor arguments and state, and no behaviour."""

    path: str
    args: tuple[Any, ...] = ()
    state: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)

    def get(self, key: str, default: Any = None) -> Any:
        """An entry of the state."""
        return self.state.get(key, default)


class _DamagedError(Exception):
    """Why a file cannot be read."""


@dataclass(eq=False)
class _Budget:
    """Bytes that tensors which repeat elements may still take."""

    left: int = MAX_REPEATED


@dataclass(eq=False)
class _Storage:
    """A raw storage of the file, as a flat tensor that the tensors made of it share."""

    flat: Tensor
    budget: _Budget


_STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
}


# The archive


class Archive:
    """The records of a torch archive: stored, each once, within the file.

    Args:
        file: open for reading, at least until the last `read`.
    """

    def __init__(self, file: zipfile.ZipFile, size: int) -> None:
        self.file = file
        infos = file.infolist()
        if len(infos) > MAX_ENTRIES:
            raise _DamagedError(f"an archive of {len(infos)} records")
        self.records = {info.filename: info for info in infos}
        if len(self.records) < len(infos):
            raise _DamagedError("an archive with two records of one name")
        total = 0
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
                raise _DamagedError("an archive with compressed records, which torch.save never writes")
            total += info.file_size
        if total > size:
            raise _DamagedError("an archive whose records are larger than the file")
        tops = [n for n in self.records if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(tops) != 1:
            raise _DamagedError("a zip file without PyTorch's data in it")
        self.prefix = tops[0].rsplit("/", 1)[0]
        if f"{self.prefix}/constants.pkl" in self.records:
            raise _DamagedError("a TorchScript program, and not a model's weights")
        if f"{self.prefix}/byteorder" in self.records and self.read("byteorder", 16) != b"little":
            raise _DamagedError("written on a big-endian machine")

    def read(self, name: str, longest: int) -> bytes:
        """A record's content; its checksum is compared."""
        info = self.records.get(f"{self.prefix}/{name}")
        if info is None:
            raise _DamagedError(f"an archive without its record {name[:40]}")
        if info.file_size > longest:
            raise _DamagedError(f"a record {name[:40]} of {info.file_size} bytes")
        return self.file.read(info)


# The pickle


class _Mark:
    pass


_MARK = _Mark()
_Key = str | int | float | bool | bytes | None


class _Interpreter:
    """Runs a pickle's instructions over a stack of inert values."""

    def __init__(self, data: bytes, archive: Archive) -> None:
        self.data, self.at, self.archive = data, 0, archive
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, tuple[str, _Storage]] = {}
        self.budget = _Budget()

    def run(self) -> Any:
        """The value the pickle describes."""
        for _ in range(MAX_INSTRUCTIONS):
            code = self.take(1)[0]
            if code == _STOP:
                return self.pop()
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise _DamagedError(f"a pickle with the instruction {bytes([code])!r}, which torch.save never writes")
            instruction(self)
        raise _DamagedError(f"a pickle of more than {MAX_INSTRUCTIONS} instructions")

    # Bytes and stack

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        if n > len(self.data) - self.at:
            raise _DamagedError("a pickle that is cut short")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, form: str) -> Any:
        """A number of fixed length."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Text up to a line break."""
        end = self.data.find(b"\n", self.at, self.at + 1000)
        if end < 0:
            raise _DamagedError("a pickle with a name that does not end")
        text = self.data[self.at : end]
        self.at = end + 1
        return text.decode()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise _DamagedError("a pickle that takes more than it has put")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_to_mark(self) -> list[Any]:
        """What was put since the last mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                values = self.stack[i + 1 :]
                del self.stack[i:]
                return values
        raise _DamagedError("a pickle without a mark")

    # Instructions

    def text(self, form: str) -> None:
        self.push(self.take(self.number(form)).decode("utf-8", "surrogatepass"))

    def raw(self, form: str) -> None:
        self.push(self.take(self.number(form)))

    def integer(self) -> None:
        self.push(int.from_bytes(self.take(self.number("<B")), "little", signed=True))

    def tuple_of(self, n: int) -> None:
        values = [self.pop() for _ in range(n)]
        self.push(tuple(reversed(values)))

    def get(self, form: str) -> None:
        key = self.number(form)
        if key not in self.memo:
            raise _DamagedError("a pickle that recalls what it has not kept")
        self.push(self.memo[key])

    def put(self, form: str) -> None:
        self.memo[self.number(form)] = self.top()

    def append(self, values: list[Any]) -> None:
        target = self.top()
        items = target.items if isinstance(target, Record) else target
        if not isinstance(items, list):
            raise _DamagedError("a pickle that appends to what is no list")
        items.extend(values)

    def update(self, values: list[Any]) -> None:
        target = self.top()
        state = target.state if isinstance(target, Record) else target
        if not isinstance(state, dict) or len(values) % 2:
            raise _DamagedError("a pickle that sets a key of what is no mapping")
        for key, value in zip(values[::2], values[1::2], strict=True):
            state[_key(key)] = value

    def add(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Record):
            target.items.extend(values)
        elif isinstance(target, set):
            target.update(_key(v) for v in values)
        else:
            raise _DamagedError("a pickle that adds to what is no set")

    def dictionary(self) -> None:
        values = self.pop_to_mark()
        self.push({})
        self.update(values)

    def name(self) -> None:
        self.push(Name(f"{self.line()}.{self.line()}"))

    def stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise _DamagedError("a pickle with a name that is no text")
        self.push(Name(f"{module}.{name}"))

    def call(self) -> None:
        """What a file wants called becomes a record; of containers and tensors the value is known without a call."""
        args, function = self.pop(), self.pop()
        if not isinstance(function, Name) or not isinstance(args, tuple):
            raise _DamagedError("a pickle that calls what is no name")
        build = _BUILDERS.get(function.path)
        self.push(build(*args) if build else Record(function.path, args))

    def new(self, keywords: bool = False) -> None:
        """An object without its constructor called."""
        if keywords:
            self.pop()
        self.call()

    def state(self) -> None:
        state, target = self.pop(), self.top()
        slots = isinstance(state, tuple) and len(state) == 2  # attributes, and slots beside them
        parts: tuple[Any, ...] = state if slots else (state,)
        if isinstance(target, Record):
            for part in parts:
                target.state.update(part if isinstance(part, dict) else {"state": part} if part is not None else {})
        elif not isinstance(target, dict):  # an OrderedDict's attributes, such as _metadata, say nothing we need
            raise _DamagedError("a pickle that gives a state to what is no object")

    def storage(self) -> None:
        """A tensor's storage: ("storage", type, key, device, number of elements)."""
        pid = self.pop()
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], Name)):
            raise _DamagedError("an unknown kind of persistent object")
        kind, key, count = pid[1].path, pid[2], pid[4]
        dtype = _STORAGES.get(kind)
        if dtype is None:
            raise _DamagedError(f"a storage of the kind {kind[:60]}")
        if not isinstance(key, str) or isinstance(count, bool) or not isinstance(count, int):
            raise _DamagedError("a storage with an impossible name or size")
        if key not in self.storages:
            data = self.archive.read(f"data/{key}", 2**62)
            if len(data) != count * dtype.itemsize:
                raise _DamagedError("a storage of another size than it says")
            self.storages[key] = (kind, _Storage(_flat(data, dtype), self.budget))
        known, storage = self.storages[key]
        if known != kind:
            raise _DamagedError("a storage of two kinds")
        self.push(storage)


def _key(key: Any) -> _Key | tuple[Any, ...]:
    """A key of a mapping, or a member of a set. Of nested tuples and huge numbers the hash could not be afforded."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if not isinstance(part, str | int | float | bytes | type(None)):
            raise _DamagedError(f"a mapping with a {type(part).__name__} as its key")
        if isinstance(part, int) and not -(2**63) <= part < 2**63:
            raise _DamagedError("a mapping with a huge number as its key")
    return key  # type: ignore[no-any-return]  # one of these, as was just seen


def _flat(data: bytes, dtype: torch.dtype) -> Tensor:
    if not data:
        return torch.zeros(0, dtype=dtype)
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8 if dtype == torch.bool else dtype)
    return raw != 0 if dtype == torch.bool else raw  # a bool that is neither 0 nor 1 is undefined behaviour


def _tensor(storage: Any = None, offset: Any = 0, size: Any = (), stride: Any = (), *_: Any) -> Tensor:
    """A tensor: a view of its storage, or a copy where it repeats elements, as expanded tensors do.

    Raises:
        _DamagedError: it reaches beyond its storage, or repeats more than `MAX_REPEATED` allows.
    """
    if not isinstance(storage, _Storage):
        raise _DamagedError("a tensor without a storage")
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride) or len(size) > 16:
        raise _DamagedError("a tensor with impossible sizes")
    if any(type(n) is not int or not 0 <= n < 2**62 for n in (offset, *size, *stride)):
        raise _DamagedError("a tensor with impossible sizes")
    if 0 in size:
        return torch.zeros([min(n, 2**20) for n in size], dtype=storage.flat.dtype)
    elements, extent, repeats = storage.flat.itemsize, 0, False
    for s, n in sorted((s, n) for s, n in zip(stride, size, strict=True) if n > 1):
        repeats |= s <= extent
        elements *= n
        extent += (n - 1) * s
    if offset + extent >= storage.flat.numel():
        raise _DamagedError("a tensor larger than its storage")
    if not repeats:
        return storage.flat.as_strided(size, stride, offset)
    storage.budget.left -= elements
    if storage.budget.left < 0:
        raise _DamagedError("tensors that repeat their elements too often")
    return storage.flat.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)


def _parameter(data: Any = None, *_: Any) -> Any:
    return data


def _mapping(*pairs: Any) -> Any:
    """`OrderedDict()` or `OrderedDict([[key, value], …])`."""
    given = pairs[0] if pairs else []
    if isinstance(given, dict):
        return dict(given)
    if not isinstance(given, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in given):
        raise _DamagedError("a mapping that is not made of pairs")
    return {_key(k): v for k, v in given}


def _set(*members: Any) -> Any:
    given = members[0] if members else []
    if not isinstance(given, list | tuple | set):
        raise _DamagedError("a set of what is no list")
    return {_key(v) for v in given}


def _size(*numbers: Any) -> Any:
    return tuple(numbers[0]) if numbers and isinstance(numbers[0], list | tuple) else ()


# All that a name can bring about. Each builds a plain value of values that are there already.
_BUILDERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _mapping,
    "__builtin__.set": _set,
    "builtins.set": _set,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}

_STOP = ord(".")
# The instructions of torch.save's pickles, of protocols 2 to 5. Those of protocol 0 and 1 for text and objects,
# extensions and out-of-band buffers are left out on purpose.
_INSTRUCTIONS: dict[int, Callable[[_Interpreter], object]] = {
    ord(b"\x80"): lambda i: i.take(1),  # PROTO
    ord(b"\x95"): lambda i: i.take(8),  # FRAME: a hint for buffered reading
    ord("("): lambda i: i.push(_MARK),
    ord("0"): lambda i: i.stack.pop() if i.stack else i.pop(),
    ord("1"): lambda i: i.pop_to_mark(),
    ord("2"): lambda i: i.push(i.top()),
    ord("N"): lambda i: i.push(None),
    ord(b"\x88"): lambda i: i.push(True),
    ord(b"\x89"): lambda i: i.push(False),
    ord("J"): lambda i: i.push(i.number("<i")),
    ord("K"): lambda i: i.push(i.number("<B")),
    ord("M"): lambda i: i.push(i.number("<H")),
    ord(b"\x8a"): _Interpreter.integer,
    ord("G"): lambda i: i.push(i.number(">d")),
    ord("X"): lambda i: i.text("<I"),
    ord(b"\x8c"): lambda i: i.text("<B"),
    ord(b"\x8d"): lambda i: i.text("<Q"),
    ord("B"): lambda i: i.raw("<I"),
    ord("C"): lambda i: i.raw("<B"),
    ord(b"\x8e"): lambda i: i.raw("<Q"),
    ord("]"): lambda i: i.push([]),
    ord("l"): lambda i: i.push(i.pop_to_mark()),
    ord("a"): lambda i: i.append([i.pop()]),
    ord("e"): lambda i: i.append(i.pop_to_mark()),
    ord(")"): lambda i: i.push(()),
    ord("t"): lambda i: i.push(tuple(i.pop_to_mark())),
    ord(b"\x85"): lambda i: i.tuple_of(1),
    ord(b"\x86"): lambda i: i.tuple_of(2),
    ord(b"\x87"): lambda i: i.tuple_of(3),
    ord("}"): lambda i: i.push({}),
    ord("d"): _Interpreter.dictionary,
    ord("s"): lambda i: i.update([*reversed([i.pop(), i.pop()])]),
    ord("u"): lambda i: i.update(i.pop_to_mark()),
    ord(b"\x8f"): lambda i: i.push(set()),
    ord(b"\x90"): lambda i: i.add(i.pop_to_mark()),
    ord(b"\x91"): lambda i: i.push(_set(i.pop_to_mark())),
    ord("h"): lambda i: i.get("<B"),
    ord("j"): lambda i: i.get("<I"),
    ord("q"): lambda i: i.put("<B"),
    ord("r"): lambda i: i.put("<I"),
    ord(b"\x94"): lambda i: i.memo.__setitem__(len(i.memo), i.top()),
    ord("c"): _Interpreter.name,
    ord(b"\x93"): _Interpreter.stack_name,
    ord("R"): _Interpreter.call,
    ord(b"\x81"): _Interpreter.new,
    ord(b"\x92"): lambda i: i.new(keywords=True),
    ord("b"): _Interpreter.state,
    ord("Q"): _Interpreter.storage,
}


def read_inert(path: Path) -> Any:
    """The object graph of a torch archive, with every foreign object as a Record.

    Raises:
        CheckpointError: the file is damaged, hostile, or of a kind that cannot be read.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as zipped:
            archive = Archive(zipped, os.fstat(file.fileno()).st_size)
            return _Interpreter(archive.read("data.pkl", MAX_PICKLE), archive).run()
    except _DamagedError as e:
        raise CheckpointError(str(e), str(path)) from None
    except Exception as e:  # whatever a damaged stream provokes in zipfile
        told = f"damaged, or not a weights file ({type(e).__name__}: {e})"
        raise CheckpointError(told, str(path), "use an earlier copy") from None


class NotPlainError(ValueError):
    """Data that is no tree of plain values: what is in the way."""


def plain(value: Any) -> Any:
    """A copy of numbers, text, lists, mappings and tensors as a tree: what a file uses in several places is copied, and
    the limits of this module hold for the whole.

    Raises:
        NotPlainError: another kind of value, or too much of it.
    """
    return _Copy().of(value, 0)


class _Copy:
    def __init__(self) -> None:
        self.values, self.text = 0, 0

    def of(self, value: Any, depth: int) -> Any:
        self.values += 1
        self.text += len(value) if isinstance(value, str | bytes) else 0
        if self.values > MAX_VALUES or self.text > MAX_TEXT:
            raise NotPlainError("more data than a model needs")
        if depth > MAX_DEPTH:
            raise NotPlainError(f"data nested more than {MAX_DEPTH} deep")
        if value is None or isinstance(value, str | bytes | int | float | Tensor):
            return value
        if isinstance(value, dict):
            self.text += sum(len(k) for k in value if isinstance(k, str))
            return {k: self.of(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list | tuple | set):
            items = [self.of(v, depth + 1) for v in value]
            return items if isinstance(value, list) else type(value)(items)
        raise NotPlainError(value.path if isinstance(value, Record | Name) else type(value).__name__)
