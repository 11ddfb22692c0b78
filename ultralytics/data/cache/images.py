"""Keeping decoded images. A cache changes how fast an image comes, never what comes."""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np

from ultralytics.data.cache.scan import short_digest
from ultralytics.data.cache.shared_memory import SharedBytes
from ultralytics.data.labelset import LabelSet
from ultralytics.utils.files import open_regular
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.threads import readers
from ultralytics.utils.types import Int64Array, UInt8Array

Loader = Callable[[int], UInt8Array]  # number of an image in its dataset → the image, BGR (h, w, 3)
# Decoded images a process keeps for mosaics to use again: so many bytes, and no more images than partners come from.
RECENT_BYTES = 384 * 2**20
RECENT_IMAGES = 1024


class RecentImages:
    """The images used last, up to so many bytes and images: a mosaic's partners are mostly there already."""

    def __init__(self, load: Loader, limit: int = RECENT_BYTES, count: int = RECENT_IMAGES) -> None:
        self.load, self.limit, self.count = load, limit, count
        self.images: OrderedDict[int, UInt8Array] = OrderedDict()
        self.bytes = 0

    def __call__(self, i: int) -> UInt8Array:
        """Return the image, decoded at most once while it stays."""
        image = self.images.get(i)
        if image is not None:
            self.images.move_to_end(i)
            return image
        image = self.images[i] = self.load(i)
        self.bytes += image.nbytes
        while (self.bytes > self.limit or len(self.images) > self.count) and len(self.images) > 1:
            self.bytes -= self.images.popitem(last=False)[1].nbytes
        return image


class RamImages:
    """All images decoded beforehand, one copy per machine: shared by workers, ranks and other runs on the same data.

    Args:
        load: decodes an image.
        sizes: (n, 2) height and width of each.
        key: equal keys, equal images.
    """

    def __init__(self, load: Loader, sizes: Int64Array, key: str, desc: str = "") -> None:
        self.load, self.sizes = load, sizes
        self.starts = np.concatenate([[0], np.cumsum(sizes.prod(1) * 3)]).astype(np.int64)
        with SharedBytes(key, int(self.starts[-1])) as memory:
            self.memory: SharedBytes | None = memory
            if memory.alone:
                text = "%scache=ram: %s; this run keeps %.1f MB of its own, which other runs and ranks cannot share"
                LOGGER.warning(text, desc, memory.alone, memory.size / 1e6)
            if memory.fresh:
                with ThreadPoolExecutor(max_workers=readers()) as pool:
                    jobs = pool.map(self._fill, range(len(sizes)))
                    list(progress(jobs, total=len(sizes), desc=f"{desc}Caching images in memory"))
                memory.finish()

    def _fill(self, i: int) -> None:
        self._place(i)[...] = self.load(i)

    def _place(self, i: int) -> UInt8Array:
        assert self.memory is not None
        h, w = self.sizes[i]
        return self.memory.array[self.starts[i] : self.starts[i + 1]].reshape(h, w, 3)

    def __call__(self, i: int) -> UInt8Array:
        """Return the image; read-only."""
        return self.load(i) if self.memory is None else self._place(i)

    def __getstate__(self) -> dict[str, object]:
        # A worker that cannot be given the memory decodes.
        return self.__dict__ | {"memory": None if self.memory is None else self.memory.for_workers()}


class DiskImages:
    """Images decoded once and kept as .npy files in a folder, named by the digest of the image's file: a changed
    image has another name, a moved or renamed one keeps its own. With `parts` a file is mapped: only the pixels that
    are looked at are read.
    """

    def __init__(
        self, load: Loader, labels: LabelSet, sizes: Int64Array, folder: Path, key: str, parts: bool = False
    ) -> None:
        self.load, self.contents, self.sizes = load, labels.contents, sizes
        self.folder, self.key, self.parts = folder, short_digest(key), parts

    def __call__(self, i: int) -> UInt8Array:
        """Return the image, from the folder when it is there."""
        path = self.folder / f"{self.contents[i].tobytes().hex()}-{self.key}.npy"
        try:
            with open_regular(path) as file:
                image: UInt8Array = _map_pixels(file) if self.parts else np.load(file, allow_pickle=False)
            if image.dtype == np.uint8 and image.shape == (*self.sizes[i], 3):
                return image
        except (OSError, ValueError, EOFError):  # not there yet, or cut off by a full disk
            pass
        image = self.load(i)
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


def _map_pixels(file: IO[bytes]) -> UInt8Array:
    """Map an .npy file's array of bytes, read-only.

    Raises:
        ValueError: it is another file, or shorter than it says.
    """
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran or dtype != np.uint8:
        raise ValueError(f"{dtype}")
    return np.memmap(file, np.uint8, "r", file.tell(), shape)


def _cache_folder(labels: LabelSet) -> Path:
    """Return a hidden folder beside the one that holds all images: .NAME.cache."""
    folders = {f.rpartition(os.sep)[0] for f in labels.im_files}
    try:
        folder = Path(os.path.commonpath(folders))
    except ValueError:  # several drives
        folder = Path(min(folders))
    return folder.with_name(f".{folder.name}.cache") if folder.name else folder / ".cache"


def cached(
    load: Loader,
    cache: bool | str,
    labels: LabelSet,
    sizes: Int64Array,
    key: str,
    desc: str = "",
    parts: bool = False,
) -> Loader:
    """Return a loader behind a cache: "ram", "disk" or False. One that is not possible is left out, and said so.
    `sizes` (n, 2) are height and width of each decoded image, which depends on its file and `key`; `parts`: mostly a
    part of one is looked at."""
    if cache == "ram":
        needed, free = int(sizes.prod(1).sum() * 3), available_memory()
        if needed > 0.8 * free:
            LOGGER.warning(
                "%scache=ram needs %.1f GB and %.1f GB are free: going on without", desc, needed / 1e9, free / 1e9
            )
            return load
        everything = short_digest(key, labels.contents.tobytes(), sizes.tobytes(), length=32)
        try:
            return RamImages(load, sizes, everything, desc)
        except (OSError, MemoryError) as e:
            LOGGER.warning("%scache=ram: %s: going on without", desc, getattr(e, "strerror", None) or "no memory left")
            return load
    if cache == "disk":
        folder = _cache_folder(labels)
        try:
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as e:
            LOGGER.warning("%scache=disk cannot write %s (%s): going on without", desc, folder, e.strerror)
            return load
        return DiskImages(load, labels, sizes, folder, key, parts)
    return load


def available_memory() -> int:
    """Return the bytes of main memory that can be had: what the system says, and what the container's limit leaves;
    unlimited where neither says."""
    return min(_of_system(), *(_of_container(*files) for files in _CONTAINER))


_CONTAINER = (  # limit and use, in both versions of control groups
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
_UNLIMITED = 2**62


def _of_system() -> int:
    """MemAvailable leaves out what lies in shared memory, other runs' images among it."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return _UNLIMITED


def _of_container(limit: Path, used: Path) -> int:
    try:
        return max(int(limit.read_text(encoding="utf-8")) - int(used.read_text(encoding="utf-8")), 0)
    except (OSError, ValueError):  # no container, or "max"
        return _UNLIMITED
