"""An exported file computes what its network computes: every YAML of cfg/models, and real weights, at four sizes."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from tests.helpers.networks import settled, spotted
from ultralytics.cfg.config import get_cfg
from ultralytics.engine.formats import onnx, openvino
from ultralytics.engine.formats.format import Job
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.engine.formats.table import format_named
from ultralytics.models.yolo.detect.export import TOLERANCES, DetectionExporter
from ultralytics.models.yolo.weights import load_trained
from ultralytics.nn.deploy import Deployed
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ExportError
from ultralytics.utils.ops import make_divisible

MODELS = Path(__file__).parents[3] / "cfg" / "models"
# Heads that give more: test_outputs.py.
OTHERS = {f.stem for f in MODELS.glob("yolov8-*.yaml") if f.stem.split("-")[1] in ("seg", "pose", "obb", "cls")}
SHAPES = [(1, 640, 640), (3, 384, 640), (3, 640, 352), (1, 384, 640), (1, 1088, 1920)]
FORMATS = ("onnx", "openvino", "torchscript")


def network(name, shared):
    """The network of a name: "yolov8n.pt", or of a YAML at scale n where it has scales."""
    if name.endswith(".pt"):
        return load_trained(shared / "weights" / name)[0].eval()
    file = MODELS / f"{name}.yaml"
    scaled = "n" in yaml.safe_load(file.read_text(encoding="utf-8")).get("scales", ())
    torch.manual_seed(0)
    model = DetectionModel(str(file), scale="n" if scaled else None, verbose=False)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.ones_(
                norm.bias
            )  # SiLU is smooth there: around 0 a deep random network multiplies rounding by thousands
    settled(model)
    spread_scores(model, getattr(model.head, "one2one_cv3", model.head.cv3))
    return model


def spread_scores(model, branches):
    """Give a head scores that differ, up to 0.1. Where all are 0 or 1, nothing is compared, and rounding alone says
    which boxes an end-to-end head takes."""
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


NAMES = ["yolov8n.pt", *sorted({f.stem for f in MODELS.glob("*.yaml")} - OTHERS)]


def within(found):
    return all(found[key] <= limit for key, limit in TOLERANCES.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_format_computes_what_the_network_does_at_any_size(name, tmp_path, monkeypatch, request):
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    shared = request.getfixturevalue("shared") if name.endswith(".pt") else None
    model = network(name, shared)
    found = measured(model, tmp_path, monkeypatch)
    print(name, {k: {n: f"{v:.1e}" for n, v in of.items()} for k, of in found.items()})  # with -s, the table
    for name, differences in found.items():
        assert within(differences), name


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_ncnn_computes_what_the_network_does(name, tmp_path, request):
    """At one size, one image at a time: ncnn takes no others."""
    for package in ("pnnx", "ncnn"):
        pytest.importorskip(package)
    shared = request.getfixturevalue("shared") if name.endswith(".pt") else None
    model = network(name, shared)
    deployed, args = Deployed(model), get_cfg(mode="export")
    stride = int(model.stride.max())
    x = spotted(1, 3, 384, make_divisible(352, stride), torch.Generator().manual_seed(1))
    metadata = Metadata(dict(model.names), stride, imgsz=list(x.shape[2:]), args=vars(args))
    job = Job(deployed, args, tuple(x.shape), metadata)
    kind = format_named("ncnn")
    path = kind.place(tmp_path / "net", args)
    if getattr(model, "end2end", False):
        with pytest.raises(ExportError, match=r"ncnn has no operation torch.topk of .*line \d+: row \d+ \(v10Detect\)"):
            kind.write(job, path)
        return
    kind.write(job, path)
    with torch.no_grad():
        ours = deployed(x)
    found = DetectionExporter().comparison(None).outputs(ours, kind.open(path)(x)[0])
    print(name, {n: f"{v:.1e}" for n, v in found.items()})
    assert within(found)
