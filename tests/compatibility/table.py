"""docs/compatibility.md, from the names of ultralytics 8.2.103 (reference.json), this project's code and notes.yaml.

A name works when it is there and takes the reference's parameters; what differs or is absent needs a sentence: the
code's own (`lazy.absent`, `Inert.why`, …), the parameters it lacks, or one of notes.yaml.
"""

from __future__ import annotations

import ast
import fnmatch
import functools
import importlib
import inspect
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from torch import nn

from ultralytics.cfg.config import KNOBS, UNSUPPORTED
from ultralytics.cfg.reference import ABSENT_MODES, DEFAULT_CFG_DICT, TASKS
from ultralytics.cli import MODES, SPECIALS

HERE = Path(__file__).parent
REFERENCE = json.loads((HERE / "reference.json").read_text(encoding="utf-8"))
NOTES: dict[str, dict[str, str]] = yaml.safe_load((HERE / "notes.yaml").read_text(encoding="utf-8"))
DOCUMENT = HERE.parents[1] / "docs" / "compatibility.md"
WORKS, DIFFERS, ABSENT, OPEN = "works", "differs", "not offered", "unexplained"
# What a script gets hold of, and the class it is of here.
CLASSES = {
    "YOLO": "ultralytics.models.yolo.model:YOLO",
    "DetectionTrainer": "ultralytics.models.yolo.detect.train:DetectionTrainer",
    "DetectionValidator": "ultralytics.models.yolo.detect.val:DetectionValidator",
    "DetectionPredictor": "ultralytics.models.yolo.detect.predict:DetectionPredictor",
    "DetectionModel": "ultralytics.nn.tasks:DetectionModel",
    "Detect": "ultralytics.nn.modules:Detect",
    "Results": "ultralytics.engine.results:Results",
    "Boxes": "ultralytics.engine.results:Boxes",
    "DetMetrics": "ultralytics.utils.metrics:DetMetrics",
    "Metric": "ultralytics.utils.metrics:Metric",
    "ConfusionMatrix": "ultralytics.utils.metrics:ConfusionMatrix",
    "LetterBox": "ultralytics.data.augment:LetterBox",
    "Annotator": "ultralytics.utils.plotting:Annotator",
    "Colors": "ultralytics.utils.plotting:Colors",
}
HEAD = """# What scripts and YAMLs of ultralytics 8.2.103 find here

The names, keys, events, commands and methods of the reference that a user of its five tasks meets. *works*: it is
there, takes the same parameters and does the same; *differs*: it is there, and the sentence says what differs; *not
offered*: the sentence says what to use, and mostly the error says it too. Written by
`pytest tests/compatibility --rewrite` from the code; a test fails while the two differ.

In short:

| topic | |
|---|---|
| tasks | detect, segment, pose, obb, classify; no RT-DETR, YOLO-World, SAM or NAS |
| command line | its modes with its `key=value` words; files are given by path, none is fetched |
| keys | those of `default.yaml`; the few without effect are accepted only at their default |
| model YAMLs | YOLOv3 to YOLOv10, as they are |
| weights | its `.pt` files are read, no code in them runs; `export-weights` writes its format, if its modules suffice |
| `YOLO`, `Results`, callbacks | as there; a Results' drawings and files may differ in looks |
| trainers, validators, predictors | to be subclassed as there; what differs stands below |
| loggers | by `log=` of a run, not by a settings file |
| not here | hub, Explorer, solutions, Streamlit, automatic downloads and installs |
"""


class Row(NamedTuple):
    """A name, whether it works here, and the sentence."""

    name: str
    status: str
    message: str = ""


def noted(key: str, status: str, message: str = "") -> Row:
    """The row of a name, whose sentence notes.yaml has where the code has none."""
    name = key.rpartition(":")[2]
    for kind in (DIFFERS, ABSENT):
        for pattern, sentence in NOTES[kind].items():
            if fnmatch.fnmatchcase(key, pattern) and (kind == DIFFERS) == (status in (WORKS, DIFFERS)):
                return Row(name, kind, sentence)
    return Row(name, status if message or status == WORKS else OPEN, message)


def lacking(theirs: list[str] | None, ours: Any) -> list[str]:
    """The reference's parameters that a callable of ours does not take."""
    if theirs is None or not callable(ours):
        return []
    try:
        parameters = inspect.signature(ours).parameters
    except (TypeError, ValueError):
        return []
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return []
    return [name for name in theirs if name not in parameters]


def without(parameters: list[str]) -> str:
    """The sentence about parameters that are lacking."""
    return f"takes no {', '.join(f'`{p}`' for p in parameters)}" if parameters else ""


def imported(module: str) -> Iterator[Row]:
    """The names of a module of the reference."""
    try:
        ours: Any = importlib.import_module(module)
    except ModuleNotFoundError:
        ours = None
    for name, (_, theirs) in REFERENCE["modules"][module].items():
        key = f"{module}:{name}"
        value, refusal = look_up(ours, name)
        if value is None and refusal is not None:
            yield Row(name, ABSENT, refusal) if refusal else noted(key, ABSENT)
            continue
        instead = vars(value).get("not_offered") if inspect.isclass(value) else None
        if instead:
            yield Row(name, ABSENT, instead)
            continue
        lacks = lacking(theirs, value)
        yield noted(key, DIFFERS if lacks else WORKS, without(lacks))


def look_up(module: Any, name: str) -> tuple[Any, str | None]:
    """A module's name; or None and what its absence is answered with, "" for an AttributeError."""
    try:
        return getattr(module, name), None
    except AttributeError:
        return None, ""
    except ImportError as e:
        return None, str(e).removeprefix(f"{name} is not offered").strip(": ()")


@functools.cache
def instances() -> dict[str, Any]:
    """Objects whose attributes are set from outside their class too."""
    model = importlib.import_module("ultralytics").YOLO("yolov8n.yaml")
    return {"YOLO": model, "DetectionModel": model.model, "Detect": model.model.model[-1]}


def object_rows(kind: str) -> Iterator[Row]:
    """The attributes and methods of an object of the reference."""
    home, _, name = CLASSES[kind].partition(":")
    cls = getattr(importlib.import_module(home), name)
    there, refused = attributes(cls) | set(dir(instances().get(kind))), refusals(cls)
    for name, theirs in REFERENCE["objects"][kind].items():
        key = f"{kind}:{name}"
        if name in refused:
            yield Row(name, ABSENT, refused[name])
        elif name not in there:
            yield noted(key, ABSENT)
        else:
            lacks = lacking(theirs, inspect.getattr_static(cls, name, None))
            yield noted(key, DIFFERS if lacks else WORKS, without(lacks))


@functools.cache
def attributes(cls: type) -> set[str]:
    """What an object of a class has: members, annotations, and what its methods set on it."""
    found = set(dir(cls)) - (set(dir(nn.Module)) if issubclass(cls, nn.Module) else set())
    for base in cls.__mro__:
        if not base.__module__.startswith("ultralytics"):
            continue
        found |= set(vars(base).get("__annotations__", ()))
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base)))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found |= {node.attr} if getattr(node.value, "id", "") == "self" else set()
    return found


def refusals(cls: type) -> dict[str, str]:
    """Members that say what to use instead: name → sentence; see `lazy.no_such_member`."""
    return dict(getattr(inspect.getattr_static(cls, "__getattr__", None), "members", {}))


def key_rows() -> Iterator[Row]:
    """The keys of its default.yaml."""
    for key, default in REFERENCE["keys"].items():
        if key in KNOBS or key == "cfg":
            same = DEFAULT_CFG_DICT[key] == default or default == "None"
            yield noted(f"keys:{key}", WORKS if same else DIFFERS, "" if same else f"default {DEFAULT_CFG_DICT[key]}")
        else:
            yield Row(key, DIFFERS, f"accepted only as `{default}`: {UNSUPPORTED[key].why}")


def command_rows() -> Iterator[Row]:
    """Modes, tasks and special words of its command line."""
    for word in (*REFERENCE["modes"], *REFERENCE["tasks"], *REFERENCE["words"]):
        refused = ABSENT_MODES.get(word)
        there = word in MODES or word in SPECIALS or word in TASKS or word in ("help", "version")
        yield Row(word, ABSENT, refused) if refused else noted(f"cli:{word}", WORKS if there else ABSENT)


def event_rows() -> Iterator[Row]:
    """Events at which functions are called."""
    callbacks = importlib.import_module("ultralytics.engine.callbacks")
    for event in REFERENCE["events"]:
        yield noted(f"events:{event}", WORKS if event in callbacks.EVENTS else ABSENT)


def model_rows() -> Iterator[Row]:
    """Model YAMLs: whether every module that they name is here."""
    tasks = importlib.import_module("ultralytics.nn.tasks")
    for file, used in REFERENCE["models"].items():
        absent = [name for name in used if not _module(name, tasks)]
        message = f"there is no {', '.join(f'`{name}`' for name in absent)}" if absent else ""
        yield noted(f"models:{file}", ABSENT if absent else WORKS, message)


def _module(name: str, tasks: Any) -> bool:
    if name.startswith("nn."):
        return hasattr(nn, name.removeprefix("nn."))
    places = (tasks, importlib.import_module("ultralytics.nn.modules"))
    found = [value for value in (look_up(place, name)[0] for place in places) if value is not None]
    return bool(found) and "not_offered" not in vars(found[0])


def sections() -> Iterator[tuple[str, list[Row]]]:
    """Titles and rows of the document."""
    yield "Keys of `default.yaml`", list(key_rows())
    yield "Command line", list(command_rows())
    yield "Events of callbacks", list(event_rows())
    yield "Model YAMLs", list(model_rows())
    for kind in CLASSES:
        yield f"Attributes and methods of `{kind}`", list(object_rows(kind))
    for module in REFERENCE["modules"]:
        yield f"Names to import from `{module}`", list(imported(module))


def document() -> str:
    """The text of docs/compatibility.md; names of one sentence share a row."""
    lines, total = [HEAD], dict.fromkeys((WORKS, DIFFERS, ABSENT, OPEN), 0)
    for title, rows in sections():
        lines += [f"\n## {title}\n", "| name | here | |", "|---|---|---|"]
        groups: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            groups.setdefault((row.status, row.message), []).append(row.name)
            total[row.status] += 1
        order = sorted(groups, key=lambda g: (list(total).index(g[0]), groups[g]))
        for status, message in order:
            names = ", ".join(f"`{name}`" for name in groups[status, message])
            lines.append(f"| {names} | {status} | {message or 'as in 8.2.103'} |")
    counts = f"{total[WORKS]} work, {total[DIFFERS]} differ, {total[ABSENT]} are not offered."
    return "\n".join([lines[0], counts, *lines[1:]]) + "\n"
