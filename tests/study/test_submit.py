import os
import sys
import types
from pathlib import Path
from typing import ClassVar

import pytest

from ultralytics.cli import main
from ultralytics.study import submit
from ultralytics.utils.errors import ConfigError

CLONE = Path(__file__).resolve().parents[2]


class Executor:
    """What submitit's does, as far as it is used: it remembers."""

    made: ClassVar = []

    def __init__(self, folder, cluster):
        self.folder, self.cluster, self.asked, self.tasks, self.within = folder, cluster, {}, [], False
        self.made.append(self)

    def update_parameters(self, **asked):
        self.asked |= asked

    def batch(self):
        return self

    def __enter__(self):
        self.within = True

    def __exit__(self, *_):
        self.within = False

    def submit(self, task):
        assert self.within
        assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == str(CLONE)
        self.tasks.append(task)
        return types.SimpleNamespace(job_id=f"7_{len(self.tasks) - 1}")


@pytest.fixture
def cluster(tmp_path, toy, tiny, monkeypatch):
    Executor.made.clear()
    helpers = types.SimpleNamespace(DelayedSubmission=lambda task: ("again", task))
    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=Executor, helpers=helpers))
    monkeypatch.setitem(sys.modules, "submitit.helpers", helpers)
    file = tmp_path / "s.yaml"
    file.write_text(f"base: {{data: {toy}}}\narms: {{a: {{model: {tiny}}}}}\nseeds: 3\n", encoding="utf-8")
    return file


def test_as_many_tasks_as_runs_or_as_asked_for(cluster, tmp_path):
    before = os.environ.get("PYTHONPATH")
    assert submit.submit_study(cluster, tmp_path / "out", partition="big", gpus=2, hours=1.5) == ["7_0", "7_1", "7_2"]
    assert os.environ.get("PYTHONPATH") == before
    (made,) = Executor.made
    assert (made.folder, made.cluster) == (tmp_path / "out" / "tasks", "slurm")
    assert made.asked == {
        "name": "study-s", "timeout_min": 90, "slurm_array_parallelism": 3, "gpus_per_node": 2,
        "slurm_partition": "big",
    }  # fmt: skip
    assert set(made.tasks) == {submit.Task(str(cluster), str(tmp_path / "out"), True)}
    assert main(["study", f"cfg={cluster}", "submit=slurm", "jobs=2", "fair=False"]) == 0
    assert [t.fair for t in Executor.made[1].tasks] == [False, False]


def test_a_task_takes_runs_and_is_queued_again(cluster, monkeypatch):
    taken = []
    monkeypatch.setattr(submit, "run_study", lambda cfg, out, fair: taken.append((cfg, out, fair)) or [])
    task = submit.Task("s.yaml", "out", True)
    assert task() == ""
    assert taken == [("s.yaml", "out", True)]
    assert task.checkpoint() == ("again", task)


@pytest.mark.parametrize(
    ("keys", "message"),
    [({"cluster": "moon"}, "slurm"), ({"jobs": 0}, "jobs"), ({"gpus": -1}, "gpus"), ({"hours": 0}, "hours")],
)
def test_what_cannot_be_submitted_is_named(cluster, tmp_path, keys, message):
    with pytest.raises(ConfigError, match=message):
        submit.submit_study(cluster, tmp_path / "out", **keys)
    assert not Executor.made


def test_the_package_is_an_extra(cluster, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(["study", f"cfg={cluster}", "submit=slurm"]) == 2
    assert "pip install submitit" in capsys.readouterr().err
    for words, message in ((["submit=slurm", "devices=0"], "devices=0"), (["hours=2"], "submit=slurm")):
        assert main(["study", f"cfg={cluster}", *words]) == 2
        assert message in capsys.readouterr().err
