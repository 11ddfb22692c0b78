"""Every format: what it writes computes what the network computes, at sizes that it was not written at."""

import numpy as np
import pytest
import torch

from tests.conftest import write_toy
from tests.helpers.networks import settled, spotted, write_attended
from ultralytics import YOLO
from ultralytics.engine.formats.format import Sizes, needed
from ultralytics.engine.formats.table import FORMATS, format_named, format_of, open_exported
from ultralytics.nn.backend import TorchBackend
from ultralytics.utils.errors import ConfigError, ExportError, MissingFileError

ROUNDING = 0.02  # of a box, pixels
CHECKED = ("torchscript", "onnx", "openvino")
QUIET = {"imgsz": 64, "workers": 0, "plots": False, "verbose": False, "threads": 1, "conf": 0.0001}


def written(folder, name, **keys):
    """Write a small network with attention, settled; `test_networks` writes whole ones."""
    for package in format_named(name).packages:
        pytest.importorskip(package)
    torch.manual_seed(0)
    yolo = YOLO(str(write_attended(folder)))
    settled(yolo.model, (64, 96))
    yolo.model.names = {0: "red", 1: "绿 'a'", 2: "blue"}
    yolo.save(folder / "best.pt")
    yolo = YOLO(str(folder / "best.pt"))
    return yolo, yolo.export(format=name, **{"imgsz": 64, **keys})


# Torch takes 15 seconds to trace an attention of any size for ONNX. In the quick suite `test_hostile` writes this
# network as ONNX and OpenVINO of one size, `test_suppression` an ONNX file of any size without attention, and
# `test_attention` traces one of any size.
@pytest.fixture(scope="module", params=[CHECKED[0], *(pytest.param(n, marks=pytest.mark.slow) for n in CHECKED[1:])])
def dynamic(request, tmp_path_factory):
    return written(tmp_path_factory.mktemp(request.param), request.param, dynamic=True)


def largest(net, file, shape, seed=0):
    images = spotted(*shape, torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return float((TorchBackend(net)(images)[0] - file(images)[0]).abs().max())


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 96, 64), (1, 64, 160), (2, 224, 96)])
def test_a_dynamic_file_takes_every_size(dynamic, shape):
    yolo, path = dynamic
    file = open_exported(path)
    assert file.sizes == Sizes()
    assert largest(yolo.model, file, (shape[0], 3, *shape[1:])) < ROUNDING


def test_a_file_says_what_it_is(dynamic):
    yolo, path = dynamic
    file = open_exported(path)
    assert (file.names, file.nc, file.stride, file.metadata.task) == (yolo.names, 3, 32, "detect")
    assert file.metadata.args["dynamic"] is True
    assert file.metadata.imgsz == [64, 64]


def test_a_file_validates_and_predicts_like_the_weights(dynamic, tmp_path):
    yolo, path = dynamic
    data = write_toy(tmp_path)
    keys = {**QUIET, "data": str(data), "project": str(tmp_path), "batch": 4}
    ours, theirs = yolo.val(**keys), YOLO(path).val(**keys)
    for name, value in ours.results_dict.items():
        assert theirs.results_dict[name] == pytest.approx(value, abs=1e-4), name
    images = str(data.parent / "images" / "val")
    keys = {"imgsz": 64, "conf": 0.001, "verbose": False, "batch": 2}
    for a, b in zip(yolo.predict(images, **keys), YOLO(path).predict(images, **keys), strict=True):
        assert a.names == b.names
        assert len(a.boxes) == len(b.boxes)
        np.testing.assert_allclose(a.boxes.data.numpy(), b.boxes.data.numpy(), atol=2e-3)


@pytest.mark.parametrize("name", ["torchscript", *(pytest.param(n, marks=pytest.mark.slow) for n in CHECKED[1:])])
def test_a_fixed_file_takes_one_size_and_splits_batches(name, tmp_path):
    yolo, path = written(tmp_path, name, batch=2, dynamic=False)
    file = open_exported(path)
    assert file.sizes == Sizes(2, 64, 64)
    for count in (1, 2, 5):
        assert largest(yolo.model, file, (count, 3, 64, 64)) < ROUNDING
    with pytest.raises(
        ExportError, match=r"it takes images of 64×64 pixels, not 96×64 \(export it with imgsz=\[96,64\], or"
    ):
        file(torch.zeros(1, 3, 96, 64))
    with pytest.raises(ConfigError, match="imgsz=96: the exported file takes images of 64×64 pixels alone"):
        YOLO(path).predict(np.zeros((80, 80, 3), np.uint8), imgsz=96)


def test_a_fixed_rectangle_is_validated_in_its_frame(tmp_path):
    _, path = written(tmp_path, "torchscript", dynamic=False, imgsz=[64, 128])
    data = write_toy(tmp_path)
    found = YOLO(path).val(data=str(data), **{k: v for k, v in QUIET.items() if k != "imgsz"}, project=str(tmp_path))
    assert found.images == 6


def test_formats_are_found_by_name_and_by_file():
    assert format_named("ONNX").name == "onnx"
    assert [format_of(f"runs/best{f.suffix}") for f in FORMATS.values()] == list(FORMATS.values())
    assert format_of("best.pt") is None
    with pytest.raises(ConfigError, match=r"format=onx is not offered \(did you mean 'onnx'\?\)"):
        format_named("onx")
    with pytest.raises(ExportError, match="it is not an exported file"):
        open_exported("best.pt")
    with pytest.raises(MissingFileError, match="no such exported file"):
        open_exported("nowhere.onnx")


def test_a_missing_package_is_named():
    with pytest.raises(ExportError, match=r"format=x needs no_such_package \(pip install"):
        needed(("json", "no_such_package"), "format=x")
