"""Real images in an export: there where the dataset is, and never its end where it is not."""

from dataclasses import replace

import pytest
import torch

from tests.helpers.tasks import class_folders
from ultralytics import YOLO
from ultralytics.cfg.class_folders import load_class_dataset
from ultralytics.cfg.config import get_cfg
from ultralytics.data.class_dataset import ClassificationDataset
from ultralytics.models.yolo.exporting import real_images
from ultralytics.models.yolo.task import TASKS
from ultralytics.utils.errors import DatasetError, MissingFileError
from ultralytics.utils.log import LOGGER


def keys(data, source="argument", **others):
    return get_cfg(None, {"data": data, "imgsz": 64, **others}, source, "export")


def test_a_file_is_compared_on_real_images_at_every_size(tiny, toy, caplog, monkeypatch):
    yolo = YOLO(str(tiny), nc=3)
    monkeypatch.chdir(tiny.parent)
    monkeypatch.setattr(LOGGER, "propagate", True)
    with caplog.at_level("INFO", "ultralytics"):
        yolo.export(format="torchscript", imgsz=64, dynamic=True, data=str(toy))
    lines = [r.getMessage() for r in caplog.records if "images of toy.yaml" in r.getMessage()]
    assert list(dict.fromkeys(line.split(",")[0].strip() for line in lines)) == [
        *("1 image of 64×64", "3 images of 64×64", "2 images of 64×64", "1 image of 96×64")
    ]  # 0.6 and 1.2 of 64, in multiples of 32
    assert not [p for p in (toy.parent / "images").rglob("*") if p.is_file() and p.suffix != ".png"]


def test_without_val_the_images_of_train_are_taken(toy):
    toy.write_text("train: images/train\nnames: [red, 绿, blue]\n", encoding="utf-8")
    given = real_images(keys(str(toy), int8=True), TASKS["detect"])
    assert sum(len(b) for b in given["calibration"](4, 64, 64)) == 12
    (what, images), *more = given["images"](3, 96, 64)
    assert (what, tuple(images.shape), more) == ("images of toy.yaml", (3, 3, 96, 64), [])


@pytest.mark.parametrize("source", ["argument", "weights file"])
def test_a_dataset_that_is_not_there_leaves_noise(tmp_path, toy, source, caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    with caplog.at_level("WARNING", "ultralytics"):
        assert real_images(keys(str(tmp_path / "gone.yaml"), source), TASKS["detect"]) == {}
    assert ("compared on noise alone" in caplog.text) == (source == "argument")
    for split in ("train", "val"):
        for file in (toy.parent / "images" / split).iterdir():
            file.write_bytes(b"no image")
    given = real_images(keys(str(toy), int8=True), TASKS["detect"])
    assert not list(given["images"](3, 64, 64))
    with pytest.raises(DatasetError, match="no image of the split val can be read"):
        list(given["calibration"](1, 64, 64))


def test_int8_on_a_dataset_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(MissingFileError):
        real_images(keys(str(tmp_path / "gone.yaml"), int8=True), TASKS["detect"])
    assert real_images(keys(str(tmp_path / "gone.yaml"), "weights file", int8=True), TASKS["detect"]) == {}


def test_a_classifier_is_measured_on_what_it_will_see(tmp_path, monkeypatch):
    """Cropped, by the weights' own crop_fraction, in a comparison, in the ranges of int8 and in what int8 costs; linked
    class folders too."""
    data = class_folders(tmp_path / "data", val=(0, 2, 2))
    (data / "val" / "dark").rmdir()
    (data / "val" / "dark").symlink_to(data / "val" / "light", target_is_directory=True)
    seen = []

    class Noted:
        def __init__(self, args, save_dir):
            seen.append((args.crop_fraction, args.split, args.imgsz))

        def __call__(self, model):
            return dict.fromkeys(TASKS["classify"].figures.first.values(), 0.5)

    task = replace(TASKS["classify"], validator=Noted)
    given = real_images(keys(str(data), int8=True, crop_fraction=0.5), task)
    ((_, compared),) = given["images"](6, 64, 64)
    calibrated = torch.cat(list(given["calibration"](1, 64, 64)))
    spec = load_class_dataset(data)
    args = get_cfg(None, {"crop_fraction": 0.5, "imgsz": 64})
    dataset = ClassificationDataset(spec.split("val"), args, names=spec.names)
    wanted = torch.stack([dataset[i]["img"] for i in range(6)]).float() / 255
    assert torch.equal(calibrated, wanted)
    assert torch.equal(compared, wanted)
    given["accuracy"](None)
    assert seen == [(0.5, "val", 64)]
