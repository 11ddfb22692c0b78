"""Where the YAMLs a user names are looked for. Nothing depends on a settings file or on the home directory."""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ultralytics.utils.errors import MissingFileError, UserError, nearest
from ultralytics.utils.files import missing, user_path
from ultralytics.utils.yaml import read_yaml

PACKAGE = Path(__file__).resolve().parents[1]
CLONE = PACKAGE.parent
# In a clone the files lie beside the package; an installed package carries copies.
MODEL_FOLDERS = (CLONE / "cfg" / "models", PACKAGE / "bundled" / "models")
DATA_FOLDERS = (CLONE / "data", PACKAGE / "bundled" / "data")
RECIPE_FOLDERS = (CLONE / "cfg" / "recipes", PACKAGE / "bundled" / "recipes")
STUDY_FOLDERS = (CLONE / "cfg" / "studies", PACKAGE / "bundled" / "studies")
SPACE_FOLDERS = (CLONE / "cfg" / "spaces", PACKAGE / "bundled" / "spaces")
TRACKER_FOLDERS = (CLONE / "cfg" / "trackers", PACKAGE / "bundled" / "trackers")
_ANY_LETTER = re.compile(r"(yolov\d+)([a-zA-Z])")
_SCALE = re.compile(r"(yolov\d+)([nslmx])")  # whatever follows, as the reference has it


def program(mode: str, *words: str, anywhere: bool = False, launcher: Sequence[str] = ()) -> str:
    """Return a command as it can be pasted into a shell. Where nothing is installed and the working folder is not the
    clone, `python -m ultralytics` would not be found; the package's folder is run then, which needs no environment.

    Args:
        mode: the command.
        words: its options.
        anywhere: it works in every folder, not in this one alone.
        launcher: what stands between Python and the program, as `-m torch.distributed.run`.
    """
    here = not anywhere and Path.cwd() == CLONE
    start = ["-m", "ultralytics"] if here or _is_installed() else [str(CLONE / PACKAGE.name)]
    command = [_interpreter(), *launcher, *start, mode, *words]
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def _interpreter() -> str:
    """Return what to type for the interpreter in use: "python" where that means it."""
    found = shutil.which("python")
    return "python" if found and os.path.abspath(found) == sys.executable else sys.executable or "python"


def _is_installed() -> bool:
    try:
        importlib.metadata.distribution("ultralytics-fla")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


# What hints name: what there is to name, newest or nearest first.


def weights_here() -> list[str]:
    """Return the newest weights of the working folder and of the runs in it."""
    here = Path()
    found = [p for pattern in ("*.pt", "runs/*/*/weights/best.pt") for p in here.glob(pattern) if p.is_file()]
    return [str(p) for p in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True)[:SHOWN]]


def weights_hint() -> str:
    """Return `model=` with the newest weights there are."""
    found = " or ".join(shlex.quote(f"model={p}") for p in weights_here())
    return found or f"model=WEIGHTS.pt; there are none in {Path.cwd()} and its runs/"


def data_hint() -> str:
    """Return `data=` with the dataset YAMLs of the working folder and its data/, or with the bundled ones."""
    found = [p for place in (Path(), Path("data")) for p in sorted(place.glob("*.y*ml")) if _is_data(p)]
    found.sort(key=lambda p: not _is_ready(p))  # those with images first
    if found:
        return " or ".join(shlex.quote(f"data={p}") for p in found[:SHOWN]) + (", …" if len(found) > SHOWN else "")
    return f"data= your YAML, or a bundled one: {', '.join(bundled(DATA_FOLDERS))}"


def bundled(folders: Sequence[Path]) -> list[str]:
    """Return the names of the YAMLs in folders of the project."""
    return sorted({p.name for folder in folders if folder.is_dir() for p in folder.glob("*.yaml")})


SHOWN = 3
MODEL_HINT = "model=yolov8n-fla-sppf.yaml, another model YAML, or a .pt file"  # found from any folder: it is bundled
_DATA_KEYS = re.compile(rb"^(train|val|test|names)[ \t]*:", re.MULTILINE)


def _is_data(file: Path) -> bool:
    """Return True if a YAML looks like that of a dataset."""
    if not file.is_file():  # to open a pipe would wait forever
        return False
    try:
        with open(file, "rb") as opened:
            found = _DATA_KEYS.findall(opened.read(1 << 16))
    except OSError:
        return False
    return b"names" in found and len(set(found)) > 1


def _is_ready(file: Path) -> bool:
    """Return True if the train images of a dataset's YAML are there."""
    try:
        data = read_yaml(file, MissingFileError).data
        root = file.parent / user_path(str(data.get("path") or ""))
        return (root / str(data["train"])).exists()
    except (UserError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def split_scale(stem: str) -> tuple[str, str | None]:
    """Return a model's file stem without its scale letter, and the letter: "yolov8sMine" → ("yolov8Mine", "s")."""
    match = _SCALE.search(stem)
    return (stem, None) if match is None else (stem[: match.start(2)] + stem[match.end(2) :], match[2])


def find_model_yaml(name: str | Path) -> tuple[Path, str | None]:
    """Find the file of a model YAML and the scale letter in its name, None without one.

    Looked for as given, then among the bundled models; a literal name wins over the one without its scale letter.

    Raises:
        MissingFileError: listing every path tried, or the scales of the file whose name lacks the letter alone.
    """
    given = user_path(name)
    plain, letter = split_scale(given.stem)
    names = [given.name] + ([plain + given.suffix] if letter else [])
    try:
        return _find_file(given, names, MODEL_FOLDERS, "model YAML"), letter
    except MissingFileError:
        if letter is None:
            _refuse_letter(given)
        raise


def _refuse_letter(given: Path) -> None:
    """Say which scales there are where only the letter in a model YAML's name is wrong: yolov8q.yaml, yolov8N.yaml.

    Raises:
        MissingFileError: with the letters.
    """
    match = _ANY_LETTER.search(given.stem)
    if match is None:
        return
    start, end = given.stem[: match.start(2)], given.stem[match.end(2) :]
    try:
        file = _find_file(given, [f"{start}{end}{given.suffix}"], MODEL_FOLDERS, "model YAML")
        data = read_yaml(file, MissingFileError).data
    except MissingFileError:  # what it is called is not a model with another letter
        return
    scales = data.get("scales") if isinstance(data, dict) else None
    known = [s for s in scales if isinstance(s, str)] if isinstance(scales, dict) else []
    named = [s for s in known if _SCALE.match(f"yolov8{s}")]  # a name has no other letter
    if not named or match[2] in known:
        return
    meant = match[2].lower() if match[2].lower() in named else named[0]
    hint = f"did you mean {start}{meant}{end}{given.suffix}?" if meant == match[2].lower() else ""
    hint = hint or f"such as {start}{meant}{end}{given.suffix}"
    reason = f"scale {match[2]!r} is not among its scales: {', '.join(known)}"
    raise MissingFileError(f"there is no such file, and {reason}", str(given), hint)


def _finder(folders: tuple[Path, ...], kind: str) -> Callable[[str | Path], Path]:
    def find(name: str | Path) -> Path:
        """Find a file: as given, then among the bundled ones.

        Raises:
            MissingFileError: listing every path tried.
        """
        given = user_path(name)
        return _find_file(given, [given.name], folders, kind)

    return find


find_data_yaml = _finder(DATA_FOLDERS, "dataset YAML")
find_recipe = _finder(RECIPE_FOLDERS, "recipe")
find_study = _finder(STUDY_FOLDERS, "study")
find_space = _finder(SPACE_FOLDERS, "space of a tune")
find_tracker = _finder(TRACKER_FOLDERS, "tracker YAML")


def _find_file(given: Path, names: list[str], folders: tuple[Path, ...], kind: str) -> Path:
    if not given.name:  # "." and "/" name nothing that another name could stand beside
        raise missing(kind, given)
    candidates = [given.with_name(n) for n in names]
    bare = given.parent in (Path(), *(Path(*f.relative_to(f.parents[1]).parts) for f in folders), Path("data"))
    if bare and not given.is_absolute():
        # A bare name, or a path as it is written inside a clone, also means the bundled file, from any folder.
        candidates += [folder / n for folder in folders for n in names]
    for path in candidates:
        if path.is_file():
            return path
    if given.is_dir():
        raise missing(kind, given, "give the file in it")
    tried = ", ".join(dict.fromkeys(str(p.absolute()) for p in candidates))
    known = bundled(folders)
    beside = [p.name for p in given.parent.glob("*.y*ml")] if given.parent.is_dir() else []
    stems = {Path(n).stem: n for n in [*known, *beside]}  # the suffix alone makes any two names alike
    close = difflib.get_close_matches(given.stem, stems, n=3, cutoff=0.6)
    hint = nearest(given.name, [stems[s] for s in close]) or (f"bundled: {', '.join(known)}" if known else "")
    raise MissingFileError(f"no such {kind}; tried {tried}", str(given), hint)
