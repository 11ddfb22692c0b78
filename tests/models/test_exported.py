"""An exported file behaves like the weights that it was made from, and says so where it cannot."""

import copy
import functools
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import write_toy
from tests.helpers.networks import settled, write_attended
from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.engine.formats.table import format_named
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionValidator
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.utils.errors import ConfigError, ExportError, UserError

QUIET = {"workers": 0, "plots": False, "verbose": False, "threads": 1, "device": "cpu"}
NEEDS_WEIGHTS = ("info", "report", "fuse", "eval", "reset_weights", "train", "explain", "export", "save")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The weights, a TorchScript file that takes every size, and one that takes 4 images of 64×96."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    yolo = YOLO(str(write_attended(folder)))
    settled(yolo.model, (64, 64))
    yolo.model.names = {0: "red", 1: "绿 'a'", 2: "blue"}
    paths = {"pt": folder / "best.pt", "free": folder / "free.torchscript", "fixed": folder / "fixed.torchscript"}
    yolo.save(paths["pt"])
    for name, keys in (("free", {"dynamic": True}), ("fixed", {"imgsz": [64, 96], "batch": 4})):
        written = YOLO(str(paths["pt"])).export(format="torchscript", **{"imgsz": 64, **keys})
        (folder / "best.torchscript").rename(paths[name])
        assert written.endswith("best.torchscript")
    return {name: str(path) for name, path in paths.items()} | {"data": str(write_toy(folder))}


opened = functools.cache(YOLO)


def predicted(path, source, **keys):
    found = opened(path).predict(source, conf=0.0001, verbose=False, device="cpu", **keys)
    return [r.boxes.data for r in found]


def test_every_source_gives_what_the_weights_give(made, tmp_path):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 255, (60, 50, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    sources = [
        array,
        [array, array[:40]],
        Image.fromarray(array),
        torch.rand(2, 3, 64, 96),
        tmp_path,
        tmp_path / "a.png",
    ]
    for source in sources:
        for keys in ({"imgsz": 64}, {"imgsz": 96, "batch": 2}):
            ours, theirs = (predicted(made[name], source, **keys) for name in ("pt", "free"))
            assert len(ours) == len(theirs) > 0
            for a, b in zip(ours, theirs, strict=True):
                assert torch.allclose(a, b, atol=1e-3)


def test_a_fixed_file_letterboxes_into_its_frame(made):
    images = [np.full((30 + i, 50, 3), 25 * i, np.uint8) for i in range(10)]
    assert len(predicted(made["fixed"], images)) == 10
    assert len(predicted(made["fixed"], images, batch=3)) == 10
    for a, b in zip(predicted(made["fixed"], images, batch=10), predicted(made["fixed"], images), strict=True):
        assert torch.allclose(a, b, atol=1e-3)
    with pytest.raises(ConfigError, match="images of 64×96 pixels alone"):
        predicted(made["fixed"], images, imgsz=128)
    with pytest.raises(ExportError, match="it takes images of 64×96 pixels, not 128×64"):
        predicted(made["fixed"], torch.rand(1, 3, 128, 64))


def test_validation_is_that_of_the_weights(made, tmp_path):
    keys = {**QUIET, "data": made["data"], "project": str(tmp_path), "imgsz": 64, "batch": 4}
    pt, free = (YOLO(made[name]).val(**keys).results_dict for name in ("pt", "free"))
    assert {k: v for k, v in pt.items() if "time" not in k} == pytest.approx(free, nan_ok=True, abs=1e-3)
    del keys["imgsz"]
    found = [YOLO(made["fixed"]).val(**keys | {"batch": batch}).results_dict for batch in (1, 3, 16)]
    assert found[0] == pytest.approx(found[1], nan_ok=True, abs=1e-3)
    assert found[0] == pytest.approx(found[2], nan_ok=True, abs=1e-3)


def test_classes_of_the_loops_take_its_name(made, tmp_path):
    keys = {**QUIET, "data": made["data"], "project": str(tmp_path), "imgsz": 64, "batch": 4, "model": made["free"]}
    assert "metrics/mAP50(B)" in DetectionValidator(args=keys)()
    image = np.zeros((40, 60, 3), np.uint8)
    assert len(DetectionPredictor(overrides={"model": made["free"], "imgsz": 64, "verbose": False})([image])) == 1


@pytest.mark.parametrize("name", NEEDS_WEIGHTS)
def test_what_needs_a_network_says_so(made, name):
    with pytest.raises(UserError, match=f"{name} needs a network, and this is an exported file"):
        getattr(opened(made["free"]), name)()


def test_loading_into_it_says_so(made):
    with pytest.raises(UserError, match="load needs a network"):
        YOLO(made["free"]).load(made["pt"])


def test_copies_open_the_file_anew(made):
    yolo = YOLO(made["free"])
    image = np.zeros((40, 60, 3), np.uint8)
    expected = yolo.predict(image, imgsz=64, verbose=False)[0].boxes.data
    for other in (copy.deepcopy(yolo), pickle.loads(pickle.dumps(yolo))):
        assert other.names == yolo.names
        assert torch.equal(other.predict(image, imgsz=64, verbose=False)[0].boxes.data, expected)


def test_callbacks_are_called(made):
    yolo, seen = YOLO(made["free"]), []
    yolo.add_callback("on_predict_end", lambda p: seen.append(p.model.names[0]))
    yolo.predict(np.zeros((40, 60, 3), np.uint8), imgsz=64, verbose=False)
    assert seen == ["red"]


def test_half_and_threads_change_nothing_on_a_cpu(made):
    image = np.zeros((40, 60, 3), np.uint8)
    plain = predicted(made["free"], image, imgsz=64)[0]
    assert torch.equal(predicted(made["free"], image, imgsz=64, half=True, threads=1)[0], plain)


def test_the_references_backend_runs_files_and_networks(made):
    images = torch.rand(2, 3, 64, 96)
    files = [AutoBackend(made[name]) for name in ("pt", "free")]
    files.append(AutoBackend(YOLO(made["pt"]).model, device=torch.device("cpu")))
    for net in files:
        net.warmup((1, 3, 64, 64))
        assert (net.names[0], net.nc, net.stride, net.fp16) == ("red", 3, 32, False)
        assert torch.allclose(net(images)[0], files[0](images)[0], atol=1e-3)


def test_the_command_reports_one_line(made, capsys, tmp_path):

    path = tmp_path / "a.onnx"
    path.write_text("hello\n", encoding="utf-8")
    pytest.importorskip("onnxruntime")
    assert main(["val", f"model={path}", f"data={made['data']}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {path}: it is damaged, or no ONNX file")
    assert err.count("\n") == 1


@pytest.fixture(scope="module")
def published(shared, tmp_path_factory):
    """Weights of COCO, and their figures on real images that are padded by their own shapes."""
    folder = tmp_path_factory.mktemp("published")
    shutil.copy(shared / "weights" / "yolov8n.pt", folder)
    data = str(shared / "data" / "coco128-val" / "coco128-val.yaml")
    keys = {"data": data, "batch": 16, "workers": 0, "plots": False, "verbose": False, "project": str(folder / "runs")}
    return folder / "yolov8n.pt", keys, YOLO(folder / "yolov8n.pt").val(**keys).results_dict


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "openvino", "torchscript"])
def test_real_weights_have_the_same_figures_in_each_format(published, name):
    weights, keys, ours = published
    for package in format_named(name).packages:
        pytest.importorskip(package)
    theirs = YOLO(YOLO(weights).export(format=name, dynamic=True)).val(**keys).results_dict
    for figure in ("metrics/mAP50-95(B)", "metrics/mAP50(B)"):
        print(f"{name} {figure}: .pt {ours[figure]:.6f}, file {theirs[figure]:.6f}")
        assert theirs[figure] == pytest.approx(ours[figure], abs=5e-4)
