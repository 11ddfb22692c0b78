"""`benchmark`: what is measured, and what a format that fails costs the others."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import CLONE, write_toy
from tests.helpers.networks import write_net
from ultralytics import YOLO
from ultralytics.engine.formats.format import Opened
from ultralytics.engine.formats.ncnn import NcnnBackend
from ultralytics.engine.formats.onnx import OnnxBackend
from ultralytics.engine.formats.torchscript import TorchScriptBackend
from ultralytics.models.yolo import benchmark as bench
from ultralytics.models.yolo import turns
from ultralytics.models.yolo.run import benchmark as reference_benchmark
from ultralytics.models.yolo.turns import STAGES, OpenFile, grouped
from ultralytics.utils.errors import ConfigError, DatasetError, ExportError
from ultralytics.utils.memory import release_memory
from ultralytics.utils.processes import memory_held

SMALL = {"imgsz": 64, "device": "cpu", "seconds": 0.0}


@pytest.fixture
def yolo(tmp_path):
    torch.manual_seed(0)
    return YOLO(str(write_net(tmp_path)))


class Here:
    """Stands for the process of a row."""

    def __init__(self, setup, folder):
        self.made = OpenFile(setup)
        self.facts = self.made.facts()

    def ask(self, line):
        return self.made.turn() if line == "turn" else self.made.memory()

    def close(self):
        pass


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(bench, "RowProcess", Here)
    monkeypatch.setattr(bench, "DRAWN", 2)
    monkeypatch.setattr(bench, "NOISE", 2)


def test_the_figures_are_sums_of_stages_over_all_rounds():
    rounds = [[[1.0, 10.0, 2.0, 3.0], [1.0, 30.0, 2.0, 3.0]], [[1.0, 10.0, 2.0, 3.0], [1.0, 50.0, 4.0, 5.0]]]
    found = bench.summary(rounds, batch=2)
    assert found["forward"] == {"p50_ms": 20.0, "p95_ms": pytest.approx(np.percentile([10, 30, 10, 50], 95))}
    assert found["with_nms"]["p50_ms"] == 22.0
    assert found["end_to_end"]["p50_ms"] == 26.0
    assert found["stages_ms"] == dict(zip(STAGES, (1.0, 20.0, 2.0, 3.0), strict=True))
    # Two passes of two images in 52 ms and in 76 ms.
    assert found["images_per_second"] == pytest.approx((4 / 0.052 + 4 / 0.076) / 2)
    assert found["forward_per_second"] == pytest.approx((4 / 0.040 + 4 / 0.060) / 2)
    assert bench.summary([], 1) == {}


def test_a_batch_holds_images_of_one_shape_and_is_full():
    images = [np.zeros((h, 8, 3), np.uint8) for h in (4, 6, 4, 4, 6)]
    groups = grouped(images, 2, lambda image: image.shape[:2])
    assert [[len(image) for image in g] for g in groups] == [[4, 4], [4, 4], [6, 6]]
    assert len(grouped(images, 1, lambda image: image.shape[:2])) == 5


def test_rows_take_turns_and_one_that_fails_says_why(yolo, here, tmp_path, monkeypatch):
    order = []
    turn = OpenFile.turn
    monkeypatch.setattr(OpenFile, "turn", lambda self: order.append(id(self)) or turn(self))
    out = tmp_path / "found.json"
    found = yolo.benchmark(formats=["torchscript"], out=out, conf=0.0, max_det=5, batch=2, **SMALL)
    first, second = found["rows"]
    assert (first["format"], second["format"]) == ("pytorch", "torchscript")
    assert found["rounds"] == bench.MIN_ROUNDS
    a, b = dict.fromkeys(order)
    assert order == [a, b, b, a] * 2  # whose turn is first changes
    for row in found["rows"]:
        assert (row["reason"], row["precision"], row["input"], row["on"]) == ("", "fp32", [64, 64], "cpu")
        assert 0 < row["forward"]["p50_ms"] <= row["with_nms"]["p50_ms"] <= row["end_to_end"]["p50_ms"]
        assert row["images_per_second"] <= row["forward_per_second"]
        assert row["size_mb"] > 0
    assert first["boxes_per_image"] == second["boxes_per_image"] > 0
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["rows"][1]["format"] == "torchscript"
    assert {"cpu", "cores", "threads", "gpu", "load"} <= written["machine"].keys()
    assert "torch" in written["versions"]

    found = yolo.benchmark(formats=["torchscript"], int8=True, **SMALL)
    assert "int8=True is not offered" in found["rows"][1]["reason"]
    assert found["rows"][0]["images_per_second"] > 0
    line = next(line for line in bench.table(found) if line.startswith("TorchScript: "))
    assert "int8=True is not offered" in line
    with pytest.raises(ExportError, match="int8=True is not offered"):
        yolo.benchmark(formats=["torchscript"], int8=True, verbose=True, **SMALL)


CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)


def opened(kind, device, **more):
    """An open file whose runtime is played."""
    found = object.__new__(kind)
    found.__dict__ |= {"device": device, "dtype": torch.float32, "fixed": None, **more}
    return found


def session(providers):
    return Opened(SimpleNamespace(get_provider_options=lambda: providers), 1, lambda count: None)


BOTH = {"CUDAExecutionProvider": {"device_id": "1"}, "CPUExecutionProvider": {}}
RAN = [
    (SimpleNamespace(device=GPU), GPU),  # a network of PyTorch's
    (opened(TorchScriptBackend, GPU), GPU),
    (opened(NcnnBackend, CPU), CPU),
    (opened(OnnxBackend, CPU, runtime=session({"CPUExecutionProvider": {}})), CPU),
    (opened(OnnxBackend, CPU, runtime=session(BOTH)), GPU),  # it takes images from the CPU's memory
]


@pytest.mark.parametrize(("net", "device"), RAN)
def test_a_row_says_where_its_runtime_computes(net, device, monkeypatch):
    """Not where the images lie, nor what was asked for."""
    monkeypatch.setattr(turns, "device_name", lambda device: f"name of {device}")
    monkeypatch.setattr(turns, "precision", lambda net: "fp32")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2**21)
    made = object.__new__(OpenFile)
    made.predictor, made.groups, made.before, made.device = SimpleNamespace(model=net, frame=(64, 64)), [], 1.0, GPU
    net.fixed = None
    facts = made.facts()
    assert (facts["on"], facts["device"]) == (device.type, f"name of {device}")
    assert made.memory()["gpu_memory_mb"] == (2.0 if device.type == "cuda" else None)


def test_the_table_names_each_device_and_its_rows():
    rows = [
        {"title": "PyTorch", "on": "cuda", "device": "H100", "reason": ""},
        {"title": "ONNX", "on": "cpu", "device": "EPYC", "reason": ""},
        {"title": "TorchScript", "on": "cuda", "device": "H100", "reason": ""},
        {"title": "ncnn", "reason": "it needs ncnn"},
    ]
    found = {"rows": rows, "rect": False, "imgsz": 64, "batch": 1, "conf": 0.25, "iou": 0.7, "rounds": 3}
    found |= {"images": "4 images", "machine": {"threads": 2, "load": "load average 1.0 on 2 cores", "gpu": "H100"}}
    lines = bench.table(found)
    assert lines[-2:] == ["H100: PyTorch, TorchScript", "EPYC, 2 threads (load average 1.0 on 2 cores): ONNX"]
    columns = lines[1].index("on  ")
    assert [line[columns : columns + 3] for line in lines[2:5]] == ["GPU", "CPU", "GPU"]
    found["rows"] = rows[1:2]
    assert bench.table(found)[-1] == "EPYC, 2 threads (load average 1.0 on 2 cores)"


def test_an_exported_file_is_the_only_row_and_knows_its_size(yolo, here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = yolo.export(format="torchscript", imgsz=[64, 96], device="cpu")
    found = YOLO(file).benchmark(device="cpu", seconds=0.0)
    (row,) = found["rows"]
    assert (row["format"], row["input"], row["reason"]) == ("torchscript", [64, 96], "")
    with pytest.raises(ConfigError, match="formats= needs a network"):
        YOLO(file).benchmark(formats=["onnx"])


def test_what_cannot_be_asked_for_is_one_line(yolo, tmp_path):
    with pytest.raises(ConfigError, match="onnnx is not offered"):
        yolo.benchmark(formats=["onnnx"], **SMALL)
    with pytest.raises(ConfigError, match="dynamic=True"):
        yolo.benchmark(rect=True, formats=["torchscript"], **SMALL)
    with pytest.raises(ConfigError, match="this is a folder"):
        yolo.benchmark(formats=["torchscript"], out=tmp_path, **SMALL)
    with pytest.raises(DatasetError):
        OpenFile({"threads": 1, "plugins": None, "device": "cpu", "images": [str(tmp_path / "gone.png")]})


def test_the_references_function_is_there(yolo, here):
    from ultralytics.utils.benchmarks import benchmark  # as its scripts import it

    assert benchmark is reference_benchmark
    found = benchmark(yolo.model_name, imgsz=64, device="cpu", formats=["pytorch"], seconds=0.0)
    assert [row["format"] for row in found["rows"]] == ["pytorch"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_memory_is_this_process_own():
    release_memory()  # what earlier tests have freed, and a block would be made of
    held = memory_held()
    block = np.ones(2**28, np.uint8)
    assert memory_held() - held > 200
    del block
    assert memory_held(peak=True) >= held + 200


def command(*words, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "ultralytics", "benchmark", *words],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(CLONE), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_command_measures_real_files(tmp_path):
    data = write_toy(tmp_path)
    torch.manual_seed(0)
    yolo = YOLO(str(write_net(tmp_path)))
    yolo.model.names = {0: "red", 1: "绿", 2: "blue"}
    yolo.save(tmp_path / "best.pt")
    words = ("model=best.pt", f"data={data}", "imgsz=64", "seconds=1", "out=found.json", "images=4")
    code, out, err = command(*words, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "end to end ms" in out
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["images"] == f"4 images of {data}, val"
    rows = {row["format"]: row for row in found["rows"]}
    assert {"pytorch", "torchscript", "onnx", "openvino"} <= rows.keys()
    measured = [row for row in rows.values() if not row["reason"]]
    assert {"pytorch", "torchscript"} <= {row["format"] for row in measured}
    for row in measured:
        assert row["map"] == pytest.approx(rows["pytorch"]["map"], abs=1e-3)
        assert row["memory_mb"] > row["memory_before_mb"] > 50
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pt", "found.json", "net.yaml", "toy"]


@pytest.mark.slow
def test_a_file_that_ends_its_process_costs_its_own_row(tmp_path):
    broken = tmp_path / "broken.torchscript"
    broken.write_bytes(b"no graph")
    setup = {"threads": 1, "plugins": None, "device": "cpu", "images": [], "imgsz": 64, "half": False, "conf": 0.25}
    setup |= {"iou": 0.7, "max_det": 300, "task": "detect", "rect": False, "batch": 1, "file": str(broken)}
    with pytest.raises(ExportError, match="cannot be opened"):
        bench.RowProcess(setup, tmp_path)
    crash = tmp_path / "crash.py"
    for ending, message in (("os._exit(3)", "ended with code 3"), ("os.kill(os.getpid(), 9)", "ended by SIGKILL")):
        crash.write_text(f"import os\n{ending}\n", encoding="utf-8")
        with pytest.raises(ExportError, match=message):
            bench.RowProcess({**setup, "plugins": [str(crash)]}, tmp_path)
