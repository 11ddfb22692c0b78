"""TensorRT, for NVIDIA's GPUs: built on the GPU that runs it, from the file that format=onnx writes.

Networks are strongly typed: TensorRT 11 knows no other kind, and 10 takes them. Precision is that of the ONNX graph."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

from ultralytics.engine.formats.format import INPUT, FileBackend, Format, Job, Sizes
from ultralytics.engine.formats.metadata import LONGEST, Metadata
from ultralytics.engine.formats.onnx import Onnx
from ultralytics.utils.errors import ExportError
from ultralytics.utils.files import open_regular

HEADER = 4  # bytes, little-endian: the length of the metadata, which come next; the engine follows. The reference's
MOST_IMAGES = 8  # that a dynamic engine takes at a time, unless it is typical to give more
GROWTH = 2  # the largest side of a dynamic engine's images, as a multiple of the typical one


class Engine(Format):
    """See the module."""

    name = "engine"
    title = "TensorRT"
    suffix = ".engine"
    aliases = ("tensorrt", "trt")
    packages = ("tensorrt", "onnx", "onnxscript")
    reads = ("tensorrt",)
    install = 'pip install ".[export,tensorrt]"'
    extras = Onnx.extras
    able: ClassVar[frozenset[str]] = frozenset({"dynamic", "half", "nms", "batch", "channels"})
    anywhere = False  # it is built on the GPU that runs it

    def lacks(self) -> str:
        """Return what this machine lacks; see `Format`."""
        return "" if torch.cuda.is_available() else "an NVIDIA GPU"

    def write(self, job: Job, path: Path) -> None:
        """Write the network; see `Format`."""
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            source = Path(folder, "graph.onnx")
            Onnx().write(job, source)
            engine = _built(source.read_bytes(), job)
        text = job.metadata.to_json().encode()
        with path.open("wb") as file:
            file.write(len(text).to_bytes(HEADER, "little"))
            file.write(text)
            file.write(engine)

    def open(self, path: Path, device: torch.device | None = None) -> EngineBackend:
        """Open a file; see `Format`."""
        return EngineBackend(path, device if device is not None and device.type == "cuda" else torch.device("cuda", 0))


def _built(graph: bytes, job: Job) -> Any:
    """Return the engine of an ONNX file, as something that can be written.

    Raises:
        ExportError: TensorRT cannot read the graph, or builds no engine.
    """
    import tensorrt as trt  # an optional package

    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        raise ExportError(f"TensorRT cannot read the graph: {parser.get_error(0).desc() if parser.num_errors else log}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # its 10 bits would be the largest difference from the network
    if job.args.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(job.args.workspace * 2**30))
    if job.args.dynamic:
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT, *profile_shapes(job))
        config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(f"TensorRT builds no engine: {log}")
    return engine


def profile_shapes(job: Job) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the smallest, the typical and the largest (B, C, H, W) of a dynamic engine: TensorRT chooses operations
    for the typical one, and memory for the largest."""
    batch, channels, height, width = job.shape
    side = job.network.stride
    most = GROWTH * max(height, width)
    return (1, channels, side, side), job.shape, (max(batch, MOST_IMAGES), channels, most, most)


def _log(trt: Any) -> Any:
    """Return a logger that keeps the last error; its text is that."""

    class Log(trt.ILogger):  # type: ignore[misc]  # a class of a package that need not be there
        last = "no message"

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.last = (msg.strip().splitlines() or [self.last])[0]

        def __str__(self) -> str:
            return self.last

    return Log()


def read_header(file: IO[bytes], size: int, where: str) -> Metadata:
    """Read the metadata of an engine; the file then stands at the engine.

    Args:
        file: at its beginning; size: its bytes.
        where: for messages.

    Raises:
        ExportError: it does not begin with metadata.
    """
    length = int.from_bytes(file.read(HEADER), "little", signed=True)
    if not 0 < length <= min(LONGEST, size - HEADER):
        hint = "engines that `export` here or ultralytics has written do"
        raise ExportError("it does not begin with its metadata", where, hint)
    return Metadata.from_text(file.read(length), where)


class EngineBackend(FileBackend):
    """Runs a file with TensorRT on a GPU."""

    def __init__(self, path: Path, device: torch.device) -> None:
        with open_regular(path) as file:
            metadata = read_header(file, path.stat().st_size, str(path))
            data = file.read()
        import tensorrt as trt  # an optional package

        log = _log(trt)
        self.maker = trt.Runtime(log)  # must outlive what it makes
        self.engine: Any = self.maker.deserialize_cuda_engine(data)
        if self.engine is None:
            hint = "an engine runs with the version of TensorRT and on the kind of GPU that built it: export it again"
            raise ExportError(f"it cannot be opened: {log}", str(path), hint)
        self.context: Any = self.engine.create_execution_context()
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        inputs = [n for n in names if self.engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self.dtypes = {n: _dtype(trt, self.engine.get_tensor_dtype(n)) for n in names}
        shape = tuple(self.engine.get_tensor_shape(inputs[0])) if inputs else ()
        if len(inputs) != 1 or len(shape) != 4 or None in self.dtypes.values():
            raise ExportError("its input is not one batch of images", str(path))
        self.input = inputs[0]
        batch, _, height, width = (n if n > 0 else None for n in shape)
        super().__init__(path, metadata, Sizes(batch, height, width), device, self.dtypes[self.input] or torch.float32)

    def run(self, images: Tensor) -> list[Tensor]:
        """Return the file's outputs."""
        most = self.engine.get_tensor_profile_shape(self.input, 0)[2][0] if self.sizes.batch is None else len(images)
        parts = [self._run(part) for part in torch.split(images, most)]
        return [torch.cat(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, images: Tensor) -> list[Tensor]:
        images = images.to(self.device, self.dtype).contiguous()
        if not self.context.set_input_shape(self.input, tuple(images.shape)):
            least, _, most = (tuple(s) for s in self.engine.get_tensor_profile_shape(self.input, 0))
            takes = f"it takes images of {least[2]}×{least[3]} to {most[2]}×{most[3]} pixels"
            given = "×".join(map(str, images.shape[2:]))
            raise ExportError(f"{takes}, not {given}", str(self.path), "export it with a larger imgsz")
        found = {
            n: torch.empty(tuple(self.context.get_tensor_shape(n)), dtype=dtype, device=self.device)
            for n, dtype in self.dtypes.items()
            if n != self.input
        }
        for name, tensor in {self.input: images, **found}.items():
            self.context.set_tensor_address(name, tensor.data_ptr())
        if not self.context.execute_async_v3(_stream(self.device)):
            raise ExportError(f"it fails on images of {tuple(images.shape)}", str(self.path))
        return list(found.values())


def _dtype(trt: Any, kind: Any) -> torch.dtype | None:
    """Return torch's type of a tensor; None of those that no image or box has."""
    return {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16}.get(kind)


def _stream(device: torch.device) -> int:
    """Return the handle of torch's current stream: what comes after on it waits for the engine."""
    return int(torch.cuda.current_stream(device).cuda_stream)
