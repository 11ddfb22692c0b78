"""The converter that a source needs, chosen by what it holds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics.cfg.keys import TASK_NAMES
from ultralytics.cfg.tasks import FOLDERS, TASKS
from ultralytics.data.prepare.archive import is_archive
from ultralytics.data.prepare.classify import images_by_class, prepare_classify
from ultralytics.data.prepare.coco import prepare_coco
from ultralytics.data.prepare.dota import prepare_dota
from ultralytics.data.prepare.format import existing
from ultralytics.data.prepare.kitti import prepare_kitti
from ultralytics.data.prepare.labelme import prepare_labelme
from ultralytics.data.prepare.recognise import KINDS, recognise
from ultralytics.data.prepare.visdrone import prepare_visdrone
from ultralytics.data.prepare.voc import prepare_voc
from ultralytics.data.prepare.yolo import prepare_yolo
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError
from ultralytics.utils.log import LOGGER

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ultralytics.data.prepare.divide import Keys

READERS: dict[str, Callable[..., Path]] = {
    "yolo": prepare_yolo,
    "coco": prepare_coco,
    "voc": prepare_voc,
    "labelme": prepare_labelme,
    "kitti": prepare_kitti,
    "visdrone": prepare_visdrone,
    "dota": prepare_dota,
}


def prepare_auto(
    source: str | Path,
    out: str | Path,
    names: Sequence[str] | None = None,
    **given: Unpack[Keys],
) -> Path:
    """Prepare a source, a folder, a dataset YAML or a JSON, by the kind of annotations that it holds, say which that is
    and return the dataset's YAML. Options are those of the command.

    Raises:
        MissingFileError: no such source, or no annotations in it.
        DatasetError: annotations that nothing here reads.
        UserError: of the kind's own function.
    """
    place = existing(source)
    if is_archive(place):
        raise DatasetError("this is an archive", str(place), f"unpack it, or say the kind: {', '.join(READERS)}")
    found = recognise([place])
    asked = given.get("task", TASK_NAMES[0])
    labels = TASKS[asked].labels if asked in TASKS else ""
    if place.is_dir() and (labels == FOLDERS or (not found and labels == "boxes" and images_by_class(place))):
        LOGGER.info("%s is read as folders of classes", place)
        if names:
            raise ConfigError("folders of classes bring their own class names", str(place), "leave names= out")
        plain: dict[str, Any] = {k: v for k, v in given.items() if k != "task"}
        return prepare_classify(place, out, **plain)
    if not found:
        kinds = ", ".join(kind.what for kind in KINDS.values() if kind.prepare)
        raise MissingFileError("there are no annotations of a known kind", str(place), f"known: {kinds}")
    readable = [name for name in found if KINDS[name].prepare]
    if not readable:
        name, file = next(iter(found.items()))
        raise DatasetError(
            f"the source contains {KINDS[name].what} ({file.name}), not read here", str(place), KINDS[name].hint
        )
    kind = KINDS[readable[0]]
    others = "".join(f"; it holds {KINDS[name].what} too" for name in readable[1:])
    LOGGER.info("%s is read as %s%s", place, kind.what, others)
    reader = READERS[kind.prepare]
    options: dict[str, Any] = dict(given)
    if kind.prepare == "dota" and labels == "boxes":
        options.pop("task", None)
    if names:
        if "names" not in inspect.signature(reader).parameters:
            raise ConfigError(f"{kind.what} brings its own class names", str(place), "leave names= out")
        options["names"] = names
    return reader(place, out, **options)
