"""Memory of freed tensors, in processes of their own: the choice is the whole process's."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.networks import write_net
from ultralytics import YOLO
from ultralytics.utils.memory import CHOSEN

gnu = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not GNU's")
SCRIPT = """
import resource, sys
import torch
from ultralytics.engine.ranks.device import select_device
from ultralytics.utils.memory import release_memory

select_device(sys.argv[1], quiet=True)
def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident():
    return int(open("/proc/self/statm").read().split()[1])
for _ in range(24):  # small objects come to lie behind some blocks, which another one does not fit into any more
    torch.ones(16 * 2**20)  # 64 MiB
before = pages()
for _ in range(4):
    torch.ones(16 * 2**20)
made, held = pages() - before, resident()
release_memory()
print(made, held - resident())
"""


def faults(device: str, **environment: str) -> tuple[int, int]:
    """Pages that the kernel fills while four tensors of 64 MiB are made and freed, and pages that are given back."""
    kept = {k: v for k, v in os.environ.items() if k not in CHOSEN} | environment
    command = [sys.executable, "-c", SCRIPT, device]
    made, back = subprocess.run(command, env=kept, capture_output=True, text=True, check=True).stdout.split()
    return int(made), int(back)


@gnu
def test_tensors_on_a_cpu_use_memory_again() -> None:
    made, back = faults("cpu")
    assert made < 1000
    assert back > 12_000  # of the 16,384 of a tensor


@gnu
def test_the_users_choice_stays() -> None:
    made, _ = faults("cpu", MALLOC_TRIM_THRESHOLD_="131072")
    assert made > 4000  # huge pages hold 512 of them


@gnu
def test_a_little_may_be_kept():
    script = """
import torch
from ultralytics.engine.ranks.device import select_device
from ultralytics.utils.memory import _free_bytes, _gnu, release_memory
select_device("cpu", quiet=True)
torch.ones(32 * 2**20)
for kept in (2**40, 2**20):
    release_memory(kept)
    print(int(open("/proc/self/statm").read().split()[1]) // 256, _free_bytes(_gnu()) >> 20)
"""
    env = {k: v for k, v in os.environ.items() if k not in CHOSEN}
    said = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    (held, free), (left, _) = (map(int, line.split()) for line in said.splitlines())
    assert free >= 120  # MiB of the tensor's 128
    assert held - left > 100


@pytest.mark.parametrize(
    ("module", "call"),
    [("engine.predictor", "predict"), ("engine.validator", "val"), ("engine.trainer", "train")],
)
def test_runs_give_memory_back(module, call, tmp_path, toy, monkeypatch):
    calls = []
    monkeypatch.setattr(f"ultralytics.{module}.release_memory", lambda *kept: calls.append(kept))
    keys = {"data": toy, "epochs": 1, "workers": 0, "plots": False, "batch": 2}
    keys = {"source": np.zeros((32, 32, 3), np.uint8)} if call == "predict" else keys
    getattr(YOLO(str(write_net(tmp_path))), call)(**keys, imgsz=32, device="cpu", project=tmp_path)
    assert calls
