"""Triton kernels of linear attention, forward and backward: the core of `FocusedLinearAttention`, and others by KIND.

Legend: B images, N = H·W tokens, C = h·d channels, h heads of width d (padded on the chip to PAD, a power of two), p
the focusing factor, x_q, x_k, v the three parts of `qkv` (B, N, 3C), read where they lie.

    u = (ReLU(x) + ε)/σ, k's x with positions;   m = max u,  t = u/m,  n = ‖u‖ (over all C)
    φ = c·t^p with c = m‖t‖/‖t^p‖;   S = Σ φ_kᵀ v / N,  s = Σ φ_k / N  (per head);   ζ = φ_q·s + ε/N
    o = φ_q S/ζ + DWC(v)

A token keeps three numbers (`stats`): 1/m, c and n. Backward of φ, with g the gradient of φ and r = ⟨g, φ⟩/n² over all
C: du = r·u + (p·c/m)·t^(p−1)·(g − r·φ). ⟨g, φ⟩ of a query is what ε leaves of it: −(ε/N)·Σ_h dζ.

KIND "focused" is that. Where φ acts number by number there are no statistics, and the two kernels of the state make dq
and dk too, so that those of focused attention are not launched: "relu" is the same with φ = ReLU and no DWC. For
"magnitude" (MALA), φ = ELU + 1, φ_q is divided by √d, v̄ = Σ v / N, and S̄ = S − s v̄ᵀ, so that nothing large cancels:

    z = φ_q·s,  w = 1/(z + ε);   o = (1 + w)·φ_q S̄ + z·w·v̄,   which is (1 + w)·φ_q S − z·v̄ of MALA

But for the statistics, a program holds one head, and goes through the tokens of its part of an image with the head's
matrices at hand. What a token's heads must know of one another (⟨g, φ⟩) is kept per head by the kernel before. The
convolution walks over the map by itself, and leaves its result where the next kernel adds the rest to it.

Sums over tokens are made in parts, one per program, which are added up in a fixed order by another launch: no atomics,
and the same bits every time. N, H and W are run-time numbers that no kernel is specialised for, nor for where a part
of a buffer begins that depends on them. Products of half
precision are made of tf32, those of fp32 of fp32 (`PRECISION`); sums are fp32. Places within an image fit 32 bits (the
caller sees to that), images are 64 bits apart.
"""

# Tuples grow tensor by tensor while a kernel is compiled: Triton knows no unpacking there, and a checker no such types.
# ruff: noqa: RUF005
# mypy: disable-error-code="assignment, misc, var-annotated"
from __future__ import annotations

import triton
import triton.language as tl

from ultralytics.nn.ops.fla_features import (
    features,
    focused,
    inverted,
    kept_statistics,
    positive,
    power_of,
    product,
    read,
    square,
    square_across,
    summed_over_heads,
    through,
)


@triton.jit
def probe_kernel(x, SIZE: tl.constexpr):
    """Write ones: the least that shows that kernels can be compiled and run."""
    tl.store(x + tl.arange(0, SIZE), tl.full([SIZE], 1.0, tl.float32))


@triton.jit(do_not_specialize=["N"], do_not_specialize_on_alignment=["stats"])
def statistics_kernel(
    qkv, position, sigma, stats, N,
    C: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """1/m, c and n of queries and keys, (2, 3, B, N). Grid (blocks, B, 2). Channels come in chunks: sums so far are
    scaled when a larger maximum comes."""
    image, of_keys = tl.program_id(1).to(tl.int64), tl.program_id(2)
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = rows < N
    x = qkv + image * N * (3 * C) + of_keys * C
    keyed = tl.zeros([1, 1], tl.int32) + of_keys == 1  # the interpreter takes no mask of a number
    none = tl.zeros([BLOCK], tl.float32)
    peak, squares, powers = none, none, none
    for start in range(0, C, CHUNK):
        channels = start + tl.arange(0, CHUNK)
        inside = channels < C
        mask = live[:, None] & inside[None, :]
        moved = read(x, rows, channels, mask, 3 * C) + read(position, rows, channels, mask & keyed, C)
        u = positive(moved, inverted(sigma, channels, inside), EPS)
        u = tl.where(inside[None, :], u, 0.0)
        top = tl.maximum(peak, tl.max(u, 1))
        t = u * (1.0 / top)[:, None]
        kept = peak / top
        raised, raised_kept = power_of(t, P), power_of(kept, P)
        squares = squares * kept * kept + tl.sum(t * t, 1)
        powers = powers * raised_kept * raised_kept + tl.sum(raised * raised, 1)
        peak = top
    norm = peak * tl.sqrt_rn(squares)
    apart = tl.num_programs(1).to(tl.int64) * N
    stats += of_keys * 3 * apart + image * N
    tl.store(stats + rows, 1.0 / peak, mask=live)
    tl.store(stats + apart + rows, norm / tl.sqrt_rn(powers), mask=live)
    tl.store(stats + 2 * apart + rows, norm, mask=live)


@triton.jit(do_not_specialize=["N", "tokens"], do_not_specialize_on_alignment=["stats"])
def state_kernel(
    qkv, position, sigma, stats, partial, N, tokens,
    C: tl.constexpr, D: tl.constexpr, PAD: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """Each part's S and s, and v̄ for "magnitude". Grid (heads, parts, B); `stats` of the keys; `tokens` of a part, a
    multiple of BLOCK; `partial` (B, parts, WIDE)."""
    WIDE: tl.constexpr = C * D + (2 * C if KIND == "magnitude" else C)
    head, part, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    k = qkv + image * N * (3 * C) + C
    if stats is not None:
        stats += image * N
    partial += (image * tl.num_programs(1) + part) * WIDE
    apart = tl.num_programs(2).to(tl.int64) * N
    share = 1.0 / N.to(tl.float32)
    columns = tl.arange(0, PAD)
    inside = columns < D
    channels = head * D + columns
    inverse_sigma = inverted(sigma, channels, inside)
    state = tl.zeros([PAD, PAD], tl.float32)
    total = tl.zeros([BLOCK, PAD], tl.float32)
    mean = tl.zeros([BLOCK, PAD], tl.float32)
    first, last = part * tokens, tl.minimum(part * tokens + tokens, N)
    for start in range(first, last, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        live = rows < last
        mask = live[:, None] & inside[None, :]
        phi = features(k, position, rows, channels, live, mask, inverse_sigma, stats, apart, C, P, EPS, KIND)
        total += phi * share
        values = read(k + C, rows, channels, mask, 3 * C) * share
        if KIND == "magnitude":
            mean += values
        state += product(tl.trans(phi), values, PRECISION)
    _keep_state(partial, state, total, mean, head, columns, inside, C, D, KIND)


@triton.jit
def _keep_state(partial, state, total, mean, head, columns, inside, C: tl.constexpr, D: tl.constexpr,
                KIND: tl.constexpr):  # fmt: skip
    places = partial + head * D * D + columns[:, None] * D + columns[None, :]
    tl.store(places, state, mask=inside[:, None] & inside[None, :])
    tl.store(partial + C * D + head * D + columns, tl.sum(total, 0), mask=inside)
    if KIND == "magnitude":
        tl.store(partial + C * D + C + head * D + columns, tl.sum(mean, 0), mask=inside)


@triton.jit(do_not_specialize=["N", "tokens"], do_not_specialize_on_alignment=["stats"])
def output_kernel(
    qkv, sigma, state, stats, out, N, tokens,
    C: tl.constexpr, D: tl.constexpr, PAD: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr, ADD: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """φ(q)S/ζ, added to what `out` has where ADD; for "magnitude" (1 + w)·φ(q)S + z·w·v̄. Grid (heads, parts, B);
    `state` (B, WIDE), `stats` of the queries."""
    WIDE: tl.constexpr = C * D + (2 * C if KIND == "magnitude" else C)
    head, part, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    q = qkv + image * N * (3 * C)
    state += image * WIDE
    if stats is not None:
        stats += image * N
    out += image * N * C
    apart = tl.num_programs(2).to(tl.int64) * N
    eps = EPS / N.to(tl.float32)
    columns = tl.arange(0, PAD)
    inside = columns < D
    channels = head * D + columns
    inverse_sigma = inverted(sigma, channels, inside)
    total = tl.load(state + C * D + channels, mask=inside, other=0.0)
    matrix = square(state + head * D * D, columns, inside, D)
    if KIND == "magnitude":
        eps = EPS
        mean = tl.load(state + C * D + C + channels, mask=inside, other=0.0)
        matrix -= total[:, None] * mean[None, :]
    first, last = part * tokens, tl.minimum(part * tokens + tokens, N)
    for start in range(first, last, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        live = rows < last
        mask = live[:, None] & inside[None, :]
        phi = features(q, None, rows, channels, live, mask, inverse_sigma, stats, apart, C, P, EPS, KIND)
        phi = phi * D**-0.5 if KIND == "magnitude" else phi
        z = tl.sum(phi * total[None, :], 1)
        share = 1.0 / (z + eps)
        if KIND == "magnitude":
            o = product(phi, matrix, PRECISION) * (1.0 + share)[:, None] + (z * share)[:, None] * mean[None, :]
        else:
            o = product(phi, matrix, PRECISION) * share[:, None]
        if ADD:
            o += read(out, rows, channels, mask, C)
        tl.store(out + rows[:, None] * C + channels[None, :], o.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["N", "tokens"], do_not_specialize_on_alignment=["stats", "dzeta"])
def query_state_kernel(
    grad, qkv, sigma, state, stats, dzeta, dqkv, partial, N, tokens,
    C: tl.constexpr, D: tl.constexpr, PAD: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """Each part's dS = Σ φ(q)ᵀ(dO/ζ) and ds = Σ dζ φ(q), and dζ = −⟨φ(q), dO Sᵀ⟩/ζ², (B, h, N), or, unless "focused",
    dq. Grid and `partial` as of `state_kernel`, `state` and `stats` as of `output_kernel`."""
    WIDE: tl.constexpr = C * D + (2 * C if KIND == "magnitude" else C)
    head, part, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    q = qkv + image * N * (3 * C)
    grad += image * N * C
    state += image * WIDE
    if stats is not None:
        stats += image * N
    if KIND == "focused":
        dzeta += (image * (C // D) + head) * N
    else:
        dqkv += image * N * (3 * C)
    partial += (image * tl.num_programs(1) + part) * WIDE
    apart = tl.num_programs(2).to(tl.int64) * N
    eps = EPS / N.to(tl.float32)
    columns = tl.arange(0, PAD)
    inside = columns < D
    channels = head * D + columns
    inverse_sigma = inverted(sigma, channels, inside)
    total = tl.load(state + C * D + channels, mask=inside, other=0.0)
    across = square_across(state + head * D * D, columns, inside, D)
    if KIND == "magnitude":
        eps = EPS
        mean = tl.load(state + C * D + C + channels, mask=inside, other=0.0)
        across -= mean[:, None] * total[None, :]
    dstate = tl.zeros([PAD, PAD], tl.float32)
    dtotal = tl.zeros([BLOCK, PAD], tl.float32)
    dmean = tl.zeros([BLOCK, PAD], tl.float32)
    first, last = part * tokens, tl.minimum(part * tokens + tokens, N)
    for start in range(first, last, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        live = rows < last
        mask = live[:, None] & inside[None, :]
        own = features(q, None, rows, channels, live, mask, inverse_sigma, stats, apart, C, P, EPS, KIND)
        phi = own * D**-0.5 if KIND == "magnitude" else own
        z = tl.sum(phi * total[None, :], 1)
        share = 1.0 / (z + eps)
        do = read(grad, rows, channels, mask, C)
        attended = product(do, across, PRECISION)
        down = -tl.sum(phi * attended, 1) * share * share
        if KIND == "magnitude":
            down += tl.sum(do * mean[None, :], 1) * eps * share * share
            dmean += do * (z * share)[:, None]
            share += 1.0
        if KIND == "focused":
            tl.store(dzeta + rows, down, mask=live)
        else:
            g = attended * share[:, None] + down[:, None] * total[None, :]
            g = g * D**-0.5 if KIND == "magnitude" else g
            dq = dqkv + rows[:, None] * (3 * C) + channels[None, :]
            tl.store(dq, through(g, own, KIND).to(dqkv.dtype.element_ty), mask=mask)
        dtotal += phi * down[:, None]
        dstate += product(tl.trans(phi), do * share[:, None], PRECISION)
    _keep_state(partial, dstate, dtotal, dmean, head, columns, inside, C, D, KIND)


@triton.jit
def _gradient(
    dx, g, u, t, phi, ratio, inverse, factor, inverse_sigma, rows, channels, mask,
    C: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Store dx of a head from g = dφ and ratio = ⟨dφ, φ⟩/n² over all C; return its part of dσ, by token."""
    du = ratio[:, None] * u + (P * factor * inverse)[:, None] * power_of(t, P - 1) * (g - ratio[:, None] * phi)
    # Where relu gave 0, u is ε/σ to the bit.
    passed = tl.where(u == EPS * inverse_sigma[None, :], 0.0, du * inverse_sigma[None, :])
    tl.store(dx + rows[:, None] * (3 * C) + channels[None, :], passed.to(dx.dtype.element_ty), mask=mask)
    return tl.where(mask, -du * u * inverse_sigma[None, :], 0.0)


@triton.jit(do_not_specialize=["N", "tokens"], do_not_specialize_on_alignment=["stats", "dzeta", "partial_sigma"])
def query_gradient_kernel(
    grad, qkv, sigma, state, stats, dzeta, dqkv, partial_sigma, N, tokens,
    C: tl.constexpr, D: tl.constexpr, PAD: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr, HEADS_PAD: tl.constexpr,
):  # fmt: skip
    """dq, and each part's dσ, (B, parts, C). Grid (heads, parts, B); `dzeta` of all heads."""
    head, part, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    q = qkv + image * N * (3 * C)
    dq = dqkv + image * N * (3 * C)
    grad += image * N * C
    state += image * (C * D + C)
    stats += image * N
    dzeta += image * (C // D) * N
    partial_sigma += (image * tl.num_programs(1) + part) * C
    apart = tl.num_programs(2).to(tl.int64) * N
    eps = EPS / N.to(tl.float32)
    columns = tl.arange(0, PAD)
    inside = columns < D
    channels = head * D + columns
    inverse_sigma = inverted(sigma, channels, inside)
    total = tl.load(state + C * D + channels, mask=inside, other=0.0)
    across = square_across(state + head * D * D, columns, inside, D)
    dsigma = tl.zeros([BLOCK, PAD], tl.float32)
    first, last = part * tokens, tl.minimum(part * tokens + tokens, N)
    for start in range(first, last, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        live = rows < last
        mask = live[:, None] & inside[None, :]
        inverse, factor, norm = kept_statistics(stats, apart, rows, live)
        ratio = -eps * summed_over_heads(dzeta, N, rows, live, C // D, HEADS_PAD) / norm / norm
        u, t, phi = focused(q, None, rows, channels, mask, inverse_sigma, inverse, factor, C, P, EPS)
        share = 1.0 / (tl.sum(phi * total[None, :], 1) + eps)
        down = tl.load(dzeta + head * N + rows, mask=live, other=0.0)
        g = product(read(grad, rows, channels, mask, C), across, PRECISION) * share[:, None]
        g += down[:, None] * total[None, :]
        dsigma += _gradient(
            dq, g, u, t, phi, ratio, inverse, factor, inverse_sigma, rows, channels, mask, C, P, EPS
        )  # fmt: skip
    tl.store(partial_sigma + channels, tl.sum(dsigma, 0), mask=inside)


@triton.jit(do_not_specialize=["N", "tokens"], do_not_specialize_on_alignment=["stats", "along"])
def value_gradient_kernel(
    qkv, position, sigma, state, dstate, stats, along, dqkv, N, tokens,
    C: tl.constexpr, D: tl.constexpr, PAD: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr, ADD: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """dv = φ(k) dS/N, added to what is there where ADD, and ⟨dφ(k), φ(k)⟩ of each head, (B, h, N), or, unless
    "focused", dk. Grid (heads, parts, B); `dstate` (B, WIDE), `state` too, for "magnitude" alone; `stats` of the
    keys."""
    WIDE: tl.constexpr = C * D + (2 * C if KIND == "magnitude" else C)
    head, part, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    k = qkv + image * N * (3 * C) + C
    dv = dqkv + image * N * (3 * C) + 2 * C
    dstate += image * WIDE
    if stats is not None:
        stats += image * N
    if along is not None:
        along += (image * (C // D) + head) * N
    apart = tl.num_programs(2).to(tl.int64) * N
    share = 1.0 / N.to(tl.float32)
    columns = tl.arange(0, PAD)
    inside = columns < D
    channels = head * D + columns
    inverse_sigma = inverted(sigma, channels, inside)
    dtotal = tl.load(dstate + C * D + channels, mask=inside, other=0.0)
    matrix = square(dstate + head * D * D, columns, inside, D) * share
    if KIND != "focused":
        across = square_across(dstate + head * D * D, columns, inside, D) * share
    if KIND == "magnitude":
        state += image * WIDE + C * D
        total = tl.load(state + channels, mask=inside, other=0.0)
        mean = tl.load(state + C + channels, mask=inside, other=0.0)
        dmean = tl.load(dstate + C * D + C + channels, mask=inside, other=0.0) * share
    first, last = part * tokens, tl.minimum(part * tokens + tokens, N)
    for start in range(first, last, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        live = rows < last
        mask = live[:, None] & inside[None, :]
        phi = features(k, position, rows, channels, live, mask, inverse_sigma, stats, apart, C, P, EPS, KIND)
        values = read(k + C, rows, channels, mask, 3 * C)
        if KIND == "magnitude":
            values -= mean[None, :]
            attended = product(phi - total[None, :], matrix, PRECISION) + dmean[None, :]
        else:
            attended = product(phi, matrix, PRECISION)
        if KIND == "focused":
            # ⟨φ, v dSᵀ⟩ = ⟨φ dS, v⟩: one product serves both.
            tl.store(along + rows, tl.sum(attended * values + phi * (dtotal * share)[None, :], 1), mask=live)
        else:
            g = through(product(values, across, PRECISION) + (dtotal * share)[None, :], phi, KIND)
            dk = dqkv + image * N * (3 * C) + C + rows[:, None] * (3 * C) + channels[None, :]
            tl.store(dk, g.to(dqkv.dtype.element_ty), mask=mask)
        place = dv + rows[:, None] * (3 * C) + channels[None, :]
        if ADD:
            attended += tl.load(place, mask=mask, other=0.0).to(tl.float32)
        tl.store(place, attended.to(dqkv.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["N", "tokens"], do_not_specialize_on_alignment=["stats", "along", "partial_sigma"])
def key_gradient_kernel(
    qkv, position, sigma, dstate, stats, along, dqkv, partial_sigma, N, tokens,
    C: tl.constexpr, D: tl.constexpr, PAD: tl.constexpr, P: tl.constexpr, EPS: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr, HEADS_PAD: tl.constexpr,
):  # fmt: skip
    """dk, and each part's dσ, (B, parts, C). Grid (heads, parts, B); `along` of all heads."""
    head, part, image = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    k = qkv + image * N * (3 * C) + C
    dk = dqkv + image * N * (3 * C) + C
    dstate += image * (C * D + C)
    stats += image * N
    along += image * (C // D) * N
    partial_sigma += (image * tl.num_programs(1) + part) * C
    apart = tl.num_programs(2).to(tl.int64) * N
    share = 1.0 / N.to(tl.float32)
    columns = tl.arange(0, PAD)
    inside = columns < D
    channels = head * D + columns
    inverse_sigma = inverted(sigma, channels, inside)
    dtotal = tl.load(dstate + C * D + channels, mask=inside, other=0.0)
    across = square_across(dstate + head * D * D, columns, inside, D)
    dsigma = tl.zeros([BLOCK, PAD], tl.float32)
    first, last = part * tokens, tl.minimum(part * tokens + tokens, N)
    for start in range(first, last, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        live = rows < last
        mask = live[:, None] & inside[None, :]
        inverse, factor, norm = kept_statistics(stats, apart, rows, live)
        ratio = summed_over_heads(along, N, rows, live, C // D, HEADS_PAD) / norm / norm
        u, t, phi = focused(k, position, rows, channels, mask, inverse_sigma, inverse, factor, C, P, EPS)
        values = read(k + C, rows, channels, mask, 3 * C)
        g = (product(values, across, PRECISION) + dtotal[None, :]) * share
        dsigma += _gradient(
            dk, g, u, t, phi, ratio, inverse, factor, inverse_sigma, rows, channels, mask, C, P, EPS
        )  # fmt: skip
    tl.store(partial_sigma + channels, tl.sum(dsigma, 0), mask=inside)


@triton.jit
def _column(x, places, seen, place, W, stride: tl.constexpr):
    """A column of the rows at hand, 0 beyond the map."""
    along = tl.zeros([1, 1], tl.int32) + place  # the interpreter takes no mask of a number
    return tl.load(x + places + along * stride, mask=seen & (along >= 0) & (along < W), other=0.0)


@triton.jit(do_not_specialize=["H", "W", "deep"])
def convolution_kernel(  # size: one loop, and what it carries is all that it works on
    x, taps, bias, out, v, partial, H, W, deep, X_APART: tl.constexpr, OUT_APART: tl.constexpr, C: tl.constexpr,
    D: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr, K: tl.constexpr, FLIP: tl.constexpr,
):  # fmt: skip
    """The depth-wise K×K convolution of a map (B, H, W, C), or its transpose (FLIP), into `out`, if that is given; and
    if `partial` is, with dO for x and `v` 3C apart, each part's gradient of the taps and, in the last row, of the bias.

    A program walks along its rows. Each column that it meets is read once by each row that sees it, and added to the K
    columns of results that are open; multiplied with the K columns of v around it, it gives K² sums.

    Grid (parts, blocks of channels, B); `deep` rows of a part, a multiple of ROWS; x and `out` so many numbers apart by
    token; taps (d, K²); bias (d) or None; `partial` (B, parts, K² + 1, C).
    """
    part, image = tl.program_id(0), tl.program_id(2).to(tl.int64)
    HALF: tl.constexpr = K // 2
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channels < C
    own = channels % D
    x += image * H * W * X_APART
    begin = tl.zeros([ROWS, CHANNELS], tl.float32)
    weights = ()
    if out is not None:
        out += image * H * W * OUT_APART
        for tap in tl.static_range(K * K):
            place = taps + own * (K * K) + (K * K - 1 - tap if FLIP else tap)
            weights = weights + (tl.load(place, mask=inside, other=0.0).to(tl.float32)[None, :],)
        if bias is not None:
            begin += tl.load(bias + own, mask=inside, other=0.0).to(tl.float32)[None, :]
    dtaps = ()
    if partial is not None:
        v += image * H * W * (3 * C)
        partial += (image * tl.num_programs(0) + part) * ((K * K + 1) * C)
        for _ in tl.static_range(K * K + 1):
            dtaps = dtaps + (tl.zeros([ROWS, CHANNELS], tl.float32),)
    first = part * deep
    for start in range(first, tl.minimum(first + deep, H), ROWS):
        y = start + tl.arange(0, ROWS)
        mine = (y < H)[:, None] & inside[None, :]
        places, seen, coming, open_ones, around = (), (), (), (), ()
        for i in tl.static_range(K):
            near = y + (i - HALF)
            places = places + (near[:, None] * W * X_APART + channels[None, :],)
            seen = seen + (((near >= 0) & (near < H))[:, None] & inside[None, :],)
            coming = coming + (_column(x, places[i], seen[i], 0, W, X_APART),)
            if out is not None:
                open_ones = open_ones + (begin,)
        of_v = y[:, None] * W * (3 * C) + channels[None, :]
        of_out = y[:, None] * W * OUT_APART + channels[None, :]
        if partial is not None:
            for j in tl.static_range(K):
                around = around + (_column(v, of_v, mine, j - HALF, W, 3 * C),)
        for column in range(0, W + HALF):
            met, after = (), ()
            for i in tl.static_range(K):
                met = met + (coming[i].to(tl.float32),)
                after = after + (_column(x, places[i], seen[i], column + 1, W, X_APART),)  # type: ignore[unreachable]  # mypy knows no growing tuple
            coming = after
            if partial is not None:
                sums = ()
                for tap in tl.static_range(K * K):
                    sums = sums + (dtaps[tap] + around[tap % K].to(tl.float32) * met[K - 1 - tap // K],)
                dtaps = sums + (dtaps[K * K] + met[HALF],)
                later = ()
                for j in tl.static_range(K - 1):
                    later = later + (around[j + 1],)
                around = later + (_column(v, of_v, mine, column + 1 + HALF, W, 3 * C),)
            if out is not None:
                added = ()
                for j in tl.static_range(K):
                    result = open_ones[j]
                    for i in tl.static_range(K):
                        result += met[i] * weights[i * K + K - 1 - j]
                    added = added + (result,)
                done = tl.zeros([1, 1], tl.int32) + (column - HALF)
                tl.store(out + of_out + done * OUT_APART, added[0].to(out.dtype.element_ty), mask=mine & (done >= 0))
                later = ()
                for j in tl.static_range(K - 1):
                    later = later + (added[j + 1],)
                open_ones = later + (begin,)
    if partial is not None:
        for tap in tl.static_range(K * K + 1):
            tl.store(partial + tap * C + channels, tl.sum(dtaps[tap], 0), mask=inside)
