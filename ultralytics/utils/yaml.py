"""YAML files of a user's or a stranger's, as plain data: numbers, text, truth values, lists and mappings.

PyYAML's safe loader makes no objects; what is added here is that a small file stays small. Anchors may be used, but not
to make a value that contains itself or grows beyond bounds; a key that stands twice in a mapping is a mistake, of which
PyYAML would keep the second without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ultralytics.utils.errors import UserError
from ultralytics.utils.files import read_text

MAX_BYTES = 2**20  # the names of 20,000 classes take a third of it
MAX_DEPTH = 50
MAX_DIGITS = 100  # of a whole number; Python takes 4,300 at most
MAX_VALUES = 200_000  # those of an anchor counted wherever it is used
_PREFIX = "tag:yaml.org,2002:"
_TAGS = frozenset(_PREFIX + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge"))


class _Loader(yaml.SafeLoader):
    """The safe loader without dates (`name: 2024-01-01` is text) and values written `=`."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor(f"{_PREFIX}merge", lambda _, node: node.value)  # `<<` merges as a key, else it is text


@dataclass(frozen=True)
class Document:
    """A YAML file."""

    data: Any  # its content as plain data
    root: yaml.Node | None  # the same with the place of each value, None of an empty file
    text: str  # as it was read

    def written(self, key: str) -> Any:
        """Return the value of a key of the outermost mapping, every scalar in it as written; None without the key.
        YAML would make False of `off`, 8 of `010` and 90 of `1:30`.
        """
        value = None
        for name, node in self.root.value if isinstance(self.root, yaml.MappingNode) else ():
            if isinstance(name, yaml.ScalarNode) and name.value == key:
                value = as_written(node)  # of keys that are merged (<<) too, the last one counts
        return value

    def comments(self) -> dict[str, str]:
        """Return the comment behind the value of each key of the outermost mapping; of keys without one, nothing."""
        found = {}
        for name, node in self.root.value if isinstance(self.root, yaml.MappingNode) else ():
            rest = self.text[node.end_mark.index :].partition("\n")[0].strip()
            if isinstance(name, yaml.ScalarNode) and rest.startswith("# "):
                found[name.value] = rest[2:]
        return found

    def line_of(self, *path: str) -> int:
        """Return the line of a key of nested mappings, or of an entry of a list by its number, as deep as the path
        leads; 1 where it leads nowhere."""
        node, line = self.root, 1
        for name in path:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            found = next(((k, v) for k, v in pairs if isinstance(k, yaml.ScalarNode) and k.value == name), None)
            if isinstance(node, yaml.SequenceNode):
                found = next(((v, v) for i, v in enumerate(node.value) if str(i) == name), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line


def as_written(node: yaml.Node) -> Any:
    """Return a value with every scalar in it as the text it is written with; None where nothing is written."""
    if isinstance(node, yaml.MappingNode):
        return {k.value: as_written(v) for k, v in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [as_written(v) for v in node.value]
    assert isinstance(node, yaml.ScalarNode)
    return node.value if node.value or node.style else None


def read_yaml(path: Path, error: type[UserError]) -> Document:
    """Read a YAML file.

    Raises:
        error: it cannot be read, is too large, or holds what `parse_yaml` refuses; with the line.
    """
    return parse_yaml(read_text(path, error, MAX_BYTES), path, error)


def parse_yaml(text: str, path: Path, error: type[UserError]) -> Document:
    """Parse the text of a YAML file; `path` is for messages.

    Raises:
        error: not YAML, a tag, a key twice in one mapping, too many or too deeply nested values; with the line.
    """
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return Document(None, None, text)
        _Check(path, error).node(root, 0)
        return Document(loader.construct_document(root), root, text)
    except UserError:  # which may be a ValueError too
        raise
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None) or getattr(e, "context_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise error(f"not valid YAML: {getattr(e, 'problem', None) or str(e).splitlines()[0]}", where) from None
    except RecursionError:
        raise error(f"not valid YAML: nested more than {MAX_DEPTH} deep", str(path)) from None
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as e:  # `!!int x`
        raise error(f"not valid YAML: {e}", str(path)) from None
    finally:
        if loader is not None:
            loader.dispose()


class _Check:
    """Walks the nodes as they would be expanded."""

    def __init__(self, path: Path, error: type[UserError]) -> None:
        self.path, self.error = path, error
        self.values = 0
        self.within: set[int] = set()  # the nodes that the walk is in, by id

    def refuse(self, node: yaml.Node, what: str, hint: str = "") -> UserError:
        return self.error(what, f"{self.path}, line {node.start_mark.line + 1}", hint)

    def node(self, node: yaml.Node, depth: int) -> None:
        self.values += 1
        if id(node) in self.within:
            raise self.refuse(node, "a value contains itself, by an alias (*)", "write the value out")
        if depth > MAX_DEPTH:
            raise self.refuse(node, f"values are nested more than {MAX_DEPTH} deep")
        if self.values > MAX_VALUES:
            raise self.refuse(node, f"more than {MAX_VALUES:,} values, those of aliases (*) counted")
        if node.tag not in _TAGS:
            tag = f"!!{node.tag.removeprefix(_PREFIX)}" if node.tag.startswith(_PREFIX) else node.tag
            raise self.refuse(node, f"the tag {tag} is not understood", "plain values need no tag")
        if node.tag == f"{_PREFIX}int" and isinstance(node, yaml.ScalarNode) and len(node.value) > MAX_DIGITS:
            raise self.refuse(node, f"a number of {len(node.value):,} digits is too large", "put text in quotes")
        if isinstance(node, yaml.MappingNode):
            self.keys(node)
        self.within.add(id(node))
        for child in _child_nodes(node):
            self.node(child, depth + 1)
        self.within.discard(id(node))

    def keys(self, node: yaml.MappingNode) -> None:
        """Refuse a key that stands twice."""
        first: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.refuse(key, "a key must be text or a number, no list or mapping")
            if key.tag == f"{_PREFIX}merge":  # keys that are written out win over merged ones
                continue
            known = first.setdefault((key.tag, key.value), key)
            if known is not key:
                what = f"the key {key.value!r} stands in line {known.start_mark.line + 1} already"
                raise self.refuse(key, what, "keep one of them")


def _child_nodes(node: yaml.Node) -> Iterator[yaml.Node]:
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        if isinstance(child, tuple):
            yield from child
        else:
            yield child
