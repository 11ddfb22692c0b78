"""Classification from end to end: a training, its files, validation, prediction, resume, ranks."""

import csv
import os
import signal

import numpy as np
import pytest
import torch
import yaml

from tests.helpers.tasks import SHADES, class_folders, classify_network
from ultralytics import YOLO
from ultralytics.cfg.paths import CLONE
from ultralytics.cli import main
from ultralytics.data.prepare import prepare_shapes
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.classify import ClassificationTrainer, ClassificationValidator
from ultralytics.models.yolo.classify.evaluate import ClassEvaluator, Classified, classes_from_arrays, classes_to_arrays
from ultralytics.nn.tasks import ClassificationModel
from ultralytics.utils.confusion import ConfusionMatrix
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.metrics import ClassifyMetrics

COLUMNS = ["epoch", "time", "train/loss", "metrics/accuracy_top1", "metrics/accuracy_top5", "val/loss"]


def settings_of(folder, data=None, **more):
    given = {
        "model": str(classify_network(folder)), "data": str(data or class_folders(folder / "data")), "imgsz": 32,
        "batch": 4,
        "epochs": 2, "workers": 0, "threads": 1, "device": "cpu", "preflight": False, "plots": False, "verbose": False,
        "project": str(folder / "runs"), "nbs": 8,
    }  # fmt: skip
    return given | more


def left(folder):
    """What two equal runs must agree in."""
    last, best = (load_checkpoint(folder / "weights" / f"{n}.pt").state for n in ("last", "best"))
    with (folder / "results.csv").open(encoding="utf-8") as file:
        rows = [{k: v for k, v in row.items() if not k.startswith("time")} for row in csv.DictReader(file)]
    return last["weights"], last["ema"], best["ema"], rows


def same(a, b):
    for one, other in zip(a[:3], b[:3], strict=True):
        assert all(torch.equal(one[k], other[k]) for k in one)
    return a[3] == b[3]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classify")
    model = YOLO(str(classify_network(folder)))
    model.train(**{k: v for k, v in settings_of(folder, plots=True, preflight=True).items() if k != "model"})
    return model, folder / "runs" / "train"


def test_a_run_leaves_the_reference_s_files(trained):
    model, folder = trained
    assert model.task == "classify"
    assert model.names == dict(enumerate(sorted(SHADES)))
    with (folder / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:6] == COLUMNS
    assert len(rows) == 2
    names = {p.name for p in folder.iterdir()}
    assert {"args.yaml", "results.png", "confusion_matrix.png", "train_batch0.jpg", "val_batch0_pred.jpg"} <= names
    assert not {"labels.jpg", "PR_curve.png"} & names
    args = yaml.safe_load((folder / "args.yaml").read_text())
    assert (args["task"], args["imgsz"]) == ("classify", 32)


def test_validation_and_prediction(trained, tmp_path):
    _, folder = trained
    weights = YOLO(str(folder / "weights" / "best.pt"))
    metrics = weights.val(project=str(tmp_path), workers=0, save_txt=True, plots=False)
    assert isinstance(metrics, ClassifyMetrics)
    assert metrics.images == 6
    assert metrics.results_dict["fitness"] == (metrics.top1 + metrics.top5) / 2
    assert metrics.top5 == 1.0  # of three classes
    lines = next((tmp_path / "val" / "labels").glob("*.txt")).read_text().split("\n")
    assert lines[0].split()[1] in SHADES
    image = np.full((30, 50, 3), 200, np.uint8)
    odd = [image, np.zeros((1, 1, 3), np.uint8), np.zeros((1, 3000, 3), np.uint8)]
    found = weights(odd, verbose=False, batch=3)
    assert [r.probs.data.shape for r in found] == [(3,)] * 3
    assert all(float(r.probs.data.sum()) == pytest.approx(1) for r in found)
    assert weights.predictor.frame == (32, 32)  # the weights' own
    alone = weights(image, verbose=False)[0]
    torch.testing.assert_close(alone.probs.data, found[0].probs.data, atol=1e-6, rtol=0)  # a batch rounds otherwise
    weights(image, imgsz=64, verbose=False)
    assert weights.predictor.frame == (64, 64)  # the user's
    tensor = torch.rand(1, 3, 40, 48)
    with torch.no_grad():
        wanted = weights.model.eval()((tensor * 255).byte().float() / 255)
    torch.testing.assert_close(weights(tensor, verbose=False)[0].probs.data, wanted[0], atol=3e-4, rtol=0)


def test_validation_loss_is_that_of_logits(trained, tmp_path):
    _, folder = trained
    checkpoint = load_checkpoint(folder / "weights" / "last.pt")
    model = ClassificationModel(checkpoint.spec, verbose=False)
    model.load(checkpoint.state["ema"])
    args = {k: v for k, v in settings_of(tmp_path).items() if k in ("data", "imgsz", "workers", "batch")}
    validator = ClassificationValidator(args={**args, "model": "x"}, save_dir=tmp_path)
    validator.names = dict(enumerate(sorted(SHADES)))
    data = validator.load_data(args["data"], "val")
    validator.dataloader = validator.get_dataloader(data.split("val"), 4)
    validator.evaluate(model, model.init_criterion())
    losses = []
    model.eval().head.raw_too = True
    for batch in validator.dataloader:
        with torch.no_grad():
            logits = model(batch["img"] / 255)[1]
        losses.append(torch.nn.functional.cross_entropy(logits, batch["cls"]))
    torch.testing.assert_close(validator.loss, torch.stack(losses).mean()[None], atol=1e-5, rtol=1e-4)


def test_classes_are_found_by_the_names_of_the_model(trained, tmp_path):
    """A dataset that lacks the first class, or has them in other places, is measured rightly."""
    _, folder = trained
    data = class_folders(tmp_path / "less", counts=(0, 1, 1), val=(0, 2, 2))
    (data / "train" / "dark").rmdir()
    (data / "val" / "dark").rmdir()
    weights = YOLO(str(folder / "weights" / "best.pt"))
    weights.model.head.linear.weight.data.zero_()
    weights.model.head.linear.bias.data.copy_(torch.tensor([0.0, 0.0, 9.0]))  # always the last by name, light
    metrics = weights.val(data=str(data), project=str(tmp_path), workers=0, plots=False)
    assert metrics.top1 == 0.5
    assert metrics.nt_per_class.tolist() == [0, 2, 2]
    assert metrics.confusion_matrix.matrix.tolist() == [[0, 0, 0], [0, 0, 0], [0, 2, 2]]


def test_figures_do_not_depend_on_the_order_of_the_batches_and_survive_a_file(tmp_path):
    rng = np.random.default_rng(0)
    pairs = [Classified("", rng.permutation(6)[:5], np.zeros(5, np.float32), int(rng.integers(6))) for _ in range(20)]
    one, two, three = (ClassEvaluator(dict(enumerate("abcdef")), 6) for _ in range(3))
    one.update(0, pairs[:12]), one.update(1, pairs[12:])
    two.update(1, pairs[12:]), three.update(0, pairs[:12])
    two.merge(three)
    assert one.result().to_dict() == two.result().to_dict()
    metrics = one.result()
    assert metrics.top1 == np.mean([p.likeliest[0] == p.true for p in pairs])
    assert metrics.top5 == np.mean([p.true in p.likeliest for p in pairs])
    assert metrics.confusion_matrix.matrix.sum() == 20
    np.savez(tmp_path / "x.npz", **classes_to_arrays(metrics))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        again = classes_from_arrays(tmp_path, dict(file))
    assert again.to_dict() == metrics.to_dict()
    assert np.array_equal(again.confusion_matrix.matrix, metrics.confusion_matrix.matrix)
    assert ClassEvaluator({}, 2).result().results_dict["fitness"] == 0.0


def test_the_metrics_equal_the_reference(fixtures):
    data = np.load(fixtures / "classify_metrics.npz")
    logits, targets = torch.from_numpy(data["logits"]), torch.from_numpy(data["targets"])
    metrics = ClassifyMetrics()
    metrics.process([targets], [logits.argsort(1, descending=True)[:, :5]])
    for name in ("top1", "top5", "fitness"):
        assert getattr(metrics, name) == pytest.approx(float(data[name]), abs=1e-6)
    assert metrics.keys == COLUMNS[3:5]


def test_a_confusion_matrix_of_classes_has_no_background(tmp_path):
    matrix = ConfusionMatrix(3, task="classify")
    matrix.process_cls_preds([torch.tensor([[0, 1], [2, 1]])], [torch.tensor([0, 1])])
    assert matrix.matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert [x.tolist() for x in matrix.tp_fp()] == [[1, 0, 0], [0, 0, 1]]
    matrix.plot(True, tmp_path, ("a", "b", "c"))
    assert (tmp_path / "confusion_matrix_normalized.png").is_file()


@pytest.mark.parametrize("key", [{"single_cls": True}, {"classes": [0]}, {"tiles": 64}])
def test_keys_of_boxes_are_refused(tmp_path, key):
    with pytest.raises(ConfigError, match=f"{next(iter(key))}=.* is for boxes"):
        ClassificationTrainer(overrides=settings_of(tmp_path, **key))


def test_image_size_is_224_where_none_is_given(tmp_path):
    given = settings_of(tmp_path)
    del given["imgsz"]
    assert ClassificationTrainer(overrides=given).args.imgsz == 224


def test_dropout_is_the_run_s(tmp_path):
    trainer = ClassificationTrainer(overrides=settings_of(tmp_path, dropout=0.3))
    trainer.setup_model()
    trainer.set_model_attributes()
    assert trainer.model.head.drop.p == 0.3


def test_there_is_nothing_to_track_or_explain(trained):
    model, _ = trained
    with pytest.raises(ConfigError, match="track is not offered for task=classify"):
        model.track(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ConfigError, match="explain is not offered for task=classify"):
        model.explain(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("counts", [(1, 1, 1), (3, 0, 0)])
def test_one_image_per_class_and_one_class(tmp_path, counts):
    data = class_folders(tmp_path / "data", counts, counts)
    for split in ("train", "val"):
        for name, count in zip(SHADES, counts, strict=True):
            if not count:
                (data / split / name).rmdir()
    trainer = ClassificationTrainer(overrides=settings_of(tmp_path, data, epochs=1))
    trainer.train()
    assert trainer.model.nc == sum(c > 0 for c in counts)
    assert trainer.metrics["metrics/accuracy_top5"] == 1.0


class Compose:
    """Stands for torchvision's, which the reference's classifiers hold."""

    def __init__(self, path):
        self.transforms = [path]

    def __reduce__(self):
        return os.system, (f"touch {self.transforms[0]}",)


def test_weights_of_the_reference_are_read_without_torchvision(tmp_path):
    """Nothing in the file is executed, its transforms neither."""
    torch.manual_seed(0)
    model = ClassificationModel(str(classify_network(tmp_path)), verbose=False)
    names = {0: "a", 1: "b", 2: "c"}
    vars(model).update(yaml=model.yaml, names=names, transforms=Compose(tmp_path / "canary"), args={"imgsz": 96})
    torch.save({"model": model.half(), "epoch": -1, "train_args": {"imgsz": 96}}, tmp_path / "ref-cls.pt")
    read = YOLO(str(tmp_path / "ref-cls.pt"))
    assert not (tmp_path / "canary").exists()
    assert (read.task, read.names) == ("classify", names)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(read.model.eval()(x), model.float().eval()(x))
    found = read(np.zeros((40, 40, 3), np.uint8), verbose=False)
    assert read.predictor.frame == (96, 96)
    assert found[0].probs.data.shape == (3,)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torchscript", "onnx"])
def test_an_exported_classifier_gives_the_same(trained, tmp_path, format):
    _, folder = trained
    weights = tmp_path / "best.pt"
    weights.write_bytes((folder / "weights" / "best.pt").read_bytes())
    model = YOLO(str(weights))
    file = model.export(format=format, imgsz=32)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    wanted, found = (m(image, verbose=False)[0].probs.data for m in (model, YOLO(file)))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    metrics = YOLO(file).val(data=str(folder.parents[1] / "data"), project=str(tmp_path), workers=0, plots=False)
    assert metrics.images == 6
    with pytest.raises(ConfigError, match="nms= is for boxes"):
        model.export(format=format, nms=True)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_a_run_that_is_stopped_ends_as_one_that_was_not(tmp_path, batch):
    given = settings_of(tmp_path, epochs=3, dropout=0.2)
    whole = ClassificationTrainer(overrides={**given, "name": "whole"})
    whole.train()

    def stop(trainer):
        if (trainer.epoch, trainer.batches_done) == (1, batch):
            os.kill(os.getpid(), signal.SIGINT)

    trainer = ClassificationTrainer(overrides={**given, "name": "stopped"})
    trainer.add_callback("on_train_batch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    again = ClassificationTrainer(overrides={"resume": str(trainer.save_dir)})
    again.train()
    assert same(left(whole.save_dir), left(again.save_dir))


@pytest.mark.slow
def test_two_ranks_end_as_one_process(tmp_path):
    """With batch norms that are frozen, sums of gradients in another order are all that differs."""
    found = {}
    for device in ("cpu", "cpu,cpu"):
        given = settings_of(tmp_path, device=device, name=device.replace(",", "-"), sync_bn="," in device, amp=False)
        assert main(["classify", "train", *(f"{k}={v}" for k, v in given.items())]) == 0
        found[device] = left(tmp_path / "runs" / given["name"])
    alone, ranks = found.values()
    for one, other in zip(alone[0].values(), ranks[0].values(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-2)
    for one, other in zip(alone[3], ranks[3], strict=True):
        assert float(one["train/loss"]) == pytest.approx(float(other["train/loss"]), rel=1e-3)
        assert float(one["val/loss"]) == pytest.approx(float(other["val/loss"]), rel=1e-2)


@pytest.mark.slow
def test_a_dark_image_is_told_from_a_light_one(tmp_path):
    data = class_folders(tmp_path / "data", (20, 20, 20), (5, 5, 5))
    trainer = ClassificationTrainer(
        overrides=settings_of(tmp_path, data, epochs=15, nbs=4, lr0=0.01, optimizer="AdamW", auto_augment=None)
    )
    trainer.train()
    assert trainer.metrics["metrics/accuracy_top1"] >= 0.9


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_first_run_tells_the_shapes_apart(tmp_path):
    """As `scripts/train.sh task=classify` runs it."""
    data = prepare_shapes(tmp_path / "shapes-cls", task="classify")
    recipe = CLONE / "cfg" / "recipes" / "quickstart-cls.yaml"
    assert main(["train", f"cfg={recipe}", f"data={data}", "task=classify", "device=cpu", f"project={tmp_path}"]) == 0
    with (tmp_path / "train" / "results.csv").open(encoding="utf-8") as file:
        assert max(float(row["metrics/accuracy_top1"]) for row in csv.DictReader(file)) >= 0.95
