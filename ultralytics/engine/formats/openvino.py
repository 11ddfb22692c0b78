"""OpenVINO's intermediate representation, converted from the ONNX graph."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ultralytics.cfg.config import Config
from ultralytics.engine.formats.format import FileBackend, Format, Job, Sizes
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.engine.formats.onnx import graph, quiet
from ultralytics.utils.errors import ExportError
from ultralytics.utils.files import read_bytes
from ultralytics.utils.text import first_line

METADATA = "metadata.yaml"  # the reference's name; JSON is YAML


class OpenVino(Format):
    """See the module."""

    name = "openvino"
    title = "OpenVINO"
    suffix = "_openvino_model"
    packages = ("openvino", "onnx", "onnxscript")
    reads = ("openvino",)
    able: ClassVar[frozenset[str]] = frozenset({"dynamic", "half", "int8", "nms", "batch"})

    def place(self, stem: Path, args: Config) -> Path:
        """Return the folder, whose name says int8 as the reference's does."""
        return stem.with_name(f"{stem.name}{'_int8' if args.int8 else ''}{self.suffix}")

    def write(self, job: Job, path: Path) -> None:
        """Write the network; see `Format`."""
        import onnx
        import openvino

        path.mkdir()
        with tempfile.TemporaryDirectory(dir=path) as folder:
            source = Path(folder, "graph.onnx")
            onnx.save(graph(job), str(source))
            with quiet():
                model = openvino.convert_model(str(source))
        for output, name in zip(model.outputs, job.outputs, strict=True):
            output.get_tensor().set_names({name})
        labels = " ".join(name.replace(" ", "_") for name in job.metadata.names.values())
        for key, value in {"model_type": "YOLOv8", "pad_value": "114", "scale_values": "255", "labels": labels}.items():
            model.set_rt_info(value, ["model_info", key])
        stem = path.name.removesuffix(self.suffix).removesuffix("_int8").lstrip(".")
        openvino.save_model(model, str(path / f"{stem}.xml"), compress_to_fp16=job.args.half)
        (path / METADATA).write_text(job.metadata.to_json(), encoding="utf-8")

    def open(self, path: Path, device: torch.device | None = None) -> OpenVinoBackend:
        """Open a folder; see `Format`."""
        return OpenVinoBackend(path)


class OpenVinoBackend(FileBackend):
    """Runs a folder with OpenVINO on the CPU."""

    def __init__(self, path: Path) -> None:
        import openvino

        files = sorted(path.glob("*.xml"))
        if len(files) != 1 or not (path / METADATA).is_file():
            raise ExportError(f"an OpenVINO folder holds one .xml, its .bin and {METADATA}", str(path))
        metadata = Metadata.from_text(read_bytes(path / METADATA, 2**24), str(path / METADATA))
        self._core: Any = openvino.Core()
        self._hints: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if metadata.args.get("half") is not True:  # else what the CPU multiplies fastest: bf16 where it can
            self._hints["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            self._model = model = self._core.read_model(str(files[0]))
            shape = model.inputs[0].get_partial_shape()
            self.use_threads(torch.get_num_threads())
        except Exception as e:  # of the runtime
            raise ExportError(f"it cannot be opened: {first_line(e)}", str(files[0])) from None
        batch, _, height, width = (d.get_length() if d.is_static else None for d in shape)
        half = "f16" in str(model.inputs[0].get_element_type())
        dtype = torch.float16 if half else torch.float32
        super().__init__(path, metadata, Sizes(batch, height, width), torch.device("cpu"), dtype)

    def use_threads(self, count: int) -> None:
        """Compile the network for so many threads, unless it is."""
        if count != self.threads:
            hints = {**self._hints, "INFERENCE_NUM_THREADS": count}
            self.compiled = self._core.compile_model(self._model, "CPU", hints)
            self.threads = count

    def run(self, images: Tensor) -> list[Tensor]:
        """Return the file's outputs."""
        try:
            found = self.compiled([np.ascontiguousarray(images.cpu().numpy())], share_outputs=True)
        except Exception as e:  # of the runtime
            raise ExportError(f"it fails on images of {tuple(images.shape)}: {first_line(e)}", str(self.path)) from None
        return [torch.from_numpy(np.array(a)) for a in found.values()]  # the next run writes where these lie
