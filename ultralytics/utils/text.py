"""Text from files of strangers, on its way to a terminal, a message or a file name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import combinations

# Control characters move a terminal's cursor or set its title, direction marks hide what follows, and lone surrogates
# cannot be written at all.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_BUT_LAYOUT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
# A password in an address, that in its query too; one with a slash in it is none for a parser of addresses.
_PASSWORDS = (
    re.compile(r"(://[^\s/:@?#\[]*):[^\s/?#]*@"),
    re.compile(r"(://[^\s/:@?#\[]*):(?!\*{3}@|\d*(?:[/?#\s]|$))[^\s@]*@"),
)
_IN_QUERY = re.compile(r"([?&](?:pass|password|passwd|pwd)=)[^\s&#]+", re.IGNORECASE)
_IN_FILE_NAMES = re.compile(r'[/\\:*?"<>|]')
_LONGEST_NAME = 120  # bytes; file systems take 255, and a number and a suffix follow
_MOST_BYTES = 255
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9\u00b9\u00b2\u00b3])\s*(\..*)?", re.IGNORECASE)


def printable(text: str) -> str:
    """Return the text with unsafe characters escaped, as \\x1b; line breaks and tabs stay."""
    return _UNSAFE_BUT_LAYOUT.sub(_escaped, text)


def escaped(text: str) -> str:
    """Escape unsafe characters, line breaks and tabs too: one line from which the text can be recovered."""
    return _UNSAFE.sub(_escaped, text)


def one_line(text: str, longest: int = 4000) -> str:
    """Return the text in one line without unsafe characters, and cut in the middle when it is longer than `longest`."""
    if len(text) > longest:
        text = f"{text[: longest // 2]} … {text[-longest // 4 :]}"
    return _UNSAFE.sub(_escaped, re.sub(r"\s*[\r\n\t\v\f]\s*", " ", text))


def without_passwords(text: str) -> str:
    """Return text with *** for the passwords of the addresses in it."""
    if "://" not in text:
        return text
    for pattern in _PASSWORDS:
        text = pattern.sub(r"\1:***@", text)
    return _IN_QUERY.sub(r"\1***", text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def counted(n: int, noun: str) -> str:
    """Return a number and what it counts: "1 image", "2 images", "2 boxes", "2 epochs"."""
    if n == 1:
        return f"1 {noun}"
    takes_es = noun.endswith(("s", "x", "ch")) and not noun.endswith("epoch")
    return f"{n} {noun}{'es' if takes_es else 's'}"


def unique_names(names: Mapping[int, str], ids: Iterable[int] = ()) -> dict[int, str]:
    """Return class names that differ, in the order of their ids: of classes with one name the later ones are followed
    by their id, as "cat (3)". Classes of `ids` that have no name are called by their id, after all that have one."""
    given = {int(i): str(int(i)) for i in ids} | dict(names)
    taken, used = set(given.values()), set[str]()
    result: dict[int, str] = {}
    for i, name in sorted(given.items(), key=lambda entry: (entry[0] not in names, entry[0])):
        if name in used:
            name = f"{name} ({i})"
            while name in taken:
                name += "_"
            taken.add(name)
        used.add(name)
        result[i] = name
    return dict(sorted(result.items()))


def duration(seconds: float) -> str:
    """Return a time in the unit that a reader would choose: "80 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def likely_slips(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs of names of which the first may be a slip for the second: they differ by case and spaces alone, or by one
    letter and one has at least 20 times as many objects.

    Args:
        counts: name → objects.
    """
    found = []
    for a, b in combinations(counts, 2):
        rare, common = sorted((a, b), key=lambda n: counts[n])
        same = re.sub(r"[\s_-]", "", a).casefold() == re.sub(r"[\s_-]", "", b).casefold()
        if same or (FEW * counts[rare] <= counts[common] and _one_letter_apart(a.strip(), b.strip())):
            found.append((rare, common))
    return found


FEW = 20


def _one_letter_apart(a: str, b: str) -> bool:
    """One letter is another, missing or too much, in names of four and more; digits tell classes apart."""
    short, long = sorted((a.casefold(), b.casefold()), key=len)
    if len(short) < 4 or len(long) - len(short) > 1:
        return False
    at = next((i for i, (x, y) in enumerate(zip(short, long, strict=False)) if x != y), len(short))
    rest = at + (len(short) == len(long))
    return short[rest:] == long[at + 1 :] and not (short[at:rest] + long[at : at + 1]).isdigit()


def has_unsafe(text: str) -> bool:
    """Return True if there are characters that `printable` would escape, or line breaks or tabs."""
    return _UNSAFE.search(text) is not None


def name_key(name: str) -> str:
    """Return what two names share that some file system takes for one: case and Unicode form do not tell them apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_text(text: str) -> bool:
    """Return True if it can be written as UTF-8: a file name of other bytes holds lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def safe_name(text: str) -> str:
    """Return the text as the name of one file or folder: no separators, not hidden, neither empty nor too long."""
    name = _IN_FILE_NAMES.sub("_", _UNSAFE.sub("_", text)).strip(" .")
    return name.encode()[:_LONGEST_NAME].decode(errors="ignore").rstrip(" .") or "_"


def folder_flaw(name: str, windows: bool = os.name == "nt") -> str:
    """Return why no folder that is not hidden can have a name, as the end of a sentence that begins with the name; ""
    where one can.

    Args:
        name: any text; windows: on that system.
    """
    if not name:
        return "is empty"
    if name.startswith("."):
        return "begins with a dot, and such folders are hidden"
    if has_unsafe(name):
        return "holds control characters"
    letters = next((c for c in ('\\/:*?"<>|' if windows else "/") if c in name), "")
    if letters:
        return f"holds {letters}"
    if len(name.encode()) > _MOST_BYTES:
        return f"is longer than {_MOST_BYTES} bytes"
    if windows and name[-1] in ". ":
        return "ends with a dot or a space, which Windows leaves out"
    return "is a name of a device on Windows" if windows and _RESERVED.fullmatch(name) else ""


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def is_number(word: str) -> bool:
    """Return True if Python reads a word as a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True
