"""The model YAML as plain data: rows, scales, class count.
It is parsed and checked here, and built in `nn/parsing.py`."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ultralytics.cfg.paths import find_model_yaml
from ultralytics.utils.errors import ModelError, UserError, nearest
from ultralytics.utils.files import user_path
from ultralytics.utils.log import LOGGER
from ultralytics.utils.yaml import as_written, read_yaml

MODEL_KEYS = (
    "nc",
    "kpt_shape",
    "scales",
    "scale",
    "backbone",
    "head",
    "ch",
    "activation",
    "depth_multiple",
    "width_multiple",
    "inplace",
    "anchors",
    "plugins",
    "yaml_file",
)
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
# Far above any model: typing errors and traps stop here.
MAX_ROWS, MAX_REPEATS, MAX_CHANNELS, MAX_MULTIPLE = 1000, 1000, 4096, 1e6
KEYPOINTS = "kpt_shape"  # among the arguments of a row: the file's own
_EXAMPLE = ": write, for 17 points with visibility, `kpt_shape: [17, 3]`"
ROW_FORM = "[from, repeats, module, args] or [from, repeats, module, args, name]"


@dataclass
class RowSpec:
    """One row: `from` (row numbers, −1 for the row before; names are resolved to numbers), repeats, module name,
    arguments, the row's own name ("" without), and where it stands in the file."""

    sources: list[int]
    repeats: int
    module: str
    args: list[Any]
    name: str = ""
    where: str = ""

    def to_list(self) -> list[Any]:
        """Return the row as the YAML writes it."""
        sources = self.sources[0] if len(self.sources) == 1 else list(self.sources)
        return [sources, self.repeats, self.module, self.args, *([self.name] if self.name else [])]


@dataclass
class ModelSpec:  # size: a field for each thing that the YAML says
    """A whole model YAML with its scale chosen.

    Attributes:
        nc: classes; ch: input channels.
        backbone, head: rows; numbers in `from` count over both.
        scales: letter → [depth, width, max_channels]; scale: the letter in force, "" where the file has none.
        activation: name of a torch.nn activation, e.g. "nn.ReLU()", or None for SiLU.
        plugins: Python files that register the user's own modules, absolute where the YAML is a file.
        written_nc: the class count that the YAML says itself, None where it says none.
        kpt_shape: (keypoints of an object, numbers of each), what `kpt_shape` means among the arguments; None of a
            network without keypoints.
    """

    nc: int
    backbone: list[RowSpec]
    head: list[RowSpec]
    ch: int = 3
    scales: dict[str, list[float]] = field(default_factory=dict)
    scale: str = ""
    depth: float = 1.0
    width: float = 1.0
    max_channels: float = float("inf")
    activation: str | None = None
    plugins: list[str] = field(default_factory=list)
    yaml_file: str = ""
    written_nc: int | None = None
    kpt_shape: tuple[int, int] | None = None

    def repeats(self, row: RowSpec) -> int:
        """Return how often a row's block repeats at this scale."""
        return max(round(row.repeats * self.depth), 1) if row.repeats > 1 else row.repeats

    @property
    def rows(self) -> list[RowSpec]:
        """Return all rows in the order of their numbers."""
        return [*self.backbone, *self.head]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `ModelSpec.from_dict` and the YAML understand."""
        data: dict[str, Any] = {"nc": self.nc, "ch": self.ch}
        if self.kpt_shape:
            data["kpt_shape"] = list(self.kpt_shape)
        if self.scales:
            data |= {"scales": copy.deepcopy(self.scales), "scale": self.scale}
        else:
            data |= {"depth_multiple": self.depth, "width_multiple": self.width}
        if self.activation:
            data["activation"] = self.activation
        if self.plugins:
            data["plugins"] = list(self.plugins)
        data |= {"backbone": [r.to_list() for r in self.backbone], "head": [r.to_list() for r in self.head]}
        return data | {"yaml_file": self.yaml_file}

    @classmethod
    def from_dict(
        cls,
        data: dict[str, Any],
        scale: str | None = None,
        nc: int | None = None,
        ch: int | None = None,
        lines: list[int] | None = None,
        kpt_shape: Sequence[int] | None = None,
    ) -> ModelSpec:
        """Check a model YAML's content and choose the scale.

        Args:
            data: its content.
            scale: letter that overrides the file's own `scale`; without either the first of `scales` is taken.
            nc: class count that overrides the file's.
            ch: input channels likewise.
            lines: the line of each row in the file, for messages.
            kpt_shape: keypoints and numbers of each that override the file's, where a row takes `kpt_shape`.

        Raises:
            ModelError: with the row and the hint.
        """
        where = str(data.get("yaml_file") or "model YAML")
        _check_parts(data, where)
        written = data.get("nc")
        classes = data.get("nc", 80) if nc is None else nc
        for count in (classes, 80 if written is None else written):  # a slip counts even where another number is taken
            _demand(_is_count(count), f"nc must be an integer of 1 or more, not {count!r}", where)
        channels = data.get("ch", 3) if ch is None else ch
        most = f"`ch` must be an integer of 1 to {MAX_CHANNELS}, not {channels!r}"
        _demand(_is_count(channels) and channels <= MAX_CHANNELS, most, where)
        activation = data.get("activation")
        text = f"`activation` must be text such as nn.ReLU(), not {activation!r}"
        _demand(activation is None or isinstance(activation, str), text, where)
        letter = _chosen_scale(data, scale, where)
        depth, width, max_channels = _scale_multiples(data, letter, where)
        rows = _read_rows(data, lines, where)
        spec = cls(
            nc=classes,
            backbone=rows[: len(data["backbone"])],
            head=rows[len(data["backbone"]) :],
            ch=channels,
            scales=data.get("scales") or {},
            scale=letter,
            depth=depth,
            width=width,
            max_channels=max_channels,
            activation=activation,
            plugins=_plugin_files(data, where),
            yaml_file=str(data.get("yaml_file") or ""),
            written_nc=written if type(written) is int else None,
            kpt_shape=_chosen_keypoints(data, rows, kpt_shape, where),
        )
        _check_sources(spec)
        return spec


def _demand(possible: bool, what: str, where: str) -> None:
    if not possible:
        raise ModelError(what, where)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _chosen_keypoints(
    data: dict[str, Any], rows: list[RowSpec], given: Sequence[int] | None, where: str
) -> tuple[int, int] | None:
    """Return what `kpt_shape` means in the rows: what is given, or the file's own; None where no row takes it."""
    written = data.get("kpt_shape")
    for shape in (written, given):  # as of nc, a slip counts even where another one is taken
        fits = isinstance(shape, Sequence) and len(shape) == 2 and all(map(_is_count, shape)) and shape[1] in (2, 3)
        text = f"`kpt_shape` must be [points, 2] for x and y, or [points, 3] with visibility, not {shape!r}"
        _demand(shape is None or fits, text, where)
    taken = any(arg == KEYPOINTS for row in rows for arg in _values(row))
    shape = written if given is None else given
    _demand(not taken or shape is not None, f"a row takes `kpt_shape`, and the file has none{_EXAMPLE}", where)
    return (int(shape[0]), int(shape[1])) if taken and shape is not None else None


def _values(row: RowSpec) -> list[Any]:
    """Return a row's arguments, those by name too."""
    named = row.args[-1] if row.args and isinstance(row.args[-1], dict) else None
    return row.args if named is None else [*row.args[:-1], *named.values()]


def _check_parts(data: dict[str, Any], where: str) -> None:
    """Refuse keys that there are not, and parts that are no lists of rows."""
    for key in data:
        if key not in MODEL_KEYS:
            hint = nearest(str(key), MODEL_KEYS) or f"keys: {', '.join(MODEL_KEYS[:-1])}"
            raise ModelError(f"unknown key {key!r}", where, hint)
    if data.get("anchors") is not None:
        LOGGER.warning("%s: `anchors` is ignored: the heads here need none", where)
    for key in ("backbone", "head"):
        _demand(isinstance(data.get(key), list) and data[key], f"`{key}` must be a list of rows {ROW_FORM}", where)
    _demand(len(data["backbone"]) + len(data["head"]) <= MAX_ROWS, f"more than {MAX_ROWS} rows", where)


def _chosen_scale(data: dict[str, Any], scale: str | None, where: str) -> str:
    """Return the letter in force: the one that is asked for, the file's own, or the first; "" without scales."""
    scales = data.get("scales") or {}
    form = "`scales` must be a mapping of letters to [depth, width, max_channels]"
    _demand(isinstance(scales, dict), form, where)
    _demand(isinstance(data.get("scale") or "", str), f"`scale` must be a letter, not {data.get('scale')!r}", where)
    letter = scale or data.get("scale") or next(iter(scales), "")
    known = ", ".join(map(str, scales))
    _demand(not scales or letter in scales, f"scale {letter!r} is not among its scales: {known}", where)
    _demand(bool(scales) or not scale, f"the file has no `scales`, so scale={scale} cannot be chosen", where)
    return str(letter)


def _scale_multiples(data: dict[str, Any], letter: str, where: str) -> tuple[float, float, float]:
    """Return depth, width and most channels at a scale."""
    if data.get("scales"):
        given = next(v for k, v in data["scales"].items() if str(k) == letter)
        try:
            depth, width, most = (_positive_number(v) for v in given)
        except (TypeError, ValueError, OverflowError):
            form = "must be [depth, width, max_channels]"
            raise ModelError(f"scale {letter!r} {form}, not {given!r}", where) from None
        return depth, width, most
    multiples = []
    for key in ("depth_multiple", "width_multiple"):
        try:
            multiples.append(_positive_number(data.get(key, 1)))
        except (TypeError, ValueError, OverflowError):
            raise ModelError(f"`{key}` must be a number above 0, not {data[key]!r}", where) from None
    return multiples[0], multiples[1], float("inf")


def _read_rows(data: dict[str, Any], lines: list[int] | None, where: str) -> list[RowSpec]:
    """Return the rows of backbone and head."""
    raw = [*data["backbone"], *data["head"]]
    numbers = _number_names(raw)
    places = [f"{where}{f', line {lines[i]}' if lines else ''}: row {i}" for i in range(len(raw))]
    return [_read_row(row, i, numbers, places[i]) for i, row in enumerate(raw)]


def _positive_number(value: Any) -> float:
    number = float(value)
    if not 0 < number <= MAX_MULTIPLE:  # NaN as well
        raise ValueError
    return number


def _number_names(rows: list[Any]) -> dict[str, int]:
    """Return row names and their numbers; of rows that share a name the first, as `_read_row` refuses the second."""
    numbers: dict[str, int] = {}
    for number, row in enumerate(rows):
        if isinstance(row, list) and len(row) == 5 and isinstance(row[4], str):
            numbers.setdefault(row[4], number)
    return numbers


def _read_row(row: Any, number: int, numbers: dict[str, int], where: str) -> RowSpec:
    if not isinstance(row, list) or len(row) not in (4, 5):
        raise ModelError(f"a row is {ROW_FORM}, not {row!r}", where)
    sources, repeats, module, args = row[:4]
    name = row[4] if len(row) == 5 else ""
    if not isinstance(module, str):
        raise ModelError(f"`module` must be a name, not {module!r}", where)
    where = f"{where} ({module})"
    if len(row) == 5 and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ModelError(f"a row's name is a word that begins with a letter, not {name!r}", where)
    if name and numbers[name] != number:
        raise ModelError(f"the name {name!r} is that of row {numbers[name]} already", where, "give it another one")
    sources = sources if isinstance(sources, list) else [sources]
    if not sources or any(isinstance(s, bool) or not isinstance(s, int | str) for s in sources):
        raise ModelError(f"`from` must be a row's number or name, or a list of them, not {row[0]!r}", where)
    resolved = [_resolve_name(s, numbers, where) if isinstance(s, str) else s for s in sources]
    if isinstance(repeats, bool) or not isinstance(repeats, int) or not 1 <= repeats <= MAX_REPEATS:
        raise ModelError(f"`repeats` must be an integer of 1 to {MAX_REPEATS}, not {repeats!r}", where)
    args = args if isinstance(args, list) else [args]
    if any(isinstance(a, dict) for a in args[:-1]):
        raise ModelError("keyword arguments, a mapping, come last among the arguments", where)
    return RowSpec(resolved, repeats, module, list(args), name, where)


def _resolve_name(name: str, numbers: dict[str, int], where: str) -> int:
    if name in numbers:
        return numbers[name]
    if name.lstrip("-").isdigit():
        raise ModelError(f"`from` holds the text {name!r} where a row number belongs", where, "write it without quotes")
    known = f"named rows: {', '.join(numbers)}" if numbers else "no row has a name; [from, repeats, module, args, name]"
    raise ModelError(f"`from` names row {name!r}, and no row is called that", where, nearest(name, numbers) or known)


def _plugin_files(data: dict[str, Any], where: str) -> list[str]:
    """Return the plugin files, relative to the YAML that names them."""
    plugins = data.get("plugins") or []
    plugins = [plugins] if isinstance(plugins, str) else plugins
    if not isinstance(plugins, list) or not all(isinstance(p, str) and p for p in plugins):
        raise ModelError(f"`plugins` must be a list of Python files, not {plugins!r}", where)
    folder = Path(str(data["yaml_file"])).absolute().parent if data.get("yaml_file") else Path()
    return [str(folder / user_path(p)) for p in plugins]


def plugins_of(model: object, plugins: str | Sequence[str] | None = None) -> list[str]:
    """Return the plugin files that a network needs: those that are given, and those that its model YAML names. Weights
    name none, and neither does a YAML that is gone or wrong: what reads it says so."""
    files = [plugins] if isinstance(plugins, str) else list(plugins or ())
    if str(model).endswith((".yaml", ".yml")):
        with contextlib.suppress(UserError):
            path = find_model_yaml(str(model))[0]
            data = read_yaml(path, ModelError).data
            if isinstance(data, dict):
                files += _plugin_files({**data, "yaml_file": str(path)}, str(path))
    return list(dict.fromkeys(files))


def _check_sources(spec: ModelSpec) -> None:
    """Refuse a `from` that names no earlier row."""
    rows = spec.rows
    for number, row in enumerate(rows):
        for source in row.sources:
            target = number + source if source < 0 else source
            if 0 <= target < number or (number == 0 and source == -1):
                continue
            if number == 0:
                hint = "the first row reads the image: write -1"
            else:
                hint = f"rows 0 to {number - 1} can be named here; {_guess_source(rows, number, source)}"
            problem = "comes later" if source > number else "is itself"
            if not 0 <= source < len(rows):
                problem = "does not exist"
            raise ModelError(f"`from` names row {source}, which {problem}", row.where, hint)


def _guess_source(rows: list[RowSpec], number: int, source: int) -> str:
    """Return what a wrong source probably meant: for a head, the rows that end its levels; else the row before."""
    row = rows[number]
    if len(row.sources) > 1 and number == len(rows) - 1:
        return f"probably {_level_ends(rows, number)[-len(row.sources) :]}"
    if len(row.sources) > 1:
        return "write -1 for the row before"
    return f"probably -1, the row before (row {number - 1}, {rows[number - 1].module})"


def _level_ends(rows: list[RowSpec], head: int) -> list[int]:
    """Return the rows that end a level of a neck, a change of resolution or the head follows."""
    return [i for i in range(head) if i + 1 == head or rows[i + 1].module in ("Conv", "nn.Upsample")]


def load_model_spec(
    model: str | Path | dict[str, Any] | ModelSpec,
    scale: str | None = None,
    nc: int | None = None,
    ch: int | None = None,
    kpt_shape: Sequence[int] | None = None,
) -> ModelSpec:
    """Read a model YAML (a path, a bundled name such as "yolov8n-fla.yaml", or its content) and choose its scale.

    Raises:
        MissingFileError: no such file; every path tried is listed.
        ModelError: the file cannot be parsed, or a row is wrong. A row whose output nothing reads is a warning.
    """
    if isinstance(model, ModelSpec):
        made = ModelSpec.from_dict(model.to_dict(), scale, nc, ch, kpt_shape=kpt_shape)
        for row, before in zip(made.rows, model.rows, strict=True):  # what plain data do not hold
            row.where = before.where
        made.written_nc = model.written_nc
        return made
    if isinstance(model, dict):
        return ModelSpec.from_dict(copy.deepcopy(model), scale, nc, ch, kpt_shape=kpt_shape)
    path, letter = find_model_yaml(model)
    document = read_yaml(path, ModelError)
    data = document.data
    if not isinstance(data, dict):
        raise ModelError("a model YAML is a mapping with nc, backbone and head", str(path))
    data["yaml_file"] = str(path)
    rows_as_written(data, document.root)
    letter = None if scale else asked_scale(model, path, letter, data.get("scales"))
    spec = ModelSpec.from_dict(data, scale or letter, nc, ch, _row_lines(document.root), kpt_shape)
    if len(spec.scales) > 1 and not (scale or letter or data.get("scale")):
        message = "%s: no scale is given, taking %s, the first of its scales (scale=LETTER chooses)"
        LOGGER.warning(message, path, spec.scale)
    for row, hint in _unread_rows(spec):
        hint = hint or "it changes nothing; take it out, or name it in a later row's `from`"
        LOGGER.warning("%s: no row reads its output: %s", row.where, hint)
    return spec


def asked_scale(model: str | Path, path: Path, letter: str | None, scales: Any) -> str | None:
    """Return the scale that a model YAML's name, as it was given, asks for; None where it asks for none. `letter` is
    what reads as a scale in it, `scales` are those of the file found. Raises ModelError: it has no such scale."""
    if letter is None or (isinstance(scales, dict) and letter in scales):
        return letter
    stem = user_path(model).stem
    if path.stem == stem:  # the letter may as well be a part of the file's own name
        if not scales:
            return None
        if re.search(rf"yolov\d+{letter}[^\W_]", stem):
            LOGGER.warning("%s: %r in its name is none of its scales, and not taken for one", path, letter)
            return None
    if not isinstance(scales, dict) or not scales:
        raise ModelError(f"the file has no `scales`, so the {letter!r} in the name {stem} cannot be chosen", str(path))
    there = ", ".join(map(str, scales))
    raise ModelError(f"scale {letter!r}, by the name {stem}, is not among its scales: {there}", str(path))


def rows_as_written(data: Any, root: yaml.Node | None) -> None:
    """Make the names of rows the text that is written: YAML makes False of a row called `off`."""
    parts = _values_by_key(root)
    for key in ("backbone", "head"):
        rows, nodes = data.get(key) if isinstance(data, dict) else None, parts.get(key)
        if not isinstance(rows, list) or not isinstance(nodes, yaml.SequenceNode):
            continue
        for row, node in zip(rows, nodes.value, strict=True):
            if not isinstance(row, list) or len(row) not in (4, 5):
                continue
            sources = node.value[0]
            if isinstance(row[0], list):
                row[0] = [_text_of(v, n) for v, n in zip(row[0], sources.value, strict=True)]
            else:
                row[0] = _text_of(row[0], sources)
            if len(row) == 5:
                row[4] = _text_of(row[4], node.value[4])


def _text_of(value: Any, node: yaml.Node) -> Any:
    """Return a truth value or nothing as it is written, anything else as it is."""
    return as_written(node) if value is None or isinstance(value, bool) else value


def _unread_rows(spec: ModelSpec) -> list[tuple[RowSpec, str]]:
    """Return rows whose output goes nowhere: a row was inserted, and the numbers below it were not raised."""
    rows = spec.rows
    read = {number + s if s < 0 else s for number, row in enumerate(rows) for s in row.sources}
    last = rows[-1]
    ends = _level_ends(rows, len(rows) - 1)[-len(last.sources) :]
    hint = f"is {last.module} meant to read {ends} instead of {last.sources}?" if ends != last.sources else ""
    return [(row, hint) for number, row in enumerate(rows[:-1]) if number not in read]


def _row_lines(root: yaml.Node | None) -> list[int] | None:
    """Return the line of each row of backbone and head, counted from 1."""
    parts = _values_by_key(root)
    nodes = [parts.get("backbone"), parts.get("head")]
    if not all(isinstance(n, yaml.SequenceNode) for n in nodes):
        return None
    return [row.start_mark.line + 1 for node in nodes if node is not None for row in node.value]


def _values_by_key(root: yaml.Node | None) -> dict[str, yaml.Node]:
    """Return the values of the outermost mapping by key."""
    pairs = root.value if isinstance(root, yaml.MappingNode) else ()
    return {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}
