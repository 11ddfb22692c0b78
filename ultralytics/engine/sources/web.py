"""Images, videos and streams of the web. Files are fetched because the user gives their URL, and kept only while they
are read.

A URL is judged once: what has an end is a file, all else a live stream.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePath
from urllib.parse import quote, urljoin, urlsplit

from ultralytics.utils.errors import UserError
from ultralytics.utils.fetch import Remote, fetch
from ultralytics.utils.images import IMAGE_SUFFIXES, MAX_PIXELS, VIDEO_SUFFIXES
from ultralytics.utils.web import hint_of, open_url

MOST_IMAGE, MOST_VIDEO = MAX_PIXELS, 4 * 2**30  # bytes of a file; more is not fetched
TIMEOUT = 10.0  # seconds without a byte
HEAD = 512  # bytes that say what a file is
MOST_PLAYLIST = 2**20  # bytes
_SAFE = "%/:=&?~#+!$,;'@()*[]"  # characters of a URL that stay as they are
_IMAGES = re.compile(rb"\xff\xd8\xff|\x89PNG|BM|II\*\0|MM\0\*|RIFF.{4}WEBP", re.DOTALL)
_VIDEOS = re.compile(
    rb"RIFF.{4}AVI |GIF8|.{4}(ftyp|moov|mdat|wide|free|skip)|\x1aE\xdf\xa3|FLV|\0\0\x01\xba|0&\xb2u|OggS|G.{187}G",
    re.DOTALL,
)


def clean(url: str) -> str:
    """Return a URL as servers take it: a Path has lost a slash of "https://…", some characters need %XX, and names of
    hosts have an ASCII form of their own."""
    url = re.sub(r":/+", "://", url.strip(), count=1)
    with contextlib.suppress(ValueError):  # no URL, or no name of a host
        netloc = urlsplit(url).netloc
        login, at, host = netloc.rpartition("@")
        if not host.isascii():
            url = url.replace(netloc, f"{login}{at}{host.encode('idna').decode('ascii')}", 1)
    return quote(url, safe=_SAFE)


@dataclass(frozen=True)
class WebFile:
    """An image or a video of the web.

    Attributes:
        url: its address.
        is_video: it is one.
        in_parts: a playlist of parts, which are read where they are.
        unanswered: why the server has not said what it is, when it was asked; its turn may be better.
    """

    url: str
    is_video: bool
    in_parts: bool = False
    unanswered: UserError | None = None

    @property
    def stem(self) -> str:
        """Return the name of the file that the URL ends with, without its suffix."""
        return PurePath(_Named(self.url).name).stem

    def judged(self) -> WebFile:
        """Return it, or what its server says now where it has not answered before.

        Raises:
            UserError: as `web_file`, or it is a live stream.
        """
        if self.unanswered is None:
            return self
        found = web_file(self.url)
        if found is None:
            raise UserError("a live stream, and the others are files", self.url, "predict on it by itself")
        return found

    @contextlib.contextmanager
    def fetched(self) -> Iterator[str]:
        """Download it for the block, and remove it afterwards; yield its path, or the URL of what is in parts.

        Raises:
            UserError: one line with the URL: it cannot be fetched, or is larger than an image or video may be.
        """
        if self.in_parts:
            yield self.url
            return
        most = MOST_VIDEO if self.is_video else MOST_IMAGE
        with tempfile.TemporaryDirectory(prefix="ultralytics-") as folder:
            remote = _Named(self.url)
            yield str(fetch(remote, Path(folder), retries=2, timeout=TIMEOUT, most=most, kept=False).path)


class _Named(Remote):
    """A file whose URL may end without a name."""

    @property
    def name(self) -> str:
        """Return the last part of the URL's path, or a name of ours."""
        return super().name or "file"


def web_file(url: str) -> WebFile | None:
    """Return the image or video at a URL; None where it is a live stream. Its suffix tells, else the server is asked.

    Raises:
        UserError: there is no such host or file, the server does not answer, or it has neither image nor video there.
    """
    suffix = PurePath(_Named(url).name).suffix.lower()
    if suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return WebFile(url, suffix in VIDEO_SUFFIXES)
    try:
        with open_url(url, TIMEOUT) as answer:
            return _judged(url, answer)
    except urllib.error.HTTPError as e:
        raise UserError(f"the server answers {e.code} {e.reason}", url, hint_of(e.code)) from None
    except (OSError, HTTPException, ValueError) as e:
        if isinstance(e, UserError):
            raise
        reason = getattr(e, "reason", None) or getattr(e, "strerror", None) or e
        raise UserError(
            f"it cannot be reached: {reason}", url, "is the address right, and is there a network?"
        ) from None


def _judged(url: str, answer: HTTPResponse) -> WebFile | None:
    """Return what an answer holds, by its headers and first bytes; None: a live stream."""
    kind, ends = answer.headers.get_content_type(), answer.headers.get("Content-Length") is not None
    if kind.startswith("multipart/"):  # images without end
        return None
    try:
        head = _first_bytes(answer)
    except TimeoutError:
        if ends:
            raise
        return None
    if head.lstrip(b"\xef\xbb\xbf").startswith(b"#EXTM3U"):
        finite = _playlist_ends(url, head + answer.read(MOST_PLAYLIST))
        return WebFile(url, is_video=True, in_parts=True) if finite else None
    if kind.startswith("image/") and not _VIDEOS.match(head):
        return WebFile(url, is_video=False)
    if not ends:
        return None
    if _VIDEOS.match(head) or _IMAGES.match(head):
        return WebFile(url, is_video=_VIDEOS.match(head) is not None)
    if kind.startswith("video/"):
        return WebFile(url, is_video=True)
    raise UserError(f"{kind} is neither an image nor a video", url)


def _first_bytes(answer: HTTPResponse) -> bytes:
    head = b""
    while len(head) < HEAD and (more := answer.read1(HEAD - len(head))):
        head += more
    return head


def _playlist_ends(url: str, data: bytes) -> bool:
    """Return True if a playlist (RFC 8216) says that nothing will be added to it. Of one that offers versions, the
    first is asked."""
    text = data.decode("utf-8", "replace")
    if "#EXT-X-STREAM-INF" in text:
        first = next((line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
        with open_url(urljoin(url, first), TIMEOUT) as answer:
            text = answer.read(MOST_PLAYLIST).decode("utf-8", "replace")
    return "#EXT-X-ENDLIST" in text
