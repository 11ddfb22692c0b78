"""Every name of the reference that a user meets works here, or a sentence says why not."""

import pytest

pytest.importorskip("ultralytics.engine.callbacks")

from tests.compatibility.table import ABSENT, DOCUMENT, OPEN, WORKS, Row, document, lacking, noted, sections


@pytest.fixture(scope="module")
def rows():
    return dict(sections())


def test_no_name_is_left_without_a_sentence(rows):
    open_ = [f"{title}: {row.name}" for title, found in rows.items() for row in found if row.status == OPEN]
    assert not open_, f"explain in notes.yaml: {open_}"
    for found in rows.values():
        assert all(row.message or row.status == WORKS for row in found)
        assert all("\n" not in row.message and "|" not in row.message for row in found)


def test_the_document_is_what_the_code_says(request):
    """`pytest tests/compatibility --rewrite` writes it."""
    text = document()
    if request.config.getoption("--rewrite"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == text


def test_the_table_can_fail():
    assert noted("nowhere:nothing", ABSENT) == Row("nothing", OPEN)
    assert lacking(["a", "b"], lambda a: a) == ["b"]
    assert lacking(["a", "b"], lambda **k: k) == []
