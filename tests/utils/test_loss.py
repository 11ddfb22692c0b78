import numpy as np
import pytest
import torch

from ultralytics.utils.loss import v8DetectionLoss


@pytest.mark.parametrize("case", "abc")
def test_loss_and_gradients_equal_the_references(fixtures, case):
    z = np.load(fixtures / f"loss_{case}.npz")
    maps = [torch.from_numpy(z[f"feat{i}"]).requires_grad_() for i in range(3)]
    criterion = v8DetectionLoss(int(z["nc"]), [8, 16, 32])
    total, items = criterion(maps, {k: torch.from_numpy(z[k]) for k in ("batch_idx", "cls", "bboxes")})
    np.testing.assert_allclose(items.numpy(), z["items"], rtol=1e-5)
    np.testing.assert_allclose(float(total.detach()), float(z["total"]), rtol=1e-5)
    total.backward()
    for i, m in enumerate(maps):
        want = z[f"grad{i}"]
        np.testing.assert_allclose(m.grad.numpy(), want, atol=1e-5 * np.abs(want).max(), rtol=1e-5)


def maps(nc, batch=2, size=64):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(batch, 64 + nc, size // s, size // s, generator=g).requires_grad_() for s in (8, 16, 32)]


def labels(*rows):
    rows = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return {"batch_idx": rows[:, 0], "cls": rows[:, 1], "bboxes": rows[:, 2:]}


@pytest.mark.parametrize("nc", [1, 3, 64, 365])
@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[0, 0, 0.5, 0.5, 0.4, 0.4]],  # the second image has none
        [[0, 0, 0.5, 0.5, 1 / 64, 1 / 64], [1, 0, 0.2, 0.2, 0.3, 0.1]],  # one pixel
        [[0, 0, 0.0, 0.0, 0.0, 0.0]],  # a box without area is no object
        [[0, 0, 0.5, 0.5, 1.0, 1.0], [0, 0, 0.5, 0.5, 1.0, 1.0]],
    ],
)
def test_unusual_labels_give_finite_losses_and_gradients(nc, rows):
    outputs = maps(nc)
    total, items = v8DetectionLoss(nc, torch.tensor([8.0, 16.0, 32.0]))(outputs, labels(*rows))
    total.backward()
    assert torch.isfinite(items).all()
    assert all(torch.isfinite(m.grad).all() for m in outputs)


def test_loss_of_half_precision_maps_is_computed_wide():
    outputs = [m.detach().bfloat16() for m in maps(3)]
    _, items = v8DetectionLoss(3, [8, 16, 32])(outputs, labels([0, 1, 0.5, 0.5, 0.4, 0.4]))
    assert items.dtype == torch.float32


def test_gains_scale_their_part():
    batch = labels([0, 0, 0.5, 0.5, 0.4, 0.4])
    outputs = [m.detach() for m in maps(1)]
    one = v8DetectionLoss(1, [8, 16, 32])(outputs, batch)[1]
    two = v8DetectionLoss(1, [8, 16, 32], box=15.0, cls=0.5, dfl=3.0)(outputs, batch)[1]
    torch.testing.assert_close(two, one * torch.tensor([2.0, 1.0, 2.0]))
