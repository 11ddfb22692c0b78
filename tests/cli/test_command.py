"""What a command is made of: one class, from which parsing, checking and help come."""

import inspect
from typing import ClassVar

import pytest

from ultralytics.cfg.knob import Fraction, knob, knobs_of
from ultralytics.cli import COMMANDS, main
from ultralytics.cli.command import Command
from ultralytics.data import prepare
from ultralytics.data.show import show
from ultralytics.data.subset.subset import subset
from ultralytics.models.yolo.benchmark import measure
from ultralytics.study.comparing import compare_runs
from ultralytics.study.runner import run_study
from ultralytics.utils.errors import ConfigError


@pytest.fixture
def greeting():
    """A command that is not there otherwise."""

    class Greet(Command, name="greet"):
        """Say a word to someone."""

        example = "greet who=Ada"
        who: str = knob("", "whom to greet", needed="nobody to greet")
        times: int = knob(1, "how often", low=1)
        loud: bool = knob(False, "louder")
        gain: Fraction | None = knob(None, "how loud", none="by the room")
        taken: ClassVar[list] = []

        def run(self):
            self.taken.append((self.who, self.times, self.loud, self.gain, self.given))
            return 0

    yield Greet
    del COMMANDS["greet"]


def test_one_class_is_a_whole_command(greeting, capsys):
    assert main(["greet", "who=007", "times=2", "--loud"]) == 0
    assert main(["greet", "who", "=", "Ada", "gain=0.5"]) == 0
    given = {"who": "007", "times": 2, "loud": True}
    assert greeting.taken == [("007", 2, True, None, given), ("Ada", 1, False, 0.5, {"who": "Ada", "gain": 0.5})]
    assert main(["greet", "--help"]) == 0
    out = capsys.readouterr().out
    assert "say a word to someone.\nexample: python -m ultralytics greet who=Ada" in out
    assert "  who            whom to greet\n  times          how often (1)\n" in out
    assert "  gain           how loud (by the room)" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nobody to greet (such as: python -m ultralytics greet who=Ada)"),
        (["who=Ada", "tims=2"], "unknown key 'tims' (did you mean 'times'?)"),
        (["who=Ada", "times=0"], "times=0 must be an integer of 1 or more"),
        (["who=Ada", "loud=yes"], "loud=yes must be True or False"),
        (["who=Ada", "gain=2"], "gain=2 must be a number of 0 to 1"),
        (["who=Ada", "times"], "times needs a value (times=VALUE)"),
        (["who=Ada", "louder"], "'louder' is not a key=value pair (did you mean 'loud'?)"),
    ],
)
def test_a_mistake_is_named_by_the_declaration(greeting, words, message, capsys):
    assert main(["greet", *words]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert greeting.taken == []


def test_options_of_bases_come_first():
    assert list(COMMANDS["prepare coco128"].knobs()) == [
        *("source", "out", "val", "test", "seed", "images", "download", "mirror")
    ]


PYTHON = {
    **{f"prepare {kind}": getattr(prepare, f"prepare_{kind}") for kind in COMMANDS["prepare"].kinds()},
    "subset": subset,
    "show": show,
    "compare": compare_runs,
    "study": run_study,
    "benchmark": measure,
}


@pytest.mark.parametrize("name", PYTHON)
def test_defaults_are_those_of_the_function_behind_it(name):
    """What --help says is what happens: an option that is not typed is not passed on."""
    parameters = inspect.signature(PYTHON[name]).parameters
    for key, option in COMMANDS[name].knobs().items():
        default = parameters[key].default if key in parameters else inspect.Parameter.empty
        if default is not inspect.Parameter.empty and option.default is not None:
            assert (option.default or None) == (default or None), (name, key)


def test_the_annotation_is_the_type():
    class Some:
        a: int | None = knob(None, "")
        b: float = knob(0.5, "")
        c: bool | str = knob(True, "")
        d: list[int] | int | None = knob(None, "")
        e: Fraction = knob(0.1, "")

    found = knobs_of(Some)
    assert [(k.kind, k.optional) for k in found.values()] == [
        ("int", True), ("float", False), ("path", False), ("any", True), ("fraction", False),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="b=None is not possible"):
        found["b"].checked(None)
