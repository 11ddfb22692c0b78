"""Rules of docs/architecture.md that the code must keep."""

import ast
from pathlib import Path

import pytest

import ultralytics
from ultralytics.cfg.config import KNOBS

PACKAGE = Path(ultralytics.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# A room may import from itself and from rooms of a lower number.
ROOMS = {"utils": 0, "cfg": 1, "nn": 2, "data": 3, "engine": 4, "models": 5, "cli": 6, "__main__": 7}


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


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_one_way_and_nothing_is_evaluated(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    here = ROOMS.get(room(file.relative_to(PACKAGE).parts))
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


def dotted(node):
    """The dotted name of what is called, "" where it is none."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else f"?.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_file_of_a_stranger_can_become_code(file):
    """No unpickling, no evaluation, no shell: see docs/security.md."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    name = file.relative_to(PACKAGE).as_posix()
    for node, module in imported(tree):
        assert module.split(".")[0] not in UNTRUSTED_MODULES, f"{file}:{node.lineno} imports {module}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called, where = dotted(node.func), f"{file}:{node.lineno}"
        assert called not in UNTRUSTED, f"{where} calls {called}"
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
        test_no_file_of_a_stranger_can_become_code(tmp_path / "x.py")


@pytest.mark.parametrize("room_name", ["nn", "engine"])
def test_rooms_know_nothing_of_what_is_not_theirs(room_name):
    """The network knows no loss and no data; the engine knows no detector."""
    banned = {"nn": ("utils.loss", "data"), "engine": ("nn.tasks", "utils.loss", "utils.nms", "data")}
    for file in (PACKAGE / room_name).rglob("*.py"):
        for node, module in imported(ast.parse(file.read_text(encoding="utf-8"))):
            for name in banned[room_name]:
                assert not module.startswith(f"ultralytics.{name}"), f"{file}:{node.lineno} imports {module}"


def test_every_key_of_the_configuration_is_read():
    """A key that nothing reads is a promise that nothing keeps."""
    read = set()
    for file in FILES:
        if file.name == "config.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
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
        for function in ast.walk(ast.parse("\n".join(lines))):
            if not isinstance(function, ast.FunctionDef):
                continue
            inner = [n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)]
            if inner:
                first = min(inner, key=lambda n: n.lineno)
                block = range(first.lineno - 1, max(n.end_lineno for n in inner))
                assert any("#" in lines[i] for i in block), f"{file}:{first.lineno}"
