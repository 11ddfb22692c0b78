"""TensorRT without TensorRT: everything but the device. See tests/helpers/tensorrt.py."""

import io
import json
import sys

import pytest
import torch

from tests.helpers.exports import exported, small_model
from ultralytics.engine.formats import engine
from ultralytics.engine.formats.engine import Engine, EngineBackend, read_header
from ultralytics.engine.formats.metadata import LONGEST
from ultralytics.engine.formats.table import format_named, open_exported
from ultralytics.nn.deploy import Deployed
from ultralytics.utils.errors import ExportError


@pytest.fixture
def device(monkeypatch):
    """A machine with the stand-in and a GPU, whose memory is the processor's; what the stand-in is asked for."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install -r requirements-export.txt")
    from tests.helpers.tensorrt import stand_in

    module, calls = stand_in()
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(Engine, "lacks", lambda self: "")
    monkeypatch.setattr(Engine, "open", lambda self, path, device=None: EngineBackend(path, torch.device("cpu")))
    monkeypatch.setattr(engine, "_stream", lambda device: 7)
    return calls


def header(values, more=b"engine"):
    text = json.dumps(values).encode() if not isinstance(values, bytes) else values
    return len(text).to_bytes(4, "little") + text + more


def test_an_engine_of_one_size(device, tmp_path):
    model = small_model(tmp_path)
    path = exported(model, tmp_path, format="engine", workspace=0.5)  # which compares it with the network
    assert device == [("network", 2), ("clear_flag", "TF32"), ("pool", "WORKSPACE", 2**29)]
    content = path.read_bytes()
    length = int.from_bytes(content[:4], "little")
    assert json.loads(content[4 : 4 + length])["names"] == {"0": "red", "1": "绿", "2": "blue"}
    file = open_exported(path)
    assert (file.fixed, file.sizes.batch, file.names) == ((64, 96), 1, model.names)
    assert file.context.ran == []
    x = torch.rand(3, 3, 64, 96)
    with torch.inference_mode():
        ours, (theirs, _) = Deployed(model)(x), file(x)
    assert file.context.ran == [((1, 3, 64, 96), 7)] * 3
    torch.testing.assert_close(theirs, ours, atol=1e-3, rtol=1e-4)


@pytest.mark.slow
def test_a_dynamic_engine_has_a_profile_and_takes_many_images_in_parts(device, tmp_path):
    model = small_model(tmp_path)
    path = exported(model, tmp_path, format="engine", dynamic=True)
    assert ("profile", {"images": ((1, 3, 16, 16), (1, 3, 64, 96), (8, 3, 192, 192))}) in device
    file = open_exported(path)
    assert file.fixed is None
    assert file(torch.rand(5, 3, 32, 64))[0].shape == (5, 7, 4 * 8 + 2 * 4)
    assert [shape[0] for shape, _ in file.context.ran] == [2, 2, 1]  # the stand-in's profile ends at 2
    with pytest.raises(ExportError, match="it takes images of 16×16 to 192×192 pixels, not 208×64"):
        file(torch.rand(1, 3, 208, 64))


@pytest.mark.slow
def test_half_is_in_the_graph(device, tmp_path):
    path = exported(small_model(tmp_path), tmp_path, format="engine", half=True)
    assert open_exported(path).dtype == torch.float16


def test_what_tensorrt_refuses_is_one_line(device, tmp_path, monkeypatch):
    (tmp_path / "net.engine").write_bytes(header({"names": {0: "a"}, "stride": 32}))
    with pytest.raises(ExportError, match=r"it cannot be opened: serialization version mismatch.*export it again"):
        open_exported(tmp_path / "net.engine")
    with pytest.raises(ExportError, match="TensorRT cannot read the graph: no graph"):
        engine._built(b"nothing", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with its metadata"),
        (b"ab", "does not begin with its metadata"),
        (b"ftrt" + b"\0" * 100, "does not begin with its metadata"),  # trtexec's
        (b"\xff\xff\xff\xff" + b"\0" * 100, "does not begin with its metadata"),
        (b"\xff\xff\xff\x7f" + b"\0" * 100, "does not begin with its metadata"),
        (b"\0\0\0\0" + b"\0" * 100, "does not begin with its metadata"),
        (header({"names": {0: "a"}, "stride": 32})[:20], "does not begin with its metadata"),
        (header(b"{" * 100), "not valid YAML"),
        (header(b"!!python/object/apply:os.system ['true']"), "the tag .* is not understood"),
        (header({"stride": 32}), "no class names and stride"),
        (header([1]), "its metadata is not a mapping"),
    ],
)
def test_a_damaged_header_is_one_line(content, message):
    with pytest.raises(ExportError, match=message) as caught:
        read_header(io.BytesIO(content), len(content), "net.engine")
    assert "\n" not in str(caught.value)


def test_a_header_leaves_the_file_at_the_engine():
    content = header({"names": {0: "a"}, "stride": 32})
    file = io.BytesIO(content)
    assert read_header(file, len(content), "net.engine").names == {0: "a"}
    assert file.read() == b"engine"
    huge = (LONGEST + 1).to_bytes(4, "little") + b" " * (LONGEST + 1)
    with pytest.raises(ExportError, match="does not begin with its metadata"):
        read_header(io.BytesIO(huge), len(huge), "net.engine")


def test_a_machine_without_a_gpu_or_tensorrt_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "net.engine").write_bytes(header({"names": {0: "a"}, "stride": 32}))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ExportError, match=r'TensorRT file needs tensorrt.*pip install "\.\[export,tensorrt\]"'):
        open_exported(tmp_path / "net.engine")
    monkeypatch.setitem(sys.modules, "tensorrt", sys.modules[__name__])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ExportError, match="a TensorRT model needs an NVIDIA GPU"):
        open_exported(tmp_path / "net.engine")
    monkeypatch.setitem(sys.modules, "onnxslim", sys.modules[__name__])
    for package in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, sys.modules[__name__])
    with pytest.raises(ExportError, match="is written on the machine that runs it: this needs an NVIDIA GPU"):
        exported(small_model(tmp_path), tmp_path, format="engine")


def test_other_names_of_formats():
    names = {"tensorrt": "engine", "trt": "engine", "TFLite": "litert", "pte": "executorch", "ios": "coreml"}
    assert {name: format_named(name).name for name in names} == names
    assert format_named(".mlpackage").name == "coreml"
