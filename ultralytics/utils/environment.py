"""What the program runs on and in, under the reference's names. Nothing here asks the network."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the package
CLONE = ROOT.parent
FILE = ROOT / "utils" / "__init__.py"
ASSETS = ROOT / "assets"
DATASETS_DIR, WEIGHTS_DIR, RUNS_DIR = Path("datasets"), Path("weights"), Path("runs")
RANK = int(os.environ.get("RANK", "-1"))
LOCAL_RANK = int(os.environ.get("LOCAL_RANK", "-1"))
NUM_THREADS = min(8, max(1, (os.cpu_count() or 1) - 1))
ARGV = sys.argv
VERBOSE = os.environ.get("YOLO_VERBOSE", "true").lower() == "true"
AUTOINSTALL = ONLINE = False  # nothing is installed, and nothing is looked up on the network
LOGGING_NAME = "ultralytics"
MACOS, LINUX, WINDOWS = (platform.system() == name for name in ("Darwin", "Linux", "Windows"))
ARM64 = platform.machine().lower() in ("arm64", "aarch64")
PYTHON_VERSION = platform.python_version()
IS_PYTHON_MINIMUM_3_10 = True
IS_PYTHON_3_12 = sys.version_info[:2] == (3, 12)
TQDM_BAR_FORMAT = "{l_bar}{bar:10}{r_bar}"
HELP_MSG = "`python -m ultralytics --help` lists the modes; README.md shows the calls"


def package_version(name: str) -> str:
    """Return the installed version of a package, "" without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


TORCH_VERSION = package_version("torch")
TORCHVISION_VERSION = package_version("torchvision")


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:  # no Linux, or one without such a file
        return {}


def is_ubuntu() -> bool:
    """Return True if the system is Ubuntu."""
    return _os_release().get("ID") == "ubuntu"


def get_ubuntu_version() -> str | None:
    """Ubuntu's version, such as "22.04"; None elsewhere."""
    return _os_release().get("VERSION_ID") if is_ubuntu() else None


def is_colab() -> bool:
    """Return True if a Google Colab notebook runs this."""
    return "COLAB_RELEASE_TAG" in os.environ or "COLAB_BACKEND_VERSION" in os.environ


def is_kaggle() -> bool:
    """Return True if a Kaggle notebook runs this."""
    return "KAGGLE_URL_BASE" in os.environ


def is_jupyter() -> bool:
    """Return True if the kernel of a notebook runs this."""
    return "ipykernel" in sys.modules


def is_docker() -> bool:
    """Return True if this runs in a Docker container."""
    return Path("/.dockerenv").exists()


def is_github_action_running() -> bool:
    """Return True if a GitHub action runs this."""
    return {"GITHUB_ACTIONS", "GITHUB_WORKFLOW", "RUNNER_OS"} <= os.environ.keys()


def is_pytest_running() -> bool:
    """Return True if a test of pytest runs this."""
    return "PYTEST_CURRENT_TEST" in os.environ or "pytest" in sys.modules


def is_online() -> bool:
    """False: nothing is looked up on the network, whether there is one or not."""
    return ONLINE


def read_device_model() -> str:
    """Read the model of a small computer from its device tree, lower case; "" elsewhere."""
    try:
        return Path("/proc/device-tree/model").read_text(encoding="utf-8").lower().strip("\0")
    except (OSError, UnicodeDecodeError):
        return ""


def is_raspberrypi() -> bool:
    """Return True if this is a Raspberry Pi."""
    return "raspberry pi" in read_device_model()


def is_jetson() -> bool:
    """Return True if this is an NVIDIA Jetson."""
    model = read_device_model()
    return "nvidia" in model or "jetson" in model


def is_pip_package(filepath: str = "ultralytics") -> bool:
    """Return True if a module lies among the installed packages, not in a clone."""
    return "site-packages" in ROOT.parts if filepath.startswith("ultralytics") else package_version(filepath) != ""


def is_dir_writeable(dir_path: str | Path) -> bool:
    """Return True if files can be written into a folder."""
    return os.access(str(dir_path), os.W_OK)


def get_git_dir() -> Path | None:
    """Return the clone this package is in, None where it is installed."""
    return CLONE if (CLONE / ".git").exists() else None


def is_git_dir() -> bool:
    """Return True if this package is in a clone."""
    return get_git_dir() is not None


def git_folders(clone: Path) -> tuple[Path, Path] | None:
    """Return where a clone's HEAD is, and its branches and configuration: `.git` but for a worktree. None outside a
    clone. Raises OSError, ValueError: they cannot be read."""
    place = clone / ".git"
    if place.is_file():
        word, _, target = place.read_text(encoding="utf-8").strip().partition(": ")
        place = clone / target if word == "gitdir" else place
    if not (place / "HEAD").is_file():
        return None
    common = place / "commondir"
    return place, place / common.read_text(encoding="utf-8").strip() if common.is_file() else place


def get_git_branch() -> str | None:
    """Return the branch of the clone, None outside one or between branches."""
    try:
        found = git_folders(CLONE)
        head = (found[0] / "HEAD").read_text(encoding="utf-8").strip() if found else ""
    except (OSError, ValueError):
        return None
    return head.removeprefix("ref: refs/heads/") if head.startswith("ref: ") else None


def get_git_origin_url() -> str | None:
    """Return the address the clone comes from, None outside one or without an origin."""
    try:
        found = git_folders(CLONE)
        lines = (found[1] / "config").read_text(encoding="utf-8").splitlines() if found else []
    except (OSError, ValueError):
        return None
    inside = False
    for line in lines:
        line = line.strip()
        inside = line == '[remote "origin"]' if line.startswith("[") else inside
        if inside and line.startswith("url"):
            return line.partition("=")[2].strip()
    return None


def get_user_config_dir(sub_dir: str = "Ultralytics") -> Path:
    """Return the folder where the reference keeps settings; nothing is kept there, and the folder is not made."""
    base = {"Windows": "AppData/Roaming", "Darwin": "Library/Application Support"}.get(platform.system(), ".config")
    home = os.path.expanduser("~")  # "~" itself where there is no home folder; Path.home would raise
    return Path(os.environ.get("YOLO_CONFIG_DIR") or Path(home) / base / sub_dir)


IS_COLAB, IS_KAGGLE, IS_JUPYTER, IS_DOCKER = is_colab(), is_kaggle(), is_jupyter(), is_docker()
_HERE = {"Colab": IS_COLAB, "Kaggle": IS_KAGGLE, "Jupyter": IS_JUPYTER, "Docker": IS_DOCKER}
ENVIRONMENT = next((name for name, here in _HERE.items() if here), platform.system())
GIT_DIR = get_git_dir()
IS_GIT_DIR, IS_PIP_PACKAGE = is_git_dir(), is_pip_package()
IS_JETSON, IS_RASPBERRYPI, IS_VSCODE = is_jetson(), is_raspberrypi(), os.environ.get("TERM_PROGRAM") == "vscode"
PROC_DEVICE_MODEL = read_device_model()
TESTS_RUNNING = is_pytest_running()
USER_CONFIG_DIR = get_user_config_dir()
SETTINGS_FILE = USER_CONFIG_DIR / "settings.json"
