"""Commands on networks and their files: info, benchmark, insert, replace, remove, export-weights, save-adapter."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from ultralytics.cfg.keys import PREDICT_CONF
from ultralytics.cfg.knob import Fraction, knob
from ultralytics.cfg.paths import MODEL_HINT
from ultralytics.cli.answer import answer, finished
from ultralytics.cli.command import Command
from ultralytics.cli.words import listed, read_modules, read_names
from ultralytics.utils import events
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.files import write_text
from ultralytics.utils.log import LOGGER, output, setup_console
from ultralytics.utils.output_path import target_file

PLUGINS = "Python files that register your own modules, as [a.py,b.py]"
OVERWRITE = "replace an existing file"


def _height_and_width(imgsz: Any) -> tuple[int, int]:
    size = imgsz if isinstance(imgsz, list | tuple) else [imgsz, imgsz]
    if len(size) != 2 or not all(type(n) is int and n >= 32 for n in size):
        raise ValueError
    return size[0], size[1]


_SIZE = "pixels of 32 or more, or [height,width]"


class Info(Command, name="info"):
    """Print a model's rows: channels, shapes, parameters and operations."""

    example = "info model=yolov8n-fla-sppf.yaml imgsz=640"
    model: str = knob("", "model YAML or weights file", needed=lambda: ConfigError("no model given", hint=MODEL_HINT))
    scale: str | None = knob(None, "scale letter of the model YAML: n, s, m, l, x")
    imgsz: Any = knob(
        None,
        "pixels of the image: one number, or [height,width]",
        check=_height_and_width,
        what=_SIZE,
        none="640; of a classifier 224",
    )
    batch: int = knob(1, "images", low=1)
    nc: int | None = knob(None, "number of classes", none="the YAML's own", low=1)
    plugins: str | list[str] | None = knob(None, PLUGINS)
    json: bool = knob(False, "print JSON for programs; also written --json")

    def run(self) -> int:
        from ultralytics.engine.run.provenance import readable, record_lines  # torch takes seconds to import
        from ultralytics.models.yolo.model import YOLO

        setup_console(verbose=not self.json, error=self.json)
        model = YOLO(self.model, scale=self.scale, plugins=self.plugins, nc=self.nc)
        setup_console(verbose=not self.json)
        report = model.report(None if self.imgsz is None else _height_and_width(self.imgsz), self.batch)
        record = readable(model.ckpt.state.get("provenance")) if model.ckpt else {}
        if self.json:
            answer(json.dumps(report.to_dict() | ({"provenance": record} if record else {})))
        elif output() == "json":
            finished(report.lines()[-1], report=report.to_dict(), provenance=record)
        else:
            answer("\n".join([*report.lines(), *(["", "Provenance"] if record else []), *record_lines(record)]))
        return 0


class Benchmark(Command, name="benchmark"):  # size: an option for each condition of a measurement
    """Measure a network in each format, in turns: size, mAP, times from the image to its boxes, memory."""

    example = "benchmark model=runs/detect/train/weights/best.pt data=data/shapes.yaml formats=[onnx,openvino]"
    model: str = knob("", "weights file, exported file or model YAML", needed="no model given")
    data: str | None = knob(None, "dataset YAML: mAP, and its validation images to run on", none="drawn images, no mAP")
    formats: str | list[str] = knob("all", "what to measure beside PyTorch, as [onnx,openvino]", read=read_names)
    imgsz: int | None = knob(None, "longest side of the input, pixels", low=32, high=8192, none="the model's, or 640")
    batch: int = knob(1, "images of a pass", low=1)
    half: bool = knob(False, "write fp16 files; PyTorch in fp16 on a GPU")
    int8: bool = knob(False, "write int8 files; needs data=")
    dynamic: bool = knob(False, "write files that take any number and size of images")
    rect: bool = knob(False, "pad images by their own shape, as predict does where it can; needs dynamic=True")
    device: Any = knob(None, "cpu, mps or a GPU's number", none="the first GPU, else the CPU")
    threads: int | None = knob(None, "CPU threads for computing", low=1, none="torch's number")
    conf: Fraction = knob(PREDICT_CONF, "confidence threshold")
    iou: Fraction = knob(0.7, "overlap above which NMS drops a box")
    max_det: int = knob(300, "maximum detections per image", low=1)
    images: int = knob(64, "most images of data= to run on", low=1)
    seconds: float = knob(60.0, "of measuring, after which no further round begins; three rounds at least", low=0)
    out: str | None = knob(None, "also write every figure, the machine and all versions as JSON", none="none")
    strict: bool = knob(False, "leave with 2 if a format cannot be measured, not only if none can")
    scale: str | None = knob(None, "scale letter of a model YAML: n, s, m, l, x")
    plugins: str | list[str] | None = knob(None, PLUGINS)

    def run(self) -> int:
        """Measure. Exit code 2 when nothing could be, or with `strict` something."""
        if self.out:
            target_file(self.out)
        from ultralytics.models.yolo.benchmark import table  # torch takes seconds to import
        from ultralytics.models.yolo.model import YOLO

        given = dict(self.given)
        opened = YOLO(given.pop("model"), scale=given.pop("scale", None), plugins=given.pop("plugins", None))
        found = opened.benchmark(**given)
        events.emit("result", text="\n".join(table(found)).strip(), report=found)
        return 0


_MODULE = 'a registered module, or a call: "FLABlock(4, focusing_factor=1)"; several as [A,B]'
_ROWS = "row number or name in that file; several as [4,6,sppf]"


class Edit(Command):
    """An edit of a model YAML."""

    model: str = knob("", "model YAML to start from", needed="model is missing")
    out: str = knob("", "the new YAML", needed="out is missing")
    scale: str | None = knob(None, "scale to try the new network at", none="n")
    plugins: str | list[str] | None = knob(None, PLUGINS)
    overwrite: bool = knob(False, OVERWRITE)

    edit: ClassVar[str]  # the function of cfg.surgery, which takes the model, rows, perhaps modules, and the scale

    def run(self) -> int:
        out = target_file(self.out, self.overwrite)
        from ultralytics.cfg import surgery  # torch takes seconds to import, these a moment
        from ultralytics.cfg.model import ModelSpec, load_model_spec
        from ultralytics.nn.plugins import load_plugins
        from ultralytics.nn.surgery import check_edit
        from ultralytics.utils.yaml import parse_yaml

        named = load_plugins(self.plugins)
        given = [listed(self.given[k]) for k in ("after", "rows") if k in self.given]
        given += [self.given[k] for k in ("module",) if k in self.given]
        text = getattr(surgery, self.edit)(self.model, *given, self.scale)
        before = load_model_spec(self.model, self.scale)
        load_plugins(before.plugins)
        plugins = list(dict.fromkeys([*before.plugins, *named]))
        if plugins:
            text = surgery.set_plugins(text, plugins, out.absolute().parent)
        data = parse_yaml(text, out, ModelError).data | {"yaml_file": str(out)}
        after = ModelSpec.from_dict(data, before.scale or None)
        notes = check_edit(before, after)
        write_text(out, text, "out")
        finished(f"written: {out}", file=out)
        for line in [*surgery.describe_change(before, after), *notes]:
            LOGGER.info("  %s", line)
        return 0


class Insert(Edit, name="insert"):
    """Put a module after rows of a model YAML; references and row numbers follow."""

    example = "insert model=cfg/models/yolov8.yaml after=9 module=FLABlock out=my.yaml"
    edit = "insert_rows"
    after: int | str | list[int | str] = knob("", _ROWS, needed="after is missing")
    module: str | list[str] = knob("", _MODULE, needed="module is missing", read=read_modules)


class Replace(Edit, name="replace"):
    """Put another module in the place of rows of a model YAML."""

    example = "replace model=cfg/models/yolov8.yaml rows=[6,8] module=C2f_FLA out=my.yaml"
    edit = "replace_rows"
    rows: int | str | list[int | str] = knob("", _ROWS, needed="rows is missing")
    module: str | list[str] = knob("", _MODULE, needed="module is missing", read=read_modules)


class Remove(Edit, name="remove"):
    """Take rows out of a model YAML."""

    example = "remove model=cfg/models/yolov8-fla.yaml rows=10 out=my.yaml"
    edit = "remove_rows"
    rows: int | str | list[int | str] = knob("", _ROWS, needed="rows is missing")


class Weights(Command):
    """A weights file that is written from another."""

    def run(self) -> int:
        from ultralytics.models.yolo import export  # torch takes seconds to import
        from ultralytics.nn.plugins import load_plugins

        load_plugins(self.given.pop("plugins", None))
        made = getattr(export, self.name.replace("-", "_"))(**self.given)
        finished(f"written: {made}", file=made)
        return 0


class ExportWeights(Weights, name="export-weights"):
    """Write weights as ultralytics 8.2.103 loads them, for its export, tracking and other tools."""

    example = "export-weights model=best.pt format=ultralytics out=best-ultralytics.pt"
    model: str = knob("", "weights file", needed="model is missing")
    out: str = knob("", "the new weights file", needed="out is missing")
    format: str = knob("ultralytics", "ultralytics, the only one")
    half: bool = knob(True, "16-bit weights, as ultralytics writes them")
    plugins: str | list[str] | None = knob(None, PLUGINS)
    overwrite: bool = knob(False, OVERWRITE)


class SaveAdapter(Weights, name="save-adapter"):
    """Write the tensors of inserted rows, to fill other networks with: adapter=FILE."""

    example = "save-adapter model=runs/detect/train/weights/best.pt out=fla-n.pt"
    model: str = knob("", "weights file of a run, such as best.pt", needed="model is missing")
    out: str = knob("", "the new file, .pt", needed="out is missing")
    rows: Any = knob(None, "row numbers, as [10,16]", none="those that the pretrained weights of the run did not have")
    plugins: str | list[str] | None = knob(None, PLUGINS)
    overwrite: bool = knob(False, OVERWRITE)
