"""Rules of docs/architecture.md that the code must keep."""

import ast
import gc
import importlib
import re

import pytest

from tests.helpers.code import FILES, PACKAGE, every, tree_of
from ultralytics.cfg.config import KNOBS

# A room may import from itself and from rooms of a lower number.
ROOMS = {
    "utils": 0,
    "cfg": 1,
    "trackers": 2,
    "nn": 3,
    "data": 4,
    "engine": 5,
    "models": 6,
    "study": 7,
    "report": 8,
    "cli": 9,
    "__main__": 10,
    **dict.fromkeys(("hub", "solutions"), 0),  # names of the reference that are not offered
}


def setup_module():
    gc.disable()  # a million nodes, and no garbage among them


def teardown_module():
    tree_of.cache_clear()
    gc.enable()


def room(parts):
    return parts[0].removesuffix(".py")


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node, node.module
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name


@every(FILES)
def test_imports_point_one_way_and_nothing_is_evaluated(file):
    tree = tree_of(file)
    place = room(file.relative_to(PACKAGE).parts)
    assert place in ROOMS or place == "__init__", f"{file}: no such room"
    here = ROOMS.get(place)
    for node, module in imported(tree):
        parts = module.split(".")
        if parts[0] == "ultralytics" and len(parts) > 1 and here is not None:
            assert ROOMS[parts[1]] <= here, f"{file}:{node.lineno} imports {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "compile"), f"{file}:{node.lineno}"


# Calls that read code out of data, hand text to a shell, or reach for a network.
UNTRUSTED = {
    *(
        "eval",
        "exec",
        "compile",
        "__import__",
        "os.system",
        "os.popen",
        "torch.load",
        "torch.jit.load",
        "torch.hub.load",
    ),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "pickle.load", "pickle.loads"),
}
UNTRUSTED_MODULES = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pty", "webbrowser", "telnetlib"),
    *("ftplib", "smtplib", "requests", "xmlrpc"),
}
PLUGINS = {"nn/plugins.py"}  # code that the user names
CHECKED = {("engine/formats/torchscript.py", "torch.jit.load")}  # its own code is checked before


def dotted(node):
    """The dotted name of what is called, "" where it is none."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else f"?.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@every(FILES)
def test_no_file_of_a_stranger_can_become_code(file):
    """No unpickling, no evaluation, no shell: see docs/security.md."""
    tree = tree_of(file)
    name = file.relative_to(PACKAGE).as_posix()
    for node, module in imported(tree):
        assert module.split(".")[0] not in UNTRUSTED_MODULES, f"{file}:{node.lineno} imports {module}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called, where = dotted(node.func), f"{file}:{node.lineno}"
        assert called not in UNTRUSTED or (name, called) in CHECKED, f"{where} calls {called}"
        assert not called.endswith("exec_module") or name in PLUGINS, f"{where} runs a file"
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else "a value"
            assert keyword.arg not in ("shell", "allow_pickle") or value is False, f"{where}: {keyword.arg}={value}"
            assert keyword.arg != "weights_only" or value is True, f"{where}: weights_only={value}"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "import pickle",
            "torch.load(f)",
            "np.load(f, allow_pickle=True)",
            "subprocess.run(x, shell=flag)",
            "exec(t)",
        ),
        *("yaml.load(t, L)", "spec.loader.exec_module(m)", "torch.load(f, weights_only=False)"),
    ],
)
def test_the_rule_above_can_fail(text, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "x.py").write_text(text)
    with pytest.raises(AssertionError):
        test_no_file_of_a_stranger_can_become_code.check(tmp_path / "x.py")


@pytest.mark.parametrize("room_name", ["nn", "engine"])
def test_rooms_know_nothing_of_what_is_not_theirs(room_name):
    """The network knows no loss, but for the one it names, and no data; the engine knows no detector."""
    banned = {"nn": ("utils.loss", "data"), "engine": ("nn.tasks", "utils.loss", "utils.nms", "data")}
    for file in (PACKAGE / room_name).rglob("*.py"):
        for node, module in imported(tree_of(file)):
            for name in banned[room_name]:
                allowed = name == "utils.loss" and file.name == "tasks.py"  # `init_criterion`, which scripts replace
                assert allowed or not module.startswith(f"ultralytics.{name}"), f"{file}:{node.lineno} imports {module}"


@every(FILES)
def test_links_are_followed_by_real_path(file):
    """`Path.resolve` raises before Python 3.13 where a link leads to itself; of our own files none does."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "resolve":
            assert node.args or ast.unparse(node.func.value) == "Path(__file__)", f"{file}:{node.lineno}"


@every(FILES)
def test_nothing_of_ours_goes_through_a_door(file):
    """Import paths of the reference's that lead to a room on the right are for scripts."""
    modules = {module for _, module in imported(tree_of(file))}
    assert "ultralytics.engine.model" not in modules


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *(("nn.tasks", n) for n in ("attempt_load_weights", "attempt_load_one_weight", "torch_safe_load", "Ensemble")),
        *(("nn.tasks", n) for n in ("guess_model_scale", "guess_model_task", "yaml_model_load", "intersect_dicts")),
        *(("engine.model", "Model"), ("engine.validator", "BaseValidator"), ("engine.predictor", "BasePredictor")),
        *(("engine.trainer", "BaseTrainer"), ("engine.results", "Results"), ("engine.results", "Boxes")),
    ],
)
def test_the_references_import_paths_are_there(module, name):
    assert callable(getattr(importlib.import_module(f"ultralytics.{module}"), name))


def test_every_key_of_the_configuration_is_read():
    """A key that nothing reads is a promise that nothing keeps."""
    read = set()
    for file in FILES:
        if file.name == "config.py":
            continue
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
                if owner in ("args", "cfg", "hyp", "a"):
                    read.add(node.attr)
    declared = set(KNOBS) - {
        "mode",
        "task",
    }  # these two are checked where they are set: one task, and the mode of the command
    assert declared <= read, sorted(declared - read)


def test_imports_inside_functions_say_why():
    for file in FILES:
        lines = file.read_text(encoding="utf-8").splitlines()
        for function in ast.walk(tree_of(file)):
            if not isinstance(function, ast.FunctionDef):
                continue
            inner = [n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)]
            if inner:
                first = min(inner, key=lambda n: n.lineno)
                block = range(first.lineno - 1, max(n.end_lineno for n in inner))
                assert any("#" in lines[i] for i in block), f"{file}:{first.lineno}"


# Standard output and files: which characters they take is said, and never left to the machine.

OURS = [
    *FILES,
    *sorted((PACKAGE.parent / "scripts").glob("*.py")),
    *(
        PACKAGE.parent / n
        for n in ("setup.py", "tests/conftest.py", "tests/helpers/hostile.py", "tests/helpers/watch.py")
    ),
]
PRINTING = {"utils/console.py", "__main__.py"}  # the one place, and what runs where even that may be missing
BARE = {"scripts/reference_speed.py", "scripts/check_env.py", "setup.py"}  # run without the package


def words_of(call):
    """The keywords of a call."""
    return {k.arg for k in call.keywords}


def mode_of(call, place):
    """The constant mode of a call that opens a file, None where it says none."""
    modes = [k.value for k in call.keywords if k.arg == "mode"] + call.args[place : place + 1]
    return modes[0].value if modes and isinstance(modes[0], ast.Constant) else None


def leaves_the_encoding_open(call):
    """Whether a call reads or writes text in the encoding of whatever machine it runs on."""
    name = dotted(call.func)
    method = name.rpartition(".")[2] if "." in name else ""
    if words_of(call) & {"encoding", "encoding_errors"} or None in words_of(call):
        return False
    if name in ("open", "io.open", "os.fdopen"):
        return "b" not in (mode_of(call, 1) or "")
    if name in ("TextIOWrapper", "io.TextIOWrapper", "logging.FileHandler"):
        return len(call.args) < 2
    if method in ("read_text", "write_text"):
        return len(call.args) < (1 if method == "read_text" else 2)
    if method == "open":  # of a path; of an archive, an image or a URL the first argument is no mode
        return bool(set(mode_of(call, 0) or "x") <= set("rwaxt+")) and (not call.args or mode_of(call, 0) is not None)
    if method in ("NamedTemporaryFile", "TemporaryFile"):
        return "b" not in (mode_of(call, 0) or "b")
    if name.startswith("subprocess.") or method in ("Popen", "check_output"):
        return bool(words_of(call) & {"text", "universal_newlines"})
    return False


@every(OURS)
def test_text_has_an_encoding_and_goes_through_one_place(file):
    name = file.relative_to(PACKAGE).as_posix() if file.is_relative_to(PACKAGE) else ""
    other = file.relative_to(PACKAGE.parent).as_posix()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Call):
            assert not leaves_the_encoding_open(node), f"{file}:{node.lineno} names no encoding"
            called = dotted(node.func)
            free = name in PRINTING or other in BARE or other.startswith("tests/")
            assert free or called != "print", f"{file}:{node.lineno} prints; use utils.console or LOGGER"
            assert free or not called.startswith(("sys.stdout.w", "sys.stderr.w")), f"{file}:{node.lineno}"


@pytest.mark.parametrize(
    ("text", "open_"),
    [
        ("open(p)", True), ("open(p, 'w')", True), ("open(p, mode='a')", True), ("open(p, 'rb')", False),
        ("open(p, encoding='utf-8')", False), ("p.read_text()", True), ("p.write_text(t)", True), ("p.open()", True),
        ("p.open('w')", True), ("p.open('rb')", False), ("zip.open(entry)", False), ("Image.open('a.png')", False),
        ("p.write_text(t, encoding='utf-8')", False), ("subprocess.run(w, text=True)", True),
        ("subprocess.run(w)", False), ("tempfile.NamedTemporaryFile('w')", True), ("NamedTemporaryFile()", False),
        ("io.TextIOWrapper(b)", True), ("read_text(path, error)", False), ("os.open(p, os.O_RDWR)", False),
    ],
)  # fmt: skip
def test_an_open_encoding_is_noticed(text, open_):
    assert leaves_the_encoding_open(ast.parse(text).body[0].value) == open_


# Numbers and what they count: utils.text.counted knows one from many.
NOUNS = "images epochs batches threads boxes classes processes objects modules pictures times"
UNCOUNTED = re.compile(
    rf"(?<!of )(?<!its )(?<!of the )(?<!all )(?:%d|%i|\x00) (?:{'|'.join(NOUNS.split())})(?![\w(/-])"
)


def put_in(value):
    """The text of an f-string's part; \\0 for a number, for all that can be reported, \\1 for a name."""
    if isinstance(value, ast.Constant):
        return value.value
    return "\1" if getattr(value.value, "id", "") in ("name", "split", "first", "like") else "\0"


def texts_of(tree):
    """(line, text) of every string but docstrings, with \\0 for what an f-string puts in."""
    parts = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    parts |= {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(map(put_in, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


@every(FILES)
def test_one_is_not_many(file):
    """ "1 threads" and "1 epochs" are written with `counted`; a number that cannot be one says so: `# at least two`."""
    source = file.read_text(encoding="utf-8")
    lines = source.splitlines()
    for number, text in texts_of(tree_of(file)):
        said = "# at least two" in "\n".join(lines[max(number - 2, 0) : number + 1])
        assert said or not UNCOUNTED.search(text), f"{file}:{number} {text!r}"


def test_a_number_without_its_singular_is_noticed():
    tree = ast.parse(
        "log('%d epochs', n)\nx = f'{n} threads'\nx = f'{a} of {b} images'\nx = f'{n} imagesets'\nx = f'{n:,} boxes'"
    )
    assert sorted(n for n, t in texts_of(tree) if UNCOUNTED.search(t)) == [1, 2, 5]
