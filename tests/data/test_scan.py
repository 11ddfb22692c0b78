"""Images and labels of a split: what is kept, what is named, what is remembered."""

import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ultralytics.cfg.paths import PACKAGE
from ultralytics.data import scan as scan_module
from ultralytics.data.cache import scan as scan_cache
from ultralytics.data.images import list_images
from ultralytics.data.labels import RowForm, ignore_file, parse_labels
from ultralytics.data.scan import scan
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.images import imwrite


def picture(folder, name, rows=None, size=(40, 60)):
    """An image, and its label file when `rows` is given."""
    rng = np.random.default_rng(len(name))
    file = folder / "images" / name
    imwrite(file, rng.integers(0, 255, (*size, 3), np.uint8))
    if rows is not None:
        label = folder / "labels" / (file.stem + ".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(rows, encoding="utf-8")
    return file


def test_rows_become_arrays(tmp_path):
    picture(tmp_path, "a.jpg", "0 .5 .5 .2 .2\n1 0.1 0.1 0.1 0.1\n\n")
    picture(tmp_path, "空 格.png", "2 .5 .5 1 1\n", size=(32, 20))
    picture(tmp_path, "b.jpg")
    picture(tmp_path, "c.jpg", "")
    labels = scan([tmp_path / "images"], nc=3)
    assert [f.rsplit("/", 1)[1] for f in labels.im_files] == ["a.jpg", "b.jpg", "c.jpg", "空 格.png"]
    assert labels.offsets.tolist() == [0, 2, 2, 2, 3]
    assert labels.shapes.tolist()[3] == [32, 20]
    assert labels.boxes(3)[0].tolist() == [2]
    assert labels.left_out == 0
    assert not labels.problems
    taken = labels.take([3, 0])
    assert taken.cls.tolist() == [2, 0, 1]
    kept = labels.keep_classes([1])
    assert kept.offsets.tolist() == [0, 1, 1, 1, 1]
    assert len(kept) == 4


def test_a_bad_image_or_label_is_left_out_and_named(tmp_path):
    picture(tmp_path, "good.jpg", "0 .5 .5 .2 .2\n")
    picture(tmp_path, "word.jpg", "0 .5 .5 .2 .2\n0 .5 five .2 .2\n")
    picture(tmp_path, "pixel.jpg", "0 12 20 5 5\n")
    picture(tmp_path, "columns.jpg", "0 .5 .5 .2\n")
    picture(tmp_path, "double.jpg", "0 .5 .5 .2 .2\n0 .5 .5 .2 .2\n0 .5 .5 0 .2\n")
    picture(tmp_path, "tiny.png", size=(4, 40))
    (tmp_path / "images" / "empty.jpg").write_bytes(b"")
    (tmp_path / "images" / "text.jpg").write_text("no picture")
    whole = picture(tmp_path, "cut.jpg", size=(200, 200)).read_bytes()
    (tmp_path / "images" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    labels = scan([tmp_path / "images"], nc=1)
    assert [f.rsplit("/", 1)[1] for f in labels.im_files] == ["double.jpg", "good.jpg"]
    assert labels.left_out == 7
    assert labels.offsets.tolist() == [0, 1, 2]
    message = "\n".join(labels.problems)
    for words in (
        "word.txt:2: 'five' is not a number", "pixel.txt:1: the coordinate 12 is outside", "columns.txt:1: 4 columns",
        "double.txt:2: a duplicate of an earlier row; the row is dropped", "double.txt:3: the box has no area",
        "tiny.png: 40x4 pixels",
        "empty.jpg: the file is empty", "text.jpg: cannot be decoded", "cut.jpg: the JPEG is cut off",
    ):  # fmt: skip
        assert words in message


def test_where_all_problems_are_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    picture(tmp_path, "good.jpg", "0 .5 .5 .2 .2\n" + "0 .5 .5 0 .2\n" * 12)
    scan([tmp_path / "images"], 1, yaml_file=tmp_path / "my data.yaml")
    [line] = {r.getMessage() for r in caplog.records if "… and" in r.getMessage()}
    assert line.startswith("  … and 2 more; all of them: ")
    assert line.endswith(f"-m ultralytics check-data 'data={tmp_path}/my data.yaml'")


def test_a_class_id_out_of_range_stops_the_run(tmp_path):
    picture(tmp_path, "a.jpg", "0 .5 .5 .2 .2\n3 .5 .5 .1 .1\n")
    with pytest.raises(DatasetError, match=r"a\.txt:2.*class id 3.*valid: 0 to 2"):
        scan([tmp_path / "images"], nc=3)


def test_nothing_usable_stops_the_run(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DatasetError, match="there are no images"):
        scan([tmp_path / "images"], nc=1)
    (tmp_path / "images" / "x.jpg").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"none of the 1 images can be used.*x\.jpg"):
        scan([tmp_path / "images"], nc=1)


def test_every_kind_of_picture_is_read(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (40, 50), np.uint8)
    cv2.imwrite(str(folder / "grey.png"), grey)
    cv2.imwrite(str(folder / "deep.png"), rng.integers(0, 65535, (40, 50, 3)).astype(np.uint16))
    Image.fromarray(grey).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(grey).convert("P").save(folder / "palette.png")
    Image.fromarray(np.dstack([grey] * 4)).save(folder / "alpha.png")
    upright = Image.fromarray(grey).convert("RGB")
    exif = upright.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    upright.save(folder / "turned.jpg", exif=exif)
    labels = scan([folder], nc=1)
    shapes = {f.rsplit("/", 1)[1]: s for f, s in zip(labels.im_files, labels.shapes.tolist(), strict=True)}
    assert shapes.pop("turned.jpg") == [50, 40]
    assert shapes == {n: [40, 50] for n in ("grey.png", "deep.png", "cmyk.jpg", "palette.png", "alpha.png")}


def test_lists_and_fractions(tmp_path):
    files = [picture(tmp_path, f"{i}.jpg") for i in range(10)]
    (tmp_path / "list.txt").write_text("images/3.jpg\n./images/1.jpg\n")
    assert [f.rsplit("/", 1)[1] for f in list_images([tmp_path / "list.txt"])] == ["1.jpg", "3.jpg"]
    assert len(list_images([tmp_path / "list.txt", files[5]])) == 3
    assert len(scan([tmp_path / "images"], nc=1, fraction=0.3)) == 3
    assert len(scan([tmp_path / "images"], nc=1, fraction=0.0)) == 1


def test_ignored_regions_are_read_beside_the_labels(tmp_path):
    picture(tmp_path, "a.jpg", "0 .5 .5 .2 .2\n")
    picture(tmp_path, "b.jpg", "1 .5 .5 .2 .2\n")
    (tmp_path / "ignore").mkdir()
    (tmp_path / "ignore" / "b.txt").write_text("1 .2 .2 .1 .1\n* .5 .5 1 1 crowd\n0 .5 .5 .1\n")
    for _ in range(2):  # the second time from memory
        labels = scan([tmp_path / "images"], nc=2)
        assert labels.ignored(0).shape == (0, 6)
        np.testing.assert_allclose(labels.ignored(1), [[1, 0.2, 0.2, 0.1, 0.1, 0], [-1, 0.5, 0.5, 1, 1, 1]])
        assert "ignore/b.txt:3: 4 columns" in labels.problems[0]
    assert labels.keep_classes([0]).ignored(1)[:, 0].tolist() == [-1]
    assert labels.take([1, 0]).ignored(0).shape == (2, 6)
    labels.merge_classes()
    assert labels.ignored(1)[:, 0].tolist() == [0, -1]
    assert ignore_file("/images/a/images/b/c.d.jpg") == "/images/a/ignore/b/c.d.txt"
    assert ignore_file("/pictures/c.jpg") is None


def test_outlines_of_ignored_regions_follow_them(tmp_path):
    """Where objects have polygons; the set's digest is of them too, that of boxes is what it was."""
    polygon = ".1 .1 .4 .1 .4 .3"
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path, name, f"0 {polygon}\n")
    (tmp_path / "ignore").mkdir()
    file = tmp_path / "ignore" / "b.txt"
    file.write_text(f"1 .2 .2 .1 .1\n* {polygon} crowd\n0 .5 .5 .9 .5 .9 .9 .5 .9\n")
    for _ in range(2):  # the second time from memory
        labels = scan([tmp_path / "images"], nc=2, annotations="polygons")
        assert [labels.outlines_of(i).counts.tolist() for i in (0, 1)] == [[], [0, 3, 4]]
        np.testing.assert_allclose(labels.outlines_of(1).one(1), [[0.1, 0.1], [0.4, 0.1], [0.4, 0.3]], atol=1e-7)
    assert labels.keep_classes([1]).outlines_of(1).counts.tolist() == [0, 3]
    assert labels.take([1, 0]).outlines_of(0).counts.tolist() == [0, 3, 4]
    boxes = scan([tmp_path / "images"], nc=2)
    assert boxes.outlines_of(1) is None
    file.write_text(f"1 .2 .2 .1 .1\n* {polygon} .1 .2 crowd\n0 .5 .5 .9 .5 .9 .9 .5 .9\n")
    assert scan([tmp_path / "images"], nc=2).digest == boxes.digest
    assert scan([tmp_path / "images"], nc=2, annotations="polygons").digest != labels.digest


def test_bytes_that_are_no_text_are_named(tmp_path):
    picture(tmp_path, "b.jpg")
    picture(tmp_path, "a.jpg", "")
    (tmp_path / "labels" / "a.txt").write_bytes(b"\xff\xfe\x00\x80")
    labels = scan([tmp_path / "images"], nc=1)
    assert len(labels) == 1
    assert "a.txt:1: not UTF-8 text" in labels.problems[0]


def decoded(monkeypatch):
    """Files that are decoded from now on."""
    from ultralytics.data import images  # its decoder is watched

    seen = []
    real = images.decode
    monkeypatch.setattr(images, "decode", lambda data: (seen.append(1), real(data))[1])
    return seen


def test_a_second_start_decodes_only_what_is_new_or_changed(tmp_path, monkeypatch):
    for i in range(5):
        picture(tmp_path, f"{i}.jpg", f"{i} .5 .5 .2 .2\n", size=(40 + i, 60))
    first = scan([tmp_path / "images"], nc=5)
    seen = decoded(monkeypatch)
    again = scan([tmp_path / "images"], nc=5)
    assert not seen
    assert again.shapes.tolist() == first.shapes.tolist()
    (tmp_path / "labels" / "0.txt").write_text("4 .5 .5 .3 .3\n")  # labels are read every time
    picture(tmp_path, "1.jpg", "1 .5 .5 .2 .2\n", size=(80, 90))
    picture(tmp_path, "9.jpg")
    third = scan([tmp_path / "images"], nc=5)
    assert len(seen) == 2
    assert third.shapes.tolist()[1] == [80, 90]
    assert third.cls.tolist() == [4, 1, 2, 3, 4]
    (tmp_path / "images" / "2.jpg").write_bytes(b"broken")
    assert scan([tmp_path / "images"], nc=5).left_out == 1


def test_a_changed_image_is_noticed_whatever_its_times_say(tmp_path, monkeypatch):
    a, b = (picture(tmp_path, name, size=size) for name, size in (("a.png", (40, 60)), ("b.png", (60, 40))))
    first = scan([tmp_path / "images"], nc=1)
    size, times = a.stat().st_size, (a.stat().st_atime_ns, a.stat().st_mtime_ns)
    a.write_bytes(b.read_bytes()[:size].ljust(size, b"\0"))
    os.utime(a, ns=times)
    assert (a.stat().st_size, a.stat().st_mtime_ns) == (size, times[1])
    second = scan([tmp_path / "images"], nc=1)
    assert second.shapes.tolist() != first.shapes.tolist()
    assert second.digest != first.digest


def test_a_copied_data_set_is_not_decoded_again(tmp_path, monkeypatch):
    for i in range(3):
        picture(tmp_path / "first", f"{i}.jpg", "0 .5 .5 .2 .2\n", size=(40 + i, 60))
    first = scan([tmp_path / "first" / "images"], nc=1)
    shutil.copytree(tmp_path / "first", tmp_path / "second", copy_function=shutil.copy)
    seen = decoded(monkeypatch)
    again = scan([tmp_path / "second" / "images"], nc=1)
    assert not seen
    assert again.digest == first.digest
    assert again.shapes.tolist() == first.shapes.tolist()


def test_another_code_scans_anew(tmp_path, monkeypatch):
    picture(tmp_path, "a.jpg")
    scan([tmp_path / "images"], nc=1)
    seen = decoded(monkeypatch)
    monkeypatch.setattr(scan_cache, "_digest_code", lambda: "another")
    scan([tmp_path / "images"], nc=1)
    assert seen


def test_the_memory_depends_on_every_file_that_judges(tmp_path):
    """A file of ours that runs while an image is checked is in the key, unless it only reads bytes or words text."""
    whole = picture(tmp_path, "a.jpg", "0 .5 .5 .2 .2\n0 .9 .9 .3 .3\n0 .1 .1 .2 .1 .2 .3\n0 .5 .5 2 2\n")
    cut = whole.with_name("b.jpg")
    cut.write_bytes(whole.read_bytes()[:-20])
    for folder, text in (("ignore", "* .5 .5 .1 .1 crowd\n"), ("areas", "5\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(text)
    ran = set()
    sys.setprofile(lambda frame, *_: ran.add(frame.f_code.co_filename))
    try:
        for image in (whole, cut):
            for form in (RowForm(), RowForm(0, "polygons"), RowForm(6, "keypoints", 3)):
                scan_module._check_image(str(image), None, form)
    finally:
        sys.setprofile(None)
    ours = {Path(f).relative_to(PACKAGE).as_posix() for f in ran if f.startswith(str(PACKAGE))}
    assert ours - set(scan_cache.SOURCES) <= {"utils/files.py", "utils/text.py"}
    assert set(scan_cache.SOURCES) <= ours | {"utils/image_header.py", "data/class_scan.py"}
    assert all((PACKAGE / source).is_file() for source in scan_cache.SOURCES)


def test_splits_of_one_folder_have_memories_of_their_own(tmp_path, monkeypatch):
    for i in range(4):
        picture(tmp_path, f"{i}.jpg")
    (tmp_path / "train.txt").write_text("images/0.jpg\nimages/1.jpg\n")
    (tmp_path / "val.txt").write_text("images/2.jpg\n")
    splits = [
        [tmp_path / "train.txt"],
        [tmp_path / "val.txt"],
        [tmp_path / "images"],
        [tmp_path / "train.txt", tmp_path / "val.txt"],
    ]
    for split in splits:
        scan(split, nc=1)
    scan(splits[2], nc=1, fraction=0.5)
    seen = decoded(monkeypatch)
    for split in splits:
        scan(split, nc=1)
    scan(splits[2], nc=1, fraction=0.5)
    assert not seen


def test_a_damaged_memory_is_ignored(tmp_path):
    picture(tmp_path, "a.jpg", "0 .5 .5 .2 .2\n")
    want = scan([tmp_path / "images"], nc=1)
    memory = tmp_path / ".images.scan.npz"
    whole = memory.read_bytes()
    arrays = dict(np.load(memory))
    for data in (b"", b"{", whole[: len(whole) // 2], b"\0" * len(whole)):
        memory.write_bytes(data)
        assert scan([tmp_path / "images"], nc=1).digest == want.digest
    wrong = {
        "rows": arrays["rows"] + 1, "offsets": arrays["offsets"][::-1], "shapes": arrays["shapes"] * 0,
        "names": arrays["names"][:0], "usable": arrays["usable"].astype(int), "problems": arrays["code"],
        "ignored": np.array([[object()]], dtype=object),
    }  # fmt: skip
    for name, value in wrong.items():
        np.savez(memory, **{**arrays, name: value}, allow_pickle=True)
        labels = scan([tmp_path / "images"], nc=1)
        assert (labels.digest, labels.cls.tolist()) == (want.digest, [0])
    np.savez_compressed(memory, **arrays)  # what may be a bomb is not opened
    assert scan([tmp_path / "images"], nc=1).digest == want.digest


@given(st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_to_the_memory_is_survived(tmp_path, data):
    if not (tmp_path / "images").exists():
        picture(tmp_path, "a.jpg", "0 .5 .5 .2 .2\n")
    want = scan([tmp_path / "images"], nc=1)
    memory = tmp_path / ".images.scan.npz"
    content = bytearray(memory.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    memory.write_bytes(content)
    assert scan([tmp_path / "images"], nc=1).cls.tolist() == want.cls.tolist()


def test_a_read_only_folder_is_left_alone_and_the_memory_kept_elsewhere(tmp_path, monkeypatch):
    picture(tmp_path / "data", "a.jpg")
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "data").chmod(0o555)
    try:
        scan([tmp_path / "data" / "images"], nc=1)
        scan([tmp_path / "data" / "images"], nc=1, cache_dir=run)
        assert [p.name for p in (tmp_path / "data").iterdir()] == ["images"]
        seen = decoded(monkeypatch)
        scan([tmp_path / "data" / "images"], nc=1, cache_dir=run)
        assert not seen
    finally:
        (tmp_path / "data").chmod(0o755)


def test_an_unfinished_memory_is_removed_when_it_is_old(tmp_path):
    picture(tmp_path, "a.jpg")
    old, new = (tmp_path / f"..images.scan.npz.{name}" for name in ("0000", "1111"))
    for file in (old, new):
        file.write_bytes(b"")
    os.utime(old, (0, 0))
    scan([tmp_path / "images"], nc=1)
    assert not old.exists()
    assert new.exists()


def test_rows_cut_at_the_edge_are_told_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    for i in range(30):
        picture(tmp_path, f"{i:02}.jpg", f"0 .1 .1 1.00{i:02} .1 1 .5\n")
    for _ in range(2):  # the second time from memory
        caplog.clear()
        labels = scan([tmp_path / "images"], nc=1)
        assert (len(labels), labels.left_out) == (30, 0)
        [message] = {r.getMessage() for r in caplog.records if "over the edge" in r.getMessage()}
        assert message.endswith("labels/02.txt:1: 28 rows up to 0.3% over the edge of the image: cut off there")


def test_several_rows_in_one_line_are_named_by_the_scan(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    picture(tmp_path, "a.jpg", "0 .5 .5 .2 .2\n\n0 0.26 0.39 0.31 0.470 0.7 0.7 0.1 0.1\n")
    picture(tmp_path, "b.jpg", "0 .5 .5 .2 .2\n0 .4 .5 .2 .2\n")
    for _ in range(2):  # the second time from memory
        caplog.clear()
        scan([tmp_path / "images"], nc=1)
        assert "labels/a.txt:3: 1 row of 9 columns among 3 boxes: several rows in one line?" in caplog.text
    _, _, [problem] = parse_labels("0 .5 .5 .2 .2 1 .7 .7 .1 .1")[:3]
    assert "10 columns, which read as 2 rows in one line" in problem.what
    _, _, [problem] = parse_labels("0 .5 .5 .2 .2 .9 .7 .7 .1 .1")[:3]
    assert "10 columns; a row has 5" in problem.what


def test_rows_of_a_pose_dataset_are_boxes(tmp_path):
    rows = "0 .5 .5 .2 .2 .45 .45 2 .55 .55 0\n0 .3 .3 .1 .1\n"
    found, lines, problems = parse_labels(rows, keypoints=6)[:3]
    assert found.tolist() == [[0, 0.5, 0.5, 0.2, 0.2], [0, 0.3, 0.3, 0.1, 0.1]]
    assert (lines, problems) == ([1, 2], [])
    _, _, [problem] = parse_labels("0 .1 .1 .2 .1 .2 .3\n", keypoints=6)[:3]
    assert "7 columns; a row of this pose dataset (kpt_shape) has 5 or 11" in problem.what
    _, _, [problem] = parse_labels("0 .5 .5 .2 .2 " + ".5 .5 2 " * 17)[:3]
    assert "56 columns; a row has 5" in problem.what
    assert "kpt_shape" in problem.what
    picture(tmp_path, "a.jpg", "0 .5 .5 .2 .2 .45 .45 .55 .55 .5 .5\n")
    as_polygon = scan([tmp_path / "images"], nc=1).bboxes
    for _ in range(2):  # each way of reading has a memory of its own
        pose = scan([tmp_path / "images"], nc=1, keypoints=6).bboxes
        np.testing.assert_allclose(pose, [[0.5, 0.5, 0.2, 0.2]], rtol=1e-6)
        assert scan([tmp_path / "images"], nc=1).bboxes.tolist() == as_polygon.tolist()


def test_poses_without_kpt_shape_are_named(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    for i in range(8):
        x = round(0.15 + i / 10, 2)
        picture(tmp_path / "pose", f"{i}.jpg", f"0 {x} .5 .25 .3 {x} .4 {x - 0.1:.2f} .6 0 0\n")
        picture(tmp_path / "corner", f"{i}.jpg", f"0 .8{i} .8 .9 .8 .9 .9 .8 .9 .7 .85\n")
        picture(tmp_path / "quads", f"{i}.jpg", f"0 .5{i} .5 .6 .5 .6 .6 .5 .6\n")
    for folder in ("corner", "quads"):
        scan([tmp_path / folder / "images"], nc=1)
    assert "poses" not in caplog.text
    scan([tmp_path / "pose/images"], nc=1)
    assert "8 rows of 11 columns, whose first four numbers are a box around the others: are they poses?" in caplog.text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in the file system")
def test_what_is_no_regular_file_is_named_and_passed_over(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        picture(tmp_path, name, "0 .5 .5 .2 .2\n")
    os.mkfifo(tmp_path / "images" / "pipe.jpg")
    (tmp_path / "images" / "zero.png").symlink_to("/dev/zero")
    for name in ("b", "c"):
        (tmp_path / "labels" / f"{name}.txt").unlink()
    os.mkfifo(tmp_path / "labels" / "b.txt")
    with open(tmp_path / "labels" / "c.txt", "wb") as file:
        file.truncate(10**10)
    (tmp_path / "ignore").mkdir()
    os.mkfifo(tmp_path / "ignore" / "d.txt")
    os.mkfifo(tmp_path / ".images.scan.npz")
    labels = scan([tmp_path / "images"], nc=1)
    assert [os.path.basename(f) for f in labels.im_files] == ["a.jpg", "d.jpg"]
    message = "\n".join(labels.problems)
    for line in (
        "images/pipe.jpg: cannot be read: it is a pipe, not a file",
        "images/zero.png: cannot be read: it is a device, not a file",
        "labels/b.txt: the file cannot be read: it is a pipe",
        "labels/c.txt: the file cannot be read: it has 10,000,000,000 bytes",
        "ignore/d.txt: the file cannot be read: it is a pipe",
    ):  # fmt: skip
        assert line in message
    os.mkfifo(tmp_path / "list.txt")
    with pytest.raises(DatasetError, match=r"list\.txt: the file cannot be read: it is a pipe, not a file"):
        scan([tmp_path / "list.txt"], nc=1)


def test_each_image_is_found_once_where_folders_contain_themselves(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    for name in ("train/a.jpg", "train/deep/b.jpg"):
        picture(tmp_path, name, None)
    for name, target in (("self", "."), ("up", ".."), ("again", "deep")):
        (tmp_path / "images/train" / name).symlink_to(target)
    labels = scan([tmp_path / "images/train"], nc=1)
    assert [os.path.relpath(f, tmp_path / "images/train") for f in labels.im_files] == ["a.jpg", "deep/b.jpg"]
    assert "images/train/again and 2 more: the link leads to a folder that is read already" in caplog.text


def test_links_in_a_split_are_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    train, val = tmp_path / "images" / "train", tmp_path / "images" / "val"
    for i, file in enumerate([train / "a.png", train / "b.png", val / "c.png"]):
        imwrite(file, np.full((16, 16, 3), 50 * i, np.uint8))
    try:
        (train / "again.png").symlink_to("b.png")
        (train / "v").symlink_to(os.path.join("..", "val"))
    except OSError as e:
        pytest.skip(f"no links here: {e}")
    for _ in range(2):  # the second time out of the memory
        caplog.clear()
        assert len(scan([train], 1)) == 4
        again = f"{train / 'again.png'}: 1 image more than once in the split by links"
        assert f"{again}, this one is {train / 'b.png'}" in caplog.text
        assert f"{train / 'v'}: the link leads to {os.path.realpath(val)}, outside of the folder" in caplog.text
    caplog.clear()
    scan([val], 1)
    assert "link" not in caplog.text
