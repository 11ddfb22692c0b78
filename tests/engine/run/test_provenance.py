import getpass
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from ultralytics.cfg.config import get_cfg
from ultralytics.cli import main
from ultralytics.engine.run import provenance as module
from ultralytics.engine.run.provenance import provenance, readable, record_lines, without_home
from ultralytics.engine.weights.checkpoint import load_checkpoint, portable, save_checkpoint
from ultralytics.models.yolo.model import YOLO

CPU = torch.device("cpu")


def git(folder, *words):
    settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", "-C", str(folder), *settings, *words], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone of one file, in the place of the project's own."""
    folder = tmp_path / "clone"
    folder.mkdir()
    try:
        git(folder, "init")
    except FileNotFoundError:
        pytest.skip("there is no git")
    (folder / "a.py").write_text("1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "one")
    monkeypatch.setattr(module, "CLONE", folder)
    module.git_state.cache_clear()
    yield folder
    module.git_state.cache_clear()


def test_the_commit_is_read_from_the_clones_files(clone, tmp_path, monkeypatch):
    def state():
        module.git_state.cache_clear()
        return module.git_state()

    head = git(clone, "rev-parse", "HEAD")
    assert state() == {"commit": head, "dirty": False}
    (clone / "b.py").write_text("untracked")
    assert state() == {"commit": head, "dirty": False}
    (clone / "a.py").write_text("2\n")
    assert state() == {"commit": head, "dirty": True}
    git(clone, "add", "a.py")
    assert state() == {"commit": head, "dirty": True}
    git(clone, "pack-refs", "--all")
    assert state()["commit"] == head
    git(clone, "worktree", "add", str(tmp_path / "other"))
    monkeypatch.setattr(module, "CLONE", tmp_path / "other")
    assert state() == {"commit": head, "dirty": False}
    git(tmp_path / "other", "checkout", "--detach")
    assert state() == {"commit": head, "dirty": False}
    monkeypatch.setenv("PATH", "")
    assert state() == {"commit": head, "dirty": None}
    monkeypatch.setattr(module, "CLONE", tmp_path)
    assert state() is None
    (tmp_path / ".git").write_text("gitdir: nowhere")
    assert state() is None
    module.git_state.cache_clear()


def test_the_record_of_a_run():
    args = get_cfg(None, {"epochs": 3, "data": "a.yaml"}, "command line")
    record = provenance(CPU, args, {"train": {"digest": "sha256:0"}}, ["train", "epochs=3"])
    assert record["config"] == {
        "epochs": {"value": 3, "source": "command line"}, "data": {"value": "a.yaml", "source": "command line"},
    }  # fmt: skip
    assert record["seed"] == 0
    assert record["command"] == ["train", "epochs=3"]
    assert record["versions"]["torch"] == str(torch.__version__)
    assert record["code"] == module.code_digest()
    assert json.loads(json.dumps(record)) == record
    again = provenance(CPU, args, before=provenance(CPU, args, before=record))
    assert [h.get("data") for h in again["history"]] == [{"train": {"digest": "sha256:0"}}, None]
    message = "\n".join(record_lines(again))
    assert "epochs: 3  (command line)" in message
    assert "resumed: 2 times" in message


def test_nothing_in_it_tells_whose_machine_it_was(monkeypatch, tmp_path):
    home = tmp_path / "home" / "somebody"
    monkeypatch.setenv("HOME", str(home))
    args = get_cfg(None, {"data": f"{home}/sets/a.yaml", "plugins": [f"{home}/p.py"]}, "command line")
    record = provenance(CPU, args, {"train": {}}, ["train", f"data={home}/sets/a.yaml", f"plugins=[{home}/p.py]"])
    text = json.dumps(record)
    assert "somebody" not in text
    assert record["command"][1:] == ["data=~/sets/a.yaml", "plugins=[~/p.py]"]
    for word in (socket.gethostname(), f"/{getpass.getuser()}/"):
        assert word not in text
    assert portable({"data": f"{home}/x", "project": "p", "yaml_file": f"{home}/m.yaml"}) == {
        "data": "~/x", "project": "p", "yaml_file": "m.yaml",
    }  # fmt: skip
    assert without_home({"a": [f"{home}/b", 3]}) == {"a": ["~/b", 3]}
    monkeypatch.setenv("HOME", "/")
    assert without_home("/a/b") == "/a/b"


def test_saved_weights_carry_it_and_info_shows_it(tmp_path, capsys):
    file = tmp_path / "a.pt"
    YOLO("yolov8n.yaml").save(file)
    assert load_checkpoint(file).state["provenance"]["code"] == module.code_digest()
    assert main(["info", f"model={file}", "imgsz=64"]) == 0
    assert "code: sha256:" in capsys.readouterr().out
    assert main(["info", f"model={file}", "imgsz=64", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["device"]
    YOLO(file).save(tmp_path / "b.pt")
    assert len(load_checkpoint(tmp_path / "b.pt").state["provenance"]["history"]) == 1
    assert str(Path.home()) not in repr(load_checkpoint(file).state["model"])


def test_a_strangers_record_is_shown_escaped(tmp_path, capsys):
    model = YOLO("yolov8n.yaml")
    data = {"model": model.model.yaml, "names": model.names, "ema": model.model.state_dict()}
    record = {
        "git\x1b[2J": "\x1b]0;x\x07",
        "config": {"a": [1], "b": {"value": 1, "source": "\n\x1b"}},
        "t": torch.ones(2),
    }
    record |= {"command": ["\x1b", 3], "history": 3, "data": {("a", 1): {"x": {1, 2}}}}
    save_checkpoint(tmp_path / "a.pt", {**data, "provenance": record})
    for words in ([], ["--json"]):
        assert main(["info", f"model={tmp_path / 'a.pt'}", "imgsz=64", *words]) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out
    assert readable(3) == {}


def test_a_runs_checkpoints_and_arguments_carry_it(toy, tiny, tmp_path, capsys):
    words = [
        f"model={tiny}",
        f"data={toy}",
        "epochs=1",
        "imgsz=64",
        "batch=4",
        "workers=0",
        "device=cpu",
        "plots=False",
    ]
    assert main(["train", *words, "preflight=False", f"project={tmp_path / 'runs'}"]) == 0
    run = tmp_path / "runs" / "train"
    for name in ("best.pt", "last.pt"):
        record = load_checkpoint(run / "weights" / name).state["provenance"]
        assert record["data"]["train"]["images"] == 12
        assert len(record["data"]["val"]["digest"]) >= 64
        assert record["data"]["train"]["digest"] != record["data"]["val"]["digest"]
        assert record["config"]["imgsz"] == {"value": 64, "source": "command line"}
        assert record["config"]["lr0"]["source"] == "auto"
    head = (run / "args.yaml").read_text().splitlines()[0]
    assert str(torch.__version__) in head
    assert get_cfg(run / "args.yaml").imgsz == 64
    capsys.readouterr()
    assert main(["info", f"model={run / 'weights' / 'best.pt'}", "imgsz=64", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"] == record
