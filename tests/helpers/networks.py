"""Small networks: of a few rows, and with a published module or head in them."""

from pathlib import Path

import torch

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


@torch.no_grad()
def settle(net, size=64, passes=3):
    """Let a new network behave like a trained one: batch norms know their maps, gates are open, the head's outputs
    spread over their ranges."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        if parameter.dim() == 1 and not parameter.any():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    net.train()
    for _ in range(passes):
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.5
        net(torch.rand(4, 3, size, size, generator=generator))
    net.eval()
    for branch in (*net.head.cv2, *net.head.cv3):
        branch[-1].weight.mul_(20)
        branch[-1].bias.mul_(0.3)
    return net
