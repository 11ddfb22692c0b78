"""A choice of images as a folder of its own: images, labels, manifest, YAML."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ultralytics import __version__
from ultralytics.cfg.tasks import FOLDERS, task_for
from ultralytics.data.images import nfc
from ultralytics.data.labels import (
    Judged,
    areas_file,
    ignore_file,
    judge_areas,
    judge_ignored,
    judge_labels,
    label_file,
)
from ultralytics.data.prepare.folder import FORMAT, TakenError, check_whole, making, place_image, read_manifest
from ultralytics.data.subset.choice import Choice, SourceImage
from ultralytics.data.whole import place_of, whole_file, whole_rows, whole_text
from ultralytics.utils.errors import DatasetError, UserError
from ultralytics.utils.files import Checksums, not_written, write_text
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.text import counted
from ultralytics.utils.threads import readers
from ultralytics.utils.types import ANY_CLASS

KIND = "subset"  # in the manifest
ELSEWHERE = "choose another out=, or remove it first"


@dataclass
class Written:
    """Texts of an image's files, and the SHA-256 of each file."""

    labels: str
    ignore: str
    areas: str
    whole: str | None  # of the whole image that it is a tile of, None where there is nothing known of that
    digests: dict[str, str]


def _contents(image: SourceImage, ids: Mapping[int, int]) -> Written:
    if image.form is None:  # the class is that of the folder
        return Written("", "", "", None, {"image": _digest_of(image.file)})
    judged = judge_labels(label_file(image.file), *image.form)
    labels = "".join(f"{ids[c]} {rest}\n" for c, rest in _texts(judged) if c in ids)
    areas, _ = judge_areas(areas_file(image.file), judged)
    kept = [] if areas is None else [v for v, (c, _) in zip(areas.tolist(), _texts(judged), strict=True) if c in ids]
    sizes = "".join(f"{v!r}\n" if v > 0 else "-\n" for v in kept) if any(v > 0 for v in kept) else ""
    rows = [(c, rest) for c, rest in _texts(judge_ignored(ignore_file(image.file))) if c == ANY_CLASS or c in ids]
    ignore = "".join(f"{'*' if c == ANY_CLASS else ids[c]} {rest}\n" for c, rest in rows)
    digests = {"image": _digest_of(image.file), "labels": hashlib.sha256(labels.encode()).hexdigest()}
    if ignore:
        digests["ignore"] = hashlib.sha256(ignore.encode()).hexdigest()
    if sizes:
        digests["areas"] = hashlib.sha256(sizes.encode()).hexdigest()
    return Written(labels, ignore, sizes, None, digests)


def _digest_of(file: str) -> str:
    try:
        return Checksums.of(file, md5=False).sha256.hexdigest()
    except OSError as e:
        raise DatasetError(f"cannot be read: {e.strerror or e}", file) from None


def _add_wholes(jobs: Sequence[tuple[str, SourceImage]], contents: Sequence[Written], choice: Choice) -> None:
    """Give tiles the objects of their whole images, where the source has these."""
    texts: dict[str, str | None] = {}
    for (_, image), content in zip(jobs, contents, strict=True):
        stem = os.path.splitext(image.file)[0]
        whole = place_of(stem)[0]
        if whole == stem:
            continue
        if whole not in texts:
            rows = whole_rows(whole, choice.source.label_nc)
            kept = None if rows is None else [(choice.ids[c], at, hard) for c, at, hard in rows if c in choice.ids]
            texts[whole] = None if kept is None else whole_text(kept)
        content.whole = text = texts[whole]
        if text is not None:
            content.digests["whole"] = hashlib.sha256(text.encode()).hexdigest()


def _texts(judged: Judged) -> list[tuple[int, str]]:
    """Return class id, or ANY_CLASS, and the rest, as it is written, of each usable row of a label or ignore file, one
    space between its words."""
    words = [line.split() for line in (judged.text or "").splitlines()]
    return [(int(row[0]), " ".join(words[n - 1][1:])) for row, n in zip(judged.rows, judged.lines, strict=True)]


def choice_hash(names: Sequence[str], files: Mapping[str, Mapping[str, Mapping[str, str]]], folds: Any) -> str:
    """Return the hash of a choice: SHA-256 over the class names, every image's name and digests, and the folds.

    Args:
        names: of the classes, by id.
        files: by split and name, the SHA-256 of each file.
        folds: names by fold.
    """
    whole = {"names": [nfc(n) for n in names], "files": files, "folds": folds}
    text = json.dumps(whole, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_earlier(target: Path, outs: Sequence[Path], choice: Choice, copy: bool) -> dict[str, Any] | None:
    """Read the manifest of an earlier run with the same options; None when there is nothing yet.

    Raises:
        UserError: there is something else.
    """
    if not target.exists():
        there = next((o for o in outs if o.exists()), None)
        if there is None:
            return None
        if not target.exists():  # another process may have made both meanwhile
            raise UserError("the file already exists", str(there), ELSEWHERE)
    manifest = read_manifest(target) if (target / "manifest.json").is_file() else None
    if manifest is None or manifest["kind"] != KIND or "source" not in manifest:
        raise UserError("this already exists and is not a subset", str(target), ELSEWHERE)
    options, source = manifest["options"], manifest["source"]
    wanted = {**choice.options, "source": choice.source.yaml_file.name}
    differ = [k for k, v in {**options, "source": source}.items() if k not in wanted or wanted[k] != v]
    differ += [k for k in wanted if k != "source" and k not in options]
    if differ:
        raise UserError(
            f"this subset already exists, made with other values of {' and '.join(differ)}", str(target), ELSEWHERE
        )
    if manifest.get("copy", copy) is not copy:  # earlier versions did not write it down
        raise UserError(f"this subset already exists, made with copy={not copy}", str(target), ELSEWHERE)
    check_whole(target, manifest["splits"])
    for i in range(len(outs) if "kfold" in options else 0):
        for split in ("train", "val"):
            if not (target / _fold_list(i, split)).is_file():
                raise UserError(f"its {_fold_list(i, split)} is missing", str(target), "remove it, to make it anew")
    return manifest


def build(
    choice: Choice,
    target: Path,
    outs: Sequence[Path],
    earlier: Mapping[str, Any] | None,
    copy: bool,
    workers: int | None,
) -> None:
    """Write the folder as a whole, then the YAMLs."""
    jobs = [(split, image) for split, images in choice.splits.items() for image in images]
    with ThreadPoolExecutor(max_workers=workers or readers()) as pool:
        results = pool.map(lambda job: _contents(job[1], choice.ids), jobs)
        contents = list(progress(results, total=len(jobs), desc="Hashing"))
    if not choice.by_folder:
        _add_wholes(jobs, contents, choice)
    files: dict[str, dict[str, dict[str, str]]] = {split: {} for split in choice.splits}
    for (split, image), content in zip(jobs, contents, strict=True):
        files[split][image.name] = content.digests
    digest = choice_hash(choice.names, files, choice.folds)
    _refuse_changed(earlier, digest, target)
    counts = ", ".join(counted(len(images), f"{split} image") for split, images in choice.splits.items())
    if earlier is not None and all(o.exists() for o in outs):
        LOGGER.info("%s is there already: %s, hash %s", target, counts, digest[:12])
        return
    ignored = sum(c.ignore.count("\n") for c in contents)
    try:
        if earlier is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with making(target) as folder:
                    write_folder(folder, jobs, contents, choice, copy)
                    manifest = {**_describe(choice, copy), "ignored": ignored, "hash": digest, "files": files}
                    text = json.dumps({**manifest, "folds": choice.folds}, indent=1, ensure_ascii=False)
                    (folder / "manifest.json").write_text(text, encoding="utf-8", errors="surrogateescape")
            except TakenError:
                earlier = read_earlier(target, outs, choice, copy)  # another process may have made the same meanwhile
                if earlier is None:
                    raise
                _refuse_changed(earlier, digest, target)
        for i, out in enumerate(outs):
            if not out.exists():
                write_text(out, _yaml(choice, target.name, digest, i), key="out")
    except OSError as e:
        raise not_written(e, target) from None
    there = "" if earlier is None else " is there already"
    LOGGER.info("%s%s: %s, hash %s", target, there, counts, digest[:12])


def _describe(choice: Choice, copy: bool) -> dict[str, Any]:
    """Return what the manifest says of a choice before its files are read."""
    objects = Counter[int]()
    for image in (image for images in choice.splits.values() for image in images):
        objects.update(image.counts)
    return {
        "format": FORMAT,
        "kind": KIND,
        "created_by": __version__,
        "options": choice.options,
        "copy": copy,
        "source": choice.source.yaml_file.name,
        "names": choice.names,
        "splits": {split: len(images) for split, images in choice.splits.items()},
        "objects": {name: objects[c] for c, name in enumerate(choice.names)},
        "left_out": choice.left_out,
    }


def _refuse_changed(earlier: Mapping[str, Any] | None, digest: str, target: Path) -> None:
    if earlier is not None and earlier.get("hash") != digest:
        raise UserError("this subset already exists, and the source has changed since", str(target), ELSEWHERE)


def _fold_list(fold: int, split: str) -> str:
    """Return a fold's list, inside the folder."""
    return f"folds/{fold}/{split}.txt"


def _yaml(choice: Choice, folder: str, digest: str, fold: int) -> str:
    """Return the text of a YAML."""
    spec: dict[str, Any] = {"path": folder}
    if choice.folds:
        spec |= {split: _fold_list(fold, split) for split in ("train", "val")}
    below = "" if choice.by_folder else "images/"
    spec |= {split: f"{below}{split}" for split in choice.splits if split != "pool"}
    if choice.source.kpt_shape is not None:
        spec["kpt_shape"] = list(choice.source.kpt_shape)
    if choice.source.flip_idx is not None:
        spec["flip_idx"] = list(choice.source.flip_idx)
    task = task_for(FOLDERS) if choice.by_folder else choice.source.task
    if task:
        spec["task"] = task
    spec["names"] = dict(enumerate(choice.names))
    what = f"Fold {fold} of {len(choice.folds)} of" if choice.folds else "A subset of"
    header = f"# {what} {choice.source.yaml_file.name}; hash {digest[:12]}. How it was made: {folder}/manifest.json\n"
    return header + yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)


def write_folder(
    folder: Path, jobs: Sequence[tuple[str, SourceImage]], contents: Sequence[Written], choice: Choice, copy: bool
) -> None:
    """Write images, labels, ignored regions, areas, objects of whole images and the folds' lists; of class folders
    images alone, and a folder of each class in each split."""
    for split, name in ((s, n) for s in choice.splits for n in choice.names if choice.by_folder):
        try:
            (folder / split / nfc(name)).mkdir(parents=True)
        except FileExistsError:
            what = f"the disk takes the name of the class {name!r} for that of another class: both have one folder"
            raise DatasetError(what, str(choice.source.yaml_file), "rename the class") from None
    for (split, image), content in progress(list(zip(jobs, contents, strict=True)), desc="Writing"):
        file = folder.joinpath(*([] if choice.by_folder else ["images"]), split, *image.name.split("/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        place_image(image.file, file, "copy" if copy else "link")
        if choice.by_folder:
            continue
        texts = {label_file(str(file)): content.labels, str(ignore_file(str(file))): content.ignore}
        texts[str(areas_file(str(file)))] = content.areas
        for path, text in texts.items():
            if text or path == label_file(str(file)):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_text(text, encoding="utf-8", newline="")
        if content.whole is not None:
            whole = Path(str(whole_file(place_of(os.path.splitext(file)[0])[0])))
            whole.parent.mkdir(parents=True, exist_ok=True)
            whole.write_text(content.whole, encoding="utf-8", newline="")
    for fold, held in enumerate(choice.folds):
        lists = folder / "folds" / str(fold)
        lists.mkdir(parents=True)
        out = set(held)
        rest = [i.name for i in choice.splits["pool"] if i.name not in out]
        for split, names in (("train", rest), ("val", held)):
            text = "".join(f"../../images/pool/{name}\n" for name in names)
            (lists / f"{split}.txt").write_text(text, encoding="utf-8", newline="")
