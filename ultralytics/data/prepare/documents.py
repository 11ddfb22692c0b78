"""JSON and XML files of strangers, read as plain data: whatever is in them, a fault is one line with the file."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.parsers import expat

from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import read_bytes
from ultralytics.utils.text import is_number

Key = int | str  # an id, see `as_key`
LONGEST_NUMBER = 1000  # characters; no number of more is meant


def _parse_integer(text: str) -> float:
    """Return the number that a JSON's digits say; Python takes no more than 4,300 of them."""
    return int(text) if len(text) <= LONGEST_NUMBER else math.copysign(math.inf, -1 if text[0] == "-" else 1)


def load_json(file: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Read a JSON file.

    Args:
        file: UTF-8, with a byte-order mark or not.
        hook: what to make of each mapping in it.

    Raises:
        DatasetError: it cannot be read, or is no JSON (file and line).
    """
    text = ""
    try:
        with open(file, encoding="utf-8-sig") as opened_file:
            text = opened_file.read()
        try:
            return json.loads(text, object_hook=hook)
        except json.JSONDecodeError:
            raise
        except ValueError:  # a number of more digits than Python takes; a function per number takes time
            return json.loads(text, object_hook=hook, parse_int=_parse_integer)
    except json.JSONDecodeError as e:
        if not text.strip():
            raise DatasetError("the file is empty", str(file)) from None
        if e.msg == "Extra data" and text[e.pos :].lstrip()[:1] in ("{", "["):
            hint = "one JSON document is needed: export it as COCO"
            raise DatasetError("this is JSON Lines, a document per line", f"{file}:{e.lineno}", hint) from None
        cut = "it is cut off: " if e.pos >= len(text.rstrip()) else ""
        raise DatasetError(f"not valid JSON: {cut}{e.msg}", f"{file}:{e.lineno}") from None
    except UnicodeDecodeError:
        raise DatasetError("the file is not UTF-8 text", str(file), "save it as UTF-8") from None
    except RecursionError:
        raise DatasetError("the file is nested too deeply", str(file)) from None
    except OSError as e:
        raise DatasetError(f"the file cannot be read: {e.strerror or e}", str(file)) from None


def as_key(value: Any) -> Key | None:
    """Return an id as it is compared: a number, also where it is written as text ("7") or with a point (7.0), else the
    text itself; None for what is no id."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) else None
    return value


def as_number(value: Any) -> float | None:
    """Return a finite number, or text that is one ("12.5", as some exports write them), as a float; None for anything
    else."""
    if isinstance(value, str) and len(value) < 40 and is_number(value):
        value = float(value)
    return float(value) if is_finite(value) else None


def is_finite(value: Any) -> bool:
    """Return True for a number that is neither infinite nor NaN, and that a float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


_DECLARED = re.compile(rb"<\?xml[^>]*\bencoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")


def parse_xml(path: Path) -> ET.Element:
    """Read an annotation, its tags without name spaces. Encodings that Python knows are read, with or without a
    byte-order mark.

    Raises:
        DatasetError: "file:line: what". A document type is refused: nothing here needs one, and entities that hold
        entities grow without bound.
    """
    try:
        data = read_bytes(path)
    except OSError as e:
        raise DatasetError(f"the file cannot be read: {e.strerror or e}", str(path)) from None
    if not data.strip():
        raise DatasetError("the file is empty", str(path))
    start = data.lstrip()
    declared = _DECLARED.search(start[:200])
    encoding = declared[1].decode() if declared else ""
    reason, line = "", 0
    # Expat knows few encodings; Python knows the rest.
    for known in (True, False):
        try:
            return _parse_tree(start, None) if known else _parse_tree(start.decode(encoding).encode(), "utf-8")
        except expat.ExpatError as e:
            reason = reason or expat.ErrorString(e.code)
            line = line or e.lineno + data[: len(data) - len(start)].count(b"\n")
            if e.code != _UNKNOWN_ENCODING:
                break
        except _DoctypeError:
            raise DatasetError(
                "the file declares a document type (DTD), which is not read", str(path), "remove it"
            ) from None
        except (LookupError, ValueError) as e:  # an encoding; or what `_parse` refuses
            reason = reason or str(e)
    raise DatasetError(f"not valid XML: {reason}", f"{path}:{line}" if line else str(path))


_UNKNOWN_ENCODING = expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING]


class _DoctypeError(Exception):
    """A document type was declared."""


def _parse_tree(data: bytes, encoding: str | None) -> ET.Element:
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate(encoding)
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > 100:  # an annotation has five levels; Python would recurse through the tree
            raise ValueError("elements are nested too deeply")
        builder.start(tag.rpartition(":")[2], attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag.rpartition(":")[2])

    def refuse(*_: Any) -> None:
        raise _DoctypeError

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(data, True)
    return builder.close()
