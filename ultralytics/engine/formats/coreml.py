"""Core ML, for Apple's devices: converted from the program of torch.export anywhere, opened on macOS alone."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ultralytics.engine.formats.format import FileBackend, Format, Job, Sizes
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.engine.formats.onnx import quiet
from ultralytics.nn.deploy import default_layout, example, program
from ultralytics.utils.errors import ExportError
from ultralytics.utils.text import first_line

INPUT = "image"  # the reference's name: Vision and Xcode show it; an image of bytes, which the model divides by 255
TEXTS = {"author": "author", "license": "license", "version": "version", "description": "short_description"}


class CoreMl(Format):
    """See the module."""

    name = "coreml"
    title = "Core ML"
    suffix = ".mlpackage"
    aliases = ("mlpackage", "mlmodel", "mlprogram", "apple", "ios")
    packages = ("coremltools",)
    reads = ("coremltools",)
    install = 'pip install ".[coreml]"'
    able: ClassVar[frozenset[str]] = frozenset({"half"})

    @property
    def folder(self) -> bool:
        """Return True: macOS shows it as a file."""
        return True

    def lacks(self) -> str:
        """Return what this machine lacks; see `Format`."""
        return "" if sys.platform == "darwin" else "macOS"

    def write(self, job: Job, path: Path) -> None:
        """Write the network; see `Format`."""
        import coremltools as ct

        network = default_layout(job.network)
        recorded = program(network, example(job.shape, False, job.network.stride), False)
        precision = ct.precision.FLOAT16 if job.args.half else ct.precision.FLOAT32
        with quiet(), contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            model = ct.convert(
                recorded.run_decompositions({}),
                inputs=[ct.ImageType(INPUT, shape=job.shape, scale=1 / 255)],
                outputs=[ct.TensorType(name, dtype=np.float32) for name in job.outputs],
                convert_to="mlprogram",
                minimum_deployment_target=ct.target.iOS16,
                compute_precision=precision,
            )
            for key, text in job.metadata.to_strings().items():
                model.user_defined_metadata[key] = text
                if key in TEXTS:
                    setattr(model, TEXTS[key], text)
            model.save(str(path))

    def open(self, path: Path, device: torch.device | None = None) -> CoreMlBackend:
        """Open a folder; see `Format`."""
        return CoreMlBackend(path)


class CoreMlBackend(FileBackend):
    """Runs a folder with Core ML."""

    def __init__(self, path: Path) -> None:
        import coremltools as ct

        try:
            with quiet():
                self.model: Any = ct.models.MLModel(str(path))
            description = self.model.get_spec().description
        except Exception as e:  # of the runtime
            raise ExportError(f"it cannot be opened: {first_line(e)}", str(path)) from None
        if len(description.input) != 1 or not description.input[0].type.HasField("imageType"):
            raise ExportError("its input is not one image", str(path))
        takes = description.input[0].type.imageType
        self.input, self.outputs = description.input[0].name, [output.name for output in description.output]
        metadata = Metadata.from_mapping(dict(self.model.user_defined_metadata), str(path))
        super().__init__(path, metadata, Sizes(1, takes.height, takes.width), torch.device("cpu"))

    def run(self, images: Tensor) -> list[Tensor]:
        """Return the file's outputs."""
        pixels = (images[0] * 255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        try:
            found = self.model.predict({self.input: Image.fromarray(pixels)})
        except Exception as e:  # of the runtime
            raise ExportError(f"it fails on images of {tuple(images.shape)}: {first_line(e)}", str(self.path)) from None
        return [torch.from_numpy(np.asarray(found[name], dtype=np.float32)) for name in self.outputs]
