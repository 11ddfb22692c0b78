"""A study's folder without training: records, and what their tests have seen."""

from __future__ import annotations

import json

import numpy as np

from ultralytics.study.record import FAILED, FINISHED, RunRecord, write_record, write_seen
from ultralytics.study.resampling import Detections, mean_over_classes
from ultralytics.utils.coco import Seen

FACTS = {
    "train data": "a", "val data": "b", "test data": "c", "test split": "test", "imgsz": 320, "batch": 16,
    "selection": "best epoch by fitness on val", "selection and test": "on different splits", "epochs planned": 30,
    "steps planned": 300, "evaluator": "mAP: this project, as ultralytics 8.2.103; COCO's figures: hotcoco 1.3.0",
}  # fmt: skip


def seen_of(quality, seed, images=12, nc=3, wanting=()):
    """Images with objects that are the same for all, and detections of a quality in 0..1; the classes `wanting` have no
    objects. Image 0 is empty."""
    objects = np.random.default_rng(7)
    rng = np.random.default_rng(seed)
    out = []
    for i in range(images):
        k = int(objects.integers(1, 5)) if i else 0
        boxes = np.column_stack([objects.uniform(0, 200, (k, 2)), objects.uniform(20, 90, (k, 2))])
        cls = objects.integers(0, nc, k).astype(float)
        kept = ~np.isin(cls, wanting)
        boxes, cls = boxes[kept], cls[kept]
        k = len(boxes)
        noise = rng.normal(0, 1, (k, 4)) * boxes[:, [2, 3, 2, 3]] * 0.12 * (1.3 - quality)
        right = np.column_stack([boxes + noise, rng.uniform(0.4, 1, k), cls])
        wrong = np.column_stack([rng.uniform(0, 200, (3, 2)), rng.uniform(20, 90, (3, 2)), rng.uniform(0, 0.7, 3)])
        wrong = np.column_stack([wrong, rng.integers(0, nc, 3)])
        found = np.concatenate([right, wrong])
        out.append(Seen(f"/data/{i}.jpg", (300, 300), found, np.column_stack([boxes, cls, np.zeros(k)]).reshape(-1, 6)))
    return out


def write_study(
    out, arms, seeds=3, control="", nc=3, images=12, names=None, lost=(), wanting=(), results=True, keys=None
):
    """Write OUT: arms is name → quality; `lost` are (arm, seed) that failed."""
    names = names or [f"class{i}" for i in range(nc)]
    control = next(iter(arms)) if control == "" else control
    for a, (arm, quality) in enumerate(arms.items()):
        for seed in range(seeds):
            folder = out / f"{a}-{seed}"
            (folder / "test").mkdir(parents=True)
            if (arm, seed) in lost:
                write_record(folder, RunRecord(arm, seed, FAILED, folder.name, error="no memory"))
                continue
            seen = seen_of(quality, 100 * seed + a, images, nc, wanting)
            write_seen(folder / "test" / "seen.npz", seen)
            d = Detections.from_seen(seen)
            ap = d.by_class(np.ones((1, images)))[0]
            of_class = dict.fromkeys(names) | {names[c]: float(v) for c, v in zip(d.classes, ap, strict=True)}
            value = float(mean_over_classes(d.by_class(np.ones((1, images))))[0])
            record = RunRecord(
                arm, seed, FINISHED, folder.name,
                figures={"mAP50-95": value, "mAP50": min(value * 1.6, 1), "AP": value * 0.98, "AP_S": None},
                per_class=of_class, facts=FACTS, keys={"model": f"{arm}.yaml", **(keys or {}).get(arm, {})},
                blocks={"10": {"share": 0.1 + a / 50, "gate_mean": 0.1}} if a else {},
                cost={"parameters": 3.0e6 + 1e5 * a, "flops": 8e9 + a * 1e8},
            )  # fmt: skip
            write_record(folder, record)
            if results:
                rows = [f"{e},{value * (1 - 0.8 ** (e + seed / 3))}" for e in range(1, 21)]
                (folder / "results.csv").write_text("\n".join(["epoch,metrics/mAP50-95(B)", *rows]), encoding="utf-8")
    plan = {
        "name": "made", "base": {"cfg": "small.yaml"}, "arms": {a: {"model": f"{a}.yaml"} for a in arms},
        "control": control, "seeds": list(range(seeds)), "test": {"split": "test"},
    }  # fmt: skip
    (out / "study.json").write_text(json.dumps({"study": plan, "records": []}), encoding="utf-8")
    message = {
        "imgsz": 320,
        "batch": 1,
        "precision": "fp32",
        "device": "a CPU",
        "threads": 1,
        "warmup": 10,
        "repeats": 100,
    }
    times = {a: {"p50_ms": 9.0 + i, "p95_ms": 10.0 + i, **message} for i, a in enumerate(arms)}
    (out / "latency.json").write_text(json.dumps(times), encoding="utf-8")
    return out
