import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from ultralytics.engine.sources import load_source
from ultralytics.utils.errors import UserError
from ultralytics.utils.images import from_pillow, imread

COARSE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
RGB = Image.fromarray(cv2.resize(COARSE, (48, 32), interpolation=cv2.INTER_CUBIC))
GREY16 = cv2.resize(COARSE[..., 0].astype(np.uint16) * 257, (48, 32), interpolation=cv2.INTER_LINEAR)
ALPHA = Image.fromarray(np.linspace(0, 255, 48 * 32).reshape(32, 48).astype(np.uint8))
MODES = ("RGB", "L", "1", "P", "P+t", "PA", "LA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I;16")
LOSSLESS = {"webp": {"lossless": True}, "jpg": {"quality": 90}}


def of_mode(mode):
    """An image of any of Pillow's modes."""
    if mode == "I;16":
        return Image.fromarray(GREY16)
    if mode in ("P+t", "PA"):
        image = RGB.convert("P")
        image.info["transparency"] = 3
        return image if mode == "P+t" else image.convert("PA")
    image = (RGB.convert("RGBA") if mode == "RGBa" else RGB).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(ALPHA)
    return image


@pytest.mark.parametrize(("mode", "kind"), [*itertools.product(MODES, ("png", "jpg", "tif", "webp", "bmp"))])
def test_pixels_are_the_same_by_path_pillow_and_array(tmp_path, mode, kind):
    image, file = of_mode(mode), tmp_path / f"a.{kind}"
    try:
        image.save(file, **LOSSLESS.get(kind, {}), **({"transparency": 3} if mode == "P+t" else {}))
    except (OSError, KeyError, ValueError):
        pytest.skip(f"{kind} holds no {mode}")
    by_path = imread(file)
    with Image.open(file) as opened:
        try:
            opened.load()
        except OSError as e:  # Pillow 12 writes TIFFs of YCbCr that it cannot read
            pytest.skip(f"this Pillow cannot read the {mode} {kind} it wrote: {e}")
        items = [next(iter(load_source(s))).image for s in (file, opened, by_path)]
        loaded = opened.copy()
    for found in items:
        np.testing.assert_array_equal(found, by_path)
    # A copy has lost the kind of its file, and with it which rounding of CMYK is meant.
    assert np.abs(from_pillow(loaded).astype(int) - by_path).max() <= (mode == "CMYK")
    if kind in ("png", "tif", "bmp") and mode not in ("YCbCr", "P+t"):
        np.testing.assert_array_equal(from_pillow(image), by_path)  # as it was in memory


@pytest.mark.parametrize(("kind", "orientation"), [*itertools.product(("png", "jpg", "tif", "webp"), range(1, 9))])
def test_exif_turns_an_image_however_it_comes(tmp_path, kind, orientation):
    file, exif = tmp_path / f"a.{kind}", Image.Exif()
    exif[0x0112] = orientation
    RGB.save(file, exif=exif, **LOSSLESS.get(kind, {}))
    with Image.open(file) as opened:
        found = from_pillow(opened)
        twice = from_pillow(opened.convert("RGB")) if kind != "tif" else found
    assert found.shape == ((48, 32, 3) if orientation > 4 else (32, 48, 3))
    np.testing.assert_array_equal(found, imread(file))
    np.testing.assert_array_equal(twice, found)


def test_exif_that_is_damaged_or_set_in_memory():
    image = RGB.copy()
    image.info["exif"] = b"Exif\0\0garbage"
    assert from_pillow(image).shape == (32, 48, 3)
    image = RGB.copy()
    image.getexif()[0x0112] = 6
    assert from_pillow(image).shape == (48, 32, 3)
    image = RGB.copy()  # imread knows nothing of XMP
    image.info["xmp"] = b'<x tiff:Orientation="6"/>'
    assert from_pillow(image).shape == (32, 48, 3)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_modes_without_a_white_are_told(mode):
    with pytest.raises(UserError, match="which value is white"):
        load_source(RGB.convert("L").convert(mode))


def test_an_image_that_cannot_be_decoded_is_told(tmp_path):
    RGB.resize((480, 320)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cannot be decoded"):
        load_source(Image.open(tmp_path / "a.jpg"))
    closed = Image.open(tmp_path / "a.jpg")
    closed.close()
    with pytest.raises(UserError, match="cannot be decoded"):
        load_source(closed)


def test_colours_of_a_transparent_tiff_are_those_of_its_png(tmp_path):
    for kind in ("tif", "png"):
        of_mode("RGBA").save(tmp_path / f"a.{kind}")
    np.testing.assert_array_equal(imread(tmp_path / "a.tif"), imread(tmp_path / "a.png"))
