"""Images and videos of the web: fetched because the user gives their URL, kept only while they are read."""

from __future__ import annotations

import contextlib
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePath
from urllib.parse import quote, urlsplit

from ultralytics.utils.errors import UserError
from ultralytics.utils.fetch import Remote, fetch
from ultralytics.utils.images import IMAGE_SUFFIXES, MAX_PIXELS, VIDEO_SUFFIXES

MOST_IMAGE, MOST_VIDEO = MAX_PIXELS, 4 * 2**30  # bytes of a file; more is not fetched
TIMEOUT = 10.0  # seconds without a byte
_WEB = re.compile(r"https?:/", re.IGNORECASE)
_SAFE = "%/:=&?~#+!$,;'@()*[]"  # characters of a URL that stay as they are


def is_web(name: str) -> bool:
    """Return True if a name is a URL of http or https."""
    return _WEB.match(name.strip()) is not None


def clean(url: str) -> str:
    """Return a URL as servers take it: a Path has lost a slash of "https://…", and some characters need %XX."""
    return quote(re.sub(r":/+", "://", url.strip(), count=1), safe=_SAFE)


@dataclass(frozen=True)
class WebFile:
    """An image or a video of the web.

    Attributes:
        url: its address.
        is_video: it is one.
    """

    url: str
    is_video: bool

    @property
    def stem(self) -> str:
        """Return the name of the file that the URL ends with, without its suffix."""
        return PurePath(_Named(self.url).name).stem

    @contextlib.contextmanager
    def fetched(self) -> Iterator[str]:
        """Download it for the block, and remove it afterwards; yield its path.

        Raises:
            UserError: one line with the URL: it cannot be fetched, or is larger than an image or video may be.
        """
        most = MOST_VIDEO if self.is_video else MOST_IMAGE
        with tempfile.TemporaryDirectory(prefix="ultralytics-") as folder:
            yield str(fetch(_Named(self.url), Path(folder), retries=2, timeout=TIMEOUT, most=most).path)


class _Named(Remote):
    """A file whose URL may end without a name."""

    @property
    def name(self) -> str:
        """Return the last part of the URL's path, or a name of ours."""
        return super().name or "file"


def web_file(url: str) -> WebFile | None:
    """Return the image or video at a URL; None where it is a live stream. Its suffix tells, else the server is asked.

    Raises:
        UserError: there is no such host or file, or the server does not answer.
    """
    suffix = PurePath(_Named(url).name).suffix.lower()
    if suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return WebFile(url, suffix in VIDEO_SUFFIXES)
    try:
        with urllib.request.urlopen(urllib.request.Request(url), timeout=TIMEOUT) as answer:
            kind, length = answer.headers.get_content_type(), answer.headers.get("Content-Length")
    except urllib.error.HTTPError as e:
        raise UserError(f"the server answers {e.code} {e.reason}", url) from None
    except (OSError, HTTPException, ValueError) as e:
        reason = getattr(e, "reason", None) or getattr(e, "strerror", None) or e
        raise UserError(
            f"it cannot be reached: {reason}", url, "is the address right, and is there a network?"
        ) from None
    if kind.startswith("image/"):
        return WebFile(url, is_video=False)
    return WebFile(url, is_video=True) if kind.startswith("video/") and length is not None else None


def masked(address: str) -> str:
    """Return an address without the password in it, as messages and results show it."""
    try:
        parts = urlsplit(address)
        secret = parts.password
    except ValueError:
        return address
    return address.replace(f":{secret}@", ":***@", 1) if secret else address
