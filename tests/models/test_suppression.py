"""Suppression in exported files: equal to our own, by itself in each runtime, and behind a network."""

import copy
import logging
import pickle
import re
import runpy
import shutil
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.conftest import CLONE, write_toy
from tests.helpers.networks import write_net
from ultralytics import YOLO
from ultralytics.cfg.config import get_cfg
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.engine.formats.onnx import Onnx
from ultralytics.engine.formats.openvino import ENTRIES, _with_inputs
from ultralytics.engine.formats.table import format_named
from ultralytics.engine.formats.torchscript import TorchScript
from ultralytics.models.yolo.detect.export import compare_suppressed
from ultralytics.models.yolo.detect.postprocess import detections, with_suppression
from ultralytics.models.yolo.detect.suppression import Suppression
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.boxes import clip_boxes
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.nms import non_max_suppression


def heads(images, nc, anchors, seed=0, side=200.0):
    """Outputs of a detector: boxes of 5 to 65 pixels, scores of 0..1."""
    g = torch.Generator().manual_seed(seed)
    centre, size = (
        torch.rand(images, 2, anchors, generator=g) * side,
        torch.rand(images, 2, anchors, generator=g) * 60 + 5,
    )
    return torch.cat((centre, size, torch.rand(images, nc, anchors, generator=g)), 1)


def broken(y):
    """The same with numbers that are not finite, in good boxes."""
    y = y.clone()
    y[:, 4:, :4] = 0.99
    y[0, 0, 0], y[0, 3, 1], y[0, 4, 2], y[-1, -1, 3] = torch.nan, torch.inf, torch.nan, torch.nan
    return y


def expected(y, how):
    """What `predict` makes of it, filled up with zeros."""
    found = non_max_suppression(y, how.conf, how.iou, agnostic=how.agnostic, max_det=how.max_det, nc=how.nc)
    return torch.stack([nn.functional.pad(rows, (0, 0, 0, how.max_det - len(rows))) for rows in found])


def onnx_model(how, inclusive=False):
    """An ONNX graph of suppression alone."""
    onnx = pytest.importorskip("onnx")
    head, y = (onnx.helper.make_tensor_value_info(n, 1, ["batch", 4 + how.nc, "anchors"]) for n in ("head", "y"))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["y"], ["head"])], "alone", [y], [head])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    how.extend(model, "output0", inclusive)
    onnx.checker.check_model(model, full_check=True)
    return model


def in_onnxruntime(how):
    """A function that runs it, with conf and iou by name."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(onnx_model(how).SerializeToString(), options)
    return lambda y, **values: torch.from_numpy(
        session.run(None, {"y": y.numpy()} | {k: np.array([v], np.float32) for k, v in values.items()})[0]
    )


def in_torchscript(how):
    return how.scripted(nn.Identity(), heads(2, how.nc, 9))


def in_openvino(how, half=False):
    """A function that runs it from a file; conf and iou become inputs as in `OpenVinoBackend`."""
    openvino = pytest.importorskip("openvino")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x.onnx").write_bytes(onnx_model(how, inclusive=True).SerializeToString())
        openvino.save_model(openvino.convert_model(f"{folder}/x.onnx"), f"{folder}/x.xml", compress_to_fp16=half)
        model = openvino.Core().read_model(f"{folder}/x.xml")
        defaults = _with_inputs(model)
        assert list(defaults) == list(ENTRIES)
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(y, **values):
        if "iou" in values:
            values["iou"] = np.nextafter(np.float32(values["iou"]), np.float32(2))
        given = [np.full_like(v, values.get(k, v)) for k, v in defaults.items()]
        return torch.from_numpy(np.array(next(iter(compiled([y.numpy(), *given]).values()))))

    return run


def equal(found, wanted):
    """Boxes of one score may change places."""

    def ordered(rows):
        return np.array(sorted(rows.tolist(), key=lambda r: (-r[4], r)))

    assert found.shape == wanted.shape
    for ours, theirs in zip(wanted, found, strict=True):
        assert torch.equal(ours[:, 4], theirs[:, 4])
        np.testing.assert_array_equal(ordered(ours), ordered(theirs))


RUNTIMES = [
    pytest.param(in_onnxruntime, id="onnxruntime"),
    pytest.param(in_torchscript, id="torchscript"),
    pytest.param(in_openvino, id="openvino", marks=pytest.mark.slow),
    pytest.param(partial(in_openvino, half=True), id="openvino-fp16", marks=pytest.mark.slow),
]


def try_cases(runtime):
    """Every kind of output that suppression meets, in one runtime."""
    how = Suppression(3, 0.25, 0.7, 40)
    run = runtime(how)
    for y in (heads(1, 3, 300), heads(3, 3, 300, 1), broken(heads(2, 3, 300, 2)), heads(2, 3, 12, 3)):
        equal(run(y), expected(y, how))  # more boxes than max_det, and fewer anchors than it
    nothing = heads(2, 3, 50) * torch.tensor([1.0] * 4 + [0.2] * 3)[:, None]
    assert not run(nothing).any()
    some = torch.cat((nothing[:1], heads(1, 3, 50)))
    equal(run(some), expected(some, how))
    for conf, iou in ((0.9, 0.1), (0.0, 0.999), (0.5, 0.0), (1.0, 0.5)):
        y = heads(2, 3, 200, 5)
        equal(run(y, conf=conf, iou=iou), expected(y, Suppression(3, conf, iou, 40)))
    alike = heads(1, 3, 100)
    alike[:, 5:] = 0.0  # all of one class
    equal(run(alike), expected(alike, how))
    # Overlaps of 1/2: equal to the threshold they are allowed.
    square = torch.tensor([[5.0, 5, 10, 10, 0.9, 0, 0], [5, 2.5, 10, 5, 0.8, 0, 0], [30, 30, 5, 5, 0.3, 0, 0]]).t()[
        None
    ]
    assert (run(square, iou=0.5)[0, :, 4] > 0).sum() == 3
    assert (run(square, iou=0.49)[0, :, 4] > 0).sum() == 2
    assert (run(square, conf=float(square[0, 4, 1]))[0, :, 4] > 0).sum() == 1  # conf itself is not above conf


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_suppression_in_a_runtime_equals_ours(runtime):
    try_cases(runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("how", [Suppression(3, 0.1, 0.45, 300, agnostic=True), Suppression(1, 1e-05, 0.7, 7)], ids=str)
def test_across_classes_and_of_one_class(runtime, how):
    y = broken(heads(3, how.nc, 250))
    equal(runtime(how)(y), expected(y, how))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.slow
def test_more_candidates_than_any_bound(runtime):
    how = Suppression(80, 0.001, 0.7, 300)
    y = heads(1, 80, 35_000, side=2000.0)
    equal(runtime(how)(y), expected(y, how))


@pytest.fixture(scope="module")
def session():
    return in_onnxruntime(Suppression(3, 0.25, 0.7, 20))


@settings(max_examples=15)
@given(
    st.integers(1, 3), st.integers(1, 80), st.floats(0, 1, width=32), st.floats(0, 1, width=32), st.integers(0, 9999)
)
def test_suppression_in_onnx_equals_ours_at_any_thresholds(session, images, anchors, conf, iou, seed):
    y = heads(images, 3, anchors, seed, side=60.0)
    equal(session(y, conf=conf, iou=iou), expected(y, Suppression(3, conf, iou, 20)))


# What export compares


@pytest.mark.parametrize("scale", [1.0, 1e-3])  # 1e-3: scores of a network at the start of its training
def test_the_comparison_finds_what_suppression_may_not_do(scale):
    how = Suppression(3, 0.25 * scale, 0.5, 300)
    y = heads(2, 3, 200)
    y[:, 4:] *= scale
    right = expected(y, how)
    fine = {"boxes": 0.0, "scores": 0.0, "suppression": 0.0}
    assert compare_suppressed(y, right, how) == fine
    n = int((right[0, :, 4] > 0).sum())

    def changed(change):
        found = right.clone()
        change(found)
        return compare_suppressed(y, found, how)

    def drop(found):
        found[0, 5:-1] = right[0, 6:]

    def swap(found):  # not the best first
        found[0, :2] = right[0, :2].flip(0)

    def keep(found):  # all of them, as if nothing were suppressed
        found[:] = expected(y, Suppression(3, how.conf, 1.0, 300))

    assert changed(drop)["suppression"] > 0
    assert changed(keep)["suppression"] > 0
    assert changed(swap)["suppression"] > 0
    assert changed(lambda f: f[0, n, :4].fill_(3.0))["suppression"] > 0  # no zeros behind them
    assert changed(lambda f: f[0, 0, 0].add_(0.5))["boxes"] == pytest.approx(0.5, abs=1e-4)
    assert changed(lambda f: f[0, 0, 5].add_(1).remainder_(3))["scores"] > 1e-3 * scale  # the score of another class
    assert changed(lambda f: f.zero_())["suppression"] == 1.0
    assert np.isnan(changed(lambda f: f[1, 0, 0].fill_(torch.nan))["boxes"])
    # A full list leaves no place for what is worse than its last.
    few = Suppression(3, how.conf, 0.5, 20)
    assert compare_suppressed(y, expected(y, few), few) == fine


@settings(max_examples=15)
@given(st.integers(0, 9999), st.sampled_from([0.3, 0.7]), st.booleans())
def test_the_comparison_forgives_rounding(seed, iou, agnostic):
    """Rounding decides some pairs otherwise, and a chain of others with them."""
    how = Suppression(2, 0.25, iou, 100, agnostic)
    y = heads(1, 2, 150, seed, side=80.0)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)) * 1e-5
    found = compare_suppressed(y, expected(y + noise, how), how)
    assert found["suppression"] == 0
    assert found["boxes"] < 0.02
    assert found["scores"] < 1e-4


# Keys of val and predict


def file_with(takes=(), **args):
    metadata = Metadata(names={0: "a", 1: "b"}, args={"nms": True} | args)
    found = SimpleNamespace(metadata=metadata, takes=frozenset(takes), given={}, path="x.onnx", nc=2)
    found.of_run = lambda given: SimpleNamespace(**{**vars(found), "given": given})
    return found


OWN = {"conf": 0.3, "iou": 0.6, "max_det": 50, "agnostic_nms": False}


def test_a_files_own_keys_are_those_of_the_run(caplog):
    for mode in ("val", "predict"):
        args = get_cfg(None, {}, mode=mode)
        with_suppression(file_with(("conf", "iou"), **OWN), args)
        assert {k: getattr(args, k) for k in OWN} == OWN
    assert not caplog.records


def test_keys_that_are_given_go_into_the_file():
    file = file_with(("conf", "iou"), **OWN)
    assert with_suppression(file, get_cfg(None, {"conf": 0.1, "iou": 0.5, "max_det": 20})).given == {
        "conf": 0.1,
        "iou": 0.5,
    }
    assert with_suppression(file, get_cfg()).given == file.given == {}, "another run gives none"


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        (
            {"conf": 0.1, "iou": 0.5, "max_det": 60, "agnostic_nms": True},
            "conf=0.1, iou=0.5, max_det=60, agnostic_nms=True",
        ),
        ({"single_cls": True}, "single_cls=True"),
        ({"conf": 0.4, "max_det": 20, "iou": 0.6}, None),  # what the file gives is cut
    ],
)
def test_keys_that_a_file_cannot_follow_are_one_line(caplog, keys, named):
    with caplog.at_level(logging.WARNING):
        with_suppression(file_with(**OWN), get_cfg(None, keys))
    own = "conf=0.3, iou=0.6, max_det=50, agnostic_nms=False"
    lines = [] if named is None else [f"x.onnx suppresses boxes by {own}, and cannot do so by {named}"]
    assert [r.getMessage() for r in caplog.records] == lines


def test_what_a_file_says_of_itself_is_checked():
    with pytest.raises(ConfigError, match=r"x\.onnx.*conf"):
        with_suppression(file_with(conf="much"), get_cfg())
    with_suppression(file_with(), get_cfg())  # one of others says nothing


def test_final_boxes_are_known_by_the_mapping_beside_them():
    """(B, n, 6) may have as many rows as a head's output has channels."""
    rows = torch.zeros(1, 84, 6)
    rows[0, 0], rows[0, 1] = torch.tensor([1.0, 2, 3, 4, 0.9, 7]), torch.tensor([5.0, 6, 7, 8, 0.5, 3])
    args = get_cfg(None, {"classes": [3]})
    assert torch.equal(detections((rows, {}), get_cfg(), 80, 0.25)[0], rows[0, :2])
    assert torch.equal(detections((rows, {}), get_cfg(), 80, 0.25, multi_label=True)[0], rows[0, :2])
    assert torch.equal(detections((rows, {}), args, 80, 0.25)[0], rows[0, 1:2])
    assert detections((rows.half(), {}), get_cfg(None, {"conf": 0.6}), 80, 0.25)[0].dtype == torch.float32


# Files


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network that finds many boxes, and images."""
    folder = tmp_path_factory.mktemp("suppression")
    torch.manual_seed(0)
    yolo = YOLO(str(write_net(folder)))
    yolo.model.train()(torch.rand(4, 3, 64, 64))
    for part in yolo.model.head.cv3:
        part[-1].weight.data *= 30
        part[-1].bias.data.zero_()
    yolo.save(folder / "best.pt")
    write_toy(folder)
    return folder


def images(weights):
    return sorted((weights / "toy" / "images" / "val").iterdir())


def predictions_agree(weights, file, **keys):
    ours = YOLO(str(weights / "best.pt")).predict(images(weights), imgsz=64, verbose=False, **keys)
    theirs = YOLO(file).predict(images(weights), imgsz=64, verbose=False, **keys)
    assert sum(len(r) for r in ours) > 20
    for one, other in zip(ours, theirs, strict=True):
        assert len(one) == len(other)
        assert torch.allclose(one.boxes.data, other.boxes.data, atol=0.02)


@pytest.fixture(scope="module")
def script_file(weights):
    keys = {"format": "torchscript", "nms": True, "dynamic": True, "imgsz": 64, "conf": 0.3, "max_det": 60}
    return YOLO(str(weights / "best.pt")).export(**keys)


def test_a_torchscript_file_predicts_and_validates_like_the_weights(weights, script_file):
    file = script_file
    predictions_agree(weights, file, conf=0.3, max_det=60)
    predictions_agree(weights, file, conf=0.2, iou=0.4, max_det=60)
    backend = TorchScript().open(weights / "best.torchscript")
    assert backend.metadata.args["agnostic_nms"] is False
    y, beside = backend(torch.rand(2, 3, 64, 96))
    assert y.shape == (2, 60, 6)
    assert beside == {}
    data = str(weights / "toy" / "toy.yaml")
    found = YOLO(file).val(data=data, imgsz=64, plots=False, project=str(weights / "runs"))
    assert 0 <= found.results_dict["metrics/mAP50(B)"] <= 1


@pytest.fixture(scope="module")
def onnx_file(weights):
    for package in Onnx.packages:
        pytest.importorskip(package)
    keys = {"format": "onnx", "nms": True, "dynamic": True, "imgsz": 64, "simplify": False}
    return YOLO(str(weights / "best.pt")).export(**keys)


@pytest.mark.parametrize("name", ["best.pt", "script_file", "onnx_file"])
def test_a_prediction_within_another_changes_nothing_of_it(weights, request, name):
    """Neither conf and iou, which are inputs of the files, nor the threads, nor the session that is open."""
    yolo = YOLO(str(weights / name) if name.endswith(".pt") else request.getfixturevalue(name))
    keys = {"conf": 0.1, "iou": 0.6, "max_det": 60, "threads": 1, "imgsz": 64, "batch": 1, "verbose": False}
    expected = yolo.predict(images(weights), **keys)
    program, found = torch.get_num_threads(), []
    outer = yolo.predict(images(weights), stream=True, **keys)
    predictor = yolo.predictor
    for result in outer:
        found.append(result)
        run = predictor.model
        inner = yolo.predict(images(weights)[1], conf=0.9, iou=0.2, imgsz=96, threads=2, verbose=False)[0]
        assert predictor.model is run
        assert torch.get_num_threads() == program
        assert not (inner.boxes.conf <= 0.9).any()
    assert sum(len(r) for r in expected) > 20
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.boxes.data, other.boxes.data)
    if name == "onnx_file":
        assert (run.threads, yolo.predictor.model.threads) == (1, 2)
        assert run.opened is not yolo.predictor.model.opened


def test_a_copy_of_a_run_keeps_what_it_asks_for(script_file):
    run = TorchScript().open(Path(script_file)).of_run({"conf": 0.9})
    y = torch.rand(1, 3, 64, 64)
    for other in (copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        assert other.given == {"conf": 0.9}
        assert torch.equal(other(y)[0], run(y)[0])


def test_an_onnx_file_predicts_like_the_weights(weights, onnx_file):
    predictions_agree(weights, onnx_file)
    predictions_agree(weights, onnx_file, conf=0.4, iou=0.3)
    session = Onnx().open(weights / "best.onnx").session
    assert [i.name for i in session.get_inputs()] == ["images"]
    assert {i.name for i in session.get_overridable_initializers()} == {"conf", "iou"}
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("output0", ["batch", 300, 6])]


def test_the_snippet_of_the_page_runs(weights, onnx_file, monkeypatch, capsys):
    page = (CLONE / "docs" / "export.md").read_text(encoding="utf-8")
    section = page.split("## Suppression in the file")[1].split("\n## ")[0]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    assert "ultralytics" not in code
    monkeypatch.chdir(weights)
    image = images(weights)[2]  # fills the frame: padded elsewhere, boxes would be others
    (weights / "image.jpg").write_bytes(image.read_bytes())
    (weights / "snippet.py").write_text(code, encoding="utf-8")
    runpy.run_path("snippet.py")
    lines = torch.tensor([[float(word) for word in line.split()] for line in capsys.readouterr().out.splitlines()])
    found = YOLO(onnx_file).predict(image, imgsz=640, conf=0.4, verbose=False)[0]
    assert len(lines) == len(found) > 20
    boxes = clip_boxes(lines[:, 2:], found.orig_shape)  # as predict does
    assert torch.allclose(torch.cat((boxes, lines[:, [1, 0]]), 1), found.boxes.data, atol=0.02)


END_TO_END = """
nc: 80
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[2, 3, 4], 1, v10Detect, [nc]]
"""


def test_boxes_of_an_end_to_end_head_are_not_taken_for_channels(tmp_path):
    """Of an image of 64×64 it has 84 anchors, as many as a head of 80 classes has channels."""
    (tmp_path / "v10.yaml").write_text(END_TO_END, encoding="utf-8")
    torch.manual_seed(0)
    yolo = YOLO(str(tmp_path / "v10.yaml"))
    for part in yolo.model.head.one2one_cv3:
        part[-1].bias.data.zero_()
    yolo.save(tmp_path / "v10.pt")
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    weights = YOLO(str(tmp_path / "v10.pt"))
    file = YOLO(weights.export(format="torchscript", imgsz=64))
    ours, theirs = (m.predict(image, imgsz=64, verbose=False)[0].boxes.data for m in (weights, file))
    assert len(ours) == 84
    assert len(theirs) == 84
    assert torch.allclose(ours[:, 4], theirs[:, 4], atol=1e-5)  # classes of equal score may change places


def test_export_refuses_what_it_cannot_suppress(tmp_path, monkeypatch):
    v10 = DetectionModel(
        {"nc": 2, "backbone": [[-1, 1, "Conv", [16, 3, 2]]] * 2, "head": [[[0, 1], 1, "v10Detect", ["nc"]]]}
    )
    yolo = YOLO(str(write_net(tmp_path)))
    yolo.model = v10
    with pytest.raises(
        ConfigError, match="the head v10Detect gives one box per object, so nothing is left to suppress"
    ):
        yolo.export(format="torchscript", nms=True, imgsz=64)
    monkeypatch.setattr(TorchScript, "able", frozenset({"dynamic"}))
    with pytest.raises(ConfigError, match="nms=True is not offered with format=torchscript"):
        yolo.export(format="torchscript", nms=True, imgsz=64)


REAL = ({"batch": 3}, {"conf": 0.05, "iou": 0.5, "max_det": 20})


def real_results(model, shared, folder):
    """Detections in real images by each of REAL, and mAP50-95."""
    data = shared / "data" / "coco128-val"
    source = sorted(data.rglob("*.jpg"))[:48]
    found = [YOLO(model).predict(source, verbose=False, **keys) for keys in REAL]
    keys = {"data": str(data / "coco128-val.yaml"), "imgsz": 320, "plots": False, "project": str(folder / "runs")}
    return found, YOLO(model).val(conf=0.001, **keys).results_dict["metrics/mAP50-95(B)"]


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """Real weights, and what they find."""
    folder = tmp_path_factory.mktemp("real")
    shutil.copy(shared / "weights" / "yolov8n.pt", folder)
    return folder / "yolov8n.pt", *real_results(folder / "yolov8n.pt", shared, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchscript", "onnx", "openvino"])
def test_real_weights_find_the_same_in_real_images(shared, real, name):
    for package in format_named(name).packages:
        pytest.importorskip(package)
    weights, ours, figure = real
    file = YOLO(weights).export(format=name, nms=True, dynamic=True)
    theirs, other_figure = real_results(file, shared, weights.parent)
    for one, other in zip((r for run in ours for r in run), (r for run in theirs for r in run), strict=True):
        assert len(one) == len(other), one.path
        assert torch.equal(one.boxes.cls, other.boxes.cls)
        assert torch.allclose(one.boxes.xyxy, other.boxes.xyxy, atol=0.02, rtol=0)
        assert torch.allclose(one.boxes.conf, other.boxes.conf, atol=1e-4, rtol=0)
    assert sum(len(r) for run in ours for r in run) > 400
    assert abs(figure - other_figure) < 0.02  # one class of a box, and not every class
