"""Training and validation of every task besides detection: the same run, whatever is labelled."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.runs import equal_runs, interrupt, left, stop_at
from tests.helpers.tasks import HEADS, QUIET, class_folders, classify_network, task_data, tiny_network
from ultralytics import YOLO
from ultralytics.cfg.config import get_cfg
from ultralytics.cli.words import mode_first
from ultralytics.data import dataset, masks
from ultralytics.data.augment import to_sample
from ultralytics.data.letterbox import LetterBox
from ultralytics.data.polygons import Polygons
from ultralytics.data.prepare import export_coco
from ultralytics.models.yolo.modes import task_for
from ultralytics.models.yolo.run import run
from ultralytics.models.yolo.task import TASKS
from ultralytics.nn.tasks import guess_model_task
from ultralytics.utils.errors import ConfigError, UserError

NAMES = list(HEADS)
LETTERS = {"segment": "BM", "pose": "BP", "obb": "B"}
LOSSES = {
    "segment": ["box_loss", "seg_loss", "cls_loss", "dfl_loss"],
    "pose": ["box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss"],
    "obb": ["box_loss", "cls_loss", "dfl_loss"],
}


@pytest.fixture(params=NAMES)
def task(request):
    return request.param


@pytest.fixture
def given(task, tmp_path):
    """The keys of a run of two epochs of two batches."""
    return keys_of(task, tmp_path)


def keys_of(task, folder):
    data = task_data(folder / "data", task)
    return {**QUIET, "model": str(tiny_network(folder, task)), "data": str(data), "epochs": 2, "project": str(folder)}


def trained(task, keys, **more):
    trainer = TASKS[task].trainer(overrides={**keys, **more})
    trainer.train()
    return trainer


def test_a_run_has_the_tasks_columns(task, given):
    """The run measures what the task is about, and its weights know what they are."""
    trainer = trained(task, given, epochs=1)
    with (trainer.save_dir / "results.csv").open(encoding="utf-8") as file:
        columns = list(csv.DictReader(file).fieldnames)
    figures = [f"metrics/{f}({at})" for at in LETTERS[task] for f in ("precision", "recall", "mAP50", "mAP50-95")]
    losses = [f"{split}/{name}" for split in ("train", "val") for name in LOSSES[task]]
    assert [c for c in columns if "metrics/" in c] == figures
    assert [c for c in columns if c.endswith("_loss")] == losses
    metrics = json.loads((trainer.save_dir / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["images"], metrics["instances"]) == (4, 4)
    yolo = YOLO(trainer.best)
    assert (yolo.task, guess_model_task(str(trainer.best)), yolo.model.task) == (task,) * 3
    kept = {k: v for k, v in QUIET.items() if k in ("imgsz", "workers", "device", "verbose", "threads")}
    again = yolo.val(data=given["data"], project=given["project"], plots=False, save_txt=True, save_json=True, **kept)
    assert again.results_dict == pytest.approx(trainer.metrics.source.results_dict, abs=1e-6)
    assert again.task == task
    assert (again.save_dir / "predictions.json").is_file()


@pytest.mark.filterwarnings("ignore:hotcoco")
def test_what_is_learned_is_found(task, tmp_path):
    """Labels that a validation is given back as detections are all right."""
    data = task_data(tmp_path / "data", task)
    keys = {**validation_keys(), "data": str(data), "task": task, "project": str(tmp_path), "save_json": True}
    validator = TASKS[task].validator(args=keys)
    network = YOLO(str(tiny_network(tmp_path, task))).model
    network.names = {i: f"c{i}" for i in range(3)}
    validator.postprocess = lambda preds: [perfect(task, validator.batch, i) for i in range(len(preds[0]))]
    preprocess = validator.preprocess

    def remembered(batch):
        validator.batch = batch
        return preprocess(batch)

    validator.preprocess = remembered
    figures = validator(model=network)
    least = {"B": 0.2 if task == "segment" else 0.9, "M": 0.9, "P": 0.9}  # boxes around masks are too large
    for at in LETTERS[task]:
        assert figures[f"metrics/mAP50({at})"] == pytest.approx(0.995, abs=0.01)
        assert figures[f"metrics/mAP50-95({at})"] > least[at]
    document = json.loads(export_coco(data, tmp_path / "val.json").read_text(encoding="utf-8"))
    rows = json.loads((validator.save_dir / "predictions.json").read_text(encoding="utf-8"))
    for key in ("category_id", "image_id"):  # 0 to 2 each
        assert {r[key] for r in rows} == {a[key] for a in document["annotations"]}, "the files fit each other"
    if task == "obb":
        figures = validator.metrics.dota
        assert (figures["mAP50"], figures["mAP50_voc07"]) == pytest.approx((1, 1))
    else:
        hotcoco = pytest.importorskip("hotcoco")
        figures = validator.metrics.coco[validator.compared]
        assert figures["AP50"] == pytest.approx(1), "at the images' size"
        elsewhere = hotcoco.COCO(document)
        evaluation = hotcoco.COCOeval(elsewhere, elsewhere.load_res(rows), validator.compared)
        evaluation.params.kpt_oks_sigmas = [0.25] * 4
        evaluation.run()
        assert evaluation.get_results()["AP50"] == pytest.approx(1), "of the files alone"


def validation_keys():
    return {k: v for k, v in QUIET.items() if k in ("imgsz", "workers", "plots", "device", "verbose", "threads")}


def perfect(task, batch, i):
    """The labels of an image as detections."""
    from ultralytics.models.yolo.segment.val import Masked

    mine = batch["batch_idx"] == i
    h, w = batch["resized_shape"][i]
    boxes = batch["bboxes"][mine] * torch.tensor([w, h, w, h, 1][: batch["bboxes"].shape[1]])
    ends = torch.cat([torch.full((len(boxes), 1), 0.9), batch["cls"][mine][:, None]], 1)
    if task == "obb":
        return torch.cat([boxes[:, :4], ends, boxes[:, 4:]], 1)
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    if task == "pose":
        points = batch["keypoints"][mine] * torch.tensor([w, h, 1.0])
        return torch.cat([corners, ends, points.flatten(1)], 1)
    # A prototype of each object: its mask, 1 inside and -1 outside.
    masks = torch.stack(
        [(batch["masks"][i] == k + 1).float() * 2 - 1 for k in range(int(mine.sum()))] or [torch.zeros(16, 16)]
    )
    grown = torch.cat([corners[:, :2] - 4, corners[:, 2:] + 4], 1)  # the mask's pixels reach over its box
    return Masked(torch.cat([grown if len(grown) else corners, ends, torch.eye(len(masks))[: len(ends)]], 1), masks)


def test_the_task_of_a_run_is_its_models(task, given):
    keys = {k: v for k, v in given.items() if k in ("model", "data")}
    assert task_for(get_cfg(None, keys)) == task
    assert guess_model_task(given["model"]) == task
    with pytest.raises(ConfigError, match=f"task=detect contradicts the model, which is for task={task}"):
        YOLO(given["model"], task="detect")
    with pytest.raises(ConfigError, match=f"contradicts the model, which is for task={task}"):
        run("train", {**given, "task": "detect"})
    assert mode_first(["train", task, "epochs=3"]) == mode_first([task, "train", "epochs=3"])
    assert mode_first([task, "train", "epochs=3"]) == ["train", "epochs=3", f"task={task}"]
    with pytest.raises(UserError, match="format"):
        YOLO(given["model"]).export(format="nothing")


def test_runs_lie_in_a_folder_of_their_task(task, given, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    del given["project"]
    trainer = TASKS[task].trainer(overrides=given)
    assert trainer.save_dir.resolve() == tmp_path / "runs" / task / "train"
    assert trainer.args.task == task


def test_labels_of_another_task_are_one_line(task, tmp_path):
    other = "pose" if task != "pose" else "obb"
    data = task_data(tmp_path / "other", other)
    with pytest.raises(UserError) as raised:
        trained(
            task, {**QUIET, "model": str(tiny_network(tmp_path, task)), "data": str(data), "project": str(tmp_path)}
        )
    assert "\n" not in str(raised.value)
    assert f"task={other} reads them" in str(raised.value), "the right task is named"


def test_class_folders_are_of_another_task(task, tmp_path):
    """A detector trained on class folders without a label, and a classifier ignored label files, both silently."""
    data = class_folders(tmp_path / "data")
    file = data / "data.yaml"
    keys = {**QUIET, "model": str(tiny_network(tmp_path, task)), "project": str(tmp_path)}
    for given in (data, file):
        with pytest.raises(UserError, match=r"these are class folders, .* \(task=classify reads them\)"):
            trained(task, {**keys, "data": str(given)})
        with pytest.raises(UserError, match="task=classify reads them"):
            YOLO(keys["model"]).val(data=str(given), project=str(tmp_path))
        file.write_text("train: train\nval: val\ntask: classify\nnames: [dark, grey, light]\n", encoding="utf-8")
    labelled = {**keys, "model": str(classify_network(tmp_path)), "data": str(task_data(tmp_path / "labelled", task))}
    with pytest.raises(UserError, match=r"hold no images \(its images have labels, .*: task=.* reads them"):
        trained("classify", labelled)


def test_the_datas_keypoints_are_the_networks(tmp_path):
    """As the reference: kpt_shape of the YAML gives way to the dataset's, and is in the weights."""
    keys = keys_of("pose", tmp_path)
    file = tmp_path / "tiny-pose.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("[4, 3]", "[17, 3]"), encoding="utf-8")
    trainer = trained("pose", keys, epochs=1)
    assert trainer.model.kpt_shape == (4, 3)
    assert YOLO(trainer.last).model.kpt_shape == (4, 3)
    with pytest.raises(ConfigError, match=r"the dataset has kpt_shape \[4, 3\] and the model \[17, 3\]"):
        YOLO(str(file)).val(data=keys["data"], project=str(tmp_path), **validation_keys())


def test_without_flip_idx_nothing_is_mirrored(tmp_path):
    keys = keys_of("pose", tmp_path)
    data = tmp_path / "data" / "data.yaml"
    data.write_text(data.read_text(encoding="utf-8").replace("flip_idx: [1, 0, 3, 2]\n", ""), encoding="utf-8")
    trainer = TASKS["pose"].trainer(overrides=keys)
    assert trainer.args.fliplr == 0
    data.write_text(data.read_text(encoding="utf-8").replace("kpt_shape: [4, 3]\n", ""), encoding="utf-8")
    with pytest.raises(ConfigError, match="there is no kpt_shape"):
        TASKS["pose"].trainer(overrides=keys)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_ends_as_one_that_was_not(name, tmp_path):
    whole = left(trained(name, keys_of(name, tmp_path / "a"), mosaic=1.0, copy_paste=0.5).save_dir)
    trainer = TASKS[name].trainer(overrides={**keys_of(name, tmp_path / "b"), "mosaic": 1.0, "copy_paste": 0.5})
    stop_at(trainer, "on_train_batch_end", 1, 1, interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trained(name, {"resume": str(trainer.save_dir)})
    assert equal_runs(left(trainer.save_dir), whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_train_as_one(name, tmp_path):
    """The first losses agree but for rounding, and the figures come back to the process that started the ranks."""
    tables = []
    for device in ("cpu", "cpu,cpu"):
        folder = tmp_path / device.replace(",", "-")
        folder.mkdir()
        keys = keys_of(name, folder) | {"device": device, "epochs": 1, "sync_bn": True, "lr0": 1e-6}
        yolo = YOLO(keys.pop("model"))
        metrics = yolo.train(**keys)
        assert type(metrics) is TASKS[name].metrics
        with (metrics.save_dir / "results.csv").open(encoding="utf-8") as file:
            [row] = csv.DictReader(file)
        tables.append({k: float(v) for k, v in row.items() if "loss" in k})
    assert tables[0] == pytest.approx(tables[1], rel=0.02)  # sums of batch norms are rounded in another order


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one class", "one image", "no objects", "separate masks"])
@pytest.mark.parametrize("name", NAMES)
def test_odd_datasets(name, kind, tmp_path):
    nc, images = (1, 6) if kind == "one class" else (3, 1 if kind == "one image" else 6)
    data = task_data(tmp_path / "data", name, train=images, val=images, nc=nc)
    if kind == "no objects":
        for file in (tmp_path / "data" / "labels").rglob("*.txt"):
            file.write_text("", encoding="utf-8")
    keys = {**QUIET, "model": str(tiny_network(tmp_path, name)), "data": str(data), "project": str(tmp_path)}
    more = {"overlap_mask": False, "mask_ratio": 2} if kind == "separate masks" else {}
    trainer = trained(name, keys, epochs=1, single_cls=kind == "one class", **more)
    assert all(np.isfinite(trainer.mean_loss))
    shutil.rmtree(tmp_path / "data")


VALIDATED = {
    # weights, keys, and by column the figures of the reference and ours
    "coco8-seg": (
        "yolov8n-seg",
        {},
        {
            "mAP50(B)": (0.796, 0.7956),
            "mAP50-95(B)": (0.497, 0.4967),
            "mAP50(M)": (0.626, 0.6255),
            "mAP50-95(M)": (0.469, 0.4776),
        },
    ),
    "coco8-pose": (
        "yolov8n-pose",
        {},
        {
            "mAP50(B)": (0.917, 0.9173),
            "mAP50-95(B)": (0.684, 0.6842),
            "mAP50(P)": (0.549, 0.5490),
            "mAP50-95(P)": (0.331, 0.3305),
        },
    ),
    "coco128-seg": (
        "yolov8n-seg",
        {"imgsz": 640, "batch": 16},
        {
            "mAP50(B)": (0.6188, 0.6204),
            "mAP50-95(B)": (0.4270, 0.4257),
            "mAP50(M)": (0.5602, 0.5628),
            "mAP50-95(M)": (0.3611, 0.3574),
        },
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["the reference's labels", "our labels"])
@pytest.mark.parametrize("name", VALIDATED)
def test_real_weights_have_known_figures(name, labels, shared, tmp_path, monkeypatch):
    """Ours; and the reference's, with labels as it draws them, which moves them in two ways: each outline is 1000
    points, every one cut to whole pixels; and where an odd number of pixels pads an image, the labels lie half a pixel
    away from it. What then remains on coco128-seg is one box: its overlap is 0.70017, and the reference, which adds
    multiples of the class to coordinates, computes 0.69998."""
    weights, keys, wanted = VALIDATED[name]
    file = shared / "weights" / f"{weights}.pt"
    data = shared / "data" / name / f"{name}.yaml"
    if not (file.is_file() and data.is_file()):
        pytest.skip(f"{file.name} or {name} is not in {shared}")
    ours = labels == "our labels"
    if not ours:
        drawn = masks._drawn

        def in_whole_pixels(polygons, *more):
            return drawn(Polygons.of([in_points(polygons.one(i)) for i in range(len(polygons))]), *more)

        monkeypatch.setattr(masks, "_drawn", in_whole_pixels)
        monkeypatch.setattr(dataset, "letterboxed_sample", beside_the_image)
    found = YOLO(file).val(data=str(data), plots=False, workers=0, device="cpu", project=str(tmp_path), **keys)
    for column, figures in wanted.items():
        assert found.results_dict[f"metrics/{column}"] == pytest.approx(figures[ours], abs=0.001), column


def beside_the_image(source, frame, gain, targets):
    """As `letterboxed_sample`, the labels shifted by half of all padding, though the image lies at a whole pixel."""
    box, (h, w) = LetterBox(frame, scaleup=False), source.image.shape[:2]
    (new_h, new_w), (top, _, left, _), (gain_h, gain_w) = box.geometry((h, w))
    rgb = cv2.cvtColor(box.render(source.image), cv2.COLOR_BGR2RGB)
    pads = (frame[1] - new_w) / 2, (frame[0] - new_h) / 2
    placed = source.instances.in_pixels(w, h).scale((gain_w, gain_h)).shift(pads)
    return to_sample(rgb, placed, targets), ((gain[0] * gain_h, gain[1] * gain_w), (left, top))


def in_points(outline, count=1000):
    """A closed outline as so many points, at even steps of the numbers of its corners."""
    closed = np.concatenate([outline, outline[:1]])
    at = np.linspace(0, len(closed) - 1, count)
    return np.stack([np.interp(at, np.arange(len(closed)), closed[:, k]) for k in (0, 1)], 1)


def test_areas_belong_to_their_outlines(tmp_path):
    """The masks of an image are drawn the largest first; COCO's figures by size take each object's own area."""
    data = task_data(tmp_path / "data", "segment", val=1)
    rows = ["0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2", "1 0.3 0.3 0.9 0.3 0.9 0.9 0.3 0.9"]
    (data.parent / "labels" / "val" / "0.txt").write_text("\n".join(rows))
    (data.parent / "areas" / "val").mkdir(parents=True)
    (data.parent / "areas" / "val" / "0.txt").write_text("77\n2222\n")
    network = TASKS["segment"].network(str(tiny_network(tmp_path, "segment")), nc=3, verbose=False)
    keys = {k: v for k, v in QUIET.items() if k in ("imgsz", "workers", "plots", "device", "verbose", "threads")}
    validator = TASKS["segment"].validator(
        save_dir=tmp_path, args={**keys, "data": str(data), "batch": 1, "coco": True}
    )
    validator(model=network.eval())
    [seen] = validator.seen_images()
    assert seen.truths[:, 4].tolist() == [0, 1]
    assert seen.areas.tolist() == [77, 2222]
