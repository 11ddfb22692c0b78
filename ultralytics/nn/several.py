"""Backends that make several outputs of an image: of passes over it scaled and flipped, and of several networks."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.nn.backend import Backend, backend_of
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.tensors import scaled

# The reference's passes: scale, and whether left and right are exchanged.
PASSES = ((1.0, False), (0.83, True), (0.67, False))


@dataclass(frozen=True)
class Several:
    """Outputs for the same images, in pixels of one frame, whose boxes are to be joined.

    Attributes:
        outputs: of each network or pass, as a `Backend` gives them.
        how: one of `cfg.keys.MERGES`, where the user says none.
    """

    outputs: list[Any]
    how: str

    @property
    def open(self) -> bool:
        """Return True if no boxes are suppressed yet: outputs are (B, 4 + nc, A)."""
        return not any(isinstance(each, Several) or _final(each[1]) for each in self.outputs)


class Augmented:
    """A network that sees images three times: as they are, smaller and flipped, and smaller still.

    Args:
        net: takes images of any size.
        trim: leave out anchors as the reference does, see `passes`.

    Raises:
        ConfigError: the network takes images of one size alone.
    """

    def __init__(self, net: Backend, trim: bool = True) -> None:
        if net.fixed is not None:
            takes = "×".join(map(str, net.fixed))
            raise ConfigError(
                f"augment=True makes images smaller, and the exported file takes {takes} pixels alone",
                hint="export it with dynamic=True, or give the .pt",
            )
        self.net, self.trim = net, trim
        self.names, self.nc, self.stride = net.names, net.nc, net.stride
        self.device, self.dtype, self.layout = net.device, net.dtype, net.layout
        self.fixed: tuple[int, int] | None = None

    def __call__(self, images: Tensor) -> Several:
        """Return the output of each pass; see `Backend`."""
        return Several(list(passes(self.net, images, self.stride, self.trim)), "nms")


class EnsembleBackend:
    """Several networks as one, each of which sees every image.

    Args:
        members: networks, or what runs one; classes are found by their names, in whatever order a network has them.

    Raises:
        ConfigError: they do not have the same classes, or take images of different sizes alone.

    Attributes:
        names: of the first.
        fixed: of those that take images of one size alone.
    """

    def __init__(self, members: Sequence[nn.Module | Backend]) -> None:
        self.members: list[Any] = list(members)
        first = self.members[0]
        self.names: dict[int, str] = first.names
        self.nc = len(self.names)
        self._orders = [self._order(m, place) for place, m in enumerate(self.members)]
        self.stride = max(int(torch.as_tensor(m.stride).max()) for m in self.members)
        sizes = {m.fixed: None for m in self.members if getattr(m, "fixed", None) is not None}
        if len(sizes) > 1:
            takes = " and ".join("×".join(map(str, size)) for size in sizes)
            raise ConfigError(
                f"the exported files take images of {takes} pixels alone", hint="export them with dynamic=True"
            )
        self.fixed: tuple[int, int] | None = next(iter(sizes), None)
        networks = [m for m in self.members if isinstance(m, nn.Module)]
        leader: Any = networks[0] if networks else first
        self.device: torch.device = getattr(leader, "device", None) or next(leader.parameters()).device
        self.dtype: torch.dtype = getattr(leader, "dtype", torch.float32)
        self.layout: torch.memory_format = getattr(leader, "layout", torch.contiguous_format)

    def _order(self, member: Any, place: int) -> list[int] | None:
        """Return where the classes are among a member's; None where they are in the same places."""
        if member.names == self.names:
            return None
        ids = {name: i for i, name in member.names.items()}
        if len(ids) != len(member.names) or sorted(ids) != sorted(self.names.values()):
            lacks = _listed([n for n in self.names.values() if n not in ids])
            more = _listed([n for n in ids if n not in self.names.values()])
            differ = [f"lacks {lacks}"] * bool(lacks) + [f"has {more} besides"] * bool(more)
            raise ConfigError(
                f"the networks of an ensemble need the same class names: network {place + 1} "
                f"{' and '.join(differ) or 'has a name twice'}",
                hint="give networks that were trained on the same classes",
            )
        return [ids[name] for name in self.names.values()]

    def ready(self, device: torch.device | None, half: bool) -> EnsembleBackend:
        """Return it with each network ready to run."""
        return self.each(lambda m: backend_of(m, device, half))

    def __call__(self, images: Tensor) -> Several:
        """Return the output of each network; see `Backend`."""
        pairs = zip(self.members, self._orders, strict=True)
        return Several([_reordered(net(images.to(net.device, net.dtype)), order) for net, order in pairs], "wbf")

    def each(self, change: Callable[[Any], Any]) -> EnsembleBackend:
        """Return it with each network changed."""
        return EnsembleBackend([change(m) for m in self.members])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")


def _reordered(output: Any, order: list[int] | None) -> Any:
    """Return an output with its classes in another order: place → place among the member's."""
    if order is None:
        return output
    if isinstance(output, Several):
        return Several([_reordered(each, order) for each in output.outputs], output.how)
    y, raw = output
    if _final(raw):
        place = torch.tensor(order, device=y.device).argsort()
        y = torch.cat((y[..., :5], place[y[..., 5:].long()].to(y.dtype)), -1)
        return y, raw
    return torch.cat((y[:, :4], y[:, 4:][:, order]), 1), raw


def networks_in(net: Any) -> Iterator[Any]:
    """Yield the networks that a backend is made of: itself, where it is one."""
    if isinstance(net, EnsembleBackend):
        for member in net.members:
            yield from networks_in(member)
    else:
        yield net.net if isinstance(net, Augmented) else net


def torch_network(net: Any) -> nn.Module | None:
    """Return the first network of PyTorch's that a backend is made of."""
    return next((one for one in networks_in(net) if isinstance(one, nn.Module)), None)


def with_networks(net: Any, change: Callable[[Any], Any]) -> Any:
    """Return a backend with each network that it is made of changed; itself, where none is."""
    if isinstance(net, EnsembleBackend):
        members = [with_networks(m, change) for m in net.members]
        return net if all(map(operator.is_, members, net.members)) else EnsembleBackend(members)
    if isinstance(net, Augmented):
        one = with_networks(net.net, change)
        return net if one is net.net else Augmented(one, net.trim)
    return change(net)


def _final(raw: Any) -> bool:
    """Return True if boxes are final: (B, n, 6)."""
    return isinstance(raw, Mapping)


def passes(
    run: Callable[[Tensor], Any], images: Tensor, stride: int, trim: bool = True
) -> Iterator[tuple[Tensor, Any]]:
    """Yield the outputs of a network for each of PASSES, boxes in pixels of the images as they are given.

    With `trim` the first pass leaves out the anchors of its coarsest map, and the last those of its finest: objects of
    their sizes are found in the others.

    Args:
        run: the network: images → (y, raw).
        images: (B, 3, H, W), RGB 0..1, H and W multiples of `stride`.
        stride: the largest of the network's.
    """
    for number, (scale, flip) in enumerate(PASSES):
        seen = scaled(images.flip(3) if flip else images, scale, stride)
        y, raw = run(seen)
        if _final(raw):
            yield _corners_back(y, scale, images.shape[3] if flip else None), raw
            continue
        cells = seen.shape[2] // stride * (seen.shape[3] // stride)
        coarse, fine = _ends(y.shape[-1], cells) if trim else (0, 0)
        y = _centres_back(y, scale, images.shape[3] if flip else None)
        if number == 0 and coarse:
            y = y[..., :-coarse]
        elif number == len(PASSES) - 1:
            y = y[..., fine:]
        yield y, []


def _ends(anchors: int, cells: int) -> tuple[int, int]:
    """Return how many anchors are of the coarsest map, which comes last, and of the finest; (0, 0) where there is one
    map, or they do not double from one to the next."""
    counts = [cells]
    while sum(counts) < anchors:
        counts.append(counts[-1] * 4)
    return (counts[0], counts[-1]) if sum(counts) == anchors and len(counts) > 1 else (0, 0)


def _centres_back(y: Tensor, scale: float, width: int | None) -> Tensor:
    """Return an output (B, 4 + nc, A) for an image that was scaled, and flipped where its width is given."""
    boxes = y[:, :4] / scale
    x = boxes[:, :1] if width is None else width - boxes[:, :1]
    return torch.cat((x, boxes[:, 1:], y[:, 4:]), 1)


def _corners_back(y: Tensor, scale: float, width: int | None) -> Tensor:
    """Return final boxes (B, n, 6) for an image that was scaled, and flipped where its width is given."""
    left, top, right, bottom = y[..., :4].div(scale).unbind(-1)
    if width is not None:
        left, right = width - right, width - left
    return torch.cat((torch.stack((left, top, right, bottom), -1), y[..., 4:]), -1)
