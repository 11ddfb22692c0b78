"""Small networks: of a few rows, and with a published module or head in them."""

from pathlib import Path

import torch
from torch import nn

NET = """
nc: 3
scales: {n: [0.33, 0.0625, 128]}
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 4]]
  - [-1, 1, Conv, [64, 3, 2]]
head:
  - [[1, 2], 1, Detect, [nc]]
"""


def write_net(folder: Path) -> Path:
    """A network of four rows."""
    file = folder / "net.yaml"
    file.write_text(NET, encoding="utf-8")
    return file


# Every kind of row that exporting treats in its own way: attention with a positional table, a C2f, strides of 8 and 32.
ATTENDED = """
nc: 3
scales: {n: [0.33, 0.0625, 256]}
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 4]]
  - [-1, 1, C2f, [128, True]]
  - [-1, 1, Conv, [256, 3, 4]]
  - [-1, 1, FocusedLinearAttention, [256, [4, 4], 2]]
head:
  - [[2, 4], 1, Detect, [nc]]
"""


def write_attended(folder: Path) -> Path:
    """A network of six rows with attention, which is written in another format in a fifth of the time that the tiny
    YOLOv8-FLA takes."""
    file = folder / "attended.yaml"
    file.write_text(ATTENDED, encoding="utf-8")
    return file


PUBLISHED = Path(__file__).parents[1] / "nn" / "published"


# What keeps the map: rows as tutorials write them, with nothing, the unscaled width, and the width of another map.
KEEPING = [
    "SEAttention",
    "ECAAttention",
    "ECAKernel",
    "CBAMBlock",
    "SimAM",
    "CoordAtt",
    "EMA",
    "GAM_Attention",
    "NAMAttention",
    "ShuffleAttention",
    "SpatialGroupEnhance",
    "BAMBlock",
    "MLCA",
    "ELA",
    "PolarizedSelfAttention",
    "TripletAttention",
    "SKAttention",
    "LSKA",
    "CAA",
    "CPCA",
    "BiLevelRoutingAttention",
    "DAttention",
]


# What has outgoing channels.
WIDENING = ["iRMB", "ODConv2d", "GhostConv", "C3", "C3Ghost", "RepConv", "AsymmetricConv", "SwinTransformerBlock"]


HEADS = {
    "LSCD": ("Detect_LSCD", ["nc", 32]),
    "Efficient": ("Detect_Efficient", ["nc"]),
    "ASFF": ("Detect_ASFF", ["nc"]),
    "DyHead": ("Detect_DyHead", ["nc", 32, 1]),
    "v10": ("v10Detect", ["nc"]),
}
MODULES = {name: ([1024],) for name in KEEPING} | {name: ([64],) for name in WIDENING}
MODULES |= {
    "DySample": ([],),
    "CARAFE": ([3, 5],),
    "SPDConv": ([64],),
    "space_to_depth": ([1],),
    "BiFPN_Concat2": ([1], [-1, 1]),
    "CondConv": ([64],),
    "ScaleSequence": ([64], [-1, 1]),
}


STEM = [[-1, 1, "Conv", [c, 3, 2]] for c in (16, 16, 32, 64)]


def with_head(name, args):
    return {
        "nc": 3,
        "plugins": [str(PUBLISHED / "heads.py")],
        "backbone": STEM,
        "head": [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "C2f", [64]], [[3, 5], 1, name, args]],
    }


def with_module(name, args, sources=-1):
    """A pasted module at stride 4, where the maps of a small image are large enough for windows."""
    convs = [[-1, 1, "Conv", [c, 3, 2]] for c in (16, 64, 32, 32)]
    head = [convs[2], convs[3], [[3, 4], 1, "Detect", ["nc"]]]
    plugins = [str(PUBLISHED / f"{file}.py") for file in ("channel", "spatial", "convs", "swin")]
    return {"nc": 3, "plugins": plugins, "backbone": [*convs[:2], [sources, 1, name, args]], "head": head}


def spotted(batch, channels, height, width, generator):
    """Images with spots of several sizes, 0..1. Of noise alone deep maps are nearly constant, and batch norms that have
    settled on them enlarge what rounding makes of them until nothing can be compared."""
    parts = [
        nn.functional.interpolate(
            torch.rand(batch, channels, height // k, width // k, generator=generator), (height, width)
        )
        for k in (1, 8, 32)
    ]
    return sum(parts) / len(parts)


def settled(model, size=(256, 320)):
    """A network of random weights as if it had learned: batch norms have the statistics of what they see, and gates,
    positional tables and scales are not zero, so that what an attention computes reaches the output; in evaluation."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[2] in ("gate", "positional_encoding", "scale", "gamma"):
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all passes
    with torch.no_grad():
        model.train()
        for _ in range(2):
            model(spotted(2, model.spec.ch, *size, generator))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
