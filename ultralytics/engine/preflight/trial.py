"""A trial of the model before the first epoch: every shape the run will meet, forward and backward, on a copy.

What would stop or spoil a run after hours is reported at once, with the row it comes from: a module that is locked to
one image size, that gives NaN, that cannot be repeated or copied, or that no gradient reaches.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.engine.preflight.explain import find_cause, warn_untrained
from ultralytics.engine.preflight.kept import kept_by_row, tensors_of
from ultralytics.engine.preflight.probes import Probe
from ultralytics.engine.preflight.report import Memory, PreflightError, PreflightReport, does_not_fit
from ultralytics.engine.preflight.tape import FailureError, Tape
from ultralytics.nn.rows import row_label, rows_of, trainable
from ultralytics.utils.errors import UserError
from ultralytics.utils.tensors import is_finite, layout, tensors_in

SEED = 0


def preflight(
    model: nn.Module,
    probes: Sequence[Probe],
    *,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    deterministic: bool,
    batch: int,
    optimizer_copies: int = 2,
) -> PreflightReport:
    """Try a model at every probe; it, its gradients and all random streams are left as they are.

    Args:
        model: takes (B, ch, H, W) 0..1; its rows are `model.model`, and `model.spec` names them where there is one.
        probes: the first one in training mode is the reference that a failure elsewhere is compared with.
        device: where to try it.
        amp_dtype: of autocast in training, None for fp32.
        deterministic: equal passes must also agree bit for bit.
        batch: images per step, for the estimate of memory.
        optimizer_copies: tensors the optimiser keeps per weight, as above.

    Raises:
        PreflightError: the first thing the run would break on.
    """
    started = time.perf_counter()
    with (
        kept_random_state(),
        _deterministic_algorithms(deterministic),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        trial = Trial(model, device, amp_dtype)
        passed = trial.training([p for p in probes if p.train], deterministic)
        passed += trial.evaluation([p for p in probes if not p.train])
        memory = trial.memory(batch, optimizer_copies)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        trial.warnings += does_not_fit(memory, device)
    seconds = time.perf_counter() - started
    return PreflightReport(passed, seconds, memory, amp_dtype, deterministic, trial.warnings)


def check_copies(model: nn.Module, net: nn.Module) -> None:
    """A row must be copyable, before a training pass and after it, as the average and the validator copy it.

    Args:
        model: names the rows.
        net: itself, or its copy that has trained.

    Raises:
        PreflightError: a row is not.
    """
    for k, row in enumerate(rows_of(net)):
        try:
            copy.deepcopy(row)
        except Exception as e:  # whatever a module holds
            names = _attached(row)
            if names:
                what = f"it cannot be copied: self.{names[0]} holds on to the graph of its gradient"
                hint = "compute it in forward, or store it with .detach(); weights: nn.utils.parametrizations"
            else:
                what, hint = f"it cannot be copied: {_first_line(e)}", "keep only tensors, modules and plain data in it"
            raise PreflightError(what, row_label(model, k), hint) from None


class Trial:
    """A model under trial. Training probes share one copy and evaluation probes another, as in a run, where the
    averaged model never trains."""

    def __init__(self, model: nn.Module, device: torch.device, amp_dtype: torch.dtype | None) -> None:
        self.model, self.device, self.amp_dtype = model, device, amp_dtype
        self.reference: Probe | None = None
        self.largest: Probe | None = None
        self.warnings: list[str] = []

    # What is tried

    def training(self, probes: Sequence[Probe], deterministic: bool) -> list[Probe]:
        """Forward and backward; returns the probes that passed."""
        net, passed = self.copy(), []
        untouched: set[tuple[int, str]] | None = None
        cuts: list[int] = []
        for probe in probes:
            tape = self.attempt(net, probe, digests=deterministic and self.reference is None)
            if tape is None:
                continue
            none = {(k, n) for k, n, p in trainable(net) if p.grad is None}
            untouched = none if untouched is None else untouched & none
            if self.reference is None:
                self.reference, cuts = probe, tape.cuts
                check_copies(self.model, net)
                if deterministic:
                    self._check_repeats(net, probe, tape)
            passed.append(probe)
        self.largest = max(passed, key=lambda p: math.prod(p.size), default=None)
        if untouched:
            self.warnings += warn_untrained(self.model, untouched, cuts)
        return passed

    def evaluation(self, probes: Sequence[Probe]) -> list[Probe]:
        """Forward; returns the probes that passed."""
        net = self.copy()
        return [p for p in probes if self.attempt(net, p) is not None]

    def memory(self, batch: int, optimizer_copies: int) -> Memory:
        """Measure the model, and what the forward pass of the largest training probe keeps for the backward pass."""
        weights = sum(_size_in_bytes(t) for t in tensors_of(self.model))
        gradients = sum(_size_in_bytes(p) for p in self.model.parameters() if p.requires_grad)
        kept = self._activations(self.largest) // self.largest.batch if self.largest else 0
        return Memory(weights, gradients, gradients * optimizer_copies, weights, kept, batch)

    # One pass

    def copy(self) -> nn.Module:
        """Return a fresh copy on the device."""
        try:
            return copy.deepcopy(self.model).to(self.device)
        except Exception as e:  # whatever a module holds
            check_copies(self.model, self.model)
            raise PreflightError(f"the model cannot be copied: {_first_line(e)}") from None

    def run(self, net: nn.Module, probe: Probe, amp: torch.dtype | None, digests: bool = False) -> Tape:
        """One pass from the model's own weights and equal seeds.

        Raises:
            FailureError: it went wrong.
        """
        self._reset(net, probe.train)
        tape = Tape(net, probe.train, digests)
        backward = False
        try:
            with tape.watch(), torch.inference_mode(not probe.train):
                outputs = self._forward(net, probe, amp)
                if not all(map(is_finite, outputs)):
                    raise FailureError(None, "the model's output is not finite", kind="output")
                if probe.train:
                    reached = [t for t in outputs if t.requires_grad]
                    if not reached:
                        row = max(tape.cuts, default=None)
                        raise FailureError(
                            row,
                            "it cuts the gradient, and nothing would be trained",
                            hint="no .detach() or no_grad there",
                            kind="cut",
                        )
                    backward = True
                    loss = torch.stack([t.float().square().mean() for t in reached]).sum()
                    loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        except FailureError:
            raise
        except Exception as e:  # whatever a module raises
            row = tape.unfinished() if backward else tape.row
            shape = tape.shapes.get(row, "") if row is not None else ""
            if _out_of_memory(e):
                raise FailureError(row, "memory runs out", shape, kind="memory") from e
            hint = e.hint if isinstance(e, UserError) else ""
            if backward:
                inplace = "inplace" in str(e) or "in-place" in str(e)
                hint = "change no tensor in place there, nor in a row that reads its output" if inplace else hint
                raise FailureError(row, f"its backward pass fails: {_first_line(e)}", shape, hint, "backward") from e
            raise FailureError(row, _first_line(e), shape, hint) from e
        for k, name, parameter in trainable(net):
            if parameter.grad is not None:
                tape.take_gradient(k, name, parameter.grad)
        if tape.bad:
            row = max(tape.bad)
            raise FailureError(row, "its gradient is not finite", tape.shapes[row], kind="gradient")
        return tape

    def _reset(self, net: nn.Module, train: bool) -> None:
        """Weights and statistics as the model has them, modes as the trainer sets them, no gradients, equal seeds."""
        with torch.no_grad():
            own = net.state_dict()
            for name, tensor in self.model.state_dict().items():
                if name in own and own[name].shape == tensor.shape and not own[name].is_inference():
                    own[name].copy_(tensor)
        net.zero_grad(set_to_none=True)
        net.train(train)
        for row in rows_of(net):
            if any(True for _ in row.parameters()) and not any(p.requires_grad for p in row.parameters()):
                row.eval()
        _seed_all()

    def _forward(self, net: nn.Module, probe: Probe, amp: torch.dtype | None) -> list[Tensor]:
        channels = getattr(getattr(net, "spec", None), "ch", 3)
        img = torch.rand(probe.batch, channels, *probe.size, generator=torch.Generator().manual_seed(SEED))
        img = img.to(self.device).contiguous(memory_format=layout(self.device))
        with torch.autocast(self.device.type, dtype=amp, enabled=amp is not None):
            return [t for t in tensors_in(net(img)) if t.is_floating_point()]

    def _activations(self, probe: Probe) -> int:
        """Bytes kept for a backward pass, and of the rows that are computed again the most that one takes then."""
        net = self.copy()
        again: frozenset[int] = getattr(net, "checkpoint_rows", frozenset())
        kept = self._kept_by_row(net, probe)
        if not again:
            return sum(kept.values())
        cast(Any, net).checkpoint_rows = frozenset()
        within = self._kept_by_row(net, probe)
        return sum(kept.values()) + max(within.get(k, 0) for k in again)

    def _kept_by_row(self, net: nn.Module, probe: Probe) -> dict[int | None, int]:
        self._reset(net, True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they were read before
            return kept_by_row(net, lambda: self._forward(net, probe, self.amp_dtype))

    # What failed, and why

    def attempt(self, net: nn.Module, probe: Probe, digests: bool = False) -> Tape | None:
        """One pass; None when it failed where the run does not go, which is a warning.

        Raises:
            PreflightError: it failed.
        """
        amp = self._precision_at(probe)
        try:
            return self.run(net, probe, amp, digests)
        except FailureError as failure:
            what, hint = find_cause(failure, probe, amp, self.model, self.reference, self._passes)
            error = PreflightError(what, row_label(self.model, failure.row), hint)
        if probe.required:
            raise error
        self.warnings.append(str(error))
        return None

    def _precision_at(self, probe: Probe) -> torch.dtype | None:
        """Evaluation on a CPU is in fp32 always."""
        return self.amp_dtype if probe.train or self.device.type == "cuda" else None

    def _passes(self, probe: Probe, amp: torch.dtype | None) -> bool:
        try:
            self.run(self.copy(), probe, amp)
        except FailureError:
            return False
        return True

    def _check_repeats(self, net: nn.Module, probe: Probe, first: Tape) -> None:
        """Two equal passes must agree bit for bit."""
        for k, op in sorted({(-1 if k is None else k, op) for k, op in first.alerts.found}):
            where = row_label(self.model, k if k >= 0 else None)
            self.warnings.append(
                f"{where}: {op} has no deterministic form on this device: equal seeds may give other weights "
                "(another operation, or deterministic=False)"
            )
        found = first.difference(self._repeat(net, probe))
        if found is None:
            return
        # What agrees from two fresh copies is not random, but hangs on something that a checkpoint does not hold.
        truly = self._repeat(self.copy(), probe).difference(self._repeat(self.copy(), probe))
        row, what = truly or found
        where, at = row_label(self.model, row), f"at {probe}"
        if truly is None:
            self.warnings.append(
                f"{where}: its {what} hangs on state that is in no buffer: a resumed run will differ "
                "(keep it with register_buffer)"
            )
            return
        raise PreflightError(
            f"its {what} differs between two equal passes {at}",
            where,
            "draw random numbers by torch, use deterministic operations, or use deterministic=False",
        )

    def _repeat(self, net: nn.Module, probe: Probe) -> Tape:
        try:
            return self.run(net, probe, self._precision_at(probe), digests=True)
        except FailureError as failure:
            at = f"at {probe}" + (f", on an input of {failure.shape}" if failure.shape else "")
            raise PreflightError(
                f"it fails when it runs once more: {failure.what} {at}",
                row_label(self.model, failure.row),
                failure.hint,
            ) from None


def _attached(module: nn.Module) -> list[str]:
    """Name the attributes, also inside containers, that hold a tensor with a gradient's graph behind it."""
    found = []
    for prefix, part in module.named_modules():
        own = {k: v for k, v in vars(part).items() if k not in ("_parameters", "_modules", "_buffers")}
        for name, value in {**own, **part._buffers}.items():
            if any(t.grad_fn is not None for t in tensors_in(value)):
                found.append(f"{prefix}.{name}" if prefix else name)
    return found


def _size_in_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _seed_all() -> None:
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


@contextlib.contextmanager
def kept_random_state() -> Iterator[None]:
    """Leave Python's, NumPy's and torch's generators where they were."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)


@contextlib.contextmanager
def _deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Deterministic algorithms where there are some, and a warning where not, as the trainer runs them."""
    if not wanted:
        yield
        return
    on, warn_only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(on, warn_only=warn_only)


def _out_of_memory(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "DefaultCPUAllocator" in text)
    )


def _first_line(error: Exception) -> str:
    """Return an exception's first line, shortened."""
    text = error.what if isinstance(error, UserError) else str(error)
    line = (text.strip().splitlines() or [""])[0]
    line = line if len(line) <= 200 else f"{line[:199]}…"
    kind = type(error).__name__
    return line if line and isinstance(error, RuntimeError | UserError) else f"{kind}: {line}" if line else kind
