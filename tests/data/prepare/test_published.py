"""The published datasets in their own layouts, as miniatures: from folders, archives, and a local server."""

import http.server
import json
import shutil
import tarfile
import threading
import zipfile
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.sources import annotation, boxes_in, boxes_of, equal_boxes
from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.prepare import (
    names,
    prepare_bccd,
    prepare_coco,
    prepare_coco128,
    prepare_visdrone,
    prepare_voc,
    prepare_yolo,
    sources,
)
from ultralytics.data.prepare.voc import VOC_PARTS
from ultralytics.data.scan import scan
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError
from ultralytics.utils.fetch import Remote
from ultralytics.utils.images import imread, imwrite

CLONE = Path(__file__).resolve().parents[3]
DIFFICULT = "<difficult>1</difficult>"


def picture(path, h=50, w=100):
    imwrite(path, np.zeros((h, w, 3), np.uint8))


def devkit(top):
    """VOCdevkit as its three archives unpack: archive name → folder with VOCdevkit in it."""
    rng = np.random.default_rng(0)
    parts = {
        "VOCtrainval_06-Nov-2007.tar": (
            "VOC2007",
            {"train": ["000005"], "val": ["000007"], "trainval": ["000005", "000007"]},
        ),
        "VOCtest_06-Nov-2007.tar": ("VOC2007", {"test": ["000001", "000002"]}),
        "VOCtrainval_11-May-2012.tar": (
            "VOC2012",
            {"train": ["2008_000008"], "val": ["2008_000002"], "trainval": ["2008_000002", "2008_000008"]},
        ),
    }
    for archive, (year, lists) in parts.items():
        root = top / archive.removesuffix(".tar") / "VOCdevkit" / year
        for split, listed in lists.items():
            for name in listed:
                picture(root / "JPEGImages" / f"{name}.jpg", 37, 91)
                objects = []
                for i in range(3):
                    x1, y1 = int(rng.integers(1, 60)), int(rng.integers(1, 20))
                    x2 = x1 + 7.25 if year == "VOC2012" else x1 + int(rng.integers(1, 30))
                    cls = names.VOC[int(rng.integers(20))]
                    objects.append((cls, x1, y1, x2, y1 + 9, DIFFICULT if i == 2 else "<difficult>0</difficult>"))
                (root / "Annotations").mkdir(exist_ok=True)
                xml = annotation(objects, (91, 37), f"{name}.jpg", f"<folder>{year}</folder>")
                (root / "Annotations" / f"{name}.xml").write_text(xml)
            main = root / "ImageSets" / "Main"
            main.mkdir(parents=True, exist_ok=True)
            (main / f"{split}.txt").write_text("".join(f"{n}\n" for n in listed))
            (main / f"aeroplane_{split}.txt").write_text("".join(f"{n} -1\n" for n in listed))
        (root / "SegmentationClass").mkdir()
    return [top / a.removesuffix(".tar") for a in parts]


def tars(top, folders):
    top.mkdir()
    for folder in folders:
        with tarfile.open(top / f"{folder.name}.tar", "w") as tar:
            tar.add(folder / "VOCdevkit", "VOCdevkit")
    return top


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves tmp_path/served; `server(kind)` makes it the source of a published dataset, checksums included."""
    folder = tmp_path / "served"

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{httpd.server_port}"

    def publish(kind, wrong=False):
        remotes = []
        for remote in sources.PUBLISHED[kind]:
            data = (folder / remote.name).read_bytes()
            remotes.append(Remote(f"{url}/{remote.name}", len(data), md5(data + b"x" * wrong).hexdigest()))
        monkeypatch.setitem(sources.PUBLISHED, kind, tuple(remotes))
        return url

    yield publish
    httpd.shutdown()
    httpd.server_close()


def fits_bundled(made, name, monkeypatch):
    """The bundled YAML, beside the prepared folder, finds the same images and classes as the folder's own."""
    bundled = made.parent.parent / f"{name}.yaml"
    shutil.copyfile(CLONE / "data" / f"{name}.yaml", bundled)
    there, own = load_dataset(bundled), load_dataset(made)
    assert there.names == own.names
    assert {s: there.split(s) for s in there.splits} == {s: own.split(s) for s in own.splits}
    return own


def test_voc_from_a_server_in_its_published_layout(tmp_path, server, monkeypatch, log):
    folders = devkit(tmp_path / "kit")
    tars(tmp_path / "served", folders)
    url = server("voc")
    made = prepare_voc(out=tmp_path / "data" / "VOC", download=True)
    spec = fits_bundled(made, "VOC", monkeypatch)
    assert list(spec.names.values()) == list(names.VOC)
    assert spec.split("val") == spec.split("test")
    train = [b for f in (folders[0], folders[2]) for b in boxes_in(*year(f))]
    equal_boxes(boxes_of(made.parent, "train"), sorted(train))
    equal_boxes(boxes_of(made.parent, "test"), boxes_in(*year(folders[1])))
    assert len(scan(spec.split("test"), 20).ignored(0)) == 1
    manifest = json.loads((made.parent / "manifest.json").read_text())
    assert [s["url"] for s in manifest["sources"]] == [f"{url}/{f.name}.tar" for f in folders]
    assert manifest["splits"] == {"train": 4, "test": 2}
    assert manifest["ignored"] == 6
    assert str(tmp_path / "data" / "downloads") in log.text
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["VOC", "VOC.yaml", "downloads"]
    shutil.rmtree(tmp_path / "data" / "downloads")
    assert prepare_voc(out=tmp_path / "data" / "VOC", download=True) == made  # nothing is fetched for nothing
    assert not (tmp_path / "data" / "downloads").exists()


def year(folder):
    [root] = (folder / "VOCdevkit").iterdir()
    return root, [p.stem for p in (root / "Annotations").iterdir()]


def test_a_wrong_checksum_leaves_nothing(tmp_path, server):
    tars(tmp_path / "served", devkit(tmp_path / "kit"))
    server("voc", wrong=True)
    with pytest.raises(UserError) as caught:
        prepare_voc(out=tmp_path / "data" / "VOC", download=True)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_mirror_is_asked_instead(tmp_path, server, monkeypatch):
    tars(tmp_path / "served", devkit(tmp_path / "kit"))
    url = server("voc")
    gone = tuple(
        Remote(r.url.replace("127.0.0.1", "127.0.0.1:1/gone", 1), r.size, r.md5) for r in sources.PUBLISHED["voc"]
    )
    monkeypatch.setitem(sources.PUBLISHED, "voc", gone)
    assert prepare_voc(out=tmp_path / "data" / "VOC", download=True, mirror=f"{url}/").is_file()


@pytest.mark.parametrize("packed", [True, False])
def test_voc_from_local_archives_or_folders(tmp_path, packed, log):
    folders = devkit(tmp_path / "kit")
    source = tars(tmp_path / "tars", folders) if packed else tmp_path / "joined"
    if not packed:
        for folder in folders:
            shutil.copytree(folder, source, dirs_exist_ok=True)
    made = prepare_voc(source, tmp_path / "out", images="link")
    assert {s: len(list(p.iterdir())) for s in ("train", "test") for p in load_dataset(made).split(s)} == {
        "train": 4,
        "test": 2,
    }
    assert ("its checksum is not that of the published archive" in log.text) == packed
    assert "missing" not in log.text


@pytest.mark.parametrize(
    ("parts", "counts", "words"),
    [
        ((0, 1), {"train": 2, "val": 2, "test": 2}, "missing: VOC2012 trainval; train is VOC2007 trainval alone"),
        ((1, 2), {"train": 2, "val": 2, "test": 2}, "missing: VOC2007 trainval; train is VOC2012 trainval alone"),
        ((0, 2), {"train": 2, "val": 2}, "missing: VOC2007 test; train and val are the train and val lists"),
        ((2,), {"train": 1, "val": 1}, "missing: VOC2007 trainval, VOC2007 test; train and val are"),
    ],
)
def test_parts_of_voc_that_are_missing_are_told(tmp_path, log, parts, counts, words):
    folders = devkit(tmp_path / "kit")
    spec = load_dataset(prepare_voc(tars(tmp_path / "tars", [folders[i] for i in parts]), tmp_path / "out"))
    assert {s: len(scan(spec.split(s), 20)) for s in spec.splits} == counts
    assert words in log.text


@pytest.mark.parametrize("packed", [True, False])
def test_a_part_of_voc_is_not_taken_for_the_whole(tmp_path, log, packed):
    folders = devkit(tmp_path / "kit")
    some, whole = (tmp_path / name for name in ("some", "whole"))
    for place, parts in ((some, folders[:1]), (whole, folders)):
        if packed:
            tars(place, parts)
        else:
            for folder in parts:
                shutil.copytree(folder, place, dirs_exist_ok=True)
    out = tmp_path / "data" / "VOC"
    made = prepare_voc(some, out)
    assert prepare_voc(some, out) == made
    lacks = "made without VOC2007 test and VOC2012 trainval [(]choose another out=, or remove it"
    # Neither the whole source, nor the command that data/VOC.yaml tells, nor a download says that all is there.
    for keys in ({"source": whole}, {}, {"download": True}):
        with pytest.raises(UserError, match=lacks):
            prepare_voc(**keys, out=out)
    shutil.rmtree(out)
    assert prepare_voc(whole, out) == made
    assert prepare_voc(whole, out) == made == prepare_voc(out=out)
    with pytest.raises(UserError, match="made with VOC2007 test and VOC2012 trainval too"):
        prepare_voc(some, out)
    assert json.loads((out / "manifest.json").read_text())["options"]["parts"] == list(VOC_PARTS)


def test_voc_without_a_training_part_is_refused(tmp_path):
    folders = devkit(tmp_path / "kit")
    with pytest.raises(MissingFileError, match="neither VOC2007 trainval nor VOC2012 trainval"):
        prepare_voc(tars(tmp_path / "tars", folders[1:2]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (
            prepare_voc,
            ("VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar", "VOCtrainval_11-May-2012.tar", "(2.9 GB)"),
        ),
        (prepare_coco, ("train2017.zip", "val2017.zip", "annotations_trainval2017.zip", "(20.4 GB)")),
        (prepare_coco128, ("coco128.zip",)),
        (prepare_bccd, ("BCCD_Dataset",)),
        (prepare_visdrone, ("VisDrone2019-DET-train.zip", "VisDrone2019-DET-val.zip", "VisDrone2019-DET-test-dev.zip")),
    ],
)
def test_what_is_needed_is_told_and_nothing_is_fetched(tmp_path, prepare, words):
    with pytest.raises(UserError) as caught:
        prepare(out=tmp_path / "out")
    for word in (*words, "download=True", "source="):
        assert word in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_every_published_archive_has_a_name_and_plausible_checksums():
    for remotes in sources.PUBLISHED.values():
        for remote in remotes:
            assert remote.name
            assert len(remote.md5) in (0, 32)
            assert len(remote.sha256) in (0, 64)


def instances(images, annotations, categories):
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def coco_parts(top):
    """COCO 2017 as its three archives unpack."""
    categories = [{"id": i, "name": n} for i, n in zip(names.COCO_IDS, names.COCO, strict=True)]
    (top / "annotations").mkdir(parents=True)
    for split, count in (("train", 3), ("val", 2)):
        images, annotations = [], []
        for i in range(count):
            number = i + (10 if split == "val" else 1)
            picture(top / f"{split}2017" / f"{number:012d}.jpg")
            images.append({"id": number, "file_name": f"{number:012d}.jpg", "width": 100, "height": 50})
            for k, (category, crowd) in enumerate(((90, 0), (1, 1), (44, 0))):
                annotations.append(
                    {
                        "id": len(annotations) + 1, "image_id": number, "category_id": category, "iscrowd": crowd,
                        "bbox": [10.5 + k, 5.25, 20.01, 30.5], "area": 1.0, "segmentation": [],
                    }
                )  # fmt: skip
        (top / "annotations" / f"instances_{split}2017.json").write_text(
            json.dumps(instances(images, annotations, categories))
        )
        (top / "annotations" / f"captions_{split}2017.json").write_text("{}")
    return top


def zips(top, source, parts):
    top.mkdir(exist_ok=True)
    for name, folder in parts.items():
        with zipfile.ZipFile(top / name, "w") as archive:
            for file in sorted((source / folder).rglob("*")):
                archive.write(file, file.relative_to(source))
    return top


COCO_ZIPS = {"train2017.zip": "train2017", "val2017.zip": "val2017", "annotations_trainval2017.zip": "annotations"}


@pytest.mark.parametrize("how", ["folders", "zips", "server"])
def test_coco_in_its_published_layout(tmp_path, server, monkeypatch, how):
    source = coco_parts(tmp_path / "parts")
    out = tmp_path / "data" / "coco"
    if how == "folders":
        made = prepare_coco(source, out, "link")
    else:
        served = zips(tmp_path / "served", source, COCO_ZIPS)
        if how == "server":
            server("coco")
        made = prepare_coco(served, out) if how == "zips" else prepare_coco(out=out, download=True)
    spec = fits_bundled(made, "coco", monkeypatch)
    assert list(spec.names.values()) == list(names.COCO)
    labels = scan(spec.split("train"), 80)
    assert len(labels) == 3
    assert labels.cls[:2].tolist() == [79, 39]  # toothbrush, bottle: ids 90 and 44
    np.testing.assert_allclose(labels.boxes(0)[1][0] * [100, 50, 100, 50], [20.505, 20.5, 20.01, 30.5], rtol=1e-6)
    [[cls, *_, crowd]] = labels.ignored(0)
    assert (cls, crowd) == (0, 1)


def test_coco128_in_its_published_layout(tmp_path, server, monkeypatch, log):
    top = tmp_path / "parts" / "coco128"
    for i in range(3):
        picture(top / "images" / "train2017" / f"{i:012d}.jpg")
    (top / "labels" / "train2017").mkdir(parents=True)
    (top / "labels" / "train2017" / f"{1:012d}.txt").write_text("45 0.479492 0.688771 0.955609 0.5955\n")
    (top / "README.txt").write_text("")
    zips(tmp_path / "served", tmp_path / "parts", {"coco128.zip": "coco128"})
    server("coco128")
    made = prepare_coco128(out=tmp_path / "data" / "coco128", download=True)
    spec = fits_bundled(made, "coco128", monkeypatch)
    labels = scan(spec.split("train"), 80)
    assert (len(labels), labels.cls.tolist()) == (3, [45])
    assert spec.split("val") == spec.split("train")
    assert (made.parent / "labels" / "train" / f"{0:012d}.txt").read_text() == ""
    assert prepare_coco128(tmp_path / "parts" / "coco128", tmp_path / "again").is_file()


def test_bccd_from_an_archive_of_its_repository(tmp_path, server, monkeypatch):
    root = tmp_path / "parts" / "BCCD_Dataset-master" / "BCCD"
    lists = {"train": ["a"], "val": ["b"], "test": ["c"]}
    for split, listed in lists.items():
        for name, cls in zip(listed, ("RBC", "WBC", "Platelets"), strict=False):
            picture(root / "JPEGImages" / f"{name}.jpg")
            (root / "Annotations").mkdir(exist_ok=True)
            (root / "Annotations" / f"{name}.xml").write_text(annotation([(cls, 1, 1, 9, 9, "")]))
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(listed))
    zips(tmp_path / "served", tmp_path / "parts", {"master.zip": "BCCD_Dataset-master"})
    server("bccd")
    made = prepare_bccd(out=tmp_path / "data" / "bccd", download=True)
    fits_bundled(made, "bccd", monkeypatch)
    for i, source in enumerate((root, root.parent, tmp_path / "served" / "master.zip")):
        again = prepare_bccd(source, tmp_path / f"{i}")
        hashes = [json.loads((m.parent / "manifest.json").read_text())["hash"] for m in (made, again)]
        assert hashes[0] == hashes[1]


def visdrone_parts(top):
    rows = (
        "10,5,20,10,1,1,0,0\n"  # pedestrian
        "30,5,20,10,1,10,0,1\n"  # motor
        "50,5,20,10,0,0,0,0\n"  # ignored region
        "70,5,20,10,1,11,0,0\n"  # others
        "1,30,20,10,0,4,0,0\n"  # a car that is not scored
        "80,30,40,10,1,4,0,0,\n"  # beyond the picture; a comma at the end
        "1,1,0,5,1,4,0,0\n"
        "1,1,5,5,1,12,0,0\n"
        "1,1,x\n"
    )
    for split in ("train", "val", "test-dev"):
        for i in range(2):
            picture(top / f"VisDrone2019-DET-{split}" / "images" / f"{i:07d}.jpg")
            (top / f"VisDrone2019-DET-{split}" / "annotations").mkdir(exist_ok=True)
            (top / f"VisDrone2019-DET-{split}" / "annotations" / f"{i:07d}.txt").write_text(rows if not i else "")
    return top


@pytest.mark.parametrize("how", ["folders", "server", "one"])
def test_visdrone_in_its_published_layout(tmp_path, server, monkeypatch, log, how):
    source = visdrone_parts(tmp_path / "parts")
    out = tmp_path / "data" / "visdrone"
    if how == "folders":
        made = prepare_visdrone(source, out)
    elif how == "one":
        made = prepare_visdrone(source / "VisDrone2019-DET-val", out)
        assert "missing: VisDrone2019-DET-train, VisDrone2019-DET-test-dev" in log.text
        assert "are both train and val" in log.text
    else:
        parts = {f"VisDrone2019-DET-{s}.zip": f"VisDrone2019-DET-{s}" for s in ("train", "val", "test-dev")}
        zips(tmp_path / "served", source, parts)
        server("visdrone")
        made = prepare_visdrone(out=out, download=True)
    spec = load_dataset(made) if how == "one" else fits_bundled(made, "visdrone", monkeypatch)
    labels = scan(spec.split("val"), 10)
    assert labels.cls.tolist() == [0, 9, 3]
    np.testing.assert_allclose(labels.bboxes[2] * [100, 50, 100, 50], [90, 35, 20, 10], rtol=1e-6)
    ignored = labels.ignored(0)
    assert ignored[:, 0].tolist() == [-1, -1, -1]
    assert ignored[:, 5].tolist() == [1, 1, 1]
    for words in (
        "0000000.txt:7: the box has no area",
        "0000000.txt:8: there is no category 12",
        "0000000.txt:9: a row is",
    ):
        assert words in log.text


def test_a_failed_conversion_leaves_nothing(tmp_path, monkeypatch):
    source = visdrone_parts(tmp_path / "parts")
    monkeypatch.setattr(
        "ultralytics.data.prepare.write.place_image", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        prepare_visdrone(source, tmp_path / "data" / "visdrone")
    assert not list((tmp_path / "data").iterdir())
    assert imread(source / "VisDrone2019-DET-val" / "images" / "0000000.jpg") is not None


def test_a_split_of_a_published_set_is_not_taken_for_the_whole(tmp_path):
    whole = coco_parts(tmp_path / "coco")
    some = tmp_path / "some"
    shutil.copytree(whole, some, ignore=shutil.ignore_patterns("*train2017*"))
    out = tmp_path / "data" / "coco"
    made = prepare_coco(some, out)
    assert prepare_coco(some, out) == made
    for source in (whole, None):
        with pytest.raises(UserError, match=r"made without train [(]choose"):
            prepare_coco(source, out)
    shutil.rmtree(out)
    assert prepare_coco(whole, out) == made == prepare_coco(out=out)

    whole, out = visdrone_parts(tmp_path / "drone"), tmp_path / "data" / "visdrone"
    made = prepare_visdrone(whole / "VisDrone2019-DET-val", out)
    assert prepare_visdrone(whole / "VisDrone2019-DET-val", out) == made
    for source in (whole, None):
        with pytest.raises(UserError, match=r"made without train and test [(]choose"):
            prepare_visdrone(source, out)
    odd = zips(tmp_path / "zips", whole, {"mine.zip": "VisDrone2019-DET-val"}) / "mine.zip"
    for _ in range(2):
        assert prepare_visdrone(odd, tmp_path / "odd").is_file()


def test_a_source_that_is_not_there_is_told_first(tmp_path):
    made = {
        prepare_voc: prepare_voc(tars(tmp_path / "tars", devkit(tmp_path / "kit")), tmp_path / "voc"),
        prepare_coco: prepare_coco(coco_parts(tmp_path / "coco"), tmp_path / "coco2"),
        prepare_visdrone: prepare_visdrone(visdrone_parts(tmp_path / "drone"), tmp_path / "visdrone"),
    }
    for prepare, yaml in made.items():
        with pytest.raises(MissingFileError, match="there is no such source"):
            prepare(tmp_path / "gone", yaml.parent)


def test_nothing_is_made_inside_its_source(tmp_path):
    """The next run would take it for a part of the source."""
    drone, coco = visdrone_parts(tmp_path / "drone"), coco_parts(tmp_path / "coco")
    kit = devkit(tmp_path / "kit")[0]
    picture(tmp_path / "yolo" / "images" / "a.jpg")
    (tmp_path / "yolo" / "labels").mkdir()
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5")
    listed = tmp_path / "listed.yaml"
    listed.write_text("train: yolo/images\nval: yolo/images\nnames: [a]\n")
    (tmp_path / "link").symlink_to(tmp_path / "yolo", target_is_directory=True)
    one = coco / "annotations" / "instances_val2017.json"
    for call in (
        lambda: prepare_yolo(tmp_path / "yolo", tmp_path / "yolo" / "out"),
        lambda: prepare_yolo(tmp_path / "yolo", tmp_path / "link" / "out"),
        lambda: prepare_yolo(listed, tmp_path / "yolo" / "images" / "out"),
        lambda: prepare_coco128(tmp_path / "yolo", tmp_path / "yolo" / "images" / "out"),
        lambda: prepare_voc(kit, kit / "out"),
        lambda: prepare_voc(kit / "VOCdevkit" / "VOC2007", kit / "VOCdevkit" / "VOC2007" / "JPEGImages" / "out"),
        lambda: prepare_bccd(kit / "VOCdevkit" / "VOC2007", kit / "VOCdevkit" / "VOC2007" / "out"),
        lambda: prepare_visdrone(drone, drone / "out"),
        lambda: prepare_coco(coco, coco / "out"),
        lambda: prepare_coco(one, coco / "val2017" / "out", coco / "val2017"),
    ):
        with pytest.raises(ConfigError, match="this is inside the source"):
            call()
    assert not list(tmp_path.rglob("*.making")) + list(tmp_path.rglob("out"))
    assert prepare_yolo(listed, tmp_path / "yolo" / "out").is_file()  # beside the images that are read
