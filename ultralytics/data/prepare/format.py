"""The way from a source to a prepared dataset, the same for every data format."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics.cfg.tasks import tasks_of
from ultralytics.data.prepare.annotated import Converted
from ultralytics.data.prepare.archive import is_archive, unpack
from ultralytics.data.prepare.divide import Options, divide
from ultralytics.data.prepare.folder import (
    PARTS,
    SOURCE,
    fingerprint,
    make_once,
    prepared,
    rename_classes,
    write_manifest,
)
from ultralytics.data.prepare.recognise import clearer
from ultralytics.data.prepare.sources import PUBLISHED, archives, default_out, entry
from ultralytics.data.prepare.write import UNPACKED, Written, in_archive, write_dataset
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError, UserError
from ultralytics.utils.fetch import Remote
from ultralytics.utils.files import real_path, user_path
from ultralytics.utils.log import LOGGER

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ultralytics.data.prepare.divide import Keys


@dataclass
class Source:
    """What a reader reads."""

    paths: list[Path]  # files and folders as the user gave them, absolute; empty where archives were downloaded
    packed: list[Path]  # the archives among them, or in them, or downloaded
    images: Path | None  # the folder the user says the images are in; None: where the annotations say
    described: list[dict[str, Any]]  # the manifest's entries of the files; a reader may replace them
    # the manifest's options; of a published dataset a reader writes the parts it found to `PARTS`
    options: dict[str, Any]
    wanted: Options  # what every format takes
    scratch: Path  # a folder for what archives hold, and for images that a reader writes; images in it are moved

    @property
    def published(self) -> bool:
        """Return True for a published dataset, or a part of one."""
        return PARTS in self.options

    def places(self) -> list[Path]:
        """Unpack the archives; return their folders, then the files and folders that were given unpacked."""
        unpacked = []
        for number, path in enumerate(self.packed):
            LOGGER.info("unpacking %s", path)
            into = self.scratch / f"{number}-{path.name}"  # `in_archive` takes the number away
            into.parent.mkdir(parents=True, exist_ok=True)
            unpack(path, into)
            unpacked.append(into)
        return [*unpacked, *(p for p in self.paths if p not in self.packed)]

    def folder(self) -> Path:
        """Return the one folder, of the user or out of an archive.

        Raises:
            MissingFileError: the source is a file.
        """
        place = self.places()[0]
        if not place.is_dir():
            what = "it is a file, and a source is a folder or an archive"
            raise MissingFileError(what, str(place), f"its folder: source={place.parent}")
        return place


@dataclass(frozen=True)
class Format:
    """A data format."""

    name: str  # `prepare NAME`; of `PUBLISHED`, where archives of it are published
    read: Callable[[Source], Converted]  # makes images and boxes of a source
    # finds, without unpacking, which parts of the published dataset a source seems to hold; all of them without a
    # source, None where it holds another dataset. A format without it that has published archives is of that one
    # dataset.
    parts: Callable[[Path | None], list[str] | None] | None = None
    documents: bool = False  # sources may be annotation files, several at once; the manifest has their checksums
    by_id: bool = False  # annotations hold class ids, so that classes can be renamed later
    sole: bool = False  # every source is the published dataset, or a part of it, so that OUT has a default
    kinds: tuple[str, ...] = ("boxes",)  # of labels, which its annotations can be read as
    beside: Callable[[Path], list[Path]] = lambda _: []  # finds other files and folders that a source is made of

    def own(
        self, source: str | Path, out: str | Path, names: Sequence[str] | None = None, **given: Unpack[Keys]
    ) -> Path:
        """Make a dataset of a source of the user's own. Options are those of the command; for what is returned and
        raised see `prepare`."""
        return prepare(self, source, out, Options(**given), {"names": list(names) if names else None})

    def public(
        self,
        source: str | Path | None = None,
        out: str | Path | None = None,
        download: bool = False,
        mirror: str = "",
        **given: Unpack[Keys],
    ) -> Path:
        """Make a published dataset of what the user has of it, or of its archives; see `own`."""
        return prepare(self, source, out, Options(**given), download=download, mirror=mirror)

    @property
    def archives(self) -> tuple[Remote, ...]:
        """Return the published archives."""
        return PUBLISHED.get(self.name, ())

    def manifest_options(self, paths: Sequence[Path], own: Mapping[str, Any], wanted: Options) -> dict[str, Any]:
        """Return what the content of a dataset depends on.

        Args:
            paths: the source.
            own: the format's own options; a published dataset has none.
            wanted: what every format takes.
        """
        parts = self.parts(paths[0] if paths else None) if self.parts and len(paths) < 2 else None
        if parts is not None:
            return {PARTS: parts, **wanted.kept()}
        if self.archives and self.parts is None:
            return wanted.kept()
        return {SOURCE: str(paths[0]), **own, **wanted.kept()}

    def packed(
        self, paths: Sequence[Path], published: bool, out: Path, download: bool, mirror: str
    ) -> tuple[list[Path], list[dict[str, Any]]]:
        """Find the archives of a source, or download the published ones; and describe the source for the manifest."""
        if not paths:
            got = archives(self.name, out, download, mirror)
            return [path for path, _ in got], [described for _, described in got]
        found = [p for p in paths if p.is_file() and is_archive(p)]
        if published and paths[0].is_dir():
            found = [p for r in self.archives if (p := paths[0] / r.name).is_file()]
        described = [entry(p, self.archives) for p in found]
        plain = [entry(p) if self.documents and p.is_file() else {"name": p.name} for p in paths if not found]
        return found, described or plain


def prepare(
    form: Format,
    given: str | Path | Sequence[str | Path] | None,
    out: str | Path | None,
    wanted: Options,
    own: Mapping[str, Any] | None = None,
    *,
    images: Path | None = None,
    download: bool = False,
    mirror: str = "",
) -> Path:
    """Make a dataset of a source, or of the published archives where none is given. The source is not changed.

    Args:
        form: the format.
        given: the source, if any; several files where the format takes them.
        out: the folder to make; the usual one of a published dataset when None.
        wanted: what every format takes.
        own: the format's own options, for its reader and the manifest.
        images: a folder of images.
        download: fetch the published archives.
        mirror: a URL that holds them.

    Returns:
        The dataset's YAML; that of an earlier run, where it was made in the same way.

    Raises:
        MissingFileError: there is no such source, or it holds nothing of this format.
        DatasetError: nothing in it can be used.
        ConfigError: a wrong option, or OUT lies in the source.
        UserError: OUT holds something else; it cannot be downloaded or written.
    """
    paths = [existing(path) for path in ([given] if isinstance(given, str | Path) else given or ())]
    if wanted.labels not in form.kinds:
        what = f"task={wanted.task} is not offered for {form.name}"
        raise ConfigError(what, hint=f"its annotations can be read for {', '.join(tasks_of(form.kinds))}")
    beside = form.beside(paths[0]) if paths else []
    options = form.manifest_options(paths, own or {}, wanted)
    if out is None and SOURCE in options and not form.sole:
        raise ConfigError("out is missing", hint="out=data/mine")
    target = default_out(form.name, wanted.suffix) if out is None else user_path(out)
    mark = fingerprint(dict.fromkeys(p for p in [*paths, *beside] if p.exists()))
    if form.by_id and options.get("names"):
        rename_classes(target, form.name, options, mark)
    done = prepared(target, form.name, options, mark)
    if done is not None:
        return done
    packed, described = form.packed(paths, PARTS in options, target, download, mirror)
    places = [*paths, *beside, *([images] if images else [])]
    refuse_inside(target, places)

    def fill(folder: Path) -> tuple[Converted, Written]:
        source = Source(paths, packed, images, described, options, wanted, folder / UNPACKED)
        return _fill_folder(folder, target, form, source, mark, places)

    made = make_once(target, form.name, options, mark, fill)
    if made is not None:
        converted, written = made
        written.report(target, converted)
    return target / "data.yaml"


def existing(source: str | Path) -> Path:
    """Return a source the user gave as an absolute path.

    Raises:
        MissingFileError: it is not there.
    """
    path = full_path(source)
    if not os.path.exists(path):
        raise MissingFileError("there is no such source", str(path))
    if not (path.is_dir() or path.is_file()):
        raise MissingFileError("this is a device or a pipe, and a source is a file or a folder", str(path))
    return path


def full_path(given: str | Path) -> Path:
    """Return the absolute path a user means: labels are found by the folders above an image, so these must be known."""
    path = user_path(given).absolute()
    return real_path(path) if ".." in path.parts else path


def inner(folder: Path) -> Path:
    """Return a folder, or the one below it when that is all it holds."""
    while True:
        below = [p for p in folder.iterdir() if p.name != "__MACOSX" and not p.name.startswith(".")]
        if len(below) != 1 or not below[0].is_dir():
            return folder
        folder = below[0]


def refuse_inside(out: Path, given: Iterable[Path]) -> None:
    """Refuse an OUT that lies in the source, which stays as it is.

    Raises:
        ConfigError: it does.
    """
    place = Path(os.path.realpath(out))
    for folder in (Path(os.path.realpath(g)) for g in given):
        if folder.is_dir() and place.is_relative_to(folder):
            raise ConfigError("this is inside the source, which must not change", str(out), f"an out= beside {folder}")


def _fill_folder(
    folder: Path, out: Path, form: Format, source: Source, mark: str, given: Sequence[Path]
) -> tuple[Converted, Written]:
    """Read a source and write the dataset to FOLDER, which will become OUT; messages name the archives, not FOLDER."""
    try:
        converted = form.read(source)
        divide(converted, source.wanted)
        if source.wanted.labels != "boxes":
            converted.keys = {"task": source.wanted.task, **converted.keys}
        converted.notes = [in_archive(folder, note) for note in converted.notes]
        written = write_dataset(folder, converted, source.wanted.images)
        shutil.rmtree(source.scratch, ignore_errors=True)
        write_manifest(
            folder,
            kind=form.name,
            options=source.options,
            sources=source.described,
            splits=written.images,
            objects=written.objects,
            ignored=written.ignored,
            left_out=written.left_out,
            mark=mark,
        )
    except UserError as e:
        error = e
        if isinstance(e, DatasetError | MissingFileError):
            error = clearer(form.name, [source.scratch] if source.packed else given, given, out, e)
            if not error.where and given:
                error = type(error)(error.what, str(given[0]), error.hint)
        raise type(error)(*(in_archive(folder, text) for text in (error.what, error.where, error.hint))) from None
    except OSError as e:
        raise storage_error(e, folder, out) from None
    return converted, written


def storage_error(e: OSError, folder: Path, out: Path) -> UserError:
    """Return the user's error for a system's error while FOLDER, which was to become OUT, was filled."""
    path = str(e.filename2 or e.filename or folder)
    if path.startswith(str(folder)):
        where = str(out) + path.removeprefix(str(folder))
        return UserError(f"could not be written: {e.strerror or e}", where, "free some space or choose another out=")
    return UserError(f"the file cannot be read: {e.strerror or e}", path)
