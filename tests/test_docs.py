"""What the pages name is there: files, classes and functions of docs/architecture.md, and the links of every page."""

import ast
import functools
import re
from pathlib import Path

import pytest

import ultralytics
from tests.helpers.markdown import CODE, LINK, anchors

PACKAGE = Path(ultralytics.__file__).parent
CLONE = PACKAGE.parent
PAGES = sorted((*CLONE.glob("README*.md"), *(CLONE / "docs").rglob("*.md")))
ARCHITECTURE = CLONE / "docs" / "architecture.md"
INVENTED = re.compile(r"NAME|\bMy|^my\b")  # as the page says


@functools.cache
def names_of(file):
    """The names that a Python file defines or imports, those in classes as Class.name."""

    def names(body, prefix):
        for node in body:
            found = {getattr(node, "name", "")} if not isinstance(node, ast.ExceptHandler) else set()
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found = {alias.asname or alias.name for alias in node.names}
            yield from (prefix + name for name in found if name)
            if isinstance(node, ast.ClassDef):
                yield from names(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.If | ast.Try | ast.With):
                yield from names(node.body, prefix)

    return set(names(ast.parse(file.read_text(encoding="utf-8")).body, ""))


def missing(text):
    """What a page names in `code` and is not there: `file.py`, `file.py:name`, `file.yaml`, `folder/`.

    A path starts at ultralytics/ or at the clone; below a heading `### folder/` also at that folder.
    """
    lost, here = [], PACKAGE
    for line in CODE.sub("", text).splitlines():
        heading = re.match(r"#+ ", line)
        if heading:
            package = re.fullmatch(r"### `(\w+)/`", line)
            here = PACKAGE / package[1] if package else PACKAGE
        for token in re.findall(r"`([^`]+)`", line):
            parts = re.fullmatch(r"([\w./-]+\.(?:py|md|json|sh)|(?:[\w.-]+/)+)(?::([\w.]+))?", token)
            if parts is None or INVENTED.search(token):
                continue
            file = next((p for p in (root / parts[1] for root in (here, PACKAGE, CLONE)) if p.exists()), None)
            if file is None or (parts[2] and parts[2] not in names_of(file)):
                lost.append(token)
    return lost


def test_what_the_architecture_names_is_there():
    text = ARCHITECTURE.read_text(encoding="utf-8")
    assert missing(text) == []
    assert len(re.findall(r"`[\w./]+\.py:\w", text)) > 50


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("`utils/loss.py:BboxLoss` and `utils/losses.py`", ["utils/losses.py"]),
        ("`utils/tal.py:TaskAlignedAssigner.alignment`, `utils/tal.py:alignment`", ["utils/tal.py:alignment"]),
        ("### `data/`\n`check/rules.py`\n## Next\n`check/rules.py`", ["check/rules.py"]),
        ("`tests/utils/test_loss.py`, `no/folder/`, `data/prepare/NAME.py`, `a / b`", ["no/folder/"]),
    ],
)
def test_what_is_not_there_is_noticed(text, lost):
    assert missing(text) == lost


def test_every_package_is_described():
    headings = re.findall(r"^### `(\w+)/`$", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    packages = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()}
    assert set(headings) == packages
    assert len(headings) == len(packages)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(CLONE).as_posix())
def test_links_lead_somewhere(page):
    for target in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), target
