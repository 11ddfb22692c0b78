"""Arguments of rows, compared with what their constructors are annotated with."""

import pytest
from torch import nn

from ultralytics.nn import tasks
from ultralytics.nn.building import build, check_arguments, takes
from ultralytics.nn.modules import (
    SPP,
    Bottleneck,
    C2f,
    C2f_FLA,
    Conv,
    ConvBlock,
    Detect,
    FLABlock,
    FLALayer,
    FocusedLinearAttention,
    HGBlock,
    PSABlock,
    SoftmaxAttention,
)
from ultralytics.utils.errors import ModelError


@pytest.mark.parametrize(
    ("cls", "args", "message"),
    [
        (Conv, [8, 16, 3, "two"], "argument s must be a whole number or a list of 2, each a whole number, not 'two'"),
        (Conv, [8, 16, 3, [2, "b"]], "argument s must .* not \\[2, 'b'\\]"),
        (Conv, [8, 16, 3, [2, 2, 2]], "argument s must be a whole number or a list of 2"),
        (Conv, [8, 16, 3, 2.5], "argument s must be a whole number .* not 2.5"),
        (Conv, [8, 16, 3, None], "argument s must be a whole number .* not None"),
        (Conv, [8, 16, float("nan")], "argument k must be a whole number"),
        (Conv, [8, 16, 0], "argument k must be 1 or more, not 0"),
        (Conv, [8, 16, 3, 10**20], "argument s must be at most 2,147,483,647"),
        (Conv, [8, 16, 3, 1, None, 1, 1, "nn.ReLU()"], "argument act must be True or False, not 'nn.ReLU\\(\\)'"),
        (C2f, [8, 16, 1, "two"], "argument shortcut must be True or False, not 'two'"),
        (Bottleneck, [8, 16, True, 1, [3, "b"]], "argument k must be a list of 2"),
        (SPP, [8, 16, [5, "x"]], "argument k must be a list, each a whole number"),
        (FLABlock, [16, "x"], "argument num_heads must be a whole number, not 'x'"),
        (nn.Upsample, [None, "two", "nearest"], "argument scale_factor must be a number .* not 'two'"),
        (nn.MaxPool2d, ["a"], "argument kernel_size must be a whole number .* not 'a'"),
    ],
)
def test_an_argument_of_another_type_is_named(cls, args, message):
    with pytest.raises(ModelError, match=message) as error:
        check_arguments(cls, args, {})
    assert "it takes" in error.value.hint
    assert "\n" not in str(error.value)


def test_an_argument_given_by_name_is_compared_too():
    with pytest.raises(ModelError, match="its argument s must be"):
        check_arguments(Conv, [8, 16], {"k": 3, "s": "two"})


@pytest.mark.parametrize(
    ("cls", "args", "taking"),
    [
        (FLABlock, [16], FocusedLinearAttention),
        (ConvBlock, [16], FocusedLinearAttention),
        (FLALayer, [16], FocusedLinearAttention),
        (C2f_FLA, [16, 16], FocusedLinearAttention),
        (PSABlock, [16], SoftmaxAttention),
    ],
)
def test_options_are_those_of_the_class_that_takes_them(cls, args, taking):
    names = takes(cls).removeprefix("it takes ").split(", ")
    assert set(names) >= set(takes(taking).removeprefix("it takes ").split(", ")) - {"dim"}
    assert len(names) == len(set(names))
    assert not [n for n in names if "*" in n]
    with pytest.raises(ModelError, match="it has no argument qkv_biass") as error:
        check_arguments(cls, args, {"qkv_biass": True})
    assert error.value.hint == f"did you mean 'qkv_bias'? {takes(cls)}"
    with pytest.raises(ModelError, match="its argument proj_drop must be a number, not 'x'"):
        check_arguments(cls, args, {"proj_drop": "x"})
    given = {"qkv_bias": False, "proj_drop": 0.1}
    check_arguments(cls, args, given)
    build(cls, args, given)


def test_the_options_of_a_block_of_ones_own_are_named_too():
    class Own(SoftmaxAttention):
        def __init__(self, dim, sharpness=1.0, **options):
            super().__init__(dim, **options)

    class OwnBlock(PSABlock):
        mixing = Own

    with pytest.raises(ModelError, match="sharpnes") as error:
        build(OwnBlock, [16], {"sharpnes": 2})
    assert error.value.hint == "it takes dim, num_heads, window_size, sharpness, **options"


def test_arguments_that_are_right_are_let_through():
    for cls, args, keywords in [
        (Conv, [8, 16, [3, 1], (2, 1), None, 8], {"act": nn.ReLU()}),
        (Conv, [8, 16, 3, 1], {"act": False}),
        (C2f, [8, 16, 2, 1], {}),  # 1 for True
        (HGBlock, [8, 8, 16, 3, 2, True], {}),
        (FLABlock, [16, 4], {"kernel_size": 3}),
        (nn.Upsample, [None, 2, "nearest"], {}),
        (nn.Conv2d, [8, 16, 3], {"padding": "same"}),
        (Detect, [3, [16, 16]], {}),
    ]:
        check_arguments(cls, args, keywords)
        assert isinstance(build(cls, args, keywords), cls)


def test_annotations_of_a_pasted_class_bind_nobody(monkeypatch):
    """Tutorials annotate loosely: what torch takes is right."""

    class Pasted(nn.Module):
        def __init__(self, c1: int, k: int = 3):
            super().__init__()
            self.cv = nn.Conv2d(c1, c1, k, padding="same")

        def forward(self, x):
            return self.cv(x)

    Pasted.__module__ = "ultralytics.nn.modules.conv"
    monkeypatch.setattr(tasks, "Pasted", Pasted, raising=False)
    rows = {"nc": 1, "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Pasted", [[3, 5]]]], "head": []}
    rows["head"] = [[[-1], 1, "Detect", ["nc"]]]
    assert tuple(tasks.DetectionModel(rows, verbose=False).model[1].cv.kernel_size) == (3, 5)
