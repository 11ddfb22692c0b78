"""What torch draws of a plan is what OpenCV draws."""

import cv2
import numpy as np
import pytest
import torch

from tests.conftest import write_toy
from ultralytics.cfg.config import get_cfg
from ultralytics.data import device_drawing
from ultralytics.data.augment import Augmentation
from ultralytics.data.build import build_dataloader
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.device_drawing import draw, jitter, pack
from ultralytics.data.drawing import Artist, Labelled, Layout, Place, Plan, Scratch, Tile, View, jittered
from ultralytics.data.instances import Instances

NOTHING = Instances(np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
STILL = {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}
# Augmentations, and the part of the numbers that may differ by more than one step.
GEOMETRY = [
    {}, {"mosaic": 0.0}, {"scale": 0.0, "translate": 0.0}, {"scale": 0.9}, {"mixup": 0.5, "bgr": 0.5},
    {"degrees": 30.0, "shear": 5.0}, {"perspective": 0.001, "mixup": 0.5}, {"fliplr": 1.0, "flipud": 1.0},
    {"degrees": 180.0, "mosaic": 0.0, "flipud": 0.5},
]  # fmt: skip


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def plans_of(settings, count=8, side=96, frame=None):
    """Plan samples of images of many sizes, half of them noise."""
    augmentation = Augmentation(get_cfg(None, settings), side)
    sizes = [(96, 60), (40, 96), (96, 96), (1, 96), (96, 3), (77, 96)]
    images = [rng(i).integers(0, 256, (*s, 3), np.uint8) for i, s in enumerate(sizes)]
    images[::2] = [cv2.resize(image[:4, :3], (w, h)) for image, (h, w) in zip(images[::2], sizes[::2], strict=True)]

    def load(i):
        return Labelled(images[i], NOTHING)

    return [augmentation.plan(i % 6, range(6), load, rng(100 + i), frame=frame) for i in range(count)]


def drawn(plans):
    pixels, numbers = pack(plans)
    return draw(pixels, numbers, numbers.numpy()).permute(0, 2, 3, 1).numpy()


def differences(plans):
    return np.abs(drawn(plans).astype(int) - np.stack([Artist()(plan) for plan in plans]).astype(int))


@pytest.mark.parametrize("settings", GEOMETRY, ids=str)
def test_geometry_equals_opencvs(settings):
    found = differences(plans_of({**STILL, **settings}))
    assert found.max() <= 1
    assert found.mean() < 0.3


def test_a_rectangle_is_drawn():
    plans = plans_of({}, frame=(64, 96))
    assert drawn(plans).shape == (8, 64, 96, 3)
    assert differences(plans).mean() < 0.7


@pytest.mark.parametrize("settings", [{}, {"mixup": 1.0}, {"degrees": 10.0, "bgr": 1.0}], ids=str)
def test_colours_follow(settings):
    """One step of a channel before the jitter is several after it, at dark pixels most."""
    found = differences(plans_of(settings))
    assert found.mean() < 0.7
    assert np.mean(found > 4) < 0.01


def test_the_jitter_equals_opencvs():
    levels = np.array([0, 1, 2, 3, 17, 64, 127, 128, 200, 254, 255], np.uint8)
    image = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    image = np.concatenate([image, rng().integers(0, 256, (1, 20000, 3), np.uint8)], 1)
    for gains in ([1.0, 1.0, 1.0], [1.015, 1.7, 1.4], [0.985, 0.3, 0.6], [1.2, 0.01, 1.9], [1.9, 1.0, 0.0]):
        want = jittered(image, np.array(gains), Scratch()).astype(int)
        rgb = torch.from_numpy(image[..., ::-1].copy()).float()
        found = np.abs(jitter(rgb, torch.tensor(gains)).numpy() - want)
        # A hue between two of OpenCV's 180 is rounded to one by a table of its own, and may be 2 degrees off.
        assert np.mean(found > 1) < 0.01, gains
        assert found.max() <= 20, gains


def test_interpolation_by_hand():
    """A row of two pixels in a place of four: centres at -0.25, 0.25, 0.75 and 1.25 of it, ends repeated."""
    image = np.array([[[0, 0, 0], [100, 200, 40]]], np.uint8)
    tile = Tile(Labelled(image, NOTHING), 0, 0, (0, 0, 2, 1))
    view = View(Layout([tile], (1, 2), (1, 6)), np.eye(3), [Place((0, 0, 2, 1), (1, 0, 5, 1))])
    plan = Plan([view], 1.0, False, False, None, False, NOTHING)
    grey = [114, 114, 114]
    assert drawn([plan])[0, 0].tolist() == [grey, [0, 0, 0], [10, 50, 25], [30, 150, 75], [40, 200, 100], grey]
    plan.mirrored = plan.bgr = True
    assert drawn([plan])[0, 0].tolist() == [grey, [100, 200, 40], [75, 150, 30], [25, 50, 10], [0, 0, 0], grey]


def test_a_batch_of_any_size_is_drawn_alike(monkeypatch):
    plans = plans_of({"mixup": 0.5, "degrees": 5.0})
    assert {len(plan.views) for plan in plans} == {1, 2}
    whole = drawn(plans)
    np.testing.assert_array_equal(drawn(plans), whole)
    monkeypatch.setattr(device_drawing, "AT_ONCE", 1)
    np.testing.assert_array_equal(drawn(plans), whole)
    np.testing.assert_array_equal(np.concatenate([drawn([plan]) for plan in plans]), whole)


@pytest.mark.parametrize("settings", [*GEOMETRY, {"scale": 0.5, "mixup": 1.0, "mosaic": 0.0}], ids=str)
def test_no_sample_has_more_pixels_than_are_reckoned_with(settings):
    most = Augmentation(get_cfg(None, settings), 96).most_pixels(96 * 96)
    sizes = [len(pack([plan])[0]) - 1 for plan in plans_of(settings, 40)]
    assert max(sizes) <= most + 4 * 4 * 96  # a place is rounded to whole pixels
    assert most <= 8 * 96 * 96


@pytest.fixture
def toy(tmp_path):
    return write_toy(tmp_path).parent / "images" / "train"


def loader(folder, workers=0, **settings):
    dataset = YOLODataset([folder], imgsz=64, nc=3, augment=True, hyp=get_cfg(None, settings))
    return build_dataloader(dataset, 4, workers)


def test_a_loader_gives_plans_with_the_labels_of_drawn_samples(toy):
    keys = {"mixup": 0.5, **STILL}
    planned, plain, worked = (
        loader(toy, augment_on="gpu", **keys),
        loader(toy, **keys),
        loader(toy, 2, augment_on="gpu"),
    )
    assert planned.largest_batch() > plain.largest_batch()
    try:
        assert all("plan" in batch for batch in worked)
    finally:
        worked.close()
    for ours, theirs in zip(planned, plain, strict=True):
        for key in ("cls", "bboxes", "batch_idx"):
            assert ours[key].equal(theirs[key])
        assert ours["resized_shape"] == theirs["resized_shape"] == [(64, 64)] * len(ours["im_file"])
        images = draw(ours["img"], ours["plan"], ours["plan"].numpy())
        assert images.stride() == theirs["img"].stride()
        assert (images.int() - theirs["img"].int()).abs().max() <= 1


def test_workers_send_the_same_plans(toy):
    one, two = loader(toy, augment_on="gpu"), loader(toy, 2, augment_on="gpu")
    try:
        for a, b in zip(one, two, strict=True):
            assert a["img"].equal(b["img"])
            assert a["plan"].equal(b["plan"])
    finally:
        two.close()


@pytest.mark.gpu
@pytest.mark.parametrize("settings", [*GEOMETRY, {"hsv_h": 0.1}], ids=str)
def test_a_gpu_draws_what_a_cpu_draws(settings):
    plans = plans_of(settings, 32)
    pixels, numbers = pack(plans)
    here = draw(pixels, numbers, numbers.numpy())
    there = [draw(pixels.cuda(), numbers.cuda(), numbers.numpy()) for _ in range(2)]
    assert there[0].equal(there[1])
    assert there[0].stride() == here.stride()
    found = (there[0].cpu().int() - here.int()).abs()
    assert (found > 1).float().mean() < 0.01
