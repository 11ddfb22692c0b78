"""The folder of a prepared dataset: whole, with a manifest that says what it was made from, or not there.

OUT/images/SPLIT, OUT/labels/SPLIT, OUT/ignore/SPLIT, OUT/data.yaml and OUT/manifest.json.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import yaml

from ultralytics import __version__
from ultralytics.data.labels import label_file
from ultralytics.data.prepare.archive import SUFFIXES, is_archive
from ultralytics.utils.errors import UserError
from ultralytics.utils.files import is_at, lock, not_written, read_bytes, write_json, write_text
from ultralytics.utils.images import IMAGE_SUFFIXES
from ultralytics.utils.log import LOGGER
from ultralytics.utils.walk import walk_files
from ultralytics.utils.yaml import read_yaml

FORMAT = 1  # of the manifest
# By kind, the version of what is made of the same source and options, 1 where it never changed. Raise it when it does.
READERS = {"coco": 2, "dota": 2}
ANOTHER = "choose another out=, or remove it"
PARTS = "parts"  # the option that says which parts of a published dataset were found, in one order
SOURCE = "source"  # the option that says where it is; absent for a published dataset
HASHED = (".xml", ".json", ".txt", ".yaml", ".yml", *SUFFIXES)  # of a source's files, those that a fingerprint is of
END = 1 << 20  # bytes
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


T = TypeVar("T")


class TakenError(UserError):
    """OUT came to hold something while a dataset was to be made there."""


def fingerprint(paths: Iterable[Path]) -> str:
    """Return what changes when a source does: "packed:" or "plain:", and the SHA-256 over the names, sizes and times of
    change of its annotations. Of an archive it takes the size and both ends, where members are listed, so it is quick.

    Args:
        paths: folders and files of the source; "" where there are none.
    """
    parts: list[tuple[object, ...]] = []
    packed = False
    for path in paths:
        for name in sorted(f for f in _list_files(path) if f.lower().endswith(HASHED)) if path.is_dir() else [""]:
            file = path / name
            if not os.path.isfile(file):  # a link that leads nowhere, or a pipe
                continue
            if name.lower().endswith(SUFFIXES) or (not name and is_archive(file)):
                parts.append((file.name, *_hash_ends(file)))
                packed = True
            else:
                entry = os.stat(file)
                parts.append((name or file.name, entry.st_size, entry.st_mtime_ns))
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return f"{'packed' if packed else 'plain'}:{digest}" if parts else ""


def _hash_ends(path: Path) -> tuple[object, ...]:
    """Return a file's size and the SHA-256 of its first and last bytes."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.sha256()
        for start in (0, max(size - END, 0)):
            file.seek(start)
            digest.update(file.read(END))
    return size, digest.hexdigest()


def prepared(out: Path, kind: str, options: Mapping[str, Any], mark: str = "") -> Path | None:
    """Return the YAML of a dataset that is there already, made in the same way; None where nothing is.

    Args:
        out: its folder.
        kind: what it is made from, such as "voc".
        options: what its content depends on, as plain data.
        mark: the source's `fingerprint`, "" where it is not to be compared.

    Raises:
        UserError: the folder holds something else, another dataset, one of another or a changed source, or one from
        which images have been removed.
    """
    where = str(out)
    try:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return None
        if not out.is_dir():
            raise UserError("this is a file, and a dataset is a folder", where, "choose another out=")
        if not (out / "manifest.json").is_file():
            # Whatever it is, perhaps the source itself, no hint says to remove it.
            raise UserError("the folder holds something else than a prepared dataset", where, "choose another out=")
    except OSError as e:
        raise UserError(f"this cannot be read: {e.strerror or e}", str(e.filename or out)) from None
    manifest = read_manifest(out)
    if manifest is None:
        raise UserError("manifest.json is not one that this version writes", where, ANOTHER)
    if manifest["kind"] != kind:
        raise UserError(
            f"the folder contains another kind of dataset: {manifest['kind']!r}, not {kind!r}", where, ANOTHER
        )
    wanted, there = json.loads(json.dumps(dict(options))), manifest["options"]
    # Options differ in number where the source is of another kind: that is reported, not what it brings with it.
    for key in sorted({*wanted, *there}, key=lambda k: (k not in (SOURCE, PARTS), k != SOURCE, k)):
        if wanted.get(key) != there.get(key):
            raise UserError(_describe_difference(key, there.get(key), wanted.get(key)), where, ANOTHER)
    before = manifest.get("fingerprint") or mark  # earlier versions did not write it down
    if mark != before and mark.partition(":")[0] == str(before).partition(":")[0]:
        raise UserError("the dataset was made from another source, or the source has changed since", where, ANOTHER)
    if not (out / "data.yaml").is_file():
        raise UserError("data.yaml is missing there", where, "remove it, to make it anew")
    check_whole(out, manifest["splits"])
    if manifest.get("reader", 1) < reader_of(kind, options):
        what = "made by an earlier version of prepare: remove it, or give another out=, to make it anew"
        LOGGER.warning("%s: %s", out, what)
    LOGGER.info("%s is there already", out)
    return out / "data.yaml"


def reader_of(kind: str, options: Mapping[str, Any]) -> int:
    """Return the version of what is made of a kind of source: of `READERS`, but coco's boxes never changed."""
    return 1 if kind == "coco" and "task" not in options else READERS.get(kind, 1)


def rename_classes(out: Path, kind: str, options: Mapping[str, Any], mark: str) -> None:
    """Rename the classes of a prepared dataset where that is all that differs: its source named none, its user does.
    Labels hold ids, so only data.yaml and the manifest are written. Arguments are as in `prepared`, which says what
    else differs. Raises UserError: the dataset cannot be read or written."""
    if not all((out / name).is_file() for name in ("manifest.json", "data.yaml")):
        return
    manifest, names = read_manifest(out), list(options["names"])
    there = {} if manifest is None else dict(manifest["options"])
    if manifest is None or manifest["kind"] != kind or manifest.get("fingerprint") != mark:
        return
    if there.pop("names", 0) is not None or there != {k: v for k, v in options.items() if k != "names"}:
        return
    spec = read_yaml(out / "data.yaml", UserError).data
    objects = manifest.get("objects")
    if not isinstance(spec, dict) or not isinstance(objects, dict) or len(names) < len(objects):
        return
    spec["names"] = dict(enumerate(names))
    write_text(out / "data.yaml", yaml.safe_dump(spec, sort_keys=False, allow_unicode=True), "out")
    counts = [*objects.values(), *[0] * (len(names) - len(objects))]
    manifest["options"]["names"] = names
    manifest["objects"] = dict(zip(names, counts, strict=True))
    write_json(out / "manifest.json", manifest, "out")
    LOGGER.info("%s: its classes are now called %s", out, ", ".join(names))


def _describe_difference(key: str, there: Any, wanted: Any) -> str:
    """Return how an option differs; of PARTS, which of them."""
    if key == SOURCE:
        before, now = (
            ", ".join(map(str, v if isinstance(v, list) else [v or "the published set"])) for v in (there, wanted)
        )
        return f"it was made from another source: {before}, not {now}"
    if key == PARTS and isinstance(there, list) and isinstance(wanted, list):
        lacks, beyond = ([str(p) for p in a if p not in b] for a, b in ((wanted, there), (there, wanted)))
        differing = [f"without {' and '.join(lacks)}"] if lacks else []
        differing += [f"with {' and '.join(beyond)} too"] if beyond else []
        return f"it was made {', '.join(differing)}"
    return f"it was made with {key}={there!r}, not {key}={wanted!r}"


def check_whole(out: Path, splits: Mapping[str, int]) -> None:
    """Check that every image is there that the manifest counts, and its label file.

    Raises:
        UserError: some are missing.
    """
    hint = "remove it, to make it anew"
    for split, expected in splits.items():
        in_classes = not (out / "images").is_dir()  # a folder for each class, which needs no labels
        folder = os.path.abspath(out / split if in_classes else out / "images" / split)
        images = [f for f in _list_files(Path(folder)) if os.path.splitext(f)[1].lower() in IMAGE_SUFFIXES]
        if len(images) < expected:
            raise UserError(f"{expected - len(images)} of its {expected} {split} images are missing", str(out), hint)
        bare = sum(not os.path.isfile(label_file(os.path.join(folder, *f.split("/")))) for f in images)
        if bare and not in_classes:
            raise UserError(f"{bare} of its {len(images)} {split} label files are missing", str(out), hint)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the content of folder/manifest.json; None where it is not as this version writes one.

    Raises:
        UserError: it cannot be read.
    """
    try:
        data = json.loads(read_bytes(folder / "manifest.json").decode("utf-8", "surrogateescape"))
    except OSError as e:
        raise UserError(f"the file cannot be read: {e.strerror or e}", str(folder / "manifest.json")) from None
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return None
    shaped = isinstance(data.get("kind"), str) and all(isinstance(data.get(k), dict) for k in ("options", "splits"))
    numbers = [*data["splits"].values(), data.get("reader", 1)] if shaped else [None]
    return data if all(isinstance(n, int) for n in numbers) else None


def walk(folder: Path, passed: list[str] | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Walk a folder and those below it as `walk_files` does, each real folder once.

    Args:
        folder: where to begin; what cannot be listed counts as empty.
        passed: filled with "path: why" for every pipe, socket, device and repeated folder that was passed over.

    Yields:
        A folder and the names of its regular files (links to them too), sorted.
    """
    notes: list[str] = [] if passed is None else passed
    skipped: list[str] = []
    for here, names in walk_files(folder, skipped=skipped):
        files: list[str] = []
        for name in sorted(names):
            path = os.path.join(here, name)
            if os.path.isfile(path):
                files.append(name)
            elif os.path.exists(path):
                notes.append(f"{path}: it is a pipe, a socket or a device; it is passed over")
        yield Path(here), files
    notes += [f"{link}: it leads to a folder that is read already, or holds it; it is read once" for link in skipped]


def _list_files(folder: Path) -> Iterator[str]:
    """List every regular file below a folder, relative to it, with "/" between its parts; in no order."""
    for root, names in walk(folder):
        below = root.relative_to(folder).as_posix()
        yield from (name if below == "." else f"{below}/{name}" for name in names)


def labels_hash(folder: Path) -> str:
    """Return the SHA-256 over the label files: each name below labels/, in sorted order, a zero byte, its content's
    SHA-256. Without that folder (folders of classes) it is that of the images' names, a zero byte after each."""
    total = hashlib.sha256()
    labels = folder / "labels"
    if not labels.is_dir():
        names = (f for f in _list_files(folder) if os.path.splitext(f)[1].lower() in IMAGE_SUFFIXES)
        total.update(b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in sorted(names)))
        return total.hexdigest()
    for name in sorted(f for f in _list_files(labels) if f.endswith(".txt")):
        total.update(name.encode("utf-8", "surrogateescape") + b"\0")
        total.update(hashlib.sha256(read_bytes(labels / name)).digest())
    return total.hexdigest()


def write_manifest(
    folder: Path,
    kind: str,
    options: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    splits: Mapping[str, int],
    objects: Mapping[str, int],
    ignored: int = 0,
    left_out: int = 0,
    mark: str = "",
) -> None:
    """Write folder/manifest.json, last of all: it says that the rest is there.

    Args:
        folder: of the dataset, its labels written.
        kind, options: as `prepared` is asked for them.
        sources: name, size, sha256 and perhaps md5 and url of each file it was made from.
        splits: images per split.
        objects: objects per class name.
        ignored: objects that are not rewarded or punished.
        left_out: images that could not be used.
        mark: the source's `fingerprint`.

    Raises:
        UserError: it cannot be written.
    """
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "created_by": __version__,
        "options": dict(options),
        "sources": [dict(s) for s in sources],
        "splits": dict(splits),
        "objects": dict(objects),
        "ignored": ignored,
        "left_out": left_out,
        "fingerprint": mark,
        "hash": labels_hash(folder),
    }
    if reader_of(kind, options) > 1:
        manifest["reader"] = reader_of(kind, options)
    write_json(folder / "manifest.json", manifest, "out")


@contextmanager
def making(out: Path) -> Iterator[Path]:
    """Make a folder beside OUT that becomes OUT when the block ends, and is removed when it fails.

    A process that is killed leaves its folder; the next one that makes the same OUT removes it. Two may make the same
    OUT at once; the second to end fails.

    Raises:
        TakenError: OUT holds something, before or meanwhile.
        UserError: there is no room, or no right to write.
    """
    out = Path(os.path.realpath(out))  # a linked folder is made where the link leads to
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(out)
        _refuse_content(out)
        folder, held = _temporary_folder(out)
    except OSError as e:
        raise not_written(e, out, "choose another out=") from None
    try:
        yield folder
        _into_place(folder, out)
    except OSError as e:
        if e.errno not in NO_ROOM:
            raise
        raise not_written(e, out) from e
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _let_go(held, _lock_file(folder))


def make_once(out: Path, kind: str, options: Mapping[str, Any], mark: str, fill: Callable[[Path], T]) -> T | None:
    """Make OUT by `fill`, which is given the folder that becomes it, and return what it returns; where another process
    made the same meanwhile, that is taken, and None returned. Other arguments are as in `prepared`.

    Raises:
        TakenError: OUT came to hold something else.
        UserError: of `fill` and `making`.
    """
    try:
        with making(out) as folder:
            return fill(folder)
    except TakenError:
        if prepared(out, kind, options, mark) is None:
            raise
        return None


def _refuse_content(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise TakenError("the folder is not empty", str(out), ANOTHER)
    if out.exists() and not out.is_dir():
        raise UserError("this is a file, and a dataset is a folder", str(out), "choose another out=")


def _lock_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _temporary_folder(out: Path) -> tuple[Path, IO[bytes]]:
    """Make a new folder and its lock file, which is there and locked for as long as the folder is in use."""
    while True:
        folder = out.with_name(f".{out.name}.{secrets.token_hex(4)}.making")
        file = open(_lock_file(folder), "xb")  # noqa: SIM115  # held until the folder has its name
        # Before it was locked, another process may have taken it for a dead one's.
        if lock(file) is not False and is_at(file, _lock_file(folder)):
            try:
                folder.mkdir()
            except OSError:
                _let_go(file, _lock_file(folder))
                raise
            return folder, file
        file.close()


def _let_go(file: IO[bytes], path: Path) -> None:
    """Remove a lock file and its lock, in the order the system allows."""
    if os.name == "nt":  # it does not remove what is open
        file.close()
    with suppress(OSError):
        path.unlink(missing_ok=True)
    file.close()


def _remove_leftovers(out: Path) -> None:
    """Remove the folders of processes that made OUT and died; one whose lock is held, or cannot be asked, stays."""
    ours = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{8}}\.making\.lock")
    for path in [p for p in out.parent.iterdir() if ours.fullmatch(p.name)]:
        folder = path.with_name(path.name.removesuffix(".lock"))
        with suppress(FileNotFoundError), open(path, "rb+") as file:
            if lock(file) and is_at(file, path):
                if folder.is_dir():
                    LOGGER.info("removing %s, which a process that was ended left", folder)
                    shutil.rmtree(folder, ignore_errors=True)
                if not folder.exists():
                    path.unlink(missing_ok=True)


def _into_place(folder: Path, out: Path) -> None:
    """Give the folder its name, in one step.

    Raises:
        UserError: the name is taken.
    """
    try:
        if os.name == "nt" and out.is_dir():  # it does not replace even an empty folder
            out.rmdir()
        os.rename(folder, out)
    except OSError as e:
        if e.errno in TAKEN:
            raise TakenError("the folder appeared while this dataset was made", str(out), ANOTHER) from None
        raise UserError(f"could not be written: {e.strerror or e}", str(out), "choose another out=") from None


def place_image(source: str | Path, target: Path, how: str) -> None:
    """Put an image into a dataset.

    Args:
        how: "copy"; "link", a hard link where the file system can (never a symbolic one), else a copy; "move".

    Raises:
        OSError: it cannot be written.
    """
    if how == "move":
        os.replace(source, target)
        return
    if how == "link":
        try:
            os.link(os.path.realpath(source), target)
            return
        except OSError:  # another file system, or one without links
            target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
