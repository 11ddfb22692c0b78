"""Keeping decoded images. A cache changes how fast an image comes, never what comes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
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
            return np.load(path)  # type: ignore[no-any-return]  # an array, as it was stored
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


class KnownShapes:
    """Heights and widths of pictures that were decoded in full before: a later run need not decode them to check them.

    They are kept in a file beside the images' folder and hold while a picture's size and time of change stay. A folder
    that is marked read-only is left alone.

    Args:
        files: the pictures.
    """

    VERSION = 1

    def __init__(self, files: Sequence[str]) -> None:
        self.file = _beside(files, "checked.json")
        self.root = self.file.parent
        self.known: dict[str, list[int]] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            if kept.get("version") == self._version():
                self.known = {str(k): [int(n) for n in v] for k, v in kept["files"].items() if len(v) == 4}

    def _version(self) -> str:
        return f"{self.VERSION} opencv {cv2.__version__}"

    def __call__(self, file: str) -> tuple[int, int] | None:
        """Height and width, or None when the picture is new or has changed."""
        entry = self.known.get(os.path.relpath(file, self.root))
        if entry is None:
            return None
        try:
            stat = os.stat(file)
        except OSError:
            return None
        return (entry[2], entry[3]) if entry[:2] == [stat.st_size, stat.st_mtime_ns] else None

    def keep(self, shapes: Mapping[str, tuple[int, int]]) -> None:
        """Remember these pictures, besides those that are known."""
        found = dict(self.known)
        for file, (h, w) in shapes.items():
            with contextlib.suppress(OSError):
                stat = os.stat(file)
                found[os.path.relpath(file, self.root)] = [stat.st_size, stat.st_mtime_ns, h, w]
        if found == self.known:
            return
        with contextlib.suppress(OSError):  # it only makes the next start faster
            if not self.file.parent.stat().st_mode & 0o222:
                return
            text = json.dumps({"version": self._version(), "files": found}, ensure_ascii=False)
            with tempfile.NamedTemporaryFile("w", dir=self.file.parent, encoding="utf-8", delete=False) as out:
                out.write(text)
            os.replace(out.name, self.file)


def _beside(files: Sequence[str], ending: str) -> Path:
    """A hidden place beside the folder that holds all files: .NAME.ending."""
    folders = {os.path.dirname(os.path.abspath(f)) for f in files}
    try:
        folder = Path(os.path.commonpath(folders))
    except ValueError:  # several drives
        folder = Path(min(folders))
    return folder.with_name(f".{folder.name}.{ending}") if folder.name else folder / f".{ending}"


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
        folder = _beside(files, "cache")
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
