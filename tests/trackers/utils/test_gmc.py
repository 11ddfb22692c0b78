import cv2
import numpy as np
import pytest

from ultralytics.trackers.utils.gmc import GMC
from ultralytics.utils.errors import ConfigError

METHODS = ["sparseOptFlow", "orb", "sift", "ecc"]


@pytest.fixture(scope="module")
def textured():
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize("method", METHODS)
def test_a_turn_and_a_shift_are_found(method, textured):
    wanted = cv2.getRotationMatrix2D((160, 120), 1.5, 1.0) + np.array([[0, 0, 4], [0, 0, -3]])
    moved = cv2.warpAffine(textured, wanted, (320, 240), borderMode=cv2.BORDER_REFLECT)
    gmc = GMC(method)
    np.testing.assert_array_equal(gmc.apply(textured), np.eye(2, 3))
    found = gmc.apply(moved)
    centre = np.array([160, 120, 1])
    np.testing.assert_allclose(found @ centre, wanted @ centre, atol=0.7)
    np.testing.assert_allclose(found[:, :2], wanted[:, :2], atol=0.01)
    gmc.reset_params()
    np.testing.assert_array_equal(gmc.apply(textured), np.eye(2, 3))


@pytest.mark.parametrize("method", [*METHODS, "none"])
def test_where_nothing_can_be_found_the_camera_is_still(method, textured):
    gmc = GMC(method)
    even = np.full((240, 320, 3), 90, np.uint8)
    for image in (textured, even, even, textured, textured[:100], textured[:3, :3], textured[:1, :1], even[..., 0]):
        found = gmc.apply(image, [np.array([0.0, 0, 50, 50])])
        assert found.shape == (2, 3)
        np.testing.assert_allclose(found, np.eye(2, 3), atol=0.05)


def test_features_on_objects_do_not_count(textured):
    """All that has texture lies in the box of an object, which moves alone."""
    gmc = GMC("orb")
    for shift in (0, 12):
        image = np.full_like(textured, 90)
        image[60:180, 60 + shift : 220 + shift] = textured[60:180, 60:220]
        found = gmc.apply(image, [np.array([50, 50, 240, 190])])
    np.testing.assert_array_equal(found, np.eye(2, 3))


def test_an_unknown_method_is_one_line():
    with pytest.raises(ConfigError, match=r"gmc_method=surf is not possible .*sparseOptFlow"):
        GMC("surf")
