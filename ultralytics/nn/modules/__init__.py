"""The modules a model YAML may use; importing this package registers them."""

from typing import NoReturn

from ultralytics.nn.modules.attention import (
    AttentionBlock,
    GatedAdd,
    MagnitudeAwareLinearAttention,
    MALABlock,
    MapAttention,
    PSABlock,
    RALABlock,
    RankAugmentedLinearAttention,
    ReLULinearAttention,
    ReLULinearBlock,
    SoftmaxAttention,
)
from ultralytics.nn.modules.block import (
    C1,
    C2,
    C3,
    C3TR,
    CIB,
    DFL,
    ELAN1,
    PSA,
    SPP,
    SPPELAN,
    SPPF,
    AConv,
    ADown,
    Attention,
    Bottleneck,
    BottleneckCSP,
    C2f,
    C2fCIB,
    C3Ghost,
    C3x,
    CBFuse,
    CBLinear,
    GhostBottleneck,
    HGBlock,
    HGStem,
    Proto,
    RepBottleneck,
    RepC3,
    RepCSP,
    RepNCSPELAN4,
    RepVGGDW,
    ResNetBlock,
    ResNetLayer,
    SCDown,
)
from ultralytics.nn.modules.classify import Classify
from ultralytics.nn.modules.conv import (
    CBAM,
    ChannelAttention,
    Concat,
    Conv,
    Conv2,
    ConvTranspose,
    DWConv,
    DWConvTranspose2d,
    Focus,
    GhostConv,
    LightConv,
    RepConv,
    SpatialAttention,
    autopad,
)
from ultralytics.nn.modules.FLA import (
    C2f_FLA,
    ConvBlock,
    FLABlock,
    FLALayer,
    FocusedLinearAttention,
    MatchedConvolution,
)
from ultralytics.nn.modules.head import OBB, Detect, Pose, Segment, v10Detect
from ultralytics.nn.modules.transformer import (
    AIFI,
    MLP,
    LayerNorm2d,
    MLPBlock,
    TransformerBlock,
    TransformerEncoderLayer,
    TransformerLayer,
)
from ultralytics.nn.registry import NOT_OFFERED

__all__ = [
    "AIFI", "C1", "C2", "C3", "C3TR", "CBAM", "CIB", "DFL", "ELAN1", "MLP", "OBB", "PSA", "SPP", "SPPELAN", "SPPF",
    "AConv", "ADown", "Attention", "AttentionBlock", "Bottleneck", "BottleneckCSP", "C2f", "C2fCIB", "C2f_FLA",
    "C3Ghost", "C3x", "CBFuse", "CBLinear", "ChannelAttention", "Classify", "Concat", "Conv", "Conv2", "ConvBlock",
    "ConvTranspose", "DWConv", "DWConvTranspose2d", "Detect", "FLABlock", "FLALayer", "Focus",
    "FocusedLinearAttention", "GatedAdd", "GhostBottleneck", "GhostConv", "HGBlock", "HGStem", "LayerNorm2d",
    "LightConv", "MALABlock", "MLPBlock", "MagnitudeAwareLinearAttention", "MapAttention", "MatchedConvolution",
    "PSABlock", "Pose", "Proto", "RALABlock", "RankAugmentedLinearAttention", "ReLULinearAttention", "ReLULinearBlock",
    "RepBottleneck", "RepC3", "RepCSP", "RepConv", "RepNCSPELAN4", "RepVGGDW", "ResNetBlock", "ResNetLayer",
    "SCDown", "Segment", "SoftmaxAttention", "SpatialAttention", "TransformerBlock", "TransformerEncoderLayer",
    "TransformerLayer", "autopad", "v10Detect",
]  # fmt: skip


def __getattr__(name: str) -> NoReturn:
    """One line for a module of the reference that is not here, where a script imports it."""
    if name in NOT_OFFERED:
        raise ImportError(f"{name} is not offered: {NOT_OFFERED[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
