"""The reader of weights files gives what torch gives."""

import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.hostile import archive
from ultralytics.engine.weights import plain as plain_data
from ultralytics.engine.weights.inert import InertRecord, read_inert
from ultralytics.engine.weights.plain import NotPlainError, plain
from ultralytics.utils.errors import CheckpointError

DTYPES = [
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    *(torch.complex64, torch.complex128),
]


@st.composite
def tensors(draw):
    """Of any kind, shape and layout."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    made = (torch.rand(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 9)))) * 9).to(
        draw(st.sampled_from(DTYPES))
    )
    kind = draw(st.sampled_from(["plain", "transposed", "sliced", "expanded", "channels last"]))
    if kind == "transposed" and made.dim() > 1:
        made = made.transpose(0, 1)
    if kind == "sliced" and made.dim() and made.shape[0] > 1:
        made = made[1:]
    if kind == "expanded":
        made = made[None].expand(3, *made.shape)
    if kind == "channels last" and made.dim() == 4:
        made = made.to(memory_format=torch.channels_last)
    return made


leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8) | tensors()
keys = st.text(max_size=5) | st.integers(-(2**40), 2**40) | st.booleans() | st.none() | st.floats(allow_nan=False)
data = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def same(a, b):
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert torch.equal(a, b) or torch.equal(a.isnan(), b.isnan())
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for k in a:
            same(a[k], b[k])
    elif isinstance(a, list | tuple):
        assert type(a) is type(b)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert type(a) is type(b)
        assert a == b or (math.isnan(a) and math.isnan(b))


@settings(max_examples=40)
@given(data, st.sampled_from([2, 3, 4, 5]))
def test_it_reads_what_torch_reads(tmp_path_factory, value, protocol):
    file = tmp_path_factory.getbasetemp() / "any.pt"
    torch.save(value, file, pickle_protocol=protocol)
    expected = torch.load(file, weights_only=False)
    same(read_inert(file), expected)
    same(plain(read_inert(file)), expected)


def test_state_dicts_and_shared_tensors(tmp_path):
    layer = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.rand(2, 3, 8, 8)).sum().backward()
    optimiser.step()
    base = torch.arange(12.0)
    value = {"a": layer.state_dict(), "b": optimiser.state_dict(), "c": [base, base[3:], base.view(3, 4).T]}
    value |= {"d": torch.nn.Parameter(base), "e": base.shape, "f": {1, 2}, "g": torch.get_rng_state()}
    torch.save(value, tmp_path / "a.pt")
    read = read_inert(tmp_path / "a.pt")
    same(read["b"], optimiser.state_dict())
    same(read["c"], value["c"])
    assert torch.equal(read["d"], base)
    assert (read["e"], read["f"]) == ((12,), {1, 2})
    layer.load_state_dict(read["a"])
    read["c"][0][5] = -1
    assert read["c"][1][2] == -1  # views stay views, as with torch.load
    torch.set_rng_state(read["g"])


@given(st.binary(max_size=200))
def test_any_stream_is_a_value_or_one_line(tmp_path_factory, stream):
    file = tmp_path_factory.getbasetemp() / "stream.pt"
    archive(file, b"\x80\x02" + stream)
    try:
        read_inert(file)
    except CheckpointError as e:
        message = str(e)
    else:
        message = ""
    assert "\n" not in message


@given(st.integers(0, 10**9), st.integers(0, 255))
def test_a_flipped_byte_is_a_value_or_one_line(tmp_path_factory, at, value):
    file = tmp_path_factory.getbasetemp() / "flipped.pt"
    stream = bytearray(pickle.dumps({"a": [1, (2.5, "x")], "b": {3: {"c"}}}, 2))
    stream[at % len(stream)] = value
    archive(file, bytes(stream))
    try:
        plain(read_inert(file))
    except (CheckpointError, NotPlainError) as e:
        message = str(e)
    else:
        message = ""
    assert "\n" not in message


def test_plain_refuses_what_is_none(monkeypatch):
    monkeypatch.setattr(plain_data, "MAX_VALUES", 10_000)
    for value in (InertRecord("os.system"), object(), 1j):
        with pytest.raises(NotPlainError):
            plain({"a": [value]})
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(NotPlainError, match="deep"):
        plain(loop)
    doubled: object = "x"
    for _ in range(40):
        doubled = [doubled, doubled]
    with pytest.raises(NotPlainError, match="more data"):
        plain(doubled)
