"""Requests to servers: one opener for downloads and for what asks what a URL is."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from http.client import HTTPResponse
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from ultralytics.utils.errors import UserError

BY_HAND = "download it by hand, and give the file as a local source"
LOG_IN = "it asks for a user name and password: http://NAME:PASSWORD@HOST/…"


def hint_of(status: int) -> str:
    """Return what to do about an answer that refuses."""
    return LOG_IN if status == 401 else BY_HAND


def split_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return a URL without the user name and password in it, and these.

    Raises:
        ValueError: no URL.
    """
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    name, _, password = user.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(name), unquote(password))


def open_url(url: str, timeout: float, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """Ask a server of http or https, and return its answer.

    A user name and password in the URL are sent to its host (Basic, or Digest where it asks for that), and to no
    other to which the server sends on.

    Args:
        url: to ask.
        timeout: seconds without a byte.
        headers: of the request.

    Raises:
        OSError, HTTPException: no answer, or one that refuses.
        ValueError: no URL, or a kind of log-in that is not offered.
        UserError: the server sends on to where nothing is asked.
    """
    address, login = split_login(url)
    handlers: list[Any] = [_Redirects]
    if login is not None:
        known = urllib.request.HTTPPasswordMgrWithPriorAuth()
        host = urlunsplit((*urlsplit(address)[:2], "/", "", ""))
        known.add_password(None, host, *login, is_authenticated=True)
        handlers += [urllib.request.HTTPBasicAuthHandler(known), urllib.request.HTTPDigestAuthHandler(known)]
    request = urllib.request.Request(address, headers=dict(headers or {}))
    answer: HTTPResponse = urllib.request.build_opener(*handlers).open(request, timeout=timeout)
    return answer


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address, but not from an encrypted one to one that is not."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        to = urlsplit(newurl).scheme.lower()
        if to not in ("http", "https") or (req.type == "https" and to != "https"):
            allowed = "https" if req.type == "https" else "http and https"
            raise UserError(f"the server sends on to {newurl}, and only {allowed} is followed", req.full_url, BY_HAND)
        return super().redirect_request(req, fp, code, msg, headers, split_login(newurl)[0])
