"""Exit 0 when this interpreter can run the project: its Python and every package within the ranges of setup.py.

Needs no package itself.

    python scripts/check_env.py                       the ranges
    python scripts/check_env.py --exact REQUIREMENTS  the pinned versions of a file instead
"""

import ast
import operator
import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMPARISONS = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne
}  # fmt: skip


def stated(name):
    """A list of setup.py, which is not run."""
    for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    raise SystemExit(f"setup.py has no {name}")


def ranges():
    """(name, lowest version) of each package, from setup.py."""
    return [tuple(line.split(">=")) for line in stated("INSTALL_REQUIRES")]


def holds(marker, python):
    """Whether a marker, comparisons of python_version joined by `and`, is true for a Python such as (3, 10)."""
    for part in marker.split(" and "):
        found = re.fullmatch(r"""\s*python_version\s*(<=|>=|<|>|==|!=)\s*(["'])(\d+)\.(\d+)\2\s*""", part)
        if not found:
            raise SystemExit(f"this marker is not understood: {marker.strip()}")
        if not COMPARISONS[found[1]](python, (int(found[3]), int(found[4]))):
            return False
    return True


def pins(file, python=sys.version_info[:2]):
    """(name, version) of each line of a requirements file that holds for a Python."""
    found = []
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            found += pins(Path(file).parent / line[3:].strip(), python)
        elif line:
            requirement, _, marker = line.partition(";")
            if not marker or holds(marker, python):
                found.append(tuple(requirement.strip().split("==")))
    return found


def numbers(version):
    """Leading numbers of a version, without a local part such as +cu126."""
    return [int(n) for n in re.findall(r"\d+", re.match(r"[\d.]*", version)[0])]


def main():
    """Say what is missing; 0 when nothing is."""
    exact = len(sys.argv) == 3 and sys.argv[1] == "--exact"
    lowest = stated("PYTHONS")[0]
    good = sys.version_info >= tuple(numbers(lowest))
    missing = [] if good else [f"Python {lowest} (this is {sys.version.split()[0]})"]
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
