"""ONNX: written by torch.onnx from what torch.export records, run by ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ultralytics.engine.formats.format import INPUT, OUTPUT, SHARED, FileBackend, Format, Job, Sizes, to_record
from ultralytics.engine.formats.int8 import quantised_onnx
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.engine.formats.onnx_file import check_onnx
from ultralytics.engine.formats.onnx_graph import quicken
from ultralytics.nn.deploy import program
from ultralytics.utils.errors import ExportError
from ultralytics.utils.text import first_line

OPSET = 18  # what torch.onnx writes without a conversion; every runtime of the last years reads it
LARGEST_CONSTANT = 2**26  # bytes; what a graph computes from constants alone is computed when it is opened
HEAD = "head"  # what the network gives, where something comes behind it
DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
CUDA = "CUDAExecutionProvider"


class Onnx(Format):
    """See the module."""

    name = "onnx"
    title = "ONNX"
    suffix = ".onnx"
    packages = ("onnx", "onnxscript", "onnxruntime")
    reads = ("onnxruntime",)
    extras: ClassVar[Mapping[str, tuple[str, ...]]] = {"simplify": ("onnxslim",)}
    able: ClassVar[frozenset[str]] = frozenset({"dynamic", "half", "int8", "nms", "batch", "channels"})

    def write(self, job: Job, path: Path) -> None:
        """Write the network; see `Format`."""
        import onnx  # an optional package

        model = graph(job, job.args.half)
        if job.args.simplify:
            model = simplified(model)
        if job.args.int8:
            with quiet():
                model = quantised_onnx(model, job, path.parent)
        if job.finish is not None:
            job.finish.extend(model, OUTPUT)
        _set_metadata(model, job.metadata)
        onnx.save(model, str(path))

    def describe(self, path: Path, metadata: Metadata) -> None:
        """Replace what a file says of itself; see `Format`."""
        import onnx  # an optional package

        model = onnx.load(str(path))
        _set_metadata(model, metadata)
        onnx.save(model, str(path))

    def open(self, path: Path, device: torch.device | None = None) -> OnnxBackend:
        """Open a file; see `Format`."""
        return OnnxBackend(path, device or torch.device("cpu"))


def _set_metadata(model: Any, metadata: Metadata) -> None:
    del model.metadata_props[:]
    for key, text in metadata.to_strings().items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text


def graph(job: Job, half: bool = False) -> Any:
    """Return the network as an onnx.ModelProto, its input and output named as the reference's are; with `half`, input
    and weights are fp16. What comes behind the network is not in it."""
    args = job.args
    network, images = to_record(job, half)
    with quiet():
        recorded = program(network, images, args.dynamic)
        written = torch.onnx.export(
            recorded,
            input_names=[INPUT],
            output_names=list(job.outputs if job.finish is None else [HEAD]),
            opset_version=args.opset or OPSET,
            verbose=False,
        )
    assert written is not None
    model = written.model_proto
    _name_axes(model.graph.input[0], ("batch", "", "height", "width"))
    _name_axes(model.graph.output[0], ("batch", "", "anchors"))
    for shared in (value for value in model.graph.output if value.name == SHARED):
        _name_axes(shared, ("batch", "", "mask_height", "mask_width"))
    model.producer_name = "ultralytics"
    quicken(model)
    return model


def _name_axes(value: Any, axes: tuple[str, ...]) -> None:
    """Name the free axes of an input or output as the reference does."""
    for axis, dim in zip(axes, value.type.tensor_type.shape.dim, strict=False):
        if dim.dim_param and axis:
            dim.dim_param = axis


def simplified(model: Any) -> Any:
    """Return a model with constants folded and what is not needed left out."""
    import onnxslim  # an optional package

    with quiet():
        return onnxslim.slim(model)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep an exporter's reports to itself: what goes wrong raises."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


class OnnxBackend(FileBackend):
    """Runs a file with ONNX Runtime, on the GPU where its build and the device have one."""

    def __init__(self, path: Path, device: torch.device) -> None:
        check_onnx(path)
        self.open_at(partial(_session, path, device))
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in DTYPES or len(inputs[0].shape) != 4:
            raise ExportError("its input is not one batch of images", str(path))
        self.input, dtype = inputs[0].name, DTYPES[inputs[0].type]
        batch, _, height, width = (n if isinstance(n, int) else None for n in inputs[0].shape)
        self.takes = frozenset(i.name for i in self.session.get_overridable_initializers()) & {"conf", "iou"}
        metadata = Metadata.from_mapping(self.session.get_modelmeta().custom_metadata_map, str(path))
        super().__init__(path, metadata, Sizes(batch, height, width), torch.device("cpu"), dtype)

    @property
    def session(self) -> Any:
        """Return the onnxruntime.InferenceSession."""
        return self.opened

    @property
    def computes_on(self) -> torch.device:
        """Return the GPU where the runtime uses one: it may lack CUDA, or fail to start it, and then takes the CPU."""
        options = self.session.get_provider_options().get(CUDA)
        return self.device if options is None else torch.device("cuda", int(options.get("device_id", 0)))

    def run(self, images: Tensor) -> list[Tensor]:
        """Return the file's outputs."""
        array = np.ascontiguousarray(images.cpu().numpy())
        values = {k: np.array([v], np.float32) for k, v in self.given.items()}
        try:
            found = self.session.run(None, {self.input: array} | values)
        except Exception as e:  # of the runtime
            raise ExportError(f"it fails on images of {tuple(images.shape)}: {first_line(e)}", str(self.path)) from None
        return [torch.from_numpy(a) for a in found]


def _session(path: Path, device: torch.device, threads: int) -> Any:
    """Open a file with ONNX Runtime for so many threads of a CPU.

    Raises:
        ExportError: the runtime cannot.
    """
    import onnxruntime  # an optional package

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(LARGEST_CONSTANT))
    options.log_severity_level = 4  # what fails raises
    options.intra_op_num_threads = threads
    # Threads that spin after a run would hold the cores which NMS and the next image need.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and CUDA in onnxruntime.get_available_providers():
        providers.insert(0, (CUDA, {"device_id": device.index or 0}))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as e:  # of the runtime: each kind of damage has a class of its own
        raise ExportError(f"it cannot be opened: {first_line(e)}", str(path)) from None
