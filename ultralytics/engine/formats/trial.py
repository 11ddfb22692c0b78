"""Files of runtimes that trust what they read are opened in a process of their own first: damage ends that one."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from ultralytics.engine.formats.format import FileBackend
from ultralytics.utils.errors import ExportError, UserError
from ultralytics.utils.text import one_line

SECONDS = 900  # that opening a file and running an image may take
OPEN = "import sys; from ultralytics.engine.formats.trial import once; once(*sys.argv[1:])"


def tried(backend: type[FileBackend], path: Path) -> None:
    """Open a file and run it once in another process.

    Raises:
        ExportError: that process ends badly; what is wrong in a way that the runtime notices is left to the caller.
    """
    run_apart(OPEN, [backend.__module__, backend.__name__, str(path.absolute())], path)


def once(module: str, name: str, path: str) -> None:
    """Open a file and run it on black images: what the other process does."""
    backend = getattr(importlib.import_module(module), name)
    try:
        file: FileBackend = backend(Path(path))
        file.run(torch.zeros(file.sizes.batch or 1, 3, file.sizes.height or 64, file.sizes.width or 64))
    except UserError:
        return  # the same is raised where it is seen


def run_apart(code: str, words: list[str], path: Path) -> None:
    """Run Python code with arguments in another process, which looks for modules where this one does.

    Args:
        code: the text; words: its sys.argv[1:].
        path: the file that it opens, for messages.

    Raises:
        ExportError: it ends with another code than 0.
    """
    places = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    # An empty folder to run in: Python looks for modules there first.
    with tempfile.TemporaryDirectory() as empty:
        command = [sys.executable, "-c", code, *words]
        try:
            ended = subprocess.run(
                command,
                check=False,
                cwd=empty,
                env=places,
                capture_output=True,
                timeout=SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise ExportError(f"it takes more than {SECONDS} seconds for an image", str(path)) from None
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().splitlines()
        why = one_line(said[-1], 200) if said and ended.returncode == 1 else "its runtime crashes on it"
        raise ExportError(f"it cannot be opened: {why}", str(path))
