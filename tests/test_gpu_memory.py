"""What a training step would hold on a card, counted without one."""

import importlib
import itertools

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tests.conftest import CLONE, write_tiny
from tests.helpers.tasks import classify_network, tiny_network
from ultralytics.cfg.surgery import insert_rows

GIB = 2**30


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.syspath_prepend(str(CLONE / "scripts"))
    return importlib.import_module("gpu_memory")


def test_what_lives_is_counted_once_and_until_it_is_given_back(memory):
    with memory.Living() as living:
        a = torch.zeros(1000)  # 4000 bytes, 8 grains
        assert living.now == 4096
        view = a[10:].view(-1, 2)
        assert living.now == 4096
        b = view * 2
        assert living.now == 2 * 4096
        del a
        assert living.now == 2 * 4096  # the view holds it
        del view
        assert living.now == 4096
        b.add_(1)
        del b
    assert (living.now, living.peak) == (0, 2 * 4096)


@pytest.mark.parametrize(
    ("task", "dtype"),
    [*((t, torch.float32) for t in ("segment", "pose", "obb", "classify")), ("detect", torch.bfloat16)],
)
def test_a_step_that_is_only_gone_through_holds_what_a_real_one_does(memory, tmp_path, monkeypatch, task, dtype):
    """Against torch's own record of what the same step gives and takes on a CPU."""
    monkeypatch.setenv("ULTRALYTICS_FLA", "plain")
    model = str(
        {"detect": write_tiny, "classify": classify_network}.get(task, lambda f: tiny_network(f, task))(tmp_path)
    )
    weights = 4 * sum(p.numel() for p in memory.TASKS[task].network(model, verbose=False).parameters())
    counted = memory.step_bytes(model, task, 8, 160, dtype) - 3 * weights
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        memory.step_bytes(model, task, 8, 160, dtype, real=True)
    given = (e.nbytes() for e in record.profiler.kineto_results.events() if e.name() == "[memory]")
    assert counted == pytest.approx(max(itertools.accumulate(given)), rel=0.01)


@pytest.mark.parametrize(
    ("model", "dtype", "measured"),
    [
        ("yolov8n", torch.bfloat16, 7.0),
        pytest.param("yolov8n", torch.float32, 12.7, marks=pytest.mark.slow),
        pytest.param("yolov8n-fla-p345", torch.bfloat16, 7.8, marks=pytest.mark.slow),
    ],
)
def test_the_count_comes_near_to_what_a_card_held(memory, model, dtype, measured):
    """GiB that torch's allocator gave out at the most on an H200, 64 images of 640 px (docs/gpu.md)."""
    assert memory.step_bytes(model, "detect", 64, 640, dtype) / GIB == pytest.approx(measured, rel=0.04)


def test_rows_that_are_computed_again_hold_less(memory, tmp_path):
    model = str(write_tiny(tmp_path))
    plain, auto, every = (
        memory.step_bytes(model, "detect", 2, 160, torch.float32, again) for again in ("none", "auto", "all")
    )
    assert every < auto < plain
    # In `auto` the rows do not depend on the batch: every further image takes as much.
    auto = [memory.step_bytes(model, "detect", n, 160, torch.float32, "auto") for n in (16, 32, 64)]
    assert auto[2] - auto[1] == pytest.approx(2 * (auto[1] - auto[0]), rel=0.02)


def test_what_fits_lies_on_the_lines_between_what_was_seen(memory):
    points = [(b, int((1.5 + 0.25 * b) * GIB)) for b in (8, 16)] + [(32, int((5.5 + 0.5 * 16) * GIB))]
    assert [memory.interpolated(points, n) / GIB for n in (0, 12, 16, 20, 40)] == [1.5, 4.5, 5.5, 7.5, 17.5]
    room = 8 * 0.94 - 0.5
    assert memory.largest_fitting(points, room * GIB) == 16 + int((room - 5.5) / 0.5)
    assert memory.largest_fitting(points, 1.6 * GIB) == 0
    row = {"model": "m", "switch": {"checkpoint_rows": [0]}, "imgsz": 640, "points": points}
    table = memory.memory_table([row], 0.5, "measured")
    assert "Largest batch of a step, measured. 0.50 GiB" in table
    assert "| m, checkpoint_rows=[0] | 640 | 5.50 | 19 | 26 | 49 | 154 |" in table


def test_what_a_card_has_held_is_a_table_of_the_same_kind(memory, tmp_path, monkeypatch):
    parts = importlib.import_module("gpu_parts")
    monkeypatch.setattr(parts, "FILLING", [("yolov8n", {})])
    monkeypatch.setattr(parts, "release", lambda: None)
    monkeypatch.setattr(parts, "context_bytes", lambda: GIB // 4)
    monkeypatch.setattr(parts, "filled", lambda keys, clock: iter([(640, [(8, GIB), (16, 2 * GIB)])]))
    options = parts.Options(tmp_path, tmp_path, "", 0, 0, "cpu", (), (), "")
    monkeypatch.setattr(parts.Options, "settled", lambda self: self)
    report = parts.Report(tmp_path / "gpu_day.jsonl", "memory")
    parts.measure_memory(report, options, parts.Clock(60))
    table = (tmp_path / "memory.md").read_text(encoding="utf-8")
    assert "by lines through what was measured" in table
    assert f"| yolov8n | 640 | 2.00 | {int((8 * 0.94 - 0.25) * 8)} |" in table
    assert '"points_gib": {"8": 1.0, "16": 2.0}' in (tmp_path / "gpu_day.jsonl").read_text(encoding="utf-8")
    assert not report.errors


def test_the_table_of_a_network_of_ones_own(memory, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "CARDS", (8,))
    model = tiny_network(tmp_path, "segment")
    assert memory.main([f"models={model}", "imgsz=640,960", "task=segment"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"| {model}")]
    batches = [int(row.split("|")[4]) for row in rows]  # of 8 GB
    assert batches[0] > batches[1] > 50
    room = memory.room_of(8)
    held = [memory.step_bytes(str(model), "segment", batches[1] + n, 960, torch.bfloat16, objects=40) for n in (0, 9)]
    assert held[0] <= room < held[1]


SOURCE = """\
from torch import nn
from ultralytics.nn.registry import register, same_width

@register(same_width)
class Reads{n}(nn.Module):
    def __init__(self, c1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c1, 3, padding=1, groups=c1)

    def forward(self, x):
        return x + self.conv(x) {times}
"""


@pytest.mark.parametrize(("n", "times", "code"), [(0, "* x.amax((2, 3), True)", 0), (1, "* x.mean().item()", 2)])
def test_a_module_of_ones_own_is_counted_unless_it_reads_its_maps(memory, tmp_path, capsys, n, times, code):
    (tmp_path / "own.py").write_text(SOURCE.format(n=n, times=times), encoding="utf-8")
    text = f"plugins: [own.py]\n{insert_rows(write_tiny(tmp_path), 9, f'Reads{n}()')}"
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    assert memory.main([f"models={tmp_path / 'own.yaml'}", "imgsz=64"]) == code
    out = capsys.readouterr()
    assert (", scale=n | 64 |" in out.out) == (not code)
    assert ("its step cannot be gone through: " in out.err) == bool(code)
    assert out.err.count("\n") == 1 + bool(code)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["models=gone.yaml"], "gone.yaml"),
        (["task=walk"], "task=walk is unknown (one of detect, segment"),
        (["imgsz=wide"], "imgsz=wide is not a size"),
        (["imgsz=100", "models=yolov8n"], "imgsz=100"),
        (["imgsz=0", "models=yolov8n"], "imgsz=0"),
        (["size=3"], "'size=3' is not an option"),
        (["models=yolov8n", "imgsz=640,wide"], "imgsz=wide is not a size"),
        (["amp=maybe"], "amp=maybe is neither True nor False"),
        (["objects=0"], "objects=0 is not a number of objects"),
        (["models=yolov8n.pt"], "weights are not read here"),
        (["checkpoint_rows=some"], "checkpoint_rows"),
        (["models=yolov8n-seg"], "task=segment"),
    ],
)
def test_mistakes_are_one_line(memory, capsys, words, said):
    assert memory.main(words) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("…")]
    assert len(error) == 1
    assert said in error[0]
