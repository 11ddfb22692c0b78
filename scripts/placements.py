"""Train placements of the attention beside plain YOLOv8 and compare them: one recipe, several seeds, one test.

    placements.py data=data/bccd.yaml weights=yolov8n.pt [seeds=[0,1,2]] [epochs=30] [imgsz=320] [batch=16] [workers=2]
                  [rows=[plain,tutorial-by-number,…]] [scale=n] [out=runs/placements]
    placements.py sizes        parameters and operations of each placement at each scale, 640 px, 80 classes

A run that is done is not run again, so that the command can be stopped and repeated. Prints a JSON line per run and a
table of mAP50-95 on the test split (square images), mean ± standard deviation over the seeds.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from ultralytics import YOLO
from ultralytics.cfg.config import parse_value
from ultralytics.nn.summary import explain
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.console import say
from ultralytics.utils.errors import ConfigError, UserError

# Row of the table → model YAML and the rule by which pretrained tensors find their layers.
PLACEMENTS = {
    "plain": ("yolov8.yaml", "structure"),
    "tutorial-by-number": ("yolov8-fla.yaml", "name"),
    "tutorial": ("yolov8-fla.yaml", "structure"),
    "sppf": ("yolov8-fla-sppf.yaml", "structure"),
    "p3": ("yolov8-fla-p3.yaml", "structure"),
    "p4": ("yolov8-fla-p4.yaml", "structure"),
    "p5": ("yolov8-fla-p5.yaml", "structure"),
    "p345": ("yolov8-fla-p345.yaml", "structure"),
    "c2f-backbone": ("yolov8-fla-c2f-backbone.yaml", "structure"),
    "c2f-neck": ("yolov8-fla-c2f-neck.yaml", "structure"),
    "amd": ("yolov8-fla-amd.yaml", "structure"),
    "conv": ("yolov8-conv-sppf.yaml", "structure"),
    "conv-p345": ("yolov8-conv-p345.yaml", "structure"),
    "psa": ("yolov8-psa.yaml", "structure"),
}
DEFAULTS: dict[str, Any] = {
    "data": None,
    "weights": None,
    "seeds": [0, 1, 2],
    "epochs": 30,
    "imgsz": 320,
    "batch": 16,
    "workers": 2,
    "rows": ["plain", "tutorial-by-number", "tutorial", "sppf"],
    "scale": "n",
    "out": "runs/placements",
}


def run(row: str, seed: int, o: dict[str, Any]) -> dict[str, Any]:
    """Train and test one row with one seed, or read the result of an earlier call."""
    folder = Path(o["out"]).absolute() / f"{row}-{seed}"
    done = folder / "test.json"
    if done.is_file():
        result: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return result
    yaml, transfer = PLACEMENTS[row]
    common = {"data": o["data"], "imgsz": o["imgsz"], "batch": o["batch"], "workers": o["workers"], "verbose": False}
    model = YOLO(yaml, scale=o["scale"])
    model.train(
        epochs=o["epochs"],
        seed=seed,
        pretrained=o["weights"],
        transfer=transfer,
        project=str(folder.parent),
        name=folder.name,
        exist_ok=True,
        plots=False,
        **common,
    )
    m = model.val(split="test", rect_val=False, plots=False, project=str(folder), name="test", exist_ok=True, **common)
    result = {
        "row": row,
        "seed": seed,
        "model": yaml,
        "transfer": transfer,
        "mAP50": m.box.map50,
        "mAP50_95": m.box.map,
    }
    done.write_text(json.dumps(result), encoding="utf-8")
    return result


def table(results: list[dict[str, Any]], seeds: list[int]) -> list[str]:
    """Markdown: a line per row, mAP50-95 of each seed, mean ± standard deviation."""
    lines = [f"| placement | {' | '.join(f'seed {s}' for s in seeds)} | mean ± std |", "|---" * (len(seeds) + 2) + "|"]
    for row in dict.fromkeys(r["row"] for r in results):
        values = [r["mAP50_95"] for r in results if r["row"] == row]
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        cells = " | ".join(f"{v:.4f}" for v in values)
        lines.append(f"| {row} | {cells} | {statistics.mean(values):.4f}{spread} |")
    return lines


def sizes(scales: str = "nsmlx") -> list[str]:
    """Markdown: a line per model YAML; parameters in millions and GFLOPs, fused, at 640 px with 80 classes."""
    lines = [f"| model | {' | '.join(scales)} |", "|---" * (len(scales) + 1) + "|"]
    for yaml in dict.fromkeys(yaml for yaml, _ in PLACEMENTS.values()):
        cells = []
        for scale in scales:
            r = explain(DetectionModel(yaml, scale=scale, verbose=False), 640)
            cells.append(f"{r.parameters_fused / 1e6:.3f} / {r.flops_fused / 1e9:.2f}")
        lines.append(f"| `{yaml}` | {' | '.join(cells)} |")
    return lines


def main(words: list[str]) -> int:
    """Run what is asked for."""
    if {"-h", "--help", "help"} & set(words):
        say(str(__doc__))
        return 0
    if words == ["sizes"]:
        say("\n".join(sizes()))
        return 0
    try:
        options = dict(DEFAULTS)
        for word in words:
            key, equals, value = word.partition("=")
            if not equals or key not in options:
                raise ConfigError(f"{word!r} is no option", mend=f"options: {', '.join(options)}")
            options[key] = parse_value(value)
        for key in ("data", "weights"):
            if not options[key]:
                raise ConfigError(f"{key} is missing", mend=f"{key}=…")
        for key in ("rows", "seeds"):
            options[key] = options[key] if isinstance(options[key], list) else [options[key]]
        unknown = [r for r in options["rows"] if r not in PLACEMENTS]
        if unknown:
            raise ConfigError(f"no placement is called {unknown[0]}", mend=f"known: {', '.join(PLACEMENTS)}")
        results = []
        for seed in options["seeds"]:
            for row in options["rows"]:
                results.append(run(row, seed, options))
                say(json.dumps(results[-1]))
    except UserError as e:
        say(f"error: {e}", error=True)
        return 2
    results.sort(key=lambda r: options["rows"].index(r["row"]))
    say("\n".join(["", *table(results, options["seeds"])]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
