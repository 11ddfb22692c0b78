import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

import ultralytics
from ultralytics.cfg import paths
from ultralytics.cfg.dataset import DatasetSpec, load_dataset, mirrors
from ultralytics.cli import COMMANDS
from ultralytics.data.prepare.sources import default_out
from ultralytics.utils.errors import DatasetError, MissingFileError


def write(folder, text, name="data.yaml"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_paths_are_relative_to_the_yaml_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "我的 set" / "images" / "train").mkdir(parents=True)
    file = write(tmp_path / "我的 set", "train: images/train\nval: images/train\nnames: [a, b]\n")
    monkeypatch.chdir("/")
    spec = load_dataset(file)
    assert spec.split("train") == [tmp_path / "我的 set" / "images" / "train"]
    assert (spec.nc, spec.names) == (2, {0: "a", 1: "b"})
    moved = write(tmp_path / "yamls", "path: ../我的 set\ntrain: images/train\nval: images/train\nnc: 3\n")
    assert load_dataset(moved).split("val") == [tmp_path / "我的 set" / "images" / "train"]
    assert load_dataset(moved).names == {0: "class_0", 1: "class_1", 2: "class_2"}


def test_exported_archives_with_a_wrong_parent_are_understood(tmp_path):
    (tmp_path / "train" / "images").mkdir(parents=True)
    file = write(tmp_path, "train: ../train/images\nval: ../train/images\nnames: [a]\n")
    assert load_dataset(file).split("train") == [tmp_path / "train" / "images"]


def test_every_path_tried_is_named(tmp_path):
    file = write(tmp_path, "train: ../nowhere\nval: ../nowhere\nnames: [a]\nprepare: make it\n")
    with pytest.raises(DatasetError, match=r"nowhere.*nowhere.*make it out="):
        load_dataset(file).split("train")
    with pytest.raises(DatasetError, match=r"no split 'test'.*the splits are train, val"):
        load_dataset(file).split("test")
    with pytest.raises(MissingFileError, match=r"tried .*none\.yaml"):
        load_dataset(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: a\nval: b\n", "names no classes"),
        ("train: a\nnames: [x]\n", "'val' is missing"),
        ("train:\nval: a\nnames: [x]\n", "'train' has no value"),
        ("train: a\nval: b\nnames: [x]\nnc: 2\n", "nc is 2, but there is 1 name"),
        ("train: a\nval: b\nnames: {0: x, 2: y}\n", "ids 0 to 1"),
        ("train: a\nval: b\nnames: {x: 0}\n", "class ids"),
        ("train: a\nval: b\nnames: []\n", "names"),
        ("train: a\nval: b\nnc: 0\n", "1 or more"),
        ("train: a\nval: b\nnc: 99999999999\n", "too large"),
        ("- a\n", "mapping"),
        ("train: [a\n", r"data\.yaml, line \d"),
    ],
)
def test_a_wrong_yaml_is_told_in_one_line(tmp_path, text, message):
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_single_class_keeps_the_range_of_the_label_files(tmp_path):
    spec = load_dataset(write(tmp_path, "train: a\nval: b\nnames: [x, y, z]\n"))
    spec.merge_classes()
    assert (spec.nc, spec.label_nc, spec.names) == (1, 3, {0: "item"})


def test_the_bundled_yamls_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_dataset("shapes.yaml").nc == 6
    assert load_dataset("data/bccd.yaml").names[1] == "RBC"


def test_all_problems_of_a_yaml_can_be_had(tmp_path):
    problems = []
    spec = load_dataset(write(tmp_path, "train: a\nval:\nnames: [x, y]\nnc: 3\n"), problems)
    assert [e.what for e in problems] == ["the key 'val' has no value", "nc is 3, but there are 2 names"]
    assert (list(spec.splits), spec.names) == (["train"], {0: "x", 1: "y", 2: "class_2"})
    problems.clear()
    spec = load_dataset(write(tmp_path, "train: a\nval: b\nnames: {0: x, 2: z, 10000000: y}\n"), problems)
    assert (len(problems), spec.names) == (1, {0: "x", 1: "class_1", 2: "z"})
    with pytest.raises(DatasetError, match="zero byte"):
        load_dataset(write(tmp_path, 'train: [a, "\\0"]\nval: b\nnames: [x]\n'))


def test_the_command_for_a_missing_data_set_can_be_pasted(tmp_path):
    """As a shell reads it, and as the command line does."""
    folder = tmp_path / "my data's"
    shutil.copytree(Path(ultralytics.__file__).parents[1] / "data", folder, ignore=lambda d, names: set(names) - YAMLS)
    for name in sorted(YAMLS):
        spec = load_dataset(folder / name)
        with pytest.raises(DatasetError, match=r"the train images are missing; tried /") as caught:
            spec.split("train")
        command = re.search(
            r"make it with: (.*?)(; or with source=FOLDER instead of download=True)?\)$", str(caught.value)
        )[1]
        words = shlex.split(command)
        words[0:1] = ["python"]  # by whatever path
        assert words[:4] == ["python", "-m", "ultralytics", "prepare"]
        assert f"prepare {words[4]}" in COMMANDS
        downloads = ["download=True"] if "download" in COMMANDS[f"prepare {words[4]}"].knobs() else []
        assert words[5:] == [*downloads, f"out={spec.root}"]
        assert spec.root.name == default_out(words[4]).name
        header = (folder / name).read_text().split("path:")[0]
        assert f"{' '.join(words[:5])}" in header


def test_a_command_can_be_pasted_in_any_folder(tmp_path, monkeypatch):
    """Where nothing is installed, `python -m ultralytics` is found in the clone alone."""
    clone = tmp_path / "my clone"
    clone.mkdir()
    monkeypatch.setattr(paths, "CLONE", clone)
    monkeypatch.setattr(paths, "_is_installed", lambda: False)
    monkeypatch.chdir(clone)
    monkeypatch.setattr(paths, "_interpreter", lambda: "/my env/python")
    assert paths.program("prepare", "voc", "out=a b") == "'/my env/python' -m ultralytics prepare voc 'out=a b'"
    assert paths.program("prepare", "voc", anywhere=True) == f"'/my env/python' '{clone}/ultralytics' prepare voc"
    monkeypatch.chdir(tmp_path)
    assert paths.program("prepare", "voc") == f"'/my env/python' '{clone}/ultralytics' prepare voc"
    monkeypatch.setattr(paths, "_is_installed", lambda: True)
    assert paths.program("prepare", "voc") == "'/my env/python' -m ultralytics prepare voc"


def test_the_interpreter_in_use_is_named(tmp_path, monkeypatch):
    """`python` may be another one, which lacks what this one has, and may not be there at all."""
    monkeypatch.setattr("shutil.which", lambda name: sys.executable)
    assert paths.program("train").startswith("python ")
    monkeypatch.setattr("shutil.which", lambda name: str(tmp_path / name))
    assert shlex.split(paths.program("train"))[0] == sys.executable
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert shlex.split(paths.program("train"))[0] == sys.executable


def test_every_path_tried_is_told_once(tmp_path, monkeypatch):
    monkeypatch.chdir(paths.CLONE)
    with pytest.raises(MissingFileError) as caught:
        load_dataset("data/none-such.yaml")
    tried = re.search(r"tried (.*?)(?: \(|$)", str(caught.value))[1].split(", ")
    assert len(tried) == len(set(tried)) > 1


YAMLS = {"VOC.yaml", "coco.yaml", "coco128.yaml", "bccd.yaml", "visdrone.yaml", "shapes.yaml"}


SPELLED = (
    "off",
    "NO",
    "~",
    "010",
    "1:30",
    "1e3",
    "2024-01-01",
    "0x1F",
    ".5",
    "yes",
    "null",
    "1_000",
    ".inf",
    "-1",
    "y",
    "=",
)


def test_names_are_the_text_that_is_written(tmp_path):
    listed = "".join(f"- {s}\n" for s in SPELLED)
    mapped = "".join(f"  {i}: {s}\n" for i, s in enumerate(SPELLED))
    flow = ", ".join(SPELLED[:-1])
    for names, wanted in (
        (f"\n{listed}", SPELLED),
        (f"\n{mapped}", SPELLED),
        (f"[{flow}]", SPELLED[:-1]),
        ("['off', \"010\", 'it''s']", ("off", "010", "it's")),
        ("{0: off, '1': no, 02: on}", ("off", "no", "on")),
        ("&a [off]\nother: *a", ("off",)),
        ("[<<, =, +, '-', <, '>']", ("<<", "=", "+", "-", "<", ">")),  # signs of mathematics
    ):
        spec = load_dataset(write(tmp_path, f"train: a\nval: b\nnames: {names}\n"))
        assert tuple(spec.names.values()) == wanted
    merged = write(tmp_path, "base: &b {0: off, 1: x}\ntrain: a\nval: b\nnames:\n  <<: *b\n  1: no\n")
    assert load_dataset(merged).names == {0: "off", 1: "no"}


@pytest.mark.parametrize("names", ["", "[]", "{}"])
def test_a_yaml_that_names_no_class_says_so(tmp_path, names):
    with pytest.raises(DatasetError, match="the dataset names no classes"):
        load_dataset(write(tmp_path, f"train: a\nval: b\nnames: {names}\n"))


@pytest.mark.parametrize("val", ["", "val:\n"])
def test_without_a_val_split_the_command_that_draws_one_is_said(tmp_path, val):
    with pytest.raises(DatasetError, match="the key 'val' ") as error:
        load_dataset(write(tmp_path, f"train: a\n{val}names: [x]\n"))
    assert f"prepare yolo source={tmp_path} val=0.2 out=" in error.value.hint


def test_paths_are_the_text_that_is_written(tmp_path):
    for folder in ("2024_01_01/010", "2024_01_01/off"):
        (tmp_path / folder).mkdir(parents=True)
    spec = load_dataset(write(tmp_path, "path: 2024_01_01\ntrain: 010\nvalidation: [off, 010]\nnames: [a]\n"))
    assert spec.split("train") == [tmp_path / "2024_01_01/010"]
    assert spec.split("val") == [tmp_path / "2024_01_01/off", tmp_path / "2024_01_01/010"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: {0: a, 1: b, .inf: c}", r"class ids, not '\.inf'"),
        ("names: {0: a, 1.5: b}", r"class ids, not '1\.5'"),
        ("names: {0: a, true: b}", "class ids, not 'true'"),
        ("names: {0: a, 01: b, 1: c}", "class 1 is named twice: 'b' and 'c'"),
        ("names: {0: a, 1: }", "the name of class 1 is not written"),
        ("names: [a, [b, c]]", "the name of class 1 is a list or a mapping"),
        ("names: .nan", "names must be a list"),
        ("names: [a]\nnc: .inf", "nc: inf must be an integer"),
        ("names: [a]\nnc: [1]", r"nc: \[1\] must be an integer"),
        (f"names: [a]\nnc: {'9' * 5000}", "a number of 5,000 digits is too large"),
        ("names: [a]\ntest: {a: b}", "'test' must be a folder of images"),
        ("names: [a]\ntest: [[x]]", "'test' must be a folder of images"),
        ("names: [a]\npath: [x]", "'path' must be a folder"),
        ('names: [a]\ntest: "\\uD800"', "'test' holds a zero byte, or what is not text"),
        ('names: [a]\nvalidation: "\\0"', None),
        ("names: [a]\ntest: loop", None),
        ("names: [a]\nprepare: ' '", None),
        ("names: [a]\nkpt_shape: [17, 4]", r"kpt_shape: \[17, 4\] must be"),
        ("names: [a]\nkpt_shape: .inf", r"data\.yaml:4: kpt_shape: inf must be"),
        ("names: [a]\nkpt_shape: [0, 3]", r"kpt_shape: \[0, 3\] must be"),
        ("names: [a]\nkpt_shape: [2, 3]\nflip_idx: 1", r"data\.yaml:5: flip_idx: 1 must be a list"),
        ("names: [a]\nkpt_shape: [2, 3]\nflip_idx: [0, true]", r"flip_idx: \[0, True\] must be a list"),
        ("names: [a]\nkpt_shape: [2, 3]\nflip_idx: [1, 0, 2]", "flip_idx has 3 numbers, and kpt_shape has 2 points"),
        ("names: [a]\nkpt_shape: [2, 3]\nflip_idx: [0, 0]", r"flip_idx: \[0, 0\] must hold each of 0 to 1 once"),
        ("names: [a]\nflip_idx: [0, 1]", "kpt_shape is missing"),
        ("names: [a]\ntask: [x]", None),
    ],
)
def test_values_of_another_type_are_told_and_never_a_traceback(tmp_path, text, message):
    (tmp_path / "loop").symlink_to("loop")
    file = write(tmp_path, f"train: a\nval: b\n{text}\n")
    problems = []
    if message is None:
        spec = load_dataset(file, problems)
        for split in spec.splits:
            with pytest.raises(DatasetError, match="images are missing"):
                spec.split(split)
        return
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(file)
    assert "\n" not in str(caught.value)


def test_a_pose_datasets_rows_are_told(tmp_path):
    spec = load_dataset(write(tmp_path, "train: a\nval: b\nkpt_shape: [17, 3]\nnames: [person]\n"))
    assert (spec.kpt_shape, spec.keypoints, spec.flip_idx) == ((17, 3), 51, None)


def test_mirrored_points_and_the_task_are_told_and_survive_a_mapping(tmp_path):
    text = "train: a\nval: b\ntask: pose\nkpt_shape: [3, 2]\nflip_idx: [0, 2, 1]\nnames: [person]\n"
    spec = load_dataset(write(tmp_path, text))
    assert (spec.kpt_shape, spec.flip_idx, spec.task) == ((3, 2), (0, 2, 1), "pose")
    again = DatasetSpec.of(spec.to_dict())
    assert (again.kpt_shape, again.flip_idx, again.task) == (spec.kpt_shape, spec.flip_idx, spec.task)


def test_only_poses_need_to_know_their_mirror():
    assert mirrors(False, None)
    assert mirrors(True, (1, 0))
    assert not mirrors(True, None)


def test_a_mapping_of_a_script_has_the_rules_of_a_yaml():
    given = {"names": ["a"], "kpt_shape": [2, 3], "flip_idx": (1, 0)}
    assert DatasetSpec.of(given).flip_idx == (1, 0)
    for wrong, said in (((0, 0), "must hold each of 0 to 1 once"), ((1, 0, 2), "has 3 numbers")):
        with pytest.raises(DatasetError, match=said):
            DatasetSpec.of({**given, "flip_idx": wrong})
