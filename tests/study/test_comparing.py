"""`compare`: finished runs, grouped into arms by their configuration, and validated on one split."""

import json
from dataclasses import replace

import pytest

from ultralytics import YOLO
from ultralytics.cli import main
from ultralytics.study import analysis, comparing
from ultralytics.study.comparing import _arms, _Run, compare_runs
from ultralytics.study.record import FINISHED, RunRecord, read_record, read_seen, write_record
from ultralytics.utils.errors import UserError


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


def test_what_hinders_the_report_is_said_before_the_first_validation(toy, tmp_path, monkeypatch):
    def open_run(path):
        return _Run(path, path / "best.pt", Checkpoint(seed=0, name=path.name, data=str(toy), nbs=len(path.name)))

    monkeypatch.setattr(comparing, "_open_run", open_run)
    monkeypatch.setattr(comparing, "_task", lambda _: "detect")
    monkeypatch.setattr(comparing, "_validate", lambda *_: pytest.fail("a run was validated"))
    (tmp_path / "out" / "old-0").mkdir(parents=True)
    write_record(tmp_path / "out" / "old-0", RunRecord("old", 0, FINISHED, "old-0"))
    runs = [tmp_path / "plain", tmp_path / "fla"]
    with pytest.raises(UserError, match=r"old-0: the folder contains a run that is not compared .*another out="):
        compare_runs(runs, out=tmp_path / "out")
    with pytest.raises(UserError, match="there is no split 'tset'"):
        compare_runs(runs, out=tmp_path / "new", split="tset")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"this is a file, not a folder \(choose another out=\)"):
        compare_runs(runs, out=tmp_path / "file")


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


@pytest.mark.slow
def test_a_run_is_validated_with_the_tiles_it_was_trained_with(toy, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(analysis, "DRAWS", 20)
    keys = {"data": str(toy), "workers": 0, "plots": False, "verbose": False, "threads": 1, "device": "cpu"}
    runs, tiles = [], {"tiles": 64, "overlap": 0.3, "merge": "nms"}
    for name, own in (("plain", {"imgsz": 64}), ("tiled", tiles)):
        folder = tmp_path / "runs"
        YOLO(str(tiny)).train(epochs=1, batch=6, project=str(folder), name=name, preflight=False, **own, **keys)
        runs.append(str(folder / name))
    out = tmp_path / "out"
    words = ["compare", f"runs=[{','.join(runs)}]", f"out={out}"]
    capsys.readouterr()
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "on the split val with tiles=64" in printed
    records = {name: read_record(out / f"{name}-0") for name in ("plain", "tiled")}
    assert records["plain"].facts.get("test settings") is None
    assert records["tiled"].facts["test settings"] == {"whole": True, **tiles}
    best = tmp_path / "runs" / "tiled" / "weights" / "best.pt"
    found = YOLO(str(best)).val(**tiles, **keys, project=str(tmp_path / "v"))
    assert records["tiled"].figures["mAP50"] == pytest.approx(found.box.map50, abs=1e-9)
    seen = [len(s.found) for s in read_seen(out / "tiled-0" / "test" / "seen.npz")]
    assert sum(seen) > 0
    plain = YOLO(str(best)).val(**keys, project=str(tmp_path / "v"), save_json=True)
    assert plain.box.map50 != found.box.map50 or sum(seen) != len(
        json.loads((tmp_path / "v" / "val2" / "predictions.json").read_text(encoding="utf-8"))
    )
    assert "tiles" in (out / "table.md").read_text(encoding="utf-8")  # among what differs
    # A record that was made without the tiles is not taken for one with them.
    record = records["tiled"]
    write_record(
        out / "tiled-0", replace(record, facts={k: v for k, v in record.facts.items() if k != "test settings"})
    )
    assert main(words) == 0
    assert capsys.readouterr().out.count("Validating ") == 1
