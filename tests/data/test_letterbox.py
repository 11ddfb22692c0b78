"""The letterbox: where an image lies in its frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.data.augment import (
    LetterBox,
)
from ultralytics.utils.boxes import scale_boxes


def test_letterbox_equals_the_reference(fixtures):
    import torch  # only this test turns boxes back

    z = np.load(fixtures / "letterbox.npz")
    cases = sorted(k[2:] for k in z if k.startswith("in"))
    assert cases
    for i in cases:
        box = LetterBox(tuple(z[f"new_shape{i}"].tolist()), auto=bool(z[f"auto{i}"]), scaleup=bool(z[f"scaleup{i}"]))
        out = box(image=z[f"in{i}"])
        assert out.shape[:2] == tuple(z[f"shape{i}"])
        np.testing.assert_allclose(out.mean((0, 1)), z[f"out_mean{i}"], atol=1e-9)
        np.testing.assert_array_equal(out[::37, ::41], z[f"out_corner{i}"])
        back = scale_boxes(out.shape[:2], torch.from_numpy(z[f"boxes{i}"].copy()), z[f"in{i}"].shape[:2])
        np.testing.assert_allclose(back, z[f"rescaled{i}"], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "shape", "want"),
    [
        # 320 / 100 = 3.2 times as large; 51 · 3.2 = 163.2 high; of 157 rows left 78 above and 79 below.
        ({}, (51, 100), ((163, 320), (78, 79, 0, 0), (3.2, 3.2))),
        ({}, (100, 53), ((320, 170), (0, 0, 75, 75), (3.2, 3.2))),  # 169.6 wide
        ({"auto": True}, (51, 100), ((163, 320), (14, 15, 0, 0), (3.2, 3.2))),  # 157 is 29 more than 4 · 32
        ({"auto": True, "stride": 64}, (51, 100), ((163, 320), (14, 15, 0, 0), (3.2, 3.2))),
        ({"auto": True, "stride": 16}, (51, 100), ((163, 320), (6, 7, 0, 0), (3.2, 3.2))),
        ({"scaleup": False}, (51, 100), ((51, 100), (134, 135, 110, 110), (1, 1))),
        ({"scaleup": False}, (400, 640), ((200, 320), (60, 60, 0, 0), (0.5, 0.5))),
        ({"center": False}, (51, 100), ((163, 320), (0, 157, 0, 0), (3.2, 3.2))),
        ({"scaleFill": True}, (51, 100), ((320, 320), (0, 0, 0, 0), (320 / 51, 3.2))),
    ],
)
def test_the_place_of_an_image_worked_out_by_hand(options, shape, want):
    size, borders, gains = LetterBox((320, 320), **options).geometry(shape)
    assert (size, borders) == want[:2]
    assert gains == pytest.approx(want[2])


@pytest.mark.parametrize(("frame", "above"), [((2, 4), 0), ((4, 4), 1)])
def test_an_image_is_enlarged_linearly_between_grey_borders(frame, above):
    """Pixels 0 and 200, twice as wide: their centres lie at 0.5 and 2.5, the new ones at 0, 1, 2 and 3."""
    out = LetterBox(frame)(image=np.array([[[0] * 3, [200] * 3]], np.uint8))[..., 0]
    grey = [[114] * 4] * above
    assert out.tolist() == [*grey, [0, 50, 150, 200], [0, 50, 150, 200], *grey]


@given(st.integers(1, 300), st.integers(1, 300), st.integers(32, 256), st.booleans(), st.booleans())
def test_letterbox_fits_any_picture(h, w, size, auto, scaleup):
    out = LetterBox((size, size), auto=auto, scaleup=scaleup)(image=np.zeros((h, w, 3), np.uint8))
    if auto:
        assert max(out.shape[:2]) <= max(size, 32) + 32
    else:
        assert out.shape == (size, size, 3)


def test_letterbox_moves_boxes_with_the_picture():
    image = np.zeros((50, 100, 3), np.uint8)
    image[10:30, 20:60] = 255
    labels = LetterBox((200, 200))({"img": image, "bboxes": np.array([[20, 10, 60, 30]], np.float32)})
    x1, y1, x2, y2 = labels["bboxes"][0].astype(int)
    inside = labels["img"][y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
    assert inside.min() == 255
    assert labels["img"][y1 - 3, x1:x2].max() == 0
    assert labels["ratio_pad"] == ((2.0, 2.0), (0, 50))
