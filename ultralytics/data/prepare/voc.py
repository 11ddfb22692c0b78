"""Pascal VOC → YOLO format: any folder of that layout, the published VOC2007 and VOC2012, and BCCD.

docs/datasets.md tells every rule for what is found in such annotations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ultralytics.data.prepare import names as published_names
from ultralytics.data.prepare.annotated import SPLITS, Converted, class_order, in_threads
from ultralytics.data.prepare.divide import Options
from ultralytics.data.prepare.folder import PARTS
from ultralytics.data.prepare.format import Format, Source, existing, prepare
from ultralytics.data.prepare.sources import PUBLISHED
from ultralytics.data.prepare.voc_xml import Root, decide_one_based, fit, list_lines, read_annotation
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError
from ultralytics.utils.text import counted

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ultralytics.data.prepare.divide import Keys

YEARS = ("VOC2007", "VOC2012")
VOC_PARTS = ("VOC2007 trainval", "VOC2007 test", "VOC2012 trainval")  # in the order of the published archives


def prepare_voc(
    source: str | Path | None = None,
    out: str | Path | None = None,
    names: Sequence[str] | None = None,
    one_based: bool | str = "auto",
    download: bool = False,
    mirror: str = "",
    **given: Unpack[Keys],
) -> Path:
    """Turn Pascal VOC into images, labels and a dataset YAML.

    Objects marked difficult go to ignore/: training does not see them, the evaluation neither rewards nor punishes
    them.

    Args:
        source: a folder or archive with Annotations, JPEGImages and (its own splits) ImageSets/Main; or one with images
        and XML files in folders of any names, or in one; or one that holds the published archives or VOCdevkit: train
        is then 2007 and 2012 trainval, val and test are 2007 test.
        one_based: whether pixels count from 1 (a box covers xmin − 1 to xmax, as VOC says) or from 0 (xmin to xmax);
        "auto": as the boxes at the images' edges say.
        Others: as of the command; for what is returned and raised see `prepare`. With task "segment" outlines of the
        masks in SegmentationObject are written, of the images that ImageSets/Segmentation lists.
    """
    if one_based not in ("auto", True, False):
        raise ConfigError(f"one_based={one_based} must be auto, True or False")
    wanted = Options(**given)
    published = source is None or _published_parts(existing(source)) is not None
    if published and (wanted.parts() or one_based != "auto" or names):
        raise ConfigError(
            "the published dataset has its own classes, splits and corners",
            hint="leave names, val, test, one_based out",
        )
    own = {"names": list(names) if names else None, "one_based": one_based, "val": wanted.val, "seed": wanted.seed}
    return prepare(VOC, source, out, wanted, own, download=download, mirror=mirror)


def _read_voc(source: Source) -> Converted:
    if source.published:
        return _read_published(source)
    return _read_folder(source, source.options["names"], source.options["one_based"])


def _read_folder(source: Source, names: Sequence[str] | None, one_based: bool | str) -> Converted:
    root = Root.find(source.folder())
    root = root.with_masks() if source.wanted.labels == "polygons" else root
    splits, used = _choose_splits(root, source.wanted.val)
    notes: list[str] = []
    unique = sorted({name for listed in splits.values() for name in listed})
    read = in_threads(lambda n: read_annotation(root, n), unique, "Reading annotations")
    listings = Counter(n for listed in splits.values() for n in listed)
    twice = [n for n in unique if listings[n] > 1]
    if twice:
        notes.append(f"in more than one split: {counted(len(twice), 'image')}, such as {twice[0]}")
    if one_based == "auto":
        one_based, note = decide_one_based(read)
        notes += note
    annotated = {r.name: fit(r, bool(one_based), root.masks) for r in read}
    if root.own is not None:  # without the folder, which is the split's
        for a in annotated.values():
            a.name = a.name.partition("/")[2]
    order = class_order(list(annotated.values()), names, root.folder)
    converted = {s: [annotated[n] for n in listed] for s, listed in splits.items()}
    if root.masks is None and not any(
        root.listed(s) for s in ("train", "val", "trainval")
    ):  # a list may leave images out, a folder does not
        taken = {r.image for r in read}
        bare = sorted(n for n in root.images.keys() - annotated.keys() if not taken & set(root.images[n]))
        converted["train"] += [fit(read_annotation(root, n), one_based=True) for n in bare]
    return Converted(converted, order, used, notes, root.passed)


def _choose_splits(root: Root, val: float) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return split folder → names, and split of the YAML → split folder; `val` is the part to draw as such."""
    lists = {s: root.listed(s) for s in (*SPLITS, "trainval")}
    own = {s: lists[s] or [] for s in SPLITS}
    main = root.folder / "ImageSets" / "Main" if root.own is None else root.folder
    if own["train"] and own["val"]:
        return {s: own[s] for s in SPLITS if own[s]}, {}
    if own["train"] and not val:
        raise DatasetError(
            "the val split is missing or empty",
            str(main / "val.txt") if root.own is None else str(main),
            "val=0.2 draws one from the train images",
        )
    if own["val"] and not lists["trainval"]:
        raise DatasetError("the train split is missing or empty", str(main / "train.txt"))
    whole = own["train"] or lists["trainval"] or []
    if not whole:
        test = set(own["test"])
        whole = sorted(n for n in root.annotations if n not in test)
    extra = {"test": own["test"]} if own["test"] else {}
    return {"train": whole, **extra}, {"train": "train", "val": "train", **{s: s for s in extra}}


# The published layout


def _find_devkits(folder: Path) -> list[Path]:
    """Return the folders VOC2007 and VOC2012 in a folder, in its VOCdevkit, or one folder further down."""
    if folder.name in YEARS and (folder / "ImageSets").is_dir() and (folder / "Annotations").is_dir():
        return [folder]
    patterns = [f"{above}{year}" for year in YEARS for above in ("", "VOCdevkit/", "*/VOCdevkit/", "*/")]
    found = [p for pattern in patterns for p in sorted(folder.glob(pattern)) if (p / "Annotations").is_dir()]
    return list(dict.fromkeys(found))


def _published_parts(source: Path | None) -> list[str] | None:
    """Return the parts of the published dataset that a source seems to hold, without unpacking or reading it all; None
    where it is another one."""
    if source is None:
        return list(VOC_PARTS)
    names = {source.name} if source.is_file() else {p.name for p in source.iterdir()}
    packed = {part for part, remote in zip(VOC_PARTS, PUBLISHED["voc"], strict=True) if remote.name in names}
    kits = _find_devkits(source) if source.is_dir() else []
    found = set(packed)
    for kit in kits:
        for split in ("trainval", "test"):
            lines = list_lines(kit, split) or []
            # The lists of VOC2007's test may come without the archive they belong to.
            if any((kit / "Annotations" / f"{line.split()[0]}.xml").is_file() for line in lines):
                found.add(f"{kit.name} {split}")
    return [part for part in VOC_PARTS if part in found] if packed or kits else None


def _read_published(source: Source) -> Converted:
    kits = [kit for folder in source.places() for kit in _find_devkits(folder)]
    if not source.packed:
        source.described = [{"name": kit.name} for kit in kits]
    roots = [(kit.name, Root.find(kit)) for kit in kits]
    if source.wanted.labels == "polygons":
        roots = [(year, root.with_masks()) for year, root in roots]
    where = (source.paths or source.packed)[0]

    def listed(year: str, split: str) -> list[tuple[Root, str]]:
        """Return each name with the folder that has it: an archive's lists may name images of another one."""
        here = [root for y, root in roots if y == year]
        names = dict.fromkeys(n for root in here for n in root.listed(split) or [])
        return [(next((r for r in here if n in r.annotations), here[0]), n) for n in names]

    notes: list[str] = []
    found = {(year, s): listed(year, s) for year in YEARS for s in ("train", "val", "trainval", "test")}
    wanted = {}
    for part in VOC_PARTS:
        year, split = part.split()
        names = found[year, split]
        # A list may be there without the archive it belongs to.
        wanted[part] = names if any(n in r.annotations for r, n in names) else []
    test = wanted["VOC2007 test"]
    absent = [part for part, names in wanted.items() if not names]
    trained = [part for part in wanted if part != "VOC2007 test" and part not in absent]
    if not trained:
        raise MissingFileError(
            f"there is neither VOC2007 trainval nor VOC2012 trainval; missing: {', '.join(absent)}", str(where)
        )
    if test:
        used = {"train": "train", "val": "test", "test": "test"}
        splits = {"train": [x for part in trained for x in wanted[part]], "test": test}
    else:
        used = {}
        splits = {s: [x for year in YEARS for x in found[year, s]] for s in ("train", "val")}
    if absent:
        what = " and ".join(trained) if test else "the train and val lists of " + " and ".join(p[:7] for p in trained)
        notes.append(f"missing: {', '.join(absent)}; train {'is' if test else 'and val are'} {what} alone")
    jobs = list({(id(r), n): (r, n) for listed in splits.values() for r, n in listed}.values())
    read = in_threads(lambda job: read_annotation(*job), jobs, "Reading annotations")
    # VOC's development kit says that pixels count from 1.
    fitted = {(id(r), n): fit(x, True, r.masks) for (r, n), x in zip(jobs, read, strict=True)}
    order = class_order(list(fitted.values()), published_names.VOC, where)
    converted = {s: [fitted[id(r), n] for r, n in listed] for s, listed in splits.items()}
    source.options[PARTS] = [part for part in wanted if part not in absent]
    return Converted(converted, order, used, notes)


VOC = Format("voc", _read_voc, _published_parts, kinds=("boxes", "polygons"))
# Blood cells, with the splits of its authors.
BCCD = Format("bccd", lambda source: _read_folder(source, published_names.BCCD, "auto"))
prepare_bccd = BCCD.public
