"""What an edit of a model YAML does to the network: is its head fed as before, and does it still compute the same?"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ultralytics.cfg.model import ModelSpec
from ultralytics.nn.tasks import DetectionModel, network_of, parse_model
from ultralytics.utils.errors import ModelError

PROBE = (64, 96)  # height and width, pixels


def check_edit(before: ModelSpec, after: ModelSpec) -> list[str]:
    """Build both networks and compare them.

    Returns:
        Lines for the reader: what the head reads, and whether the output changes while the new rows are untrained.

    Raises:
        ModelError: the edited network cannot be built at one of its scales, or its head reads maps of other strides or
            channels than before.
    """
    for letter in after.scales or [after.scale]:
        was, now = (_declared_feeds(at(spec, letter)) for spec in (before, after))
        if was != now:
            raise _fed_otherwise(was, now, after, f" at scale {letter}" if letter else "")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        old, new = (network_of(spec)(spec, verbose=False).eval() for spec in (before, after))
        feeds = [_measured_feeds(m) for m in (old, new)]
        if feeds[0] != feeds[1]:
            raise _fed_otherwise(feeds[0], feeds[1], after)
        settle_norms(old)
        report = new.load(old)
        with torch.inference_mode():
            x = torch.rand(1, before.ch, *PROBE)
            same = torch.equal(old(x)[0], new(x)[0])
    reads = ", ".join(f"{c} channels at stride {s:g}" for s, c in feeds[1])
    return [
        f"the head reads {reads}, as before",
        f"{len(report.loaded)} of {report.possible} tensors that could go over find their place in the new network",
        "the untrained network gives the old one's output to the bit"
        if same
        else "the network computes something else than before: it has to be trained before it can be judged",
    ]


@torch.no_grad()
def settle_norms(model: DetectionModel) -> DetectionModel:
    """Give the batch norms of an untrained network the statistics of a random image, as training would; returns it in
    evaluation mode. With their initial statistics the signal dies on its way, and any two networks look alike."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.momentum = 1.0
    model.train()(torch.rand(2, model.spec.ch, 2 * PROBE[0], 2 * PROBE[1]))
    for m, momentum in zip(norms, momenta, strict=True):
        m.momentum = momentum
    return model.eval()


Feeds = list[tuple[float | None, int]]  # stride and channels of each map a head reads


def _declared_feeds(spec: ModelSpec) -> Feeds:
    """Return what the rows' rules say the head reads; a stride is None where a rule does not know it."""
    try:
        with torch.device("meta"):  # shapes alone
            rows = parse_model(spec)[0]
    except ModelError:  # of a module that reads numbers out of its maps; any other is raised again
        rows = parse_model(spec)[0]
    head: Any = rows[-1]
    return list(zip(head.strides_read, head.channels_read, strict=True))


def _fed_otherwise(was: Feeds, now: Feeds, after: ModelSpec, where: str = "") -> ModelError:
    new, old = (", ".join(f"{c} channels at stride {s or '?'}" for s, c in feeds) for feeds in (now, was))
    new, old = new.replace(".0", ""), old.replace(".0", "")
    return ModelError(f"after the edit the head would read {new}{where}", after.rows[-1].where, f"it read {old}")


def _measured_feeds(model: DetectionModel) -> Feeds:
    """Return stride and channels of each map the head reads."""
    head: Any = model.head
    return list(zip(model.stride.tolist(), head.channels_read, strict=True))


def at(spec: ModelSpec, letter: str) -> ModelSpec:
    """Return the same model at another of its scales."""
    return ModelSpec.from_dict(spec.to_dict(), letter) if spec.scales else spec
