"""What the processes of a training on several devices bring back."""

import numpy as np

from ultralytics.models.yolo.ranks import _read_report, _write_report
from ultralytics.utils.metrics import ConfusionMatrix, DetMetrics


def test_metrics_come_back_whole(tmp_path):
    metrics = DetMetrics(save_dir=tmp_path, names={0: "red", 1: "绿"})
    found = np.array([True, False, True])[:, None].repeat(10, 1)
    metrics.process(found, np.array([0.9, 0.8, 0.7]), np.array([0.0, 1.0, 1.0]), np.array([0.0, 1.0]))
    metrics.images, metrics.ignored, metrics.nt_per_image = 7, 3, np.array([1, 1])
    metrics.coco = {"AP": 0.5, "AP_L": None, "classes": {"绿": 0.25}}
    metrics.dota = {"images": 3, "mAP50": 0.5, "per_class": {"绿": None}}
    metrics.speed["inference"] = 1.5
    metrics.confusion_matrix = ConfusionMatrix(2, conf=0.3)
    metrics.confusion_matrix.matrix[0, 0] = 4
    _write_report(tmp_path / "report.npz", tmp_path, "detect", metrics)
    folder, read = _read_report(tmp_path / "report.npz")
    assert folder == tmp_path
    assert read.to_dict() == metrics.to_dict()
    assert read.confusion_matrix.conf == 0.3
    assert (read.confusion_matrix.matrix == metrics.confusion_matrix.matrix).all()


def test_a_run_without_validation_brings_no_metrics(tmp_path):
    _write_report(tmp_path / "report.npz", tmp_path, "detect", None)
    assert _read_report(tmp_path / "report.npz") == (tmp_path, None)
