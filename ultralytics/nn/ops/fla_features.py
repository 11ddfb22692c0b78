"""What Triton kernels of linear attention do on the chip with the tokens they hold: read them, φ, products.

Legend: C = h·d channels, h heads of width d, p the focusing factor; x, u, m, t, c, n and φ as in `fla_kernels.py`.
"""

# mypy: disable-error-code="assignment, misc"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def power_of(t, P: tl.constexpr):
    """t^P for t ≥ 0; small whole powers by multiplication."""
    if P == 0:
        out = tl.where(t == t, 1.0, t)
    elif P == 1:
        out = t
    elif P == 2:
        out = t * t
    elif P == 3:
        out = t * t * t
    elif P == 4:
        out = (t * t) * (t * t)
    elif P == 8:
        out = (t * t) * (t * t)
        out = out * out
    else:
        out = tl.exp2(P * tl.log2(t))
    return out


@triton.jit
def read(x, rows, columns, mask, stride: tl.constexpr):
    """Elements [rows, columns] of an image in fp32, 0 where the mask is off."""
    return tl.load(x + rows[:, None] * stride + columns[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def projected(x, position, rows, columns, mask, C: tl.constexpr):
    """x of queries or, with positions, of keys."""
    out = read(x, rows, columns, mask, 3 * C)
    if position is not None:
        out += read(position, rows, columns, mask, C)
    return out


@triton.jit
def positive(x, inverse_sigma, EPS: tl.constexpr):
    """u of x; a NaN stays one, as in torch's relu."""
    return (tl.where(x <= 0, 0.0, x) + EPS) * inverse_sigma[None, :]


@triton.jit
def inverted(sigma, channels, inside):
    """1/σ, if there is a σ."""
    out = None
    if sigma is not None:
        out = 1.0 / tl.load(sigma + channels, mask=inside, other=1.0)
    return out


@triton.jit
def kept_statistics(stats, apart, rows, live):
    """1/m, c and n; of rows beyond the image 0, 0 and 1, so that φ and its gradient are 0 there."""
    inverse = tl.load(stats + rows, mask=live, other=0.0)
    factor = tl.load(stats + apart + rows, mask=live, other=0.0)
    return inverse, factor, tl.load(stats + 2 * apart + rows, mask=live, other=1.0)


@triton.jit
def focused(x, position, rows, channels, mask, inverse_sigma, inverse, factor, C: tl.constexpr, P: tl.constexpr,
             EPS: tl.constexpr):  # fmt: skip
    """u, t and φ of one head of a block of tokens."""
    u = positive(projected(x, position, rows, channels, mask, C), inverse_sigma, EPS)
    t = tl.where(mask, u * inverse[:, None], 0.0)
    return u, t, power_of(t, P) * factor[:, None]


@triton.jit
def features(x, position, rows, channels, live, mask, inverse_sigma, stats, apart, C: tl.constexpr, P: tl.constexpr,
             EPS: tl.constexpr, KIND: tl.constexpr):  # fmt: skip
    """φ of one head of a block of tokens, 0 beyond the image: φ_p where KIND is "focused", ReLU where it is "relu",
    ELU + 1 where it is "magnitude"."""
    if KIND == "focused":
        inverse, factor, _norm = kept_statistics(stats, apart, rows, live)
        _u, _t, phi = focused(x, position, rows, channels, mask, inverse_sigma, inverse, factor, C, P, EPS)
    else:
        given = projected(x, position, rows, channels, mask, C)
        if KIND == "relu":
            phi = tl.where(given <= 0, 0.0, given)
        else:
            phi = tl.where(given > 0, given + 1.0, tl.exp(tl.where(given > 0, 0.0, given)))
        phi = tl.where(mask, phi, 0.0)
    return phi


@triton.jit
def through(g, phi, KIND: tl.constexpr):
    """The gradient of x from g, that of φ, where φ acts number by number: its slope is read off φ itself."""
    if KIND == "relu":
        out = tl.where(phi == 0, 0.0, g)
    else:
        out = g * tl.where(phi > 1, 1.0, phi)
    return out


@triton.jit
def product(a, b, PRECISION: tl.constexpr):
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def square(matrix, columns, inside, D: tl.constexpr):
    """A head's d×d matrix, padded with 0."""
    return tl.load(matrix + columns[:, None] * D + columns[None, :], mask=inside[:, None] & inside[None, :], other=0.0)


@triton.jit
def square_across(matrix, columns, inside, D: tl.constexpr):
    return tl.load(matrix + columns[None, :] * D + columns[:, None], mask=inside[:, None] & inside[None, :], other=0.0)


@triton.jit
def summed_over_heads(x, N, rows, live, HEADS: tl.constexpr, HEADS_PAD: tl.constexpr):
    """Σ of (h, N) over its heads, of a block of tokens."""
    heads = tl.arange(0, HEADS_PAD)
    mask = live[:, None] & (heads < HEADS)[None, :]
    return tl.sum(tl.load(x + rows[:, None] + heads[None, :] * N, mask=mask, other=0.0), 1)
