"""What a network learns of objects: masks in the order of their boxes, keypoints, rotated boxes."""

import numpy as np
import pytest
import torch

from ultralytics.cfg.config import get_cfg
from ultralytics.data.augment import to_sample
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.instances import Instances
from ultralytics.data.labels import ANNOTATIONS
from ultralytics.data.polygons import Polygons
from ultralytics.data.targets import KINDS, OBJECTS, Targets
from ultralytics.utils.images import imwrite


def placed(z):
    """The objects of a fixture."""
    points = z["keypoints"].astype(np.float64) if "keypoints" in z else None
    segments = Polygons.of(list(z["segments"].astype(np.float64)))
    return Instances(z["cls"][:, 0], z["boxes_xyxy"].astype(np.float64), segments, points)


def close(ours, theirs, atol=1e-5):
    np.testing.assert_allclose(ours.numpy(), theirs, atol=atol)


def test_samples_equal_the_references(fixtures):
    z = np.load(fixtures / "format.npz")
    rgb = np.ascontiguousarray(z["img"][..., ::-1])
    for name, how in (
        ("overlap", Targets("polygons", True, 4)),
        ("separate", Targets("polygons", False, 2)),
        ("pose", Targets("keypoints")),
    ):
        sample, order = to_sample(rgb, placed(z), how)
        np.testing.assert_array_equal(sample["img"], z["img_out"])
        np.testing.assert_array_equal(sample["cls"], z[f"{name}.cls"][:, 0])
        close(sample["bboxes"], z[f"{name}.bboxes"])
        if how.annotations == "polygons":
            np.testing.assert_array_equal(sample["masks"], z[f"{name}.masks"])
        if how.annotations == "keypoints":
            close(sample["keypoints"], z["pose.keypoints"])
        assert (order is not None) == (name == "overlap")
        assert set(sample) - {"img"} <= set(OBJECTS)


def test_rotated_boxes_equal_the_references(fixtures):
    z = np.load(fixtures / "format.npz")
    sample, _ = to_sample(z["img"], placed(z), Targets("corners"))
    boxes = sample["bboxes"].numpy().astype(np.float64)
    assert (sample["bboxes"].dtype, sample["bboxes"].shape) == (torch.float32, (4, 5))
    assert ((boxes[:, 4] > 0) & (boxes[:, 4] <= np.pi / 2)).all()
    xy, (w, h), angle = boxes[:, :2] * (96, 64), (boxes[:, 2] * 96, boxes[:, 3] * 64), boxes[:, 4]
    across = np.stack([np.cos(angle), np.sin(angle)], 1) * w[:, None] / 2
    down = np.stack([-np.sin(angle), np.cos(angle)], 1) * h[:, None] / 2
    ours = np.stack([xy + across + down, xy + across - down, xy - across - down, xy - across + down], 1)
    for one, theirs in zip(ours, z["obb.corners_px"], strict=True):
        for corner in theirs:
            assert np.abs(one - corner).sum(1).min() < 1e-2


def test_every_kind_of_annotation_has_a_target():
    assert set(KINDS) == set(ANNOTATIONS)


def test_an_image_without_objects_has_empty_targets():
    none = Instances(np.zeros(0, np.float32), np.zeros((0, 4)), Polygons.of([]), np.zeros((0, 5, 3)))
    rgb = np.zeros((64, 96, 3), np.uint8)
    for how, shapes in (
        (Targets("polygons"), {"masks": (1, 16, 24), "bboxes": (0, 4)}),
        (Targets("polygons", False, 2), {"masks": (0, 32, 48)}),
        (Targets("keypoints"), {"keypoints": (0, 5, 3)}),
        (Targets("corners"), {"bboxes": (0, 5)}),
    ):
        sample, _ = to_sample(rgb, none, how)
        assert {key: tuple(sample[key].shape) for key in shapes} == shapes
        assert sample["cls"].shape == (0,)


# Hostile datasets of each kind, through the scan, training and validation samples, and a batch.

PIXEL = 1 / 64


def rows_of(kind, centres, side):
    """Label rows of squares of a side in 0..1, their class 0."""
    rows = []
    for x, y in centres:
        a, b, c, d = x - side / 2, y - side / 2, x + side / 2, y + side / 2
        box = f"0 {x:.6f} {y:.6f} {side:.6f} {side:.6f}"
        corners = f"0 {a:.6f} {b:.6f} {c:.6f} {b:.6f} {c:.6f} {d:.6f} {a:.6f} {d:.6f}"
        points = f" {x:.6f} {y:.6f} 2 0 0 0"
        rows.append({"boxes": box, "keypoints": box + points}.get(kind, corners))
    return "\n".join(rows)


def split(folder, kind, texts, **keys):
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for i, text in enumerate(texts):
        imwrite(folder / "images" / f"{i}.png", np.full((64, 64, 3), 40 * i, np.uint8))
        if text is not None:
            (folder / "labels" / f"{i}.txt").write_text(text, encoding="utf-8")
    shape = (2, 3) if kind == "keypoints" else None
    keys = {"mosaic": 1.0, "mixup": 0.5, "copy_paste": 0.5, "degrees": 20.0, "perspective": 0.0005, **keys}
    hyp = get_cfg(overrides=keys)
    for augment in (True, False):
        made = {"annotations": kind, "kpt_shape": shape, "flip_idx": (1, 0), "overlap_mask": hyp.overlap_mask}
        yield YOLODataset([folder / "images"], 64, 1, augment, hyp, **(made if shape else {**made, "flip_idx": None}))


def check_batch(batch, kind, images, separate):
    m = len(batch["cls"])
    assert (len(batch["bboxes"]), len(batch["batch_idx"])) == (m, m)
    assert batch["bboxes"].shape[1] == (5 if kind == "corners" else 4)
    assert torch.isfinite(batch["bboxes"]).all()
    if kind == "polygons":
        assert batch["masks"].shape == ((m if separate else images), 16, 16)
        counts = torch.bincount(batch["batch_idx"].long(), minlength=images)
        assert separate or (batch["masks"].amax((1, 2)).long() <= counts).all()
    if kind == "keypoints":
        assert batch["keypoints"].shape == (m, 2, 3)
        assert torch.isfinite(batch["keypoints"]).all()
        seen = batch["keypoints"][batch["keypoints"][..., 2] > 0]
        assert ((seen[:, :2] >= 0) & (seen[:, :2] <= 1)).all()


@pytest.mark.parametrize("kind", ANNOTATIONS)
@pytest.mark.parametrize(
    ("images", "separate"),
    [
        ([[(0.5, 0.5)], [], None, [(0.01, 0.01), (0.99, 0.3)]], False),  # one pixel each; empty; without a file
        ([[(0.5, 0.5)]], True),  # one image
        ([[(x, y) for x in np.linspace(0.05, 0.95, 17) for y in np.linspace(0.05, 0.95, 17)]], False),  # 289 objects
    ],
)
def test_hostile_datasets_make_batches(tmp_path, kind, images, separate):
    texts = [None if c is None else rows_of(kind, c, 3 * PIXEL if len(images) == 1 else PIXEL) for c in images]
    for data in split(tmp_path, kind, texts, overlap_mask=not separate):
        samples = [data[i] for i in range(len(data))] * 2
        check_batch(data.collate_fn(samples), kind, len(samples), separate)
        if data.augmentation is None:
            assert [len(s["cls"]) for s in samples[: len(images)]] == [len(c or ()) for c in images]
            if kind == "polygons" and not separate:
                assert samples[0]["masks"].dtype == (torch.int32 if len(images[0]) > 255 else torch.uint8)


def test_areas_follow_the_order_of_the_masks(tmp_path):
    """With one map of all masks the objects are in its order, and so are their areas."""
    rows = rows_of("polygons", [(0.2, 0.2)], 0.1) + "\n" + rows_of("polygons", [(0.6, 0.6)], 0.5)
    for data in split(tmp_path, "polygons", [rows]):
        data.labels.areas = np.array([1.0, 2.0])
        if data.augmentation is None:
            sample = data[0]
            assert sample["bboxes"][:, 2].tolist() == pytest.approx([0.5, 0.1])
            assert sample["areas"].tolist() == [2, 1]


def test_without_flip_idx_no_pose_is_mirrored(tmp_path, caplog):
    texts = [rows_of("keypoints", [(0.3, 0.5)], 0.2)]
    off = ("mosaic", "mixup", "copy_paste", "degrees", "perspective", "translate", "scale")
    plain = {**dict.fromkeys(off, 0.0), "fliplr": 1.0}
    data = next(iter(split(tmp_path, "keypoints", texts, **plain)))
    assert data[0]["bboxes"][0, 0] == pytest.approx(0.7)
    assert data[0]["keypoints"][0, :, 2].tolist() == [0, 2]  # the second is now the first's mirror image
    with caplog.at_level("WARNING"):
        hyp = get_cfg(overrides=plain)
        still = YOLODataset(data.labels, 64, 1, True, hyp, annotations="keypoints", kpt_shape=(2, 3))
    assert still[0]["bboxes"][0, 0] == pytest.approx(0.3)
