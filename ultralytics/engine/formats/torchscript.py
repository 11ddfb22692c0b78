"""TorchScript: a graph that libtorch runs without Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultralytics.engine.formats.format import FileBackend, Format, Job, Sizes, to_record
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.engine.formats.onnx import quiet
from ultralytics.engine.formats.script_code import check_program
from ultralytics.utils.errors import ExportError
from ultralytics.utils.tensors import layout
from ultralytics.utils.text import first_line

METADATA = "config.txt"  # the reference's name of the extra file


class TorchScript(Format):
    """See the module."""

    name = "torchscript"
    title = "TorchScript"
    suffix = ".torchscript"
    able: ClassVar[frozenset[str]] = frozenset({"dynamic", "half", "nms", "batch", "channels"})

    def write(self, job: Job, path: Path) -> None:
        """Write the network; see `Format`."""
        network, images = to_record(job, job.args.half)
        with quiet(), torch.inference_mode(False), torch.no_grad():
            made: Any = (
                torch.jit.trace(network, images, check_trace=False)  # type: ignore[no-untyped-call]  # torch's own
                if job.finish is None
                else job.finish.scripted(network, images)
            )
            torch.jit.save(made, str(path), _extra_files={METADATA: job.metadata.to_json()})

    def open(self, path: Path, device: torch.device | None = None) -> TorchScriptBackend:
        """Open a file; see `Format`."""
        return TorchScriptBackend(path, device or torch.device("cpu"))


class TorchScriptBackend(FileBackend):
    """Runs a file with torch."""

    def __init__(self, path: Path, device: torch.device) -> None:
        check_program(path)
        extra = {METADATA: ""}
        try:
            with quiet():
                self.module: Any = torch.jit.load(  # type: ignore[no-untyped-call]  # torch's own
                    str(path), map_location=device, _extra_files=extra
                )
            inputs = {argument.name for argument in self.module.forward.schema.arguments}
        except Exception as e:  # of torch: each kind of damage has a class of its own
            raise ExportError(f"it cannot be opened: {first_line(e)}", str(path)) from None
        metadata = Metadata.from_text(extra[METADATA], str(path))
        free = metadata.args.get("dynamic") is True
        sizes = Sizes() if free else Sizes(metadata.batch, *metadata.imgsz)
        dtype = torch.float16 if metadata.args.get("half") is True else torch.float32
        super().__init__(path, metadata, sizes, device, dtype)
        self.takes = frozenset(inputs & {"conf", "iou"})
        self.layout = layout(device)  # as the network was recorded

    def run(self, images: Tensor) -> list[Tensor]:
        """Return the file's outputs."""
        try:
            found = self.module(images, **self.given)
        except Exception as e:  # of torch
            raise ExportError(f"it fails on images of {tuple(images.shape)}: {first_line(e)}", str(self.path)) from None
        return [found] if isinstance(found, Tensor) else list(found)
