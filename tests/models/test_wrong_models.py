"""Mistakes in a model YAML: one line with the row and the hint, before any data is read."""

import re
from pathlib import Path

import pytest

import ultralytics.models.yolo.detect.train as training
from ultralytics.cli import main

FLA = (Path(__file__).resolve().parents[2] / "cfg" / "models" / "yolov8-fla.yaml").read_text(encoding="utf-8")

# ruff: noqa: E501  # a table reads best with a mistake per line
# What is replaced in yolov8-fla.yaml, by what, and what the message must say.
MISTAKES = {
    "unknown module": ("FocusedLinearAttention", "FocusedLinearAttentoin", r"row 10 .*did you mean 'FocusedLinearAtt"),
    "unknown torch module": ("nn.Upsample, [None, 2, nearest]] # 11", "nn.Upsampel, [None, 2]] # 11", r"row 11 .*Upsample"),
    "a row that does not exist": ("[[-1, 6], 1, Concat", "[[-1, 66], 1, Concat", r"row 12 .*66, which does not exist"),
    "a later row": ("[[-1, 6], 1, Concat", "[[-1, 16], 1, Concat", r"row 12 .*16, which comes later"),
    "itself": ("[[-1, 6], 1, Concat", "[[-1, 12], 1, Concat", r"row 12 .*12, which is itself"),
    "a name nobody has": ("[[-1, 6], 1, Concat", "[[-1, neck], 1, Concat", r"row 12 .*'neck'.*no row has a name"),
    "a misspelt name": (
        "  - [-1, 6, C2f, [512, True]] # 6", "  - [-1, 6, C2f, [512, True], mid]\n#", r"row 12 .*'mit'.*did you mean 'mid'",
        "[[-1, 6], 1, Concat", "[[-1, mit], 1, Concat",
    ),
    "a name twice": (
        "SPPF, [1024, 5]]", "SPPF, [1024, 5], top]", r"row 10 .*'top' is that of row 9",
        "FocusedLinearAttention, [256]]", "FocusedLinearAttention, [256], top]",
    ),
    "maps of other strides": ("[[-1, 6], 1, Concat", "[[-1, 4], 1, Concat", r"row 12 .*different size.*row 4 .*stride 8"),
    "a head of equal strides": ("[[16, 19, 22], 1", "[[16, 19, 19], 1", r"no row reads|finest first"),
    "a head in the wrong order": ("[[16, 19, 22], 1", "[[22, 19, 16], 1", r"row 23 .*finest first.*\[16, 19, 22\]"),
    "heads that do not divide": ("Attention, [256]]", "Attention, [256, [20, 20], 7]]", r"row 10 .*7 heads.*valid counts"),
    "a wrong window": ("Attention, [256]]", "Attention, [256, 20]]", r"row 10 .*window_size"),
    "an even kernel": ("Attention, [256]]", "Attention, [256, {kernel_size: 4}]]", r"row 10 .*kernel_size must be odd"),
    "a factor out of range": ("Attention, [256]]", "Attention, [256, {focusing_factor: 33}]]", r"row 10 .*1\.\.32"),
    "an unknown keyword": ("Attention, [256]]", "Attention, [256, {headz: 4}]]", r"row 10 .*headz.*it takes dim.*num_heads"),
    "too many arguments": ("SPPF, [1024, 5]]", "SPPF, [1024, 5, 1, 1, 1]]", r"row 9 .*SPPF.*it takes c1, c2, k"),
    "no arguments": ("SPPF, [1024, 5]]", "SPPF, []]", r"row 9 .*output channels"),
    "channels as text": ("SPPF, [1024, 5]]", "SPPF, [wide]]", r"row 9 .*output channels.*'wide'"),
    "two sources for one": ("[-1, 1, SPPF", "[[-1, 6], 1, SPPF", r"row 9 .*one source.*Concat"),
    "a short row": ("[-1, 1, SPPF, [1024, 5]]", "[-1, 1, SPPF]", r"row 9.*a row is \[from, repeats, module, args\]"),
    "no repeats": ("[-1, 1, SPPF", "[-1, 0, SPPF", r"row 9 .*repeats"),
    "a source as text": ("[-1, 1, SPPF", "['8', 1, SPPF", r"row 9 .*without quotes"),
    "a kernel the map cannot take": ("SPPF, [1024, 5]]", "SPPF, [1024, 4]]", r"row 9 .*kernel must be odd"),
    "a plugin that is not there": ("nc: 80", "plugins: [mine.py]\nnc: 80", r"mine\.py: no such plugin"),
    "a head that is not last": ("# 23", "\n  - [22, 1, nn.Identity, []]", r"row 23 .*the head must be the last row"),
    "classes of its own": ("Detect, [nc]", "Detect, [20]", r"row 23 .*20 classes, and the model 3.*as nc"),
    "a stride of 0": ("Conv, [256, 3, 2]] # 3", "Conv, [256, 3, 0]] # 3", r"row 3 .*stride must be 1 or more"),
    "a rule that does not hold": ("FocusedLinearAttention, [256]", "nn.Conv2d, [256, 128, 1]", r"row 10 .*gives 128 channels.*says 256"),
    "a switch for a number": ("Attention, [256]]", "Attention, [256, {num_heads: true}]]", r"row 10 .*True heads.*valid"),
    "an unknown key": ("nc: 80", "neck: []\nnc: 80", r"unknown key 'neck'"),
    "a scale of two numbers": ("n: [0.33, 0.25, 1024]", "n: [0.33, 0.25]", r"depth, width, max_channels"),
    "not YAML": ("backbone:", "backbone: [", r"line \d+: not valid YAML"),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(MISTAKES))
def test_a_mistake_is_one_line_with_the_row_and_the_mend(kind, toy, tmp_path, monkeypatch, capsys):
    old, new, message, *more = MISTAKES[kind]
    text = FLA
    for a, b in [(old, new), *zip(more[::2], more[1::2], strict=True)]:
        assert a in text
        text = text.replace(a, b, 1)
    file = tmp_path / "yolov8n-mistake.yaml"
    file.write_text(text, encoding="utf-8")

    def read(*_: object, **__: object) -> None:
        raise AssertionError("data were read")

    monkeypatch.setattr(training, "build_yolo_dataset", read)
    words = [f"model={file}", f"data={toy}", "epochs=1", "imgsz=64", "device=cpu", f"project={tmp_path / 'runs'}"]
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "yolov8n-mistake.yaml" in error or "mine.py" in error
    assert re.search(message, error), error
    assert not (tmp_path / "runs" / "train").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[16, 19, 22], 1", "[[15, 18, 21], 1", r"row 22 \(C2f\).*Detect meant to read \[16, 19, 22\] instead of"),
        (
            "SPPF, [1024, 5]] # 9",
            "SPPF, [1024, 5]]\n  - [8, 1, SPPF, [1024, 5]]",
            r"row 9 \(SPPF\): no row reads its output",
        ),
    ],
    ids=["a head that was not raised", "a dead row"],
)
def test_a_row_that_nothing_reads_is_a_warning_with_what_was_probably_meant(old, new, message, tmp_path, capsys):
    assert old in FLA
    file = tmp_path / "yolov8n-dead.yaml"
    file.write_text(FLA.replace(old, new, 1), encoding="utf-8")
    assert main(["info", f"model={file}", "imgsz=64"]) == 0
    printed = capsys.readouterr()
    lines = [line for line in (printed.out + printed.err).splitlines() if "no row reads its output" in line]
    assert [line for line in lines if re.search(message, line)], lines
