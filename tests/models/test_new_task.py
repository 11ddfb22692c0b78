"""A made-up task, added to a copy of the package by the steps of docs/architecture.md and by nothing else."""

import csv
import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.tasks import task_data, tiny_network
from ultralytics.cfg.paths import CLONE, PACKAGE

# What each step of "How to add a task" adds: to the end of a file, or as a file.
STEPS = {
    "cfg/tasks.py": 'TASKS["outline"] = TaskWords("polygons", "-outline", "metrics/mAP50-95(M)")\n',
    "nn/modules/head.py": '''

@register(prototype_head)
class Outline(Segment):
    """Finds objects and their outlines."""
''',
    "nn/tasks.py": '''

class OutlineModel(SegmentationModel):
    """A network that finds objects and their outlines."""

    task = "outline"


NETWORKS["Outline"] = OutlineModel
''',
    "models/yolo/outline/__init__.py": '''
from ultralytics.models.yolo.segment import SegmentationPredictor, SegmentationTrainer, SegmentationValidator
from ultralytics.utils.metrics import SegmentMetrics
from ultralytics.utils.precision import figures_in_boxes


class OutlineMetrics(SegmentMetrics):
    task = "outline"
    figures = figures_in_boxes({"Box": "B", "Mask": "M"}, "mask")


class OutlineValidator(SegmentationValidator):
    kind = OutlineMetrics


class OutlineTrainer(SegmentationTrainer):
    task = "outline"
    validate_with = OutlineValidator


class OutlinePredictor(SegmentationPredictor):
    pass
''',
    "models/yolo/task.py": '''

from ultralytics.models.yolo.outline import OutlineMetrics, OutlinePredictor, OutlineTrainer, OutlineValidator
from ultralytics.nn.modules.head import Outline

TASKS["outline"] = Task(
    head=Outline, trainer=OutlineTrainer, validator=OutlineValidator, predictor=OutlinePredictor,
    exporter=DetectionExporter, explainer=None, to_arrays=to_arrays,
    from_arrays=partial(from_arrays, kind=OutlineMetrics), metrics=OutlineMetrics,
)
''',
}  # fmt: skip
PROGRAM = """
import json, sys
from ultralytics.cli import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    if code:
        sys.exit(f"{words}: {code}")
from ultralytics.data.prepare.embedded import SETS  # to draw it takes a minute
print(f"the drawing is shapes{SETS['outline'].suffix}")
"""


def run(folder, *commands):
    """Run commands of the program in a copy of the package; what they said."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    words = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_the_steps_of_the_documentation_make_a_task(tmp_path):
    said = (CLONE / "docs" / "architecture.md").read_text(encoding="utf-8")
    said = said.partition("## How to add a task")[2].partition("\n## ")[0]
    copy = tmp_path / "copy"
    shutil.copytree(PACKAGE, copy / "ultralytics")  # with what is compiled already
    shutil.copytree(CLONE / "cfg", copy / "cfg")
    for name, text in STEPS.items():
        file = copy / "ultralytics" / name
        assert name.replace("outline/__init__.py", "NAME/") in said
        file.parent.mkdir(exist_ok=True)
        file.write_text((file.read_text(encoding="utf-8") if file.exists() else "") + text, encoding="utf-8")
    model = tiny_network(copy, "segment")
    model.write_text(model.read_text(encoding="utf-8").replace("Segment", "Outline"), encoding="utf-8")
    data = task_data(copy / "set", "segment")
    keys = ["imgsz=64", "device=cpu", "threads=1", "workers=0", "plots=False"]
    best = "runs/outline/train/weights/best.pt"
    heard = run(
        copy,
        ["outline", "train", f"model={model}", f"data={data}", "epochs=1", "batch=4", "preflight=False", *keys],
        ["val", f"model={best}", f"data={data}", *keys],
        ["predict", f"model={best}", f"source={data.parent / 'images' / 'val'}", "imgsz=64", "device=cpu"],
        ["check-data", f"data={data}", "task=outline", "out=checked"],
        ["prepare", "yolo", f"source={data}", "task=outline", "out=again"],
        ["check-data", "--help"],
        ["prepare", "shapes", "--help"],
    )
    with (copy / "runs/outline/train/results.csv").open(encoding="utf-8") as file:
        assert "metrics/mAP50-95(M)" in next(csv.reader(file))
    assert json.loads((copy / "runs/outline/val/metrics.json").read_text(encoding="utf-8"))["mask"]
    assert len(list((copy / "runs/outline/predict").glob("*.png"))) == 4
    assert "task: outline" in (copy / "again/data.yaml").read_text(encoding="utf-8")
    assert "detect, segment, pose, obb, classify or outline" in " ".join(heard.split())
    assert "data/shapes-seg, -pose, -obb, -cls, -outline by task" in " ".join(heard.split())
    assert "the drawing is shapes-outline" in heard
