"""Events: which come when, with what, and what happens when a callback fails."""

from pathlib import Path

import pytest

from tests.conftest import write_toy
from tests.helpers.networks import write_net
from ultralytics import YOLO
from ultralytics.engine.callbacks import EVENTS, CallbackError, Callbacks
from ultralytics.engine.weights.checkpoint import load_checkpoint
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.errors import ConfigError, UserError


@pytest.fixture
def keys(tmp_path):
    """A run of two batches an epoch, in a moment."""
    return {
        "model": str(write_net(tmp_path)),
        "data": str(write_toy(tmp_path)),
        "epochs": 2,
        "imgsz": 32,
        "batch": 6,
        "nbs": 6,
        "workers": 0,
        "threads": 1,
        "plots": False,
        "verbose": False,
        "preflight": False,
        "mosaic": 0.0,
        "project": str(tmp_path / "runs"),
        "name": "a",
    }


# The functions by themselves


def test_an_unknown_event_is_told_with_its_neighbour():
    for add in (Callbacks().add, YOLO("yolov8n.yaml").add_callback):
        with pytest.raises(ConfigError, match=r"no event 'on_train_epoch_ends' \(did you mean 'on_train_epoch_end'"):
            add("on_train_epoch_ends", print)
    with pytest.raises(ConfigError, match=r"no event 'x'.*one of on_pretrain_routine_start"):
        Callbacks()["x"].append(print)
    with pytest.raises(ConfigError, match=r"callback of on_train_end is 3, and no function"):
        Callbacks().add("on_train_end", 3)
    with pytest.raises(ConfigError, match="no event 'on_trian_start'"):
        DetectionTrainer(overrides={"data": "data/shapes.yaml"}, _callbacks={"on_trian_start": [print]})


def test_functions_are_added_replaced_and_dropped():
    callbacks, seen = Callbacks({"on_val_end": [lambda o: seen.append("first")]}), []
    callbacks.add("on_val_end", lambda o: seen.append("second"))
    callbacks.run("on_val_end", None)
    callbacks.replace("on_val_end", seen.append)
    callbacks.run("on_val_end", "owner")
    callbacks.drop("on_val_end")
    callbacks.run("on_val_end", None)
    assert seen == ["first", "second", "owner"]


class PrunedError(Exception):
    """A script's own way out of a run."""


class OddError(Exception):
    """Cannot be made from a text alone."""

    def __init__(self, a, b):
        super().__init__(a, b)


@pytest.mark.parametrize(
    "error",
    [ValueError("bad\nvalue"), PrunedError(), KeyError("x"), OSError(2, "gone"), ConfigError("no"), OddError(1, 2)],
)
def test_a_failing_callback_is_named_and_what_it_raised_can_be_caught(error):
    def mine(owner):
        raise error

    callbacks = Callbacks()
    callbacks.add("on_fit_epoch_end", mine)
    with pytest.raises(CallbackError) as caught:
        callbacks.run("on_fit_epoch_end", None)
    message = str(caught.value)
    assert "mine failed at on_fit_epoch_end" in message
    assert f"{Path(__file__).name}, line" in message
    assert "\n" not in message
    assert isinstance(caught.value, UserError)
    assert caught.value.__cause__ is error
    assert isinstance(caught.value, type(error)) or isinstance(error, OddError)


def test_plugins_bring_functions_by_name_and_in_a_table(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "seen = []\n"
        "def on_train_start(trainer): seen.append('named')\n"
        "def other(trainer): seen.append('listed')\n"
        "callbacks = {'on_train_start': [other], 'on_val_end': other}\n",
        encoding="utf-8",
    )
    callbacks = Callbacks()
    callbacks.take([str(file)])
    copied = Callbacks(callbacks)
    copied.take(str(file))  # once
    assert (len(copied["on_train_start"]), len(copied["on_val_end"]), copied.loose) == (2, 1, False)
    copied.add("on_val_end", print)
    assert copied.loose
    assert not callbacks.loose
    file = tmp_path / "wrong.py"
    file.write_text("callbacks = {'on_train_sart': print}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"wrong.py: .*'on_train_sart' \(did you mean 'on_train_start'"):
        Callbacks().take(str(file))


# In a run


VALIDATION = ["on_val_start", "on_val_batch_start", "on_val_batch_end", "on_val_end"]
STEP = ["on_train_batch_start", "optimizer_step", "on_before_zero_grad", "on_params_update", "on_train_batch_end"]
EPOCH = ["on_train_epoch_start", *STEP, *STEP, "on_train_epoch_end", *VALIDATION, "on_model_save", "on_fit_epoch_end"]
# As recorded of the reference in a run of two epochs of two batches; the events within a step are there but never fire.
RUN = [
    *("on_pretrain_routine_start", "on_pretrain_routine_end", "on_train_start"),
    *EPOCH,
    *EPOCH,
    *VALIDATION,
    *("on_fit_epoch_end", "on_train_end", "teardown"),
]


def test_every_event_of_a_training_comes_at_its_moment_with_what_scripts_read(keys):
    seen, message = [], {}

    def note(event):
        def look(owner):
            seen.append(event)
            if event.startswith("on_val"):
                message.setdefault(event, []).append((owner.training, owner.batch_i, owner.seen))
            elif event == "on_train_epoch_end":
                items = owner.label_loss_items(owner.tloss, prefix="train")
                message.setdefault(event, []).append((owner.epoch, owner.epochs, items, owner.lr, owner.stop))
            elif event == "on_fit_epoch_end":
                row = {**owner.label_loss_items(owner.tloss), **owner.metrics}
                message.setdefault(event, []).append((row, owner.fitness, owner.best_fitness))
            elif event == "on_train_batch_end":
                assert owner.loss.requires_grad is False
                assert owner.loss_items.shape == (3,)
            elif event == "on_pretrain_routine_start":
                assert owner.model == keys["model"]
                assert owner.validator is None
            elif event == "on_pretrain_routine_end":
                assert set(owner.metrics) == {"val/box_loss", "val/cls_loss", "val/dfl_loss"}
                assert owner.tloss is None
                assert owner.best_fitness is None

        return look

    trainer = DetectionTrainer(overrides=keys, _callbacks={e: [note(e)] for e in EVENTS if "predict" not in e})
    metrics = trainer.train()
    assert seen == RUN
    assert [t[0] for t in message["on_val_end"]] == [True, True, False]
    assert message["on_val_batch_end"][0][1:] == (0, 6)
    assert [t[:2] + t[4:] for t in message["on_train_epoch_end"]] == [(0, 2, False), (1, 2, False)]
    assert [list(t[2]) for t in message["on_train_epoch_end"]] == [
        ["train/box_loss", "train/cls_loss", "train/dfl_loss"]
    ] * 2
    assert list(message["on_train_epoch_end"][0][3]) == ["lr/pg0", "lr/pg1", "lr/pg2"]
    for row, (figures, fitness, best) in zip(trainer.rows, message["on_fit_epoch_end"], strict=False):
        assert figures.items() <= row.items()
        assert fitness is not None
        assert best is not None
    assert metrics is trainer.metrics.source is trainer.validator.metrics
    assert trainer.metrics["metrics/mAP50(B)"] == metrics.box.map50 == trainer.metrics.box.map50
    assert trainer.stop
    assert (trainer.batch_size, trainer.amp, trainer.csv) == (
        6,
        trainer.amp_dtype is not None,
        trainer.save_dir / "results.csv",
    )
    assert trainer.test_loader is trainer.val_loader is not None
    assert trainer.data["nc"] == 3
    assert trainer.data["names"] == trainer.model.names
    assert trainer.scheduler.get_last_lr() == list(trainer.lr.values())
    assert trainer.lf(0) == 1.0
    assert trainer.read_results_csv()["epoch"] == [1, 2]
    assert trainer.get_dataset() == (trainer.data.split("train"), trainer.data.split("val"))
    assert 0 <= trainer.epoch_time <= trainer.rows[-1]["time"]


@pytest.mark.parametrize(
    "event",
    [*(pytest.param(e, marks=pytest.mark.slow) for e in ("on_train_batch_end", "on_val_end")), "on_fit_epoch_end"],
)
def test_stop_ends_the_run_after_the_epoch(keys, event):
    trainer = DetectionTrainer(overrides={**keys, "epochs": 5})
    trainer.add_callback(event, lambda owner: setattr(trainer, "stop", True))
    trainer.train()
    assert len(trainer.rows) == 1
    assert load_checkpoint(trainer.last).state["over"] is True
    assert load_checkpoint(trainer.best).state["epoch"] == 0


def test_a_decay_of_ones_own_moves_the_learning_rate(keys):
    trainer = DetectionTrainer(overrides={**keys, "warmup_epochs": 0.0, "optimizer": "SGD", "lr0": 0.01})
    trainer.set_callback("on_pretrain_routine_end", lambda t: setattr(t, "lf", lambda epoch: 0.5**epoch))
    rates = []
    trainer.add_callback("on_train_epoch_end", lambda t: rates.append(t.lr["lr/pg1"]))
    with pytest.raises(ConfigError, match=r"set trainer\.lf"):
        trainer.scheduler = object()
    trainer.train()
    assert rates == [0.01, 0.005]


@pytest.mark.parametrize(
    "event",
    ["on_train_batch_end", "on_before_zero_grad", pytest.param("on_fit_epoch_end", marks=pytest.mark.slow)],
)
def test_the_run_is_saved_when_a_callback_fails_and_goes_on(keys, event, caplog):
    calls = []

    def fail(owner):
        calls.append(event)
        if len(calls) == 2:
            raise ValueError("mine")

    trainer = DetectionTrainer(overrides=keys)
    trainer.add_callback(event, fail)
    with pytest.raises(ValueError, match=f"fail failed at {event}: ValueError: mine"):
        trainer.train()
    assert "The run is saved. Go on with: " in caplog.text
    resumed = DetectionTrainer(overrides={"resume": str(trainer.save_dir)})
    assert (resumed.resumed.state["epoch"], resumed.resumed.state["batches_done"]) == {
        "on_train_batch_end": (-1, 2),
        "on_before_zero_grad": (-1, 0),  # in the middle of a step: the save before it
        "on_fit_epoch_end": (1, 0),
    }[event]


def test_a_callback_that_fails_before_the_run_leaves_nothing(keys):
    trainer = DetectionTrainer(overrides=keys)
    trainer.add_callback("on_pretrain_routine_end", lambda t: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="failed at on_pretrain_routine_end"):
        trainer.train()
    assert not trainer.save_dir.exists()


# In val and predict


def test_events_of_a_validation_and_a_prediction(keys, tmp_path):
    yolo, seen = YOLO(keys["model"]), []
    for event in EVENTS:
        yolo.add_callback(event, lambda owner, event=event: seen.append((event, owner)))
    metrics = yolo.val(
        data=keys["data"], imgsz=32, batch=3, workers=0, threads=1, plots=False, project=str(tmp_path), verbose=False
    )
    step = VALIDATION[1:3]
    assert [e for e, _ in seen] == [VALIDATION[0], *step, *step, VALIDATION[3]]
    assert metrics is seen[-1][1].metrics
    assert sum(map(len, seen[-1][1].stats["target_cls"])) == sum(metrics.nt_per_class)
    seen.clear()
    folder = Path(keys["data"]).parent / "images" / "val"
    batches = []
    yolo.add_callback("on_predict_batch_end", lambda p: batches.append((p.batch, list(p.results))))
    found = yolo.predict(str(folder), imgsz=32, conf=0.001, threads=1, verbose=False)
    batch = ["on_predict_batch_start", "on_predict_postprocess_end", "on_predict_batch_end"]
    assert [e for e, _ in seen] == ["on_predict_start", *batch * 6, "on_predict_end"]
    assert seen[-1][1] is yolo.predictor
    assert yolo.predictor.seen == len(yolo.predictor.dataset) == 6
    for ((paths, images, _), results), result in zip(batches, found, strict=True):
        assert paths == [result.path]
        assert images[0] is result.orig_img
        assert results == [result]


def test_what_a_callback_makes_of_the_results_is_returned(keys):
    yolo = YOLO(keys["model"])
    folder = Path(keys["data"]).parent / "images" / "val"

    def pair(predictor):
        path, im0s, _ = predictor.batch
        predictor.results = zip(predictor.results, im0s, [predictor.dataset.bs] * len(path), strict=True)

    yolo.add_callback("on_predict_batch_end", pair)
    count = 0
    for result, image, bs in yolo.predict(str(folder), stream=True, imgsz=32, batch=2, threads=1, verbose=False):
        assert result.orig_img is image
        assert bs == 2
        count += 1
    assert count == 6
    yolo.clear_callback("on_predict_batch_end")
    yolo.add_callback("on_predict_postprocess_end", lambda p: p.results.pop())
    with pytest.raises(CallbackError, match="has left 0 results for 1 image"):
        yolo.predict(str(folder), imgsz=32, threads=1, verbose=False)
    yolo.reset_callbacks()
    assert len(yolo.predict(str(folder), imgsz=32, threads=1, verbose=False)) == 6


@pytest.mark.slow
def test_callbacks_of_a_plugin_follow_to_the_ranks(keys, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from pathlib import Path\n"
        "def on_train_epoch_end(trainer):\n"
        "    (Path(trainer.save_dir) / f'rank{trainer.team.rank}').write_text(str(trainer.epoch), encoding='utf-8')\n"
        "    trainer.stop = trainer.team.leads  # one rank's wish is everybody's\n",
        encoding="utf-8",
    )
    yolo = YOLO(keys["model"], plugins=str(plugin))
    yolo.train(**{**keys, "device": "cpu,cpu", "epochs": 3})
    run = tmp_path / "runs" / "a"
    assert [(run / f"rank{i}").read_text(encoding="utf-8") for i in (0, 1)] == ["0", "0"]
    assert load_checkpoint(run / "weights" / "last.pt").state["over"] is True
