"""Class names that lie beside YOLO labels: classes.txt, obj.names, notes.json and the like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ultralytics.data.prepare.documents import load_json
from ultralytics.data.prepare.folder import walk
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import read_text

LONGEST = 1 << 22  # bytes of a file of names
# In the order in which they are asked: those that one tool alone writes come before those that may be anything.
FILES = (
    "notes.json",  # Label Studio
    "classes.txt",  # LabelImg, Label Studio
    "obj.names",  # CVAT, darknet
    "_darknet.labels",  # Roboflow
    "*.names",  # darknet: coco.names, voc.names
    "predefined_classes.txt",  # LabelImg
    "class_names.txt",
    "names.txt",
    "labels.txt",
)


def names_beside(tops: Sequence[Path]) -> tuple[list[str] | None, list[Path]]:
    """Read the class names that lie in folders or anywhere below them: in the order of their ids, None where there are
    none, and the files they are from. Raises DatasetError: a file cannot be read, or two of one kind contradict each
    other."""
    found: dict[str, list[Path]] = {}
    for top in tops:
        for folder, files in walk(top):
            for name in files:
                kind = next((k for k in FILES if _is_called(name, k)), None)
                if kind is not None:
                    found.setdefault(kind, []).append(folder / name)
    for kind in FILES:
        names: list[str] = []
        read: list[Path] = []
        for path in found.get(kind, []):
            more = _from_json(path) if kind == "notes.json" else _from_lines(path)
            if more is None:
                continue
            if names[: len(more)] != more[: len(names)]:  # LabelImg appends to its list: a longer one may go on
                hint = "names=[first,second] says which are right"
                raise DatasetError(f"the class names differ from those of {read[0]}", str(path), hint)
            names = max(names, more, key=len)
            read.append(path)
        if read:
            return names, read
    return None, []


def _is_called(name: str, kind: str) -> bool:
    name = name.lower()
    return name.endswith(kind[1:]) and name != kind[1:] if kind.startswith("*") else name == kind


def _from_json(path: Path) -> list[str] | None:
    """Return the names in a notes.json; None where it is another thing."""
    data: Any = load_json(path)
    listed = data.get("categories") if isinstance(data, dict) else None
    if not isinstance(listed, list) or not all(isinstance(c, dict) and "name" in c for c in listed):
        return None
    by_id = {c.get("id"): str(c["name"]).strip() for c in listed}
    if not listed or sorted(by_id, key=repr) != sorted(range(len(listed)), key=repr):
        return None
    return [by_id[i] for i in range(len(listed))]


def _from_lines(path: Path) -> list[str] | None:
    """Return the names in a file with one a line; None where it holds none, or label rows."""
    lines = [line.strip() for line in read_text(path, DatasetError, LONGEST).rstrip().split("\n")]
    if lines == [""] or all(re.fullmatch(r"\d+( [-+.\deE]+){4,}", " ".join(line.split())) for line in lines):
        return None
    if path.name.lower() == "labels.txt" and lines[0].startswith("_"):  # labelme's begins with __ignore__
        return None
    if "" in lines:
        where = f"{path}:{lines.index('') + 1}"
        raise DatasetError("the line is empty, and a class's id is its line", where, "name every class")
    numbered = [re.fullmatch(r"(\d+)\s*[:,\s]\s*(\S.*)", line) for line in lines]
    if all(m is not None and m[1] == str(i) for i, m in enumerate(numbered)):
        return [m[2] for m in numbered if m is not None]
    return lines
