"""The reference's module for blocks: `csp`, `elan`, `cib` and `backbone` hold them."""

from ultralytics.nn.modules.backbone import HGBlock, HGStem, ResNetBlock, ResNetLayer
from ultralytics.nn.modules.cib import CIB, PSA, Attention, C2fCIB, RepVGGDW, SCDown
from ultralytics.nn.modules.csp import (
    C1,
    C2,
    C3,
    C3TR,
    DFL,
    SPP,
    SPPF,
    Bottleneck,
    BottleneckCSP,
    C2f,
    C3Ghost,
    C3x,
    GhostBottleneck,
    Proto,
    RepC3,
)
from ultralytics.nn.modules.elan import (
    ELAN1,
    SPPELAN,
    AConv,
    ADown,
    CBFuse,
    CBLinear,
    RepBottleneck,
    RepCSP,
    RepNCSPELAN4,
)

__all__ = [
    "C1", "C2", "C3", "C3TR", "CIB", "DFL", "ELAN1", "PSA", "SPP", "SPPELAN", "SPPF", "AConv", "ADown", "Attention",
    "Bottleneck", "BottleneckCSP", "C2f", "C2fCIB", "C3Ghost", "C3x", "CBFuse", "CBLinear", "GhostBottleneck",
    "HGBlock", "HGStem", "Proto", "RepBottleneck", "RepC3", "RepCSP", "RepNCSPELAN4", "RepVGGDW", "ResNetBlock",
    "ResNetLayer", "SCDown",
]  # fmt: skip

for _name in __all__:
    globals()[_name].__module__ = __name__  # the path by which logs and files of either project name a block
