"""What a network learns of objects: masks in the order of their boxes, keypoints, rotated boxes."""

import numpy as np
import torch

from ultralytics.data.augment import to_sample
from ultralytics.data.instances import Instances
from ultralytics.data.labels import ANNOTATIONS
from ultralytics.data.polygons import Polygons
from ultralytics.data.targets import KINDS, OBJECTS, Targets


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
