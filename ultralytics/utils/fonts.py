"""Fonts for class names in any script: of those that are installed, the ones that have the letters.

matplotlib lists the fonts of the system and knows their letters; it is imported only where a name is not ASCII, or a
chart is drawn.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import logging
import os
import shutil
import sys
import tempfile
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ImageFont

from ultralytics.utils.errors import ConfigError, nearest
from ultralytics.utils.files import user_path
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import one_line

# Families that are taken before others with the same letters.
PREFERRED = (
    "DejaVu Sans", "Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", "Noto Sans CJK JP",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "SimHei",
)  # fmt: skip
_BOXES = ("LastResort", "AdobeBlank")  # fonts that have a box for every letter
_DECORATED = ("Serif", "Mono", "Condensed", "Display", "Looped", "UI", "Kufi", "Nastaliq")
# By the first word of a letter's Unicode name: the package of Debian and Ubuntu whose fonts have it.
_PACKAGES = {
    **dict.fromkeys(
        ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH"), "fonts-noto-cjk"
    ),
    "SYMBOL": "fonts-symbola",
    "LETTER": "fonts-noto-core",
}


_BUILT_IN = set("©«°±´·»‘’“”…‹›⁄™")  # PIL's built-in font has these and ASCII


class Face(NamedTuple):
    """A font file, and which of the fonts in it."""

    path: str
    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nobody calls here


class _Known(NamedTuple):
    face: Face
    family: str
    entry: Any  # matplotlib's FontEntry


def load_matplotlib() -> Any:
    """matplotlib, kept from writing its list of fonts into the home folder (it goes into a folder that ends with the
    process, unless the user has chosen one) and from failing on an MPLBACKEND that it does not know: no window is
    opened here."""
    if "matplotlib.font_manager" not in sys.modules:
        backend = os.environ.pop("MPLBACKEND", None)
        folder = None
        if "matplotlib" not in sys.modules and "MPLCONFIGDIR" not in os.environ:
            with contextlib.suppress(OSError):
                folder = os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="matplotlib-")
                atexit.register(shutil.rmtree, folder, ignore_errors=True)
        try:
            with quiet():
                import matplotlib.font_manager  # half a second to import
        finally:
            if folder is not None:
                del os.environ["MPLCONFIGDIR"]  # a process that this one starts makes its own
            if backend is not None:
                os.environ["MPLBACKEND"] = backend
        if backend:
            with contextlib.suppress(ValueError):
                matplotlib.rcParams["backend"] = backend  # for charts of the user's own
    import matplotlib.font_manager

    return matplotlib


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No remarks of matplotlib and fontTools about fonts, folders and letters: what matters of them is logged here."""
    loggers = [logging.getLogger(name) for name in ("matplotlib", "matplotlib.font_manager", "fontTools")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# Finding


@functools.cache
def _installed_faces() -> tuple[_Known, ...]:
    """Return all faces of the system and of matplotlib, plain ones first."""
    manager = load_matplotlib().font_manager
    found: dict[Face, _Known] = {}
    for entry in manager.fontManager.ttflist:
        if any(word in entry.name.replace(" ", "") for word in _BOXES):
            continue
        face = Face(os.fspath(entry.fname), getattr(entry, "index", 0))
        found.setdefault(face, _Known(face, entry.name, entry))
    for known in [k for k in found.values() if k.face.path.lower().endswith((".ttc", ".otc"))]:
        for index in range(1, 64):  # matplotlib before 3.11 sees the first face alone
            if Face(known.face.path, index) in found:
                break
            try:
                family = ImageFont.truetype(known.face.path, 10, index=index).getname()[0]
            except OSError:
                break
            found[Face(known.face.path, index)] = _Known(
                Face(known.face.path, index), family or known.family, known.entry
            )
    place = {family: i for i, family in enumerate(PREFERRED)}

    def order(known: _Known) -> tuple[Any, ...]:
        entry, family = known.entry, known.family
        weight = manager.weight_dict.get(entry.weight, entry.weight)
        plain = entry.style == "normal", abs(int(weight) - 400) <= 100 if str(weight).isdigit() else False
        decorated = any(word in family for word in _DECORATED)
        return not plain[0], not plain[1], place.get(family, len(place)), decorated, family, known.face

    return tuple(sorted(found.values(), key=order))


def _letters_of(face: Face, wanted: frozenset[str] | set[str]) -> set[str]:
    """Those of the letters that a face has; of one that cannot be read none."""
    opened = _opened(face)
    return set() if opened is None else {c for c in wanted if opened.get_char_index(ord(c))}


def _opened(face: Face) -> Any:
    """Return a face as matplotlib reads it; None where it cannot. It holds a file handle, so it is not kept."""
    from matplotlib.ft2font import FT2Font  # `load_matplotlib` has imported it

    reader: Any = FT2Font  # matplotlib's types are those of one version
    try:
        return reader(face.path, face_index=face.index) if _knows_faces() else reader(face.path)
    except (OSError, RuntimeError, ValueError):
        return None


@functools.cache
def _knows_faces() -> bool:
    """Return True if this matplotlib (3.11 and newer) draws with any face of a collection."""
    return hasattr(load_matplotlib().font_manager.FontEntry(), "index")


@functools.lru_cache(maxsize=64)
def _charmap(face: Face) -> frozenset[str]:
    """Return all letters of a face."""
    opened = _opened(face)
    return frozenset() if opened is None else frozenset(map(chr, opened.get_charmap()))


def find(font: str) -> Face:
    """Return the face that a user names: a file, the name of an installed file, or a family.

    Raises:
        ConfigError: there is none.
    """
    path = user_path(font)
    if path.is_file():
        return _can_load(font, str(path.absolute()))
    if path.name != font:
        raise ConfigError("no such font file", f"font={font}", "give a .ttf, .otf or .ttc file, or a family's name")
    try:
        known = _installed_faces()
    except Exception as e:
        raise ConfigError(f"cannot list the installed fonts: {reason(e)}", f"font={font}", "give a file") from None
    wanted = font.casefold()
    for k in known:
        if wanted in (k.family.casefold(), Path(k.face.path).name.casefold()):
            return k.face
    near = nearest(font, {k.family for k in known})
    raise ConfigError(
        "no such file, and no installed font of this name",
        f"font={font}",
        near or "give a .ttf, .otf or .ttc file; `fc-list : family` lists the families",
    )


def _can_load(font: str, path: str) -> Face:
    try:
        ImageFont.truetype(path, 12)
    except (OSError, ValueError) as e:
        raise ConfigError(f"not a usable font file: {e}", f"font={font}", "give a .ttf, .otf or .ttc file") from None
    return Face(path)


def checked_font(font: str | None) -> str | None:
    """A font that a user names, a file by its whole path; before work is done, and from whatever folder it goes on.

    Raises:
        ConfigError: as `find` does.
    """
    if font is None:
        return None
    face = find(font)
    return face.path if user_path(font).is_file() else font


def faces(text: str, font: str | None = None) -> tuple[Face, ...]:
    """The faces to write a text with: each letter in the first that has it. Empty where built-in Latin letters do.

    Letters that no installed font has are drawn as boxes, which is logged once with the package to install.

    Args:
        text: all texts that should look alike, together; font: a file or family to prefer.

    Raises:
        ConfigError: there is no such `font`.
    """
    letters = frozenset(c for c in text if not c.isascii() and _is_drawn(c))
    return _faces(letters if font or letters - _BUILT_IN else frozenset(), font)


@functools.lru_cache(maxsize=1024)
def _faces(letters: frozenset[str], font: str | None) -> tuple[Face, ...]:
    first = () if font is None else (find(font),)
    if not letters:
        return first
    try:
        with quiet():
            found = _search(letters, first)
    except Exception as e:  # matplotlib is missing or broken
        _warn_once(f"Letters such as {one_line(min(letters))!r} are drawn as boxes: {reason(e)}")
        return first
    return first + found


def _search(letters: frozenset[str], first: tuple[Face, ...]) -> tuple[Face, ...]:
    """As few installed faces as have the letters that `first` lacks."""
    known = _installed_faces()
    missing = set(letters) - _NOWHERE
    for face in first:
        missing -= _letters_of(face, missing)
    if not missing:
        return ()
    covers: dict[Face, set[str]] = {}
    for k in known:
        covers[k.face] = _letters_of(k.face, missing)
        if covers[k.face] == missing:
            return (k.face,)
    chosen: list[Face] = []
    while missing and covers:
        best = max(covers, key=lambda face: len(covers[face] & missing))  # the first of equals
        if not covers[best] & missing:
            break
        chosen.append(best)
        missing -= covers[best]
    if missing:
        _NOWHERE.update(missing)
        _tell_missing(missing)
    return tuple(chosen)


_NOWHERE: set[str] = set()  # letters that no installed font has
_TOLD: set[str] = set()


def _is_drawn(letter: str) -> bool:
    """Return True if a letter needs a glyph: joiners and variation selectors need none."""
    return unicodedata.category(letter) not in ("Cf", "Cc", "Cs", "Zs") and not "\ufe00" <= letter <= "\ufe0f"


def _tell_missing(letters: set[str]) -> None:
    by_package: dict[str, list[str]] = {}
    for letter in sorted(letters):
        script = unicodedata.name(letter, "").split(" ")[0].split("-")[0]
        kind = "LETTER" if unicodedata.category(letter)[0] in "LM" else "SYMBOL"
        by_package.setdefault(_PACKAGES.get(script, _PACKAGES[kind]), []).append(letter)
    for package, some in by_package.items():
        shown = "".join(some[:8]) + "…" * (len(some) > 8)
        _warn_once(
            f"No installed font has {shown} of the class names, drawn as boxes: install one "
            f"(Debian, Ubuntu: apt install {package}) or name one with font=FILE.ttf",
            package,
        )


def _warn_once(line: str, key: str = "") -> None:
    """A warning, once in a process for each key."""
    if key not in _TOLD:
        _TOLD.add(key)
        LOGGER.warning("%s", line)


def reason(error: BaseException) -> str:
    """Return an exception in one line."""
    text = one_line(str(error), 300).strip()
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}{': ' if text else ''}{text}"


# Drawing


def fit_for_type_42(text: str, font: str | None = None) -> bool:
    """Return True if the faces for a text have TrueType outlines; others, such as Noto CJK's, make no valid PDF font of
    type 42."""
    return not any(map(_is_cff, faces(text, font)))


@functools.cache
def _is_cff(face: Face) -> bool:
    with open(face.path, "rb") as file:
        head = file.read(12)
        if head[:4] == b"ttcf":  # a collection: where each of its fonts begins
            file.seek(12 + 4 * face.index)
            file.seek(int.from_bytes(file.read(4), "big"))
            head = file.read(4)
    return head[:4] == b"OTTO"


def families(text: str, font: str | None = None) -> list[str]:
    """Names of the faces for a text that matplotlib knows them by, in the order it should try them. `faces` says what
    the arguments are, and what is raised."""
    chosen = list(faces(text, font))
    first = [_register(chosen.pop(0))] if font is not None else []
    return [*first, "DejaVu Sans", *map(_register, chosen)]  # DejaVu Sans comes with matplotlib


@functools.cache
def _register(face: Face) -> str:
    """Give a face a name of its own in matplotlib's list, so that this face is drawn and no other of its family, and
    nothing is said about its weight."""
    manager = load_matplotlib().font_manager
    name = f"{Path(face.path).stem} {face.index} of ultralytics"
    entry = manager.FontEntry(fname=face.path, name=name, size="scalable", weight=400)
    if _knows_faces():
        entry = dataclasses.replace(entry, index=face.index)
    manager.fontManager.ttflist.append(entry)
    return name


@functools.lru_cache(maxsize=64)
def _at_size(face: Face | None, size: int) -> Any:
    return ImageFont.load_default(size) if face is None else ImageFont.truetype(face.path, size, index=face.index)


class Lettering:
    """Writes and measures text in one size, each letter in the first of several faces that has it, on one baseline.

    Args:
        size: pixels; faces: built-in Latin letters when empty.
    """

    def __init__(self, size: int, faces: tuple[Face, ...] = ()) -> None:
        self.fonts = [_at_size(face, size) for face in faces] or [_at_size(None, size)]
        self._has = [_charmap(face) for face in faces] if len(faces) > 1 else []
        self.ascent = max(font.getmetrics()[0] for font in self.fonts)

    def runs(self, text: str) -> list[tuple[Any, str]]:
        """Return the parts of a text that one font writes, and that font."""
        if not self._has:
            return [(self.fonts[0], text)]
        parts: list[tuple[Any, str]] = []
        spaces = ""  # they go with the words on both sides where those are alike, so that Arabic words keep their order
        for letter in text:
            if letter == " ":
                spaces += letter
                continue
            font = next((f for f, has in zip(self.fonts, self._has, strict=True) if letter in has), None)
            if parts and font in (None, parts[-1][0]):
                parts[-1] = parts[-1][0], parts[-1][1] + spaces + letter
            else:
                parts.append((font or self.fonts[0], spaces + letter))
            spaces = ""
        return [*parts, (self.fonts[0], spaces)] if spaces else parts

    def getlength(self, text: str) -> float:
        """Width that the text takes, pixels."""
        return float(sum(font.getlength(part) for font, part in self.runs(text)))

    def getbbox(self, text: str) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is drawn for a text, from the corner it is drawn at; pixels."""
        x, boxes = 0.0, []
        for font, part in self.runs(text):
            left, top, right, bottom = font.getbbox(part, anchor="ls")
            boxes.append((x + left, self.ascent + top, x + right, self.ascent + bottom))
            x += font.getlength(part)
        lefts, tops, rights, bottoms = zip(*boxes or [(0.0, 0.0, 0.0, 0.0)], strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)

    def draw(self, draw: Any, xy: tuple[float, float], text: str, fill: tuple[int, ...]) -> None:
        """Draw a text on a `PIL.ImageDraw`, its upper left corner at `xy`."""
        x, y = xy
        for font, part in self.runs(text):
            draw.text((x, y + self.ascent), part, fill=fill, font=font, anchor="ls")
            x += font.getlength(part)
