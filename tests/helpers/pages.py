"""Folders of runs without training, and what a page is made of."""

from __future__ import annotations

import html.parser
import json

import cv2
import numpy as np

from ultralytics.cfg.config import get_cfg

HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!-- & 'quotes' `ticks` ]]>",
    "right\u202eto left",
    "猫\x1b[2J",
    "style=x onload=y javascript:alert(1)",
]
COLUMNS = ["epoch", "time", "train/box_loss", "metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)",
           "metrics/mAP50-95(B)", "val/box_loss", "lr/pg0"]  # fmt: skip
BLOCK = ["block/10/gate_mean", "block/10/gate_max", "block/10/share"]


def metrics_of(names):
    """A metrics.json as a validation writes it."""
    row = {"images": 3, "instances": 5, "precision": 0.5, "recall": 0.25, "f1": 1 / 3, "mAP50": 0.4, "mAP75": 0.3,
           "mAP50-95": 0.2}  # fmt: skip
    coco = {"AP": 0.19, "AP_S": None, "AP_M": 0.1, "AP_L": 0.3, "AR_S": None, "AR_M": 0.2, "AR_L": 0.4}
    return {
        "images": 7, "instances": 5 * len(names), "precision": 0.5, "recall": 0.25, "mAP50": 0.41234, "mAP75": 0.3,
        "mAP50-95": 0.21234, "fitness": 0.2, "classes": dict.fromkeys(names, row),
        "coco": {**coco, "per_class": dict.fromkeys(names, 0.19)},
    }  # fmt: skip


def curves_of(names):
    """A curves.json of as many classes."""
    x = [i / 100 for i in range(101)]
    curve = [1 - v for v in x]
    kinds = {"precision": curve, "f1": curve, "p": x, "r": curve}
    n = len(names)
    counts = [[i, i, 7] for i in range(n)] + [[0, n, 2], [n, 0, 3]]
    classes = [{"name": name, "AP50": 0.4, **kinds} for name in names]
    return {"x": x, "classes": classes, "mean": kinds,
            "confusion": {"labels": [*names, "background"], "counts": counts, "conf": 0.25}}  # fmt: skip


def write_run(folder, names=("a", "b"), epochs=3, blocks=True, images=True, done=True, keys=None):
    """Write what a training leaves, but for its weights."""
    folder.mkdir(parents=True)
    given = {"epochs": 3, "model": "yolov8n.yaml", **(keys or {})}
    args = get_cfg(None, given, "command line")
    args.set("cos_lr", True, "small.yaml")
    (folder / "args.yaml").write_text(args.yaml_text(["0123456789ab, torch 2.13", "2026-01-01"]), encoding="utf-8")
    columns = [*COLUMNS, *(BLOCK if blocks else [])]
    rows = [",".join([str(e), str(10 * e), *(str(0.1 * e) for _ in columns[2:])]) for e in range(1, epochs + 1)]
    if epochs:
        (folder / "results.csv").write_text("\n".join([",".join(columns), *rows, ""]), encoding="utf-8")
    record = {"date": "2026-01-01", "versions": {"torch": "2.13"}, "device": "a CPU",
              "command": ["train", "model=yolov8n.yaml", "name=it's mine"]}  # fmt: skip
    (folder / "environment.json").write_text(json.dumps(record), encoding="utf-8")
    if done:
        (folder / "metrics.json").write_text(json.dumps(metrics_of(names)), encoding="utf-8")
        (folder / "curves.json").write_text(json.dumps(curves_of(names)), encoding="utf-8")
    for name in ("val_batch0_labels.jpg", "val_batch0_pred.jpg", "labels.jpg", "gallery_Cls.jpg") if images else ():
        noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / name), noise)
    return folder


class Page(html.parser.HTMLParser):
    """What a browser would make of a page.

    Attributes:
        tags: names and attributes; text: what is read; charts: their data; titles: of the sections.
    """

    def __init__(self, source):
        super().__init__()
        self.tags, self.words, self.charts, self.open = [], [], [], []
        self.feed(source)
        self.close()
        self.text = " ".join(self.words)
        self.ids = {a["id"] for _, a in self.tags if "id" in a}

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "input"):
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "script" and attributes.get("type") == "application/json":
            self.charts.append(json.loads(data))
        elif tag not in ("script", "style"):
            self.words.append(data)

    def assert_harmless(self):
        """Nothing of it runs, asks for anything or styles itself but the page's own script and style."""
        assert not self.open
        scripts = [a for t, a in self.tags if t == "script"]
        assert [a for a in scripts if a != {"type": "application/json"}] == [{}]
        assert sum(t == "style" for t, _ in self.tags) == 1
        for tag, attributes in self.tags:
            assert tag not in ("link", "iframe", "object", "embed", "base", "form", "video", "audio"), tag
            for key, value in attributes.items():
                assert not key.startswith("on"), (tag, key)
                assert key not in ("style", "srcset", "action", "formaction", "background"), (tag, key)
                if key in ("src", "href"):
                    assert value.startswith(("data:image/jpeg;base64,", "#", "./")), value
        policy = next(a["content"] for t, a in self.tags if a.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
