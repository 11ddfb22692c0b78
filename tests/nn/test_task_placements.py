"""Attention anywhere in the networks of masks, keypoints and rotated boxes: nothing changes before it is trained."""

import copy

import pytest
import torch

from ultralytics.cfg.model import load_model_spec
from ultralytics.cfg.surgery import insert_rows
from ultralytics.engine.preflight.probes import Probe
from ultralytics.engine.preflight.trial import preflight
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.export import export_weights
from ultralytics.models.yolo.weights import load_trained
from ultralytics.nn.backend import TorchBackend
from ultralytics.nn.deploy import Deployed
from ultralytics.nn.modules.head import raw_maps
from ultralytics.nn.summary import explain
from ultralytics.nn.surgery import settle_norms
from ultralytics.nn.tasks import DetectionModel, OBBModel, PoseModel, SegmentationModel

NETWORKS = {"seg": SegmentationModel, "pose": PoseModel, "obb": OBBModel}
ROWS = 22  # before the head


def network(name, seed=0):
    torch.manual_seed(seed)
    return settle_norms(NETWORKS[name](f"yolov8n-{name}.yaml", nc=3, verbose=False))


def tiny(name, nc=3):
    """The real network's every part, with very few channels."""
    data = load_model_spec(f"yolov8n-{name}.yaml").to_dict() | {"scales": {"n": [0.1, 0.06, 256]}}
    torch.manual_seed(0)
    return settle_norms(NETWORKS[name](data, nc=nc, verbose=False))


def tiny_detector():
    data = load_model_spec("yolov8n.yaml").to_dict() | {"scales": {"n": [0.1, 0.06, 256]}}
    return DetectionModel(data, nc=20, verbose=False)


def check_placement(plain, name, row, path):
    file = path / f"yolov8-{name}-{row}.yaml"
    file.write_text(insert_rows(f"yolov8n-{name}.yaml", row, "FLABlock", "n"), encoding="utf-8")
    other = NETWORKS[name](str(file), nc=3, verbose=False, scale="n").eval()
    report = other.load(plain)
    assert len(report.loaded) == report.possible == len(plain.state_dict())
    assert not [*report.mismatched, *report.unused, *report.other_classes]
    x = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        (y, (raw, *more)), (z, (maps, *others)) = plain(x), other(x)
    assert torch.equal(y, z)
    assert all(torch.equal(a, b) for a, b in zip([*raw, *more], [*maps, *others], strict=True))


@pytest.mark.parametrize(("name", "row"), [("seg", 9), ("obb", 15)])
def test_an_inserted_attention_changes_nothing_at_first(name, row, tmp_path):
    check_placement(network(name), name, row, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_attention_after_every_row_changes_nothing_at_first(name, tmp_path):
    plain = network(name)
    for row in range(ROWS):
        check_placement(plain, name, row, tmp_path)


@pytest.mark.parametrize(("name", "tensors"), [pytest.param("seg", 417, marks=pytest.mark.slow), ("pose", 397)])
def test_the_references_weights_fit_and_go_back(shared, name, tensors, tmp_path):
    """Nothing of the file is run: its pickle is read as records. Written for the reference again, it holds the same."""
    file = shared / "weights" / f"yolov8n-{name}.pt"
    model, checkpoint = load_trained(file)
    assert (type(model), checkpoint.source) == (NETWORKS[name], "reference")
    assert len(checkpoint.weights) == len(model.state_dict()) == tensors
    report = NETWORKS[name](checkpoint.spec, verbose=False).load(checkpoint.weights, checkpoint.spec)
    assert len(report.loaded) == tensors
    again = load_checkpoint(export_weights(file, tmp_path / "again.pt"))
    assert again.spec == checkpoint.spec
    assert all(torch.equal(tensor, checkpoint.weights[key]) for key, tensor in again.weights.items())
    attention = NETWORKS[name](f"yolov8n-{name}-fla-sppf.yaml", verbose=False)
    moved = attention.load(checkpoint.weights, checkpoint.spec)
    assert len(moved.loaded) == moved.possible == tensors


def test_a_detectors_weights_begin_a_network_for_masks():
    """All but those of the classes, where these are others; the branches that a detector has not are new."""
    plain, other = tiny_detector(), tiny("seg", nc=2)
    report = other.load(plain)
    assert len(report.loaded) == report.possible == len(plain.state_dict()) - 36
    assert len(report.other_classes) == 36
    assert {name.split(".")[2] for name in report.new} == {"cv4", "proto"}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_teacher_shows_its_class_logits_whatever_else_it_gives(name):
    """What `distill=logits` compares: the maps of classes, in training and in evaluation."""
    model, x = tiny(name), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        [evaluated], [trained] = raw_maps(model(x)), raw_maps(model.train()(x))
    assert [m.shape for m in evaluated] == [m.shape for m in trained] == [(1, 67, n, n) for n in (8, 4, 2)]


@pytest.mark.parametrize("name", NETWORKS)
def test_what_runs_a_network_takes_its_output(name):
    """The fused copy, the copy of an exported file, `info` and the trial before a run."""
    model = tiny(name)
    x = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        y, rest = model(x)
        fused, others = TorchBackend(model)(x)
        exported = Deployed(model)(x)
    torch.testing.assert_close(fused, y, atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(others[1], rest[1], atol=1e-3, rtol=1e-3)
    shared = rest[2:]
    assert isinstance(exported, tuple) is bool(shared)
    for found, wanted in zip(exported if shared else (exported,), (fused, *others[2:]), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)
    report = explain(model, 64)
    assert report.rows[-1].module == model.spec.rows[-1].module
    assert report.rows[-1].macs > 0
    assert [s[1] for s in report.rows[-1].shapes[:3]] == [67] * 3
    before = copy.deepcopy(model.state_dict())
    tried = preflight(
        model, [Probe("training size", 2, (64, 64), True), Probe("validation size", 2, (64, 96), False)],
        device=torch.device("cpu"), amp_dtype=None, deterministic=True, batch=2,
    )  # fmt: skip
    assert not tried.warnings
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("name", ["seg"])
def test_passes_that_cannot_be_joined_are_one(name):
    """Keypoints and masks of a smaller image are in other pixels; the reference warns as well."""
    model, x = tiny(name), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        y, _ = model(x, augment=True)
        assert torch.equal(y, model(x)[0])
