"""Downloads that go on where they broke off, and are checked before anything reads them.

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
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from ultralytics.utils.errors import UserError
from ultralytics.utils.files import Checksums, is_at, lock, write_json
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.text import one_line

CHUNK = 1 << 18  # bytes per read
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before another attempt; doubled with each in vain
TRY_AGAIN = (408, 429)  # answers in the 400s that ask for another attempt
BY_HAND = "download it by hand, and give the file as a local source"


@dataclass(frozen=True)
class Remote:
    """A file to download, and what is published of it.

    Attributes:
        url: http or https; size: bytes; md5, sha256: in hexadecimal. None or "" where nothing is published.
    """

    url: str
    size: int | None = None
    md5: str = ""
    sha256: str = ""

    @property
    def name(self) -> str:
        """The last part of the URL's path; "" where it is no name for a file."""
        try:
            name = unquote(urlsplit(self.url).path.rpartition("/")[2])
        except ValueError:
            return ""
        return "" if name in (".", "..") or any(c in "/\\:" or not c.isprintable() for c in name) else name

    @property
    def published(self) -> tuple[str, str]:
        """The strongest checksum: its kind and value; two empty strings where there is none."""
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
    url: str


class _BrokenOffError(Exception):
    """The connection failed; another attempt goes on from what there is."""


class _WrongError(Exception):
    """What came, or is offered, is not what was published."""


class _Hashes(Checksums):
    """The checksums of a download."""

    def check(self, file: IO[bytes], name: str) -> None:
        """Take in the rest of an open file, with a progress bar."""
        total = os.fstat(file.fileno()).st_size
        with progress(total=total, unit="B", unit_scale=True, unit_divisor=1024, desc=f"Checking {name}") as bar:
            self.read(file, bar.update)

    def fault(self, remote: Remote) -> str:
        """What differs from what is published: "" when nothing does."""
        if remote.size is not None and self.size != remote.size:
            return f"{self.size} bytes came, expected {remote.size}"
        kind, expected = remote.published
        got = self.hexdigests[kind] if kind else ""
        return f"its {kind} is {got}, expected {expected}" if got != expected else ""

    def fetched(self, path: Path, url: str) -> Fetched:
        return Fetched(path, self.size, url=url, **self.hexdigests)


def fetch(
    remote: Remote,
    folder: Path,
    retries: int = 5,
    timeout: float = 30.0,
    pause: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Download a file into a folder; what an earlier attempt left, in any process, is gone on from.

    Nothing is fetched when the folder holds the file and it is what was published. Two processes may ask for the same
    file: one downloads, the other waits.

    Args:
        remote: the file; folder: is made when missing.
        retries: attempts in vain, one after the other, before giving up; an attempt that brought anything is not one.
        timeout: seconds without a byte after which the connection counts as broken.
        pause: waits for a number of seconds.

    Raises:
        UserError: one line with the URL: no such file, no connection, not what was published, or no room for it.
    """
    _check(remote)
    path = folder / remote.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            if (there := _there(remote, path)) is not None:
                return there
            with open(_beside(path, ".part"), "ab+", buffering=0) as file:
                if lock(file) is False:
                    LOGGER.info("%s: another process is downloading it; waiting", path)
                    lock(file, wait=True)
                # The process before may have finished, and renamed what is locked here.
                if is_at(file, _beside(path, ".part")):
                    return _Download(remote, path, file, timeout).run(retries, pause)
    except OSError as e:
        raise UserError(
            f"could not be written: {e.strerror or e}",
            str(e.filename or _beside(path, ".part")),
            "free some space, or choose another folder; what came is kept",
        ) from None


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _check(remote: Remote) -> None:
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
    if parts.username is not None:
        raise UserError("the address holds a user name", parts.hostname or "", BY_HAND)
    if not usable:
        raise UserError("not a usable address", ascii(remote.url), "write special characters as %XX")
    if not remote.name:
        raise UserError("the address names no file", remote.url)


def _there(remote: Remote, path: Path) -> Fetched | None:
    """The file where an earlier download left it, when it is what was published."""
    if path.is_dir():
        raise UserError("it is a folder, and a file is to be downloaded there", str(path), "choose another folder")
    if not path.is_file():
        return None
    hashes = _Hashes()
    if remote.size is None or path.stat().st_size == remote.size:
        with open(path, "rb") as file:
            hashes.check(file, path.name)
        if not (fault := hashes.fault(remote)):
            LOGGER.info("%s is there already", path)
            return hashes.fetched(path, remote.url)
    else:
        fault = f"it has {path.stat().st_size} bytes, expected {remote.size}"
    LOGGER.warning("%s is there, but it is not what was published (%s); downloading it anew", path, fault)
    return None


class _Download:
    """One file on its way. `hashes` always covers what the open part holds, `hashes.size` bytes."""

    def __init__(self, remote: Remote, path: Path, file: IO[bytes], timeout: float) -> None:
        self.remote, self.path, self.file, self.timeout = remote, path, file, timeout
        self.hashes = _Hashes()
        self.note: dict[str, Any] = {}
        self.reached = False  # whether the server has answered
        self.opener = urllib.request.build_opener(_Redirects)

    def run(self, retries: int, pause: Callable[[float], None]) -> Fetched:
        """Attempt until the file is whole, and give it its name."""
        try:
            self._recall()
            self._attempts(retries, pause)
            os.fsync(self.file.fileno())
            if os.name == "nt":  # it does not rename what is open
                self.file.close()
            os.replace(_beside(self.path, ".part"), self.path)
            _beside(self.path, ".part.json").unlink(missing_ok=True)
        except KeyboardInterrupt:
            if self.hashes.size:
                LOGGER.warning("%s: interrupted; the same command goes on from %s", self.path.name, self._amount())
            raise
        finally:
            if not self.file.closed and not os.fstat(self.file.fileno()).st_size:
                self._remove()
        return self.hashes.fetched(self.path, self.remote.url)

    def _attempts(self, retries: int, pause: Callable[[float], None]) -> None:
        furthest, vain, wrong = self.hashes.size, 0, 0
        while True:
            try:
                self._attempt()
                return
            except _BrokenOffError as e:
                vain = 1 if self.hashes.size > furthest else vain + 1
                furthest = max(furthest, self.hashes.size)
                if vain > retries:
                    kept = f"the same command goes on from {self._amount()}" if self.hashes.size else "try later"
                    raise UserError(f"the download failed: {e}", self.remote.url, kept) from None
                LOGGER.warning("%s: %s; trying again from %s", self.path.name, e, self._amount())
            except _WrongError as e:
                wrong += 1
                if wrong > 1:
                    raise UserError(f"not the published file: {e}", self.remote.url, BY_HAND) from None
                LOGGER.warning("%s: not the published file: %s; trying once more", self.path.name, e)
            pause(min(FIRST_PAUSE * 2 ** (max(vain, 1) - 1), LONGEST_PAUSE))

    def _attempt(self) -> None:
        """Ask for what is missing, take it in, and check the whole."""
        if not self._whole():
            self._stream()
        fault = self.hashes.fault(self.remote)
        if fault:
            self._restart()
            raise _WrongError(fault)

    def _whole(self) -> bool:
        return self.hashes.size > 0 and self.hashes.size == self._expected()

    def _expected(self) -> int | None:
        """The whole file's bytes, as published or else as the server says."""
        return self.note.get("size") if self.remote.size is None else self.remote.size

    def _amount(self) -> str:
        return f"byte {self.hashes.size:,}" if self.hashes.size else "the start"

    def _recall(self) -> None:
        """Take over what an earlier process left, where it is known to be a part of this file."""
        note = _read_note(_beside(self.path, ".part.json"))
        known = note.get("etag") or note.get("modified") or self.remote.published[0]
        size = os.fstat(self.file.fileno()).st_size
        self.note = note if note.get("url") == self.remote.url and known else {}
        expected = self._expected()
        if not self.note or not size or (expected is not None and size > expected):
            self._restart()
            return
        self.file.seek(0)
        self.hashes.check(self.file, self.path.name)
        LOGGER.info("%s: going on from %s", self.path.name, self._amount())

    def _restart(self) -> None:
        self.file.truncate(0)  # it is open for appending: writes go to its end, wherever that is
        self.hashes, self.note = _Hashes(), {}

    def _remove(self) -> None:
        for suffix in (".part", ".part.json"):
            with suppress(OSError):
                _beside(self.path, suffix).unlink(missing_ok=True)

    def _stream(self) -> None:
        """Take in one answer of the server's, up to its end or the connection's."""
        begin = self.hashes.size
        response = self._open(begin)
        if response is None:  # the server says that there is no more
            return
        with response:
            if response.status not in (200, 206):
                raise UserError(
                    f"the server answers {response.status} {one_line(str(response.reason))}", self.remote.url, BY_HAND
                )
            end = self._accept(response, begin)
            total = end if end is not None else self._expected()
            self._room(total)
            with progress(
                total=total,
                initial=self.hashes.size,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                desc=self.path.name,
            ) as bar:
                while end is None or self.hashes.size < end:
                    data = self._read(response, CHUNK if end is None else min(CHUNK, end - self.hashes.size))
                    if not data:
                        break
                    if self.remote.size is not None and self.hashes.size + len(data) > self.remote.size:
                        self._restart()
                        raise _WrongError(f"more than the expected {self.remote.size} bytes come")
                    self._write(data)
                    bar.update(len(data))
        # Without a length, the connection's end is the file's, unless it is known to be longer.
        expected = self._expected() if end is None else max(end, self._expected() or 0)
        if expected is not None and self.hashes.size < expected:
            raise _BrokenOffError(f"the connection broke at {self.hashes.size} of {expected} bytes")

    def _accept(self, response: http.client.HTTPResponse, begin: int) -> int | None:
        """Check what the server offers against what is known; the byte at which its answer ends, where it says so."""
        length = response.length  # None without a length, or where it comes in pieces
        if response.status == 206:
            span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
            if span is None or int(span[1]) != begin or int(span[2]) < begin:
                offered = ascii(response.headers.get("Content-Range", "nothing"))
                self._restart()
                raise _BrokenOffError(f"asked for bytes from {begin}, the server offers {offered}")
            end, total = int(span[2]) + 1, None if span[3] == "*" else int(span[3])
            if length is not None and begin + length != end:
                raise _BrokenOffError(f"the server offers {length} bytes and {end - begin} at once")
            self._published(total)
            if self._changed(response) or (total is not None and self.note.get("size") not in (None, total)):
                self._restart()
                raise _BrokenOffError("the file changed on the server")
            if total is not None and self.note.get("size") is None:
                self._remember(response, total)
            return end
        self._published(length)
        if begin:
            LOGGER.info("%s: the server begins anew", self.path.name)
        self._restart()
        self._remember(response, length)
        return length

    def _published(self, total: int | None) -> None:
        if self.remote.size is not None and total not in (None, self.remote.size):
            raise _WrongError(f"the server offers {total} bytes, expected {self.remote.size}")

    def _changed(self, response: http.client.HTTPResponse) -> bool:
        """Whether the server names another version than the one the part is of."""
        for key, header in (("etag", "ETag"), ("modified", "Last-Modified")):
            before, now = self.note.get(key), response.headers.get(header)
            if before and now:
                return bool(before != now)
        return False

    def _remember(self, response: http.client.HTTPResponse, size: int | None) -> None:
        """Write down what the part is of, before its first byte."""
        etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
        self.note = {"url": self.remote.url, "etag": etag, "modified": modified, "size": size}
        write_json(_beside(self.path, ".part.json"), self.note, "out")

    def _room(self, total: int | None) -> None:
        missing = 0 if total is None else total - self.hashes.size
        free = shutil.disk_usage(self.path.parent).free
        if missing > free:
            raise UserError(
                f"{missing} bytes are to come, and the disk has room for {free}",
                str(self.path.parent),
                "free some space, or choose another folder",
            )

    def _open(self, begin: int) -> http.client.HTTPResponse | None:
        """The server's answer to a request for the bytes from `begin` on; None when it says that there are none."""
        request = urllib.request.Request(self.remote.url)
        if begin:
            request.add_header("Range", f"bytes={begin}-")
            etag = self.note.get("etag") or ""
            # A weak tag does not promise equal bytes, and may not be asked for.
            version = etag if etag and not etag.startswith("W/") else self.note.get("modified")
            if version:
                request.add_header("If-Range", version)
        try:
            response: http.client.HTTPResponse = self.opener.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as e:
            with e:
                self._refused(e, begin)
            return None
        except (OSError, http.client.HTTPException) as e:
            raise self._unreachable(e) from None
        self.reached = True
        return response

    def _refused(self, answer: urllib.error.HTTPError, begin: int) -> None:
        """Judge an answer that is an error; returns when it says that the part is the whole."""
        self.reached = True
        if answer.code == 416 and begin:
            total = re.fullmatch(r"bytes \*/(\d+)", answer.headers.get("Content-Range", "").strip())
            if total is not None and int(total[1]) == begin:
                return
            self._restart()
            raise _BrokenOffError(f"the server has no bytes from {begin} on")
        said = f"the server answers {answer.code} {one_line(str(answer.reason))}".strip()
        if answer.code >= 500 or answer.code in TRY_AGAIN:
            raise _BrokenOffError(said)
        raise UserError(said, self.remote.url, BY_HAND)

    def _unreachable(self, error: Exception) -> Exception:
        """The error to raise when no answer came."""
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        host = urlsplit(self.remote.url).hostname
        if isinstance(reason, ssl.SSLCertVerificationError):
            hint = "check this computer's clock and certificates"
            return UserError(f"{host} cannot prove who it is: {reason.verify_message}", self.remote.url, hint)
        if isinstance(reason, socket.gaierror) and not self.reached:
            return UserError(f"the host {host} is not found: {reason.strerror}", self.remote.url, "is there a network?")
        if isinstance(reason, http.client.InvalidURL):
            return UserError(f"not a usable address: {reason}", self.remote.url)
        return _BrokenOffError(f"no connection to {host}: {_why(reason, self.timeout)}")

    def _read(self, response: http.client.HTTPResponse, size: int) -> bytes:
        try:
            return response.read1(size)
        except (OSError, http.client.HTTPException) as e:
            raise _BrokenOffError(
                f"the connection broke at {self.hashes.size} bytes: {_why(e, self.timeout)}"
            ) from None

    def _write(self, data: bytes) -> None:
        self.hashes.update(data)
        rest = memoryview(data)
        while rest:  # unbuffered: the system may take less than it is given
            rest = rest[self.file.write(rest) :]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address, but not from an encrypted one to one that is not."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        to = urlsplit(newurl).scheme.lower()
        if to not in ("http", "https") or (req.type == "https" and to != "https"):
            allowed = "https" if req.type == "https" else "http and https"
            raise UserError(f"the server sends on to {newurl}, and only {allowed} is followed", req.full_url, BY_HAND)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _why(error: object, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {timeout:g} seconds"
    if isinstance(error, http.client.IncompleteRead):
        return "it ended early"
    return one_line(str(getattr(error, "strerror", None) or error or type(error).__name__))


def _read_note(file: Path) -> dict[str, Any]:
    """What NAME.part.json says; empty when it says nothing usable."""
    try:
        note = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(note, dict) or not isinstance(note.get("size"), int | None):
        return {}
    return note if all(isinstance(note.get(k), str | None) for k in ("url", "etag", "modified")) else {}
