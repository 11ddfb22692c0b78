import logging
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from ultralytics.utils import charts, images
from ultralytics.utils.annotate import Annotator
from ultralytics.utils.charts import (
    optional,
    plot_confusion_matrix,
    plot_labels,
    plot_mc_curve,
    plot_pr_curve,
    plot_results,
)
from ultralytics.utils.errors import UserError
from ultralytics.utils.fonts import load_matplotlib
from ultralytics.utils.images import imwrite


def test_label_pictures_with_and_without_boxes(tmp_path):
    plot_labels(
        np.random.default_rng(0).uniform(0.1, 0.5, (50, 4)), np.arange(50) % 3, {0: "a", 1: "b", 2: "细"}, tmp_path
    )
    assert (tmp_path / "labels.jpg").stat().st_size > 5000
    plot_labels(np.zeros((0, 4)), np.zeros(0), {0: "a"}, tmp_path)


def test_curves_from_a_table_with_gaps(tmp_path):
    (tmp_path / "results.csv").write_text(
        "epoch,time,train/box_loss,metrics/mAP50(B),lr/pg0\n1,1,2,,0.1\n2,2,1,0.5,0.1\n"
    )
    plot_results(tmp_path / "results.csv", tmp_path)
    assert (tmp_path / "results.png").stat().st_size > 5000


def test_sizes_are_shown_where_they_are(monkeypatch, tmp_path):
    """The panels of sizes are zoomed to the data."""
    kept = []
    original = charts.new_figure
    monkeypatch.setattr(charts, "new_figure", lambda *size: kept.append(original(*size)) or kept[-1])
    plot_labels(np.full((9, 4), 0.1), np.zeros(9), {0: "x"}, tmp_path)
    panels = kept[0].axes
    assert panels[3].get_xlim()[1] < 0.12
    assert panels[2].get_xlim() == (0, 1)
    assert all(p.get_title() for p in panels)
    kept[0].canvas.draw()
    left, right = panels[0].get_position(), panels[2].get_position()
    assert (left.x0, left.width) == pytest.approx((right.x0, right.width))


@pytest.mark.parametrize(
    "error",
    [KeyError("ratio_pad"), MemoryError(), OSError(28, "No space left on device"), ImportError("a\nb"), UserError("x")],
)
def test_a_picture_that_fails_is_a_warning_of_one_line(error, caplog):
    with caplog.at_level(logging.WARNING, "ultralytics"):
        with optional("run/a.png"):
            raise error
        with optional("run/b.png"):
            pass
    (record,) = caplog.records
    message = record.getMessage()
    assert "\n" not in message
    assert "run/a.png" in message or isinstance(error, UserError)
    assert message.rstrip().endswith(("ratio_pad'", "MemoryError", "device", "a b", "x"))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, type("Stop", (BaseException,), {})])
def test_a_stop_passes_a_picture(stop):
    with pytest.raises(stop), optional("a.png"):
        raise stop


def test_a_picture_is_whole_or_not_there_and_takes_none_away(monkeypatch, tmp_path):
    picture = np.zeros((8, 8, 3), np.uint8)
    imwrite(tmp_path / "a.png", picture)

    class Full:
        def __init__(self, path, mode):
            self.path = path

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, data):
            raise OSError(28, "No space left on device")

    def refused(path, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(images, "open", refused, raising=False)
    with pytest.raises(UserError, match="Permission denied"):
        imwrite(tmp_path / "a.png", picture)
    assert (tmp_path / "a.png").exists()
    monkeypatch.setattr(images, "open", Full, raising=False)
    with pytest.raises(UserError, match="No space"):
        imwrite(tmp_path / "a.png", picture)
    assert not (tmp_path / "a.png").exists()


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn; they are not written, for that takes most of the time."""
    kept = []
    monkeypatch.setattr(charts, "_save_figure", lambda figure, path, **_: kept.append((figure, path)))
    return kept


def overlap(a, b):
    return a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1


LONG = [f"{i} the name of a class that is far too long" for i in range(20)]


@pytest.mark.parametrize("names", [["a"], ["RBC", "WBC", "细胞"], LONG, ["宽" * 30] * 12, [f"c{i}" for i in range(90)]])
def test_the_legend_covers_no_curve_and_nothing_is_cut(figures, names):
    x, y = np.linspace(0, 1, 1000), np.ones((len(names), 1000))
    plot_mc_curve(x, y, "F1_curve.png", dict(enumerate(names)))
    plot_pr_curve(x, y, np.ones((len(names), 10)), "PR_curve.png", dict(enumerate(names)))
    assert [path.suffix for _, path in figures] == [".png", ".pdf"] * 2
    for figure, _ in figures[::2]:
        figure.canvas.draw()
        (axes,) = figure.axes
        legend = axes.get_legend().get_window_extent()
        assert not overlap(legend, axes.get_window_extent())
        for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
            assert not overlap(legend, label.get_window_extent())
        inside(figure)
        assert len(axes.get_legend().get_texts()) == (2 if len(names) > 20 else len(names) + 1)


def inside(figure):
    """Nothing is cut, and no broad strip at an edge is empty."""
    drawn = figure.get_tightbbox(figure.canvas.get_renderer())
    wide, high = figure.get_size_inches()
    assert -0.01 <= drawn.x0 < 0.45
    assert -0.01 <= drawn.y0 < 0.45
    assert 0.8 * wide < drawn.x1 <= wide + 0.01  # letters that no font has may be narrow boxes
    assert high - 0.45 < drawn.y1 <= high + 0.01


@pytest.mark.parametrize(("count", "long"), [(1, False), (3, True), (14, False), (40, True), (150, False)])
def test_a_confusion_matrix_fills_its_figure(figures, count, long):
    names = [("a name that is far too long " if long else "c") + str(i) for i in range(count)]
    matrix = np.random.default_rng(0).integers(0, 9, (count + 1, count + 1))
    plot_confusion_matrix(matrix, names, count == 3, "matrix.png")
    for figure, _ in figures[::2]:
        figure.canvas.draw()
        inside(figure)
        axes = figure.axes[0]
        box = axes.get_window_extent()
        assert box.width == pytest.approx(box.height, rel=0.01)
        labels = [t.get_window_extent() for t in axes.texts if t.get_text() == "background"]
        assert len(labels) == (2 if count < 100 else 0)
        for label in labels:
            assert not overlap(label, axes.yaxis.label.get_window_extent())
            assert not overlap(label, axes.xaxis.label.get_window_extent())
    numbers = [t.get_text() for t in figures[0][0].axes[0].texts if t.get_text()[0].isdigit()]
    assert len(numbers) == (np.count_nonzero(matrix) if count < 30 else 0)
    assert all(("." in number) == (count == 3) for number in numbers)


def test_curves_are_vectors_with_text_in_true_type(tmp_path):
    x = np.linspace(0, 1, 1000)
    plot_mc_curve(x, np.ones((2, 1000)), tmp_path / "F1_curve.png", {0: "confident", 1: "b"})
    pdf = (tmp_path / "F1_curve.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf
    assert pdf.count(b"/FontFile2") == 1  # "fi" takes no second font
    assert b"/Subtype /Image" not in pdf
    assert b"CreationDate" not in pdf  # equal runs write equal files
    assert Image.open(tmp_path / "F1_curve.png").size[0] > 1000


STRANGE = [
    "$x_i$",
    "$",
    "\\frac{",
    "50 %",
    "{x}",
    "%s",
    "a\nb",
    "",
    " ",
    "_hidden",
    "x" * 3000,
    "قطة",
    "🙂",
    "\u202eabc",
    "\ud800",
]


def test_any_name_is_drawn(figures, tmp_path):
    names = dict(enumerate(STRANGE))
    count = len(names)
    x = np.linspace(0, 1, 1000)
    plot_mc_curve(x, np.ones((count, 1000)), "a.png", names)
    plot_confusion_matrix(np.ones((count + 1, count + 1)), STRANGE, True, "b.png")
    plot_labels(np.full((count, 4), 0.2), np.arange(count), names, tmp_path)
    for figure in dict.fromkeys(figure for figure, _ in figures):
        figure.canvas.draw()
    legend = [t.get_text() for t in figures[0][0].axes[0].get_legend().get_texts()]
    assert {"$x_i$", "{x}", "a b"} <= set(legend)
    assert len(legend) == count + 1  # matplotlib by itself leaves names out that begin with "_"
    annotator = Annotator(np.zeros((60, 90, 3), np.uint8))
    for name in STRANGE:
        annotator.box_label((5, 5, 50, 50), name)


def test_settings_of_the_users_matplotlib_change_nothing(figures):
    matplotlib = load_matplotlib()
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "black", "font.size": 40}):
        plot_mc_curve(np.linspace(0, 1, 1000), np.ones((1, 1000)), "a.png", {0: "a"})
        assert matplotlib.rcParams["text.usetex"]
        assert matplotlib.rcParams["font.size"] == 40
    figure = figures[0][0]
    assert figure.axes[0].get_facecolor() == (1, 1, 1, 1)
    assert not any(t.get_usetex() for t in figure.axes[0].get_legend().get_texts())


@pytest.mark.parametrize(
    ("losses", "letters"),
    [("box cls dfl", "B"), ("box seg cls dfl", "BM"), ("box pose kobj cls dfl", "BP")],
)
def test_losses_and_metrics_of_every_task_are_drawn(figures, tmp_path, losses, letters):
    """Those of training above those of validation, precision and recall above mAP."""
    measured = [f"metrics/{name}({at})" for at in letters for name in ("precision", "recall", "mAP50", "mAP50-95")]
    train, val = ([f"{split}/{name}_loss" for name in losses.split()] for split in ("train", "val"))
    names = ["epoch", "time", *train, *measured, *val, "lr/pg0"]
    row = ",".join(["1"] * len(names))
    (tmp_path / "results.csv").write_text("\n".join([",".join(names), row]))
    plot_results(tmp_path / "results.csv")
    axes = figures[0][0].axes
    half = len(axes) // 2
    above, below = [m for m in measured if "mAP" not in m], [m for m in measured if "mAP" in m]
    assert [a.get_title() for a in axes] == [*train, *above, *val, *below]
    assert len({a.get_position().y0 for a in axes[:half]}) == len({a.get_position().y0 for a in axes[half:]}) == 1
    assert [a.get_xlabel() for a in axes] == [""] * half + ["epoch"] * half


def test_a_classifiers_results_are_drawn(figures, tmp_path):
    names = ["train/loss", "metrics/accuracy_top1", "metrics/accuracy_top5", "val/loss"]
    (tmp_path / "results.csv").write_text(f"epoch,{','.join(names)}\n1,2,0.5,0.9,3\n")
    plot_results(tmp_path / "results.csv")
    assert [a.get_title() for a in figures[0][0].axes] == [names[0], names[1], names[3], names[2]]


def test_a_table_that_was_cut_short_is_drawn(figures, tmp_path):
    (tmp_path / "results.csv").write_text("epoch,train/box_loss,metrics/mAP50(B)\n1,2,0.5\n2,nan,\n3,1\n4,2,3,4,5\n")
    plot_results(tmp_path / "results.csv")
    assert [a.get_title() for a in figures[0][0].axes] == ["train/box_loss", "metrics/mAP50(B)"]
    (tmp_path / "results.csv").write_text("")
    plot_results(tmp_path / "results.csv")


@pytest.mark.slow
def test_many_classes_take_neither_minutes_nor_gigabytes(tmp_path):
    count = 1203
    names = {i: f"class {i}" for i in range(count)}
    rng = np.random.default_rng(0)
    start = time.process_time()
    x = np.linspace(0, 1, 1000)
    curves = -np.sort(-rng.random((count, 1000)), 1)  # they fall, as real ones do
    plot_pr_curve(x, curves, rng.random((count, 10)), tmp_path / "PR_curve.png", names)
    plot_confusion_matrix(rng.integers(0, 9, (count + 1, count + 1)), list(names.values()), True, tmp_path / "m.png")
    plot_labels(rng.random((9999, 4)), rng.integers(0, count, 9999), names, tmp_path)
    assert time.process_time() - start < 60
    assert max(f.stat().st_size for f in tmp_path.iterdir()) < 5e6


CHART = """
import numpy as np
from ultralytics.utils.charts import plot_mc_curve
plot_mc_curve(np.linspace(0, 1, 1000), np.ones((1, 1000)), "a.png", {0: "细胞"})
import matplotlib
print(matplotlib.rcParams["backend"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "value"),
    [("MPLBACKEND", "nonsense"), ("MPLBACKEND", "TkAgg"), ("MPLCONFIGDIR", "/proc/none"), ("HOME", "/proc/none")],
)
def test_charts_need_nothing_of_the_environment(tmp_path, setting, value):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), setting: value}
    done = subprocess.run(
        [sys.executable, "-c", CHART], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.pdf").exists()
    assert all("class names" in line for line in done.stderr.splitlines()), done.stderr
    assert done.stdout.split()[-1].lower() == ("tkagg" if value == "TkAgg" else "agg")
