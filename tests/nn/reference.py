"""Modules and networks with weights that hang on their names alone, and the numbers that they give.

`python tests/nn/reference.py OUT.json` records them with the `ultralytics` that it finds, without this project's files
on the path: so the numbers of tests/nn/reference.json are those of 8.2.103, and a test compares ours.
"""

import hashlib
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

# Class, arguments, shape of each input.
MAP8, MAP16 = (2, 8, 12, 10), (2, 16, 12, 10)
CASES = [
    ("CBAM", (16,), MAP16),
    ("CBAM", (16, 3), MAP16),
    ("ChannelAttention", (16,), MAP16),
    ("SpatialAttention", (), MAP16),
    ("Conv", (8, 16, (1, 3), (2, 1)), MAP8),
    ("Conv2", (8, 16), MAP8),
    ("Conv2", (8, 16, 3, 2, None, 4), MAP8),
    ("ConvTranspose", (8, 16), MAP8),
    ("ConvTranspose", (8, 16, 4, 2, 1, False, False), MAP8),
    ("DWConv", (8, 12, 3, 2), MAP8),
    ("DWConvTranspose2d", (8, 16, 2, 2), MAP8),
    ("Focus", (8, 16, 3), MAP8),
    ("GhostConv", (8, 16, 3, 2), MAP8),
    ("GhostBottleneck", (8, 16, 3, 2), MAP8),
    ("GhostBottleneck", (16, 16, 3, 1), MAP16),
    ("LightConv", (8, 16, 3), MAP8),
    ("RepConv", (8, 16), MAP8),
    ("RepConv", (8, 16, 3, 2, 1, 4), MAP8),
    ("RepConv", (16, 16, 3, 1, 1, 2, 1, False, True), MAP16),
    ("C1", (8, 16, 2), MAP8),
    ("C2", (8, 16, 2), MAP8),
    ("C2f", (8, 16, 2, True), MAP8),
    ("C3", (8, 16, 2, False, 2), MAP8),
    ("C3x", (8, 16, 2), MAP8),
    ("C3TR", (8, 16, 2), MAP8),
    ("C3Ghost", (8, 16, 2), MAP8),
    ("SPP", (8, 16), MAP8),
    ("SPP", (8, 16, (3, 5)), MAP8),
    ("SPPF", (8, 16, 3), MAP8),
    ("RepC3", (8, 16, 2), MAP8),
    ("Bottleneck", (16, 16, True, 2, ((1, 3), (3, 1)), 1.0), MAP16),
    ("BottleneckCSP", (8, 16, 2), MAP8),
    ("Proto", (8, 16, 4), MAP8),
    ("HGStem", (8, 6, 16), MAP8),
    ("HGBlock", (8, 4, 16, 3, 2), MAP8),
    ("HGBlock", (16, 4, 16, 5, 2, True, True), MAP16),
    ("ResNetLayer", (8, 16, 1, True, 1), MAP8),
    ("ResNetLayer", (8, 4, 2, False, 2), MAP8),
    ("ELAN1", (8, 16, 8, 4), MAP8),
    ("RepNCSPELAN4", (8, 16, 8, 4, 2), MAP8),
    ("ADown", (8, 16), MAP8),
    ("AConv", (8, 16), MAP8),
    ("SPPELAN", (8, 16, 4), MAP8),
    ("CBLinear", (8, [4, 12]), MAP8),
    ("CBLinear", (8, [4, 12], 3, 2), MAP8),
    ("CBFuse", ([0, 1],), (((2, 4, 3, 5),), ((2, 2, 3, 5), (2, 4, 12, 20)), (2, 4, 6, 10))),
    ("RepVGGDW", (8,), MAP8),
    ("CIB", (8, 8, True, 0.5, True), MAP8),
    ("CIB", (8, 16), MAP8),
    ("C2fCIB", (8, 16, 2, True, True), MAP8),
    ("Attention", (16, 2), MAP16),
    ("PSA", (128, 128), (1, 128, 5, 6)),
    ("SCDown", (8, 16, 3, 2), MAP8),
    ("AIFI", (16, 24, 4), MAP16),
    ("AIFI", (16, 24, 4, 0, nn.ReLU(), True), MAP16),
    ("TransformerEncoderLayer", (16, 24, 4), (2, 7, 16)),
    ("TransformerLayer", (16, 4), (7, 2, 16)),
    ("TransformerBlock", (8, 16, 4, 2), MAP8),
    ("TransformerBlock", (16, 16, 4, 1), MAP16),
    ("MLPBlock", (16, 24), (2, 7, 16)),
    ("MLP", (16, 24, 4, 3), (2, 7, 16)),
    ("MLP", (16, 24, 4, 2, nn.ReLU, True), (2, 7, 16)),
    ("LayerNorm2d", (16,), MAP16),
    ("Detect", (5, (8, 16)), ((2, 8, 8, 6), (2, 16, 4, 3))),
    ("v10Detect", (5, (8, 16)), ((2, 8, 8, 6), (2, 16, 4, 3))),
]
# Model YAML → its scales ("" without), and the pixels at which it is run at its first scale (0: it is not run).
MODELS = {
    "yolov3": ("", 0),
    "yolov3-spp": ("", 0),
    "yolov3-tiny": ("", 64),
    "yolov5": ("nsmlx", 64),
    "yolov5-p6": ("nsmlx", 64),
    "yolov6": ("nsmlx", 64),
    "yolov8": ("nsmlx", 64),
    "yolov8-p2": ("nsmlx", 64),
    "yolov8-p6": ("nsmlx", 64),
    "yolov8-ghost": ("nsmlx", 64),
    "yolov8-ghost-p2": ("nsmlx", 64),
    "yolov8-ghost-p6": ("nsmlx", 64),
    "yolov9t": ("", 64),
    "yolov9s": ("", 0),
    "yolov9m": ("", 0),
    "yolov9c": ("", 0),
    "yolov9e": ("", 64),
    "yolov10n": ("n", 64),
    "yolov10s": ("s", 0),
    "yolov10m": ("m", 0),
    "yolov10b": ("b", 0),
    "yolov10l": ("l", 0),
    "yolov10x": ("x", 0),
}


def values(name, shape):
    """Values of an input or a tensor, by its name."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


@torch.no_grad()
def seed(module):
    """Weights and statistics that hang on their names alone, of a size that keeps the signal alive."""
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eps = 1e-3  # as in a network
    for name, tensor in module.state_dict().items():
        if "dfl" in name or not tensor.is_floating_point():
            continue
        new = torch.from_numpy(values(name, tensor.shape))
        if name.endswith("running_var"):
            new = 0.5 + new.abs()
        elif tensor.dim() > 1:
            new = new / max(tensor[0].numel(), 1) ** 0.5
        elif name.endswith("weight"):
            new = 1 + new / 10
        else:
            new = new / 10
        tensor.copy_(new)
    return module


def maps(shapes, name="input"):
    """The input of a shape, or a list of inputs."""
    if isinstance(shapes[0], int):
        return torch.from_numpy(values(name, shapes))
    return [maps(s, f"{name} {i}") for i, s in enumerate(shapes)]


def tensors(out):
    """All tensors of a nested output, in order."""
    if isinstance(out, torch.Tensor):
        return [out]
    return [t for v in (out.values() if isinstance(out, dict) else out) for t in tensors(v)]


def digest(module):
    """Number of tensors and parameters, and a digest of the state dict's names and shapes in their order."""
    state = [f"{k} {tuple(v.shape)}" for k, v in module.state_dict().items()]
    message = hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]
    return {"tensors": len(state), "parameters": sum(p.numel() for p in module.parameters()), "state": message}


def figures(out):
    """Shape, and inner products with three fixed random vectors by length: whatever moves moves them."""
    message = []
    for t in tensors(out):
        flat = t.detach().double().flatten().numpy()
        vectors = np.random.default_rng(7).standard_normal((3, flat.size))
        message.append([list(t.shape), *((vectors @ flat) / np.sqrt(flat.size)).round(7).tolist()])
    return message


def case_of(package, name, args):
    """A module of the cases, ready to run."""
    torch.manual_seed(0)
    module = seed(getattr(package, name)(*args)).eval()
    if hasattr(module, "reg_max"):
        module.stride = torch.tensor([8.0, 16.0])
    return module


def run(module, shapes):
    """A module's output in evaluation, and a head's raw maps in training."""
    with torch.no_grad():
        return module(maps(shapes))


def file_of(name, letter):
    """The name of a model YAML that asks for a scale."""
    return f"{name[:6]}{letter}{name[6:]}.yaml" if letter and "v10" not in name else f"{name}.yaml"


def image(size):
    """An image of so many pixels."""
    return torch.from_numpy(values("image", (1, 3, size, size))).abs().clamp(max=1)


def record():
    """Everything, by the `ultralytics` that is found."""
    from ultralytics.nn import modules
    from ultralytics.nn.tasks import DetectionModel

    message = {"modules": [], "models": {}}
    for name, args, shapes in CASES:
        module = case_of(modules, name, args)
        message["modules"].append({"name": name, **digest(module), "out": figures(run(module, shapes))})
    for name, (letters, size) in MODELS.items():
        for letter in letters or [""]:
            modules.Conv.default_act = nn.SiLU()  # a network's own activation stays there for the next one
            net = DetectionModel(file_of(name, letter), verbose=False)
            own = {**digest(net), "stride": net.stride.tolist()}
            if size and letter == (letters or [""])[0]:
                with torch.no_grad():
                    own["out"] = figures(seed(net).eval()(image(size)))
                fused = net.fuse(verbose=False)
                own["fused"] = [sum(p.numel() for p in fused.parameters()), len(fused.state_dict())]
            message["models"][f"{name} {letter}".strip()] = own
    return message


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(record(), indent=1), encoding="utf-8")
