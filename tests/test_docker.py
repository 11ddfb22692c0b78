"""The Dockerfiles, read: no engine is needed to see that they copy what exists and run what README says."""

import fnmatch
import json
import re
import shlex
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[1]
FILES = sorted((CLONE / "docker").glob("Dockerfile*"))
KNOWN = {"FROM", "ENV", "WORKDIR", "ARG", "COPY", "RUN", "USER", "CMD"}
IGNORED = [
    line.rstrip("/")
    for line in (CLONE / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
each = pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)


def instructions(text):
    """(instruction, rest) of a Dockerfile, continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [tuple(line.split(None, 1)) for line in lines.replace("\\\n", " ").splitlines() if line.strip()]


def ignored(name):
    """As Docker decides: the last pattern that matches counts, and * stops at a slash."""
    found = False
    for pattern in IGNORED:
        wanted = pattern.removeprefix("!").removeprefix("**/")
        if fnmatch.fnmatch(name, wanted) and ("/" in wanted or "/" not in name):
            found = not pattern.startswith("!")
    return found


def faults(text):
    """What is wrong with a Dockerfile, in words."""
    found = []
    steps = instructions(text)
    words = [word for word, _ in steps]
    found += [f"unknown: {word}" for word in words if word not in KNOWN]
    if words[0] != "FROM" or words.count("FROM") != 1 or words.count("CMD") != 1:
        found.append("not one stage with one command")
    base = dict(steps).get("FROM", "")
    if not re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", base):
        found.append(f"not pinned: {base}")
    if "USER" not in words or dict(steps)["USER"] in ("root", "0") or words.index("USER") < words.index("RUN"):
        found.append("runs as root")
    for word, rest in steps:
        if word == "COPY":
            *sources, _ = [part for part in shlex.split(rest) if not part.startswith("--")]
            for source in sources:
                if not (CLONE / source).exists() or ignored(source):
                    found.append(f"cannot be copied: {source}")
    return found


@each
def test_a_dockerfile_can_be_built_as_far_as_reading_shows(file):
    assert faults(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("python:3.12-slim-bookworm", "python:latest"), "not pinned: python:latest"),
        (("USER trainer", "USER root"), "runs as root"),
        (("COPY requirements.txt", "COPY requirement.txt"), "cannot be copied: requirement.txt"),
        (("WORKDIR", "WORKDIRR"), "unknown: WORKDIRR"),
    ],
)
def test_a_fault_is_noticed(change, fault):
    assert faults((CLONE / "docker" / "Dockerfile").read_text(encoding="utf-8").replace(*change)) == [fault]


def test_there_is_one_for_cpus_and_one_for_gpus():
    assert [f.name for f in FILES] == ["Dockerfile", "Dockerfile.gpu"]


@each
def test_the_commands_are_readmes(file):
    text = file.read_text(encoding="utf-8")
    readme = (CLONE / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"## Two commands.*?```bash\n(.*?)```", readme, re.DOTALL)[1]
    commands = [line.split("#")[0].strip() for line in shown.splitlines()]
    assert commands == ["bash scripts/train.sh", "bash scripts/test.sh"]
    assert json.loads(dict(instructions(text))["CMD"]) == commands[0].split()
    assert f"yolov8-fla{':gpu' if file.suffix else ''} {commands[1]}" in text
    page = (CLONE / "docs" / "docker.md").read_text(encoding="utf-8")
    built = re.search(r"docker build .*", text)[0]
    assert f"-f docker/{file.name} " in built
    assert built in page


@each
def test_what_is_installed_is_what_is_pinned(file):
    text = file.read_text(encoding="utf-8")
    assert 'pip install -r "$REQUIREMENTS"' in text
    assert "ARG REQUIREMENTS=requirements-dev.txt" in text
    for name in re.findall(r"requirements[\w-]*\.txt", text):
        assert (CLONE / name).is_file(), name


def test_what_runs_write_is_not_sent_to_the_engine():
    for name in (".git", ".venv", ".venv-3.12", "runs", "best.pt", "best.onnx", "data/shapes", "data/bccd"):
        assert ignored(name), name
    yamls = [f"data/{file.name}" for file in (CLONE / "data").glob("*.yaml")]
    assert yamls
    for name in ("ultralytics", "cfg", "data", "scripts", "tests", "setup.py", "README.md", "requirements.txt", *yamls):
        assert not ignored(name), name
