"""What scripts for the reference do with YOLO, the trainer, the validator, the predictor and nn.tasks."""

import copy
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import write_toy
from tests.helpers.networks import write_net
from ultralytics import YOLO
from ultralytics.cfg.config import get_cfg
from ultralytics.data import build_dataloader
from ultralytics.engine.model import Model
from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.sources import load_source
from ultralytics.engine.validator import BaseValidator
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel, attempt_load_one_weight, attempt_load_weights, torch_safe_load
from ultralytics.utils.errors import ConfigError, ModelError, UserError
from ultralytics.utils.loss import v8DetectionLoss


@pytest.fixture
def net(tmp_path):
    return str(write_net(tmp_path))


@pytest.fixture
def keys(tmp_path, net):
    """A run of one epoch of two batches."""
    few = {"epochs": 1, "imgsz": 32, "batch": 6, "nbs": 6, "workers": 0, "threads": 1, "mosaic": 0.0}
    quiet = {"plots": False, "verbose": False, "preflight": False, "project": str(tmp_path / "runs"), "name": "a"}
    return {"model": net, "data": str(write_toy(tmp_path)), **few, **quiet}


@pytest.fixture
def weights(tmp_path, net):
    yolo = YOLO(net)
    yolo.model.names = {0: "a", 1: "b", 2: "c"}
    yolo.save(tmp_path / "w.pt")
    return tmp_path / "w.pt"


def batch_of(n):
    rows = torch.tensor([[0, 1, 0.5, 0.5, 0.4, 0.4], [n - 1, 2, 0.3, 0.4, 0.2, 0.3]])
    return {"img": torch.rand(n, 3, 32, 32), "batch_idx": rows[:, 0], "cls": rows[:, 1:2], "bboxes": rows[:, 2:]}


# YOLO


def test_yolo_is_a_torch_module_around_its_model(net):
    yolo = YOLO(net)
    assert isinstance(yolo, nn.Module)
    assert next(iter(yolo.state_dict())) == "model.model.0.conv.weight"  # as the reference's
    assert next(iter(dict(yolo.named_parameters()))) == "model.model.0.conv.weight"
    assert len(list(yolo.modules())) == len(list(yolo.model.modules())) + 1
    assert yolo.half() is yolo
    assert next(yolo.parameters()).dtype == torch.float16
    assert yolo.float() is yolo.cpu() is yolo.to("cpu") is yolo
    assert yolo.overrides["device"] == "cpu"
    assert next(yolo.to(torch.float64).parameters()).dtype == torch.float64
    yolo.float().model.train()
    assert yolo.eval() is yolo
    assert not yolo.model.training
    assert yolo.device == torch.device("cpu")
    assert (yolo.task, yolo.model_name, yolo.ckpt_path, yolo.transforms, yolo.session) == (
        "detect",
        net,
        None,
        None,
        None,
    )
    assert yolo.overrides == {"model": net, "task": "detect", "device": "cpu"}
    assert yolo.task_map["detect"]["trainer"] is DetectionTrainer
    copied = copy.deepcopy(yolo)
    assert copied.model is not yolo.model
    assert copied.names == yolo.names


def test_weights_are_drawn_anew(weights):
    yolo = YOLO(str(weights))
    yolo.model.model[0].requires_grad_(False)
    before = copy.deepcopy(yolo.state_dict())
    assert yolo.reset_weights() is yolo
    after = yolo.state_dict()
    assert not torch.equal(before["model.model.0.conv.weight"], after["model.model.0.conv.weight"])
    assert torch.equal(before["model.model.3.dfl.conv.weight"], after["model.model.3.dfl.conv.weight"])
    still = [n for n, p in yolo.named_parameters() if not p.requires_grad]
    assert still == ["model.model.3.dfl.conv.weight"]


def test_tune_passes_the_file_and_its_keys_on(net, monkeypatch):
    taken = []
    monkeypatch.setattr("ultralytics.study.tune.search.run_tune", lambda keys, **own: taken.append((keys, own)))
    yolo = YOLO(net)
    yolo.tune(data="d.yaml", iterations=3, space={"lr0": [0.001, 0.1]}, epochs=2, prune=False)
    keys = {"model": str(yolo.cfg), "data": "d.yaml", "epochs": 2}
    assert taken == [(keys, {"trials": 3, "space": {"lr0": [0.001, 0.1]}, "prune": False})]
    with pytest.raises(ConfigError, match="use_ray=True: trials are not run by Ray"):
        yolo.tune(use_ray=True)
    yolo.add_callback("on_train_start", print)
    with pytest.raises(ConfigError, match=r"callbacks cannot follow .*plugins="):
        yolo.tune(data="d.yaml")
    yolo.reset_callbacks()
    yolo.reset_weights()
    with pytest.raises(ConfigError, match=r"this model is changed .*pretrained=FILE"):
        yolo.tune(data="d.yaml")


def test_the_import_paths_lead_to_ours():
    assert Model is YOLO
    assert issubclass(DetectionValidator, BaseValidator)
    assert issubclass(DetectionPredictor, BasePredictor)
    assert tasks.BaseModel is DetectionModel
    assert not hasattr(tasks, "attempt_load")


# The network


def test_a_batch_in_gives_the_loss(net):
    model = DetectionModel(net, verbose=False)
    batch = batch_of(2)
    loss, parts = model(batch)
    assert torch.equal(parts, v8DetectionLoss(model)(model(batch["img"]), batch)[1])
    assert torch.equal(parts, v8DetectionLoss(3, model.stride)(model(batch["img"]), batch)[1])
    assert loss.item() == pytest.approx(2 * parts.sum().item())
    loss.backward()
    assert model.model[0].conv.weight.grad is not None
    model.args = SimpleNamespace(box=15.0, cls=0.5, dfl=1.5)
    assert v8DetectionLoss(model)(model(batch["img"]), batch)[1][0].item() == pytest.approx(2 * parts[0].item())
    assert torch.equal(model.loss(batch, model(batch["img"]))[1], parts)
    with pytest.raises(ModelError, match="visualize=True names no folder"):
        model.predict(batch["img"], visualize=True)
    row = model.model[2]
    assert (row.i, row.f, row.np) == (2, -1, sum(p.numel() for p in row.parameters()))
    assert row.type.endswith("conv.Conv")
    assert model.is_fused() is False
    assert model.fuse(verbose=False).is_fused(thresh=10)
    with pytest.raises(ModelError, match="3 classes, and not 4"):
        model.nc = 4


def test_weights_files_are_loaded_under_the_references_names(weights):
    model = attempt_load_weights(str(weights), device="cpu")
    assert not model.training
    assert model.pt_path == str(weights)
    assert not any(p.requires_grad for p in model.parameters())
    one, content = attempt_load_one_weight(weights, fuse=True)
    assert one.is_fused()
    assert content["model"] is one
    content, path = torch_safe_load(weights)
    state = content["model"].float().state_dict()
    assert path == str(weights)
    other = DetectionModel(content["model"].yaml, verbose=False)
    taken = tasks.intersect_dicts(state, other.state_dict(), exclude=["dfl"])
    assert len(taken) == len(state) - 1
    other.load_state_dict(taken, strict=False)
    x = torch.rand(1, 3, 32, 64)
    assert torch.equal(other.eval()(x)[0], model(x)[0])
    pair = attempt_load_weights([weights, weights])
    assert isinstance(pair, tasks.Ensemble)
    assert (pair.nc, pair.names, pair.stride.tolist()) == (model.nc, model.names, model.stride.tolist())
    y, nothing = pair(x)
    assert nothing is None
    assert torch.equal(y, torch.cat((model(x)[0],) * 2, 2))
    assert pair(x, augment=True)[0].shape[2] == 2 * model(x, augment=True)[0].shape[2]


@pytest.mark.parametrize(
    ("name", "letter"), [("yolov8n.yaml", "n"), ("/x/yolov8l-fla.yaml", "l"), ("best.yaml", ""), ("yolov8-p2.yaml", "")]
)
def test_the_scale_is_read_from_a_name(name, letter):
    assert tasks.guess_model_scale(name) == letter
    assert tasks.guess_model_task(name) == "detect"


def test_the_task_is_read_from_a_network_its_yaml_or_its_name():
    wanted = {"seg": "segment", "pose": "pose", "obb": "obb"}
    for ending, task in wanted.items():
        assert (
            tasks.guess_model_task(f"yolov8n-{ending}.yaml")
            == tasks.guess_model_task(f"/x/yolov8m-{ending}.pt")
            == task
        )
    content = tasks.yaml_model_load("yolov8n-pose.yaml")
    assert tasks.guess_model_task(content) == "pose"
    assert tasks.guess_model_task(tasks.PoseModel(content, verbose=False)) == "pose"
    assert tasks.guess_model_task({"head": []}) == "detect"


def test_a_model_yaml_is_read_as_a_mapping_and_built():
    content = tasks.yaml_model_load("yolov8s.yaml")
    assert content["scale"] == "s"
    rows, save = tasks.parse_model(content, 3, verbose=False)
    assert (len(rows), save) == (23, [4, 6, 9, 12, 15, 18, 21])


def test_gradients_reach_the_maps_of_a_row(weights):
    """As Grad-CAM scripts do: hooks on a row, and a class score backwards."""
    model = attempt_load_weights(str(weights))
    for p in model.parameters():
        p.requires_grad_(True)
    kept = {}
    model.model[1].register_forward_hook(lambda m, i, o: kept.setdefault("map", o))
    model.model[1].register_forward_hook(lambda m, i, o: o.register_hook(lambda g: kept.setdefault("grad", g)) and None)
    y = model(torch.rand(1, 3, 64, 32))[0]
    scores = y[:, 4:]
    scores.max().backward()
    assert kept["map"].shape == kept["grad"].shape
    assert kept["grad"].abs().sum() > 0


# Trainers, validators and predictors of one's own


class Mine(DetectionTrainer):
    """Every method that the reference's tutorials replace, with its signature."""

    calls: ClassVar[list[str]] = []

    def called(self, name):
        self.calls.append(name)

    def get_model(self, cfg=None, weights=None, verbose=True):
        self.called("get_model")
        model = DetectionModel(cfg, nc=self.data["nc"], verbose=verbose)
        if weights:
            model.load(weights)
        return model

    def set_model_attributes(self):
        self.called("set_model_attributes")
        super().set_model_attributes()

    def build_dataset(self, img_path, mode="train", batch=None):
        self.called(f"build_dataset {mode} {batch}")
        return super().build_dataset(img_path, mode, batch)

    def get_dataloader(self, dataset_path, batch_size=16, rank=0, mode="train"):
        self.called(f"get_dataloader {mode} {batch_size} {rank}")
        dataset = self.build_dataset(dataset_path, mode, batch_size)
        return build_dataloader(dataset, batch_size, 0, shuffle=mode == "train")

    def build_optimizer(self, model, name="auto", lr=0.001, momentum=0.9, decay=1e-5, iterations=1e5):
        self.called(f"build_optimizer {name} {iterations}")
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)

    def get_validator(self):
        self.called("get_validator")
        self.loss_names = "box", "cls", "dfl"
        return MyValidator(
            self.test_loader, save_dir=self.save_dir, args=copy.copy(self.args), _callbacks=self.callbacks
        )

    def preprocess_batch(self, batch):
        batch = super().preprocess_batch(batch)
        self.called(f"preprocess_batch {tuple(batch['img'].shape[2:])} {float(batch['img'].max()) <= 1}")
        return batch

    def optimizer_step(self):
        self.called("optimizer_step")
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=10.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.model)

    def label_loss_items(self, loss_items=None, prefix="train"):
        names = [f"{prefix}/{x}" for x in self.loss_names]
        return names if loss_items is None else dict(zip(names, [round(float(x), 5) for x in loss_items], strict=True))

    def progress_string(self):
        self.called("progress_string")
        return super().progress_string()

    def plot_training_samples(self, batch, ni):
        self.called(f"plot_training_samples {ni}")

    def plot_training_labels(self):
        self.called("plot_training_labels")

    def plot_metrics(self):
        self.called("plot_metrics")

    def validate(self):
        metrics, fitness = super().validate()
        return metrics, fitness + 0.5

    def save_model(self):
        self.called(f"save_model {self.fitness >= 0.5}")
        super().save_model()

    def save_metrics(self, metrics):
        super().save_metrics({**metrics, "mine": 7.0})

    def final_eval(self):
        self.called("final_eval")
        super().final_eval()


class MyValidator(DetectionValidator):
    """The steps that a subclass replaces."""

    def init_metrics(self, model):
        super().init_metrics(model)
        self.boxes = 0

    def postprocess(self, preds):
        return [d[:5] for d in super().postprocess(preds)]

    def update_metrics(self, preds, batch):
        super().update_metrics(preds, batch)
        self.boxes += sum(map(len, preds))

    def draw(self):
        """Nothing: it takes seconds."""


def test_a_checkpoints_entries_are_read_as_those_of_a_mapping(weights):
    ckpt = YOLO(str(weights)).ckpt
    assert ckpt["train_args"] == ckpt.args
    assert "epoch" in ckpt
    assert "optimizer_state" not in ckpt
    assert ckpt.get("epoch", 1) is None
    assert ckpt.get("nothing", 1) == 1
    assert YOLO("yolov10n.yaml").model.end2end
    assert not YOLO(str(weights)).model.end2end


def test_every_method_of_a_trainer_of_ones_own_is_called(keys, weights):
    Mine.calls = []
    yolo = YOLO(str(weights))
    metrics = yolo.train(
        trainer=Mine, **{**keys, "plots": True, "optimizer": "SGD", "lr0": 0.01} | {"model": str(weights)}
    )
    trainer = yolo.trainer
    assert type(trainer) is Mine
    shape = "preprocess_batch (32, 32) True"
    assert Mine.calls == [
        *("get_model", "set_model_attributes", "get_dataloader train 6 -1", "build_dataset train 6"),
        *("get_dataloader val 12 -1", "build_dataset val 12", "plot_training_labels", "get_validator"),
        *("build_optimizer SGD 2", "progress_string"),
        *(shape, "optimizer_step", "plot_training_samples 0", shape, "optimizer_step", "plot_training_samples 1"),
        *("save_model True", "final_eval", "plot_metrics"),
    ]
    assert type(trainer.validator) is MyValidator
    assert metrics is trainer.validator.metrics
    assert 0 < trainer.validator.boxes <= 5 * 6
    table = trainer.csv.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert table == [
        *("epoch", "time", "train/box", "train/cls", "train/dfl"),
        *("metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)"),
        *("val/box", "val/cls", "val/dfl", "lr/pg0", "time/data_wait", "mine"),
    ]
    assert trainer.fitness >= 0.5
    assert load_checkpoint(trainer.last).state["fitness"] == trainer.fitness


class Doubled(DetectionModel):
    """A network with a loss of its own."""

    def init_criterion(self):
        plain = v8DetectionLoss(self)
        return lambda preds, batch: tuple(2 * v for v in plain(preds, batch))


class Whole(DetectionModel):
    """A network with another way to its loss."""

    def loss(self, batch, preds=None):
        loss, parts = super().loss(batch, preds)
        return 2 * loss, 2 * parts


@pytest.mark.parametrize("kind", [Doubled, pytest.param(Whole, marks=pytest.mark.slow)])
def test_a_models_own_loss_is_used(keys, kind):
    class Trainer(DetectionTrainer):
        def get_model(self, cfg=None, weights=None, verbose=True):
            torch.manual_seed(1)
            return self.network(cfg, nc=self.data["nc"], verbose=False)

    losses = []
    for network in (kind, DetectionModel):
        trainer = Trainer(overrides={**keys, "amp": False, "val": False, "name": network.__name__})
        trainer.network = network
        trainer.add_callback(
            "on_train_batch_end", lambda t: t.epoch == t.iteration == 0 and losses.append(t.loss_items)
        )
        trainer.train()
    assert torch.allclose(losses[0], 2 * losses[1], rtol=1e-5)


def test_a_loader_that_cannot_be_resumed_is_refused(keys):
    class Trainer(DetectionTrainer):
        def get_dataloader(self, dataset_path, batch_size=16, rank=0, mode="train"):
            return torch.utils.data.DataLoader([1, 2, 3])

    with pytest.raises(ConfigError, match=r"returns a DataLoader, .*build_dataloader"):
        Trainer(overrides=keys).train()


def test_a_scale_given_by_itself_reaches_a_get_model_of_ones_own(keys, tmp_path):
    class Trainer(DetectionTrainer):
        def get_model(self, cfg=None, weights=None, verbose=True):
            return DetectionModel(cfg, nc=self.data["nc"], verbose=False)

    trainer = Trainer(overrides={**keys, "model": "yolov8.yaml", "scale": "s"})
    trainer.setup_model()
    assert trainer.model.spec.scale == "s"
    plain = DetectionTrainer(overrides={**keys, "model": "yolov8.yaml", "scale": "s"})
    assert plain.get_model().spec.scale == "s"


def test_a_validator_stands_by_itself(keys, weights, tmp_path):
    args = {k: keys[k] for k in ("data", "imgsz", "batch", "workers", "threads", "plots", "verbose", "project")}
    validator = DetectionValidator(args={**args, "model": str(weights)})
    events = []
    validator.add_callback("on_val_end", lambda v: events.append(v.seen))
    stats = validator()
    assert events == [6]
    assert stats == validator.get_stats()
    assert {"metrics/mAP50(B)", "fitness"} <= set(stats)
    assert list(validator.speed) == ["preprocess", "inference", "loss", "postprocess"]
    assert (validator.save_dir / "metrics.json").is_file()
    again = DetectionValidator(args=SimpleNamespace(**args))
    assert again(model=weights) == stats
    yolo = YOLO(str(weights))
    yolo.val(validator=MyValidator, **args)
    assert yolo.metrics.images == 6
    with pytest.raises(ConfigError, match="no model given"):
        DetectionValidator(args=args)()


def test_a_predictor_stands_by_itself(weights):
    image = np.random.default_rng(0).integers(0, 255, (40, 64, 3), np.uint8)
    overrides = {"imgsz": [64, 64], "conf": 0.001, "save": False, "threads": 1, "verbose": False}
    predictor = DetectionPredictor(overrides=overrides)
    events = []
    predictor.add_callback("on_predict_start", lambda p: events.append(p.imgsz))
    found = predictor(source=image, model=weights)
    assert events == [[64, 64]]
    assert len(found) == 1
    assert next(iter(predictor(image, stream=True))).boxes.shape == found[0].boxes.shape

    class Top(DetectionPredictor):
        def postprocess(self, preds, img, orig_imgs):
            return [r[:1] for r in super().postprocess(preds, img, orig_imgs)]

    yolo = YOLO(str(weights))
    source = load_source([image, image])
    found = yolo.predict(source, predictor=Top, conf=0.001, imgsz=64, threads=1, verbose=False)
    assert [len(r) for r in found] == [1, 1]
    assert type(yolo.predictor) is Top
    for nothing in (None, "", " "):  # as of an unset variable of a shell, not the working folder
        with pytest.raises(ConfigError, match="nothing to predict on"):
            predictor(nothing)


# Subjects of the reference's own tests


def test_a_trainer_a_validator_and_a_predictor_one_after_another(keys, monkeypatch):
    def func(*_):
        """Nothing."""

    trainer = DetectionTrainer(overrides={**keys, "save": False})
    trainer.add_callback("on_train_start", func)
    assert func in trainer.callbacks["on_train_start"]
    trainer.train()
    cfg = get_cfg(None, {"workers": 0, "threads": 1, "plots": False, "verbose": False, "project": keys["project"]})
    cfg.data, cfg.imgsz = keys["data"], 32
    validator = DetectionValidator(args=cfg)
    validator.add_callback("on_val_start", func)
    assert func in validator.callbacks["on_val_start"]
    assert validator(model=trainer.best)["fitness"] >= 0
    predictor = DetectionPredictor(overrides={"imgsz": [64, 64], "save": False, "verbose": False, "threads": 1})
    predictor.add_callback("on_predict_start", func)
    assert func in predictor.callbacks["on_predict_start"]
    monkeypatch.setattr("sys.argv", [])
    assert len(predictor(source=str(trainer.data.split("val")[0]), model=str(trainer.best))) == 6
    with pytest.raises(UserError, match="nothing is left"):
        DetectionTrainer(overrides={"resume": str(trainer.last)})


def test_methods_of_a_model(weights, net):
    model = YOLO(str(weights))
    totals = model.info(verbose=True, detailed=True, imgsz=64)
    assert totals[1] == sum(p.numel() for p in model.parameters())
    model = model.reset_weights().load(weights)
    model.to("cpu").fuse()
    model.clear_callback("on_train_start")
    model.reset_callbacks()
    assert model.names == {0: "a", 1: "b", 2: "c"}
    assert YOLO(net)(np.zeros((32, 32, 3), np.uint8), imgsz=32, verbose=False)[0].boxes.shape[1] == 6
    with pytest.raises(UserError):
        model(source=None)
