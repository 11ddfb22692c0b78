"""Questions about versions, files and the machine, under the reference's names.

Nothing is installed and nothing is fetched: what is missing is named, with the command that gets it.
"""

from __future__ import annotations

import inspect
import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from ultralytics.utils.environment import CLONE, ENVIRONMENT, IS_GIT_DIR, PYTHON_VERSION, ROOT, package_version
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError
from ultralytics.utils.files import user_path
from ultralytics.utils.fonts import checked_font
from ultralytics.utils.lazy import later, resolve
from ultralytics.utils.log import LOGGER

REQUIREMENTS = CLONE / "requirements.txt"
_FOLDERS = ("MODEL_FOLDERS", "DATA_FOLDERS", "RECIPE_FOLDERS")
_STEMS = re.compile(r"yolov8[nsmlx](6|-p2|-p6)?|yolov5[nsmlx]6?u|yolov3(-spp|-tiny)?u?")
_ENVIRONMENT = """AUTOINSTALL IS_COLAB IS_GIT_DIR IS_JUPYTER IS_KAGGLE IS_PIP_PACKAGE IS_PYTHON_3_12 LINUX MACOS ONLINE
IS_PYTHON_MINIMUM_3_10 TORCHVISION_VERSION USER_CONFIG_DIR WINDOWS ASSETS"""
__getattr__ = later(__name__, {name: f"ultralytics.utils.environment:{name}" for name in _ENVIRONMENT.split()})


def is_ascii(s: object) -> bool:
    """Return True if a value's text, of a list or mapping that of all values, is ASCII."""
    values = s.values() if isinstance(s, Mapping) else s if isinstance(s, list | tuple | set) else [s]
    return all(str(value).isascii() for value in values)


def check_imgsz(
    imgsz: int | str | Sequence[int], stride: Any = 32, min_dim: int = 1, max_dim: int = 2, floor: int = 0
) -> int | list[int]:
    """Return a size rounded up to a multiple of the stride: one number, or two with `min_dim=2`.

    Args:
        imgsz: pixels, or [height, width]; stride: or a tensor of them, the largest counts; floor: pixels at least;
        max_dim: 1 takes the longer of two.

    Raises:
        ConfigError: neither.
    """
    if isinstance(imgsz, str):
        imgsz = [int(n) for n in re.findall(r"\d+", imgsz)]
    sides = [imgsz] if isinstance(imgsz, int) else list(imgsz) if isinstance(imgsz, list | tuple) else []
    if not 1 <= len(sides) <= 2 or not all(isinstance(n, int) for n in sides):
        raise ConfigError(f"imgsz={imgsz} must be one number, or in predict [height,width]")
    if len(sides) > max_dim:
        sides = [max(sides)]
        LOGGER.warning("imgsz=%s: one number is wanted; %d is taken", imgsz, sides[0])
    step = int(stride.max() if isinstance(stride, torch.Tensor) else stride)
    rounded = [max(math.ceil(n / step) * step, floor) for n in sides]
    if rounded != sides:
        LOGGER.warning("imgsz=%s must be a multiple of the stride %d: %s is taken", imgsz, step, rounded)
    if len(rounded) == 1:
        return [rounded[0]] * 2 if min_dim == 2 else rounded[0]
    return rounded


def parse_version(version: str = "0.0.0") -> tuple[int, ...]:
    """Return the first three numbers of a version: "2.0.1+cpu" → (2, 0, 1)."""
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


def check_version(
    current: str = "0.0.0",
    required: str = "0.0.0",
    name: str = "version",
    hard: bool = False,
    verbose: bool = False,
    msg: str = "",
) -> bool:
    """Return True if a version lies in a range.

    Args:
        current: a version, or a package's name; required: ">=8.0,<9", or a version for "at least".
        name: what messages call it; hard: raise instead of returning False; verbose: log it; msg: what to add.

    Raises:
        UserError: with `hard`, where it does not.
    """
    if current and not current[0].isdigit():
        name, current = current, package_version(current)
    elif not current:
        LOGGER.warning("check_version: no version given for %s", name)
        return True
    have = (*parse_version(current), 0, 0)[:3]
    good = bool(current)
    for part in required.strip(",").split(",") if good else ():
        sign, wanted = re.match(r"\s*([^\d\s]*)\s*(.*)", part).groups()  # type: ignore[union-attr]  # matches anything
        want = (*parse_version(wanted), 0, 0)[:3]
        good &= {"==": have == want, "!=": have != want, "<=": have <= want, "<": have < want, ">": have > want}.get(
            sign, have >= want
        )
    if not good:
        message = f"{name} {required} is required, and {current or 'none'} is installed"
        if hard:
            raise UserError(message, hint=msg)
        if verbose:
            LOGGER.warning("%s%s", message, f" ({msg})" if msg else "")
    return good


def check_python(minimum: str = "3.8.0", hard: bool = True) -> bool:
    """Return True if this Python is recent enough; see `check_version`."""
    return check_version(PYTHON_VERSION, minimum, "Python", hard)


def parse_requirements(file_path: str | Path = REQUIREMENTS, package: str = "") -> list[SimpleNamespace]:
    """Names and specifiers of a requirements file, or of an installed package's requirements."""
    if package:
        import importlib.metadata as metadata  # for this branch alone

        lines: Iterable[str] = (r for r in metadata.requires(package) or () if "extra ==" not in r)
    else:
        lines = Path(file_path).read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines:
        match = re.match(r"([a-zA-Z0-9_.-]+)\s*\(?([<>!=~][^;)#]*)?", line.split("#")[0].strip())
        if match:
            found.append(SimpleNamespace(name=match[1], specifier=(match[2] or "").strip()))
    return found


def check_requirements(
    requirements: str | Path | Sequence[str] = REQUIREMENTS,
    exclude: Sequence[str] = (),
    install: bool = True,
    cmds: str = "",
) -> bool:
    """Return True if packages are installed; those that are missing are named with the command to install them.

    Args:
        requirements: a requirements file, "numpy>=1.26", or a list of such; exclude: names to leave out.
        install, cmds: of the reference; nothing is installed.
    """
    if isinstance(requirements, Path):
        wanted = [f"{r.name}{r.specifier}" for r in parse_requirements(requirements) if r.name not in exclude]
    else:
        wanted = [requirements] if isinstance(requirements, str) else list(requirements)
    missing = []
    for requirement in wanted:
        name, specifier = re.match(r"([a-zA-Z0-9_.-]+)\s*(.*)", requirement.split(";")[0].strip()).groups()  # type: ignore[union-attr]  # a name
        if not package_version(name) or (specifier and not check_version(package_version(name), specifier)):
            missing.append(requirement)
    if missing:
        LOGGER.warning("missing: %s (pip install %s)", ", ".join(missing), " ".join(f'"{m}"' for m in missing))
    return not missing


def check_torchvision() -> None:
    """Warn where torch and torchvision do not belong together: torch 2.N goes with torchvision 0.(N + 15)."""
    torch_minor, vision = parse_version(torch.__version__), parse_version(package_version("torchvision"))
    if vision and torch_minor[0] == 2 and vision[1] != torch_minor[1] + 15:
        LOGGER.warning("torch %s and torchvision %s: not a pair", torch.__version__, package_version("torchvision"))


def check_suffix(file: str | Sequence[str] = "yolov8n.pt", suffix: str | Sequence[str] = ".pt", msg: str = "") -> None:
    """Refuse files of another suffix; names without one pass.

    Raises:
        ConfigError.
    """
    wanted = [suffix] if isinstance(suffix, str) else list(suffix)
    for name in [file] if isinstance(file, str | Path) else file:
        found = Path(name).suffix.lower().strip()
        if file and suffix and found and found not in wanted:
            raise ConfigError(f"{msg}{name} must end in {' or '.join(wanted)}, not in {found}")


def check_file(
    file: str | Path,
    suffix: str | Sequence[str] = "",
    download: bool = True,
    download_dir: str = ".",
    hard: bool = True,
) -> Any:
    """Return the path of a file: as given, or of a bundled YAML by its name; [] where it is missing and not `hard`.

    Args:
        suffix: see `check_suffix`; download, download_dir: of the reference; nothing is fetched.

    Raises:
        MissingFileError: with `hard`; UserError: it is an address.
    """
    check_suffix(str(file), suffix)
    name = str(file).strip()
    if not name or os.path.exists(user_path(name)):
        return name
    if "://" in name:
        raise UserError("an address is not fetched", name, "download it first, and give its path")
    folders = [folder for kind in _FOLDERS for folder in resolve(f"ultralytics.cfg.paths:{kind}")]
    found = [str(folder / name) for folder in folders if (folder / name).is_file()]
    if found:
        return found[0]
    if hard:
        raise MissingFileError(f"there is no such file; tried {user_path(name).absolute()}", name)
    return []


def check_yaml(file: str | Path, suffix: Sequence[str] = (".yaml", ".yml"), hard: bool = True) -> Any:
    """Return the path of a YAML; see `check_file`."""
    return check_file(file, suffix, hard=hard)


def check_model_file_from_stem(model: str | Path = "yolov8n") -> str | Path:
    """Return a published model's name with .pt where it has no suffix, any other name as it is."""
    return Path(model).with_suffix(".pt") if model and _STEMS.fullmatch(str(model)) else model


def check_yolov5u_filename(file: str, verbose: bool = True) -> str:
    """Return the name with "u" of the reference's YOLOv3 and YOLOv5 weights: yolov5n.pt → yolov5nu.pt."""
    new = re.sub(r"(yolov5[nsmlx]6?|yolov3(?:-tiny|-spp)?)(\.pt)", r"\1u\2", file) if "u." not in file else file
    if new != file and verbose:
        LOGGER.info("%s is %s in ultralytics 8.2.103", file, new)
    return new


def check_font(font: str = "Arial.ttf") -> str | None:
    """Return the path or name of a font that is here; None where it is not, and another is used."""
    try:
        return checked_font(font)
    except ConfigError as e:
        LOGGER.info("%s", e)
        return None


def check_amp(model: torch.nn.Module) -> bool:
    """Return True if mixed precision is used on the model's device."""
    device = next(model.parameters()).device
    return resolve("ultralytics.engine.ranks.device:mixed_precision")(device, True) is not None


def check_imshow(warn: bool = False) -> bool:
    """False: no window is opened."""
    if warn:
        LOGGER.warning("no window is opened: use result.save(filename) and look at the image")
    return False


def check_is_path_safe(basedir: str | Path, path: str | Path) -> bool:
    """Return True if a path is that of a file inside a folder, links followed."""
    base, target = os.path.realpath(basedir), os.path.realpath(path)
    return os.path.isfile(target) and os.path.commonpath([base, target]) == base


def check_pip_update_available() -> bool:
    """False: nothing is looked up on the network."""
    return False


def check_latest_pypi_version(package_name: str = "ultralytics") -> str | None:
    """None: nothing is looked up on the network."""
    return None


def cuda_device_count() -> int:
    """GPUs that PyTorch sees."""
    return torch.cuda.device_count()


def cuda_is_available() -> bool:
    """Return True if PyTorch sees a GPU."""
    return cuda_device_count() > 0


def git_describe(path: str | Path = ROOT) -> str:
    """Return the name that git gives the commit of a folder, "" outside a clone."""
    git = shutil.which("git")
    if git is None:
        return ""
    words = [git, "-C", str(path), "describe", "--tags", "--long", "--always"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=10)
    return done.stdout.strip() if done.returncode == 0 else ""


def print_args(args: Mapping[str, Any] | None = None, show_file: bool = True, show_func: bool = False) -> None:
    """Log keys and values, those of the calling function without `args`, behind its file's and its own name."""
    frame = inspect.currentframe()
    caller = frame.f_back if frame else None
    if args is None and caller is not None:
        names, _, _, values = inspect.getargvalues(caller)
        args = {name: values[name] for name in names}
    code = caller.f_code if caller else None
    head = f"{Path(code.co_filename).stem}: " if code and show_file else ""
    head += f"{code.co_name}: " if code and show_func else ""
    LOGGER.info("%s%s", head, ", ".join(f"{k}={v}" for k, v in (args or {}).items()))


def collect_system_info() -> dict[str, str]:
    """Log and return what the program runs on, and each pinned package's version."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    used = shutil.disk_usage(Path.cwd())
    info = {
        "OS": platform.platform(),
        "Environment": ENVIRONMENT,
        "Python": PYTHON_VERSION,
        "Install": "clone" if IS_GIT_DIR else "package",
        "CPU": f"{resolve('ultralytics.utils.torch_utils:get_cpu_info')()} ({os.cpu_count()} cores)",
        "RAM": f"{_memory() / 2**30:.1f} GiB",
        "Disk": f"{used.free / 2**30:.1f} of {used.total / 2**30:.1f} GiB free",
        "GPU": ", ".join(gpus) or "none",
        "CUDA": torch.version.cuda or "none",
    }
    for pin in parse_requirements(REQUIREMENTS) if REQUIREMENTS.exists() else ():
        have = package_version(pin.name)
        info[pin.name] = f"{have or 'missing'}{'' if have else f' (pip install {pin.name}{pin.specifier})'}"
    for name, value in info.items():
        LOGGER.info("%-24s%s", name, value)
    return info


def _memory() -> int:
    """Bytes of the machine's memory, 0 where it cannot be asked."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def check_yolo(verbose: bool = True, device: Any = "") -> None:
    """Log what the program runs on, and the device of a name."""
    if verbose:
        collect_system_info()
    resolve("ultralytics.utils.torch_utils:select_device")(device)
