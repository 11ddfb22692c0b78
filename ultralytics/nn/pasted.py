"""Modules without a channel rule: classes that a reader of a tutorial has pasted and imported.

Which of the constructor's arguments are channels is read off their names, and how the YAML's arguments fit them is
tried: each reading is built and given a map. What comes out is measured, so neither a name nor a reading is believed.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.nn.building import Bounded, as_called, build
from ultralytics.nn.registry import Built, Row, Rule
from ultralytics.utils.errors import ModelError

SIZES = (256, 640, 320, 224, 512, 64)  # pixels of the trial images: the first that passes counts
IMAGES = 2  # of one image, a channels-last map can be viewed in ways that a batch's cannot
UNKNOWN_STRIDE = 8.0  # of a source whose stride is not known
WIDTH = 64  # a first argument of so much or more is the width of a tutorial's map, and no option
WIDEST_KERNEL = 63
_CHANNEL = r"(c|ch|chs|chans?|channels?|planes?|dims?|dimensions?|features?|feats?|filters?|size|nc)"
_IN = re.compile(rf"c1|inp|inc|cin|nin|in_?{_CHANNEL}|{_CHANNEL}_?(in|inp|input)|input_?{_CHANNEL}")
_OUT = re.compile(rf"c2|oup|ouc|outc|cout|nout|out_?{_CHANNEL}|{_CHANNEL}_?(out|oup|output)|output_?{_CHANNEL}|planes")
_ONE = re.compile(
    rf"c|d_?model|nf|width|(n|num|gate|k|base|embed|hidden|model|token)_?{_CHANNEL}|{_CHANNEL}_?num|"
    r"ch|chs|chans?|channels?|planes?|dims?|features?|feats?|filters?"
)
_CLASSES = re.compile(r"nc|n_?cls|n_?class(es)?|num_?class(es)?|classes")
_CHANNELS = re.compile(r"chs?|channels?|in_?chs?|in_?channels?|ch_?list|channels?_?list")
_REPEATS = re.compile(r"n|num_?(blocks?|repeats?|layers?)|n_?(blocks?|repeats?|layers?)|repeats?|depth")


def is_foreign(cls: type[nn.Module]) -> bool:
    """Return True if a class comes from neither torch nor this project's own files."""
    return not cls.__module__.startswith(("torch.", "ultralytics.nn.modules."))


@dataclass(frozen=True)
class Measured:
    """What a module makes of maps: outgoing channels, change of stride (None where it is no whole factor, as of a
    convolution without padding), and whether it takes contiguous maps alone."""

    channels: int
    stride: float | None
    contiguous: bool = False


class _UnfitError(Exception):
    """Why a reading is not the right one."""


def measure(layer: nn.Module, channels: Sequence[int], strides: Sequence[float | None]) -> Measured:
    """Give a module maps as it would meet them in the network; its weights, statistics and random numbers stay.

    Args:
        channels, strides: of each source; several sources go in as a list.

    Raises:
        ModelError: it takes maps of none of the trial sizes, or gives no map.
    """
    reason = ""
    training = layer.training
    weights = [(p, p.data) for p in layer.parameters()]
    layer.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for size in SIZES:
                for contiguous in (False, True):
                    layout = torch.contiguous_format if contiguous else torch.channels_last
                    for parameter, before in weights:
                        parameter.data = before.contiguous(memory_format=layout) if before.dim() == 4 else before
                    try:
                        with Bounded():
                            out, stride = _pass(layer, channels, strides, size, layout)
                        return Measured(out, stride, contiguous)
                    except ModelError:
                        raise
                    except Exception as e:  # whatever a module makes of a map it was not written for
                        reason = reason or f"{type(e).__name__}: {(str(e).splitlines() or [''])[0]}"
    finally:
        for parameter, before in weights:
            parameter.data = before
        layer.train(training)
    raise ModelError(f"its forward fails on maps of {', '.join(map(str, channels))} channels: {reason}")


def _pass(
    layer: nn.Module, channels: Sequence[int], strides: Sequence[float | None], size: int, layout: torch.memory_format
) -> tuple[int, float | None]:
    """Outgoing channels and change of stride for an image of so many pixels."""
    like = next(layer.parameters(), torch.zeros(0))
    maps = []
    for c, stride in zip(channels, strides, strict=True):
        side = max(round(size / (stride or UNKNOWN_STRIDE)), 1)
        maps.append(torch.rand(IMAGES, c, side, side).to(like.device, like.dtype).to(memory_format=layout))
    given = maps[0] if len(maps) == 1 else maps
    try:
        out = layer(given)
    except AttributeError as e:
        if "torchvision" not in str(e) or "torchvision" in sys.modules:
            raise
        _bring_torchvision()
        out = layer(given)
    if not isinstance(out, Tensor) or out.dim() != 4:
        what = f"a tensor of shape {tuple(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
        stages = ": a backbone of several maps becomes a row for each" if isinstance(out, list | tuple) else ""
        raise ModelError(f"it gives {what}, and a row gives one map (B, C, H, W){stages}")
    stride = maps[0].shape[2] / out.shape[2]
    return int(out.shape[1]), stride if stride.is_integer() or (1 / stride).is_integer() else None


def _bring_torchvision() -> None:
    """Import what registers `torch.ops.torchvision`: published code uses it without an import of its own, as the
    reference has made it.

    Raises:
        ModelError: it cannot be imported.
    """
    try:
        importlib.import_module("torchvision")
    except Exception as e:  # of another torch's torchvision a RuntimeError
        reason = (str(e).splitlines() or [""])[0]
        raise ModelError(f"it needs torchvision, which cannot be imported: {type(e).__name__}: {reason}") from None


def unsound(layer: nn.Module) -> str:
    """Say what shows that arguments were taken for something else: parameters without elements, a kernel beyond any
    map; "" when nothing does."""
    for name, parameter in layer.named_parameters():
        if parameter.numel() == 0:
            return f"its parameter {name} has no elements, shape {tuple(parameter.shape)}"
    for name, module in layer.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d) and max(module.kernel_size) > WIDEST_KERNEL:
            return f"its convolution {name} has a kernel of {max(module.kernel_size)}"
    return ""


@dataclass(frozen=True)
class _Reading:
    """A way to understand a row: the constructor's arguments, the line that registers it, what it says of the first
    YAML argument."""

    args: list[Any]
    rule: str
    meaning: str
    requested: int | None = None
    scaled: int | None = None
    repeats: int = 1


def inferred(cls: type[nn.Module]) -> Rule:
    """Return the channel rule of a class that was never registered."""

    def rule(row: Row) -> Built:
        if (place := _place_of_channels(cls)) is not None:
            return _head(cls, row, place)
        failures: list[str] = []
        fitting: list[tuple[_Reading, Measured]] = []
        tried: list[tuple[list[Any], int]] = []
        for reading in _readings(cls, row):
            if (reading.args, reading.repeats) in tried:
                continue
            tried.append((reading.args, reading.repeats))
            try:
                fitting.append(_widened(cls, row, reading, _try(cls, reading, row)))
            except _UnfitError as e:
                failures.append(f"{_format_call(cls, reading, row.kwargs)}: {e}")
            else:
                if not _undecided(cls, row):
                    break
        if not fitting:
            hint = _register_hint(cls)
            if all("too many positional arguments" in f for f in failures):
                hint = f"it takes ({', '.join(_argument_names(cls))}), of which the row before gives the first"
            raise ModelError(f"no reading of its arguments fits: {'; '.join(failures)}", hint=hint)
        if len(fitting) > 1 and not _same(cls, fitting[0][0], fitting[1][0]):
            two = [f"{_format_call(cls, r, row.kwargs)} (@register({r.rule}))" for r, _ in fitting[:2]]
            raise ModelError(
                f"its first argument {row.args[0]} can be an option or the map's width: {' or '.join(two)}",
                hint="write the @register line above the class, with `from ultralytics.nn.registry import register, "
                f"{', '.join(sorted({r.rule for r, _ in fitting[:2]}))}`; or give the option by name: "
                f"[{{{_argument_names(cls)[1] if len(_argument_names(cls)) > 1 else 'name'}: {row.args[0]}}}]",
            )
        reading, measured = fitting[0]
        meaning = f"{_format_call(cls, reading, row.kwargs)}, {reading.meaning}"
        if len(row.channels) == 1 and not reading.scaled and measured.channels != row.channels[0]:
            meaning += f"; {measured.channels} channels come out"
        return Built(
            reading.args,
            measured.channels,
            measured.stride,
            reading.repeats,
            requested=reading.requested,
            scaled=reading.scaled,
            inferred=meaning,
            contiguous=measured.contiguous,
        )

    return rule


def _place_of_channels(cls: type[nn.Module]) -> int | None:
    """Of a detection head the position of the list of channels among its constructor's arguments, which begin with the
    class count; None for other modules."""
    names = [name.lower() for name in _argument_names(cls)]
    if not names or not _CLASSES.fullmatch(names[0]):
        return None
    return next((i for i, name in enumerate(names) if i and _CHANNELS.fullmatch(name)), None)


def _head(cls: type[nn.Module], row: Row, place: int) -> Built:
    """`[nc, …]` of a head: the list of source channels goes where its constructor takes it."""
    if len(row.args) > place:
        message = (
            f"its arguments reach up to {_argument_names(cls)[place]}, the list of channels, which the sources give"
        )
        raise ModelError(message, hint=f"at most {place} arguments")
    listed = list(row.channels)
    here = len(row.args) == place
    args = [*row.args, listed] if here else row.args
    reading = _Reading(args, "detect_head", "a head, with the list of channels")
    keywords = {} if here else {_argument_names(cls)[place]: listed}
    meaning = f"{_format_call(cls, reading, {**row.kwargs, **keywords})}, {reading.meaning}"
    return Built(args, 0, kwargs=keywords, inferred=meaning)


def _try(cls: type[nn.Module], reading: _Reading, row: Row) -> Measured:
    """Build a reading and measure it; the global random numbers stay where they are."""
    with torch.random.fork_rng(devices=[]):
        try:
            layer = build(cls, reading.args, row.kwargs, reading.repeats)
        except ModelError as e:
            raise _UnfitError(e.what.removeprefix(as_called(cls, reading.args, row.kwargs))) from None
        wrong = unsound(layer)
        if wrong:
            raise _UnfitError(wrong)
        try:
            return measure(layer, row.channels, row.strides)
        except ModelError as e:
            raise _UnfitError(e.what) from None


def _widened(cls: type[nn.Module], row: Row, reading: _Reading, measured: Measured) -> tuple[_Reading, Measured]:
    """A reading as it fits; where what comes out is the number in the second place, whatever that is called, it is the
    count of outgoing channels, and the scale counts."""
    first = row.args[0] if row.args else None
    if len(row.channels) > 1 or len(reading.args) < 2 or reading.scaled or measured.channels != reading.args[1]:
        return reading, measured
    if type(reading.args[1]) is not int or type(first) is not int or first < 1:
        return reading, measured
    wider = next(_of_two(row, [name.lower() for name in _argument_names(cls)], row.channels[0]))
    with contextlib.suppress(_UnfitError):
        found = _try(cls, wider, row)
        if found.channels == wider.scaled:
            return wider, found
    return reading, measured


def _parameters(cls: type[nn.Module]) -> list[inspect.Parameter]:
    """Return the constructor's arguments by position, without self; of one that hands on whatever it is given, `(*args,
    **kwargs)`, those of the class that it hands them to."""
    for base in cls.__mro__[: cls.__mro__.index(nn.Module)]:
        if "__init__" not in vars(base):
            continue
        found = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        named = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if named or not any(p.kind is p.VAR_POSITIONAL for p in found):
            return named
    return []


def _argument_names(cls: type[nn.Module]) -> list[str]:
    return [p.name for p in _parameters(cls)]


def _readings(cls: type[nn.Module], row: Row) -> Iterator[_Reading]:
    """Ways to understand a row, the likeliest first."""
    if len(row.channels) > 1:
        yield from _of_several(cls, row)
        return
    parameters = [p for p in _parameters(cls) if p.name not in row.kwargs]
    names = [p.name.lower() for p in parameters]
    c1 = row.channels[0]
    args = row.args
    first = names[0] if names else ""
    takes_in = bool(_IN.fullmatch(first) or _ONE.fullmatch(first))
    if takes_in and len(names) > 1 and _OUT.fullmatch(names[1]):
        yield from _of_two(row, names, c1)
        return
    if takes_in or (parameters and parameters[0].default is inspect.Parameter.empty):
        yield from _of_one(row, parameters, c1)
        return
    # No argument is called channels: the options as they are, or behind the width that a tutorial's row begins with.
    plain = _Reading(args, "keep_channels", "arguments as they are", repeats=row.repeats)
    behind = _Reading(args[1:], "keep_channels", "the first number is the map's width", repeats=row.repeats)
    if _is_width(args):
        yield behind
        yield plain
    else:
        yield plain
    yield from _of_one(row, parameters, c1)


def _of_two(row: Row, names: list[str], c1: int) -> Iterator[_Reading]:
    """Incoming and outgoing channels, as of a convolution."""
    inside = len(names) > 2 and bool(_REPEATS.fullmatch(names[2]))
    extra, copies = ([row.repeats], 1) if inside else ([], row.repeats)
    rule = "repeated_block" if inside else "conv_like"
    args = row.args
    if args and type(args[0]) is int and args[0] > 0:
        c2 = row.scaled(args[0])
        meaning = f"{args[0]} outgoing channels, {c2} at this scale"
        yield _Reading([c1, c2, *extra, *args[1:]], rule, meaning, args[0], c2, copies)
    if _is_width(args):
        meaning = "the first number follows the map's width"
        yield _Reading([c1, c1, *extra, *args[1:]], rule, meaning, args[0], repeats=copies)
    yield _Reading([c1, c1, *extra, *args], rule, "channels stay", repeats=copies)


def _of_one(row: Row, parameters: list[inspect.Parameter], c1: int) -> Iterator[_Reading]:
    """The width of the map and options, as of an attention."""
    args = row.args
    inside = len(parameters) > 1 and bool(_REPEATS.fullmatch(parameters[1].name.lower()))
    extra, copies = ([row.repeats], 1) if inside else ([], row.repeats)
    options = _Reading([c1, *extra, *args], "same_width", "at the map's width", repeats=copies)
    width = _Reading(
        [c1, *extra, *args[1:]], "attention_like", "the first number follows the map's width", repeats=copies
    )
    if args and type(args[0]) is int and args[0] > 0:
        width = replace(width, requested=args[0])
        yield from (width, options) if _is_width(args) else (options, width)
    else:
        yield options


def _of_several(cls: type[nn.Module], row: Row) -> Iterator[_Reading]:
    """A list of maps: without channels as of Concat, with the list of them, or with one number."""
    listed = list(row.channels)
    args = row.args
    parameters = _parameters(cls)
    first = parameters[0].name.lower() if parameters else ""
    behind = args[1:] if _is_width(args) else args
    plain = _Reading(args, "keep_channels", "arguments as they are")
    named = _Reading([listed, *args], "keep_channels", "with the list of channels")
    scaled = [row.scaled(args[0]), *args[1:]] if _is_width(args) else args
    widths = _Reading([listed, *scaled], "keep_channels", "with the list of channels and the width at this scale")
    one = _Reading([listed[0], *behind], "keep_channels", "at the first map's width")
    total = _Reading([sum(listed), *scaled], "keep_channels", "at the width of all maps together")
    takes = bool(_IN.fullmatch(first) or _ONE.fullmatch(first) or "list" in first)
    seen: list[list[Any]] = []
    for reading in (widths, named, one, total, plain) if takes else (plain, named, widths, one, total):
        if reading.args not in seen:
            seen.append(reading.args)
            yield reading


def _is_width(args: Sequence[Any]) -> bool:
    return bool(args) and type(args[0]) is int and args[0] >= WIDTH


def _undecided(cls: type[nn.Module], row: Row) -> bool:
    """Return True if a first argument below any width is so far from its option's default that the other reading counts
    as well."""
    parameters = _parameters(cls)
    if len(row.channels) > 1 or _is_width(row.args) or not row.args or len(parameters) < 2:
        return False
    value, second = row.args[0], parameters[1]
    if type(value) is not int or _OUT.fullmatch(second.name.lower()) or not _takes_width(parameters[0]):
        return False
    return type(second.default) is int and not second.default / 4 <= value <= second.default * 4


def _takes_width(parameter: inspect.Parameter) -> bool:
    name = parameter.name.lower()
    return bool(_IN.fullmatch(name) or _ONE.fullmatch(name)) or parameter.default is inspect.Parameter.empty


def _same(cls: type[nn.Module], one: _Reading, other: _Reading) -> bool:
    """Return True if two readings give equal arguments, defaults included."""
    bound = []
    for reading in (one, other):
        try:
            call = inspect.signature(cls).bind(*reading.args)
        except (TypeError, ValueError):
            return False
        call.apply_defaults()
        bound.append(call.arguments)
    return bound[0] == bound[1]


def _format_call(cls: type[nn.Module], reading: _Reading, keywords: Mapping[str, Any]) -> str:
    names = _argument_names(cls)
    words = [f"{names[i]}={a!r}" if i < len(names) else repr(a) for i, a in enumerate(reading.args)]
    words += [f"{k}={v!r}" for k, v in keywords.items()]
    return f"{cls.__name__}({', '.join(words)})"


def _register_hint(cls: type[nn.Module]) -> str:
    takes = ", ".join(str(p).split(":")[0] for p in _parameters(cls))
    return f"it takes ({takes}); @register(RULE) above the class says which are channels, see docs/model-yaml.md"
