"""The classifier: its head and network against the reference, insertion of blocks, transfer of classes."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from ultralytics.nn import tasks
from ultralytics.nn.modules import Classify, head
from ultralytics.nn.summary import explain
from ultralytics.nn.tasks import ClassificationModel, network_of
from ultralytics.utils.classification import v8ClassificationLoss
from ultralytics.utils.errors import ModelError


def spec(nc=3, head=(-1,), block=()):
    rows = [[-1, 1, "Conv", [16, 3, 2]], *block, [-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [16, 3, 1]]]
    return {"nc": nc, "backbone": rows[:1], "head": [*rows[1:], [list(head), 1, "Classify", ["nc"]]]}


def net(**more):
    torch.manual_seed(0)
    return ClassificationModel(spec(**more), verbose=False)


def by_the_rule(model, seed):
    """Weights by the rule of the fixtures."""
    state = model.state_dict()
    for i, key in enumerate(sorted(state)):
        g, shape = torch.Generator().manual_seed(seed * 100003 + i), state[key].shape
        if key.endswith("num_batches_tracked"):
            continue
        if key.endswith(("running_mean", "bias")):
            value = torch.randn(shape, generator=g) * 0.1
        elif len(shape) == 1:
            value = torch.rand(shape, generator=g) * 0.5 + 0.75
        else:
            value = torch.randn(shape, generator=g) * (2 / (state[key].numel() / shape[0])) ** 0.5
        state[key] = value
    model.load_state_dict(state)
    return model.eval()


def test_outputs_equal_the_reference(fixtures):
    data = np.load(fixtures / "forward_cls.npz")
    model = by_the_rule(ClassificationModel("yolov8n-cls.yaml", nc=int(data["nc"]), verbose=False), 11)
    x = torch.from_numpy(data["x"])
    with torch.no_grad():
        np.testing.assert_allclose(model(x), data["y"], rtol=1e-4, atol=1e-5)
        model.head.raw_too = True
        np.testing.assert_allclose(model(x)[1], data["logits"], rtol=1e-4, atol=1e-4)
        model.head.export = True
        assert isinstance(model(x), torch.Tensor)


@pytest.mark.parametrize(("scale", "nc"), [("n", 10), ("m", 1000)])
def test_sizes_equal_the_reference(fixtures, scale, nc):
    rows = json.loads((fixtures / "task_model_sizes.json").read_text())
    row = next(r for r in rows["rows"] if (r["task"], r["scale"], r["nc"]) == ("cls", scale, nc))
    model = ClassificationModel(f"yolov8{scale}-cls.yaml", nc=nc, verbose=False)
    found = model.info(verbose=False)
    assert (found["layers"], found["parameters"]) == (row["layers"], row["params"])
    assert found["gflops"] == pytest.approx(row["gflops_reference_convention"], rel=1e-9)
    assert len(model.state_dict()) == row["state_dict_entries"]
    assert (model.stride.tolist(), model.save) == (row["stride"], row["save"])
    norm = model.model[0].bn
    assert (norm.eps, norm.momentum) == (1e-5, 0.1)
    if scale == "n":
        head = {k: list(v.shape) for k, v in model.state_dict().items() if "linear" not in k}
        wanted = {k: v for k, v in rows["state_dict"]["yolov8n-cls"].items() if "linear" not in k}
        assert head == wanted
        assert explain(model, 224).flops < 1e9 * row["gflops_reference_convention"]  # the true count


def test_the_loss_is_the_reference_s_and_that_of_all_ranks(fixtures):
    data = np.load(fixtures / "classify_metrics.npz")
    logits, classes = (torch.from_numpy(data[k]) for k in ("logits", "targets"))
    loss, parts = v8ClassificationLoss()(logits, {"cls": classes})
    assert float(loss) == pytest.approx(float(data["loss"]), rel=1e-4)
    assert parts.shape == (1,)
    torch.testing.assert_close(loss, cross_entropy(logits, classes))
    criterion = v8ClassificationLoss()
    criterion.reduce = lambda t: 2 * t  # another rank that has just the same
    assert float(criterion(logits, {"cls": classes})[0]) == pytest.approx(float(loss) / 2)


def test_maps_of_one_size_are_joined():
    model = net(head=(1, 2))
    assert model.head.conv.conv.in_channels == 32
    assert model(torch.rand(2, 3, 33, 47)).shape == (2, 3)
    with pytest.raises(ModelError, match="joins maps of different size"):
        net(head=(0, 2))


def test_what_is_no_classifier_is_one_line():
    with pytest.raises(ModelError, match="4 classes, and the model 3"):
        ClassificationModel(spec() | {"head": [[-1, 1, "Classify", [4]]]}, verbose=False)
    with pytest.raises(ModelError, match="the head must be the last row"):
        ClassificationModel(spec() | {"head": [[-1, 1, "Classify", [3]], [-1, 1, "Conv", [8]]]}, verbose=False)
    with pytest.raises(ModelError, match="number of classes"):
        ClassificationModel(spec() | {"head": [[-1, 1, "Classify", []]]}, verbose=False)


@pytest.mark.parametrize("after", [0, 8, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 8))])
def test_a_block_after_any_row_changes_nothing_and_all_weights_find_their_place(after):
    torch.manual_seed(0)
    plain = ClassificationModel("yolov8n-cls.yaml", nc=4, verbose=False)
    rows = plain.yaml
    rows["backbone"].insert(after + 1, [-1, 1, "FLABlock", []])
    torch.manual_seed(1)
    other = ClassificationModel(rows, verbose=False)
    report = other.load(plain)
    assert report.share == 1.0
    assert not report.other_classes
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(other.eval()(x), plain.eval()(x))


def test_classes_go_over_by_name():
    old, new = net(nc=3), net(nc=2)
    old.names, new.names = {0: "a", 1: "b", 2: "c"}, {0: "c", 1: "a"}
    report = new.load(old)
    assert sorted(report.classes) == ["a", "c"]
    assert torch.equal(new.head.linear.weight, old.head.linear.weight[[2, 0]])
    assert torch.equal(new.head.linear.bias, old.head.linear.bias[[2, 0]])


def test_the_bundled_file_with_attention():
    plain = ClassificationModel("yolov8n-cls.yaml", nc=3, verbose=False)
    other = ClassificationModel("yolov8n-cls-fla.yaml", nc=3, verbose=False)
    assert other.load(plain).share == 1.0


def test_where_scripts_look_for_it():
    assert head.Classify is Classify
    assert Classify.__module__ == head.__name__  # as logs of the reference name it
    assert tasks.Classify is Classify
    assert network_of("Classify") is ClassificationModel
    assert network_of("Detect") is tasks.DetectionModel
