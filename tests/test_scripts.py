import collections
import importlib
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ultralytics import YOLO
from ultralytics.nn.building import channels_last
from ultralytics.utils.text import counted

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


@pytest.mark.parametrize("name", ["train", "val", "predict", "track", "explain"])
def test_scripts_pass_their_arguments_on(name, tmp_path):
    done = bash(CLONE / "scripts" / f"{name}.sh", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m ultralytics {name}" in done.stdout
    done = bash(CLONE / "scripts" / f"{name}.sh", "model=gone.pt", "data=gone.yaml", "source=x", "imgz=3", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'imgsz'" in done.stderr


# What the two scripts run, as it is typed in the clone where there is no bash (Windows): lines of docs/windows.md.
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


@pytest.mark.parametrize("words", [["task=classify"], ["cfg=cfg/recipes/quickstart-cls.yaml"]])
def test_the_first_run_of_a_classifier_has_a_recipe_of_its_own(words, tmp_path):
    log, fake = tmp_path / "log", tmp_path / "python"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {log}\n', encoding="utf-8")
    fake.chmod(0o755)
    assert bash(CLONE / "scripts" / "train.sh", *words, cwd=tmp_path, PYTHON=str(fake)).returncode == 0
    prepared, trained = (line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("-m"))
    assert prepared.endswith(f"prepare shapes task=classify out={CLONE}/data/shapes-cls")
    assert "recipes/quickstart-cls.yaml" in trained


SEGMENT = (CLONE / "data" / "shapes-seg.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "drawn"),
    [
        (["task=pose"], "task=pose out={}/data/shapes-pose"),  # not the user's, though it is last
        (["task=segment"], "task=segment out={}/data/shapes-seg"),  # a copy of its YAML comes first
        (["data=shapes-seg.yaml"], "task=segment out={}/data/shapes-seg"),
        (["data={}/data/shapes-seg.yaml", "model=yolov8n-seg.yaml"], "task=segment out={}/data/shapes-seg"),
        (["data=data/shapes.yaml", "epochs=1"], "out={}/data/shapes"),
        (["data=data/shapes-mine.yaml"], None),
        (["data={}/data/shapes-copy.yaml"], None),
        (["data=my/shapes-seg.yaml"], None),
        (["data=my-shapes.yaml"], None),
        (["cfg=my/quickstart-long.yaml"], None),
        (["cfg=quickstart-long.yaml", "task=segment"], None),
    ],
)
def test_only_the_embedded_drawings_are_drawn(words, drawn, tmp_path):
    clone, log, fake = tmp_path / "clone", tmp_path / "log", tmp_path / "python"
    for folder in ("scripts", "cfg"):
        shutil.copytree(CLONE / folder, clone / folder)
    (clone / "data").mkdir()
    for file in (CLONE / "data").glob("*.yaml"):
        shutil.copy(file, clone / "data")
    own = SEGMENT.partition("prepare:")[0].replace("shapes-seg", "shapes-mine")
    (clone / "data" / "shapes-mine.yaml").write_text(f"{own}task: segment\n", encoding="utf-8")
    (clone / "data" / "shapes-zzz.yaml").write_text(f"{own}task: pose\n", encoding="utf-8")
    (clone / "data" / "shapes-copy.yaml").write_text(SEGMENT, encoding="utf-8")
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "shapes-seg.yaml").write_text(SEGMENT, encoding="utf-8")
    fake.write_text(f'#!/bin/sh\necho "$@" >> {log}\n', encoding="utf-8")
    fake.chmod(0o755)
    words = [word.format(clone) for word in words]
    assert bash(clone / "scripts" / "train.sh", *words, cwd=tmp_path, PYTHON=str(fake)).returncode == 0
    ran = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("-m")]
    assert ran[:-1] == ([] if drawn is None else [f"-m ultralytics prepare shapes {drawn.format(clone)}"])
    assert ran[-1].startswith("-m ultralytics train ")


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


@pytest.mark.slow
def test_arguments_that_are_mistaken_for_the_quickstart_are_not(tmp_path, tiny, toy):
    done = bash(
        CLONE / "scripts" / "train.sh", f"model={tiny}", f"data={toy}", "epochs=1", "imgsz=64",
        "workers=0", "batch=4", "device=cpu", "plots=False", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    args = (tmp_path / "runs" / "detect" / "train" / "args.yaml").read_text()
    assert "lr0: 0.002" not in args
    assert "quickstart" not in args


TASKS = ("detect", "segment", "pose", "obb", "classify")


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_the_benchmark_prints_json_lines(task, tmp_path):
    words = ("step", f"task={task}", "imgsz=32", "batch=2", "steps=1", "threads=1")
    done = bash(CLONE / "scripts" / "benchmark.sh", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["what"], found["task"]) == ("step", task)
    assert found["seconds_per_step"] > 0
    assert found["cpu_per_step"] > 0


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(CLONE / "scripts"))
    return importlib.import_module("benchmark")


def test_the_benchmark_of_a_validation_prints_nothing_of_its_own(tiny, toy, benchmark, capfd, tmp_path):
    YOLO(str(tiny), nc=3).save(tmp_path / "a.pt")
    capfd.readouterr()
    words = [f"model={tmp_path / 'a.pt'}", f"data={toy}", "imgsz=32", "workers=0", "threads=1"]
    assert benchmark.main(["val", *words]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["what"] == "val"  # one line
    assert err == ""


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_drawn_at_random_is_one_of_its_task(task, benchmark):
    batch = benchmark.random_batch(task, 2, 64, 3)
    assert batch["img"].shape == (2, 3, 64, 64)
    if task == "classify":
        assert batch["cls"].shape == (2,)
        return
    assert batch["batch_idx"].tolist() == [0.0] * 8 + [1.0] * 8
    assert batch["bboxes"].shape == (16, 5 if task == "obb" else 4)
    assert ("keypoints" in batch, "masks" in batch) == (task == "pose", task == "segment")
    if task == "segment":
        assert batch["masks"].shape == (2, 16, 16)
        numbers = batch["masks"].unique()
        assert numbers.min() == 0
        assert 4 <= numbers.max() <= 8  # ellipses lie over each other


def test_both_sides_are_compared_in_turns(benchmark, monkeypatch):
    """Each round asks the reference and then us; the ratio says how many times as fast this is."""
    asked = []

    def ran(command, **_):
        theirs = command[0] == "their-python"
        asked.append(theirs)
        times = {"seconds_per_step": (8.0 if theirs else 2.0) + len(asked), "cpu_per_step": 6.0 if theirs else 3.0}
        return SimpleNamespace(returncode=0, stdout=f"a line\n{json.dumps(times)}\n", stderr="")

    monkeypatch.setattr(benchmark.subprocess, "run", ran)
    found = benchmark.compare("step", "their-python", 3, task="pose")
    assert asked == [True, False] * 3
    assert found["seconds_per_step_median"] == {"reference": 11.0, "here": 6.0, "ratio": 11 / 6}
    assert found["seconds_per_step_least"] == {"reference": 9.0, "here": 4.0, "ratio": 9 / 4}
    assert found["cpu_per_step_median"]["ratio"] == 2
    failed = SimpleNamespace(returncode=1, stdout="", stderr="no such package")
    monkeypatch.setattr(benchmark.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(benchmark.ConfigError, match=r"the reference gives no figures .*no such package"):
        benchmark.compare("step", "their-python", 3)
    assert benchmark.main(["compare", "what=loader"]) == 2


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


# The least mAP50 of a first run of each task: what is measured, and a part of metrics.json.
FIRST_RUNS = {
    "detect": {"": 0.80},
    "segment": {"": 0.75, "mask": 0.75},
    "pose": {"": 0.75, "pose": 0.75},
    "obb": {"": 0.75},
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("task", FIRST_RUNS)
def test_the_first_run_keeps_its_promise(task, tmp_path):
    """A copy of the tree, one command, without a network: figures on the embedded data."""
    clone, made = tmp_path / "clone", ("shapes", "shapes-seg", "shapes-pose", "shapes-obb", "shapes-cls", "bccd")
    ignored = shutil.ignore_patterns(".git", "runs", ".venv", "__pycache__", "build", *made)
    shutil.copytree(CLONE, clone, ignore=ignored)
    done = bash(clone / "scripts" / "train.sh", *([] if task == "detect" else [f"task={task}"]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / task / "train"
    metrics = json.loads((run / "metrics.json").read_text())
    for part, least in FIRST_RUNS[task].items():
        assert (metrics[part] if part else metrics)["mAP50"] >= least, part
    for name in ("weights/best.pt", "results.png", "results.csv", "metrics.json"):
        assert (run / name).exists()
        assert name in done.stdout


# What is measured on a card


@pytest.fixture
def gpu_day(monkeypatch):
    monkeypatch.syspath_prepend(str(CLONE / "scripts"))
    return importlib.import_module("gpu_day")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_measurements_for_a_card_run_in_a_small_form_without_one(tmp_path, tiny, toy):
    """Every part says something; a part that means nothing without a card says so."""
    words = ("minutes=10", "device=cpu", f"models={tiny}", f"data={toy}", "imgsz=64", "batch=4")
    done = bash(CLONE / "scripts" / "gpu_day.sh", tmp_path / "out", *words, cwd=tmp_path, OMP_NUM_THREADS="1")
    files = {f.name: f.read_text(encoding="utf-8") for f in (tmp_path / "out").iterdir()}
    assert done.returncode == 0, done.stdout + done.stderr + files.get("log.txt", "")
    assert set(files) == {"gpu_day.jsonl", "summary.md", "log.txt"}
    lines = [json.loads(line) for line in files["gpu_day.jsonl"].splitlines()]
    ended = {x["name"]: x["state"] for x in lines if x["what"] == "part"}
    assert list(ended) == ["versions", "data", "step", "fla", "tests", "train", "memory", "batch", "val", "ranks"]
    without = "skipped: no CUDA device"
    assert {name for name, state in ended.items() if state == without} == {"tests", "memory"}
    assert {state for state in ended.values() if state != without} == {"done"}
    seen = {x["what"]: x for x in lines}
    assert not [x for x in lines if x["what"] == "error"]
    assert seen["step"]["images_per_second"] > 0
    assert seen["fla"]["both_ms"] > seen["fla"]["forward_ms"] > 0
    assert seen["resume"]["equal"]
    assert seen["resume"]["interrupted"]
    assert seen["ranks"]["finished"]
    for expected in ("## Training step", "equal to the bit", without):
        assert expected in files["summary.md"]


def test_a_part_that_does_not_end_is_ended_and_what_it_wrote_is_kept(gpu_day, tmp_path, monkeypatch):
    parts = importlib.import_module("gpu_parts")

    def never(report, *_):
        report("begun", pid=subprocess.Popen(["sleep", "600"]).pid)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        time.sleep(600)

    monkeypatch.setattr(gpu_day, "GRACE", 0.1)
    monkeypatch.setattr(gpu_day, "LEAST", 0.0)
    chosen = {"hangs": parts.Part(never, 1.0), "works": parts.Part(lambda report, *_: report("well", x=math.nan), 1.0)}
    monkeypatch.setattr(gpu_day, "PARTS", chosen)
    options = gpu_day.Options(tmp_path, tmp_path, "", 0, 0, "cpu", (), (), "")
    assert gpu_day.run_parts(list(chosen), tmp_path, options, 2.0) == 1
    lines = [json.loads(x) for x in (tmp_path / "gpu_day.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(x["what"], x.get("state", "").split(" of ")[0]) for x in lines] == [
        ("begun", ""), ("part", "ended at its limit"), ("well", ""), ("part", "done"),
    ]  # fmt: skip
    assert lines[2]["x"] is None
    assert not Path(f"/proc/{lines[0]['pid']}").exists() or "State:\tZ" in Path(
        f"/proc/{lines[0]['pid']}/status"
    ).read_text(encoding="utf-8")
    assert "ended at its limit" in (tmp_path / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "where to?"), (["parts=step"], "where to?"), (["out", "parts=stp"], "there is no 'stp'"),
        (["out", "minute=3"], "is not an option"), (["out", "minutes=0"], "minutes=0"),
        (["out", "data=gone.yaml"], "gone.yaml"),
    ],
)  # fmt: skip
def test_mistakes_in_the_words_are_one_line(gpu_day, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert gpu_day.main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_layers_that_are_compared_compute_the_same(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.syspath_prepend(str(CLONE / "scripts"))
    layers = importlib.import_module("gpu_attention").layers(6)
    x = torch.randn(2, 256, 6, 6)
    outs = {name: layer(x) for name, layer in layers.items()}
    for name in ("tutorial", *({"ours"} & set(layers))):
        assert torch.allclose(outs[name], outs["plain"], atol=1e-5), name
    assert outs["plain"].std() > 1e-3


@pytest.fixture
def gpu_parts(monkeypatch):
    monkeypatch.syspath_prepend(str(CLONE / "scripts"))
    return importlib.import_module("gpu_parts")


def test_cases_come_by_their_worth_and_without_what_the_code_lacks(gpu_parts, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_parts.Options, "on_card", True)
    monkeypatch.setattr(gpu_parts, "fields", lambda _: [SimpleNamespace(name=n) for n in ("amp", "compile")])
    monkeypatch.setattr(gpu_parts.gpu_attention, "FUSED", True)
    options = gpu_parts.Options(tmp_path, tmp_path, "", 0, 0, "0", ("n", "n-fla", "s"), ("all",), "")
    plain = [("n", {}), ("n-fla", {}), ("s", {})]
    on, off = {"compile": True}, {"amp": False}
    assert [tuple(c) for c in gpu_parts.cases(options)] == [
        *plain, ("n-fla", {"ULTRALYTICS_FLA": "plain"}), ("n", off), ("n", {"channels_last": False}), ("n-fla", off),
        ("n", on), ("n-fla", on), ("n", {"compile": "reduce-overhead"}),
    ]  # fmt: skip
    assert [tuple(c) for c in gpu_parts.cases(replace(options, switches=("none",)))] == plain
    assert [tuple(c) for c in gpu_parts.cases(replace(options, switches=("amp",)))][3:] == [("n", off), ("n-fla", off)]


def test_a_switch_that_is_no_key_is_set_for_its_case_alone(gpu_parts):
    image = torch.zeros(1, 3, 4, 4)
    net = torch.nn.Conv2d(3, 8, 3)
    with gpu_parts.switched({"channels_last": False, "ULTRALYTICS_FLA": "plain", "amp": False}) as keys:
        assert keys == {"amp": False}
        assert os.environ["ULTRALYTICS_FLA"] == "plain"
        channels_last(net)
        assert net.weight.is_contiguous()
    assert "ULTRALYTICS_FLA" not in os.environ
    channels_last(net)
    assert net(image).is_contiguous(memory_format=torch.channels_last)


def test_a_trace_says_how_long_the_card_was_busy(gpu_parts):
    def event(cat, name, ts, dur):
        return {"cat": cat, "name": name, "ts": ts, "dur": dur}

    events = [
        event("kernel", "a", 0, 1000), event("kernel", "b", 500, 1000), event("kernel", "a", 3000, 500),
        event("gpu_memcpy", "copy", 3200, 100), event("gpu_memset", "fill", 5000, 400),
        event("cuda_runtime", "cudaLaunchKernel", 0, 5), event("cuda_driver", "cuLaunchKernelEx", 1, 5),
        event("cuda_runtime", "cudaGraphLaunch", 2, 5), event("cuda_runtime", "cudaStreamSynchronize", 9, 5),
        event("python_function", "step", 0, 9000), {"name": "no kind"},
    ]  # fmt: skip
    found = gpu_parts.on_card(events, 2)
    assert found["busy_ms"] == pytest.approx((1500 + 500 + 400) / 1e3 / 2)
    assert (found["kernels"], found["copies"], found["fills"]) == (1.5, 0.5, 0.5)
    assert (found["launches"], found["waits_in_trace"]) == (1.5, 0.5)
    assert list(found["longest_kernels_ms"].items()) == [("a", 0.75), ("b", 0.5)]


def test_waits_are_counted_by_the_line_of_ours_that_they_come_from(gpu_parts, monkeypatch):
    class Waits:
        """Stands for a tensor on a card."""

        def __format__(self, spec):
            warnings.warn("called a synchronizing CUDA operation (Triggered internally at x.cpp)", stacklevel=1)
            warnings.warn("another", stacklevel=1)
            return "2"

    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    places = collections.Counter()
    with gpu_parts.syncs_noted(places):
        counted(Waits(), "step")
        counted(Waits(), "step")
    [(place, count)] = places.items()
    assert count == 2
    assert place.startswith("ultralytics/utils/text.py:")
    assert "test_scripts.py" in place
    assert modes == ["warn", "default"]


def test_the_summary_has_ratios_of_what_is_there_and_says_what_is_not(monkeypatch):
    monkeypatch.syspath_prepend(str(CLONE / "scripts"))
    summarise = importlib.import_module("gpu_summary").summarise
    step = {"part": "step", "what": "step", "host_ms": 1.0, "busy_ms": 6.0, "kernels": 10.0, "syncs": 2.0}
    rows = [
        {
            **step, "model": "yolov8n", "switch": {}, "images_per_second": 100.0, "step_ms": 10.0,
            "sync_places": {"x:1": 2.0},
        },
        {**step, "model": "yolov8n", "switch": {"amp": False}, "images_per_second": 50.0, "step_ms": 20.0},
        {
            **step, "model": "yolov8n-fla-sppf", "switch": {}, "images_per_second": 97.0, "step_ms": 10.0,
            "loader_images_per_second": 48.5, "loader_wait": 0.5, "workers": 4,
        },
        {"part": "fla", "what": "fla", "layer": "ours", "B": 1, "N": 4, "forward_ms": 1.0, "both_ms": 2.0},
        {"part": "fla", "what": "fla", "layer": "tutorial", "B": 1, "N": 4, "forward_ms": 5.0, "both_ms": 12.0},
        {"part": "step", "what": "error", "model": "yolov8s", "error": "RuntimeError: a | b"},
        {"part": "tests", "what": "failure", "test": "tests/x.py::test_y"},
    ]  # fmt: skip
    text = summarise(rows)
    for line in (
        "| yolov8n, amp=False | its default | 0.5 |", "| yolov8n-fla-sppf, default | yolov8n | 0.97 |",
        "| yolov8n-fla-sppf, default, with the loader | ready batches | 0.5 |", "| x:1 | 2 |", "- tests/x.py::test_y",
        "| FLA, B=1, N=4, forward + backward | tutorial | 6 |", "error RuntimeError: a \\| b", "| 0.4 |",
    ):  # fmt: skip
        assert line in text, text
    assert summarise([]) == "# Measurements on a card\n"
