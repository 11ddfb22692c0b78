"""All loggers by their word."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

from ultralytics.engine.loggers.csv import CsvLogger
from ultralytics.engine.loggers.logger import Logger
from ultralytics.engine.loggers.mlflow import MlflowLogger
from ultralytics.engine.loggers.tensorboard import TensorBoardLogger
from ultralytics.engine.loggers.wandb import WandbLogger
from ultralytics.utils.errors import UserError

LOGGERS: dict[str, type[Logger]] = {c.name: c for c in (TensorBoardLogger, WandbLogger, MlflowLogger, CsvLogger)}


def check_packages(words: Sequence[str]) -> None:
    """Make sure, before a run begins, that its loggers can be imported.

    Raises:
        UserError: a package is missing.
    """
    missing = [word for word in words if not _is_installed(LOGGERS[word].package)]
    if missing:
        packages = [LOGGERS[word].package for word in missing]
        what = f"the package {packages[0]} is" if len(packages) == 1 else f"the packages {', '.join(packages)} are"
        extras = ",".join(LOGGERS[word].extra for word in missing)
        hint = f'pip install ".[{extras}]" in the clone, or leave {"it" if len(missing) == 1 else "them"} out of log='
        raise UserError(f"{what} missing in {sys.executable}", f"log={','.join(missing)}", hint)


def _is_installed(package: str) -> bool:
    try:
        return not package or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False
