import logging
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.engine.results import Results
from ultralytics.utils.errors import UserError
from ultralytics.utils.log import LOGGER, setup_console
from ultralytics.utils.plotting import Annotator, plot_confusion_matrix
from ultralytics.utils.text import (
    counted,
    folder_flaw,
    has_unsafe,
    likely_slips,
    name_key,
    one_line,
    printable,
    safe_name,
    unique_names,
)

CLEAR = "\x1b[2J\x1b]0;title\x07"
anything = st.text(alphabet=st.characters(codec=None), max_size=300)


def test_numbers_have_their_plurals():
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert (counted(1, "box"), counted(3, "box"), counted(2, "class")) == ("1 box", "3 boxes", "2 classes")
    assert [counted(2, n) for n in ("epoch", "batch", "patch")] == ["2 epochs", "2 batches", "2 patches"]


def test_classes_of_one_name_are_told_apart_by_their_ids():
    assert unique_names({2: "b", 0: "a", 1: "a"}) == {0: "a", 1: "a (1)", 2: "b"}
    assert list(unique_names({2: "b", 0: "a", 1: "a"})) == [0, 1, 2]
    assert unique_names({0: "a", 1: "a", 2: "a (1)"}) == {0: "a", 1: "a (1)_", 2: "a (1)"}
    assert unique_names({0: "2"}, [1, 2]) == {0: "2", 1: "1", 2: "2 (2)"}, "classes without a name"
    assert unique_names({5: "3"}, [3]) == {3: "3 (3)", 5: "3"}, "a class keeps the name it was given"


def test_names_that_some_file_system_takes_for_one():
    assert len({name_key(n) for n in ("\u00e9a.png", "e\u0301A.png", "E\u0301a.PNG", "\u00c9A.png")}) == 1
    assert len({name_key(n) for n in ("a", "a ", "\u00e9", "e", "a.png")}) == 5


def test_names_that_may_be_slips():
    assert likely_slips({"RBC": 500, "rbc ": 499, "WBC": 3}) == [("rbc ", "RBC")]
    assert likely_slips({"traffic light": 2, "traffic_light": 9}) == [("traffic light", "traffic_light")]
    assert likely_slips({"person": 500, "persn": 2, "persons": 1, "parson": 400}) == [
        ("persn", "person"),
        ("persons", "person"),
    ]
    assert likely_slips({"cat": 500, "car": 1, "class_1": 500, "class_2": 1, "sheep": 9, "horse": 1}) == []


@given(anything)
def test_nothing_unsafe_is_left(text):
    assert not has_unsafe(one_line(text))
    assert not has_unsafe(printable(text).replace("\n", "").replace("\t", ""))
    one_line(text).encode()
    name = safe_name(text)
    assert name not in ("", ".", "..")
    assert len(name.encode()) <= 120
    assert not set(name) & set('/\\\0\n\x1b:*?"<>|')
    assert name[0] != "." or name[-1] not in " ."


@pytest.mark.parametrize("text", ["person", "traffic light", "细胞", "naïve", "a.b", "50%"])
def test_usual_names_stay(text):
    assert one_line(text) == printable(text) == safe_name(text) == text


def test_long_text_is_cut():
    assert len(one_line("x" * 10**6)) < 4000


def test_messages_and_errors_are_escaped(capsys):
    setup_console()
    LOGGER.info("name %s", CLEAR)
    LOGGER.log(logging.WARNING, "two\nlines")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "name \\x1b[2J" in out
    assert "two\nlines" in out
    error = UserError(f"a{CLEAR}\nb", "where\n", "hint\x00")
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "name", ["../../../out", "/out", "..", "a\\..\\b", "\x00", "x" * 400, "$", "$\\frac$", CLEAR, "\ud800"]
)
def test_a_class_name_makes_no_path_and_breaks_no_picture(name, tmp_path):
    image = np.zeros((40, 40, 3), np.uint8)
    result = Results(image, "a.jpg", {0: name}, np.asarray([[2, 2, 30, 30, 0.9, 0]], np.float32))
    result.save_crop(tmp_path / "run" / "crops")
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert [p.parent.parent for p in files] == [tmp_path / "run" / "crops"]
    result.plot()
    Annotator(image).box_label((1, 1, 9, 9), name)
    plot_confusion_matrix(np.ones((2, 2)), [name], False, tmp_path / "matrix.png")
    result.verbose().encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("name", "here", "on_windows"),
    [
        *(
            (name, "", "")
            for name in ("cat", "a b", "\u00e9", "\u732b", "a.b", "x" * 255, "con1", "console", "com10", "-")
        ),
        ("", "is empty", "is empty"),
        *((name, "begins with a dot", "begins with a dot") for name in (".", "..", ".git", ". ")),
        *((name, "holds control", "holds control") for name in ("a\nb", "\udcff", "\u202e")),
        *((name, "holds /", "holds /") for name in ("a/b", "/", "x/..")),
        ("x" * 256, "is longer", "is longer"),
        ("\u732b" * 86, "is longer", "is longer"),
        *(
            (name, "", f"holds {c}")
            for name, c in (("a\\b", "\\"), ("a:b", ":"), ("is it?", "?"), ("<a", "<"), ("a|b", "|"))
        ),
        *((name, "", "ends with a dot or a space") for name in ("St.", "a ", " ", "a..")),
        *((name, "", "is a name of a device") for name in ("con", "NUL", "Com1", "lpt9", "aux.x", "com\u00b9")),
    ],
)
def test_what_no_folder_is_called(name, here, on_windows):
    for windows, wanted in ((False, here), (True, on_windows)):
        found = folder_flaw(name, windows)
        assert found.startswith(wanted)
        assert bool(found) == bool(wanted)


@pytest.mark.skipif(os.name == "nt", reason="the names are those of other systems")
@pytest.mark.parametrize("name", ["cat", "a\\b", "St.", " ", "con", "x" * 255, "", "..", ".git", "a/b", "x" * 256])
def test_what_is_no_flaw_can_be_made(name, tmp_path):
    try:
        (tmp_path / "top" / name).mkdir(parents=True)
        made = [f for f in os.listdir(tmp_path / "top") if not f.startswith(".")] == [name]
    except OSError:
        made = False
    assert made == (not folder_flaw(name))
