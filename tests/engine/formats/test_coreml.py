"""Core ML: what is written anywhere, and all of the reading but the prediction, which macOS alone has."""

import logging
import sys

import numpy as np
import pytest
import torch

from tests.helpers.exports import exported, small_model
from ultralytics.engine.formats.coreml import CoreMl, CoreMlBackend
from ultralytics.engine.formats.table import open_exported
from ultralytics.utils.errors import ExportError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A network, its folder, and what the export says."""
    pytest.importorskip("coremltools", reason="coremltools is not installed: pip install .[coreml]")
    folder = tmp_path_factory.mktemp("coreml")
    model = small_model(folder)
    said, handler = [], logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("ultralytics").addHandler(handler)
    try:
        return model, exported(model, folder, format="coreml"), said
    finally:
        logging.getLogger("ultralytics").removeHandler(handler)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS compares")
def test_elsewhere_the_export_says_that_it_is_not_compared(net):
    assert "Core ML is not compared with the network: opening it needs macOS" in net[2]
    with pytest.raises(ExportError, match="a Core ML model needs macOS"):
        open_exported(net[1])


def test_the_package_takes_an_image_of_bytes(net):
    import coremltools as ct

    model = ct.models.MLModel(str(net[1]), skip_model_load=True)
    description = model.get_spec().description
    takes = description.input[0].type.imageType
    assert (description.input[0].name, takes.height, takes.width) == ("image", 64, 96)
    assert takes.colorSpace == takes.ColorSpace.Value("RGB")
    output = description.output[0]
    assert (output.name, list(output.type.multiArrayType.shape)) == ("output0", [1, 7, 120])
    assert model.user_defined_metadata["stride"] == "16"
    assert model.author == "ultralytics-fla"


@pytest.mark.parametrize(("half", "name"), [(False, "FLOAT32"), (True, "FLOAT16")])
def test_half_is_the_type_of_the_weights(net, tmp_path, half, name):
    from coremltools.converters.mil.frontend.milproto.load import load
    from coremltools.models import MLModel

    path = exported(net[0], tmp_path, format="coreml", half=True) if half else net[1]
    model = MLModel(str(path), skip_model_load=True)
    program = load(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)
    kinds = {op.weight.dtype.__name__ for op in program.functions["main"].operations if op.op_type == "conv"}
    assert kinds == {"fp16" if half else "fp32"}, name


def test_a_backend_gives_bytes_and_takes_the_output(net, monkeypatch):
    """Stands in for macOS: the runtime's own class, but for its prediction."""
    monkeypatch.setattr(CoreMl, "lacks", lambda self: "")
    file = CoreMl().open(net[1])
    assert isinstance(file, CoreMlBackend)
    assert (file.fixed, file.sizes.batch, file.names) == ((64, 96), 1, net[0].names)
    given = []

    def predict(values):
        given.append(np.array(values["image"]))
        return {"output0": np.full((1, 7, 120), len(given), np.float32)}

    monkeypatch.setattr(file.model, "predict", predict)
    pixels = torch.randint(256, (2, 3, 64, 96), dtype=torch.uint8)
    found = file(pixels / 255)[0]
    assert [np.array_equal(g, p.permute(1, 2, 0).numpy()) for g, p in zip(given, pixels, strict=True)] == [True, True]
    assert found[:, 0, 0].tolist() == [1, 2]


def test_another_folder_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("coremltools", reason="coremltools is not installed: pip install .[coreml]")
    monkeypatch.setattr(CoreMl, "lacks", lambda self: "")
    (tmp_path / "net.mlpackage").mkdir()
    with pytest.raises(ExportError, match="it cannot be opened"):
        open_exported(tmp_path / "net.mlpackage")
