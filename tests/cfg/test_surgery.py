import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.cfg.model import ModelSpec, load_model_spec
from ultralytics.cfg.module_text import parse_module
from ultralytics.cfg.paths import find_model_yaml
from ultralytics.cfg.surgery import describe_change, insert_rows, remove_rows, replace_rows
from ultralytics.utils.errors import ConfigError, MissingFileError, ModelError, UserError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in a tenth of the time
BUNDLED = {"yolov8.yaml": 23, "yolov8-fla.yaml": 24}
ROWS = [(name, row) for name, rows in BUNDLED.items() for row in range(rows - 1)]


def bundled(name="yolov8.yaml"):
    return find_model_yaml(name)[0].read_bytes().decode("utf-8")


def spec_of(text):
    return ModelSpec.from_dict(yaml.load(text, LOADER))


def graph(spec):
    """(targets, repeats, module, args) of each row; the image is −1."""
    rows = enumerate(spec.rows)
    return [([i + s if s < 0 else s for s in r.sources], r.repeats, r.module, r.args) for i, r in rows]


def contracted(spec, numbers):
    """The graph without some rows of one source, whose readers read their source."""
    rows = graph(spec)
    kept = [i for i in range(len(rows)) if i not in numbers]

    def target(t):
        while t in numbers:
            t = rows[t][0][0]
        return -1 if t == -1 else kept.index(t)

    return [([target(t) for t in rows[i][0]], *rows[i][1:]) for i in kept]


def readers(spec, number):
    return {i for i, (targets, *_) in enumerate(graph(spec)) if number in targets}


def check_insertion(old, text, after, module="nn.Identity"):
    """The new rows stand behind theirs, are all that reads them, and without them the graph is the old one."""
    new = spec_of(text)
    made = [row + n + 1 for n, row in enumerate(sorted(after))]
    assert [new.rows[i].module for i in made] == [module] * len(made)
    for row, i in zip(sorted(after), made, strict=True):
        assert readers(new, i - 1) == {i}
        assert len(readers(new, i)) == len(readers(old, row))
    assert contracted(new, made) == graph(old)
    return new, made


@pytest.fixture
def write(tmp_path):
    def write(text, name="net.yaml"):
        (tmp_path / name).write_bytes(text.encode("utf-8"))
        return tmp_path / name

    return write


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_row_after_any_row(name, row, write):
    old = spec_of(bundled(name))
    text = insert_rows(name, [row], "nn.Identity")
    _, made = check_insertion(old, text, [row])
    removed = remove_rows(write(text), made)
    assert graph(spec_of(removed)) == graph(old)
    # All numbers in comments are the rows' own, and no `from` is a number but -1.
    for number, line in enumerate(x for x in text.splitlines() if x.startswith("  - ")):
        assert re.search(rf"# {number}(  |$)", line)
        assert not re.match(r"  - \[.*?\b(?<!-)\d+.*?\], 1, (Concat|Detect)", line)


@pytest.mark.parametrize("after", [[4, 6, 9, 15], [15, 9, 6, 4], list(range(22))])
@pytest.mark.parametrize("name", list(BUNDLED))
def test_rows_after_several_rows_at_once(name, after, write):
    old = spec_of(bundled(name))
    text = insert_rows(name, after, "nn.Identity")
    _, made = check_insertion(old, text, after)
    assert graph(spec_of(remove_rows(write(text), made))) == graph(old)


def test_the_text_as_a_user_reads_it():
    new = insert_rows("yolov8n.yaml", [9, "15"], "FLABlock(4, window_size=[10, 10], focusing_factor=1)").splitlines()
    block = "FLABlock, [4, {window_size: [10, 10], focusing_factor: 1}]"
    for line in (
        "  - [-1, 6, C2f, [512, True], c2f6] # 6",
        "  - [-1, 3, C2f, [1024, True]] # 8",
        "  - [-1, 1, SPPF, [1024, 5], sppf9] # 9",
        f"  - [-1, 1, {block}, sppf9_flablock] # 10",
        "  - [-1, 1, nn.Upsample, [None, 2, nearest]] # 11",
        "  - [[-1, c2f6], 1, Concat, [1]] # 12  with the backbone at stride 16",
        "  - [-1, 3, C2f, [256], p3] # 16  P3",
        f"  - [-1, 1, {block}, p3_flablock] # 17",
        "  - [-1, 3, C2f, [512], p4] # 20  P4",
        "  - [[-1, sppf9_flablock], 1, Concat, [1]] # 22  with the backbone at stride 32",
        "  - [[p3_flablock, p4, p5], 1, Detect, [nc]] # 24",
    ):
        assert line in new
    # Everything but the rows is the user's, byte for byte.
    others = [[x for x in lines if not x.startswith("  - ")] for lines in (new, bundled().splitlines())]
    assert others[0] == others[1]
    assert new.index("head:") == bundled().splitlines().index("head:") + 1


def test_two_modules_for_two_rows():
    text = insert_rows("yolov8.yaml", ["6", 4], ["One", "a.Two(1)"])
    spec = spec_of(text)
    assert [(spec.rows[i].module, spec.rows[i].args, spec.rows[i].name) for i in (5, 8)] == [
        ("a.Two", [1], "c2f4_two"),
        ("One", [], "c2f6_one"),
    ]


def test_a_second_insertion_names_nothing_anew(write):
    first = insert_rows("yolov8.yaml", [9], "nn.Identity")
    text = insert_rows(write(first), ["c2f6", "p3"], "nn.Identity")
    new, _ = check_insertion(spec_of(first), text, [6, 16])
    names = [r.name for r in new.rows if r.name]
    assert [n for n in names if n not in ("c2f6_identity", "p3_identity")] == [
        r.name for r in spec_of(first).rows if r.name
    ]
    assert text.splitlines()[:20] == first.splitlines()[:20]  # up to row 5
    # Behind a row that only the next one reads nothing needs a name.
    again = insert_rows(write(first), "sppf9", "nn.Identity")
    assert [r.name for r in spec_of(again).rows[9:12]] == ["sppf9", "", "sppf9_identity"]


def test_names_that_are_taken(write):
    taken = SMALL.replace('"nearest"] ]', '"nearest"], stem_my ]')
    taken = taken.replace("# 2 是第二行：P3", "# 2 P3").replace(
        "[[-1, stem], 1, Concat, [1]]", "[[-1, stem], 1, Concat, [1], p3]"
    )
    spec = spec_of(insert_rows(write(taken), "stem", "My"))
    assert [r.name for r in spec.rows] == ["p1", "stem", "stem_my_2", "conv2", "p3", "stem_my", ""]


SMALL = """\
nc: 3
depth_multiple: 1.0   # kept

backbone:
  - [-1, 1, Conv, [16, 3, 2]]  # 0-P1/2
  - [-1, 1, Conv, [32, 3, 2], stem]  # 1-P2/4   名字
  - [-2, 1, Conv, [32, 3, 4]]  # 2 是第二行：P3
  - [[-1, stem], 1, Concat, [1]]
head:
  - [ -3, 1, nn.Upsample, [None, 2, "nearest"] ]   # no number
  # 注释 on its own line: 5

  - [[-1, 2, 3], 1, Detect, [nc]]  # 5
"""


def test_relative_sources_and_names_of_the_user(write):
    file = write(SMALL)
    old = spec_of(SMALL)
    for row in range(5):
        check_insertion(old, insert_rows(file, row, "nn.Identity"), [row])
    assert insert_rows(file, "stem", "My").splitlines()[4:] == [
        "  - [-1, 1, Conv, [16, 3, 2], p1]  # 0-P1/2",
        "  - [-1, 1, Conv, [32, 3, 2], stem]  # 1-P2/4   名字",
        "  - [-1, 1, My, [], stem_my]  # 2",
        "  - [p1, 1, Conv, [32, 3, 4], p3]  # 3 是第二行：P3",
        "  - [[-1, stem_my], 1, Concat, [1], concat3]",
        "head:",
        '  - [ -3, 1, nn.Upsample, [None, 2, "nearest"] ]   # no number',
        "  # 注释 on its own line: 5",
        "",
        "  - [[-1, p3, concat3], 1, Detect, [nc]]  # 6",
    ]
    # Behind its reader nothing of a −3 changes.
    assert "[ -3, 1, nn.Upsample" in insert_rows(file, 4, "My")
    # Between: −3 would become −4.
    assert "[ stem, 1, nn.Upsample" in insert_rows(file, 2, "My")


def test_line_ends_a_mark_at_the_start_and_no_break_at_the_end(write):
    plain = insert_rows("yolov8.yaml", [4, 9], "nn.Identity")
    assert insert_rows(write(bundled().replace("\n", "\r\n")), [4, 9], "nn.Identity") == plain.replace("\n", "\r\n")
    assert insert_rows(write("\ufeff" + bundled()), [4, 9], "nn.Identity") == "\ufeff" + plain
    assert insert_rows(write(bundled().rstrip()), [4, 9], "nn.Identity") == plain.rstrip()
    backbone, head = bundled().split("head:")
    swapped = insert_rows(write(f"head:{head}\n{backbone.rstrip()}"), 9, "nn.Identity")
    assert swapped.endswith("# 9\n  - [-1, 1, nn.Identity, [], sppf9_identity] # 10")


BLOCK = """\
nc: 3
backbone:
- - -1
  - 1
  - Conv   # the module
  - [16, 3, 2]   # 0
-
  - -1  # 1  P2
  - 1
  - Conv
  - - 32
    - 3
    - stride: 2   # keyword
# between
- [-1, 1, SPPF,
   [64, 5]]  # 2

head:
    - - [-1,   # this
         1]    # that
      - 1
      - Concat
      - 1
    - [-1, 1, C2f, [64],]  # 4  P3
    - - - 1
        - 2  # two
        - -1
      - 1
      - Detect
      - [nc]
"""


def test_rows_in_block_style_and_over_several_lines(write):
    file, old = write(BLOCK), spec_of(BLOCK)
    for after in ([0], [1], [2], [3], [4], [0, 1, 2, 3, 4]):
        text = insert_rows(file, after, "nn.Identity")
        _, made = check_insertion(old, text, after)
        assert set(re.findall("#.*[a-z].*", BLOCK)) - {"# 1  P2", "# 4  P3"} <= set(re.findall("#.*[a-z].*", text))
        assert graph(spec_of(remove_rows(write(text, "new.yaml"), made))) == graph(old)
    text = insert_rows(file, 0, "nn.Identity")
    assert "  - [16, 3, 2]   # 0\n- [-1, 1, nn.Identity, []]   # 1\n-\n  - -1  # 2  P2\n" in text
    assert "    - stride: 2\n  - p2   # keyword\n" in text
    replaced = replace_rows(file, [1, 2, 3], ["New(1, a=2)", "Other", "Cat(3)"])
    assert [r.module for r in spec_of(replaced).rows[1:4]] == ["New", "Other", "Cat"]
    assert [r.args for r in spec_of(replaced).rows[1:4]] == [[1, {"a": 2}], [64, 5], [3]]


def test_a_form_that_cannot_be_edited_is_refused(write):
    text = BLOCK.replace("-\n  - -1", "-    !!seq\n  - -1")
    assert graph(spec_of(text)) == graph(spec_of(BLOCK))
    with pytest.raises(ModelError, match="cannot be edited"):
        insert_rows(write(text), 0, "A")
    tagged = BLOCK.replace("backbone:", "backbone: !!seq")
    assert insert_rows(write(tagged), 0, "A").replace(" !!seq", "") == insert_rows(write(BLOCK, "b.yaml"), 0, "A")


@pytest.mark.parametrize("style", [None, True, False])
@pytest.mark.parametrize("indent", [2, 6])
def test_files_that_were_dumped(style, indent, write):
    for dump in (
        lambda d: yaml.safe_dump(d, default_flow_style=style, indent=indent, width=50),
        lambda d: json.dumps(d, indent=indent if style is None else None),
    ):
        file = write(dump(yaml.safe_load(bundled())))
        old = load_model_spec(file, scale="n")
        for after in ([0], [9], [21], [4, 6, 9, 15]):
            text = insert_rows(file, after, "nn.Identity")
            _, made = check_insertion(old, text, after)
            assert graph(spec_of(remove_rows(write(text, "new.yaml"), made))) == graph(old)
        assert graph(spec_of(remove_rows(file, [1, 2]))) == contracted(old, [1, 2])
        assert graph(spec_of(remove_rows(file, [8, 9, 10]))) == contracted(old, [8, 9, 10])


@st.composite
def networks(draw):
    """A model of rows that read anything before them, by number, name or distance."""
    size = draw(st.integers(3, 9))
    names = [draw(st.sampled_from(["", "", f"p{i % 3}_{i}", f"no{i}", f"a.b-{i}"])) for i in range(size)]
    rows = [[-1, 1, "Conv", [8]]]
    for i in range(1, size):
        sources = []
        for target in draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=3)):
            forms = [target, target - i, *([names[target]] if names[target] else [])]
            sources.append(draw(st.sampled_from(forms)))
        args = draw(st.sampled_from([[], [8, "None"], ["x", {"k": [1, None]}], 5]))
        rows.append([sources[0] if len(sources) == 1 else sources, draw(st.integers(1, 3)), f"M{i % 2}", args])
    rows = [[*row, name] if name else row for row, name in zip(rows, names, strict=True)]
    cut = draw(st.integers(1, size - 1))
    return {"nc": 2, "backbone": rows[:cut], "head": rows[cut:]}


@settings(max_examples=60, deadline=None)
@given(networks(), st.sampled_from(["lines", None, True, False]), st.data())
def test_any_network(tmp_path_factory, data, style, choose):
    folder = tmp_path_factory.mktemp("net")
    if style == "lines":  # comments that begin with the row's number
        count = iter(range(99))
        parts = {k: "".join(f"- {json.dumps(r)}  # {next(count)} P3\n" for r in data[k]) for k in ("backbone", "head")}
        text = "nc: 2\n" + "".join(f"{k}:\n{part}" for k, part in parts.items())
    else:
        text = yaml.safe_dump(data, default_flow_style=style, sort_keys=False)
    (folder / "a.yaml").write_text(text, encoding="utf-8")
    old = spec_of(text)
    after = choose.draw(st.lists(st.integers(0, len(old.rows) - 2), min_size=1, unique=True))
    new = insert_rows(folder / "a.yaml", after, "nn.Identity")
    spec, made = check_insertion(old, new, after)
    if style == "lines":
        commented = [x for x in new.splitlines() if x.startswith("- ")]
        assert [re.search(r"# (\d+)", x)[1] for x in commented] == [str(i) for i in range(len(spec.rows))]
    (folder / "b.yaml").write_text(new, encoding="utf-8")
    assert graph(spec_of(remove_rows(folder / "b.yaml", [spec.rows[i].name or i for i in made]))) == graph(old)


def test_replace_keeps_all_but_the_module(write):
    assert replace_rows("yolov8.yaml", [4, "6"], "C2f_FLA") == bundled().replace("- [-1, 6, C2f,", "- [-1, 6, C2f_FLA,")
    assert replace_rows("yolov8.yaml", 10, "nn.Upsample(None, 2, 'bilinear')") == bundled().replace(
        "nn.Upsample, [None, 2, nearest]] # 10", "nn.Upsample, [null, 2, bilinear]] # 10"
    )
    named = write(SMALL)
    assert replace_rows(named, "stem", "Mine()") == SMALL.replace("Conv, [32, 3, 2], stem", "Mine, [], stem")
    assert replace_rows(named, 5, "Head('nc', on=True)").count("Head, [nc, {'on': true}]") == 1


def test_remove(write):
    """The row between two others, one that is read by name, one whose readers end up further away."""
    old = spec_of(bundled("yolov8-fla.yaml"))
    text = remove_rows("yolov8-fla.yaml", 10)
    assert graph(spec_of(text)) == contracted(old, [10]) == graph(spec_of(bundled("yolov8.yaml")))
    assert "- [[-1, sppf9], 1, Concat, [1]] # 20  with the attention" in text
    assert graph(spec_of(remove_rows("yolov8.yaml", [0, 1]))) == contracted(spec_of(bundled()), [0, 1])
    small = spec_of(SMALL)
    for rows in ([0], [1], [2], [4], ["stem", 4], [1, 2, 4]):
        numbers = [1 if r == "stem" else r for r in rows]
        if rows == [0]:
            with pytest.raises(ConfigError, match=r"row 2 .* would read the image"):
                remove_rows(write(SMALL), rows)
        else:
            assert graph(spec_of(remove_rows(write(SMALL), rows))) == contracted(small, numbers)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("FLABlock", ("FLABlock", None)),
        (" nn.Identity() ", ("nn.Identity", [])),
        ("A(4, window_size=[10, 10], f=1)", ("A", [4, {"window_size": [10, 10], "f": 1}])),
        ("a.b.C(-1, 'x', None, (1, 2.5), t=True, d={'k': None})", None),
        ("块(a='值', b=1e-5)", ("块", [{"a": "值", "b": 1e-5}])),
    ],
)
def test_module_texts(text, parsed):
    name, args = parse_module(text)
    if parsed is None:
        parsed = ("a.b.C", [-1, "x", None, [1, 2.5], {"t": True, "d": {"k": None}}])
    assert (name, args) == parsed
    row = spec_of(insert_rows("yolov8.yaml", 9, text)).rows[10]
    assert (row.module, row.args) == (name, args or [])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: insert_rows("yolov8.yaml", [23], "A"), r"yolov8\.yaml: no row 23 \(rows 0 to 22"),
        (lambda: insert_rows("yolov8.yaml", [-1], "A"), "no row -1"),
        (lambda: insert_rows("yolov8.yaml", [True], "A"), "no row True"),
        (lambda: insert_rows("yolov8.yaml", ["sppf"], "A"), "no row 'sppf'"),
        (lambda: insert_rows("yolov8.yaml", [], "A"), "no row given"),
        (lambda: insert_rows("yolov8.yaml", [3, 22], "A"), r"row 22 \(Detect\) is the last one \(rows 0 to 21"),
        (lambda: insert_rows("yolov8.yaml", [9, "9"], "A"), r"row 9 \(SPPF\) is given twice"),
        (lambda: insert_rows("yolov8.yaml", [9], ""), "no module given"),
        (lambda: insert_rows("yolov8.yaml", [9], None), "no module given"),
        (lambda: insert_rows("yolov8.yaml", [9, 4], ["A", "B", "C"]), "3 modules for 2 rows"),
        (lambda: insert_rows("yolov8.yaml", [9], "A", scale="q"), "scale 'q'"),
        (lambda: insert_rows("best.pt", [9], "A"), r"best\.pt: a weights file"),
        (lambda: insert_rows("yolov9q.yaml", [9], "A"), "no such model YAML"),
        (lambda: remove_rows("yolov8.yaml", 11), r"row 11 \(Concat\) has 2 sources"),
        (lambda: remove_rows("yolov8.yaml", 22), r"row 22 \(Detect\) is the last one"),
        (lambda: remove_rows("yolov8.yaml", range(10)), "no row of `backbone`"),
        (lambda: replace_rows("yolov8.yaml", 40, "A"), "no row 40"),
        (lambda: parse_module("A(4"), "not a module's name"),
        (lambda: parse_module("3"), "not a module's name"),
        (lambda: parse_module("A()()"), "not a module's name"),
        (lambda: parse_module("A\n B"), "not a module's name"),
        (lambda: parse_module("f(1).B"), "not a module's name"),
        (lambda: parse_module("A(nc)"), r"module A\(nc\): argument nc is not a literal .*'text'"),
        (lambda: parse_module("A(__import__('os').getcwd())"), "not a literal"),
        (lambda: parse_module("A(b'x')"), "not a literal"),
        (lambda: parse_module("A({1, 2})"), "not a literal"),
        (lambda: parse_module("A(x='a\\nb')"), "not a literal"),
        (lambda: parse_module("A({'a': 1})"), "mapping"),
        (lambda: parse_module("A(a=1, a=2)"), "repeated"),
        (lambda: parse_module("A(**{'a': 2})"), "unpacked"),
        (lambda: parse_module("A(*[1])"), "not a literal"),
    ],
)
def test_a_mistake_is_told_in_one_line(call, message):
    with pytest.raises((ConfigError, MissingFileError, ModelError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backbone: [\n", r"net\.yaml, line"),
        ("- 1\n", "mapping"),
        (SMALL.replace("-2, 1", "7, 1"), r"line 7: row 2 .*row 7"),
        (SMALL.replace("- [-1, 1, Conv, [16", "- &a [-1, 1, Conv, [16"), "line 5: anchors"),
        (SMALL.replace("nc: 3", "nc: 3\nneck: 1"), "neck"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(text, message, write):
    with pytest.raises(ModelError, match=message) as caught:
        insert_rows(write(text), 1, "A")
    assert "\n" not in str(caught.value)


def test_names_are_compared_and_nearest_ones_told(write):
    with pytest.raises(UserError, match="did you mean 'stem'"):
        insert_rows(write(SMALL), "stemm", "A")
    with pytest.raises(UserError, match="given twice"):
        insert_rows(write(SMALL), ["stem", 1], "A")
    (file := write(SMALL)).write_bytes("# é\n".encode("latin-1"))
    with pytest.raises(ModelError, match="UTF-8"):
        insert_rows(file, 1, "A")


def test_plugins_beside_the_file_are_kept(write):
    text = f"plugins: [mine.py]\n{SMALL}"
    assert insert_rows(write(text), 1, "A").startswith("plugins: [mine.py]\n")


def test_what_became_of_the_rows():
    old = spec_of(bundled())
    assert describe_change(old, old) == []
    message = describe_change(old, spec_of(insert_rows("yolov8.yaml", 9, "FLABlock")))
    assert message == ["new row 10 FLABlock after row 9", "rows 10-22 → 11-23"]
    message = describe_change(old, spec_of(replace_rows("yolov8.yaml", 4, "C2f_FLA")))
    assert message == ["row 4 C2f → row 4 C2f_FLA"]
    assert describe_change(old, spec_of(remove_rows("yolov8.yaml", 9)))[0] == "row 9 SPPF is gone"


def test_the_result_builds(tmp_path):
    from ultralytics.nn.tasks import DetectionModel

    file = Path(tmp_path, "yolov8n-mine.yaml")
    file.write_text(insert_rows("yolov8.yaml", [4, 6, 9, 15], "nn.Identity"), encoding="utf-8", newline="")
    model = DetectionModel(file, nc=3, verbose=False)
    assert model.stride.tolist() == [8, 16, 32]
    assert len(model.model) == 27
