"""Each page of docs/zh has what its English page has: commands, keys, links and numbers, part by part.

When an English page changes in one of these, its Chinese page must follow. Code is the same but for comments; prose and
cells have the same `code`, link targets and numbers, in any order.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

import ultralytics
from tests.helpers.markdown import CODE, LINK, anchors

DOCS = Path(ultralytics.__file__).parent.parent / "docs"
INDEX = DOCS / "zh" / "README.md"
PAGES = sorted(p.name for p in (DOCS / "zh").glob("*.md") if p != INDEX)
CHINESE = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")
SPAN = re.compile(r"`([^`]+)`")
NUMBER = re.compile(r"(?<![A-Za-z_\d.])(\d+(?:,\d{3})*(?:\.\d+)?)(?: ?(million|亿|万))?")
UNITS = {"": 1, "million": 10**6, "亿": 10**8, "万": 10**4}
COMMENT = re.compile(r"(?:^|\s)(?:#|//)\s")
PATH = re.compile(r"[A-Za-z0-9_.*-]*/[A-Za-z0-9_.*/-]+")

each = pytest.mark.parametrize("name", PAGES)


def read(file):
    return file.read_text(encoding="utf-8")


def cells(row):
    return [c.strip() for c in re.split(r"(?<!\\)\|", row.strip())[1:-1]]


def parts(text):
    """A page as (kind, text): the lines of code, headings by level, table rows, list items and paragraphs."""
    found, code, open_ = [], False, False
    for line in text.splitlines():
        if line.startswith("```"):
            code = not code
            found += [(line, "")] if code else []
        elif code:
            found.append(("code", line))
        elif kind := re.match(r"#+ |\||- |\d+\. |<!--", line):
            found.append((kind[0].strip(), line))
        elif line.strip() and open_:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        elif line.strip():
            found.append(("paragraph", line))
        open_ = not code and bool(line.strip()) and not re.match(r"```|#+ |\||<!--", line)
    return found


def code_of(line, chinese):
    """What a line of code must share with its translation, `chinese`: all of it, or all but the comment."""
    if not CHINESE.search(chinese):
        return line
    if comment := COMMENT.search(line):
        return line[: comment.start()].rstrip()
    return PATH.findall(line)


def numbers(text):
    found = NUMBER.findall(re.sub(r"\([^)\s]*\.(?:md|py|jpg)[^)\s]*\)", "", SPAN.sub("", text)))
    return Counter(float(number.replace(",", "")) * UNITS[unit] for number, unit in found)


def said(text):
    """What prose must share with its translation."""
    return set(SPAN.findall(text)), numbers(text)


def differences(english, chinese):
    """The first part of two pages that differs, as text, or None."""
    ours, theirs = parts(english), parts(chinese)
    for (kind, text), (other, translated) in zip(ours, theirs, strict=False):
        where = f"{text!r}\n{translated!r}"
        if kind != other:
            return f"{kind} and {other}: {where}"
        if kind == "<!--" and text != translated:
            return where
        if kind == "code" and code_of(text, translated) != code_of(translated, translated):
            return where
        if kind == "|" and len(cells(text)) != len(cells(translated)):
            return f"cells: {where}"
        if kind != "code":
            pairs = zip(cells(text), cells(translated), strict=True) if kind == "|" else [(text, translated)]
            for one, two in pairs:
                if said(one) != said(two):
                    only = [f"{a - b or ''} {b - a or ''}".strip() for a, b in zip(said(one), said(two), strict=True)]
                    return f"{' '.join(only)}: {where}"
    return None if len(ours) == len(theirs) else f"{len(ours)} and {len(theirs)} parts"


def targets(page):
    """Where the links of a page lead: (file, heading); of a page with a translation the English file and a number."""
    found = []
    for target in LINK.findall(CODE.sub("", read(page))):
        if re.match(r"[a-z]+:", target):
            found.append((target, ""))
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        translated = file.parent.name == "zh" or (file.parent == DOCS and file.name in PAGES)
        heading = anchors(read(file)).index(anchor) if anchor and translated else anchor
        found.append(((DOCS / file.name if translated else file), heading))
    return found


@each
def test_a_chinese_page_has_what_the_english_one_has(name):
    english, chinese = read(DOCS / name), read(DOCS / "zh" / name)
    found = differences(english, chinese)
    assert found is None, f"docs/zh/{name} does not follow docs/{name}: {found}"
    assert Counter(targets(DOCS / name)) == Counter(targets(DOCS / "zh" / name))


@each
def test_the_two_pages_lead_to_each_other(name):
    assert read(DOCS / name).splitlines()[2] == f"[中文](zh/{name})"
    assert read(DOCS / "zh" / name).splitlines()[2] == f"[English](../{name})"


@each
def test_chinese_links_stay_chinese(name):
    """Where a page has a translation, its Chinese readers get that, apart from the line at the top."""
    for target in LINK.findall("\n".join(read(DOCS / "zh" / name).splitlines()[3:])):
        file = (DOCS / "zh" / target.partition("#")[0]).resolve()
        assert file.parent != DOCS or file.name not in PAGES, target


def test_each_index_lists_every_page():
    pages = [p.name for p in DOCS.glob("*.md") if p.name != "README.md"]
    for index, wanted in (
        (DOCS / "README.md", pages),
        (INDEX, [name if name in PAGES else f"../{name}" for name in pages]),
    ):
        listed = [t for t in LINK.findall(read(index)) if "README" not in t]
        assert Counter(listed) == Counter(wanted), index


def test_the_english_index_marks_the_pages_with_a_twin():
    assert sorted(re.findall(r"\]\(([\w-]+\.md)\)\*", read(DOCS / "README.md"))) == PAGES


@pytest.mark.parametrize("page", [*PAGES, INDEX.name])
def test_chinese_has_its_own_punctuation(page):
    text = CODE.sub("", read(DOCS / "zh" / page))
    for line in re.sub(r"\]\([^)]*\)", "]", SPAN.sub("`", text)).splitlines():
        found = re.search(r"[\u3400-\u9fff][,;:?!()]|[,;:?!][\u3400-\u9fff]", line)
        assert found is None, f"{found[0]!r} in {line!r}"


@each
def test_tables_are_whole(name):
    """A `|` inside a cell splits it, also in code: each row has the cells of its heading."""
    for file in (DOCS / name, DOCS / "zh" / name):
        width = 0
        for kind, text in parts(read(file)):
            width = (width or len(cells(text))) if kind == "|" else 0
            assert not width or len(cells(text)) == width, text


PAGE = """# Title

Run `a=1` on 2 of 1,000 images, up to 3 million.

```bash
run a=1    # a comment
```

| key | value |
|---|---|
| `b` | 0.5 |

- one
  item
"""
SAME = """# 标题

最多 300 万张；在 1,000 张图片中的 2 张上运行 `a=1`。

```bash
run a=1    # 注释
```

| 键 | 值 |
|---|---|
| `b` | 0.5 |

- 一项
"""


def test_a_translation_is_accepted():
    assert differences(PAGE, SAME) is None
    assert differences(SAME, SAME) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("run a=1    #", "run a=2    #"),
        ("`a=1` on", "`a=2` on"),
        ("2 of", "4 of"),
        ("3 million", "3"),
        ("# Title", "## Title"),
        ("| 0.5", "| 0.6"),
        ("`b`", "`c`"),
        ("- one\n  item", "- one\n- item"),
        ("```bash", "```"),
        ("run a=1    # a comment\n", "run a=1    # a comment\nrun b\n"),
        ("\n- one", "\nOne more sentence.\n\n- one"),
        ("| 0.5 |", "| 0.5 | |"),
        ("  item\n", "  item\n\n```bash\nrun\n```\n"),
    ],
)
def test_a_page_that_changes_is_noticed(old, new):
    assert PAGE.count(old) == 1
    assert differences(PAGE.replace(old, new), SAME)
