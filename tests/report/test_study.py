"""The page of a study, out of records that no training has made."""

import json

import numpy as np
import pytest

from tests.helpers.pages import HOSTILE, Page, write_run
from tests.helpers.studies import write_study
from ultralytics.report.page import make_page
from ultralytics.report.study import PAGE
from ultralytics.study import analysis
from ultralytics.study.record import read_seen


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    monkeypatch.setattr(analysis, "DRAWS", 12)


def test_a_study_shows_its_comparison_and_its_runs(tmp_path):
    out = write_study(tmp_path / "s", {"plain": 0.5, "fla": 0.8, "gone": 0.5}, seeds=2, lost=[("gone", 1)])
    write_run(out / "new-0", epochs=1, done=False)
    (out / "0-0" / PAGE).write_text("", encoding="utf-8")
    (out / "calls.json").write_text(json.dumps({"command": ["study", "cfg=a.yaml"]}), encoding="utf-8")
    before = {f: f.read_bytes() for f in out.rglob("*") if f.is_file()}
    page = Page(make_page(out))
    page.assert_harmless()
    ids = [a["id"] for t, a in page.tags if t == "section"]
    assert ids == ["missing", "summary", "comparison", "differences", "training", "attention", "pr", "runs", "plan",
                   "environment", "commands"]  # fmt: skip
    assert "python -m ultralytics study cfg=a.yaml" in page.words
    assert "no memory" in page.words
    assert "stopped before its end, epoch 1 of 3" in page.words
    assert ("a", {"href": f"./0-0/{PAGE}"}) in page.tags
    assert any(w.startswith("fla against plain: ") for w in page.words)
    assert [c["title"] for c in page.charts][:2] == ["mAP50-95 by seed", "mAP50-95 on val"]
    training = page.charts[1]["lines"]
    assert {x["name"] for x in training} == {"plain", "fla", "gone", "new"}
    assert len(next(x for x in training if x["name"] == "fla")["low"]) == 20
    intervals = [a for t, a in page.tags if a.get("class") == "interval"]
    assert len(intervals) >= 2
    assert all("from" in a["aria-label"] for a in intervals)
    assert {f: f.read_bytes() for f in out.rglob("*") if f.is_file()} == before


def test_hostile_arms_and_classes_stay_text(tmp_path):
    arms = {"plain": 0.5, HOSTILE[0]: 0.8, HOSTILE[1]: 0.6}
    out = write_study(tmp_path / "s", arms, seeds=2, names=HOSTILE[:3])
    page = Page(make_page(out))
    page.assert_harmless()
    assert HOSTILE[0] in page.words


def test_a_study_of_which_nothing_is_finished_or_readable(tmp_path):
    out = tmp_path / "s"
    out.mkdir()
    plan = "name: s\narms: {plain: {model: a.yaml}, fla: {model: b.yaml}}\nseeds: [0, 1]\ncontrol: plain\n"
    (out / "study.yaml").write_text(plan, encoding="utf-8")
    page = Page(make_page(out))
    page.assert_harmless()
    assert "no run of a study lies in it" in page.text
    assert "4 runs without a result yet" in page.text
    assert page.words.count("not begun") == 4
    (out / "study.yaml").write_text("[", encoding="utf-8")
    Page(make_page(out)).assert_harmless()


def test_detections_that_earlier_code_kept_can_be_read(tmp_path):
    """They have no areas."""
    out = write_study(tmp_path / "s", {"plain": 0.5}, seeds=1)
    file = out / "0-0" / "test" / "seen.npz"
    whole = read_seen(file)
    with np.load(file) as rows:
        kept = {k: rows[k] for k in rows if k != "areas"}
    np.savez_compressed(file, **kept)
    assert [s.areas for s in read_seen(file)] == [None] * len(whole)
    assert all((a.truths == b.truths).all() for a, b in zip(read_seen(file), whole, strict=True))
