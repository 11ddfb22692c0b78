"""Commands on datasets: check-data, export-coco, subset, show."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ultralytics.cfg.keys import KNOBS, TASK_NAMES, TILE_KEYS
from ultralytics.cfg.knob import Knob, knob
from ultralytics.cfg.paths import data_hint
from ultralytics.cli.answer import answer, finished
from ultralytics.cli.command import Command
from ultralytics.cli.words import read_classes, read_names
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import user_path
from ultralytics.utils.log import output, setup_console

SEED_MAX = 2**63 - 1
_DATA, _OVERWRITE = "dataset YAML", "replace an existing file"
_ANY_DATA = "dataset YAML, or folder of class folders"
*_FIRST, _LAST = TASK_NAMES
_TASK = f"what the labels are read for: {', '.join(_FIRST)} or {_LAST}"
_ASKED = "as the YAML or the rows say"
_FONT = "for class names: a font file, or an installed one's name"
_LETTERS = "one that has the letters"
_ALL = "all that have one of the classes"


def log_ready(made: Path) -> None:
    """Log what to type to use a dataset, as a shell takes it."""
    finished(f"ready: {shlex.quote(f'data={made}')}", file=made)


class CheckData(Command, name="check-data"):
    """Read a whole dataset and report what is wrong with it, file by file."""

    example = "check-data data=data/shapes.yaml split=train,val"
    data: str = knob("", _ANY_DATA, needed=lambda: ConfigError("no dataset given", hint=data_hint()))
    split: list[str] | None = knob(None, "splits to read, as train,val", none="all of the YAML", read=read_names)
    near: bool = knob(True, "look for near-duplicate images too")
    task: str | None = knob(None, _TASK, none=_ASKED)
    font: str | None = knob(None, _FONT, none=_LETTERS)
    out: str | None = knob(None, "folder for report.json, report.txt and check.png", none="runs/check-data, numbered")
    overwrite: bool = knob(False, "write into a folder that holds other files too")
    json: bool = knob(False, "print the report as JSON for programs; also written --json")

    def run(self) -> int:
        """Check the dataset. Exit code 1 when something would stop a training, or cost it an image."""
        setup_console(error=self.json)
        out = user_path(self.out) if self.out else None
        from ultralytics.data.check.chart import plot_classes, plot_dataset  # OpenCV takes a moment to import
        from ultralytics.data.check.check import check_data, check_place
        from ultralytics.engine.run.folder import result_folder
        from ultralytics.utils.charts import optional
        from ultralytics.utils.fonts import checked_font

        font = checked_font(self.font)
        if out is not None:
            check_place(out, self.overwrite)
        report = check_data(self.data, self.split, self.near, self.task)
        try:
            out = result_folder(out, "check-data")
            report.write(out)
            with contextlib.redirect_stdout(sys.stderr), optional(out / "check.png"):  # stdout may be read as JSON
                file = out / "check.png"
                if report.by_folder:
                    plot_classes(report.boxes, report.shapes, report.names, file, font)
                else:
                    plot_dataset(report.boxes, report.per_image, report.shapes, report.names, file, font)
        except UserError as e:  # those of plots name project=
            raise UserError(e.what, e.where, "free some space or choose another out=") from None
        if self.json:
            answer(json.dumps(report.to_dict()))
        elif output() == "json":
            finished(f"written: {out}", folder=out, report=report.to_dict())
        else:
            answer("\n".join([*report.lines(more=str(out / "report.txt")), f"written: {out}"]))
        return 1 if report.count("error") else 0


class ExportCoco(Command, name="export-coco"):
    """Write a split of a dataset as COCO's instances JSON."""

    example = "export-coco data=data/shapes.yaml split=val out=shapes-val.json"
    data: str = knob("", _DATA, needed="data is missing")
    split: str = knob("val", "split of it")
    out: str = knob("", "the JSON file", needed="out is missing")
    overwrite: bool = knob(False, _OVERWRITE)

    def run(self) -> int:
        from ultralytics.data.prepare import export_coco  # OpenCV takes a moment to import

        made = export_coco(**self.given)
        finished(f"written: {made}", file=made)
        return 0


class Subset(Command, name="subset"):
    """Draw some classes and images of a dataset, or folds for cross-validation."""

    example = "subset data=data/coco.yaml classes=person,car,bus n=2000 out=data/coco-traffic.yaml"
    data: str = knob("", f"{_ANY_DATA}, to draw from", needed="data is missing")
    out: str = knob("", "the new YAML; all else goes into a folder of its name beside it", needed="out is missing")
    classes: list[int | str] | None = knob(
        None,
        "names or ids, as a,b or [a,b] (quote the word where a name has spaces), in the order of their new ids",
        none="all",
        read=read_classes,
    )
    n: int | None = knob(None, "images to draw from train; with kfold from train and val", none=_ALL)
    val_n: int | None = knob(None, "images to draw from val", none=_ALL)
    test_n: int | None = knob(None, "images to draw from test", none=_ALL)
    backgrounds: float = knob(0, "part of the images of each split, 0 to below 1, that have none of the classes")
    seed: int = knob(0, "of the drawing", high=SEED_MAX)
    kfold: int | None = knob(None, "number of folds: OUT-fold0.yaml and so on, made of train and val", none="none")
    copy: bool = knob(False, "copy the images; otherwise hard links where the disk has them, never symbolic links")
    workers: int | None = knob(None, "threads that read; they change nothing but the time", none="all cores")

    @classmethod
    def check(cls, given: dict[str, Any]) -> None:
        """Refuse what folds make nothing of."""
        if "val_n" in given and "kfold" in given:
            raise ConfigError("val_n has no meaning with kfold, which pools train and val", hint="leave it out")

    def run(self) -> int:
        from ultralytics.data.subset.subset import kfold, subset  # numpy and OpenCV take a moment to import

        given = {k: v for k, v in self.given.items() if k != "kfold"}
        for made in [subset(**given)] if self.kfold is None else kfold(k=self.kfold, **given):
            log_ready(made)
        return 0


class Show(Command, name="show"):
    """Draw images of a split with their labels, before and after augmentation."""

    example = "show data=data/shapes.yaml split=train n=16 mosaic=0 degrees=10"
    more: ClassVar[Mapping[str, Knob]] = {k: v for k, v in KNOBS.items() if v.group == "augmentation" or k in TILE_KEYS}
    data: str = knob("", _ANY_DATA, needed="data is missing")
    split: str = knob("train", "train, val or test")
    n: int = knob(16, "images, 1 to 64")
    seed: int = knob(0, "of the choice and the augmentation", high=SEED_MAX)
    imgsz: int | None = knob(
        None, "side of a sample, pixels", none="640, or the side of the tiles; of class folders 224"
    )
    task: str | None = knob(None, _TASK, none=_ASKED)
    font: str | None = knob(None, _FONT, none=_LETTERS)
    out: str | None = knob(None, "the plot, .jpg or .png", none="runs/show/DATA-SPLIT.jpg, numbered")
    overwrite: bool = knob(False, _OVERWRITE)

    def run(self) -> int:
        from ultralytics.data.show import show  # torch takes seconds to import

        options = {k: v for k, v in self.given.items() if k not in self.more}
        changes = {k: v for k, v in self.given.items() if k in self.more}
        made = show(**options, overrides=changes, source="command line")
        finished(f"written: {made}", file=made)
        return 0
