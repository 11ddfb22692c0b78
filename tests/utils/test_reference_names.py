"""Helpers that scripts for ultralytics 8.2.103 import, with the values that release gives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import ultralytics
from ultralytics.cfg import check_cfg, check_dict_alignment, get_save_dir, merge_equals_args, smart_value
from ultralytics.utils import boxes, checks, downloads, environment, files, helpers, lazy, loss, metrics, ops, plotting
from ultralytics.utils import torch_utils as tu
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError
from ultralytics.utils.patches import imread, imwrite


def close(a, b):
    return np.allclose(np.asarray(a, float), np.asarray(b, float), atol=1e-4)


@pytest.mark.parametrize(
    ("given_", "kwargs", "found"),
    [
        (640, {}, 640), ([600, 600], {"max_dim": 1}, 608), ([600, 400], {}, [608, 416]),
        (100, {"min_dim": 2}, [128, 128]),
        (33, {"floor": 64}, 64), ("640", {}, 640), ("[640,320]", {}, [640, 320]),
        ((640, 480), {"stride": 64}, [640, 512]),
        (640, {"stride": torch.tensor([8, 16, 64])}, 640),
    ],
)  # fmt: skip
def test_check_imgsz(given_, kwargs, found):
    assert checks.check_imgsz(given_, **kwargs) == found


@pytest.mark.parametrize("wrong", [3.5, [1, 2, 3], None, torch.tensor(64)])
def test_check_imgsz_refuses_in_one_line(wrong):
    with pytest.raises(ConfigError, match="imgsz="):
        checks.check_imgsz(wrong)


@given(st.integers(1, 4000), st.sampled_from([8, 32, 64]))
def test_a_checked_size_is_a_multiple(n, stride):
    size = checks.check_imgsz(n, stride=stride)
    assert size % stride == 0
    assert n <= size < n + stride


@pytest.mark.parametrize(
    ("current", "required", "good"),
    [
        ("8.0.1", "8.0.0", True), ("8.0.1", ">=8.0.0,<9", True), ("8.0.1", "==8.0.0", False), ("2.0", "<2", False),
        ("", "1", True), ("8.0.1", "8", True), ("1.9.0+cu", "!=1.9.0", False), ("nopackage", "1.0", False),
        ("3.0", "2.0,", True), ("3.0", "~=2.0", True), ("numpy", ">=1.0", True),
    ],
)  # fmt: skip
def test_check_version(current, required, good):
    assert checks.check_version(current, required) == good
    if not good:
        with pytest.raises(UserError, match="is required, and"):
            checks.check_version(current, required, hard=True)


def test_versions_texts_and_suffixes():
    assert [checks.parse_version(v) for v in ("2.0.1+cpu", "abc", "1.2", "1.2.3.4rc1")] == [
        (2, 0, 1), (), (1, 2), (1, 2, 3)
    ]  # fmt: skip
    texts = ("abc", "汉", ["a", "b"], {0: "汉"}, 3)
    assert [checks.is_ascii(s) for s in texts] == [True, False, True, False, True]
    for good in ("a.pt", "a", ""):
        checks.check_suffix(good)
    checks.check_suffix("a.YAML", (".yaml", ".yml"))
    with pytest.raises(ConfigError, match=r"a\.yaml must end in \.pt"):
        checks.check_suffix("a.yaml")
    assert checks.check_python()
    assert not checks.check_python("3.99.0", hard=False)
    assert checks.check_model_file_from_stem("yolov8n") == Path("yolov8n.pt")
    assert checks.check_model_file_from_stem("foo") == "foo"
    assert checks.check_yolov5u_filename("yolov5n.pt") == "yolov5nu.pt"
    assert checks.check_yolov5u_filename("yolov8n.pt") == "yolov8n.pt"
    assert isinstance(checks.git_describe(), str)
    assert (checks.check_imshow(), checks.check_pip_update_available()) == (False, False)
    assert checks.cuda_device_count() == torch.cuda.device_count()


def test_requirements_are_named_and_never_installed(monkeypatch, caplog):
    assert checks.check_requirements("numpy")
    assert checks.check_requirements(("numpy>=1.0", "torch"))
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    assert not checks.check_requirements(("no-such-package-at-all>=3",))
    assert 'pip install "no-such-package-at-all>=3"' in caplog.text
    assert "numpy" in {r.name for r in checks.parse_requirements()}


def test_files_are_found_and_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checks.check_file("") == ""
    assert checks.check_yaml("yolov8-fla.yaml").endswith("yolov8-fla.yaml")
    assert Path(checks.check_file("default.yaml")).is_file()
    assert checks.check_file("gone.yaml", hard=False) == []
    with pytest.raises(MissingFileError, match="tried"):
        checks.check_file("gone.yaml")
    with pytest.raises(UserError, match="an address is not fetched"):
        checks.check_file("https://example.com/a.pt")
    with pytest.raises(MissingFileError, match="fetch the file"):
        downloads.attempt_download_asset("yolov8n.pt")
    for name in ("download", "safe_download", "get_github_assets"):
        with pytest.raises(UserError, match=f"{name} is not offered"):
            getattr(downloads, name)("https://example.com/a.zip")
    assert downloads.is_url("https://example.com/a.pt")
    assert not downloads.is_url("a.pt")


def test_archives_go_out_and_back(tmp_path):
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images" / "a.txt").write_text("a")
    (tmp_path / "set" / ".DS_Store").write_text("b")
    packed = downloads.zip_directory(tmp_path / "set")
    assert packed == tmp_path / "set.zip"
    folder = downloads.unzip_file(packed, tmp_path / "out")
    assert (folder / "a.txt").read_text() == "a"
    assert not list((tmp_path / "out").rglob(".DS_Store"))
    downloads.delete_dsstore(tmp_path)
    assert not (tmp_path / "set" / ".DS_Store").exists()
    with pytest.raises(MissingFileError, match=r"not a \.zip file"):
        downloads.unzip_file(tmp_path / "set")


def test_paths_are_numbered_and_measured(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x" * 2048)
    (tmp_path / "sub").mkdir()
    assert files.file_size(tmp_path / "a.txt") == files.file_size(tmp_path) == 2048 / 2**20
    assert files.file_size(tmp_path / "gone") == 0.0
    assert files.file_age(tmp_path / "a.txt") == 0
    assert files.file_date(tmp_path / "a.txt").count("-") == 2
    assert files.increment_path(tmp_path / "a.txt") == tmp_path / "a2.txt"
    assert files.increment_path(tmp_path / "sub", sep="_") == tmp_path / "sub_2"
    assert files.increment_path(tmp_path / "sub", exist_ok=True) == tmp_path / "sub"
    assert files.increment_path(tmp_path / "sub", mkdir=True) == tmp_path / "sub2"
    assert files.increment_path(tmp_path / "sub") == tmp_path / "sub3"
    (tmp_path / "sub" / "last.pt").touch()
    assert files.get_latest_run(tmp_path) == str(tmp_path / "sub" / "last.pt")
    assert files.get_latest_run(tmp_path / "sub2") == ""
    (tmp_path / "w s").mkdir()
    with files.spaces_in_path(tmp_path / "w s") as place:
        assert " " not in str(place)
        (Path(place) / "new.txt").touch()
    assert (tmp_path / "w s" / "new.txt").exists()
    with files.WorkingDirectory(tmp_path):
        assert Path.cwd() == tmp_path
    assert Path.cwd() != tmp_path


def test_boxes_have_all_formats():
    box = torch.tensor([1.0, 2, 3, 4])
    assert ops.ltwh2xywh(box).tolist() == [2.5, 4, 3, 4]
    assert ops.ltwh2xyxy(box).tolist() == [1, 2, 4, 6]
    assert ops.xywh2ltwh(box).tolist() == [-0.5, 0, 3, 4]
    assert ops.xyxy2ltwh(box).tolist() == [1, 2, 2, 2]
    boxes = torch.rand(10, 4)
    for there, back in ((ops.xyxy2xywh, ops.xywh2xyxy), (ops.xyxy2ltwh, ops.ltwh2xyxy), (ops.xywh2ltwh, ops.ltwh2xywh)):
        assert torch.allclose(back(there(boxes)), boxes, atol=1e-6)
        assert np.allclose(back(there(boxes.numpy())), boxes.numpy(), atol=1e-6)
    assert (ops.make_divisible(17, 8), ops.make_divisible(17, torch.tensor([8]))) == (24, 24)
    assert close(ops.scale_coords((64, 64), torch.tensor([[10.0, 20]]), (32, 48)), [[7.5, 7.0]])
    assert close(ops.scale_coords((64, 64), np.array([[10.0, 20]]), (32, 48), normalize=True), [[0.15625, 0.21875]])
    assert ops.clip_coords(torch.tensor([[-1.0, 50]]), (32, 48)).tolist() == [[0, 32]]
    turned = torch.tensor([[10.0, 10, 4, 2, 0.3]])
    corners = ops.xywhr2xyxyxyxy(turned)
    wanted = [[[11.6152, 11.5464], [12.2062, 9.6357], [8.3848, 8.4536], [7.7938, 10.3643]]]
    assert close(corners, wanted)
    assert close(ops.xywhr2xyxyxyxy(turned.numpy()), wanted)
    assert close(ops.xywhr2xyxyxyxy(ops.xyxyxyxy2xywhr(corners.view(1, 8)))[0].mean(0), [10, 10])
    assert close(ops.regularize_rboxes(torch.tensor([[10.0, 10, 2, 4, -0.3]])), [[10, 10, 4, 2, 1.2708]])


def test_polygons_and_images_as_the_reference_has_them():
    polygon = np.array([[-5, 3], [10, 20], [30, 8]], np.float32)
    assert ops.segment2box(polygon, 20, 20).tolist() == [10, 20, 10, 20]
    assert ops.segments2boxes([polygon]).tolist() == [[12.5, 11.5, 35, 17]]
    [points] = ops.resample_segments([polygon], n=5)
    assert close(points, [[-5, 3], [6.25, 15.75], [20, 14], [21.25, 6.75], [-5, 3]])
    assert ops.scale_image(np.zeros((10, 20, 3), np.uint8), (5, 10)).shape == (5, 10, 3)
    batch = ops.convert_torch2numpy_batch(torch.ones(1, 3, 2, 4))
    assert (batch.shape, batch.dtype, int(batch.max())) == ((1, 2, 4, 3), np.uint8, 255)
    assert ops.clean_str("a@b|c") == "a_b_c"
    with ops.Profile() as timer:
        pass
    assert 0 <= timer.dt == timer.t < 1


def test_overlaps_and_losses():
    a, b = np.array([[0.0, 0, 10, 10], [5, 5, 20, 20]]), np.array([[5.0, 5, 15, 15]])
    assert close(metrics.bbox_ioa(a, b), [[0.25], [1]])
    assert close(metrics.bbox_ioa(a, b, iou=True), [[0.142857], [0.444444]])
    assert metrics.smooth_BCE(0.1) == (0.95, 0.05)
    p = torch.tensor([[1.5410, -0.2934, -2.1788], [0.5684, -1.0845, -1.3986]])
    g = torch.tensor([[0.0223, 0.1689, 0.2939], [0.5185, 0.6977, 0.8000]])
    label = (g > 0.5).float()
    assert close(loss.VarifocalLoss()(p, g, label), 1.0438)
    assert close(loss.FocalLoss()(p, label), 0.5431)
    with pytest.raises(UserError, match="E2EDetectLoss is not offered"):
        loss.E2EDetectLoss(None)


def test_networks_are_measured_folded_and_scaled(capfd):
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU())
    tu.initialize_weights(net)
    assert (net[1].eps, net[1].momentum, net[2].inplace) == (1e-3, 0.03, True)
    assert (tu.get_num_params(net), tu.get_num_gradients(net)) == (240, 240)
    assert tu.get_flops(net, 32) == pytest.approx(0.0004464)
    assert tu.get_flops_with_torch_profiler(net, 32) == pytest.approx(0.000415152)
    assert tu.model_info(net) == (4, 240, 240, pytest.approx(0.17856))
    [row] = tu.profile(torch.randn(1, 3, 20, 20), [net], n=2)
    assert (row[0], row[5], row[6]) == (240, (1, 3, 20, 20), (1, 8, 18, 18))
    assert tu.profile(torch.randn(1, 4, 20, 20), net, n=1) == [None]
    for m in (net[1],):
        m.running_mean.normal_()
        m.running_var.uniform_(0.5, 2)
    net.eval()
    x = torch.randn(1, 3, 8, 8)
    assert torch.allclose(tu.fuse_conv_and_bn(net[0], net[1])(x), net[1](net[0](x)), atol=1e-5)
    for groups in (1, 2):
        conv, norm = nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=groups), nn.BatchNorm2d(6).eval()
        norm.weight.data.normal_()
        norm.running_mean.normal_()
        x = torch.randn(1, 4, 5, 5)
        assert torch.allclose(tu.fuse_deconv_and_bn(conv, norm)(x), norm(conv(x)), atol=1e-5)
    img = torch.zeros(1, 3, 64, 70)
    assert tu.scale_img(img, 0.67).shape == (1, 3, 64, 64)
    assert float(tu.scale_img(img, 0.67)[0, 0, -1, -1]) == pytest.approx(0.447)
    assert tu.scale_img(img, 0.67, same_shape=True).shape == tu.scale_img(img).shape == img.shape
    assert [tu.one_cycle(1, 0.01, 100)(i) for i in (0, 50, 100)] == pytest.approx([1, 0.505, 0.01])


def test_models_devices_and_states():
    same = {"a": torch.zeros(2), "b": torch.zeros(3)}
    assert list(tu.intersect_dicts(same, {"a": torch.zeros(2), "b": torch.zeros(4)})) == ["a"]
    assert tu.intersect_dicts(same, same, exclude=("a", "b")) == {}
    net = nn.Linear(1, 1)
    wrapped = nn.DataParallel(net)
    assert (tu.is_parallel(net), tu.is_parallel(wrapped), tu.de_parallel(wrapped)) == (False, True, net)
    state = {"state": {0: {"exp_avg": torch.zeros(2), "step": torch.zeros(1)}}}
    state = tu.convert_optimizer_state_dict_to_fp16(state)["state"][0]
    assert (state["exp_avg"].dtype, state["step"].dtype) == (torch.half, torch.float32)
    a, b = lambda: 0, lambda: 0
    b.x, b._y, b.z = 1, 2, 3
    tu.copy_attr(a, b, exclude=("z",))
    assert vars(a) == {"x": 1}
    assert tu.select_device("cpu", verbose=False) == torch.device("cpu")
    with pytest.raises(ConfigError, match="device="):
        tu.select_device("gpu9")
    tu.init_seeds(3)
    first = torch.rand(1)
    tu.init_seeds(3)
    assert torch.equal(first, torch.rand(1))
    with tu.torch_distributed_zero_first(-1):
        assert tu.time_sync() > 0
    assert tu.smart_inference_mode()(lambda: torch.ones(1, requires_grad=True) * 2)().requires_grad is False
    assert tu.get_cpu_info()
    assert tu.ModelEMA(net).ema is not net
    assert tu.EarlyStopping(patience=2)(0, 0.1) is False


def test_small_helpers(tmp_path, caplog):
    assert helpers.colorstr("hi") == helpers.colorstr("blue", "bold", "hi") == "\033[34m\033[1mhi\033[0m"
    assert helpers.remove_colorstr(helpers.colorstr("red", "a")) == "a"
    assert helpers.clean_url("https://a.b/c%20d.pt?x=1") == "https://a.b/c d.pt"
    assert helpers.url2file("https://a.b/c%20d.pt?x=1") == "c d.pt"
    assert helpers.get_default_args(lambda a, b=3, *, c=4: 0) == {"b": 3, "c": 4}
    space = helpers.IterableSimpleNamespace(a=1, b=2)
    assert (dict(space), str(space), space.get("z", 9)) == ({"a": 1, "b": 2}, "a=1\nb=2", 9)
    file = tmp_path / "sub" / "a.yaml"
    helpers.yaml_save(file, {"a": 1, "p": Path("/x"), "d": {"k": None}, "s": "汉"}, header="# h\n")
    assert file.read_text(encoding="utf-8") == "# h\na: 1\np: /x\nd:\n  k: null\ns: 汉\n"
    assert helpers.yaml_load(file, append_filename=True)["yaml_file"] == str(file)
    helpers.yaml_print(file)
    calls = []

    @helpers.Retry(times=3, delay=0)
    def failing():
        calls.append(1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        failing()
    assert len(calls) == 3
    with helpers.TryExcept("message"):
        raise ValueError("no")
    with pytest.raises(KeyboardInterrupt), helpers.TryExcept():
        raise KeyboardInterrupt
    done = []
    helpers.threaded(done.append)(1).join()
    assert done == [1]
    assert helpers.threaded(len)([1, 2], threaded=False) == 2
    assert helpers.ThreadingLocked()(len)([1]) == 1

    class Shown(helpers.SimpleClass):
        def __init__(self):
            self.a, self._b = 1, 2

    assert "a: 1" in str(Shown())
    assert "_b" not in repr(Shown())


def test_the_configuration_under_the_references_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [smart_value(v) for v in ("none", "true", "False", "1", "1.5", "[1,2]", "a", "'x'", "1e-3")] == [
        None, True, False, 1, 1.5, [1, 2], "a", "x", 0.001
    ]  # fmt: skip
    assert merge_equals_args(["a", "=", "b", "c=", "d", "e", "=f"]) == ["a=b", "c=d", "e=f"]
    with pytest.raises(ConfigError, match="did you mean 'ab'"):
        check_dict_alignment({"ab": 1}, {"abc": 2})
    given_ = {"epochs": 3.0, "lr0": 5}
    check_cfg(given_, hard=False)
    assert given_ == {"epochs": 3, "lr0": 0.01}
    args = helpers.IterableSimpleNamespace(project=None, name=None, mode="train", exist_ok=False)
    assert get_save_dir(args) == Path("runs/detect/train")
    from ultralytics.utils import DEFAULT_CFG, SETTINGS  # as scripts do, of a later room

    assert (DEFAULT_CFG.epochs, SETTINGS["runs_dir"]) == (100, "runs")


def test_where_we_are():
    for question in vars(environment).values():
        if getattr(question, "__module__", "") == environment.__name__ and question.__name__.startswith("is_"):
            assert question(*(["."] if question is environment.is_dir_writeable else [])) in (True, False)
    assert environment.get_git_branch() is None or isinstance(environment.get_git_branch(), str)
    assert environment.get_git_origin_url() is None or isinstance(environment.get_git_origin_url(), str)
    assert environment.is_online() is False


def test_images_and_figures(tmp_path):
    image = np.full((40, 60, 3), 50, np.uint8)
    image[5:15, 10:30] = (10, 20, 200)
    assert imwrite(str(tmp_path / "图.png"), image)
    assert np.array_equal(imread(str(tmp_path / "图.png")), image)
    assert imwrite(str(tmp_path / "图.png" / "x.png"), image) is False  # below a file
    crop = plotting.save_one_box(torch.tensor([10.0, 5, 30, 15]), image, tmp_path / "a.jpg", gain=1, pad=0, BGR=True)
    assert crop.shape == (10, 20, 3)
    assert (crop == (10, 20, 200)).all()
    assert (tmp_path / "a.jpg").is_file()
    square = plotting.save_one_box([10, 5, 30, 15], image, tmp_path / "a.jpg", gain=1, pad=0, square=True)
    assert square.shape[1] == 20
    assert (tmp_path / "a2.jpg").is_file()
    rows = [torch.tensor([[1.0, 2, 3, 4, 0.9, 0], [2, 2, 6, 6, 0.5, 1]]), torch.zeros(0, 6)]
    batch, cls, boxes, conf = plotting.output_to_target(rows)
    assert (batch.tolist(), cls.tolist(), boxes.tolist()) == ([0, 0], [0, 1], [[2, 3, 2, 2], [4, 4, 4, 4]])
    assert close(conf, [0.9, 0.5])
    plotting.feature_visualization(torch.rand(1, 12, 8, 8), "a.b.Conv", 3, 10, tmp_path)
    assert (tmp_path / "stage3_Conv_features.png").is_file()
    assert np.load(tmp_path / "stage3_Conv_features.npy").shape == (12, 8, 8)
    annotator = plotting.Annotator(image, 2, None, "Arial.ttf", True, "abc")
    annotator.rectangle((1, 1, 9, 9), outline=(255, 0, 0))
    annotator.save(tmp_path / "b.png")
    assert (tmp_path / "b.png").is_file()
    with pytest.raises(AttributeError, match=r"Annotator\.draw_region is not offered"):
        annotator.draw_region()
    assert not hasattr(annotator, "nonsense")


def test_what_is_not_offered_can_be_imported_and_says_what_to_use():
    from ultralytics import RTDETR, SAM  # as scripts do

    for cls in (RTDETR, SAM):
        with pytest.raises(UserError, match=f"{cls.__name__} is not offered"):
            cls("x.pt")
        assert not isinstance(3, cls)
    assert ultralytics.RTDETR is RTDETR
    assert not hasattr(ultralytics, "nonsense")
    assert lazy.absent("a", "b") is lazy.absent("a", "b")
    from ultralytics.engine.exporter import IOSDetectModel
    from ultralytics.hub import login
    from ultralytics.nn.autobackend import default_class_names
    from ultralytics.solutions import ObjectCounter
    from ultralytics.trackers import register_tracker

    for name in (IOSDetectModel, login, default_class_names, ObjectCounter, register_tracker):
        with pytest.raises(UserError, match="is not offered"):
            name()


@pytest.mark.parametrize("make", [torch.tensor, np.array], ids=["tensor", "array"])
def test_boxes_are_clipped_and_scaled_in_place_as_scripts_rely_on(make):
    """`ops.scale_boxes(shape, det[:, :4], …)` without taking what it returns; columns behind the box stay."""
    rows = [[-5.0, 10.0, 700.0, 500.0, 0.9, 1.0], [20.0, 90.0, 100.0, 170.0, 0.8, 2.0]]
    det = make(rows)
    assert ops.clip_boxes(det, (480, 640)) is det
    assert close(det[0], [0, 10, 640, 480, 0.9, 1.0])
    det = make(rows)
    assert ops.scale_boxes((640, 640), det, (480, 640)) is det
    expected = boxes.scale_boxes((640, 640), make(rows)[:, :4], (480, 640))
    assert det[:, :4].tolist() == expected.tolist()
    assert close(det[:, 4:], [r[4:] for r in rows])
