"""Small helpers under the reference's names: coloured text, YAML files, namespaces, threads."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import yaml
from tqdm import tqdm as TQDM  # noqa: N812  # the reference's name

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.log import LOGGER, setup_console
from ultralytics.utils.yaml import read_yaml

__all__ = ["TQDM"]
F = TypeVar("F", bound=Callable[..., Any])
_COLORS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_CODES = {
    **{name: f"\033[{30 + i}m" for i, name in enumerate(_COLORS)},
    **{f"bright_{name}": f"\033[{90 + i}m" for i, name in enumerate(_COLORS)},
    "end": "\033[0m",
    "bold": "\033[1m",
    "underline": "\033[4m",
}


def colorstr(*input: Any) -> str:
    """Text for a terminal: `colorstr("red", "bold", "text")`, blue and bold without a colour."""
    *styles, text = input if len(input) > 1 else ("blue", "bold", input[0])
    return "".join(_CODES[style] for style in styles) + str(text) + _CODES["end"]


def remove_colorstr(input_string: str) -> str:
    """Text without the codes that colour it."""
    return re.sub(r"\x1b\[[0-9;]*m", "", input_string)


PREFIX = colorstr("Ultralytics: ")


def emojis(string: str = "") -> str:
    """Return the text, on every system: the console takes what it can show."""
    return string


def clean_url(url: str) -> str:
    """Return an address without its query, readable."""
    text = Path(url).as_posix().replace(":/", "://")
    return urllib.parse.unquote(text).split("?")[0]


def url2file(url: str) -> str:
    """Return the file's name of an address."""
    return Path(clean_url(url)).name


def yaml_load(file: str | Path = "data.yaml", append_filename: bool = False) -> dict[str, Any]:
    """Return a YAML file as a mapping, empty for an empty file; its name as `yaml_file` with `append_filename`.

    Raises:
        MissingFileError, ConfigError: it is not there, or no YAML.
    """
    data = read_yaml(Path(file), ConfigError).data or {}
    if append_filename:
        data["yaml_file"] = str(file)
    loaded: dict[str, Any] = data
    return loaded


def yaml_save(file: str | Path = "data.yaml", data: Mapping[str, Any] | None = None, header: str = "") -> None:
    """Write a mapping as YAML behind a header; what YAML has no type for becomes text, folders are made."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {k: v if isinstance(v, int | float | str | bool | list | tuple | dict | None) else str(v)
             for k, v in (data or {}).items()}  # fmt: skip
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    path.write_text(f"{header}{text}", encoding="utf-8")


def yaml_print(yaml_file: str | Path | Mapping[str, Any]) -> None:
    """Log a mapping, or that of a YAML file."""
    data = yaml_load(yaml_file) if isinstance(yaml_file, str | Path) else dict(yaml_file)
    LOGGER.info("%s", yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip())


class IterableSimpleNamespace(SimpleNamespace):
    """Attributes that can be iterated as pairs of name and value."""

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(vars(self).items())

    def __str__(self) -> str:
        return "\n".join(f"{k}={v}" for k, v in vars(self).items())

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a name, `default` where there is none."""
        return getattr(self, key, default)


class SimpleClass:
    """Show the public attributes when printed."""

    def __str__(self) -> str:
        shown = [f"{k}: {v!r}" for k, v in vars(self).items() if not k.startswith("_")]
        return f"{type(self).__name__} with attributes:\n\n" + "\n".join(shown)

    __repr__ = __str__


class ThreadingLocked:
    """A decorator: one thread at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, f: F) -> F:
        @functools.wraps(f)
        def locked(*args: Any, **kwargs: Any) -> Any:
            with self.lock:
                return f(*args, **kwargs)

        return locked  # type: ignore[return-value]  # of the same signature


class TryExcept(contextlib.ContextDecorator):
    """A block or function in which an exception is a line of the log."""

    def __init__(self, msg: str = "", verbose: bool = True) -> None:
        self.msg, self.verbose = msg, verbose

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, _: object) -> bool:
        if value is not None and self.verbose:
            LOGGER.warning("%s%s%s", self.msg, ": " if self.msg else "", value)
        return kind is None or issubclass(kind, Exception)


class Retry(contextlib.ContextDecorator):
    """A decorator that calls a function again where it fails.

    Args:
        times: calls at most; delay: seconds before the second, twice as many before each further one.
    """

    def __init__(self, times: int = 3, delay: float = 2) -> None:
        self.times, self.delay = times, delay

    def __call__(self, func: F) -> F:
        @functools.wraps(func)
        def again(*args: Any, **kwargs: Any) -> Any:
            for left in range(self.times - 1, -1, -1):
                try:
                    return func(*args, **kwargs)
                except Exception as e:
                    if not left:
                        raise
                    LOGGER.warning("%s failed: %s; trying again", getattr(func, "__name__", "a call"), e)
                    time.sleep(self.delay * 2 ** (self.times - 1 - left))
            return None

        return again  # type: ignore[return-value]  # of the same signature


def threaded(func: F) -> F:
    """A decorator: the call runs in a thread, which it returns; `threaded=False` calls as usual."""

    @functools.wraps(func)
    def started(*args: Any, **kwargs: Any) -> Any:
        if not kwargs.pop("threaded", True):
            return func(*args, **kwargs)
        thread = threading.Thread(target=func, args=args, kwargs=kwargs, daemon=True)
        thread.start()
        return thread

    return started  # type: ignore[return-value]  # of the same parameters


def plt_settings(rcparams: Any = None, backend: str = "Agg") -> Callable[[F], F]:
    """A decorator: matplotlib draws with these settings and this backend, font size 11 without any."""

    def decorate(func: F) -> F:
        @functools.wraps(func)
        def drawn(*args: Any, **kwargs: Any) -> Any:
            import matplotlib.pyplot as plt  # takes a moment: for drawing alone

            before = plt.get_backend()
            other = backend.lower() != before.lower()
            if other:
                plt.close("all")
                plt.switch_backend(backend)
            try:
                with plt.rc_context(rcparams or {"font.size": 11}):
                    return func(*args, **kwargs)
            finally:
                if other:
                    plt.close("all")
                    plt.switch_backend(before)

        return drawn  # type: ignore[return-value]  # of the same signature

    return decorate


def get_default_args(func: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults of a function's parameters by name."""
    parameters = inspect.signature(func).parameters
    return {k: p.default for k, p in parameters.items() if p.default is not inspect.Parameter.empty}


def deprecation_warn(arg: str, new_arg: str) -> None:
    """Say that a key has a new name."""
    LOGGER.warning("the key %r is now called %r", arg, new_arg)


def set_logging(name: str = "ultralytics", verbose: bool = True) -> None:
    """Send the project's messages to standard output; only warnings where not verbose. `name` is always ours."""
    setup_console(verbose)
