"""The program in a TorchScript file: read before torch loads it, and refused where it does more than compute.

TorchScript is a language. Its programs can write files (`torch.save`, `torch.from_file`), call other processes (`rpc`)
and run while a file is opened (`__setstate__`); what `export` here or ultralytics writes does none of that.
"""

from __future__ import annotations

import ast
import os
import zipfile
from collections.abc import Iterator, Set
from pathlib import Path

from ultralytics.engine.weights.archive import Archive, DamagedError
from ultralytics.engine.weights.inert import inert
from ultralytics.utils.errors import ExportError

LONGEST = 2**26  # bytes of all code, unpacked
# Operators of torch that reach files or the terminal, and where it keeps classes of C++. `x.save(file)` is an operator
# too, so these are refused whatever they are an attribute of.
REFUSED = frozenset({"save", "from_file", "warn", "_print", "classes"})
# Operators outside torch's own, by the name that TorchScript's code has for them.
OPERATORS = frozenset(
    {
        *("ops.prim.NumToTensor", "ops.prim.data", "ops.prim.device", "ops.prim.dtype", "ops.prim.layout"),
        *("ops.prim.min", "ops.prim.max", "ops.prim.abs", "ops.prim.is_cuda", "ops.prim.tolist", "ops.prim.type"),
        *("ops.prim.unchecked_cast", "ops.prim.unchecked_unwrap_optional", "ops.prim.RaiseException"),
        *("ops.prim.TupleIndex", "ops.prim.TupleUnpack", "ops.prim.itemsize", "ops.prim.requires_grad"),
        "ops.torchvision.nms",
    }
)
FUNCTIONS = frozenset(
    {
        *("abs", "annotate", "bool", "complex", "float", "getattr", "hasattr", "int", "isinstance", "len", "list"),
        *("max", "min", "range", "str", "unchecked_cast", "uninitialized"),
    }
)
MODULES = ("torch", "ops", "__torch__")


def check_program(path: Path) -> None:
    """Check that a file's program computes, and does nothing else.

    Raises:
        ExportError: it is damaged, no TorchScript file, or does something else.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as zipped:
            archive = Archive(zipped, os.fstat(file.fileno()).st_size, program=True)
            for name in _code(archive):
                _check_code(zipped.read(name).decode(), name)
            for folder in ("data", "constants"):
                _, named = inert(archive, folder)
                if any("torch.classes" in name for name in named):  # of C++, which may do anything
                    raise DamagedError(f"{folder}.pkl makes an object that is neither a module nor a tensor")
    except DamagedError as e:
        hint = "files that `export` here or ultralytics has written can be opened"
        raise ExportError(f"no TorchScript file that is safe to open: {e}", str(path), hint) from None
    except Exception as e:  # whatever a damaged archive provokes in zipfile
        raise ExportError(f"it is damaged, or no TorchScript file ({type(e).__name__}: {e})", str(path)) from None


def _code(archive: Archive) -> Iterator[str]:
    """Give the records of code.

    Raises:
        DamagedError: torch might read the archive in another way than Python does, or it unpacks to too much.
    """
    infos = archive.records.values()
    plain = all(name.isascii() and name.isprintable() for name in archive.records)
    # torch takes names of either case for the same, and nothing before the first record
    if not plain or len({name.lower() for name in archive.records}) < len(infos) or min(i.header_offset for i in infos):
        raise DamagedError("an archive that can be read in two ways")
    packed = [info for info in infos if "/code/" in info.filename]
    if sum(info.file_size for info in packed) > LONGEST:
        raise DamagedError("an archive that unpacks to too much code")
    yield from (info.filename for info in packed if info.filename.endswith(".py"))


def _check_code(text: str, name: str) -> None:
    """Check the code of a record.

    Raises:
        DamagedError: it is no code, or may do something else than compute.
    """
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise DamagedError(f"{name} is not code") from None
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    functions = FUNCTIONS | _own_functions(nodes)
    for node in nodes:
        found = _refused(node, id(node) in inner, functions)
        if found:
            raise DamagedError(f"its program does more than compute: {found} in {name}")


def _own_functions(nodes: list[ast.AST]) -> set[str]:
    """Return the names that stand for functions of the file's own and nothing else: `_0 = __torch__.name`."""
    own = {
        node.targets[0].id
        for node in nodes
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Attribute)
        and ast.unparse(node.value).startswith("__torch__.")
    }
    stored = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return {name for name in own if stored.count(name) == 1}


def _refused(node: ast.AST, inside: bool, functions: Set[str]) -> str:
    """Return what is refused in a piece of code; "" if nothing.

    Args:
        node: the piece.
        inside: it is what an attribute is taken of.
        functions: names that may be called.
    """
    if isinstance(node, ast.FunctionDef) and node.name.startswith("__"):
        return f"the method {node.name}"  # torch calls some by itself
    if isinstance(node, ast.Constant) and node.value in REFUSED:
        return str(node.value)
    if isinstance(node, ast.Name) and node.id in MODULES and not inside:
        return f"the name {node.id}"
    if isinstance(node, ast.Attribute):
        whole = ast.unparse(node)
        operator = whole.startswith("ops.") and not inside
        return whole if node.attr in REFUSED or (operator and whole not in OPERATORS) else ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in functions:
        return f"{node.func.id}()"
    return ""
