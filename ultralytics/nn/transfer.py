"""Weights that follow the layers: which tensors of one network go where in another.

Two networks are aligned row by row, in order, by what the rows are and by the shapes of their tensors; not by row
number, which any insertion changes. So after rows are inserted or removed, every old tensor finds its layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from ultralytics.cfg.model import RowSpec
from ultralytics.nn.registry import class_branches, derived
from ultralytics.utils.text import counted

_ROW_KEY = re.compile(r"model\.(\d+)\.(.+)")
Shapes = dict[str, tuple[int, ...]]


@dataclass
class TransferReport:
    """What a transfer did. Tensors go by their name in the target, rows by their number.

    Attributes:
        loaded: copied whole; moved: rows whose tensors came from a row of another number, old → new.
        by_class: copied for the classes both sides name, and left as they were for the others.
        other_classes: of the head, left as initialised because the number of classes differs.
        mismatched: same place, other shape: (source, target) shapes, left as initialised.
        new: only in the target, left as initialised; unused: only in the source, by its names.
        classes: names of the classes copied by name.
    """

    loaded: list[str] = field(default_factory=list)
    moved: dict[int, int] = field(default_factory=dict)
    by_class: list[str] = field(default_factory=list)
    other_classes: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)

    @property
    def possible(self) -> int:
        """Tensors that could go over: those of the smaller side, without those of another class count. What rows that
        only one side has bring along is no loss."""
        return len(self.loaded) + len(self.mismatched) + min(len(self.unused), len(self.new))

    @property
    def share(self) -> float:
        """Part of the possible tensors that went over, 0..1."""
        return len(self.loaded) / self.possible if self.possible else 0.0

    def lines(self) -> list[str]:
        """Return the report for a reader: the count, then what moved, what is new and what did not fit, by row."""
        out = [f"Transferred {len(self.loaded)} of {self.possible} pretrained tensors ({self.share:.0%})"]
        if self.moved:
            out.append(f"  moved with their rows: {', '.join(_spans(self.moved))}")
        if self.by_class:
            out.append(f"  class by class: {', '.join(self.classes[:8])}{', …' if len(self.classes) > 8 else ''}")
        if self.other_classes:
            rows = _by_row(self.other_classes)
            out.append(f"  left as initialised, of another number of classes: {len(self.other_classes)} in {rows}")
        if self.mismatched:
            out.append(f"  other shape, left as initialised: {len(self.mismatched)} in {_by_row(self.mismatched)}")
            for name, (a, b) in list(self.mismatched.items())[:4]:
                out.append(f"    {name}: {list(a)} in the file, {list(b)} here")
        if self.new:
            out.append(f"  new here, left as initialised: {len(self.new)} in {_by_row(self.new)}")
        if self.unused:
            out.append(f"  in the file but not here: {len(self.unused)} in {_by_row(self.unused)}")
        return out


def _spans(moved: Mapping[int, int]) -> list[str]:
    """{10: 11, 11: 12, 13: 15} → ["10-11 → 11-12", "13 → 15"]."""
    out = []
    for _, run in groupby(enumerate(sorted(moved.items())), lambda n: (n[1][0] - n[0], n[1][1] - n[0])):
        pairs = [pair for _, pair in run]
        (a, b), (c, d) = pairs[0], pairs[-1]
        out.append(f"{a} → {b}" if a == c else f"{a}-{c} → {b}-{d}")
    return out


def _by_row(names: Mapping[str, object] | list[str]) -> str:
    """ "model.22.cv3.0.0.conv.weight", … → "model.22.cv3, …" with counts."""
    counts: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        key = ".".join(parts[:3] if len(parts) > 3 else parts[:2])
        counts[key] = counts.get(key, 0) + 1
    shown = [f"{k} ({n})" for k, n in list(counts.items())[:8]]
    return ", ".join(shown) + (f" and {counted(len(counts) - 8, 'more place')}" if len(counts) > 8 else "")


@dataclass
class Network:
    """One side of a transfer: its tensors, its rows and width multiple where they are known, and its class names."""

    state: Mapping[str, Tensor]
    rows: Sequence[RowSpec] = ()
    width: float = 1.0
    names: Mapping[int, str] = field(default_factory=dict)

    def by_row(self) -> list[Shapes]:
        """Per row the tensors' shapes, by their name within the row."""
        found: dict[int, Shapes] = {}
        for name, tensor in self.state.items():
            match = _ROW_KEY.fullmatch(name)
            if match:
                found.setdefault(int(match[1]), {})[match[2]] = tuple(tensor.shape)
        count = max(len(self.rows), max(found, default=-1) + 1)
        return [found.get(i, {}) for i in range(count)]

    def class_index(self) -> dict[str, int]:
        """Class name → id; empty when the classes are merely numbered."""
        if all(name == str(i) for i, name in self.names.items()):
            return {}
        return {name: i for i, name in reversed(list(self.names.items()))}


def transfer(target: Network, source: Network, by_name: bool = False) -> tuple[dict[str, Tensor], TransferReport]:
    """Match a source's tensors to a target's.

    Args:
        by_name: match tensors by their full name, row number included, and shape: the rule of the reference, under
        which the
            rows behind an insertion match nothing. For comparison.

    Returns:
        The target's tensors to set, by name, and the report.
    """
    pairs = {} if by_name else align(target, source)
    origin = {n: _moved_name(n, pairs) if not by_name else n for n in target.state}
    report = TransferReport()
    report.moved = {old: new for new, old in pairs.items() if new != old}
    out: dict[str, Tensor] = {}
    class_tensors = _class_tensors(target, source, origin)
    for name, tensor in target.state.items():
        old = origin[name]
        if old is None or old not in source.state:
            report.new.append(name)
            continue
        if name in class_tensors:
            copied = class_tensors[name]
            if copied is None:
                report.other_classes.append(name)
            else:
                out[name] = copied
                report.by_class.append(name)
        elif source.state[old].shape == tensor.shape:
            out[name] = source.state[old]
            report.loaded.append(name)
        else:
            report.mismatched[name] = (tuple(source.state[old].shape), tuple(tensor.shape))
    if report.by_class:
        report.classes = [n for n in target.class_index() if n in source.class_index()]
    used = {o for o in origin.values() if o is not None}
    report.unused = [n for n in source.state if n not in used]
    return out, report


def _moved_name(name: str, pairs: Mapping[int, int]) -> str | None:
    """Return a target tensor's name in the source; None where its row has no counterpart."""
    match = _ROW_KEY.fullmatch(name)
    if match is None:
        return name
    old = pairs.get(int(match[1]))
    return None if old is None else f"model.{old}.{match[2]}"


def align(target: Network, source: Network) -> dict[int, int]:
    """Align the rows of two networks that are the same, target number → source number, in order on both sides.

    The alignment of largest value (dynamic programming, as for two sequences): a pair is worth the tensors it carries
    over where all of them fit, and a little for the same kind of row and the same arguments.
    """
    new, old = target.by_row(), source.by_row()
    value = [[0.0] * (len(old) + 1) for _ in range(len(new) + 1)]
    for i in range(len(new) - 1, -1, -1):
        for j in range(len(old) - 1, -1, -1):
            pair = _worth(target, source, i, j, new[i], old[j])
            value[i][j] = max(value[i + 1][j], value[i][j + 1], pair + value[i + 1][j + 1] if pair else 0.0)
    pairs: dict[int, int] = {}
    i = j = 0
    while i < len(new) and j < len(old):
        pair = _worth(target, source, i, j, new[i], old[j])
        if pair and value[i][j] == pair + value[i + 1][j + 1]:
            pairs[i] = j
            i, j = i + 1, j + 1
        elif value[i][j] == value[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _worth(target: Network, source: Network, i: int, j: int, new: Shapes, old: Shapes) -> float:
    """Score the pair of target row i and source row j; 0 for rows that are not the same thing."""
    fitting = sum(old.get(name) == shape for name, shape in new.items())
    whole = bool(fitting) and fitting == min(len(new), len(old))
    a = target.rows[i] if i < len(target.rows) else None
    b = source.rows[j] if j < len(source.rows) else None
    if a is None or b is None:  # a bare state dict says what fits, and nothing more
        return float(fitting)
    if a.module == b.module:
        alike = 0.5 + 0.25 * (a.args == b.args) + 0.125 * (a.repeats == b.repeats)
        # What fits in part, or a row of another place in a network of another width, fits by chance: that must not draw
        # rows out of their order.
        counts = whole and (a.args == b.args or target.width == source.width)
        return alike + (fitting if counts else 0.1 * fitting / max(len(new), 1))
    # One kind made from the other, as C2f_FLA from C2f or Segment from Detect: every tensor of the plain one must fit,
    # but for those that follow the classes.
    if not derived(a.module, b.module):
        return 0.0
    small, large = (old, new) if len(old) <= len(new) else (new, old)
    of_classes = tuple(f"{branch}." for branch in class_branches(a.module))
    plain = [name for name in small if not name.startswith(of_classes)]
    return fitting + 0.25 if plain and all(large.get(name) == small[name] for name in plain) else 0.0


def _class_tensors(target: Network, source: Network, origin: Mapping[str, str | None]) -> dict[str, Tensor | None]:
    """Tensors of the head whose shape or meaning depends on the classes: merged class by class where both sides name
    their classes and the rest of the shape agrees, None where nothing can be copied."""
    if not target.rows or not source.rows:
        return {}
    heads = target.rows[-1].module, source.rows[-1].module
    if heads[0] != heads[1] and not derived(*heads):
        return {}
    branches = class_branches(target.rows[-1].module)
    if not branches:
        return {}
    head = tuple(f"model.{len(target.rows) - 1}.{branch}." for branch in branches)
    wanted, offered = target.class_index(), source.class_index()
    common = [name for name in wanted if name in offered]
    same = len(target.names) == len(source.names)
    if same and (not common or all(wanted[n] == offered[n] for n in common)):
        return {}
    out: dict[str, Tensor | None] = {}
    into = torch.tensor([wanted[n] for n in common], dtype=torch.long)
    taken = torch.tensor([offered[n] for n in common], dtype=torch.long)
    for name, tensor in target.state.items():
        old = origin[name]
        if not name.startswith(head) or old is None or old not in source.state:
            continue
        given = source.state[old]
        rows = tensor.dim() and (tensor.shape[0], given.shape[0]) == (len(target.names), len(source.names))
        last = rows and name.rsplit(".", 1)[1] in ("weight", "bias") and _is_output(name, target, source, origin)
        if last and common:
            merged = tensor.detach().clone()
            merged[into.to(tensor.device)] = given[taken].to(merged)
            out[name] = merged
        elif given.shape != tensor.shape or (last and same):
            out[name] = None
    return out


def _is_output(name: str, target: Network, source: Network, origin: Mapping[str, str | None]) -> bool:
    """Return True if a tensor is of a layer that gives one channel per class, with equal inputs on both sides."""
    weight = f"{name.rsplit('.', 1)[0]}.weight"
    old = origin.get(weight)
    if weight not in target.state or old is None or old not in source.state:
        return False
    a, b = target.state[weight], source.state[old]
    biased = f"{name.rsplit('.', 1)[0]}.bias" in target.state
    return biased and a.dim() in (2, 4) and a.shape[1:] == b.shape[1:]
