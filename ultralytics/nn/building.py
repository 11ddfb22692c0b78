"""Building one row's module: whatever its constructor does with its arguments ends in one line."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ultralytics.utils.errors import ModelError, nearest
from ultralytics.utils.tensors import layout

MAX_ELEMENTS = 2**28  # parameters and buffers of a row: 1 GiB, four times a whole yolov8x
LARGEST = 2**31 - 1  # what torch takes for a size
_COUNTS = ("k", "s", "g", "d", "kernel_size", "stride", "dilation", "groups", "num_heads")  # none may be below 1
_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", type(None): "None"}


def build(cls: type[nn.Module], args: Sequence[Any], keywords: Mapping[str, Any], repeats: int = 1) -> nn.Module:
    """Make a module, or a Sequential of several.

    Raises:
        ModelError: the constructor refuses the arguments, or makes more than `MAX_ELEMENTS` elements.
    """
    try:
        with _Scales():
            copies = [cls(*args, **keywords) for _ in range(repeats)]
    except ModelError:
        raise
    except _TooLargeError:
        raise ModelError(f"it has more than {MAX_ELEMENTS:,} parameters", hint="are its arguments right?") from None
    except Exception as e:  # whatever a module makes of arguments it was not written for
        reason = (str(e).splitlines() or [""])[0].replace(f"{cls.__name__}.__init__()", "it")
        if not isinstance(e, TypeError | ValueError | RuntimeError) or not reason:  # a KeyError's text is a key alone
            reason = f"{type(e).__name__}: {reason}".removesuffix(": ")
        reason = _unbound(cls, args, keywords) or reason
        raise ModelError(f"{as_called(cls, args, keywords)}{reason}", hint=takes(cls)) from None
    if any(is_lazy(p) for m in copies for p in (*m.parameters(), *m.buffers())):
        raise ModelError("its channels are open until the first pass (nn.Lazy…)", hint="give them to its constructor")
    return copies[0] if len(copies) == 1 else nn.Sequential(*copies)


def as_called(cls: type[nn.Module], args: Sequence[Any], keywords: Mapping[str, Any]) -> str:
    """Return the beginning of an error of the constructor."""
    arguments = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in keywords.items())])
    return f"it cannot be built as {cls.__name__}({arguments}): "


def _unbound(cls: type[nn.Module], args: Sequence[Any], keywords: Mapping[str, Any]) -> str:
    """Why arguments do not go with a signature; "" where they do. The constructor's own error counts `self` too."""
    try:
        inspect.signature(cls).bind(*args, **keywords)
    except TypeError as e:
        return str(e)
    except ValueError:  # it has none
        pass
    return ""


def check_arguments(cls: type[nn.Module], args: Sequence[Any], keywords: Mapping[str, Any]) -> None:
    """Compare arguments with the constructor's annotations: it would take text for a number, or torch would refuse it
    at the first pass, without the argument's name. What goes into `**options` is compared with those of the class that
    takes them.

    Raises:
        ModelError: one is of another type, below 1 where it counts something (options aside) or too large for torch; or
            an option does not exist.
    """
    try:
        given = dict(inspect.signature(cls).bind(*args, **keywords).arguments)
        known = _parameters_of(cls)
        hints = {n: h for c in reversed(_option_classes(cls)) for n, h in get_type_hints(c.__init__).items()}
    except (TypeError, ValueError, NameError):  # the constructor tells what is wrong with their number
        return
    options: dict[str, Any] = {}  # the class that takes them knows which counts may be 0
    for name in [n for n in given if n not in known]:  # it holds the options by their names
        options |= given.pop(name)
    given |= options
    for name, value in given.items():
        if name not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            hint = f"{nearest(name, known)} {takes(cls)}".strip()
            raise ModelError(f"it has no argument {name}", hint=hint)
        if name not in known or known[name].kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        wanted = ""
        if not _fits(value, hints.get(name, Any)):
            wanted = _describe_hint(hints[name])
        elif any(abs(n) > LARGEST for n in _numbers_in(value)):
            wanted = f"at most {LARGEST:,}"
        elif name in _COUNTS and name not in options and any(n < 1 for n in _numbers_in(value)):
            wanted = "1 or more"
        if wanted:
            raise ModelError(f"its argument {name} must be {wanted}, not {value!r}"[:300], hint=takes(cls))


def _fits(value: Any, hint: Any) -> bool:
    """Return True if a value of a YAML is one that an annotation allows; what cannot be said is allowed."""
    origin, inner = get_origin(hint), [a for a in get_args(hint) if a is not Ellipsis]
    if origin in (Union, UnionType):
        return any(_fits(value, a) for a in inner)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        if not isinstance(value, list | tuple) or (_fixed(hint) and len(value) != len(inner)):
            return False
        return all(any(_fits(v, a) for a in inner) for v in value)
    if hint in (int, bool):
        return isinstance(value, int)
    if hint is float:
        return isinstance(value, int | float)
    return hint is Any or not isinstance(hint, type) or isinstance(value, hint)


def _describe_hint(hint: Any) -> str:
    """Return an annotation in words: "a whole number or a list of whole numbers"."""
    origin, inner = get_origin(hint), [a for a in get_args(hint) if a is not Ellipsis]
    if origin in (Union, UnionType):
        spoken = [a for a in inner if a in _WORDS or get_origin(a)] or inner  # a YAML holds no module
        return " or ".join(dict.fromkeys(_describe_hint(a) for a in spoken))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        count = f" of {len(inner)}" if _fixed(hint) else ""
        return f"a list{count}, each {' or '.join(dict.fromkeys(_describe_hint(a) for a in inner))}"
    return _WORDS.get(hint) or f"a {getattr(hint, '__name__', hint)}"


def _fixed(hint: Any) -> bool:
    """Return True if an annotation is a tuple of a fixed length."""
    return get_origin(hint) is tuple and Ellipsis not in get_args(hint)


def _numbers_in(value: Any) -> list[float]:
    """Return the numbers that an argument holds, but not True and False."""
    if isinstance(value, list | tuple):
        return [n for v in value for n in _numbers_in(v)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def takes(cls: type[nn.Module]) -> str:
    """Return the constructor's arguments, as the hint of a wrong row."""
    try:
        parameters = _parameters_of(cls).values()
    except (TypeError, ValueError):
        return ""
    return f"it takes {', '.join(str(p).split(':')[0].split('=')[0].strip() for p in parameters)}"


def _option_classes(cls: type[nn.Module]) -> list[type[nn.Module]]:
    """Return a class and the one that its `**options` go to, which it names as `options_of`, or as `mixing` where it is
    an AttentionBlock; then the one that takes that one's, and so on."""
    found = [cls]
    while any(p.kind is p.VAR_KEYWORD for p in inspect.signature(found[-1]).parameters.values()):
        taking = getattr(found[-1], "options_of", None) or getattr(found[-1], "mixing", None)
        if taking is None:
            break
        found.append(taking)
    return found


def _parameters_of(cls: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """Return a constructor's parameters by name, its `**options` replaced by what the class that takes them has besides
    its first, the channels."""
    *handing, last = _option_classes(cls)
    found: dict[str, inspect.Parameter] = {}
    for c in (*handing, last):
        parameters = list(inspect.signature(c).parameters.values())[c is not cls :]
        found |= {p.name: p for p in parameters if p.name not in found and (c is last or p.kind is not p.VAR_KEYWORD)}
    return found


def channels_last(model: nn.Module) -> None:
    """Lay out a model's 4-dimensional weights as its device reads them, mostly channels last; see `layout`. torch's own
    `.to(memory_format=…)` fails on the 5-dimensional ones of a Conv3d or of a bank of kernels."""
    model._apply(lambda t: t.to(memory_format=layout(t.device)) if t.dim() == 4 else t)  # type: ignore[no-untyped-call]  # torch's own


class Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Stops a trial pass before a product of matrices takes more than so many elements: attention over all the cells of
    a large map would fill the memory, at a size that the run may never see."""

    def __init__(self, elements: int = MAX_ELEMENTS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.elements = elements

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _PRODUCTS:
            one, other = args[-2:]
            made = one.shape[:-1].numel() * other.shape[-1]
            if made > self.elements:
                raise MemoryError(f"a product of matrices of {made:,} elements is too large for a trial")
        return func(*args, **(kwargs or {}))


_PRODUCTS = (
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.baddbmm.default,
)


class _Scales(TorchFunctionMode):
    """Weighs new tensors before they are made; beyond `MAX_ELEMENTS` it stops the building."""

    elements = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("clone", "__deepcopy__"):
            self.elements += args[0].numel()
        elif name in ("empty", "zeros", "ones", "full", "rand", "randn", "eye", "arange"):
            size = args[0] if args and isinstance(args[0], list | tuple) else args
            self.elements += math.prod(n for n in size if isinstance(n, int))
        if self.elements > MAX_ELEMENTS:
            raise _TooLargeError
        return func(*args, **(kwargs or {}))


class _TooLargeError(BaseException):  # no constructor's own `except Exception` may hold it
    pass
