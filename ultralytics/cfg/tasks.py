"""What a task is called and what its labels are, for packages that may not import `models.yolo.task.TASKS`."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

FOLDERS = "folders"  # of classes, in the place of label files


class TaskWords(NamedTuple):
    """A task in words."""

    labels: str  # what its data label: a kind of `data.labels.ANNOTATIONS`, or FOLDERS
    suffix: str  # of the names of its model YAMLs and of the embedded drawing
    column: str  # of results.csv, by which its networks are compared


# The first is the default.
TASKS = {
    "detect": TaskWords("boxes", "", "metrics/mAP50-95(B)"),
    "segment": TaskWords("polygons", "-seg", "metrics/mAP50-95(M)"),
    "pose": TaskWords("keypoints", "-pose", "metrics/mAP50-95(P)"),
    "obb": TaskWords("corners", "-obb", "metrics/mAP50-95(B)"),
    "classify": TaskWords(FOLDERS, "-cls", "metrics/accuracy_top1"),
}


def tasks_of(kinds: Collection[str]) -> tuple[str, ...]:
    """Return the tasks whose labels are of these kinds."""
    return tuple(name for name, words in TASKS.items() if words.labels in kinds)


def in_folders(task: object) -> bool:
    """Return True for the name of a task whose data are folders of classes."""
    return task in tasks_of([FOLDERS])


def labelled() -> dict[str, str]:
    """Return task → kind of labels, of those that have label files."""
    return {name: words.labels for name, words in TASKS.items() if words.labels != FOLDERS}


def task_for(kind: str) -> str:
    """Return the task that labels of a kind are made for."""
    return tasks_of([kind])[0]
