import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ultralytics.data.labels import LabelError, label_file, list_images, read_labels, scan
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
    told = "\n".join(labels.problems)
    for words in (
        "word.txt:2: 'five' is no number", "pixel.txt:1: the coordinate 12 is outside", "columns.txt:1: 4 columns",
        "double.txt:2: the row is a duplicate", "double.txt:3: the box has no area", "tiny.png: 40x4 pixels",
        "empty.jpg: is empty", "text.jpg: cannot be decoded", "cut.jpg: the JPEG is cut off",
    ):  # fmt: skip
        assert words in told


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


def test_the_last_folder_named_images_becomes_labels():
    assert label_file("/images/a/images/b/c.d.jpg") == "/images/a/labels/b/c.d.txt"
    assert label_file("/pictures/c.jpg") == "/pictures/c.txt"


def test_polygons_become_their_bounding_box(tmp_path):
    (tmp_path / "a.txt").write_text("1 0.1 0.2 0.5 0.2 0.3 0.6\n")
    rows, _, _ = read_labels(str(tmp_path / "a.txt"))
    np.testing.assert_allclose(rows, [[1, 0.3, 0.4, 0.4, 0.4]], rtol=1e-6)


@given(st.lists(st.tuples(st.integers(0, 9), *[st.floats(0.01, 1)] * 4), max_size=20, unique=True))
def test_what_is_written_is_read(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("l") / "a.txt"
    file.write_text("".join(" ".join(map(repr, row)) + "\n" for row in rows))
    got, classes, notes = read_labels(str(file))
    np.testing.assert_allclose(got, np.array(rows, np.float32).reshape(-1, 5), rtol=1e-6)
    assert classes == [(i, row[0]) for i, row in enumerate(rows, 1)]
    assert not notes


@given(st.text(max_size=60))
def test_any_text_is_read_or_named(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("l") / "a.txt"
    file.write_text(text, encoding="utf-8", errors="replace")
    try:
        rows, _, _ = read_labels(str(file))
    except LabelError as e:
        told = str(e)
        rows = np.zeros((0, 5))
    else:
        told = str(file)
    assert told.startswith(str(file))
    assert np.isfinite(rows).all()
    assert ((rows[:, 1:] >= 0) & (rows[:, 1:] <= 1)).all()


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(LabelError, match=r"a\.txt.*not readable text"):
        read_labels(str(tmp_path / "a.txt"))


def decoded(monkeypatch):
    """Files that are decoded from now on."""
    from ultralytics.data import labels  # its decoder is watched

    seen = []
    real = labels.decode
    monkeypatch.setattr(labels, "decode", lambda data: (seen.append(1), real(data))[1])
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


def test_a_damaged_memory_is_ignored_and_a_read_only_folder_left_alone(tmp_path):
    picture(tmp_path, "a.jpg")
    scan([tmp_path / "images"], nc=1)
    memory = tmp_path / ".images.checked.json"
    for text in ("{", "[]", '{"version": "1", "files": {}}', '{"files": 3}'):
        memory.write_text(text)
        assert len(scan([tmp_path / "images"], nc=1)) == 1
    memory.unlink()
    tmp_path.chmod(0o555)
    try:
        scan([tmp_path / "images"], nc=1)
        assert not memory.exists()
    finally:
        tmp_path.chmod(0o755)
