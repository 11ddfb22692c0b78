"""OpenVINO's intermediate representation, converted from the ONNX graph."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultralytics.engine.formats.format import OUTPUT, FileBackend, Format, Job, Sizes
from ultralytics.engine.formats.int8 import quantised_openvino
from ultralytics.engine.formats.metadata import BESIDE, Metadata
from ultralytics.engine.formats.onnx import graph, quiet
from ultralytics.utils.errors import ExportError
from ultralytics.utils.text import first_line

LARGEST_CONSTANTS = 2**28  # bytes
# Where conf and iou enter the suppression that `Finish.extend` appends: a node and which of its inputs. They are
# constants in the file, as its inputs have no defaults; this project's backend makes inputs of them.
ENTRIES = {"conf": ("nms_above", 1), "iou": ("nms_found", 3)}
# openvino and nncf report to their makers what they are used for, through this package; where it cannot be imported
# they do not, and all else is the same.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: an import of it fails


class OpenVino(Format):
    """See the module."""

    name = "openvino"
    title = "OpenVINO"
    suffix = "_openvino_model"
    packages = ("openvino", "onnx", "onnxscript")
    reads = ("openvino",)
    extras: ClassVar[Mapping[str, tuple[str, ...]]] = {"int8": ("nncf",)}
    able: ClassVar[frozenset[str]] = frozenset({"dynamic", "half", "int8", "nms", "batch", "channels"})

    def write(self, job: Job, path: Path) -> None:
        """Write the network; see `Format`."""
        import onnx  # an optional package
        import openvino  # an optional package

        path.mkdir()
        with tempfile.TemporaryDirectory(dir=path) as folder:
            source = Path(folder, "graph.onnx")
            written = graph(job)
            if job.finish is not None:
                job.finish.extend(written, OUTPUT, inclusive=True)
            onnx.save(written, str(source))
            with quiet():
                model = openvino.convert_model(str(source))
                model = quantised_openvino(model, job) if job.args.int8 else model
        for output, name in zip(model.outputs, job.outputs, strict=True):
            output.get_tensor().set_names({name})
        labels = " ".join(name.replace(" ", "_") for name in job.metadata.names.values())
        for key, value in {"model_type": "YOLOv8", "pad_value": "114", "scale_values": "255", "labels": labels}.items():
            model.set_rt_info(value, ["model_info", key])
        stem = path.name.removesuffix(self.suffix).removesuffix("_int8").lstrip(".")
        openvino.save_model(model, str(path / f"{stem}.xml"), compress_to_fp16=job.args.half)
        self.describe(path, job.metadata)

    def describe(self, path: Path, metadata: Metadata) -> None:
        """Replace what a folder says of itself; see `Format`."""
        metadata.write_beside(path)

    def open(self, path: Path, device: torch.device | None = None) -> OpenVinoBackend:
        """Open a folder; see `Format`."""
        return OpenVinoBackend(path)


def _check_constants(model: Any, weights: Path) -> None:
    """Check that what a graph computes from constants alone, which is computed when it is opened, is not large.

    Raises:
        ValueError: it is.
    """
    of_images: set[str] = set()  # operations whose values depend on the images
    total = 0
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        given = any(i.get_source_output().get_node().get_name() in of_images for i in op.inputs())
        if kind == "Parameter" or (given and kind != "ShapeOf"):
            of_images.add(op.get_name())
        elif kind != "Constant":
            shapes = ((o.get_partial_shape(), o.get_element_type().size) for o in op.outputs())
            total += sum(size * math.prod(d.get_length() for d in shape) for shape, size in shapes if shape.is_static)
    # weights in whole numbers become fp32, and are scaled and shifted
    if total > max(LARGEST_CONSTANTS, 16 * weights.stat().st_size):
        raise ValueError(f"it computes constants of {total:,} bytes")


class OpenVinoBackend(FileBackend):
    """Runs a folder with OpenVINO on the CPU."""

    def __init__(self, path: Path) -> None:
        import openvino  # an optional package
        from openvino.frontend import FrontEndManager  # the same package

        files = sorted(path.glob("*.xml"))
        if len(files) != 1 or not (path / BESIDE).is_file():
            raise ExportError(f"an OpenVINO folder holds one .xml, its .bin and {BESIDE}", str(path))
        metadata = Metadata.read_beside(path)
        hints: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if metadata.args.get("half") is not True:  # else what the CPU multiplies fastest: bf16 where it can
            hints["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            # not Core.read_model, which tries every format that OpenVINO knows
            reader: Any = FrontEndManager().load_by_framework("ir")
            model = reader.convert(reader.load(str(files[0])))
            shape = model.inputs[0].get_partial_shape()
            if len(model.inputs) != 1 or shape.rank.get_length() != 4:
                raise ValueError("its input is not one batch of images")
            _check_constants(model, files[0].with_suffix(".bin"))
            self.defaults = _with_inputs(model) if metadata.nms else {}
            self.open_at(partial(_compiled, openvino.Core(), model, hints))
        except Exception as e:  # of the runtime
            raise ExportError(f"it cannot be opened: {first_line(e)}", str(files[0])) from None
        batch, _, height, width = (d.get_length() if d.is_static else None for d in shape)
        half = "f16" in str(model.inputs[0].get_element_type())
        dtype = torch.float16 if half else torch.float32
        super().__init__(path, metadata, Sizes(batch, height, width), torch.device("cpu"), dtype)
        self.takes = frozenset(self.defaults)

    def run(self, images: Tensor) -> list[Tensor]:
        """Return the file's outputs."""
        given = dict(self.given)
        if "iou" in given:
            given["iou"] = float(torch.tensor(given["iou"]).nextafter(torch.tensor(2.0)))  # see `Finish`, inclusive
        values = [np.full_like(value, given.get(name, value)) for name, value in self.defaults.items()]
        try:
            found = self.opened([np.ascontiguousarray(images.cpu().numpy()), *values], share_outputs=True)
        except Exception as e:  # of the runtime
            raise ExportError(f"it fails on images of {tuple(images.shape)}: {first_line(e)}", str(self.path)) from None
        return [torch.from_numpy(np.array(a)) for a in found.values()]  # the next run writes where these lie


def _compiled(core: Any, model: Any, hints: Mapping[str, Any], threads: int) -> Any:
    """Compile a network for so many threads of a CPU."""
    return core.compile_model(model, "CPU", {**hints, "INFERENCE_NUM_THREADS": threads})


def _with_inputs(model: Any) -> dict[str, npt.NDArray[np.float32]]:
    """Make inputs of a model's `ENTRIES`, behind the images; return their names and defaults."""
    import openvino  # an optional package

    nodes = {op.get_friendly_name(): op for op in model.get_ops()}
    found: dict[str, npt.NDArray[np.float32]] = {}
    for name, (node, port) in ENTRIES.items():
        if node not in nodes:  # a file of others
            continue
        value = nodes[node].input_value(port)
        source = value.get_node()
        if source.get_type_name() == "Convert":  # from fp16, where that holds the very number
            source = source.input_value(0).get_node()
        if source.get_type_name() != "Constant":
            continue
        parameter = openvino.op.Parameter(value.get_element_type(), value.get_partial_shape())
        nodes[node].input(port).replace_source_output(parameter.output(0))
        model.add_parameters([parameter])
        found[name] = np.array(source.data, np.float32)
    return found
