"""What a network's output rests on: the formulas, over tensors and arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor

from ultralytics.utils.types import Float64Array

PARTS = (0.2, 0.3, 0.5, 0.99)  # of a gradient, for which the square that holds them is looked for (RepLKNet, table 9)


def layer_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """LayerCAM of a map: ReLU(Σ_c ReLU(∂s/∂A_c) ⊙ A_c) (Jiang et al., IEEE TIP 2021, eq. 7-8).

    Args:
        activation: A, (C, H, W); gradient: of a score s with respect to it, the same shape.

    Returns:
        (H, W), 0 or more.
    """
    cam: Tensor = (gradient.relu() * activation).sum(0).relu()
    return cam


def laid_out(maps: Sequence[Tensor], frame: tuple[int, int]) -> Tensor:
    """The sum of maps (H, W) of several sizes, each enlarged to a frame (height, width) bilinearly, pixel centre to
    pixel centre."""
    total = torch.zeros(frame, dtype=maps[0].dtype, device=maps[0].device)
    for each in maps:
        total += F.interpolate(each[None, None], frame, mode="bilinear", align_corners=False)[0, 0]
    return total


def singular_values(left: Tensor, right: Tensor | None = None) -> Tensor:
    """Singular values of (…, n, m) matrices, or of left rightᵀ without making it, largest first.

    Args:
        left: (…, n, m), or (…, n, r); right: (…, m, r).
    """
    if right is not None:
        # With left = Q_l R_l and right = Q_r R_r the product is Q_l (R_l R_rᵀ) Q_rᵀ, and Q changes no singular value.
        (_, a), (_, b) = torch.linalg.qr(left), torch.linalg.qr(right)
        left = a @ b.transpose(-2, -1)
    values: Tensor = torch.linalg.svdvals(left)
    return values


def numerical_rank(values: Tensor, tokens: int) -> Tensor:
    """Count the singular values (…, r), largest first, above tokens·ε times the largest, ε of their type: what rounding
    alone would leave of a smaller rank lies below that (Golub & Van Loan, §5.5.8; as `numpy.linalg.matrix_rank`)."""
    return (values > tokens * torch.finfo(values.dtype).eps * values[..., :1]).sum(-1)


def square_shares(gradient: Float64Array, centre: tuple[float, float]) -> tuple[Float64Array, Float64Array]:
    """Return the smallest squares around a centre that hold the PARTS of a gradient's sum.

    Args:
        gradient: (H, W), 0 or more; centre: (y, x), pixels, whole numbers are centres of pixels.

    Returns:
        (parts,) sides in pixels, and (parts,) areas as parts of the frame; what of a square lies outside the frame has
        no area. NaN where the gradient is zero.
    """
    height, width = gradient.shape
    total = float(gradient.sum())
    if not total > 0:
        return np.full(len(PARTS), np.nan), np.full(len(PARTS), np.nan)
    y, x = np.abs(np.arange(height) - centre[0]), np.abs(np.arange(width) - centre[1])
    rings, ring = np.unique(np.maximum(y[:, None], x[None]), return_inverse=True)
    held = np.bincount(ring.ravel(), gradient.ravel()).cumsum() / total
    pixels = np.bincount(ring.ravel()).cumsum()
    # The last sum is 1 but for rounding.
    found = np.minimum(np.searchsorted(held, np.asarray(PARTS) * (1 - 1e-12)), len(rings) - 1)
    return 2 * rings[found] + 1, pixels[found] / gradient.size
