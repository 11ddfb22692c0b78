import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.cfg.config import get_cfg
from ultralytics.cfg.dataset import load_dataset
from ultralytics.cfg.model import load_model_spec
from ultralytics.cfg.surgery import insert_rows
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.yaml import MAX_BYTES, parse_yaml, read_yaml

FILE = Path("some.yaml")
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [*{a}, *{a}]}}\n" for a, b in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True)
)

HOSTILE = {
    "an object": (
        "!!python/object/apply:os.system ['touch canary']",
        r"line 1: the tag !!python/object/apply:os.system is not understood",
    ),
    "an object in a value": ("a: 1\nb: !!python/name:os.system ''", r"line 2: the tag !!python/name"),
    "a new object": ("a: !!python/object/new:os.system ['id']", r"the tag"),
    "a tag of its own": ("a: !evil b", r"the tag !evil"),
    "a date by tag": ("a: !!timestamp x", r"the tag !!timestamp"),
    "bytes": ("a: !!binary x", r"the tag !!binary"),
    "a set": ("a: !!set {b}", r"the tag !!set"),
    "laughs": (LAUGHS, r"line \d+: more than 200,000 values"),
    "merges": (MERGES, r"line \d+: more than 200,000 values"),
    "itself": ("a: &a [*a]", r"line 1: a value contains itself"),
    "itself by a merge": ("a: &a {<<: *a}", r"contains itself"),
    "deep lists": ("[" * 400, r"not valid YAML"),
    "very deep lists": ("[" * 100_000, r"nested more than 50"),
    "deep lists that end": ("[" * 60 + "]" * 60, r"line 1: values are nested more than 50"),
    "deep mappings": ("{a: " * 200_000, r"nested more than 50"),
    "deep blocks": ("- " * 300_000, r"nested more than 50"),
    "a key twice": (
        "epochs: 1\nbatch: 2\nepochs: 3\n",
        r"some\.yaml, line 3: the key 'epochs' stands in line 1 already",
    ),
    "a key twice below": ("a:\n  b: 1\n  b: 2\n", r"line 3: the key 'b' stands in line 2"),
    "a key twice in a line": ("{a: 1, a: 2}", r"line 1: the key 'a' stands in line 1"),
    "a list as a key": ("? [a]\n: b", r"line 1: a key must be text or a number"),
    "a number of 5,000 digits": ("a: 1\nnc: " + "9" * 5000, r"line 2: a number of 5,000 digits is too large"),
    "a number that is none": ("a: !!int x", r"not valid YAML"),
    "a switch that is none": ("a: !!bool x", r"not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2", r"line 2"),
    "control characters": ("a: \x07", r"not valid YAML"),
    "no alias": ("a: *b", r"line 1.*undefined alias"),
    "a tab": ("a:\n\t- b", r"line 2"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_yaml_is_told_in_one_line_and_soon(kind):
    text, message = HOSTILE[kind]
    started = time.process_time()
    with pytest.raises(ConfigError, match=message) as caught:
        parse_yaml(text, FILE, ConfigError)
    assert time.process_time() - started < 10
    assert str(caught.value).startswith("some.yaml")
    assert "\n" not in str(caught.value)


def test_plain_yaml_is_read_as_plain_data():
    text = "a: 2024-01-01\nb: [1, 1.5, yes, null, =]\nc: &c {d: x}\ne: {<<: *c, f: y, d: z}\n1: one\n'1': text\n"
    assert parse_yaml(text, FILE, ConfigError).data == {
        "a": "2024-01-01", "b": [1, 1.5, True, None, "="], "c": {"d": "x"}, "e": {"d": "z", "f": "y"},
        1: "one", "1": "text",
    }  # fmt: skip
    assert parse_yaml("", FILE, ConfigError).data is None


words = st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


@given(plain, st.booleans())
def test_what_pyyaml_dumps_comes_back(data, flow):
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True)
    assert parse_yaml(text, FILE, ConfigError).data == data


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!<>?,|'\"#% \n\t1.0e~"), max_size=60))
def test_any_text_is_data_or_one_line(text):
    try:
        parse_yaml(text, FILE, ConfigError)
    except ConfigError as e:
        message = str(e)
    else:
        message = ""
    assert "\n" not in message


@pytest.mark.parametrize("read", [get_cfg, load_dataset, load_model_spec, lambda f: insert_rows(f, 3, "FLABlock")])
def test_every_kind_of_yaml_is_read_this_way(read, tmp_path):
    for text, message in [
        (LAUGHS, "200,000"),
        ("a: 1\na: 2\n", "line 1 already"),
        ("a: !!python/name:os.system ''", "the tag"),
    ]:
        file = tmp_path / "yolov8n-any.yaml"
        file.write_text(text)
        with pytest.raises(UserError, match=message) as caught:
            read(str(file))
        assert str(file) in str(caught.value)
    file.write_text("a: " + "x" * MAX_BYTES)
    with pytest.raises(UserError, match="more than 1,048,576 bytes"):
        read(str(file))


def test_files_that_are_none(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_yaml(tmp_path / "latin.yaml", ConfigError)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "gone.yaml", ConfigError)


def test_a_name_with_escapes_is_refused(tmp_path):
    file = tmp_path / "d.yaml"
    file.write_text('train: a\nval: b\nnames: [ok, "\\e]0;owned\\a"]\n')
    with pytest.raises(UserError, match=r"name of class 1 holds control characters: '\\x1b\]0;owned\\x07'") as caught:
        load_dataset(file)
    assert str(caught.value).isprintable()


def test_comments_belong_to_the_values_before_them(tmp_path):
    text = "a: 1  # one\nb: 'x  # y'  # two  # three\nc: [1, '#']  # four\nd:\n  e: 2  # inner\nf: 3\n# g: 4\n"
    found = parse_yaml(text, tmp_path, ConfigError).comments()
    assert found == {"a": "one", "b": "two  # three", "c": "four"}
    assert parse_yaml("", tmp_path, ConfigError).comments() == {}
