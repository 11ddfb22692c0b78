"""A user's own modules: Python files that register them, named by a model YAML or by `plugins=`."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from ultralytics.utils.errors import MissingFileError, ModelError, UserError


def load_plugins(files: str | Sequence[str | Path] | None) -> list[str]:
    """Run plugin files, each once per process, so that their `@register`ed modules can stand in a model YAML.

    A plugin is code: only files that the user names, in a model YAML of theirs or by `plugins=`, come here. What a
    weights file says about plugins is never run.

    Args:
        files: paths, relative to the working folder.

    Returns:
        The absolute paths.

    Raises:
        MissingFileError: no such file. ModelError: its code fails; file and line are named.
    """
    files = [files] if isinstance(files, str) else files or []
    paths = [Path(f).expanduser().absolute() for f in files]
    for path in paths:
        _load(path)
    return [str(p) for p in paths]


def _load(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError("no such plugin file", str(path), "paths in a model YAML are relative to the YAML")
    # The name depends on the place: two plugins called attention.py do not meet.
    name = f"ultralytics_plugin_{path.stem}_{hashlib.sha1(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError("a plugin is a Python file", str(path), "name it *.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except UserError as e:
        del sys.modules[name]
        raise ModelError(e.what, str(path), e.mend) from e
    except Exception as e:
        del sys.modules[name]
        lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if f.filename == str(path)]
        line = e.lineno if isinstance(e, SyntaxError) else lines[-1] if lines else None
        where = f"{path}, line {line}" if line else str(path)
        reason = e.msg if isinstance(e, SyntaxError) else str(e)
        raise ModelError(f"the plugin fails: {type(e).__name__}: {reason}", where) from e
