import io
import json
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.engine.results import Boxes, Results
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
    with pytest.raises(UserError, match="masks belong to another task"):
        result.update(masks=torch.zeros(1, 2, 2))


def test_tables_are_the_references(fixtures, tmp_path):
    """CSV and summaries of 8.2.103, equal to the letter; XML holds the same."""
    recorded = json.loads((fixtures / "results_api.json").read_text(encoding="utf-8"))
    names = {int(k): v for k, v in recorded["names"].items()}
    h, w = recorded["orig_shape"]
    for case in ("detect", "track", "empty"):
        said = recorded[case]
        boxes = torch.tensor(said["inputs"]["boxes"]).reshape(-1, 7 if case == "track" else 6)
        result = Results(np.zeros((h, w, 3), np.uint8), "a.jpg", names, boxes)
        assert result.summary() == said["summary"]
        assert result.summary(normalize=True) == said["summary_normalized"]
        assert result.to_csv() == said.get("to_csv", '""\n')
        assert result.to_json() == said["to_json"]
        assert (result.verbose(), len(result)) == (said["verbose"], said["length"])
        for key, with_score in (("save_txt", False), ("save_txt_conf", True)):
            file = tmp_path / f"{case}_{key}.txt"
            result.save_txt(file, save_conf=with_score)
            assert file.read_text(encoding="utf-8") == (said.get(key) or "")
        for key, value in said["boxes"].items():
            got = getattr(result.boxes, key)
            exact = value is None or isinstance(value, bool)
            assert got is value if exact else np.allclose(np.asarray(got), np.reshape(value, got.shape))
        rows = ElementTree.fromstring(result.to_xml().split("\n", 1)[1]).findall("row")
        assert [row.findtext("name") for row in rows] == [row["name"] for row in said["summary"]]
        assert [float(row.findtext("confidence")) for row in rows] == [row["confidence"] for row in said["summary"]]


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


def test_a_result_prints_itself_and_refuses_other_tasks(result):
    assert "orig_shape: (80, 100)" in str(result)
    assert "orig_shape: (80, 100)" in repr(result.boxes)
    for given in ({"masks": torch.zeros(1, 2, 2)}, {"probs": torch.zeros(3)}, {"obb": torch.zeros(1, 7)}):
        with pytest.raises(UserError, match=f"{next(iter(given))} belong to another task"):
            Results(result.orig_img, "a.jpg", {0: "a"}, None, **given)
    from ultralytics.engine.results import Masks  # as scripts do

    with pytest.raises(UserError, match="Masks is not offered"):
        Masks(None, (1, 1))


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
