import io
import json
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.engine.results import OBB, Boxes, Keypoints, Masks, Probs, Results
from ultralytics.utils.annotate import Annotator
from ultralytics.utils.colors import colors
from ultralytics.utils.errors import UserError

ROWS = [[10, 20, 50, 60, 0.9, 1], [0, 0, 99, 79, 0.4, 0]]


@pytest.fixture
def result():
    return Results(np.zeros((80, 100, 3), np.uint8), "a/b.jpg", {0: "cell", 1: "细胞"}, torch.tensor(ROWS))


def test_boxes_in_every_form(result):
    b = result.boxes
    assert b.xyxy.tolist() == [r[:4] for r in ROWS]
    assert b.xywh.tolist()[0] == [30, 40, 40, 40]
    torch.testing.assert_close(b.xyxyn[0], torch.tensor([0.1, 0.25, 0.5, 0.75]))
    torch.testing.assert_close(b.xywhn[0], torch.tensor([0.3, 0.5, 0.4, 0.5]))
    assert b.cls.tolist() == [1, 0]
    assert len(b[b.conf > 0.5]) == 1
    assert b.numpy().xyxyn.shape == (2, 4)
    assert Boxes(torch.tensor(ROWS[0]), (80, 100)).shape == (1, 6)


def test_text_files_hold_one_row_per_box_and_are_replaced(result, tmp_path):
    for _ in range(2):
        result.save_txt(tmp_path / "labels" / "b.txt", save_conf=True)
    lines = (tmp_path / "labels" / "b.txt").read_text().splitlines()
    assert lines == ["1 0.3 0.5 0.4 0.5 0.9", "0 0.495 0.49375 0.99 0.9875 0.4"]


def test_pictures_are_drawn_and_written(result, tmp_path):
    drawn = result.plot()
    assert drawn.shape == (80, 100, 3)
    assert drawn.any()
    assert not result.orig_img.any()
    assert not result.plot(boxes=False).any()
    file = result.save(tmp_path / "图.jpg")
    assert Image.open(file).size == (100, 80)


def test_a_pillow_image_is_drawn_on(result):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    drawn = result.plot(img=Image.fromarray(pixels))
    assert np.array_equal(drawn, result.plot(img=pixels[..., ::-1].copy()))
    assert not np.array_equal(drawn, pixels[..., ::-1])
    tall = result.plot(img=Image.new("L", (1000, 3000)))  # (w, h); letters are 11 pixels, or 38 by its size
    assert np.array_equal(tall, result.plot(img=np.zeros((3000, 1000, 3), np.uint8)))


def test_crops_lie_in_a_folder_per_class(result, tmp_path):
    result.save_crop(tmp_path, "b.jpg")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.jpg")) == ["cell/b.jpg", "细胞/b.jpg"]


def test_nothing_is_written_over_without_being_named(result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = result[result.boxes.conf > 0.5]
    assert [r.save() for r in (result, other, other)] == ["results_b.jpg", "results_b_2.jpg", "results_b_3.jpg"]
    for _ in range(2):  # the default name is the same for every image
        result.save_crop("crops")
    assert len(list((tmp_path / "crops").rglob("*.jpg"))) == 4
    result.path = str(tmp_path / "results_b.jpg")
    (tmp_path / "link.jpg").symlink_to("results_b.jpg")
    before = (tmp_path / "results_b.jpg").read_bytes()
    for name in (result.path, "results_b.jpg", "link.jpg"):
        with pytest.raises(UserError, match="the image that was predicted on"):
            result.save(name)
        with pytest.raises(UserError, match="the image that was predicted on"):
            result.save_txt(name)
    assert (tmp_path / "results_b.jpg").read_bytes() == before


def test_classes_whose_names_make_one_folder_get_two(tmp_path):
    names = {0: "a/b", 1: "a:b", 2: "A_B"}
    rows = torch.tensor([[10, 10, 40, 40, 0.5, c] for c in (0, 1, 2, 1)], dtype=torch.float32)
    Results(np.zeros((80, 100, 3), np.uint8), "x.jpg", names, rows).save_crop(tmp_path, "x.jpg")
    found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.jpg"))
    assert found == ["A_B_3/x.jpg", "a_b/x.jpg", "a_b_2/x.jpg", "a_b_2/x_2.jpg"]


def test_words_and_data(result):
    assert result.verbose() == "1 cell, 1 细胞, "
    assert result.new().verbose() == "(no detections), "
    rows = torch.tensor([[0, 0, 1, 1, 0.5, c] for c in (0, 0, 1, 1, 2, 2)])
    names = {0: "cell", 1: "细胞", 2: "cross"}
    many = Results(result.orig_img, "", names, rows)
    assert many.verbose() == "2 cells, 2 细胞, 2 cross, "
    first = json.loads(result.to_json(normalize=True))[0]
    assert (first["name"], first["class"], first["confidence"]) == ("细胞", 1, 0.9)
    assert first["box"]["x1"] == 0.1
    assert len(result[result.boxes.conf > 0.5]) == 1


def test_updated_boxes_are_cut_to_the_picture(result):
    result.update(torch.tensor([[-5.0, -5, 200, 200, 0.5, 0]]))
    assert result.boxes.xyxy.tolist() == [[0, 0, 100, 80]]


def test_what_other_tasks_have_is_none_and_no_window_opens(result):
    assert (result.masks, result.probs, result.keypoints, result.obb) == (None, None, None, None)
    assert (result.boxes.id, result.boxes.is_track) == (None, False)
    assert result.tojson() == result.to_json()


def of_case(recorded, case, said, kind=torch.tensor):
    """A result of a recorded case."""
    names = {int(k): v for k, v in recorded["names"].items()}
    given = {name: kind(value) for name, value in said["inputs"].items()}
    if case == "segment":  # its third mask has two parts, of which the reference gives the smaller alone
        given["masks"][2][:, :20] = 0
    if case == "empty":
        given = {"boxes": torch.zeros((0, 6))}
    return Results(np.zeros((*recorded["orig_shape"], 3), np.uint8), "a.jpg", names, **given)


@pytest.mark.parametrize(
    "case", ["detect", "track", "segment", "pose", "pose2", "obb", "obb_track", "classify", "empty"]
)
def test_results_are_the_references(fixtures, tmp_path, case):
    """Tables, files and accessors of 8.2.103; text is equal to the letter. What it fails at is an "error:" there, and
    rotated boxes were not counted."""
    recorded = json.loads((fixtures / "results_api.json").read_text(encoding="utf-8"))
    said = recorded[case]
    result = of_case(recorded, case, said)
    for name, got in (
        ("summary", result.summary()),
        ("summary_normalized", result.summary(normalize=True)),
        ("to_csv", result.to_csv()),
        ("to_json", result.to_json()),
    ):
        expected = said.get(name, '""\n')
        assert got == expected or str(expected).startswith("error:")
    counts = "1 cat, 1 dog, " if case.startswith("obb") else said["verbose"]
    assert (result.verbose(), len(result)) == (counts, said["length"])
    for key, with_score in (("save_txt", False), ("save_txt_conf", True)):
        file = tmp_path / f"{case}_{key}.txt"
        result.save_txt(file, save_conf=with_score)
        assert file.read_text(encoding="utf-8") == (said.get(key) or "")
    for moved in (result, result.numpy(), result.cpu()):
        for part in ("boxes", "masks", "keypoints", "obb", "probs"):
            assert (getattr(moved, part) is None) == (part not in said)
            for key, value in said.get(part, {}).items():
                got = getattr(getattr(moved, part), key)
                if value is None or isinstance(value, bool):
                    assert got is value
                elif key in ("xy", "xyn") and part == "masks":
                    for outline, expected in zip(got, value, strict=True):
                        np.testing.assert_allclose(outline, np.reshape(expected, (-1, 2)), atol=1e-3)
                else:
                    np.testing.assert_allclose(np.asarray(got), np.reshape(value, np.shape(got)), atol=1e-5)
    rows = ElementTree.fromstring(result.to_xml().split("\n", 1)[1]).findall("row")
    assert [row.findtext("name") for row in rows] == [row["name"] for row in result.summary()]


def test_keypoints_of_two_columns_have_a_summary(fixtures):
    recorded = json.loads((fixtures / "results_api.json").read_text(encoding="utf-8"))
    row = of_case(recorded, "pose2", recorded["pose2"]).summary()[0]
    assert set(row["keypoints"]) == {"x", "y"}
    assert row["keypoints"]["x"][0] == pytest.approx(44.97954, abs=1e-5)


def test_pandas_is_asked_for_where_it_is_needed(result, monkeypatch):
    class Frame(list):
        def to_csv(self, *args, **kwargs):
            return args, kwargs

        to_xml = to_csv

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Frame))
    assert result.to_df(decimals=2) == result.summary(decimals=2)
    assert result.to_csv(False, 5, "a.csv", index=False) == (("a.csv",), {"index": False})
    assert result.to_xml(False, 5, "a.xml") == (("a.xml",), {})
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="to_df needs pandas"):
        result.to_df()
    assert result.to_csv().count("\n") == len(result) + 1


def plain_plot(image, rows, names, line_width=None):
    """Every box and its text, the surest on top."""
    annotator = Annotator(image, line_width, pil=True, example="".join(names.values()))
    for x1, y1, x2, y2, score, cls in sorted(rows, key=lambda row: row[4]):
        annotator.box_label((x1, y1, x2, y2), f"{names[cls]} {score:.2f}", colors(int(cls), bgr=True))
    return annotator.result()


def test_texts_on_a_large_image_hide_no_small_box():
    names = {0: "motorcycle"}
    rows = [
        [x, y, x + 30, y + 30, 0.3 + (x + y) / 10000, 0] for x in range(1000, 1400, 40) for y in range(800, 1100, 40)
    ]
    shape = (2000, 3000, 3)
    image = np.full(shape, 7, np.uint8)
    result = Results(image, "a.jpg", names, boxes=torch.tensor(rows))

    def seen(drawn):
        """The least part of a box, inside its lines, that shows the image."""
        insides = (drawn[int(y1) + 3 : int(y2) - 2, int(x1) + 3 : int(x2) - 2] for x1, y1, x2, y2, *_ in rows)
        return min((inside == 7).all(-1).mean() for inside in insides)

    drawn = result.plot()
    assert seen(drawn) > 0.5
    assert not np.array_equal(drawn, result.plot(labels=False))  # some texts have room
    assert (drawn != image).sum() > (result.plot(labels=False) != image).sum()
    # With a width that is given all is drawn as ever.
    assert np.array_equal(result.plot(line_width=4), plain_plot(image, rows, names, 4))
    assert seen(result.plot(line_width=4)) == 0


@pytest.mark.parametrize(("shape", "ordinary"), [((640, 640), True), ((720, 1280), True), ((3000, 4000), False)])
def test_texts_are_left_out_on_large_images_alone(shape, ordinary):
    names, image = {0: "motorcycle"}, np.full((*shape, 3), 7, np.uint8)
    rows = [[x, y, x + 20, y + 20, 0.3 + (x + y) / 2000, 0] for x in range(40, 600, 60) for y in range(40, 600, 60)]
    drawn = Results(image, "a.jpg", names, boxes=torch.tensor(rows)).plot()
    assert np.array_equal(drawn, plain_plot(image, rows, names)) == ordinary


def test_arguments_of_plot_are_the_references(result, monkeypatch, caplog):
    plain = result.plot()
    same = result.plot(True, None, None, "Arial.ttf", True, None, torch.zeros(3, 4, 4), 5, True, True, True, True, True)
    assert np.array_equal(plain, same)
    assert np.array_equal(result.plot(boxes=False), result.orig_img)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("ultralytics.engine.window.LINUX", True)
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    result.show(conf=False)
    result.plot(show=True)
    assert "b.jpg: it cannot be shown: there is no display" in caplog.text
    shown = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("PIL.Image.Image.show", lambda image, title: shown.append((image.size, title)))
    result.show()
    assert shown == [((100, 80), "b.jpg")]


def test_a_result_prints_itself(result):
    assert "orig_shape: (80, 100)" in str(result)
    assert "orig_shape: (80, 100)" in repr(result.boxes)


IMAGE = np.full((80, 100, 3), 90, np.uint8)
BOXES = [[10.0, 20, 50, 60, 0.9, 1], [0, 0, 99, 79, 0.4, 0]]
TURNED = [[50.0, 40, 60, 20, 0.5, 0.9, 1], [30, 30, 20, 10, 1.2, 0.6, 0]]


def masks_of(shape=(80, 100)):
    masks = np.zeros((2, *shape), np.float32)
    masks[0, 20:60, 10:50] = 1
    masks[1, 5:15, 60:90] = masks[1, 40:70, 70:80] = 1  # two parts
    return masks


def points_of(k=17, dim=3):
    rng = np.random.default_rng(0)
    return np.concatenate([rng.uniform(5, 75, (2, k, 2)), rng.uniform(0.6, 1, (2, k, dim - 2))], 2).astype(np.float32)


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_every_part_is_selected_and_moved_with_its_boxes(kind):
    result = Results(IMAGE, "a.jpg", {0: "cat", 1: "dog"}, kind(BOXES), kind(masks_of()), keypoints=kind(points_of()))
    assert (len(result), len(result.masks), len(result.keypoints)) == (2, 2, 2)
    for index in (1, [1], slice(1, 2), result.boxes.cls == 0):
        one = result[index]
        assert (len(one), one.boxes.cls.tolist()) == (1, [0])
        assert np.array_equal(one.masks.data[0], result.masks.data[1])
        assert np.array_equal(one.keypoints.data[0], result.keypoints.data[1])
    assert [len(part) for part in (result[[]].boxes, result[[]].masks, result[[]].keypoints)] == [0, 0, 0]
    assert [r.boxes.cls.tolist() for r in result] == [[1], [0]]
    halves = result.to(torch.float64)
    assert {p.data.dtype for p in (halves.boxes, halves.masks, halves.keypoints)} == {torch.float64}
    assert isinstance(result.numpy().masks.data, np.ndarray)
    nothing = result.new()
    assert (len(nothing), nothing.masks, nothing.keypoints) == (0, None, None)
    nothing.update(boxes=kind(BOXES), masks=kind(masks_of()), keypoints=kind(points_of()))
    assert len(nothing) == len(nothing.masks) == 2
    turned = result.new()
    turned.update(obb=kind(TURNED))
    assert (turned.boxes, len(turned), turned[0].obb.cls.tolist()) == (None, 2, [1])


@pytest.mark.parametrize("kind", ["boxes", "masks", "keypoints", "points without confidence", "obb"])
def test_of_nothing_found_every_form_is_empty(kind, tmp_path):
    parts = {"obb": torch.tensor(TURNED)} if kind == "obb" else {"boxes": torch.tensor(BOXES)}
    if kind == "masks":
        parts["masks"] = torch.tensor(masks_of())
    elif kind not in ("boxes", "obb"):
        parts["keypoints"] = torch.tensor(points_of(dim=3 if kind == "keypoints" else 2))
    nothing = Results(IMAGE, "a.jpg", {0: "cat", 1: "dog"}, **{name: rows[:0] for name, rows in parts.items()})
    nothing.save_txt(tmp_path / "a.txt", save_conf=True)
    assert (tmp_path / "a.txt").read_text() == ""
    assert (nothing.summary(), json.loads(nothing.tojson()), list(nothing.crops())) == ([], [], [])
    assert np.array_equal(nothing.plot(), IMAGE)
    assert "no detections" in nothing.verbose()


def test_an_object_in_parts_has_one_outline_through_them(tmp_path):
    result = Results(IMAGE, "a.jpg", {0: "cat", 1: "dog"}, torch.tensor(BOXES), torch.tensor(masks_of()))
    outline = result.masks.xy[1]
    assert outline.min(0).tolist() == [60, 5]
    assert outline.max(0).tolist() == [89, 69]
    half = Results(IMAGE, "a.jpg", {}, torch.tensor(BOXES), torch.tensor(masks_of()[:, ::2, ::2]))
    assert np.allclose(half.masks.xy[0].min(0), [10, 20])
    outline[:] = 0  # a copy
    assert result.masks.xy[1].max() == 89
    empty = Results(IMAGE, "a.jpg", {0: "cat", 1: "dog"}, torch.tensor(BOXES), torch.zeros(2, 80, 100))
    empty.masks.data[0, 3, 3] = 1  # one pixel: an outline of one point
    assert [len(o) for o in empty.masks.xy] == [1, 0]
    empty.save_txt(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == ""  # a label file of no use otherwise
    assert Masks(torch.zeros(4, 5), (8, 10)).shape == (1, 4, 5)


def test_keypoints_leave_what_they_are_given_alone():
    given = torch.tensor([[[5.0, 6, 0.4], [7, 8, 0.5]]])
    points = Keypoints(given, (80, 100))
    assert given[0, 0].tolist() == pytest.approx([5, 6, 0.4])
    assert points.xy.tolist() == [[[0, 0], [7, 8]]]
    assert points.xyn[0, 1].tolist() == pytest.approx([0.07, 0.1])
    assert points.has_visible
    assert Keypoints(given[0], (80, 100)).shape == (1, 2, 3)
    for empty in (torch.zeros(0, 51), torch.zeros(0, 17, 3)):
        assert len(Keypoints(empty, (80, 100))) == 0
    assert Keypoints(given[..., :2], (80, 100)).conf is None


def test_probabilities_name_the_likely_classes():
    probs = Probs(np.array([0.1, 0.6, 0.3]))
    assert (probs.top1, probs.top5, float(probs.top1conf)) == (1, [1, 2, 0], 0.6)
    assert probs.top5conf.tolist() == [0.6, 0.3, 0.1]
    result = Results(IMAGE, "a.jpg", {0: "cat", 1: "狗", 2: "cow"}, probs=torch.tensor([0.1, 0.6, 0.3]))
    assert (result.boxes, result.objects, result.is_track) == (None, None, False)
    assert result.verbose() == "狗 0.60, cow 0.30, cat 0.10, "
    assert list(result.crops()) == []
    with pytest.raises(TypeError, match=r"result\.probs"):
        list(result)


def test_rotated_boxes_are_cut_out_by_the_upright_box_around_them():
    result = Results(IMAGE, "a.jpg", {0: "cat", 1: "dog"}, obb=torch.tensor(TURNED))
    x1, y1, x2, y2 = result.obb.xyxy[0].tolist()
    folder, crop = next(result.crops())
    assert folder == "dog"
    assert crop.shape[0] == pytest.approx((y2 - y1) * 1.02 + 10, abs=2)
    assert crop.shape[1] == pytest.approx((x2 - x1) * 1.02 + 10, abs=2)
    far = Results(IMAGE, "a.jpg", {0: "cat"}, obb=torch.tensor([[500.0, 400, 60, 20, 0.5, 0.9, 0]]))
    assert list(far.crops()) == []
    with pytest.raises(AssertionError, match="7 columns"):
        OBB(torch.zeros(1, 6), (80, 100))


def test_every_part_is_drawn():
    names = {0: "cat", 1: "dog"}
    boxes, masks, points = torch.tensor(BOXES), torch.tensor(masks_of()), torch.tensor(points_of())
    plain = Results(IMAGE, "a.jpg", names, boxes)
    masked = Results(IMAGE, "a.jpg", names, boxes, masks)
    drawn = masked.plot(boxes=False)
    assert np.array_equal(drawn[75, 5], IMAGE[75, 5])
    tint = np.array(colors(1, bgr=True))
    assert np.abs(drawn[40, 30] - (90 + tint) / 2).max() <= 1  # half the image, half the colour
    assert np.array_equal(masked.plot(masks=False), plain.plot())
    letterboxed = Results(IMAGE, "a.jpg", names, boxes, torch.nn.functional.pad(masks, (0, 0, 10, 10)))
    assert np.array_equal(letterboxed.plot(boxes=False), drawn)
    posed = Results(IMAGE, "a.jpg", names, boxes, keypoints=points)
    assert (posed.plot(boxes=False) != IMAGE).any()
    assert (posed.plot(boxes=False) != posed.plot(boxes=False, kpt_line=False)).any()
    few = Results(IMAGE, "a.jpg", names, boxes, keypoints=points[:, :4, :2])
    assert np.array_equal(few.plot(kpt_line=False), few.plot())  # no person
    turned = Results(IMAGE, "a.jpg", names, obb=torch.tensor(TURNED)).plot(labels=False)
    edge = Results(IMAGE, "a.jpg", names, obb=torch.tensor(TURNED)).obb.xyxyxyxy[0].mean(0)
    assert np.array_equal(turned[int(edge[1]), int(edge[0])], IMAGE[0, 0])  # its centre is free
    assert (turned != IMAGE).any()
    classified = Results(IMAGE, "a.jpg", names, probs=torch.tensor([0.2, 0.8]))
    assert (classified.plot() != IMAGE).any()
    assert np.array_equal(classified.plot(probs=False), IMAGE)
    for nothing in (masked[[]], posed[[]]):
        assert np.array_equal(nothing.plot(), IMAGE)


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_boxes_of_a_tracker_have_ids(kind):
    rows = kind([[1.0, 2, 30, 40, 7, 0.5, 1], [5, 5, 9, 9, 8, 0.25, 0]])
    result = Results(np.zeros((64, 64, 3), np.uint8), "a.jpg", {0: "cat", 1: "dog"}, rows)
    assert (result.boxes.is_track, result.boxes.id.tolist()) == (True, [7, 8])
    assert (result.boxes.conf.tolist(), result.boxes.cls.tolist()) == ([0.5, 0.25], [1, 0])
    assert result[1].numpy().boxes.id.tolist() == [8]
    assert [d["name"] for d in result.summary()] == ["dog", "cat"]
    plain = Results(result.orig_img, "a.jpg", result.names, rows[:, [0, 1, 2, 3, 5, 6]])
    assert (plain.boxes.is_track, plain.boxes.id) == (False, None)
    assert np.array_equal(result.plot(labels=False), plain.plot(labels=False))
    assert not np.array_equal(result.plot(), plain.plot())  # with "id:7"
    assert not np.array_equal(result.plot(labels=False, color_mode="instance"), result.plot(labels=False))
    assert [d["track_id"] for d in result.summary()] == [7, 8]


def test_pandas_and_lxml_write_the_same_rows(result, tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = result.to_df()
    assert list(frame["name"]) == [row["name"] for row in result.summary()]
    assert frame.to_csv() == result.to_csv()
    result.to_csv(False, 5, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == result.to_csv()
    pytest.importorskip("lxml")
    pandas.testing.assert_frame_equal(
        pandas.read_xml(io.StringIO(result.to_xml()))[["name", "class", "confidence"]],
        frame[["name", "class", "confidence"]],
    )


@pytest.mark.parametrize("ids", [False, True])
def test_supervision_takes_results_as_they_are(ids):
    supervision = pytest.importorskip("supervision")
    rows = torch.tensor([[10.0, 20, 50, 60, 0.9, 1], [0, 0, 99, 79, 0.4, 0]])
    if ids:
        rows = torch.cat([rows[:, :4], torch.tensor([[7.0], [9.0]]), rows[:, 4:]], 1)
    for boxes in (rows, rows.numpy(), rows[:0]):
        taken = supervision.Detections.from_ultralytics(
            Results(np.zeros((80, 100, 3), np.uint8), "a.jpg", {0: "cat", 1: "dog"}, boxes)
        )
        assert np.array_equal(taken.xyxy, np.asarray(boxes)[:, :4])
        assert list(taken.data["class_name"]) == ["dog", "cat"][: len(boxes)]
        assert (taken.tracker_id is not None and list(taken.tracker_id) == [7, 9][: len(boxes)]) == ids


def test_what_cannot_be_written_or_drawn_is_one_line(result, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*: could not be written: .* \(free some space"):
        result.save_txt(tmp_path / "file" / "a.txt")
    with pytest.raises(UserError, match="color_mode='foo' is unknown"):
        result.plot(color_mode="foo")
