"""One pass, watched row by row: outputs, gradients, and where it went wrong."""

from __future__ import annotations

import contextlib
import hashlib
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.engine.preflight.probes import times
from ultralytics.nn.rows import rows_of
from ultralytics.utils.tensors import is_finite, tensors_in

_ALERT = re.compile(r"^(\S.*?) does not have a deterministic implementation")


class FailureError(Exception):
    """A pass that went wrong: in which row (None: outside of the rows), on which input, how."""

    def __init__(self, row: int | None, what: str, shape: str = "", hint: str = "", kind: str = "error") -> None:
        super().__init__(what)
        self.row, self.what, self.shape, self.hint, self.kind = row, what, shape, hint, kind


class Alerts:
    """Operations that torch has no deterministic form of, as its warnings name them during a pass.

    Attributes:
        found: (row, operation); row None: outside of the rows.
        operations: of each row those of its backward pass, by which a warning that comes at its end is placed.
    """

    def __init__(self, log: list[warnings.WarningMessage]) -> None:
        self.found: list[tuple[int | None, str]] = []
        self.operations: dict[int, set[str]] = {}
        self._log, self._seen = log, 0

    def read_warnings(self, k: int | None) -> None:
        """Take the warnings since the last call, of row k where that is known."""
        for message in self._log[self._seen :]:
            match = _ALERT.match(str(message.message))
            if match:
                # A backward pass warns at its end: only the name of the operation leads to the row.
                op = re.sub(r"(_out)?(_cuda|_cpu|_mps)?(_kernel|_template)?$", "", match[1]).replace("_", "").lower()
                rows: list[int | None] = [r for r, names in self.operations.items() if op in names]
                self.found += [(r, match[1]) for r in ([k] if k is not None else rows or [None])]
        self._seen = len(self._log)


class Tape:
    """Watches one pass row by row. In training every row reads its inputs through views of its own, so that the
    gradient it sends back is distinguished from those of other readers.

    Attributes:
        row: the row at work.
        shapes: of each row's inputs.
        outputs: digests by row, where requested.
        gradients: digests by row, where requested.
        bad: rows that sent back a gradient that is not finite.
        waiting: inputs of a row whose gradient has not come.
        cuts: rows that cut the gradient.
        alerts: operations that torch has no deterministic form of.
    """

    def __init__(self, net: nn.Module, train: bool, digests: bool) -> None:
        self.rows, self.train, self.digests = rows_of(net), train, digests
        self.row: int | None = None
        self.shapes: dict[int, str] = {}
        self.outputs: dict[int, list[bytes]] = {}
        self.gradients: dict[int, dict[str, bytes]] = {}
        self.bad: set[int] = set()
        self.waiting: dict[int, int] = {}
        self.cuts: list[int] = []
        self.sources: list[Any] = []
        self.alerts = Alerts([])

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Hook the rows, and collect torch's warnings, for the time of a pass."""
        handles = []
        with warnings.catch_warnings(record=True) as log:
            warnings.simplefilter("always")
            self.alerts = Alerts(log)
            try:
                for k, row in enumerate(self.rows):
                    handles.append(row.register_forward_pre_hook(lambda _, x, k=k: self._enter(k, x)))
                    handles.append(row.register_forward_hook(lambda _, x, y, k=k: self._leave(k, y)))
                yield
                self.alerts.read_warnings(None)
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
        if not is_finite(gradient):
            self.bad.add(k)
        if self.digests:
            self.gradients.setdefault(k, {})[name] = _digest_bytes(gradient)

    def _leave(self, k: int, output: Any) -> None:
        found = tensors_in(output)
        if not all(map(is_finite, found)):
            raise FailureError(k, "its output is not finite", self.shapes[k], kind="output")
        if self.digests:
            self.outputs[k] = [_digest_bytes(t) for t in found]
            self.alerts.operations[k] = _backward_operations(found, self.sources)
        trainable = any(p.requires_grad for p in self.rows[k].parameters())
        if self.train and (trainable or self.sources) and not any(t.requires_grad for t in found):
            self.cuts.append(k)
            self.waiting.pop(k, None)
        self.alerts.read_warnings(k)
        self.row = None

    def unfinished(self) -> int | None:
        """Return the row a failed backward pass was in: gradients flow from late rows to early ones."""
        rows = [k for k in self.shapes if k not in self.cuts and (self.waiting.get(k, 0) > 0 or k == 0)]
        return max(rows, default=None)

    def difference(self, other: Tape) -> tuple[int, str] | None:
        """Return the row in which another pass first differed, and in what."""
        for k, digests in self.outputs.items():
            if digests != other.outputs.get(k):
                return k, "output"
        rows = [k for k, digests in self.gradients.items() if digests != other.gradients.get(k)]
        return (max(rows), "gradient") if rows else None


def _backward_operations(outputs: Sequence[Tensor], sources: Sequence[Any]) -> set[str]:
    """Name the backward operations between a row's outputs and its inputs, as torch's warnings spell them."""
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


def _digest_bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.blake2b(flat.view(torch.uint8).numpy().tobytes(), digest_size=16).digest()
