"""Small sources of every kind, and what became of them."""

import io
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.images import list_images
from ultralytics.data.labels import label_file
from ultralytics.data.prepare import (
    export_coco,
    prepare_coco,
    prepare_kitti,
    prepare_labelme,
    prepare_voc,
    prepare_yolo,
)
from ultralytics.utils.images import IMAGE_SUFFIXES, imread, imwrite

XML = (
    "<annotation><object><name>{0}</name><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>30</xmax><ymax>15</ymax></bndbox>"
    "</object></annotation>"
)
KITTI = "{0} 0.00 0 -1.57 10 5 30 15 1.5 1.6 3.5 1.0 1.7 20.0 -1.6\n"
BOX = [0.2, 0.2, 0.2, 0.2]  # of every row here: x 10 to 30, y 5 to 15 of 100x50


def labelme(*shapes, **more):
    """The text of a labelme JSON; a shape is a label, or a whole shape."""
    listed = [
        s
        if isinstance(s, dict)
        else {"label": s, "points": [[30, 5], [10, 15]], "shape_type": "rectangle", "group_id": None, "flags": {}}
        for s in shapes
    ]
    data = {"version": "5.4.1", "flags": {}, "shapes": listed, "imagePath": "", "imageData": None}
    return json.dumps(data | {"imageHeight": 50, "imageWidth": 100} | more)


def tree(root, files):
    """Images of 100x50 for names of images, each of its own grey; texts for the others. The folder."""
    for number, (name, text) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in IMAGE_SUFFIXES and text is None:
            imwrite(path, np.full((50, 100, 3), number, np.uint8))
        elif isinstance(text, bytes):
            path.write_bytes(text)
        else:
            path.write_text(text, encoding="utf-8")
    return root


def read(made):
    """Split → name → label rows as (class name, x, y, w, h) of a prepared dataset."""
    spec = load_dataset(made)
    found = {}
    for split in spec.splits:
        [top] = spec.split(split)
        found[split] = {}
        for file in list_images([top]):
            rows = [line.split() for line in Path(label_file(file)).read_text().splitlines()]
            name = Path(file).relative_to(top).as_posix()
            found[split][name] = [(spec.names[int(c)], *map(float, box)) for c, *box in rows]
    return found


def there_and_back(made, top, split="train"):
    """The label rows of a split, and what they are once exported as COCO and prepared again."""
    [folder] = load_dataset(made).split(split)
    out = export_coco(made, top / f"{split}.json", split)
    again = prepare_coco(out, top / "there and back", folder)
    return read(made)[split], read(again)["train"]


def exif(orientation):
    """A JPEG stored as 60×40 whose EXIF tag turns it."""
    file = io.BytesIO()
    image = Image.new("RGB", (60, 40))
    tags = Image.Exif()
    tags[0x0112] = orientation
    image.save(file, "JPEG", exif=tags)
    return file.getvalue()


def boxes_of(folder, split, zero_based=False):
    """The boxes of a prepared split in pixels, as (name, class, xmin, ymin, xmax, ymax) of its source, sorted."""
    found = []
    names = load_dataset(folder / "data.yaml").names
    for kind in ("labels", "ignore"):
        for file in sorted((folder / kind / split).rglob("*.txt")):
            h, w = imread(next((folder / "images" / split).glob(f"{file.stem}.*"))).shape[:2]
            for line in file.read_text().splitlines():
                cls, x, y, bw, bh = line.split()[:5]
                x, y, bw, bh = float(x) * w, float(y) * h, float(bw) * w, float(bh) * h
                low = 0 if zero_based else 1
                corners = (x - bw / 2 + low, y - bh / 2 + low, x + bw / 2, y + bh / 2)
                found.append((file.stem, names[int(cls)], *corners))
    return sorted(found)


def boxes_in(folder, names):
    """The boxes of annotations, read by other means than the converter's; cut to the image as it is."""
    found = []
    for name in names:
        text = (folder / "Annotations" / f"{name}.xml").read_text()
        for body in re.findall(r"<object>(.*?)</object>", text, re.S):
            cls = re.search(r"<name>(.*?)</name>", body)[1]
            corners = [float(re.search(rf"<{k}>(.*?)</{k}>", body)[1]) for k in ("xmin", "ymin", "xmax", "ymax")]
            found.append((name, cls, *corners))
    return sorted(found)


def equal_boxes(left, right):
    assert [b[:2] for b in left] == [b[:2] for b in right]
    np.testing.assert_allclose([b[2:] for b in left], [b[2:] for b in right], rtol=0, atol=1e-6)


def annotation(objects, size=(100, 50), filename="", extra=""):
    body = "".join(
        f"<object><name>{c}</name>{more}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for c, x1, y1, x2, y2, more in objects
    )
    head = f"<filename>{filename}</filename>" if filename else ""
    head += f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation>{head}{extra}{body}</annotation>"


COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 5, 20, 10]}],
    "categories": [{"id": 1, "name": "cell"}],
}


YOURS = {
    "yolo": {"a.jpg": None, "a.txt": "0 0.2 0.2 0.2 0.2\n", "classes.txt": "cell\n"},
    "coco": {"a.jpg": None, "train.json": json.dumps(COCO)},
    "voc": {"a.jpg": None, "a.xml": XML.format("cell")},
    "labelme": {"a.jpg": None, "a.json": labelme("cell")},
    "kitti": {"a.jpg": None, "a.txt": KITTI.format("cell")},
}


READERS = {
    "yolo": prepare_yolo, "coco": prepare_coco, "voc": prepare_voc, "labelme": prepare_labelme, "kitti": prepare_kitti
}  # fmt: skip
