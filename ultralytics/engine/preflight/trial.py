"""A trial of the model before the first epoch: every shape the run will meet, forward and backward, on a copy.

What would stop or spoil a run after hours is told at once, with the row it comes from: a module that is locked to one
image size, that turns out NaN, that cannot be repeated or copied, or that no gradient reaches.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
import random
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.engine.preflight.probes import Probe, times
from ultralytics.utils.errors import UserError

SEED = 0
_ALERT = re.compile(r"^(\S.*?) does not have a deterministic implementation")


class PreflightError(UserError, ValueError):
    """A model that the run would break on: which row, at which shape, why."""


@dataclass(frozen=True)
class Memory:
    """An estimate of what training holds, in bytes: `activations` per image, the rest per run."""

    weights: int
    gradients: int
    optimizer: int
    ema: int
    activations: int
    batch: int

    @property
    def fixed(self) -> int:
        """What does not depend on the batch."""
        return self.weights + self.gradients + self.optimizer + self.ema

    @property
    def total(self) -> int:
        """All of it, at `batch`."""
        return self.fixed + self.activations * self.batch


@dataclass
class PreflightReport:
    """What was tried, and what there is to know.

    Attributes:
        probes: those that passed; seconds: spent; memory: the estimate; amp_dtype: of the trial; repeats: whether two
        equal passes were compared; warnings: one line each, for the log.
    """

    probes: list[Probe]
    seconds: float
    memory: Memory
    amp_dtype: torch.dtype | None = None
    repeats: bool = False
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report in one line; the warnings are not in it."""
        sizes = sorted({p.size for p in self.probes}, key=lambda s: (math.prod(s), s))
        count = len(sizes)
        if count > 1:
            told = f"{count} shapes from {times(sizes[0])} to {times(sizes[-1])} pass"
        else:
            told = f"{times(sizes[0])} passes"
        again = ", equal when repeated" if self.repeats else ""
        memory = f"about {_human(self.memory.total)} at batch {self.memory.batch}"
        how = f"{_precision(self.amp_dtype)}{again} ({self.seconds:.1f} s)"
        return [f"Preflight: {told} forward and backward in {how}; {memory}"]


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
        amp_dtype: of autocast in training, None for fp32; deterministic: equal passes must also agree bit for bit.
        batch: images per step; optimizer_copies: tensors the optimiser keeps per weight: both of the memory estimate.

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
        trial = _Trial(model, device, amp_dtype)
        passed = trial.training([p for p in probes if p.train], deterministic)
        passed += trial.evaluation([p for p in probes if not p.train])
        memory = trial.memory(batch, optimizer_copies)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        trial.warnings += _does_not_fit(memory, device)
    seconds = time.perf_counter() - started
    return PreflightReport(passed, seconds, memory, amp_dtype, deterministic, trial.warnings)


def check_copies(model: nn.Module, net: nn.Module) -> None:
    """A row must be copyable, before a training pass and after it, as the average and the validator copy it.

    Args:
        model: names the rows; net: itself, or its copy that has trained.

    Raises:
        PreflightError: a row is not.
    """
    for k, row in enumerate(_rows(net)):
        try:
            copy.deepcopy(row)
        except Exception as e:  # whatever a module holds
            names = _attached(row)
            if names:
                what = f"it cannot be copied: self.{names[0]} holds on to the graph of its gradient"
                hint = "compute it in forward, or store it with .detach(); weights: nn.utils.parametrizations"
            else:
                what, hint = f"it cannot be copied: {_reason(e)}", "keep only tensors, modules and plain data in it"
            raise PreflightError(what, row_label(model, k), hint) from None


class _FailureError(Exception):
    """A pass that went wrong: in which row (None: outside of the rows), on which input, how."""

    def __init__(self, row: int | None, what: str, shape: str = "", hint: str = "", kind: str = "error") -> None:
        super().__init__(what)
        self.row, self.what, self.shape, self.hint, self.kind = row, what, shape, hint, kind


class _Tape:
    """Watches one pass row by row. In training every row reads its inputs through views of its own, so that the
    gradient it sends back is told from those of other readers.

    Attributes:
        row: the row at work; shapes: of each row's inputs; outputs, gradients: digests by row, where asked for.
        bad: rows that sent back a gradient that is not finite; waiting: inputs of a row whose gradient has not come.
        cuts: rows that cut the gradient; alerts: (row, operation) that torch has no deterministic form of.
    """

    def __init__(self, net: nn.Module, train: bool, digests: bool) -> None:
        self.rows, self.train, self.digests = _rows(net), train, digests
        self.row: int | None = None
        self.shapes: dict[int, str] = {}
        self.outputs: dict[int, list[bytes]] = {}
        self.gradients: dict[int, dict[str, bytes]] = {}
        self.bad: set[int] = set()
        self.waiting: dict[int, int] = {}
        self.cuts: list[int] = []
        self.alerts: list[tuple[int | None, str]] = []
        self.log: list[warnings.WarningMessage] = []
        self.read = 0
        self.sources: list[Any] = []
        self.operations: dict[int, set[str]] = {}

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Hooks on the rows, and torch's warnings collected, for the time of a pass."""
        handles = []
        with warnings.catch_warnings(record=True) as log:
            warnings.simplefilter("always")
            self.log = log
            try:
                for k, row in enumerate(self.rows):
                    handles.append(row.register_forward_pre_hook(lambda _, x, k=k: self._enter(k, x)))
                    handles.append(row.register_forward_hook(lambda _, x, y, k=k: self._leave(k, y)))
                yield
                self._read_alerts(None)
            finally:
                for handle in handles:
                    handle.remove()

    def _enter(self, k: int, inputs: Any) -> Any:
        self.row = k
        self.shapes[k] = ", ".join(times(t.shape) for t in tensors_in(inputs)) or "no tensor"
        self.sources = []
        return self._views(k, inputs) if self.train else None

    def _views(self, k: int, value: Any) -> Any:
        if isinstance(value, Tensor):
            if not value.requires_grad:
                return value
            view = value.view_as(value)
            number = self.waiting[k] = self.waiting.get(k, 0) + 1
            self.sources.append(view.grad_fn)
            view.register_hook(lambda g: self._arrived(k, f"input {number}", g))  # type: ignore[no-untyped-call]  # torch's own
            return view
        if type(value) in (list, tuple):
            return type(value)(self._views(k, v) for v in value)
        if type(value) is dict:
            return {key: self._views(k, v) for key, v in value.items()}
        return value

    def _arrived(self, k: int, name: str, gradient: Tensor) -> None:
        self.waiting[k] -= 1
        self.take_gradient(k, name, gradient)

    def take_gradient(self, k: int, name: str, gradient: Tensor) -> None:
        """Note a gradient that row k made."""
        if gradient.is_sparse:
            gradient = gradient.coalesce().values()
        if not _finite(gradient):
            self.bad.add(k)
        if self.digests:
            self.gradients.setdefault(k, {})[name] = _digest(gradient)

    def _leave(self, k: int, output: Any) -> None:
        found = tensors_in(output)
        if not all(map(_finite, found)):
            raise _FailureError(k, "its output is not finite", self.shapes[k], kind="output")
        if self.digests:
            self.outputs[k] = [_digest(t) for t in found]
            self.operations[k] = _operations(found, self.sources)
        trainable = any(p.requires_grad for p in self.rows[k].parameters())
        if self.train and (trainable or self.sources) and not any(t.requires_grad for t in found):
            self.cuts.append(k)
            self.waiting.pop(k, None)
        self._read_alerts(k)
        self.row = None

    def _read_alerts(self, k: int | None) -> None:
        for message in self.log[self.read :]:
            match = _ALERT.match(str(message.message))
            if match:
                # A backward pass tells its warnings at its end: only the name of the operation leads to the row.
                op = re.sub(r"(_out)?(_cuda|_cpu|_mps)?(_kernel|_template)?$", "", match[1]).replace("_", "").lower()
                rows: list[int | None] = [r for r, names in self.operations.items() if op in names]
                rows = [k] if k is not None else rows or [None]
                self.alerts += [(r, match[1]) for r in rows]
        self.read = len(self.log)

    def unfinished(self) -> int | None:
        """The row a failed backward pass was in: gradients flow from late rows to early ones."""
        rows = [k for k in self.shapes if k not in self.cuts and (self.waiting.get(k, 0) > 0 or k == 0)]
        return max(rows, default=None)

    def difference(self, other: _Tape) -> tuple[int, str] | None:
        """The row in which another pass first turned out otherwise, and in what."""
        for k, digests in self.outputs.items():
            if digests != other.outputs.get(k):
                return k, "output"
        rows = [k for k, digests in self.gradients.items() if digests != other.gradients.get(k)]
        return (max(rows), "gradient") if rows else None


class _Trial:
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
            none = {(k, n) for k, n, p in _trainable(net) if p.grad is None}
            untouched = none if untouched is None else untouched & none
            if self.reference is None:
                self.reference, cuts = probe, tape.cuts
                check_copies(self.model, net)
                if deterministic:
                    self._check_repeats(net, probe, tape)
            passed.append(probe)
        self.largest = max(passed, key=lambda p: math.prod(p.size), default=None)
        if untouched:
            self.warnings += self._untrained(untouched, cuts)
        return passed

    def evaluation(self, probes: Sequence[Probe]) -> list[Probe]:
        """Forward; returns the probes that passed."""
        net = self.copy()
        return [p for p in probes if self.attempt(net, p) is not None]

    def memory(self, batch: int, optimizer_copies: int) -> Memory:
        """Weigh the model, and what the forward pass of the largest training probe keeps for the backward pass."""
        weights = sum(_bytes(t) for t in _state(self.model))
        gradients = sum(_bytes(p) for p in self.model.parameters() if p.requires_grad)
        kept = self._activations(self.largest) // self.largest.batch if self.largest else 0
        return Memory(weights, gradients, gradients * optimizer_copies, weights, kept, batch)

    # One pass

    def copy(self) -> nn.Module:
        """A fresh copy on the device."""
        try:
            return copy.deepcopy(self.model).to(self.device)
        except Exception as e:  # whatever a module holds
            check_copies(self.model, self.model)
            raise PreflightError(f"the model cannot be copied: {_reason(e)}") from None

    def run(self, net: nn.Module, probe: Probe, amp: torch.dtype | None, digests: bool = False) -> _Tape:
        """One pass from the model's own weights and equal seeds.

        Raises:
            _FailureError: it went wrong.
        """
        self._reset(net, probe.train)
        tape = _Tape(net, probe.train, digests)
        backward = False
        try:
            with tape.watch(), torch.inference_mode(not probe.train):
                outputs = self._forward(net, probe, amp)
                if not all(map(_finite, outputs)):
                    raise _FailureError(None, "the model's output is not finite", kind="output")
                if probe.train:
                    reached = [t for t in outputs if t.requires_grad]
                    if not reached:
                        row = max(tape.cuts, default=None)
                        raise _FailureError(
                            row,
                            "it cuts the gradient, and nothing would be trained",
                            hint="no .detach() or no_grad there",
                            kind="cut",
                        )
                    backward = True
                    loss = torch.stack([t.float().square().mean() for t in reached]).sum()
                    loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        except _FailureError:
            raise
        except Exception as e:  # whatever a module raises
            row = tape.unfinished() if backward else tape.row
            shape = tape.shapes.get(row, "") if row is not None else ""
            if _out_of_memory(e):
                raise _FailureError(row, "memory runs out", shape, kind="memory") from e
            hint = e.hint if isinstance(e, UserError) else ""
            if backward:
                inplace = "inplace" in str(e) or "in-place" in str(e)
                hint = "change no tensor in place there, nor in a row that reads its output" if inplace else hint
                raise _FailureError(row, f"its backward pass fails: {_reason(e)}", shape, hint, "backward") from e
            raise _FailureError(row, _reason(e), shape, hint) from e
        for k, name, parameter in _trainable(net):
            if parameter.grad is not None:
                tape.take_gradient(k, name, parameter.grad)
        if tape.bad:
            row = max(tape.bad)
            raise _FailureError(row, "its gradient is not finite", tape.shapes[row], kind="gradient")
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
        for row in _rows(net):
            if any(True for _ in row.parameters()) and not any(p.requires_grad for p in row.parameters()):
                row.eval()
        _seed()

    def _forward(self, net: nn.Module, probe: Probe, amp: torch.dtype | None) -> list[Tensor]:
        channels = getattr(getattr(net, "spec", None), "ch", 3)
        img = torch.rand(probe.batch, channels, *probe.size, generator=torch.Generator().manual_seed(SEED))
        img = img.to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=amp, enabled=amp is not None):
            return [t for t in tensors_in(net(img)) if t.is_floating_point()]

    def _activations(self, probe: Probe) -> int:
        """Bytes kept for a backward pass, besides weights and their copies in another precision."""
        net = self.copy()
        self._reset(net, True)
        own = {t.untyped_storage().data_ptr() for t in _state(net)}
        shapes = {t.shape for t in net.parameters() if t.dim() > 1}
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own and tensor.shape not in shapes:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with warnings.catch_warnings(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            warnings.simplefilter("ignore")  # they were read before
            self._forward(net, probe, self.amp_dtype)
        return sum(kept.values())

    # What failed, and why

    def attempt(self, net: nn.Module, probe: Probe, digests: bool = False) -> _Tape | None:
        """One pass; None when it failed where the run does not go, which is a warning.

        Raises:
            PreflightError: it failed.
        """
        amp = self._precision_at(probe)
        try:
            return self.run(net, probe, amp, digests)
        except _FailureError as failure:
            error = self._explain(failure, probe, amp)
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
        except _FailureError:
            return False
        return True

    def _explain(self, failure: _FailureError, probe: Probe, amp: torch.dtype | None) -> PreflightError:
        """Find out by further passes what the failure hangs on: memory, precision, size, number of images or mode."""
        where = row_label(self.model, failure.row)
        what, shape = failure.what, f", on an input of {failure.shape}" if failure.shape else ""
        at = f"at {probe}, {_count(probe.batch)}{'' if probe.train else ', in evaluation'}{shape}"
        at += f": {what}" if failure.kind == "error" else ""
        if failure.kind == "memory":
            return PreflightError(f"memory runs out {at}", where, "a smaller imgsz or network, or another device")
        bad = self._bad_weights(failure.row)
        if bad:
            return PreflightError(f"its weights are not finite: {bad}", where, "start from other weights")
        told = what if failure.kind != "error" else "it fails"
        if amp is not None and self._passes(probe, None):
            name = _precision(amp)
            hint = failure.hint or (
                "bring its tensors to one type" if failure.kind == "error" else "compute that part with .float()"
            )
            return PreflightError(f"in {name} only, not in fp32: {told} {at}", where, f"{hint}, or use amp=False")
        if "more than 1 value per channel" in what:
            hint = "batch norm needs two values per channel: a larger imgsz, or a batch that leaves no image alone"
            hint += f", or {probe.avoid}" if probe.avoid else ""
            return PreflightError(f"{told} {at}", where, hint)
        reference = self.reference
        hint = failure.hint or (
            "guard divisions, roots and logarithms"
            if failure.kind in ("output", "gradient")
            else "its forward must take it"
        )
        if reference is None:
            return PreflightError(f"{told} {at}", where, hint)
        like = times(reference.size)
        if probe.size != reference.size and self._passes(_variant(probe, probe.batch, reference.size), amp):
            hint = failure.hint or "make it independent of H and W"
            hint += f", or use {probe.avoid}" if probe.avoid else ""
            if probe.required and failure.kind == "error":
                return PreflightError(f"it is locked to {like} images: {told} {at}", where, hint)
            return PreflightError(f"{told} {at}; {like} images pass", where, hint)
        if probe.batch != reference.batch and self._passes(_variant(probe, reference.batch, reference.size), amp):
            return PreflightError(f"{told} {at}; {_count(reference.batch)} at {like} pass", where, hint)
        if not probe.train:
            return PreflightError(f"it trains, but cannot be evaluated: {told} {at}", where, hint)
        return PreflightError(f"{told} {at}", where, hint)

    def _bad_weights(self, row: int | None) -> str:
        if row is None:
            return ""
        return ", ".join(n for n, p in _rows(self.model)[row].named_parameters() if not _finite(p))

    def _check_repeats(self, net: nn.Module, probe: Probe, first: _Tape) -> None:
        """Two equal passes must agree bit for bit."""
        told = sorted({(k if k is not None else -1, op) for k, op in first.alerts})
        for k, op in told:
            where = row_label(self.model, k if k >= 0 else None)
            self.warnings.append(
                f"{where}: {op} has no deterministic form on this device: equal seeds may give other weights "
                "(another operation, or deterministic=False)"
            )
        found = first.difference(self._again(net, probe))
        if found is None:
            return
        # What agrees from two fresh copies is not random, but hangs on something that a checkpoint does not hold.
        truly = self._again(self.copy(), probe).difference(self._again(self.copy(), probe))
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

    def _again(self, net: nn.Module, probe: Probe) -> _Tape:
        try:
            return self.run(net, probe, self._precision_at(probe), digests=True)
        except _FailureError as failure:
            at = f"at {probe}" + (f", on an input of {failure.shape}" if failure.shape else "")
            raise PreflightError(
                f"it fails when it runs once more: {failure.what} {at}",
                row_label(self.model, failure.row),
                failure.hint,
            ) from None

    def _untrained(self, untouched: set[tuple[int, str]], cuts: Sequence[int]) -> list[str]:
        """Warnings about parameters without a gradient: whole rows together, parts by name."""
        names: dict[int, list[str]] = {}
        for k, name, _ in _trainable(self.model):
            names.setdefault(k, []).append(name)
        missed = {k: [n for n in own if (k, n) in untouched] for k, own in names.items()}
        whole = [k for k, own in names.items() if own == missed[k]]
        told = []
        if whole:
            by = f": {', '.join(row_label(self.model, k) for k in cuts)} cuts it" if cuts else ""
            rows = ", ".join(f"{k} ({_name(self.model, k)})" for k in whole[:6]) + (", …" if len(whole) > 6 else "")
            told.append(
                f"no gradient reaches row{'s' * (len(whole) > 1)} {rows}{by}; weights there will not be trained"
            )
        for k, missing in missed.items():
            if missing and k not in whole:
                some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
                told.append(f"{row_label(self.model, k)}: no gradient reaches {some}; what is not used is not trained")
        return told


def _variant(probe: Probe, batch: int, size: tuple[int, int]) -> Probe:
    return Probe(probe.name, batch, size, probe.train)


def _rows(model: nn.Module) -> Sequence[nn.Module]:
    return list(model.model)  # type: ignore[arg-type]  # a Sequential


def _trainable(model: nn.Module) -> Iterator[tuple[int, str, nn.Parameter]]:
    """Row, name and tensor of every parameter that is to be trained."""
    for k, row in enumerate(_rows(model)):
        for name, parameter in row.named_parameters():
            if parameter.requires_grad:
                yield k, name, parameter


def _name(model: nn.Module, k: int) -> str:
    specs = getattr(getattr(model, "spec", None), "rows", ())
    return str(specs[k].module) if k < len(specs) else type(_rows(model)[k]).__name__


def row_label(model: nn.Module, k: int | None) -> str:
    """Where a row stands: file and line where they are known, its number and module."""
    if k is None:
        return "outside of the rows"
    specs = getattr(getattr(model, "spec", None), "rows", ())
    where = str(specs[k].where) if k < len(specs) else ""
    return where or f"row {getattr(_rows(model)[k], 'i', k)} ({_name(model, k)})"


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of a nested output."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors_in(v)] if isinstance(value, list | tuple) else []


def _attached(module: nn.Module) -> list[str]:
    """Attributes, also inside containers, that hold a tensor with a gradient's graph behind it."""
    found = []
    for prefix, part in module.named_modules():
        own = {k: v for k, v in vars(part).items() if k not in ("_parameters", "_modules", "_buffers")}
        for name, value in {**own, **part._buffers}.items():
            if any(t.grad_fn is not None for t in tensors_in(value)):
                found.append(f"{prefix}.{name}" if prefix else name)
    return found


def _operations(outputs: Sequence[Tensor], sources: Sequence[Any]) -> set[str]:
    """Names of the backward operations between a row's outputs and its inputs, as torch's warnings spell them."""
    seen, names = set(sources), set()
    queue = [t.grad_fn for t in outputs]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names.add(node.name().lower().rstrip("0123456789"))
        queue += [n for n, _ in node.next_functions]
    return names


def _finite(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor).all())


def _digest(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.blake2b(flat.view(torch.uint8).numpy().tobytes(), digest_size=16).digest()


def _state(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _seed() -> None:
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


def _does_not_fit(memory: Memory, device: torch.device) -> list[str]:
    """A warning when the estimate is above what the GPU has, what torch already holds of it included."""
    available = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    if memory.total <= available:
        return []
    fits = max(available - memory.fixed, 0) // max(memory.activations, 1)
    told = f"batch={fits} would fit" if fits else "not even one image would fit"
    needs, has = _human(memory.total), _human(available)
    return [f"training needs about {needs} at batch {memory.batch}, and the GPU has {has}: {told}"]


def _reason(error: Exception) -> str:
    """An exception's first line, shortened."""
    text = error.what if isinstance(error, UserError) else str(error)
    line = (text.strip().splitlines() or [""])[0]
    line = line if len(line) <= 200 else f"{line[:199]}…"
    kind = type(error).__name__
    return line if line and isinstance(error, RuntimeError | UserError) else f"{kind}: {line}" if line else kind


def _count(images: int) -> str:
    return f"{images} image{'s' * (images != 1)}"


def _precision(dtype: torch.dtype | None) -> str:
    return {None: "fp32", torch.bfloat16: "mixed bf16", torch.float16: "mixed fp16"}[dtype]


def _human(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
