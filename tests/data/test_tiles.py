"""Tiles as the samples of a training: which there are, what is labelled in them, and their pixels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.cfg.config import get_cfg
from ultralytics.data.build import EpochSampler, build_dataloader, build_yolo_dataset
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.instances import Instances
from ultralytics.data.labelset import FileNames, LabelSet
from ultralytics.data.polygons import Polygons
from ultralytics.data.scan import scan
from ultralytics.data.tiles import Tiling, cut_images, settle_tiles
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.images import imread
from ultralytics.utils.types import SampleKey

SIDE = 64


def label_set(shapes, rows):
    """Images of these shapes, and of each the rows of its objects: class, centre, width, height in 0..1."""
    table = np.array([row for each in rows for row in each], np.float32).reshape(-1, 5)
    offsets = np.cumsum([0, *map(len, rows)])
    return LabelSet(
        FileNames([f"/{i}.jpg" for i in range(len(shapes))]),
        np.array(shapes, np.int64),
        offsets.astype(np.int64),
        Instances(table[:, 0].copy(), table[:, 1:].copy()),
        np.zeros(len(shapes) + 1, np.int64),
        np.zeros((0, 6), np.float32),
        np.zeros((len(shapes), 16), np.uint8),
    )


def plain(images, how):
    """The samples, each step written out: image, place and objects (class and corners in pixels of the image)."""

    def first_pixels(length):
        if length <= how.side:
            return [0]
        shared = min(math.ceil(how.side * how.overlap), how.side - 1)
        count = 2
        while (count - 1) * (how.side - shared) < length - how.side:
            count += 1
        return [i * (length - how.side) // (count - 1) for i in range(count)]

    samples = []
    for i, (h, w) in enumerate(images.shapes.tolist()):
        objects = [
            (cls, (x * w - bw * w / 2, y * h - bh * h / 2, x * w + bw * w / 2, y * h + bh * h / 2))
            for cls, (x, y, bw, bh) in zip(*(a.astype(float).tolist() for a in images.boxes(i)), strict=True)
        ]
        places = [(x, y, min(x + how.side, w), min(y + how.side, h)) for y in first_pixels(h) for x in first_pixels(w)]
        if len(places) > 1:
            for place in places:
                shown = []
                for cls, box in objects:
                    cut = [max(box[0], place[0]), max(box[1], place[1]), min(box[2], place[2]), min(box[3], place[3])]
                    area = max(cut[2] - cut[0], 0) * max(cut[3] - cut[1], 0)
                    if area > 0 and area >= how.visible * (box[2] - box[0]) * (box[3] - box[1]):
                        shown.append((cls, tuple(cut)))
                samples.append((i, place, shown))
        if len(places) == 1 or how.whole:
            samples.append((i, (0, 0, w, h), objects))
    return samples


sides = st.integers(10, 200)
part = st.integers(1, 4095).map(lambda n: n / 4096)


@given(
    images=st.lists(
        st.tuples(sides, sides, st.lists(st.tuples(part, part, part, part), max_size=4)), max_size=4, min_size=1
    ),
    side=st.integers(32, 90),
    overlap=st.floats(0, 0.6),
    visible=st.sampled_from([0, 0.1, 0.3, 1 / 3, 0.7, 1]),
    whole=st.booleans(),
)
def test_the_samples_are_those_of_the_plain_way(images, side, overlap, visible, whole):
    rows = [[(k, x, y, min(w, 2 * x, 2 - 2 * x), min(h, 2 * y, 2 - 2 * y)) for k, (x, y, w, h) in enumerate(boxes)]
            for *_, boxes in images]  # fmt: skip
    labels, how = label_set([(h, w) for h, w, _ in images], rows), Tiling(side, overlap, visible, whole=whole)
    tiles, want = cut_images(labels, how), plain(labels, how)
    assert len(tiles.labels) == len(want)
    covered = [np.zeros(shape, bool) for shape in labels.shapes]
    for n, (i, place, objects) in enumerate(want):
        left, top, right, bottom = tiles.places[n].tolist()
        assert (tiles.image[n], (left, top, right, bottom)) == (i, place)
        assert tiles.labels.im_files[n] == f"/{i}.jpg"
        assert tiles.labels.shapes[n].tolist() == [bottom - top, right - left]
        covered[i][top:bottom, left:right] = True
        found = tiles.labels.labelled(n)
        assert found.cls.tolist() == [cls for cls, _ in objects]
        back = found.place((right - left, bottom - top), (left, top)).bboxes
        np.testing.assert_allclose(back, np.array([b for _, b in objects]).reshape(-1, 4), atol=1e-4)
        assert (found.bboxes >= 0).all()
        assert (back >= np.array([left, top, left, top]) - 1e-4).all()
    assert all(c.all() for c in covered)
    if whole or (visible <= 0.25 and all(max(h, w) <= side for h, w in labels.shapes)):
        assert all(set(labels.boxes(i)[0]) <= {c for j, _, o in want if j == i for c, _ in o} for i in range(len(rows)))


def test_an_object_no_larger_than_the_overlap_is_whole_in_a_tile():
    rng = np.random.default_rng(0)
    shape, size = (500, 700), 12  # a fifth of 64 is 13
    centres = rng.uniform(size, np.array(shape[::-1]) - size, (300, 2))
    rows = [(k, x / 700, y / 500, size / 700, size / 500) for k, (x, y) in enumerate(centres)]
    tiles = cut_images(label_set([shape], [rows]), Tiling(SIDE, 0.2, 0.999, whole=False))
    assert set(tiles.labels.cls) == set(range(300))


def test_what_is_in_no_sample_is_said(caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    caplog.set_level("INFO", "ultralytics")
    large = label_set([(640, 640)], [[(0, 0.5, 0.5, 0.9, 0.9)]])
    assert not len(cut_images(large, Tiling(SIDE, whole=False)).labels.cls)
    assert "1 object in no sample: no tile shows 0.1 of the area" in caplog.text
    caplog.clear()
    whole = cut_images(large, Tiling(SIDE), "train: ").labels
    assert len(whole.cls) == 1
    text = (
        "train: 169 tiles of 64 pixels from 1 image, 169 without objects (0 left out), and 1 whole image; 1 object, la"
    )
    assert text in caplog.text
    assert "in no sample" not in caplog.text
    cut_images(label_set([(64, 60)], [[]]), Tiling(SIDE))
    assert "tiles=64 has no effect: no image is larger than a tile" in caplog.text


def test_tiles_without_objects_are_kept_in_part():
    labels = label_set([(300, 300), (50, 50)], [[(0, 0.1, 0.1, 0.1, 0.1)], []])
    every = cut_images(labels, Tiling(SIDE))
    half = cut_images(labels, Tiling(SIDE, background=0.5))
    empty = int((np.diff(every.labels.offsets) == 0).sum()) - 1  # an image that is whole is kept
    assert len(half.labels) == len(every.labels) - (empty - round(empty / 2))
    assert half.labels.cls.tolist() == every.labels.cls.tolist()
    again, other = (cut_images(labels, Tiling(SIDE, background=0.5, seed=s)).places.tolist() for s in (0, 1))
    assert again == half.places.tolist() != other
    none = cut_images(labels, Tiling(SIDE, background=0))
    assert (np.diff(none.labels.offsets)[:-1] > 0).all()
    assert none.places[-1].tolist() == [0, 0, 50, 50]
    with pytest.raises(DatasetError, match="no tile has an object, and tile_background=0 keeps no other"):
        cut_images(label_set([(300, 300)], [[]]), Tiling(SIDE, background=0, whole=False))


@pytest.mark.parametrize("cache", [False, "ram", "disk"])
def test_the_pixels_are_those_of_the_image_whatever_the_cache(toy, cache):
    folder = [toy.parent / "images" / "train"]
    for _ in range(2):  # the second time the disk cache is there
        dataset = YOLODataset(folder, imgsz=SIDE, nc=3, cache=cache, tiles=Tiling(SIDE))
        for n, (left, top, right, bottom) in enumerate(dataset.tiles.places):
            image = imread(dataset.im_files[n])
            loaded = dataset.labelled(n).image
            if dataset.tiles.is_part[n]:
                assert np.array_equal(loaded, image[top:bottom, left:right])
                assert loaded.base is None  # it does not hold the whole image
            else:
                assert (left, top, right, bottom) == (0, 0, *image.shape[1::-1])
                assert max(loaded.shape) == SIDE
    assert dataset.tiles.is_part.sum() > 12 > (~dataset.tiles.is_part).sum() - 1
    sample = dataset[0]
    assert sample["img"].shape == (3, SIDE, SIDE)
    assert sample["ori_shape"] == (SIDE, SIDE)


def test_a_damaged_cache_file_of_an_image_is_replaced(toy):
    folder, keys = [toy.parent / "images" / "val"], {"imgsz": SIDE, "nc": 3, "tiles": Tiling(SIDE)}
    first = YOLODataset(folder, cache="disk", **keys)
    want = [first[i]["img"] for i in range(len(first))]
    files = sorted((toy.parent / "images" / ".val.cache").iterdir())
    for cut, file in zip((50, 200, 1000, 3), files, strict=False):
        file.write_bytes(file.read_bytes()[:cut])
    np.save(files[4], np.zeros((5, 5), object))
    again = YOLODataset(folder, cache="disk", **keys)
    assert all(again[i]["img"].equal(img) for i, img in enumerate(want))
    assert all(np.load(f, allow_pickle=False).dtype == np.uint8 for f in files)


def built(toy, **keys):
    args = get_cfg(overrides={"imgsz": SIDE, "tiles": SIDE, **keys})
    return build_yolo_dataset(args, toy.parent / "images" / "train", 4, {"names": ["a", "b", "c"], "nc": 3})


def test_tiles_are_samples_to_sampler_mosaic_and_workers(toy):
    dataset = built(toy)
    sampler = EpochSampler(dataset, 4, shuffle=True, seed=0)
    keys = [key for batch in sampler for key in batch]
    assert sorted(k.index for k in keys) == list(range(len(dataset)))
    assert len(dataset) > 30
    assert max(keys[0].partners) == len(dataset) - 1
    here, there = (build_dataloader(dataset, 4, workers) for workers in (0, 2))
    try:
        for a, b in zip(here, there, strict=True):
            assert a["img"].equal(b["img"])
            assert a["bboxes"].equal(b["bboxes"])
    finally:
        there.close()
    single = dataset[SampleKey(3, (0, 0, 0))]
    assert single["img"].shape == (3, SIDE, SIDE)


def test_fraction_and_classes_are_of_the_images(toy):
    half, only = built(toy, fraction=0.5), built(toy, classes=1)
    assert half.tiles.images.im_files == scan([toy.parent / "images" / "train"], 3, 0.5).im_files
    assert set(only.labels.cls) == {1}
    assert len(only) == len(built(toy))


def test_the_network_sees_tiles_at_their_own_size():
    def imgsz(**keys):
        args = get_cfg(overrides=keys)
        settle_tiles(args)
        return args.imgsz

    assert imgsz(tiles=320) == imgsz(tiles=320, imgsz=320) == 320
    assert imgsz(tiles=600) == 608
    assert imgsz(imgsz=320) == 320
    assert imgsz() == imgsz(tiles=640) == 640
    with pytest.raises(ConfigError, match="imgsz=320 and tiles=640: tiles are trained on at their own size"):
        imgsz(tiles=640, imgsz=320)
    with pytest.raises(ConfigError, match="rect=True and tiles=640"):
        imgsz(tiles=640, rect=True)


def test_tiles_cut_outlines_and_keypoints():
    """A triangle over four tiles, and a polygon in whose box a tile shows nothing of it."""
    images = label_set([(100, 100)], [[(0, 0.5, 0.5, 0.8, 0.8), (1, 0.5, 0.5, 1.0, 1.0)]])
    triangle = np.array([[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]], np.float32)
    band = np.array([[0, 0], [0.1, 0], [0.1, 0.9], [1, 0.9], [1, 1], [0, 1]], np.float32)
    images.instances.segments = Polygons.of([triangle, band])
    images.instances.keypoints = np.array([[[0.5, 0.2, 2], [0.5, 0.8, 2]]] * 2, np.float32)
    cut = cut_images(images, Tiling(50, 0.0, 0.0, whole=False))
    shown = [cut.labels.labelled(i) for i in range(4)]
    assert [one.cls.tolist() for one in shown] == [[0, 1], [0], [0, 1], [0, 1]]
    areas = sum(float(one.segments.areas()[0]) * 50 * 50 for one in shown)
    assert areas == pytest.approx(100 * 100 * 0.8 * 0.8 / 2, rel=1e-4)
    for one in shown:
        corners = np.concatenate(
            [one.bboxes[:, :2] - one.bboxes[:, 2:] / 2, one.bboxes[:, :2] + one.bboxes[:, 2:] / 2], 1
        )
        np.testing.assert_allclose(corners, one.segments.bounds(), atol=1e-5)
    assert shown[0].keypoints[0, :, 2].tolist() == [2, 0]  # on the border that both tiles have
    assert shown[3].keypoints[0, :, 2].tolist() == [0, 2]
    fewer = cut_images(images, Tiling(50, 0.0, 0.3, whole=False))
    assert [fewer.labels.labelled(i).cls.tolist() for i in (0, 1, 2, 3)] == [[0], [0], [1], []]
