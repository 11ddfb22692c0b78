"""Keeping decoded images. A cache changes how fast an image comes, never what comes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.types import UInt8Array

Loader = Callable[[str], UInt8Array]
RECENT_BYTES = 384 * 2**20  # decoded images a process keeps for mosaics to use again


class RecentImages:
    """The images used last, up to so many bytes: a mosaic's partners are mostly there already."""

    def __init__(self, load: Loader, limit: int = RECENT_BYTES) -> None:
        self.load, self.limit = load, limit
        self.images: OrderedDict[str, UInt8Array] = OrderedDict()
        self.bytes = 0

    def __call__(self, file: str) -> UInt8Array:
        """The image, decoded at most once while it stays."""
        image = self.images.get(file)
        if image is not None:
            self.images.move_to_end(file)
            return image
        image = self.images[file] = self.load(file)
        self.bytes += image.nbytes
        while self.bytes > self.limit and len(self.images) > 1:
            self.bytes -= self.images.popitem(last=False)[1].nbytes
        return image


class RamImages:
    """All images decoded beforehand. Worker processes made by fork share them."""

    def __init__(self, load: Loader, files: Sequence[str], desc: str = "") -> None:
        unique = list(dict.fromkeys(files))
        with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 16)) as pool:
            bar = progress(pool.map(load, unique), total=len(unique), desc=f"{desc}Caching images in memory")
            self.images: dict[str, UInt8Array] = dict(zip(unique, bar, strict=True))

    def __call__(self, file: str) -> UInt8Array:
        """The image."""
        return self.images[file]


class DiskImages:
    """Images decoded once and kept as .npy files in a folder. A file's name holds the picture's path, size and time of
    change, so that a changed picture is decoded anew.
    """

    def __init__(self, load: Loader, folder: Path, key: str) -> None:
        self.load, self.folder, self.key = load, folder, key

    def __call__(self, file: str) -> UInt8Array:
        """The image, from the folder when it is there."""
        stat = os.stat(file)
        digest = hashlib.sha256(f"{file}|{stat.st_size}|{stat.st_mtime_ns}|{self.key}".encode()).hexdigest()[:24]
        path = self.folder / f"{digest}.npy"
        try:
            return np.load(path)  # type: ignore[no-any-return]
        except (OSError, ValueError, EOFError):  # not there yet, or cut off by a full disk
            image = self.load(file)
            self._store(path, image)
            return image

    def _store(self, path: Path, image: UInt8Array) -> None:
        temporary = ""
        try:
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as out:
                temporary = out.name
                np.save(out, image)
            os.replace(temporary, path)
        except OSError:  # a full disk only makes it slower
            if temporary:
                Path(temporary).unlink(missing_ok=True)


def cached(load: Loader, cache: bool | str, files: Sequence[str], needed: int, key: str, desc: str = "") -> Loader:
    """The loader behind the cache asked for: "ram", "disk" or False. One that is not possible is left out, and said so.

    Args:
        needed: bytes of all images decoded; key: everything besides the file that the decoded image depends on.
    """
    if cache == "ram":
        free = available_memory()
        if needed > 0.8 * free:
            LOGGER.warning(
                "%scache=ram needs %.1f GB and %.1f GB are free: going on without", desc, needed / 1e9, free / 1e9
            )
            return load
        return RamImages(load, files, desc)
    if cache == "disk":
        parent = Path(os.path.commonpath([os.path.dirname(os.path.abspath(f)) for f in files]))
        folder = parent.with_name(f".{parent.name}.cache")
        try:
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as e:
            LOGGER.warning("%scache=disk cannot write %s (%s): going on without", desc, folder, e.strerror)
            return load
        return DiskImages(load, folder, key)
    return load


def available_memory() -> int:
    """Free bytes of main memory; unlimited where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") + _reclaimable()
    except (ValueError, OSError, AttributeError):
        return 2**62


def _reclaimable() -> int:
    """Page cache, which the kernel gives back."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["Cached"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0
