import os

import pytest

from tests.helpers.sources import tree
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.images import nfc
from ultralytics.data.prepare import prepare_auto, prepare_classify
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError, UserError


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.jpg"))


def test_splits_of_the_source_are_kept(tmp_path):
    tree(tmp_path / "s", {f"{s}/{c}/{i}.jpg": None for s in ("train", "valid") for c in ("cat", "dog") for i in (1, 2)})
    spec = load_dataset(prepare_classify(tmp_path / "s", tmp_path / "o"))
    assert spec.names == {0: "cat", 1: "dog"}
    assert files(tmp_path / "o") == sorted(
        f"{s}/{c}/{i}.jpg" for s in ("train", "val") for c in ("cat", "dog") for i in (1, 2)
    )
    assert prepare_classify(tmp_path / "s", tmp_path / "o") == tmp_path / "o" / "data.yaml"
    with pytest.raises(ConfigError, match="its own val split"):
        prepare_classify(tmp_path / "s", tmp_path / "p", val=0.5)


def test_splits_are_drawn_of_each_class(tmp_path):
    tree(tmp_path / "s", {f"{c}/{i}.jpg": None for c in ("cat", "dog") for i in range(10)})
    for out in ("a", "b"):
        prepare_classify(tmp_path / "s", tmp_path / out, val=0.2, test=0.1)
    places = [f"{s}/{c}" for s in ("train", "val", "test") for c in ("cat", "dog")]
    counts = {place: len(list((tmp_path / "a" / place).iterdir())) for place in places}
    assert counts == {"train/cat": 7, "train/dog": 7, "val/cat": 2, "val/dog": 2, "test/cat": 1, "test/dog": 1}
    assert files(tmp_path / "a") == files(tmp_path / "b")
    with pytest.raises(DatasetError, match=r"no val images.*val=0\.2"):
        prepare_classify(tmp_path / "s", tmp_path / "c")
    assert load_dataset(prepare_auto(tmp_path / "s", tmp_path / "d", val=0.5)).task == "classify"


def test_images_that_cannot_be_used_are_left_out_and_names_stay_apart(tmp_path):
    names = ["train/cat/x/a.jpg", "train/cat/a.jpg", "train/cat/y/A.jpg", "train/dog/a.jpg", "val/cat/a.jpg"]
    names += ["train/dog/\u00e9.jpg", "train/dog/x/E\u0301.jpg"]
    tree(tmp_path / "s", {**dict.fromkeys(names), "val/dog/bad.jpg": "no image"})
    prepare_classify(tmp_path / "s", tmp_path / "o")
    assert len(files(tmp_path / "o")) == 7
    assert len({nfc(f.lower()) for f in files(tmp_path / "o")}) == 7
    assert "bad.jpg" in (tmp_path / "o" / "problems.txt").read_text()
    assert (tmp_path / "o/val/dog").is_dir()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.jpg", "b.jpg"], "no images in folders of classes"),
        (["train/a.jpg", "train/cat/b.jpg"], "no images in folders of classes"),
        (["cat/b.jpg"], "no images in folders of classes"),
        (["train/cat/a.jpg", "val/dog/a.jpg"], "train has no images of dog"),
    ],
)
def test_other_folders_are_one_line_and_leave_nothing(tmp_path, names, message):
    tree(tmp_path / "s", dict.fromkeys(names))
    with pytest.raises((DatasetError, MissingFileError), match=message):
        prepare_classify(tmp_path / "s", tmp_path / "o")
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    with pytest.raises(UserError):
        prepare_classify(tmp_path / "s", tmp_path / "s" / "o")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_and_what_is_passed_over_is_named(tmp_path):
    names = ["s/train/cat/a.jpg", "s/train/dog/b.jpg", "s/val/cat/c.jpg", "s/train/cat/.h.jpg", "s/train/.git/d.jpg"]
    tree(tmp_path, dict.fromkeys([*names, "far/cow/e.jpg", "far/f.jpg"]))
    train = tmp_path / "s" / "train"
    for link, target in {
        "cow": "../../far/cow", "kitten": "cat", "loop": ".", "gone": "nowhere", "self": "self", "dog/up": "..",
        "dog/far.jpg": "../../../far/f.jpg", "dog/lost.jpg": "nowhere.jpg",
    }.items():  # fmt: skip
        (train / link).symlink_to(target)
    (train / "dog" / "x.txt").touch()
    made = prepare_classify(tmp_path / "s", tmp_path / "o").parent
    assert files(made) == [
        *("train/cat/a.jpg", "train/cow/e.jpg", "train/dog/b.jpg", "train/dog/far.jpg", "train/kitten/a.jpg"),
        "val/cat/c.jpg",
    ]
    assert not [f for f in made.rglob("*") if f.is_symlink()]
    problems = (made / "problems.txt").read_text().splitlines()
    reported = [(line.partition(": ")[0].removeprefix(f"{train}/"), line.partition(": ")[2]) for line in problems]
    assert reported == [
        ("dog/lost.jpg", reported[0][1]),
        ("dog/x.txt", "1 file in class folders is not an image, passed over"),
        ("gone", "2 links that lead nowhere, passed over"),
        ("loop", "2 links that lead to folders that are read already, or hold them, passed over"),
    ]
