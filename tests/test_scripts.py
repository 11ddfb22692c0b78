import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((CLONE / "scripts").glob("*.sh"))
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


def bash(*words, cwd, **env):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", *map(str, words)], cwd=cwd, env={**os.environ, "PATH": path, "PYTHON": sys.executable, **env},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_scripts_parse_and_carry_their_usage(script):
    assert bash("-n", script, cwd=CLONE).returncode == 0
    assert script.read_text(encoding="utf-8").splitlines()[1 if script.name != "env.sh" else 0].startswith("#")


@pytest.mark.parametrize("name", ["train", "val", "predict"])
def test_scripts_pass_their_arguments_on(name, tmp_path):
    done = bash(CLONE / "scripts" / f"{name}.sh", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m ultralytics {name}" in done.stdout
    done = bash(CLONE / "scripts" / f"{name}.sh", "model=gone.pt", "data=gone.yaml", "source=x", "imgz=3", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'imgsz'" in done.stderr


# What the two scripts run, as it is typed in the clone where there is no bash; docs/windows.md has these lines.
WITHOUT_BASH = {
    "train": ["-m ultralytics prepare shapes", "-m ultralytics train cfg=cfg/recipes/quickstart.yaml"],
    "test": ["-m pytest -m 'not slow and not gpu' -n 2 --dist loadfile"],
}


@pytest.mark.parametrize("name", WITHOUT_BASH)
def test_the_commands_for_windows_are_what_the_scripts_run(name, tmp_path):
    said = (CLONE / "docs" / "windows.md").read_text(encoding="utf-8").replace('"', "'")
    log, fake = tmp_path / "log", tmp_path / "python"
    fake.write_text(
        f'#!/bin/sh\nfor w in "$@"; do printf "%s\\0" "$w" >> {log}; done; echo >> {log}\n', encoding="utf-8"
    )
    fake.chmod(0o755)
    assert bash(CLONE / "scripts" / f"{name}.sh", cwd=tmp_path, PYTHON=str(fake)).returncode == 0
    ran = [line.split("\0")[:-1] for line in log.read_text(encoding="utf-8").splitlines()]
    ran = [[w.replace(f"{CLONE}/", "") for w in words] for words in ran if words[0] == "-m"]
    ran = [[w for w in words if w != "out=data/shapes"] for words in ran]  # the default, in the clone
    assert ran == [shlex.split(line) for line in WITHOUT_BASH[name]]
    for line in WITHOUT_BASH[name]:
        assert f"python {line}" in said


def test_data_sets_are_prepared_by_a_script(tmp_path):
    script = CLONE / "scripts" / "prepare.sh"
    assert "usage: python -m ultralytics prepare" in bash(script, "--help", cwd=tmp_path).stdout
    done = bash(script, "voc", f"out={tmp_path / 'my data'}", cwd=tmp_path)
    assert done.returncode == 2
    assert "VOCtrainval_06-Nov-2007.tar" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_old_python_is_told(tmp_path):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    done = bash(CLONE / "scripts" / "val.sh", cwd=tmp_path, PYTHON=str(fake))
    assert done.returncode == 2
    assert "Python 3.10" in done.stderr


def test_a_python_may_lie_in_a_folder_with_a_space(tmp_path):
    python = tmp_path / "my env" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = bash(CLONE / "scripts" / "val.sh", "--help", cwd=tmp_path, PYTHON=str(python))
    assert done.returncode == 0, done.stderr


FAKE = """#!/bin/sh
case "$*" in
    "-m venv "*) mkdir -p "$3/bin"; [ -L "$3/bin/python" ] || [ -e "$3/bin/python" ] || cp "$0" "$3/bin/python";;
    "-m pip "*) ;;
    *version_info*:2*) echo {version};;
    *) exec {real} "$@";;
esac
"""


@pytest.mark.parametrize(
    ("there", "named", "used"),
    [
        ("", True, ".venv"),
        ("3.10", True, ".venv-3.99"),
        ("3.99", True, ".venv"),
        ("3.10", False, ".venv"),
        ("gone", False, ".venv-3.99"),
        ("gone", True, ".venv-3.99"),
    ],
)
def test_an_environment_of_another_python_is_not_taken_for_the_named_one(tmp_path, there, named, used):
    """.venv has Python `there`, and 3.99 is named by PYTHON or the first on the path."""
    clone, path = tmp_path / "clone", tmp_path / "bin"
    (clone / "scripts").mkdir(parents=True)
    (clone / ".venv" / "bin").mkdir(parents=True)
    path.mkdir()
    for name in ("env.sh", "check_env.py"):
        shutil.copy(CLONE / "scripts" / name, clone / "scripts")
    shutil.copy(CLONE / "setup.py", clone)
    (clone / "wanted.txt").write_text("no-such-package==1.0\n")
    fakes = [(path / "python3", "3.99"), (clone / ".venv" / "bin" / "python", there)]
    for file, version in fakes:
        if version == "gone":
            file.symlink_to(tmp_path / "gone")
        elif version:
            file.write_text(FAKE.format(version=version, real=sys.executable))
            file.chmod(0o755)
    environment = {"PATH": f"{path}{os.pathsep}{os.environ['PATH']}", "PYTHON": str(path / "python3") if named else ""}
    done = bash(
        "-euc", "source clone/scripts/env.sh; use_environment wanted.txt; echo $PY", cwd=tmp_path, **environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(clone / used / "bin" / "python")
    assert f"Making the environment {clone / used} " in done.stdout


@pytest.mark.slow
def test_a_source_archive_makes_a_package_with_its_yamls(tmp_path):
    """`python -m build` makes the wheel from the source archive, not from the clone."""
    pytest.importorskip("setuptools")
    clone = tmp_path / "clone"
    shutil.copytree(CLONE / "ultralytics", clone / "ultralytics", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CLONE / "cfg", clone / "cfg")
    (clone / "data").mkdir()
    (clone / "tests").mkdir()
    for file in [*CLONE.glob("*.*"), *CLONE.glob("data/*.yaml")]:
        if file.is_file():
            shutil.copy(file, clone / file.relative_to(CLONE))

    def setup(folder, *words):
        done = subprocess.run(
            [sys.executable, "setup.py", "-q", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    setup(clone, "sdist", "--formats=zip", "-d", str(tmp_path))
    shutil.unpack_archive(next(tmp_path.glob("*.zip")), tmp_path / "unpacked")
    source = next((tmp_path / "unpacked").iterdir())
    setup(source, "build", "-b", str(tmp_path / "built"))
    package = tmp_path / "built" / "lib" / "ultralytics"
    for name, folder in {"models": "cfg/models", "recipes": "cfg/recipes", "data": "data"}.items():
        expected = {file.name for file in (CLONE / folder).glob("*.yaml")}
        assert expected <= {file.name for file in (package / "bundled" / name).iterdir()}
    assert (package / "py.typed").is_file()
    shutil.rmtree(source / "cfg" / "models")
    with pytest.raises(AssertionError, match="no YAML"):
        setup(source, "build", "-b", str(tmp_path / "again"))


def test_the_environment_check_names_what_is_missing(tmp_path):
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("torch==0.0.1\nno-such-package==1.0\n")
    done = subprocess.run(
        [sys.executable, str(CLONE / "scripts" / "check_env.py"), "--exact", str(wanted)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "no-such-package" in done.stdout + done.stderr


def test_arguments_that_are_mistaken_for_the_quickstart_are_not(tmp_path, tiny, toy):
    done = bash(
        CLONE / "scripts" / "train.sh", f"model={tiny}", f"data={toy}", "epochs=1", "imgsz=64",
        "workers=0", "batch=4", "device=cpu", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    args = (tmp_path / "runs" / "detect" / "train" / "args.yaml").read_text()
    assert "lr0: 0.002" not in args
    assert "quickstart" not in args


def test_the_benchmark_prints_json_lines(tmp_path):
    done = bash(
        CLONE / "scripts" / "benchmark.sh", "step", "model=yolov8n.yaml", "imgsz=32", "batch=2", "steps=1", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert '"what": "step"' in done.stdout


@pytest.mark.slow
def test_labels_of_a_large_split_start_fast_and_stay_small(tmp_path):
    words = ("labels", "images=30000", "epochs=5", "workers=2")
    done = bash(CLONE / "scripts" / "benchmark.sh", *words, cwd=tmp_path, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["cached_start_seconds"] < 1
    assert figures["bytes_per_box"] < 200
    assert figures["resident_bytes_per_box"] < 200
    assert figures["growth"] < 0.01


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_first_run_keeps_its_promise(tmp_path):
    """A copy of the tree, one command: mAP50 of at least 0.80 on the embedded data."""
    clone = tmp_path / "clone"
    shutil.copytree(
        CLONE, clone, ignore=shutil.ignore_patterns(".git", "runs", ".venv*", "shapes", "bccd", "__pycache__", "build")
    )
    done = bash(clone / "scripts" / "train.sh", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    import json  # of the metrics

    run = tmp_path / "runs" / "detect" / "train"
    assert json.loads((run / "metrics.json").read_text())["mAP50"] >= 0.80
    for name in ("weights/best.pt", "results.png", "results.csv", "metrics.json"):
        assert (run / name).exists()
        assert name in done.stdout
