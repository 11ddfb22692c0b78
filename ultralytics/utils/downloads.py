"""The reference's names for downloads. Nothing is fetched by a name here: a line says how to get a file.

`python -m ultralytics prepare KIND download=True` fetches published datasets, with checksums.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from ultralytics.utils.errors import MissingFileError
from ultralytics.utils.files import user_path
from ultralytics.utils.lazy import later

GITHUB_ASSETS_REPO = "ultralytics/assets"
GITHUB_ASSETS_NAMES = [
    *(f"yolov8{k}{suffix}.pt" for k in "nsmlx" for suffix in ("", "-cls", "-seg", "-pose", "-obb", "-oiv7")),
    *(f"yolov5{k}{resolution}u.pt" for k in "nsmlx" for resolution in ("", "6")),
    *(f"yolov3{k}u.pt" for k in ("", "-spp", "-tiny")),
]
GITHUB_ASSETS_STEMS = [Path(name).stem for name in GITHUB_ASSETS_NAMES]
_FETCH = "fetch the file with a browser or curl, and give its path; datasets: `prepare KIND download=True`"
__getattr__ = later(
    __name__,
    {},
    {
        "download": _FETCH,
        "safe_download": _FETCH,
        "get_github_assets": _FETCH,
        "get_google_drive_file_info": _FETCH,
        "check_disk_space": "shutil.disk_usage(folder) tells what is free",
    },
)
_JUNK = (".DS_Store", "__MACOSX")


def is_url(url: str | Path, check: bool = False) -> bool:
    """Return True if a text is an address of the web; `check` would ask it, and nothing is asked: False then."""
    parts = urlparse(str(url))
    return bool(parts.scheme and parts.netloc) and not check


def attempt_download_asset(
    file: str | Path, repo: str = GITHUB_ASSETS_REPO, release: str = "v8.2.0", **kwargs: Any
) -> str:
    """Return the path of a file that is here.

    Raises:
        MissingFileError: it is not, and nothing is fetched.
    """
    name = str(file).strip().replace("'", "")
    if user_path(name).exists():
        return name
    raise MissingFileError(f"there is no such file; tried {user_path(name).absolute()}", name, _FETCH)


def delete_dsstore(path: str | Path, files_to_delete: Sequence[str] = _JUNK) -> None:
    """Remove the files that macOS leaves in folders."""
    for name in files_to_delete:
        for found in Path(path).rglob(name):
            if found.is_file():
                found.unlink()


def zip_directory(
    directory: str | Path, compress: bool = True, exclude: Sequence[str] = _JUNK, progress: bool = True
) -> Path:
    """Pack a folder as FOLDER.zip and return its path.

    Raises:
        MissingFileError: no such folder.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise MissingFileError("there is no such folder", str(directory))
    target = folder.with_suffix(".zip")
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    files = [f for f in folder.rglob("*") if f.is_file() and not any(word in f.name for word in exclude)]
    with zipfile.ZipFile(target, "w", kind) as packed:
        for file in files:
            packed.write(file, file.relative_to(folder))
    return target


def unzip_file(
    file: str | Path,
    path: str | Path | None = None,
    exclude: Sequence[str] = _JUNK,
    exist_ok: bool = False,
    progress: bool = True,
) -> Path:
    """Unpack a .zip beside it, or into `path`, and return the folder: the one it holds, else one of the archive's name.

    Raises:
        MissingFileError: no such archive, or none.
    """
    if not (Path(file).is_file() and zipfile.is_zipfile(file)):
        raise MissingFileError("this is not a .zip file", str(file))
    home = Path(path or Path(file).parent)
    with zipfile.ZipFile(file) as packed:
        names = [n for n in packed.namelist() if not any(word in n for word in exclude)]
        tops = {Path(n).parts[0] for n in names}
        single = len(tops) == 1 and not Path(next(iter(tops))).suffix and any(len(Path(n).parts) > 1 for n in names)
        into = home if single else home / Path(file).stem
        target = home / next(iter(tops)) if single else into
        if target.exists() and any(os.scandir(target)) and not exist_ok:
            return target  # unpacked before
        packed.extractall(into, names)  # which keeps every name inside the folder
    return target
