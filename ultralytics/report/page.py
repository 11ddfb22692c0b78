"""The page as one file: head, style, script and sections, with a policy that lets it reach nothing."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import ultralytics
from ultralytics.report.images import Album
from ultralytics.report.markup import Html, Section, tag
from ultralytics.report.reading import is_run, read_run, study_of
from ultralytics.report.run import describe_state, run_sections, run_title
from ultralytics.report.study import PAGE, study_sections
from ultralytics.study.report import is_tune
from ultralytics.utils.errors import ConfigError, MissingFileError
from ultralytics.utils.files import user_path, write_text
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import one_line

TEMPLATE = Path(__file__).with_name("template")
ROOM = 8.0  # MB of images, as text


def find_folder(name: str | Path) -> Path:
    """Return the folder of a run or a study that a user names, by itself or by a weights file in it.

    Raises:
        UserError: there is none.
    """
    given = path = user_path(name)
    if path.is_file():
        path = path.parent.parent if path.parent.name == "weights" else path.parent
    if not path.is_dir():
        raise MissingFileError("no such run", str(path), "the folder of a run or of a study, such as runs/detect/train")
    if is_tune(path):
        raise ConfigError("this is the folder of a tune", str(given), f"tune report {path}, or the folder of a trial")
    if not _has_page(path):
        inner = sorted((f for f in path.iterdir() if f.is_dir() and _has_page(f)), key=_changed_at)
        hint = f"one of the runs in it, such as {inner[-1]}" if inner else "train, val and study make such folders"
        what = "it" if path == given else "its folder"
        raise ConfigError(f"no run and no study lies in {what}", str(given), hint)
    return path


def _has_page(path: Path) -> bool:
    return (is_run(path) or study_of(path)) and not is_tune(path)


def _changed_at(path: Path) -> float:
    return path.stat().st_mtime


def make_page(folder: Path, images: float = ROOM, live: str = "") -> str:
    """Return the page of a run's or a study's folder, of which nothing is changed.

    Args:
        folder: of a run, in whatever state, or of a study; images: MB that embedded images may take.
        live: its version, of a page that asks its own server for news.
    """
    if study_of(folder):
        name, state, parts = f"{one_line(folder.absolute().name, 100)}: study", "", study_sections(folder)
    else:
        run = read_run(folder)
        parts = run_sections(run, Album(int(images * 1e6)))
        name, state = run_title(run), describe_state(run)
    return document(name, state, parts, live)


@functools.cache
def _template(name: str) -> str:
    return (TEMPLATE / name).read_text(encoding="utf-8")


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(live: bool = False) -> str:
    """Return the Content-Security-Policy: this style, this script, images in the page itself, and nothing else."""
    rules = ["default-src 'none'", f"style-src {_hash_of(_template('style.css'))}",
             f"script-src {_hash_of(_template('page.js'))}", "img-src data:", "base-uri 'none'",
             "form-action 'none'"]  # fmt: skip
    return "; ".join([*rules, *(["connect-src 'self'"] if live else [])])


def document(name: str, state: str, parts: Sequence[Section], live: str = "") -> str:
    """Return the whole page."""
    links = [tag("li", tag("a", part.title, href=f"#{part.key}")) for part in parts]
    made = f"Made {datetime.now(timezone.utc).isoformat(' ', 'minutes')[:16]} UTC by ultralytics-fla"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy(bool(live))),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", name),
        tag("style", Html(_template("style.css"))),
    ]
    body = [
        tag("a", "Skip to the content", href="#main", class_="skip"),
        tag("header", tag("h1", name), tag("p", state, id="state") if state else ""),
        tag("noscript", tag("p", "Charts need JavaScript; everything else is shown without it.")),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("main", *(part.html() for part in parts), id="main", tabindex=-1),
        tag("footer", tag("p", f"{made} {ultralytics.__version__}. It holds all it shows and loads nothing.")),
        tag("p", id="news", role="status", class_="hidden"),
        tag("script", Html(_template("page.js"))),
    ]
    page = tag("html", tag("head", *head), tag("body", *body, data_live=live or None), lang="en")
    return f"<!doctype html>\n{page}\n"


def write_page(run: str | Path, out: str | Path | None = None, images: float = ROOM) -> Path:
    """Write the page of a run or a study.

    Args:
        run: its folder, or a weights file in it; out: the page, report.html in the folder when None.
        images: MB that embedded images may take.

    Raises:
        UserError: there is no such run, or the page cannot be written.
    """
    folder = find_folder(run)
    path = folder / PAGE if out is None else user_path(out)
    if path.is_dir():
        path = path / PAGE
    if out is not None and path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"out={out}: the page is an HTML file", hint="such as out=report.html")
    text = make_page(folder, images)
    if not path.parent.is_dir():
        raise MissingFileError("no such folder", str(path.parent), "choose another out=")
    write_text(path, text, "out")
    LOGGER.info("page     %s (%.1f MB)", path, len(text.encode()) / 1e6)
    return path
