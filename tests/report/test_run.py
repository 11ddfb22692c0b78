"""The page of a run, in whatever state it is, from folders that no training has written."""

import json
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.pages import COLUMNS, HOSTILE, Page, curves_of, write_run
from tests.helpers.studies import seen_of
from ultralytics.cli import main
from ultralytics.engine.run.folder import LOCK_FILE, RunLock, read_holder
from ultralytics.report.page import find_folder, make_page, write_page
from ultralytics.report.reading import Validation, read_run
from ultralytics.report.run import best_epoch
from ultralytics.study.record import write_seen
from ultralytics.utils.confusion import ConfusionMatrix
from ultralytics.utils.errors import UserError
from ultralytics.utils.metrics import average_precision, curve_numbers


def sections_of(page):
    return [a["id"] for t, a in page.tags if t == "section"]


def titled(page, title):
    return next(c for c in page.charts if c["title"] == title)


def test_a_finished_run_shows_every_part(tmp_path):
    folder = write_run(tmp_path / "mine")
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    page = Page(make_page(folder))
    page.assert_harmless()
    assert sections_of(page) == ["summary", "curves", "attention", "classes", "sizes", "pr", "confusion", "images",
                                 "training-images", "settings", "environment", "commands"]  # fmt: skip
    assert "finished, epoch 3 of 3" in page.text
    assert "0.212" in page.words
    assert titled(page, "Metrics on val")["lines"][3]["y"] == [0.1, 0.2, 0.3]
    assert [x["name"] for x in titled(page, "box_loss")["lines"]] == ["train", "val"]
    assert titled(page, "Change of the map, ‖y − x‖ / ‖x‖")["lines"][0]["y"][-1] == 0.3
    assert "the block has learned" in page.words
    assert titled(page, "Precision over recall")["lines"][0]["name"] == "all classes"
    for value, source in (("yolov8n.yaml", "command line"), ("True", "small.yaml"), ("0.01", None)):
        assert value in page.words
        assert source is None or source in page.words
    assert """python -m ultralytics train model=yolov8n.yaml 'name=it'"'"'s mine'""" in page.words
    images = [a for t, a in page.tags if t == "img"]
    assert len(images) == 4
    assert all(a["alt"] for a in images)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before  # it only reads


def test_sources_tell_default_recipe_and_command_line(tmp_path):
    settings = read_run(write_run(tmp_path / "r", keys={"name": "a  # b", "classes": [1, 2]})).settings
    assert settings["epochs"] == (3, "command line")
    assert settings["cos_lr"] == (True, "small.yaml")
    assert settings["name"] == ("a  # b", "command line")
    assert settings["classes"] == ([1, 2], "command line")
    assert settings["momentum"] == (0.937, "default")


def test_hostile_names_stay_text(tmp_path):
    folder = write_run(tmp_path / "run <b>&", HOSTILE, keys={"name": HOSTILE[0], "project": HOSTILE[1]})
    head = ",".join([*COLUMNS, "<script>alert(1)</script>", "block/</script>/share"])
    (folder / "results.csv").write_text(f"{head}\n{','.join(['1'] * 11)}\n", encoding="utf-8")
    record = {HOSTILE[0]: HOSTILE[1], "command": HOSTILE, "history": [{"date": h} for h in HOSTILE]}
    (folder / "environment.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / LOCK_FILE).write_text(HOSTILE[1], encoding="utf-8")
    shutil.copytree(folder, folder / "sub <i>")
    page = Page(make_page(folder))
    page.assert_harmless()
    assert HOSTILE[1] in page.words
    assert "right\\u202eto left" in page.text
    assert not {"b", "i"} & {t for t, _ in page.tags}
    assert "background" in page.words


PARTS = ["args.yaml", "results.csv", "metrics.json", "curves.json", "environment.json"]


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe{", b"[1, 2]", b'{"classes": 3, "coco": [], "x": {}}'])
def test_what_is_missing_or_damaged_is_named_and_the_rest_is_shown(tmp_path, name, content):
    folder = write_run(tmp_path / "r", images=False)
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    page = Page(make_page(folder))
    page.assert_harmless()
    assert {"summary", "commands"} <= set(sections_of(page))
    if content is None and name in ("args.yaml", "results.csv", "metrics.json"):
        assert name in page.text
        assert "missing" in sections_of(page)


@pytest.mark.parametrize("name", PARTS[2:])
def test_wrong_types_in_a_file_cost_their_part_alone(tmp_path, name):
    """Each value in turn becomes another kind."""
    folder = write_run(tmp_path / "r", ("a",), epochs=0, images=False)
    (folder / "args.yaml").unlink()  # which takes most of the time to read
    data = json.loads((folder / name).read_text(encoding="utf-8"))
    for key in data:
        for wrong in (None, "x", 5, [[]], {"a": None}):
            (folder / name).write_text(json.dumps({**data, key: wrong}), encoding="utf-8")
            Page(make_page(folder)).assert_harmless()


@pytest.mark.parametrize("line", ["nan,1", "inf,1", "1," + "9" * 200_000])
def test_a_damaged_row_of_results_costs_the_curves_at_most(tmp_path, line):
    folder = write_run(tmp_path / "r", images=False)
    with (folder / "results.csv").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    page = Page(make_page(folder))
    page.assert_harmless()
    assert {"summary", "classes", "commands"} <= set(sections_of(page))


@pytest.mark.parametrize("history", [5, [{"command": 5}], [[]]])
def test_a_damaged_history_costs_the_environment_alone(tmp_path, history):
    folder = write_run(tmp_path / "r", images=False)
    record = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    (folder / "environment.json").write_text(json.dumps({**record, "history": history}), encoding="utf-8")
    assert {"summary", "settings", "commands"} <= set(sections_of(Page(make_page(folder))))


def test_a_damaged_record_is_named(tmp_path):
    folder = write_run(tmp_path / "r", images=False)
    (folder / "run.json").write_text('{"arm": "a", "seed": 0, "state": "finished", "folder": "r", "cost": [1]}')
    page = Page(make_page(folder))
    assert "run.json: cost is damaged" in page.text


def test_a_run_that_goes_on_was_killed_or_stopped_says_so(tmp_path):
    folder = write_run(tmp_path / "r", epochs=1, done=False)
    assert "stopped before its end, epoch 1 of 3" in Page(make_page(folder)).text
    assert f"resume={folder}" in Page(make_page(folder)).text
    with RunLock(folder):
        page = Page(make_page(folder))
        assert f"running, epoch 1 of 3, process {os.getpid()} on {socket.gethostname()}" in page.text
        assert "time left, about" in page.words
        assert "20 s" in page.words
        assert "metrics.json: a run writes it when it ends" in page.text
    (folder / LOCK_FILE).write_text(f"process 999999999 on {socket.gethostname()}", encoding="utf-8")
    assert "killed: its process is gone" in Page(make_page(folder)).text
    (folder / LOCK_FILE).write_text("process 7 on elsewhere", encoding="utf-8")
    assert "on another machine" in Page(make_page(folder)).text
    assert (folder / LOCK_FILE).is_file()


def test_who_holds_a_folder_is_read_without_touching_its_lock(tmp_path):
    assert read_holder(tmp_path) is None
    with RunLock(tmp_path):
        assert read_holder(tmp_path).alive is True
        with pytest.raises(UserError, match="is training in this folder"):
            RunLock(tmp_path)
    assert read_holder(tmp_path) is None


def test_a_run_before_its_first_epoch_and_one_without_blocks(tmp_path):
    page = Page(make_page(write_run(tmp_path / "a", epochs=0, done=False)))
    assert "curves" not in sections_of(page)
    assert "results.csv: no epoch is finished yet" in page.text
    assert "attention" not in sections_of(Page(make_page(write_run(tmp_path / "b", blocks=False))))


def test_a_run_without_plots_says_how_to_get_them(tmp_path):
    folder = write_run(tmp_path / "r", images=False, keys={"plots": False})
    (folder / "curves.json").unlink()
    page = Page(make_page(folder))
    assert "the run was made with plots=False" in page.text
    assert "`val … plots=True` keeps them" in page.text


def test_a_resumed_run_shows_where_it_went_on_and_how_it_began(tmp_path):
    folder = write_run(tmp_path / "r")
    history = [{"date": "first", "command": ["train", "a=1"]}, {"date": "then", "command": ["train", "resume=r"]}]
    record = {"date": "later", "command": ["train", "resume=r"], "history": history}
    (folder / "environment.json").write_text(json.dumps(record), encoding="utf-8")
    page = Page(make_page(folder))
    assert "Resumed 2 times; before" in page.words
    assert "python -m ultralytics train a=1" in page.words


def test_a_validation_alone_has_a_page(tmp_path):
    folder = write_run(tmp_path / "val")
    for name in ("args.yaml", "results.csv", "environment.json"):
        (folder / name).unlink()
    page = Page(make_page(folder))
    assert "val: validation" in page.words
    assert {"classes", "pr", "confusion"} <= page.ids


def test_rotated_boxes_have_dotas_column(tmp_path):
    folder = write_run(tmp_path / "r")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    del metrics["coco"]
    metrics["dota"] = {"mAP50": 0.7125, "per_class": {"a": {"objects": 2, "AP50": 0.4375}, "b": None}}
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    page = Page(make_page(folder))
    assert "AP50 (DOTA)" in page.words
    assert "AP (COCO)" not in page.words
    assert "AP50 is DOTA's" in page.text
    for figure in (0.7125, 0.4375):
        assert f"{figure:.3f}" in page.text, figure


def test_kept_detections_give_curves_confusion_and_the_worst_mistakes(tmp_path):
    folder = write_run(tmp_path / "r", ("x", "y", "z"), images=False)
    (folder / "curves.json").unlink()
    shutil.copytree(folder, folder / "test")
    seen = seen_of(0.7, 1)
    file = tmp_path / "0.png"
    from_file = [s._replace(file=str(file)) for s in seen]
    file.write_bytes(PNG)
    write_seen(folder / "test" / "seen.npz", from_file)
    page = Page(make_page(folder))
    page.assert_harmless()
    assert {"pr-test", "confusion-test", "images-test"} <= page.ids
    chart = next(c for c in page.charts if c["title"] == "Precision over recall")
    assert sorted(x["name"].split()[0] for x in chart["lines"][1:]) == ["x", "y", "z"]


def test_classes_are_known_by_their_ids():
    rows = {"b": {"id": 1, "mAP50": 0.5}, "d": {"id": 3}}
    assert Validation("", Path(), {"classes": rows}).class_names == {1: "b", 3: "d"}
    whole = {"classes": rows, "dota": {"per_class": {"a": None, "b": {}, "c": None, "d": {}}}}
    assert Validation("", Path(), whole).class_names == dict(enumerate("abcd"))
    earlier = {"classes": {"b": {"mAP50": 0.5}}, "dota": None}
    assert Validation("", Path(), earlier).class_names == {}, "without ids, of classes with labels alone"


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c6360606000000004000149b8c1a50000000049454e44ae426082"
)


def test_numbers_of_curves_are_those_of_the_figures():
    rng = np.random.default_rng(0)
    tp, conf, cls = rng.random((60, 10)) > 0.4, rng.random(60), rng.integers(0, 3, 60)
    result = average_precision(tp, conf, cls, rng.integers(0, 3, 40))
    matrix = ConfusionMatrix(3)
    matrix.matrix[1, 2], matrix.matrix[3, 0] = 4, 2
    found = curve_numbers(result, {0: "a", 1: "b", 2: "c"}, matrix)
    assert found["x"][0] == 0
    assert found["x"][-1] == 1
    assert len(found["x"]) == 101
    assert [c["name"] for c in found["classes"]] == ["a", "b", "c"]
    assert found["classes"][1]["precision"][50] == pytest.approx(result.prec_values[1, 500], abs=1e-3)
    assert found["mean"]["f1"][-1] == pytest.approx(result.f1_curve.mean(0)[-1], abs=1e-4)
    assert found["confusion"]["counts"] == [[1, 2, 4], [3, 0, 2]]
    assert found["confusion"]["labels"][-1] == "background"
    nothing = np.zeros(0)
    assert curve_numbers(average_precision(np.zeros((0, 10)), nothing, nothing, nothing), {})["classes"] == []


def test_a_matrix_of_many_classes_lists_its_largest_confusions(tmp_path):
    names = [f"class {i}" for i in range(60)]
    folder = write_run(tmp_path / "r", names, images=False)
    (folder / "curves.json").write_text(json.dumps(curves_of(names)), encoding="utf-8")
    page = Page(make_page(folder))
    assert "Of 60 classes the 2 largest confusions" in page.text
    chart = titled(page, "Precision over recall")
    assert [x["name"] for x in chart["lines"] if x["shown"]] == ["all classes"]


def test_the_best_epoch_is_the_one_that_training_keeps():
    names = ("epoch", "metrics/mAP50(B)", "metrics/mAP50-95(B)")
    figures = ("1", "0.5", "0.3"), ("2", "0.6", "0.3"), ("3", "0.6", "0.3")
    rows = [dict(zip(names, row, strict=True)) for row in figures]
    assert best_epoch(rows) == (3, 0.3)
    assert best_epoch([{"epoch": "1"}, {"epoch": "2", **dict.fromkeys(names[1:], "")}]) is None


def test_the_page_has_a_bound_on_images(tmp_path):
    folder = write_run(tmp_path / "r")
    page = Page(make_page(folder, images=0.0))
    assert not [t for t, _ in page.tags if t == "img"]
    assert "4 images left out" in page.text


def test_the_command_writes_the_page_and_names_mistakes(tmp_path, capsys, monkeypatch):
    folder = write_run(tmp_path / "runs" / "r")
    assert main(["report", str(folder), "--quiet"]) == 0
    assert (folder / "report.html").is_file()
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert main(["report", str(folder), f"out={tmp_path / 'x.html'}", "images=1"]) == 0
    assert (tmp_path / "x.html").is_file()
    for words, text in (
        (["report"], "report takes one folder"),
        (["report", str(tmp_path / "no")], "no such run"),
        (["report", str(tmp_path / "runs")], f"such as {folder}"),
        (["report", str(folder), "out=x.pdf"], "the page is an HTML file"),
        (["report", str(folder), f"out={tmp_path / 'no' / 'x.html'}"], "no such folder"),
        (["report", str(folder), "port=3"], "it needs serve=True"),
        (["report", str(folder), "out=x.html", "serve=True"], "a page that is served is not written"),
        (["report", str(folder), "images=-1"], "0 to 500"),
    ):
        capsys.readouterr()
        assert main(words) == 2, words
        assert text in capsys.readouterr().err
    (folder / "weights").mkdir()
    (folder / "weights" / "best.pt").write_bytes(b"")
    assert find_folder(folder / "weights" / "best.pt") == folder
    monkeypatch.chdir(tmp_path)
    Path("afile").touch()
    capsys.readouterr()
    assert main(["report", "afile"]) == 2
    assert capsys.readouterr().err.startswith("error: afile: no run and no study lies in its folder (train, val")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "r", images=False)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(UserError, match="out="):
        write_page(folder)
    assert not (folder / "report.html").exists()
