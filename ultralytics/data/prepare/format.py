"""The way from a source to a prepared data set, the same for every kind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ultralytics.data.prepare.annotated import Converted
from ultralytics.data.prepare.archive import is_archive, unpack
from ultralytics.data.prepare.divide import Options, divide
from ultralytics.data.prepare.folder import TakenError, fingerprint, making, prepared, write_manifest
from ultralytics.data.prepare.recognise import clearer
from ultralytics.data.prepare.sources import entry
from ultralytics.data.prepare.write import UNPACKED, Written, told_of, write_dataset
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError, UserError
from ultralytics.utils.files import real_path, user_path
from ultralytics.utils.log import LOGGER


def existing(source: str | Path) -> Path:
    """A source the user gave, as an absolute path.

    Raises:
        MissingFileError: it is not there.
    """
    path = full_path(source)
    if not os.path.exists(path):
        raise MissingFileError("there is no such source", str(path))
    if not (path.is_dir() or path.is_file()):
        raise MissingFileError("it is a device or a pipe, and a source is a file or a folder", str(path))
    return path


def full_path(given: str | Path) -> Path:
    """The absolute path a user means: labels are found by the folders above an image, so these must be known."""
    path = user_path(given).absolute()
    return real_path(path) if ".." in path.parts else path


def opened(source: Path, scratch: Path) -> Path:
    """The folder of a source: itself, or what an archive unpacks to, a new folder below `scratch`."""
    if not (source.is_file() and is_archive(source)):
        return source
    LOGGER.info("unpacking %s", source)
    number = len(list(scratch.iterdir())) if scratch.is_dir() else 0
    into = scratch / f"{number}-{source.name}"  # `told_of` takes the number away
    into.parent.mkdir(parents=True, exist_ok=True)
    unpack(source, into)
    return into


def opened_folder(source: Path, scratch: Path) -> Path:
    """`opened`, for sources of many files.

    Raises:
        MissingFileError: the source is one file.
    """
    folder = opened(source, scratch)
    if not folder.is_dir():
        what = "it is a file, and a source is a folder or an archive"
        raise MissingFileError(what, str(source), f"its folder: source={source.parent}")
    return folder


def inner(folder: Path) -> Path:
    """A folder, or the one below it when that is all it holds."""
    while True:
        below = [p for p in folder.iterdir() if p.name != "__MACOSX" and not p.name.startswith(".")]
        if len(below) != 1 or not below[0].is_dir():
            return folder
        folder = below[0]


def make_dataset(
    out: Path,
    kind: str,
    options: Mapping[str, Any],
    sources: list[dict[str, Any]],
    read: Callable[[Path], Converted],
    wanted: Options,
    given: Iterable[Path] = (),
    mark: str = "",
) -> Path:
    """Make a data set in a folder beside OUT that becomes OUT when it is whole.

    Args:
        out: not there, or empty; kind, options, sources: for the manifest; `read` may add to `sources`.
        read: is given a folder it may unpack archives into; images in it are moved, others copied or linked.
        given: the source, and folders its images are in: OUT may lie in none of them; mark: its `fingerprint`.

    Raises:
        ConfigError: OUT lies in the source; UserError: of `read`; it cannot be written; nothing of OUT is left then.
    """
    place, given = Path(os.path.realpath(out)), list(given)
    for folder in (Path(os.path.realpath(g)) for g in given):
        if folder.is_dir() and place.is_relative_to(folder):
            raise ConfigError("it lies in the source, which stays as it is", str(out), f"an out= beside {folder}")
    try:
        with making(out) as folder:
            converted, written = _make(folder, out, kind, options, sources, read, wanted, mark, given)
    except TakenError:
        done = prepared(out, kind, options, mark)  # another process may have made the same meanwhile
        if done is None:
            raise
        return done
    written.report(out, converted)
    return out / "data.yaml"


def _make(
    folder: Path,
    out: Path,
    kind: str,
    options: Mapping[str, Any],
    sources: list[dict[str, Any]],
    read: Callable[[Path], Converted],
    wanted: Options,
    mark: str,
    given: Sequence[Path],
) -> tuple[Converted, Written]:
    """`make_dataset` in FOLDER, which will become OUT."""
    try:
        converted = read(folder / UNPACKED)
        divide(converted, wanted)
        converted.notes = [told_of(folder, note) for note in converted.notes]
        written = write_dataset(folder, converted, wanted.images)
        shutil.rmtree(folder / UNPACKED, ignore_errors=True)
        write_manifest(
            folder,
            kind=kind,
            options=options,
            sources=sources,
            splits=written.images,
            objects=written.objects,
            ignored=written.ignored,
            left_out=written.left_out,
            mark=mark,
        )
    except UserError as e:
        error = e
        if isinstance(e, DatasetError | MissingFileError):
            scratch = folder / UNPACKED
            error = clearer(kind, [scratch] if scratch.is_dir() else given, given, out, e)
            if not error.where and given:
                error = type(error)(error.what, str(given[0]), error.hint)
        raise type(error)(*(told_of(folder, text) for text in (error.what, error.where, error.hint))) from None
    except OSError as e:
        raise storage_error(e, folder, out) from None
    return converted, written


def storage_error(e: OSError, folder: Path, out: Path) -> UserError:
    """What to tell of a system's error while FOLDER, which was to become OUT, was filled."""
    told = str(e.filename2 or e.filename or folder)
    if told.startswith(str(folder)):
        where = str(out) + told.removeprefix(str(folder))
        return UserError(f"could not be written: {e.strerror or e}", where, "free some space or choose another out=")
    return UserError(f"it cannot be read: {e.strerror or e}", told)


def prepare_folder(
    kind: str,
    source: str | Path,
    out: str | Path,
    options: Mapping[str, Any],
    read: Callable[[Path, Path], Converted],
    wanted: Options,
) -> Path:
    """Prepare a folder or an archive of the user's own.

    Args:
        kind: of the data set; out: the folder to make; options: of the manifest, beside the source and the draw.
        read: is given the folder, or what the archive was unpacked to, and a folder it may write images into.

    Returns:
        The data set's YAML.

    Raises:
        UserError: what is wrong with the source, the options or OUT.
    """
    place, target = existing(source), user_path(out)
    options = {"source": str(place), **options, **wanted.drawn()}
    mark = fingerprint([place])
    done = prepared(target, kind, options, mark)
    if done is not None:
        return done
    packed = place.is_file() and is_archive(place)
    described = entry(place) if packed else {"name": place.name}

    def find(scratch: Path) -> Converted:
        return read(opened_folder(place, scratch), scratch)

    return make_dataset(target, kind, options, [described], find, wanted, [place], mark)
