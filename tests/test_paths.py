"""Every key that takes a path takes every way to write one."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import write_tiny, write_toy
from ultralytics import YOLO
from ultralytics.cfg.paths import data_hint, find_data_yaml
from ultralytics.cli import main
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.errors import MissingFileError

NAME = "my 数据 [1] 'a', b"
PLUGIN = "from torch import nn\n"
# ruff: noqa: E501  # a table reads best with a command per line
SMALL = ["imgsz=32", "device=cpu", "workers=0", "batch=4", "plots=False", "preflight=False"]
# How a path is written → from the path relative to the working folder.
FORMS = {
    "relative": lambda p: p,
    "dot": lambda p: f"./{p}",
    "up": lambda p: f"../{NAME}/{p}",
    "absolute": os.path.abspath,
    "home": lambda p: f"~/{NAME}/{p}",
    "through a folder": lambda p: f"toy/../{p}",
}
TRAIN = ["train", "model=net.yaml", "data=toy/toy.yaml", *SMALL]
# What takes the path → the command, with PATH for it; and what the path is.
READ = {
    "train data": ([*TRAIN, "data=PATH"], "toy/toy.yaml"),
    "train model": ([*TRAIN, "model=PATH"], "net.yaml"),
    "train weights": ([*TRAIN, "model=PATH"], "w [2].pt"),
    "train pretrained": ([*TRAIN, "pretrained=PATH"], "w [2].pt"),
    "train cfg": ([*TRAIN, "cfg=PATH"], "a recipe.yaml"),
    "train plugins": ([*TRAIN, 'plugins=["PATH"]'], "plug in.py"),
    "train one plugin": ([*TRAIN, "plugins=PATH"], "plug in.py"),
    "train resume folder": (["train", "resume=PATH", "epochs=2"], "runs/run 图"),
    "train resume file": (["train", "resume=PATH", "epochs=2"], "runs/run 图/weights/last.pt"),
    "val model": (["val", "model=PATH", "data=toy/toy.yaml", *SMALL[:5]], "w [2].pt"),
    "val data": (["val", "model=w [2].pt", "data=PATH", *SMALL[:5]], "toy/toy.yaml"),
    "predict model": (["predict", "model=PATH", "source=toy/images/val/1.png", *SMALL[:2]], "w [2].pt"),
    "predict file": (["predict", "model=w [2].pt", "source=PATH", *SMALL[:2]], "toy/images/val/0 图.png"),
    "predict folder": (["predict", "model=w [2].pt", "source=PATH", *SMALL[:2]], "toy/images/val"),
    "predict list": (["predict", "model=w [2].pt", "source=PATH", *SMALL[:2]], "list.txt"),
    "info": (["info", "model=PATH", "imgsz=64"], "net.yaml"),
    "info weights": (["info", "model=PATH", "imgsz=64"], "w [2].pt"),
    "info plugins": (["info", "model=net.yaml", "imgsz=64", "plugins=PATH"], "plug in.py"),
    "insert model": (["insert", "model=PATH", "after=9", "module=FLABlock(1)", "out=o.yaml", "overwrite=True"], "net.yaml"),
    "check-data": (["check-data", "data=PATH", "near=False", "out=report", "overwrite=True"], "toy/toy.yaml"),
    "export-coco": (["export-coco", "data=PATH", "out=o.json", "overwrite=True"], "toy/toy.yaml"),
    "show": (["show", "data=PATH", "n=1", "imgsz=32", "out=o.jpg", "overwrite=True"], "toy/toy.yaml"),
    "subset": (["subset", "data=PATH", "classes=red", "out=o/sub.yaml", "copy=True"], "toy/toy.yaml"),
}  # fmt: skip
WRITTEN = {
    "train project": ([*TRAIN, "project=PATH", "name=x"], "out/p", "out/p/x/weights"),
    "train auto": ([*TRAIN, "project=PATH", "name=x", "resume=auto"], "out/p", "out/p/x/weights"),
    "val project": (["val", "model=w [2].pt", "data=toy/toy.yaml", "project=PATH", *SMALL[:5]], "out", "out/val/metrics.json"),
    "predict project": (
        ["predict", "model=w [2].pt", "source=toy/images/val/1.png", "project=PATH", *SMALL[:2]], "out", "out/predict/1.png",
    ),
    "insert": (["insert", "model=net.yaml", "after=9", "module=FLABlock(1)", "out=PATH"], "out.yaml", "out.yaml"),
    "replace": (["replace", "model=net.yaml", "rows=9", "module=SPPF(60, 3)", "out=PATH"], "out.yaml", "out.yaml"),
    "remove": (["remove", "model=net.yaml", "rows=10", "out=PATH"], "out.yaml", "out.yaml"),
    "check-data": (["check-data", "data=toy/toy.yaml", "near=False", "out=PATH"], "out", "out/report.json"),
    "export-coco": (["export-coco", "data=toy/toy.yaml", "out=PATH"], "out.json", "out.json"),
    "show": (["show", "data=toy/toy.yaml", "n=1", "imgsz=32", "out=PATH"], "out.jpg", "out.jpg"),
    "subset": (["subset", "data=toy/toy.yaml", "classes=red", "copy=True", "out=PATH"], "out/sub.yaml", "out/sub.yaml"),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with one of everything that a path can name."""
    folder = tmp_path_factory.mktemp("home") / NAME
    folder.mkdir()
    write_tiny(folder).rename(folder / "net.yaml")
    data = write_toy(folder)
    model = YOLO(folder / "net.yaml")
    model.save(folder / "w [2].pt")
    keys = {"data": str(data), "epochs": 1, "imgsz": 32, "batch": 8, "workers": 0, "device": "cpu", "plots": False}
    model.train(**keys, preflight=False, val=False, project=str(folder / "runs"), name="run 图")
    (folder / "a recipe.yaml").write_text("epochs: 3\n", encoding="utf-8")
    (folder / "plug in.py").write_text(PLUGIN, encoding="utf-8")
    (folder / "list.txt").write_text("toy/images/val/0 图.png\n./toy/images/val/1.png\n", encoding="utf-8")
    return folder


@pytest.fixture
def here(made, monkeypatch):
    """That folder as the working folder, its parent as the home; and training ends before the first step."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("HOME", str(made.parent))
    monkeypatch.setenv("USERPROFILE", str(made.parent))
    monkeypatch.setattr(DetectionTrainer, "train", lambda self: [self.get_model(), None][1])
    monkeypatch.setattr("ultralytics.data.check.chart.plot_dataset", lambda *_: None)
    before = set(made.iterdir())
    yield made
    for path in set(made.iterdir()) - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(made / "runs" / "detect", ignore_errors=True)


def read_cases():
    quick = {"train data", "train plugins", "train resume folder", "predict file"}
    for what in READ:
        for form in FORMS:
            marks = () if form == "home" or (what in quick and form == "up") else pytest.mark.slow
            yield pytest.param(what, form, id=f"{what}-{form}", marks=marks)


@pytest.mark.parametrize(("what", "form"), list(read_cases()))
def test_what_is_read(what, form, here, capsys):
    words, path = READ[what]
    text = FORMS[form](path)
    assert main([w.replace("PATH", text) for w in words]) == 0, capsys.readouterr().err
    if Path(path).is_dir():
        assert main([w.replace("PATH", f"{text}/") for w in words]) == 0, capsys.readouterr().err
    assert not (here / "~").exists()


@pytest.mark.parametrize(
    "form", ["home", *(pytest.param(f, marks=pytest.mark.slow) for f in ("relative", "up", "absolute"))]
)
@pytest.mark.parametrize("what", WRITTEN)
def test_what_is_written(what, form, here, capsys):
    words, path, result = WRITTEN[what]
    assert main([w.replace("PATH", FORMS[form](path)) for w in words]) == 0, capsys.readouterr().err
    assert (here / result).exists()
    assert not (here / "~").exists()


def test_data_that_is_there_is_named_first_and_a_suffix_is_no_likeness(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c", "ready"):
        (tmp_path / f"{name}.yaml").write_text(f"path: {name}\ntrain: images\nval: images\nnames: [x]\n")
    (tmp_path / "ready" / "images").mkdir(parents=True)
    assert data_hint().startswith("data=ready.yaml or ")
    with pytest.raises(MissingFileError) as caught:
        find_data_yaml("nix.yaml")
    assert "did you mean" not in str(caught.value)
    with pytest.raises(MissingFileError, match=r"did you mean 'coco\.yaml'"):
        find_data_yaml("cocco.yaml")
