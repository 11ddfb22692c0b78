"""Compile the kernels for a card that is not there: registers, spilled bytes and shared memory by ptxas, one JSON line
per kernel.

    python -m tests.nn.ops.compiled [capability=90 channels=256 head=32 dtype=bf16 kernel=5 power=3 key=32 warps=4 …]
"""

import contextlib
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ultralytics.nn.modules.attention import EPS
from ultralytics.nn.ops import fla_kernels as kernels
from ultralytics.nn.ops.fla_launch import blocks_of, padded

HALF = {"qkv", "out", "grad", "dqkv", "x", "y"}  # in the layer's precision
NUMBERS = {"N", "H", "W", "tokens", "heads"}


def variants(channels, head, kernel, power, blocks):
    """Constants of each kernel."""
    fixed = {"C": channels, "D": head, "PAD": padded(head), "P": power, "EPS": EPS}
    fixed["PRECISION"] = blocks.precision
    chunked = {"BLOCK": blocks.output, "CHUNK": blocks.chunk}
    none = {"weights": None}
    return [
        (kernels.key_statistics_kernel, {**{k: fixed[k] for k in ("C", "P", "EPS")}, **chunked}),
        (kernels.state_kernel, {**fixed, **none, "APART": 3 * channels, "BLOCK": blocks.state}),
        (kernels.output_kernel, {**fixed, **chunked, "K": kernel}),
        (kernels.query_gradient_kernel, {**fixed, "BLOCK": blocks.query}),
        (kernels.state_kernel, {**fixed, "position": None, "APART": channels, "BLOCK": blocks.state}),
        (kernels.key_gradient_kernel, {**fixed, "BLOCK": blocks.key, "K": kernel}),
        (kernels.taps_gradient_kernel, {
            **{k: fixed[k] for k in ("C", "D", "PAD")}, "BLOCK": blocks.taps, "K": kernel,
        }),
    ]  # fmt: skip


def compiled(kernel, constants, dtype, capability, options):
    """Registers a thread, spilled bytes, shared bytes a block and seconds of compiling one kernel."""
    signature, attributes, given = {}, {}, {}
    for i, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name], given[(i,)] = "constexpr", constants[name]
        elif name in NUMBERS:
            signature[name] = "i32"
        else:
            signature[name] = f"*{dtype if name in HALF else 'fp32'}"
            attributes[(i,)] = [["tt.divisibility", 16]]
    started = time.perf_counter()
    made = triton.compile(
        ASTSource(kernel, signature, constexprs=given, attrs=attributes),
        target=GPUTarget("cuda", capability, 32),
        options=options,
    )
    seconds = time.perf_counter() - started
    said = assembled(made.asm["ptx"], capability)
    return {
        "kernel": kernel.__name__,
        "registers": int(re.search(r"Used (\d+) registers", said)[1]),
        "spilled": sum(map(int, re.findall(r"(\d+) bytes spill", said))),
        "shared": made.metadata.shared,
        "seconds": round(seconds, 1),
    }


def assembled(ptx, capability):
    """What ptxas says of a kernel."""
    tools = sorted((Path(triton.__file__).parent / "backends/nvidia/bin").glob("ptxas*"), reverse=True)
    name = f"sm_{capability}{'a' if capability >= 90 else ''}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.ptx"
        file.write_text(ptx, encoding="utf-8")
        for tool in tools:  # the one that comes first may be older than the text, or younger than the card
            done = subprocess.run(
                [str(tool), "-v", f"--gpu-name={name}", str(file), "-o", str(Path(folder) / "kernel.cubin")],
                capture_output=True, text=True, timeout=600, check=False,
            )  # fmt: skip
            if not done.returncode:
                return done.stderr
    raise RuntimeError(done.stderr)


def figures(capability=90, channels=256, head=32, dtype="bf16", kernel=5, power=3, only="", **blocks):
    """Compile every kernel in one way; yield a row each."""
    blocks = dataclasses.replace(blocks_of(padded(head), dtype == "fp32"), **blocks)
    for function, constants in variants(channels, head, kernel, power, blocks):
        if only in function.__name__:
            row = {"capability": capability, "channels": channels, "head": head, "dtype": dtype}
            yield row | {
                "block": constants["BLOCK"],
                **compiled(function, constants, dtype, capability, blocks.options),
            }


def value(text):
    """A number where a word is one."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


if __name__ == "__main__":
    for row in figures(**{k: value(v) for k, v in (word.split("=") for word in sys.argv[1:])}):
        print(json.dumps({"triton": triton.__version__, **row}), flush=True)
