"""Tables of options in docs/ are written from the commands: `<!-- options: NAME -->` above one says whose."""

import re

import pytest

from ultralytics.cfg.paths import CLONE
from ultralytics.cli import COMMANDS
from ultralytics.cli.help import options_table

MARK = re.compile(r"(<!-- options: (.+?) -->\n)((?:\|.*\n)*)")
DOCS = [p for p in sorted((CLONE / "docs").glob("*.md")) if MARK.search(p.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("file", DOCS, ids=lambda p: p.name)
def test_a_table_of_options_is_what_the_command_declares(file, request):
    """`pytest --rewrite` writes it."""
    text = file.read_text(encoding="utf-8")
    wanted = MARK.sub(lambda m: f"{m[1]}{options_table(COMMANDS[m[2]])}\n", text)
    if request.config.getoption("--rewrite"):
        file.write_text(wanted, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == wanted


def test_a_table_has_the_defaults_of_its_mode():
    """16 images and a score of 0.001 are those of a training."""
    rows = {row.split("`")[1]: row.split("|")[-2].strip() for row in options_table(COMMANDS["export"]).splitlines()[2:]}
    assert (rows["batch"], rows["conf"], rows["imgsz"], rows["half"]) == ("1", "0.25", "640", "False")


def test_every_option_says_what_it_is_for():
    assert DOCS
    for command in COMMANDS.values():
        assert command.help()
        assert command.example.startswith(command.name)
        for key, knob in command.knobs().items():
            assert knob.help, (command.name, key)
            if not knob.needed and knob.default is not None:
                assert knob.checked(knob.default) == (knob.default if key != "imgsz" else knob.checked(640)), key
