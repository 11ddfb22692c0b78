"""Where published datasets come from, and the archives a user has of them.

Sizes and checksums are those that the publishers, or the libraries that read these archives, give; where none is
published there is none here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ultralytics.cfg.config import check_switches
from ultralytics.cfg.paths import CLONE
from ultralytics.utils.errors import UserError
from ultralytics.utils.fetch import Remote, fetch
from ultralytics.utils.files import Checksums
from ultralytics.utils.log import LOGGER

_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
_COCO = "http://images.cocodataset.org"
_ASSETS = "https://github.com/ultralytics/assets/releases/download/v0.0.0"
PUBLISHED: dict[str, tuple[Remote, ...]] = {
    "voc": (
        Remote(
            f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar",
            460_032_000,
            "c52e279531787c972589f7e41ab4ae64",
            "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508",
        ),
        Remote(
            f"{_VOC}/voc2007/VOCtest_06-Nov-2007.tar",
            451_020_800,
            "b6e924de25625d8de591ea690078ad9f",
            "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892",
        ),
        Remote(
            f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
            1_999_639_040,
            "6cd6e144f989b92b3379bac3b3de84fd",
            "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
        ),
    ),
    "coco": (
        Remote(f"{_COCO}/zips/train2017.zip", 19_336_861_798, "cced6f7f71b7629ddf16f17bbcfab6b2"),
        Remote(f"{_COCO}/zips/val2017.zip", 815_585_330, "442b8da7639aecaf257c1dceb8ba8c80"),
        Remote(f"{_COCO}/annotations/annotations_trainval2017.zip", 252_907_541, "f4bbac642086de4f52a3fdda2de5fa2c"),
    ),
    "coco128": (Remote(f"{_ASSETS}/coco128.zip"),),
    # GitHub packs this one anew on each request, so it has no checksum that lasts.
    "bccd": (Remote("https://github.com/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip"),),
    "visdrone": tuple(Remote(f"{_ASSETS}/VisDrone2019-DET-{s}.zip") for s in ("train", "val", "test-dev")),
}
FOLDERS = {"voc": "VOC"}  # folders of data/ that are not called as the kind is


def default_out(kind: str, suffix: str = "") -> Path:
    """Return where a dataset is made by default: beside its YAML in the clone; in an installed package data/NAME
    here. `suffix` is that of a task."""
    name = FOLDERS.get(kind, kind) + suffix
    return (CLONE / "data" if (CLONE / "data" / f"{name}.yaml").is_file() else Path("data")) / name


def archives(kind: str, out: Path, download: bool, mirror: str = "") -> list[tuple[Path, dict[str, Any]]]:
    """Return the published archives of a dataset, a key of `PUBLISHED`, downloaded to OUT/../downloads: the file and
    its entry in the manifest. `mirror` is a URL that holds the same files; checksums stay those published.

    Raises:
        UserError: it was not asked for (what is needed, and both ways to go on); a download failed.
    """
    check_switches({"download": download})
    remotes = [replace(r, url=f"{mirror.rstrip('/')}/{r.name}") if mirror else r for r in PUBLISHED[kind]]
    folder = out.absolute().parent / "downloads"
    if not download:
        known = [r.size for r in remotes if r.size]
        size = f" ({sum(known) / 1e9:.1f} GB)" if len(known) == len(remotes) else ""
        raise UserError(
            f"needs {', '.join(r.url for r in remotes)}",
            f"prepare {kind}",
            f"add download=True to fetch {'them' if len(remotes) > 1 else 'it'}{size} into {folder}, or give "
            f"source=FOLDER with what you have of {'them' if len(remotes) > 1 else 'it'}, packed or unpacked",
        )
    LOGGER.info("archives are kept in %s; they may be deleted once the dataset is ready", folder)
    try:
        got = [fetch(remote, folder) for remote in remotes]
    except BaseException:
        with suppress(OSError):  # it holds what came so far
            folder.rmdir()
        raise
    return [
        (f.path, {"name": f.path.name, "size": f.size, "sha256": f.sha256, "md5": f.md5, "url": f.url}) for f in got
    ]


def entry(path: Path, remotes: Sequence[Remote] = ()) -> dict[str, Any]:
    """Return the manifest's entry of an archive or file the user gave, hashed; one that differs from the published
    archive of its name is named."""
    LOGGER.info("hashing %s", path)
    try:
        sums = Checksums.of(path)
    except OSError as e:
        raise UserError(f"the file cannot be read: {e.strerror or e}", str(path)) from None
    published = next((r for r in remotes if r.name == path.name), None)
    if published is not None:
        checksums = {"sha256": published.sha256, "md5": published.md5}
        if any(checksums[kind] and checksums[kind] != got for kind, got in sums.hexdigests.items()):
            LOGGER.warning("%s: its checksum is not that of the published archive", path)
    return {"name": path.name, "size": sums.size, **sums.hexdigests}
