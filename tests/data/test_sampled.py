"""Images of a split for an export: those of validation, without a scan."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.tasks import class_folders
from ultralytics.cfg.class_folders import load_class_dataset
from ultralytics.cfg.config import get_cfg
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.class_dataset import ClassificationDataset
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.sampled import OF_BOXES, OF_CLASSES, batches, spread
from ultralytics.utils.errors import DatasetError


@pytest.mark.parametrize("frame", [(64, 64), (96, 64), (64, 160)])
def test_they_are_those_of_validation(toy, frame):
    data = load_dataset(toy)
    files = spread(OF_BOXES.listed(data, "val"), 100)
    ours = [image for (image,) in batches(files, 1, frame)]
    assert sorted(p.name for p in toy.parent.iterdir()) == ["images", "labels", "toy.yaml"]
    assert not [p for p in (toy.parent / "images").rglob("*") if p.is_file() and p.suffix != ".png"]
    dataset = YOLODataset(data.split("val"), imgsz=max(frame), nc=3, frame=frame)
    assert files == list(dataset.im_files)
    for i, image in enumerate(ours):
        assert torch.equal(image, dataset[i]["img"].float() / 255)


@pytest.mark.parametrize("frame", [(64, 64), (32, 32), (48, 96)])
@pytest.mark.parametrize("crop_fraction", [1.0, 0.5])
def test_those_of_a_classifier_are_those_of_its_validation(tmp_path, frame, crop_fraction):
    """Resized by the shorter side and cut, which a letterbox is not; no scan is left."""
    data = class_folders(tmp_path / "data", val=(2, 3, 1))
    wide = np.random.default_rng(0).integers(0, 256, (30, 90, 3), np.uint8)
    cv2.imwrite(str(data / "val" / "dark" / "wide.png"), wide)
    spec = load_class_dataset(data)
    files = spread(OF_CLASSES.listed(spec, "val"), 100)
    ours = [image for (image,) in batches(files, 1, frame, OF_CLASSES.fit, crop_fraction)]
    assert sorted(p.name for p in data.iterdir()) == ["train", "val"]
    args = get_cfg(None, {"crop_fraction": crop_fraction})
    dataset = ClassificationDataset(spec.split("val"), args, names=spec.names, frame=frame)
    assert files == list(dataset.im_files)
    assert len(ours) == 7
    for i, image in enumerate(ours):
        assert torch.equal(image, dataset[i]["img"].float() / 255)
    at = files.index(str(data / "val" / "dark" / "wide.png"))
    (letterboxed,) = batches(files[at : at + 1], 1, frame)
    assert not torch.equal(ours[at], letterboxed[0])


def test_they_are_spread_over_the_split_and_always_the_same(tmp_path):
    every = [f"{i:02}.jpg" for i in range(50)]
    assert spread(every, 5) == ["00.jpg", "12.jpg", "24.jpg", "37.jpg", "49.jpg"]
    assert spread(every, 300) == every
    assert spread(every, 1) == ["00.jpg"]
    (tmp_path / "images").mkdir()
    (tmp_path / "d.yaml").write_text("train: images\nval: images\nnames: [a]\n")
    with pytest.raises(DatasetError, match="no images"):
        OF_BOXES.listed(load_dataset(tmp_path / "d.yaml"), "val")


def test_batches_are_full_and_unreadable_images_are_left_out(toy):
    files = spread(OF_BOXES.listed(load_dataset(toy), "train"), 12)
    Path(files[3]).write_bytes(b"no image")
    Path(files[5]).unlink()
    assert [len(b) for b in batches(files, 4, (64, 64))] == [4, 4]  # 10 can be read
    assert [len(b) for b in batches(files, 1, (64, 64))] == [1] * 10
    (single,) = batches(files[:2], 5, (64, 64))
    assert torch.equal(single[0], single[2])
    assert not list(batches(files[3:4], 5, (64, 64)))
    assert np.ptp(single.numpy()) <= 1
