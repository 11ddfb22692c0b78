"""The losses of masks, keypoints and rotated boxes: the reference's numbers, and what the formulas say."""

import numpy as np
import pytest
import torch

from ultralytics.utils import loss, tal, task_loss
from ultralytics.utils.task_loss import v8OBBLoss, v8PoseLoss, v8SegmentationLoss

KINDS = {
    "seg": (v8SegmentationLoss, ("coefficients", "proto")),
    "pose": (v8PoseLoss, ("pred_kpt",)),
    "obb": (v8OBBLoss, ("angle",)),
}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("case", "abc")
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_equal_the_references(fixtures, monkeypatch, kind, case, whole):
    for module in (loss, tal, task_loss):  # the form for GPUs, on the CPU
        monkeypatch.setattr(module, "masked", lambda device: whole)
    z = np.load(fixtures / f"loss_{kind}_{case}.npz")
    cls, names = KINDS[kind]
    leaves = {k: torch.from_numpy(z[k]).float().requires_grad_() for k in ("feat0", "feat1", "feat2", *names)}
    more = {"kpt_shape": z["kpt_shape"].tolist()} if kind == "pose" else {}
    criterion = cls(int(z["nc"]), [8, 16, 32], **more)
    if kind == "seg":
        criterion.overlap = bool(z["overlap_mask"])
    batch = {k: torch.from_numpy(z[k]) for k in ("batch_idx", "cls", "bboxes", "masks", "keypoints") if k in z}
    total, items = criterion(([leaves[f"feat{i}"] for i in range(3)], *(leaves[k] for k in names)), batch)
    np.testing.assert_allclose(items.numpy(), z["items"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(float(total.detach()), float(z["total"]), rtol=1e-4)
    total.backward()
    for name, leaf in leaves.items():
        want = z[f"grad_{name}"] if name in names else z[name.replace("feat", "grad")]
        assert leaf.grad is not None, name
        np.testing.assert_allclose(leaf.grad.numpy(), want, atol=1e-5 * max(np.abs(want).max(), 1), rtol=1e-4)
