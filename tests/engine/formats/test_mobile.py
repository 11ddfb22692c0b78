"""ExecuTorch and LiteRT: what is written and read, and damaged files."""

import shutil
import zipfile

import pytest
import torch

from tests.helpers.exports import exported, small_model
from ultralytics.engine.formats.table import open_exported
from ultralytics.nn.deploy import Deployed
from ultralytics.utils.errors import ConfigError, ExportError

pytestmark = pytest.mark.slow
NEEDED = {"executorch": "executorch.runtime", "litert": "litert_torch"}
NAMES = {"executorch": "net_executorch_model", "litert": "net.tflite"}


@pytest.fixture(scope="module", params=NEEDED)
def net(request, tmp_path_factory):
    """A format, a network and its file."""
    hint = f"it is not installed: pip install .[{request.param}]"
    pytest.importorskip(NEEDED[request.param], reason=hint, exc_type=ImportError)
    folder = tmp_path_factory.mktemp(request.param)
    model = small_model(folder)
    return request.param, model, exported(model, folder, format=request.param, batch=2)


@pytest.fixture
def copy(net, tmp_path):
    """A copy of the file, to damage: its path, and that of the graph in it."""
    path = tmp_path / net[2].name
    if net[2].is_dir():
        shutil.copytree(net[2], path)
        return path, path / "net.pte"
    shutil.copy(net[2], path)
    return path, path


def test_the_file_computes_what_the_network_does(net):
    format, model, path = net
    assert path.name == NAMES[format]
    file = open_exported(path)
    assert (file.names, file.stride, file.fixed, file.sizes.batch) == (model.names, 16, (64, 96), 2)
    x = torch.rand(5, 3, 64, 96)
    with torch.inference_mode():
        ours, (theirs, _) = Deployed(model)(x), file(x)
    assert theirs.shape == ours.shape == (5, 7, 120)
    assert (theirs - ours)[:, :4].abs().max() <= 0.02
    assert (theirs - ours)[:, 4:].abs().max() <= 1e-4


def test_what_they_do_not_offer_is_one_line(net, tmp_path):
    for key in ("dynamic", "half", "int8", "nms"):
        with pytest.raises(ConfigError, match=f"{key}=True is not offered with format={net[0]}"):
            exported(net[1], tmp_path, format=net[0], **{key: True})


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_one_line(copy, share):
    path, graph = copy
    content = graph.read_bytes()
    graph.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ExportError) as caught:
        open_exported(path)
    assert "\n" not in str(caught.value)


def test_a_graph_that_is_none_is_one_line(net, copy):
    path, graph = copy
    graph.write_bytes(b"hello" * 100)
    if net[0] == "litert":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("metadata.json", '{"names": {"0": "a"}, "stride": 32}')
    with pytest.raises(ExportError, match="it cannot be opened"):
        open_exported(path)
