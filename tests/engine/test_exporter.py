"""Exporting: what is checked before, and that nothing is kept that computes something else."""

import os
import sys

import pytest
import torch

from tests.helpers.networks import settled, write_attended
from ultralytics import YOLO
from ultralytics.engine.formats import torchscript
from ultralytics.engine.formats.table import format_named
from ultralytics.models.yolo.detect import DetectionExporter
from ultralytics.models.yolo.detect.export import BoxComparison, compare_final
from ultralytics.nn.deploy import Deployed
from ultralytics.utils.errors import ConfigError, ExportError, UserError
from ultralytics.utils.files import put_in_place


@pytest.fixture
def yolo(tmp_path):
    torch.manual_seed(0)
    made = YOLO(str(write_attended(tmp_path)))
    settled(made.model, (64, 96))
    made.save(tmp_path / "best.pt")
    return YOLO(str(tmp_path / "best.pt"))


class Wrong(Deployed):
    """What a faulty writer makes of a network: row 2 gives something else."""

    def __init__(self, deployed):
        torch.nn.Module.__init__(self)
        self.__dict__.update(deployed.__dict__)

    def forward(self, images):
        hook = self.network.model[2].register_forward_hook(lambda _, __, out: out * 1.5)
        try:
            return super().forward(images)
        finally:
            hook.remove()


@pytest.mark.parametrize("nms", [False, True])
def test_a_file_that_computes_something_else_is_not_kept(yolo, tmp_path, monkeypatch, nms):
    before = tmp_path / "best.torchscript"
    before.write_bytes(b"an earlier file")
    write = torchscript.TorchScript.write

    def faulty(self, job, path):
        network = Wrong(job.network)
        network.every_row = job.network.every_row
        write(self, torchscript.Job(**{**vars(job), "network": network}), path)

    monkeypatch.setattr(torchscript.TorchScript, "write", faulty)
    row = r"attended\.yaml: row 2 \(C2f\) is the first whose output differs"
    with pytest.raises(ExportError, match=f"not kept: (boxes|scores|suppression) differ by .*; .*{row}"):
        yolo.export(format="torchscript", imgsz=64, nms=nms, conf=0.001)
    assert before.read_bytes() == b"an earlier file"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["attended.yaml", "best.pt", "best.torchscript"]


def test_a_file_replaces_an_earlier_one_and_events_come(yolo, tmp_path, caplog):
    (tmp_path / "best.torchscript").write_bytes(b"an earlier file")
    seen = []
    for event in ("on_export_start", "on_export_end"):
        yolo.add_callback(event, lambda exporter, event=event: seen.append((event, exporter.file)))
    path = yolo.export(format="torchscript", imgsz=[32, 64])
    assert "is there already, and will be replaced" in caplog.text
    assert path == str(tmp_path / "best.torchscript")
    assert YOLO(path).model.fixed == (32, 64)
    assert seen == [("on_export_start", None), ("on_export_end", tmp_path / "best.torchscript")]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"format": "torchscript", "int8": True}, r"int8=True is not offered with format=torchscript \(TorchScript"),
        ({"format": "onnx", "int8": True, "half": True}, "half=True and int8=True exclude each other"),
        ({"format": "caffe"}, "format=caffe is not offered"),
        ({"opset": 3}, "opset=3 is out of range"),
    ],
)
def test_what_a_format_cannot_do_is_said_before_anything_is_written(yolo, tmp_path, keys, message):
    with pytest.raises(ConfigError, match=message):
        yolo.export(imgsz=64, **keys)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["attended.yaml", "best.pt"]


MISSING = [
    ("onnx", {}, "onnxslim", r"simplify=True with format=onnx needs onnxslim \(pip install .*; or simplify=False\)"),
    ("engine", {}, "onnxslim", r"simplify=True with format=engine needs onnxslim \(.*; or simplify=False\)"),
    ("openvino", {"int8": True}, "nncf", r"int8=True with format=openvino needs nncf \(.*; or int8=False\)"),
    ("ncnn", {}, "ncnn", r"format=ncnn needs ncnn \(pip install"),
    ("litert", {}, "ai_edge_litert.interpreter", r"comparing LiteRT with the network needs ai_edge_litert"),
]


@pytest.mark.parametrize(("name", "keys", "gone", "message"), MISSING)
def test_a_missing_package_is_noticed_before_anything_is_written(name, keys, gone, message, monkeypatch):
    chosen = format_named(name)
    for package in {*chosen.packages, *chosen.reads, "ai_edge_litert"}:
        monkeypatch.setitem(sys.modules, package, sys.modules[__name__])
    monkeypatch.setitem(sys.modules, gone, None)
    exporter = DetectionExporter(overrides={"format": name, "batch": 1, **keys})
    with pytest.raises(ExportError, match=message):
        exporter.check(chosen)
    monkeypatch.setitem(sys.modules, gone, sys.modules[__name__])
    monkeypatch.setattr(type(chosen), "lacks", lambda self: "")
    exporter.check(chosen)


@pytest.mark.parametrize("name", ["ncnn", "litert", "executorch", "coreml"])
def test_images_of_other_channels_are_refused_before_anything_is_written(name):
    exporter = DetectionExporter(overrides={"format": name, "batch": 1})
    with pytest.raises(ConfigError, match=rf"format={name} takes images of 3 channels, and the network's have 4 \(fo"):
        exporter.check(format_named(name), channels=4)
    with pytest.raises(ConfigError, match=r"int8=True measures ranges on images of 3 channels, .* have 1 \(int8=False"):
        DetectionExporter(overrides={"format": "onnx", "int8": True}).check(format_named("onnx"), channels=1)


def test_an_odd_size_is_rounded_up(yolo, caplog):
    path = yolo.export(format="torchscript", imgsz=50)
    assert YOLO(path).model.fixed == (64, 64)
    assert "imgsz is rounded up to 64×64" in caplog.text


def test_what_needs_a_network_says_so(yolo, tmp_path):
    path = yolo.export(format="torchscript", imgsz=64)
    file = YOLO(path)
    for what, call in (
        ("train", lambda: file.train(data="x.yaml")),
        ("export", lambda: file.export(format="onnx")),
        ("info", file.info),
        ("save", lambda: file.save(tmp_path / "x.pt")),
        ("fuse", file.fuse),
        ("explain", lambda: file.explain("x.jpg")),
    ):
        with pytest.raises(Exception, match=rf"{what} needs a network, and this is an exported file") as caught:
            call()
        assert "give the .pt it was made from" in str(caught.value)


def test_differences_of_raw_outputs():
    compare = BoxComparison().outputs
    ours = torch.zeros(2, 6, 5)
    ours[:, 4] = 0.5
    ours[1, 4, 3] = 0.0  # an anchor of no score, whose box does not count
    theirs = ours.clone()
    theirs[1, :4, 3] += 100
    theirs[0, 2, 1] += 0.25
    theirs[1, 5, 4] += 0.125
    assert compare(ours, theirs) == {"boxes": 0.25, "scores": 0.125}
    theirs[0, 4, 0] = float("nan")
    assert compare(ours, theirs)["scores"] != compare(ours, theirs)["scores"]


def test_differences_of_final_detections_do_not_depend_on_their_order():
    ours = torch.tensor([[[0, 0, 10, 10, 0.9, 0], [20, 20, 30, 30, 0.9, 1], [0, 0, 0, 0, 0, 0]]])
    theirs = ours[:, [1, 0, 2]].clone()
    assert compare_final(ours, theirs) == {"boxes": 0.0, "scores": 0.0}
    theirs[0, 0, 5] = 2
    assert compare_final(ours, theirs)["boxes"] > 1000


def test_detections_that_rounding_decides_about_do_not_count():
    ours = torch.tensor([[[0, 0, 10, 10, 0.9, 0], [20, 20, 30, 30, 0.50001, 1], [50, 50, 60, 60, 0.5, 2]]])
    theirs = torch.tensor([[[0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.5, 2], [70, 70, 80, 80, 0.5, 1]]])
    assert compare_final(ours, theirs) == {"boxes": 0.0, "scores": 0.0}
    theirs[0, 0, 2] = 11
    assert compare_final(ours, theirs)["boxes"] == 1.0


def test_a_folder_comes_back_where_its_successor_cannot_be_put(tmp_path, monkeypatch):
    old, new = tmp_path / "x_openvino_model", tmp_path / "new" / "x_openvino_model"
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir(parents=True)
        (folder / "file").write_text(text)
    replace = os.replace

    def full(source, target):
        if source == new:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="could not be written: No space left"):
        put_in_place(new, old)
    assert (old / "file").read_text() == "old"
    monkeypatch.setattr(os, "replace", replace)
    put_in_place(new, old)
    assert (old / "file").read_text() == "new"
