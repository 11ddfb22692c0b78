"""Which run `resume=` means and what it may be reported, from folders made by hand."""

import contextlib
import copy
import pickle
import re
import shutil

import pytest
import torch

from tests.conftest import write_tiny, write_toy
from ultralytics.cfg.config import get_cfg
from ultralytics.cfg.paths import CLONE
from ultralytics.cli import main
from ultralytics.engine.run.folder import named_run_dir
from ultralytics.engine.run.provenance import provenance, readable, without_home
from ultralytics.engine.run.resume import (
    RESUMABLE,
    changed_data,
    changed_plugins,
    check_names,
    read_resume,
    requested_keys,
)
from ultralytics.engine.weights.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.errors import CheckpointError, ConfigError, FinishedRunError, MissingFileError, UserError


def a_run(folder, args=None, **state):
    """A run's folder as training leaves it, as far as reading goes; its last.pt."""
    config = get_cfg(None, {"model": "yolov8n.yaml", "data": "data/shapes.yaml", "epochs": 9} | (args or {}))
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    (folder / "args.yaml").write_text(config.yaml_text(), encoding="utf-8")
    last = folder / "weights" / "last.pt"
    save_checkpoint(last, content(config) | state)
    return last


def content(config):
    tensors = {"a": torch.zeros(2)}
    return {
        "model": {"nc": 1}, "names": {0: "a"}, "ema": tensors, "weights": tensors, "epoch": 3, "batches": 6,
        "batches_done": 0, "optimizer_name": "SGD", "optimizer": {"param_groups": [], "state": {}},
        "train_args": config.to_dict(),
    }  # fmt: skip


def read(resume, **overrides):
    return read_resume(get_cfg(None, {"resume": resume if resume is True else str(resume), **overrides}))


def again(folder, **overrides):
    """The command that began a run, once more."""
    return read_resume(get_cfg(None, {**overrides, "resume": str(folder)}, "command line"), again=True)


# Which run


def test_a_checkpoint_outside_a_run_is_refused_before_anything_is_written(tmp_path):
    last = a_run(tmp_path / "run")
    home = tmp_path / "home"
    (home / "Downloads").mkdir(parents=True)
    (home / "weights").mkdir()
    loose = home / "Downloads" / "last.pt"
    loose.write_bytes(last.read_bytes())
    (home / "args.yaml").write_text((tmp_path / "run" / "args.yaml").read_text())  # not even a run makes it one
    with pytest.raises(ConfigError, match=r"last\.pt: it does not lie in a run's folder"):
        read(loose)
    (home / "weights" / "last.pt").write_bytes(last.read_bytes())
    assert read(home / "weights" / "last.pt").folder == home
    for strange in ("", "epochs: 3\nmodel: a\ndata: b\n", "[1, 2", "task: detect\nmode: train\nlabel_smoothing: 0\n"):
        (home / "args.yaml").write_text(strange)
        for meant in (home, home / "weights" / "last.pt"):
            with pytest.raises(ConfigError, match="it does not lie in a run's folder"):
                read(meant)


def test_a_missing_checkpoint_begins_no_run_where_none_was(tmp_path):
    begun = a_run(tmp_path / "run")
    begun.unlink()
    assert read(tmp_path / "run").checkpoint is None
    (tmp_path / "other").mkdir()
    (tmp_path / "args.yaml").write_text((tmp_path / "run" / "args.yaml").read_text())
    for absent in ("other/last.pt", "weights/last.pt.txt"):
        with pytest.raises(MissingFileError):
            read(tmp_path / absent)


def test_a_link_and_a_path_from_within_the_run_mean_it(tmp_path, monkeypatch):
    last = a_run(tmp_path / "run")
    (tmp_path / "newest.pt").symlink_to(last)
    assert read(tmp_path / "newest.pt").folder == tmp_path / "run"
    monkeypatch.chdir(last.parent)
    assert read("last.pt").folder.absolute() == tmp_path / "run"
    monkeypatch.chdir(last.parent.parent)
    for meant in (".", "weights/last.pt", "./weights/last.pt"):
        assert read(meant).folder.samefile(tmp_path / "run")


def test_the_newest_run_is_one_of_this_project(tmp_path, monkeypatch):
    last = a_run(tmp_path / "runs" / "a")
    stranger = tmp_path / "runs" / "b" / "weights" / "last.pt"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(last.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert read(True).folder.name == "a"
    assert read(True, project=str(tmp_path / "runs")).folder.name == "a"


# What it may be reported


def test_the_command_that_began_a_run_changes_nothing(tmp_path, monkeypatch):
    """Whatever was resolved: a recipe, keys that optimizer=auto and batch=-1 overwrite, paths, a rounded size."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("lr0: 0.02\nmosaic: 0.5\n")
    (tmp_path / "mine.yaml").write_text("names: [a]\n")
    given = {"cfg": str(recipe), "data": "mine.yaml", "batch": -1, "imgsz": 100, "name": "J", "project": "p"}
    given |= {"model": "yolov8n-fla.yaml", "resume": "auto"}
    monkeypatch.chdir(tmp_path)
    args = get_cfg(None, given, "command line")
    asked = requested_keys(args)
    assert "cfg" not in asked
    assert (asked["lr0"], asked["batch"], asked["data"]) == (0.02, -1, without_home(str(tmp_path / "mine.yaml")))
    for key, value in (("lr0", 0.002), ("batch", 16), ("imgsz", 128), ("data", str(tmp_path / "mine.yaml"))):
        args.set(key, value, "auto")
    a_run(tmp_path / "p" / "J", args.to_dict(), asked=asked)
    monkeypatch.chdir(tmp_path / "p")
    found = again(tmp_path / "p" / "J", **given | {"data": "../mine.yaml", "project": "."})
    assert found.changed == {}
    assert (found.args.lr0, found.args.batch, found.args.imgsz) == (0.002, 16, 128)
    assert found.requested == asked
    found = again(tmp_path / "p" / "J", **given | {"data": "../mine.yaml", "project": ".", "batch": 8, "lr0": 0.002})
    assert (found.changed, found.args.batch, found.requested["batch"], found.requested["lr0"]) == (
        {"batch": 16},
        8,
        8,
        0.02,
    )
    with pytest.raises(ConfigError, match="lr0 cannot change"):
        again(tmp_path / "p" / "J", **given | {"data": "../mine.yaml", "lr0": 0.03})
    recipe.write_text("lr0: 0.02\nmosaic: 0.6\n")
    with pytest.raises(ConfigError, match="mosaic cannot change"):
        again(tmp_path / "p" / "J", **given | {"data": "../mine.yaml"})


def test_before_the_first_save_the_command_is_taken_by_its_word(tmp_path):
    a_run(tmp_path / "run", {"lr0": 0.002, "batch": 16}).unlink()
    found = again(tmp_path / "run", lr0=0.02, batch=-1)
    assert (found.args.lr0, found.args.batch, found.args.epochs, found.requested) == (
        0.02,
        -1,
        9,
        {"lr0": 0.02, "batch": -1},
    )
    assert (read(tmp_path / "run").args.batch, read(tmp_path / "run", batch=4).args.batch) == (16, 4)
    with pytest.raises(ConfigError, match="lr0 cannot change"):
        read(tmp_path / "run", lr0=0.02)


def test_another_model_is_refused_and_by_name_other_data_too(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("names: [a]\n")
    last = a_run(tmp_path / "run", {"data": str(tmp_path / "a.yaml")})
    for model in ("yolov8s.yaml", "yolov8n-fla.yaml", "best.pt"):
        for meant in (read, again):
            with pytest.raises(ConfigError, match="model cannot change"):
                meant(tmp_path / "run", model=model)
    for model in ("yolov8n.yaml", "cfg/models/yolov8n.yaml", str(last)):
        assert read(tmp_path / "run", model=model).args.model == again(tmp_path / "run", model=model).args.model
    other = str(tmp_path / "b.yaml")
    assert read(tmp_path / "run", data=other).args.data == other
    with pytest.raises(ConfigError, match=r"data cannot change .* choose another name= for another run"):
        again(tmp_path / "run", data=other)
    last.unlink()
    for given in ({"data": other}, {"model": "yolov8s.yaml"}):
        with pytest.raises(ConfigError, match="cannot change"):
            again(tmp_path / "run", **given)
    assert again(tmp_path / "run", data=str(tmp_path / "a.yaml"), lr0=0.5).args.lr0 == 0.5


def test_auto_needs_a_name(capsys):
    assert main(["train", "model=yolov8n.yaml", "data=data/shapes.yaml", "resume=auto"]) == 2
    assert "resume=auto finds a run by its name, and none is given (name=NAME)" in capsys.readouterr().err


def test_auto_takes_the_folder_of_a_run_that_never_began_and_no_other(tmp_path):
    folder = tmp_path / "J"
    assert named_run_dir(tmp_path, "J") == folder
    (folder / "weights").mkdir()
    for left in (".lock", "labels.jpg", "slurm.out"):
        (folder / left).touch()
        assert named_run_dir(tmp_path, "J") == folder
    for kept in ("weights/best.pt", "results.csv"):
        (folder / kept).touch()
        with pytest.raises(ConfigError, match=f"it holds {kept}, but no run that can go on"):
            named_run_dir(tmp_path, "J")
        (folder / kept).unlink()
    assert [p.name for p in tmp_path.iterdir()] == ["J"]


def test_fewer_epochs_than_are_done_are_refused(tmp_path):
    last = a_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"epochs=3, but 4 epochs of the run are done \(epochs=4 or more\)"):
        read(last, epochs=3)
    with pytest.raises(ConfigError, match="nothing is left to resume"):
        read(last, epochs=4)
    assert read(last, epochs=5).args.epochs == 5
    a_run(tmp_path / "run", batches_done=6)  # stopped before its validation
    with pytest.raises(ConfigError, match=r"epochs=4, but the run is in epoch 5 \(epochs=5 or more\)"):
        read(last, epochs=4)
    assert read(last, epochs=5).args.epochs == 5


def test_a_finished_job_that_is_started_again_is_no_failure(tmp_path, capsys):
    a_run(tmp_path / "J", {"project": str(tmp_path), "name": "J"}, epoch=8)
    words = ["train", "model=yolov8n.yaml", "data=data/shapes.yaml", "epochs=9", f"project={tmp_path}", "name=J"]
    assert main([*words, "resume=auto"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (f"{tmp_path / 'J'}: its 9 epochs are done, nothing is left to resume\n", "")
    assert main(["train", f"resume={tmp_path / 'J'}"]) == 2
    with pytest.raises(FinishedRunError) as message:
        again(tmp_path / "J")
    assert pickle.loads(pickle.dumps(message.value)).folder == str(tmp_path / "J")  # as it goes to the other ranks


def test_the_save_that_is_used_is_named(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    last = a_run(tmp_path / "run")
    last.rename(last.with_name("last.prev.pt"))
    last.write_bytes(b"cut short")
    read(last)
    assert f"Resuming {last.with_name('last.prev.pt')} after epoch 4 of 9" in caplog.text


def test_every_value_keeps_its_source(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("mosaic: 0.5\n")
    args = get_cfg(recipe, {"model": "yolov8n.yaml", "data": "data/shapes.yaml", "epochs": 9}, "command line")
    args.set("lr0", 0.002, "auto")
    last = a_run(tmp_path / "run", args.to_dict(), sources=args.sources)
    given = {"resume": str(last), "epochs": 12, "patience": 3}
    found = read_resume(get_cfg(None, given, "argument")).args
    assert {k: v for k, v in found.sources.items() if v != "default"} == {
        "model": "command line", "data": "command line", "mosaic": str(recipe), "lr0": "auto", "epochs": "argument",
        "patience": "argument",
    }  # fmt: skip
    before = provenance(torch.device("cpu"), args)
    record = provenance(torch.device("cpu"), found, before=before)
    assert record["config"]["mosaic"] == {"value": 0.5, "source": str(recipe)}
    assert record["history"][0]["config"] == {"epochs": {"value": 9, "source": "command line"}}
    last.unlink()
    found = again(tmp_path / "run", epochs=9).args
    assert (found.sources["epochs"], found.sources["nbs"]) == ("command line", "default")
    assert found.sources["mosaic"] == str(tmp_path / "run" / "args.yaml")


def test_a_resumed_run_computes_with_its_threads(tmp_path):
    args = get_cfg(None, {"model": "yolov8n.yaml", "data": "data/shapes.yaml", "epochs": 9})
    args.set("threads", 3, "auto")
    a_run(tmp_path / "run", args.to_dict(), sources=args.sources, asked={"threads": None})
    for found in (read(tmp_path / "run"), again(tmp_path / "run"), again(tmp_path / "run", threads=None)):
        assert (found.args.threads, found.args.sources["threads"]) == (3, "auto")
    found = read(tmp_path / "run", threads=1)
    assert (found.args.threads, found.changed) == (1, {"threads": 3})


# Other data


def record(split="train", images=8, digest="a", code="c"):
    return {"code": code, "data": {split: {"images": images, "digest": digest}}}


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (record(), record(), ""),
        (record(), record(code="d"), ""),
        (
            record(),
            record(images=7, digest="b"),
            r"^the train data have changed .*\(8 images then, 7 now\): the result w",
        ),
        (record(), record(digest="b"), r"\(8 images as then, but other names, contents or labels\): the result"),
        (record(), record(digest="b", code="d"), "or labels, or this version of the code reads them otherwise"),
        (
            record("val"),
            record("val", digest="b"),
            "^the val data have changed .* and which epoch is the best, compare",
        ),
        (record("val"), record("train", digest="b"), ""),  # a run that did not validate, and does
        ({}, record(), ""),
        ({"data": "lost"}, record(), ""),
        ({"data": {"train": 3}}, record(), ""),
    ],
)
def test_other_data_are_told(before, now, message):
    lines = changed_data(readable(before), now)
    assert len(lines) == bool(message)
    assert not message or re.search(message, lines[0])


def test_other_plugins_are_told(tmp_path):
    assert changed_plugins({}, {"plugins": {"/b/a.py": "1"}}) == []
    assert changed_plugins({"plugins": {"/a/a.py": "1"}}, {"plugins": {"/b/a.py": "1"}}) == []  # moved
    assert changed_plugins({"plugins": {"/a/a.py": "1"}}, {"plugins": {"/b/a.py": "2"}}) == ["/b/a.py"]
    (tmp_path / "a.py").write_bytes(b"x = 1\r\n")
    args = get_cfg(None, {"plugins": [str(tmp_path / "a.py"), str(tmp_path / "gone.py")]})
    made = [provenance(torch.device("cpu"), args)["plugins"]]
    (tmp_path / "a.py").write_bytes(b"x = 1\n")
    made.append(provenance(torch.device("cpu"), args)["plugins"])
    (tmp_path / "a.py").write_bytes(b"x = 2\n")
    made.append(provenance(torch.device("cpu"), args)["plugins"])
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ({0: "a", 1: "b", 2: "c"}, ""),
        (
            {0: "b", 1: "a", 2: "c"},
            "the order of the class names has changed .* class 0 is 'b' and was 'a', class 1 is",
        ),
        ({0: "a", 1: "b", 2: "d"}, "the class names have changed since the run began: class 2 is 'd' and was 'c'"),
        ({0: "a", 1: "b"}, "the dataset has 2 classes, and the run has 3"),
        ({0: "a"}, "the dataset has 1 class, and the run has 3"),
        ({0: "a", 1: "b", 2: "c", 3: "d"}, "the dataset has 4 classes, and the run has 3"),
    ],
)
def test_other_class_names_are_refused(now, message, tmp_path):
    before = {0: "a", 1: "b", 2: "c"}
    with pytest.raises(ConfigError, match=message) if message else contextlib.nullcontext():
        check_names(before, now, "my.yaml", tmp_path / "last.pt")


def test_a_name_is_compared_as_a_checkpoint_keeps_it(tmp_path):
    long = {0: "x" * 500, 1: "a\nb"}
    check_names(load_checkpoint(a_run(tmp_path / "run", names=long)).names, long, "my.yaml", tmp_path / "last.pt")


# What does not fit it


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run of one epoch, and the content of its last.pt."""
    folder = tmp_path_factory.mktemp("stopped")
    keys = {
        "model": str(write_tiny(folder)), "data": str(write_toy(folder)), "epochs": 2, "imgsz": 32, "batch": 6,
        "nbs": 6, "workers": 0, "device": "cpu", "project": str(folder), "plots": False, "val": False,
        "preflight": False, "optimizer": "AdamW",
    }  # fmt: skip
    trainer = DetectionTrainer(overrides=keys)

    def stop(t):
        raise KeyboardInterrupt

    trainer.add_callback("on_model_save", stop)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    return trainer.last, load_checkpoint(trainer.last).state


def first(state):
    return next(iter(state["optimizer"]["state"].values()))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s.update(loss_mean=torch.zeros(7)),
        lambda s: first(s).update(exp_avg=torch.zeros(3, 5)),
        lambda s: first(s).update(exp_avg="much"),
        lambda s: first(s).update(step=torch.zeros(4)),
        lambda s: first(s).pop("exp_avg_sq"),
        lambda s: s["optimizer"]["param_groups"][0].pop("betas"),
        lambda s: s["optimizer"]["param_groups"][0].update(lr="much"),
        lambda s: s["optimizer"]["param_groups"].pop(),
        lambda s: s["weights"].popitem(),
        lambda s: s["rng"].update(torch=torch.zeros(3)),
        lambda s: s.update(pending_gradients={k: torch.zeros(1, 2, 3) for k in s["weights"]}),
    ],
    ids=["loss", "shape", "type", "step", "entry", "setting", "rate", "group", "weights", "rng", "gradients"],
)
def test_a_state_that_does_not_fit_is_one_line(stopped, spoil):
    last, state = stopped
    state = copy.deepcopy(state)
    spoil(state)
    save_checkpoint(last, state)
    with pytest.raises(
        CheckpointError, match=r"last\.pt: its state does not fit the run: .* \(use an earlier copy"
    ) as e:
        DetectionTrainer(overrides={"resume": str(last)})._setup()
    assert len(str(e.value)) < 900
    assert "\n" not in str(e.value)


def test_a_state_that_fits_is_taken(stopped):
    last, state = stopped
    save_checkpoint(last, state)
    resumed = DetectionTrainer(overrides={"resume": str(last)})
    resumed._setup()
    assert torch.equal(first({"optimizer": resumed.optimizer.state_dict()})["exp_avg"], first(state)["exp_avg"])


@pytest.fixture
def elsewhere(stopped, tmp_path):
    """A stopped run and its data, in a place of their own; the run's last.pt, and the data set's YAML."""
    last, state = stopped
    shutil.copytree(last.parent.parent, tmp_path / "run")
    shutil.copytree(last.parent.parent.parent / "toy", tmp_path / "toy")
    data = tmp_path / "toy" / "toy.yaml"
    state = {**state, "train_args": {**state["train_args"], "data": str(data)}}
    save_checkpoint(tmp_path / "run" / "weights" / "last.pt", state)
    return tmp_path / "run" / "weights" / "last.pt", data


def test_data_that_have_moved_are_named_anew(elsewhere, tmp_path, monkeypatch, caplog):
    last, data = elsewhere
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    command = re.escape(f"train resume={last.parent.parent} data=NEW_PLACE/data.yaml)")
    (data.parent / "images" / "train").rename(data.parent / "images" / "gone")
    with pytest.raises(UserError, match=f"the train images are missing.* name its new place: .*{command}$"):
        DetectionTrainer(overrides={"resume": str(last)})
    (data.parent / "images" / "gone").rename(data.parent / "images" / "train")
    data.parent.rename(tmp_path / "new place")
    with pytest.raises(MissingFileError, match=f"no such dataset YAML.* name its new place: .*{command}$") as message:
        DetectionTrainer(overrides={"resume": str(last)})
    assert "bccd" not in str(message.value)
    with pytest.raises(MissingFileError) as message:  # the new place is wrong: the usual hint
        DetectionTrainer(overrides={"resume": str(last), "data": str(tmp_path / "toys.yaml")})
    assert "NEW_PLACE" not in str(message.value)
    resumed = DetectionTrainer(overrides={"resume": str(last), "data": str(tmp_path / "new place" / "toy.yaml")})
    resumed._setup()
    assert "have changed" not in caplog.text
    assert "will not equal" not in caplog.text


def test_a_run_notices_that_its_data_are_others(elsewhere, monkeypatch, caplog):
    last, data = elsewhere
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    next(data.parent.glob("labels/train/*.txt")).write_text("0 0.5 0.5 0.25 0.25\n")
    before = last.read_bytes()
    DetectionTrainer(overrides={"resume": str(last)})._setup()
    assert "the train data have changed since the run was saved (12 images as then" in caplog.text
    data.write_text(data.read_text(encoding="utf-8").replace("red, 绿", "绿, red"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"toy\.yaml: the order of the class names has changed"):
        DetectionTrainer(overrides={"resume": str(last)})
    assert last.read_bytes() == before
    data.write_text(data.read_text(encoding="utf-8").replace("绿, red", "red"), encoding="utf-8")
    with pytest.raises(ConfigError, match="the dataset has 2 classes, and the run has 3"):
        DetectionTrainer(overrides={"resume": str(last)})


@pytest.mark.parametrize("key", ["model", "pretrained", "resume", "data", "cfg", "project"])
def test_a_link_that_leads_to_itself_is_one_line(key, tmp_path, capsys, monkeypatch):
    """Each Python: `Path.resolve` raises a RuntimeError before 3.13."""
    monkeypatch.chdir(tmp_path)
    loop = tmp_path / ("a.pt" if key in ("model", "pretrained", "resume") else "a.yaml")
    try:
        loop.symlink_to(loop)
    except OSError:
        pytest.skip("links are not to be had")
    words = {"model": "yolov8n.yaml", "data": "gone.yaml"} | {key: str(loop)}
    assert main(["train", *(f"{k}={v}" for k, v in words.items())]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1


def test_the_page_lists_what_resume_takes():
    text = (CLONE / "docs" / "resume.md").read_text(encoding="utf-8")
    listed = re.findall(r"`resume` takes new values for `([^`]+)`", text)
    assert [set(words.split()) for words in listed] == [set(RESUMABLE)]
