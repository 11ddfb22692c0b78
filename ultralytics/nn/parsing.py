"""From a model spec to rows: `parse_model`."""

from __future__ import annotations

import ast
import contextlib
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from ultralytics.cfg.model import KEYPOINTS, MAX_REPEATS, ModelSpec, RowSpec
from ultralytics.nn.building import build, check_arguments, takes
from ultralytics.nn.modules import Conv
from ultralytics.nn.modules.head import is_head
from ultralytics.nn.pasted import inferred, is_foreign, measure, unsound
from ultralytics.nn.registry import Built, Row, lookup
from ultralytics.utils.errors import ModelError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted
from ultralytics.utils.threads import one_thread

LONGEST_VALUE = 100  # characters


@one_thread()
def parse_model(
    spec: ModelSpec | dict[str, Any], ch: int | None = None, verbose: bool = False
) -> tuple[nn.Sequential, list[int]]:
    """Build a spec's rows. A module's rule says what a row takes and gives: there is no branch per module.

    Args:
        spec: the model as data.
        ch: input channels, instead of the spec's own.
        verbose: log the rows.

    Returns:
        The rows as a Sequential (each with `.i` number, `.f` sources, `.type` class path), and the numbers of the rows
        whose output a later row reads.

    Raises:
        ModelError: naming the row: unknown module, wrong arguments, channels or resolutions that do not fit.
    """
    if not isinstance(spec, ModelSpec):
        spec = ModelSpec.from_dict(spec)
    if verbose:
        LOGGER.info("%3s%20s%3s%10s  %-45s%-30s", "", "from", "n", "params", "module", "arguments")
    layers: list[nn.Module] = []
    outputs: list[Built] = []
    strides: list[float | None] = []
    save: set[int] = set()
    for i, row in enumerate(spec.rows):
        sources = [s if s == -1 else i + s if s < 0 else s for s in row.sources]
        channels = [(ch or spec.ch) if i == 0 else outputs[s].channels for s in sources]
        scales = [1.0 if i == 0 else strides[s] for s in sources]
        maps = [outputs[s].maps if i else [] for s in sources]
        where = row.where or f"row {i} ({row.module})"
        try:
            layer, built, args = _build_row(spec, row, channels, scales, maps)
            if built.one_stride:
                _check_resolutions(spec.rows, i, sources, scales, strides)
            if is_head(layer):
                if not built.one_stride:
                    _check_levels(spec.rows, i, sources, scales, strides)
                _check_head(spec, i, layer)
        except ModelError as e:
            raise ModelError(e.what, where, e.hint) from None
        _note_row(layer, i, sources, channels, scales, built)
        layers.append(layer)
        outputs.append(built)
        strides.append(scales[0] * built.stride if scales[0] is not None and built.stride is not None else None)
        save.update(s % i for s in sources if s != -1)
        if verbose:
            _log_row(layer, spec.repeats(row), args, where)
    model = nn.Sequential(*layers)
    if spec.activation:
        _replace_activation(model, spec.activation)
    return model, sorted(save)


def _note_row(
    layer: Any, i: int, sources: list[int], channels: list[int], strides: list[float | None], built: Built
) -> None:
    """Write what the network, `info` and the transfer ask of a row to its module."""
    single = len(sources) == 1 and not built.takes_list and not is_head(layer)
    layer.np = sum(p.numel() for p in layer.parameters())
    layer.i, layer.f = i, sources[0] if single else sources
    layer.type = f"{type(layer).__module__}.{type(layer).__qualname__}"
    layer.channels_read, layer.strides_read = channels, strides
    layer.built, layer.contiguous = built, built.contiguous


def _log_row(layer: Any, repeats: int, args: list[Any], where: str) -> None:
    note = f" read as {layer.built.inferred}" if layer.built.inferred else ""
    LOGGER.info("%3d%20s%3d%10d  %-45s%-30s%s", layer.i, layer.f, repeats, layer.np, layer.type, args, note)
    if layer.contiguous:
        LOGGER.info("%s: it cannot read channels-last maps, so it is handed contiguous ones (a copy per pass)", where)


def _build_row(
    spec: ModelSpec, row: RowSpec, incoming: list[int], strides: list[float | None], maps: list[list[int]]
) -> tuple[nn.Module, Built, list[Any]]:
    cls, rule = lookup(row.module)
    args = [_resolve_argument(a, spec) for a in row.args]
    given = (
        {k: _resolve_argument(v, spec) for k, v in args.pop().items()} if args and isinstance(args[-1], dict) else {}
    )
    repeats = spec.repeats(row)
    if repeats > MAX_REPEATS:
        message = f"it would repeat {repeats:,} times at this scale"  # at least two
        raise ModelError(message, hint=f"at most {MAX_REPEATS}")
    try:
        read = Row(incoming, args, repeats, spec.width, spec.max_channels, given, strides, maps)
        built = (rule or inferred(cls))(read)
    except ModelError:
        raise
    except Exception as e:  # whatever a rule makes of arguments it was not written for
        message = f"its channel rule cannot be applied to {args}: {type(e).__name__}: {e}"
        raise ModelError(message, hint=takes(cls)) from None
    keywords = {**given, **built.kwargs}
    if not built.inferred and cls.__module__.startswith(("ultralytics.", "torch.nn.")):  # others annotate as they like
        check_arguments(cls, built.args, keywords)
    layer = build(cls, built.args, keywords, built.repeats)
    if rule is not None and is_foreign(cls):
        built = _check_rule(layer, built, row, incoming, strides)
    elif built.stride is None and not any(maps):
        with contextlib.suppress(ModelError):  # the whole network's first pass tells
            built = replace(built, stride=measure(layer, incoming, strides).stride)
    return layer, built, [*built.args, *([keywords] if keywords else [])]


def _check_rule(
    layer: nn.Module, built: Built, row: RowSpec, incoming: list[int], strides: list[float | None]
) -> Built:
    """Compare a user's own rule with what the module does with a map: the channels must agree, and of two strides the
    measured one is taken."""
    wrong = unsound(layer)
    if wrong:
        raise ModelError(f"{wrong}: {type(layer).__name__} was built with {built.args}", hint=takes(type(layer)))
    try:
        measured = measure(layer, incoming, strides)
    except ModelError:
        return built  # the whole network's first pass will tell, or this row makes no map
    if measured.channels != built.channels:
        raise wrong_channels(measured.channels, built.channels)
    if built.stride is not None and measured.stride is not None and measured.stride != built.stride:
        message = "its channel rule says that the map's size is multiplied by %g, and it is by %g: that counts"
        LOGGER.warning(f"%s: {message}", row.where or row.module, 1 / built.stride, 1 / measured.stride)
    return replace(built, stride=measured.stride, contiguous=measured.contiguous)


def wrong_channels(found: int, declared: int) -> ModelError:
    """Return the error for a rule that does not fit its class."""
    return ModelError(
        f"it gives {found} channels, and its channel rule says {declared}",
        hint="register it with the rule that fits, see docs/model-yaml.md",
    )


def _resolve_argument(arg: Any, spec: ModelSpec) -> Any:
    """`nc` means the class count, `kpt_shape` the keypoints and their numbers. Text that spells a value of Python's is
    that value, as in the reference's YAMLs: None, True, 1e-4, which YAML takes for text, or "(3, 1)"."""
    if not isinstance(arg, str) or len(arg) > LONGEST_VALUE:
        return arg
    if arg == "nc":
        return spec.nc
    if arg == KEYPOINTS:
        return spec.kpt_shape
    try:
        return ast.literal_eval(arg)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # of a word, or of nonsense
        return arg


def _check_resolutions(
    rows: list[RowSpec], i: int, sources: list[int], scales: list[float | None], strides: list[float | None]
) -> None:
    """Maps that are joined must have one stride; name both sources and the row that was probably meant."""
    known = [s for s in scales if s is not None]
    if len(set(known)) < 2:
        return
    named = ", ".join(
        f"row {s % i} ({rows[s % i].module}) stride {k:g}"
        for s, k in zip(sources, scales, strict=True)
        if k is not None
    )
    fits = [r for r in range(i - 1) if strides[r] == scales[0] and (r + 1 >= i or strides[r + 1] != strides[r])]
    hint = f"the last rows at stride {scales[0]:g} are {', '.join(map(str, fits[-3:]))}" if fits else ""
    raise ModelError(f"it joins maps of different size: {named}", hint=hint)


def _check_levels(
    rows: list[RowSpec], i: int, sources: list[int], scales: list[float | None], strides: list[float | None]
) -> None:
    """A head's maps come finest first, each of another stride."""
    known = [s for s in scales if s is not None]
    if len(known) < len(scales) or all(a < b for a, b in pairwise(known)):
        return
    named = ", ".join(f"row {s % i} stride {k:g}" for s, k in zip(sources, known, strict=True))
    ends = {strides[r]: r for r in range(i) if strides[r] is not None}  # the last row of each stride
    fine = [ends[s] for s in sorted(k for k in ends if k is not None) if s in (8, 16, 32)]
    raise ModelError(
        f"its maps must come finest first, each of another stride: {named}",
        hint=f"the last rows at strides 8, 16, 32 are {fine}" if len(fine) == 3 else "",
    )


def _check_head(spec: ModelSpec, i: int, head: Any) -> None:
    if head.nc != spec.nc:
        raise ModelError(
            f"it has {counted(head.nc, 'class')}, and the model {spec.nc}", hint="write its argument as nc"
        )
    points = getattr(head, KEYPOINTS, None)
    if spec.kpt_shape and points is not None and tuple(points) != spec.kpt_shape:
        text = f"its kpt_shape is {list(points)}, and that of the model {list(spec.kpt_shape)}"
        raise ModelError(text, hint="write its argument as kpt_shape")
    if i + 1 < len(spec.rows):
        raise ModelError("the head must be the last row, and rows follow", hint="keep one head, at the end")


def _replace_activation(model: nn.Module, name: str) -> None:
    """Give every Conv with the default activation another one:
    "nn.ReLU()" or "nn.LeakyReLU(0.1)"; nothing is evaluated."""
    match = re.fullmatch(r"(?:torch\.)?(?:nn\.)?(\w+)\(([\d.]*)\)", name.strip())
    cls = getattr(nn, match[1], None) if match else None
    if match is None or not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ModelError(f"activation {name!r} is not of the form nn.Name() or nn.Name(number)")
    if cls is not nn.Identity and cls.__module__ != nn.SiLU.__module__:
        raise ModelError(f"activation {name!r} is not an activation")
    try:
        act = cls(float(match[2])) if match[2] else cls()
        act(torch.zeros(1, 8, 2, 2))
    except Exception:
        raise ModelError(f"activation {name!r} is not an activation: it cannot be applied to a map") from None
    for module in model.modules():
        if isinstance(module, Conv) and module.act is Conv.default_act:
            module.act = act
