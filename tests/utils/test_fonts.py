import logging
import shutil

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont
from PIL import Image, ImageDraw, ImageFont

from ultralytics.utils import fonts
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.fonts import Face, Lettering, checked_font, faces, families, fit_for_type_42

CHINESE = "红细胞"


@pytest.fixture
def fresh():
    """No answer of an earlier test, and none kept for a later one."""

    def forget():
        for cached in (fonts._installed_faces, fonts._faces, fonts._charmap, fonts._register):
            cached.cache_clear()
        fonts._NOWHERE.clear()
        fonts._TOLD.clear()

    manager = fonts.load_matplotlib().font_manager.fontManager
    listed = list(manager.ttflist)
    forget()
    yield
    manager.ttflist[:] = listed
    forget()


def make_font(path, letters, family="Made", weight=400):
    """A font file in which every given letter is a full block."""
    builder = FontBuilder(1000, isTTF=True)
    names = [".notdef", *(f"g{i}" for i in range(len(letters)))]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(c): f"g{i}" for i, c in enumerate(letters)})
    pen = TTGlyphPen(None)
    for i, (x, y) in enumerate([(50, 0), (50, 700), (750, 700), (750, 0)]):
        (pen.lineTo if i else pen.moveTo)((x, y))
    pen.closePath()
    block = pen.glyph()
    builder.setupGlyf({name: block if name != ".notdef" else TTGlyphPen(None).glyph() for name in names})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 50)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWeightClass=weight)
    builder.setupPost()
    builder.save(path)
    return path


def only(*files):
    """Let the system have these fonts besides matplotlib's own."""
    manager = fonts.load_matplotlib().font_manager.fontManager
    with fonts.quiet():
        own = [e for e in manager.ttflist if "mpl-data" in str(e.fname)]
        manager.ttflist[:] = own
        for file in files:
            manager.addfont(file)


def test_latin_names_need_no_font_and_no_matplotlib(monkeypatch):
    monkeypatch.setattr(fonts, "load_matplotlib", lambda: pytest.fail("matplotlib was imported"))
    assert faces("person 0.87 “x”…") == ()


def test_letters_of_many_scripts_come_with_matplotlib(fresh):
    only()
    for text in ("Größe", "эритроцит", "قطة", "Ελλάδα", "😀"):
        (face,) = faces(text)
        assert "DejaVuSans" in face.path


def test_a_font_is_found_by_its_letters_whatever_its_name(fresh, tmp_path, caplog):
    made = make_font(tmp_path / "made.ttf", CHINESE + "0123456789 .", "Nobody Knows", weight=500)
    only(made)
    assert faces(f"{CHINESE} 0.87") == (Face(str(made)),)
    assert families(CHINESE)[0] == "DejaVu Sans"
    assert not caplog.records


def test_each_letter_takes_the_first_font_that_has_it(fresh, tmp_path):
    one, two = make_font(tmp_path / "one.ttf", "红细"), make_font(tmp_path / "two.ttf", "胞ไ")
    only(one, two)
    found = faces("红细胞 x")
    assert {f.path for f in found} == {str(one), str(two)}
    lettering = Lettering(20, (*found, *faces("é")))
    parts = lettering.runs("红细胞ไ é")
    assert ["".join(p for _, p in parts), len(parts)] == ["红细胞ไ é", 3]
    left, top, right, bottom = lettering.getbbox("红细胞")
    assert right - left == pytest.approx(3 * 16, abs=2)
    assert right <= lettering.getlength("红细胞") + 1
    image = Image.new("RGB", (100, 40))
    lettering.draw(ImageDraw.Draw(image), (5, 5), "红细胞", (255, 255, 255))
    ys, xs = np.nonzero(np.asarray(image)[..., 0] > 128)
    assert (xs.min(), xs.max()) == pytest.approx((5 + left, 5 + right - 1), abs=1.5)
    assert (ys.min(), ys.max()) == pytest.approx((5 + top, 5 + bottom - 1), abs=1.5)


def test_one_font_writes_as_pil_does():
    font, lettering = ImageFont.load_default(13), Lettering(13)
    assert lettering.getbbox("person 0.9") == font.getbbox("person 0.9")
    assert lettering.getlength("person 0.9") == font.getlength("person 0.9")


def test_words_of_one_font_stay_together_in_their_order(fresh, tmp_path):
    """The words of a script that is written from the right stand in order only where one font draws both."""
    made = make_font(tmp_path / "made.ttf", "红 ")
    lettering = Lettering(12, (Face(str(made)), *faces("ق")))
    assert [part for _, part in lettering.runs("قطة صغيرة 红")] == ["قطة صغيرة", " 红"]
    assert [part for _, part in lettering.runs("قطة ")] == ["قطة", " "]
    assert lettering.runs("") == []
    assert lettering.getbbox("") == (0, 0, 0, 0)


def test_what_no_font_has_is_told_once_with_the_package(fresh, caplog):
    only()
    with caplog.at_level(logging.WARNING, "ultralytics"):
        for text in (CHINESE, CHINESE + "\n", "白", "แมว", "🪿"):
            assert faces(text) == ()
    assert [r.message.split("apt install ")[1].split(")")[0] for r in caplog.records] == [
        "fonts-noto-cjk",
        "fonts-noto-core",
        "fonts-symbola",
    ]
    assert CHINESE[0] in caplog.records[0].message
    assert all("font=" in r.message and "\n" not in r.message for r in caplog.records)


def test_without_matplotlib_names_are_still_written(fresh, monkeypatch, caplog):
    def broken():
        raise ImportError("no such library")

    monkeypatch.setattr(fonts, "load_matplotlib", broken)
    with caplog.at_level(logging.WARNING, "ultralytics"):
        assert faces(CHINESE) == faces("白") == ()
    assert len(caplog.records) == 1
    assert "no such library" in caplog.text
    assert Lettering(12, faces(CHINESE)).getlength(CHINESE) > 0


def test_a_font_of_the_users_comes_first(fresh, monkeypatch, tmp_path):
    made = make_font(tmp_path / "my font.ttf", "ab", "My Family")
    only(made)
    monkeypatch.chdir(tmp_path)
    for name in ("my font.ttf", str(made), "My Family", "my family"):
        assert faces("ab", name) == (Face(str(made)),)
        assert len(families("ab", name)) == 2
    assert checked_font("my font.ttf") == str(made)
    assert checked_font("my family") == "my family"
    assert checked_font(None) is None
    assert faces("ж", str(made))[0].path == str(made)
    assert len(faces("ж", str(made))) == 2


def test_a_font_that_there_is_not_is_refused(tmp_path):
    (tmp_path / "text.ttf").write_text("no font")
    for name, reported in (
        (str(tmp_path / "none.ttf"), "no such font file"),
        (str(tmp_path / "text.ttf"), "not a usable font file"),
        (str(tmp_path), "no such font file"),
        ("Dejavu Sons", "did you mean 'DejaVu Sans'"),
        ("Arial123.ttf", "no installed font of this name"),
    ):
        with pytest.raises(ConfigError, match=reported) as caught:
            checked_font(name)
        assert "\n" not in str(caught.value)


def test_every_font_of_a_collection_is_found(fresh, tmp_path):
    parts = [make_font(tmp_path / f"{i}.ttf", letters, f"Part {i}") for i, letters in enumerate(("ab", CHINESE))]
    collection = TTCollection()
    collection.fonts = [TTFont(p) for p in parts]
    collection.save(tmp_path / "both.ttc")
    only(tmp_path / "both.ttc")
    assert faces("", "Part 1") == (Face(str(tmp_path / "both.ttc"), 1),)
    if fonts._knows_faces():
        assert faces(CHINESE) == (Face(str(tmp_path / "both.ttc"), 1),)
    assert fit_for_type_42(CHINESE)


def test_fonts_that_have_a_box_for_every_letter_are_not_taken(fresh, tmp_path):
    only(make_font(tmp_path / "x.otf", CHINESE, "LastResort"))
    assert faces(CHINESE) == ()


def test_outlines_that_make_no_font_of_type_42_are_told_apart(tmp_path):
    (tmp_path / "a.otf").write_bytes(b"OTTO" + bytes(60))
    (tmp_path / "b.ttc").write_bytes(b"ttcf" + bytes(8) + (16).to_bytes(4, "big") + b"OTTO" + bytes(60))
    assert fonts._is_cff(Face(str(tmp_path / "a.otf")))
    assert fonts._is_cff(Face(str(tmp_path / "b.ttc")))
    assert not fonts._is_cff(Face(str(make_font(tmp_path / "c.ttf", "a"))))


def test_a_font_file_that_is_gone_is_no_error(fresh, tmp_path):
    made = make_font(tmp_path / "made.ttf", CHINESE)
    only(made)
    fonts._installed_faces()
    shutil.move(made, tmp_path / "elsewhere")
    assert faces(CHINESE) == ()
