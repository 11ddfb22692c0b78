"""The report of a check: findings and numbers, as text and as plain data."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.cfg.config import check_switches
from ultralytics.data.check.findings import SEVERITIES, Finding, short
from ultralytics.data.check.rules import KINDS
from ultralytics.data.check.splits import Split
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import read_bytes, write_text
from ultralytics.utils.text import counted, escaped
from ultralytics.utils.types import Float64Array, Int64Array

SHOWN = 5  # findings of a kind on the console
SMALL, MEDIUM = 32**2, 96**2  # pixels²: COCO's bounds of small, medium and large boxes


@dataclass
class Report:
    """What a check found. Boxes, per_image and shapes are drawn, and not part of the JSON. Of class folders each image
    is a box of its class, as large as it."""

    yaml_file: str  # or the folder of class folders
    names: dict[int, str]
    # errors, warnings (leakage first), notes; by kind and file within
    findings: list[Finding] = field(default_factory=list)
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)  # split → counts
    classes: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)  # name → split → boxes and images
    groups: list[dict[str, Any]] = field(default_factory=list)  # images that are the same or nearly
    sizes: dict[str, Any] = field(default_factory=dict)  # of images and boxes
    timing: dict[str, Any] = field(default_factory=dict)  # of reading
    # split → (M, 5) class, and of each box x, y, width, height, native pixels
    boxes: dict[str, Float64Array] = field(default_factory=dict)
    per_image: dict[str, Int64Array] = field(default_factory=dict)  # split → (n,) boxes
    shapes: dict[str, Int64Array] = field(default_factory=dict)  # split → (n, 2) height and width
    by_folder: bool = False  # of class folders

    def add_split(self, split: Split) -> None:
        """Count a split's images and boxes."""
        usable = split.usable
        rows = np.concatenate([np.zeros((0, 5)), *(r.rows for r in usable)])
        per_image = np.array([len(r.rows) for r in usable], np.int64)
        shapes = np.array([r.shape for r in usable], np.int64).reshape(-1, 2)
        rows[:, 1:] *= np.tile(np.repeat(shapes[:, ::-1], per_image, 0), 2)
        self.boxes[split.name], self.per_image[split.name], self.shapes[split.name] = rows, per_image, shapes
        owner = np.repeat(np.arange(len(usable)), per_image)
        for i, name in self.names.items():
            of_class = rows[:, 0] == i
            count = self.classes.setdefault(name, {}).setdefault(split.name, {"boxes": 0, "images": 0})
            count["boxes"] += int(of_class.sum())
            count["images"] += len(np.unique(owner[of_class]))
        self.splits[split.name] = {
            "images": len(split.records),
            "usable": len(usable),
            "backgrounds": int((per_image == 0).sum()),
            "stops": sum(f.kind == "label-class-range" for r in split.records for f in r.findings),
            "unlabelled": len(split.bare),
            "boxes": len(rows),
            "ignored": sum(r.ignored for r in usable),
            "bytes": sum(r.size for r in split.records),
        }

    def count(self, severity: str) -> int:
        """Count the findings of a severity."""
        return sum(f.severity == severity for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "format": 1,
            "data": self.yaml_file,
            "names": list(self.names.values()),
            "counts": {s: self.count(s) for s in SEVERITIES},
            "kinds": dict(Counter(f.kind for f in self.findings)),
            "findings": [
                {"severity": f.severity, "kind": f.kind, "file": f.path, "line": f.line, "what": f.what}
                for f in self.findings
            ],
            "duplicates": self.groups,
            "splits": self.splits,
            "classes": self.classes,
            "sizes": self.sizes,
            "timing": self.timing,
        }

    def write(self, out: Path) -> None:
        """Write report.json and report.txt, with every finding, into a folder.

        Raises:
            UserError: they cannot be written.
        """
        write_text(out / "report.json", json.dumps(self.to_dict(), indent=1), "out")
        write_text(out / "report.txt", "\n".join([*self.lines(shown=None), ""]), "out")

    def lines(self, shown: int | None = SHOWN, more: str = "") -> list[str]:
        """Return the report as text.

        Args:
            shown: findings per kind, None for all.
            more: where the others are.
        """
        lines = [f"dataset {short(self.yaml_file)}: {counted(len(self.names), 'class')}"]
        for split, s in self.splits.items():
            usable = f"{s['usable']} usable"
            if s["stops"]:
                usable = f"but training stops at {counted(s['stops'], 'class id')} out of range; else {usable}"
            boxes = f", {s['backgrounds']} of them without boxes; {counted(s['boxes'], 'box')}" * (not self.by_folder)
            ignored = f", {s['ignored']} ignored" if s["ignored"] else ""
            lines.append(f"  {split:6} {counted(s['images'], 'image')}, {usable}{boxes}{ignored}")
        groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
        for f in self.findings:
            groups[f.severity, f.kind].append(f)
        for (severity, kind), found in groups.items():
            lines += ["", f"{severity:7} {kind} ({len(found)}): {KINDS[kind].sentence}"]
            rest = found if shown is None else found[:shown]
            lines += [f"    {f._replace(path=short(f.path))}" for f in rest]
            if len(found) > len(rest):
                lines.append(f"    … and {len(found) - len(rest)} more" + (f" in {more}" if more else ""))
        lines += ["", *self._statistics()]
        counts = ", ".join(f"{self.count(s)} {s}{'' if self.count(s) == 1 else 's'}" for s in SEVERITIES)
        return [escaped(line) for line in (*lines, "", counts)]

    def _statistics(self) -> Iterator[str]:
        width = max([len(n) for n in self.names.values()] + [5])
        if self.splits and len(self.names) <= 100:
            head = "images" if self.by_folder else "boxes (images)"
            yield f"{'class':{width}} " + " ".join(f"{f'{s}: {head}':>22}" for s in self.splits)
            for name, per in self.classes.items():
                boxes = "{images}" if self.by_folder else "{boxes} ({images})"
                cells = (boxes.format(**c) for c in per.values())
                yield f"{name:{width}} " + " ".join(f"{c:>22}" for c in cells)
        if self.sizes.get("boxes") and not self.by_folder:
            s = self.sizes
            yield (
                f"boxes at native size: {s['small']} small (under 32² pixels), {s['medium']} medium, "
                f"{s['large']} large (96² or more); "
                f"width : height from {s['aspect'][0]:.2f} to {s['aspect'][-1]:.2f} (5 to 95 %)"
            )
        if self.sizes.get("images"):
            common = ", ".join(f"{w}x{h} ({n})" for w, h, n in self.sizes["images"][:3])
            yield f"image sizes (width x height): {common}" + (
                f" and {counted(self.sizes['different'] - 3, 'other')}" if self.sizes["different"] > 3 else ""
            )
        t = self.timing
        if t.get("images"):
            yield (
                f"read {counted(t['images'], 'image')} in {t['seconds']:.1f} s with {counted(t['threads'], 'thread')}: "
                f"{t['images_per_second']:.0f} images/s, {t['megabytes_per_second']:.0f} MB/s; "
                f"decoding takes {t['decode_ms']:.1f} ms an image, "
                f"so a loader gives at most {t['ceiling']:.0f} images/s here without a cache"
            )


def measure(report: Report) -> dict[str, Any]:
    """Sum up the sizes of all images and boxes."""
    boxes = np.concatenate([np.zeros((0, 5)), *report.boxes.values()])
    shapes: Int64Array = np.concatenate([np.zeros((0, 2), np.int64), *report.shapes.values()])
    per_image = np.concatenate([np.zeros(0, np.int64), *report.per_image.values()])
    common = Counter(map(tuple, shapes.tolist()))
    area = boxes[:, 3] * boxes[:, 4]
    frame = np.repeat(shapes.prod(1), per_image) if len(shapes) else np.ones(0)
    parts = (5, 25, 50, 75, 95)

    def percentiles(values: Any) -> list[float]:
        return [round(float(v), 5) for v in np.percentile(values, parts)] if len(values) else []

    return {
        "images": [[w, h, n] for (h, w), n in common.most_common(10)],
        "different": len(common),
        "boxes": len(boxes),
        "small": int((area < SMALL).sum()),
        "medium": int(((area >= SMALL) & (area < MEDIUM)).sum()),
        "large": int((area >= MEDIUM).sum()),
        "percentiles": parts,
        "aspect": percentiles(boxes[:, 3] / np.maximum(boxes[:, 4], 1e-9)),
        "relative_side": percentiles(np.sqrt(area / frame)),
        "boxes_per_image": percentiles(per_image),
        "most_boxes": int(per_image.max(initial=0)),
    }


def check_place(out: Path, overwrite: bool = False) -> None:
    """Check that a report may be written into a folder: it is not there, empty, or holds a former report.

    Raises:
        ConfigError: it is none of these, and `overwrite` does not say that files in it may be replaced.
    """
    check_switches({"overwrite": overwrite})
    if out.exists() and not out.is_dir():
        raise ConfigError("this is a file, and a report is a folder", str(out), "choose another out=")
    try:
        if overwrite or not out.is_dir() or not any(out.iterdir()):
            return
        report = json.loads(read_bytes(out / "report.json"))
    except PermissionError as e:
        raise ConfigError(f"this cannot be read: {e.strerror}", str(e.filename or out), "choose another out=") from None
    except (OSError, ValueError, RecursionError):
        report = None
    if not isinstance(report, dict) or not {"format", "data", "findings", "splits"} <= report.keys():
        raise ConfigError(
            "the folder contains files that are not of a report", str(out), "give another out=, or overwrite=True"
        )
