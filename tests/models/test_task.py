"""The seams: a table of tasks, backends that run a network, evaluators that measure a split, one way into a mode."""

import dataclasses
import json
import pickle
import re
import runpy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics import YOLO
from ultralytics.cfg import reference
from ultralytics.cfg.config import KNOBS
from ultralytics.cfg.dataset import load_dataset
from ultralytics.cfg.keys import TASK_NAMES
from ultralytics.cfg.paths import CLONE, find_model_yaml
from ultralytics.cfg.tasks import FOLDERS, tasks_of
from ultralytics.cfg.tasks import TASKS as WORDS
from ultralytics.cli.command import COMMANDS
from ultralytics.data.labels import ANNOTATIONS
from ultralytics.data.prepare.coco import COCO
from ultralytics.data.prepare.embedded import SETS
from ultralytics.data.prepare.labelme import LABELME
from ultralytics.data.prepare.voc import VOC
from ultralytics.data.prepare.yolo import YOLO as YOLO_FORMAT
from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo import modes
from ultralytics.models.yolo import task as tasks
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator
from ultralytics.models.yolo.detect.evaluate import BoxEvaluator, Pair, SeenEvaluator
from ultralytics.models.yolo.ranks import train_as_rank
from ultralytics.models.yolo.run import run
from ultralytics.models.yolo.task import TASKS, Task, task_of
from ultralytics.models.yolo.weights import head_of, load_trained, network
from ultralytics.nn import registry
from ultralytics.nn.backend import TorchBackend, backend_of
from ultralytics.nn.modules import Detect
from ultralytics.nn.tasks import NETWORKS, DetectionModel
from ultralytics.report import validation
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.images import imread
from ultralytics.utils.metrics import ConfusionMatrix

QUIET = {"imgsz": 64, "workers": 0, "plots": False, "device": "cpu", "verbose": False, "threads": 1, "conf": 0.0001}


class Exported:
    """A network that is no module, as one in an exported file is."""

    def __init__(self, model):
        self.run = TorchBackend(model)
        self.names, self.nc, self.stride = self.run.names, self.run.nc, self.run.stride
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.fixed = None
        self.layout = torch.contiguous_format
        self.shapes = []

    def __call__(self, images):
        self.shapes.append(tuple(images.shape))
        return self.run(images)


@pytest.fixture
def yolo(tiny):
    torch.manual_seed(0)
    return YOLO(str(tiny), nc=3)


def test_a_backend_that_is_no_module_is_validated(yolo, toy, tmp_path):
    net, figures = Exported(yolo.model), []
    for model in (yolo.model, net):
        keys = {**QUIET, "data": str(toy), "batch": 4, "project": str(tmp_path)}
        validator = DetectionValidator(args=keys)
        figures.append((validator(model=model), np.concatenate(validator.stats["conf"]).tolist()))
    assert figures[0] == figures[1]
    assert figures[0][1]
    assert sum(s[0] for s in net.shapes) == 6


def test_a_backend_that_is_no_module_predicts(yolo, toy):
    images = [imread(p) for p in sorted((toy.parent / "images" / "val").glob("*.png"))]
    keys = {k: v for k, v in QUIET.items() if k not in ("workers", "plots")} | {"batch": 2}
    plain = DetectionPredictor(overrides=keys)(images, yolo.model)
    net = Exported(yolo.model)
    for a, b in zip(plain, DetectionPredictor(overrides=keys)(images, net), strict=True):
        assert torch.equal(a.boxes.data, b.boxes.data)
    assert net.shapes[0] == (2, 3, 64, 64)
    assert backend_of(net) is net


def test_every_task_fills_in_the_loops():
    assert tuple(TASKS) == tuple(WORDS) == TASK_NAMES == KNOBS["task"].choices
    assert set(TASKS) == reference.TASKS
    for name, task in TASKS.items():
        assert callable(task.network.init_criterion)
        assert callable(task.exporter)
        assert name == task.network.task == task.trainer.task == task.metrics(names={0: "a"}).task
        assert task.head.__name__ in NETWORKS
        for kind, base in (("trainer", BaseTrainer), ("validator", BaseValidator), ("predictor", BasePredictor)):
            assert issubclass(getattr(task, kind), base), name
        for step in ("load_network", "get_dataloader", "get_evaluators", "postprocess", "compare", "draw_batch"):
            assert getattr(task.validator, step) is not getattr(BaseValidator, step), f"{name}: {step}"
        for step in ("load_network", "padded_shape", "preprocess", "postprocess"):
            assert getattr(task.predictor, step) is not getattr(BasePredictor, step), f"{name}: {step}"


@pytest.mark.parametrize("name", TASKS)
def test_what_other_packages_know_of_a_task_is_so(name):
    """Packages that may not import the table have words of their own for what a task is about."""
    task, words = TASKS[name], WORDS[name]
    assert words.column == task.figures.column
    if words.labels != FOLDERS:
        assert words.labels == task.validator.annotations
        assert words.labels in ANNOTATIONS
        measured, compared = list(task.metrics.kinds)[-1].lower(), task.validator.compared
        assert validation._COCO.get(measured, "bbox") == compared
    assert find_model_yaml(reference.TASK2MODEL[name])[0].is_file()
    data = CLONE / "data" / reference.TASK2DATA[name]
    assert load_dataset(data).task == ("" if name == TASK_NAMES[0] else name)
    assert SETS[name].suffix == words.suffix


def test_scripts_for_the_reference_know_the_same_suffixes():
    """They run in its environment, where this package is not."""
    known = runpy.run_path(str(CLONE / "scripts" / "random_batch.py"))["SUFFIXES"]
    assert known == {name: words.suffix for name, words in WORDS.items()}


def test_every_list_of_suffixes_is_a_step_of_the_documentation():
    """Whoever adds a task finds them all there."""
    said = (CLONE / "docs" / "architecture.md").read_text(encoding="utf-8")
    said = said.partition("## How to add a task")[2].partition("\n## ")[0]
    marks = [re.compile(rf"{words.suffix}\b") for words in WORDS.values() if words.suffix]
    files = [*(CLONE / "ultralytics").rglob("*.py"), *(CLONE / "scripts").glob("*.*")]
    found = {f.relative_to(CLONE).as_posix() for f in files if all(m.search(f.read_text("utf-8")) for m in marks)}
    found -= {"ultralytics/utils/downloads.py"}  # weights that the reference has published
    assert found == {"ultralytics/cfg/tasks.py", "scripts/random_batch.py"}
    assert all(f"`{name.removeprefix('ultralytics/')}:" in said for name in found)


def test_formats_and_their_commands_offer_the_same_tasks():
    for form in (VOC, COCO, YOLO_FORMAT, LABELME):
        offered = COMMANDS[f"prepare {form.name}"].knobs()["task"].choices
        assert offered == tasks_of(form.kinds), form.name


def test_a_task_of_the_table_is_used(yolo, tiny, monkeypatch):
    class Outline(torch.nn.Module):
        pass

    class Mine(DetectionPredictor):
        pass

    parts = {k: getattr(TASKS["detect"], k) for k in Task.__dataclass_fields__}
    monkeypatch.setitem(tasks.TASKS, "mine", Task(**parts | {"head": Outline, "predictor": Mine}))
    assert task_of(head_of(str(tiny))) == yolo.task == "detect"
    assert task_of("nn.modules.Outline") == "mine"
    monkeypatch.setattr("ultralytics.models.yolo.model.head_of", lambda _: "Outline")
    other = YOLO(str(tiny))
    del other.overrides["task"]  # the key's choices are in cfg
    other.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)
    assert type(other.predictor) is Mine
    assert other.task_map["mine"]["predictor"] is Mine
    with pytest.raises(ConfigError, match="task=yours"):
        YOLO(str(tiny), task="yours")


class Outline(Detect):
    __module__ = Detect.__module__  # as one of ours: what it gives is not measured


class OutlineModel(DetectionModel):
    task = "outline"


class Reached(Exception):  # noqa: N818  # says how far a call came; it is no error
    pass


class OutlineTrainer(DetectionTrainer):
    task = "outline"

    def __init__(self, cfg=None, overrides=None, **_):
        raise Reached(overrides["task"])

    @classmethod
    def check(cls, keys, source="argument"):
        raise Reached("checked")


@pytest.fixture
def second(monkeypatch, tiny):
    """A second task, registered as docs/architecture.md says; the YAML of a network with its head."""
    parts = {k: getattr(TASKS["detect"], k) for k in Task.__dataclass_fields__}
    monkeypatch.setitem(TASKS, "outline", Task(**parts | {"head": Outline, "trainer": OutlineTrainer}))
    monkeypatch.setitem(KNOBS, "task", dataclasses.replace(KNOBS["task"], choices=tuple(TASKS)))
    monkeypatch.setitem(NETWORKS, "Outline", OutlineModel)
    monkeypatch.setitem(registry._MODULES, "Outline", (Outline, registry.lookup("Detect")[1]))
    file = tiny.with_name("tiny-seg.yaml")
    file.write_text(tiny.read_text(encoding="utf-8").replace("Detect", "Outline"), encoding="utf-8")
    return file


def test_a_second_task_reaches_its_trainer(second, toy, tmp_path, monkeypatch):
    keys = {"model": str(second), "data": str(toy), "project": str(tmp_path), "device": "cpu", "task": "outline"}
    with pytest.raises(Reached, match="outline"):
        run("train", keys)
    with pytest.raises(Reached, match="checked"):
        run("check", keys)
    with pytest.raises(Reached, match="outline"):
        YOLO(str(second)).train(data=str(toy), project=str(tmp_path), device="cpu")
    job = {"task": "outline", "cfg": None, "overrides": keys, "source": "", "weights": "", "share": 1.0, "report": ""}
    file = tmp_path / "job" / "job.json"
    file.parent.mkdir()
    file.write_text(json.dumps(job), encoding="utf-8")
    monkeypatch.setattr("ultralytics.models.yolo.ranks.leave_with_agent", lambda _: None)
    with pytest.raises(Reached, match="outline"):
        train_as_rank(file)


def test_the_task_is_passed_to_ranks(second, toy, monkeypatch):
    given = []
    monkeypatch.setattr(modes, "train_on_ranks", lambda *args: given.append(args[-1]) or ("", None))
    modes.train(None, {"model": str(second), "data": str(toy), "device": "cpu,cpu", "task": "outline"})
    assert given == ["outline"]


def test_a_second_task_brings_its_network(second, tmp_path):
    yolo = YOLO(str(second))
    assert (yolo.task, type(yolo.model), type(network(second))) == ("outline", OutlineModel, OutlineModel)
    yolo.save(tmp_path / "seg.pt")
    assert type(load_trained(tmp_path / "seg.pt")[0]) is OutlineModel
    assert YOLO(tmp_path / "seg.pt").task == "outline"


@pytest.mark.parametrize("mode", ["train", "check", "val", "predict"])
def test_an_unknown_task_is_one_line_with_those_there_are(mode, tiny, toy):
    with pytest.raises(ConfigError, match=r"task=.*outline") as raised:
        run(mode, {"model": str(tiny), "data": str(toy), "task": "outline"})
    assert "detect" in str(raised.value)


def pairs_of(rng, count):
    """Images with detections near their labels."""
    for i in range(count):
        n, extra = int(rng.integers(0, 4)), int(rng.integers(0, 3))
        corners = torch.from_numpy(rng.random((n, 2)) * 80).float()
        targets = torch.cat([corners, corners + 20], 1)
        boxes = torch.cat([targets + torch.from_numpy(rng.normal(0, 2, (n, 4))).float(), targets[:extra] + 1])
        scores = torch.from_numpy(rng.random((len(boxes), 1))).float()
        classes = torch.from_numpy(rng.integers(0, 2, n)).float()
        found = torch.cat([boxes, scores, torch.cat([classes, classes[:extra]])[:, None]], 1)
        yield Pair(f"{i}.jpg", (100, 100), found, targets, classes, torch.zeros(0, 6), None)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 3))
def test_figures_do_not_depend_on_who_has_seen_a_batch(seed, ranks):
    """As ranks do it: each takes every so many batches, and what it has seen is sent."""
    batches = list(enumerate([list(pairs_of(np.random.default_rng(seed + i), 2)) for i in range(5)]))
    made = []
    for shares in ([batches], [batches[r::ranks] for r in range(ranks)]):
        parts = []
        for share in shares:
            mine = [BoxEvaluator({0: "a", 1: "b"}, 2, ConfusionMatrix(nc=2)), SeenEvaluator()]
            for number, pairs in share:
                for evaluator in mine:
                    evaluator.update(number, pairs)
            parts.append(pickle.loads(pickle.dumps(mine)))
        for part in parts[1:]:
            for a, b in zip(parts[0], part, strict=True):
                a.merge(b)
        made.append([e.result() for e in parts[0]])
    (one, seen), (many, seen_by_many) = made
    assert one.to_dict() == many.to_dict()
    assert (one.confusion_matrix.matrix == many.confusion_matrix.matrix).all()
    assert [s.file for s in seen] == [s.file for s in seen_by_many]
    assert all((a.found == b.found).all() for a, b in zip(seen, seen_by_many, strict=True))


def test_run_does_what_a_command_says(tiny, toy, tmp_path):
    keys = {k: v for k, v in QUIET.items() if k not in ("conf", "workers", "plots")}
    here = {**keys, "model": str(tiny), "project": str(tmp_path)}
    run("predict", {**here, "source": str(toy.parent / "images" / "val"), "name": "p", "plugins": None})
    assert len(list((tmp_path / "p").glob("*.png"))) == 6
    run("explain", {**here, "source": str(toy.parent / "images" / "val" / "1.png"), "name": "e", "kind": "cam"})
    assert (tmp_path / "e" / "1.png").is_file()
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"model: {tiny}\n", encoding="utf-8")
    quiet = {**keys, "project": str(tmp_path), "plots": False}
    run("val", {**quiet, "cfg": str(recipe), "data": str(toy), "name": "v"})
    with pytest.raises(ConfigError, match="no model given"):
        run("val", {"data": str(toy)})


def test_a_training_begins_before_it_ends(tiny, toy, tmp_path):
    keys = {**QUIET, "model": str(tiny), "data": str(toy), "epochs": 1, "batch": 4, "project": str(tmp_path)}
    del keys["conf"]
    begun = []
    with pytest.raises(KeyboardInterrupt):
        modes.train(None, keys, begun=lambda trainer: begun.append(trainer) or interrupted())
    assert not begun[0].last.exists()


def interrupted():
    raise KeyboardInterrupt
