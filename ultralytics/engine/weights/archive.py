"""The records of a torch archive, and the tensors made of them.

A `.pt` file is a zip archive of raw tensor storages and one pickle. What it costs is bounded by its size: it holds
stored records alone, none twice and none overlapping, and tensors stay within their storages.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MAX_ENTRIES = 100_000  # records of an archive
MAX_REPEATED = 64 * 2**20  # bytes, of tensors that are larger than their storage because they repeat its elements


class DamagedError(Exception):
    """The reason why a file cannot be read."""


class Archive:
    """The records of a torch archive: stored, each once, within the file.

    Args:
        file: open for reading, at least until the last `read`.
        size: of the file, bytes.
        program: it holds TorchScript, whose code may be compressed, instead of weights alone.
    """

    def __init__(self, file: zipfile.ZipFile, size: int, program: bool = False) -> None:
        self.file = file
        infos = file.infolist()
        if len(infos) > MAX_ENTRIES:
            raise DamagedError(f"an archive of {len(infos)} records")
        self.records = {info.filename: info for info in infos}
        if len(self.records) < len(infos):
            raise DamagedError("an archive with two records of one name")
        total = 0
        for info in infos:
            if program and "/code/" in info.filename:
                continue
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
                raise DamagedError("an archive with compressed records, which torch.save never writes")
            total += info.file_size
        if total > size:
            raise DamagedError("an archive whose records are larger than the file")
        tops = [n for n in self.records if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(tops) != 1:
            raise DamagedError("a zip file without PyTorch's data in it")
        self.prefix = tops[0].rsplit("/", 1)[0]
        if (f"{self.prefix}/constants.pkl" in self.records) != program:
            found = (
                "weights, and no TorchScript program" if program else "a TorchScript program, and not a model's weights"
            )
            raise DamagedError(found)
        if f"{self.prefix}/byteorder" in self.records and self.read("byteorder", 16) != b"little":
            raise DamagedError("written on a big-endian machine")

    def read(self, name: str, longest: int) -> bytes:
        """Return a record's content; its checksum is compared."""
        info = self.records.get(f"{self.prefix}/{name}")
        if info is None:
            raise DamagedError(f"an archive without its record {name[:40]}")
        if info.file_size > longest:
            raise DamagedError(f"a record {name[:40]} of {info.file_size} bytes")
        return self.file.read(info)


@dataclass(eq=False)
class Budget:
    """Bytes that tensors which repeat elements may still take."""

    left: int = MAX_REPEATED


@dataclass(eq=False)
class Storage:
    """A raw storage of the file, as a flat tensor that the tensors made of it share."""

    flat: Tensor
    budget: Budget


STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
}


def flat(data: bytes, dtype: torch.dtype) -> Tensor:
    if not data:
        return torch.zeros(0, dtype=dtype)
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8 if dtype == torch.bool else dtype)
    return raw != 0 if dtype == torch.bool else raw  # a bool that is neither 0 nor 1 is undefined behaviour


def build_tensor(storage: Any = None, offset: Any = 0, size: Any = (), stride: Any = (), *_: Any) -> Tensor:
    """Return a tensor: a view of its storage, or a copy where it repeats elements, as expanded tensors do.

    Raises:
        DamagedError: it reaches beyond its storage, or repeats more than `MAX_REPEATED` allows.
    """
    if not isinstance(storage, Storage):
        raise DamagedError("a tensor without a storage")
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride) or len(size) > 16:
        raise DamagedError("a tensor with impossible sizes")
    if any(type(n) is not int or not 0 <= n < 2**62 for n in (offset, *size, *stride)):
        raise DamagedError("a tensor with impossible sizes")
    if 0 in size:
        return torch.zeros([min(n, 2**20) for n in size], dtype=storage.flat.dtype)
    elements, extent, repeats = storage.flat.itemsize, 0, False
    for s, n in sorted((s, n) for s, n in zip(stride, size, strict=True) if n > 1):
        repeats |= s <= extent
        elements *= n
        extent += (n - 1) * s
    if offset + extent >= storage.flat.numel():
        raise DamagedError("a tensor larger than its storage")
    if not repeats:
        return storage.flat.as_strided(size, stride, offset)
    storage.budget.left -= elements
    if storage.budget.left < 0:
        raise DamagedError("tensors that repeat their elements too often")
    return storage.flat.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)
