"""Why a pass failed, found by further passes, and which weights no gradient reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ultralytics.engine.preflight.probes import Probe, times
from ultralytics.engine.preflight.report import precision_name
from ultralytics.engine.preflight.tape import FailureError
from ultralytics.nn.rows import row_label, row_name, rows_of, trainable
from ultralytics.utils.tensors import is_finite
from ultralytics.utils.text import counted

Passes = Callable[[Probe, "torch.dtype | None"], bool]  # a pass at a probe, in a precision: does it end well?


def find_cause(
    failure: FailureError,
    probe: Probe,
    amp: torch.dtype | None,
    model: nn.Module,
    reference: Probe | None,
    passes: Passes,
) -> tuple[str, str]:
    """Find out by further passes what a failure hangs on: memory, precision, size, number of images or mode.

    Args:
        failure: of the pass.
        probe: at which it happened.
        amp: its precision, None for fp32.
        model: names the rows.
        reference: a probe that passed in training, if any has.
        passes: tries a fresh copy.

    Returns:
        What is wrong, and the hint.
    """
    is_error = failure.kind == "error"
    at = f"at {probe}, {counted(probe.batch, 'image')}{'' if probe.train else ', in evaluation'}"
    at += f", on an input of {failure.shape}" if failure.shape else ""
    at += f": {failure.what}" if is_error else ""
    if failure.kind == "memory":
        return f"memory runs out {at}", "a smaller imgsz or network, or another device"
    bad = _bad_weights(model, failure.row)
    if bad:
        return f"its weights are not finite: {bad}", "start from other weights"
    fails = "it fails" if is_error else failure.what
    other = f"or use {probe.avoid}" if probe.avoid else ""
    if amp is not None and passes(probe, None):
        hint = failure.hint or ("bring its tensors to one type" if is_error else "compute that part with .float()")
        return f"in {precision_name(amp)} only, not in fp32: {fails} {at}", f"{hint}, or use amp=False"
    if "more than 1 value per channel" in failure.what:
        hint = "batch norm needs two values per channel: a larger imgsz, or a batch that leaves no image alone"
        return f"{fails} {at}", hint + (f", or {probe.avoid}" if probe.avoid else "")
    numbers = failure.kind in ("output", "gradient")
    hint = failure.hint or ("guard divisions, roots and logarithms" if numbers else "its forward must take it")
    if reference is None:
        return f"{fails} {at}", hint
    like = times(reference.size)
    if probe.size != reference.size and passes(_vary(probe, probe.batch, reference.size), amp):
        hint = ", ".join(filter(None, (failure.hint or "make it independent of H and W", other)))
        if probe.required and is_error:
            return f"it is locked to {like} images: {fails} {at}", hint
        return f"{fails} {at}; {like} images pass", hint
    if probe.batch != reference.batch and passes(_vary(probe, reference.batch, reference.size), amp):
        return f"{fails} {at}; {counted(reference.batch, 'image')} at {like} pass", hint
    return ("" if probe.train else "it trains, but cannot be evaluated: ") + f"{fails} {at}", hint


def _bad_weights(model: nn.Module, row: int | None) -> str:
    """Name the parameters of a row that are not finite."""
    found = () if row is None else rows_of(model)[row].named_parameters()
    return ", ".join(n for n, p in found if not is_finite(p))


def _vary(probe: Probe, batch: int, size: tuple[int, int]) -> Probe:
    return Probe(probe.name, batch, size, probe.train)


def warn_untrained(model: nn.Module, untouched: set[tuple[int, str]], cuts: Sequence[int]) -> list[str]:
    """Warn of parameters without a gradient: all of a row together, some by name."""
    names: dict[int, list[str]] = {}
    for k, name, _ in trainable(model):
        names.setdefault(k, []).append(name)
    missed = {k: [n for n in known if (k, n) in untouched] for k, known in names.items()}
    untrained = [k for k, known in names.items() if known == missed[k]]
    found = []
    if untrained:
        by = f": {', '.join(row_label(model, k) for k in cuts)} cuts it" if cuts else ""
        rows = ", ".join(f"{k} ({row_name(model, k)})" for k in untrained[:6]) + (", …" if len(untrained) > 6 else "")
        found.append(
            f"no gradient reaches row{'s' * (len(untrained) > 1)} {rows}{by}; weights there will not be trained"
        )
    for k, missing in missed.items():
        if missing and k not in untrained:
            some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
            found.append(f"{row_label(model, k)}: no gradient reaches {some}; what is not used is not trained")
    return found
