import pytest
import torch
import yaml

from ultralytics.cfg.model import ModelSpec
from ultralytics.cfg.surgery import insert_rows, remove_rows
from ultralytics.nn.tasks import DetectionModel
from ultralytics.nn.transfer import Network, align


def built(text, scale="n", nc=2, names=None):
    model = DetectionModel(ModelSpec.from_dict(yaml.safe_load(text), scale), nc=nc, verbose=False)
    if names:
        model.names = dict(enumerate(names))
    return model


def plain(scale="n", nc=2, names=None):
    torch.manual_seed(0)
    model = DetectionModel("yolov8.yaml", nc=nc, verbose=False, scale=scale)
    if names:
        model.names = dict(enumerate(names))
    return model


def rows(model):
    return Network(model.state_dict(), model.spec.rows, model.spec.width, model.names)


@pytest.mark.parametrize("scale", ["n", pytest.param("l", marks=pytest.mark.slow)])
@pytest.mark.parametrize("module", ["FLABlock", "nn.Identity", "PSABlock", "Conv(512, 3, 1)"])
def test_old_rows_keep_their_tensors_behind_an_insertion(scale, module):
    """At scale l several rows have tensors of equal shapes: what a row is decides, not what fits."""
    after = 8
    if module.startswith("Conv"):
        after, module = 6, "Conv(512, 3, 1)"  # as wide as row 6, and shaped like the convolution of row 7 at scale l
    base, model = plain(scale), built(insert_rows("yolov8.yaml", after, module), scale)
    pairs = align(rows(model), rows(base))
    want = {i + (i > after): i for i in range(23)}
    assert pairs == want
    report = model.load(base)
    assert report.share == 1
    assert report.moved == {i: i + 1 for i in range(after + 1, 23)}
    for name, tensor in base.state_dict().items():
        _, number, rest = name.split(".", 2)
        moved = model.state_dict()[f"model.{want_new(int(number), after)}.{rest}"]
        assert torch.equal(moved, tensor)


def want_new(i, after):
    return i + (i > after)


def test_several_insertions_and_the_way_back():
    base = plain()
    text = insert_rows("yolov8.yaml", [2, 4, 9, 15, 18, 21], "FLABlock")
    model = built(text)
    assert model.load(base).share == 1
    again = plain()
    torch.nn.init.zeros_(again.model[0].conv.weight)
    report = again.load(model)  # rows that are gone are reported, and are no loss
    assert report.share == 1
    assert torch.equal(again.model[22].dfl.conv.weight, base.model[22].dfl.conv.weight)
    assert all(torch.equal(v, base.state_dict()[k]) for k, v in again.state_dict().items())
    assert report.unused
    assert all(".attn." in n or ".norm." in n or n.endswith("gate") for n in report.unused)


def test_weights_of_the_tutorials_network_go_back_to_yolov8(tmp_path):
    source, target = DetectionModel("yolov8n-fla.yaml", nc=2, verbose=False), plain()
    target.load(source)
    assert torch.equal(target.model[22].cv2[0][0].conv.weight, source.model[23].cv2[0][0].conv.weight)
    text = remove_rows("yolov8-fla.yaml", 10)
    assert built(text).load(source).loaded == target.load(source).loaded


def test_by_name_is_the_references_rule():
    base, model = plain(nc=80), DetectionModel("yolov8n-fla.yaml", nc=80, verbose=False)
    report = model.load(base, by_name=True)
    assert len(report.loaded) == 162
    assert not report.moved
    assert report.share < 0.5


def test_only_the_heads_class_tensors_stay_behind_when_the_classes_change():
    base, model = plain(nc=80), plain(nc=3)
    report = model.load(base)
    assert report.share == 1
    assert len(report.loaded) == 319
    assert len(report.other_classes) == 36  # at scale n the class branch is as wide as the classes are many
    assert all(".cv3." in n for n in report.other_classes)
    wide = plain("s", nc=3).load(plain("s", nc=80))
    assert len(wide.other_classes) == 6  # at s only the last convolutions of the class branch
    assert wide.share == 1


def test_classes_of_equal_names_are_copied():
    base = plain("s", 4, ["cat", "dog", "cow", "yak"])
    model = plain("s", 3, ["yak", "emu", "dog"])
    untouched = [b[2].weight[1].clone() for b in model.head.cv3]
    report = model.load(base)
    assert set(report.classes) == {"yak", "dog"}
    assert not report.other_classes
    for mine, given, kept in zip(model.head.cv3, base.head.cv3, untouched, strict=True):
        for new, old in ((0, 3), (2, 1)):
            assert torch.equal(mine[2].weight[new], given[2].weight[old])
            assert torch.equal(mine[2].bias[new], given[2].bias[old])
        assert torch.equal(mine[2].weight[1], kept)


def test_the_same_classes_in_another_order_are_sorted_out():
    base = plain("s", 3, ["a", "b", "c"])
    model = plain("s", 3, ["c", "a", "b"])
    model.load(base)
    assert torch.equal(model.head.cv3[0][2].bias[torch.tensor([0, 1, 2])], base.head.cv3[0][2].bias[[2, 0, 1]])


def test_numbered_classes_are_no_names():
    report = plain("s", 3).load(plain("s", 4))
    assert not report.classes
    assert len(report.other_classes) == 6


def test_equal_names_and_counts_are_a_plain_copy():
    base = plain("n", 2, ["a", "b"])
    report = plain("n", 2, ["a", "b"]).load(base)
    assert len(report.loaded) == len(base.state_dict())


def test_another_scale_is_told_with_both_shapes():
    report = plain("n").load(plain("s"))
    assert report.share < 0.4
    assert not report.moved
    assert report.mismatched["model.0.conv.weight"] == ((32, 3, 3, 3), (16, 3, 3, 3))
    assert any("[32, 3, 3, 3] in the file, [16, 3, 3, 3] here" in line for line in report.lines())


def test_a_bare_state_dict_is_aligned_by_its_shapes():
    base = plain()
    model = DetectionModel("yolov8n-fla.yaml", nc=2, verbose=False)
    report = model.load(base.state_dict())
    assert len(report.loaded) == 355
    assert torch.equal(model.model[23].cv2[0][0].conv.weight, base.model[22].cv2[0][0].conv.weight)


def test_the_report_reads_well():
    base, model = plain(nc=80), built(insert_rows("yolov8.yaml", [9, 15], "FLABlock"), nc=3)
    lines = model.load(base).lines()
    assert lines[0] == "Transferred 319 of 319 pretrained tensors (100%)"
    assert lines[1] == "  moved with their rows: 10-15 → 11-16, 16-22 → 18-24"
    assert "another number of classes: 36 in model.24.cv3 (36)" in lines[2]
    assert lines[3].startswith("  new here, left as initialised: ")
