import numpy as np
import pytest

from ultralytics.cfg.config import get_cfg
from ultralytics.data.cache.images import RamImages, RecentImages, available_memory, cached
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils.errors import DatasetError


def test_square_validation_samples(toy):
    dataset = YOLODataset([toy.parent / "images" / "val"], imgsz=64, nc=3)
    sample = dataset[0]
    assert sample["img"].shape == (3, 64, 64)
    assert sample["resized_shape"] == (64, 64)
    h, w = sample["ori_shape"]
    (gain, _), (left, top) = sample["ratio_pad"]
    assert gain == pytest.approx(64 / max(h, w))
    assert min(left, top) == 0


def test_rectangles_share_a_shape_per_batch_and_lose_nothing(toy):
    dataset = YOLODataset([toy.parent / "images" / "train"], imgsz=64, nc=3, rect=True, batch_size=4)
    ratios = dataset.labels.shapes[:, 0] / dataset.labels.shapes[:, 1]
    assert (np.diff(ratios) >= 0).all()
    for i in range(len(dataset)):
        sample = dataset[i]
        rectangle = dataset.rectangles[i // 4]
        assert sample["img"].shape[1:] == tuple(rectangle)
        assert (rectangle % 32 == 0).all()
        assert len(sample["cls"]) == len(dataset.labels.boxes(i)[0])
        assert ((sample["bboxes"] >= 0) & (sample["bboxes"] <= 1)).all()


def test_boxes_lie_where_the_objects_are(toy):
    """Boxes of the toy set surround bright squares on a dark ground."""
    for rect in (False, True):
        dataset = YOLODataset([toy.parent / "images" / "train"], imgsz=128, nc=3, rect=rect, batch_size=4)
        for i in range(len(dataset)):
            sample = dataset[i]
            frame = sample["img"].float().mean(0)
            h, w = frame.shape
            for x, y, bw, bh in sample["bboxes"].tolist():
                x1, y1, x2, y2 = (x - bw / 2) * w, (y - bh / 2) * h, (x + bw / 2) * w, (y + bh / 2) * h
                inside = frame[int(y1 + 2) : int(y2 - 1), int(x1 + 2) : int(x2 - 1)]
                assert inside.min() > 150


def test_training_samples_keep_the_frame_and_the_order(toy):
    dataset = YOLODataset([toy.parent / "images" / "train"], imgsz=96, nc=3, augment=True, hyp=get_cfg())
    assert dataset.uses_partners
    a, b = dataset[3], dataset[3]
    assert a["img"].equal(b["img"])
    assert a["img"].shape == (3, 96, 96)
    dataset.close_mosaic()
    assert not dataset.uses_partners
    assert not dataset[3]["img"].equal(a["img"])


def test_classes_can_be_chosen_or_merged(toy):
    folder = [toy.parent / "images" / "train"]
    everything = YOLODataset(folder, nc=3).labels.cls
    assert set(everything) == {0, 1, 2}
    only = YOLODataset(folder, nc=3, classes=1)
    assert set(only.labels.cls) == {1}
    assert len(only) == len(YOLODataset(folder, nc=3))
    assert set(YOLODataset(folder, nc=3, single_cls=True).labels.cls) == {0}


def test_collating_keeps_whose_box_is_whose(toy):
    dataset = YOLODataset([toy.parent / "images" / "val"], imgsz=64, nc=3)
    samples = [dataset[i] for i in range(len(dataset))]
    batch = YOLODataset.collate_fn(samples)
    assert batch["img"].shape == (len(dataset), 3, 64, 64)
    for i, sample in enumerate(samples):
        assert batch["bboxes"][batch["batch_idx"] == i].equal(sample["bboxes"])
        assert batch["img"][i].equal(sample["img"])


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_cache_changes_nothing(toy, cache):
    folder = [toy.parent / "images" / "train"]
    plain = YOLODataset(folder, imgsz=96, nc=3)
    for _ in range(2):  # the second time the disk cache is there
        kept = YOLODataset(folder, imgsz=96, nc=3, cache=cache)
        assert all(plain[i]["img"].equal(kept[i]["img"]) for i in range(len(plain)))
    smaller = YOLODataset(folder, imgsz=64, nc=3, cache=cache)
    assert smaller[0]["img"].shape == (3, 64, 64)


def test_a_changed_picture_is_decoded_anew(toy):
    folder = [toy.parent / "images" / "val"]
    first = YOLODataset(folder, imgsz=64, nc=3, cache="disk")[0]["img"]
    files = sorted((toy.parent / "images" / "val").iterdir())
    files[0].write_bytes(files[1].read_bytes())
    assert not YOLODataset(folder, imgsz=64, nc=3, cache="disk")[0]["img"].equal(first)


def test_a_damaged_cache_file_is_replaced(toy):
    folder = [toy.parent / "images" / "val"]
    want = YOLODataset(folder, imgsz=64, nc=3, cache="disk")[0]["img"]
    files = list((toy.parent / "images" / ".val.cache").iterdir())
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:50])
    assert YOLODataset(folder, imgsz=64, nc=3, cache="disk")[0]["img"].equal(want)


def test_recent_images_stay_within_their_limit():
    asked = []

    def load(i):
        asked.append(i)
        return np.zeros((10, 10, 3), np.uint8)

    recent = RecentImages(load, limit=650)
    for i in (0, 0, 1, 0, 2, 0, 1):
        recent(i)
    assert asked == [0, 1, 2, 1]
    assert recent.bytes <= 650
    few = RecentImages(load, count=3)
    for i in range(9):
        few(i)
    assert list(few.images) == [6, 7, 8]


def test_memory_that_does_not_suffice_is_said(toy, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    dataset = YOLODataset([toy.parent / "images" / "val"], imgsz=64, nc=3)
    load, rest = dataset._image, (dataset.labels, dataset.sizes, "k")
    assert isinstance(cached(load, "ram", *rest), RamImages)
    assert cached(load, False, *rest) is load
    monkeypatch.setattr("ultralytics.data.cache.images.available_memory", lambda: 1000)
    assert cached(load, "ram", *rest) is load
    assert "going on without" in caplog.text


def test_the_memory_that_can_be_had_ends_at_a_containers_limit(tmp_path, monkeypatch):
    limit, used = tmp_path / "max", tmp_path / "current"
    monkeypatch.setattr("ultralytics.data.cache.images._CONTAINER", ((limit, used),))
    unlimited = available_memory()
    assert unlimited > 2**24
    used.write_text("1000\n")
    for text, want in (("5000\n", 4000), ("500\n", 0), ("max\n", None)):
        limit.write_text(text)
        assert available_memory() == want if want is not None else available_memory() > 2**24


def test_an_image_that_was_replaced_is_named(toy):
    dataset = YOLODataset([toy.parent / "images" / "val"], imgsz=64, nc=3)
    files = list(dataset.im_files)
    (toy.parent / "images" / "val" / files[1].rsplit("/", 1)[1]).replace(files[0])
    with pytest.raises(DatasetError, match="not the one the run began with"):
        dataset[0]


def test_an_image_that_vanishes_is_named(toy):
    dataset = YOLODataset([toy.parent / "images" / "val"], imgsz=64, nc=3)
    file = dataset.im_files[0]
    (toy.parent / "images" / "val" / file.rsplit("/", 1)[1]).unlink()
    with pytest.raises(DatasetError, match="can no longer be read"):
        dataset[0]
