"""Class folders: what is found in them, samples as a function of their key, and the transforms of the reference."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.cfg.class_folders import is_class_dataset, load_class_dataset
from ultralytics.cfg.config import get_cfg
from ultralytics.data.build import build_dataloader
from ultralytics.data.class_augment import (
    POLICY,
    RANDOM,
    ClassAugmentation,
    erased,
    magnitude_of,
    random_crop,
    resized_crop,
)
from ultralytics.data.class_dataset import ClassificationDataset
from ultralytics.data.class_scan import scan_classes
from ultralytics.utils.errors import DatasetError, MissingFileError
from ultralytics.utils.types import SampleKey


def write(path, shape=(20, 24, 3), value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)))
    image = rng.integers(0, 256, shape, np.uint8) if value is None else np.full(shape, value, np.uint8)
    cv2.imwrite(str(path), image)


@pytest.fixture
def data(tmp_path):
    """Three classes of 4, 2 and 1 images; val lacks the first."""
    for split, counts in (("train", {"ant": 4, "bee": 2, "cat": 1}), ("val", {"bee": 2, "cat": 1})):
        for name, count in counts.items():
            for i in range(count):
                write(tmp_path / split / name / f"{name}{i}.png", value=40 * i + len(split))
    return tmp_path


@pytest.fixture
def reported(monkeypatch, caplog):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    return caplog


def scan(data, split="train", **more):
    spec = load_class_dataset(data)
    return scan_classes(spec.split(split), spec.names, **more)


def test_what_is_of_class_folders_is_told_by_the_task_the_yaml_or_the_folders(data):
    assert is_class_dataset(data)
    assert not is_class_dataset(data, "detect")
    assert not is_class_dataset(data / "train"), "it has no folders of splits"
    assert not is_class_dataset(data / "gone.yaml")
    assert is_class_dataset("shapes-cls.yaml"), "as it is bundled"
    assert not is_class_dataset("shapes.yaml")
    assert is_class_dataset("shapes.yaml", "classify")
    other = data / "data.yaml"
    other.write_text("train: train/images\nval: val/images\nnames: [a]\n")
    assert not is_class_dataset(data), "train/ and val/ are those of a YAML of another task"
    other.write_text("train: train\nval: val\nnames: [a]\ntask: classify\n")
    assert is_class_dataset(data)
    assert is_class_dataset(other)
    (data / "boxes.yaml").write_text("train: train\nval: val\nnames: [a]\n")
    assert not is_class_dataset(data), "one of its YAMLs is of another task"
    (data / "boxes.yaml").unlink()
    other.write_text("{")
    assert not is_class_dataset(other), "whoever reads it says what is wrong"
    other.unlink()
    for name in ("images", "labels"):
        (data / "train" / name).mkdir()
    assert not is_class_dataset(data), "train/ holds images and their labels"


def test_classes_are_the_training_split_s_in_every_split(data, reported):
    assert load_class_dataset(data).names == {0: "ant", 1: "bee", 2: "cat"}
    assert scan(data).cls.tolist() == [0, 0, 0, 0, 1, 1, 2]
    assert scan(data, "val").cls.tolist() == [1, 1, 2]
    assert "1 class without images here: ant" in reported.text


def test_a_part_of_the_images_is_a_part_of_each_class(data):
    labels = scan(data, fraction=0.5)
    assert np.bincount(labels.cls.astype(int)).tolist() == [2, 1, 1]
    assert len(scan(data, fraction=0.01)) == 3


def test_what_is_found_is_remembered_until_it_changes(data, monkeypatch):
    first = scan(data)
    assert (data / ".train.scan.npz").is_file()
    monkeypatch.setattr("ultralytics.data.scan.judge_image", lambda _: pytest.fail("it was checked"))
    again = scan(data)
    assert again.digest == first.digest
    assert np.array_equal(again.cls, first.cls)
    monkeypatch.undo()
    (data / "train" / "bee" / "bee1.png").rename(data / "train" / "cat" / "bee1.png")
    assert scan(data).digest != first.digest


def test_hostile_folders_are_a_line_each(data, reported):
    train = data / "train"
    write(train / "bee" / "small.png", (1, 1, 3))
    (train / "bee" / "empty.jpg").touch()
    (train / "bee" / "no.jpg").write_bytes(b"\xff\xd8 nothing")
    (train / "bee" / "notes.txt").write_text("hello")
    (train / "bee" / ".DS_Store").write_text("x")
    (train / ".git").mkdir()
    write(train / "loose.png")
    write(train / "bee" / "deeper" / "x.png")
    (train / "dog").mkdir()
    os.symlink(train, train / "cat" / "loop")
    write(data / "val" / "zebra" / "z.png")
    labels = scan(data)
    assert load_class_dataset(data).names[3] == "dog"
    assert (len(labels), labels.left_out) == (8, 3)
    for line in (
        "small.png: 1x1 pixels",
        "empty.jpg: the file is empty",
        "no.jpg: ",
        "notes.txt: 1 file in class folders is not an image",
        "loose.png: 1 image in no class folder",
        "1 class without images here: dog",
        "read already, or hold",
    ):
        assert line in reported.text, line
    scan(data, "val")
    assert "zebra: no class is called that; 1 image passed over" in reported.text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: shutil.rmtree(d / "train"), "there is no folder train"),
        (lambda d: shutil.rmtree(d / "val"), "there is no folder val.*move a part"),
        (lambda d: [shutil.rmtree(p) for p in (d / "train").iterdir()], "there are no class folders"),
        (lambda d: (d / "train" / "a\nb").mkdir(), "control characters"),
    ],
)
def test_what_is_no_dataset_is_one_line(data, spoil, message):
    spoil(data)
    with pytest.raises(DatasetError, match=message):
        load_class_dataset(data)


def test_folders_without_images_and_without_good_ones(data):
    with pytest.raises(MissingFileError, match=r"no such folder.*train/CLASS"):
        load_class_dataset(data / "other")
    for file in (data / "train").rglob("*.png"):
        file.write_bytes(b"x")
    with pytest.raises(DatasetError, match="none of the 7 images can be used"):
        scan(data)
    for file in (data / "train").rglob("*.png"):
        file.unlink()
    with pytest.raises(DatasetError, match="hold no images"):
        scan(data)


def test_other_names_of_val_and_a_yaml(data, reported):
    (data / "val").rename(data / "validation")
    assert load_class_dataset(data).split("val") == [data / "validation"]
    (data / "validation").rename(data / "test")
    assert load_class_dataset(data).split("val") == [data / "test"]
    assert "test is used for it" in reported.text
    file = data / "data.yaml"
    file.write_text("train: train\nval: test\nnames: [cat, bee, ant]\n")
    spec = load_class_dataset(str(file))
    assert scan_classes(spec.split("train"), spec.names).cls.tolist() == [2, 2, 2, 2, 1, 1, 0]


def dataset(data, augment=True, **keys):
    spec = load_class_dataset(data)
    args = get_cfg(None, {"imgsz": 32, **keys})
    return ClassificationDataset(spec.split("train"), args, augment, names=spec.names)


@pytest.mark.parametrize("automatic", [None, "randaugment", "autoaugment", "augmix"])
def test_a_sample_is_a_function_of_its_key(data, automatic):
    write(data / "train" / "ant" / "grey.png", (40, 30), None)
    write(data / "train" / "ant" / "alpha.png", (12, 90, 4), None)
    one, other = (dataset(data, auto_augment=automatic, flipud=0.5) for _ in range(2))
    key = SampleKey(3, (7, 1, 2))
    drawn = [(d[key]["img"], [d[i]["img"] for i in range(3)])[0] for d in (one, other)]
    assert torch.equal(*drawn)
    assert (drawn[0].dtype, drawn[0].shape) == (torch.uint8, (3, 32, 32))
    different = {one[SampleKey(0, (7, 1, i))]["img"].numpy().tobytes() for i in range(20)}
    assert len(different) > 5


@pytest.mark.slow
def test_batches_are_the_same_for_any_number_of_workers_and_any_cache(data):
    def epoch(workers, **keys):
        loader = build_dataloader(dataset(data, **keys), 3, workers, seed=5)
        loader.set_epoch(2)
        found = [(b["img"].clone(), b["cls"].clone(), b["im_file"]) for b in loader]
        loader.close()
        return found

    wanted = epoch(0)
    assert [len(b[1]) for b in wanted] == [3, 3, 1]
    for other in (epoch(2), epoch(0, cache="ram"), epoch(1, cache="disk")):
        for (img, cls, files), (a, b, c) in zip(wanted, other, strict=True):
            assert torch.equal(img, a)
            assert torch.equal(cls, b)
            assert files == c


def test_a_batch(data):
    d = dataset(data)
    batch = d.collate_fn([d[0], d[6]])
    assert batch["img"].shape == (2, 3, 32, 32)
    assert batch["cls"].tolist() == [0, 2]
    assert batch["cls"].dtype == torch.int64
    assert [Path(f).parent.name for f in batch["im_file"]] == ["ant", "cat"]


# Transforms


def test_the_middle_of_an_image_is_the_reference_s(fixtures):
    data = np.load(fixtures / "classify_transforms.npz")
    for i in range(4):
        size, part = int(data[f"size{i}"]), float(data[f"crop_fraction{i}"])
        found = resized_crop(np.ascontiguousarray(data[f"in{i}"][..., ::-1]), (size, size), part)
        np.testing.assert_allclose(found.transpose(2, 0, 1) / 255, data[f"out{i}"], atol=1e-7)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40_000), (40_000, 1), (33, 31)])
def test_images_of_any_shape_fit(shape):
    image = np.full((*shape, 3), 7, np.uint8)
    for size in ((32, 32), (32, 64)):
        found = resized_crop(image, size, 0.9)
        assert found.shape == (*size, 3)
        assert (found == 7).all()


@pytest.mark.parametrize("shape", [(60, 80), (90, 31), (200, 200)])
def test_an_enormous_image_is_cut_before_it_is_resized(shape, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for size, part in (((32, 32), 0.5), ((48, 48), 0.2), ((32, 64), 0.7), ((32, 32), 1.0)):
        whole = resized_crop(image, size, part)
        with monkeypatch.context() as patch:
            patch.setattr("ultralytics.data.class_augment.LARGEST", 0)
            cut = resized_crop(image, size, part)
        assert cut.shape == whole.shape
        assert np.abs(cut.astype(int) - whole).max() <= 1


def test_a_small_part_of_an_image_is_its_middle():
    image = np.zeros((101, 101, 3), np.uint8)
    image[50, 50] = 200  # the middle pixel, of which a thousandth of the side is a part
    found = resized_crop(image, (224, 224), 0.001)
    assert found.shape == (224, 224, 3)
    assert found.min() > 150


def test_the_policy_is_the_paper_s():
    assert len(POLICY) == 25
    assert POLICY[0] == [("Posterize", 0.4, 8), ("Rotate", 0.6, 9)]
    assert POLICY[18] == [("ShearX", 0.6, 5), ("Equalize", 1.0, 0)]
    assert len(RANDOM) == 14


def test_magnitudes_are_those_of_the_papers():
    assert magnitude_of("Rotate", 9, 31) == pytest.approx(9.0)
    assert magnitude_of("Solarize", 9, 31) == pytest.approx(255 * 0.7)
    assert magnitude_of("Posterize", 9, 31) == 7
    assert magnitude_of("Posterize", 9, 10, bits=4) == 0
    assert magnitude_of("ShearX", 9, 10) == pytest.approx(0.3)


def test_crops_and_erased_parts_are_as_large_as_they_should():
    areas = []
    picture = Image.new("RGB", (60, 40))
    resize = picture.resize
    picture.resize = lambda size, how, box: (
        areas.append((box[2] - box[0]) * (box[3] - box[1])) or resize(size, how, box)
    )
    for seed in range(50):
        assert random_crop(picture, 16, 0.5, np.random.default_rng(seed)).size == (16, 16)
    assert 0.47 * 2400 <= min(areas) < 0.6 * 2400
    assert 0.8 * 2400 < max(areas) <= 2400
    white = np.full((50, 50, 3), 255, np.uint8)
    parts = [(erased(white, np.random.default_rng(s)) == 0).all(2).mean() for s in range(50)]
    assert 0.015 < min(parts) < max(parts) < 0.35
    assert (white == 255).all()


def test_no_augmentation_leaves_the_picture():
    still = dict.fromkeys(("scale", "fliplr", "flipud", "erasing", "hsv_h", "hsv_s", "hsv_v"), 0.0)
    augment = ClassAugmentation(SimpleNamespace(**still, auto_augment=None), 32)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    same = [np.array_equal(augment(image, np.random.default_rng(s)), image) for s in range(40)]
    assert any(same)  # a ratio near 1 leaves the whole image
