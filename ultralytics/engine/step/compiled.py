"""The network's part of a step, compiled by `torch.compile` for the sizes of a run.

Nothing compiled hangs on the network: it is copied, saved, averaged and watched as the plain one that it is, and its
weights keep their names. Loss and assigner stay outside.
"""

from __future__ import annotations

import contextlib
import logging
import time
import types
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ultralytics.engine.preflight.breaks import breaks_so_far, broken_rows
from ultralytics.engine.step.unmoved import unmoved
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.tensors import tensors_in

MAX_SIZES = 4  # heights and widths that a run compiles for: each takes a minute or more
BACKEND = "inductor"


class Sizes(Protocol):
    """What remembers for which sizes a run has compiled; a resumed run compiles for the same."""

    compiled: list[list[int]]


def mode_of(compile: bool | str) -> str:  # as the key is called
    """Return torch.compile's mode for `compile=`."""
    return compile if isinstance(compile, str) else "default"


def options_of(mode: str, deterministic: bool) -> dict[str, Any]:
    """Return inductor's options of a mode, with dropout that draws what it draws without and, if deterministic, no
    kernels chosen by the clock where they would round otherwise."""
    inductor: Any = torch._inductor
    options = {**inductor.list_mode_options(mode), "fallback_random": True}
    if deterministic and "deterministic" in inductor.list_options():  # of newer versions
        options["deterministic"] = True
    return options


class Compiled:
    """Computes a network's outputs in training: compiled for whole batches of up to MAX_SIZES heights and widths, by
    the network itself otherwise, and while a hook watches its rows.

    A size is compiled and tried with zeros before a step goes through it, so that no step ends half done. Which sizes
    are compiled is the run's to remember.

    Args:
        model: the network.
        compile: of the configuration: True, or a mode by its name, without which the run must not go on.
        deterministic: of the run; autocast: its precision for a forward pass.
        sizes: compiled for so far.

    Raises:
        ConfigError: this Python or torch has no torch.compile, and a mode was named.
    """

    def __init__(
        self,
        model: nn.Module,
        compile: bool | str,  # as the key is called
        deterministic: bool,
        autocast: Callable[[], contextlib.AbstractContextManager[Any]],
        sizes: Sizes,
    ) -> None:
        self.model, self.key, self.autocast, self.sizes = model, compile, autocast, sizes
        self.images = 0
        self.off = False
        self._ready: set[tuple[int, ...]] = set()
        self._watched, self._noted = _hooks_of(model), set[str]()
        self._run: Callable[[nn.Module, Tensor], Any] = _forward
        self.graphs = False
        try:
            options = options_of(mode_of(compile), deterministic) if BACKEND == "inductor" else None
            self.graphs = bool(options and options.get("triton.cudagraphs")) and next(model.parameters()).is_cuda
            self._run = torch.compile(_own(_forward), dynamic=False, backend=BACKEND, options=options)
        except Exception as e:  # a Python that torch.compile does not know
            self._give_up(e)

    def begin(self, img: Tensor) -> None:
        """Compile for the batches that a run begins with.

        Args:
            img: a whole batch of it, (B, 3, H, W); the network is in the mode in which it is trained.

        Raises:
            ConfigError: it cannot be compiled, and a mode was named.
        """
        self.images = len(img)
        self._is_compiled(img)

    def __call__(self, img: Tensor) -> Any:
        """Compute the outputs for images (B, 3, H, W)."""
        if not self._is_compiled(img):
            return self.model(img)
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # torch's own
        return self._run(self.model, img)

    def keep_gradients(self) -> None:
        """Take the gradients out of the memory of CUDA graphs, which the next step writes again: they gather."""
        if self.graphs and not self.off:
            held = [(p, p.grad) for p in self.model.parameters() if p.grad is not None]
            kept = torch._foreach_mul([gradient for _, gradient in held], 1.0) if held else ()
            for (p, _), gradient in zip(held, kept, strict=True):
                p.grad = gradient

    def _is_compiled(self, img: Tensor) -> bool:
        """Return True if there is compiled code for a batch; for a new size, make it."""
        if self.off or len(img) != self.images or not self.model.training:
            return False
        if any(self._watched):
            self._note("a hook watches the network: batches go through it uncompiled meanwhile")
            return False
        size, known = [int(n) for n in img.shape[2:]], self.sizes.compiled
        if size not in known:
            if len(known) >= MAX_SIZES:
                self._note(f"batches of more than {MAX_SIZES} sizes: those of further sizes go uncompiled")
                return False
            known.append(size)
        if tuple(size) not in self._ready:
            self._compile(img)
            self._ready.add(tuple(size))
        return not self.off

    def _compile(self, img: Tensor) -> None:
        """Compile for batches of a shape, forward and backward; the network stays as it is."""
        started, before = time.perf_counter(), breaks_so_far()
        shape = "×".join(map(str, img.shape))
        LOGGER.info(
            "compile=%s: compiling the network for batches of %s, which takes a minute or more", self.key, shape
        )
        zeros = torch.zeros_like(img)
        try:
            with unmoved(self.model), _quiet(), torch.enable_grad():
                with self.autocast():
                    outputs = self._run(self.model, zeros)
                losses = [t.float().mean() for t in tensors_in(outputs) if t.requires_grad]
                torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
        except Exception as e:  # whatever a compiler raises
            self._give_up(e)
            return
        LOGGER.info("Compiled in %.0f s", time.perf_counter() - started)
        if breaks_so_far() - before and len(self._ready) == 0:
            try:
                with unmoved(self.model), _quiet(), self.autocast():
                    lines = broken_rows(self.model, zeros, _own)
            except Exception as e:  # whatever a compiler raises; the run does not depend on it
                lines = [f"the graph breaks, and its row could not be found: {first_line(e)}"]
            for line in lines:
                LOGGER.warning("compile=%s: %s", self.key, line)

    def _give_up(self, error: Exception) -> None:
        """Go on with the plain network.

        Raises:
            ConfigError: a mode was named, and nothing has been compiled yet.
        """
        self.off = True
        reason = f"the network cannot be compiled: {first_line(error)}"
        if isinstance(self.key, str) and not self._ready:
            raise ConfigError(
                f"compile={self.key}: {reason}", hint="compile=True goes on without where it must"
            ) from None
        LOGGER.warning("compile=%s has no effect from here on: %s", self.key, reason)

    def _note(self, line: str) -> None:
        if line not in self._noted:
            self._noted.add(line)
            LOGGER.info("compile=%s: %s", self.key, line)


def first_line(error: Exception) -> str:
    """Return what an exception says, or the one inside it that a compiler has met, in one short line."""
    while isinstance(inner := getattr(error, "inner_exception", None), Exception):
        error = inner
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    line = text if len(text) <= 200 else f"{text[:199]}…"
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _forward(model: nn.Module, img: Tensor) -> Any:
    return model(img)


def _own(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with code of its own: torch keeps what it compiles, and counts it, by the code object."""
    return types.FunctionType(function.__code__.replace(), function.__globals__)


def _hooks_of(model: nn.Module) -> list[Any]:
    """Return the collections in which a network's modules keep the hooks of a pass: compiled code would not call those
    that come later."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [getattr(module, kind) for module in model.modules() for kind in kinds]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the compiler's own warnings, pages of them, from the screen."""
    logger = logging.getLogger("torch._dynamo")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
