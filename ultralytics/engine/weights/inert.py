"""PyTorch archives, read without running anything in them.

Python's own unpickler calls whatever a pickle names. Here the standard library's `pickletools` reads the
arguments of the instructions that torch.save writes, and the interpreter below carries them out; nothing it does is a
call into what a file names. Numbers, text, lists and mappings become themselves, tensors are views of the file's
storages, and every other object becomes a `InertRecord`: its class path, arguments and state, without behaviour.

Why not `torch.load(weights_only=True)`: see docs/security.md.
"""

from __future__ import annotations

import io
import os
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultralytics.engine.weights.archive import STORAGES, Archive, Budget, DamagedError, Storage, build_tensor, flat
from ultralytics.utils.errors import CheckpointError

MAX_PICKLE = 64 * 2**20  # bytes; yolov8n's is 93 kB
MAX_INSTRUCTIONS = 1_000_000  # 3 s and 300 MB at worst; yolov8n's has 37,432, and 10,000 rows of results 300,000


@dataclass(frozen=True, eq=False)
class Name:
    """A class or function that a file names: "os.system". It can do nothing."""

    path: str


@dataclass(eq=False)
class InertRecord:
    """An object of a foreign class: its dotted class path, constructor arguments and state, and no behaviour."""

    path: str
    args: tuple[Any, ...] = ()
    state: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)

    def get(self, key: str, default: Any = None) -> Any:
        """Return an entry of the state."""
        return self.state.get(key, default)


class _Mark:
    pass


_MARK = _Mark()
_Key = str | int | float | bool | bytes | None


class _Interpreter:
    """Carries out a pickle's instructions over a stack of inert values.

    Args:
        archive: it is in.
        folder: of its storages there.
    """

    def __init__(self, archive: Archive, folder: str = "data") -> None:
        self.archive, self.folder = archive, folder
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, tuple[str, Storage]] = {}
        self.budget = Budget()
        self.names: set[str] = set()  # of all classes and functions that the pickle names

    def run(self, data: bytes) -> Any:
        """Return the value that a pickle describes."""
        file = io.BytesIO(data)
        for _ in range(MAX_INSTRUCTIONS):
            code = file.read(1)
            if code == b".":  # STOP
                return self.pop()
            if code not in _DECODED:
                what = f"with the instruction {code!r}, which torch.save never writes" if code else "that is cut short"
                raise DamagedError(f"a pickle {what}")
            read, carry_out = _DECODED[code]
            carry_out(self, read(file) if read else None)
        raise DamagedError(f"a pickle of more than {MAX_INSTRUCTIONS} instructions")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise DamagedError("a pickle that takes more than it has put")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_to_mark(self) -> list[Any]:
        """Pop what was put since the last mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                values = self.stack[i + 1 :]
                del self.stack[i:]
                return values
        raise DamagedError("a pickle without a mark")

    def tuple_of(self, n: int) -> None:
        values = [self.pop() for _ in range(n)]
        self.push(tuple(reversed(values)))

    def recall(self, place: int) -> None:
        if place not in self.memo:
            raise DamagedError("a pickle that recalls what it has not kept")
        self.push(self.memo[place])

    def append(self, values: list[Any]) -> None:
        target = self.top()
        items = target.items if isinstance(target, InertRecord) else target
        if not isinstance(items, list):
            raise DamagedError("a pickle that appends to what is not a list")
        items.extend(values)

    def update(self, values: list[Any]) -> None:
        target = self.top()
        state = target.state if isinstance(target, InertRecord) else target
        if not isinstance(state, dict) or len(values) % 2:
            raise DamagedError("a pickle that sets a key of what is not a mapping")
        for key, value in zip(values[::2], values[1::2], strict=True):
            state[_check_key(key)] = value

    def add(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, InertRecord):
            target.items.extend(values)
        elif isinstance(target, set):
            target.update(_check_key(v) for v in values)
        else:
            raise DamagedError("a pickle that adds to what is not a set")

    def dictionary(self) -> None:
        values = self.pop_to_mark()
        self.push({})
        self.update(values)

    def stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise DamagedError("a pickle with a name that is not text")
        self.name(f"{module}.{name}")

    def name(self, path: str) -> None:
        self.names.add(path)
        self.push(Name(path))

    def call(self, keywords: bool = False) -> None:
        """Make a record of a call; of containers and tensors the value is known without a call."""
        if keywords:
            self.pop()
        args, function = self.pop(), self.pop()
        if not isinstance(function, Name) or not isinstance(args, tuple):
            raise DamagedError("a pickle that calls what is not a name")
        build = _BUILDERS.get(function.path)
        self.push(build(*args) if build else InertRecord(function.path, args))

    def state(self) -> None:
        state, target = self.pop(), self.top()
        slots = isinstance(state, tuple) and len(state) == 2  # attributes, and slots beside them
        parts: tuple[Any, ...] = state if slots else (state,)
        if isinstance(target, InertRecord):
            for part in parts:
                target.state.update(part if isinstance(part, dict) else {"state": part} if part is not None else {})
        elif not isinstance(target, dict):  # an OrderedDict's attributes, such as _metadata, say nothing we need
            raise DamagedError("a pickle that gives a state to what is not an object")

    def storage(self) -> None:
        """Return a tensor's storage: ("storage", type, key, device, number of elements)."""
        pid = self.pop()
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], Name)):
            raise DamagedError("an unknown kind of persistent object")
        kind, key, count = pid[1].path, pid[2], pid[4]
        dtype = STORAGES.get(kind)
        if dtype is None:
            raise DamagedError(f"a storage of the kind {kind[:60]}")
        if not isinstance(key, str) or isinstance(count, bool) or not isinstance(count, int):
            raise DamagedError("a storage with an impossible name or size")
        if key not in self.storages:
            data = self.archive.read(f"{self.folder}/{key}", 2**62)
            if len(data) != count * dtype.itemsize:
                raise DamagedError("a storage of another size than it says")
            self.storages[key] = (kind, Storage(flat(data, dtype), self.budget))
        known, storage = self.storages[key]
        if known != kind:
            raise DamagedError("a storage of two kinds")
        self.push(storage)


def _check_key(key: Any) -> _Key | tuple[Any, ...]:
    """A key of a mapping, or a member of a set. Of nested tuples and huge numbers the hash could not be afforded."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if not isinstance(part, str | int | float | bytes | type(None)):
            raise DamagedError(f"a mapping with a {type(part).__name__} as its key")
        if isinstance(part, int) and not -(2**63) <= part < 2**63:
            raise DamagedError("a mapping with a huge number as its key")
    return key  # type: ignore[no-any-return]  # one of these, as was just seen


def _build_parameter(data: Any = None, *_: Any) -> Any:
    return data


def _build_mapping(*pairs: Any) -> Any:
    """`OrderedDict()` or `OrderedDict([[key, value], …])`."""
    given = pairs[0] if pairs else []
    if isinstance(given, dict):
        return dict(given)
    if not isinstance(given, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in given):
        raise DamagedError("a mapping that is not made of pairs")
    return {_check_key(k): v for k, v in given}


def _build_set(*members: Any) -> Any:
    given = members[0] if members else []
    if not isinstance(given, list | tuple | set):
        raise DamagedError("a set of what is not a list")
    return {_check_key(v) for v in given}


def _build_size(*numbers: Any) -> Any:
    return tuple(numbers[0]) if numbers and isinstance(numbers[0], list | tuple) else ()


# All that a name can bring about. Each builds a plain value of values that are there already.
_BUILDERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _build_mapping,
    "__builtin__.set": _build_set,
    "builtins.set": _build_set,
    "torch.Size": _build_size,
    "torch._utils._rebuild_tensor_v2": build_tensor,
    "torch._utils._rebuild_parameter": _build_parameter,
}

# The instructions of torch.save's pickles, of protocols 2 to 5. Those of protocol 0 and 1 for text and objects,
# extensions and out-of-band buffers are left out on purpose.
_NUMBERS_AND_TEXT = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
)
_INSTRUCTIONS: dict[str, Callable[[_Interpreter, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda i, _: None),
    **dict.fromkeys(_NUMBERS_AND_TEXT, _Interpreter.push),
    "NONE": lambda i, _: i.push(None),
    "NEWTRUE": lambda i, _: i.push(True),
    "NEWFALSE": lambda i, _: i.push(False),
    "EMPTY_LIST": lambda i, _: i.push([]),
    "EMPTY_TUPLE": lambda i, _: i.push(()),
    "EMPTY_DICT": lambda i, _: i.push({}),
    "EMPTY_SET": lambda i, _: i.push(set()),
    "MARK": lambda i, _: i.push(_MARK),
    "POP": lambda i, _: i.stack.pop() if i.stack else i.pop(),
    "POP_MARK": lambda i, _: i.pop_to_mark(),
    "DUP": lambda i, _: i.push(i.top()),
    "LIST": lambda i, _: i.push(i.pop_to_mark()),
    "APPEND": lambda i, _: i.append([i.pop()]),
    "APPENDS": lambda i, _: i.append(i.pop_to_mark()),
    "TUPLE": lambda i, _: i.push(tuple(i.pop_to_mark())),
    "TUPLE1": lambda i, _: i.tuple_of(1),
    "TUPLE2": lambda i, _: i.tuple_of(2),
    "TUPLE3": lambda i, _: i.tuple_of(3),
    "DICT": lambda i, _: i.dictionary(),
    "SETITEM": lambda i, _: i.update([*reversed([i.pop(), i.pop()])]),
    "SETITEMS": lambda i, _: i.update(i.pop_to_mark()),
    "ADDITEMS": lambda i, _: i.add(i.pop_to_mark()),
    "FROZENSET": lambda i, _: i.push(_build_set(i.pop_to_mark())),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Interpreter.recall),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda i, place: i.memo.__setitem__(place, i.top())),
    "MEMOIZE": lambda i, _: i.memo.__setitem__(len(i.memo), i.top()),
    "GLOBAL": lambda i, names: i.name(names.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda i, _: i.stack_name(),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda i, _: i.call()),
    "NEWOBJ_EX": lambda i, _: i.call(keywords=True),
    "BUILD": lambda i, _: i.state(),
    "BINPERSID": lambda i, _: i.storage(),
}
# How to read an instruction's argument, and what to do then. Others are refused before their argument is read.
_DECODED = {
    op.code.encode("latin-1"): (op.arg.reader if op.arg else None, _INSTRUCTIONS[op.name])
    for op in pickletools.opcodes
    if op.name in _INSTRUCTIONS
}


def inert(archive: Archive, folder: str = "data") -> tuple[Any, set[str]]:
    """Return the object graph of a pickle in an archive, whose storages are in the folder of its name, and the names of
    classes and functions in it.

    Raises:
        DamagedError: it is damaged or hostile.
    """
    interpreter = _Interpreter(archive, folder)
    return interpreter.run(archive.read(f"{folder}.pkl", MAX_PICKLE)), interpreter.names


def read_inert(path: Path) -> Any:
    """Return the object graph of a torch archive, with every foreign object as a InertRecord.

    Raises:
        CheckpointError: the file is damaged, hostile, or of a kind that cannot be read.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as zipped:
            return inert(Archive(zipped, os.fstat(file.fileno()).st_size))[0]
    except DamagedError as e:
        raise CheckpointError(str(e), str(path)) from None
    except Exception as e:  # whatever a damaged stream provokes in zipfile
        reason = f"damaged, or not a weights file ({type(e).__name__}: {e})"
        raise CheckpointError(reason, str(path), "use an earlier copy") from None
