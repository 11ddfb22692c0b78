import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.tasks import SHADES, class_folders
from ultralytics.cfg.config import get_cfg
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data import show as module
from ultralytics.data.build import EpochSampler, build_yolo_dataset
from ultralytics.data.check.check import check_data
from ultralytics.data.class_dataset import ClassificationDataset
from ultralytics.data.prepare import export_coco, prepare_voc
from ultralytics.data.show import show
from ultralytics.data.subset.subset import kfold, subset
from ultralytics.utils.batch_plots import _GREY
from ultralytics.utils.errors import ConfigError, DatasetError, UserError
from ultralytics.utils.images import imread
from ultralytics.utils.types import SampleKey


@pytest.fixture
def drawn(monkeypatch):
    """What is handed to the drawing of batches."""
    calls = []
    original = module.plot_images

    def keep(batch, *args, **kwargs):
        calls.append((batch, kwargs))
        original(batch, *args, **kwargs)

    monkeypatch.setattr(module, "plot_images", keep)
    return calls


def test_the_samples_are_those_of_training(toy, tmp_path, drawn):
    """The first epoch of a run with this seed makes the same samples of these images, bit for bit."""
    out = show(toy, n=5, seed=7, imgsz=64, out=tmp_path / "s.jpg", overrides={"degrees": 10.0, "mixup": 0.5})
    assert imread(out) is not None
    batch, options = drawn[0]
    cfg = get_cfg(overrides={"degrees": 10.0, "mixup": 0.5, "imgsz": 64})
    spec = load_dataset(toy)
    dataset = build_yolo_dataset(cfg, spec.split("train"), 5, spec)
    keys = next(iter(EpochSampler(dataset, 5, shuffle=False, seed=7)))
    for k, key in enumerate(keys):
        index = batch["index"][2 * k + 1]
        sample = dataset[key._replace(index=index)]
        assert torch.equal(batch["img"][2 * k + 1], sample["img"])
        mine = batch["batch_idx"] == 2 * k + 1
        assert torch.equal(batch["bboxes"][mine], sample["bboxes"])
    assert batch["index"][::2] == batch["index"][1::2]
    assert options["columns"] % 2 == 0
    assert options["captions"][1::2] == ["augmented"] * 5


def test_with_tiles_the_samples_are_those_of_a_training_with_them(toy, tmp_path, drawn, caplog):
    keys = {"tiles": 64, "overlap": 0.25, "tile_background": 0.5, "mosaic": 0.5}
    show(toy, n=8, seed=3, out=tmp_path / "s.png", overrides=keys)
    batch, options = drawn[0]
    assert batch["img"].shape == (16, 3, 64, 64)
    spec = load_dataset(toy)
    dataset = build_yolo_dataset(get_cfg(overrides={**keys, "imgsz": 64, "seed": 3}), spec.split("train"), 8, spec)
    keys = next(iter(EpochSampler(dataset, 8, shuffle=False, seed=3)))
    parts = 0
    for k, key in enumerate(keys):
        index = batch["index"][2 * k + 1]
        assert torch.equal(batch["img"][2 * k + 1], dataset[key._replace(index=index)]["img"])
        # Beside it the tile as it is: cut from its file.
        left, top, right, bottom = dataset.tiles.places[index]
        file, caption = dataset.im_files[index], options["captions"][2 * k]
        if dataset.tiles.is_part[index]:
            parts += 1
            cut = torch.from_numpy(imread(file)[top:bottom, left:right, ::-1].copy()).permute(2, 0, 1)
            h, w = cut.shape[1:]
            y, x = (64 - h) // 2, (64 - w) // 2
            assert torch.equal(batch["img"][2 * k][:, y : y + h, x : x + w], cut)
            assert caption.endswith(f" at {left},{top}")
        else:
            assert " at " not in caption
        assert (batch["batch_idx"] == 2 * k).sum() == len(dataset.labels.labelled(index))
    assert 0 < parts < 8
    with pytest.raises(ConfigError, match="imgsz=128 and tiles=64"):
        show(toy, imgsz=128, out=tmp_path / "t.png", overrides={"tiles": 64})


def test_the_choice_depends_on_the_seed_alone(toy, tmp_path, drawn):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        show(toy, n=4, seed=seed, imgsz=64, out=tmp_path / f"{name}.png")
    files = [call[0]["im_file"] for call in drawn]
    assert files[0] == files[1] != files[2]
    pictures = [imread(tmp_path / f"{n}.png") for n in "abc"]
    assert np.array_equal(pictures[0], pictures[1])


def test_of_a_large_split_a_part_is_read(toy, tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(module, "WHOLE_SPLIT", 6)
    before = set(toy.parent.rglob("*"))
    show(toy, n=3, imgsz=64, out=tmp_path / "part.png")
    assert set(toy.parent.rglob("*")) == before  # nothing is remembered of so odd a list
    monkeypatch.undo()
    show(toy, n=3, imgsz=64, out=tmp_path / "whole.png")
    assert len(drawn) == 1
    assert len(drawn[0][0]["im_file"]) == 6


def test_ignored_regions_are_where_they_are_in_the_letterbox(tmp_path, drawn):
    image = np.full((40, 80, 3), 90, np.uint8)
    for folder, text in (
        ("images", None),
        ("labels", "0 .5 .5 .5 .5\n"),
        ("ignore", "0 .5 .5 .5 .5\n* .25 .5 .1 .2 crowd\n"),
    ):
        (tmp_path / folder).mkdir()
        if text:
            (tmp_path / folder / "a.txt").write_text(text)
    cv2.imwrite(str(tmp_path / "images" / "a.png"), image)
    (tmp_path / "d.yaml").write_text("train: images\nval: images\nnames: [a]\n")
    out = show(tmp_path / "d.yaml", n=1, imgsz=160, out=tmp_path / "s.png", overrides={"mosaic": 0.0})
    assert [len(r) for r in drawn[0][0]["ignored"]] == [2, 0]
    grey = (imread(out)[:160, :160] == _GREY).all(-1)
    assert grey[71:74, 32:48].any()


def test_nothing_is_overwritten_silently(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [str(show(toy, n=1, imgsz=32).as_posix()) for _ in range(2)]
    assert names == ["runs/show/toy-train.jpg", "runs/show/toy-train2.jpg"]
    with pytest.raises(ConfigError, match="overwrite=True"):
        show(toy, n=1, imgsz=32, out=names[0])
    assert show(toy, n=1, imgsz=32, out=names[0], overwrite=True).is_file()


def test_a_word_for_a_switch_is_refused_and_overwrites_nothing(toy, tmp_path):
    file = tmp_path / "s.jpg"
    file.write_text("mine")
    out = tmp_path / "v.json"
    out.write_text("mine")
    for call in (
        lambda: show(toy, n=1, imgsz=64, out=file, overwrite="no"),
        lambda: export_coco(toy, out, overwrite="no"),
        lambda: subset(toy, tmp_path / "x.yaml", copy="no"),
        lambda: kfold(toy, tmp_path / "x.yaml", copy="no"),
        lambda: check_data(toy, near="no"),
        lambda: prepare_voc(out=tmp_path / "x", download="no"),
    ):
        with pytest.raises(ConfigError, match="=no must be True or False"):
            call()
    assert file.read_text() == out.read_text() == "mine"


def test_messages_name_the_split(toy, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    show(toy, "val", n=1, imgsz=32, out=tmp_path / "s.png")
    assert "val: 6 images" in caplog.text
    assert "train: " not in caplog.text
    assert "1 image of val before and after" in caplog.text
    with pytest.raises(ConfigError, match=r"\(out=.*x\.jpg\)"):
        show(toy, n=1, imgsz=32, out=tmp_path / "x.gif")


def test_fewer_images_than_wanted_are_all_shown(toy, tmp_path, drawn):
    show(toy, "val", n=64, imgsz=32, out=tmp_path / "s.png")
    assert len(drawn[0][0]["im_file"]) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "no split 'test'"),
        ({"n": 0}, "n=0 must be an integer of 1 to 64"),
        ({"n": 65}, "n=65"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"imgsz": 8}, "imgsz=8 is out of range"),
        ({"imgsz": "x"}, "imgsz='x' must be one integer"),
        ({"out": "s.gif"}, "must end in .jpg or .png"),
        ({"out": "toy.jpg"}, "this is a folder"),
        ({"overrides": {"mosaik": 1}}, "did you mean 'mosaic'"),
        ({"overrides": {"epochs": 1}}, "epochs is not an augmentation key"),
        ({"overrides": {"degrees": 200.0}}, "degrees=200 is out of range"),
        ({"overrides": {"scale": "n"}}, "scale=n must be a number"),
    ],
    ids=str,
)
def test_a_wrong_wish_is_one_line(options, message, toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.jpg").mkdir()
    with pytest.raises(UserError) as e:
        show(toy, **{"n": 2, **options})
    assert message in str(e.value)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "runs").exists()


def test_a_split_without_usable_images(toy, tmp_path):
    for file in (toy.parent / "images" / "val").iterdir():
        file.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="none of the 6 images can be used"):
        show(toy, "val", out=tmp_path / "s.jpg")


def test_class_folders_are_shown_as_they_are_trained_on(tmp_path, drawn, caplog, monkeypatch):
    data = class_folders(tmp_path / "data")
    (data / "train" / "dark" / "0.png").write_bytes(b"no image")
    (data / "train" / "loose.png").write_bytes(b"")
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    wanted = {"mosaic": 0.5, "auto_augment": None, "erasing": 0.9}
    out = show(data, n=64, seed=7, imgsz=32, out=tmp_path / "s.png", overrides=wanted)
    assert imread(out) is not None
    batch, options = drawn[0]
    assert batch["img"].shape == (28, 3, 32, 32)  # 14 of the 15 images of train can be used
    assert sorted(options["captions"][::2]) == sorted(f"{n}/{i}.png" for n in SHADES for i in range(5))[1:]
    assert options["captions"][1::2] == ["augmented"] * 14
    assert "mosaic=0.5 has no effect" in caplog.text
    cfg = get_cfg(overrides={"imgsz": 32, "auto_augment": None, "erasing": 0.9})
    names = dict(enumerate(sorted(SHADES)))
    before, after = (ClassificationDataset([data / "train"], cfg, augment, names=names) for augment in (False, True))
    for k, file in enumerate(batch["im_file"][::2]):
        i = list(before.im_files).index(file)
        assert torch.equal(batch["img"][2 * k], before[i]["img"])
        assert torch.equal(batch["img"][2 * k + 1], after[SampleKey(i, (7, 0, k), ())]["img"])
    assert [f"{Path(f).parent.name}/{Path(f).name}" for f in batch["im_file"][::2]] == options["captions"][::2]
    show(data, "val", n=2, seed=1, out=tmp_path / "v.png")
    assert drawn[1][0]["img"].shape == (4, 3, 224, 224)
    for options, message in (
        ({"overrides": {"tiles": 64}}, "tiles=64 is for boxes"),
        ({"split": "test"}, "there is no folder test"),
        ({"task": "detect"}, "dataset YAML"),
    ):
        with pytest.raises(UserError) as e:
            show(data, **options)
        assert message in str(e.value)
        assert "\n" not in str(e.value)
    for file in (data / "val").rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="none of the 6 images can be used"):
        show(data, "val", out=tmp_path / "w.png")


def test_a_sheet_is_drawn_for_any_number(toy, tmp_path):
    for n in random.Random(0).sample(range(1, 13), 3):
        assert show(toy, n=n, imgsz=32, out=tmp_path / f"{n}.png").stat().st_size > 1000


def test_sheets_of_two_processes_take_two_names(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = module.plot_images

    def overtaken(*args, **keys):
        monkeypatch.setattr(module, "plot_images", draw)
        other.append(show(toy, n=1, imgsz=32))
        draw(*args, **keys)

    other = []
    monkeypatch.setattr(module, "plot_images", overtaken)
    assert [show(toy, n=1, imgsz=32).name, other[0].name] == ["toy-train.jpg", "toy-train2.jpg"]
    assert all(f.stat().st_size > 1000 for f in (tmp_path / "runs/show").iterdir())

    def full(*_, **__):
        raise UserError("could not be written", "x.jpg")

    monkeypatch.setattr(module, "plot_images", full)
    with pytest.raises(UserError):
        show(toy, n=1, imgsz=32)
    assert len(list((tmp_path / "runs/show").iterdir())) == 2
