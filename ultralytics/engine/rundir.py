"""Run directories."""

from __future__ import annotations

from pathlib import Path

from ultralytics.utils.errors import ConfigError, UserError


def new_run_dir(project: str | Path | None, name: str, exist_ok: bool = False) -> Path:
    """Make and return `project/name`, `project/name2`, … the first that does not exist; the first itself with
    `exist_ok`.

    `project` defaults to runs/detect below the working folder.
    """
    parent = Path(project) if project else Path("runs") / "detect"
    for number in range(1, 100_000):
        path = parent / (name if number == 1 else f"{name}{number}")
        try:
            path.mkdir(parents=True, exist_ok=exist_ok)
        except FileExistsError:
            if exist_ok:
                raise ConfigError(
                    "it is a file, so no run can be kept there", str(path), "choose another name="
                ) from None
            continue
        except OSError as e:
            raise UserError(
                f"cannot make the run folder: {e.strerror or e}", str(path), "choose another project="
            ) from None
        return path
    raise ConfigError(f"over 100,000 runs named {name}", str(parent), "choose another name=")
