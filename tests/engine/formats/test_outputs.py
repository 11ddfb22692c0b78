"""Files of heads that give more than boxes and scores: numbers behind the scores, and maps that anchors share."""

import pytest
import torch

from tests.helpers.exports import exported
from ultralytics.cfg.model import load_model_spec
from ultralytics.engine.formats.table import open_exported
from ultralytics.models.yolo.detect.export import ExtraComparison
from ultralytics.nn.backend import TorchBackend
from ultralytics.nn.surgery import settle_norms
from ultralytics.nn.tasks import network_of
from ultralytics.utils.errors import ConfigError

KINDS = {"seg": 32, "pose": 51, "obb": 1}


def tiny(kind):
    """The real network's every part, with very few channels."""
    spec = load_model_spec(
        load_model_spec(f"yolov8n-{kind}.yaml").to_dict() | {"scales": {"n": [0.1, 0.06, 256]}}, nc=3
    )
    torch.manual_seed(0)
    model = settle_norms(network_of(spec)(spec, verbose=False))
    model.names = {0: "a", 1: "b", 2: "c"}
    return model


def check_file(kind, folder, **keys):
    model = tiny(kind)
    file = open_exported(exported(model, folder, **keys))
    assert (file.nc, file.metadata.extra) == (3, KINDS[kind])
    assert file.kpt_shape == ((17, 3) if kind == "pose" else None)
    x = torch.rand(3, 3, 64, 96)  # more images than a file of one takes
    y, more = file(x)
    wanted, rest = TorchBackend(model)(x)
    torch.testing.assert_close(y, wanted, atol=2e-2, rtol=1e-3)
    assert len(more) == (kind == "seg")
    for found, shared in zip(more, rest[2:], strict=True):
        torch.testing.assert_close(found, shared, atol=1e-3, rtol=1e-3)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("form", ["torchscript", "onnx", "openvino"])
@pytest.mark.parametrize("kind", KINDS)
def test_files_of_each_format_give_what_the_networks_give(tmp_path, kind, form, dynamic):
    for package in {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "openvino")}.get(form, ()):
        pytest.importorskip(package)
    file = check_file(kind, tmp_path, format=form, dynamic=dynamic)
    if dynamic:
        y, _ = file(torch.rand(2, 3, 96, 160))
        assert y.shape == (2, 7 + KINDS[kind], 315)


def test_what_a_file_cannot_hold_is_told(tmp_path):
    with pytest.raises(ConfigError, match="nms=True: the head OBB gives more than upright boxes"):
        exported(tiny("obb"), tmp_path, format="torchscript", nms=True)


def test_differences_of_numbers_and_of_shared_maps_count():
    how = ExtraComparison(2, half=False)
    y, p = torch.rand(1, 4 + 3 + 2, 5), torch.rand(1, 2, 4, 4)
    assert how.outputs((y, p), (y, p)) == {"boxes": 0, "scores": 0, "numbers": 0}
    other, shared = y.clone(), p.clone()
    other[0, -1, 2] += 1
    assert how.outputs((y, p), (other, p))["numbers"] > how.tolerances["numbers"]
    shared[0, 0, 1, 1] += 1
    assert how.outputs((y, p), (y, shared))["numbers"] > how.tolerances["numbers"]
    other = y.clone()
    other[0, 5] += 1
    assert how.outputs(y, other)["scores"] == pytest.approx(1)
