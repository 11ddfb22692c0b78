"""What a format is: it writes a network to a file, and opens such a file as a Backend."""

from __future__ import annotations

import copy
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ultralytics.cfg.config import Config
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.nn.deploy import LARGEST, Deployed, example
from ultralytics.utils.errors import ExportError

INPUT, OUTPUT, SHARED = "images", "output0", "output1"  # the reference's names
MOST_PIXELS = 2**28  # that a file may take at once: 3 GB in fp32
INSTALL = "pip install -r requirements-export.txt"


class Sizes(NamedTuple):
    """What a file takes; None where it takes any."""

    batch: int | None = None
    height: int | None = None
    width: int | None = None

    def __str__(self) -> str:
        return "×".join("any" if n is None else str(n) for n in self)


class Finish(Protocol):
    """What a file holds behind its network: suppression, in the operations of each format. `conf` and `iou` are inputs
    that may be left out where the format can have such."""

    def extend(self, model: Any, output: str, inclusive: bool = False) -> None:
        """Append it to a graph.

        Args:
            model: an onnx.ModelProto, which is changed; it takes its only output.
            output: name of what it then gives.
            inclusive: the runtime also drops boxes whose overlap equals the threshold.
        """

    def scripted(self, network: nn.Module, images: Tensor) -> Any:
        """Return a torch.jit.ScriptModule of a network with it behind, traced with images."""


@dataclass(frozen=True)
class Job:
    """A file to write.

    Attributes:
        network: what it holds.
        args: dynamic, half, int8, nms, simplify, opset, workspace.
        shape: (B, C, H, W) of a file that is not dynamic, and the typical one of one that is.
        metadata: what it says of itself.
        outputs: names of what the network gives.
        finish: what comes behind the network.
        calibration: gives batches of images (B, C, H, W) fp32 0..1 to measure the ranges of int8 with, as often
            as it is called.
    """

    network: Deployed
    args: Config
    shape: tuple[int, int, int, int]
    metadata: Metadata
    outputs: tuple[str, ...] = (OUTPUT,)
    finish: Finish | None = None
    calibration: Callable[[], Iterable[Tensor]] | None = None


def to_record(job: Job, half: bool) -> tuple[Deployed, Tensor]:
    """Return the network to record, in fp16 with `half`, and images to record it with."""
    images = example(job.shape, job.args.dynamic, job.network.stride)
    return (copy.deepcopy(job.network).half(), images.half()) if half else (job.network, images)


class Opened(NamedTuple):
    """A file in a runtime that has threads of its own.

    Attributes:
        model: what the runtime made of it.
        threads: of a CPU that it computes with.
        at: opens the file for so many threads.
    """

    model: Any
    threads: int
    at: Callable[[int], Any]


class FileBackend(ABC):
    """A Backend that runs an exported file. It is not changed once it is open: what a run asks for, `of_run` puts into
    another object, which shares the open file.

    Args:
        path: the file.
        metadata: what it says of itself.
        sizes: what its input takes.
        device, dtype: of the images that it takes.

    Attributes:
        fixed: (height, width) of the only images that it takes, or None.
        takes: names of the inputs besides the images, which have defaults: "conf", "iou".
        given: values for them, by name.
        layout: how images lie in memory: rows of a channel one after the other, as runtimes read them.
        runtime: the file in a runtime that has threads of its own; None: it computes with torch's.
    """

    _made_of: tuple[tuple[Any, ...], dict[str, Any]]
    takes: frozenset[str] = frozenset()
    given: Mapping[str, float] = MappingProxyType({})
    layout = torch.contiguous_format
    runtime: Opened | None = None

    def __init__(
        self,
        path: Path,
        metadata: Metadata,
        sizes: Sizes,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not _possible(sizes):
            raise ExportError(f"its input of {sizes} (images, height, width) is impossible or too large", str(path))
        self.path, self.metadata, self.sizes = path, metadata, sizes
        self.names, self.stride = metadata.names, metadata.stride
        self.device, self.dtype = device, dtype
        self.fixed = None if sizes.height is None or sizes.width is None else (sizes.height, sizes.width)

    def __new__(cls, *args: Any, **keys: Any) -> FileBackend:
        """Remember what it is made of: a runtime's objects cannot be copied, so a copy opens the file anew."""
        made = super().__new__(cls)
        made._made_of = args, keys
        return made

    @property
    def nc(self) -> int:
        """Return the number of classes."""
        return len(self.names)

    @property
    def kpt_shape(self) -> tuple[int, int] | None:
        """Return the keypoints of an object and the numbers of each, where it finds some."""
        return self.metadata.kpt_shape

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how a copy or another process makes it."""
        return _copied, (type(self), *self._made_of, dict(self.given), self.threads)

    def open_at(self, opening: Callable[[int], Any]) -> None:
        """Open the file in a runtime that has threads of its own, with as many as torch has.

        Args:
            opening: opens it for so many threads; of what it returned for other runs the last is kept.
        """
        at, count = lru_cache(maxsize=1)(opening), torch.get_num_threads()
        self.runtime = Opened(at(count), count, at)

    def of_run(self, given: Mapping[str, float] | None = None, threads: int | None = None) -> FileBackend:
        """Return the open file with what a run asks for. This object, and those of other runs, stay as they are.

        Args:
            given: values for inputs that it `takes`, by name; None: as here.
            threads: of a CPU, where its runtime has threads of its own; None: as here.
        """
        given, runtime = self.given if given is None else given, self.runtime
        if runtime is not None and threads is not None and threads != runtime.threads:
            runtime = runtime._replace(model=runtime.at(threads), threads=threads)
        if given == self.given and runtime is self.runtime:
            return self
        made = object.__new__(type(self))
        made.__dict__ |= self.__dict__ | {"given": MappingProxyType(dict(given)), "runtime": runtime}
        return made

    @abstractmethod
    def run(self, images: Tensor) -> list[Tensor]:
        """Return the file's outputs for images of a size and a number that it takes."""

    @property
    def opened(self) -> Any:
        """Return the file as its runtime holds it, where that has threads of its own."""
        assert self.runtime is not None
        return self.runtime.model

    @property
    def threads(self) -> int | None:
        """Return how many threads of a CPU its runtime computes with; None: as many as torch."""
        return None if self.runtime is None else self.runtime.threads

    @property
    def computes_on(self) -> torch.device:
        """Return the device that the runtime computes on; it may take images from another device's memory."""
        return self.device

    def __call__(self, images: Tensor) -> Any:
        """Return the output (B, 4 + nc, A), with the numbers that a head has behind the scores, and a list of what the
        file gives besides, in the form of a head's; where it is final, (B, n, 6) and an empty mapping. A classifier's
        output is (B, nc).

        Raises:
            ExportError: the file does not take images of this size, or fails on them.
        """
        shape = images.shape[2], images.shape[3]
        if self.fixed is not None and shape != self.fixed:
            takes, given = ("×".join(map(str, sides)) for sides in (self.fixed, shape))
            hint = f"export it with imgsz=[{shape[0]},{shape[1]}], or with dynamic=True if the format offers it"
            raise ExportError(f"it takes images of {takes} pixels, not {given}", str(self.path), hint)
        with torch.inference_mode():
            y, *more = self._in_batches(images)
        if y.ndim == 4 and len(more) == 1:  # the reference says nothing of the order of two outputs
            y, more = more[0], [y]
        if not self._is_output(y, len(images)):
            anchors = f"[{len(images)}, {4 + self.nc + (self.metadata.extra or 0)}, anchors]"
            expected = f"[{len(images)}, {self.nc}]" if self.whole_image else anchors
            kind = "classifier" if self.whole_image else "detector"
            raise ExportError(f"its output is {list(y.shape)}, and a {kind}'s is {expected}", str(self.path))
        return y, ({} if self.metadata.final else more)

    @property
    def whole_image(self) -> bool:
        """True if the output is a probability for each class of the image, (B, nc): there is no grid of cells."""
        return self.metadata.stride == 1

    def _is_output(self, y: Tensor, images: int) -> bool:
        """Return True if an output is (B, 4 + nc + extra, A), or the final (B, n, 6); of the whole image (B, nc)."""
        if self.whole_image:
            return y.shape == (images, self.nc) and y.is_floating_point()
        extra = self.metadata.extra
        fits = y.ndim == 3 and (y.shape[1] > 4 + self.nc if extra is None else y.shape[1] == 4 + self.nc + extra)
        shaped = y.ndim == 3 and len(y) == images and (fits or y.shape[2] == 6)
        return shaped and y.is_floating_point()

    def _in_batches(self, images: Tensor) -> list[Tensor]:
        """Run images in the number that the file takes; what is missing in the last batch is black."""
        size = self.sizes.batch
        if size is None or len(images) == size:
            return self.run(images)
        found = []
        for part in torch.split(images, size):
            padding = part.new_zeros((size - len(part), *part.shape[1:]))
            outputs = self.run(torch.cat((part, padding)) if len(padding) else part)
            found.append([output[: len(part)] for output in outputs])
        return [torch.cat(parts) for parts in zip(*found, strict=True)]


def _copied(
    kind: type[FileBackend], args: tuple[Any, ...], keys: dict[str, Any], given: dict[str, float], threads: int | None
) -> FileBackend:
    """Open a file anew, with what a run has asked of it."""
    return kind(*args, **keys).of_run(given, threads)


class Format(ABC):
    """A format that a network can be written in.

    Attributes:
        name: as `format=` takes it; aliases: other names of it.
        title: as people call it.
        suffix: how the file or folder's name ends.
        packages: what writing it imports; reads: what opening it imports; install: the command that installs both.
        extras: what writing it with a key imports besides.
        able: which of dynamic, half, int8, nms, batch (several images) and channels (of images, other than 3) it
            offers.
        anywhere: it is also written on machines that cannot open it; see `lacks`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    suffix: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = INSTALL
    extras: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    anywhere: ClassVar[bool] = True
    able: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def write(self, job: Job, path: Path) -> None:
        """Write the network to a path at which nothing is yet: a file, or a folder where the format is one.

        Raises:
            ExportError: the format cannot hold it.
        """

    @abstractmethod
    def open(self, path: Path, device: torch.device | None = None) -> FileBackend:
        """Open a file.

        Raises:
            ExportError: it is damaged, or not of this kind.
        """

    def describe(self, path: Path, metadata: Metadata) -> None:  # noqa: B027  # a format that cannot leaves it be
        """Replace what a file says of itself: what is known only once it is written."""

    @property
    def folder(self) -> bool:
        """Return True if it is a folder, not a file."""
        return self.suffix.startswith("_")

    def lacks(self) -> str:
        """Return what this machine lacks to open a file of it, besides packages; nothing where none can be missing.

        Such a file is written, if it is `anywhere`, but not compared with its network.
        """
        return ""

    def place(self, stem: Path, args: Config) -> Path:
        """Return where the file of a network goes: beside its weights, under their name. It says int8, as the
        reference's does for OpenVINO: the file in fp32 stays beside it."""
        return stem.with_name(f"{stem.name}{'_int8' if args.int8 else ''}{self.suffix}")


def _possible(sizes: Sizes) -> bool:
    """Return True if images of these sizes can be made."""
    batch, height, width = (1 if n is None else n for n in sizes)
    least, most = min(batch, height, width), max(height, width)
    return least > 0 and most <= LARGEST and batch * height * width <= MOST_PIXELS


def needed(names: Iterable[str], why: str, install: str = INSTALL) -> None:
    """Check that packages are there.

    Args:
        names: modules that will be imported.
        why: what needs them: "format=onnx".
        install: the command that installs them.

    Raises:
        ExportError: one is missing, or cannot be imported; the command is named.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as e:
            missing = name if isinstance(e, ModuleNotFoundError) else f"{name}, which cannot be imported ({e})"
            raise ExportError(f"{why} needs {missing}", hint=install) from None
