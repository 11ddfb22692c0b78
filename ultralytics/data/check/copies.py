"""Images that are the same or nearly, within and across splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ultralytics.data.check.duplicates import near_groups
from ultralytics.data.check.images import Record
from ultralytics.data.check.splits import Split

RELATION = {"bytes": "has the bytes of", "pixels": "has the pixels of", "near": "shows nearly what is in"}


class Copy(NamedTuple):
    """An image file, by the first path to it, and the splits that hold it."""

    file: str
    splits: list[str]
    record: Record


class Group(NamedTuple):
    """Two or more images that are the same. kind: of `RELATION`."""

    kind: str
    copies: list[Copy]

    @property
    def leak(self) -> bool:
        """The group crosses splits."""
        return len({s for c in self.copies for s in c.splits}) > 1

    def to_dict(self) -> dict[str, Any]:
        """Return the group as plain data."""
        files = [{"file": c.file, "splits": c.splits} for c in self.copies]
        return {"kind": self.kind, "leak": self.leak, "files": files}


def group_copies(splits: Sequence[Split], near: bool) -> list[Group]:
    """Group images by their pixels, and with `near` one of each group by its looks."""
    found: dict[str, Copy] = {}
    for split in splits:
        for record in split.records:
            copy = found.setdefault(split.real[record.path], Copy(record.path, [], record))
            if split.name not in copy.splits:
                copy.splits.append(split.name)
    same: dict[bytes, list[Copy]] = defaultdict(list)
    for copy in found.values():
        if copy.record.print:
            same[copy.record.print.pixels].append(copy)
    groups = []
    for copies in same.values():
        if len(copies) > 1:
            contents = {c.record.print.content for c in copies if c.record.print}
            groups.append(Group("bytes" if len(contents) == 1 else "pixels", copies))
    if near and len(same) > 1:
        one_each = list(same.values())
        prints = [copies[0].record.print for copies in one_each]
        hashes = np.array([p.hashes for p in prints if p and p.hashes is not None], np.uint64)
        thumbs = np.array([p.thumb for p in prints if p and p.thumb is not None], np.uint8)
        groups += [Group("near", [c for i in alike for c in one_each[i]]) for alike in near_groups(hashes, thumbs)]
    return groups
