import json
import multiprocessing
import os
import sys

import numpy as np
import pytest
import torch

from tests.conftest import write_tiny, write_toy
from tests.helpers.coco import same
from tests.helpers.networks import settled
from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.prepare import prepare_bccd
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.models.yolo.detect.evaluate import BoxEvaluator, pair
from ultralytics.utils import charts
from ultralytics.utils.coco import coco_figures
from ultralytics.utils.errors import ConfigError, DatasetError, LostWorkerError, UserError
from ultralytics.utils.images import imread, imwrite
from ultralytics.utils.metrics import ConfusionMatrix

QUIET = {"workers": 0, "plots": False, "device": "cpu", "verbose": False}


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    """The weights of a short training."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    model = YOLO(str(write_tiny(folder)))
    model.train(data=str(write_toy(folder)), epochs=1, imgsz=64, batch=4, project=str(folder), **QUIET)
    return model.ckpt_path


@pytest.fixture
def yolo(best, toy):
    """A trained network that remembers the settings of its training, and a data set of this test."""
    model = YOLO(best)
    model.overrides["data"] = str(toy)
    return model


@pytest.fixture
def seen(monkeypatch):
    """What evaluations hand over for COCO's figures."""
    kept = []

    def figures(images, names):
        kept.append((images, names))
        return coco_figures(images, names)

    monkeypatch.setattr("ultralytics.models.yolo.detect.val.coco_figures", figures)
    return kept


@pytest.mark.slow
def test_coco_figures_of_real_weights_are_pycocotools(shared, tmp_path, seen):
    data = str(shared / "data" / "coco128-val" / "coco128-val.yaml")
    m = YOLO(shared / "weights" / "yolov8n.pt").val(data=data, imgsz=640, batch=16, project=str(tmp_path), plots=False)
    [(images, names)] = seen
    figures = same(images, names)
    assert m.coco == figures | {"per_class": m.coco["per_class"]}
    assert m.coco["AP"] == pytest.approx(m.box.map, abs=0.01)


def test_coco_figures_and_predictions_are_written(yolo, toy, tmp_path, seen):
    region = toy.parent / "ignore" / "val" / "1.txt"
    region.parent.mkdir(parents=True)
    region.write_text("* 0.5 0.5 0.2 0.2 crowd\n")
    seen.clear()  # of the end of its training
    m = yolo.val(project=str(tmp_path / "v"), conf=0.0001, save_json=True, **QUIET)
    [(images, names)] = seen
    figures = same(images, names)
    written = json.loads((tmp_path / "v" / "val" / "metrics.json").read_text(encoding="utf-8"))
    assert written["coco"] == m.coco == figures | {"per_class": m.coco["per_class"]}
    rows = json.loads((tmp_path / "v" / "val" / "predictions.json").read_text(encoding="utf-8"))
    assert len(rows) == sum(len(i.found) for i in images)
    assert {r["category_id"] for r in rows} <= {0, 1, 2}
    without = yolo.val(project=str(tmp_path / "v"), name="w", conf=0.0001, coco=False, **QUIET)
    assert without.coco is None
    assert "coco" not in json.loads((tmp_path / "v" / "w" / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("options", [{}, {"single_cls": True}, {"classes": [0], "rect_val": False}])
def test_an_analysis_is_written(yolo, tmp_path, options):
    here = tmp_path / "v" / "val"
    m = yolo.val(project=str(tmp_path / "v"), conf=0.0001, coco=False, analyse=True, gallery=0, **options, **QUIET)
    written = json.loads((here / "metrics.json").read_text(encoding="utf-8"))
    assert written["analysis"] == m.analysis
    assert set(m.analysis["errors"]) == {"Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"}
    assert m.coco is None
    if "single_cls" in options:
        assert m.analysis["errors"]["Cls"]["count"] == 0
        assert set(m.analysis["calibration"]["per_class"]) == {"item"}
    objects = sum(b["objects"] for b in m.analysis["sizes"] if b["name"].startswith("Q"))
    assert objects == m.nt_per_class.sum()
    assert not list(here.glob("gallery*"))


def test_areas_of_masks_reach_the_figures(yolo, toy, tmp_path, seen):
    file = next((toy.parent / "labels" / "val").glob("*.txt"))
    rows = file.read_text().splitlines()
    areas = toy.parent / "areas" / "val" / file.name
    areas.parent.mkdir(parents=True)
    areas.write_text("7.5\n" * len(rows))
    seen.clear()
    for options in ({}, {"rect_val": False, "single_cls": True}):
        yolo.val(project=str(tmp_path / "v"), **options, **QUIET)
    for images, names in seen:
        [own] = [s.areas for s in images if s.areas is not None and (s.areas > 0).any()]
        assert own.tolist() == [7.5] * len(rows)
        same(images, names)


def test_without_its_library_coco_figures_are_a_warning(yolo, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    assert yolo.val(project=str(tmp_path / "v"), **QUIET).coco is None
    assert "COCO's figures are left out" in caplog.text
    assert yolo.val(project=str(tmp_path / "w"), coco=False, analyse=True, **QUIET).analysis is None
    assert "the analysis is left out" in caplog.text
    assert (tmp_path / "v" / "val" / "metrics.json").exists()


def test_classes_that_the_dataset_has_not_leave_files_whole_and_the_console_quiet(tiny, toy, tmp_path, capfd):
    """A network that knows more classes detects them, and the library that computes the figures complains of them."""
    torch.manual_seed(0)
    model = YOLO(str(tiny), nc=8)
    settled(model.model, (64, 64))
    capfd.readouterr()
    keys = {"data": str(toy), "imgsz": 64, "conf": 0.001, "save_json": True, "project": str(tmp_path / "v"), **QUIET}
    metrics = model.val(analyse=True, gallery=2, **keys)
    out, err = capfd.readouterr()
    assert err == ""
    assert "hotcoco" not in out
    assert "not drawn" not in out
    assert metrics.coco is not None
    rows = json.loads((tmp_path / "v" / "val" / "predictions.json").read_text(encoding="utf-8"))
    assert {r["category_id"] for r in rows} <= {0, 1, 2}
    every = model.predict(sorted(map(str, toy.parent.glob("images/val/*"))), imgsz=64, conf=0.001, verbose=False)
    assert any((r.boxes.cls >= 3).any() for r in every)  # there was something to complain of


@pytest.mark.slow
def test_coco_figures_of_blood_cells_are_pycocotools(shared, tmp_path, seen):
    data = prepare_bccd(shared / "data" / "bccd", tmp_path / "bccd", images="link")
    model = YOLO("yolov8n.yaml", nc=3)
    model.load(str(shared / "weights" / "yolov8n.pt"))
    model.train(data=str(data), epochs=1, imgsz=160, batch=32, fraction=0.3, project=str(tmp_path / "t"), **QUIET)
    seen.clear()
    model.val(data=str(data), imgsz=160, project=str(tmp_path / "v"), **QUIET)
    [(images, names)] = seen
    assert sum(len(i.found) for i in images) > 100
    figures = same(images, names)
    assert figures["AP"] is not None


@pytest.mark.slow
def test_real_weights_on_real_images_give_the_references_figures(shared, tmp_path):
    yolo = YOLO(shared / "weights" / "yolov8n.pt")
    data = str(shared / "data" / "coco128-val" / "coco128-val.yaml")
    m = yolo.val(data=data, imgsz=640, batch=16, project=str(tmp_path), plots=False)
    assert m.box.map50 == pytest.approx(0.5807, abs=0.002)
    assert m.box.map == pytest.approx(0.4169, abs=0.002)
    assert m.box.mp == pytest.approx(0.680, abs=0.002)
    assert m.box.mr == pytest.approx(0.501, abs=0.002)


def test_metrics_have_the_references_attributes_and_are_written(yolo, tmp_path):
    m = yolo.val(project=str(tmp_path / "v"), save_txt=True, save_conf=True, conf=0.0001, **QUIET)
    assert isinstance(m.box.map, float)
    assert m.box.maps.shape == (3,)
    for name in ("map50", "map75", "mp", "mr"):
        assert 0 <= getattr(m.box, name) <= 1
    assert m.keys == ["metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)"]
    written = json.loads((tmp_path / "v" / "val" / "metrics.json").read_text(encoding="utf-8"))
    assert written["mAP50-95"] == pytest.approx(m.box.map)
    assert (tmp_path / "v" / "val" / "labels").is_dir()


@pytest.fixture
def untrained(tiny):
    return YOLO(str(tiny), nc=3)


def test_every_image_has_a_label_file_of_its_own(untrained, toy, tmp_path):
    val = toy.parent / "images" / "val"
    for folder in ("a", "b"):
        (val / folder).mkdir()
        (val / folder / "1.png").write_bytes((val / "2.png").read_bytes())
    names = {f"{n}.txt" for n in ("0 图", "1", "1_2", "1_3", "2", "3", "4", "5 图")}
    settings = {"data": str(toy), "imgsz": 64, **QUIET}
    untrained.val(project=str(tmp_path), name="v", save_txt=True, **settings)
    assert {p.name for p in (tmp_path / "v" / "labels").iterdir()} == names
    # Into the data set's own folder: its labels stay.
    before = {p: p.read_bytes() for p in (toy.parent / "labels").rglob("*.txt")}
    beside = {p.name: p.write_text("mine") for p in [toy.parent / "labels" / "1.txt"]}
    settings |= {"project": str(toy.parent.parent), "name": toy.parent.name, "exist_ok": True, "save_txt": True}
    for _ in range(2):
        untrained.val(**settings)
    assert (toy.parent / "labels" / "1.txt").read_text() == "mine"
    assert all(p.read_bytes() == data for p, data in before.items())
    assert len(list((toy.parent / "labels").glob("*.txt"))) == len(names) + len(beside)


def test_label_files_are_named_by_the_images_whatever_their_shapes(untrained, toy, tmp_path, caplog):
    val = toy.parent / "images" / "val"
    for name, shape in (("a/x.png", (96, 40, 3)), ("b/x.png", (40, 96, 3))):  # sorted by shape, b/x comes first
        imwrite(val / name, np.zeros(shape, np.uint8))
    for rect in (True, False):
        settings = {"data": str(toy), "imgsz": 64, "rect_val": rect, "save_txt": True, "name": f"v{rect}"}
        caplog.clear()
        untrained.val(project=str(tmp_path), **settings, **QUIET)
        assert f"{val / 'b' / 'x.png'} → x_2" in caplog.text


def test_a_split_is_all_that_val_needs(untrained, toy, tmp_path):
    settings = {"imgsz": 64, "project": str(tmp_path / "v"), **QUIET}
    for train in ("train: gone\n", "train:\n", ""):
        toy.write_text(f"{train}val: images/val\nnames: [red, 绿, blue]\n", encoding="utf-8")
        assert untrained.val(data=str(toy), **settings).images == 6
        with pytest.raises(DatasetError, match="train"):
            untrained.train(data=str(toy), epochs=1, **settings)
    assert main(["show", f"data={toy}", "split=val", "n=2", "imgsz=64", f"out={tmp_path / 's.jpg'}"]) == 0
    assert main(["export-coco", f"data={toy}", f"out={tmp_path / 'c.json'}"]) == 0
    assert main(["check-data", f"data={toy}", "split=val", "near=False", f"out={tmp_path / 'o'}"]) == 0
    toy.write_text("train: images/train\nnames: [red, 绿, blue]\n", encoding="utf-8")
    assert untrained.val(data=str(toy), split="train", **settings).images == 12
    with pytest.raises(DatasetError, match="'val' is missing"):
        untrained.val(data=str(toy), **settings)


def test_the_figures_do_not_depend_on_the_batch_when_frames_are_square(yolo, tmp_path):
    figures = [
        yolo.val(batch=b, rect_val=False, conf=0.0001, project=str(tmp_path / "v"), **QUIET).box.all_ap for b in (1, 4)
    ]
    np.testing.assert_allclose(figures[0], figures[1], atol=1e-3)


def test_metrics_are_there_before_anything_is_drawn_and_ignored_regions_are_drawn(yolo, toy, tmp_path, monkeypatch):
    for file in (toy.parent / "images" / "val").iterdir():
        region = toy.parent / "ignore" / "val" / f"{file.stem}.txt"
        region.parent.mkdir(parents=True, exist_ok=True)
        region.write_text("* 0.5 0.5 0.8 0.8 crowd\n")
    here, order = tmp_path / "v" / "val", []
    monkeypatch.setattr(
        charts, "_save_figure", lambda _, path, **__: order.append((path.name, len(list(here.iterdir()))))
    )
    m = yolo.val(project=str(tmp_path / "v"), **QUIET | {"plots": True})
    assert m.ignored == 6
    assert order[0] == ("PR_curve.png", 2)  # beside metrics.json and curves.json
    assert {name for name, _ in order} >= {"confusion_matrix.png", "confusion_matrix_normalized.pdf", "F1_curve.pdf"}
    assert (here / "val_batch0_pred.jpg").is_file()
    drawn = imread(here / "val_batch0_labels.jpg").astype(int)
    dashes = (abs(drawn - 170) < 12).all(2).sum()
    assert dashes > 6 * 4 * 64 * 0.8 * 0.3


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="what is patched here reaches forks only")
def test_a_killed_worker_ends_it_with_one_line_and_leaves_no_folder(tiny, toy, tmp_path, monkeypatch):
    run = os.getpid()
    monkeypatch.setattr(YOLODataset, "__getitem__", lambda *_: os.getpid() == run or os.kill(os.getpid(), 9))
    with pytest.raises(LostWorkerError, match="was ended by SIGKILL") as caught:
        YOLO(str(tiny)).val(data=str(toy), imgsz=64, project=str(tmp_path / "v"), **{**QUIET, "workers": 2})
    assert "resume" not in str(caught.value)
    assert not list((tmp_path / "v").iterdir())


def test_validation_leaves_the_model_as_it_is(yolo, tmp_path):
    before = {k: v.clone() for k, v in yolo.model.state_dict().items()}
    yolo.val(project=str(tmp_path / "v"), **QUIET)
    assert not yolo.model.is_fused()
    assert all(torch.equal(v, before[k]) for k, v in yolo.model.state_dict().items())


def test_one_class_and_chosen_classes(yolo, tmp_path):
    one = yolo.val(project=str(tmp_path / "v"), single_cls=True, **QUIET)
    assert one.names == {0: "item"}
    chosen = yolo.val(project=str(tmp_path / "v"), classes=[0], **QUIET)
    assert chosen.nt_per_class.tolist()[1:] == [0, 0]


def test_other_class_names_are_noticed(yolo, toy, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    toy.write_text("train: images/train\nval: images/val\nnames: [red, yellow, blue]\n", encoding="utf-8")
    yolo.val(data=str(toy), project=str(tmp_path / "v"), **QUIET)
    assert "class 1 is 'yellow' there and '绿' in the weights" in caplog.text


def test_a_model_with_fewer_classes_is_told(yolo, toy, tmp_path):
    toy.write_text("train: images/train\nval: images/val\nnc: 9\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="9 classes and the model 3"):
        yolo.val(data=str(toy), project=str(tmp_path / "v"), **QUIET)


@pytest.mark.parametrize("rect_val", [True, False])
def test_regions_to_ignore_are_not_held_against_the_model(shared, tmp_path, rect_val):
    """Real detections: moving labels that were found into ignore/ leaves their detections out of the count."""
    yolo = YOLO(shared / "weights" / "yolov8n.pt")
    source = shared / "data" / "coco128-val"
    names = [f"{n:012d}" for n in (139, 285, 632, 724)]
    for name in names:
        for kind, suffix in (("images", "jpg"), ("labels", "txt")):
            (tmp_path / "d" / kind).mkdir(parents=True, exist_ok=True)
            file = source / kind / "val2017" / f"{name}.{suffix}"
            (tmp_path / "d" / kind / file.name).write_bytes(file.read_bytes())
    data = tmp_path / "d" / "data.yaml"
    listed = json.dumps(list(yolo.names.values()))
    data.write_text(f"train: images\nval: images\nnames: {listed}\n")
    options = {"data": str(data), "project": str(tmp_path / "v"), "rect_val": rect_val, "imgsz": 320, **QUIET}
    before = yolo.val(**options)
    (tmp_path / "d" / "ignore").mkdir()
    for name in names[1:]:
        label = tmp_path / "d" / "labels" / f"{name}.txt"
        label.rename(tmp_path / "d" / "ignore" / f"{name}.txt")
    after = yolo.val(**options)
    (tmp_path / "d" / "ignore").rename(tmp_path / "d" / "elsewhere")
    unfair = yolo.val(**options)
    assert before.ignored == unfair.ignored == 0
    assert after.ignored > 5
    shared_classes = set(after.box.ap_class_index) & set(unfair.box.ap_class_index)
    assert all(after.box.maps[c] >= unfair.box.maps[c] for c in shared_classes)
    assert after.box.map > unfair.box.map


@pytest.mark.parametrize(("height", "counted"), [(4.7, 0), (4.4, 1)])
def test_the_confusion_matrix_spares_by_its_own_threshold(height, counted):
    """It makes a pair from an IoU of 0.45, not 0.5; a detection of a difficult object is an invention below that."""
    batch = {
        "batch_idx": torch.zeros(0), "cls": torch.zeros(0, 1), "bboxes": torch.zeros(0, 4),
        "resized_shape": [(100, 100)], "ori_shape": [(100, 100)], "ratio_pad": [((1.0, 1.0), (0.0, 0.0))],
        "im_file": ["a"],
        "ignored": [np.array([[0, 0.55, 0.55, 0.1, 0.1, 0]], np.float32)],
    }  # fmt: skip
    evaluator = BoxEvaluator({0: "a"}, 1, ConfusionMatrix(nc=1))
    detected = torch.tensor([[50.0, 50, 60, 50 + height, 0.9, 0]])
    evaluator.update(0, [pair(detected, batch, 0)])
    assert evaluator.confusion.matrix[0, 1] == counted
    assert not evaluator.stats[0]["ignored"].any()  # average precision begins at 0.5


def test_the_folder_of_a_validator_is_made(yolo, toy, tmp_path):
    keys = QUIET | {"data": str(toy), "plots": False}
    folder = tmp_path / "not" / "there"
    DetectionValidator(save_dir=folder, args=keys)(model=yolo.model)
    assert (folder / "metrics.json").is_file()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match="file"):
        DetectionValidator(save_dir=file, args=keys)(model=yolo.model)
