"""Triton kernels of focused linear attention: the core of `FocusedLinearAttention`, forward and backward.

Legend: B images, N = H·W tokens, C = h·d channels, h heads of width d (padded on the chip to PAD, a power of two), p
the focusing factor, x_q, x_k, v the three parts of `qkv` (B, N, 3C), read where they lie.

    u = (ReLU(x) + ε)/σ, k's x with positions;   m = max u,  t = u/m,  n = ‖u‖ (over all C)
    φ = c·t^p with c = m‖t‖/‖t^p‖;   S = Σ φ_kᵀ v / N,  s = Σ φ_k / N  (per head);   ζ = φ_q·s + ε/N
    o = φ_q S/ζ + DWC(v)

A token keeps three numbers (`stats`): 1/m, c and n. Backward of φ, with g the gradient of φ and r = ⟨g, φ⟩/n² over all
C: du = r·u + (p·c/m)·t^(p−1)·(g − r·φ). ⟨g, φ⟩ of a query is what ε leaves of it: Σ_h (ε/N)·⟨φ, dO Sᵀ⟩/ζ².

Sums over tokens are made in parts, one per program, which are added up in a fixed order by another launch: no atomics,
and the same bits every time. N, H and W are run-time numbers that no kernel is specialised for. Products of half
precision are made of tf32, those of fp32 of fp32 (`PRECISION`); sums are fp32. Places within an image fit 32 bits (the
caller sees to that), images are 64 bits apart.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def probe_kernel(x, SIZE: tl.constexpr):
    """Write ones: the least that shows that kernels can be compiled and run."""
    tl.store(x + tl.arange(0, SIZE), tl.full([SIZE], 1.0, tl.float32))


@triton.jit
def _raised(t, P: tl.constexpr):
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
def _read(x, rows, columns, mask, stride: tl.constexpr):
    """Elements [rows, columns] of an image in fp32, 0 where the mask is off."""
    return tl.load(x + rows[:, None] * stride + columns[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _projected(x, position, rows, columns, mask, C: tl.constexpr):
    """x of queries or, with positions, of keys."""
    out = _read(x, rows, columns, mask, 3 * C)
    if position is not None:
        out += _read(position, rows, columns, mask, C)
    return out


@triton.jit
def _positive(x, inverse_sigma, EPS: tl.constexpr):
    """u of x; a NaN stays one, as in torch's relu."""
    return (tl.where(x <= 0, 0.0, x) + EPS) * inverse_sigma[None, :]


@triton.jit
def _inverse_sigma(sigma, channels, inside):
    return 1.0 / tl.load(sigma + channels, mask=inside, other=1.0)


@triton.jit
def _statistics(
    x, position, sigma, rows, live,
    C: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """1/m, c and n of a block of tokens, channels in chunks: sums so far are scaled when a larger maximum comes."""
    peak = tl.zeros([BLOCK], tl.float32)
    squares = tl.zeros([BLOCK], tl.float32)
    powers = tl.zeros([BLOCK], tl.float32)
    for start in range(0, C, CHUNK):
        channels = start + tl.arange(0, CHUNK)
        inside = channels < C
        mask = live[:, None] & inside[None, :]
        u = _positive(_projected(x, position, rows, channels, mask, C), _inverse_sigma(sigma, channels, inside), EPS)
        u = tl.where(inside[None, :], u, 0.0)
        top = tl.maximum(peak, tl.max(u, 1))
        t = u * (1.0 / top)[:, None]
        kept = peak / top
        raised, raised_kept = _raised(t, P), _raised(kept, P)
        squares = squares * kept * kept + tl.sum(t * t, 1)
        powers = powers * raised_kept * raised_kept + tl.sum(raised * raised, 1)
        peak = top
    norm = peak * tl.sqrt_rn(squares)
    return 1.0 / peak, norm / tl.sqrt_rn(powers), norm


@triton.jit
def _keep_statistics(stats, apart, rows, live, inverse, factor, norm):
    tl.store(stats + rows, inverse, mask=live)
    tl.store(stats + apart + rows, factor, mask=live)
    tl.store(stats + 2 * apart + rows, norm, mask=live)


@triton.jit
def _kept_statistics(stats, apart, rows, live):
    """1/m, c and n; of rows beyond the image 0, 0 and 1, so that φ and its gradient are 0 there."""
    inverse = tl.load(stats + rows, mask=live, other=0.0)
    factor = tl.load(stats + apart + rows, mask=live, other=0.0)
    return inverse, factor, tl.load(stats + 2 * apart + rows, mask=live, other=1.0)


@triton.jit
def _focused(x, position, rows, channels, mask, inverse_sigma, inverse, factor, C: tl.constexpr, P: tl.constexpr,
             EPS: tl.constexpr):  # fmt: skip
    """u, t and φ of one head of a block of tokens."""
    u = _positive(_projected(x, position, rows, channels, mask, C), inverse_sigma, EPS)
    t = tl.where(mask, u * inverse[:, None], 0.0)
    return u, t, _raised(t, P) * factor[:, None]


@triton.jit
def _product(a, b, PRECISION: tl.constexpr):
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def _matrix(matrix, columns, inside, D: tl.constexpr):
    """A head's d×d matrix, padded with 0."""
    return tl.load(matrix + columns[:, None] * D + columns[None, :], mask=inside[:, None] & inside[None, :], other=0.0)


@triton.jit
def _transposed(matrix, columns, inside, D: tl.constexpr):
    return tl.load(matrix + columns[None, :] * D + columns[:, None], mask=inside[:, None] & inside[None, :], other=0.0)


@triton.jit
def _convolved(
    x, out, taps, rows, live, columns, inside, H, W,
    stride: tl.constexpr, D: tl.constexpr, K: tl.constexpr, SIGN: tl.constexpr,
):  # fmt: skip
    """out + the depth-wise K×K convolution of a head (SIGN 1), or its transpose (SIGN −1)."""
    y, z = rows // W, rows % W
    for i in range(K):
        dy = (i - K // 2) * SIGN
        along_y = live & (y + dy >= 0) & (y + dy < H)
        for j in tl.static_range(K):
            dx = (j - K // 2) * SIGN
            seen = along_y & (z + dx >= 0) & (z + dx < W)
            near = _read(x, rows + dy * W + dx, columns, seen[:, None] & inside[None, :], stride)
            out += near * tl.load(taps + (i * K + j) * D + columns, mask=inside, other=0.0)[None, :]
    return out


@triton.jit(do_not_specialize=["N"])
def key_statistics_kernel(
    qkv, position, sigma, stats, N,
    C: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Statistics of the keys, (3, B, N). Grid (blocks, B)."""
    image = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k = qkv + image * N * (3 * C) + C
    inverse, factor, norm = _statistics(k, position, sigma, rows, rows < N, C, BLOCK, CHUNK, P, EPS)
    apart = tl.num_programs(1).to(tl.int64) * N
    _keep_statistics(stats + image * N, apart, rows, rows < N, inverse, factor, norm)


@triton.jit(do_not_specialize=["N", "tokens"])
def state_kernel(
    x, position, y, sigma, stats, weights, partial, N, tokens, APART: tl.constexpr,
    C: tl.constexpr, D: tl.constexpr, PAD: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Each part's Σ φ(x)ᵀ (w ⊙ y) and Σ w' φ(x): S and s of keys and values, dS and ds of queries and dO. Grid (heads,
    parts, B).

    x: of queries or keys, its tokens 3C apart; y: (B, N, …), APART apart; `stats` of x's tokens, (3, B, N); `weights`
    (B, h, 2, N), w and w', None for 1/N; `tokens` of a part, a multiple of BLOCK; `partial` (B, parts, C·d + C).
    """
    head, part, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    x += image * N * (3 * C)
    y += image * N * APART
    stats += image * N
    if weights is not None:
        weights += (image * tl.num_programs(0) + head) * 2 * N
    partial += (image * tl.num_programs(1) + part) * (C * D + C)
    apart = tl.num_programs(2).to(tl.int64) * N
    share = 1.0 / N.to(tl.float32)
    columns = tl.arange(0, PAD)
    inside = columns < D
    channels = head * D + columns
    inverse_sigma = _inverse_sigma(sigma, channels, inside)
    state = tl.zeros([PAD, PAD], tl.float32)
    total = tl.zeros([BLOCK, PAD], tl.float32)
    first = part * tokens
    last = tl.minimum(first + tokens, N)
    for start in range(first, last, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        live = rows < last
        mask = live[:, None] & inside[None, :]
        inverse, factor, _norm = _kept_statistics(stats, apart, rows, live)
        _u, _t, phi = _focused(x, position, rows, channels, mask, inverse_sigma, inverse, factor, C, P, EPS)
        values = _read(y, rows, channels, mask, APART)
        if weights is not None:
            values *= tl.load(weights + rows, mask=live, other=0.0)[:, None]
            total += phi * tl.load(weights + N + rows, mask=live, other=0.0)[:, None]
        else:
            values *= share
            total += phi * share
        state += _product(tl.trans(phi), values, PRECISION)
    places = partial + head * D * D + columns[:, None] * D + columns[None, :]
    tl.store(places, state, mask=inside[:, None] & inside[None, :])
    tl.store(partial + C * D + channels, tl.sum(total, 0), mask=inside)


@triton.jit(do_not_specialize=["N", "H", "W", "heads"])
def output_kernel(
    qkv, sigma, taps, bias, state, stats, out, N, H, W, heads,
    C: tl.constexpr, D: tl.constexpr, PAD: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
    BLOCK: tl.constexpr, CHUNK: tl.constexpr, PRECISION: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Statistics of the queries, and o of a block of tokens. Grid (blocks, B, groups of heads); `state` (B, C·d + C),
    `stats` of the queries (3, B, N), `taps` (K², d), `bias` (d)."""
    image = tl.program_id(1).to(tl.int64)
    q = qkv + image * N * (3 * C)
    state += image * (C * D + C)
    out += image * N * C
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = rows < N
    inverse, factor, norm = _statistics(q, None, sigma, rows, live, C, BLOCK, CHUNK, P, EPS)
    _keep_statistics(stats + image * N, tl.num_programs(1).to(tl.int64) * N, rows, live, inverse, factor, norm)
    columns = tl.arange(0, PAD)
    inside = columns < D
    mask = live[:, None] & inside[None, :]
    eps = EPS / N.to(tl.float32)
    group = tl.program_id(2)
    for head in range(group * heads, tl.minimum(group * heads + heads, C // D)):
        channels = head * D + columns
        inverse_sigma = _inverse_sigma(sigma, channels, inside)
        _u, _t, phi = _focused(q, None, rows, channels, mask, inverse_sigma, inverse, factor, C, P, EPS)
        total = tl.load(state + C * D + channels, mask=inside, other=0.0)
        weight = tl.sum(phi * total[None, :], 1) + eps
        o = _product(phi, _matrix(state + head * D * D, columns, inside, D), PRECISION) * (1.0 / weight)[:, None]
        if K > 0:
            o += tl.load(bias + columns, mask=inside, other=0.0)[None, :]
            o = _convolved(q + 2 * C + head * D, o, taps, rows, live, columns, inside, H, W, 3 * C, D, K, 1)
        tl.store(out + rows[:, None] * C + channels[None, :], o.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _query_products(
    q, grad, sigma, state, rows, live, head, columns, inside, inverse, factor, eps,
    C: tl.constexpr, D: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """u, t, φ of a head of a block of queries, a = dO Sᵀ, ⟨φ, a⟩, ζ and s."""
    channels = head * D + columns
    mask = live[:, None] & inside[None, :]
    inverse_sigma = _inverse_sigma(sigma, channels, inside)
    u, t, phi = _focused(q, None, rows, channels, mask, inverse_sigma, inverse, factor, C, P, EPS)
    total = tl.load(state + C * D + channels, mask=inside, other=0.0)
    across = _transposed(state + head * D * D, columns, inside, D)
    a = _product(_read(grad, rows, channels, mask, C), across, PRECISION)
    return u, t, phi, a, tl.sum(phi * a, 1), tl.sum(phi * total[None, :], 1) + eps, total


@triton.jit
def _keep_gradient(
    dx, dsigma, g, u, t, phi, ratio, inverse, factor, sigma, rows, live, head, columns, inside,
    C: tl.constexpr, D: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Store dx of a head and its part of dσ, from g = dφ and ratio = ⟨dφ, φ⟩/n² over all C."""
    channels = head * D + columns
    mask = live[:, None] & inside[None, :]
    inverse_sigma = _inverse_sigma(sigma, channels, inside)
    du = ratio[:, None] * u + (P * factor * inverse)[:, None] * _raised(t, P - 1) * (g - ratio[:, None] * phi)
    tl.store(dsigma + channels, -tl.sum(tl.where(mask, du * u, 0.0), 0) * inverse_sigma, mask=inside)
    # Where relu gave 0, u is ε/σ to the bit.
    du = tl.where(u == EPS * inverse_sigma[None, :], 0.0, du * inverse_sigma[None, :])
    tl.store(dx + rows[:, None] * (3 * C) + channels[None, :], du.to(dx.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["N"])
def query_gradient_kernel(
    grad, qkv, sigma, state, stats, weights, dqkv, partial_sigma, N,
    C: tl.constexpr, D: tl.constexpr, PAD: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq of a block of tokens, its part of dσ, and for dS and ds the `weights` (B, h, 2, N): 1/ζ and dζ. Grid (blocks,
    B); `partial_sigma` (B, blocks, C)."""
    image = tl.program_id(1).to(tl.int64)
    q = qkv + image * N * (3 * C)
    dq = dqkv + image * N * (3 * C)
    grad += image * N * C
    state += image * (C * D + C)
    weights += image * N * (2 * (C // D))
    partial_sigma += (image * tl.num_programs(0) + tl.program_id(0)) * C
    eps = EPS / N.to(tl.float32)
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = rows < N
    columns = tl.arange(0, PAD)
    inside = columns < D
    inverse, factor, norm = _kept_statistics(stats + image * N, tl.num_programs(1).to(tl.int64) * N, rows, live)
    along = tl.zeros([BLOCK], tl.float32)
    place = weights + rows
    for head in range(0, C // D):
        u, t, phi, a, dot, weight, total = _query_products(
            q, grad, sigma, state, rows, live, head, columns, inside, inverse, factor, eps, C, D, P, EPS, PRECISION
        )
        share = 1.0 / weight
        along += dot * (eps * share) * share
        tl.store(place, share, mask=live)
        tl.store(place + N, -dot * share * share, mask=live)
        place += 2 * N
    ratio = along / norm / norm
    for head in range(0, C // D):
        u, t, phi, a, dot, weight, total = _query_products(
            q, grad, sigma, state, rows, live, head, columns, inside, inverse, factor, eps, C, D, P, EPS, PRECISION
        )
        share = 1.0 / weight
        dphi = a * share[:, None] - (dot * share * share)[:, None] * total[None, :]
        _keep_gradient(
            dq, partial_sigma, dphi, u, t, phi, ratio, inverse, factor, sigma, rows, live, head, columns, inside,
            C, D, P, EPS,
        )  # fmt: skip


@triton.jit
def _key_products(
    k, position, sigma, dstate, rows, live, head, columns, inside, inverse, factor, share,
    C: tl.constexpr, D: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """u, t, φ of a head of a block of keys, and dφ = (v dSᵀ + ds)/N."""
    channels = head * D + columns
    mask = live[:, None] & inside[None, :]
    inverse_sigma = _inverse_sigma(sigma, channels, inside)
    u, t, phi = _focused(k, position, rows, channels, mask, inverse_sigma, inverse, factor, C, P, EPS)
    dtotal = tl.load(dstate + C * D + channels, mask=inside, other=0.0)
    across = _transposed(dstate + head * D * D, columns, inside, D)
    dphi = (_product(_read(k + C, rows, channels, mask, 3 * C), across, PRECISION) + dtotal[None, :]) * share
    return u, t, phi, dphi


@triton.jit(do_not_specialize=["N", "H", "W"])
def key_gradient_kernel(
    grad, qkv, position, sigma, taps, dstate, stats, dqkv, partial_sigma, N, H, W,
    C: tl.constexpr, D: tl.constexpr, PAD: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """dk and dv of a block of tokens, and its part of dσ. Grid (blocks, B); `dstate` (B, C·d + C) as `state`, `stats`
    of the keys (3, B, N), `partial_sigma` (B, blocks, C)."""
    image = tl.program_id(1).to(tl.int64)
    k = qkv + image * N * (3 * C) + C
    dk = dqkv + image * N * (3 * C) + C
    grad += image * N * C
    dstate += image * (C * D + C)
    partial_sigma += (image * tl.num_programs(0) + tl.program_id(0)) * C
    share = 1.0 / N.to(tl.float32)
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = rows < N
    columns = tl.arange(0, PAD)
    inside = columns < D
    mask = live[:, None] & inside[None, :]
    inverse, factor, norm = _kept_statistics(stats + image * N, tl.num_programs(1).to(tl.int64) * N, rows, live)
    along = tl.zeros([BLOCK], tl.float32)
    for head in range(0, C // D):
        u, t, phi, dphi = _key_products(
            k, position, sigma, dstate, rows, live, head, columns, inside, inverse, factor, share,
            C, D, P, EPS, PRECISION,
        )  # fmt: skip
        along += tl.sum(phi * dphi, 1)
    ratio = along / norm / norm
    for head in range(0, C // D):
        u, t, phi, dphi = _key_products(
            k, position, sigma, dstate, rows, live, head, columns, inside, inverse, factor, share,
            C, D, P, EPS, PRECISION,
        )  # fmt: skip
        _keep_gradient(
            dk, partial_sigma, dphi, u, t, phi, ratio, inverse, factor, sigma, rows, live, head, columns, inside,
            C, D, P, EPS,
        )  # fmt: skip
        dv = _product(phi, _matrix(dstate + head * D * D, columns, inside, D), PRECISION) * share
        if K > 0:
            dv = _convolved(grad + head * D, dv, taps, rows, live, columns, inside, H, W, C, D, K, -1)
        place = dk + C + rows[:, None] * (3 * C) + (head * D + columns)[None, :]
        tl.store(place, dv.to(dqkv.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["N", "H", "W", "tokens"])
def taps_gradient_kernel(
    grad, qkv, partial, N, H, W, tokens,
    C: tl.constexpr, D: tl.constexpr, PAD: tl.constexpr, BLOCK: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Each part's gradient of the convolution's taps and, in the last row, of its bias. Grid (heads, parts, B);
    `partial` (B, parts, heads, K² + 1, d)."""
    head, part, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    v = qkv + image * N * (3 * C) + 2 * C + head * D
    grad += image * N * C + head * D
    partial += ((image * tl.num_programs(1) + part) * tl.num_programs(0) + head) * ((K * K + 1) * D)
    first = part * tokens
    last = tl.minimum(first + tokens, N)
    columns = tl.arange(0, PAD)
    inside = columns < D
    for tap in range(K * K):
        dy, dx = tap // K - K // 2, tap % K - K // 2
        dtap = tl.zeros([BLOCK, PAD], tl.float32)
        for start in range(first, last, BLOCK):
            rows = start + tl.arange(0, BLOCK)
            y, z = rows // W + dy, rows % W + dx
            seen = (rows < last) & (y >= 0) & (y < H) & (z >= 0) & (z < W)
            mask = seen[:, None] & inside[None, :]
            dtap += _read(grad, rows, columns, mask, C) * _read(v, rows + dy * W + dx, columns, mask, 3 * C)
        tl.store(partial + tap * D + columns, tl.sum(dtap, 0), mask=inside)
    dbias = tl.zeros([BLOCK, PAD], tl.float32)
    for start in range(first, last, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        dbias += _read(grad, rows, columns, (rows < last)[:, None] & inside[None, :], C)
    tl.store(partial + K * K * D + columns, tl.sum(dbias, 0), mask=inside)
