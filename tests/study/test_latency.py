"""How long networks take, and when that is measured anew."""

from dataclasses import replace

import torch

from ultralytics.nn.tasks import DetectionModel
from ultralytics.study import latency
from ultralytics.study.record import FINISHED, RunRecord

CPU = torch.device("cpu")


def test_a_slow_machine_makes_fewer_passes_and_says_so(tiny, monkeypatch):
    nets = {name: DetectionModel(tiny, nc=3, verbose=False) for name in ("plain", "fla")}
    found = latency.latency(nets, 32, CPU, warmup=1, repeats=latency.FEWEST + 2)
    assert {t["repeats"] for t in found.values()} == {latency.FEWEST + 2}
    monkeypatch.setattr(latency, "LONGEST", 0.0)
    found = latency.latency(nets, 32, CPU, warmup=1, repeats=latency.FEWEST + 2)
    assert {t["repeats"] for t in found.values()} == {latency.FEWEST}
    assert all(0 < t["p50_ms"] <= t["p95_ms"] for t in found.values())


def test_times_are_kept_until_a_network_is_another(tmp_path, monkeypatch):
    """An arm whose folder was removed, to run it anew with another YAML, has the size of that."""
    measured = []

    def times(nets, *_, **__):
        measured.append(sorted(nets))
        facts = {"imgsz": 64, "batch": 1, "precision": "fp32", "device": "a CPU", "warmup": 1, "repeats": 2}
        return {name: {"p50_ms": 1.0, "p95_ms": 2.0, **facts} for name in nets}

    monkeypatch.setattr(latency, "latency", times)
    monkeypatch.setattr(latency, "load_trained", lambda file: (file, None))
    records = [RunRecord(a, 0, FINISHED, f"{a}-0", cost={"parameters": 5.0}) for a in ("plain", "fla")]
    latency.measure(tmp_path, [])
    latency.measure(tmp_path, records)
    latency.measure(tmp_path, records)
    assert measured == [["fla", "plain"]]
    assert latency.read(tmp_path)["fla"]["parameters"] == 5.0
    latency.measure(tmp_path, [records[0], replace(records[1], cost={"parameters": 6.0})])
    assert measured == [["fla", "plain"]] * 2
    assert latency.read(tmp_path)["fla"]["parameters"] == 6.0
