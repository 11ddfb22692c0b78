import io

import numpy as np
import pytest
from PIL import Image

from tests.helpers.sources import annotation, tree
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.prepare import prepare_voc
from ultralytics.utils.errors import DatasetError, MissingFileError

PALETTE = [sum(((i >> (3 * j + c)) & 1) << (7 - j) for j in range(3)) for i in range(256) for c in range(3)]


def mask(mode="P", size=(100, 50)):
    """Object 1 at x 10 to 30, y 5 to 15, with a border; object 3 below; object 2 has no pixel."""
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[4:16, 9:31] = 255
    pixels[5:15, 10:30] = 1
    pixels[30:40, 50:60] = 3
    image = Image.fromarray(pixels, "L" if mode == "L" else "P")
    if mode != "L":
        image.putpalette(PALETTE)
    file = io.BytesIO()
    (image.convert("RGB") if mode == "RGB" else image).save(file, "PNG")
    return file.getvalue()


XML = annotation([("cat", 11, 6, 30, 15, ""), ("dog", 1, 1, 5, 5, ""), ("dog", 51, 31, 60, 40, "")])


def voc(top, **more):
    return tree(
        top,
        {
            "JPEGImages/a.jpg": None, "JPEGImages/b.jpg": None, "Annotations/a.xml": XML, "Annotations/b.xml": XML,
            "ImageSets/Main/train.txt": "a\nb\n", "ImageSets/Main/val.txt": "a\n",
            "ImageSets/Segmentation/train.txt": "a\n", "ImageSets/Segmentation/val.txt": "a\n", **more,
        },
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_masks_become_outlines(mode, tmp_path):
    source = voc(tmp_path / "s", **{"SegmentationObject/a.png": mask(mode)})
    spec = load_dataset(prepare_voc(source, tmp_path / "o", task="segment"))
    assert spec.task == "segment"
    rows = (tmp_path / "o/labels/train/a.txt").read_text().splitlines()
    boxes = [np.array(r.split()[1:], float).reshape(-1, 2) * (100, 50) for r in rows]
    assert [r.split()[0] for r in rows] == ["0", "1"]
    assert [(b.min(0).tolist(), b.max(0).tolist()) for b in boxes] == [([10, 5], [30, 15]), ([50, 30], [60, 40])]
    assert (tmp_path / "o/ignore/train/a.txt").read_text().startswith("1 ")
    assert "object 2 (dog) has no pixel" in (tmp_path / "o/problems.txt").read_text()
    assert not (tmp_path / "o/images/train/b.jpg").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no masks of objects"), (mask(size=(90, 50)), "90x50 pixels, the image 100x50"), (b"x", "cannot be read")],
)
def test_masks_that_cannot_be_used_are_one_line(content, message, tmp_path):
    source = voc(tmp_path / "s", **({"SegmentationObject/a.png": content} if content else {}))
    with pytest.raises((DatasetError, MissingFileError), match=message) as caught:
        prepare_voc(source, tmp_path / "o", task="segment")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "o").exists()
