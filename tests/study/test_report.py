"""A study's report, out of records and arrays that no training has made."""

import json
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.studies import FACTS, seen_of, write_study
from ultralytics.cli import main
from ultralytics.study import analysis, figures
from ultralytics.study.analysis import analyse, fewest_seeds
from ultralytics.study.record import FAILED, FINISHED, RunRecord, read_record, read_seen, write_record
from ultralytics.study.report import write_report
from ultralytics.study.statistics import holm
from ultralytics.study.tables import columns, markdown, tex, verdicts
from ultralytics.utils.errors import UserError
from ultralytics.utils.text import has_unsafe

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)
ARMS = {"plain": 0.5, "conv_1": 0.52, "注意力 & 50% #1": 0.9}


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    monkeypatch.setattr(analysis, "DRAWS", 12)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures take most of a report's time."""
    monkeypatch.setattr("ultralytics.study.report.draw_all", lambda *_: [])


def reading(out):
    return lambda r: read_seen(out / r.folder / "test" / "seen.npz")


def records_of(out):
    return [r for f in sorted(out.glob("*/run.json")) if (r := read_record(f.parent))]


def test_arms_are_compared_by_seed_on_the_same_images(tmp_path):
    out = write_study(tmp_path, {**ARMS, "twin": 0.5}, seeds=8, nc=1)
    records = records_of(out)
    twin = [r for r in records if r.arm == "twin"]
    for r in twin:  # the very same detections: a tie of every seed
        mine = next(c for c in records if c.arm == "plain" and c.seed == r.seed)
        records[records.index(r)] = replace(mine, arm="twin")
    a = analyse(records, reading(out), "plain")
    by = {x.name: x for x in a.arms}
    assert by["plain"].difference is None
    gain = by["注意力 & 50% #1"]
    values = [np.array([r.figures["mAP50-95"] for r in records if r.arm == n]) for n in (gain.name, "plain")]
    assert gain.difference.mean == pytest.approx((values[0] - values[1]).mean())
    assert gain.difference.seeds == 8
    assert gain.difference.images == 12
    assert gain.verdict == "gains"
    assert {n: x.p for n, x in by.items() if x.difference} == holm(
        {n: x.difference.p for n, x in by.items() if x.difference}
    )
    same = by["twin"].difference
    assert (same.mean, same.low, same.high, by["twin"].p) == (0, 0, 0, 1)
    assert by["twin"].verdict == "no difference of more than 0.0000 shown"
    assert gain.mean("AP_S") is None
    assert gain.deviation("mAP50-95") == pytest.approx(values[0].std(ddof=1))


def test_the_order_of_images_does_not_matter(tmp_path):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=2)
    read = reading(out)

    def shuffled(r):
        seen = list(read(r))
        order = np.random.default_rng(r.seed).permutation(len(seen)) if r.arm == "fla" else range(len(seen))
        return [seen[i]._replace(file=f"C:\\other\\{i}.jpg") for i in order]

    ours, theirs = (analyse(records_of(out), f, "plain").arms[1].difference for f in (read, shuffled))
    assert ours == theirs


def test_missing_seeds_failed_runs_and_lost_files(tmp_path, undrawn):
    lost = [("gone", seed) for seed in range(3)]
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8, "gone": 0.5}, seeds=3, lost=[("fla", 1), *lost])
    (out / "0-2" / "test" / "seen.npz").unlink()
    a = write_report(out)
    fla, gone = a.arms[1:]
    assert fla.seeds == (0, 2)
    assert fla.failed == {1: "no memory"}
    assert fla.difference.seeds == 1
    assert fla.unpaired == (1, 2)
    assert gone.difference is None
    assert gone.mean("mAP50-95") is None
    text = (out / "table.md").read_text(encoding="utf-8")
    assert "seed 1\\) and is left out" in text
    assert "is lost" in text
    assert "p cannot be computed" in text
    data = json.loads((out / "study.json").read_text(encoding="utf-8"))["analysis"]
    assert data["arms"]["fla"]["failed"] == {"1": "no memory"}
    assert data["arms"]["gone"]["difference"] is None


def test_other_images_are_not_compared(tmp_path):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=2)
    read = reading(out)
    a = analyse(records_of(out), lambda r: read(r)[: 9 if (r.arm, r.seed) == ("fla", 1) else 12], "plain")
    assert a.arms[1].difference.seeds == 1
    assert any("other images" in n for n in a.notes)


@pytest.mark.parametrize("control", [None, "nobody"])
def test_without_a_control_nothing_is_compared(tmp_path, undrawn, control):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=2, control=control)
    a = write_report(out)
    assert all(x.difference is None for x in a.arms)
    text = (out / "table.md").read_text(encoding="utf-8")
    assert "difference" not in text
    assert "no control" in text or "no finished run" in text


@pytest.mark.parametrize(("nc", "wanting"), [(1, ()), (3, (1,)), (2, (0, 1))])
def test_few_classes_and_classes_without_objects(tmp_path, undrawn, nc, wanting):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=2, nc=nc, wanting=wanting)
    arm = write_report(out).arms[1]
    assert [c.name for c in arm.classes] == [f"class{i}" for i in range(nc) if i not in wanting]
    assert np.isfinite([arm.difference.low, arm.difference.high]).all()


def test_design_that_can_show_nothing_is_told(tmp_path):
    assert [fewest_seeds(n) for n in (1, 2, 3, 4)] == [6, 7, 7, 8]
    out = write_study(tmp_path, ARMS, seeds=6, nc=1)
    a = analyse(records_of(out), reading(out), "plain")
    assert any("7 seeds are the fewest" in n for n in a.notes)
    assert not any(x.shown for x in a.arms)


@pytest.mark.slow
def test_report_is_idempotent_and_complete(tmp_path):
    out = write_study(tmp_path, ARMS, seeds=7)
    write_report(out)
    first = {f.relative_to(out): f.read_bytes() for f in out.rglob("*") if f.is_file()}
    write_report(out)
    assert first == {f.relative_to(out): f.read_bytes() for f in out.rglob("*") if f.is_file()}
    for name in ("arms", "pr", "training", "costs", "classes-1", "classes-2"):
        for kind, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
            assert (out / "figures" / f"{name}.{kind}").read_bytes().startswith(magic)
    text = (out / "table.md").read_text(encoding="utf-8")
    strong = next(line for line in text.splitlines() if line.startswith("| 注意力"))
    assert strong.count("**") == 4
    assert not any("**" in line for line in text.splitlines() if line.startswith(("| plain", "| conv")))
    for part in ("test split", "12 images", "7 seeds", "hotcoco", "small", "30 epochs", "Holm", "best epoch"):
        assert part in text, part
    rows = (out / "table.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 4
    assert "p50_ms" in rows[0]
    assert rows[3].startswith("注意力 & 50% #1,7,0,")
    latex = (out / "table.tex").read_text(encoding="utf-8")
    assert r"注意力 \& 50\% \#1" in latex
    assert latex.count(r"\textbf{") == 2
    check_tex(latex, tmp_path)


def check_tex(latex, folder):
    """It compiles; where there is no LaTeX, braces and environments are balanced and rows are equally long."""
    if shutil.which("pdflatex"):
        ascii_only = latex.encode("ascii", "replace").decode()
        packages = r"\usepackage[T1]{fontenc}\usepackage{textcomp,booktabs,graphicx}"
        text = [r"\documentclass{article}", packages, r"\begin{document}", ascii_only, r"\end{document}"]
        (folder / "t.tex").write_text("\n".join(text))
        done = subprocess.run(["pdflatex", "-interaction=batchmode", "t.tex"], cwd=folder, check=False, timeout=60)
        assert done.returncode == 0
    code = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    plain = re.sub(r"\\[\\{}&%#_$]", "", code)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    for kind in ("begin", "end"):
        assert len(re.findall(rf"\\{kind}{{(table|tabular)}}", code)) == 3  # what the arms reach, what they cost
    bodies = re.findall(r"\\toprule(.*?)\\bottomrule", plain, re.DOTALL)
    for body, letters in zip(bodies, re.findall(r"begin{tabular}{(l r*|lr*)}", code), strict=True):
        assert {line.count("&") for line in body.splitlines() if "&" in line} == {len(letters) - 1}


@settings(max_examples=40)
@given(NAMES)
def test_names_are_escaped_for_latex(name):
    out = tex(name)
    plain = re.sub(r"\\(text[a-z]+\{\}|[\\{}&%#_$])", "", out)
    assert not set(plain.replace("{-}", "")) & set("\\{}&%#_$~^<>|\"`'")
    assert tex("") == ""
    assert tex("a_b & 5%--") == r"a\_b \& 5\%{-}{-}"


@settings(max_examples=40)
@given(NAMES)
def test_names_are_escaped_for_markdown(name):
    out = markdown(name)
    if not has_unsafe(name):
        assert re.sub(r"\\(.)", r"\1", out) == name
    assert not re.search(r"(?<!\\)(\\\\)*[|*_<`]", out)


def test_arms_that_were_treated_unlike_have_no_table(tmp_path, undrawn):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=2, keys={"fla": {"epochs": 60}})
    record = read_record(out / "1-0")
    write_record(out / "1-0", replace(record, facts={**FACTS, "steps planned": 600}))
    write_report(out, fair=False)
    text = (out / "table.md").read_text(encoding="utf-8")
    assert text.startswith("**The arms were not treated alike:**")
    assert "| fla |" in text
    assert "steps planned" in text
    assert "epochs" in text
    assert "not treated alike" in (out / "table.tex").read_text(encoding="utf-8")
    write_report(out)
    text = (out / "table.md").read_text(encoding="utf-8")
    assert text.startswith("There is no table")
    assert "| fla |" not in text
    assert "steps planned" in text
    assert not (out / "table.tex").exists()
    assert not (out / "table.csv").exists()


def test_a_figure_that_fails_is_a_warning(tmp_path, monkeypatch, caplog):
    out = write_study(tmp_path, {"plain": 0.5}, seeds=1)

    def broken(*_, **__):
        raise ValueError("no ink")

    for name in ("plot_arms", "plot_pr", "plot_training", "plot_costs"):
        monkeypatch.setattr(figures, name, broken)
    write_report(out)
    assert (out / "table.md").is_file()
    assert sum("no ink" in r.message for r in caplog.records) in (0, 4)  # the logger may not propagate


def test_command_line(tmp_path, undrawn, capsys):
    out = write_study(tmp_path / "study", {"plain": 0.5, "fla": 0.8}, seeds=2)
    assert main(["study", "report", str(out)]) == 0
    assert (out / "table.md").is_file()
    assert main(["study", "report", str(out), "fair=False"]) == 0
    for words, reported in (
        ([], "one folder"),
        ([str(tmp_path / "none")], "no such folder"),
        ([str(tmp_path)], "no run of a study"),
        ([str(out), "fair=perhaps"], "fair"),
        ([str(out), "fare=True"], "fare"),
    ):
        capsys.readouterr()
        assert main(["study", "report", *words]) == 2
        assert reported in capsys.readouterr().err


def test_verdicts_and_columns_of_nothing():
    record = RunRecord("plain", 0, FAILED, "plain-0", error="x")
    a = analyse([record], lambda _: None, "plain")
    assert verdicts(a) == []
    assert columns(a, {}) == []


def test_names_in_figures_are_short_and_differ():
    names = ["arm number 1 with a long name", "arm number 2 with a long name", "注意力注意力注意力注意力", "", "a"]
    shorts = figures._shorts(names)
    assert len(set(shorts)) == 5
    assert shorts[-1] == "a"
    assert all(sum(map(figures._letters, s)) <= figures.LETTERS + 3 for s in shorts)


def test_one_seed_in_words(tmp_path):
    out = write_study(tmp_path, {"plain": 0.2, "fla": 0.99}, seeds=1)
    a = analyse(records_of(out), reading(out), "plain")
    assert not a.arms[1].shown
    assert "no p with one seed" in verdicts(a)[0]


def test_runs_that_found_nothing_are_told(tmp_path):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=2)
    records = [replace(r, figures={**r.figures, "mAP50-95": 0.0}) for r in records_of(out)]
    note = "mAP50-95 is 0 in every run"
    assert sum(n.startswith(note) for n in analyse(records, reading(out), "plain").notes) == 1
    records[0] = replace(records[0], figures={"mAP50-95": 0.001})
    assert not any(n.startswith(note) for n in analyse(records, reading(out), "plain").notes)
    failed = RunRecord("plain", 0, FAILED, "plain-0", error="x")
    assert not any(n.startswith(note) for n in analyse([failed], lambda _: None, "plain").notes)


def test_damaged_files_are_told(tmp_path, undrawn):
    out = write_study(tmp_path, {"plain": 0.5}, seeds=1)
    (out / "0-0" / "test" / "seen.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        write_report(out)
    (out / "study.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not valid JSON"):
        write_report(out)


@pytest.mark.parametrize("damage", ["cut", "turned", "empty", "other"])
def test_damaged_arrays_are_one_line_that_says_what_to_remove(tmp_path, undrawn, damage):
    out = write_study(tmp_path, {"plain": 0.5}, seeds=1)
    file = out / "0-0" / "test" / "seen.npz"
    whole = file.read_bytes()
    turned = bytearray(whole)
    turned[60:160] = bytes(b ^ 255 for b in whole[60:160])
    file.write_bytes({"cut": whole[:-200], "turned": bytes(turned), "empty": b"", "other": b"PK\x03\x04"}[damage])
    with pytest.raises(UserError, match=r"seen\.npz: the file cannot be read: .*\(remove .*0-0.run\.json: ") as caught:
        write_report(out)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "0"), ("seed", None), ("arm", 3), ("figures", []), ("figures", {"mAP50-95": "high"}), ("facts", None),
        ("cost", {"parameters": None}), ("blocks", {"10": 1}), ("curve", 3), ("keys", "x"), ("per_class", {"a": []}),
    ],
)  # fmt: skip
def test_a_record_of_other_types_is_one_line(tmp_path, undrawn, key, value):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=1)
    file = out / "1-0" / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), key: value}), encoding="utf-8")
    with pytest.raises(UserError, match=rf"run\.json: {key} is damaged"):
        write_report(out)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("study.json", '{"study": []}', "study is damaged"), ("study.json", '{"times": 3}', "times is damaged"),
        ("study.json", '{"study": {"arms": ["plain"]}}', "arms is damaged"),
        ("study.json", '{"study": {"arms": {"plain": 3}}}', "plain is damaged"),
        ("study.yaml", "[1]", "this is not the plan of a study"), ("study.yaml", "seeds: 3", "seeds is damaged"),
    ],
)  # fmt: skip
def test_a_plan_of_other_types_is_one_line(tmp_path, undrawn, capsys, name, text, message):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=1)
    (out / name).write_text(text, encoding="utf-8")
    assert main(["study", "report", str(out)]) == 2
    assert f"{name}: {message} (remove it: " in capsys.readouterr().err


def test_a_study_that_was_extended_and_stopped_is_reported_by_its_new_plan(tmp_path, undrawn):
    """study.json is of the study as it ended first; the arm `new` may differ in `nbs`, which study.yaml declares."""
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8, "new": 0.6}, seeds=1, keys={"new": {"nbs": 16}})
    data = json.loads((out / "study.json").read_text(encoding="utf-8"))
    plan = data["study"]
    plan["arms"].pop("new")
    arms = {"new": {"model": "new.yaml", "nbs": 16}, **plan["arms"]}
    (out / "study.yaml").write_text(
        yaml.safe_dump({**plan, "arms": arms, "control": "fla"}, sort_keys=False), encoding="utf-8"
    )
    (out / "study.json").write_text(json.dumps(data), encoding="utf-8")
    a = write_report(out)
    assert (out / "table.csv").exists()  # nothing differs that is not declared
    assert [x.name for x in a.arms] == ["new", "plain", "fla"]
    assert a.control == "fla"
    assert json.loads((out / "study.json").read_text(encoding="utf-8"))["study"]["control"] == "fla"


def test_arms_whose_recipe_is_gone_are_not_taken_for_alike(tmp_path, undrawn):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=1)
    data = json.loads((out / "study.json").read_text(encoding="utf-8"))
    data["study"]["arms"]["fla"]["cfg"] = str(tmp_path / "gone.yaml")
    (out / "study.json").write_text(json.dumps(data), encoding="utf-8")
    write_report(out)
    text = (out / "table.md").read_text(encoding="utf-8")
    assert text.startswith("There is no table")
    assert "gone.yaml" in text
    (out / "study.json").write_text(json.dumps({**data, "differences": []}), encoding="utf-8")
    write_report(out)  # it was found out while the recipe was there
    assert (out / "table.csv").exists()


def test_arms_with_recipes_of_their_own_have_no_common_one(tmp_path, undrawn):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=1)
    write_report(out)
    assert "recipe small" in (out / "table.md").read_text(encoding="utf-8")
    data = json.loads((out / "study.json").read_text(encoding="utf-8"))
    data["study"]["arms"]["fla"]["cfg"] = "default.yaml"
    (out / "study.json").write_text(json.dumps(data), encoding="utf-8")
    write_report(out, fair=False)
    assert "recipe" not in (out / "table.md").read_text(encoding="utf-8")


def test_a_tune_is_no_study(tmp_path, undrawn, capsys):
    """Its trials have records too, and no test."""
    (tmp_path / "t001-0").mkdir()
    write_record(tmp_path / "t001-0", RunRecord("t001", 0, FINISHED, "t001-0"))
    (tmp_path / "tune.yaml").touch()
    before = set(tmp_path.rglob("*"))
    for words in (["study", "report"], ["report"]):
        assert main([*words, str(tmp_path)]) == 2
        assert f"this is the folder of a tune (tune report {tmp_path}" in capsys.readouterr().err
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", ["{", "[]", '{"plain": {}}', '{"plain": {"p50_ms": "fast"}}', "[" * 100_000])
def test_damaged_times_are_none(tmp_path, undrawn, text):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=1)
    (out / "latency.json").write_text(text, encoding="utf-8")
    write_report(out)
    assert "atency" not in (out / "table.md").read_text(encoding="utf-8")


def test_figures_that_have_no_place_are_one_line(tmp_path):
    out = write_study(tmp_path, {"plain": 0.5}, seeds=1)
    (out / "figures").touch()
    with pytest.raises(UserError, match="figures: this is a file, not a folder"):
        write_report(out)


def test_images_of_equal_names_are_the_same_on_another_machine(tmp_path):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=2)
    read = reading(out)

    def at(r, root):
        return [s._replace(file=f"{root}/{i % 2}/{i // 2}.jpg") for i, s in enumerate(read(r))]

    a = analyse(records_of(out), lambda r: at(r, "D:\\sets\\mine" if r.arm == "fla" else "/mnt/mine"), "plain")
    assert a.arms[1].difference == analyse(records_of(out), lambda r: at(r, "/mine"), "plain").arms[1].difference
    assert not any("other images" in n for n in a.notes)


def test_made_studies_have_objects():
    assert sum(len(s.truths) for s in seen_of(0.5, 0)) > 10
    assert FINISHED


def test_a_report_after_a_run_was_redone_shows_it_alone(tmp_path):
    """The run's figures, cost, time and network change, and an arm fails: nothing of before is left, in any file."""
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8, "conv": 0.6}, seeds=3)
    times = json.loads((out / "latency.json").read_text(encoding="utf-8"))
    for arm, size in (("plain", 3.0e6), ("fla", 3.1e6), ("conv", 3.2e6)):
        times[arm]["parameters"] = size
    (out / "latency.json").write_text(json.dumps(times), encoding="utf-8")
    write_report(out)
    kept = json.loads((out / "study.json").read_text(encoding="utf-8"))
    assert set(kept["times"]["latency"]) == {"plain", "fla", "conv"}
    assert (out / "figures" / "classes-2.png").is_file()
    again = {}
    for record in records_of(out):
        if record.arm == "fla":
            cost = {**record.cost, "parameters": 9.0e6, "epoch_seconds": 123.0}
            record = replace(record, figures={**record.figures, "mAP50-95": 0.123}, cost=cost)
        elif record.arm == "conv":
            record = replace(record, state=FAILED, figures={}, error="no memory")
        again[record.arm, record.seed] = record
        write_record(out / record.folder, record)
    write_report(out)
    kept = json.loads((out / "study.json").read_text(encoding="utf-8"))
    order = [(seed, arm) for seed in range(3) for arm in ("plain", "fla", "conv")]
    assert [(r["seed"], r["arm"]) for r in kept["records"]] == order
    for found in kept["records"]:
        record = again[found["arm"], found["seed"]]
        assert (found["state"], found["figures"], found["error"]) == (record.state, dict(record.figures), record.error)
        assert found["cost"] == {k: v for k, v in record.cost.items() if k != "epoch_seconds"}
    assert kept["times"]["fla-1"] == {"epoch_seconds": 123.0}
    assert set(kept["times"]["latency"]) == {"plain"}, "the time of another network is none of the arm's"
    assert "0.1230" in (out / "table.md").read_text(encoding="utf-8")
    assert not (out / "figures" / "classes-2.png").exists()
    assert not (out / "figures" / "classes-2.pdf").exists()


def test_figures_of_the_users_own_stay(tmp_path):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=2)
    (out / "figures").mkdir()
    for name in ("mine.png", "classes-a.png", "classes-7.png", "arms.svg"):
        (out / "figures" / name).touch()
    write_report(out)
    there = {f.name for f in (out / "figures").iterdir()}
    assert {"mine.png", "classes-a.png", "arms.svg", "classes-1.png", "arms.png"} <= there
    assert "classes-7.png" not in there


class Inkless:
    """Stands for a function that draws: writes a few bytes, or raises."""

    def __init__(self, error=None):
        self.error = error

    def __call__(self, *what, names):
        if self.error is not None:
            raise self.error
        for suffix in (".png", ".pdf"):
            what[-1].with_suffix(suffix).write_text("new")


@pytest.mark.parametrize("error", [None, ValueError("no ink"), KeyboardInterrupt()])
def test_figures_of_before_stay_until_those_of_now_are_drawn(tmp_path, monkeypatch, error):
    """Of one that cannot be drawn anew those of before go: they may be of runs that were redone."""
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=2)
    for name in ("plot_arms", "plot_pr", "plot_classes", "plot_costs"):
        monkeypatch.setattr(figures, name, Inkless())
    monkeypatch.setattr(figures, "plot_training", Inkless(error))
    old = [out / "figures" / f"{name}.{suffix}" for name in ("training", "classes-7") for suffix in ("png", "pdf")]
    (out / "figures").mkdir()
    for file in (*old, out / "figures" / "arms.png"):
        file.write_text("old")
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            write_report(out)
        assert [file.read_text() for file in old] == ["old"] * 4
        return
    write_report(out)
    assert (out / "figures" / "arms.png").read_text() == "new"
    assert [file.is_file() for file in old] == [error is None, error is None, False, False]
    assert error is not None or old[0].read_text() == "new"


def test_reports_that_are_written_at_once_take_turns(tmp_path, monkeypatch):
    out = write_study(tmp_path, {"plain": 0.5, "fla": 0.8}, seeds=2)
    inside, most = [], []

    def slow(*_):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        return []

    monkeypatch.setattr("ultralytics.study.report.draw_all", slow)
    monkeypatch.setattr("ultralytics.study.report.PAUSE", 0.01)
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(write_report, out) for _ in range(4)]:
            done.result()
    assert most == [1, 1, 1, 1]
    assert not list(out.glob(".*"))


def test_a_folder_of_no_study_gets_no_file(tmp_path):
    with pytest.raises(UserError, match="no run of a study"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())
