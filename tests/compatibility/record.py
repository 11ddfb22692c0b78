"""Record the names of ultralytics 8.2.103 by introspection: what test_table.py compares this project with.

Run where that release is installed, in a folder without this project: python record.py reference.json
Only names, parameters and kinds are recorded.
"""

import importlib
import inspect
import json
import os
import sys
import tempfile
import types
from pathlib import Path

os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")

MODULES = """ultralytics ultralytics.cfg ultralytics.data ultralytics.data.augment ultralytics.data.base
ultralytics.data.build ultralytics.data.converter ultralytics.data.dataset ultralytics.data.loaders
ultralytics.data.utils
ultralytics.engine.exporter ultralytics.engine.model ultralytics.engine.predictor ultralytics.engine.results
ultralytics.engine.trainer ultralytics.engine.tuner ultralytics.engine.validator ultralytics.hub ultralytics.models
ultralytics.models.yolo ultralytics.models.yolo.detect ultralytics.models.yolo.detect.predict
ultralytics.models.yolo.detect.train ultralytics.models.yolo.detect.val ultralytics.models.yolo.model ultralytics.nn
ultralytics.nn.autobackend ultralytics.nn.modules ultralytics.nn.modules.activation ultralytics.nn.modules.block
ultralytics.nn.modules.conv ultralytics.nn.modules.head ultralytics.nn.modules.transformer ultralytics.nn.modules.utils
ultralytics.nn.tasks ultralytics.utils ultralytics.utils.autobatch ultralytics.utils.benchmarks
ultralytics.utils.callbacks ultralytics.utils.callbacks.base ultralytics.utils.checks ultralytics.utils.dist
ultralytics.utils.downloads ultralytics.utils.errors ultralytics.utils.files ultralytics.utils.instance
ultralytics.utils.loss ultralytics.utils.metrics ultralytics.utils.ops ultralytics.utils.patches
ultralytics.utils.plotting ultralytics.utils.tal ultralytics.utils.torch_utils ultralytics.utils.triton
ultralytics.utils.tuner"""
# Packages that scripts import anything from; of the other modules what they define themselves.
HUBS = {"ultralytics", "ultralytics.cfg", "ultralytics.data", "ultralytics.models", "ultralytics.models.yolo",
        "ultralytics.models.yolo.detect", "ultralytics.nn", "ultralytics.nn.modules", "ultralytics.nn.tasks",
        "ultralytics.utils"}  # fmt: skip
TYPING = {"Any", "Callable", "Dict", "List", "Optional", "Tuple", "Union", "Lock", "k", "v", "logger", "urlsplit"}


def parameters(thing):
    """Names of a callable's parameters."""
    try:
        return [p for p in inspect.signature(thing).parameters if p not in ("self", "args", "kwargs")]
    except (TypeError, ValueError):
        return None


def names(module):
    """Public names: [kind, parameters]."""
    found, hub = {}, module.__name__ in HUBS
    shared = set() if hub else set(dir(importlib.import_module("ultralytics.utils")))
    for name in dir(module):
        value = getattr(module, name)
        home = getattr(value, "__module__", module.__name__)
        if not hub and (
            name in shared or home not in (module.__name__, "ultralytics.utils")
        ):  # there are its decorators
            continue
        if (name.startswith("_") and name != "__version__") or name in TYPING or isinstance(value, types.ModuleType):
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            if str(value.__module__).startswith("ultralytics"):
                found[name] = ["class" if inspect.isclass(value) else "function", parameters(value)]
        else:
            found[name] = ["value", None]
    return found


def members(thing, base=object):
    """Public attributes and methods of an object: parameters of the methods."""
    found = {}
    for name in sorted({*dir(thing), *getattr(thing, "__dict__", ())} - set(dir(base))):
        if name.startswith("_"):
            continue
        value = inspect.getattr_static(thing, name, None)
        value = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        found[name] = parameters(value) if inspect.isfunction(value) else None
    return found


def objects(folder):
    """Members of what a script gets hold of, seen while a tiny network trains and predicts."""
    import cv2
    import numpy as np
    from torch import nn

    from ultralytics import YOLO

    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(str(folder / "images" / split / f"{i}.png"), np.full((64, 64, 3), 90, np.uint8))
            (folder / "labels" / split / f"{i}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (folder / "data.yaml").write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames: [a]\n")
    model, seen = YOLO("yolov8n.yaml"), {}

    def look(name):
        return lambda subject: seen.setdefault(name, members(subject))

    model.add_callback("on_train_batch_end", look("DetectionTrainer"))
    model.add_callback("on_val_batch_end", look("DetectionValidator"))
    model.add_callback("on_predict_batch_end", look("DetectionPredictor"))
    model.train(data=str(folder / "data.yaml"), epochs=1, imgsz=64, batch=2, workers=0, plots=False, amp=False,
                project=str(folder / "runs"), device="cpu")  # fmt: skip
    result = model.predict(np.zeros((64, 64, 3), np.uint8), conf=0.0001)[0]
    metrics = model.val(data=str(folder / "data.yaml"), imgsz=64, workers=0, plots=False, project=str(folder / "runs"))
    seen["YOLO"] = members(model, nn.Module)
    seen["Results"] = members(result)
    seen["Boxes"] = members(result.boxes)
    seen["DetectionModel"] = members(model.model, nn.Module)
    seen["Detect"] = members(model.model.model[-1], nn.Module)
    seen["DetMetrics"], seen["Metric"] = members(metrics), members(metrics.box)
    seen["ConfusionMatrix"] = members(metrics.confusion_matrix)
    from ultralytics.data.augment import LetterBox
    from ultralytics.utils.plotting import Annotator, colors

    seen["Annotator"] = members(Annotator(np.zeros((9, 9, 3), np.uint8)))
    seen["Colors"] = members(colors)
    seen["LetterBox"] = members(LetterBox())
    return seen


def main():
    """Write the names."""
    import yaml

    import ultralytics
    from ultralytics.utils.callbacks.base import default_callbacks

    home = Path(ultralytics.__file__).parent / "cfg"
    found = {"version": ultralytics.__version__, "modules": {}}
    for module in MODULES.split():
        found["modules"][module] = names(importlib.import_module(module))
    with tempfile.TemporaryDirectory() as folder:
        found["objects"] = objects(Path(folder))
    found["events"] = list(default_callbacks)
    found["keys"] = yaml.safe_load((home / "default.yaml").read_text())
    found["models"] = {}
    for file in sorted((home / "models").rglob("*.yaml")):
        rows = yaml.safe_load(file.read_text())
        used = sorted({row[2] for row in rows["backbone"] + rows["head"]})
        found["models"][file.name] = used
    found["modes"] = ["train", "val", "predict", "export", "track", "benchmark"]
    found["tasks"] = ["detect", "segment", "classify", "pose", "obb"]
    found["words"] = ["help", "checks", "version", "settings", "cfg", "copy-cfg", "hub", "login", "logout", "explorer",
                      "streamlit-predict"]  # fmt: skip
    Path(sys.argv[1]).write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
