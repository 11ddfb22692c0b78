"""Exit 0 when this interpreter can run the project: Python 3.10+ and every package within the ranges of setup.py.

Needs no package itself.

    python scripts/check_env.py                       the ranges
    python scripts/check_env.py --exact REQUIREMENTS  the pinned versions of a file instead
"""

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def ranges():
    """Name → lowest version, from setup.py."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "INSTALL_REQUIRES":
            return [tuple(line.split(">=")) for line in ast.literal_eval(node.value)]
    raise SystemExit("setup.py has no INSTALL_REQUIRES")


def pins(file):
    """Name → version of a requirements file that hold for this Python."""
    found = []
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            found += pins(Path(file).parent / line[3:].strip())
        elif line:
            requirement, _, marker = line.partition(";")
            limit = re.search(r'python_version (<|>=) "3\.(\d+)"', marker)
            if not limit or (sys.version_info[1] < int(limit[2])) == (limit[1] == "<"):
                found.append(tuple(requirement.strip().split("==")))
    return found


def numbers(version):
    """Leading numbers of a version, without a local part such as +cu126."""
    return [int(n) for n in re.findall(r"\d+", re.match(r"[\d.]*", version)[0])]


def main():
    """Say what is missing; 0 when nothing is."""
    exact = len(sys.argv) == 3 and sys.argv[1] == "--exact"
    missing = [] if sys.version_info >= (3, 10) else [f"Python 3.10 (this is {sys.version.split()[0]})"]
    for name, wanted in pins(sys.argv[2]) if exact else ranges():
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            have = None
        good = have is not None and (have.split("+")[0] == wanted if exact else numbers(have) >= numbers(wanted))
        if not good:
            missing.append(f"{name}{'==' if exact else '>='}{wanted} (found {have or 'none'})")
    if missing:
        print("missing: " + ", ".join(missing))
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
