"""Compile the kernels for a card that is not there: registers, spilled bytes and shared memory by ptxas, one JSON line
per kernel.

    python -m tests.nn.ops.compiled [capability=90 channels=256 head=32 dtype=bf16 kernel=5 power=3 key=32 warps=4 …]
    python -m tests.nn.ops.compiled kind=relu  # or magnitude: those of `linear_mix`
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

from ultralytics.nn.ops import fla_kernels as kernels
from ultralytics.nn.ops.fla_launch import (
    TOGETHER,
    arranged,
    blocks_of,
    linear_blocks_of,
    padded,
    statistics_of,
    walking,
)

HALF = {"qkv", "out", "grad", "dqkv", "x", "v", "taps", "bias"}  # in the layer's precision
NUMBERS = {"N", "H", "W", "tokens", "deep"}
OPTIONS = {"num_warps", "num_stages", "enable_fp_fusion"}


def variants(channels, head, kernel, power, blocks):
    """Constants of each kernel, and how it is launched."""
    heads = channels // head
    fixed, walked = arranged(channels, heads, power, blocks), walking(channels, heads, kernel, blocks)
    shared = {**fixed, "KIND": "focused"}
    pad = {"HEADS_PAD": 1 << (heads - 1).bit_length()}
    there = {"X_APART": 3 * channels, "OUT_APART": channels, "FLIP": False, "v": None, "partial": None}
    back = {"X_APART": channels, "OUT_APART": 3 * channels, "FLIP": True, "bias": None}
    gradients = [back]
    if blocks.apart or kernel > TOGETHER:
        gradients = [back | {"partial": None}, back | {"out": None}]
    return [
        (kernels.statistics_kernel, statistics_of(channels, power, blocks)),
        (kernels.state_kernel, {**shared, "BLOCK": blocks.state}),
        (kernels.convolution_kernel, {**walked, **there}),
        (kernels.output_kernel, {**shared, "BLOCK": blocks.output, "ADD": True}),
        (kernels.query_state_kernel, {**shared, "BLOCK": blocks.state, "dqkv": None}),
        *((kernels.convolution_kernel, {**walked, **one}) for one in gradients),
        (kernels.value_gradient_kernel, {**shared, "BLOCK": blocks.value, "ADD": True, "state": None}),
        (kernels.query_gradient_kernel, {**fixed, **pad, "BLOCK": blocks.query}),
        (kernels.key_gradient_kernel, {**fixed, **pad, "BLOCK": blocks.key}),
    ]


def linear_variants(channels, head, kind, blocks):
    """The same of the kernels of `linear_mix`."""
    fixed = {**arranged(channels, channels // head, 1, blocks), "KIND": kind, "sigma": None, "stats": None}
    own = {"along": None} | ({"state": None} if kind == "relu" else {})
    return [
        (kernels.state_kernel, {**fixed, "BLOCK": blocks.state}),
        (kernels.output_kernel, {**fixed, "BLOCK": blocks.output, "ADD": False}),
        (kernels.query_state_kernel, {**fixed, "BLOCK": blocks.state, "dzeta": None}),
        (kernels.value_gradient_kernel, {**fixed, **own, "BLOCK": blocks.value, "ADD": False}),
    ]


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


def figures(capability=90, channels=256, head=32, dtype="bf16", kernel=5, power=3, only="", kind="focused", **blocks):
    """Compile every kernel in one way; yield a row each."""
    default = blocks_of if kind == "focused" else linear_blocks_of
    blocks = dataclasses.replace(default(padded(head), dtype == "fp32"), **blocks)
    made = linear_variants(channels, head, kind, blocks)
    if kind == "focused":
        made = variants(channels, head, kernel, power, blocks)
    for function, constants in made:
        if only in function.__name__:
            options = {k: v for k, v in constants.items() if k in OPTIONS}
            constants = {k: v for k, v in constants.items() if k not in OPTIONS}
            row = {"capability": capability, "channels": channels, "head": head, "dtype": dtype}
            block = constants.get("BLOCK", constants.get("ROWS"))
            yield row | {"block": block, **compiled(function, constants, dtype, capability, options)}


def value(text):
    """A number where a word is one."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


if __name__ == "__main__":
    for row in figures(**{k: value(v) for k, v in (word.split("=") for word in sys.argv[1:])}):
        print(json.dumps({"triton": triton.__version__, **row}), flush=True)
