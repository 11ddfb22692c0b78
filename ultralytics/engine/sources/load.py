"""What the word `source` may be, kind by kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ultralytics.engine.sources.feeds import Capture, LiveFeed, Screen
from ultralytics.engine.sources.item import is_video
from ultralytics.engine.sources.live import RECONNECT, LiveSource
from ultralytics.engine.sources.memory import bgr, images_of
from ultralytics.engine.sources.paths import files_of, is_there, list_lines
from ultralytics.engine.sources.source import Source
from ultralytics.engine.sources.web import WebFile, clean, web_file
from ultralytics.utils.errors import DatasetError, UserError
from ultralytics.utils.images import from_pillow
from ultralytics.utils.types import UInt8Array

Entry = str | WebFile | UInt8Array | LiveFeed


class _Kind(NamedTuple):
    """Names that are no files: a pattern, and what is made of the name and the match."""

    pattern: str
    make: Callable[[str, re.Match[str]], Entry]


def _refusing(what: str, hint: str) -> Callable[[str, re.Match[str]], Entry]:
    def refuse(name: str, _: re.Match[str]) -> Entry:
        raise UserError(what, f"{name[:40]}…" if len(name) > 300 else name, hint)

    return refuse


def _of_web(name: str, _: re.Match[str]) -> Entry:
    url = clean(name)
    try:
        return web_file(url) or Capture(url)
    except UserError as e:
        return WebFile(url, is_video=False, unanswered=e)


_FETCH = "download the image or video first, and give its path"
# The first that matches counts; of two letters and more: C:/ is a drive.
KINDS = (
    _Kind(
        r"(https?:/+)?(www\.|m\.)?(youtube\.com|youtu\.be)(/.*)?",
        _refusing("videos of YouTube are not offered as a source", _FETCH),
    ),
    _Kind(r"https?:/.*", _of_web),
    _Kind(r"(rtsps?|rtmps?|rtp|srt|tcp|udp|mmsh?|hls):/.*", lambda name, _: Capture(clean(name))),
    _Kind(r"\+?(\d{1,4})", lambda _, found: Capture(int(found[1]))),
    _Kind(r"(?:webcam|camera) ?(\d{0,4})", lambda _, found: Capture(int(found[1] or 0))),
    _Kind(r"/dev/video\d+", lambda name, _: Capture(name)),
    _Kind(r"screen((?:\s+-?\d+)*)", lambda _, found: Screen(found[1].strip())),
    _Kind(r"screen\s.*", _refusing("the screen takes whole numbers", "screen [N] [LEFT TOP WIDTH HEIGHT]")),
    _Kind(r"-\d+", _refusing("a camera has a number of 0 or more", "source=0 is the first")),
    _Kind(r"data:.*", _refusing("a data: URI is not offered as a source", "save it as a file, and give its path")),
    _Kind(r"file:/.*", _refusing("give the path of a file, without file://", "")),
    _Kind(r"[a-z][a-z0-9+.-]+:/.*", _refusing("only http, https and streams are offered as a source", _FETCH)),
    _Kind(r"www\..*", _refusing("write https:// before an address of the web", "")),
)


def load_source(
    source: Any, vid_stride: int = 1, stream_buffer: bool = False, reconnect: float | None = RECONNECT
) -> Source:
    """Open a source.

    Args:
        source: a path of an image, video, folder (not those below it) or glob; the URL of an image or video; a live
            stream (its URL, the number of a camera, "screen"); a list of these (.txt, .streams); an array BGR uint8
            (H, W, 3) or grey (H, W); a Pillow image; a tensor RGB 0..1 (B, 3, H, W) or (3, H, W), which is not resized;
            a list of any of these, but of live streams alone.
        vid_stride: take every so many frames.
        stream_buffer: of live streams take every frame, not the newest.
        reconnect: seconds for which a live stream that has broken off is tried again; None: no limit.

    Raises:
        MissingFileError: no such file.
        DatasetError: nothing that could be read.
        UserError: an unknown kind of source, or one that is not offered.
    """
    if isinstance(source, Source):
        return source
    entries: list[Entry] = []
    as_is: list[bool] = []
    for one in source if isinstance(source, list | tuple) else [source]:
        found = _entries_of(one)
        entries += found
        as_is += [isinstance(one, torch.Tensor)] * len(found)
    if not entries:
        raise DatasetError("the list of sources is empty")
    silent = [e.unanswered if isinstance(e, WebFile) else None for e in entries]
    if all(silent) and silent[0] is not None:
        raise silent[0]
    if not all(isinstance(e, str | WebFile | np.ndarray) for e in entries):  # among streams it is taken for one
        entries = [Capture(e.url) if isinstance(e, WebFile) and e.unanswered else e for e in entries]
    feeds = [e for e in entries if not isinstance(e, str | WebFile | np.ndarray)]
    files = [e for e in entries if isinstance(e, str | WebFile | np.ndarray)]
    if feeds and files:
        raise UserError("a source has live streams or files, not both", feeds[0].name, "predict on each by itself")
    if feeds:
        return LiveSource(feeds, vid_stride, stream_buffer, reconnect)
    return Source(files, vid_stride, as_is)


def _entries_of(one: Any) -> list[Entry]:
    """Return what a source, or an element of a list of them, stands for."""
    if isinstance(one, str | Path):
        return _named(str(one))
    if isinstance(one, Image.Image):
        return [from_pillow(one)]
    if isinstance(one, np.ndarray):
        return [bgr(one)]
    if isinstance(one, torch.Tensor):
        return list(images_of(one))
    if isinstance(one, int | np.integer) and not isinstance(one, bool):
        return _named(str(one))
    hint = "give paths, URLs, arrays (BGR uint8), Pillow images or tensors"
    raise UserError(f"a source cannot be a {type(one).__name__}", hint=hint)


def _named(name: str, below: Path | None = None) -> list[Entry]:
    """Return what a name stands for: a file or folder of that name comes first, then what it might mean, then a glob.

    Args:
        name: of a source.
        below: folder of the list that holds it.
    """
    listed = list_lines(name, below)
    if listed is not None:
        lines, folder = listed
        found: list[Entry] = []
        for number, line in lines.items():
            try:
                found += _named(line, folder)
            except UserError as e:
                raise type(e)(f"{line}: {e.what}", f"{name}:{number}", e.hint) from None
        if not found:
            raise DatasetError("the list names nothing", name)
        files = all(isinstance(e, str | WebFile) for e in found)
        return sorted(found, key=_order) if files else found
    if not is_there(name, below) or name.startswith("/dev/video"):
        for kind in KINDS:
            if match := re.fullmatch(kind.pattern, name.strip(), re.IGNORECASE | re.DOTALL):
                return [kind.make(name.strip(), match)]
    return list(files_of(name, below))


def _order(entry: Entry) -> tuple[bool, str]:
    """Images come before videos."""
    return (entry.is_video, entry.url) if isinstance(entry, WebFile) else (is_video(str(entry)), str(entry))
