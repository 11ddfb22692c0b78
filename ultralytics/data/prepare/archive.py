"""Unpacking archives that may come from anywhere: zip, and tar as it is or compressed by gzip, bzip2 or xz.

The whole list of members is judged before the first byte is written. What could write outside the folder, or fill the
disk, is refused, and nothing is unpacked then. No links are made: a link to a file of the archive becomes a copy of it.
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
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from ultralytics.utils.errors import DatasetError, UserError
from ultralytics.utils.files import missing
from ultralytics.utils.log import progress

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
CHUNK = 1 << 20  # bytes per read
RATIO, FLOOR = 100, 1 << 30  # an archive may unpack to so many times its own bytes, and so many bytes
LONGEST_NAME, LONGEST_HEADER = 4096, 1 << 24  # bytes; of a name and of all that a tar says about a member
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
NOTHING = "nothing was unpacked"

Parts = tuple[str, ...]  # the folders of a member and its name, below the folder it is unpacked into


@dataclass(frozen=True)
class _Member:
    """What an archive says of one of its members.

    Attributes:
        name: as it is written there; parts: where it goes; size: bytes of a file, else 0; modified: seconds, or None.
        target: the member a link leads to; entry: the archive's own record.
    """

    name: str
    parts: Parts
    kind: Literal["file", "folder", "link"]
    size: int
    modified: float | None
    target: Parts
    entry: Any


class _Archive(Protocol):
    path: Path

    def members(self) -> Generator[_Member, None, None]: ...

    def open(self, member: _Member) -> IO[bytes]: ...

    def close(self) -> None: ...


def is_archive(path: Path) -> bool:
    """Whether a file is an archive that `unpack` is meant for, by its name or else by its content."""
    if not path.is_file():
        return False
    if path.name.lower().endswith(SUFFIXES):
        return True
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except Exception:  # a decompressor's, on data that only begins like its own
        return False


def unpack(archive: Path, into: Path, max_bytes: int | None = None, max_files: int = 2_000_000) -> None:
    """Unpack an archive into a folder, which is made when missing.

    Files get the permissions the user gives all files, and the archive's times. Nothing that is there is replaced.

    Args:
        archive: the file; into: the folder.
        max_bytes: the most that may be written; None: 100 times the archive's size and 1 GiB. Never more than is free.
        max_files: the most members it may have.

    Raises:
        MissingFileError: there is no such archive.
        DatasetError: it is damaged or unsafe; one line with the archive and the member, and nothing has been written.
        UserError: it cannot be read, or the folder cannot be written; what had been written is removed.
    """
    if not archive.is_file():
        raise missing("archive", archive)
    opened = _open(archive)
    try:
        plan = _judge(opened, _limits(archive, into, max_bytes), max_files)
        _refuse_existing(archive, into, plan)
        _write(opened, plan, into)
    finally:
        with suppress(Exception):  # a damaged archive may fail again
            opened.close()


def _refusal(archive: Path, name: str, what: str) -> DatasetError:
    shown = ascii(name if len(name) <= 200 else name[:200] + "…")
    return DatasetError(f"refused, since its member {shown} {what}", str(archive), NOTHING)


def _unreadable(archive: Path, error: Exception) -> UserError:
    """The error for an archive that cannot be read to its end."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a seek to where nothing is
        return UserError(f"it cannot be read: {error.strerror}", str(archive))
    why = " ".join(str(error).split()) or type(error).__name__
    return DatasetError(f"it is damaged or cut off: {why}", str(archive), f"{NOTHING}; get the file again")


def _open(archive: Path) -> _Archive:
    try:
        with open(archive, "rb") as file:
            head = file.read(6)
        if head[:2] == b"PK" or archive.name.lower().endswith(".zip"):
            return _Zip(archive)
        return _Tar(archive, head)
    except Exception as e:  # zipfile raises what it likes on broken data
        raise _unreadable(archive, e) from None


def _limits(archive: Path, into: Path, max_bytes: int | None) -> tuple[int, str]:
    """The most bytes to write, and what sets that limit."""
    size = archive.stat().st_size
    limit = RATIO * size + FLOOR if max_bytes is None else max_bytes
    why = f"the limit for an archive of {size} bytes" if max_bytes is None else "the limit"
    there = next(p for p in (into, *into.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    return (limit, why) if limit <= free else (free, f"all that is free at {there}")


def _parts(archive: Path, name: str) -> Parts:
    """Where a member goes.

    Raises:
        DatasetError: that could be elsewhere than below the folder.
    """
    if "\0" in name:
        raise _refusal(archive, name, "has a zero byte in its name")
    if len(name) > LONGEST_NAME:
        raise _refusal(archive, name, f"has a name of {len(name)} characters")
    if "\\" in name:
        raise _refusal(archive, name, "has a backslash in its name")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise _refusal(archive, name, "has an absolute path")
    parts = tuple(p for p in name.split("/") if p not in ("", "."))
    if ".." in parts:
        raise _refusal(archive, name, "leads out of the folder")
    return parts


def _target(archive: Path, name: str, base: Parts, target: str) -> Parts:
    """The member a link leads to; `base` is where its target is relative to.

    Raises:
        DatasetError: it leads out of the folder.
    """
    if target.startswith("/") or re.match(r"[A-Za-z]:", target) or set(target) & {"\\", "\0"}:
        raise _refusal(archive, name, f"is a link out of the folder, to {target[:200]!a}")
    parts = list(base)
    for part in target[:LONGEST_NAME].split("/"):
        if part == ".." and not parts:
            raise _refusal(archive, name, f"is a link out of the folder, to {target[:200]!a}")
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return tuple(parts)


class _Zip:
    def __init__(self, path: Path) -> None:
        self.path, self.zip = path, zipfile.ZipFile(path)

    def close(self) -> None:
        self.zip.close()

    def members(self) -> Generator[_Member, None, None]:
        for entry in self.zip.infolist():
            name = entry.orig_filename  # `filename` ends at a zero byte
            mode = stat.S_IFMT(entry.external_attr >> 16)
            parts = _parts(self.path, name)
            if mode not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                raise _refusal(self.path, name, "is a device, a pipe or a socket")
            if entry.flag_bits & 1:
                raise _refusal(self.path, name, "is encrypted")
            if entry.compress_type not in ZIP_METHODS:
                raise _refusal(
                    self.path, name, f"is compressed by method {entry.compress_type}, which is not known here"
                )
            if mode == stat.S_IFLNK:
                with self.zip.open(entry) as file:
                    target = file.read(LONGEST_NAME).decode("utf-8", "surrogateescape")
                yield _Member(name, parts, "link", 0, None, _target(self.path, name, parts[:-1], target), entry)
            elif name.endswith("/") or mode == stat.S_IFDIR:
                yield _Member(name, parts, "folder", 0, None, (), entry)
            else:
                yield _Member(name, parts, "file", entry.file_size, _zip_time(entry), (), entry)

    def open(self, member: _Member) -> IO[bytes]:
        # zipfile stops where the header says; one byte more shows whether that is the end.
        entry = copy.copy(member.entry)
        entry.file_size += 1
        return self.zip.open(entry)


def _zip_time(entry: zipfile.ZipInfo) -> float | None:
    try:
        return time.mktime((*entry.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return None


class _Tar:
    def __init__(self, path: Path, head: bytes) -> None:
        self.path = path
        self.raw = open(path, "rb")  # noqa: SIM115  # closed by `close`
        self.stream = _Stream(self.raw, head)
        self.tar: tarfile.TarFile | None = None

    def close(self) -> None:
        self.raw.close()

    def members(self) -> Generator[_Member, None, None]:
        reader: Any = self.stream  # tarfile asks for a whole file, and uses what a reader has
        self.tar = tarfile.TarFile(fileobj=reader, encoding="utf-8", errors="surrogateescape")
        total = self.path.stat().st_size
        with progress(
            total=total, unit="B", unit_scale=True, unit_divisor=1024, desc=f"Checking {self.path.name}"
        ) as bar:
            for entry in self.tar:
                yield self._member(entry)
                bar.update(self.raw.tell() - bar.n)
            # tarfile takes a broken header for the end, and looks at no checksum of the compression's.
            self.stream.seek(self.tar.offset)
            mark = self.stream.read(tarfile.BLOCKSIZE)
            if len(mark) < tarfile.BLOCKSIZE or any(mark):
                raise tarfile.ReadError(f"no member and no end at byte {self.tar.offset}")
            while self.stream.read(CHUNK):
                bar.update(self.raw.tell() - bar.n)

    def _member(self, entry: tarfile.TarInfo) -> _Member:
        name = entry.name
        parts = _parts(self.path, name)
        if entry.size < 0:
            raise _refusal(self.path, name, f"has {entry.size} bytes")
        if entry.issym() or entry.islnk():
            base = parts[:-1] if entry.issym() else ()
            return _Member(name, parts, "link", 0, None, _target(self.path, name, base, entry.linkname), entry)
        if entry.isdir():
            return _Member(name, parts, "folder", 0, None, (), entry)
        if not entry.isreg():
            raise _refusal(self.path, name, "is a device, a pipe or something unknown")
        self.stream.most += entry.size
        return _Member(name, parts, "file", entry.size, float(entry.mtime), (), entry)

    def open(self, member: _Member) -> IO[bytes]:
        assert self.tar is not None
        file = self.tar.extractfile(member.entry)
        assert file is not None
        return file


class _Stream:
    """The bytes of a tar, decompressed, as tarfile reads them; a header that is no header's size is not read.

    Attributes:
        most: the last byte to go to; grows by what the members hold.
    """

    mode = "rb"

    def __init__(self, raw: IO[bytes], head: bytes) -> None:
        self.most = FLOOR
        self.file: Any = raw
        if head[:2] == b"\x1f\x8b":
            self.file = gzip.GzipFile(fileobj=raw)
        elif head[:3] == b"BZh":
            self.file = bz2.BZ2File(raw)
        elif head == b"\xfd7zXZ\0":
            self.file = lzma.LZMAFile(raw)  # noqa: SIM115  # nothing of its own to close

    def tell(self) -> int:
        return int(self.file.tell())

    def seek(self, position: int, whence: int = 0) -> int:
        assert whence == 0
        self._refuse(position)
        return int(self.file.seek(position))

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self._refuse(self.tell() + size)
        return bytes(self.file.read(size))

    def _refuse(self, position: int) -> None:
        if position > self.most + LONGEST_HEADER:
            raise tarfile.ReadError(f"{self.most} bytes are not its end")


def _judge(archive: _Archive, limits: tuple[int, str], max_files: int) -> list[_Member]:
    """The members to write, in the archive's order; of a file that is there twice, the last.

    Raises:
        DatasetError: one of them is unsafe, or all are too much.
    """
    limit, why = limits
    path, total, count = archive.path, 0, 0
    places: dict[Parts, _Member] = {}
    try:
        with closing(archive.members()) as listed:
            for member in listed:
                count, total = count + 1, total + member.size
                if count > max_files:
                    raise _refusal(path, member.name, f"is one more than the {max_files} it may have")
                if total > limit:
                    raise _too_much(path, member, total, limit, why)
                before = places.pop(member.parts, None)
                if before is not None and (before.kind != member.kind or member.kind == "link"):
                    raise _refusal(path, member.name, "is there twice, one of them no file")
                if not member.parts and member.kind != "folder":
                    raise _refusal(path, member.name, "has no name")
                places[member.parts] = member
    except Exception as e:  # tarfile, zipfile and the decompressors raise what they like on broken data
        raise _unreadable(path, e) from None
    folders: set[Parts] = {()}
    for member in places.values():
        above = member.parts[:-1]
        while above not in folders:
            if above in places and places[above].kind != "folder":
                raise _refusal(path, member.name, f"goes through {'/'.join(above)!a}, which is no folder")
            folders.add(above)
            above = above[:-1]
        if member.kind == "link":
            target = places.get(member.target)
            if target is None or target.kind != "file":
                raise _refusal(
                    path, member.name, f"is a link to {'/'.join(member.target)!a}, which is none of its files"
                )
            total += target.size
            if total > limit:
                raise _too_much(path, member, total, limit, why)
    return list(places.values())


def _too_much(path: Path, member: _Member, total: int, limit: int, why: str) -> DatasetError:
    return _refusal(path, member.name, f"makes it {total} bytes unpacked, and {limit} is {why}")


def _refuse_existing(archive: Path, into: Path, plan: list[_Member]) -> None:
    """Refuse to replace what is in the folder, or to follow its links.

    Raises:
        UserError: a member would.
    """
    if not into.is_dir():
        if into.exists():
            raise UserError("it is a file, and archives are unpacked into a folder", str(into))
        return
    if not any(into.iterdir()):
        return
    seen: set[Parts] = {()}
    for member in plan:
        for n in range(1, len(member.parts) + 1):
            parts = member.parts[:n]
            there = into.joinpath(*parts)
            folder = n < len(member.parts) or member.kind == "folder"
            if parts in seen or not os.path.lexists(there):
                continue
            if not folder or there.is_symlink() or not there.is_dir():
                raise UserError(f"it is there already, and {archive.name} holds it too", str(there), NOTHING)
            seen.add(parts)


def _write(archive: _Archive, plan: list[_Member], into: Path) -> None:
    """Write the members; whatever stops it, what has been written is removed."""
    made: list[Path] = []  # files and folders, in the order they were made
    folders: set[Path] = set()
    into = into.absolute()
    total = sum(m.size for m in plan)
    desc = f"Unpacking {archive.path.name}"
    try:
        _make_folder(into, folders, made)
        with progress(total=total, unit="B", unit_scale=True, unit_divisor=1024, desc=desc) as bar:
            # A link's target may come behind it.
            for member in sorted(plan, key=lambda m: m.kind == "link"):
                path = into.joinpath(*member.parts)
                _make_folder(path if member.kind == "folder" else path.parent, folders, made)
                if member.kind == "file":
                    _write_file(archive, member, path, made, bar)
                elif member.kind == "link":
                    with open(into.joinpath(*member.target), "rb") as source, open(path, "xb") as file:
                        made.append(path)
                        shutil.copyfileobj(source, file, CHUNK)
    except BaseException as e:
        for path in reversed(made):
            with suppress(OSError):
                path.unlink() if path not in folders else path.rmdir()
        if isinstance(e, OSError):
            what = f"could not be written: {e.strerror or e}"
            hint = f"{NOTHING}; free some space, or choose another folder"
            raise UserError(what, str(e.filename or into), hint) from None
        raise


def _make_folder(folder: Path, known: set[Path], made: list[Path]) -> None:
    """Make a folder and those above it, and note which were not there."""
    missing_ones: list[Path] = []
    while folder not in known and not folder.is_dir():
        missing_ones.append(folder)
        folder = folder.parent
    known.add(folder)
    for path in reversed(missing_ones):
        path.mkdir()
        known.add(path)
        made.append(path)


def _write_file(archive: _Archive, member: _Member, path: Path, made: list[Path], bar: Any) -> None:
    """Write one file.

    Raises:
        DatasetError: it is damaged, or not of the size that the archive says.
    """
    done = 0
    with open(path, "xb") as file:
        made.append(path)
        source = None
        try:
            while True:
                try:
                    source = source or archive.open(member)
                    data = source.read(CHUNK)
                except Exception as e:  # as in `_judge`
                    raise _unreadable(archive.path, e) from None
                done += len(data)
                if done > member.size:
                    raise _refusal(archive.path, member.name, f"holds more than the {member.size} bytes it claims")
                if not data:
                    break
                file.write(data)
                bar.update(len(data))
        finally:
            if source is not None:
                source.close()
    if done < member.size:
        raise _unreadable(archive.path, EOFError(f"{member.name!a} ends at {done} of {member.size} bytes"))
    if member.modified is not None:
        with suppress(OSError, OverflowError, ValueError):  # a time that this file system does not know
            os.utime(path, (member.modified, member.modified))
