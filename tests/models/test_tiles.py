"""Tiles, passes and ensembles in `YOLO.predict`, `track` and `val`, and on the command line."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.conftest import write_tiny
from tests.helpers.networks import settled
from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.data.letterbox import FILL
from ultralytics.models.yolo.detect.evaluate import BoxEvaluator, Pair
from ultralytics.models.yolo.detect.postprocess import detections
from ultralytics.models.yolo.detect.val import DetectionValidator
from ultralytics.nn.backend import TorchBackend
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.images import imread, imwrite

QUIET = {"device": "cpu", "verbose": False, "threads": 1}
SIDE, SHAPES = 64, [(100, 150), (64, 130), (40, 50), (70, 200)]


def images():
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 255, (h // 10 + 1, w // 10 + 1, 3), np.uint8) for h, w in SHAPES]
    return [np.kron(c, np.ones((10, 10, 1), np.uint8))[:h, :w] for c, (h, w) in zip(coarse, SHAPES, strict=True)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A network with attention, its weights, and a dataset of images larger than a tile."""
    folder = tmp_path_factory.mktemp("tiles")
    torch.manual_seed(0)
    yolo = YOLO(str(write_tiny(folder)), nc=3)
    settled(yolo.model, (64, 96))
    yolo.model.names = {0: "a", 1: "b", 2: "c"}
    yolo.save(folder / "a.pt")
    yolo.model.names = {0: "a", 1: "b", 2: "d"}
    yolo.save(folder / "other.pt")
    for i, image in enumerate(images()):
        imwrite(folder / "images" / "val" / f"{i}.png", image)
    (folder / "d.yaml").write_text("train: images/val\nval: images/val\nnames: [a, b, c]\n")
    return folder


def plain(yolo, image, conf, multi_label=False, whole=True):
    """Detect in an image tile by tile, each step written out; of the parts that go into one pass, each alone."""
    net = TorchBackend(yolo.model)
    args = yolo.predict(np.zeros((32, 32, 3), np.uint8), imgsz=SIDE, conf=conf, **QUIET) and yolo.predictor.args
    height, width = image.shape[:2]

    def places(length):
        if length <= SIDE:
            return [0]
        count = 2
        while (length - SIDE) / (count - 1) > SIDE - 13:  # 13 pixels are a fifth of 64
            count += 1
        return [i * (length - SIDE) // (count - 1) for i in range(count)]

    def found_in(pixels):
        x = (
            torch.from_numpy(pixels[..., ::-1].copy())
            .permute(2, 0, 1)[None]
            .contiguous(memory_format=torch.channels_last)
        )
        with torch.inference_mode():
            return detections(net(x / 255), args, 3, conf, multi_label)[0]

    rows, single = [], max(height, width) <= SIDE
    for top in [] if single else places(height):
        for left in places(width):
            part = image[top : top + SIDE, left : left + SIDE]
            h, w = part.shape[:2]
            canvas = np.full((-(-h // 32) * 32, -(-w // 32) * 32, 3), FILL, np.uint8)
            y, x = (canvas.shape[0] - h) // 2, (canvas.shape[1] - w) // 2
            canvas[y : y + h, x : x + w] = part
            for x1, y1, x2, y2, score, cls in found_in(canvas).tolist():
                box = [min(max(x1 - x, 0), w), min(max(y1 - y, 0), h), min(max(x2 - x, 0), w), min(max(y2 - y, 0), h)]
                cut = (left and box[0] <= 2) or (top and box[1] <= 2)
                cut = cut or (left + w < width and box[2] >= w - 2) or (top + h < height and box[3] >= h - 2)
                rows.append(
                    ([box[0] + left, box[1] + top, box[2] + left, box[3] + top], score, cls, bool(cut), (left, top))
                )
    if whole or single:
        yolo.predict(image, imgsz=SIDE, conf=conf, **QUIET)
        pixels = yolo.predictor.preprocess([image])
        found = detections(net(pixels), args, 3, conf, multi_label)[0]
        gain = SIDE / max(height, width)
        pad_x, pad_y = (
            round((n - m * gain) / 2 - 0.1) for n, m in ((pixels.shape[3], width), (pixels.shape[2], height))
        )
        for x1, y1, x2, y2, score, cls in found.tolist():
            corners = [(x1 - pad_x) / gain, (y1 - pad_y) / gain, (x2 - pad_x) / gain, (y2 - pad_y) / gain]
            corners = [min(max(c, 0), limit) for c, limit in zip(corners, (width, height) * 2, strict=True)]
            rows.append((corners, score, cls, False, "whole"))
    return torch.tensor([[*box, score, cls] for box, score, cls, *_ in rows]) if single else plainly_joined(rows)


def area(b):
    return (b[2] - b[0]) * (b[3] - b[1])


def common(a, b):
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def plainly_joined(rows):
    left, kept = sorted(rows, key=lambda r: -r[1]), []
    while left:
        box, score, cls, cut, tile = left.pop(0)
        same = [r for r in left if r[2] == cls]
        gone = []
        if cut:
            near = [r for r in same if r[4] != tile and common(box, r[0]) > 0.5 * min(area(box), area(r[0]))]
            sure = [r for r in near if r[1] >= 0.25 * score]
            gone = [r for r in near if r[3] or r not in sure]
            whole = [r for r in sure if not r[3]]
            if whole:
                box, _, _, _, tile = max(whole, key=lambda r: overlap(box, r[0]))
            else:
                every = [box, *(r[0] for r in sure)]
                box = [f(b[k] for b in every) for k, f in enumerate((min, min, max, max))]
        gone += [r for r in same if overlap(box, r[0]) > 0.7]
        gone += [r for r in same if r[3] and r[4] != tile and common(box, r[0]) > 0.5 * min(area(box), area(r[0]))]
        left = [r for r in left if not any(r is g for g in gone)]
        kept.append([*box, score, cls])
    return torch.tensor(kept)


def overlap(a, b):
    both = common(a, b)
    return both / (area(a) + area(b) - both)


def same_boxes(a, b):
    assert len(a) == len(b) > 0
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("whole", [True, False])
def test_prediction_equals_a_plain_one_whatever_the_batch(made, whole):
    yolo, keys = YOLO(made / "a.pt"), {"tiles": SIDE, "imgsz": SIDE, "conf": 0.03, "whole": whole, **QUIET}
    image = images()[0]
    one, many = (yolo.predict(image, batch=n, **keys)[0] for n in (1, 4))
    same_boxes(one.boxes.data, many.boxes.data)
    same_boxes(many.boxes.data, plain(yolo, image, 0.03, whole=whole))
    assert one.orig_img is image
    assert set(one.speed) == {"preprocess", "inference", "postprocess"}


def test_an_image_no_larger_than_a_tile_is_predicted_as_without(made):
    yolo, keys = YOLO(made / "a.pt"), {"imgsz": 96, "conf": 0.03, **QUIET}
    same_boxes(
        yolo.predict(images()[2], tiles=SIDE, **keys)[0].boxes.data, yolo.predict(images()[2], **keys)[0].boxes.data
    )


def test_validation_equals_a_plain_one(made, tmp_path, monkeypatch):
    """Some of what is plainly found is labelled, so that there is something to measure; figures and boxes are equal."""
    yolo, conf = YOLO(made / "a.pt"), 0.02
    files = sorted((made / "images" / "val").glob("*.png"))
    shapes, found = (
        [imread(f).shape[:2] for f in files],
        [plain(yolo, imread(f), conf, multi_label=True) for f in files],
    )
    evaluator = BoxEvaluator(yolo.names, 3)
    for file, (h, w), boxes in zip(files, shapes, found, strict=True):
        chosen = boxes[::7]
        size = torch.tensor([w, h, w, h])
        xywh = torch.cat(((chosen[:, :2] + chosen[:, 2:4]) / 2, chosen[:, 2:4] - chosen[:, :2]), 1) / size
        label = made / "labels" / "val" / f"{file.stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            f"{int(c)} {' '.join(f'{n:.6f}' for n in row)}" for c, row in zip(chosen[:, 5], xywh.tolist(), strict=True)
        ]
        label.write_text("\n".join(rows))
        pair = Pair(str(file), (h, w), boxes, chosen[:, :4], chosen[:, 5], torch.zeros(0, 6), None)
        evaluator.update(int(file.stem), [pair])
    seen = {}
    compare = DetectionValidator.compare

    def kept(self, preds, batch):
        pairs = compare(self, preds, batch)
        seen.update({p.file: p.detected for p in pairs})
        return pairs

    monkeypatch.setattr(DetectionValidator, "compare", kept)
    keys = {"imgsz": SIDE, "tiles": SIDE, "conf": conf, "batch": 3, "workers": 0, "plots": False, "coco": False}
    metrics = yolo.val(data=str(made / "d.yaml"), project=str(tmp_path), **keys, **QUIET)
    for file, boxes in zip(files, found, strict=True):
        same_boxes(seen[str(file)], boxes)
    assert metrics.box.map == pytest.approx(evaluator.result().box.map, abs=1e-6)
    assert 0.05 < metrics.box.map < 0.9
    assert json.loads((tmp_path / "val" / "metrics.json").read_text())["images"] == 4


def test_tiles_are_followed_through_frames(made):
    yolo, frames = YOLO(made / "a.pt"), [images()[0]] * 3
    found = yolo.track(frames, tiles=SIDE, imgsz=SIDE, conf=0.05, **QUIET)
    assert all(r.boxes.is_track for r in found[1:])
    assert found[1].boxes.id.tolist() == found[2].boxes.id.tolist()


@pytest.fixture(scope="module")
def exported(made):
    """A file of 64×64 pixels alone, and one of any size."""
    yolo, files = YOLO(made / "a.pt"), {}
    for name, keys in (("fixed", {"batch": 2}), ("free", {"dynamic": True})):
        written = made / "a.torchscript"
        yolo.export(format="torchscript", imgsz=SIDE, **keys)
        files[name] = str(written.rename(made / f"{name}.torchscript"))
    return files


@pytest.mark.slow
def test_an_exported_file_sees_tiles_and_passes_as_its_weights_do(made, exported, caplog):
    image, keys = images()[0], {"imgsz": SIDE, "conf": 0.03, "batch": 4, **QUIET}
    weights = YOLO(made / "a.pt")
    tiled = weights.predict(image, tiles=SIDE, whole=False, **keys)[0].boxes.data
    for file in exported.values():
        same_boxes(YOLO(file).predict(image, tiles=SIDE, whole=False, **keys)[0].boxes.data, tiled)
    assert not caplog.records
    YOLO(exported["fixed"]).predict(image, tiles=96, **keys)
    assert "tiles of 96 pixels are made smaller: the exported file takes 64×64 (tiles=64" in caplog.text
    passes = weights.predict(image, augment=True, **keys)[0].boxes.data
    same_boxes(YOLO(exported["free"]).predict(image, augment=True, **keys)[0].boxes.data, passes)
    mixed = [YOLO([made / "a.pt", file]).predict(image, iou=0.5, **keys)[0].boxes.data for file in exported.values()]
    assert YOLO([made / "a.pt", exported["fixed"]]).model.fixed == (SIDE, SIDE)
    same_boxes(mixed[1], weights.predict(image, iou=0.5, **keys)[0].boxes.data)
    assert len(mixed[0]) > 0  # in square images
    with pytest.raises(ConfigError, match=r"the exported file takes 64×64 pixels alone \(export it with dynamic=True"):
        YOLO(exported["fixed"]).predict(image, augment=True, **keys)


@pytest.mark.parametrize("keys", [{}, {"augment": True}, {"tiles": SIDE}])
def test_twice_the_same_network_finds_what_one_does(made, keys):
    """Two equal boxes are joined to one, whose score is their mean."""
    image = images()[0]
    keys = {"imgsz": SIDE, "conf": 0.03, "iou": 0.5, **keys, **QUIET}
    alone = YOLO(made / "a.pt").predict(image, **keys)[0]
    pair = YOLO([made / "a.pt", str(made / "a.pt")])
    same_boxes(pair.predict(image, **keys)[0].boxes.data, alone.boxes.data)
    assert pair.names == alone.names


def test_an_ensemble_validates_on_the_command_line_and_differing_classes_are_one_line(made, tmp_path, capsys):
    a, other = made / "a.pt", made / "other.pt"
    words = [
        f"data={made / 'd.yaml'}",
        f"imgsz={SIDE}",
        "workers=0",
        "plots=False",
        "device=cpu",
        f"project={tmp_path}",
    ]
    assert main(["val", f"model=[{a},{a}]", *words]) == 0
    figures = json.loads((tmp_path / "val" / "metrics.json").read_text())
    assert figures["images"] == 4
    assert main(["val", f"model=[{a},{other}]", *words]) == 2
    assert "network 2 lacks" in capsys.readouterr().err
    assert main(["train", f"model=[{a},{a}]", *words]) == 2
    with pytest.raises(UserError, match=r"export needs a network, and this is an ensemble .*give one \.pt"):
        YOLO([a, a]).export()


@pytest.mark.slow
def test_a_large_image_takes_little_memory_beside_it(made):
    """An image of 20,000×20,000 pixels, 1.2 GB: the most that the process holds is less than 1 GB above it, what it
    holds before it sees an image included."""
    code = """
import resource, sys, numpy as np
from ultralytics import YOLO
yolo = YOLO(sys.argv[1])
image = np.full((20_000, 20_000, 3), 90, np.uint8)
image[5000:5100, 7000:7100] = 255
keys = {"overlap": 0, "batch": 4, "imgsz": 640, "conf": 0.5, "device": "cpu", "threads": 1, "verbose": False}
[result] = yolo.predict(image, tiles=640, **keys)
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(held - image.nbytes)
"""
    done = subprocess.run([sys.executable, "-c", code, made / "a.pt"], capture_output=True, text=True, check=True)
    above = int(done.stdout.split()[-1])
    assert 0 < above < 1e9
