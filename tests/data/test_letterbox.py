"""The letterbox: where an image lies in its frame."""

import numpy as np
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
