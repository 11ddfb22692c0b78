"""What cannot be exported is one line, which names the row and the operation; a file that computes something else is
not kept."""

import re
import sys

import pytest
import torch
import yaml
from torch import nn

import ultralytics.nn.registry
from tests.helpers.networks import settled, with_module
from ultralytics.cfg.config import get_cfg
from ultralytics.engine.formats.failure import refusal
from ultralytics.engine.formats.format import Format, Job, to_record
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.engine.formats.onnx import quiet
from ultralytics.engine.formats.parity import Trial, first_row
from ultralytics.models.yolo.detect.export import DetectionExporter
from ultralytics.nn.deploy import Deployed, program
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ExportError


class TakesSquares(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        return self.conv(x) + x.transpose(2, 3)


class CountsImages(TakesSquares):
    def forward(self, x):
        return torch.stack([self.conv(one) for one in x])


class ReadsValues(TakesSquares):
    def forward(self, x):
        return self.conv(x) if x.mean() > 0 else x


class TakesWindows(TakesSquares):
    """A number that follows from the size of the map becomes a part of the graph."""

    def forward(self, x):
        cell = (x.shape[2] // 3, x.shape[3] // 3)
        return self.conv(x) + nn.functional.interpolate(nn.functional.avg_pool2d(x, cell), x.shape[2:])


class TakesData(TakesSquares):
    def forward(self, x):
        return self.conv(x) * self.conv.weight.data.abs().sum()


class Decomposes(TakesSquares):
    """An operation that ONNX does not have."""

    def forward(self, x):
        return self.conv(x) * torch.linalg.svdvals(x)[..., :1, None]


class Differs(TakesSquares):
    """Something else in a file than in Python."""

    def forward(self, x):
        return self.conv(x) * (1.05 if torch.compiler.is_exporting() or torch.jit.is_tracing() else 1)


class KeepsItsSize(TakesSquares):
    """A trace takes the width for a constant."""

    def forward(self, x):
        return self.conv(x) * torch.tensor(float(x.shape[3])).log()


class TakesOneWidth(TakesSquares):
    """A trace keeps a shape, and the file fails at others."""

    def forward(self, x):
        return self.conv(x).reshape(-1, x.shape[1], x.shape[2], int(x.shape[3]))


@pytest.fixture(autouse=True)
def _offered():
    """The classes of this file, as those of a plugin."""
    ultralytics.nn.registry.offer(sys.modules[__name__])
    with quiet():
        yield


def network(name, folder):
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(with_module(name, []) | {"plugins": []}), encoding="utf-8")
    torch.manual_seed(0)
    return settled(DetectionModel(str(file), verbose=False), (128, 128))


class Recorded(Format):
    """A format that holds what torch.export records."""

    name = title = "recorded"
    suffix = ".recorded"

    def write(self, job, path):
        program(*to_record(job, job.args.half), job.args.dynamic)

    def open(self, path, device=None):
        raise NotImplementedError  # as an exporter does for an operation that it lacks


def refused(name, folder, dynamic):
    """The line for a network with a module in row 2."""
    model = network(name, folder)
    args = get_cfg(overrides={"dynamic": dynamic}, mode="export")
    job = Job(Deployed(model), args, (1, 3, 96, 96), Metadata(dict(model.names)))
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever torch.export raises
        Recorded().write(job, folder / "x")
    line = str(refusal(Recorded(), job, folder, caught.value))
    assert "\n" not in line
    assert re.search(rf"mine\.yaml, line \d+: row 2 \({name}\): recorded cannot hold it: ", line)
    return line


FIXED = "(dynamic=False writes it for one size)"


def test_a_line_of_code_is_named_and_that_one_size_can_be_written(tmp_path):
    line = refused("TakesSquares", tmp_path, dynamic=True)
    assert "RuntimeError: The size of tensor a" in line
    assert ", at `return self.conv(x) + x.transpose(2, 3)` (test_failure.py:" in line
    assert line.endswith(FIXED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason", "hint"),
    [
        ("CountsImages", "it takes one number of images alone", FIXED),
        ("TakesWindows", "it takes one size alone, with ", FIXED),
        (
            "ReadsValues",
            "its shape, depends on the values of a map, at `return self.conv(x) if",
            ")",
        ),
        ("TakesData", "a tensor that torch.export cannot follow", "(x.detach() in the place of x.data)"),
    ],
)
def test_the_row_and_the_reason_are_named(name, reason, hint, tmp_path):
    line = refused(name, tmp_path, dynamic=True)
    assert reason in line
    assert line.endswith(hint)
    assert name != "ReadsValues" or FIXED not in line


def exported(name, folder, **asked):
    """What the export of a network says."""
    model = network(name, folder)
    with pytest.raises(ExportError) as caught:
        DetectionExporter(overrides={"imgsz": 96, **asked})(model, stem=folder / "net")
    assert [f.name for f in folder.iterdir()] == ["mine.yaml"]  # the file is not kept, nor anything of the trials
    return str(caught.value).replace(str(folder), "")


@pytest.mark.parametrize("name", ["KeepsItsSize", "TakesOneWidth"])
def test_a_size_that_a_trace_keeps_is_found_and_its_row_named(name, tmp_path):
    line = exported(name, tmp_path, format="torchscript", dynamic=True)
    assert "the file computes something else and is not kept: " in line
    assert f"row 2 ({name}) is the first " in line
    assert line.endswith("(dynamic=False, if one size will do)")


def test_a_search_for_the_row_quantises_nothing(tmp_path):
    """That takes minutes, and every row of such a file differs from the network's."""
    written = []

    class Breaks(Recorded):
        def write(self, job, path):
            written.append((job.args.int8, len(job.network.network.model)))
            if len(job.network.network.model) > 2:
                raise RuntimeError("no such operation")

        def open(self, path, device=None):
            raise RuntimeError("nothing is there")

    model = network("TakesSquares", tmp_path)
    args = get_cfg(overrides={"int8": True}, mode="export")
    job = Job(Deployed(model), args, (1, 3, 96, 96), Metadata(dict(model.names)))
    line = first_row(Breaks(), job, tmp_path, Trial("noise", torch.rand(1, 3, 96, 96)))
    assert line.endswith("is the first that fails")
    assert len(written) > 2
    assert not any(int8 for int8, _ in written)
    assert args.int8 is True


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino", "torchscript"])
def test_a_file_that_computes_something_else_is_not_kept(format, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    line = exported("Differs", tmp_path, format=format, dynamic=format == "onnx")
    assert "the file computes something else and is not kept: boxes differ by " in line
    assert "row 2 (Differs) is the first whose output differs, by " in line


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_an_operation_that_onnx_lacks_is_named(format, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    line = exported("Decomposes", tmp_path, format=format)
    assert "row 2 (Decomposes): " in line
    assert "cannot hold it: it has no operation for aten._linalg_svd" in line
