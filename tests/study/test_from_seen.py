"""Detections that are matched again from what an evaluation kept give the figures that it reported."""

import numpy as np
import pytest
import torch

from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.nn.tasks import DetectionModel
from ultralytics.study.record import read_seen, write_seen
from ultralytics.study.resampling import Detections, mean_over_classes
from ultralytics.utils.coco import CROWD, DIFFICULT, Seen
from ultralytics.utils.metrics import DetMetrics
from ultralytics.utils.types import ANY_CLASS


class Keeping(DetectionValidator):
    """Keeps what it has seen, and makes its detections from the labels: an untrained network finds nothing."""

    def postprocess(self, preds):
        rng = np.random.default_rng(self.batch_i)
        found = []
        for i, boxes in enumerate(super().postprocess(preds)):
            h, w = self._img["img"].shape[2:]
            mine = self._img["batch_idx"] == i
            xywh = self._img["bboxes"][mine] * torch.tensor([w, h, w, h])
            xywh = xywh.repeat(4, 1) * torch.from_numpy(rng.normal(1, 0.08, (4 * len(xywh), 4))).float()
            conf = torch.from_numpy(np.round(rng.random((len(xywh), 1)), 1)).float()  # with ties
            cls = self._img["cls"][mine].view(-1, 1).repeat(4, 1)
            corners = torch.cat([xywh[:, :2] - xywh[:, 2:] / 2, xywh[:, :2] + xywh[:, 2:] / 2], 1)
            both = torch.cat([torch.cat([corners, conf, cls], 1), boxes[:20]])
            found.append(both[both[:, 4].argsort(descending=True)])
        return found

    def preprocess(self, batch):
        self._img = super().preprocess(batch)
        return self._img

    def report_coco(self):
        self.kept = self.seen_images()
        super().report_coco()


def test_figures_are_those_of_the_validation(toy, tiny, tmp_path):
    torch.manual_seed(0)
    keys = {"data": str(toy), "imgsz": 64, "batch": 4, "workers": 0, "plots": False, "conf": 0.0001, "rect_val": False}
    v = Keeping(save_dir=tmp_path / "val", args=keys)
    v.save_dir.mkdir()
    v(model=DetectionModel(str(tiny), nc=3, verbose=False))
    write_seen(tmp_path / "seen.npz", v.kept)
    d = Detections.from_seen(read_seen(tmp_path / "seen.npz"))
    box = v.metrics.box
    assert 0.05 < box.map < 0.95
    ap = d.by_class(np.ones((1, d.images)))
    assert mean_over_classes(d.by_class(np.ones((1, d.images))))[0] == pytest.approx(box.map, abs=1e-9)
    assert ap[0] == pytest.approx(box.ap, abs=1e-9)
    assert list(d.classes) == list(box.ap_class_index)
    curve = d.precision_over_recall(box.px)
    assert curve == pytest.approx(box.prec_values.mean(0), abs=1e-9)


def test_ignored_regions_count_as_the_evaluation_counts_them():
    box = [10, 10, 20, 20]
    inside = [12, 12, 6, 6]  # wholly in the region; by IoU it overlaps it little
    for kind, spared in ((CROWD, True), (DIFFICULT, False)):
        truths = np.array([[100, 100, 9, 9, 0, 0], [*box, ANY_CLASS, kind]], float)
        found = np.array([[*inside, 0.9, 0], [100, 100, 9, 9, 0.8, 0], [*box, 0.7, 0]])
        d = Detections.from_seen([Seen("a", (200, 200), found, truths)])
        assert d.ignored[0].all() == spared
        assert d.ignored[2].all()
        m = DetMetrics(names={0: "a"})
        m.process(d.correct, d.conf, d.cls, d.target_cls, d.ignored)
        assert mean_over_classes(d.by_class(np.ones((1, 1))))[0] == pytest.approx(m.box.map, abs=1e-12)
        assert (m.box.map > 0.99) == spared


def test_nothing_seen():
    nothing = Seen("a", (9, 9), np.zeros((0, 6)), np.zeros((0, 6)))
    for seen in ([], [nothing], [nothing, Seen("b", (9, 9), np.array([[1, 1, 2, 2, 0.5, 3]]), np.zeros((0, 6)))]):
        d = Detections.from_seen(seen)
        assert mean_over_classes(d.by_class(np.ones((2, len(seen))))) == pytest.approx([0, 0])
        assert d.precision_over_recall(np.linspace(0, 1, 5)) == pytest.approx(np.zeros(5))


def test_a_class_that_a_resample_lacks_is_left_out():
    assert mean_over_classes(np.array([[0.5, np.nan], [np.nan, np.nan], [0.2, 0.4]])) == pytest.approx([0.5, 0, 0.3])
