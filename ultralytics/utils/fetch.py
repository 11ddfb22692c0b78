"""Downloads that go on where they broke off, and are checked before anything reads them.

Clients such as requests try again, but neither go on from a part nor ask that it is of the same version: with one, all
of this would be needed as well, and a dependency.

While a file comes it is called NAME.part, and NAME.part.json says what it is a part of; NAME itself is whole and has
the size and the checksum that were published, or is not there.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import unquote, urlsplit

from ultralytics.utils.errors import UserError
from ultralytics.utils.files import Checksums, is_at, lock, not_written, write_json
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.text import masked, one_line
from ultralytics.utils.web import BY_HAND, hint_of, open_url

CHUNK = 1 << 18  # bytes per read
BYTES: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}  # of a progress bar
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before another attempt; doubled with each in vain
TRY_AGAIN = (408, 429)  # answers in the 400s that ask for another attempt


@dataclass(frozen=True)
class Remote:
    """A file to download, and what is published of it."""

    url: str  # http or https; NAME:PASSWORD@ before the host is sent where the server asks for it
    size: int | None = None  # bytes; None where it is not published
    # md5, sha256: in hexadecimal; "" where it is not published
    md5: str = ""
    sha256: str = ""

    @property
    def name(self) -> str:
        """Return the last part of the URL's path; "" where it is no name for a file."""
        try:
            name = unquote(urlsplit(self.url).path.rpartition("/")[2])
        except ValueError:
            return ""
        return "" if name in (".", "..") or any(c in "/\\:" or not c.isprintable() for c in name) else name

    @property
    def published(self) -> tuple[str, str]:
        """Return the strongest checksum: its kind and value; two empty strings where there is none."""
        for kind in ("sha256", "md5"):
            if value := getattr(self, kind).strip().lower():
                return kind, value
        return "", ""


@dataclass(frozen=True)
class Fetched:
    """A file that came whole: its size in bytes, and the checksums of what came."""

    path: Path
    size: int
    sha256: str
    md5: str
    url: str  # without its password


class _BrokenOffError(Exception):
    """The connection failed; another attempt goes on from what there is."""


class _WrongError(Exception):
    """What came, or is offered, is not what was published."""


def fetch(
    remote: Remote,
    folder: Path,
    retries: int = 5,
    timeout: float = 30.0,
    pause: Callable[[float], None] = time.sleep,
    most: int | None = None,
    kept: bool = True,
) -> Fetched:
    """Download a file into a folder; what an earlier attempt left, in any process, is gone on from.

    Nothing is fetched when the folder holds the file and it is what was published. Two processes may ask for the same
    file: one downloads, the other waits.

    Args:
        remote: the file.
        folder: is made when missing.
        retries: attempts in vain, one after the other, before giving up; an attempt that brought anything is not one.
        timeout: seconds without a byte after which the connection counts as broken.
        pause: waits for a number of seconds.
        most: bytes; a longer file is not fetched.
        kept: the folder stays after a failure, and messages may promise that the same command continues from there.

    Raises:
        UserError: one line with the URL: no such file, no connection, not what was published, too long, or no room.
    """
    _check_address(remote)
    path = folder / remote.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            if (there := _find_present(remote, path)) is not None:
                return there
            with open(_with_suffix(path, ".part"), "ab+", buffering=0) as file:
                if lock(file) is False:
                    LOGGER.info("%s: another process is downloading it; waiting", path)
                    lock(file, wait=True)
                # The process before may have finished, and renamed what is locked here.
                if is_at(file, _with_suffix(path, ".part")):
                    return _Download(remote, path, file, timeout, most, kept).run(retries, pause)
    except OSError as e:
        hint = "free some space, or choose another folder" + ("; what came is kept" if kept else "")
        raise not_written(e, _with_suffix(path, ".part"), hint) from None


def _with_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _hash_rest(sums: Checksums, file: IO[bytes], name: str) -> None:
    """Take in the rest of an open file, with a progress bar."""
    total = os.fstat(file.fileno()).st_size
    with progress(total=total, desc=f"Checking {name}", **BYTES) as bar:
        sums.read(file, bar.update)


def _unlike_published(remote: Remote, sums: Checksums) -> str:
    """Return what differs from what is published, "" when nothing does."""
    if remote.size is not None and sums.size != remote.size:
        return f"{sums.size} bytes came, expected {remote.size}"
    kind, expected = remote.published
    got = sums.hexdigests[kind] if kind else ""
    return f"its {kind} is {got}, expected {expected}" if got != expected else ""


def _as_fetched(path: Path, remote: Remote, sums: Checksums) -> Fetched:
    return Fetched(path, sums.size, url=masked(remote.url), **sums.hexdigests)


def _check_address(remote: Remote) -> None:
    """Refuse an address that cannot be one.

    Raises:
        UserError: it is not http or https, or names no file.
    """
    try:
        parts = urlsplit(remote.url)
        usable = bool(parts.hostname) and remote.url.isascii() and remote.url.isprintable() and " " not in remote.url
        _ = parts.port  # a ValueError where it is none
    except ValueError:
        raise UserError("not a usable address", remote.url) from None
    if parts.scheme.lower() not in ("http", "https"):
        raise UserError("only http and https are downloaded", remote.url, "give a local file as a local source")
    if not usable:
        raise UserError("not a usable address", ascii(remote.url), "write special characters as %XX")
    if not remote.name:
        raise UserError("the address names no file", remote.url)


def _find_present(remote: Remote, path: Path) -> Fetched | None:
    """Return the file where an earlier download left it, when it is what was published."""
    if path.is_dir():
        raise UserError("this is a folder, and a file is to be downloaded there", str(path), "choose another folder")
    if not path.is_file():
        return None
    sums = Checksums()
    fault = f"it has {path.stat().st_size} bytes, expected {remote.size}"
    if remote.size in (None, path.stat().st_size):
        with open(path, "rb") as file:
            _hash_rest(sums, file, path.name)
        fault = _unlike_published(remote, sums)
    if not fault:
        LOGGER.info("%s is there already", path)
        return _as_fetched(path, remote, sums)
    LOGGER.warning("%s is there, but it is not what was published (%s); downloading it anew", path, fault)
    return None


class _Download:
    """One file on its way. `sums` always covers what the open part holds, `sums.size` bytes."""

    def __init__(
        self, remote: Remote, path: Path, file: IO[bytes], timeout: float, most: int | None, kept: bool
    ) -> None:
        self.remote, self.path, self.file, self.timeout, self.most, self.kept = remote, path, file, timeout, most, kept
        self.sums = Checksums()
        self.note: dict[str, Any] = {}  # of NAME.part.json
        self.reached = False  # the server has answered

    def run(self, retries: int, pause: Callable[[float], None]) -> Fetched:
        """Attempt until the file is whole, and give it its name."""
        part, note = _with_suffix(self.path, ".part"), _with_suffix(self.path, ".part.json")
        try:
            self._recall()
            self._attempts(retries, pause)
            os.fsync(self.file.fileno())
            if os.name == "nt":  # it does not rename what is open
                self.file.close()
            os.replace(part, self.path)
            note.unlink(missing_ok=True)
        except KeyboardInterrupt:
            if self.sums.size and self.kept:
                LOGGER.warning("%s: interrupted; the same command goes on from %s", self.path.name, self._amount())
            raise
        finally:
            if not self.file.closed and not os.fstat(self.file.fileno()).st_size:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
                    note.unlink(missing_ok=True)
        return _as_fetched(self.path, self.remote, self.sums)

    def _attempts(self, retries: int, pause: Callable[[float], None]) -> None:
        furthest, vain, wrong = self.sums.size, 0, 0
        while True:
            try:
                if not self.sums.size or self.sums.size != self._expected():
                    self._stream()
                if fault := _unlike_published(self.remote, self.sums):
                    self._restart()
                    raise _WrongError(fault)
                return
            except _BrokenOffError as e:
                vain = 1 if self.sums.size > furthest else vain + 1
                furthest = max(furthest, self.sums.size)
                if vain > retries:
                    resumes = self.sums.size and self.kept
                    hint = f"the same command goes on from {self._amount()}" if resumes else "try later"
                    raise UserError(f"the download failed: {e}", self.remote.url, hint) from None
                LOGGER.warning("%s: %s; trying again from %s", self.path.name, e, self._amount())
            except _WrongError as e:
                wrong += 1
                if wrong > 1:
                    raise UserError(f"not the published file: {e}", self.remote.url, BY_HAND) from None
                LOGGER.warning("%s: not the published file: %s; trying once more", self.path.name, e)
            pause(min(FIRST_PAUSE * 2 ** (max(vain, 1) - 1), LONGEST_PAUSE))

    def _expected(self) -> int | None:
        """Return the whole file's bytes, as published or else as the server says."""
        return self.note.get("size") if self.remote.size is None else self.remote.size

    def _amount(self) -> str:
        return f"byte {self.sums.size:,}" if self.sums.size else "the start"

    def _recall(self) -> None:
        """Take over what an earlier process left, where it is known to be a part of this file."""
        note = _read_note(_with_suffix(self.path, ".part.json"))
        known = note.get("etag") or note.get("modified") or self.remote.published[0]
        size = os.fstat(self.file.fileno()).st_size
        self.note = note if note.get("url") == masked(self.remote.url) and known else {}
        if not self.note or not size or size > (self._expected() or size):
            self._restart()
            return
        self.file.seek(0)
        _hash_rest(self.sums, self.file, self.path.name)
        LOGGER.info("%s: going on from %s", self.path.name, self._amount())

    def _restart(self) -> None:
        self.file.truncate(0)  # it is open for appending: writes go to its end, wherever that is
        self.sums, self.note = Checksums(), {}

    def _stream(self) -> None:
        """Take in one answer of the server's, up to its end or the connection's."""
        response = self._request()
        if response is None:  # the server says that there is no more
            return
        with response:
            if response.status not in (200, 206):
                self._refuse(response.status, response.reason)
            end = self._accept(response)
            total = end if end is not None else self._expected()
            self._check_length(total)
            self._check_room(total)
            with progress(total=total, initial=self.sums.size, desc=self.path.name, **BYTES) as bar:
                while end is None or self.sums.size < end:
                    try:
                        data = response.read1(CHUNK if end is None else min(CHUNK, end - self.sums.size))
                    except (OSError, http.client.HTTPException) as e:
                        reason = f"the connection broke at {self.sums.size} bytes: {_connection_fault(e, self.timeout)}"
                        raise _BrokenOffError(reason) from None
                    if not data:
                        break
                    if self.remote.size is not None and self.sums.size + len(data) > self.remote.size:
                        self._restart()
                        raise _WrongError(f"more than the expected {self.remote.size} bytes come")
                    self._check_length(self.sums.size + len(data))
                    self.sums.update(data)
                    rest = memoryview(data)
                    while rest:  # unbuffered: the system may take less than it is given
                        rest = rest[self.file.write(rest) :]
                    bar.update(len(data))
        # Without a length, the connection's end is the file's, unless it is known to be longer.
        expected = self._expected() if end is None else max(end, self._expected() or 0)
        if expected is not None and self.sums.size < expected:
            raise _BrokenOffError(f"the connection broke at {self.sums.size} of {expected} bytes")

    def _accept(self, response: http.client.HTTPResponse) -> int | None:
        """Check what the server offers against what is known; return the byte at which its answer ends, where it says
        so."""
        begin, length = self.sums.size, response.length  # None without a length, or where it comes in pieces
        end = total = length
        if response.status == 206:
            offered = response.headers.get("Content-Range", "nothing").strip()
            span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", offered)
            if span is None or int(span[1]) != begin or int(span[2]) < begin:
                self._restart()
                raise _BrokenOffError(f"asked for bytes from {begin}, the server offers {offered!a}")
            end, total = int(span[2]) + 1, None if span[3] == "*" else int(span[3])
            if length is not None and begin + length != end:
                raise _BrokenOffError(f"the server offers {length} bytes and {end - begin} at once")
        if self.remote.size is not None and total not in (None, self.remote.size):
            raise _WrongError(f"the server offers {total} bytes, expected {self.remote.size}")
        version = {"etag": response.headers.get("ETag"), "modified": response.headers.get("Last-Modified")}
        if response.status == 206:
            # The server names another version than the one the part is of.
            known = next(((self.note[k], now) for k, now in version.items() if self.note.get(k) and now), ("", ""))
            if known[0] != known[1] or (total is not None and self.note.get("size") not in (None, total)):
                self._restart()
                raise _BrokenOffError("the file changed on the server")
        else:
            if begin:
                LOGGER.info("%s: the server begins anew", self.path.name)
            self._restart()
        if response.status == 200 or (total is not None and self.note.get("size") is None):
            # What the part is of, before its first byte.
            self.note = {"url": masked(self.remote.url), **version, "size": total}
            write_json(_with_suffix(self.path, ".part.json"), self.note, "out")
        return end

    def _check_length(self, total: int | None) -> None:
        if self.most is not None and (total or 0) > self.most:
            self._restart()
            raise UserError(f"it has more than {self.most:,} bytes", self.remote.url, BY_HAND)

    def _check_room(self, total: int | None) -> None:
        missing = 0 if total is None else total - self.sums.size
        free = shutil.disk_usage(self.path.parent).free
        if missing > free:
            what = f"{missing} bytes are to come, and the disk has room for {free}"
            raise UserError(what, str(self.path.parent), "free some space, or choose another folder")

    def _request(self) -> http.client.HTTPResponse | None:
        """Ask for what is missing; return the server's answer, None when it says that there is no more.

        Raises:
            _BrokenOffError: no answer, or one that asks for another attempt.
            UserError: another attempt would be in vain.
        """
        begin = self.sums.size
        headers = {}
        if begin:
            headers["Range"] = f"bytes={begin}-"
            etag = self.note.get("etag") or ""
            # A weak tag does not promise equal bytes, and may not be asked for.
            version = etag if etag and not etag.startswith("W/") else self.note.get("modified")
            if version:
                headers["If-Range"] = version
        try:
            response = open_url(self.remote.url, self.timeout, headers)
        except urllib.error.HTTPError as answer:
            with answer:
                self.reached = True
                if answer.code != 416 or not begin:
                    self._refuse(answer.code, answer.reason)
                if answer.headers.get("Content-Range", "").strip() == f"bytes */{begin}":
                    return None
                self._restart()
                raise _BrokenOffError(f"the server has no bytes from {begin} on") from None
        except (OSError, http.client.HTTPException) as e:
            raise self._unreachable(e) from None
        except ValueError as e:
            raise UserError(f"it cannot be asked for: {e}", self.remote.url, BY_HAND) from None
        self.reached = True
        return response

    def _refuse(self, status: int, reason: object) -> NoReturn:
        message = f"the server answers {status} {one_line(str(reason))}".strip()
        if status >= 500 or status in TRY_AGAIN:
            raise _BrokenOffError(message)
        raise UserError(message, self.remote.url, hint_of(status))

    def _unreachable(self, error: Exception) -> Exception:
        """Return the error to raise when no answer came."""
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        host = urlsplit(self.remote.url).hostname
        if isinstance(reason, ssl.SSLCertVerificationError):
            hint = "check this computer's clock and certificates"
            return UserError(f"{host} cannot prove who it is: {reason.verify_message}", self.remote.url, hint)
        if isinstance(reason, socket.gaierror) and not self.reached:
            return UserError(f"the host {host} is not found: {reason.strerror}", self.remote.url, "is there a network?")
        if isinstance(reason, http.client.InvalidURL):
            return UserError(f"not a usable address: {reason}", self.remote.url)
        return _BrokenOffError(f"no connection to {host}: {_connection_fault(reason, self.timeout)}")


def _connection_fault(error: object, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {timeout:g} seconds"
    if isinstance(error, http.client.IncompleteRead):
        return "it ended early"
    return one_line(str(getattr(error, "strerror", None) or error or type(error).__name__))


def _read_note(file: Path) -> dict[str, Any]:
    """Return what NAME.part.json says; nothing when it says nothing usable."""
    try:
        note = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(note, dict) or not isinstance(note.get("size"), int | None):
        return {}
    return note if all(isinstance(note.get(k), str | None) for k in ("url", "etag", "modified")) else {}
