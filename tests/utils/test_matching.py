import numpy as np
import torch

from ultralytics.utils.matching import (
    OKS_SIGMA,
    ignored_predictions,
    kpt_iou,
    mask_iou,
    match_predictions,
    sigmas_of,
)


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


def test_overlaps_of_masks_and_similarities_of_poses_equal_the_reference(fixtures):
    z = {k: torch.from_numpy(v) for k, v in np.load(fixtures / "similarities.npz").items()}
    np.testing.assert_allclose(mask_iou(z["mask1"], z["mask2"]), z["mask_iou"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(OKS_SIGMA, z["sigma"], rtol=1e-12)
    assert sigmas_of([17, 3]) is OKS_SIGMA
    args = z["kpt1"], z["kpt2"], z["area"]
    np.testing.assert_allclose(kpt_iou(*args, OKS_SIGMA), z["oks_coco"], rtol=1e-4, atol=1e-6)
    few = (args[0][:, :5], args[1][:, :5], args[2])
    np.testing.assert_allclose(kpt_iou(*few, sigmas_of([5, 3])), z["oks_uniform"], rtol=1e-4, atol=1e-6)


def test_similarity_of_poses_worked_out_by_hand():
    """A point that is off by d counts exp(-d² / (2 · area · (2 sigma)²)); one of visibility 0 does not count."""
    label = torch.tensor([[[0.0, 0, 2], [10, 0, 1], [50, 50, 0]]])
    found = torch.tensor([[[3.0, 4, 0.9], [10, 0, 0.9], [0, 0, 0.9]]])
    got = kpt_iou(label, found, torch.tensor([100.0]), [0.25, 0.25, 0.25])
    assert got.item() == torch.tensor((np.exp(-25 / (2 * 100 * 0.25)) + 1) / 2).float().item()
    nothing = label * torch.tensor([1, 1, 0])
    assert kpt_iou(nothing, found, torch.tensor([100.0]), [0.25, 0.25, 0.25]).item() == 0
    assert kpt_iou(label, found[:0], torch.tensor([100.0]), [0.25] * 3).shape == (1, 0)
