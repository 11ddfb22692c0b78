"""What an exported file says of itself, under the reference's keys: written as JSON, read as data."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ultralytics.cfg.keys import TASK_NAMES
from ultralytics.utils.errors import ExportError
from ultralytics.utils.files import read_text
from ultralytics.utils.text import one_line
from ultralytics.utils.yaml import MAX_BYTES, parse_yaml

BESIDE = "metadata.yaml"  # the file of a folder that says what it is, the reference's name; JSON is YAML
LONGEST_FILE = 2**24  # bytes of it
LONGEST = 2**22  # characters of a value: a file's names are read before anything is known of it
MOST_NAMES = 100_000
LONGEST_NAME, LONGEST_TEXT = 200, 1000  # characters of a class name, as of weights; of a text for readers
SUPPRESSION = ("conf", "iou", "max_det", "agnostic_nms")  # keys that say how a file with nms suppresses


@dataclass(frozen=True)
class Metadata:
    """What a file says of itself.

    Attributes:
        names: class names by id.
        stride: the largest, in pixels.
        task: a key of TASKS.
        batch: images, and imgsz: [height, width], that it was written for; what it takes, its input says.
        args: how it was written: dynamic, half, int8, nms; with nms the keys of SUPPRESSION; end2end of a head that
            gives one box per object; extra: numbers behind an anchor's scores; kpt_shape: keypoints of an object and
            numbers of each.
        description, author, date, version, license, docs: for readers.
    """

    names: dict[int, str]
    stride: int = 32
    task: str = "detect"
    batch: int = 1
    imgsz: list[int] = field(default_factory=lambda: [640, 640])
    args: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    author: str = ""
    date: str = ""
    version: str = ""
    license: str = "AGPL-3.0"
    docs: str = ""

    @property
    def nms(self) -> bool:
        """Return True if suppression is in the file."""
        return self.args.get("nms") is True

    @property
    def extra(self) -> int | None:
        """Return how many numbers lie behind an anchor's scores; None where the file, the reference's, does not say."""
        found = self.args.get("extra", 0 if self.task == TASK_NAMES[0] else None)
        return found if type(found) is int else None

    @property
    def kpt_shape(self) -> tuple[int, int] | None:
        """Return the keypoints of an object and the numbers of each, where it finds some."""
        shape = self.args.get("kpt_shape")
        return (int(shape[0]), int(shape[1])) if shape else None

    @property
    def final(self) -> bool:
        """Return True if the output is (B, n, 6): corners, score, class."""
        return self.nms or self.args.get("end2end") is True

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def to_json(self) -> str:
        """Return one JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_strings(self) -> dict[str, str]:
        """Return text by key, for formats that hold nothing else: text as it is, other values as JSON."""
        return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in self.to_dict().items()}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> Metadata:
        """Read metadata of this project's files or the reference's, which writes values in Python's notation.

        Args:
            values: values, or text of them, by key; unknown keys say nothing.
            where: the file, for messages.

        Raises:
            ExportError: there are no class names, or a value is not what its key says.
        """
        known = {f.name for f in fields(cls)}
        texts = {f.name for f in fields(cls) if f.type == "str"}
        data = {k: v if k in texts else _value(k, v, where) for k, v in values.items() if k in known}
        if "names" not in data or "stride" not in data:
            hint = "files that `export` here or ultralytics has written hold them"
            raise ExportError("its metadata has no class names and stride", where, hint)
        data["names"] = _names(data["names"], where)
        for key, least, most in (("stride", 1, 1024), ("batch", 1, 2**16)):
            data[key] = _whole_number(data.get(key, 1), key, least, most, where)
        size = data.get("imgsz", [640, 640])
        size = size if isinstance(size, list) and len(size) == 2 else [size, size]
        data["imgsz"] = [_whole_number(n, "imgsz", 1, 2**16, where) for n in size]
        if not isinstance(data.get("args", {}), dict):
            data["args"] = {}
        data["args"] = dict(data.get("args", {}))
        points = data["args"].get("kpt_shape", values.get("kpt_shape"))  # the reference has it as a key of its own
        if points is not None:
            data["args"]["kpt_shape"] = _keypoints(_value("kpt_shape", points, where), where)
        read: dict[str, Any] = {k: one_line(str(v), LONGEST_TEXT) if k in texts else v for k, v in data.items()}
        if read.get("task", TASK_NAMES[0]) not in TASK_NAMES:
            raise ExportError(f"its task is {read['task']}", where, f"tasks here: {', '.join(TASK_NAMES)}")
        return cls(**read)

    @classmethod
    def from_text(cls, text: str | bytes, where: str) -> Metadata:
        """Read a JSON or YAML text; see `from_mapping`."""
        data = _parsed(text, where)
        if not isinstance(data, dict):
            raise ExportError("its metadata is not a mapping", where)
        return cls.from_mapping({str(k): v for k, v in data.items()}, where)

    def write_beside(self, folder: Path) -> None:
        """Write the file of a folder that says what it is."""
        (folder / BESIDE).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def read_beside(cls, folder: Path) -> Metadata:
        """Read the file of a folder that says what it is; see `from_mapping`."""
        return cls.from_text(read_text(folder / BESIDE, ExportError, LONGEST_FILE), str(folder / BESIDE))


def _parsed(text: str | bytes, where: str) -> Any:
    """Read JSON, or YAML, of which Python's notation of numbers, text, lists and dicts is a part."""
    if len(text) > LONGEST:
        raise ExportError(f"its metadata holds a value of {len(text):,} characters", where)
    try:
        text = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError:
        raise ExportError("its metadata is not text", where) from None
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    if len(text) > MAX_BYTES:
        raise ExportError(f"its metadata is not JSON, and YAML of {len(text):,} characters is not read", where)
    return parse_yaml(text, Path(where), ExportError).data


def _value(key: str, value: Any, where: str) -> Any:
    return _parsed(value, f"{where}, {key}") if isinstance(value, str | bytes) and key != "task" else value


def _keypoints(shape: Any, where: str) -> list[int]:
    if not isinstance(shape, list | tuple) or len(shape) != 2:
        raise ExportError(f"its metadata has kpt_shape={shape!r}", where, "two whole numbers, such as [17, 3]")
    return [
        _whole_number(n, "kpt_shape", least, most, where)
        for n, least, most in zip(shape, (1, 2), (10**4, 3), strict=True)
    ]


def _names(names: Any, where: str) -> dict[int, str]:
    """Return names by id from a mapping, whose ids may be text, or a list."""
    if isinstance(names, list):
        names = dict(enumerate(names))
    try:
        found = {int(str(k)): one_line(str(v), LONGEST_NAME) for k, v in names.items()}
    except (AttributeError, TypeError, ValueError):
        raise ExportError("its class names are not a mapping of ids to names", where) from None
    if not 0 < len(found) == len(names) <= MOST_NAMES or sorted(found) != list(range(len(found))):
        raise ExportError("the ids of its class names are not 0, 1, 2 and so on", where)
    return dict(sorted(found.items()))


def _whole_number(value: Any, key: str, least: int, most: int, where: str) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not least <= value <= most
        or value != int(value)
    ):
        raise ExportError(f"its metadata has {key}={value!r}", where, f"a whole number of {least} to {most}")
    return int(value)
