import numpy as np
import torch

from ultralytics.utils.matching import ignored_predictions, match_predictions


def test_matching_equals_the_reference(fixtures):
    z = np.load(fixtures / "matching.npz")
    cases = [k[3:] for k in z if k.startswith("iou")]
    assert cases
    for i in cases:
        np.testing.assert_array_equal(
            match_predictions(z[f"pred_cls{i}"], z[f"true_cls{i}"], z[f"iou{i}"]), z[f"correct{i}"]
        )


def test_matching_worked_out_by_hand():
    """Thresholds 0.5, 0.55, … 0.95; detections in order of confidence.

    The first overlaps object 0 by 0.6 and object 1 by 0.8: it chooses object 1, up to 0.8. The second overlaps object 1
    by 0.9, which is free from 0.85 on. The third has another class. The fourth overlaps object 2 by just 0.5.
    """
    overlap = np.array([[0.6, 0.1, 0.9, 0.0], [0.8, 0.9, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5]], np.float32)
    got = match_predictions([0, 0, 1, 0], [0, 0, 0], overlap)
    assert got.astype(int).tolist() == [
        [1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 1, 1, 0],
        [0] * 10,
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]


def test_difficult_objects_and_crowds_take_detections_out_of_the_count():
    regions = torch.tensor([[0.0, 0, 0, 10, 10, 0], [1.0, 100, 100, 200, 200, 1], [-1.0, 300, 300, 400, 400, 1]])
    boxes = torch.tensor([
        [0.0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 10], [110, 110, 120, 120], [195, 100, 205, 110],
        [310, 310, 320, 320], [500, 500, 510, 510],
    ])  # fmt: skip
    classes = np.array([0, 0, 1, 1, 1, 0, 0])
    nothing = np.zeros((7, 10), bool)
    ignored = ignored_predictions(boxes, classes, nothing, regions)
    # The object itself; IoU 0.6; another class; inside the crowd; half in it; a region of every class; far away.
    assert ignored.sum(1).tolist() == [10, 3, 0, 10, 1, 10, 0]
    correct = nothing.copy()
    correct[0, :5] = True  # what has a label of its own is a true positive
    assert ignored_predictions(boxes, classes, correct, regions)[0].tolist() == [False] * 5 + [True] * 5
    assert not ignored_predictions(boxes, classes, nothing, regions[:0]).any()
    assert ignored_predictions(boxes[:0], classes[:0], nothing[:0], regions).shape == (0, 10)
