"""How the code is written: sizes, names, words and types. The measures say when a thing asks to be two.

What is larger for a reason says it in a comment on its first line: `class Name:  # size: the reason`.
"""

import ast
import collections
import gc
import re
from pathlib import Path

from tests.helpers.code import FILES, PACKAGE, every, tree_of

CLONE = PACKAGE.parent
FUNCTION, FILE, CLASS, ATTRIBUTES = 60, 500, 250, 12
# Words of another day, and the field's for them.
WORDS = {
    r"[Tt]old": "message, text, reason, reported, logged",
    r"[Mm]end(s|ed|ing)?": "hint, fix",
    r"[Pp]ictures?": "image for what is read or trained on, plot or figure for what is drawn",
    r"[Dd]ata sets?": "dataset",
    r"[Ss]poilt": "not finite",
    r"taken_up": "resumed_from",
    r"[Ww]hence|[Ww]hilst|[Tt]hereof|[Hh]ereby": "plain words",
}
# Docstrings name what a function does; these openings describe what it is.
OPENINGS = re.compile(r"(What|Whether|Where|Who|How|Whose)\b")
# Pages that users read, and turns of phrase that cost them a second look.
PAGES = [*(CLONE / n for n in ("README.md", "CHANGELOG.md")), *sorted((CLONE / "docs").glob("*.md"))]
QUAINT = re.compile(
    r"\b(all the same|a word of|without a word|for ever|go on|goes on|going on|of one's own|brought)\b", re.IGNORECASE
)
SIZE = re.compile(r"#\s*size: \S+ \S+")


def setup_module():
    gc.disable()  # a million nodes, and no garbage among them


def teardown_module():
    tree_of.cache_clear()
    gc.enable()


def length(node):
    return node.end_lineno - node.lineno + 1


def attributes(node):
    """What a class's instances hold: fields of a dataclass, and what its methods assign to self."""
    found = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    for n in ast.walk(node):
        if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and getattr(n.value, "id", "") == "self":
            found.add(n.attr)
    return found


@every(FILES)
def test_nothing_is_longer_than_can_be_read_at_once(file):
    lines, tree = file.read_text(encoding="utf-8").splitlines(), tree_of(file)
    assert len(lines) <= FILE, f"{len(lines)} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not SIZE.search(lines[node.lineno - 1]):
            assert length(node) <= FUNCTION, f"{file}:{node.lineno} {node.name} has {length(node)} lines"
        if isinstance(node, ast.ClassDef) and not SIZE.search(lines[node.lineno - 1]):
            assert length(node) <= CLASS, f"{file}:{node.lineno} {node.name} has {length(node)} lines"
            held = attributes(node)
            assert len(held) <= ATTRIBUTES, f"{file}:{node.lineno} {node.name} holds {len(held)}: {sorted(held)}"


def modules_imported(tree, modules):
    """The modules of the package that a file imports, those for types alone included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def circles(graph):
    """The groups of nodes of a graph, node → nodes, that lead back to themselves (Tarjan)."""
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for following in graph[node]:
            if following not in number:
                visit(following)
            if following in stack:
                low[node] = min(low[node], low[following])
        if low[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in number:
            visit(node)
    return found


def test_no_files_import_each_other_in_a_circle():
    """Imports for types alone count: two files that need each other's types are one thing in two places."""
    names = {f: ".".join(f.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for f in FILES}
    modules = set(names.values())
    modules.discard("ultralytics")  # a door for scripts; nothing of ours asks it
    graph = {n: set(modules_imported(tree_of(f), modules)) & modules - {n} for f, n in names.items() if n in modules}
    assert circles(graph) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


# The reference's signatures: `validator(trainer, model)` and `model.train(trainer=MyTrainer)`, a class.
PUBLIC = {("engine/validator.py", "__call__"), ("models/yolo/model.py", "train")}


def test_nothing_but_the_trainer_takes_a_trainer():
    """Callbacks are called with one."""
    for file in FILES:
        name = file.relative_to(PACKAGE).as_posix()
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.FunctionDef) and "trainer" in {
                a.arg for a in ast.walk(node.args) if hasattr(a, "arg")
            }:
                allowed = file.name in ("trainer.py", "callbacks.py") or (name, node.name) in PUBLIC
                assert allowed, f"{file}:{node.lineno} {node.name}"


UNTYPED = re.compile(r"\b(Any|object|Mapping)\b")


@every(FILES)
def test_a_batch_is_a_batch_in_every_signature(file):
    if file.relative_to(PACKAGE).as_posix() == "utils/types.py":
        return
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.arg) and node.arg == "batch" and node.annotation is not None:
            assert not UNTYPED.search(ast.unparse(node.annotation)), f"{file}:{node.lineno}"


def test_a_private_name_of_one_word_is_of_one_file():
    where = collections.defaultdict(list)
    for file in FILES:
        for node in tree_of(file).body:
            if isinstance(node, ast.FunctionDef) and re.fullmatch(r"_[a-z]+", node.name):
                where[node.name].append(file.relative_to(PACKAGE).as_posix())
    assert {name: files for name, files in where.items() if len(files) > 1} == {}


# Rooms whose public functions begin with a verb: no article, no symbol, no plural that names what comes out.
IMPERATIVE = ("cfg/", "engine/run/", "engine/weights/", "engine/results.py", "models/yolo/")
NOUN = re.compile(r"(A|An|The|All|Its|Each|No|One|Names|Keys|Values|Numbers?|Batches|Counts|Lines|[^A-Z\"].*)\b")


@every(FILES)
def test_a_public_docstring_begins_with_a_verb(file):
    if not file.relative_to(PACKAGE).as_posix().startswith(IMPERATIVE):
        return
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node) or ""
            is_property = any("property" in ast.unparse(d) for d in node.decorator_list)
            assert is_property or not NOUN.match(text), f"{file}:{node.lineno} {node.name}: {text.splitlines()[0]}"


# Public names that two files may share, each with its reason.
SHARED = {
    **dict.fromkeys(
        ("clip_boxes", "scale_boxes", "imread", "imwrite", "select_device"), "the reference's, beside ours"
    ),
    **dict.fromkeys(("Run", "Study", "Source", "Fetched"), "a command, and what it is about"),
    "Classify": "a head, and a command: the reference's word for both",
    "OBB": "a head, and rotated boxes of an image: the reference's",
    "Format": "of a dataset, and of an exported file",
    "Job": "of a study, and of an export",
    "Sizes": "that compiled code has seen, and that an exported file takes",
    "Trial": "of a training's shapes, and of an exported file",
    "Task": "of a detector, and of a cluster",
    "Choice": "of images, and of a number of threads",
    "Group": "of parameters, and of equal images",
    "Header": "of an image file, and of an annotated image",
    "Memory": "that a batch lies in, and that a training needs",
    "Record": "of a run of a study, and of a checked image",
    "Written": "by prepare, and by subset",
    "describe": "a device, and the rates of a run",
}


def test_a_public_name_means_one_thing():
    """A class in the whole package, a function in its room; rules of check-data are named by what they find."""
    where = collections.defaultdict(set)
    for file in FILES:
        name = file.relative_to(PACKAGE).as_posix()
        for node in tree_of(file).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                room = name.split("/")[0] if isinstance(node, ast.FunctionDef) else ""
                if not name.startswith("data/check/"):
                    where[room, node.name].add(name)
    found = {name: sorted(files) for (_, name), files in where.items() if len(files) > 1 and name not in SHARED}
    assert found == {}


@every(FILES)
def test_a_docstring_says_what_a_function_does(file):
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            assert not OPENINGS.match(text), f"{file}:{node.lineno} {node.name}: {text.splitlines()[0]}"


@every([*FILES, *PAGES])
def test_the_words_are_the_fields(file):
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        for word, better in WORDS.items():
            found = re.search(rf"(?<![A-Za-z])(?:{word})(?![A-Za-z])", line)
            assert not found, f"{file}:{number} {found[0]!r}: {better}"


@every(PAGES)
def test_pages_are_plain(file):
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        found = QUAINT.search(line)
        assert not found, f"{file}:{number} {found[0]!r}"
        assert file.name != "README.md" or len(line) <= 200, f"{file}:{number} has {len(line)} characters"


def test_no_test_file_imports_from_another():
    """What two of them use is in tests/helpers; programs that tests start count too, so the text is read."""
    pattern = re.compile(r"^\s*(?:from|import) tests\.(?:\w+\.)*test_\w+", re.MULTILINE)
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        found = pattern.search(file.read_text(encoding="utf-8"))
        assert not found, f"{file}: {found[0]}"
    assert pattern.search("import re\nfrom tests.models.test_resume import settings_of\n")


def test_a_number_of_cores_is_asked_for_in_one_place():
    asking = [f for f in FILES if "sched_getaffinity" in f.read_text(encoding="utf-8")]
    assert [f.relative_to(PACKAGE).as_posix() for f in asking] == ["utils/threads.py"]
