"""HTML that nothing can break out of."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.pages import HOSTILE, Page
from ultralytics.report.images import SIDE, Album, encode
from ultralytics.report.markup import POINTS, Chart, Curve, Html, details, items, number, table, tag, text
from ultralytics.utils.text import printable

ANY = st.text(max_size=40) | st.sampled_from([*HOSTILE, "\ud800"])


@given(ANY)
@settings(max_examples=60)
def test_any_text_comes_back_as_it_is_and_makes_no_element(value):
    page = Page(tag("p", value, title=value))
    assert page.tags == [("p", {"title": printable(value)})]
    assert "".join(page.words) == printable(value)


@given(ANY)
@settings(max_examples=60)
def test_any_name_comes_back_from_a_chart(name):
    page = Page(Chart("k", name, "x", "y", [Curve(name, [1, 2], [0.5, None])], about=name).html())
    [data] = page.charts
    assert (data["title"], data["about"], data["lines"][0]["name"]) == (printable(name),) * 3
    assert data["lines"][0]["y"] == [0.5, None]
    assert [t for t, _ in page.tags] == ["figure", "figcaption", "script"]


def test_html_is_not_escaped_twice_and_nothing_is_nothing():
    assert tag("b", tag("i", "<"), None, 3) == "<b><i>&lt;</i>3</b>"
    assert text(Html("<b>")) == "<b>"
    assert tag("input", disabled=True, value=None, aria_label="a&b") == '<input disabled aria-label="a&amp;b">'
    assert items([]) == ""
    assert details("s", "c", id_="k", opened=True) == '<details id="k" open><summary>s</summary>c</details>'


def test_a_table_says_what_its_heads_belong_to():
    page = Page(table("Caption", ["name", "n"], [["a", "1"], ["b", "2"]], sortable=True))
    scopes = [a["scope"] for t, a in page.tags if t == "th"]
    assert scopes == ["col", "col", "row", "row"]
    assert ("div", {"class": "scroll", "role": "region", "aria-label": "Caption", "tabindex": "0"}) in page.tags
    assert ("table", {"class": "sortable"}) in page.tags
    assert "Caption" in page.words


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (True, "–"),
        ("0.5", "–"),
        (12345, "12,345"),
        (0.12345, "0.123"),
        (0.0, "0.000"),
    ],
)
def test_a_number_is_what_was_measured(value, shown):
    assert number(value) == shown


def test_a_long_line_is_thinned_and_keeps_its_end():
    line = Curve("a", list(range(50_001)), [float(i) for i in range(50_001)])
    data = line.to_dict()
    assert len(data["x"]) <= POINTS + 1
    assert (data["x"][0], data["x"][-1], data["y"][-1]) == (0, 50_000, 50_000)
    assert Curve("a", [], []).to_dict()["x"] == []
    assert json.dumps(Curve("a", [0], [float("inf")]).to_dict(), allow_nan=False)


def test_images_have_a_bound_on_size_and_room(tmp_path):
    large = np.zeros((200, 3 * SIDE, 3), np.uint8)
    page = Page(Album(10**6).array(large, "n", "alt <", "caption"))
    [(_, image)] = [t for t in page.tags if t[0] == "img"]
    assert image["alt"] == "alt <"
    assert image["src"].startswith("data:image/jpeg;base64,")
    album = Album(len(encode(large)))
    assert album.array(large, "first", "a", "c") is not None
    assert album.array(large, "second", "a", "c") is None
    (tmp_path / "third.png").write_bytes(b"<svg onload=alert(1)>")
    assert album.file(tmp_path / "third.png", "a", "c") is None
    assert album.file(tmp_path / "nowhere.png", "a", "c") is None
    assert album.note().startswith("2 images left out")
    assert "second, third.png" in album.note()
