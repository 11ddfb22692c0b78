"""How a module enters the model YAML: a decorator on its class that states its channel rule.

    @register(conv_like)
    class MyBlock(nn.Module):
        def __init__(self, c1, c2, k=3): ...

A rule turns a row's YAML arguments and incoming channels into the constructor's arguments, the outgoing channels and
the change of stride. `parse_model` is then a loop over rows with a look-up here; a user's module needs no edit of the
parser. The decorator may be left out: what the constructor's arguments mean is then inferred (`nn/pasted.py`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from torch import nn

from ultralytics.utils.errors import ModelError, nearest
from ultralytics.utils.ops import make_divisible


@dataclass(frozen=True)
class Row:
    """One YAML row as a rule sees it.

    Attributes:
        channels: channels of each source, in the order of `from`.
        args: the YAML arguments, with `nc` resolved.
        repeats: repeats after the depth multiple.
        width, max_channels: the scale's width multiple and cap.
        kwargs: keyword arguments, which go to the constructor as they are.
        strides: input pixels per cell of each source; None where it is not known.
        maps: of each source that gives several maps the channels of each; empty for one map.
    """

    channels: list[int]
    args: list[Any]
    repeats: int
    width: float
    max_channels: float
    kwargs: dict[str, Any] = field(default_factory=dict)
    strides: list[float | None] = field(default_factory=list)
    maps: list[list[int]] = field(default_factory=list)

    def argument(self, position: int, name: str, default: Any) -> Any:
        """Return an argument, by place or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def scaled(self, requested: Any) -> int:
        """Outgoing channels for a requested number: capped, multiplied by the width, rounded up to a multiple of 8."""
        if isinstance(requested, bool) or not isinstance(requested, int) or requested < 1:
            raise ModelError(
                f"the first argument is the number of output channels, an integer of 1 or more, not {requested!r}"
            )
        return make_divisible(min(requested, self.max_channels) * self.width)

    def only_source(self) -> int:
        """Channels of the single source; an error when there are several."""
        if len(self.channels) != 1:
            raise ModelError(
                f"it takes one source, and `from` names {len(self.channels)}", hint="join them with Concat first"
            )
        if self.maps and self.maps[0]:
            raise ModelError(f"its source gives {len(self.maps[0])} maps, which CBFuse alone can read")
        return self.channels[0]


@dataclass(frozen=True)
class Built:
    """A row as a rule decides it: how it is built, what comes out, and how it is fed.

    Attributes:
        args: the constructor's arguments.
        channels: that come out.
        stride: the factor by which the map gets smaller; None where it cannot be known.
        repeats: above 1, the parser stacks that many copies in a Sequential.
        kwargs: the constructor's keyword arguments.
        requested: the channels that the YAML asks for, for `info`; None where it names none.
        scaled: what the scale makes of them.
        inferred: how the arguments of a class without a rule were read.
        contiguous: it cannot read channels-last maps.
        maps: the channels of each where it gives several, see CBFuse.
        takes_list: it is called with a list of maps, also where it has one source, as heads are.
        one_stride: its sources must have one stride; the error names the rows that were probably meant.
    """

    args: list[Any]
    channels: int
    stride: float | None = 1.0
    repeats: int = 1
    kwargs: dict[str, Any] = field(default_factory=dict)
    requested: int | None = None
    scaled: int | None = None
    inferred: str = ""
    contiguous: bool = False
    maps: list[int] = field(default_factory=list)
    takes_list: bool = False
    one_stride: bool = False


Rule = Callable[[Row], Built]
M = TypeVar("M", bound=type[nn.Module])
_MODULES: dict[str, tuple[type[nn.Module], Rule]] = {}
_OFFERED: list[ModuleType] = []
_TEXT = "it needs text, and the classes here are those of a dataset"
_DETR = "it is a part of RT-DETR; the heads here predict at every cell of a map"
# Modules of the reference that a model YAML or an import may name, and why they are not here.
NOT_OFFERED = {
    "WorldDetect": f"{_TEXT}: use Detect",
    "C2fAttn": f"{_TEXT}: use C2f",
    "ImagePoolingAttn": _TEXT,
    "MaxSigmoidAttnBlock": _TEXT,
    "ContrastiveHead": _TEXT,
    "BNContrastiveHead": _TEXT,
    "RTDETRDecoder": f"{_DETR}: use Detect",
    "DeformableTransformerDecoder": _DETR,
    "DeformableTransformerDecoderLayer": _DETR,
    "MSDeformAttn": _DETR,
}
# Rows of YOLOv8 itself. Files of tutorials bring copies of these as helpers, which are not meant by a YAML's `Conv`.
_OWN_ROWS = frozenset(
    {"Bottleneck", "C2f", "Classify", "Concat", "Conv", "DWConv", "Detect", "OBB", "Pose", "SPPF", "Segment"}
)
_IMPORTED_INTO = ("ultralytics.nn.tasks", "ultralytics.nn.modules")


def register(rule: Rule, name: str | None = None) -> Callable[[M], M]:
    """Class decorator: the YAML may use the class under its own name (or `name`), with this channel rule."""

    def add(cls: M) -> M:
        key = name or cls.__name__
        known = _MODULES.get(key, (None,))[0]
        # The same class may come again, from a notebook's cell or a reloaded file; another one may not take its place.
        same = known is None or (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__)
        if not same and known is not None and (key in _OWN_ROWS or not _is_ours(known)):
            raise ModelError(f"the module name {key!r} is taken by {known.__module__}", hint="register(rule, name=…)")
        _MODULES[key] = (cls, rule)
        return cls

    return add


def _is_ours(cls: type[nn.Module]) -> bool:
    return cls.__module__.startswith("ultralytics.nn.modules.")


def registered() -> list[str]:
    """Names a YAML row may use, besides those of torch.nn written as `nn.Name`."""
    return sorted(_MODULES)


def offer(module: ModuleType) -> None:
    """Let the YAML use the classes of a plugin that are not registered; of two of one name the later counts."""
    if module in _OFFERED:
        _OFFERED.remove(module)
    _OFFERED.append(module)


def lookup(name: str) -> tuple[type[nn.Module], Rule | None]:
    """Return the class and rule of a YAML module name; `nn.Name` takes torch.nn's class and keeps the channels.

    A class without `@register` is found where a tutorial has its reader import it, in `ultralytics.nn.tasks` and
    `ultralytics.nn.modules`, and in plugin files; its rule is None, see `nn/pasted.py`. It goes before a class of ours
    of its name, unless that is a row of YOLOv8 itself.
    """
    if name.startswith(("nn.", "torch.nn.")):
        cls = getattr(nn, name.rsplit("nn.", 1)[1], None)
        if isinstance(cls, type) and issubclass(cls, nn.Module):
            return cls, _TORCH_RULES.get(cls, keep_channels)
        raise ModelError(f"torch.nn has no module {name!r}", hint=nearest(name[3:], dir(nn)))
    known = _MODULES.get(name)
    if known is not None and (name in _OWN_ROWS or not _is_ours(known[0])):
        return known
    for module in (*reversed(_OFFERED), *(sys.modules[n] for n in _IMPORTED_INTO if n in sys.modules)):
        cls = vars(module).get(name)
        if isinstance(cls, type) and issubclass(cls, nn.Module):
            return known if known is not None and known[0] is cls else (cls, None)
    if known is not None:
        return known
    if name in NOT_OFFERED:
        raise ModelError(f"{name} is not offered: {NOT_OFFERED[name]}")
    if any(callable(vars(module).get(name)) for module in _OFFERED):
        hint = "write a class that calls it; of a backbone of several maps, a row for each of its stages"
        raise ModelError(f"{name} is a function or another class, and a row names a torch.nn.Module", hint=hint)
    raise ModelError(f"unknown module {name!r}", hint=_unknown(name))


def _unknown(name: str) -> str:
    """The hint for a name that is no module: where its class lies unused, what it may have meant, how to bring one."""
    folder = Path(__file__).parent / "modules"
    for file in sorted(folder.rglob("*.py")):
        if re.search(rf"^class {re.escape(name)}\b", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE):
            path = ".".join(file.relative_to(folder).with_suffix("").parts)
            line = f"from ultralytics.nn.modules.{path} import {name}"
            return f"it is in {file}, which nothing imports: write `{line}` in ultralytics/nn/tasks.py"
    offered = [n for m in _OFFERED for n, c in vars(m).items() if isinstance(c, type) and issubclass(c, nn.Module)]
    near = nearest(name, [*registered(), *offered])
    own = "a class of your own: import it in ultralytics/nn/tasks.py, or name its file in plugins=[FILE.py]"
    return f"{near}; {own}" if near else f"known: {', '.join(registered())}, and nn.NAME for torch.nn; {own}"


def derived(one: str, other: str) -> bool:
    """Return True if one module is a kind of the other."""
    pair = [_MODULES[name][0] for name in (one, other) if name in _MODULES]
    return len(pair) == 2 and (issubclass(pair[0], pair[1]) or issubclass(pair[1], pair[0]))


def class_branches(name: str) -> tuple[str, ...]:
    """Return the attributes of a head under which the tensors lie whose shape follows the class count."""
    found = getattr(_MODULES[name][0], "class_branch", ()) if name in _MODULES else ()
    return (found,) if isinstance(found, str) else tuple(found)


# Channel rules


def conv_like(row: Row) -> Built:
    """`[c2, k, s, …]` of a convolution: (c1, c2, k, s, …), c2 scaled by the width."""
    c1, c2 = row.only_source(), row.scaled(row.args[0] if row.args else None)
    stride = row.argument(2, "s", 1)
    if isinstance(stride, bool) or (isinstance(stride, int) and stride < 1):
        raise ModelError(f"its stride must be 1 or more, not {stride}")
    factor = float(stride) if isinstance(stride, int) else None
    return Built([c1, c2, *row.args[1:]], c2, factor, row.repeats, requested=row.args[0], scaled=c2)


def block_like(row: Row) -> Built:
    """`[c2, …]` of a block that keeps the resolution: (c1, c2, …), c2 scaled by the width."""
    c1, c2 = row.only_source(), row.scaled(row.args[0] if row.args else None)
    return Built([c1, c2, *row.args[1:]], c2, 1.0, row.repeats, requested=row.args[0], scaled=c2)


def repeated_block(row: Row) -> Built:
    """`[c2, …]` of a block that repeats inside itself: (c1, c2, n, …)."""
    c1, c2 = row.only_source(), row.scaled(row.args[0] if row.args else None)
    return Built([c1, c2, row.repeats, *row.args[1:]], c2, requested=row.args[0], scaled=c2)


def halving(row: Row) -> Built:
    """`[c2, …]` of a block that halves the map: (c1, c2, …), c2 scaled by the width."""
    return replace(block_like(row), stride=2.0)


def focus_like(row: Row) -> Built:
    """`[c2, k, s, …]` of a convolution over every second pixel: (c1, c2, k, s, …), c2 scaled by the width."""
    built = conv_like(row)
    return replace(built, stride=None if built.stride is None else 2 * built.stride)


def transposed(row: Row) -> Built:
    """`[c2, k, s, …]` of a transposed convolution: (c1, c2, k, s, …), c2 scaled by the width. What comes out depends
    on kernel and padding too, so the change of size is measured."""
    return replace(block_like(row), stride=None)


def plain_block(row: Row) -> Built:
    """`[cm, c2, …]` of a block of HGNet, with two channel counts that no scale changes: (c1, cm, c2, …)."""
    if len(row.args) < 2:
        raise ModelError("its arguments begin with two channel counts, [cm, c2]")
    c2 = _check_count(row.args[1])
    return Built([row.only_source(), *row.args], c2, None, row.repeats, requested=c2)


def repeated_plain_block(row: Row) -> Built:
    """`[cm, c2, k, …]` of a block of HGNet that repeats inside itself: (c1, cm, c2, k, n, …)."""
    built = plain_block(row)
    kernel = built.args[3:4] or [3]
    return replace(built, args=[*built.args[:3], *kernel, row.repeats, *built.args[4:]], stride=1.0, repeats=1)


def resnet_layer(row: Row) -> Built:
    """`[c1, c2, s, is_first, n, e]` of a layer of ResNet, its channels as they are written."""
    if len(row.args) < 2 or row.args[0] != row.only_source():
        raise ModelError(f"its arguments begin with [c1, c2], and c1 is {row.only_source()} here")
    c2, first = _check_count(row.args[1]), row.argument(3, "is_first", False)
    return Built(row.args, c2 if first else c2 * row.argument(5, "e", 4), None, row.repeats, requested=c2)


def several_maps(row: Row) -> Built:
    """`[[c, …], …]` of a layer that gives a map for each of a list of channel counts, for CBFuse to choose from:
    (c1, [c, …], …)."""
    counts = row.args[0] if row.args else None
    if not isinstance(counts, list) or not counts:
        raise ModelError("its first argument is the list of channel counts, [[c, …]]")
    return Built([row.only_source(), *row.args], 0, 1.0, maps=[_check_count(c) for c in counts])


def chosen_sum(row: Row) -> Built:
    """`[[index, …]]` of CBFuse: of each source but the last the map that is added to the last."""
    chosen, last = row.args[0] if row.args else None, row.channels[-1]
    if not isinstance(chosen, list) or len(chosen) != len(row.channels) - 1:
        raise ModelError(f"its argument is a list of {len(row.channels) - 1} numbers, one per source but the last")
    for number, index in enumerate(chosen):
        offered = row.maps[number] or [row.channels[number]]
        if type(index) is not int or not 0 <= index < len(offered):
            raise ModelError(f"source {number} gives {len(offered)} maps, and {index!r} names none of them")
        if offered[index] != last:
            raise ModelError(f"map {index} of source {number} has {offered[index]} channels, and the last one {last}")
    first, behind = row.strides[0], row.strides[-1]
    return Built(row.args, last, behind / first if first is not None and behind is not None else None)


def _check_count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ModelError(f"a number of channels is an integer of 1 or more, not {value!r}")
    return value


def keep_channels(row: Row) -> Built:
    """Arguments go through as they are; the channels stay."""
    return Built(row.args, row.only_source(), None, row.repeats)


def attention_like(row: Row) -> Built:
    """`[dim, …]` of an attention layer: it works at the incoming width, whatever `dim` the YAML was written for."""
    c1 = row.only_source()
    return Built([c1, *row.args[1:]], c1, 1.0, row.repeats, requested=row.args[0] if row.args else None)


def same_width(row: Row) -> Built:
    """`[…]` of a block that works at the incoming width: (c1, …); the channels stay."""
    c1 = row.only_source()
    return Built([c1, *row.args], c1, 1.0, row.repeats)


def concat(row: Row) -> Built:
    """`[dimension]`: the channels of all sources together, whatever their sizes."""
    if row.args and row.args[0] not in (1, -3):
        raise ModelError(f"maps are joined along their channels, dimension 1, not {row.args[0]!r}", hint="write [1]")
    return Built(row.args, sum(row.channels), takes_list=True)


def concat_of_one_stride(row: Row) -> Built:
    """As `concat`, of maps of one size."""
    return replace(concat(row), one_stride=True)


def gated_sum(row: Row) -> Built:
    """`[]` of a block that adds its second source to its first: (c1,); both have equal channels and strides."""
    if len(row.channels) != 2 or any(row.maps):
        raise ModelError(
            f"it adds one map to another, and `from` names {len(row.channels)}", hint="write [[map, added], …]"
        )
    if row.channels[0] != row.channels[1]:
        raise ModelError(
            f"its two sources have {row.channels[0]} and {row.channels[1]} channels",
            hint="bring the second one to the channels of the first with a 1×1 Conv",
        )
    first, second = row.strides or (None, None)
    if None not in (first, second) and first != second:
        raise ModelError(f"its two sources are at strides {first:g} and {second:g}", hint="resize the second one first")
    return Built([row.channels[0], *row.args], row.channels[0])


def detect_head(row: Row) -> Built:
    """`[nc, …]`: the list of source channels is appended."""
    return Built([*row.args, list(row.channels)], 0, takes_list=True)


def anchor_head(row: Row) -> Built:
    """`[nc, n, …]` of a head with numbers of its own at each anchor: the list of source channels goes by its name, so
    that arguments with a default may be left out."""
    return Built(list(row.args), 0, kwargs={"ch": list(row.channels)}, takes_list=True)


def prototype_head(row: Row) -> Built:
    """`[nc, nm, npr]` of a head with prototypes: (nc, nm, npr, ch), npr scaled by the width."""
    built = anchor_head(row)
    width = row.scaled(row.argument(2, "npr", 256))
    if len(row.args) > 2:
        return replace(built, args=[*row.args[:2], width, *row.args[3:]])
    return replace(built, kwargs={**built.kwargs, "npr": width})


def _upsample(row: Row) -> Built:
    factor = row.argument(1, "scale_factor", None)
    return Built(row.args, row.only_source(), 1 / factor if isinstance(factor, int | float) else None, row.repeats)


def _keep_map(row: Row) -> Built:
    return Built(row.args, row.only_source(), 1.0, row.repeats)


def _batch_norm(row: Row) -> Built:
    c1 = row.only_source()
    return Built([c1], c1, 1.0, row.repeats)


_TORCH_RULES: dict[type[nn.Module], Rule] = {
    nn.Upsample: _upsample,
    nn.Identity: _keep_map,
    nn.BatchNorm2d: _batch_norm,
    nn.ConvTranspose2d: transposed,
}
