"""A damaged, foreign or hostile file is one line; nothing in it is executed, and it costs little to find out."""

import itertools
import json
import random
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from tests.helpers.networks import write_attended
from tests.helpers.watching import check, watched
from ultralytics import YOLO
from ultralytics.engine.formats import script_code
from ultralytics.engine.formats.format import MOST_PIXELS
from ultralytics.engine.formats.onnx_file import check_onnx
from ultralytics.engine.formats.script_code import REFUSED, check_program
from ultralytics.engine.formats.table import FORMATS, format_named, open_exported
from ultralytics.utils.errors import ExportError, UserError

LAID = ("torchscript", "onnx", "openvino")
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghij")
)
METADATA = {"names": "{0: 'a', 1: 'b', 2: 'c'}", "stride": "32", "task": "detect", "batch": "1", "imgsz": "[64, 64]"}


@pytest.fixture(scope="module", params=LAID)
def sound(request, tmp_path_factory):
    """A file of each format, as `export` writes it."""
    for package in format_named(request.param).packages:
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    YOLO(str(write_attended(folder))).save(folder / "best.pt")
    return Path(YOLO(str(folder / "best.pt")).export(format=request.param, imgsz=64))


def members(path):
    """A file; of a folder each file in it."""
    return sorted(p for p in path.iterdir()) if path.is_dir() else [path]


def copied(path, folder):
    new = folder / path.name
    if new.is_dir():
        shutil.rmtree(new)
    (shutil.copytree if path.is_dir() else shutil.copy)(path, new)
    return new


def refusal(path, images=(1, 3, 64, 64)):
    """The line that opening and running a file ends with; "" where it works."""
    try:
        y = open_exported(path)(torch.zeros(images))[0]
    except UserError as e:
        line = str(e)
    else:
        assert y.shape[:2] == (images[0], 7)
        line = ""
    assert line.isprintable()
    return line


def test_a_file_that_is_cut_short_is_one_line(sound, tmp_path):
    assert refusal(sound) == ""
    for file in members(sound):
        for part in range(20 // len(members(sound))):
            path = copied(sound, tmp_path)
            cut = path / file.name if path.is_dir() else path
            data = cut.read_bytes()
            cut.write_bytes(data[: len(data) * part // (20 // len(members(sound)))])
            assert path.name in refusal(path), (file.name, part)


def test_bytes_that_changed_are_one_line_or_another_network(sound, tmp_path):
    rng = random.Random(0)
    refused = 0
    for _ in range(30):
        path = copied(sound, tmp_path)
        file = rng.choice(members(path))
        data = bytearray(file.read_bytes())
        # the head and the tail, where the structure is, as often as the weights between them
        for _ in range(rng.choice((1, 2, 20))):
            low, high = rng.choice(((0, 4000), (len(data) - 4000, len(data)), (0, len(data))))
            data[rng.randrange(max(low, 0), min(high, len(data)))] = rng.randrange(256)
        file.write_bytes(data)
        refused += bool(refusal(path))
    assert refused > 5


@pytest.mark.parametrize("name", LAID)
def test_what_is_no_such_file_is_one_line(name, tmp_path):
    for package in format_named(name).reads:
        pytest.importorskip(package)
    torch.save({"model": None}, tmp_path / "a.pt")
    contents = [b"", b"hello\n", b"\xff\xd8\xff\xe0" + bytes(range(256)), (tmp_path / "a.pt").read_bytes()]
    path = tmp_path / f"a{FORMATS[name].suffix}"
    for content in contents:
        if path.name.startswith("a_"):  # a folder
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            (path / "metadata.yaml").write_text(json.dumps(METADATA), encoding="utf-8")
            (path / "a.xml").write_bytes(content)
            (path / "a.bin").write_bytes(content)
        else:
            path.write_bytes(content)
        assert path.name in refusal(path)
    if path.is_dir():
        shutil.rmtree(path)
        path.write_bytes(b"x")
    else:
        path.unlink()
        path.mkdir()
    assert "model is a" in refusal(path)


# ONNX


def onnx_file(path, tensors=(), nodes=None, metadata=METADATA, kind=None, shape=(1, 3, 64, 64), more=(), domains=()):
    """Write a graph that gives (1, 7, 4) whatever it is given, with a part that is wrong."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make, proto = onnx.helper, onnx.TensorProto
    out = make.make_tensor("out", proto.FLOAT, [1, 7, 4], [0.5] * 28)
    nodes = nodes or [make.make_node("Identity", ["out"], ["output0"])]
    inputs = [make.make_tensor_value_info("images", kind or proto.FLOAT, shape), *more]
    outputs = [make.make_tensor_value_info("output0", proto.FLOAT, None)]
    graph = make.make_graph(nodes, "g", inputs, outputs, [out, *tensors])
    sets = [make.make_opsetid("", 18), *(make.make_opsetid(d, 1) for d in domains)]
    model = make.make_model(graph, opset_imports=sets, ir_version=9)
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path


def tensor(dims, data=None, location=None, name="w"):
    onnx = pytest.importorskip("onnx")
    made = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=dims)
    if data is not None:
        made.raw_data = data
    for key, value in {"location": location, "offset": "0", "length": "64"}.items() if location else ():
        made.data_location = onnx.TensorProto.EXTERNAL
        entry = made.external_data.add()
        entry.key, entry.value = key, value
    return made


def node(kind, inputs, outputs=("output0",), **attributes):
    return pytest.importorskip("onnx").helper.make_node(kind, list(inputs), list(outputs), **attributes)


def test_the_file_that_others_differ_from_is_sound(tmp_path):
    assert refusal(onnx_file(tmp_path / "a.onnx")) == ""


@pytest.mark.parametrize(
    "name", ["../secret.bin", "ABSOLUTE", "link.bin", "up/secret.bin", "/dev/zero", "a/../../x", "a\0b"]
)
def test_data_outside_the_folder_are_not_read(name, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    path = onnx_file(folder / "a.onnx", [tensor([16], location=name.replace("ABSOLUTE", str(secret)))])
    assert "its data are outside its folder" in refusal(path)
    with pytest.raises(ExportError, match="outside its folder"):  # whatever the runtime does
        check_onnx(path)


def test_data_beside_the_file_are_read(tmp_path):
    path = onnx_file(tmp_path / "a.onnx", [tensor([16], location="w.bin")])
    assert "its data are not there: w.bin" in refusal(path)
    (tmp_path / "w.bin").write_bytes(bytes(64))
    assert refusal(path) == ""


def test_data_in_graphs_within_nodes_are_found(tmp_path):
    onnx = pytest.importorskip("onnx")
    inner = onnx.helper.make_graph([], "inner", [], [], [tensor([16], location="../x")])
    path = tmp_path / "a.onnx"
    for hidden in ({"then_branch": inner}, {"value": tensor([16], location="../x")}):
        onnx_file(path, nodes=[node("If", ["c"], **hidden)])
        with pytest.raises(ExportError, match="outside its folder"):
            check_onnx(path)


@pytest.mark.parametrize("wrong", ["no data", "few data", "negative", "overflow"])
def test_tensors_that_lie_about_their_size_take_no_memory(wrong, tmp_path):
    dims = {"negative": [-4, 4], "overflow": [2**32, 2**32]}.get(wrong, [10**5, 10**5])
    data = {"few data": b"1234", "negative": bytes(64), "overflow": b""}.get(wrong)
    used = [node("ReduceSum", ["w"], ["sum"], keepdims=0), node("Add", ["out", "sum"])]
    assert "cannot be opened" in refusal(onnx_file(tmp_path / "a.onnx", [tensor(dims, data)], used))


def test_what_a_graph_asks_for_is_one_line(tmp_path):
    onnx = pytest.importorskip("onnx")
    make, proto, path = onnx.helper, onnx.TensorProto, tmp_path / "a.onnx"
    size = make.make_tensor("n", proto.INT64, [1], [10**12])
    assert "fails on images" in refusal(onnx_file(path, [size], [node("ConstantOfShape", ["n"])]))
    foreign = [node("Evil", ["images"], domain="evil")]
    assert "evil" in refusal(onnx_file(path, nodes=foreign, domains=["evil"]))
    other = make.make_tensor_value_info("second", proto.FLOAT, [1])
    assert "not one batch of images" in refusal(onnx_file(path, more=[other]))
    assert "not one batch of images" in refusal(onnx_file(path, kind=proto.INT64))
    assert "not one batch of images" in refusal(onnx_file(path, shape=(1, 3, 64)))
    assert "impossible or too large" in refusal(onnx_file(path, shape=(1, 3, 10**9, 64)))
    assert "impossible or too large" in refusal(onnx_file(path, shape=(MOST_PIXELS, 3, 64, 64)))
    assert "its output is [1, 3, 64, 64], and a detector's is [1, 7, anchors]" in refusal(
        onnx_file(path, nodes=[node("Identity", ["images"])])
    )
    assert "no class names" in refusal(onnx_file(path, metadata={}))
    many = [node("Identity", ["images"], ["x"])] * 50_001
    assert "more than 50,000 nodes" in refusal(onnx_file(path, nodes=many))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("names", "__import__('os').system('touch canary')", "class names"),
        ("names", "{0: __import__('os').system('touch canary')}", "a detector's is [1, 5, anchors]"),
        ("names", "!!python/object/apply:os.system ['touch canary']", "the tag !!python/object/apply:os.system"),
        ("names", "[" * 2_000, "nested"),
        ("names", "{0: a, 0: b}", "stands in line"),
        ("names", '{"0": "a", "00": "b"}', "class names"),
        ("names", "{1: a, 2: b}", "are not 0, 1, 2"),
        ("names", "{1.5: a}", "class names"),
        ("names", "{}", "are not 0, 1, 2"),
        ("names", BOMB, "aliases"),
        ("names", "{0: '" + "x" * 2**23 + "'}", "8,388,"),
        ("stride", "-32", "stride=-32"),
        ("stride", "nan", "stride="),
        ("stride", "[32]", "stride=[32]"),
        ("imgsz", "[1000000000, 64]", "imgsz=1000000000"),
        ("imgsz", "NaN", "imgsz=nan"),
        ("batch", "1e400", "batch="),
        ("batch", "9" * 5000, "digits"),
        ("task", "grounding", "its task is grounding"),
        ("task", "\x1b[2J\n", "its task is"),
    ],
)  # fmt: skip
def test_metadata_are_data(key, value, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refusal(onnx_file(tmp_path / "a.onnx", metadata=METADATA | {key: value}))
    assert reason in line
    assert not (tmp_path / "canary").exists()


def test_names_cannot_drive_a_terminal(tmp_path):
    names = json.dumps({0: "a\x1b[2J\nb", 1: "nul\0", 2: "x" * 100_000})
    file = open_exported(onnx_file(tmp_path / "a.onnx", metadata=METADATA | {"names": names}))
    assert all(name.isprintable() and len(name) <= 300 for name in file.names.values())


# TorchScript


class Writes(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "canary")
        return x


class WritesByMethod(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.from_file("canary", True, 16)
        return x + y.sum()


class WritesWhenOpened(torch.nn.Module):
    @torch.jit.export
    def __getstate__(self) -> bool:
        return self.training

    @torch.jit.export
    def __setstate__(self, state: bool) -> None:
        torch.save(torch.zeros(1), "canary")
        self.training = state

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Prints(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("\x1b[2J")
        return x


class Computes(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x
        for _ in range(int(x.shape[0])):
            total = torch.nn.functional.pad(total, [0, 1])
        return total


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Writes, "torch.save"),
        (WritesByMethod, "torch.from_file"),
        (WritesWhenOpened, "__getstate__"),
        (Prints, "print"),
    ],
)
def test_a_program_that_does_more_than_compute_is_not_loaded(module, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.torchscript"
    torch.jit.save(torch.jit.script(module()), str(path))
    assert f"its program does more than compute: {reason}" in refusal(path).replace("the method ", "")
    assert not (tmp_path / "canary").exists()


def test_a_program_that_computes_is_loaded(tmp_path):
    path = tmp_path / "a.torchscript"
    torch.jit.save(torch.jit.script(Computes()), str(path), _extra_files={"config.txt": json.dumps(METADATA)})
    check_program(path)
    assert "its output is" in refusal(path)


@pytest.mark.parametrize(
    "code",
    ["t = torch\nt.save(x, 'c')", "f = torch.save\nf(x, 'c')", "x.save('c')", "o = ops.prim\no.rpc_sync(x)",
     "ops.prim.PythonOp()", "fork(x)", "_0 = __torch__.f\n_0 = fork\n_0(x)", "getattr(torch, 'save')(x, 'c')",
     "__torch__.torch.classes.c10d.FileStore()", "def __setstate__(self): pass", "(" * 300,
     "x = " + "-" * 99_999 + "1"],
)  # fmt: skip
def test_other_ways_to_the_same_operators_are_refused(code, tmp_path):
    path = tmp_path / "a.torchscript"
    torch.jit.save(torch.jit.script(Computes()), str(path))
    add(path, "code/__torch__/more.py", code.encode())
    with pytest.raises(ExportError, match=r"does more than compute|is not code"):
        check_program(path)


def add(path, name, data, compress=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(f"{file.namelist()[0].split('/')[0]}/{name}", data, compress)


def test_archives_that_lie_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(script_code, "LONGEST", 10_000)
    path = tmp_path / "a.torchscript"
    for name, data, compress, reason in (
        ("code/__torch__/more.py", b" " * 20_000, zipfile.ZIP_DEFLATED, "too much code"),
        ("data/0", bytes(1000), zipfile.ZIP_DEFLATED, "compressed records"),
        ("DATA.PKL", b"", zipfile.ZIP_STORED, "two ways"),
    ):
        torch.jit.save(torch.jit.script(Computes()), str(path))
        add(path, name, data, compress)
        with pytest.raises(ExportError, match=reason):
            check_program(path)
    path.write_bytes(b"x" * 100 + path.read_bytes())
    with pytest.raises(ExportError, match=r"two ways|damaged"):
        check_program(path)


def test_every_operator_that_names_a_file_is_refused():
    """Of the installed torch; a new one fails here."""
    schemas = torch._C._jit_get_all_schemas()
    named = {s.name.split("::")[1] for s in schemas if any("file" in a.name for a in s.arguments)
             if s.name.startswith(("aten::", "prim::"))}  # fmt: skip
    assert named <= REFUSED
    assert {"save", "from_file"} <= named


# In a process of its own, watched


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and memory are read as on Linux")
def test_no_file_runs_code_or_takes_memory(tmp_path, toy):
    onnx = pytest.importorskip("onnx")
    make, proto = onnx.helper, onnx.TensorProto
    one = make.make_tensor("d0", proto.FLOAT, [1], [1.0])
    doubled = [node("Concat", [f"d{i}"] * 2, [f"d{i + 1}"], axis=0) for i in range(29)]
    files = {
        "external": onnx_file(tmp_path / "external.onnx", [tensor([16], location="../x")]),
        "huge": onnx_file(tmp_path / "huge.onnx", [tensor([10**5, 10**5])], [node("Identity", ["w"])]),
        "code": onnx_file(tmp_path / "code.onnx", metadata=METADATA | {"names": "__import__('os').system('true')"}),
        "doubling": onnx_file(tmp_path / "doubling.onnx", [one], [*doubled, node("Identity", ["d29"])], metadata={}),
    }
    for module in (Writes, WritesByMethod, WritesWhenOpened):
        files[module.__name__] = tmp_path / f"{module.__name__}.torchscript"
        torch.jit.save(torch.jit.script(module()), str(files[module.__name__]))
    rows = watched(tmp_path, files, [["python"], ["val", "model=FILE", f"data={toy}", "imgsz=64", "workers=0"]])
    check(rows, tmp_path / "canary")
