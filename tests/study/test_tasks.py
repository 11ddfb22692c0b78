"""Studies of every task: the figure is the task's own, and is computed anew from what its evaluator kept."""

import json

import numpy as np
import pytest
import torch

from tests.helpers.tasks import QUIET, class_folders, classify_network, task_data, tiny_network
from ultralytics import YOLO
from ultralytics.cfg.reference import TASK2METRIC
from ultralytics.models.yolo.classify.evaluate import ClassEvaluator, Classified
from ultralytics.models.yolo.detect.evaluate import BoxEvaluator, Pair
from ultralytics.models.yolo.task import TASKS, figures_in
from ultralytics.report.page import write_page
from ultralytics.study import analysis, latency
from ultralytics.study.comparing import compare_runs
from ultralytics.study.fairness import differences
from ultralytics.study.record import FINISHED, RunRecord, read_matched, write_matched
from ultralytics.study.resampling import measured_of
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.metrics import SegmentMetrics

TITLES = {
    "detect": "mAP50-95", "segment": "mask mAP50-95", "pose": "pose mAP50-95", "obb": "obb mAP50-95",
    "classify": "top-1 accuracy",
}  # fmt: skip


def pairs_of(rng, count, nc=3):
    """Images with detections and objects, whose masks overlap as they happen to."""
    made = []
    for i in range(count):
        n, m = int(rng.integers(0, 6)), int(rng.integers(0, 4))
        corners = [torch.from_numpy(rng.uniform(0, 50, (k, 2))).float().repeat(1, 2) for k in (n, m)]
        detected, targets = (c + torch.tensor([0, 0, 30, 30]) for c in corners)
        scores = torch.from_numpy(rng.random((n, 1))).float()
        classes = [torch.from_numpy(rng.integers(0, nc, k)).float() for k in (n, m)]
        detected = torch.cat([detected, scores, classes[0][:, None]], 1)
        overlap = torch.from_numpy(rng.uniform(0.3, 1, (m, n))).float()
        made.append(Pair(f"{i}.png", (80, 80), detected, targets, classes[1], torch.zeros(0, 6), None, overlap))
    return made


def test_the_figures_are_named_in_one_place():
    assert {name: task.figures.metric for name, task in TASKS.items()} == TITLES
    assert {name: task.figures.column for name, task in TASKS.items()} == TASK2METRIC
    for name, task in TASKS.items():
        row = {column: 0.1 * (i + 1) for i, column in enumerate(task.metrics().keys)}
        assert set(row) == set(task.figures.shown.values())
        found = figures_in([*row, "epoch", "time"])
        assert found.fitness(row) == task.figures.fitness(row)
        assert found.metric == TITLES["detect" if name == "obb" else name]  # an obb run has the columns of a detector's


def test_the_fitness_of_a_row_is_that_of_the_metrics_to_the_bit():
    evaluator = BoxEvaluator({0: "a", 1: "b", 2: "c"}, 3, kind=SegmentMetrics)
    evaluator.update(0, pairs_of(np.random.default_rng(3), 30))
    metrics = evaluator.result()
    assert metrics.fitness > 0
    assert SegmentMetrics.figures.fitness(metrics.results_dict) == metrics.fitness


def test_masks_are_measured_anew_as_the_evaluation_did(tmp_path):
    evaluator = BoxEvaluator({0: "a", 1: "b", 2: "c"}, 3, kind=SegmentMetrics)
    pairs = pairs_of(np.random.default_rng(0), 20)
    for number in (1, 0):  # as another order of batches
        evaluator.update(number, pairs[10 * number :][:10])
    metrics = evaluator.result()
    write_matched(tmp_path / "matched.npz", evaluator.by_image())
    kept = read_matched(tmp_path / "matched.npz")
    assert list(kept["files"]) == [p.file for p in pairs]
    found = measured_of(kept)
    weights = np.ones((1, 20))
    assert found.overall(weights, found.by_class(weights))[0] == pytest.approx(metrics.seg.map, abs=1e-9)
    assert abs(metrics.seg.map - metrics.box.map) > 0.01
    some = BoxEvaluator({0: "a", 1: "b", 2: "c"}, 3, kind=SegmentMetrics)
    some.update(0, pairs[5:])
    weights[:, :5] = 0
    assert found.overall(weights, found.by_class(weights))[0] == pytest.approx(some.result().seg.map, abs=1e-9)


def test_answers_are_measured_anew_as_the_evaluation_did(tmp_path):
    rng = np.random.default_rng(1)
    evaluator = ClassEvaluator({0: "a", 1: "b", 2: "c"}, 3)
    images = [
        Classified(f"{i}.png", rng.permutation(3), np.array([0.6, 0.3, 0.1], np.float32), int(rng.integers(0, 2)))
        for i in range(12)
    ]
    evaluator.update(0, images[:5])
    evaluator.update(1, images[5:])
    metrics, found = evaluator.result(), measured_of(evaluator.by_image())
    weights = np.ones((1, 12))
    by_class = found.by_class(weights)
    assert found.overall(weights, by_class)[0] == pytest.approx(metrics.top1)
    assert by_class[0] == pytest.approx(metrics.per_class[:2])
    assert metrics.by_name == {"a": metrics.per_class[0], "b": metrics.per_class[1], "c": None}
    weights = np.zeros((2, 12))
    weights[0, 3] = 2  # an image that was drawn twice, and one draw of nothing
    drawn = found.overall(weights, found.by_class(weights))
    assert drawn.tolist() == [float(images[3].likeliest[0] == images[3].true), 0]
    (tmp_path / "matched.npz").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_matched(tmp_path / "matched.npz")


def test_runs_of_two_tasks_are_not_alike():
    records = [RunRecord("a", 0, FINISHED, "a-0"), RunRecord("b", 0, FINISHED, "b-0", task="segment")]
    assert differences(records, "a", ()) == ["b and a: the task is segment and detect (seed 0)"]
    assert "task" not in records[0].to_dict()
    assert RunRecord.from_dict(records[1].to_dict()) == records[1]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
def test_runs_of_each_task_are_compared_by_its_own_figure(task, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "DRAWS", 20)
    monkeypatch.setattr(latency, "REPEATS", 3)
    if task == "classify":
        model, data = classify_network(tmp_path), class_folders(tmp_path / "data")
    else:
        model, data = tiny_network(tmp_path, task), task_data(tmp_path / "data", task)
    runs = []
    for name, keys in (("plain", {}), ("slow", {"lr0": 0.0001})):
        YOLO(str(model)).train(data=str(data), epochs=1, project=str(tmp_path), name=name, **QUIET, **keys)
        runs.append(tmp_path / name)
    out = tmp_path / "out"
    found = compare_runs(runs, out=out)
    metric = TITLES[task]
    assert found.metric == metric
    text = (out / "table.md").read_text(encoding="utf-8")
    assert text.count(metric.replace("-", "\\-")) >= 2  # in the head and in the caption
    record = json.loads((out / "plain-0" / "run.json").read_text(encoding="utf-8"))
    assert record["task"] == task
    assert record["figures"][metric] == found.arms[0].figures[metric][0] is not None
    assert found.arms[1].difference.images == found.images > 0
    assert (out / "figures" / "training.png").is_file()
    before = {f: f.stat().st_mtime_ns for f in out.glob("*/run.json")}
    compare_runs(runs, out=out)
    assert before == {f: f.stat().st_mtime_ns for f in out.glob("*/run.json")}
    for folder in (out, runs[0]):
        page = write_page(folder).read_text(encoding="utf-8")
        assert metric in page or task == "obb"
        assert "mAP50-95" not in page or task != "classify"
