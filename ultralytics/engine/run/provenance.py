"""Where weights come from: the record that every checkpoint carries.

It holds the code's commit and digest, versions, hardware, the data's digests, the seed, the configuration with the
source of each value, and the command. Weights are passed on, so it holds no host name, no user name and no path that
begins with the home folder: that becomes "~", which every command understands.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import ultralytics
from ultralytics.cfg.config import Config
from ultralytics.cfg.paths import CLONE, PACKAGE
from ultralytics.utils.environment import git_folders
from ultralytics.utils.text import counted, one_line
from ultralytics.utils.torch_utils import get_cpu_info

GIT_SECONDS = 10  # for asking git whether the clone is as it was committed


def provenance(
    device: torch.device,
    args: Config | None = None,
    data: Mapping[str, Any] | None = None,
    command: Sequence[str] = (),
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the record of a run, or of weights that are saved by hand.

    Args:
        args: the resolved configuration; data: what is known of the data, such as a digest per split.
        command: the words of the command line; before: the record of the run that is resumed.
    """
    record: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git": git_state(),
        "code": code_digest(),
        "versions": versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device_name(device),
    }
    if data:
        record["data"] = dict(data)
    if args is not None:
        record["seed"] = args.seed
        record["config"] = {
            key: {"value": without_home(value), "source": without_home(args.sources[key])}
            for key, value in args.to_dict().items()
            if not args.is_default(key)
        }
        if args.plugins:
            record["plugins"] = {without_home(str(f)): _file_digest(Path(f)) for f in as_list(args.plugins)}
    if command:
        record["command"] = [without_home(word) for word in command]
    before = readable(before)
    if before:
        earlier = before.get("history")
        short = {k: v for k, v in before.items() if k not in ("history", "config")}
        # Of the configuration, what the run that goes on has otherwise.
        config, now = before.get("config"), record.get("config", {})
        if isinstance(config, dict) and args is not None:
            changed = {k: v for k, v in config.items() if v != now.get(k)}
            short |= {"config": changed} if changed else {}
        record["history"] = [*(earlier if isinstance(earlier, list) else []), short]
    return record


@functools.lru_cache(maxsize=1)
def git_state() -> dict[str, Any] | None:
    """Return the clone's commit, and whether a tracked file differs from it (None without git). None outside a clone.

    The commit is read from the clone's files; git itself is only asked for the difference.
    """
    commit = _commit(CLONE)
    return None if commit is None else {"commit": commit, "dirty": _dirty(CLONE)}


def _commit(clone: Path) -> str | None:
    try:
        folders = git_folders(clone)
        head = (folders[0] / "HEAD").read_text(encoding="utf-8").strip() if folders else ""
        if folders is None or not head.startswith("ref: "):
            return head or None
        name = head.removeprefix("ref: ")
        for place in folders:
            if (place / name).is_file():
                return (place / name).read_text(encoding="utf-8").strip() or None
        for line in (folders[1] / "packed-refs").read_text(encoding="utf-8").splitlines():
            if line.endswith(f" {name}"):
                return line.split()[0]
    except (OSError, ValueError):
        pass
    return None


def _dirty(clone: Path) -> bool | None:
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(clone), "status", "--porcelain", "--untracked-files=no"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # it writes nothing then
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return bool(done.stdout.strip()) if done.returncode == 0 else None


@functools.lru_cache(maxsize=1)
def code_digest() -> str:
    """Return a digest of the package's own Python files, which tells copies apart that have no git."""
    total = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        total.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(_unix(file.read_bytes())).digest())
    return f"sha256:{total.hexdigest()}"


def as_list(value: str | Sequence[str]) -> list[str]:
    """Return one text or several, as a list."""
    return [value] if isinstance(value, str) else list(value)


def _file_digest(path: Path) -> str | None:
    """Of a Python file's content, whatever its line ends; None where it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return f"sha256:{hashlib.sha256(_unix(content)).hexdigest()}"


def _unix(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n")


def versions() -> dict[str, str]:
    """Return the versions of the package, of Python and of what the numbers depend on."""
    found = {
        "ultralytics-fla": ultralytics.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
    if "torchvision" in sys.modules:
        found["torchvision"] = str(sys.modules["torchvision"].__version__)
    if torch.version.cuda:
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]  # torch's own
    return found


def device_name(device: torch.device) -> str:
    """Return the GPU's or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return get_cpu_info()


def without_home(value: Any) -> Any:
    """Text, or the texts in a list or mapping, with "~" for the home folder."""
    if isinstance(value, str):
        home = os.path.expanduser("~").rstrip(os.sep)
        known = len(home) > 1 and home != "~"
        return value.replace(f"{home}{os.sep}", f"~{os.sep}") if known else value
    if isinstance(value, list):
        return [without_home(v) for v in value]
    return {k: without_home(v) for k, v in value.items()} if isinstance(value, dict) else value


def readable(record: Any) -> dict[str, Any]:
    """Return a record as JSON holds it, whatever a file has in its place."""
    if not isinstance(record, dict):
        return {}
    made = json.loads(json.dumps(record, default=lambda v: f"({type(v).__name__})", skipkeys=True))
    assert isinstance(made, dict)
    return made


def describe_briefly(record: Mapping[str, Any]) -> list[str]:
    """Return what code, versions and hardware a record names, for the head of a file."""
    git = record.get("git")
    parts = [f"{git['commit'][:12]}{' with changes' if git['dirty'] else ''}"] if git else []
    return [", ".join([*parts, *(f"{k} {v}" for k, v in record["versions"].items()), record["device"]]), record["date"]]


def record_lines(record: Mapping[str, Any]) -> list[str]:
    """Return a record for a reader, an entry per line."""
    lines = []
    for key, value in record.items():
        if key == "config" and isinstance(value, dict):
            lines += [f"  {one_line(str(k), 40)}: {describe_entry(v)}" for k, v in value.items()]
        elif key == "command" and isinstance(value, list):
            lines.append(f"command: {one_line(' '.join(map(str, value)), 1000)}")
        elif key == "history" and isinstance(value, list):
            lines.append(f"resumed: {counted(len(value), 'time')}")
        else:
            lines.append(f"{one_line(key, 40)}: {one_line(as_text(value), 1000)}")
    return lines


def describe_entry(entry: Any) -> str:
    known = isinstance(entry, dict) and set(entry) == {"value", "source"}
    return one_line(f"{entry['value']}  ({entry['source']})" if known else str(entry), 300)


def as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {as_text(v)}" for k, v in value.items())
    return "none" if value is None else str(value)
