"""ExecuTorch, PyTorch's runtime for phones and boards: the program of torch.export, run by XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultralytics.engine.formats.format import FileBackend, Format, Job, Sizes
from ultralytics.engine.formats.metadata import BESIDE, Metadata
from ultralytics.engine.formats.onnx import quiet
from ultralytics.engine.formats.trial import tried
from ultralytics.nn.deploy import default_layout, example, program
from ultralytics.utils.errors import ExportError
from ultralytics.utils.text import first_line


class ExecuTorch(Format):
    """See the module."""

    name = "executorch"
    title = "ExecuTorch"
    suffix = "_executorch_model"
    aliases = ("pte",)
    packages = ("executorch.exir", "executorch.backends.xnnpack.partition.xnnpack_partitioner")
    reads = ("executorch.runtime",)
    install = 'pip install ".[executorch]"'
    able: ClassVar[frozenset[str]] = frozenset({"batch"})

    def write(self, job: Job, path: Path) -> None:
        """Write the network; see `Format`."""
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner  # an optional package
        from executorch.exir import to_edge_transform_and_lower  # an optional package

        path.mkdir()
        network = default_layout(job.network)
        recorded = program(network, example(job.shape, False, job.network.stride), False)
        with quiet():
            lowered = to_edge_transform_and_lower(recorded, partitioner=[XnnpackPartitioner()]).to_executorch()
        stem = path.name.removesuffix(self.suffix)
        (path / f"{stem}.pte").write_bytes(lowered.buffer)
        job.metadata.write_beside(path)

    def open(self, path: Path, device: torch.device | None = None) -> ExecuTorchBackend:
        """Open a folder; see `Format`."""
        tried(ExecuTorchBackend, path)
        return ExecuTorchBackend(path)


class ExecuTorchBackend(FileBackend):
    """Runs a folder with ExecuTorch on the CPU."""

    def __init__(self, path: Path) -> None:
        from executorch.runtime import Runtime, Verification  # an optional package

        files = sorted(path.glob("*.pte"))
        if len(files) != 1 or not (path / BESIDE).is_file():
            raise ExportError(f"an ExecuTorch folder holds one .pte and {BESIDE}", str(path))
        metadata = Metadata.read_beside(path)
        try:
            # The program must outlive its method, which refers to its memory.
            self.program = Runtime.get().load_program(files[0], verification=Verification.InternalConsistency)
            self.method: Any = self.program.load_method("forward")
            shape = self.method.metadata.input_tensor_meta(0).sizes()
        except Exception as e:  # of the runtime
            raise ExportError(f"it cannot be opened: {first_line(e)}", str(files[0])) from None
        if len(shape) != 4:
            raise ExportError("its input is not one batch of images", str(files[0]))
        super().__init__(path, metadata, Sizes(shape[0], *shape[2:]), torch.device("cpu"))

    def run(self, images: Tensor) -> list[Tensor]:
        """Return the file's outputs."""
        try:
            found = self.method.execute([images.contiguous()])
        except Exception as e:  # of the runtime
            raise ExportError(f"it fails on images of {tuple(images.shape)}: {first_line(e)}", str(self.path)) from None
        return [output.clone() for output in found]  # the next call writes into the same memory
