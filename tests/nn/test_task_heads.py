"""Networks for masks, keypoints and rotated boxes: their sizes, what comes out of them, and how they are written."""

import json
import math

import numpy as np
import pytest
import torch

from ultralytics.cfg.model import load_model_spec
from ultralytics.nn.modules import OBB, Pose, Segment
from ultralytics.nn.modules.head import raw_maps
from ultralytics.nn.tasks import OBBModel, PoseModel, SegmentationModel, network_of, parse_model
from ultralytics.utils.errors import ModelError

NETWORKS = {"seg": SegmentationModel, "pose": PoseModel, "obb": OBBModel}
FIXTURES = [("seg", "seg", None), ("pose", "pose", None), ("pose52", "pose", (5, 2)), ("obb", "obb", None)]
TASKS = {"seg": "segment", "pose": "pose", "obb": "obb"}


def check_sizes(fixtures, scale, every):
    """Compare networks with their rows of the reference's table: the first of each task, or every one."""
    table = json.loads((fixtures / "task_model_sizes.json").read_text())
    rows = [r for r in table["rows"] if r["task"] in NETWORKS and r["scale"] == scale]
    chosen = [next(r for r in rows if r["task"] == task) for task in NETWORKS]
    for row in rows if every else chosen:
        name = f"yolov8{row['scale']}-{row['task']}.yaml"
        model = NETWORKS[row["task"]](name, nc=row["nc"], verbose=False, kpt_shape=row.get("kpt_shape"))
        info = model.info(verbose=False)
        assert info["parameters"] == row["params"], row
        assert len(model.state_dict()) == row["state_dict_entries"]
        if "layers" in row:
            assert (info["layers"], info["gradients"]) == (row["layers"], row["trainable"])
            assert info["gflops"] == pytest.approx(row["gflops_reference_convention"], abs=1e-6)
            assert (model.stride.tolist(), model.save) == (row["stride"], row["save"])
            assert {k: getattr(model.head, k) for k in row["head"]} == row["head"]
        if row in chosen and scale == "n":
            head = {k: list(v.shape) for k, v in model.state_dict().items() if k.startswith("model.22.")}
            assert head == table["state_dict"][f"yolov8n-{row['task']}"]


def test_sizes_equal_the_references(fixtures):
    check_sizes(fixtures, "n", every=False)


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["n", "s", "m", "l", "x"])
def test_all_sizes_equal_the_references(fixtures, scale):
    check_sizes(fixtures, scale, every=True)


def test_a_published_network_has_its_published_size():
    """As ultralytics prints it: 250 layers, 3295470 parameters, 3295454 gradients, 9.3 GFLOPs."""
    model = PoseModel(verbose=False)
    info = model.info(verbose=False)
    assert (info["layers"], info["parameters"], info["gradients"]) == (250, 3_295_470, 3_295_454)
    assert round(info["gflops"], 1) == 9.3


def set_weights(model, seed):
    """Give every tensor the numbers that the fixtures were made with."""
    state = model.state_dict()
    for i, key in enumerate(sorted(state)):
        random, tensor = torch.Generator().manual_seed(seed * 100003 + i), state[key]
        if key.endswith("num_batches_tracked"):
            new = torch.zeros_like(tensor)
        elif key.endswith("dfl.conv.weight"):
            new = torch.arange(16.0).view(tensor.shape)
        elif key.endswith(("running_mean", "bias")):
            new = torch.randn(tensor.shape, generator=random) * 0.1
        elif key.endswith("running_var") or tensor.dim() == 1:
            new = torch.rand(tensor.shape, generator=random) * 0.5 + 0.75
        else:
            new = torch.randn(tensor.shape, generator=random) * math.sqrt(2 / (tensor.numel() / tensor.shape[0]))
        state[key] = new
    model.load_state_dict(state)


@pytest.mark.parametrize(("fixture", "task", "kpt_shape"), FIXTURES)
def test_outputs_equal_the_references(fixtures, fixture, task, kpt_shape):
    z = np.load(fixtures / f"forward_{fixture}.npz")
    model = NETWORKS[task](f"yolov8n-{task}.yaml", nc=int(z["nc"]), verbose=False, kpt_shape=kpt_shape).eval()
    set_weights(model, int(z["weight_seed"]))
    x = torch.from_numpy(z["x"]).float()
    with torch.inference_mode():
        y, (raw, numbers, *shared) = model(x)
        model.head.export = True
        exported = model(x)
    np.testing.assert_allclose(y[:, :4], z["y"][:, :4], atol=1e-3)
    np.testing.assert_allclose(y[:, 4:], z["y"][:, 4:], atol=1e-3, rtol=1e-5)
    nc = int(z["nc"])
    np.testing.assert_allclose(y[:, 4 : 4 + nc], z["y"][:, 4 : 4 + nc], atol=1e-5)
    np.testing.assert_allclose(numbers, z["coefficients" if task == "seg" else "extra"], atol=1e-5)
    for level in range(3):
        np.testing.assert_allclose(raw[level].sum((2, 3)), z[f"raw{level}_sum"], atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(raw[2], z["raw2"], atol=1e-5)
    if task == "seg":
        np.testing.assert_allclose(shared[0][0], z["proto"][0], atol=1e-5)
        np.testing.assert_allclose(shared[0].sum((2, 3)), z["proto_sum"], atol=1e-3, rtol=1e-4)
        exported, proto = exported
        assert torch.equal(proto, shared[0])
    torch.testing.assert_close(exported, y, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("task", NETWORKS)
def test_training_gives_the_maps_and_what_belongs_to_them(task):
    model = NETWORKS[task](nc=2, verbose=False).train()
    assert (model.task, network_of(model.spec)) == (TASKS[task], NETWORKS[task])
    raw, numbers, *shared = model(torch.rand(2, 3, 64, 96))
    assert [tuple(m.shape) for m in raw] == [(2, 66, 8, 12), (2, 66, 4, 6), (2, 66, 2, 3)]
    assert tuple(numbers.shape) == (2, {"seg": 32, "pose": 51, "obb": 1}[task], 126)
    assert [tuple(m.shape) for m in shared] == ([(2, 32, 16, 24)] if task == "seg" else [])
    assert raw_maps((raw, numbers, *shared)) == [raw] == raw_maps((numbers, (raw, numbers, *shared)))


def head_of(kind, *args):
    head = kind(*args, ch=(16, 32)).eval()
    head.stride = torch.tensor([8.0, 16.0])
    return head


def test_keypoints_are_decoded_to_pixels():
    """Points of ½ lie one cell beyond their cell's first corner; a visibility of log 3 is ¾."""
    head = head_of(Pose, 1, (1, 3))
    points = torch.tensor([0.5, -0.5, math.log(3)]).view(1, 3, 1).expand(1, 3, 2)
    anchors, strides = torch.tensor([[0.5, 2.5], [0.5, 1.5]]), torch.tensor([[8.0, 16.0]])
    found = head.placed(points, anchors, strides)
    assert found.shape == (1, 3, 2)
    torch.testing.assert_close(found[0], torch.tensor([[8.0, 48.0], [-8.0, 0.0], [0.75, 0.75]]))
    two = head_of(Pose, 1, (2, 2)).placed(torch.zeros(1, 4, 2), anchors, strides)
    torch.testing.assert_close(two[0], torch.tensor([[0.0, 32.0], [0.0, 16.0]] * 2))


def test_rotated_boxes_are_decoded_along_their_sides():
    """A box that reaches 1 to the left and 3 to the right of its anchor, turned by 90°: its centre lies below it."""
    head = head_of(OBB, 1)
    quarter = head.activated(torch.tensor([math.log(3)]).view(1, 1, 1))  # σ = ¾
    torch.testing.assert_close(quarter, torch.full((1, 1, 1), math.pi / 2))
    distances = torch.tensor([1.0, 2.0, 3.0, 2.0]).view(1, 4, 1)
    box = head.boxes(distances, quarter, torch.tensor([[5.0], [7.0]]).unsqueeze(0))
    torch.testing.assert_close(box.flatten(), torch.tensor([5.0, 8.0, 4.0, 4.0]))


@pytest.mark.parametrize("kind", [Segment, Pose, OBB])
def test_half_precision_decodes_in_fp32(kind):
    """fp16 cannot hold the pixel 2049 of a large image."""
    head = head_of(kind, 2).to(torch.bfloat16)
    with torch.inference_mode():
        y, rest = head([torch.rand(1, c, n, n, dtype=torch.bfloat16) for c, n in ((16, 4), (32, 2))])
    assert (y.dtype, rest[1].dtype, rest[0][0].dtype) == (torch.float32, torch.float32, torch.bfloat16)


@pytest.mark.parametrize(
    "name", [*("seg", "seg-p6", "seg-fla-sppf", "pose", "pose-p6", "pose-fla-sppf", "obb", "obb-fla-sppf")]
)
@pytest.mark.parametrize("scales", ["n", pytest.param("smlx", marks=pytest.mark.slow)])
def test_the_yamls_build_at_every_scale(name, scales):
    for scale in scales:
        spec = load_model_spec(f"yolov8{scale}-{name}.yaml", nc=3)
        assert (spec.scale, spec.nc) == (scale, 3)
        with torch.device("meta"):  # shapes alone
            rows = parse_model(spec)[0]
        assert len(rows[-1].f) == rows[-1].nl == (4 if "p6" in name else 3)


def test_keypoints_of_a_dataset_replace_the_files():
    model = PoseModel("yolov8n-pose.yaml", nc=2, kpt_shape=[5, 2], verbose=False)
    assert (model.kpt_shape, model.spec.kpt_shape, model.head.nk) == ((5, 2), (5, 2), 10)
    again = PoseModel(model.yaml, verbose=False)  # as from a weights file
    assert (again.kpt_shape, again.nc) == ((5, 2), 2)
    assert PoseModel("yolov8n-pose.yaml", data_kpt_shape=(4, 3), verbose=False).kpt_shape == (4, 3)
    model.kpt_shape = (5, 2)  # as the reference's trainer sets it
    with pytest.raises(
        ModelError, match=r"kpt_shape is \[5, 2\], and not \[17, 3\] \(build it with kpt_shape=\[17, 3\]"
    ):
        model.kpt_shape = (17, 3)
    detector = load_model_spec("yolov8n.yaml", kpt_shape=(5, 2))
    assert detector.kpt_shape is None


@pytest.mark.parametrize("shape", [[17], [17, 4], [0, 3], [17.0, 3], "17,3", [True, 3], 17, [17, 3, 1]])
def test_a_wrong_kpt_shape_is_one_line(shape):
    data = load_model_spec("yolov8n-pose.yaml").to_dict()
    with pytest.raises(ModelError, match=r"`kpt_shape` must be \[points, 2\]"):
        PoseModel({**data, "kpt_shape": shape}, verbose=False)
    with pytest.raises(ModelError, match=r"kpt_shape"):
        PoseModel(data, kpt_shape=shape, verbose=False)


def test_kpt_shape_of_a_row_and_of_the_file_must_agree():
    data = load_model_spec("yolov8n-pose.yaml").to_dict()
    data["head"][-1][3] = ["nc", [5, 2]]
    assert PoseModel({k: v for k, v in data.items() if k != "kpt_shape"}, verbose=False).kpt_shape == (5, 2)
    data["head"][-1][3] = ["nc", "kpt_shape"]
    del data["kpt_shape"]
    with pytest.raises(ModelError, match=r"a row takes `kpt_shape`, and the file has none: write"):
        PoseModel(data, verbose=False)
    data["head"][-1][3] = ["nc", [5, 7]]
    with pytest.raises(ModelError, match=r"row 22.*kpt_shape=\[5, 7\] is not"):
        PoseModel(data, verbose=False)


@pytest.mark.parametrize(
    ("args", "npr"), [(["nc"], 64), (["nc", 16], 64), (["nc", 16, 64], 16), (["nc", {"npr": 128}], 32)]
)
def test_the_width_of_prototypes_follows_the_scale(args, npr):
    data = load_model_spec("yolov8n-seg.yaml").to_dict()
    data["head"][-1][3] = args
    head = SegmentationModel(data, verbose=False).head
    assert (head.npr, head.nm) == (npr, args[1] if isinstance(args[-1], int) else 32)
