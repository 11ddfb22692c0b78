"""The first pass through a new network, which says where a row does not fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ultralytics.nn.parsing import wrong_channels
from ultralytics.utils.errors import ModelError

STRIDE_PROBE = 256  # pixels; a multiple of every stride in use


def first_pass(model: Any) -> Any:
    """Pass zeros through a new network, and compare the channels of each row with those its rule declares.

    Raises:
        ModelError: naming the row that does not take its input, or gives other channels.
    """
    reached = 0

    def enter(layer: Any, _: Any) -> None:
        nonlocal reached
        reached = layer.i

    def leave(layer: Any, _: Any, out: Any) -> None:
        declared = layer.built.channels
        if isinstance(out, Tensor) and out.dim() == 4 and out.shape[1] != declared:
            raise wrong_channels(int(out.shape[1]), declared)

    hooks = [layer.register_forward_pre_hook(enter) for layer in model.model]
    hooks += [layer.register_forward_hook(leave) for layer in model.model]
    try:
        return model.forward(torch.zeros(1, model.spec.ch, STRIDE_PROBE, STRIDE_PROBE))
    except Exception as e:  # whatever a module makes of a map it was not written for
        where = model.spec.rows[reached].where or model.spec.yaml_file
        if isinstance(e, ModelError):
            raise ModelError(e.what, where, e.hint) from None
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise ModelError(
            f"a {STRIDE_PROBE}×{STRIDE_PROBE} image does not pass through: {reason}",
            where,
            "`python -m ultralytics info` on a model that works shows what each row receives",
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
