"""Functions of the user's that are called at the events of training, validation, prediction and export."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from ultralytics.nn.plugins import plugin_modules
from ultralytics.utils.errors import ConfigError, UserError, nearest
from ultralytics.utils.text import one_line

Callback = Callable[[Any], object]

# The reference's events, in the order in which a run meets them, and when each comes.
EVENTS = {
    "on_pretrain_routine_start": "before the model and the loaders are made",
    "on_pretrain_routine_end": "after they are made",
    "on_train_start": "before the first epoch",
    "on_train_epoch_start": "before an epoch's batches",
    "on_train_batch_start": "before a batch's step",
    "optimizer_step": "after the optimiser's step, before the average follows",
    "on_before_zero_grad": "before the gradients are cleared",
    "on_train_batch_end": "after a batch's step",
    "on_train_epoch_end": "after an epoch's batches, before its validation",
    "on_fit_epoch_end": "after an epoch's validation and save, and after the validation of the best weights",
    "on_model_save": "after last.pt and best.pt are written",
    "on_train_end": "at the end of a run",
    "on_params_update": "after the averaged weights have followed",
    "teardown": "after on_train_end",
    "on_val_start": "before the first batch of a validation",
    "on_val_batch_start": "before a batch of it",
    "on_val_batch_end": "after a batch of it",
    "on_val_end": "after its metrics are there",
    "on_predict_start": "before the first batch of a prediction",
    "on_predict_batch_start": "before a batch of it",
    "on_predict_postprocess_end": "when a batch's results are there",
    "on_predict_batch_end": "after a batch; what `predictor.results` then holds is what predict returns",
    "on_predict_end": "after the last batch",
    "on_export_start": "before a network is written for another runtime",
    "on_export_end": "when the file is kept",
}


class CallbackError(UserError):
    """A callback has failed; `__cause__` is what it raised.

    What is raised is also of the class of what the callback raised, so that a script whose callback leaves a run by an
    exception of its own still catches that.
    """

    def __str__(self) -> str:
        return str(self.args[0])


class Callbacks(dict[str, list[Callback]]):
    """The functions of each event, in the order in which they are called.

    Args:
        others: functions to begin with, such as the callbacks of a YOLO object.
    """

    def __init__(self, others: Mapping[str, list[Callback]] | None = None) -> None:
        super().__init__({event: [] for event in EVENTS})
        self._plugins: dict[str, list[Callback]] = {}  # plugin file → its functions
        if isinstance(others, Callbacks):
            self._plugins |= others._plugins
        for event, functions in (others or {}).items():
            self[event].extend(functions)

    @classmethod
    def of(cls, others: Mapping[str, list[Callback]] | None) -> Callbacks:
        """Return the very functions where they are Callbacks, else new ones that begin with them."""
        return others if isinstance(others, Callbacks) else cls(others)

    def __missing__(self, event: str) -> list[Callback]:
        raise ConfigError(
            f"there is no event {str(event)!r}", hint=nearest(str(event), self) or f"one of {', '.join(EVENTS)}"
        )

    def add(self, event: str, function: Callback) -> None:
        """Call a function at an event, after those that are there.

        Raises:
            ConfigError: there is no such event, or it is no function.
        """
        functions = self[event]
        if not callable(function):
            raise ConfigError(f"the callback of {event} is {function!r}, and no function", hint="give its name alone")
        functions.append(function)

    def replace(self, event: str, function: Callback) -> None:
        """Call a function at an event instead of those that are there."""
        self.drop(event)
        self.add(event, function)

    def drop(self, event: str) -> None:
        """Forget the functions of an event."""
        self[event].clear()

    def run(self, event: str, owner: object) -> None:
        """Call the functions of an event with the trainer, validator or predictor.

        Raises:
            CallbackError: one of them fails.
        """
        for function in tuple(self[event]):
            try:
                function(owner)
            except Exception as e:  # whatever a user's function raises
                raise _failure(event, function, e) from e

    def take(self, plugins: str | Sequence[str] | None) -> None:
        """Add the callbacks of plugin files that are loaded: the functions that bear the name of an event, and those of
        a mapping `callbacks = {event: function or list of them}`. A file is taken once."""
        files = [plugins] if isinstance(plugins, str) else list(plugins or [])
        for file, module in zip(files, plugin_modules(files), strict=True):
            if file in self._plugins:
                continue
            mine = self._plugins.setdefault(file, [])
            for event, function in _callbacks_of(module, file):
                self.add(event, function)
                mine.append(function)

    @property
    def loose(self) -> bool:
        """Return True if there are functions that do not come from plugin files: other processes cannot find those."""
        known = {id(f) for functions in self._plugins.values() for f in functions}
        return any(id(f) not in known for functions in self.values() for f in functions)


class WithCallbacks:
    """A trainer, validator or predictor, which is handed to the functions that are called at its events."""

    callbacks: Callbacks

    def add_callback(self, event: str, callback: Callback) -> None:
        """Call `callback(self)` at an event; `EVENTS` lists them. Raises ConfigError: there is no such event."""
        self.callbacks.add(event, callback)

    def run_callbacks(self, event: str) -> None:
        """Call what is to be called at an event."""
        self.callbacks.run(event, self)


def _callbacks_of(module: ModuleType, file: str) -> list[tuple[str, Callback]]:
    found = [(event, getattr(module, event)) for event in EVENTS if callable(getattr(module, event, None))]
    table = getattr(module, "callbacks", {})
    if not isinstance(table, Mapping):
        return found
    for event, functions in table.items():
        if event not in EVENTS:
            reason = f"its callbacks name an event that there is not: {str(event)!r}"
            raise ConfigError(reason, file, nearest(str(event), EVENTS) or f"one of {', '.join(EVENTS)}")
        mine = functions if isinstance(functions, list | tuple) else [functions]
        found += [(event, f) for f in mine if (event, f) not in found]
    return found


def _failure(event: str, function: Callback, error: Exception) -> CallbackError:
    """The error for a callback that fails, with the line of the user's file where it does."""
    name = getattr(function, "__qualname__", None) or type(function).__name__
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is ours
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    lines = [f for f in frames if f.filename == file] or frames[-1:]
    where = f"{lines[-1].filename}, line {lines[-1].lineno}" if lines else ""
    reason = f"{error}" if isinstance(error, UserError) else f"{type(error).__name__}: {error}".removesuffix(": ")
    what = f"the callback {name.replace('<locals>.', '')} failed at {event}: {one_line(reason, 400)}"
    kind = type(error)
    try:
        both = kind if issubclass(kind, CallbackError) else type(kind.__name__, (CallbackError, kind), {})
        failure: CallbackError = both(what, where)
    except Exception:  # an exception class that cannot be made from a text
        failure = CallbackError(what, where)
    return failure
