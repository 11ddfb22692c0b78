"""ncnn, for phones and small boards: converted from TorchScript by pnnx, one image at a time, of one size."""

from __future__ import annotations

import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ultralytics.engine.formats import ncnn_net
from ultralytics.engine.formats.format import FileBackend, Format, Job, Sizes
from ultralytics.engine.formats.metadata import BESIDE, Metadata
from ultralytics.engine.formats.ncnn_net import OUTPUT, PARAM, WEIGHTS, compute, load
from ultralytics.engine.formats.onnx import quiet
from ultralytics.engine.formats.trial import SECONDS, run_apart
from ultralytics.utils.errors import ExportError
from ultralytics.utils.files import read_bytes

MAGIC = "7767517"
LARGEST = 2**24  # characters of a .param
MOST = 2**20  # layers


class Ncnn(Format):
    """See the module."""

    name = "ncnn"
    title = "ncnn"
    suffix = "_ncnn_model"
    packages = ("pnnx", "ncnn")
    reads = ("ncnn",)
    able: ClassVar[frozenset[str]] = frozenset({"half"})

    def write(self, job: Job, path: Path) -> None:
        """Write the network; see `Format`."""
        path.mkdir()
        unknown = _convert(job, path)
        if unknown:
            raise ExportError(f"ncnn has no operation {unknown} of {_row_of(job, path, unknown)}")
        job.metadata.write_beside(path)

    def open(self, path: Path, device: torch.device | None = None) -> NcnnBackend:
        """Open a folder; see `Format`."""
        return NcnnBackend(path)


def _convert(job: Job, path: Path) -> str:
    """Run pnnx, and return the first operation that is none of ncnn's, or nothing."""
    import pnnx  # an optional package

    with tempfile.TemporaryDirectory(dir=path) as folder:
        images = torch.rand(job.shape, generator=torch.Generator().manual_seed(0))
        with quiet(), torch.inference_mode(False), torch.no_grad():
            traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]  # torch's own
                job.network, images, check_trace=False
            )
            torch.jit.save(traced, str(Path(folder, "model.pt")))
        shape = ",".join(map(str, job.shape))
        command = [pnnx.EXEC_PATH, "model.pt", f"inputshape=[{shape}]f32", f"fp16={int(job.args.half)}"]
        try:
            ended = subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise ExportError(f"pnnx has not ended after {SECONDS} seconds") from None
        made = [Path(folder, name) for name in (PARAM, WEIGHTS)]
        if ended.returncode or not all(file.is_file() for file in made):
            said = ended.stderr.decode(errors="replace").strip().splitlines()
            raise ExportError(f"pnnx ends with code {ended.returncode}: {said[-1] if said else 'no message'}")
        for file in made:
            file.replace(path / file.name)
    return next((kind for kind, *_ in _layers(path / PARAM) if not _known(kind)), "")


def _row_of(job: Job, path: Path, kind: str) -> str:
    """Return the row of the network that an operation is of: the first whose output needs it."""
    images = torch.zeros(job.shape)
    names = [name for name, _ in job.network.rows(images)]
    job.network.every_row = True
    try:
        _convert(job, path)
    finally:
        job.network.every_row = False
    needing: set[str] = set()
    for layer, inputs, outputs in _layers(path / PARAM):
        if layer == kind or needing & set(inputs):
            needing |= set(outputs)
    return next((name for i, name in enumerate(names) if f"{OUTPUT}{i}" in needing), "the network")


def _known(kind: str) -> bool:
    """Return True if an operation is one of ncnn's own."""
    import ncnn  # an optional package

    return bool(ncnn.layer_to_index(kind) >= 0)


def _layers(param: Path) -> list[tuple[str, list[str], list[str]]]:
    """Read the layers of a .param: kind, names of inputs, names of outputs.

    Raises:
        ExportError: it is none, or is cut short.
    """
    lines = read_bytes(param, LARGEST).decode("utf-8", errors="replace").split("\n")
    if not lines or lines[0].strip() != MAGIC:
        raise ExportError(f"it does not begin with {MAGIC}, as a file of ncnn's does", str(param))
    try:
        count = int(lines[1].split()[0])
        if not 0 < count <= MOST:
            raise ValueError
        return [_layer(line) for line in lines[2 : count + 2]]
    except (IndexError, ValueError):
        raise ExportError("it is damaged: the layers are not those that it declares", str(param)) from None


def _layer(line: str) -> tuple[str, list[str], list[str]]:
    kind, _, n_in, n_out, *rest = line.split()
    first, last = int(n_in), int(n_in) + int(n_out)
    if min(first, last) < 0 or len(rest) < last:
        raise ValueError
    return kind, rest[:first], rest[first:last]


class NcnnBackend(FileBackend):
    """Runs a folder with ncnn on the CPU."""

    def __init__(self, path: Path) -> None:
        for name in (PARAM, WEIGHTS, BESIDE):
            if not (path / name).is_file():
                raise ExportError(f"an ncnn folder holds {PARAM}, {WEIGHTS} and {BESIDE}", str(path))
        metadata = Metadata.read_beside(path)
        half = metadata.args.get("half") is True
        _layers(path / PARAM)
        words = [str(path.absolute()), str(half), "3", *map(str, metadata.imgsz)]
        run_apart(Path(ncnn_net.__file__).read_text(encoding="utf-8"), words, path)
        try:
            self.open_at(partial(load, str(path), half))
        except ValueError as e:
            raise ExportError(f"it cannot be opened: {e}", str(path)) from None
        super().__init__(path, metadata, Sizes(1, *metadata.imgsz), torch.device("cpu"))

    def run(self, images: Tensor) -> list[Tensor]:
        """Return the file's outputs."""
        try:
            found = compute(self.opened, images[0].float().numpy())
        except ValueError as e:
            raise ExportError(f"it fails on images of {tuple(images.shape)}: {e}", str(self.path)) from None
        return [torch.from_numpy(array).unsqueeze(0) for array in found]
