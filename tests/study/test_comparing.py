"""`compare`: finished runs, grouped into arms by their configuration, and validated on one split."""

import json

import pytest

from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.study import analysis
from ultralytics.study.comparing import _arms, _Run


class Checkpoint:
    """Of a weights file, what makes its arm."""

    def __init__(self, **train_args):
        self.train_args, self.spec = train_args, {"nc": 3}


def test_runs_that_differ_in_the_seed_alone_are_an_arm(tmp_path):
    keys = [
        ("fla-0", {"seed": 0, "lr0": 0.02}), ("fla-1", {"seed": 1, "lr0": 0.02}), ("plain", {"seed": 0}),
        ("again", {"seed": 0, "name": "x", "device": "cpu"}), ("other/plain", {"seed": 0, "nbs": 16}),
    ]  # fmt: skip
    runs = [_Run(tmp_path / n, tmp_path / n / "best.pt", Checkpoint(**k)) for n, k in keys]
    assert _arms(runs) == ["fla", "fla", "plain", "again", "plain_2"]


def test_mistakes_are_one_line(tmp_path, capsys):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "metrics.json").write_text("{}", encoding="utf-8")
    for words, message in (
        ([], "runs is missing"),
        ([f"runs=[{tmp_path}]"], "nothing to compare"),
        ([f"runs=[{tmp_path}/a,{tmp_path}/b]"], "no such run"),
        ([f"runs=[{tmp_path}/figures,{tmp_path}/b]"], "only figures"),
        (["run=[a,b]"], "unknown key 'run'"),
    ):
        assert main(["compare", *words]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


@pytest.mark.slow
def test_runs_are_validated_once_and_compared(toy, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(analysis, "DRAWS", 20)
    runs = []
    for name, keys in (("plain-0", {}), ("plain-1", {"seed": 1}), ("slow-0", {"box": 5.0})):
        YOLO(str(tiny)).train(
            data=str(toy), epochs=1, imgsz=64, batch=6, workers=0, plots=False, verbose=False, threads=1,
            project=str(tmp_path / "runs"), name=name, preflight=False, **keys,
        )  # fmt: skip
        runs.append(str(tmp_path / "runs" / name))
    out = tmp_path / "out"
    words = ["compare", f"runs=[{','.join(runs)}]", f"out={out}", f"control={runs[2]}"]
    assert main(words) == 0
    data = json.loads((out / "study.json").read_text(encoding="utf-8"))
    arms = data["analysis"]["arms"]
    assert list(arms) == ["plain", "slow-0"]
    assert arms["plain"]["seeds"] == [0, 1]
    assert arms["plain"]["difference"]["seeds"] == 1
    assert data["analysis"]["control"] == "slow-0"
    assert data["times"]["latency"]["plain"]["p50_ms"] > 0
    text = (out / "table.md").read_text(encoding="utf-8")
    assert text.startswith("**The arms were not treated alike:**")
    assert "the key box is" in text
    assert "p cannot be computed" in text
    mine = json.loads((out / "plain-0" / "test" / "metrics.json").read_text(encoding="utf-8"))
    assert arms["plain"]["figures"]["mAP50"]["mean"] >= 0
    assert mine["images"] == data["analysis"]["images"] == 6
    before = {f: f.stat().st_mtime_ns for f in out.glob("*/run.json")}
    assert main(words) == 0
    assert before == {f: f.stat().st_mtime_ns for f in out.glob("*/run.json")}
    capsys.readouterr()
    assert main([*words[:3], "control=nobody"]) == 2
    assert "none of the runs" in capsys.readouterr().err
