import numpy as np
import pytest

from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.labels import scan
from ultralytics.data.prepare import prepare_voc
from ultralytics.utils.errors import ConfigError, DatasetError, MissingFileError, UserError
from ultralytics.utils.images import imwrite


def voc(root, objects, splits):
    """A VOC folder: image name → [(class, xmin, ymin, xmax, ymax, difficult)]; images are 100×50."""
    for name, found in objects.items():
        imwrite(root / "JPEGImages" / f"{name}.jpg", np.zeros((50, 100, 3), np.uint8))
        body = "".join(
            f"<object><name>{c}</name><difficult>{d}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for c, x1, y1, x2, y2, d in found
        )
        (root / "Annotations").mkdir(parents=True, exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{body}</annotation>")
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
    return root


def test_boxes_splits_and_classes_are_kept(tmp_path):
    source = voc(
        tmp_path / "voc",
        {"a": [("dog", 1, 1, 100, 50, 0), ("cat", 11, 6, 20, 15, 0)], "b": [("cat", 1, 1, 10, 10, 1)], "c": []},
        {"train": ["a"], "val": ["b 1", "c"]},
    )
    spec = load_dataset(prepare_voc(source, tmp_path / "out"))
    assert spec.names == {0: "cat", 1: "dog"}
    assert list(spec.splits) == ["train", "val"]
    train = scan(spec.split("train"), 2)
    np.testing.assert_allclose(train.bboxes, [[0.5, 0.5, 1, 1], [0.15, 0.2, 0.1, 0.2]], atol=1e-6)
    assert train.cls.tolist() == [1, 0]
    val = scan(spec.split("val"), 2)
    assert len(val) == 2
    assert len(val.cls) == 0  # difficult objects are left out
    prepare_voc(source, tmp_path / "named", ["dog", "cat"])
    assert load_dataset(tmp_path / "named" / "data.yaml").names == {0: "dog", 1: "cat"}


def test_problems_are_named_and_the_rest_goes_on(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    source = voc(
        tmp_path / "voc",
        {"a": [("dog", 5, 5, 20, 20, 0), ("dog", 20, 20, 5, 5, 0)], "bad": [("dog", 1, 1, 9, 9, 0)], "v": []},
        {"train": ["a", "bad", "gone"], "val": ["v"]},
    )
    (source / "Annotations" / "bad.xml").write_text("<annotation>\n<object>")
    prepare_voc(source, tmp_path / "out")
    for words in ("bad.xml:2: not valid XML", "gone.*: there is no such image", "object 2 (dog) has no usable box"):
        assert words in caplog.text
    assert len(list((tmp_path / "out" / "images" / "train").iterdir())) == 1


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(MissingFileError, match="Annotations"):
        prepare_voc(tmp_path, tmp_path / "out")
    source = voc(tmp_path / "voc", {"a": [("dog", 1, 1, 9, 9, 0)]}, {"train": ["a"]})
    with pytest.raises(DatasetError, match="the val split is missing"):
        prepare_voc(source, tmp_path / "out")
    voc(source, {}, {"val": ["a"]})
    with pytest.raises(ConfigError, match="names lacks dog"):
        prepare_voc(source, tmp_path / "out", ["cat"])
    with pytest.raises(ConfigError, match="source itself"):
        prepare_voc(source, source)


def test_blood_cells_keep_their_splits(shared, tmp_path):
    source = shared / "data" / "bccd"
    if not source.is_dir():
        pytest.skip(f"BCCD is not here ({source})")
    spec = load_dataset(prepare_voc(source, tmp_path))
    assert list(spec.names.values()) == ["Platelets", "RBC", "WBC"]
    counts = {s: len(list(p.iterdir())) for s in spec.splits for p in spec.split(s)}
    assert counts == {"train": 205, "val": 87, "test": 72}
    labels = [scan(spec.split(s), 3) for s in spec.splits]
    assert np.bincount(np.concatenate([x.cls for x in labels]).astype(int)).tolist() == [361, 4155, 372]


def test_a_full_disk_names_the_copy_and_not_the_source(tmp_path):
    resource = pytest.importorskip("resource")
    source = voc(tmp_path / "voc", {n: [("a", 1, 1, 50, 50, 0)] for n in "xy"}, {"train": ["x"], "val": ["y"]})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
    try:
        with pytest.raises(UserError, match=r"out/images/train/x\.jpg: could not be written: File too large"):
            prepare_voc(source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
