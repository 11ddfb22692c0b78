"""Names of what prediction and validation write: nothing is ever written over a source or over another's output.

The rule: an output is called like its source, and where that name is taken, _2, _3, … follows.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from ultralytics.utils.errors import UserError
from ultralytics.utils.files import lock
from ultralytics.utils.log import LOGGER
from ultralytics.utils.output_path import make_folder
from ultralytics.utils.text import counted, name_key

# Folders of a run in which outputs lie.
IMAGES, LABELS, CROPS, MOT, EMBEDDINGS, FRAMES = "", "labels", "crops", "mot", "embeddings", "frames"
INCOMPLETE = ".incomplete"  # follows the stem of a video that looks whole and is not
RECORD = ".outputs.json"
SHOWN = 3  # changed names in a message
_LONGEST_STEM = 220  # bytes; file systems take 255, and numbers, suffixes and a dot follow


def numbered(stem: str, joint: str = "_") -> Iterator[str]:
    """Yield the stem, then stem_2, stem_3, …"""
    yield stem
    yield from (f"{stem}{joint}{number}" for number in itertools.count(2))


def free_path(path: Path) -> Path:
    """Return the path, or the first numbered one at which nothing lies."""
    return next(p for p in (path.with_name(s + path.suffix) for s in numbered(path.stem)) if not os.path.lexists(p))


def distinct(names: Iterable[str]) -> list[str]:
    """Return the names, numbered so that no file system takes two of them for one. A name that occurs once keeps it."""
    result = list(names)
    first: dict[str, int] = {}
    for i, name in enumerate(result):
        first.setdefault(name_key(name), i)
    taken = set(first)
    for i, name in enumerate(result):
        if first[name_key(name)] != i:
            result[i] = next(n for n in numbered(name) if name_key(n) not in taken)
            taken.add(name_key(result[i]))
    return result


def label_stems(folder: Path, files: Iterable[str]) -> dict[str, str]:
    """Name the label files of a split's images, file → stem, by the set of images alone: every rank finds the same
    names, in whatever order the loader has them."""
    ordered = sorted(files)
    stems = OutputNames(folder, ordered, [Path(f).stem for f in ordered], [LABELS]).stems
    return dict(zip(ordered, stems, strict=True))


class OutputNames:
    """The stems of all outputs of a call, one per source.

    Where several calls write into one folder, a hidden file of it records which source each stem belongs to. So the
    same source replaces its earlier outputs, while those of other sources, the sources themselves and any other file
    of the folder are never replaced, also where several processes write at a time.

    Args:
        folder: of the run.
        sources: files; None for an image in memory, which is never the same twice.
        stems: the name of each source without its suffix.
        kinds: which of IMAGES, LABELS and CROPS are written.
        videos: for each source, True if it is one: its frames are called STEM_1, STEM_2, …
        new: the folder was made for this call, and holds nothing yet; then there is no need of a record.

    Attributes:
        stems: of each source's outputs.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        sources: Sequence[str | None],
        stems: Sequence[str],
        kinds: list[str],
        videos: Sequence[bool] | None = None,
        new: bool = False,
    ) -> None:
        self.stems = [""] * len(sources)
        self._kinds = kinds
        self._videos = videos or [False] * len(sources)
        self._owners = [os.path.abspath(s) if s is not None else None for s in sources]
        self._taken: dict[str, int] = {}  # key → the source that has it
        self._framed: set[str] = set()  # keys of videos, whose frames are numbered
        self._bases: set[str] = set()  # what is left of the images' keys without a number at their end
        self._there = {kind: _files_by_key(folder, kind) for kind in kinds}
        owners = self._owners if any(self._there.values()) else []
        self._source_ids = {_file_identity(o) for o in owners if o} - {None}
        self._earlier: dict[str, str] = {}
        wanted = [_shortened(s) or "image" for s in stems]
        with contextlib.ExitStack() as stack:
            file = None if new else stack.enter_context(_open_record(folder))
            self._earlier = _read_record(file) if file else {}
            self._assign(wanted)
            mine = {
                f"{kind}/{name_key(stem)}": owner or ""
                for stem, owner in zip(self.stems, self._owners, strict=True)
                for kind in kinds
            }
            if file and mine.items() - self._earlier.items():
                _write_record(file, self._earlier | mine, folder)
        changed = [f"{p} → {s}" for p, w, s in zip(sources, wanted, self.stems, strict=True) if p and w != s]
        if changed:
            more = ", …" if len(changed) > SHOWN else ""
            names = ", ".join(changed[:SHOWN]) + more
            LOGGER.info("%s numbered, as the name is taken: %s", counted(len(changed), "output"), names)

    def crops(self, index: int, frame: int = 0) -> Iterator[str]:
        """Yield stems for the crops of one class of a source: STEM, STEM_2, …; of a video STEM_FRAME, STEM_FRAME_2, …

        Numbers are left out where they would make the name of another source's crop."""
        stem = self.stems[index] + (f"_{frame}" if frame else "")
        repeated = self._earlier.get(f"{CROPS}/{name_key(self.stems[index])}", "") == self._owners[index]
        # The frames of another video may be called STEM_FRAME_2, …
        for name in numbered(stem, "-" if frame and name_key(stem) in self._framed else "_"):
            key = name_key(name)
            if name != stem and (self._taken.get(key, index) != index or f"{CROPS}/{key}" in self._earlier):
                continue
            files = self._there[CROPS].get(key, [])
            if (repeated or not files) and not self._hold_a_source(files):
                yield name

    def _assign(self, stems: list[str]) -> None:
        """Give every source a stem: images before videos, and of both the first of a name before those that need a
        number, so that a number never takes away a name that a source has."""
        for videos in (False, True):
            mine = [i for i in range(len(stems)) if self._videos[i] == videos]
            late = [i for i in mine if not self._take(i, stems[i])]
            untried: dict[str, Iterator[str]] = {}  # what is taken once stays so: thousands may share a name
            for i in late:
                next(s for s in untried.setdefault(stems[i], numbered(stems[i])) if self._take(i, s))

    def _take(self, index: int, stem: str) -> bool:
        """Give a source a stem, if that is free."""
        key, owner = name_key(stem), self._owners[index]
        framed = self._videos[index] and self._kinds != [IMAGES]
        if key in self._taken or (framed and key in self._bases):
            return False
        if key + INCOMPLETE in self._taken or (key.endswith(INCOMPLETE) and key[: -len(INCOMPLETE)] in self._taken):
            return False
        for kind in self._kinds:
            names = (f"{key}_#",) if framed and kind != IMAGES else (key, key + INCOMPLETE)
            files = [f for name in names for f in self._there[kind].get(name, [])]
            earlier = self._earlier.get(f"{kind}/{key}")
            ours = owner is not None and earlier == owner and not self._hold_a_source(files)
            if (files or earlier is not None) and not ours:
                return False
        self.stems[index] = stem
        self._taken[key] = index
        if framed:
            self._framed.add(key)
        elif not self._videos[index]:
            self._bases.add(_unnumbered(key))
        return True

    def _hold_a_source(self, files: Iterable[str]) -> bool:
        return any(_file_identity(f) in self._source_ids for f in files)


def _unnumbered(key: str) -> str:
    """Return a key without the number at its end, "" where it has none."""
    match = re.fullmatch(r"(.+)_\d+", key, re.DOTALL)
    return match[1] if match else ""


def _shortened(stem: str) -> str:
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    return stem


def _files_by_key(folder: Path, kind: str) -> dict[str, list[str]]:
    """Return the files of one kind in a run's folder by the key of their stem, and by "KEY_#" if a number ends it."""
    found: dict[str, list[str]] = {}
    for each in [folder / kind, *(_list_folder(folder / kind) if kind == CROPS else ())]:
        for file in _list_folder(each):
            if file.name == RECORD or (kind == IMAGES and file.name in (LABELS, CROPS, MOT, EMBEDDINGS, FRAMES)):
                continue
            key = name_key(file.stem)
            found.setdefault(key, []).append(str(file))
            if base := _unnumbered(key):
                found.setdefault(f"{base}_#", []).append(str(file))
    return found


def _list_folder(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # not there yet, or no folder
        return []


def _file_identity(file: str) -> tuple[int, int] | None:
    """Return what tells a file whatever it is called: links lead to it too."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def _open_record(folder: Path) -> Iterator[IO[bytes]]:
    """Open the record of a folder, for one process at a time."""
    make_folder(folder, "project")
    try:
        file = (folder / RECORD).open("a+b")
    except OSError as e:
        raise _unwritable(folder, e) from None
    with file:
        lock(file, wait=True)
        yield file


def _read_record(file: IO[bytes]) -> dict[str, str]:
    """Return what earlier calls have recorded; nothing where it cannot be read, and then no file counts as ours."""
    file.seek(0)
    try:
        record = json.loads(file.read() or b"{}")
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(file: IO[bytes], record: dict[str, str], folder: Path) -> None:
    try:
        file.seek(0)
        file.truncate()
        file.write(json.dumps(record, indent=0).encode())
        file.flush()
    except OSError as e:
        raise _unwritable(folder, e) from None


def _unwritable(folder: Path, error: OSError) -> UserError:
    what = f"cannot be written: {error.strerror or error}"
    return UserError(what, str(folder), "free some space or choose another project=")
