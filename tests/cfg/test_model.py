import copy
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.cfg.model import ModelSpec, load_model_spec
from ultralytics.cfg.paths import find_model_yaml, split_scale
from ultralytics.cfg.surgery import insert_rows
from ultralytics.utils.errors import MissingFileError, ModelError


@pytest.mark.parametrize(
    ("stem", "plain", "letter"),
    [
        ("yolov8n", "yolov8", "n"),
        ("yolov8x-fla", "yolov8-fla", "x"),
        ("yolov8-fla", "yolov8-fla", None),
        ("yolov8s_mine", "yolov8_mine", "s"),
        ("mynet", "mynet", None),
        ("yolov8nano", "yolov8ano", "n"),
        ("yolov8sCBAM", "yolov8CBAM", "s"),
        ("yolov8s-x", "yolov8-x", "s"),
        ("my_yolov10m", "my_yolov10", "m"),
        ("small", "small", None),
        ("yolov8", "yolov8", None),
        ("yolov8ghost", "yolov8ghost", None),
    ],
)
def test_the_scale_letter_of_a_name(stem, plain, letter):
    assert split_scale(stem) == (plain, letter)


def test_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("yolov8n-fla.yaml", "cfg/models/yolov8n-fla.yaml", "yolov8-fla.yaml"):
        assert find_model_yaml(name)[0].name == "yolov8-fla.yaml"
    with pytest.raises(MissingFileError, match=r"tried .*yolov8-flaa"):
        find_model_yaml("yolov8n-flaa.yaml")
    with pytest.raises(MissingFileError, match="did you mean"):
        find_model_yaml("yolov8n-flaa.yaml")


def test_scale_by_key_works_for_any_file_name(tmp_path):
    text = find_model_yaml("yolov8.yaml")[0].read_text(encoding="utf-8")
    mine = tmp_path / "我的 net.yaml"
    mine.write_text(text, encoding="utf-8")
    assert load_model_spec(mine, scale="l").scale == "l"
    assert load_model_spec(mine).scale == "n"  # the first of the file
    with pytest.raises(ModelError, match="among its scales: n, s, m, l, x"):
        load_model_spec(mine, scale="q")


def test_a_spec_survives_plain_data():
    spec = load_model_spec("yolov8s-fla.yaml", nc=3)
    again = ModelSpec.from_dict(yaml.safe_load(yaml.safe_dump(spec.to_dict())))
    assert again.to_dict() == spec.to_dict()
    assert (again.nc, again.scale, again.width) == (3, "s", 0.5)


def content():
    return yaml.safe_load(find_model_yaml("yolov8-fla.yaml")[0].read_text(encoding="utf-8"))


def test_the_tutorials_shifted_head_is_named_with_what_was_meant(tmp_path):
    """Inserting row 10 and leaving Detect at [15, 18, 21] is the tutorial's readers' first mistake."""
    data = content()
    data["head"][-1][0] = [16, 19, 24]
    file = tmp_path / "net.yaml"
    file.write_text(yaml.safe_dump(data, default_flow_style=None), encoding="utf-8")
    with pytest.raises(ModelError, match=r"net\.yaml, line \d+: row 23 \(Detect\).*row 24.*probably \[16, 19, 22\]"):
        load_model_spec(file)


@pytest.mark.parametrize(
    ("edit", "reported"),
    [
        (lambda d: d["head"][1].__setitem__(0, [-1, 30]), "row 12.*names row 30, which does not exist"),
        (lambda d: d["head"][1].__setitem__(0, [-1, 12]), "row 12.*is itself"),
        (lambda d: d["head"][1].__setitem__(0, [-1, 14]), "row 12.*comes later"),
        (lambda d: d["backbone"][0].__setitem__(0, -2), "row 0.*write -1"),
        (lambda d: d["backbone"][2].__setitem__(0, "-1"), "row 2.*row number"),
        (lambda d: d["backbone"][2].pop(), r"row 2.*\[from, repeats, module, args\]"),
        (lambda d: d["backbone"][2].__setitem__(1, 0), "row 2.*repeats"),
        (lambda d: d["backbone"][2].__setitem__(2, 7), "row 2.*module"),
        (lambda d: d.pop("head"), "head"),
        (lambda d: d.__setitem__("nc", "three"), "nc"),
        (lambda d: d.__setitem__("neck", []), "neck"),
        (lambda d: d["scales"].__setitem__("n", [0.33]), "depth, width, max_channels"),
        (lambda d: d["scales"].__setitem__("n", [0.33, -1, 1024]), "depth, width, max_channels"),
        (lambda d: d.__setitem__("scales", [0.33, 0.25, 1024]), "mapping"),
        (lambda d: d.__setitem__("scale", ["n"]), "letter"),
        (lambda d: d.__setitem__("activation", 5), r"activation.*nn\.ReLU"),
        (lambda d: d.__setitem__("ch", "three"), "ch"),
        (lambda d: (d.pop("scales"), d.__setitem__("depth_multiple", "abc")), "depth_multiple.*'abc'"),
        (lambda d: (d.pop("scales"), d.__setitem__("width_multiple", 0)), "width_multiple"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(edit, reported):
    data = content()
    edit(data)
    with pytest.raises(ModelError, match=reported) as caught:
        load_model_spec(data)
    assert "\n" not in str(caught.value)


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    return caplog


def test_a_head_that_was_not_raised_after_an_insertion_is_noticed(tmp_path, warnings):
    """YOLOv8 with a row inserted at 10 and nothing else changed would build, on the wrong rows."""
    data = yaml.safe_load(find_model_yaml("yolov8.yaml")[0].read_text(encoding="utf-8"))
    data["backbone"].append([-1, 1, "FocusedLinearAttention", [256]])
    file = tmp_path / "yolov8n-shifted.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    load_model_spec(file)
    [message] = [r.getMessage() for r in warnings.records]
    assert re.search(r"yolov8n-shifted\.yaml, line \d+: row 22 \(C2f\): no row reads its output: ", message)
    assert "Detect meant to read [16, 19, 22] instead of [15, 18, 21]" in message


def test_anchors_are_ignored_with_a_line(warnings):
    data = content() | {"anchors": [[10, 13, 16, 30, 33, 23]]}
    assert load_model_spec(data).rows == load_model_spec(content()).rows
    [message] = [r.getMessage() for r in warnings.records]
    assert "`anchors` is ignored" in message


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolov8x-fla.yaml"])
def test_the_bundled_files_give_no_warning(name, warnings):
    load_model_spec(name)
    assert not warnings.records


def test_a_scale_that_was_not_given_is_said(warnings):
    assert load_model_spec("yolov8.yaml").scale == "n"
    assert "no scale is given, taking n" in warnings.text


def test_what_is_given_is_not_changed():
    data = content()
    before = copy.deepcopy(data)
    load_model_spec(data, scale="x", nc=1)
    assert data == before


@given(st.integers(0, 23), st.integers(-30, 30))
def test_any_source_is_taken_or_named(number, source):
    data = content()
    rows = [*data["backbone"], *data["head"]]
    rows[number][0] = source
    target = number + source if source < 0 else source
    if 0 <= target < number or (number == 0 and source == -1):
        load_model_spec(data)
    else:
        with pytest.raises(ModelError, match=f"row {number} "):
            load_model_spec(data)


def test_not_yaml_and_not_a_mapping(tmp_path):
    (tmp_path / "a.yaml").write_text("backbone: [\n")
    with pytest.raises(ModelError, match=r"a\.yaml, line"):
        load_model_spec(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("- 1\n")
    with pytest.raises(ModelError, match="mapping"):
        load_model_spec(tmp_path / "b.yaml")


def scaled(folder, name, letters="nsmlx"):
    """YOLOv8 with some of its scales; "" leaves the key out."""
    data = yaml.safe_load(find_model_yaml("yolov8.yaml")[0].read_text(encoding="utf-8"))
    scales = data.pop("scales")
    if letters:
        data["scales"] = {k: scales[k] for k in letters}
    (folder / name).write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return folder / name


def test_the_letter_behind_the_version_is_the_scale_whatever_follows(tmp_path):
    for name, scale in (
        ("yolov8sCBAM.yaml", "s"),
        ("my-yolov8m.yaml", "m"),
        ("yolov8s-x.yaml", "s"),
        ("small.yaml", "n"),
    ):
        assert load_model_spec(scaled(tmp_path, name)).scale == scale
        assert load_model_spec(tmp_path / name, scale="l").scale == "l"
    scaled(tmp_path, "yolov8CBAM.yaml")
    assert load_model_spec(tmp_path / "yolov8xCBAM.yaml").scale == "x"  # the file without the letter


def test_a_scale_that_the_file_lacks_is_refused(tmp_path, warnings):
    file = scaled(tmp_path, "yolov8m-mine.yaml", "ns")
    with pytest.raises(ModelError, match="scale 'm', by the name yolov8m-mine, is not among its scales: n, s"):
        load_model_spec(file)
    with pytest.raises(ModelError, match="not among its scales: n, s"):
        insert_rows(file, 3, "FLABlock")
    assert load_model_spec(file, scale="s").scale == "s"
    scaled(tmp_path, "yolov8-mine2.yaml", "ns")
    with pytest.raises(ModelError, match="not among its scales: n, s"):
        load_model_spec(tmp_path / "yolov8x-mine2.yaml")
    scaled(tmp_path, "yolov8-bare.yaml", "")
    with pytest.raises(ModelError, match=r"no `scales`, so the 'x' in the name yolov8x-bare cannot be chosen"):
        load_model_spec(tmp_path / "yolov8x-bare.yaml")
    assert load_model_spec(scaled(tmp_path, "yolov8x-own.yaml", "")).scale == ""
    assert not warnings.records
    assert load_model_spec(scaled(tmp_path, "yolov8mine.yaml", "n")).scale == "n"  # "mine" is a word
    assert "'m' in its name is none of its scales" in warnings.text


def test_a_rows_name_is_the_text_that_is_written(tmp_path):
    data = content()
    last = data["head"][-1]
    data["backbone"][0].append("off")
    data["backbone"][1][0] = "off"
    text = yaml.safe_dump({**data, "head": [*data["head"][:-1], last]}).replace("'off'", "off")
    assert "- off" in text
    (tmp_path / "yolov8n-off.yaml").write_text(text)
    spec = load_model_spec(tmp_path / "yolov8n-off.yaml")
    assert spec.rows[0].name == "off"
    assert spec.rows[1].sources == [0]
    assert "off" in insert_rows(tmp_path / "yolov8n-off.yaml", 3, "FLABlock")


def test_the_class_count_that_the_file_says_is_remembered():
    assert (load_model_spec("yolov8n.yaml", nc=3).nc, load_model_spec("yolov8n.yaml", nc=3).written_nc) == (3, 80)
    data = content()
    del data["nc"]
    assert load_model_spec(data, scale="n", nc=3).written_nc is None


@pytest.mark.parametrize("wrong", ["eighty", 0, True, 1.5, [3]])
def test_a_wrong_class_count_is_told_even_where_the_data_sets_another(wrong):
    data = {"nc": wrong, "backbone": [[-1, 1, "Conv", [16, 3, 2]]], "head": [[[-1], 1, "Detect", ["nc"]]]}
    for nc in (None, 3):
        with pytest.raises(ModelError, match="nc must be an integer of 1 or more"):
            ModelSpec.from_dict(data, nc=nc)
