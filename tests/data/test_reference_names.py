"""Data helpers that scripts for ultralytics 8.2.103 import, with the values that release gives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.cfg import get_cfg
from ultralytics.data import build_dataloader, build_yolo_dataset, converter, loaders, utils
from ultralytics.utils.errors import DatasetError, MissingFileError, UserError
from ultralytics.utils.images import imread, imwrite


@pytest.fixture
def images(tmp_path):
    for split in ("train", "val"):
        for i in range(3):
            (tmp_path / "images" / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "labels" / split).mkdir(parents=True, exist_ok=True)
            imwrite(tmp_path / "images" / split / f"{i}.jpg", np.full((40, 60, 3), 99, np.uint8))
            (tmp_path / "labels" / split / f"{i}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (tmp_path / "d.yaml").write_text("train: images/train\nval: [images/val, images/train]\nnames: [a, b]\n")
    return tmp_path


def test_data_sets_and_label_files(images):
    assert utils.img2label_paths(["/x/images/a/b.jpg", "im/images/images/c.png"]) == [
        "/x/labels/a/b.txt", "im/images/labels/c.txt"
    ]  # fmt: skip
    data = utils.check_det_dataset(images / "d.yaml")
    assert (data["nc"], data["names"], data["yaml_file"]) == (2, {0: "a", 1: "b"}, str(images / "d.yaml"))
    assert data["train"] == str(images / "images" / "train")
    assert len(data["val"]) == 2
    assert utils.find_dataset_yaml(images) == images / "d.yaml"
    with pytest.raises(DatasetError, match="not one YAML"):
        utils.find_dataset_yaml(images / "images")
    assert utils.get_hash(["/nowhere/a"]) == utils.get_hash(["/nowhere/a"]) != utils.get_hash(["/nowhere/b"])


def test_a_script_builds_the_data_set_and_its_batches(images):
    data = utils.check_det_dataset(images / "d.yaml")
    cfg = get_cfg(overrides={"imgsz": 64})
    made = build_yolo_dataset(cfg, data["train"], 2, data, mode="train", rect=False, stride=32)
    assert (len(made), made.ni, made[0]["img"].shape) == (3, 3, (3, 64, 64))
    loader = build_dataloader(made, 2, 0, True, -1)
    assert (len(loader), loader.batch_size) == (2, 2)
    assert sum(len(batch["im_file"]) for batch in loader) == 3
    made.close_mosaic(hyp=cfg)
    assert made.mosaic_closed
    both = build_yolo_dataset(cfg, data["val"], 2, {"names": ["a", "b"]}, mode="val")
    assert len(both) == 6
    assert both[0]["cls"].tolist() == [0.0]
    with pytest.raises(DatasetError, match="class"):
        build_yolo_dataset(cfg, data["val"], 2, {"names": []}, mode="val")


def test_images_and_labels_are_judged(images):
    image, label = images / "images" / "train" / "0.jpg", images / "labels" / "train" / "0.txt"
    assert utils.verify_image(((str(image), 0), "")) == ((str(image), 0), 1, 0, "")
    found = utils.verify_image_label((str(image), str(label), "", False, 2, 0, 0))
    assert found[1].tolist() == [pytest.approx([0, 0.5, 0.5, 0.4, 0.4])]
    assert (found[0], found[2], found[5:]) == (str(image), (40, 60), [0, 1, 0, 0, ""])
    assert utils.verify_image_label((str(image), "none.txt", "", False, 2, 0, 0))[5:] == [1, 0, 0, 0, ""]
    label.write_text("")
    assert utils.verify_image_label((str(image), str(label), "", False, 2, 0, 0))[5:] == [0, 1, 1, 0, ""]
    for wrong, message in (("0 0.5 0.5 0.4 1.4\n", "1.4 is outside"), ("2 0.5 0.5 0.4 0.4\n", "class 2 of 2")):
        label.write_text(wrong)
        found = utils.verify_image_label((str(image), str(label), "p: ", False, 2, 0, 0))
        assert found[:5] + found[5:9] == [None] * 5 + [0, 1, 0, 1]
        assert message in found[9]
        assert found[9].startswith("p: ")
    image.write_bytes(b"")
    assert utils.verify_image(((str(image), 0), ""))[1:3] == (0, 1)
    turned = Image.new("RGB", (60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(images / "t.jpg", exif=exif)
    assert utils.exif_size(Image.open(images / "t.jpg")) == (40, 60)


def test_a_folder_is_split_as_the_reference_does(images):
    utils.autosplit(images / "images", weights=(0.5, 0.5, 0.0))
    drawn = ["images/train/0.jpg", "images/train/1.jpg", "images/val/1.jpg"]
    assert (images / "autosplit_val.txt").read_text() == "".join(f"./{name}\n" for name in drawn)
    assert len((images / "autosplit_train.txt").read_text().splitlines()) == 3
    with pytest.raises(MissingFileError, match="no such folder of images"):
        utils.autosplit(images / "gone")
    utils.compress_one_image(images / "images" / "val" / "0.jpg", images / "small.jpg", max_dim=30)
    assert imread(images / "small.jpg").shape == (20, 30, 3)


def test_sources_come_in_batches(images):
    source = loaders.load_inference_source(str(images / "images" / "train"), batch=2)
    batches = list(source)
    assert (len(source), source.nf, [len(paths) for paths, _, _ in batches]) == (2, 3, [2, 1])
    assert batches[0][1][0].shape == (40, 60, 3)
    assert Path(batches[0][0][0]).name == "0.jpg"
    [(paths, drawn, _)] = loaders.LoadPilAndNumpy([np.zeros((4, 5, 3), np.uint8), Image.new("RGB", (3, 2))])
    assert (paths, [d.shape for d in drawn]) == (["image0.jpg", "image1.jpg"], [(4, 5, 3), (2, 3, 3)])
    rgb = torch.rand(2, 3, 32, 64).mul(255).round() / 255
    [(_, drawn, _)] = loaders.LoadTensor(rgb)
    assert np.array_equal(drawn[0][..., ::-1], (rgb[0].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8))
    assert issubclass(loaders.LoadStreams, loaders.LoadImagesAndVideos)


def test_cocos_ids():
    table = converter.coco91_to_coco80_class()
    assert (len(table), table[:14]) == (91, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, None, 11, 12])
    assert converter.coco80_to_coco91_class()[:13] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14]
    with pytest.raises(UserError, match="prepare coco"):
        converter.convert_coco()
