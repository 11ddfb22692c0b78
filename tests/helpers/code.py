"""Rules about source files: each file is parsed once for all rules of a test file, and a rule is one test of all."""

import ast
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import ultralytics

PACKAGE = Path(ultralytics.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree_of(file: Path) -> ast.Module:
    """The syntax tree of a file. All of them take 140 MB: a test file that asks ends with `tree_of.cache_clear()`."""
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def every(files: Iterable[Path]) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """Make a test of a check of one file: it checks all of them and names whatever it finds. `.check` is the check."""
    files = list(files)

    def decorate(check: Callable[[Path], None]) -> Callable[[], None]:
        def test() -> None:
            faults = []
            for file in files:
                try:
                    check(file)
                except AssertionError as e:
                    faults.append(f"{file}: {e}")
            assert files
            assert not faults, "\n".join(faults)

        test.__name__, test.__doc__, test.check = check.__name__, check.__doc__, check
        return test

    return decorate
