"""Published modules and heads, pasted as they are: they are exported with any size, or one line says why not."""

import pytest
import torch
import yaml

from tests.helpers.networks import HEADS, MODULES, settled, with_head, with_module
from ultralytics.models.yolo.detect.export import DetectionExporter
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ExportError

# What stops those that need a size, or that torch.export cannot follow.
REFUSED = {
    "NAMAttention": "such as a parameter's .data",
    "MLCA": "is not kept: it fails on images of ",
    "BiLevelRoutingAttention": "it takes one size alone",
    "DAttention": "it takes one size alone",
    "SwinTransformerBlock": "it takes one number of images alone",
    "CondConv": "it takes one number of images alone",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MODULES, *HEADS])
def test_it_is_exported_with_any_size_or_one_line_names_its_row(name, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    data = with_head(*HEADS[name]) if name in HEADS else with_module(name, *MODULES[name])
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    torch.manual_seed(0)
    model = settled(DetectionModel(str(file), verbose=False))
    export = DetectionExporter(overrides={"format": "onnx", "imgsz": 96, "dynamic": True, "simplify": False})
    if name not in REFUSED:
        assert export(model, stem=tmp_path / "net").is_file()
        return
    with pytest.raises(ExportError) as caught:
        export(model, stem=tmp_path / "net")
    line = str(caught.value)
    assert REFUSED[name] in line
    assert f"row 2 ({name})" in line
    assert "\n" not in line
    assert not (tmp_path / "net.onnx").exists()
