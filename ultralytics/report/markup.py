"""HTML that nothing can break out of: text is escaped unless it was made here, and data for charts is escaped JSON.

No `style=` and no handler is ever written: the page's Content-Security-Policy forbids both.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ultralytics.utils.text import printable

VOID = ("br", "img", "input", "meta")
POINTS = 2000  # of a line, in the page
# What ends a script or begins a comment in one, and line ends that JavaScript knows and JSON does not.
_IN_SCRIPTS = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class Html(str):
    """Text that is HTML already; only `tag`, `text` and `join` make it."""

    __slots__ = ()


def text(value: object) -> Html:
    """Return anything as escaped text; HTML stays as it is, None is nothing."""
    if isinstance(value, Html):
        return value
    return Html("" if value is None else html.escape(printable(str(value))))


def join(parts: Iterable[object]) -> Html:
    """Return parts one after the other, each escaped by `text`."""
    return Html("".join(text(p) for p in parts))


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """Return an element.

    Args:
        name: of the element; content: its children, see `text`.
        attributes: `class_` is class and `aria_label` aria-label; True stands alone, None and False are left out.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{html.escape(printable(str(value)))}"')
    opened = f"<{' '.join(words)}>"
    return Html(opened if name in VOID else f"{opened}{join(content)}</{name}>")


def items(lines: Sequence[object], **attributes: object) -> Html:
    """Return a list; nothing where it is empty."""
    return tag("ul", *(tag("li", line) for line in lines), **attributes) if lines else Html()


def facts(rows: Iterable[tuple[object, object]], **attributes: object) -> Html:
    """Return names and values as a list of terms."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows), **attributes)


def details(summary: object, *content: object, id_: str = "", opened: bool = False) -> Html:
    """Return what can be folded away."""
    return tag("details", tag("summary", summary), *content, id_=id_ or None, open=opened)


def command(line: str) -> Html:
    """Return a command that a click selects."""
    return tag("pre", tag("code", line), class_="command", tabindex=0)


def table(
    caption: str, head: Sequence[object], rows: Sequence[Sequence[object]], sortable: bool = False, words: int = 1
) -> Html:
    """Return a table in a region that scrolls by itself.

    Args:
        caption: what it shows; head: of the columns; rows: cells, the first of each row being its head.
        sortable: buttons in the head sort it; words: how many of the first columns hold text, not numbers.
    """

    def of_column(i: int) -> str | None:
        return None if i < max(words, 1) else "number"

    cells = [
        [tag("th", cell, scope="row") if i == 0 else tag("td", cell, class_=of_column(i)) for i, cell in enumerate(row)]
        for row in rows
    ]
    return scrolled(
        caption,
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", *(tag("th", h, scope="col", class_=of_column(i)) for i, h in enumerate(head)))),
            tag("tbody", *(tag("tr", *row) for row in cells)),
            class_="sortable" if sortable and len(rows) > 1 else None,
        ),
    )


def scrolled(label: str, content: Html) -> Html:
    """Return wide content in a region that scrolls sideways, by the keyboard too."""
    return tag("div", content, class_="scroll", role="region", aria_label=label, tabindex=0)


def number(value: object, digits: int = 3) -> str:
    """Return a number as a reader wants it, "–" for what was not measured."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Attributes:
        name: in the legend; x, y: as many numbers, None where there is none.
        low, high: of a band around it; dashed: drawn so; dots: a dot at each number; shown: drawn from the start.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    dashed: bool = False
    dots: bool = False
    shown: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, of a long line every n-th number and the last."""
        step = max(math.ceil(len(self.x) / POINTS), 1)
        kept = sorted({*range(0, len(self.x), step), len(self.x) - 1}) if self.x else []
        data: dict[str, Any] = {"name": printable(self.name), "dashed": self.dashed, "dots": self.dots}
        data["shown"] = self.shown
        for key in ("x", "y", "low", "high"):
            values = getattr(self, key)
            if values is not None:
                data[key] = [_plain_number(values[i]) for i in kept]
        return data


def _plain_number(value: float | None) -> float | None:
    """Six digits are more than a screen shows; JSON has no NaN."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


@dataclass(frozen=True)
class Chart:
    """A chart that the page's script draws: zoomable, with values under the pointer.

    Attributes:
        key: unlike any other of the page; title, x, y: texts; lines: what is drawn.
        low, high: ends of the vertical axis, by the numbers where None; whole: the horizontal axis counts.
        about: what it shows, in words, for those who do not see it.
    """

    key: str
    title: str
    x: str
    y: str
    lines: Sequence[Curve] = field(default_factory=list)
    low: float | None = None
    high: float | None = None
    whole: bool = False
    about: str = ""

    def html(self) -> Html:
        """Return the figure; its numbers lie beside it as JSON."""
        data: dict[str, Any] = {
            "title": printable(self.title),
            "x": self.x,
            "y": self.y,
            "low": self.low,
            "high": self.high,
        }
        data |= {"whole": self.whole, "about": printable(self.about), "lines": [line.to_dict() for line in self.lines]}
        content = Html(json.dumps(data, allow_nan=False, ensure_ascii=False).translate(_IN_SCRIPTS))
        return tag(
            "figure",
            tag("figcaption", self.title),
            tag("script", content, type="application/json"),
            class_="chart",
            id=f"chart-{self.key}",
        )


def grid(parts: Sequence[Html]) -> Html:
    """Return charts or images side by side where there is room."""
    return tag("div", *parts, class_="grid") if parts else Html()


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; one without content is left out."""

    key: str
    title: str
    content: Sequence[Html]

    def html(self) -> Html:
        """Return the section."""
        label = f"{self.key}-title"
        return tag("section", tag("h2", self.title, id=label), *self.content, id=self.key, aria_labelledby=label)
