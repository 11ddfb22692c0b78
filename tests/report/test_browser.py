"""The page in a real browser: it draws, zooms by mouse and keyboard, fits a phone, and asks for nothing."""

import json
import threading
import time

import pytest

from tests.helpers.browser import CHROMIUM, Browser
from tests.helpers.pages import HOSTILE, write_run
from tests.helpers.studies import write_study
from ultralytics.engine.run.folder import RunLock
from ultralytics.report.page import write_page
from ultralytics.report.serve import open_server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]
READY = "'ready' in document.documentElement.dataset"
PLOT = "document.querySelector('#chart-epochs-0 .plot')"
TICKS = f"""[...{PLOT}.querySelectorAll('text[text-anchor=middle]')].map(t => Number(t.textContent))
    .filter(Number.isFinite)"""
# Texts that do not lie within the page, beside those that scroll by themselves.
OUTSIDE = """[...document.querySelectorAll('main *')]
    .filter(e => !e.closest('.scroll, .hidden, details:not([open]), svg'))
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(e => e.outerHTML.slice(0, 80))"""


@pytest.fixture
def browser(tmp_path):
    with Browser(tmp_path / "profile") as found:
        yield found


def show(browser, file):
    browser.open(file.as_uri())
    browser.wait(READY)


def settled(browser, file):
    """It drew every chart, complained of nothing and asked for nothing but itself and what is inside it."""
    assert browser.run("document.querySelectorAll('figure.chart').length") >= 3
    assert browser.run("[...document.querySelectorAll('.plot')].every(p => p.querySelector('.curve'))")
    assert browser.complaints() == []
    assert {a for a in browser.addresses() if not a.startswith("data:")} == {file.as_uri()}


@pytest.mark.parametrize("width", [390, 1280])
def test_a_run_is_drawn_at_any_width_and_nothing_leaves(browser, tmp_path, width):
    folder = write_run(tmp_path / "runs" / "mine", [*HOSTILE, "a" * 300], epochs=40)
    browser.width(width)
    show(browser, write_page(folder))
    settled(browser, folder / "report.html")
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(OUTSIDE) == []
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth)")
    # What a page of a stranger might try.
    assert browser.run("fetch('https://example.com/').then(() => 'left', () => 'kept')") == "kept"
    assert browser.run("""(() => { const s = document.createElement('script'); s.textContent = 'window.broken = 1';
        document.body.append(s); return window.broken === undefined; })()""")
    assert any("Content Security Policy" in c for c in browser.complaints())


def test_a_chart_zooms_by_mouse_buttons_and_keyboard(browser, tmp_path):
    folder = write_run(tmp_path / "mine", epochs=40)
    browser.width(1280)
    show(browser, write_page(folder))
    assert max(browser.run(TICKS)) == 40
    place = f"{PLOT}.getBoundingClientRect()"
    x, y, wide = (browser.run(f"{place}.{side}") for side in ("left", "top", "width"))

    def mouse(kind, at, **more):
        browser.ask("Input.dispatchMouseEvent", type=kind, x=x + at * wide, y=y + 90, **more)

    mouse("mouseMoved", 0.5)
    spoken = browser.run("document.querySelector('#chart-epochs-0 .readout').textContent")
    assert spoken.startswith("epoch ")
    assert "train " in spoken
    assert "val " in spoken
    mouse("mousePressed", 0.3, button="left", buttons=1, clickCount=1)
    mouse("mouseMoved", 0.4, button="left", buttons=1)
    mouse("mouseReleased", 0.5, button="left", clickCount=1)
    zoomed = browser.run(TICKS)
    assert min(zoomed) > 5
    assert max(zoomed) < 25
    browser.run(f"{PLOT}.focus()")

    def press(key):
        browser.ask("Input.dispatchKeyEvent", type="keyDown", key=key, text=key if len(key) == 1 else "")
        browser.ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    press("0")
    assert max(browser.run(TICKS)) == 40
    press("ArrowRight")
    assert browser.run("document.querySelector('#chart-epochs-0 .readout').textContent").startswith("epoch 1: ")
    press("+")
    assert max(browser.run(TICKS)) < 40
    browser.run("document.querySelector('#chart-epochs-0 .tools button:last-child').click()")
    assert max(browser.run(TICKS)) == 40
    before = browser.run(f"{PLOT}.querySelectorAll('.curve').length")
    browser.run("document.querySelector('#chart-epochs-0 .legend button').click()")
    assert browser.run(f"{PLOT}.querySelectorAll('.curve').length") == before - 1
    browser.run("document.querySelector('#chart-epochs-0-numbers').open = true")
    browser.wait("document.querySelectorAll('#chart-epochs-0-numbers tbody tr').length === 40")


def test_tables_sort_and_settings_are_found(browser, tmp_path):
    folder = write_run(tmp_path / "mine", ["b", "a", "c"])
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    for i, row in enumerate(metrics["classes"]):
        metrics["classes"][row] = {**metrics["classes"][row], "mAP50": [0.2, None, 0.9][i]}
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    show(browser, write_page(folder))
    rows = "[...document.querySelectorAll('#classes table.sortable tbody th')].map(h => h.textContent).join('')"
    column = "[...document.querySelectorAll('#classes table.sortable thead button')].find(b => b.textContent === '{}')"
    browser.run(f"{column.format('mAP50')}.click()")
    assert browser.run(rows) == "cba"  # what was not measured is last
    browser.run(f"{column.format('mAP50')}.click()")
    assert browser.run(rows) == "bca"
    browser.run(f"{column.format('class')}.click()")
    assert browser.run(rows) in ("abc", "cba")
    browser.run("""(() => { const f = document.getElementById('find-setting'); f.value = 'cosine';
        f.dispatchEvent(new Event('input')); })()""")
    kept = "[...document.querySelectorAll('#settings tbody tr:not(.filtered) th')].map(h => h.textContent)"
    assert browser.run(kept) == ["cos_lr"]


@pytest.mark.parametrize("width", [390, 1280])
def test_a_study_is_drawn_at_any_width(browser, tmp_path, width):
    out = write_study(tmp_path / "s", {"plain": 0.5, "fla" * 40: 0.8}, seeds=2)
    browser.width(width)
    show(browser, write_page(out))
    settled(browser, out / "report.html")
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(OUTSIDE) == []


def test_a_served_page_renews_itself_and_keeps_what_the_reader_did(browser, tmp_path):
    folder = write_run(tmp_path / "mine", epochs=10, done=False)
    with RunLock(folder), open_server(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        try:
            browser.open(address)
            browser.wait(READY)
            browser.run("document.querySelector('#chart-epochs-0 .tools button').click()")
            browser.run("document.getElementById('defaults').open = true")
            low = min(browser.run(TICKS))
            row = (folder / "results.csv").read_text(encoding="utf-8").splitlines()[-1]
            with (folder / "results.csv").open("a", encoding="utf-8") as file:
                file.write(f"11{row[2:]}\n")
            browser.wait("document.getElementById('state').textContent.includes('epoch 11 of 3')", 20)
            assert min(browser.run(TICKS)) == low
            assert low > 1
            assert browser.run("document.getElementById('defaults').open")
            assert browser.complaints() == []
            assert all(a.startswith((address, "data:")) for a in browser.addresses())
        finally:
            server.shutdown()
            thread.join()
    time.sleep(0.1)
    browser.wait("document.getElementById('news').textContent.includes('has ended')", 20)
