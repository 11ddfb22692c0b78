import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.cfg.config import KNOBS
from ultralytics.cfg.paths import STUDY_FOLDERS, bundled
from ultralytics.cli import main
from ultralytics.study.plan import FREE, Study, read_study
from ultralytics.utils.errors import UserError

STUDY = """\
name: mine
base: {data: toy/toy.yaml, imgsz: 64, lr0: 1e-3, cfg: small.yaml}
arms:
  plain:
    model: yolov8n.yaml
  fla:
    model: tiny-fla.yaml
    scale: n
    batch: 4
control: plain
seeds: 3
test: {split: test, max_det: 100}
"""


@pytest.fixture
def study(tmp_path, toy, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    (tmp_path / "small.yaml").write_text("epochs: 7\nbatch: 8\n", encoding="utf-8")
    file = tmp_path / "study.yaml"

    def read(text=STUDY, *replaced):
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")
        return read_study(file)

    return read


def test_a_run_is_the_base_with_its_arm_and_seed_upon_it(study, tmp_path):
    run = study().run("fla", 2)
    assert run.name == "fla-2"
    assert run.keys == {
        "epochs": 7, "batch": 4, "plots": False, "data": str(tmp_path / "toy/toy.yaml"), "imgsz": 64, "lr0": 1e-3,
        "model": str(tmp_path / "tiny-fla.yaml"), "model_scale": "n", "seed": 2,
    }  # fmt: skip
    assert run.test == {"split": "test", "max_det": 100}
    assert study().run("plain", 0).keys["batch"] == 8
    assert study().run("plain", 0).keys["model"] == "yolov8n.yaml"  # the bundled one


def test_an_arm_may_have_a_recipe_of_its_own(study, tmp_path):
    (tmp_path / "long.yaml").write_text("epochs: 9\ncos_lr: true\n", encoding="utf-8")
    made = study(STUDY, ("    batch: 4", "    cfg: long.yaml"))
    assert (made.run("fla", 0).keys["epochs"], made.run("plain", 0).keys["epochs"]) == (9, 7)
    assert {"model", "epochs", "cos_lr", "batch", "model_scale"} <= made.declared
    assert "imgsz" not in made.declared


@settings(max_examples=30)
@given(arms=st.integers(1, 6), seeds=st.integers(1, 7))
def test_every_beginning_of_a_study_is_balanced(arms, seeds):
    keys = {f"a{i}": {"model": "m.yaml"} for i in range(arms)}
    runs = Study(Path("s.yaml"), "s", {}, keys, "a0", list(range(seeds)), {}).runs()
    assert len({r.name for r in runs}) == arms * seeds
    for n in range(1, len(runs) + 1):
        counts = Counter(r.arm for r in runs[:n])
        assert max(counts.values()) - min(counts.get(a, 0) for a in keys) <= 1
    firsts = Counter(runs[i * arms].arm for i in range(seeds))
    assert max(firsts.values()) - min(firsts.get(a, 0) for a in keys) <= 1


def test_a_study_is_what_it_was_when_it_is_read_again(study, tmp_path):
    made = study()
    again = tmp_path / "elsewhere" / "study.yaml"
    again.parent.mkdir()
    again.write_text(made.yaml_text(), encoding="utf-8")
    assert read_study(again).runs() == made.runs()
    assert (read_study(again).control, read_study(again).name) == ("plain", "mine")


def test_seeds_are_a_number_or_a_list(study):
    assert study().seeds == [0, 1, 2]
    assert study(STUDY, ("seeds: 3", "seeds: [4, 2]")).seeds == [4, 2]
    assert study(STUDY, ("seeds: 3\n", "")).seeds == [0]
    assert study(STUDY, ("control: plain\n", "")).control == "plain"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("seeds: 3", "seads: 3", 11, "did you mean 'seeds'"),
        ("seeds: 3", "epochs: 3", 11, "base: {epochs: …}"),
        ("seeds: 3", "seeds: 0", 11, "different integers"),
        ("seeds: 3", "seeds: [1, 1]", 11, "different integers"),
        ("seeds: 3", "seeds: many", 11, "different integers"),
        ("control: plain", "control: plan", 10, "did you mean 'plain'"),
        ("    batch: 4", "    batsh: 4", 9, "did you mean 'batch'"),
        ("    batch: 4", "    batch: four", 9, "must be an integer"),
        ("    batch: 4", "    seed: 4", 9, "seeds"),
        ("    batch: 4", "    name: x", 9, "out=FOLDER"),
        ("    batch: 4", "    split: test", 9, "is a key of val"),
        ("    batch: 4", "    teacher: gone.pt", 9, ""),
        ("    batch: 4", "    pretrained: gone.pt", 9, "pretrained=gone.pt: no such weights file"),
        ("    batch: 4", "    cfg: gone.yaml", 9, "no such recipe"),
        ("    batch: 4", "    cfg: 3", 9, "cfg=3 must be a file"),
        ("model: tiny-fla.yaml", "model: tiny-fla2.yaml", 7, "no such model YAML"),
        ("max_det: 100", "model: best.pt", 12, "best weights"),
        ("max_det: 100", "epochs: 2", 12, "is a key of train"),
        ("  plain:\n    model: yolov8n.yaml", "  plain:\n    imgsz: 64", 4, "no model"),
        ("  fla:\n", "  a/b:\n", 6, "folder's name"),
        ("  fla:\n", "  Plain:\n", 6, "share a folder"),
        (
            "  plain:\n    model: yolov8n.yaml",
            "  \u00e9: {model: yolov8n.yaml}\n  E\u0301: {model: yolov8n.yaml}",
            5,
            "share a",
        ),
        ("data: toy/toy.yaml, ", "", 4, "no data"),
        ("name: mine", "name: ../x", 1, "folder's name"),
    ],
)
def test_a_mistake_is_named_with_its_line(study, old, new, line, message):
    with pytest.raises(UserError) as e:
        study(STUDY, (old, new))
    assert re.search(rf"study\.yaml, line {line}\b", str(e.value)), e.value
    assert message in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("text", ["", "[1]", "arms: 3", "arms: {}", "arms: {a: 3}", "base: 3\narms: {a: {}}", "a: ["])
def test_what_is_no_study_is_one_line(study, text):
    with pytest.raises(UserError) as e:
        study(text)
    assert "study.yaml" in str(e.value)


def test_free_keys_are_keys():
    assert set(FREE) <= set(KNOBS)


def test_the_command_names_what_is_missing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, message in (
        ([], "no study given"),
        (["cfg=gone.yaml"], "no such study"),
        (["cgf=a.yaml"], "did you mean 'cfg'"),
    ):
        assert main(["study", *words]) == 2
        assert message in capsys.readouterr().err


def test_every_bundled_study_is_read(tmp_path, monkeypatch):
    """With stand-ins of the files that its first lines ask for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yolov8n.pt").touch()
    (tmp_path / "data" / "cards").mkdir(parents=True)
    (tmp_path / "data" / "cards" / "data.yaml").touch()
    names = bundled(STUDY_FOLDERS)
    assert len(names) >= 4
    for name in names:
        study = read_study(name)
        assert study.control in study.arms
        assert name.startswith(study.name)
        assert name == "quick.yaml" or len(study.seeds) >= (7 if len(study.arms) > 2 else 6)  # else p cannot be low
