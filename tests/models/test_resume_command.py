"""The command that a stopped run prints is one: it is executed."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ultralytics
from tests.conftest import write_tiny, write_toy
from ultralytics.cli import COMMANDS
from ultralytics.cli.words import read_pairs
from ultralytics.engine.run import resume
from ultralytics.engine.run.resume import resume_command

CLONE = Path(ultralytics.__file__).parents[1]
PLUGIN = (
    "from torch import nn\nfrom ultralytics.nn.registry import register, same_width\n"
    "@register(same_width)\nclass Mine(nn.Identity):\n    def __init__(self, c1): super().__init__()\n"
)


@pytest.mark.parametrize("name", ["run", "my run", "it's", 'a "b" $HOME `x`', "图 [1]", "a&b;c|d", "#x", "~y", "a,b"])
def test_the_shell_hands_over_what_is_meant(name, tmp_path):
    folder, plugins = tmp_path / name, [str(tmp_path / name / "a.py"), str(tmp_path / "b.py")]
    words = shlex.split(resume_command(folder, plugins))
    assert words[0] in ("python", sys.executable)
    at = words.index("train")
    given = read_pairs(words[at + 1 :], COMMANDS["train"])
    assert given == {"resume": str(folder), "plugins": plugins}
    assert read_pairs(shlex.split(resume_command(folder))[at + 1 :], COMMANDS["train"]) == {"resume": str(folder)}


def test_relative_plugins_are_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"plugins=[{tmp_path}/a.py]" in shlex.split(resume_command(Path("run"), "a.py"))


def test_ranks_that_torchrun_started_are_started_by_it_again(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    words = shlex.split(resume_command(tmp_path))
    assert words[1:4] == ["-m", "torch.distributed.run", "--nproc_per_node=4"]
    monkeypatch.setenv(resume.LAUNCHED, "1")  # by device=0,1,2,3, which the checkpoint knows
    assert "torch.distributed.run" not in resume_command(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("named", "start"), [("plugins=", "-m"), ("YAML", "-m"), ("plugins=", "folder")])
def test_the_printed_command_goes_on_from_any_folder(named, start, tmp_path):
    work, other = tmp_path / "my 'work', 图", tmp_path / "other"
    (work / "code").mkdir(parents=True)
    other.mkdir()
    (work / "code" / "mine.py").write_text(PLUGIN, encoding="utf-8")
    model, data = write_tiny(work), write_toy(work)
    spec = yaml.safe_load(model.read_text(encoding="utf-8"))
    spec["backbone"][10][2:4] = ["Mine", []]
    words = [f"model={model.name}", f"data={data.relative_to(work)}", "epochs=2", "imgsz=32", "batch=2", "device=cpu"]
    words += ["workers=1", "plots=False", "preflight=False", "save_every=0"]
    if named == "YAML":
        spec["plugins"] = ["code/mine.py"]
    else:
        words.append("plugins=code/mine.py")
    model.write_text(yaml.safe_dump(spec), encoding="utf-8")
    program = ["-m", "ultralytics"] if start == "-m" else [str(CLONE / "ultralytics")]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    process = subprocess.Popen(
        [sys.executable, "-u", *program, "train", *words], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**env, **({"PYTHONPATH": str(CLONE)} if start == "-m" else {})}, encoding="utf-8",
    )  # fmt: skip
    message = ""
    for line in process.stdout:
        message += line
        if "box_loss" in line:  # the table's head: the first epoch begins
            process.send_signal(signal.SIGTERM)
    assert process.wait(240) == 143, message
    assert "Stopped in epoch" in message, message
    command = message.split("Go on with: ")[1].splitlines()[0]
    done = subprocess.run(
        command, shell=True, cwd=other, env=env, capture_output=True, encoding="utf-8", timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (work / "runs" / "detect" / "train" / "metrics.json").is_file()
    assert not list(other.iterdir())
