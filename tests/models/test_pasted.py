"""What readers of tutorials bring, from the first epoch to a resumed run: published modules without `@register`, heads,
and networks of the reference's families made small."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.helpers.networks import HEADS, MODULES, with_head, with_module
from ultralytics import YOLO
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.backend import inference_copy
from ultralytics.utils.errors import ModelError

MODELS = Path(__file__).parents[2] / "cfg" / "models"


def made_small(name):
    """A network of a family with few channels; the numbers that no scale changes are divided."""
    data = yaml.safe_load((MODELS / f"{name}.yaml").read_text(encoding="utf-8"))
    if "v9" not in name:
        data["scales"] = {"n": [0.1, 0.07, 256]}
        return data
    for part in ("backbone", "head"):
        for row in data[part]:
            if row[2] not in ("Concat", "nn.Upsample", "Detect", "Conv", "CBFuse"):
                row[3] = [[n // 8 for n in a] if isinstance(a, list) else a // 8 if a > 8 else a for a in row[3]]
            elif row[2] == "Conv":
                row[3][0] //= 8
    return data


FAMILIES = ["yolov8-p6", "yolov8-ghost-p2", "yolov5", "yolov6", "yolov9t", "yolov9e"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MODULES, *HEADS, *FAMILIES])
def test_one_epoch_val_predict_on_a_rectangle_save_load_resume(name, tmp_path, toy):
    data = with_head(*HEADS[name]) if name in HEADS else made_small(name) if name in FAMILIES else None
    data = data or with_module(name, *MODULES[name])
    file = tmp_path / f"{name}-mine.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    given = {
        "model": str(file), "data": str(toy), "epochs": 1, "imgsz": 64, "batch": 4, "workers": 0, "device": "cpu",
        "project": str(tmp_path / "runs"), "name": "run", "plots": False, "verbose": True,
    }  # fmt: skip
    trainer = DetectionTrainer(overrides=given)
    trainer.train()
    last = trainer.save_dir / "weights" / "last.pt"
    plugins = data.get("plugins")
    model = YOLO(last, plugins=plugins)
    metrics = model.val(data=str(toy), imgsz=64, batch=2, workers=0, device="cpu", plots=False, project=str(tmp_path))
    assert np.isfinite(metrics.box.map)
    rectangle = np.random.default_rng(0).integers(0, 255, (60, 150, 3), np.uint8)
    asked = {"imgsz": 96, "conf": 0.0, "device": "cpu", "save": False, "verbose": False}
    [result] = model.predict(rectangle, **asked)
    assert len(result.boxes)
    boxes = result.boxes.xyxy
    assert (boxes[:, [0, 2]] <= 150).all()
    assert (boxes[:, [1, 3]] <= 60).all()
    path = tmp_path / "saved.pt"
    model.save(path)
    [again] = YOLO(path, plugins=plugins).predict(
        rectangle, imgsz=96, conf=0.0, device="cpu", save=False, verbose=False
    )
    assert torch.equal(again.boxes.data, result.boxes.data)
    resumed = DetectionTrainer(overrides={"resume": str(trainer.save_dir), "epochs": 2, "plugins": plugins})
    resumed.train()
    assert load_checkpoint(resumed.last).state["epoch"] == 1


@pytest.fixture
def of_squares(tmp_path):
    """A model YAML with a row that takes square maps alone."""
    (tmp_path / "square.py").write_text(
        "import torch\nfrom torch import nn\nclass SquareOnly(nn.Module):\n"
        "    def __init__(self, dim):\n        super().__init__()\n        self.conv = nn.Conv2d(dim, dim, 1)\n"
        "    def forward(self, x):\n        return self.conv(x) + x.transpose(2, 3)\n",
        encoding="utf-8",
    )
    data = with_module("SquareOnly", []) | {"plugins": ["square.py"]}
    (tmp_path / "square.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return tmp_path / "square.yaml"


def test_predict_and_val_name_the_row_that_a_rectangle_breaks(of_squares, toy, tmp_path):
    model = YOLO(of_squares, verbose=False)
    asked = {"imgsz": 64, "device": "cpu", "verbose": False}
    square = np.zeros((64, 64, 3), np.uint8)
    assert len(model.predict(square, save=False, **asked)) == 1
    message = r"square\.yaml, line \d+: row 2 \(SquareOnly\): it fails on images of 32×64 pixels: .*square images"
    with pytest.raises(ModelError, match=message) as caught:
        model.predict(np.zeros((30, 64, 3), np.uint8), save=False, **asked)
    assert "\n" not in str(caught.value)
    given = asked | {"data": str(toy), "batch": 2, "workers": 0, "plots": False, "project": str(tmp_path)}
    with pytest.raises(ModelError, match=r"row 2 \(SquareOnly\): it fails on images of .*rect_val=False in val"):
        model.val(**given)
    assert model.val(**given, rect_val=False)


def test_no_memory_is_no_fault_of_a_row(of_squares):
    model = inference_copy(YOLO(of_squares, verbose=False).model, torch.device("cpu"))

    def fail(*_):
        raise RuntimeError("CUDA out of memory")

    model.model[2].forward = fail
    with pytest.raises(RuntimeError, match=r"^CUDA out of memory"):
        model(torch.zeros(1, 3, 64, 64))
