"""The pins go together with the Pythons that setup.py promises: each has one of every package, and can install it."""

import re
import runpy
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

CLONE = Path(__file__).resolve().parents[1]
CHECK = runpy.run_path(str(CLONE / "scripts" / "check_env.py"))
PYTHONS = [tuple(map(int, version.split("."))) for version in CHECK["stated"]("PYTHONS")]
FILES = [CLONE / f"requirements{kind}.txt" for kind in ("", "-export", "-dev")]
# What the pins that hold for some Pythons alone ask for: most of them are not installed where this runs.
REQUIRES_PYTHON = {
    ("numpy", "2.2.6"): ">=3.10",
    ("numpy", "2.4.6"): ">=3.11",
    ("pillow", "12.3.0"): ">=3.10",
    ("pillow", "13.0.0"): ">=3.11",
    ("matplotlib", "3.10.8"): ">=3.10",
    ("matplotlib", "3.11.2"): ">=3.11",
    ("scipy", "1.15.3"): ">=3.10",
    ("scipy", "1.17.1"): ">=3.11",
    ("onnxruntime", "1.23.2"): ">=3.10",
    ("onnxruntime", "1.32.0"): ">=3.11",
    ("hypothesis", "6.168.5"): ">=3.10",
    ("hypothesis", "6.170.15"): ">=3.11",
}


def installed(name, version):
    """The Requires-Python of a distribution; None where another version is there, or none."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return found.metadata["Requires-Python"] or "" if found.version.split("+")[0] == version else None


def excluded(file, known=installed):
    """The pins of a file that a promised Python cannot install, and those nothing is known of."""
    wrong = []
    for python in PYTHONS:
        for pin in CHECK["pins"](file, python):
            requires = known(*pin)
            requires = REQUIRES_PYTHON.get(pin) if requires is None else requires
            if requires is None or not SpecifierSet(requires).contains(".".join(map(str, python))):
                wrong.append((*pin, python, requires))
    return wrong


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_every_python_has_one_pin_of_each_package(file):
    names = [sorted(name.lower() for name, _ in CHECK["pins"](file, python)) for python in PYTHONS]
    assert all(len(n) == len(set(n)) for n in names), names
    assert all(n == names[0] for n in names), names
    assert len(names[0]) > 5


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_every_python_may_install_its_pins(file):
    there = [pin for pin in CHECK["pins"](file) if installed(*pin) is not None]
    if len(there) < len(CHECK["pins"](file)):
        pytest.skip("the packages are not those of the pins")
    assert not excluded(file)


def test_what_is_noted_of_pins_is_so():
    pinned = {pin for python in PYTHONS for pin in CHECK["pins"](FILES[-1], python)}
    everywhere = set.intersection(*({*CHECK["pins"](FILES[-1], python)} for python in PYTHONS))
    assert set(REQUIRES_PYTHON) == pinned - everywhere
    for pin, noted in REQUIRES_PYTHON.items():
        found = installed(*pin)
        assert found is None or SpecifierSet(found) == SpecifierSet(noted), pin


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(("ranges", "file"), [("INSTALL_REQUIRES", FILES[0]), ("EXPORT", FILES[1])])
def test_the_pins_are_within_the_ranges_of_setup(ranges, file, python):
    pinned = dict(CHECK["pins"](file, python))
    own = [line.split(">=") for line in CHECK["stated"](ranges)]
    assert own
    for name, lowest in own:
        assert SpecifierSet(f">={lowest}").contains(pinned[name]), name
    if file != FILES[0]:
        assert set(pinned) == {name for name, _ in own} | {name for name, _ in CHECK["pins"](FILES[0], python)}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("hypothesis==6.170.15\n", [("hypothesis", "6.170.15", PYTHONS[0], ">=3.11")]),
        ('numpy==2.2.6; python_version < "3.12"\n', []),
        ("unheard-of==1.0\n", [("unheard-of", "1.0", python, None) for python in PYTHONS]),
    ],
)
def test_a_pin_that_excludes_a_promised_python_is_found(tmp_path, text, wrong):
    (tmp_path / "r.txt").write_text(text)
    assert excluded(tmp_path / "r.txt", known=lambda *_: None) == wrong


@pytest.mark.parametrize(
    ("marker", "holding"),
    [
        ('python_version < "3.11"', [(3, 9), (3, 10)]),
        ("python_version>='3.11'", [(3, 11), (3, 12), (4, 0)]),
        ('python_version >= "3.10" and python_version <= "3.11"', [(3, 10), (3, 11)]),
        ('python_version != "3.10" and python_version != "4.0"', [(3, 9), (3, 11), (3, 12)]),
        ('python_version == "3.9"', [(3, 9)]),
        ('python_version > "3.11"', [(3, 12), (4, 0)]),
    ],
)
def test_markers_are_read(marker, holding):
    pythons = [(3, 9), (3, 10), (3, 11), (3, 12), (4, 0)]
    assert [python for python in pythons if CHECK["holds"](marker, python)] == holding


@pytest.mark.parametrize(
    "marker", ['sys_platform == "win32"', 'python_version < "3.11" or x', 'python_version ~= "3.1"']
)
def test_a_marker_that_is_not_understood_is_told(marker, tmp_path):
    (tmp_path / "r.txt").write_text(f"x==1; {marker}\n")
    with pytest.raises(SystemExit, match="not understood"):
        CHECK["pins"](tmp_path / "r.txt")


def test_the_oldest_python_is_the_same_everywhere():
    """setup.py, the script that looks for one, README, and what ruff and mypy judge by."""
    oldest = ".".join(map(str, PYTHONS[0]))
    script = (CLONE / "scripts" / "env.sh").read_text(encoding="utf-8")
    assert re.findall(r"version_info < \((\d+), (\d+)\)", script) == [(str(PYTHONS[0][0]), str(PYTHONS[0][1]))]
    assert set(re.findall(r"Python (3\.\d+)", script)) == {oldest}
    assert all(f"python{major}.{minor}" in script for major, minor in PYTHONS)
    project = (CLONE / "pyproject.toml").read_text(encoding="utf-8")
    assert f'target-version = "py{oldest.replace(".", "")}"' in project
    assert f'python_version = "{oldest}"' in project
    for readme in ("README.md", "README.zh-CN.md"):
        assert f"Python {oldest}" in (CLONE / readme).read_text(encoding="utf-8")
