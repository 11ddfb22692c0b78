import importlib.util
import json
import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]
SHARED = 99 * 1024  # bytes that a block may take on every card: of 8.6, 8.9 and 12.0, which have the least
SHAPES = [(256, 32, "bf16"), (512, 64, "bf16"), (256, 32, "fp32"), (512, 64, "fp32")]


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("channels", "head", "dtype"), SHAPES)
def test_compiled_kernels_fit_the_card(capability, channels, head, dtype):
    """The interpreter accepts what the compiler refuses; and what spills is slow. A process without the interpreter."""
    check_that_they_fit(9, capability, f"channels={channels}", f"head={head}", f"dtype={dtype}")


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("kind", ["relu", "magnitude"])
@pytest.mark.parametrize(("channels", "head", "dtype"), SHAPES)
def test_kernels_of_other_mixers_fit_the_card(capability, kind, channels, head, dtype):
    check_that_they_fit(4, capability, f"kind={kind}", f"channels={channels}", f"head={head}", f"dtype={dtype}")


def check_that_they_fit(count, capability, *words):
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.nn.ops.compiled", f"capability={capability}", *words],
        env=env, capture_output=True, text=True, timeout=1200, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == count
    for row in rows:
        assert row["spilled"] == 0, row
        assert row["shared"] <= SHARED, row
