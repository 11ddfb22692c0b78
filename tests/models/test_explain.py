"""`explain`: what is measured is what the formulas say, on the network itself, and lies where the image has it."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import write_tiny
from tests.helpers.networks import with_head, with_module
from ultralytics import YOLO
from ultralytics.cfg.config import get_cfg
from ultralytics.cli import main
from ultralytics.data.augment import LetterBox
from ultralytics.models.yolo.detect import DetectionExplainer
from ultralytics.models.yolo.detect.explain import attention, attention_blocks, cam, erf
from ultralytics.nn.modules import MapAttention
from ultralytics.nn.registry import register, same_width
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError, ModelError, UserError
from ultralytics.utils.images import imread, imwrite
from ultralytics.utils.nms import non_max_suppression

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 255, (40, 64, 3), np.uint8)  # at 64 pixels a rectangle, 12 rows of border above and below
KEYS = {"imgsz": 64, "device": "cpu", "verbose": False}
BOXES = {"conf": 0.0, "iou": 0.5, "max_det": 4}


@pytest.fixture
def undrawn(monkeypatch):
    """The arguments of the figures, which are not drawn."""
    drawn = []
    for module in (attention, cam, erf):
        name = f"plot_{module.__name__.rpartition('.')[2]}"
        monkeypatch.setattr(module, name, lambda *args, name=name: drawn.append((name, args)))
    return drawn


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """One for all tests: what is explained is a copy."""
    torch.manual_seed(0)
    return alive(DetectionModel(write_tiny(tmp_path_factory.mktemp("net")), nc=3, verbose=False))


def alive(model):
    """Weights and statistics with which every part of a network counts, its gates too."""
    torch.manual_seed(0)
    for each in model.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.normal_(0, 0.1)
            each.running_var.uniform_(0.5, 1.5)
        for name in ("gate", "positional_encoding", "scale"):
            if isinstance(each._parameters.get(name), nn.Parameter):
                nn.init.normal_(each._parameters[name])
    for branch in model.head.cv3:
        nn.init.normal_(branch[-1].weight, 0, 0.5)
    return model.eval()


def explained(model, source, tmp_path, **keys):
    keys = KEYS | {"project": str(tmp_path / "runs")} | keys
    return DetectionExplainer(get_cfg(None, keys, mode="explain"))(source, model)


def as_input(image, auto=True):
    frame = LetterBox((64, 64), auto=auto)(image=image)
    return torch.from_numpy(np.ascontiguousarray(frame[..., ::-1])).permute(2, 0, 1)[None] / 255


def head_of(model, x):
    """The maps that the head reads, as leaves, its raw maps and the kept boxes."""
    taken = []
    hook = model.head.register_forward_pre_hook(lambda _, args: taken.extend(args[0]))
    with torch.no_grad():
        y = model(x)[0]
    hook.remove()
    maps = [m.detach().clone().requires_grad_() for m in taken]
    raw = model.head.raw(maps, model.head.cv2, model.head.cv3)
    return maps, torch.cat([m.flatten(2) for m in raw], 2)[0, 4 * model.head.reg_max :], y


@pytest.mark.parametrize("one", [False, True])
def test_a_cam_is_that_of_the_class_logits_of_the_kept_boxes(net, tmp_path, undrawn, one):
    maps, logits, y = head_of(net, as_input(IMAGE))
    classes = int(non_max_suppression(y, 0.0, 0.5, max_det=1)[0][0, 5]) if one else None
    keys = BOXES | {"classes": classes} if one else BOXES
    (found,) = explained(net, [IMAGE], tmp_path, **keys)
    (kept,) = non_max_suppression(y, 0.0, 0.5, classes, max_det=4)
    assert len(kept) == len(found.arrays["boxes"]) >= (1 if one else 4)
    anchors = [int((y[0, 4 + int(c)] - score).abs().argmin()) for score, c in kept[:, 4:].tolist()]
    chosen = sum(logits[int(c), a] for c, a in zip(kept[:, 5], anchors, strict=True))
    grads = torch.autograd.grad(chosen, maps)
    for row, m, g in zip(net.spec.rows[-1].sources, maps, grads, strict=True):
        wanted = (g.relu() * m).sum(1).relu()[0].detach().numpy()
        np.testing.assert_allclose(found.arrays[f"map{row}"], wanted, rtol=1e-2, atol=1e-4 * wanted.max())
    assert any(found.arrays[f"map{row}"].max() > 0 for row in net.spec.rows[-1].sources)
    assert found.arrays["heat"].shape == IMAGE.shape[:2]
    ((_, args),) = undrawn
    assert args[1].shape == IMAGE.shape[:2]


def test_a_map_lies_over_the_image_in_the_letterboxs_geometry():
    explainer = cam.CamExplainer(get_cfg(None, KEYS, mode="explain"))
    explainer.predictor.letterbox = LetterBox((64, 64))
    frame = torch.zeros(64, 64)
    frame[12 + 7, 33] = 1
    heat = explainer._on_image(frame, IMAGE)
    assert np.argwhere(heat).tolist() == [[7, 33]]
    ramp = torch.arange(64.0).view(64, 1).expand(64, 64)
    heat = explainer._on_image(ramp, np.zeros((80, 128, 3), np.uint8))  # half as fine
    assert heat[40, 5] == pytest.approx(12 + 40.5 / 2 - 0.5)


def test_each_class_has_an_image_of_its_own_and_a_name(net, tmp_path, undrawn):
    for folder in ("a", "b"):
        imwrite(tmp_path / folder / "x.png", IMAGE)
    source = [str(tmp_path / f / "x.png") for f in ("a", "b")]
    found = explained(net, source, tmp_path, classes=[0, 2], **BOXES)
    names = [f.files[0].name for f in found]
    assert names == ["x_0.png", "x_2.png", "x_0_2.png", "x_2_2.png"]
    assert [f.path for f in found] == [source[0], source[0], source[1], source[1]]
    assert all(set(f.arrays["boxes"][:, 5]) <= {c} for f, c in zip(found, (0.0, 2.0) * 2, strict=True))
    with np.load(found[0].files[-1]) as saved:
        assert set(saved) == set(found[0].arrays)
        np.testing.assert_array_equal(saved["heat"], found[0].arrays["heat"])


def test_images_without_boxes_have_a_map_of_zeros(net, tmp_path, undrawn):
    (found,) = explained(net, [IMAGE], tmp_path, conf=1.0)
    assert found.arrays["boxes"].shape == (0, 6)
    assert not found.arrays["heat"].any()


def test_rows_of_ones_choice_are_seen_with_all_that_follows(net, tmp_path, undrawn):
    (found,) = explained(net, [IMAGE], tmp_path, rows=[9, 10], **BOXES)
    assert {k for k in found.arrays if k.startswith("map")} == {"map9", "map10"}
    assert found.arrays["map9"].max() > 0
    (alone,) = explained(net, [IMAGE], tmp_path, rows=9, **BOXES)
    np.testing.assert_allclose(alone.arrays["map9"], found.arrays["map9"], rtol=1e-5)  # one does not cut the other off


@pytest.mark.parametrize("name", ["v10Detect", "Detect_LSCD", "Detect_ASFF", "Detect_Efficient"])
def test_a_cam_of_other_heads(name, tmp_path, undrawn):
    torch.manual_seed(0)
    model = DetectionModel(with_head(name, ["nc"]), verbose=False).eval()
    (found,) = explained(model, [IMAGE], tmp_path, **BOXES)
    assert len(found.arrays["boxes"]) == 4
    assert found.arrays["heat"].max() > 0


def test_a_head_without_gradients_is_one_line(net, tmp_path, undrawn, monkeypatch):
    forward = type(net.head).forward
    monkeypatch.setattr(type(net.head), "forward", torch.no_grad()(forward))
    with pytest.raises(ModelError, match="the head Detect passes no gradient"):
        explained(net, [IMAGE], tmp_path, **BOXES)


# Attention


def test_weights_are_those_of_the_tokens_under_the_points(net, tmp_path, undrawn):
    points = [[0.0, 0.0], [63, 39], [40, 20]]
    (found,) = explained(net, [IMAGE], tmp_path, kind="attention", points=points)
    (block,) = attention_blocks(net)
    given = []
    hook = block.mixer.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    with torch.no_grad():
        net(as_input(IMAGE))
        hook.remove()
        q, k, _ = block.mixer.project(given[0])
        whole = block.mixer.weights(q.double(), k.double())[0]
    rows, cols = given[0].shape[2:]
    assert (rows, cols) == (2, 2)
    # The frame is 64×64 with 12 rows of border, a cell 32×32.
    assert found.arrays["10.tokens"].tolist() == [[0, 0], [1, 1], [1, 1]]
    weights = found.arrays["10.weights"]
    assert weights.shape == (block.mixer.num_heads, 3, 2, 2)
    np.testing.assert_allclose(weights.reshape(-1, 3, 4), whole[:, [0, 3, 3]], rtol=1e-3)
    np.testing.assert_allclose(weights.sum((2, 3)), 1, rtol=0.05)  # but for ε
    assert found.arrays["10.rank"].tolist() == np.linalg.matrix_rank(whole.numpy()).tolist()
    ((_, args),) = undrawn
    assert args[3] == (0, -12, 64, 52)  # where the maps' frame lies, in pixels of the image
    assert args[6][1] == "not part of the weights: the depth-wise 5×5 branch"


def test_points_are_the_best_boxes_centres_and_heads_are_chosen(net, tmp_path, undrawn):
    (found,) = explained(net, [IMAGE], tmp_path, kind="attention", heads=[1, 0], **BOXES)
    assert 1 <= len(found.arrays["points"]) <= 3
    panels = undrawn[-1][1][1]
    assert [p.title.split(",")[1] for p in panels] == [" head 1", " head 0"]
    np.testing.assert_allclose(panels[0].maps, found.arrays["10.weights"][1] * 4)
    explained(net, [IMAGE], tmp_path, kind="attention", heads="all", conf=1.0)
    assert len(undrawn[-1][1][1]) == attention_blocks(net)[0].mixer.num_heads
    assert undrawn[-1][1][4] == ["centre"]
    explained(net, [IMAGE], tmp_path, kind="attention", conf=1.0)
    (panel,) = undrawn[-1][1][1]
    np.testing.assert_allclose(panel.maps.sum((1, 2)), 4, rtol=0.05)  # times the tokens; they sum to 1
    assert "mean of heads" in panel.title


def test_attention_inside_a_row_is_found_by_its_row(tmp_path, undrawn):
    torch.manual_seed(0)
    model = alive(DetectionModel("yolov8n-fla-c2f-neck.yaml", nc=3, verbose=False))
    places = [b.place for b in attention_blocks(model)]
    assert all(p.endswith(".attn") for p in places)
    row = int(places[1].split(".")[0])
    (found,) = explained(model, [IMAGE], tmp_path, kind="attention", rows=[row], points=[[3, 4]])
    assert {k.rpartition(".")[0] for k in found.arrays} == {"", places[1]}
    with pytest.raises(ConfigError, match=r"row 9 SPPF has no attention over a map \(there is some in row"):
        explained(model, [IMAGE], tmp_path, kind="attention", rows=[9])


@register(same_width)
class Silent(MapAttention):
    """An attention that has a mix alone."""

    def mix(self, q, k, v, size):
        return v


def test_an_attention_without_weights_says_so(tmp_path, undrawn):
    model = DetectionModel(with_module("Silent", []), verbose=False).eval()
    with pytest.raises(ModelError, match="row 2 Silent: Silent does not offer its weights"):
        explained(model, [IMAGE], tmp_path, kind="attention")
    (found,) = explained(model, [IMAGE], tmp_path, kind="erf")
    assert {"2.before", "2.after"} <= set(found.arrays)


# Receptive fields


def test_a_field_is_the_mean_absolute_gradient_of_the_centre(net, tmp_path, undrawn):
    other = RNG.integers(0, 255, (64, 50, 3), np.uint8)
    (found,) = explained(net, [IMAGE, other], tmp_path, kind="erf")
    wanted = {"before": 0, "after": 0}
    block = net.model[10]
    for image in (IMAGE, other):
        x = as_input(image, auto=False).requires_grad_()
        taken = {}
        hooks = [
            block.register_forward_pre_hook(lambda _, args, taken=taken: taken.update(before=args[0])),
            block.register_forward_hook(lambda _, __, out, taken=taken: taken.update(after=out)),
        ]
        net(x)
        for hook in hooks:
            hook.remove()
        for when, m in taken.items():
            assert m.shape[2:] == (2, 2)
            (g,) = torch.autograd.grad(m[0, :, 1, 1].sum(), x, retain_graph=True)
            wanted[when] = wanted[when] + g[0].abs().mean(0).numpy() / 2
    for when, field in wanted.items():
        got = found.arrays[f"10.{when}"]
        np.testing.assert_allclose(got, field, rtol=1e-2, atol=1e-4 * field.max())
        assert found.arrays[f"10.{when}.centre"].tolist() == [47.5, 47.5]
    assert found.arrays["images"].tolist() == ["image0.jpg", "image1.jpg"]
    assert [f.name for f in found.files] == ["erf.png", "erf.pdf", "erf.npz"]
    fields = undrawn[0][1][0]
    assert [(f.title, f.when) for f in fields] == [
        (f"row 10 {type(block).__name__}", when) for when in ("before", "after")
    ]


def test_a_field_of_the_same_images_is_replaced_with_exist_ok(net, tmp_path, undrawn):
    for name in "ab":
        imwrite(tmp_path / f"{name}.png", IMAGE)

    def made(source):
        keys = {"kind": "erf", "rows": 1, "exist_ok": True}
        (found,) = explained(net, str(tmp_path / source), tmp_path, **keys)
        return found.files[-1].name

    assert [made("a.png"), made("a.png"), made("b.png"), made("a.png")] == ["erf.npz"] * 2 + ["erf_2.npz", "erf.npz"]


def test_the_field_of_a_convolution_is_its_kernel(net, tmp_path, undrawn):
    (found,) = explained(net, [IMAGE, IMAGE, IMAGE], tmp_path, kind="erf", rows=[0], max_images=2)
    assert len(found.arrays["images"]) == 2
    assert np.argwhere(found.arrays["0.before"]).tolist() == [[32, 32]]
    assert found.arrays["0.before"][32, 32] == 1  # of each colour's own, and there are three
    places = np.argwhere(found.arrays["0.after"])
    assert (places.min(0).tolist(), places.max(0).tolist()) == ([31, 31], [33, 33])
    assert found.arrays["0.after.areas"][-1] <= 16 / 64**2


def test_fields_of_plain_networks_and_of_pasted_modules(tmp_path, undrawn):
    torch.manual_seed(0)
    plain = DetectionModel("yolov8n.yaml", nc=3, verbose=False).eval()
    (found,) = explained(plain, [IMAGE], tmp_path, kind="erf")
    assert {k for k in found.arrays if k.endswith("after")} == {"15.after", "18.after", "21.after"}
    pasted = DetectionModel(with_module("SEAttention", [32]), verbose=False).eval()
    (found,) = explained(pasted, [IMAGE], tmp_path, kind="erf")
    assert {k for k in found.arrays if k.endswith("after")} == {"2.after"}
    (found,) = explained(plain, [IMAGE], tmp_path, kind="erf", rows=[11])  # of several sources: no map before
    assert "11.after" in found.arrays
    assert "11.before" not in found.arrays


# What users do


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"rows": [99]}, "there is no row 99"),
        ({"rows": [-1]}, "there is no row -1"),
        ({"rows": "necck"}, "there is no row necck"),
        ({"rows": 23}, "row 23 is the head"),
        ({"kind": "attention", "points": [[64, 2]]}, r"\(64, 2\) lies outside the image of 64×40"),
        ({"kind": "attention", "heads": 9}, "there is no head 9"),
        ({"classes": 7}, "there is no class 7"),
        ({"points": [1, 2, 3]}, "must be pixels"),
        ({"points": [[1, "a"]]}, "must be pixels"),
        ({"points": []}, "names no pixel"),
        ({"heads": "some"}, "heads='some' must be all"),
        ({"rows": 1.5}, "must be numbers or names"),
        ({"kind": "gradcam"}, "one of cam, attention, erf"),
        ({"max_images": 0}, "1 or more"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(net, tmp_path, undrawn, keys, message):
    with pytest.raises(UserError, match=message) as raised:
        explained(net, [IMAGE], tmp_path, **keys)
    assert "\n" not in str(raised.value)


def test_videos_are_left_out_and_sources_stay(net, tmp_path, undrawn, caplog):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "film.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"film.mp4: explain takes images, not videos"):
        explained(net, str(tmp_path / "in"), tmp_path)
    file = tmp_path / "in" / "a.png"
    imwrite(file, IMAGE)
    found = explained(net, str(tmp_path / "in"), tmp_path, project=str(tmp_path), name="in", exist_ok=True)
    assert "1 video left out" in caplog.text
    assert [f.name for f in found[0].files] == ["a_2.png", "a_2.npz"]
    np.testing.assert_array_equal(imread(file), IMAGE)


def test_yolo_explains(tiny, tmp_path, undrawn):
    yolo = YOLO(tiny)
    (found,) = yolo.explain(IMAGE, "attention", points=[5, 6], project=str(tmp_path), **KEYS)
    assert found.arrays["points"].tolist() == [[5, 6]]
    assert found.files[-1] == tmp_path / "explain" / "image0.npz"
    assert found.files[-1].exists()
    several = yolo.explain([IMAGE, IMAGE], kind="cam", stream=True, project=str(tmp_path), **KEYS)
    assert next(several).path == "image0.jpg"
    assert not (tmp_path / "explain2" / "image1.npz").exists()
    assert [f.path for f in several] == ["image1.jpg"]
    with pytest.raises(ConfigError, match="nothing to explain"):
        yolo.explain()
    with pytest.raises(ConfigError, match=r"explain\(640\) names no image \(source=an image; rows: report"):
        yolo.explain(640)


@pytest.mark.slow
def test_the_command_draws_and_says_where(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    imwrite(tmp_path / "图.png", IMAGE)
    words = ["explain", f"model={tiny}", "source=图.png", "imgsz=[32,64]", "device=cpu"]
    assert main([*words, "kind=attention", "points=[[3,4],[40,20]]", "heads=[0,1]"]) == 0
    assert main([*words, "kind=cam", "name=explain", "conf=0.0", "max_det=2"]) == 0
    assert main([*words, "kind=erf"]) == 0
    made = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("runs/**/*.*"))
    wanted = {"explain": (".npz", ".pdf", ".png"), "explain2": (".npz", ".png")}
    assert made == [
        *(f"runs/detect/{run}/图{s}" for run, suffixes in wanted.items() for s in suffixes),
        *(f"runs/detect/explain3/erf{s}" for s in (".npz", ".pdf", ".png")),
    ]
    out = capsys.readouterr()
    assert "row 10 FocusedLinearAttention: rank 1 of 2" in out.out + out.err
    assert main([*words, "save=True", "epochs=3"]) == 2
    assert "epochs is a key of train, not of explain" in capsys.readouterr().err
