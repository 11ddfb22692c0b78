import logging
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.utils import images, plotting
from ultralytics.utils.errors import UserError
from ultralytics.utils.fonts import load_matplotlib
from ultralytics.utils.images import imwrite
from ultralytics.utils.plotting import (
    Annotator,
    colors,
    optional,
    plot_confusion_matrix,
    plot_dataset,
    plot_images,
    plot_labels,
    plot_mc_curve,
    plot_pr_curve,
    plot_results,
)


def test_colours_repeat_and_differ():
    assert colors(0) != colors(1)
    assert colors(3, bgr=True) == colors(3)[::-1]
    assert len({colors(i) for i in range(20)}) == 20
    assert colors(10**6)


@pytest.mark.parametrize("box", [(2, 2, 20, 20), (-10, -10, 500, 500), (5, 5, 5, 5), (9, 9, 3, 3)])
def test_any_box_is_drawn(box):
    annotator = Annotator(np.zeros((40, 60, 3), np.uint8))
    annotator.box_label(box, "红细胞 0.9", (0, 0, 255))
    out = annotator.result()
    assert out.shape == (40, 60, 3)
    assert out.any()


def test_an_array_shows_what_is_drawn_on_it_at_once():
    """Scripts draw on a frame and then show the frame."""
    frame, kept = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80, 3), np.uint8)
    annotator, own = Annotator(frame, line_width=3), Annotator(kept, line_width=3, pil=True)
    for drawing in (annotator, own):
        drawing.box_label((5, 20, 40, 50), "red", (0, 0, 255))
        drawing.box_label((-20, -20, 500, 500), "x")
        drawing.text((3, 30), "some text")
        drawing.rectangle([50, 5, 70, 9], outline=(1, 2, 3))
    assert frame.any()
    assert (frame == annotator.result()).all()
    assert not kept.any()
    assert (own.result() == frame).all()
    frame.flags.writeable = False
    Annotator(frame).box_label((5, 5, 9, 9))


def test_a_boxs_edge_is_where_the_box_is():
    annotator = Annotator(np.zeros((60, 60, 3), np.uint8), line_width=1)
    annotator.box_label((10, 20, 40, 50), "", (0, 255, 0))
    ys, xs = np.nonzero(annotator.result()[..., 1])
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == (10, 20, 40, 50)


def test_a_dashed_box_has_gaps_and_the_same_corners():
    annotator = Annotator(np.zeros((60, 60, 3), np.uint8), line_width=1)
    annotator.box((10, 20, 40, 50), (0, 255, 0), dashed=True)
    drawn = annotator.result()[..., 1] > 0
    ys, xs = np.nonzero(drawn)
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == (10, 20, 40, 50)
    for side in (drawn[20, 10:41], drawn[50, 10:41], drawn[20:51, 10], drawn[20:51, 40]):
        assert 0.4 < side.mean() < 0.8


def test_batches_are_tiled(tmp_path):
    batch = {
        "img": torch.randint(0, 255, (5, 3, 64, 96), dtype=torch.uint8),
        "cls": torch.tensor([0.0, 1.0]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.2, 0.2, 0.1, 0.1]]),
        "batch_idx": torch.tensor([0.0, 4.0]),
        "im_file": [f"图{i}.jpg" for i in range(5)],
    }
    plot_images(batch, fname=tmp_path / "b.jpg", names={0: "a", 1: "b"})
    width, height = Image.open(tmp_path / "b.jpg").size
    assert width / height == pytest.approx(3 * 96 / (2 * 64), rel=0.6)
    empty = {**batch, "cls": torch.zeros(0), "bboxes": torch.zeros(0, 4), "batch_idx": torch.zeros(0)}
    plot_images(empty, fname=tmp_path / "e.jpg", names={0: "a"})
    assert (tmp_path / "e.jpg").stat().st_size > 1000


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


def crowded(n, side, boxes):
    """n grey pictures, the first with boxes (xyxy, 0..1) named alike."""
    b = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return {
        "img": torch.full((n, 3, side, side), 114, dtype=torch.uint8),
        "cls": torch.zeros(len(b)),
        "bboxes": torch.cat([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], 1),
        "batch_idx": torch.zeros(len(b)),
        "im_file": [f"{i}.jpg" for i in range(n)],
    }


@pytest.mark.parametrize("side", [12, 40, 96, 320])
@pytest.mark.parametrize("name", ["cat", "a very long name of a class", "细胞"])
def test_what_belongs_to_a_picture_stays_inside_it(tmp_path, side, name):
    boxes = [[0.9, 0.9, 1.0, 1.0], [0.0, 0.0, 0.1, 0.1], [0.95, 0.4, 1.0, 0.5], [0.3, 0.96, 0.5, 1.0]]
    with_boxes, without = crowded(4, side, boxes), crowded(4, side, [])
    for batch, file in ((with_boxes, "a.png"), (without, "b.png")):
        plot_images(batch, tmp_path / file, {0: name}, columns=2)
    a, b = (np.asarray(Image.open(tmp_path / f)) for f in ("a.png", "b.png"))
    assert a.shape == b.shape == (2 * side, 2 * side, 3)
    differ = (a != b).any(-1)
    assert differ[:side, :side].any()
    differ[:side, :side] = False
    assert not differ.any()


def test_captions_neither_overlap_nor_hide_the_picture(monkeypatch, tmp_path):
    places = []
    original = Annotator.caption

    def caption(self, box, label, color, taken, boxes):
        written = original(self, box, label, color, taken, boxes)
        if written:
            places.append(taken[-1])
        return written

    monkeypatch.setattr(Annotator, "caption", caption)
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 0.8, (200, 2))
    batch = crowded(1, 320, np.concatenate([corner, corner + rng.uniform(0.02, 0.2, (200, 2))], 1).tolist())
    plot_images(batch, tmp_path / "a.png", {0: "person"})
    assert len(places) > 5
    for i, (x1, y1, x2, y2) in enumerate(places):
        assert min(x1, y1) >= 0
        assert max(x2, y2) <= 320
        assert all(x2 <= u1 or u2 <= x1 or y2 <= v1 or v2 <= y1 for u1, v1, u2, v2 in places[:i])
    assert sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in places) < 0.2 * 320**2


def test_a_caption_leaves_small_boxes_to_see(monkeypatch, tmp_path):
    """Of no box more than a third is covered: not of its own, nor of a neighbour."""
    places = []
    original = Annotator.caption

    def caption(self, *args):
        if original(self, *args):
            places.append(args[3][-1])

    monkeypatch.setattr(Annotator, "caption", caption)
    # At the upper edge: neither above nor inside; one whose place above is another's box.
    boxes = [[0.1, 0.0, 0.16, 0.05], [0.5, 0.5, 0.56, 0.56], [0.5, 0.44, 0.56, 0.495], [0.7, 0.1, 0.95, 0.4]]
    plot_images(crowded(1, 320, boxes), tmp_path / "a.png", {0: "platelets"})
    assert len(places) == 4
    for x1, y1, x2, y2 in np.array(boxes) * 320:
        for u1, v1, u2, v2 in places:
            both = max(min(x2, u2) - max(x1, u1), 0) * max(min(y2, v2) - max(y1, v1), 0)
            assert both <= (x2 - x1) * (y2 - y1) / 3 + 1e-6


def test_a_picture_without_a_detection_says_so(monkeypatch, tmp_path):
    texts = []
    monkeypatch.setattr(Annotator, "text", lambda self, xy, text, *_: texts.append(text))
    batch = {**crowded(2, 160, [[0.1, 0.1, 0.5, 0.5]])}
    batch["conf"] = torch.where(batch["batch_idx"].view(-1) == 0, 0.9, 0.1)
    plot_images(batch, tmp_path / "a.png", {0: "x"})
    assert texts.count("no detection above 0.25") == 1
    texts.clear()
    del batch["conf"]
    plot_images(batch, tmp_path / "b.png", {0: "x"})
    assert not any("no detection" in t for t in texts)


def test_sizes_are_shown_where_they_are(monkeypatch, tmp_path):
    """The panels of sizes are zoomed to the data, and the commonest image size is named."""
    kept = []
    original = plotting._figure
    monkeypatch.setattr(plotting, "_figure", lambda *size: kept.append(original(*size)) or kept[-1])
    plot_labels(np.full((9, 4), 0.1), np.zeros(9), {0: "x"}, tmp_path)
    panels = kept[0].axes
    assert panels[3].get_xlim()[1] < 0.12
    assert panels[2].get_xlim() == (0, 1)
    assert all(p.get_title() for p in panels)
    kept[0].canvas.draw()
    left, right = panels[0].get_position(), panels[2].get_position()
    assert (left.x0, left.width) == pytest.approx((right.x0, right.width))
    shapes = np.array([[480, 640]] * 49 + [[400, 640]])
    boxes = np.tile([0.0, 9, 9, 5, 5], (50, 1))
    plot_dataset({"train": boxes}, {"train": np.ones(50, int)}, {"train": shapes}, {0: "x"}, tmp_path / "c.png")
    panel = kept[1].axes[5]
    assert panel.get_xlim()[0] > 500
    assert [t.get_text() for t in panel.texts] == ["640×480: 98 %"]
    assert not any("$" in t.get_text() for axis in kept[1].axes for t in axis.get_xticklabels())


def test_pairs_and_captions_of_ones_own(tmp_path):
    plot_images(
        crowded(4, 64, []), tmp_path / "a.png", columns=4, captions=["x", "", "a caption too long for it", "y"], group=2
    )
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape[0] == 64
    gap = picture.shape[1] - 4 * 64
    assert gap > 0
    assert (picture[:, 128 : 128 + gap] == 255).all()
    assert (picture[20:40, 70:120] == 114).all()  # the second has no caption


def test_text_is_cut_to_a_width():
    annotator = Annotator(np.zeros((40, 60, 3), np.uint8))
    assert annotator.fit("abc", 100) == "abc"
    cut = annotator.fit("a long file name.jpg", 60)
    assert cut.endswith("…")
    assert annotator.text_font(cut).getlength(cut) <= 60
    assert annotator.fit("abc", 1) == ""


def test_ignored_regions_lie_where_the_letterbox_puts_them(tmp_path):
    """A 40x80 file in a frame of 160: twice as large, 40 pixels of border above."""
    batch = crowded(2, 160, []) | {
        "ignored": [np.array([[-1, 0.25, 0.5, 0.25, 0.5, 1]], np.float32), np.zeros((0, 6), np.float32)],
        "ratio_pad": [((2.0, 2.0), (0, 40)), None],
        "ori_shape": [(40, 80), (40, 80)],
    }
    plot_images(batch, tmp_path / "a.png", columns=2, captions=["", ""])
    ys, xs = np.nonzero((np.asarray(Image.open(tmp_path / "a.png"))[61:, :160] == 170).all(-1))
    assert (xs.min(), xs.max(), ys.max() + 61) == (20, 60, 100)


def test_a_data_set_is_drawn_with_and_without_boxes(tmp_path):
    rng = np.random.default_rng(0)
    boxes = {
        s: np.column_stack([rng.integers(0, 40, n), rng.uniform(1, 90, (n, 4))]) for s, n in (("train", 90), ("val", 9))
    }
    counts = {"train": np.full(30, 3), "val": np.array([9])}
    shapes = {"train": np.full((30, 2), 100), "val": np.array([[100, 120]])}
    plot_dataset(boxes, counts, shapes, {i: f"细{i}" for i in range(35)}, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 20_000
    nothing = {"train": np.zeros((0, 5))}, {"train": np.zeros(0, int)}, {"train": np.zeros((0, 2), int)}
    plot_dataset(*nothing, {0: "a"}, tmp_path / "e.png")
    assert (tmp_path / "e.png").stat().st_size > 5000


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
    told = record.getMessage()
    assert "\n" not in told
    assert "run/a.png" in told or isinstance(error, UserError)
    assert told.rstrip().endswith(("ratio_pad'", "MemoryError", "device", "a b", "x"))


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
    monkeypatch.setattr(plotting, "_save", lambda figure, path, **_: kept.append((figure, path)))
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


def test_a_table_that_was_cut_short_is_drawn(figures, tmp_path):
    (tmp_path / "results.csv").write_text("epoch,train/box_loss,metrics/mAP50(B)\n1,2,0.5\n2,nan,\n3,1\n4,2,3,4,5\n")
    plot_results(tmp_path / "results.csv")
    assert [a.get_title() for a in figures[0][0].axes] == ["train/box_loss", "metrics/mAP50(B)"]
    (tmp_path / "results.csv").write_text("")
    plot_results(tmp_path / "results.csv")


def test_ignored_regions_of_a_mosaic_have_no_place(tmp_path):
    batch = crowded(1, 64, [[0.1, 0.1, 0.5, 0.5]])
    batch |= {"ignored": [np.ones((1, 6), np.float32)], "ratio_pad": [None], "ori_shape": [(64, 64)]}
    plot_images(batch, tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


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
from ultralytics.utils.plotting import plot_mc_curve
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
