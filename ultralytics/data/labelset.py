"""The labelled images of a split, in flat arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np

from ultralytics.data.instances import FloatArray, Instances
from ultralytics.data.polygons import Polygons, gather
from ultralytics.utils.types import ANY_CLASS, Float32Array, Float64Array, Int64Array, UInt8Array


class FileNames(Sequence[str]):
    """Paths in one array of bytes: reading one leaves no trace in the memory that worker processes share.

    (A list of strings counts its readers inside the strings, so every worker ends up with a copy of its own.)
    """

    def __init__(self, names: Sequence[str]) -> None:
        data = os.fsencode("\0".join(names) + "\0") if len(names) else b""
        self._bytes = np.frombuffer(data, np.uint8)
        self._ends = np.flatnonzero(self._bytes == 0)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._bytes.nbytes + self._ends.nbytes

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        i %= len(self)
        first = int(self._ends[i - 1]) + 1 if i else 0
        return os.fsdecode(self._bytes[first : self._ends[i]].tobytes())

    def __iter__(self) -> Iterator[str]:
        return iter(os.fsdecode(self._bytes.tobytes()).split("\0")[:-1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of any sequence that is compared by what it holds


@dataclass
class LabelSet:
    """The labelled images of a split. Boxes of image i are rows `offsets[i]:offsets[i + 1]`: one array, however many
    images."""

    im_files: FileNames  # n paths
    shapes: Int64Array  # (n, 2) height and width, pixels, upright
    offsets: Int64Array  # (n + 1,) of the images' objects
    instances: Instances  # M objects as they are labelled
    ignore_offsets: Int64Array  # (n + 1,) of the images' regions
    # (K, 6) regions that the evaluator neither rewards nor punishes: class (ANY_CLASS for every one), centre, width,
    # height in 0..1, and 1 where it holds a crowd
    ignore: Float32Array
    contents: UInt8Array  # (n, 16) bytes, digests of the image files
    digest: str = ""  # of names, image contents and labels of the whole split, 64 hexadecimal digits
    problems: list[str] = field(default_factory=list)  # "file:line: what" for every image or row left out
    left_out: int = 0  # number of images left out
    # (M,) of the objects' masks, pixels² of the original image, UNKNOWN_AREA for a row without; None where none is
    # known
    areas: Float64Array | None = None
    ignore_outlines: Polygons | None = None  # K of the regions, without points for a box; None where they are not read

    def __len__(self) -> int:
        return len(self.im_files)

    @property
    def cls(self) -> Float32Array:
        """(M,) class ids."""
        return self.instances.cls

    @property
    def bboxes(self) -> FloatArray:
        """(M, 4) centre, width, height in 0..1."""
        return self.instances.bboxes

    def labelled(self, i: int) -> Instances:
        """Return the objects of an image; views."""
        return self.instances.keep(slice(self.offsets[i], self.offsets[i + 1]))

    def boxes(self, i: int) -> tuple[Float32Array, FloatArray]:
        """Return class ids (m,) and boxes (m, 4) of an image; views."""
        return (one := self.labelled(i)).cls, one.bboxes

    def ignored(self, i: int) -> Float32Array:
        """Return the ignored regions (k, 6) of an image; a view."""
        return self.ignore[self.ignore_offsets[i] : self.ignore_offsets[i + 1]]

    def outlines_of(self, i: int) -> Polygons | None:
        """Return the outlines (k) of an image's ignored regions, see `ignore_outlines`; a view."""
        rows = slice(self.ignore_offsets[i], self.ignore_offsets[i + 1])
        return None if self.ignore_outlines is None else self.ignore_outlines[rows]

    def areas_of(self, i: int) -> Float64Array | None:
        """Return the areas (m,) of an image's objects, see `areas`; a view."""
        return None if self.areas is None else self.areas[self.offsets[i] : self.offsets[i + 1]]

    def take(self, order: Sequence[int] | Int64Array) -> LabelSet:
        """Return the same set, its images in another order or fewer."""
        order = np.asarray(order, np.int64)
        names = list(self.im_files)
        offsets, rows = gather(self.offsets, order)
        ignore_offsets, ignored = gather(self.ignore_offsets, order)
        taken = self._with_rows(offsets, rows, ignore_offsets, ignored)
        files = FileNames([names[i] for i in order])
        return replace(taken, im_files=files, shapes=self.shapes[order], contents=self.contents[order])

    def keep_classes(self, classes: Sequence[int]) -> LabelSet:
        """Return the same images with the boxes of some classes only, and the regions ignored for them."""
        kept = np.isin(self.cls, np.asarray(classes, np.float32))
        ignored = np.isin(self.ignore[:, 0], np.asarray([ANY_CLASS, *classes], np.float32))
        return self._with_rows(
            _kept_offsets(self.offsets, kept), kept, _kept_offsets(self.ignore_offsets, ignored), ignored
        )

    def _with_rows(self, offsets: Int64Array, rows: Any, ignore_offsets: Int64Array, ignored: Any) -> LabelSet:
        return replace(
            self,
            offsets=offsets,
            instances=self.instances.keep(rows),
            areas=None if self.areas is None else self.areas[rows],
            ignore_offsets=ignore_offsets,
            ignore=self.ignore[ignored],
            ignore_outlines=None if self.ignore_outlines is None else self.ignore_outlines[ignored],
        )

    def merge_classes(self) -> None:
        """Make every class id 0."""
        self.cls[:] = 0
        self.ignore[:, 0] = np.minimum(self.ignore[:, 0], 0)


def _kept_offsets(offsets: Int64Array, kept: Any) -> Int64Array:
    return np.concatenate([[0], np.cumsum(kept)])[offsets].astype(np.int64)
