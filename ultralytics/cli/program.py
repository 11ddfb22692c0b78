"""The command line: MODE key=value …

Exit codes: 0 done, 1 a fault of ours (a traceback), 2 a mistake of the user's (one line), 130 interrupted, 141 nobody
reads the output any more, 143 ended by SIGTERM, 129 by SIGHUP; a training run has saved before it leaves with 129, 130
or 143. `predict` leaves with 2 after everything is done where a video could be read in part only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import ultralytics.cli.commands  # noqa: F401  # they register themselves
from ultralytics.cli.answer import ReaderLeftError, answer, finished
from ultralytics.cli.command import COMMANDS, PROGRAM, Command, find_command
from ultralytics.cli.help import help_of, overview, version
from ultralytics.cli.output import asked_of_rank, emit_error, split_output, writing
from ultralytics.cli.specials import SPECIALS, run_special
from ultralytics.cli.words import mode_first, read_pairs
from ultralytics.utils import console, events
from ultralytics.utils.errors import ConfigError, FinishedRunError, LostRankError, UserError
from ultralytics.utils.log import setup_console
from ultralytics.utils.processes import EndedError, ended_in_order
from ultralytics.utils.text import one_line

MODES = {c.name: c.help() for c in COMMANDS.values() if " " not in c.name}
# A full or write-protected disk, wherever it is noticed.
STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)
_PROCESSES = ("train-as-rank", "log-run", "study-run")  # what a command starts; no user types them
_HELP, _VERSION = ("-h", "--help", "help"), ("--version", "-V", "-v", "version")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        words, output = split_output(given)
    except UserError as e:
        console.say(f"error: {e}", error=True)
        return 2
    first = bool(given) and given[0] not in _PROCESSES  # of a command's processes, and of several ranks
    if not first:
        words, output = given, asked_of_rank() if given[:1] == ["train-as-rank"] else "text"
    leads = first and os.environ.get("RANK", "0") == "0"
    with writing(output) as stream:
        code = 1
        try:
            if leads:
                events.emit("start", command=words, program=version(), process=os.getpid())
            code = _run(words)
        except BaseException as e:
            code = _code_of(e)
            raise
        finally:
            if leads:
                events.emit("end", code=code)
    return 128 + 13 if stream is not None and stream.broken and not code else code


def _code_of(error: BaseException) -> int:
    """Return the exit code of a program that an error ends; a missing package is the user's, see `__main__`."""
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    package = (error.name or "ultralytics").split(".")[0] if isinstance(error, ModuleNotFoundError) else "ultralytics"
    return 1 if package == "ultralytics" else 2


def _run(words: list[str]) -> int:
    """Run what words name; returns the exit code."""
    setup_console(error=False)
    # Training has its own way to stop; ranks are ended by what has started them.
    training = _is_one_of_many() or not {"train", "train-as-rank", "study-run"}.isdisjoint(words[:2])
    try:
        with contextlib.nullcontext() if training else ended_in_order():
            return _dispatch(words)
    except EndedError as e:
        events.emit("interrupted", signal=e.signum.name, code=128 + e.signum)
        console.say(f"ended by {e.signum.name}", error=True)
        return 128 + e.signum
    except ReaderLeftError:
        return 128 + 13  # as a process that SIGPIPE ended
    except FinishedRunError as e:
        if os.environ.get("RANK", "0") == "0":
            finished(str(e), folder=e.folder)
        return 0
    except UserError as e:
        _print_error(e, " ".join(str(e).split()))
        return 2
    except LostRankError as e:
        _print_error(e, str(e))
        return 1
    except OSError as e:
        if e.errno in (errno.EMFILE, errno.ENFILE):
            _print_error(e, "no more files can be opened (raise the limit: ulimit -n)")
            return 2
        if e.errno not in STORAGE_ERRORS:
            return _raise_fault(e)
        hint = "" if e.errno == errno.ENAMETOOLONG else " (free some space or choose another project=)"
        _print_error(e, f"{one_line(str(e.filename or 'a file'))}: {e.strerror}{hint}")
        return 2
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0" and "ULTRALYTICS_LAUNCHED" not in os.environ:
            events.emit("interrupted", signal="SIGINT", code=130)
            console.say("interrupted", error=True)
        return 130
    except SystemExit as e:  # a training that a signal has ended
        if isinstance(e.code, int) and e.code > 128 and os.environ.get("RANK", "0") == "0":
            events.emit("interrupted", signal=signal.Signals(e.code - 128).name, code=e.code)
        raise
    except Exception as e:
        return _raise_fault(e)
    finally:
        setup_console(error=False)  # `--json` is over, and a program may go on
        console.settle()


def _is_one_of_many() -> bool:
    return os.environ.get("WORLD_SIZE", "1") != "1"


def _print_error(error: Exception, line: str) -> None:
    """Print an error; of several processes, the one that fails first prints it, with its rank."""
    if _is_one_of_many():
        from ultralytics.engine.ranks.lifeline import (  # torch: one process needs it not for an error
            LAUNCHED,
            leave_trace,
        )

        line = f"rank {os.environ.get('RANK', '?')}: {line}"
        if not leave_trace(error, line) or LAUNCHED in os.environ:
            return
    emit_error(error, line, 1 if isinstance(error, LostRankError) else 2)
    console.say(f"error: {line}", error=True)


def _raise_fault(error: Exception) -> int:
    """Show a fault of ours: a traceback, of several processes that of the first to fail."""
    if not _is_one_of_many():
        emit_error(error, f"{type(error).__name__}: {one_line(str(error))}".removesuffix(": "), _code_of(error))
        raise error
    from ultralytics.engine.ranks.lifeline import leave_trace  # as above

    rank = os.environ.get("RANK", "?")
    if leave_trace(error, f"rank {rank}: {type(error).__name__}: {' '.join(str(error).split())}"):
        console.tell(f"rank {rank}:\n{''.join(traceback.format_exception(error))}", sys.stderr)
    return 1


def _dispatch(words: list[str]) -> int:
    """Run what words name; returns the exit code."""
    wants_help = any(w in _HELP for w in words)
    words = [w for w in words if w not in _HELP]
    if any(w in _VERSION for w in words):
        answer(version())
        return 0
    if words and words[0] == "train-as-rank":
        from ultralytics.models.yolo.ranks import train_as_rank  # torch takes seconds to import: not for --help

        train_as_rank(words[1])
        return 0
    if words and words[0] == "log-run":
        from ultralytics.engine.loggers.serve import serve_logger  # as above

        return serve_logger(words[1])
    if words and words[0] == "study-run":
        from ultralytics.study.job import run_job as run_of_a_study  # as above

        return run_of_a_study(Path(words[1]), int(words[2]))
    words = mode_first(words)
    if not words:
        answer(overview(SPECIALS))
        return 0
    if words[0] in SPECIALS:
        return run_special(words[0], words[1:], wants_help)
    command, rest = find_command(words)
    if wants_help:
        answer(help_of(command))
        return 0
    return _run_command(command, rest)


def _run_command(command: type[Command], words: list[str]) -> int:
    """Run a command with the words behind its name; returns the exit code."""
    if command.kinds() and not command.knobs():
        what = f"unknown kind of data {words[0]!r}" if words else f"{command.name} what?"
        example = command.example.split(" | ")[-1]
        raise ConfigError(what, hint=f"one of {', '.join(command.kinds())}; such as: {PROGRAM} {example}")
    return command.read(read_pairs(words, command)).run()
