"""A module and its arguments as text: "FLABlock(4, window_size=[10, 10])"; nothing is evaluated."""

from __future__ import annotations

import ast
from typing import Any

from ultralytics.utils.errors import ConfigError

Module = tuple[str, list[Any] | None]
EXAMPLE = "FLABlock, or FLABlock(4, window_size=[10, 10])"


def parse_module(text: str) -> Module:
    """Read a module's name and arguments from "FLABlock", "nn.Identity" or "FLABlock(4, window_size=[10, 10])".

    Returns:
        The name, and the arguments as a row has them: keyword arguments are a mapping at the end; None without
        parentheses.

    Raises:
        ConfigError: anything but a name and literals.
    """
    if not isinstance(text, str) or not text.strip():
        raise ConfigError("no module given", hint=f"module is {EXAMPLE}")
    where = f"module {' '.join(text.split())}"
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ConfigError("not a module's name or a call", where, f"such as {EXAMPLE}") from None
    name = _dotted_name(tree.func if isinstance(tree, ast.Call) else tree)
    if not name:
        raise ConfigError("not a module's name or a call", where, f"such as {EXAMPLE}")
    if not isinstance(tree, ast.Call):
        return name, None
    args = [_read_literal(a, where) for a in tree.args]
    if any(isinstance(a, dict) for a in args):
        raise ConfigError("a mapping cannot be a positional argument", where, "write NAME={…}")
    given: dict[str, Any] = {}
    for keyword in tree.keywords:
        if keyword.arg is None or keyword.arg in given:
            raise ConfigError(f"argument {keyword.arg or '**'} is repeated or unpacked", where, "write NAME=VALUE once")
        given[keyword.arg] = _read_literal(keyword.value, where)
    return name, [*args, *([given] if given else [])]


def _dotted_name(node: ast.AST) -> str:
    """Return `a.b.c` of names, "" for anything else."""
    if isinstance(node, ast.Attribute):
        inner = _dotted_name(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


def _read_literal(node: ast.expr, where: str) -> Any:
    try:
        return _as_plain(ast.literal_eval(node))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        hint = "write numbers, 'text', True, False, None, lists and mappings"
        raise ConfigError(f"argument {ast.unparse(node)} is not a literal of a YAML", where, hint) from None


def _as_plain(value: Any) -> Any:
    """Return a literal as a YAML holds it; ValueError where it cannot, on one line."""
    if isinstance(value, list | tuple):
        return [_as_plain(v) for v in value]
    if isinstance(value, dict):
        return {_as_plain(k): _as_plain(v) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and value.isprintable()):
        return value
    raise ValueError
