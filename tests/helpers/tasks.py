"""Made-up data and tiny networks of the tasks besides detection."""

from pathlib import Path

import cv2
import numpy as np
import yaml

from ultralytics.utils.images import imwrite

SIDE = 64
HEADS = {"segment": "Segment, [nc, 32, 64]", "pose": "Pose, [nc, kpt_shape]", "obb": "OBB, [nc, 1]"}
QUIET = {
    "imgsz": SIDE, "batch": 4, "workers": 0, "plots": False, "device": "cpu", "verbose": False, "threads": 1,
    "preflight": False, "optimizer": "AdamW", "nbs": 4, "warmup_epochs": 0,
}  # fmt: skip


def tiny_network(folder, task, nc=3):
    """Write the YAML of a tiny network of a task."""
    points = "kpt_shape: [4, 3]\n" if task == "pose" else ""
    file = Path(folder) / f"tiny-{task}.yaml"
    file.write_text(
        f"nc: {nc}\n{points}scales:\n  n: [0.33, 0.125, 256]\n"
        "backbone:\n  - [-1, 1, Conv, [64, 3, 2]]\n  - [-1, 1, Conv, [64, 3, 2]]\n  - [-1, 1, Conv, [128, 3, 2]]\n"
        "  - [-1, 1, C2f, [128, True]]\n  - [-1, 1, Conv, [128, 3, 2]]\n  - [-1, 1, Conv, [128, 3, 2]]\n"
        f"head:\n  - [[3, 4, 5], 1, {HEADS[task]}]\n",
        encoding="utf-8",
    )
    return file


def quadrilateral(rng):
    """Four corners (4, 2) of a rotated rectangle in 0..1, its long side first."""
    w, h, angle = rng.uniform(0.3, 0.5), rng.uniform(0.15, 0.25), rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2 @ turn.T
    return corners + rng.uniform(0.3, 0.7, 2)


def row_of(task, cls, corners):
    """A label row of an object with these corners."""
    low, high = corners.min(0), corners.max(0)
    values = corners.ravel()
    if task == "pose":
        values = [*(low + high) / 2, *(high - low), *np.column_stack([corners, np.full(4, 2)]).ravel()]
    return " ".join([str(cls), *(f"{v:.6f}" for v in values)])


def task_data(folder, task, train=6, val=4, nc=3, seed=0):
    """Draw a dataset of a task; the last image of each split, of several, is empty. Return its YAML."""
    root, rng = Path(folder), np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i in range(count):
            image = np.full((SIDE, SIDE, 3), 40, np.uint8)
            objects = 0 if i == count - 1 and count > 1 else 1 + i % 2
            rows = []
            for _ in range(objects):
                cls, corners = int(rng.integers(nc)), quadrilateral(rng).clip(0.02, 0.98)
                color = [(220, 60, 60), (60, 220, 60), (60, 60, 220)][cls]
                cv2.fillPoly(image, [(corners * SIDE).astype(np.int32)], color)
                rows.append(row_of(task, cls, corners))
            imwrite(root / "images" / split / f"{i}.png", image)
            (root / "labels" / split / f"{i}.txt").write_text("\n".join(rows), encoding="utf-8")
    points = "kpt_shape: [4, 3]\nflip_idx: [1, 0, 3, 2]\n" if task == "pose" else ""
    names = "".join(f"  {i}: c{i}\n" for i in range(nc))
    file = root / "data.yaml"
    file.write_text(f"path: .\ntrain: images/train\nval: images/val\n{points}names:\n{names}", encoding="utf-8")
    return file


SHADES = ("dark", "light", "grey")


def class_folders(folder, counts=(5, 5, 5), val=(2, 2, 2)):
    """Images that are dark, light or in between."""
    rng = np.random.default_rng(0)
    for split, numbers in (("train", counts), ("val", val)):
        for name, level, count in zip(SHADES, (30, 220, 125), numbers, strict=True):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                image = rng.integers(level - 20, level + 20, (36, 40, 3), np.uint8)
                cv2.imwrite(str(folder / split / name / f"{i}.png"), image)
    return folder


def classify_network(folder, nc=3):
    """Write the YAML of a tiny classifier. Its attention has 32 channels a head, as few as real ones have: of four, all
    are often negative, and the focusing of such a token is a quotient of numbers that runtimes round to 0."""
    rows = [[-1, 1, "Conv", [32, 3, 2]], [-1, 1, "FLABlock", [1]], [-1, 1, "Classify", ["nc"]]]
    file = folder / "tiny-cls.yaml"
    file.write_text(yaml.safe_dump({"nc": nc, "backbone": rows[:2], "head": rows[2:]}))
    return file
