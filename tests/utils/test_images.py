"""Sizes that headers declare, and the bound on pixels."""

import io
import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ultralytics
from ultralytics.utils import images
from ultralytics.utils.image_header import declared_shape
from ultralytics.utils.images import decode, imread, undecodable

W, H = 70, 40
KINDS = {
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "exif": ("JPEG", {"exif": b"Exif\0\0" + bytes(60_000)}),
    "profile": ("JPEG", {"icc_profile": bytes(200_000)}),
    "grey jpeg": ("JPEG", {"mode": "L"}),
    "mpo": ("MPO", {"save_all": True}),
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {"mode": "P"}),
    "webp": ("WEBP", {}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "extended webp": ("WEBP", {"icc_profile": bytes(100)}),
    "tiff": ("TIFF", {}),
    "packed tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "big tiff": ("TIFF", {"big_tiff": True}),
    "jp2": ("JPEG2000", {}),
    "j2k": ("JPEG2000", {"no_jp2": True}),
}


def encoded(kind):
    form, options = KINDS[kind]
    out = io.BytesIO()
    options = dict(options)
    image = Image.new(options.pop("mode", "RGB"), (W, H))
    image.save(out, form, **options)
    return out.getvalue()


def array(data):
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_header_of_every_kind_is_read(kind):
    data = encoded(kind)
    assert declared_shape(array(data)) == (H, W)
    assert decode(array(data)).shape == (H, W, 3)
    for end in (0, 1, 5, 13, 20, 30, len(data) // 2):
        assert declared_shape(array(data[:end])) in (None, (H, W))


def test_other_byte_orders_and_headers():
    order = ">"
    entries = struct.pack(">HHII", 256, 4, 1, W) + struct.pack(">HHIHH", 257, 3, 1, H, 0)
    tiff = b"MM\0*" + struct.pack(f"{order}IH", 8, 2) + entries
    assert declared_shape(array(tiff)) == (H, W)
    assert declared_shape(array(b"BM" + bytes(12) + struct.pack("<IHH", 12, W, H))) == (H, W)
    assert declared_shape(array(b"BM" + bytes(12) + struct.pack("<Iii", 40, W, -H))) == (H, W)
    padded = b"\xff\xd8\xff\xff\xe0\0\x02" + bytes(100_000) + b"\xff\xc0\0\x11\x08" + struct.pack(">HH", H, W)
    assert declared_shape(array(padded + b"\0\0")) == (H, W)
    assert declared_shape(array(b"II+\0\x08\0\0\0" + b"\xff" * 40)) is None  # a directory far behind the end


@given(st.sampled_from([*KINDS]), st.data())
def test_no_header_raises(kind, data):
    content = bytearray(encoded(kind)[:400])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    shape = declared_shape(array(bytes(content)))
    assert shape is None or min(shape) >= 0


def bomb(kind):
    """A file of a few hundred bytes that declares 30,000 × 30,000 pixels."""
    if kind == "webp":  # an animation of 16 million squared
        chunk = b"VP8X" + struct.pack("<IB3x", 10, 2) + b"\xff\xff\xff\xff\xff\xff"
        return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
    data = bytearray(encoded(kind))
    if kind == "jpeg":
        at = data.find(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
    elif kind == "png":
        data[16:24] = struct.pack(">II", 30_000, 30_000)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == "bmp":
        data[18:26] = struct.pack("<ii", 30_000, -30_000)
    elif kind == "gif":
        data[6:10] = struct.pack("<HH", 30_000, 30_000)
    elif kind == "tiff":
        for tag, side in ((256, W), (257, H)):
            data = data.replace(struct.pack("<HHII", tag, 4, 1, side), struct.pack("<HHII", tag, 4, 1, 30_000))
    elif kind == "j2k":
        at = data.find(b"\xff\x4f\xff\x51") + 8
        data[at : at + 8] = struct.pack(">II", 30_000, 30_000)
    return bytes(data)


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "gif", "tiff", "webp", "j2k"])
def test_a_small_file_of_too_many_pixels_is_not_decoded(kind, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    data = bomb(kind)
    assert len(data) < 16_384
    (tmp_path / "x.jpg").write_bytes(data)
    assert imread(tmp_path / "x.jpg") is None
    found, why = undecodable(tmp_path / "x.jpg")
    assert (found, "pixels: " in why) == ("huge", True)


def test_kinds_whose_header_is_not_read_are_bounded_by_the_decoder():
    code = (
        "import ultralytics, cv2, numpy as np, sys\n"
        "data = np.frombuffer(b'P6 30000 30000 255\\n' + bytes(100), np.uint8)\n"
        "try:\n    cv2.imdecode(data, 1)\n"
        "except cv2.error as e:\n    sys.exit('CV_IO_MAX_IMAGE_PIXELS' not in str(e))\n"
        "sys.exit(2)\n"
    )
    assert os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] == str(images.MAX_PIXELS)
    folder = os.path.dirname(os.path.dirname(ultralytics.__file__))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, "PYTHONPATH": folder}, check=False
    )
    assert done.returncode == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in the file system")
def test_a_pipe_and_a_file_without_end_are_no_images(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "x.jpg")
    assert imread(tmp_path / "x.jpg") is None
    assert undecodable(tmp_path / "x.jpg") == ("undecodable", "cannot be read: it is a pipe, not a file")
    assert imread("/dev/zero") is None
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(2**32)
    assert imread(tmp_path / "huge.png") is None
    assert "4,294,967,296 bytes" in undecodable(tmp_path / "huge.png")[1]
