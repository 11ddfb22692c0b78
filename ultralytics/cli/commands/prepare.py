"""`prepare KIND`: datasets of every kind that is read, each a command."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from ultralytics.cfg.keys import TASK_NAMES
from ultralytics.cfg.knob import knob
from ultralytics.cfg.tasks import TASKS, labelled, tasks_of
from ultralytics.cli.command import Command
from ultralytics.cli.commands.data import SEED_MAX, log_ready
from ultralytics.cli.words import listed, read_names, read_paths
from ultralytics.utils.errors import ConfigError, MissingFileError
from ultralytics.utils.files import user_path

source = partial(knob, "", needed="source is missing")
names = partial(knob, None, "class names in the order of their ids, as [a,b]", read=read_names)
seed = partial(knob, 0, low=0, high=SEED_MAX, what="an integer of 0 or more")
part = partial(knob, 0, what="a part of the images, 0 or more and below 1")
suffixes = [words.suffix for words in TASKS.values() if words.suffix]  # of the embedded drawings


def task(help_text: str, tasks: tuple[str, ...]) -> Any:
    """Return the option for what the labels are made for, one of `tasks`."""
    return knob(tasks[0], help_text, choices=tasks)


# The fields of a kind stand in the order of its bases from right to left.


class Prepare(Command, name="prepare"):
    """Make a dataset ready: draw the embedded one, fetch or convert others."""

    example = "prepare shapes | prepare voc source=VOC_FOLDER out=data/mine"

    @classmethod
    def check(cls, given: dict[str, Any]) -> None:
        """Refuse contradictions about the source, and one that is not there."""
        if given.get("download") and "source" in given:
            raise ConfigError("source and download contradict each other", hint="leave one of them out")
        if "mirror" in given and not given.get("download"):
            raise ConfigError("mirror is where to download from", hint="add download=True")
        for path in listed(given.get("source", [])):  # what is typed is judged before what is left out
            if not os.path.exists(user_path(path)):
                raise MissingFileError("there is no such source", str(user_path(path).absolute()))

    def run(self) -> int:
        from ultralytics.data import prepare  # OpenCV takes a moment to import

        log_ready(getattr(prepare, f"prepare_{self.name.split()[1]}")(**self.given))
        return 0


class Source(Prepare):
    """A source and where it goes; each kind says what it is."""

    source: str | list[str] | None = knob(None, "")
    out: str | None = knob(None, "folder to make")


class Own(Source):
    """A source of the user's own, which needs a folder."""

    out: str = knob("", "folder to make", needed="out is missing")


class Drawn(Prepare):
    """Splits that are drawn."""

    val: float = part("part of the images to draw as val, where the source has no val split")
    test: float = part("part of the images to draw as test, where it has no test split")
    seed: int = seed("of that draw")


class Placed(Prepare):
    """Images that are copied or linked."""

    images: str = knob("copy", "copy, or link for hard links")


class Fetched(Prepare):
    """Published archives."""

    download: bool = knob(False, "fetch the published archives into OUT/../downloads")
    mirror: str | None = knob(None, "URL of a folder that holds the same archives")


class Auto(Placed, Drawn, Own, name="prepare auto"):
    """Prepare annotations of any kind that is read here; which, is seen from their contents."""

    example = "prepare auto source=FOLDER out=data/mine"
    source: str = source("folder or file with annotations of any kind that is read here")
    names: list[str] | None = names(none="those of the source")
    task: str = task("what the labels are made for", TASK_NAMES)


class Shapes(Prepare, name="prepare shapes"):
    """Draw the embedded dataset: coloured shapes."""

    example = "prepare shapes | prepare shapes task=segment"
    out: str | None = knob(None, "folder to draw into", none=f"data/shapes; data/shapes{', '.join(suffixes)} by task")
    seed: int = seed("of the drawing")
    task: str = task("what it is for", TASK_NAMES)


class Voc(Fetched, Placed, Drawn, Source, name="prepare voc"):
    """Convert Pascal VOC, or fetch the published archives."""

    example = "prepare voc source=VOC_FOLDER out=data/mine"
    source: str | None = knob(
        None, "folder or archive with images and XML files, in folders of any names, or the published archives"
    )
    out: str | None = knob(None, "folder to make", none="data/VOC for the published dataset")
    names: list[str] | None = names(none="alphabetical")
    one_based: bool | str = knob("auto", "whether pixels count from 1: True, False or auto")
    task: str = task("what the labels are made for; segment reads SegmentationObject", tasks_of(("boxes", "polygons")))


class Coco(Fetched, Drawn, Source, name="prepare coco"):
    """Convert COCO's instances, or fetch the published archives."""

    example = "prepare coco source=FOLDER out=data/mine"
    source: str | list[str] | None = knob(
        None,
        "folder or archive of COCO 2017, of an export with a JSON per split, or an instances JSON; or [a,b]",
        read=read_paths,
    )
    out: str | None = knob(None, "folder to make", none="data/coco for the published dataset")
    images: str | list[str] = knob(
        "copy",
        "folder of the images of a JSON; copy, or link for hard links; or both, as [folder,link]",
        read=read_paths,
    )
    task: str = task("what the labels are made for", tuple(labelled()))


class Coco128(Fetched, Placed, Drawn, Source, name="prepare coco128"):
    """Convert or fetch the first 128 images of COCO."""

    example = "prepare coco128 download=True"
    source: str | None = knob(None, "coco128.zip, or its folder")
    out: str | None = knob(None, "folder to make", none="data/coco128")


class Bccd(Fetched, Placed, Source, name="prepare bccd"):
    """Convert or fetch BCCD: blood cells."""

    example = "prepare bccd download=True"
    source: str | None = knob(None, "clone of BCCD_Dataset, its archive, or the folder BCCD in it")
    out: str | None = knob(None, "folder to make", none="data/bccd")


class Visdrone(Fetched, Placed, Drawn, Source, name="prepare visdrone"):
    """Convert or fetch VisDrone2019-DET: images of drones."""

    example = "prepare visdrone source=FOLDER"
    source: str | None = knob(None, "folder with VisDrone2019-DET-train, -val and -test-dev, packed or not")
    out: str | None = knob(None, "folder to make", none="data/visdrone")


class Yolo(Placed, Drawn, Own, name="prepare yolo"):
    """Bring images with YOLO's label files into this project's layout."""

    example = "prepare yolo source=FOLDER out=data/mine"
    source: str = source("dataset YAML, or folder or archive with images and label files (also CVAT's and darknet's)")
    names: list[str] | None = names(none="those of the YAML, classes.txt, obj.names, …")
    task: str = task("what the labels are made for", tuple(labelled()))


class Labelme(Placed, Drawn, Own, name="prepare labelme"):
    """Convert labelme's JSON files."""

    example = "prepare labelme source=FOLDER out=data/mine"
    source: str = source("folder or archive with labelme's JSON files and their images, in folders of any names")
    names: list[str] | None = names(none="alphabetical")
    task: str = task("what the labels are made for", tuple(labelled()))
    keypoints: list[str] | None = knob(
        None, "labels of a pose's points in their order, as [a,b]", none="those that are used", read=read_names
    )


class Kitti(Placed, Drawn, Own, name="prepare kitti"):
    """Convert KITTI's label files."""

    example = "prepare kitti source=FOLDER out=data/mine"
    source: str = source("folder or archive with KITTI label files and their images, such as label_2 and image_2")
    names: list[str] | None = names(none="alphabetical")


class Dota(Placed, Drawn, Own, name="prepare dota"):
    """Convert DOTA's labels, rotated boxes, and cut its images into tiles."""

    example = "prepare dota source=FOLDER out=data/mine"
    source: str = source("folder or archive with images and label files, such as train/images and train/labelTxt")
    names: list[str] | None = names(none="DOTA's, else alphabetical")
    crop: int = knob(1024, "side of a tile, pixels; 0 leaves images whole", low=0, high=1 << 16)
    gap: int = knob(200, "overlap of neighbouring tiles, pixels", low=0, high=1 << 16)
    rates: list[str] | None = knob(
        None, "crop and gap are divided by each of these, as [0.5,1]", none="1", read=read_names
    )


class Classify(Placed, Drawn, Own, name="prepare classify"):
    """Bring images in a folder for each class into train and val."""

    example = "prepare classify source=FOLDER out=data/mine val=0.2"
    source: str = source("folder with a folder for each class, or train, val, … with such")
