"""Which tensors of one network fit into another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class TransferReport:
    """What a transfer did, by tensor name.

    Attributes:
        loaded: copied; mismatched: present in both with these (source, target) shapes; new: only in the target; unused:
        only in the
            source.
    """

    loaded: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Tensors of the target."""
        return len(self.loaded) + len(self.mismatched) + len(self.new)

    def lines(self) -> list[str]:
        """The report for a reader: the count, then what did not transfer, by row."""
        out = [f"Transferred {len(self.loaded)}/{self.total} tensors from the pretrained weights"]
        if self.mismatched:
            rows = _by_row(self.mismatched)
            out.append(f"  other shape, left as initialised: {len(self.mismatched)} tensors in {rows}")
            for name, (a, b) in list(self.mismatched.items())[:4]:
                out.append(f"    {name}: {list(a)} in the file, {list(b)} here")
        if self.new:
            out.append(f"  not in the file, left as initialised: {len(self.new)} tensors in {_by_row(self.new)}")
        if self.unused:
            out.append(f"  in the file but not here: {len(self.unused)} tensors in {_by_row(self.unused)}")
        return out


def _by_row(names: Mapping[str, object] | list[str]) -> str:
    """ "model.22.cv3.0.0.conv.weight", … → "model.22.cv3, …" with counts."""
    counts: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        key = ".".join(parts[:3] if len(parts) > 3 else parts[:2])
        counts[key] = counts.get(key, 0) + 1
    shown = [f"{k} ({n})" for k, n in list(counts.items())[:8]]
    return ", ".join(shown) + (f" and {len(counts) - 8} more places" if len(counts) > 8 else "")


def intersect(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> TransferReport:
    """Match tensors by name and shape."""
    report = TransferReport(unused=[name for name in source if name not in target])
    for name, tensor in target.items():
        if name not in source:
            report.new.append(name)
        elif source[name].shape == tensor.shape:
            report.loaded.append(name)
        else:
            report.mismatched[name] = (tuple(source[name].shape), tuple(tensor.shape))
    return report
