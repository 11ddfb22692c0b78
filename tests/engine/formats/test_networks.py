"""An exported file computes what its network computes: every YAML of cfg/models, and real weights, at four sizes."""

from pathlib import Path

import pytest
import torch
import yaml

from tests.helpers.networks import settled, spotted
from ultralytics.cfg.config import get_cfg
from ultralytics.engine.exporter import ROUNDINGS
from ultralytics.engine.formats import onnx, openvino
from ultralytics.engine.formats.format import Job
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.engine.formats.table import format_named
from ultralytics.models.yolo.detect.export import TOLERANCES, DetectionExporter
from ultralytics.models.yolo.weights import load_trained
from ultralytics.nn.deploy import Deployed
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.ops import make_divisible

MODELS = Path(__file__).parents[3] / "cfg" / "models"
# Of these another size of the family stands for them: with tens of millions of weights a test would take minutes.
LARGE = {"yolov10m", "yolov10b", "yolov10l", "yolov10x", "yolov9m", "yolov9c", "yolov9e", "yolov3", "yolov3-spp"}
# Heads that give more: test_outputs.py.
OTHERS = {f.stem for f in MODELS.glob("yolov8-*.yaml") if f.stem.split("-")[1] in ("seg", "pose", "obb")}
SHAPES = [(1, 640, 640), (3, 384, 640), (3, 640, 352), (1, 384, 640), (1, 1088, 1920)]
FORMATS = ("onnx", "openvino", "torchscript")


def network(name, shared):
    """The network of a name: "yolov8n.pt", or of a YAML at scale n where it has scales."""
    if name.endswith(".pt"):
        return load_trained(shared / "weights" / name)[0].eval()
    file = MODELS / f"{name}.yaml"
    scaled = "n" in yaml.safe_load(file.read_text(encoding="utf-8")).get("scales", ())
    torch.manual_seed(0)
    model = settled(DetectionModel(str(file), scale="n" if scaled else None, verbose=False))
    spread_scores(model, getattr(model.head, "one2one_cv3", ()))
    return model


def spread_scores(model, branches):
    """Give an end-to-end head best scores that differ. Where all are 1, rounding alone says which boxes are the best,
    and nothing could be compared."""
    seen = {}
    hooks = [b[-1].register_forward_hook(lambda m, _, out: seen.update({m: out})) for b in branches]
    with torch.no_grad():
        model(spotted(2, model.spec.ch, 640, 640, torch.Generator().manual_seed(2)))
        for layer, out in seen.items():
            low, best = out.mean(), out.max()
            gain = 4 / (best - low)  # the mean becomes -6, the best -2
            layer.weight.mul_(gain)
            layer.bias.copy_((layer.bias - best) * gain - 2)
    for hook in hooks:
        hook.remove()


def measured(model, folder, monkeypatch, half=False):
    """The largest differences of boxes and scores by format. The graph is recorded once for ONNX and OpenVINO."""
    deployed = Deployed(model)
    args = get_cfg(overrides={"dynamic": True, "half": half}, mode="export")
    job = Job(deployed, args, (1, 3, 640, 640), Metadata(dict(model.names), int(model.stride.max()), args=vars(args)))
    graph = onnx.graph(job, half)
    for module in (onnx, openvino):
        monkeypatch.setattr(module, "graph", lambda *_: graph)
    generator = torch.Generator().manual_seed(1)
    stride = int(model.stride.max())  # 64 of the networks with a sixth map
    images = [spotted(b, 3, make_divisible(h, stride), make_divisible(w, stride), generator) for b, h, w in SHAPES]
    with torch.no_grad():
        ours = [deployed(x) for x in images]
    if getattr(model, "end2end", False):  # something is compared
        assert all(float(y[:, 0, 4].max()) > float(y[:, -1, 4].min()) + 1e-3 for y in ours)
    compare = DetectionExporter().comparison(None).outputs
    found = {}
    for name in FORMATS:
        kind = format_named(name)
        path = kind.place(folder / "net", args)
        kind.write(job, path)
        file = kind.open(path)
        lines = [compare(y, file(x.to(file.dtype))[0].float()) for x, y in zip(images, ours, strict=True)]
        found[name] = {key: max(line[key] for line in lines) for key in lines[0]}
    return found


def rounding(model):
    """How far a network in fp32 is from itself in fp64, at a small and at the largest size."""
    deployed = Deployed(model)
    generator = torch.Generator().manual_seed(1)
    stride = int(model.stride.max())
    images = [spotted(1, 3, make_divisible(h, stride), make_divisible(w, stride), generator) for _, h, w in SHAPES[-2:]]
    with torch.no_grad():
        ours = [deployed(x) for x in images]
        deployed = deployed.double()
        exact = [deployed(x.double()).float() for x in images]
    lines = [DetectionExporter().comparison(None).outputs(a, b) for a, b in zip(exact, ours, strict=True)]
    return {key: max(line[key] for line in lines) for key in lines[0]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov8n.pt", *sorted({f.stem for f in MODELS.glob("*.yaml")} - LARGE - OTHERS)])
def test_every_format_computes_what_the_network_does_at_any_size(name, tmp_path, monkeypatch, request):
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    shared = request.getfixturevalue("shared") if name.endswith(".pt") else None
    model = network(name, shared)
    found = measured(model, tmp_path, monkeypatch)
    print(name, {k: {n: f"{v:.1e}" for n, v in of.items()} for k, of in found.items()})  # with -s, the table
    # Random weights cancel where learned ones do not: the network's own rounding may be more than the tolerance.
    own = rounding(model)
    for differences in found.values():
        assert all(differences[key] <= max(limit, ROUNDINGS * own[key]) for key, limit in TOLERANCES.items()), own
