"""Keys of the reference that do nothing here, and those that have another name."""

from __future__ import annotations

from typing import Any, NamedTuple

from ultralytics.cfg.words import parse_value


class Inert(NamedTuple):
    """A key of the reference that does nothing here."""

    off: Any  # its default there, which asks for nothing and is accepted
    why: str  # the answer to any other value


_EXPORT = "it belongs to a format of export that is not offered"
# Keys of the reference that do nothing here.
UNSUPPORTED: dict[str, Inert] = {
    "keras": Inert(False, _EXPORT),
    "optimize": Inert(False, _EXPORT),
    "label_smoothing": Inert(0.0, "the reference never reads it either"),
    "profile": Inert(False, "use scripts/benchmark.sh"),
    "dnn": Inert(False, "ONNX files run in ONNX Runtime"),
    "save_hybrid": Inert(False, "use save_txt=True"),
    "save_dir": Inert(None, "a run's folder is project/name: use project= and name="),
    "cfg": Inert(None, "a file of keys cannot name another one"),
}


def asks_nothing(key: str, value: Any) -> bool:
    """Return True if a key does nothing here and its value asks for nothing: the reference's default, or its equal."""
    if key not in UNSUPPORTED:
        return False
    off = UNSUPPORTED[key].off
    if isinstance(value, str):
        value = parse_value(value)
    return value is None or bool(value == off) or not (value or off)


RENAMED = {"boxes": "show_boxes", "line_thickness": "line_width"}
NEGATED = {"hide_labels": "show_labels", "hide_conf": "show_conf"}
