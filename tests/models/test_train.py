"""Whole runs of a very small network."""

import csv
import json

import numpy as np
import pytest
import torch
import yaml

from tests.conftest import CLONE
from tests.helpers.networks import write_attended
from ultralytics import YOLO
from ultralytics.cfg.config import get_cfg
from ultralytics.cfg.surgery import insert_rows
from ultralytics.cli import main
from ultralytics.engine.preflight.report import PreflightError
from ultralytics.engine.safety import memory
from ultralytics.engine.safety.recovery import NonFiniteLossError
from ultralytics.engine.trainer import EarlyStopping
from ultralytics.engine.weights.adapter import read_adapter
from ultralytics.engine.weights.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import CheckpointError, ConfigError, DatasetError, MissingFileError, UserError
from ultralytics.utils.images import imwrite

COLUMNS = (
    "epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,metrics/precision(B),metrics/recall(B),metrics/mAP50(B),"
    "metrics/mAP50-95(B),val/box_loss,val/cls_loss,val/dfl_loss,lr/pg0,lr/pg1,lr/pg2,time/data_wait"
)


@pytest.fixture
def run(tmp_path, toy):
    """Train six rows on the toy set, which takes half of the tiny YOLOv8-FLA's time; keywords are keys of the
    configuration."""
    small = write_attended(tmp_path)

    def train(name="run", **settings):
        given = {
            "model": str(small),
            "data": str(toy),
            "epochs": 2,
            "imgsz": 64,
            "batch": 4,
            "workers": 0,
            "device": "cpu",
        }
        given |= {"project": str(tmp_path / "runs"), "name": name, "plots": False, "close_mosaic": 1, "verbose": False}
        given["preflight"] = False  # a third of these runs' time; what it does is tested by itself
        trainer = DetectionTrainer(overrides=given | settings)
        trainer.train()
        return trainer

    return train


def table(trainer):
    with open(trainer.save_dir / "results.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def timeless(trainer):
    return [{k: v for k, v in row.items() if not k.startswith("time")} for row in table(trainer)]


def weights(trainer):
    return load_checkpoint(trainer.last).weights


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


def test_a_run_leaves_everything_it_promises(run):
    trainer = run(plots=True, preflight=True, save_period=1)
    left = {str(p.relative_to(trainer.save_dir)) for p in trainer.save_dir.rglob("*") if p.is_file()}
    promised = {
        "args.yaml", "results.csv", "results.png", "metrics.json", "labels.jpg", "confusion_matrix.png",
        "confusion_matrix_normalized.png", "curves.json", "PR_curve.png", "F1_curve.png", "P_curve.png", "R_curve.png",
        "weights/best.pt", "weights/last.pt", "weights/epoch1.pt", "weights/epoch2.pt",
        "train_batch0.jpg", "val_batch0_labels.jpg", "val_batch0_pred.jpg",
    }  # fmt: skip
    assert promised <= left
    rows = table(trainer)
    assert ",".join(rows[0]) == COLUMNS
    assert [r["epoch"] for r in rows] == ["1", "2"]
    assert all(np.isfinite(float(v)) for r in rows for v in r.values())
    args = yaml.safe_load((trainer.save_dir / "args.yaml").read_text(encoding="utf-8"))
    assert (args["epochs"], args["imgsz"], args["optimizer"]) == (2, 64, "auto")
    metrics = json.loads((trainer.save_dir / "metrics.json").read_text(encoding="utf-8"))
    assert len(metrics["classes"]) == 3
    torch.load(trainer.last, weights_only=True)
    assert load_checkpoint(trainer.best).names == {0: "red", 1: "绿", 2: "blue"}


def test_equal_seeds_give_equal_weights_for_any_number_of_workers(run):
    first = weights(run("a"))
    assert equal(first, weights(run("b", workers=2, cache="ram")))
    assert not equal(first, weights(run("c", seed=1)))


class KilledError(Exception):
    """Stands for a kill signal."""


@pytest.mark.parametrize("settings", [{}, {"mixup": 0.5, "multi_scale": True, "optimizer": "SGD", "nbs": 10}], ids=str)
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(run, settings):
    whole = run("whole", epochs=4, **settings)

    def kill(trainer):
        if trainer.epoch == 2:
            raise KilledError

    stopped = DetectionTrainer(overrides={**whole.args.to_dict(), "name": "stopped", "exist_ok": True, "resume": False})
    stopped.add_callback("on_train_epoch_end", kill)
    with pytest.raises(KilledError):
        stopped.train()
    assert len(table(stopped)) == 2
    resumed = DetectionTrainer(overrides={"resume": str(stopped.save_dir)})
    resumed.train()
    assert equal(weights(whole), weights(resumed))
    assert timeless(whole) == timeless(resumed)
    assert resumed.save_dir == stopped.save_dir


def test_every_epoch_says_how_long_it_waited_for_images(run, caplog, monkeypatch):
    """In its line and in results.csv, also in that of a run which earlier code began."""
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    whole = run(epochs=2)
    head = next(r.getMessage() for r in caplog.records if r.getMessage().split()[:1] == ["Epoch"])
    line = next(r.getMessage() for r in caplog.records if r.getMessage().split()[:1] == ["2/2"])
    assert head.split()[-1] == "Data_wait"
    assert len(line) == len(head)
    shown, written = int(line.split()[-1].removesuffix("%")), float(table(whole)[1]["time/data_wait"])
    assert 0 < written < 100
    assert shown == pytest.approx(written, abs=1)
    del whole.rows[0]["time/data_wait"]  # as earlier code has left it
    whole.saver.write_results()
    rows = table(whole)
    assert (rows[0]["time/data_wait"], float(rows[1]["time/data_wait"])) == ("", written)
    assert list(rows[0]) == COLUMNS.split(",")


@pytest.fixture
def inserted(run, tmp_path):
    """Settings of a run with a block inserted into a network that was trained without it."""
    data = yaml.safe_load((CLONE / "cfg" / "models" / "yolov8.yaml").read_text(encoding="utf-8"))
    data["scales"] = {"n": [0.1, 0.06, 256]}
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump(data), encoding="utf-8")
    mine = tmp_path / "mine.yaml"
    mine.write_text(insert_rows(plain, 9, "FLABlock"), encoding="utf-8")
    return {"model": str(mine), "pretrained": str(run("plain", model=str(plain), epochs=1).best), "nbs": 4}


def test_new_tensors_learn_faster_and_the_run_says_what_the_block_does(run, inserted, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    trainer = run("rates", **inserted, epochs=2, ema="auto")
    trainer.args.plots = True
    trainer.plot_metrics()
    assert {g.role for g in trainer.groups} == {"transferred", "new", "gate"}
    rates = {g.role: p["lr"] for g, p in zip(trainer.groups, trainer.optimizer.param_groups, strict=True)}
    assert rates["new"] == pytest.approx(10 * rates["transferred"])
    assert rates["gate"] == pytest.approx(50 * rates["transferred"])
    assert any("gates of new blocks" in r.getMessage() for r in caplog.records)
    rows = table(trainer)
    assert all(float(r["block/10/share"]) > 0 for r in rows)
    assert float(rows[-1]["block/10/gate_mean"]) == pytest.approx(
        float(trainer.ema.ema.model[10].gate.abs().mean()), rel=1e-4
    )
    assert "row 10 (FLABlock) changes its map by " in caplog.text
    assert all((trainer.save_dir / f"attention.{kind}").stat().st_size > 5000 for kind in ("png", "pdf"))
    assert "can move a gate by" in caplog.text


def stopped_twin(whole, epoch=1, event="on_train_epoch_end", **changed):
    """The same run again, killed at an event of an epoch (from 0), after two batches of it at least."""
    given = {**whole.args.to_dict(), "name": "stopped", "exist_ok": True, "resume": False}
    twin = DetectionTrainer(overrides=given | changed)

    def kill(trainer):
        if trainer.epoch == epoch and trainer.batches_done >= 2:
            raise KilledError

    twin.add_callback(event, kill)
    with pytest.raises(KilledError):
        twin.train()
    return twin


def resumed_from(stopped):
    """A stopped run, resumed to its end."""
    resumed = DetectionTrainer(overrides={"resume": str(stopped.save_dir)})
    resumed.train()
    return resumed


def test_a_resumed_run_keeps_its_rates_and_its_average(run, inserted):
    whole = run("whole", **inserted, epochs=3, ema="auto")
    resumed = resumed_from(stopped_twin(whole))
    assert equal(weights(whole), weights(resumed))
    assert equal(load_checkpoint(whole.last).state["ema"], load_checkpoint(resumed.last).state["ema"])
    assert resumed.groups == whole.groups
    assert (resumed.ema.decay_limit, resumed.ema.tau) == (whole.ema.decay_limit, whole.ema.tau) != (0.9999, 2000)


def test_an_own_optimiser_without_the_rates_of_new_tensors_says_so(tiny, toy, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)

    class Mine(DetectionTrainer):
        def setup_model(self):
            super().setup_model()
            self.new_tensors = ["model.0.conv.weight"]

        def build_optimizer(self, model, *args, **kwargs):
            return torch.optim.SGD(model.parameters(), lr=0.01)

    few = {"epochs": 1, "imgsz": 32, "workers": 0, "plots": False, "verbose": False, "val": False, "preflight": False}
    trainer = Mine(overrides=few | {"model": str(tiny), "data": str(toy), "project": str(tmp_path), "threads": 1})
    assert (trainer.best_fitness, trainer.lf, trainer.ema) == (None, None, None)  # before anything is made
    trainer.train()
    assert "1 new tensor learns at the rate of all others" in caplog.text


@pytest.mark.slow
def test_blocks_trained_alone_go_into_another_network_as_an_adapter(run, inserted, tmp_path, caplog, monkeypatch):
    """train_only=new leaves the host as it was, statistics included; resumed it is bit-equal; its adapter fills."""
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    host = load_checkpoint(inserted["pretrained"]).weights
    whole = run("whole", **inserted, epochs=3, train_only="new", preflight=True)
    for held in (weights(whole), load_checkpoint(whole.best).weights, load_checkpoint(whole.last).state["ema"]):
        for name, tensor in held.items():
            _, row, rest = name.split(".", 2)
            if int(row) != 10:
                assert torch.equal(tensor, host[f"model.{int(row) - (int(row) > 10)}.{rest}"]), name
    assert (whole.ema.ema.model[10].gate != 0).any()
    resumed = resumed_from(stopped_twin(whole))
    assert equal(weights(whole), weights(resumed))

    out = tmp_path / "block.pt"
    assert main(["save-adapter", f"model={whole.best}", f"out={out}"]) == 0
    assert main(["save-adapter", f"model={whole.best}", f"out={out}"]) == 2
    chosen = tmp_path / "chosen.pt"
    assert main(["save-adapter", f"model={whole.best}", f"out={chosen}", "rows=[10]"]) == 0
    assert main(["save-adapter", f"model={whole.best}", f"out={chosen}", "rows=[99]", "overwrite=True"]) == 2
    assert read_adapter(chosen)[0].tensors.keys() == read_adapter(out)[0].tensors.keys()
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)  # commands set up logging of their own
    caplog.set_level("INFO", "ultralytics")
    filled = run("filled", **inserted, epochs=1, adapter=str(out), lr0=0.0, optimizer="SGD", warmup_bias_lr=0.0)
    assert f"Adapter {out}: " in caplog.text
    assert {g.role for g in filled.groups} == {"transferred"}  # from a file, so at the rate of what is from a file
    assert load_checkpoint(filled.best).state["provenance"]["adapter"]["digest"].startswith("sha256:")
    block = {n: t for n, t in load_checkpoint(whole.best).weights.items() if n.startswith("model.10.")}
    assert all(torch.equal(weights(filled)[n], t) for n, t in block.items())
    assert load_checkpoint(filled.best).state["inserted"] == load_checkpoint(whole.best).state["inserted"]
    again = run("again", **inserted, epochs=2, adapter=str(out))
    twin = stopped_twin(again)
    out.unlink()  # a resumed run has its weights from its own file
    assert equal(weights(again), weights(resumed_from(twin)))


@pytest.fixture
def teacher(tmp_path):
    """A weights file of another small network for five classes."""
    data = yaml.safe_load((CLONE / "cfg" / "models" / "yolov8.yaml").read_text(encoding="utf-8"))
    data["scales"] = {"n": [0.1, 0.08, 256]}
    file = tmp_path / "larger.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    torch.manual_seed(1)
    model = DetectionModel(str(file), nc=5, verbose=False)
    out = tmp_path / "larger.pt"
    names = {i: f"class {i}" for i in range(5)}
    save_checkpoint(out, {"model": model.yaml, "names": names, "ema": model.state_dict()})
    return out


@pytest.mark.slow
@pytest.mark.parametrize("form", ["feature", "cwd"])
def test_a_run_with_a_teacher_resumes_to_the_bit(run, teacher, form, tiny):
    whole = run(
        "whole", model=str(tiny), epochs=3, teacher=str(teacher), distill=form, preflight=True, plots=True, nbs=8
    )
    rows = table(whole)
    assert all(float(r["train/kd_loss"]) > 0 for r in rows)
    assert "val/kd_loss" not in rows[0]
    best, last = load_checkpoint(whole.best), load_checkpoint(whole.last)
    assert not any("distiller" in name for name in (*best.state["ema"], *last.state["ema"]))
    assert any(name.startswith("distiller.") for name in last.state["weights"])
    assert last.state["provenance"]["teacher"]["digest"].startswith("sha256:")
    assert YOLO(str(whole.best)).model.nc == 3
    for epoch, event in ((1, "on_train_epoch_end"), (0, "on_train_batch_end")):
        resumed = resumed_from(stopped_twin(whole, epoch, event, save_every=0.0001))
        ours, theirs = load_checkpoint(whole.last).state, load_checkpoint(resumed.last).state
        assert equal(ours["weights"], theirs["weights"])
        assert equal(ours["ema"], theirs["ema"])
        assert timeless(whole) == timeless(resumed)
    content = torch.load(teacher, weights_only=True)
    stopped = stopped_twin(whole)
    save_checkpoint(teacher, content | {"ema": {k: v + 1 for k, v in content["ema"].items()}})
    with pytest.raises(ConfigError, match="the teacher is another file than the run was saved with"):
        resumed_from(stopped)


@pytest.mark.slow
def test_a_teacher_of_the_same_classes_shows_its_scores(run, teacher, inserted, monkeypatch):
    """distill=logits, of a teacher trained on the data; in a trial for memory; with a frozen host as well."""
    trained = run("teacher", epochs=1)
    student = run("scores", epochs=1, teacher=str(trained.best), distill="logits", distill_gain=2)
    assert float(table(student)[0]["train/kd_loss"]) >= 0
    seen = []
    student.distillation.teacher.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    monkeypatch.setattr(memory, "peak_memory", lambda step, _: step() or 1)
    worst = memory.WorstStep(student.step.loss, student.args, student.stride, student.trial_labels)
    with student.step.loss.by_itself():
        assert worst.peak(3) == 1
    assert seen == [(3, 3, 64, 64)]
    host = load_checkpoint(inserted["pretrained"]).weights
    alone = run("alone", **inserted, epochs=1, teacher=str(teacher), train_only="new")
    kept = weights(alone)
    assert all(torch.equal(kept[n], t) for n, t in host.items() if int(n.split(".")[1]) < 10)


def test_a_teacher_that_does_not_fit_is_one_line(run, teacher, tiny):
    with pytest.raises(ConfigError, match="distill=logits needs a teacher of the dataset's classes"):
        run("logits", model=str(tiny), teacher=str(teacher), distill="logits")
    with pytest.raises(MissingFileError, match="weights file"):
        run("none", teacher="none.pt")


def test_nothing_new_to_train_or_to_fill(run, toy):
    with pytest.raises(ConfigError, match="train_only=new, and nothing is new"):
        run("nothing", train_only="new")
    with pytest.raises(MissingFileError, match="adapter file"):
        run("none", adapter="none.pt")


def test_rates_of_new_tensors_without_any_are_reported(run, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    run("none", epochs=1, lr_new=3.0)
    assert "lr_new=3.0 has no effect: no tensor is new" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["last.pt", "best.pt"])
def test_a_stop_between_the_two_checkpoints_leaves_a_best_one(run, monkeypatch, lost):
    """Killed while one of an epoch's two files is written, in either order, or best.pt deleted by hand."""
    whole = run("whole", epochs=3)
    given = {**whole.args.to_dict(), "name": "stopped", "exist_ok": True, "resume": False}
    stopped = DetectionTrainer(overrides=given)

    def write(path, data, previous=None):
        if stopped.epoch == 1 and path.name == lost:
            raise KilledError
        save_checkpoint(path, data, previous)

    monkeypatch.setattr("ultralytics.engine.run.saver.save_checkpoint", write)
    monkeypatch.setattr(DetectionTrainer, "validate", rising(DetectionTrainer.validate))
    with pytest.raises(KilledError):
        stopped.train()
    monkeypatch.setattr("ultralytics.engine.run.saver.save_checkpoint", save_checkpoint)
    if lost == "best.pt":
        stopped.best.unlink()
    left = stopped.wdir / ".last.pt.a1b2c3d4"
    left.write_bytes(b"half")
    resumed = DetectionTrainer(overrides={"resume": str(stopped.save_dir)})
    resumed.train()
    assert equal(weights(whole), weights(resumed))
    assert load_checkpoint(resumed.best).state["epoch"] == load_checkpoint(resumed.last).state["best_epoch"]
    assert not left.exists()


def rising(validate):
    """A validation whose fitness is the best of the run in its second epoch."""

    def message(trainer):
        figures, _ = validate(trainer)
        return figures, (0.1, 0.3, 0.2)[trainer.epoch]

    return message


def test_a_resumed_run_without_its_best_weights_writes_some(run):
    first = run(epochs=1)
    first.stopper.best_fitness = 1.0
    first.saver.save(best=True)
    first.best.unlink()
    resumed = DetectionTrainer(overrides={"resume": str(first.save_dir), "epochs": 2})
    resumed.train()
    assert load_checkpoint(resumed.best).state["epoch"] == 1


def test_a_run_with_relative_paths_is_resumed_from_another_folder(run, toy, tmp_path, monkeypatch):
    monkeypatch.chdir(toy.parent)
    first = run(data="toy.yaml", epochs=1)
    monkeypatch.chdir("/")
    resumed = DetectionTrainer(overrides={"resume": str(first.save_dir), "epochs": 2})
    resumed.train()
    assert len(table(resumed)) == 2


def test_a_longer_resumed_run_keeps_its_optimiser(run, caplog, monkeypatch):
    """`auto` takes SGD for long runs; switching in the middle would lose the optimiser's state."""
    first = run(epochs=1)
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    resumed = DetectionTrainer(overrides={"resume": str(first.save_dir), "epochs": 20000})

    def stop(trainer):
        raise KilledError

    resumed.add_callback("on_train_epoch_end", stop)
    with pytest.raises(KilledError):
        resumed.train()
    assert type(resumed.optimizer).__name__ == "AdamW"
    assert "is not used" not in caplog.text


def test_what_cannot_be_resumed_is_told(run, tmp_path, monkeypatch):
    trainer = run()
    with pytest.raises(ConfigError, match="nothing is left to resume"):
        DetectionTrainer(overrides={"resume": str(trainer.save_dir)})
    with pytest.raises(ConfigError, match="lr0 cannot change"):
        DetectionTrainer(overrides={"resume": str(trainer.last), "lr0": 0.5, "epochs": 5})
    with pytest.raises(CheckpointError, match=r"resume from weights/last\.pt"):
        DetectionTrainer(overrides={"resume": str(trainer.best)})
    monkeypatch.chdir(tmp_path / "toy")
    with pytest.raises(ConfigError, match=r"no last\.pt below"):
        DetectionTrainer(overrides={"resume": True})
    longer = DetectionTrainer(overrides={"resume": str(trainer.save_dir), "epochs": 3})
    longer.train()
    assert len(table(longer)) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"rect": True}, {"multi_scale": True, "imgsz": 70}, {"single_cls": True, "rect_val": False}, {"freeze": [0, 3]},
        {"cos_lr": True, "optimizer": "SGD", "warmup_epochs": 0.0}, {"fraction": 0.5, "val": False}, {"save": False},
        {"batch": 3, "nbs": 7, "amp": False}, {"mixup": 1.0, "degrees": 20.0, "perspective": 0.0005}, {"classes": [1]},
        {"patience": 1, "epochs": 3, "mosaic": 0.0}, {"dfl": 0.0, "box": 0.0, "batch": 64, "close_mosaic": 0},
        *(pytest.param(alone, marks=pytest.mark.slow) for alone in (
            {"imgsz": 70}, {"rect_val": False}, {"freeze": 4}, {"cos_lr": True, "optimizer": "SGD"}, {"fraction": 0.5},
            {"val": False}, {"amp": False}, {"batch": 64}, {"mosaic": 0.0}, {"mixup": 1.0}, {"close_mosaic": 0},
            {"patience": 1, "epochs": 3}, {"warmup_epochs": 0.0}, {"deterministic": False},
        )),
    ],
    ids=str,
)  # fmt: skip
def test_every_setting_trains(run, settings):
    trainer = run(**settings)
    assert np.isfinite([float(r["train/box_loss"]) for r in table(trainer)]).all()
    assert trainer.last.exists() or settings == {"save": False}


@pytest.mark.gpu
@pytest.mark.parametrize("settings", [{}, {"multi_scale": True}, {"amp": False}], ids=str)
def test_a_gpu_trains_repeats_and_resumes(run, settings):
    first = run("a", device=0, **settings)
    assert next(first.model.parameters()).is_cuda
    assert np.isfinite([float(r["val/box_loss"]) for r in table(first)]).all()
    assert equal(weights(first), weights(run("b", device=0, **settings)))
    longer = DetectionTrainer(overrides={"resume": str(first.save_dir), "epochs": 3})
    longer.train()
    assert len(table(longer)) == 3


def test_frozen_rows_do_not_change(run, tiny):
    torch.manual_seed(0)
    start = run("start", model=str(tiny), epochs=1, val=False)
    trainer = run("frozen", model=str(tiny), freeze=11, pretrained=str(start.last), epochs=1)
    before, after = weights(start), load_checkpoint(trainer.last).state["weights"]
    for name, tensor in after.items():
        row = int(name.split(".")[1])
        if row < 11:
            assert torch.equal(tensor, before[name]), name
    assert any(not torch.equal(after[k], before[k]) for k in after if k.startswith("model.13."))
    with pytest.raises(ConfigError, match="freeze=40 names row"):
        run("x", model=str(tiny), freeze=40)
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        run("y", model=str(tiny), freeze=24)


def relabel(toy, text):
    for split in ("train", "val"):
        for file in (toy.parent / "images" / split).iterdir():
            label = toy.parent / "labels" / split / f"{file.stem}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_a_data_set_without_a_single_box_trains(run, toy):
    relabel(toy, "")
    trainer = run(plots=True)
    rows = table(trainer)
    assert float(rows[-1]["metrics/mAP50-95(B)"]) == 0
    assert float(rows[-1]["train/cls_loss"]) > 0
    assert float(rows[-1]["train/box_loss"]) == 0


def test_no_picture_costs_a_run(run, toy, monkeypatch, caplog):
    """Nothing can be drawn and nobody has matplotlib: the run ends with its metrics, and each picture is reported."""

    def broken(*_):
        raise MemoryError

    monkeypatch.setattr("ultralytics.utils.charts.load_matplotlib", broken)
    monkeypatch.setattr("ultralytics.utils.batch_plots._tile", broken)
    with caplog.at_level("WARNING", "ultralytics"):
        trainer = run(plots=True, epochs=1)
    assert (trainer.save_dir / "metrics.json").is_file()
    assert trainer.best.is_file()
    message = [
        r.getMessage() for r in caplog.records if "MemoryError" in r.getMessage() and "not drawn" in r.getMessage()
    ]
    names = {t.split(": ")[1].rsplit("/", 1)[1] for t in message}
    curves = {f"{n}_curve.png" for n in ("PR", "F1", "P", "R")}
    others = {"labels.jpg", "train_batch0.jpg", "val_batch0_pred.jpg", "confusion_matrix.png", "results.png"}
    assert names >= others | curves
    assert len(message) == len(names)
    assert not {f.name for f in trainer.save_dir.iterdir()} & names


def test_a_font_there_is_not_is_told_before_a_run_begins(run, tmp_path):
    with pytest.raises(ConfigError, match=r"font=nowhere\.ttf: no such file"):
        run(font="nowhere.ttf")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("nc", [1, 64, 365])
def test_any_number_of_classes_trains(run, toy, nc):
    relabel(toy, f"{nc - 1} 0.5 0.5 0.4 0.4\n0 0.3 0.3 0.2 0.2\n")
    toy.write_text(f"train: images/train\nval: images/val\nnc: {nc}\n", encoding="utf-8")
    trainer = run(epochs=1)
    assert trainer.model.nc == nc
    assert trainer.metrics.maps.shape == (nc,)


@pytest.mark.slow
def test_odd_pictures_and_boxes_train(run, toy):
    import cv2  # only to write a 16-bit picture
    from PIL import Image  # only to write CMYK and a turned picture

    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        folder = toy.parent / "images" / split
        grey = rng.integers(0, 255, (80, 70), np.uint8)
        imwrite(folder / "灰 度.png", grey)
        cv2.imwrite(str(folder / "deep.png"), rng.integers(0, 65535, (64, 64)).astype(np.uint16))
        Image.fromarray(grey).convert("CMYK").save(folder / "cmyk.jpg")
        turned = Image.fromarray(grey)
        exif = turned.getexif()
        exif[0x0112] = 8
        turned.save(folder / "turned.jpg", exif=exif)
    relabel(toy, f"0 0.5 0.5 {1 / 70:.6f} {1 / 80:.6f}\n1 0.5 0.5 1 1\n")
    trainer = run(plots=True)
    assert len(trainer.train_loader.dataset) == 16
    assert trainer.metrics.images == 10


def test_bad_data_is_told_before_anything_is_trained(run, toy, tmp_path):
    relabel(toy, "3 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DatasetError, match=r"\.txt:1.*class id 3"):
        run()
    for file in (toy.parent / "images" / "train").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match="there are no images"):
        run()


def test_too_little_transfer_stops_the_run(run, tiny, tmp_path):
    start = run("start", model=str(tiny), epochs=1)
    text = insert_rows(tiny, 9, "nn.Identity")
    (tmp_path / "moved.yaml").write_text(text, encoding="utf-8")
    keys = {"model": str(tmp_path / "moved.yaml"), "pretrained": str(start.best), "epochs": 1}
    run("follows", **keys, min_transfer=1.0)
    with pytest.raises(CheckpointError, match=r"41% of the pretrained tensors .* less than min_transfer=0\.9"):
        run("lost", **keys, min_transfer=0.9, transfer="name")
    assert not (tmp_path / "runs" / "lost").exists()


def test_no_weights_are_too_little_as_well(run, tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"min_transfer=0.9, but there are no weights.*pretrained="):
        run("forgotten", min_transfer=0.9)
    start = run("start", model=str(tiny), epochs=1)
    wide = yaml.safe_load(tiny.read_text(encoding="utf-8"))
    wide["scales"] = {"n": [0.1, 0.12, 256]}
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(wide), encoding="utf-8")
    model = YOLO(tmp_path / "wide.yaml").load(start.best)  # most tensors of another width stay as initialised
    with pytest.raises(CheckpointError, match=r"less than min_transfer=0\.9"):
        model.train(data=str(start.args.data), epochs=1, imgsz=64, min_transfer=0.9, project=str(tmp_path / "runs"))


def test_classes_follow_their_names_in_a_run_and_in_load(run, toy, tmp_path):
    start = run("start", epochs=1)
    other = toy.with_name("other.yaml")
    other.write_text("train: images/train\nval: images/val\nnames: [blue, red, 绿]\n", encoding="utf-8")
    keys = {**start.args.to_dict(), "pretrained": str(start.best), "data": str(other), "name": "other"}
    model = DetectionTrainer(overrides=keys).get_model()
    saved = load_checkpoint(start.best)
    ends = [k for k in saved.weights if ".cv3." in k and k.endswith((".2.weight", ".2.bias"))]
    assert ends
    for key in ends:
        assert torch.equal(model.state_dict()[key], saved.weights[key][[2, 0, 1]])
    yolo = YOLO(start.args.model, nc=3)
    yolo.model.names = {0: "blue", 1: "red", 2: "绿"}
    yolo.load(start.best)
    assert yolo.names == saved.names
    for key in ends:
        assert torch.equal(yolo.model.state_dict()[key], saved.weights[key])


LOCKED = """
import math
import torch
from torch import nn
from ultralytics.nn.registry import register, same_width

@register(same_width)
class SizeLocked(nn.Module):
    def __init__(self, c1):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, c1, 2, 2))

    def forward(self, x):
        return x if x.shape[-1] == 8 else x + self.table

@register(same_width)
class NaNOnRectangles(nn.Module):
    def __init__(self, c1):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(c1))

    def forward(self, x):
        h, w = x.shape[2:]
        return x * self.gain.view(1, -1, 1, 1) * (1 if h == w else math.nan)

@register(same_width)
class Hoarder(nn.Module):
    def __init__(self, c1):
        super().__init__()
        self.mix = nn.Conv2d(c1, c1, 1)

    def forward(self, x):
        self.last = self.mix(x)
        return self.last
"""


@pytest.fixture(scope="module")
def breaking_plugins(tmp_path_factory):
    file = tmp_path_factory.mktemp("plugins") / "mine.py"
    file.write_text(LOCKED, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("SizeLocked", r"row 10 \(SizeLocked\): it is locked to 64×64 images: it fails at .*rect_val=False"),
        ("NaNOnRectangles", r"row 10 \(NaNOnRectangles\).*(not finite|NaN)"),
        ("Hoarder", r"row 10 \(Hoarder\).*last.*detach"),
    ],
)
def test_a_plugin_that_would_break_the_run_is_named_before_it_begins(
    run, tiny, tmp_path, breaking_plugins, module, message
):
    text = f"plugins: ['{breaking_plugins.as_posix()}']\n" + insert_rows(tiny, 9, module)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(PreflightError, match=message) as caught:
        run("broken", model=str(tmp_path / "mine.yaml"), batch=2, preflight=True)
    assert "\n" not in str(caught.value)
    assert "mine.yaml, line " in str(caught.value)
    assert not (tmp_path / "runs" / "broken").exists() or not list((tmp_path / "runs" / "broken").glob("weights/*"))


def test_check_tries_a_run_and_leaves_nothing(tiny, toy, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    before = sorted(p for p in tmp_path.iterdir())
    keys = {"model": str(tiny), "data": str(toy), "imgsz": 64, "batch": 5, "workers": 0, "multi_scale": True}
    DetectionTrainer.check(keys | {"device": "cpu"})
    assert "Preflight: " in caplog.text
    assert "The run can begin." in caplog.text
    assert sorted(p for p in tmp_path.iterdir()) == before


def test_pretrained_weights_are_reported_and_transferred(run, caplog, monkeypatch):
    start = run("start", epochs=1)
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    trainer = DetectionTrainer(overrides={**start.args.to_dict(), "pretrained": str(start.best), "name": "next"})
    model = trainer.get_model()
    total = len(model.state_dict())
    assert f"Transferred {total} of {total} pretrained tensors" in caplog.text
    assert equal(dict(model.state_dict()), load_checkpoint(start.best).weights)
    from_file = DetectionTrainer(overrides={**start.args.to_dict(), "model": str(start.best), "name": "third"})
    assert equal(dict(from_file.get_model().state_dict()), load_checkpoint(start.best).weights)
    scratch = DetectionTrainer(
        overrides={**start.args.to_dict(), "model": str(start.best), "pretrained": False, "name": "fourth"}
    )
    assert not equal(dict(scratch.get_model().state_dict()), load_checkpoint(start.best).weights)


def test_real_coco_weights_start_a_run(run, shared):
    trainer = run(model=str(shared / "weights" / "yolov8n.pt"), epochs=1)
    assert trainer.model.nc == 3
    assert trainer.best.exists()


def test_the_same_seed_starts_from_the_same_weights_whatever_came_before(run):
    a = run("a", epochs=1)
    torch.rand(100)
    assert equal(weights(a), weights(run("b", epochs=1)))


def test_early_stopping_counts_from_the_best():
    stop = EarlyStopping(patience=2)
    assert [stop(e, f) for e, f in enumerate([0.1, 0.3, 0.2, 0.3, 0.1, 0.1])] == [False] * 5 + [True]
    assert stop.best_epoch == 3
    never = EarlyStopping(patience=0)
    assert not any(never(e, -e) for e in range(500))
    assert not stop(9, None)


def test_a_time_limit_ends_the_run(run):
    trainer = run(epochs=1000, time=1e-7)
    assert len(table(trainer)) == 1
    assert trainer.best.exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(run):
    def poison(trainer):
        if trainer.epoch == 1:
            with torch.no_grad():
                trainer.model.model[0].conv.weight.fill_(float("nan"))

    given = run("first", epochs=1).args.to_dict()
    trainer = DetectionTrainer(overrides={**given, "epochs": 3, "name": "poisoned"})
    trainer.add_callback("on_train_epoch_start", poison)
    with pytest.raises(NonFiniteLossError, match=r"not finite in epoch 2.*last\.pt"):
        trainer.train()
    kept = load_checkpoint(trainer.last)
    assert all(torch.isfinite(v).all() for v in kept.weights.values() if v.is_floating_point())


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(run, monkeypatch):
    import os  # its fsync is replaced

    given = run("first", epochs=1).args.to_dict()
    trainer = DetectionTrainer(overrides={**given, "epochs": 3, "name": "full"})
    real = os.fsync

    def fill(_):
        def full(fd):
            raise OSError(28, "No space left on device")

        if trainer.epoch == 1:
            monkeypatch.setattr(os, "fsync", full)

    trainer.add_callback("on_train_epoch_start", fill)
    with pytest.raises(UserError, match="No space left on device"):
        trainer.train()
    monkeypatch.setattr(os, "fsync", real)
    assert load_checkpoint(trainer.last).state["epoch"] == 0
    DetectionTrainer(overrides={"resume": str(trainer.save_dir)}).train()
    assert len(table(trainer)) == 3


def test_learning_happens(run, toy):
    """Twelve images learnt by heart: everything from the loader to the metrics has to work for that."""
    toy.write_text("train: images/train\nval: images/train\nnames: [red, green, blue]\n", encoding="utf-8")
    trainer = run(
        imgsz=96, epochs=40, amp=False, optimizer="AdamW", lr0=0.005, lrf=0.1, nbs=4, warmup_epochs=0.0, mosaic=0.0,
        translate=0.0, scale=0.0, hsv_s=0.1, hsv_v=0.1, val=False,
    )  # fmt: skip
    assert trainer.metrics.box.map50 > 0.15


def test_a_model_yaml_trains_and_goes_on_with_its_best_weights(tiny, toy, tmp_path):
    seen = []
    yolo = YOLO(str(tiny))
    yolo.add_callback("on_fit_epoch_end", lambda trainer: seen.append(trainer.epoch))
    metrics = yolo.train(
        data=str(toy), epochs=1, imgsz=64, batch=4, workers=0, project=str(tmp_path / "r"), plots=False
    )
    assert seen == [0, 0]  # once more after the validation of the best weights, as in the reference
    assert yolo.names == {0: "red", 1: "绿", 2: "blue"}
    again = yolo.val(workers=0, project=str(tmp_path / "r"), plots=False)
    assert again.box.map == pytest.approx(metrics.box.map, abs=1e-6)
    assert set(again.speed) == {"preprocess", "inference", "loss", "postprocess"}


def test_a_saved_or_loaded_model_is_the_same(tiny, tmp_path):
    yolo = YOLO(str(tiny))
    yolo.save(tmp_path / "m.pt")
    again = YOLO(tmp_path / "m.pt")
    assert equal(dict(yolo.model.state_dict()), dict(again.model.state_dict()))
    other = YOLO(str(tiny)).load(tmp_path / "m.pt")
    assert equal(dict(yolo.model.state_dict()), dict(other.model.state_dict()))
    assert yolo.info(verbose=False)[1] == sum(p.numel() for p in yolo.model.parameters())
    with pytest.raises(ConfigError, match="neither"):
        YOLO("model.txt")


def test_a_fused_model_is_not_saved(tiny, tmp_path):
    """Its weights would load a fifth of their tensors, silently, and detect nothing."""
    yolo = YOLO(str(tiny)).fuse()
    with pytest.raises(CheckpointError, match=r"before fuse"):
        yolo.save(tmp_path / "m.pt")
    assert not (tmp_path / "m.pt").exists()


@pytest.mark.parametrize("harm", ["lost", "foreign", "misshapen", "fused"])
def test_weights_of_ours_that_are_not_whole_are_refused(tiny, tmp_path, harm):
    model = DetectionModel(str(tiny), nc=2, verbose=False)
    tensors = dict(model.state_dict())
    first = next(iter(tensors))
    if harm == "lost":
        del tensors[first]
    elif harm == "foreign":
        tensors["model.0.more"] = torch.zeros(3)
    elif harm == "misshapen":
        tensors[first] = torch.zeros(1, 2)
    else:
        tensors = dict(model.fuse().state_dict())
    save_checkpoint(tmp_path / "w.pt", {"model": model.yaml, "names": {0: "a", 1: "b"}, "ema": tensors})
    with pytest.raises(CheckpointError, match=r"w\.pt: the tensors do not match the network of the file"):
        YOLO(tmp_path / "w.pt")


def test_missing_arguments_are_told(tiny, toy):
    with pytest.raises(ConfigError, match="no dataset given"):
        DetectionTrainer(overrides={"model": str(tiny), "project": str(toy.parent / "runs")})
    trainer = DetectionTrainer(overrides={"data": str(toy), "project": str(toy.parent / "runs")})
    with pytest.raises(ConfigError, match="no model given"):
        trainer.train()
    assert not list((toy.parent / "runs").iterdir())  # nothing began, so no folder is left


def test_a_checkpoint_of_another_version_can_still_be_evaluated(tiny, tmp_path):
    model = DetectionModel(str(tiny), nc=2, verbose=False)
    save_checkpoint(
        tmp_path / "old.pt", {"model": model.yaml, "names": {0: "a", 1: "b"}, "ema": model.state_dict(), "more": 1}
    )
    assert YOLO(tmp_path / "old.pt").names == {0: "a", 1: "b"}
    assert get_cfg(None, {"epochs": 3}).epochs == 3


def test_a_class_count_of_the_yaml_that_the_data_override_is_told(tiny, toy, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    data = yaml.safe_load(tiny.read_text(encoding="utf-8"))
    keys = {"data": str(toy), "imgsz": 64, "project": str(tmp_path / "runs"), "pretrained": False}
    for nc, message in ((1, True), (3, False), (None, False)):
        caplog.clear()
        data.pop("nc", None)
        file = tmp_path / "counted.yaml"
        file.write_text(yaml.safe_dump(data if nc is None else {**data, "nc": nc}), encoding="utf-8")
        assert DetectionTrainer(overrides={**keys, "model": str(file)}).get_model().nc == 3
        assert ("nc: 1 → 3, by the data" in caplog.text) is message
        assert ("by the data" in caplog.text) is message


@pytest.mark.parametrize("kept", [None, "notes.txt"])
def test_a_run_that_cannot_save_at_its_start_leaves_nothing_of_its_own(tiny, toy, tmp_path, monkeypatch, kept):
    def full(*_):
        raise UserError("cannot be written: No space left on device")

    folder = tmp_path / "runs" / "full"
    given = {"model": str(tiny), "data": str(toy), "epochs": 1, "imgsz": 64, "batch": 4, "device": "cpu", "workers": 0}
    if kept:
        folder.mkdir(parents=True)
        (folder / kept).write_text("mine")
    monkeypatch.setattr("ultralytics.engine.run.saver.save_checkpoint", full)
    trainer = DetectionTrainer(
        overrides={**given, "project": str(folder.parent), "name": "full", "exist_ok": bool(kept)}
    )
    with pytest.raises(UserError, match="No space left"):
        trainer.train()
    assert folder.exists() == bool(kept)
    if kept:
        assert (folder / kept).read_text() == "mine"
        assert not (folder / "args.yaml").exists()
