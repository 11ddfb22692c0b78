"""A page that runs an ONNX file in a browser: our files, the model and onnxruntime-web, which all lie in one folder."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from ultralytics.cfg.config import Config
from ultralytics.engine.formats.metadata import Metadata
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.files import not_written, user_path, write_atomically, write_json, write_text
from ultralytics.utils.log import LOGGER

VERSION = "1.30.0"  # of onnxruntime-web
# npm publishes sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ== for the
# file that has this SHA-256.
ARCHIVE = f"onnxruntime-web-{VERSION}.tgz"  # as `npm pack` names it; 33 MB
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
LIBRARY = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")  # what the page needs of it
PAGE = Path(__file__).with_name("page")
OURS = ("index.html", "style.css", "detect.js", "demo.js")
README = """\
Object detection in the browser
===============================

This folder is a whole web page: the model (model.onnx, model.json), the page (index.html, style.css, detect.js,
demo.js) and ONNX Runtime Web {version} (ort*). It fetches nothing from elsewhere, and no image leaves the browser.

Browsers run it only from a web server. Any server of plain files will do:

    python -m http.server 8000        in this folder; then open http://localhost:8000

The camera works on http://localhost and on https:// addresses only: browsers allow it nowhere else.
An image beside the page can be linked to: http://localhost:8000/?image=test.jpg
Several threads are used where the server sends these headers; without them, one:

    Cross-Origin-Opener-Policy: same-origin
    Cross-Origin-Embedder-Policy: require-corp

ONNX Runtime Web: Copyright (c) Microsoft Corporation, MIT License. The page: AGPL-3.0.
"""


def fetch_library(args: Config, channels: int) -> Path:
    """Check that a demo can be written, and find what it needs: before anything that takes longer.

    Args:
        args: demo, and how the file will be.
        channels: of the network's images.

    Returns:
        The archive of onnxruntime-web, beside the folder.

    Raises:
        UserError: the page could not run the file, the folder holds other files, or the archive is missing or another.
    """
    if args.format.lower().lstrip(".") != "onnx":
        raise ConfigError(f"demo= needs format=onnx, not {args.format}", hint="browsers run that one")
    if args.half:
        raise ConfigError("demo= and half=True exclude each other", hint="browsers compute in fp32")
    if args.batch > 1 and not args.dynamic:
        raise ConfigError(f"demo= takes one image at a time, not batch={args.batch}", hint="batch=1 or dynamic=True")
    if channels != 3:
        raise ConfigError(f"demo= needs a network of 3 channels, not {channels}", hint="browsers give RGB images")
    folder = user_path(args.demo or "")
    if folder.exists() and not folder.is_dir():
        raise ConfigError("demo= names a file", str(folder), "give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "demo.js").is_file():
        raise ConfigError("the folder holds other files", str(folder), "give an empty folder, or an earlier demo")
    archive = folder.absolute().parent / ARCHIVE
    hint = f"run `npm pack onnxruntime-web@{VERSION}` in {archive.parent}"
    if not archive.is_file():
        raise UserError("demo= needs ONNX Runtime Web", str(archive), hint)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise UserError("the archive is not the published one: its checksum differs", str(archive), hint)
    return archive


def write_demo(folder: Path, archive: Path, model: Path, metadata: Metadata) -> None:
    """Write the page; other files in its folder are left alone.

    Args:
        folder: is made when missing.
        archive: from `fetch_library`.
        model: the ONNX file.
        metadata: what it says of itself.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as packed:  # its checksum is the published one
            for name in LIBRARY:
                source = packed.extractfile(f"package/dist/{name}")
                assert source is not None
                _put_file(source.read(), folder / name)
        for file in (PAGE / name for name in OURS):
            _put_file(file.read_bytes(), folder / file.name)
        _put_file(model.read_bytes(), folder / "model.onnx")
    except OSError as e:
        raise not_written(e, folder, "free some space or choose another demo=") from None
    write_text(folder / "README.txt", README.format(version=VERSION), "demo")
    write_json(folder / "model.json", metadata.to_dict(), "demo")
    LOGGER.info("demo: %s; to see it: python -m http.server 8000 -d %s, then http://localhost:8000", folder, folder)


def _put_file(content: bytes, path: Path) -> None:
    write_atomically(path, lambda f: f.write(content), "demo")
