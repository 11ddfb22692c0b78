"""Files of every task's network, as users meet them: exported, validated, predicted with, benchmarked."""

import numpy as np
import pytest

from tests.helpers.tasks import QUIET, class_folders, classify_network, task_data, tiny_network
from ultralytics import YOLO
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo import benchmark as bench
from ultralytics.models.yolo.export import export_weights
from ultralytics.models.yolo.task import TASKS
from ultralytics.utils.errors import ConfigError, ModelError

NAMES = ["segment", "pose", "obb", "classify"]


@pytest.fixture(scope="module", params=NAMES)
def trained(request, tmp_path_factory):
    """Task, weights and dataset of a network that has learned for a few epochs."""
    folder, task = tmp_path_factory.mktemp(request.param), request.param
    if task == "classify":
        model, data = classify_network(folder), class_folders(folder / "data")
    else:
        model, data = tiny_network(folder, task), task_data(folder / "data", task)
    yolo = YOLO(str(model))
    yolo.train(data=str(data), epochs=3, lr0=0.01, project=str(folder), name="run", **QUIET)
    return task, folder / "run" / "weights" / "best.pt", data


def figures(file, data, folder, task):
    yolo = YOLO(str(file), task=task)
    metrics = yolo.val(data=str(data), imgsz=64, batch=4, workers=0, plots=False, coco=False, conf=0.0001,
                       device="cpu", rect_val=False, project=str(folder), verbose=False)  # fmt: skip
    return np.array(list(metrics.results_dict.values()))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torchscript", "onnx", "openvino"])
def test_a_file_validates_and_predicts_as_its_weights(trained, form, tmp_path):
    task, weights, data = trained
    for package in {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "openvino")}.get(form, ()):
        pytest.importorskip(package)
    file = YOLO(str(weights)).export(format=form, imgsz=64)
    assert figures(file, data, tmp_path, task) == pytest.approx(figures(weights, data, tmp_path, task), abs=2e-3)
    images = sorted((data if task == "classify" else data.parent / "images").glob("val/**/*.png"))[:3]
    keys = {"imgsz": 64, "conf": 0.001, "device": "cpu", "verbose": False}
    ours, theirs = (YOLO(str(f), task=task).predict([str(i) for i in images], **keys) for f in (weights, file))
    for one, other in zip(ours, theirs, strict=True):
        if task == "classify":
            assert other.probs.data.numpy() == pytest.approx(one.probs.data.numpy(), abs=1e-4)
            continue
        assert len(one) == len(other)
        assert other.objects.conf.numpy() == pytest.approx(one.objects.conf.numpy(), abs=1e-3)
        assert (one.keypoints is None, one.masks is None) == (other.keypoints is None, other.masks is None)


@pytest.mark.slow
def test_what_a_file_of_a_task_cannot_have_is_one_line(trained):
    _, weights, _ = trained
    with pytest.raises(ConfigError) as caught:
        YOLO(str(weights)).export(format="torchscript", imgsz=64, nms=True)
    assert str(caught.value).count("\n") == 0


@pytest.mark.slow
def test_int8_says_what_it_costs_of_the_tasks_own_figure(trained, caplog):
    task, weights, data = trained
    for package in ("onnx", "openvino", "nncf"):
        pytest.importorskip(package)
    file = YOLO(str(weights)).export(format="openvino", imgsz=64, int8=True, data=str(data))
    assert f"{TASKS[task].figures.metric}" in caplog.text
    assert len(YOLO(str(file), task=task).predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)) == 1


@pytest.mark.slow
def test_a_benchmark_has_the_tasks_figures(trained, tmp_path):
    task, weights, data = trained
    found = bench.measure(YOLO(str(weights)), data=str(data), formats="torchscript", imgsz=64, images=2, seconds=0.1,
                          threads=1, strict=True)  # fmt: skip
    head = next(line for line in bench.table(found) if line.startswith("format"))
    assert all(title in head for title in TASKS[task].figures.first)
    one, other = found["rows"]
    for key in bench.figure_keys(task):
        assert other[key] == pytest.approx(one[key], abs=2e-3)


@pytest.mark.slow
def test_weights_for_ultralytics_are_of_the_task(trained, tmp_path):
    task, weights, _ = trained
    if task == "classify":  # its attention is no module of ultralytics'
        with pytest.raises(ModelError, match=r"that ultralytics 8\.2\.103 does not have: .*FLABlock"):
            export_weights(weights, tmp_path / "theirs.pt")
        return
    file = export_weights(weights, tmp_path / "theirs.pt")
    assert YOLO(str(file)).task == task
    mine, theirs = load_checkpoint(weights).weights, load_checkpoint(file).weights
    assert set(mine) == set(theirs)
