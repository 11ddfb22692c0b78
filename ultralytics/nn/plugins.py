"""A user's own modules: Python files with their classes, named by a model YAML or by `plugins=`."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from ultralytics.nn.registry import offer
from ultralytics.utils.errors import MissingFileError, ModelError, UserError
from ultralytics.utils.files import real_path


def load_plugins(files: str | Sequence[str | Path] | None) -> list[str]:
    """Run plugin files, each once per process, so that a model YAML can name their modules, registered or not.

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


def plugin_modules(files: Sequence[str | Path]) -> list[ModuleType]:
    """Return the modules of plugin files, see `load_plugins`: they are run where they have not been."""
    return [sys.modules[_module_name(Path(path))] for path in load_plugins([str(f) for f in files])]


def _module_name(path: Path) -> str:
    """Make a name that depends on the place: two plugins called attention.py do not meet."""
    return f"ultralytics_plugin_{path.stem}_{hashlib.sha1(str(real_path(path)).encode()).hexdigest()[:8]}"


@contextlib.contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """`import windows` finds the file beside the plugin. It is forgotten afterwards: the next plugin may lie beside
    another windows.py."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).parent == folder and not name.startswith("ultralytics_plugin_"):
                del sys.modules[name]


def _load(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError("no such plugin file", str(path), "paths in a model YAML are relative to the YAML")
    name = _module_name(path)
    if name in sys.modules:
        offer(sys.modules[name])
        return
    # As a package of its own folder, so that `from .windows import …` finds the file beside it.
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)])
    if spec is None or spec.loader is None:
        raise ModelError("a plugin is a Python file", str(path), "name it *.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _neighbours(path.parent):
            spec.loader.exec_module(module)
    except UserError as e:
        del sys.modules[name]
        raise ModelError(e.what, str(path), e.hint) from e
    except Exception as e:
        del sys.modules[name]
        lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if f.filename == str(path)]
        line = e.lineno if isinstance(e, SyntaxError) else lines[-1] if lines else None
        where = f"{path}, line {line}" if line else str(path)
        reason = e.msg if isinstance(e, SyntaxError) else str(e)
        raise ModelError(f"the plugin fails: {type(e).__name__}: {reason}", where) from e
    offer(module)
