"""ncnn: what is written and read, what cannot be written, and damaged folders."""

import re
import shutil

import pytest
import torch

from tests.helpers.exports import exported, small_model
from ultralytics import YOLO
from ultralytics.engine.formats.table import format_of, open_exported
from ultralytics.models.yolo.detect.export import DetectionExporter
from ultralytics.nn.deploy import Deployed
from ultralytics.utils.errors import ConfigError, ExportError

pytest.importorskip("pnnx", reason="pnnx is not installed: pip install -r requirements-export.txt")
pytest.importorskip("ncnn", reason="ncnn is not installed: pip install -r requirements-export.txt")


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A network and its folder."""
    folder = tmp_path_factory.mktemp("ncnn")
    model = small_model(folder)
    return model, exported(model, folder, format="ncnn")


@pytest.fixture
def copy(net, tmp_path):
    """A copy of the folder, to damage."""
    return shutil.copytree(net[1], tmp_path / "net_ncnn_model")


def test_the_folder_computes_what_the_network_does(net):
    model, path = net
    assert path.name == "net_ncnn_model"
    assert {file.name for file in path.iterdir()} == {"model.ncnn.param", "model.ncnn.bin", "metadata.yaml"}
    param = (path / "model.ncnn.param").read_text().split("\n")
    assert param[2].split()[:2] == ["Input", "in0"]
    assert param[-2].split()[4:] == ["out0"] or "out0" in param[-2].split()
    file = open_exported(path)
    assert (file.names, file.stride, file.fixed, file.metadata.task) == (model.names, 16, (64, 96), "detect")
    # One at a time, as the file takes no more; in another layout of memory, as images of a loader are.
    x = torch.rand(3, 64, 96, 3).permute(0, 3, 1, 2)
    with torch.inference_mode():
        ours, (theirs, _) = Deployed(model)(x), file(x)
    assert theirs.shape == ours.shape == (3, 7, 8 * 12 + 4 * 6)
    assert (theirs - ours)[:, :4].abs().max() <= 0.02
    assert (theirs - ours)[:, 4:].abs().max() <= 1e-4
    with pytest.raises(ExportError, match="it takes images of 64×96 pixels, not 96×64"):
        file(torch.rand(1, 3, 96, 64))


def test_what_it_does_not_offer_is_one_line(net, tmp_path):
    for keys, message in (
        ({"dynamic": True}, "dynamic=True is not offered with format=ncnn"),
        ({"int8": True}, "int8=True is not offered with format=ncnn"),
        ({"batch": 2}, "format=ncnn takes one image at a time"),
    ):
        with pytest.raises(ConfigError, match=message):
            exported(net[0], tmp_path, format="ncnn", **keys)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.97])
@pytest.mark.parametrize("name", ["model.ncnn.param", "model.ncnn.bin"])
def test_a_truncated_file_is_one_line(copy, name, share):
    file = copy / name
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ExportError) as caught:
        open_exported(copy)
    assert "\n" not in str(caught.value)
    assert str(copy) in str(caught.value)


def test_what_crashes_ncnn_is_one_line(copy):
    """A reshape to more values than there are ends the process that runs it."""
    file = copy / "model.ncnn.param"
    text = file.read_text()
    shape = re.search(r"0=\d+ 1=\d+", next(line for line in text.splitlines() if line.startswith("Reshape")))[0]
    file.write_text(text.replace(shape, re.sub("1=.*", "1=6553600", shape), 1))
    with pytest.raises(ExportError, match="it cannot be opened: its runtime crashes on it"):
        open_exported(copy)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.ncnn.param", "hello", "it does not begin with 7767517"),
        ("model.ncnn.param", "7767517\n-1 2\n", "the layers are not those that it declares"),
        ("model.ncnn.param", "7767517\n999999999999 2\n", "the layers are not those that it declares"),
        ("model.ncnn.param", "7767517\n1 1\nInput in0 0 -1 in0\n", "the layers are not those that it declares"),
        ("metadata.yaml", "!!python/object/apply:os.system ['true']", "the tag .* is not understood"),
        ("metadata.yaml", "{}", "its metadata has no class names and stride"),
    ],
)
def test_a_foreign_file_is_one_line(copy, name, content, message):
    (copy / name).write_text(content)
    with pytest.raises(ExportError, match=message):
        open_exported(copy)


def test_a_folder_without_its_files_is_one_line(copy):
    (copy / "model.ncnn.bin").unlink()
    with pytest.raises(ExportError, match=r"holds model\.ncnn\.param, model\.ncnn\.bin and metadata\.yaml"):
        open_exported(copy)


def test_a_folder_that_holds_a_module_named_as_one_of_pythons_runs_nothing(copy):
    (copy / "numpy.py").write_text(f"open({str(copy / 'ran')!r}, 'w')")
    assert open_exported(copy)(torch.rand(1, 3, 64, 96))[0].shape[1] == 7
    assert not (copy / "ran").exists()


@pytest.mark.slow
def test_an_operation_that_ncnn_lacks_is_named_with_its_row(tmp_path):
    model = YOLO("yolov10n.yaml").model
    model.names = dict(enumerate(map(str, range(model.nc))))
    with pytest.raises(ExportError, match=r"ncnn has no operation torch\.topk of .*yolov10n\.yaml.*v10Detect"):
        DetectionExporter(overrides={"format": "ncnn", "imgsz": 64, "batch": 1})(model=model, stem=tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov8n-fla.yaml", "yolov8n-fla-p345.yaml", "yolov8n-psa.yaml"])
@pytest.mark.parametrize("half", [False, True])
def test_networks_with_and_without_attention(tmp_path, name, half):
    """Exporting compares; the gates are open so that the attention counts."""
    torch.manual_seed(0)
    model = YOLO(name).model
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "gate" in key:
                parameter.fill_(0.5)
    overrides = {"format": "ncnn", "imgsz": [96, 160], "batch": 1, "half": half}
    path = DetectionExporter(overrides=overrides)(model=model.eval(), stem=tmp_path / "m")
    assert format_of(path).name == "ncnn"
