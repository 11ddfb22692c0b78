"""The command line: words → options → one function of a room to the left."""

from ultralytics.cli.command import COMMANDS
from ultralytics.cli.program import MODES, main
from ultralytics.cli.specials import SPECIALS

__all__ = ["COMMANDS", "MODES", "SPECIALS", "main"]
