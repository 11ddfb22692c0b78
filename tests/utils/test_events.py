"""Events: who hears them, and how they are written."""

import json
import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.utils import events

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["figures", "text", "folder"]), values))
def test_every_line_is_strict_json(fields):
    heard = []
    with events.heard_by(heard.append):
        events.emit("epoch", **fields)
    line = events.line_of(heard[0])
    assert line.isascii()
    assert "\n" not in line
    read = json.loads(line, parse_constant=lambda name: 1 / 0)  # NaN and Infinity are no JSON
    assert list(read)[:3] == ["version", "event", "time"]
    assert set(read) == {"version", "event", "time", *fields}


def test_numbers_of_every_kind_are_numbers(tmp_path):
    found = events.plain({
        "a": np.float32(0.5), "b": torch.tensor(2.0), "c": np.int64(3), "d": math.nan, "e": [math.inf], 6: tmp_path,
        "f": 2**70, "g": True,
    })  # fmt: skip
    assert found == {
        "a": 0.5, "b": 2.0, "c": 3.0, "d": None, "e": [None], "6": str(tmp_path), "f": 2**70, "g": True
    }  # fmt: skip


def test_a_listener_that_fails_is_dropped_and_the_others_are_not():
    heard = []

    def fail(record):
        raise OSError(28, "No space left on device")

    with events.heard_by(fail), events.heard_by(heard.append):
        events.emit("start")
        events.emit("end", code=0)
    assert [r["event"] for r in heard] == ["start", "end"]
    assert not events.heard()
