"""The modules a model YAML may use; importing this package registers them."""

from ultralytics.nn.modules.attention import (
    AttentionBlock,
    MagnitudeAwareLinearAttention,
    MALABlock,
    MapAttention,
    PSABlock,
    ReLULinearAttention,
    ReLULinearBlock,
    SoftmaxAttention,
)
from ultralytics.nn.modules.block import DFL, SPPF, Bottleneck, C2f
from ultralytics.nn.modules.conv import Concat, Conv, DWConv, autopad
from ultralytics.nn.modules.FLA import C2f_FLA, FLABlock, FocusedLinearAttention
from ultralytics.nn.modules.head import Detect

__all__ = [
    "DFL",
    "SPPF",
    "AttentionBlock",
    "Bottleneck",
    "C2f",
    "C2f_FLA",
    "Concat",
    "Conv",
    "DWConv",
    "Detect",
    "FLABlock",
    "FocusedLinearAttention",
    "MALABlock",
    "MagnitudeAwareLinearAttention",
    "MapAttention",
    "PSABlock",
    "ReLULinearAttention",
    "ReLULinearBlock",
    "SoftmaxAttention",
    "autopad",
]
