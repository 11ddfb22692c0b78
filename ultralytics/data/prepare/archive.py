"""Unpacking archives that may come from anywhere: zip, and tar as it is or compressed by gzip, bzip2 or xz.

The whole list of members is judged before the first byte is written. What could write outside the folder, or fill the
disk, is refused, and nothing is unpacked then. No links are made: a link to a file of the archive becomes a copy of it.

`tarfile`'s data filter is not what judges: Python 3.10.0 to 3.10.11 and 3.11.0 to 3.11.3 lack it, it strips absolute
names instead of refusing them, it makes links, and it knows neither zip files nor sizes.
"""

from __future__ import annotations

import bz2
import copy
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

from ultralytics.utils.errors import DatasetError, UserError
from ultralytics.utils.files import missing
from ultralytics.utils.log import progress

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
CHUNK = 1 << 20  # bytes per read
RATIO, FLOOR = 100, 1 << 30  # an archive may unpack to so many times its own bytes, and so many bytes
LONGEST_NAME, LONGEST_HEADER = 4096, 1 << 24  # bytes; of a name and of all that a tar says about a member
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DECOMPRESSORS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
NAME_FAULTS = {
    r"\0": "has a zero byte in its name",
    r"\\": "has a backslash in its name",
    r"\A(/|[A-Za-z]:)": "has an absolute path",
    r"(\A|/)\.\.(/|\Z)": "leads out of the folder",
}
NOTHING = "nothing was unpacked"

Parts = tuple[str, ...]  # the folders of a member and its name, below the folder it is unpacked into


@dataclass(frozen=True)
class _Member:
    """What an archive says of one of its members."""

    name: str  # as it is written there
    parts: Parts  # where it goes
    kind: Literal["file", "folder", "link"]
    size: int = 0  # bytes of a file, else 0
    modified: float | None = None  # seconds, or None
    target: Parts = ()  # the member a link leads to
    content: Callable[[], IO[bytes] | None] = lambda: None  # opens what a file holds


def is_archive(path: Path) -> bool:
    """Return True for a file that `unpack` is meant for, by its name or else by its content."""
    if not path.is_file():
        return False
    if path.name.lower().endswith(SUFFIXES):
        return True
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except Exception:  # a decompressor's, on data that only begins like its own
        return False


def unpack(archive: Path, into: Path, max_bytes: int | None = None, max_files: int = 2_000_000) -> None:
    """Unpack an archive into a folder that is empty, or not there yet.

    Files get the permissions the user gives all files, and the archive's times.

    Args:
        max_bytes: the most that may be written; None: 100 times the archive's size and 1 GiB. Never more than is free.
        max_files: the most members it may have.

    Raises:
        MissingFileError: there is no such archive.
        DatasetError: it is damaged or unsafe; one line with the archive and the member, and nothing has been written.
        UserError: it cannot be read, or the folder holds something or cannot be written; what had been written is
        removed.
    """
    if not archive.is_file():
        raise missing("archive", archive)
    into = into.absolute()
    if into.exists() and not into.is_dir():
        raise UserError("this is a file, and archives are unpacked into a folder", str(into))
    there = into.is_dir()
    if there and any(into.iterdir()):
        raise UserError(f"the folder is not empty, and {archive.name} is to be unpacked there", str(into), NOTHING)
    with ExitStack() as stack:
        with _reading_archive(archive):
            raw = stack.enter_context(open(archive, "rb"))
            head = raw.read(6)
            if head[:2] == b"PK" or archive.name.lower().endswith(".zip"):
                members = _zip_members(archive, zipfile.ZipFile(raw))
            else:
                members = _tar_members(archive, raw, head)
            plan = _judge_members(archive, members, _size_limit(archive, into, max_bytes), max_files)
        top = next((p for p in (*reversed(into.parents), into) if not p.exists()), into)
        try:
            _write_members(archive, plan, into)
        except BaseException as e:
            shutil.rmtree(top, ignore_errors=True)
            if there:
                into.mkdir()
            if isinstance(e, OSError):
                hint = f"{NOTHING}; free some space, or choose another folder"
                raise UserError(f"could not be written: {e.strerror or e}", str(e.filename or into), hint) from None
            raise


def _bad_member(archive: Path, name: str, what: str) -> DatasetError:
    shown = ascii(name if len(name) <= 200 else name[:200] + "…")
    return DatasetError(f"refused, since its member {shown} {what}", str(archive), NOTHING)


@contextmanager
def _reading_archive(archive: Path) -> Iterator[None]:
    """Turn whatever tarfile, zipfile and the decompressors raise on broken data into one line.

    Raises:
        DatasetError: the archive is damaged.
        UserError: it cannot be read.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as e:
        if isinstance(e, OSError) and e.errno not in (None, errno.EINVAL):  # EINVAL: a seek to where nothing is
            raise UserError(f"the file cannot be read: {e.strerror}", str(archive), NOTHING) from None
        why = " ".join(str(e).split()) or type(e).__name__
        hint = f"{NOTHING}; get the file again"
        raise DatasetError(f"the archive is damaged or cut off: {why}", str(archive), hint) from None


def _size_limit(archive: Path, into: Path, max_bytes: int | None) -> tuple[int, str]:
    """Return the most bytes to write, and what sets that limit."""
    size = archive.stat().st_size
    limit = RATIO * size + FLOOR if max_bytes is None else max_bytes
    why = f"the limit for an archive of {size} bytes" if max_bytes is None else "the limit"
    there = next(p for p in (into, *into.parents) if p.exists())
    free = shutil.disk_usage(there).free
    return (limit, why) if limit <= free else (free, f"all that is free at {there}")


def _split_name(archive: Path, name: str) -> Parts:
    """Return where a member goes.

    Raises:
        DatasetError: that could be elsewhere than below the folder.
    """
    for pattern, what in NAME_FAULTS.items():
        if re.search(pattern, name):
            raise _bad_member(archive, name, what)
    if len(name) > LONGEST_NAME:
        raise _bad_member(archive, name, f"has a name of {len(name)} characters")
    return tuple(p for p in name.split("/") if p not in ("", "."))


def _link_member(archive: Path, name: str, parts: Parts, base: Parts, target: str) -> _Member:
    """Return a link; `base` is what its target is relative to.

    Raises:
        DatasetError: it leads out of the folder.
    """
    found = list(base)
    outside = bool(re.match(r"/|[A-Za-z]:", target) or set(target) & {"\\", "\0"})
    for part in target[:LONGEST_NAME].split("/"):
        if part == "..":
            outside = outside or not found
            del found[-1:]
        elif part not in ("", "."):
            found.append(part)
    if outside:
        raise _bad_member(archive, name, f"is a link out of the folder, to {target[:200]!a}")
    return _Member(name, parts, "link", target=tuple(found))


def _zip_members(archive: Path, file: zipfile.ZipFile) -> Iterator[_Member]:
    for entry in file.infolist():
        name = entry.orig_filename  # `filename` ends at a zero byte
        mode = stat.S_IFMT(entry.external_attr >> 16)
        parts = _split_name(archive, name)
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            raise _bad_member(archive, name, "is a device, a pipe or a socket")
        if entry.flag_bits & 1:
            raise _bad_member(archive, name, "is encrypted")
        if entry.compress_type not in ZIP_METHODS:
            raise _bad_member(archive, name, f"is compressed by method {entry.compress_type}, which is not known here")
        if mode == stat.S_IFLNK:
            with file.open(entry) as content:
                target = content.read(LONGEST_NAME).decode("utf-8", "surrogateescape")
            yield _link_member(archive, name, parts, parts[:-1], target)
        elif name.endswith("/") or mode == stat.S_IFDIR:
            yield _Member(name, parts, "folder")
        else:
            modified = None
            with suppress(ValueError, OverflowError):
                modified = time.mktime((*entry.date_time, 0, 0, -1))
            # zipfile stops at the size of the header; one byte more shows whether that is the end.
            longer = copy.copy(entry)
            longer.file_size += 1
            yield _Member(name, parts, "file", entry.file_size, modified, (), partial(file.open, longer))


class _Stream:
    """The bytes of a tar, decompressed, as tarfile reads them; a header that is no header's size is not read.

    Attributes:
        most: the last byte to go to; grows by what the members hold.
    """

    mode = "rb"

    def __init__(self, file: Any) -> None:
        self.file, self.most = file, FLOOR

    def tell(self) -> int:
        return int(self.file.tell())

    def seek(self, position: int) -> int:
        if position > self.most + LONGEST_HEADER:
            raise tarfile.ReadError(f"{self.most} bytes are not its end")
        return int(self.file.seek(position))

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        if self.tell() + size > self.most + LONGEST_HEADER:
            raise tarfile.ReadError(f"{self.most} bytes are not its end")
        return bytes(self.file.read(size))


def _tar_members(archive: Path, raw: IO[bytes], head: bytes) -> Iterator[_Member]:
    raw.seek(0)
    stream = _Stream(next((opener(raw) for magic, opener in DECOMPRESSORS.items() if head.startswith(magic)), raw))
    reader: Any = stream  # tarfile asks for a whole file, and uses what a reader has
    tar = tarfile.TarFile(fileobj=reader, encoding="utf-8", errors="surrogateescape")
    total = archive.stat().st_size
    with progress(total=total, unit="B", unit_scale=True, unit_divisor=1024, desc=f"Checking {archive.name}") as bar:
        for entry in tar:
            name, parts = entry.name, _split_name(archive, entry.name)
            if entry.size < 0:
                raise _bad_member(archive, name, f"has {entry.size} bytes")
            if entry.issym() or entry.islnk():
                yield _link_member(archive, name, parts, parts[:-1] if entry.issym() else (), entry.linkname)
            elif entry.isdir():
                yield _Member(name, parts, "folder")
            elif entry.isreg():
                stream.most += entry.size
                yield _Member(name, parts, "file", entry.size, entry.mtime, (), partial(tar.extractfile, entry))
            else:
                raise _bad_member(archive, name, "is a device, a pipe or something unknown")
            bar.update(raw.tell() - bar.n)
        # tarfile takes a broken header for the end, and looks at no checksum of the compression's.
        stream.seek(tar.offset)
        mark = stream.read(tarfile.BLOCKSIZE)
        if len(mark) < tarfile.BLOCKSIZE or any(mark):
            raise tarfile.ReadError(f"no member and no end at byte {tar.offset}")
        while stream.read(CHUNK):
            bar.update(raw.tell() - bar.n)


def _judge_members(archive: Path, members: Iterable[_Member], limits: tuple[int, str], max_files: int) -> list[_Member]:
    """Return the members to write, in the archive's order; of a file that is there twice, the last.

    Raises:
        DatasetError: one of them is unsafe, or all are too much.
    """
    total = 0
    places: dict[Parts, _Member] = {}

    def count(member: _Member, size: int) -> None:
        nonlocal total
        total += size
        if total > limits[0]:
            what = f"makes it {total} bytes unpacked, and {limits[0]} is {limits[1]}"
            raise _bad_member(archive, member.name, what)

    for number, member in enumerate(members, 1):
        if number > max_files:
            raise _bad_member(archive, member.name, f"is one more than the {max_files} it may have")
        count(member, member.size)
        before = places.pop(member.parts, None)
        if before is not None and (before.kind != member.kind or member.kind == "link"):
            raise _bad_member(archive, member.name, "is there twice, one of them no file")
        if not member.parts and member.kind != "folder":
            raise _bad_member(archive, member.name, "has no name")
        places[member.parts] = member
    folders: set[Parts] = {()}
    for member in places.values():
        above = member.parts[:-1]
        while above not in folders:
            if above in places and places[above].kind != "folder":
                raise _bad_member(archive, member.name, f"goes through {'/'.join(above)!a}, which is not a folder")
            folders.add(above)
            above = above[:-1]
        if member.kind == "link":
            target = places.get(member.target)
            if target is None or target.kind != "file":
                what = f"is a link to {'/'.join(member.target)!a}, which is none of its files"
                raise _bad_member(archive, member.name, what)
            count(member, target.size)
    return list(places.values())


def _write_members(archive: Path, plan: list[_Member], into: Path) -> None:
    """Write the members.

    Raises:
        DatasetError: one is damaged, or not of the size that the archive says.
        OSError: one cannot be written.
    """
    total, desc = sum(m.size for m in plan), f"Unpacking {archive.name}"
    into.mkdir(parents=True, exist_ok=True)
    with progress(total=total, unit="B", unit_scale=True, unit_divisor=1024, desc=desc) as bar:
        for member in sorted(plan, key=lambda m: m.kind == "link"):  # a link's target may come behind it
            path = into.joinpath(*member.parts)
            (path if member.kind == "folder" else path.parent).mkdir(parents=True, exist_ok=True)
            if member.kind == "link":
                shutil.copyfile(into.joinpath(*member.target), path)
            if member.kind != "file":
                continue
            with open(path, "xb") as file:
                for data in _read_content(archive, member):
                    file.write(data)
                    bar.update(len(data))
            if member.modified is not None:
                with suppress(OSError, OverflowError, ValueError):  # a time that this file system does not know
                    os.utime(path, (member.modified, member.modified))


def _read_content(archive: Path, member: _Member) -> Iterator[bytes]:
    """Read a file in pieces.

    Raises:
        DatasetError: it is damaged, or not of the size that the archive says.
    """
    done = 0
    with _reading_archive(archive):
        source = member.content()
        assert source is not None
        with source:
            while data := source.read(CHUNK):
                done += len(data)
                if done > member.size:
                    raise _bad_member(archive, member.name, f"holds more than the {member.size} bytes it claims")
                yield data
        if done < member.size:
            raise EOFError(f"{member.name!a} ends at {done} of {member.size} bytes")
