"""LiteRT, formerly TensorFlow Lite: converted by litert-torch, with the metadata in a zip behind the graph."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultralytics.engine.formats.format import INPUT, FileBackend, Format, Job, Sizes
from ultralytics.engine.formats.metadata import LONGEST, Metadata
from ultralytics.engine.formats.onnx import quiet
from ultralytics.nn.deploy import default_layout, example
from ultralytics.utils.errors import ExportError
from ultralytics.utils.text import first_line

METADATA = "metadata.json"  # TensorFlow Lite's place for files that belong to a model; the name is the reference's


class LiteRt(Format):
    """See the module."""

    name = "litert"
    title = "LiteRT"
    suffix = ".tflite"
    aliases = ("tflite",)
    packages = ("litert_torch",)
    reads = ("ai_edge_litert.interpreter",)
    install = 'pip install ".[litert]"'
    able: ClassVar[frozenset[str]] = frozenset({"batch"})

    def write(self, job: Job, path: Path) -> None:
        """Write the network; see `Format`."""
        import litert_torch

        network = default_layout(job.network)
        images = example(job.shape, False, job.network.stride)
        with quiet():
            litert_torch.convert(network, sample_kwargs={INPUT: images}).export(str(path))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(METADATA, job.metadata.to_json())

    def open(self, path: Path, device: torch.device | None = None) -> LiteRtBackend:
        """Open a file; see `Format`."""
        return LiteRtBackend(path)


class LiteRtBackend(FileBackend):
    """Runs a file with LiteRT on the CPU."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        metadata = Metadata.from_text(_metadata(path), str(path))
        try:
            self.interpreter: Any = Interpreter(str(path), num_threads=torch.get_num_threads())
            self.interpreter.allocate_tensors()
            inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
            shape = inputs[0]["shape"].tolist()
        except Exception as e:  # of the runtime
            raise ExportError(f"it cannot be opened: {first_line(e)}", str(path)) from None
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or inputs[0]["dtype"].__name__ != "float32":
            raise ExportError("its input is not one batch of fp32 images (B, 3, H, W)", str(path))
        self.input, self.outputs = inputs[0]["index"], [output["index"] for output in outputs]
        super().__init__(path, metadata, Sizes(shape[0], *shape[2:]), torch.device("cpu"))

    def run(self, images: Tensor) -> list[Tensor]:
        """Return the file's outputs."""
        try:
            self.interpreter.set_tensor(self.input, images.contiguous().numpy())
            self.interpreter.invoke()
            return [torch.from_numpy(self.interpreter.get_tensor(index)) for index in self.outputs]
        except Exception as e:  # of the runtime
            raise ExportError(f"it fails on images of {tuple(images.shape)}: {first_line(e)}", str(self.path)) from None


def _metadata(path: Path) -> bytes:
    """Read the text behind the graph."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(METADATA) as file:
            return file.read(LONGEST + 1)
    except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        hint = "files that `export` here or ultralytics has written hold it"
        raise ExportError(f"it holds no {METADATA}", str(path), hint) from None
