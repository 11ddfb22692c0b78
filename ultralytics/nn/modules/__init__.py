"""The modules a model YAML may use; importing this package registers them."""

from ultralytics.nn.modules.block import DFL, SPPF, Bottleneck, C2f
from ultralytics.nn.modules.conv import Concat, Conv, DWConv, autopad
from ultralytics.nn.modules.FLA import FocusedLinearAttention
from ultralytics.nn.modules.head import Detect

__all__ = [
    "DFL",
    "SPPF",
    "Bottleneck",
    "C2f",
    "Concat",
    "Conv",
    "DWConv",
    "Detect",
    "FocusedLinearAttention",
    "autopad",
]
