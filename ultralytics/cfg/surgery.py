"""Edits of a model YAML as text: rows are inserted, replaced or removed, and whatever is not concerned stays as the
user wrote it. Rows that others refer to get names, so that row numbers no longer matter.

The text that comes back belongs beside the file it was made of: relative `plugins:` stay as they are. It keeps the
file's line ends, so write it with `newline=""`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import yaml

from ultralytics.cfg.model import ModelSpec, RowSpec, asked_scale, rows_as_written
from ultralytics.cfg.module_text import Module, parse_module
from ultralytics.cfg.paths import find_model_yaml
from ultralytics.utils.errors import ConfigError, ModelError, nearest
from ultralytics.utils.text import counted
from ultralytics.utils.yaml import parse_yaml, read_yaml

IMAGE = -1  # the target of the first row
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_COMMENT = re.compile("[ \t]*,?[ \t]*(#[^\r\n\x85\u2028\u2029]*)")
_NUMBER = re.compile(r"#[ \t]*(\d+)(?![\w.])")
_LEVEL = re.compile(r"(?<!\w)[Pp]\d(?!\w)")

Key = tuple[int, int]  # (i, 0): row i of the old file; (i, 1): the row inserted after it
Edit = tuple[int, int, str]  # text[start:end] becomes that


@dataclass
class _Row:
    """A row and where it stands: the dash of a block-style list, None in a flow-style one."""

    spec: RowSpec
    written: list[Any]  # the sources as the file has them
    targets: list[int]  # the same as row numbers of the old file, or IMAGE
    node: yaml.SequenceNode
    dash: yaml.Mark | None
    comments: list[tuple[int, str]]  # position and text, the one behind the row first


@dataclass
class _File:
    path: Path
    text: str
    scale: str | None
    spec: ModelSpec
    data: dict[str, Any]
    rows: list[_Row]
    newline: str

    def end_of(self, node: yaml.Node) -> int:
        """Return where a node's own text ends; the end mark of a block collection lies behind comments."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            return self.end_of(last[1] if isinstance(last, tuple) else last)
        start = node.start_mark.index
        return start + len(self.text[start : node.end_mark.index].rstrip())

    def line_end(self, at: int) -> int:
        """Return the end of the line, without its break."""
        match = _BREAK.search(self.text, at)
        return match.start() if match else len(self.text)


def insert_rows(
    model: str | Path, after: int | str | Sequence[int | str], module: str | Sequence[str], scale: str | None = None
) -> str:
    """Return a model YAML's text with a new row `[-1, 1, MODULE, ARGS]` after each of some rows.

    Whatever read the old row reads the new one. Rows that others refer to by number get a name, and so do new rows.

    Args:
        model: a model YAML's path or bundled name.
        after: numbers or names of the file's rows, without the last.
        module: the new rows' module, or one for each row of `after`; see `parse_module`.
        scale: a letter of the file's scales; it is checked and leaves the text as it is.

    Raises:
        ConfigError: no such row, one twice, the last one, or a module that is none.
        ModelError: the file is wrong, or written in a form that cannot be edited.
    """
    file = _read_file(model, scale)
    numbers = _row_numbers(file, after)
    if numbers[-1:] and max(numbers) == len(file.rows) - 1:
        last = file.rows[-1].spec
        raise ConfigError(
            f"row {max(numbers)} ({last.module}) is the last one", str(file.path), _possible_rows(file, 1)
        )
    return _rewire_rows(file, dict(zip(numbers, _read_modules(module, numbers), strict=True)), set())


def remove_rows(model: str | Path, rows: int | str | Sequence[int | str], scale: str | None = None) -> str:
    """Return a model YAML's text without some rows, each of one source; whatever read them reads their source.

    Raises:
        ConfigError: no such row, one twice, the last one, one of several sources.
        ModelError: the file is wrong, or written in a form that cannot be edited.
    """
    file = _read_file(model, scale)
    numbers = _row_numbers(file, rows)
    for number in numbers:
        row = file.rows[number].spec
        if number == len(file.rows) - 1:
            raise ConfigError(f"row {number} ({row.module}) is the last one", str(file.path), _possible_rows(file, 1))
        if len(row.sources) > 1:
            raise ConfigError(
                f"row {number} ({row.module}) has {len(row.sources)} sources", str(file.path), "only rows of one can go"
            )
    if set(range(len(file.spec.backbone))) <= set(numbers):
        raise ConfigError("no row of `backbone` would be left", str(file.path), "keep one")
    return _rewire_rows(file, {}, set(numbers))


def replace_rows(
    model: str | Path, rows: int | str | Sequence[int | str], module: str | Sequence[str], scale: str | None = None
) -> str:
    """Return a model YAML's text with another module in some rows; `from`, repeats and name stay.

    Arguments of the module text take the place of the row's; a module text without parentheses leaves them.

    Raises:
        ConfigError: no such row, one twice, or a module that is none.
        ModelError: the file is wrong, or written in a form that cannot be edited.
    """
    file = _read_file(model, scale)
    numbers = _row_numbers(file, rows)
    wanted = _rows_as_lists(file.spec)
    edits: list[Edit] = []
    for number, (name, args) in zip(numbers, _read_modules(module, numbers), strict=True):
        node = file.rows[number].node
        wanted[number][2] = name
        edits.append((node.value[2].start_mark.index, file.end_of(node.value[2]), _in_flow_style(name)))
        if args is not None:
            wanted[number][3] = args
            start, end = node.value[3].start_mark.index, file.end_of(node.value[3])
            edits.append((start, end, (" " if start == end else "") + _in_flow_style(args)))
    return _apply_edits(file, edits, wanted)


def describe_change(old: ModelSpec, new: ModelSpec) -> list[str]:
    """Return a line for each row that is new, gone or replaced, and for each run of rows with another number."""
    a, b = old.rows, new.rows
    signs = [[repr((r.repeats, r.module, r.args)) for r in rows] for rows in (a, b)]
    matcher = SequenceMatcher(a=signs[0], b=signs[1], autojunk=False)
    lines: list[str] = []
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        if kind == "equal":
            if i != j:
                last = (i_end - 1, j_end - 1)
                one = f"row {i} {a[i].module} → row {j}"
                lines.append(one if i_end - i == 1 else f"rows {i}-{last[0]} → {j}-{last[1]}")
            continue
        if kind == "replace" and i_end - i == j_end - j:
            lines += [f"row {i + n} {a[i + n].module} → row {j + n} {b[j + n].module}" for n in range(i_end - i)]
            continue
        lines += [f"row {k} {a[k].module} is gone" for k in range(i, i_end)]
        lines += [f"new row {m} {b[m].module} after row {m - 1}" for m in range(j, j_end)]
    return lines


def set_plugins(text: str, files: Sequence[str], folder: str | Path) -> str:
    """Return the text with `plugins:` naming these files as seen from the folder the text will lie in."""
    absolute = os.path.abspath(folder)
    names = []
    for file in files:
        try:
            names.append(Path(os.path.relpath(file, absolute)).as_posix())
        except ValueError:  # another drive
            names.append(Path(file).as_posix())
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    written = yaml.safe_dump(names, default_flow_style=True, width=10**6, allow_unicode=True).strip()
    newline = "\r\n" if "\r\n" in text else "\n"
    for key, value in root.value:
        if key.value == "plugins":
            start, end = value.start_mark.index, value.end_mark.index
            tail = text[start:end][len(text[start:end].rstrip()) :]
            gap = " " if text[start - 1] not in " \t" else ""
            return text[:start].rstrip(" \t\r\n") + (gap or " ") + written + tail + text[end:]
    start = root.start_mark.index
    return f"{text[:start]}plugins: {written}{newline}{text[start:]}"


# Reading


def _read_file(model: str | Path, scale: str | None) -> _File:
    if Path(model).suffix in (".pt", ".pth"):
        raise ConfigError("a weights file has no text to edit", str(model), "name the model YAML")
    path, letter = find_model_yaml(model)
    data = read_yaml(path, ModelError).data  # what it refuses is refused here as well
    letter = None if scale or not isinstance(data, dict) else asked_scale(model, path, letter, data.get("scales"))
    text = path.read_bytes().decode("utf-8")  # reading as text would turn CRLF into LF
    return _parse_file(path, text, scale, letter)


def _parse_file(path: Path, text: str, scale: str | None, letter: str | None = None) -> _File:
    document = parse_yaml(text, path, ModelError)
    data, root = document.data, document.root
    tokens = list(yaml.scan(text, Loader=yaml.SafeLoader))
    if not isinstance(data, dict) or not isinstance(root, yaml.MappingNode):
        raise ModelError("a model YAML is a mapping with nc, backbone and head", str(path))
    for token in tokens:
        if isinstance(token, yaml.AnchorToken | yaml.AliasToken):
            line = f"{path}, line {token.start_mark.line + 1}"
            raise ModelError("anchors and aliases (& and *) cannot be edited", line, "write the value out")
    parts = {key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)}
    known = [parts[k] for k in ("backbone", "head") if isinstance(parts.get(k), yaml.SequenceNode)]
    lines = [node.start_mark.line + 1 for part in known for node in part.value]
    rows_as_written(data, root)
    spec = ModelSpec.from_dict({**data, "yaml_file": str(path)}, scale or letter, lines=lines)
    newline = re.search("\r\n|\n|\r", text)
    file = _File(path, text, scale or letter, spec, data, [], newline[0] if newline else "\n")
    dashes = [t.start_mark for t in tokens if isinstance(t, yaml.BlockEntryToken)]
    for part in known:
        own = [d for d in dashes if d.index >= part.start_mark.index]
        own = [d for d in own if d.column == own[0].column]
        for node in part.value:
            number = len(file.rows)
            before = [d for d in own if d.index < node.start_mark.index]
            dash = None if part.flow_style else max(before, key=lambda mark: mark.index)
            file.rows.append(_find_row(file, number, node, dash))
    return file


def _find_row(file: _File, number: int, node: yaml.SequenceNode, dash: yaml.Mark | None) -> _Row:
    spec = file.spec.rows[number]
    count = len(file.data["backbone"])
    raw = file.data["backbone"][number] if number < count else file.data["head"][number - count]
    written = raw[0] if isinstance(raw[0], list) else [raw[0]]
    # A row over several lines may carry its comment on the first one.
    end, first = file.end_of(node), file.line_end(node.start_mark.index)
    places = dict.fromkeys((end, max((e for e in _inner_ends(file, node) if e <= first), default=end)))
    found = [_COMMENT.match(file.text, at) for at in places]
    targets = [_row_target(number, s) for s in spec.sources]
    return _Row(spec, written, targets, node, dash, [(m.start(1), m[1]) for m in found if m])


def _inner_ends(file: _File, node: yaml.Node) -> list[int]:
    """Return where the nodes inside a node end."""
    inner = [file.end_of(node)]
    for child in node.value if isinstance(node, yaml.CollectionNode) else []:
        for part in child if isinstance(child, tuple) else (child,):
            inner += _inner_ends(file, part)
    return inner


def _row_target(number: int, source: int) -> int:
    return number + source if source < 0 else source  # row 0 reads −1, the image


def _row_numbers(file: _File, rows: int | str | Sequence[int | str]) -> list[int]:
    """Return the rows a user names, as numbers."""
    given = [rows] if isinstance(rows, int | str) else list(rows)
    names = {row.spec.name: i for i, row in enumerate(file.rows) if row.spec.name}
    numbers: list[int] = []
    for row in given:
        number = int(row) if isinstance(row, str) and re.fullmatch(r"-?[0-9]{1,9}", row.strip()) else row
        if isinstance(number, str) and number in names:
            number = names[number]
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(file.rows):
            hint = nearest(number, names) if isinstance(number, str) else ""
            named = f"; named rows: {', '.join(names)}" if names else ""
            raise ConfigError(f"no row {number!r}", str(file.path), hint or _possible_rows(file, 0) + named)
        if number in numbers:
            raise ConfigError(f"row {number} ({file.rows[number].spec.module}) is given twice", str(file.path))
        numbers.append(number)
    if not numbers:
        raise ConfigError("no row given", str(file.path), _possible_rows(file, 0))
    return numbers


def _possible_rows(file: _File, without: int) -> str:
    return f"rows 0 to {len(file.rows) - 1 - without} can be given"


def _read_modules(module: str | Sequence[str], numbers: list[int]) -> list[Module]:
    """Return one module for each of the rows."""
    given = [module] if isinstance(module, str) else list(module or [""])
    if len(given) not in (1, len(numbers)):
        raise ConfigError(
            f"{counted(len(given), 'module')} for {counted(len(numbers), 'row')}", hint="give one, or one for each row"
        )
    parsed = [parse_module(text) for text in given]
    return parsed * len(numbers) if len(parsed) == 1 else parsed


# Writing


def _in_flow_style(value: Any) -> str:
    """Return a value in flow style, on one line."""
    # In a list: a scalar by itself would be dumped with a document's end.
    text = yaml.safe_dump([value], default_flow_style=True, width=2**31, allow_unicode=True, sort_keys=False)
    return text.strip()[1:-1]


Source = tuple[Key | None, int | Key | None]  # who is read (None: the image); and as what: as written, a number, a row


@dataclass
class _Plan:
    """The rows of the new file in their order."""

    place: dict[Key, int]  # the number of each
    sources: dict[Key, list[Source]]  # what each reads
    names: dict[Key, str]  # of the rows that have one or need one


def _rewire_rows(file: _File, inserted: dict[int, Module], removed: set[int]) -> str:
    """Return the text with rows put in and taken out, every reader led to the row it now reads."""
    plan = _plan_rows(file, inserted, removed)
    edits: list[Edit] = []
    wanted: list[list[Any]] = []
    for (i, j), number in plan.place.items():
        targets = [IMAGE if key is None else plan.place[key] for key, _ in plan.sources[i, j]]
        spec, name = file.rows[i].spec, plan.names.get((i, j), "")
        if j:
            module, args = inserted[i][0], inserted[i][1] or []
            wanted.append([targets, 1, module, args, name])
            edits.append(_new_row(file, file.rows[i], module, args, name, number))
        else:
            wanted.append([targets, spec.repeats, spec.module, spec.args, name])
            edits += _row_edits(file, i, plan)
    edits += [cut for number in removed if (cut := _removed_text(file, number, removed))]
    return _apply_edits(file, edits, wanted)


def _plan_rows(file: _File, inserted: dict[int, Module], removed: set[int]) -> _Plan:
    """Find the order of the rows, what each reads, and the names that this takes."""
    keys = [(i, j) for i in range(len(file.rows)) for j in (0, 1)]
    order = [(i, j) for i, j in keys if (i in inserted if j else i not in removed)]
    place = {key: n for n, key in enumerate(order)}

    def heir(target: int) -> Key | None:
        """Return who is read in a row's place; None is the image."""
        while target in removed:
            target = file.rows[target].targets[0]
        return None if target == IMAGE else (target, int(target in inserted))

    sources: dict[Key, list[Source]] = {}
    for i, j in order:
        row = file.rows[i]
        pairs = [] if j else zip(row.written, row.targets, strict=True)
        sources[i, j] = [((i, 0), -1)] if j else []
        for written, target in pairs:
            key = heir(target)
            if key is None and place[i, j] > 0:
                reason = f"row {i} ({row.spec.module}) would read the image, which the first row alone can do"
                raise ConfigError(reason, str(file.path), f"keep row {target}")
            away = place[i, j] - (IMAGE if key is None else place[key])
            as_written = isinstance(written, int) and written == -away
            before = key is None or (isinstance(written, int) and written < 0 and away == 1)
            sources[i, j].append((key, None if as_written else -1 if before else key))
    named = {text for row in sources.values() for _, text in row if isinstance(text, tuple)}
    return _Plan(place, sources, _name_rows(file, inserted, named))


def _row_edits(file: _File, i: int, plan: _Plan) -> list[Edit]:
    """Return what changes within a row that stays: what it reads, its name, and the number in its comment."""
    row, edits = file.rows[i], list[Edit]()
    nodes = row.node.value[0].value if isinstance(row.node.value[0], yaml.SequenceNode) else [row.node.value[0]]
    for node, written, (_, text) in zip(nodes, row.written, plan.sources[i, 0], strict=True):
        new = plan.names[text] if isinstance(text, tuple) else text
        if new not in (None, written):
            edits.append((node.start_mark.index, file.end_of(node), _in_flow_style(new)))
    name = plan.names.get((i, 0), "")
    if name and not row.spec.name:
        at = file.end_of(row.node.value[3])
        before = ", " if row.node.flow_style else f"{file.newline}{' ' * row.node.start_mark.column}- "
        edits.append((at, at, before + _in_flow_style(name)))
    for start, comment in row.comments:
        number = _NUMBER.match(comment)
        if number and int(number[1]) == i != plan.place[i, 0]:
            edits.append((start + number.start(1), start + number.end(1), str(plan.place[i, 0])))
            break
    return edits


def _name_rows(file: _File, inserted: dict[int, Module], needed: set[Key]) -> dict[Key, str]:
    """Return the names of all rows that have one or need one."""
    names: dict[Key, str] = {(i, 0): row.spec.name for i, row in enumerate(file.rows) if row.spec.name}
    taken = set(names.values())
    missing = sorted({(i, 0) for i, _ in needed} - set(names))
    levels = {i: {w.lower() for _, c in file.rows[i].comments for w in _LEVEL.findall(c)} for i, _ in missing}
    count = Counter(word for words in levels.values() for word in words)

    def free(name: str) -> str:
        found, n = name, 1
        while found in taken:
            n += 1
            found = f"{name}_{n}"
        taken.add(found)
        return found

    for i, j in missing:
        level = next(iter(levels[i])) if len(levels[i]) == 1 else ""
        unique = level and count[level] == 1 and level not in taken
        names[i, j] = free(level if unique else f"{_name_start(file.rows[i].spec.module)}{i}")
    for i, j in sorted(k for k in needed if k[1]):
        names[i, j] = free(f"{names[i, 0]}_{_name_start(inserted[i][0])}")
    return names


def _name_start(module: str) -> str:
    """Return a module's name as the beginning of a row's: `nn.Upsample` → upsample."""
    word = re.sub(r"\W", "", module.rsplit(".", 1)[-1]).lower()
    return word if re.match(r"[A-Za-z_]", word) else f"row{word}"


def _new_row(file: _File, row: _Row, module: str, args: list[Any], name: str, number: int) -> Edit:
    text = f"[-1, 1, {_in_flow_style(module)}, {_in_flow_style(args)}{', ' + _in_flow_style(name) if name else ''}]"
    end = file.end_of(row.node)
    if row.dash is None:
        return end, end, f", {text}"
    gaps = (text for r in (row, *file.rows) if (text := _comment_gap(file, r)))
    at = file.line_end(end)
    return at, at, f"{file.newline}{' ' * row.dash.column}- {text}{next(gaps, ' ')}# {number}"


def _comment_gap(file: _File, row: _Row) -> str:
    """Return the blanks between a row and its comment, "" without one."""
    end = file.end_of(row.node)
    return next((file.text[end:start].strip(",") for start, _ in row.comments if start >= end), "")


def _removed_text(file: _File, number: int, removed: set[int]) -> Edit | None:
    """Return the text that goes with a row: its lines; in a flow-style list, up to the next or back to the last row."""
    row = file.rows[number]
    if row.dash is not None:
        after = _BREAK.search(file.text, file.line_end(file.end_of(row.node)))
        return row.dash.index - row.dash.column, after.end() if after else len(file.text), ""
    border = len(file.spec.backbone)
    first, stop = (0, border) if number < border else (border, len(file.rows))
    if set(range(number, stop)) <= removed:
        if number - 1 in removed and number > first:
            return None  # the first of the last rows takes them all
        return file.end_of(file.rows[number - 1].node), file.end_of(file.rows[stop - 1].node), ""
    return row.node.start_mark.index, file.rows[number + 1].node.start_mark.index, ""


def _rows_as_lists(spec: ModelSpec) -> list[list[Any]]:
    """Return rows as [targets, repeats, module, args, name]."""
    return [
        [[_row_target(i, s) for s in row.sources], row.repeats, row.module, row.args, row.name]
        for i, row in enumerate(spec.rows)
    ]


def _apply_edits(file: _File, edits: list[Edit], wanted: list[list[Any]]) -> str:
    """Apply the edits, and see that the text says what is wanted and nothing else has changed."""
    pieces: list[str] = []
    at = 0
    for start, end, new in sorted(edits, key=lambda e: e[0]):  # stable: a row's name comes before the row behind it
        pieces += [file.text[at:start], new]
        at = end
    text = "".join([*pieces, file.text[at:]])
    try:
        done = _parse_file(file.path, text, file.scale)
        rest = [{k: v for k, v in f.data.items() if k not in ("backbone", "head")} for f in (file, done)]
        # repr: a .nan does not equal itself
        if repr(_rows_as_lists(done.spec)) == repr(wanted) and repr(rest[0]) == repr(rest[1]):
            return text
    except ModelError:
        pass
    raise ModelError(
        "the rows are written in a form that cannot be edited", str(file.path), "write them as [from, 1, module, args]"
    )
