import errno
import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import ultralytics
from tests.helpers.reference import REFERENCE_DEFAULTS
from ultralytics.__main__ import run
from ultralytics.cfg.config import KNOBS
from ultralytics.cfg.dataset import load_dataset
from ultralytics.cfg.model import load_model_spec
from ultralytics.cli import COMMANDS, MODES, main

CLONE = Path(ultralytics.__file__).parents[1]


def command(*words, cwd):
    """Run `python -m ultralytics` as a user does; exit code, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "ultralytics", *words],
        cwd=cwd, env={"PYTHONPATH": str(CLONE), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "did you mean 'train'"),
        (["mode=export", "model=x.pt"], "x.pt: no such weights file"),
        (["benchmark"], "no model given (such as: python -m ultralytics benchmark model="),
        (["benchmark", "model=x.pt", "format=onnx"], "did you mean 'formats'"),
        (["mode=benchmark", "model=gone.pt"], "no such weights file"),
        (["model=gone.onnx", "benchmark"], "no such exported file"),
        (["tune", "trialz=3"], "unknown key 'trialz' (did you mean 'trials'"),
        (["tune", "epohcs=3"], "unknown key 'epohcs' (did you mean 'epochs'"),
        (["tune", "trials=0"], "trials=0 must be an integer of 1 or more"),
        (["tune", "metric=map"], "metric=map must be fitness or mAP50-95"),
        (["tune", "project=x"], "project=x is not a key of a tune (leave it out; out= is its folder)"),
        (["tune", "source=x"], "source is a key of predict"),
        (["tune", "report"], "tune report takes one folder"),
        (["tune", "report", "gone"], "gone: no such folder"),
        (["hub", "login"], "'hub' is not offered"),
        (["explorer"], "'explorer' is not offered"),
        (["train", "segment", "data=x.yaml"], "x.yaml: no such dataset YAML"),
        (["task=pose", "mode=train"], "no dataset given"),
        (["obb", "predict"], "no model given"),
        (["count", "predict"], "'count'"),
        (["train", "val"], "two modes given: train and val"),
        (["model=x.pt", "source=a.jpg"], "no mode given (such as: python -m ultralytics predict model=x.pt"),
        (["settings", "runs_dir=/x"], "the setting runs_dir=/x is not kept"),
        (["settings", "runs=/x"], "did you mean 'runs_dir'"),
        (["cfg", "now"], "cfg takes nothing more"),
        (["predict", "model=yolov8n.yaml", "source=x.jpg", "keras"], "'keras' has no effect"),
        (["val", "model=yolov8n.yaml", "save_hybrid=True"], "'save_hybrid' has no effect"),
        (["train", "epohcs=3"], "did you mean 'epochs'"),
        (["train", "epochs"], "epochs=VALUE"),
        (["train", "data=x.yaml", "model=yolov8n.yaml", "epochs=-1"], "epochs=-1 is out of range"),
        (["train", "model=yolov8n.yaml"], "no dataset given"),
        (["train", "--nosuch"], "not a key=value"),
        (["val", "data=shapes.yaml"], "no model given"),
        (["val", "model=gone.pt", "data=shapes.yaml"], "no such weights file"),
        (["val", "model=yolov8q.yaml", "data=shapes.yaml"], "scale 'q' is not among its scales: n, s, m, l, x"),
        (["info", "model=yolov8N-fla.yaml"], "among its scales: n, s, m, l, x (did you mean yolov8n-fla.yaml?)"),
        (["info", "model=yolov8tiny.yaml"], "no such model YAML; tried"),
        (["predict", "model=yolov8n.yaml"], "nothing to predict on"),
        (["predict", "model=yolov8n.yaml", "source=gone.jpg"], r"gone.jpg"),
        (["info"], "no model given"),
        (["info", "model=yolov8n.yaml", "size=3"], "unknown key 'size'"),
        (["prepare"], "prepare what?"),
        (["prepare", "cocoo"], "unknown kind of data"),
        (["prepare", "voc", "source=gone"], "gone: there is no such source"),
        (["prepare", "voc", "source=."], "out is missing"),
        (["prepare", "voc", "source=.", "out=../x"], "there is no folder"),
        (["prepare", "shapes", "seed=-1"], "0 or more"),
        (["prepare", "shapes", "seed=x"], "seed=x must be an integer of 0 or more"),
        (["prepare", "voc", "out=x"], "download=True"),
        (["show", "data=toy.yaml", "out=there.jpg", "overwrite=no"], "overwrite=no must be True or False"),
        (["export-coco", "data=toy.yaml", "out=there.json", "overwrite=off"], "overwrite=off must be True or False"),
        (["insert", "model=yolov8n.yaml", "after=9", "module=FLABlock", "out=x.yaml", "overwrite=no"], "overwrite=no"),
        (["check-data", "data=toy.yaml", "json=no"], "json=no must be True or False"),
        (["info", "model=yolov8n.yaml", "json=1"], "json=1 must be True or False"),
        (["subset", "data=toy.yaml", "out=x.yaml", "copy=no"], "copy=no must be True or False"),
        (["prepare", "voc", "out=x", "download=yes"], "download=yes must be True or False"),
        (["prepare", "voc", "source=gone", "out=x", "val=a"], "val=a must be a part of the images"),
        (["prepare", "voc", "source=gone", "out=x", "download=True"], "contradict each other"),
        (["prepare", "coco", "mirror=http://127.0.0.1"], "add download=True"),
        (["prepare", "voc", "sorce=gone"], "did you mean 'source'"),
        (["prepare", "coco", "source=gone"], "there is no such source"),
        (["prepare", "coco", "source=[a.json,b.json]", "out=x"], "a.json: there is no such source"),
        (["prepare", "coco", "source=a.json,b.json", "out=x"], "a.json: there is no such source"),
        (["prepare", "visdrone", "source=gone", "out=x"], "there is no such source"),
        (["prepare", "bccd", "source=gone", "out=x"], "there is no such source"),
        (["prepare", "yolo", "source=gone"], "there is no such source"),
        (["prepare", "yolo", "source=."], "out is missing"),
        (["prepare", "labelme", "source=."], "out is missing"),
        (["prepare", "kitti", "out=x"], "source is missing"),
        (["prepare", "auto", "source=gone", "out=x"], "there is no such source"),
        (["prepare", "coco", "source=gone", "out=x", "test=a"], "test=a must be a part of the images"),
        (["prepare", "bccd", "val=0.2"], "unknown key 'val'"),
        (["val", "mode=train", "model=yolov8n.yaml"], "contradicts"),
        (["train", "device=7", "model=yolov8n.yaml", "data=shapes.yaml"], "device=7"),
        (["train", "device=gpu", "model=yolov8n.yaml", "data=shapes.yaml"], "device=gpu is unknown"),
        (["predict", "model=yolov8n.yaml", "source=x.jpg", "epochs=3"], "epochs is a key of train, not of predict"),
        (["val", "model=yolov8n.yaml", "data=shapes.yaml", "scale=0.3"], "scale is a key of train"),
        (["val", "model=gone.pt", "data=shapes.yaml", "scale=q"], "belongs to a model YAML"),
        (["train", "model=yolov8n.yaml", "data=shapes.yaml", "scale=q"], "scale=q is not possible"),
        (["train", "model=yolov8n.yaml", "data=shapes.yaml", "optimizer=foo"], "optimizer=foo is not possible"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_users_mistake_is_one_line_and_code_2(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "model=yolov8n.yaml", "data=."], "is a folder"),
        (["train", "model=yolov8n.yaml", "data=/"], "is a folder"),
        (["train", "model=.", "data=toy/toy.yaml"], "is a folder"),
        (["train", "model=yolov8n.yaml", "data=toy"], "is a folder"),
        (["train", "model=yolov8n.yaml", "data=~nobody-at-all/x.yaml"], "no such home folder"),
        (["train", "model=yolov8n.yaml", f"data={'x' * 300}.yaml"], "File name too long"),
        (
            ["train", "model=yolov8n.yaml", "data=toy/toy.yaml", "seed=99999999999999999999"],
            "seed=99999999999999999999",
        ),
        (["train", "model=yolov8n.yaml", "data=toy/toy.yaml", f"epochs={'9' * 400}"], "out of range"),
        (["train", "model=yolov8n.yaml", "data=toy/toy.yaml", "time=1e999"], "finite"),
        (["train", "model=latin.yaml", "data=toy/toy.yaml"], "not UTF-8"),
        (["train", "model=yolov8n.yaml", "cfg=latin.yaml"], "not UTF-8"),
        (["train", "model=yolov8n.yaml", "data=listed.yaml"], "not UTF-8"),
        (["predict", "model=yolov8n.yaml", "source=latin.txt"], "not UTF-8"),
        (["predict", "model=yolov8n.yaml", "source=itself.txt"], "another list"),
        (["info", "model=activation.yaml"], "activation"),
        (["info", "model=depth.yaml"], "depth_multiple"),
        (["info", "model=concat.yaml"], "dimension 1, not 7"),
    ],
    ids=lambda v: " ".join(w[:40] for w in v) if isinstance(v, list) else "",
)
def test_what_could_not_be_read_is_one_line_too(words, message, capsys, toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("latin.yaml", "latin.txt"):
        (tmp_path / name).write_bytes("names: [caf\xe9]\n".encode("latin-1"))
    (tmp_path / "itself.txt").write_text("itself.txt\n")
    (tmp_path / "listed.yaml").write_text("train: latin.txt\nval: toy/images/val\nnames: [a, b, c]\n")
    rows = "backbone: [[-1, 1, Conv, [16, 3, 2]]]\nhead: [%s[[-1], 1, Detect, [nc]]]\n"
    (tmp_path / "activation.yaml").write_text("activation: 5\n" + rows % "")
    (tmp_path / "depth.yaml").write_text("depth_multiple: abc\n" + rows % "")
    (tmp_path / "concat.yaml").write_text(rows % "[[-1, 0], 1, Concat, [7]], ")
    before = {p.name for p in tmp_path.iterdir()}
    project = [f"project={tmp_path / 'runs'}"] if words[0] == "train" else []
    assert main([*words, *project]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not list((tmp_path / "runs").glob("*"))
    assert {p.name for p in tmp_path.iterdir()} - {"runs"} == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["subset", "data=toy/toy.yaml"], "out is missing"),
        (["subset", "out=x.yaml"], "data is missing"),
        (["subset", "data=gone.yaml", "out=x.yaml"], "no such dataset YAML"),
        (["subset", "data=toy/toy.yaml", "out=x.yaml", "class=red"], "did you mean 'classes'"),
        (["subset", "data=toy/toy.yaml", "out=x.yaml", "classes=[red, bleu]"], "did you mean 'blue'"),
        (["subset", "data=toy/toy.yaml", "out=x.yaml", "classes=7"], "its ids are 0 to 2"),
        (["subset", "data=toy/toy.yaml", "out=x.yaml", "n=many"], "n=many must be an integer"),
        (["subset", "data=toy/toy.yaml", "out=x.yaml", "test_n=3"], "no split 'test'"),
        (["subset", "data=toy/toy.yaml", "out=x.yaml", "copy=3"], "copy=3 must be True or False"),
        (["subset", "data=toy/toy.yaml", "out=x"], "must end in .yaml"),
        (["subset", "data=toy/toy.yaml", "out=x.yaml", "kfold=1"], "kfold=1 must be an integer of 2 or more"),
        (["subset", "data=toy/toy.yaml", "out=x.yaml", "kfold=2", "val_n=3"], "val_n has no meaning with kfold"),
        (["show"], "data is missing"),
        (["show", "data=toy/toy.yaml", "split=dev"], "no split 'dev'"),
        (["show", "data=toy/toy.yaml", "epochs=3"], "unknown key 'epochs'"),
        (["show", "data=toy/toy.yaml", "mosaik=0"], "did you mean 'mosaic'"),
        (["show", "data=toy/toy.yaml", "degrees=many"], "degrees='many' must be a number"),
        (["show", "data=toy/toy.yaml", "out=x.pdf"], "must end in .jpg or .png"),
    ],
    ids=" ".join,
)
def test_a_wrong_drawing_of_data_is_told_in_one_line(words, message, toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not [p for p in tmp_path.iterdir() if p.name != "toy"]


def test_subsets_folds_and_sheets_from_the_command_line(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["subset", "data=toy/toy.yaml", "classes='绿',0", "n=4", "out=new/s.yaml"]) == 0
    assert "ready: data=new/s.yaml" in capsys.readouterr().out
    assert load_dataset("new/s.yaml").names == {0: "绿", 1: "red"}
    assert main(["subset", "data=toy/toy.yaml", "classes=[blue]", "kfold=2", "out=k.yaml", "copy=True"]) == 0
    assert "ready: data=k-fold1.yaml" in capsys.readouterr().out
    assert main(["show", "data=k-fold1.yaml", "n=2", "imgsz=64", "mosaic=0", "degrees=10"]) == 0
    assert "written: runs/show/k-fold1-train.jpg" in capsys.readouterr().out
    assert (tmp_path / "runs" / "show" / "k-fold1-train.jpg").is_file()


def test_a_reader_that_leaves_early_is_no_fault(tmp_path):
    script = f"set -o pipefail; {sys.executable} -m ultralytics train --help | head -n 1; echo $?"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(CLONE), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("0", "141")
    closed = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m ultralytics train --help | true; echo ${{PIPESTATUS[0]}}"],
        cwd=tmp_path, env={"PYTHONPATH": str(CLONE), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert (closed.stderr, closed.stdout.strip()) == ("", "141")


def test_a_fault_of_ours_is_not_hidden(monkeypatch):
    def broken(_):
        raise RuntimeError("ours")

    monkeypatch.setattr("ultralytics.cli.program._dispatch", broken)
    with pytest.raises(RuntimeError, match="ours"):
        main(["train"])


def test_too_few_open_files_are_one_line(monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("ultralytics.cli.program._dispatch", full)
    assert main(["val"]) == 2
    assert capsys.readouterr().err == "error: no more files can be opened (raise the limit: ulimit -n)\n"


def test_a_full_disk_is_one_line_wherever_it_is_noticed(monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/results.png")

    monkeypatch.setattr("ultralytics.cli.program._dispatch", full)
    assert main(["train"]) == 2
    assert capsys.readouterr().err.startswith("error: runs/results.png: No space left on device")


@pytest.mark.parametrize("mode", MODES)
def test_help_lists_every_key_of_a_mode(mode, capsys):
    assert main([mode, "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage:" in out
    for key, field in KNOBS.items():
        if mode in field.modes and key not in ("mode", "model_scale"):
            assert f"  {key} " in out, key


def test_help_tells_the_defaults_of_the_mode(capsys):
    def shown(mode):
        main([mode, "--help"])
        lines = (line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  "))
        return {words[0]: words[1] for words in lines if len(words) > 1}

    predict, val, train = shown("predict"), shown("val"), shown("train")
    assert (predict["batch"], predict["conf"], predict["name"], predict["classes"]) == ("1", "0.25", "predict", "all")
    assert (val["batch"], val["conf"], val["name"], val["rect"]) == ("16", "0.001", "val", "True")
    assert (train["batch"], train["conf"], train["device"], train["rect"]) == ("16", "0.001", "auto", "False")


def test_names_are_taken_to_the_letter(tiny, tmp_path, monkeypatch, toy):
    monkeypatch.chdir(tmp_path)
    (toy.parent / "images" / "val").rename(tmp_path / "0")
    words = ["predict", f"model={tiny}", "source=0", "name=2024.10", "project=007", "imgsz=64", "device=cpu"]
    assert main(words) == 0
    assert len(list((tmp_path / "007" / "2024.10").iterdir())) == 6


def test_keys_of_other_modes_may_stand_in_a_recipe(tiny, toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "args.yaml").write_text("epochs: 3\nimgsz: 64\nmode: train\ndevice: cpu\n")
    assert main(["predict", f"model={tiny}", f"source={toy.parent / 'images' / 'val'}", "cfg=args.yaml"]) == 0


def test_names_and_paths_need_no_brackets(monkeypatch, tmp_path):
    taken = []
    monkeypatch.chdir(tmp_path)
    for name in ("1", "a.json", "b.json", "one,two.json"):
        (tmp_path / name).touch()
    monkeypatch.setattr("ultralytics.data.prepare.prepare_voc", lambda **k: taken.append(list(k.values())))
    assert main(["prepare", "voc", "source=1", "out=2", "names=RBC"]) == 0
    assert main(["prepare", "voc", "source=1", "out=2", "names=[a,1]"]) == 0
    assert main(["prepare", "voc", "source=1", "out=2", "names=WBC,traffic light"]) == 0
    assert main(["prepare", "voc", "source=1", "out=2", """names=["a,b",'c',baker's]"""]) == 0
    names = [["RBC"], ["a", "1"], ["WBC", "traffic light"], ["a,b", "c", "baker's"]]
    assert taken == [["1", "2", n] for n in names]
    taken.clear()
    monkeypatch.setattr("ultralytics.data.prepare.prepare_coco", lambda **k: taken.append(k["source"]))
    for text in ("a.json,b.json", "[a.json,b.json]", "one,two.json", "a.json"):
        assert main(["prepare", "coco", f"source={text}", "out=2"]) == 0
    assert taken == [["a.json", "b.json"], ["a.json", "b.json"], "one,two.json", "a.json"]


def test_what_is_ready_can_be_pasted(monkeypatch, capsys):
    monkeypatch.setattr("ultralytics.data.prepare.prepare_shapes", lambda **k: Path("my data's/data.yaml"))
    assert main(["prepare", "shapes"]) == 0
    assert shlex.split(capsys.readouterr().out.removeprefix("ready: ")) == ["data=my data's/data.yaml"]


def test_help_of_a_kind_of_data_is_of_that_kind(capsys):
    assert main(["prepare", "voc", "--help"]) == 0
    out = capsys.readouterr().out
    assert "one_based" in out
    assert "coco:" not in out
    assert main(["prepare", "--help"]) == 0
    assert "coco:" in capsys.readouterr().out


def test_an_interruption_during_the_imports_is_one_line(monkeypatch, capsys):
    class Interrupted:
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "ultralytics.cli", Interrupted())
    assert run() == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_the_overview_and_the_version(capsys):
    assert main([]) == 0
    assert "train" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert "8.2.103" in capsys.readouterr().out


def test_info_prints_the_sizes(capsys):
    assert main(["info", "model=yolov8n-fla.yaml"]) == 0
    assert "parameters" in capsys.readouterr().out
    assert main(["detect", "info", "model", "=", "yolov8.yaml", "scale=s"]) == 0
    out = capsys.readouterr().out
    assert "Detect" in out
    assert "11,166,560 parameters" in out
    assert main(["info", "model=yolov8n.yaml", "imgsz=[384,640]", "batch=2", "nc=3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["imgsz"], report["batch"], report["nc"]) == ([384, 640], 2, 3)
    assert report["flops"] == 2 * report["macs"] == sum(r["flops"] for r in report["rows"])


@pytest.mark.parametrize("word", ["imgsz=abc", "imgsz=0", "imgsz=33", "imgsz=[64]", "batch=0", "nc=0", "detailed=1"])
def test_info_refuses_what_makes_no_sense(word, capsys):
    assert main(["info", "model=yolov8n.yaml", word]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_key_of_a_tune_at_its_default_asks_for_nothing(capsys):
    for words in (["val=True", "task=detect", "save=True"], ["exist_ok=False"]):
        assert main(["tune", "model=gone.yaml", "data=gone.yaml", *words]) == 2
        assert "is not a key of a tune" not in capsys.readouterr().err
    for word in ("val=False", "task=pose", "name=x"):
        assert main(["tune", "model=gone.yaml", "data=gone.yaml", word]) == 2
        assert f"{word} is not a key of a tune" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["scale=n", "nc=5"])
@pytest.mark.parametrize("model", ["gone.pt", "[a.pt,b.pt]", "gone.onnx"])
def test_scale_and_nc_are_refused_where_they_have_no_effect(model, word, capsys):
    assert main(["info", f"model={model}", word]) == 2
    assert capsys.readouterr().err == f"error: {word} belongs to a model YAML, and {model} is not one (leave it out)\n"


@pytest.fixture
def nano(tmp_path):
    """YOLOv8 of scale n alone: an edit is tried at every scale there is, a second each; tests/nn/test_surgery.py has
    them all."""
    text = (CLONE / "cfg" / "models" / "yolov8.yaml").read_text(encoding="utf-8")
    file = tmp_path / "nano.yaml"
    file.write_text(re.sub(r"(?m)^  [smlx]: .*\n", "", text), encoding="utf-8")
    return file


def test_editing_a_model_yaml(nano, tmp_path, capsys):
    out = tmp_path / "my.yaml"
    words = ["insert", f"model={nano}", "after=[9,15]", "module=FLABlock(4)", f"out={out}", "scale=n"]
    assert main(words) == 0
    message = capsys.readouterr().out
    assert "new row 10 FLABlock after row 9" in message
    assert "to the bit" in message
    assert main(words) == 2  # nothing is overwritten
    assert "overwrite=True" in capsys.readouterr().err
    assert main([*words, "overwrite=True"]) == 0
    again = tmp_path / "again.yaml"
    assert main(["remove", f"model={out}", "rows=[10,17]", f"out={again}", "scale=n"]) == 0
    back = tmp_path / "c2f.yaml"
    assert main(["replace", f"model={again}", "rows=[sppf9]", "module=nn.Upsample()", f"out={back}", "scale=n"]) == 2
    assert not back.exists()
    assert main(["replace", f"model={again}", "rows=p3", "module=C2f_FLA", f"out={back}", "scale=n"]) == 0
    assert [r.module for r in load_model_spec(back, "n").rows].count("C2f_FLA") == 1
    several = "module=[FLABlock(4, window_size=[5, 5]), PSABlock]"
    assert main(["insert", "model=yolov8.yaml", "after=[9,15]", several, f"out={back}", "overwrite=True"]) == 0
    rows = load_model_spec(back, "n").rows
    assert [(r.module, r.args) for r in rows if "Block" in r.module] == [
        ("FLABlock", [4, {"window_size": [5, 5]}]),
        ("PSABlock", []),
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["insert", "model=yolov8n.yaml", "after=9", "module=FLABlock(4)", "overwrite=True"],
        ["replace", "model=yolov8n.yaml", "rows=8", "module=C2f_FLA", "overwrite=True"],
        ["remove", "model=yolov8n-fla.yaml", "rows=10", "overwrite=True"],
        ["benchmark", "model=yolov8n.yaml"],
        ["export-coco", "data=data/shapes.yaml", "overwrite=True"],
        ["export-weights", "model=yolov8n.pt", "overwrite=True"],
        ["save-adapter", "model=yolov8n.pt", "overwrite=True"],
    ],
)
def test_a_folder_in_the_place_of_the_file_is_said_at_once(words, tmp_path, capsys):
    out = tmp_path / "there.pt"
    out.mkdir()
    assert main([*words, f"out={out}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {out}: this is a folder (give the name of a")
    assert list(out.iterdir()) == []


def test_an_edit_that_cannot_be_written_leaves_the_earlier_file(tmp_path, capsys, monkeypatch):
    out = tmp_path / "my.yaml"
    out.write_text("before", encoding="utf-8")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ultralytics.utils.files.os.fsync", full)
    words = ["remove", "model=yolov8n-fla.yaml", "rows=10", f"out={out}", "overwrite=True"]
    assert main(words) == 2
    assert "choose another out=" in capsys.readouterr().err
    assert [(p.name, p.read_text(encoding="utf-8")) for p in tmp_path.iterdir()] == [("my.yaml", "before")]


def test_an_edited_yaml_finds_its_plugins_from_its_own_folder(nano, tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    source = (
        "from torch import nn\nfrom ultralytics.nn.registry import register, same_width\n"
        "@register(same_width)\nclass InA(nn.Identity):\n    def __init__(self, c1): super().__init__()\n"
    )
    (tmp_path / "a" / "in_a.py").write_text(source, encoding="utf-8")
    first, second = tmp_path / "a" / "first.yaml", tmp_path / "b" / "second.yaml"
    plugin = f"plugins={tmp_path / 'a' / 'in_a.py'}"
    insert = ["insert", f"model={nano}", "scale=n", "module=InA"]
    assert main([*insert, "after=9", plugin, f"out={first}"]) == 0
    assert "plugins: [in_a.py]\n" in first.read_text(encoding="utf-8")
    assert main(["insert", f"model={first}", "scale=n", "module=FLABlock", "after=4", f"out={second}"]) == 0
    assert "plugins: [../a/in_a.py]\n" in second.read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["info", f"model={second}", "imgsz=64", "scale=n"]) == 0
    assert "InA" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["insert", "model=yolov8.yaml", "module=FLABlock", "out=x.yaml"], "after is missing"),
        (["insert", "model=yolov8.yaml", "after=9", "out=x.yaml"], "module is missing"),
        (["insert", "model=yolov8.yaml", "after=9", "module=FLABlock"], "out is missing"),
        (["insert", "model=yolov8.yaml", "after=9", "module=FLABlok", "out=x.yaml"], "FLABlock"),
        (["insert", "model=yolov8.yaml", "after=22", "module=FLABlock", "out=x.yaml"], "22"),
        (["insert", "model=yolov8.yaml", "after=9", "module=FLABlock(7)", "out=x.yaml"], "7 heads do not divide"),
        (["insert", "model=yolov8.yaml", "after=9", "module=FLABlock", "out=no/x.yaml"], "folder does not exist"),
        (["replace", "model=yolov8.yaml", "after=9", "module=FLABlock", "out=x.yaml"], "after"),
    ],
)
def test_a_wrong_edit_is_told_in_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "scale=n"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_commands_from_another_folder(tiny, toy, tmp_path):
    """Train, resume, validate and predict as a user would, each in a process of its own."""
    work = tmp_path / "some folder"
    work.mkdir()
    common = ["imgsz=64", "workers=0", "device=cpu", "plots=False"]
    code, out, err = command("train", f"model={tiny}", f"data={toy}", "epochs=1", "batch=4", *common, cwd=work)
    assert code == 0, err
    best = work / "runs" / "detect" / "train" / "weights" / "best.pt"
    assert best.exists()
    assert "weights  runs/detect/train/weights/best.pt" in out
    code, _, err = command("train", "resume=True", "epochs=2", cwd=work)
    assert code == 0, err
    assert len((best.parents[1] / "results.csv").read_text().splitlines()) == 3
    code, out, err = command("val", f"model={best}", f"data={toy}", *common, cwd=work)
    assert code == 0, err
    assert "mAP50-95" in out
    assert (work / "runs" / "detect" / "val" / "metrics.json").exists()
    pictures = f"source={toy.parent / 'images' / 'val'}"
    code, _, err = command("predict", f"model={best}", pictures, "imgsz=64", "device=cpu", cwd=work)
    assert code == 0, err
    assert len(list((work / "runs" / "detect" / "predict").iterdir())) == 6


def test_importing_is_light(tmp_path):
    code = (
        "import ultralytics, sys; assert not {'torch', 'cv2', 'numpy'} & set(sys.modules);"
        "print(ultralytics.REFERENCE_VERSION)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(CLONE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "8.2.103"
    help_code = (
        "import sys; from ultralytics.cli import main; main(['train', '--help']); assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", help_code], cwd=tmp_path, env={"PYTHONPATH": str(CLONE)}, capture_output=True, check=True
    )


PUBLIC = {
    "ultralytics": "YOLO",
    "ultralytics.cfg": "get_cfg",
    "ultralytics.data": "build_dataloader build_yolo_dataset",
    "ultralytics.models": "YOLO",
    "ultralytics.models.yolo": "YOLO",
    "ultralytics.nn": "DetectionModel",
    "ultralytics.utils": "LOGGER",
    "ultralytics.data.augment": "LetterBox RandomPerspective Mosaic MixUp RandomHSV RandomFlip",
    "ultralytics.models.yolo.detect": "DetectionTrainer DetectionValidator DetectionPredictor",
    "ultralytics.nn.modules": "Conv DWConv C2f Bottleneck SPPF Concat Detect DFL FocusedLinearAttention",
    "ultralytics.nn.tasks": "DetectionModel parse_model",
    "ultralytics.utils.loss": "v8DetectionLoss",
    "ultralytics.utils.metrics": "ConfusionMatrix DetMetrics Metric ap_per_class compute_ap bbox_iou box_iou smooth",
    "ultralytics.utils.ops": "non_max_suppression scale_boxes clip_boxes xywh2xyxy xyxy2xywh xyxy2xywhn xywhn2xyxy "
    "make_divisible",
    "ultralytics.utils.tal": "TaskAlignedAssigner make_anchors dist2bbox bbox2dist",
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_where_the_reference_has_them(module):
    found = importlib.import_module(module)
    assert not [name for name in PUBLIC[module].split() if not hasattr(found, name)]


def commands_taken(monkeypatch):
    """The names and keys of the commands that are given from now on; none is run."""
    taken = []
    for command in COMMANDS.values():
        monkeypatch.setattr(command, "run", lambda self: taken.append((self.name, self.given)) or 0)
    return taken


@pytest.mark.parametrize(
    "words",
    [
        "train detect", "detect train", "task=detect mode=train", "mode=train", "--mode=train",
        "train task=detect mode=train",
        "mode = train", "epochs=3, train", "task=detect, train",
    ],
)  # fmt: skip
def test_the_references_ways_to_say_a_mode(words, monkeypatch):
    taken = commands_taken(monkeypatch)
    assert main([*words.split(), "data=a.yaml,", "amp", "lr0=0.1,"]) == 0
    [(mode, given)] = taken
    given.pop("mode", None)
    given.pop("task", None)
    assert mode == "train"
    assert given.pop("epochs", 3) == 3
    assert given == {"data": "a.yaml", "amp": True, "lr0": 0.1}


def test_keys_of_other_modes_pass_at_their_defaults(monkeypatch, tmp_path, tiny):
    """What a script builds from all keys of the reference is taken by every mode."""
    monkeypatch.chdir(tmp_path)
    words = [f"{k}={v}" for k, v in REFERENCE_DEFAULTS.items() if k not in ("mode", "model", "source")]
    assert main(["predict", f"model={tiny}", "source=none.jpg", *words]) == 2


def test_sources_in_brackets_are_a_list(tiny, toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(toy.parent / "images" / "val")
    names = sorted(p.name for p in Path().iterdir())
    words = ["predict", f"model={tiny}", "imgsz=64", "device=cpu", f"project={tmp_path / 'out'}", "exist_ok"]
    assert main([*words, f"source=[{names[0]}, '{names[1]}']"]) == 0
    assert {p.name for p in (tmp_path / "out" / "predict").glob("*.png")} == set(names[:2])
    assert main([*words, f"source=[{names[0]},gone.png]"]) == 2
    assert "gone.png" in capsys.readouterr().err


def test_the_references_special_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, message in (
        (["settings"], '"runs_dir": "runs"'),
        (["settings", "reset"], "nothing to reset"),
        (["cfg"], "mosaic: 1.0 # chance of a mosaic"),
        (["copy-cfg"], "written: "),
        (["checks"], "torch"),
        (["help"], "copy-cfg"),
        (["-v"], "8.2.103"),
        (["settings", "help"], "usage: python -m ultralytics settings"),
        (["version"], "8.2.103"),
        (["train", "help"], "epochs"),
    ):
        assert main(words) == 0
        assert message in capsys.readouterr().out, words
    assert (tmp_path / "default_copy.yaml").is_file()


def test_a_file_of_keys_may_say_the_mode(monkeypatch, tmp_path, capsys):
    """As `copy-cfg` is used in the reference: cfg=default_copy.yaml imgsz=320."""
    monkeypatch.chdir(tmp_path)
    taken = commands_taken(monkeypatch)
    assert main(["copy-cfg"]) == 0
    assert main(["cfg=default_copy.yaml", "imgsz=320"]) == 0
    assert main(["predict", "cfg=default_copy.yaml"]) == 0
    assert [mode for mode, _ in taken] == ["train", "predict"]
    (tmp_path / "none.yaml").write_text("imgsz: 64\n")
    assert main(["cfg=none.yaml"]) == 2
    assert "no mode given" in capsys.readouterr().err
