"""Figures of explanations: legible in a column of 8.5 cm, and nothing over anything else."""

import numpy as np
import pytest
from matplotlib.text import Text

from ultralytics.utils import annotate, charts, explain_plots
from ultralytics.utils.explain_plots import Field, WeightPanel, plot_attention, plot_cam, plot_erf

RNG = np.random.default_rng(0)
NAMES = {0: "红细胞", 1: "a class of a rather long name", 2: "c"}


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, which are not written."""
    kept = []
    monkeypatch.setattr(charts, "_save_figure", lambda figure, path, **_: kept.append((figure, path)))
    return kept


def check(figure):
    """As wide as a column at most, letters of 7 points at least, no text over another or cut."""
    figure.canvas.draw()
    wide, high = figure.get_size_inches()
    assert wide <= 8.5 / 2.54 + 1e-6
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    places = {}
    for text in texts:
        assert text.get_fontsize() >= 7
        box = text.get_window_extent()
        assert -1 <= box.x0 <= box.x1 <= wide * figure.dpi + 1, text
        assert -1 <= box.y0 <= box.y1 <= high * figure.dpi + 1, text
        places[text] = box
    for a, one in places.items():
        for b, other in places.items():
            meet = one.x0 < other.x1 - 1 and other.x0 < one.x1 - 1 and one.y0 < other.y1 - 1 and other.y0 < one.y1 - 1
            assert a is b or not meet, (a, b)
    return texts


@pytest.mark.parametrize("shape", [(60, 90), (400, 80)], ids=str)
def test_a_map_over_its_image_is_legible(figures, shape):
    image = RNG.integers(0, 255, (*shape, 3), np.uint8)
    boxes = np.array([[2, 2, 25, 28, 0.9, 0], [5, 8, 60, 29, 0.5, 1]])
    plot_cam(image, np.linspace(0, 4, image[..., 0].size).reshape(shape), boxes, NAMES, "a.png", "class 红细胞")
    ((figure, path),) = figures
    assert path.suffix == ".png"
    check(figure)


def test_names_leave_open_what_is_hot():
    heat = np.zeros((100, 100))
    heat[20:40, 50:70] = 1
    assert explain_plots._hot_places(heat) == [(50, 20, 70, 40)]


def test_an_image_without_detections_says_so(figures, monkeypatch):
    message = []
    monkeypatch.setattr(annotate.Annotator, "text", lambda self, xy, text: message.append(text))
    plot_cam(RNG.integers(0, 255, (60, 90, 3), np.uint8), np.zeros((60, 90)), np.zeros((0, 6)), {}, "a.png")
    assert message == ["no detection"]


@pytest.mark.parametrize(("count", "shape"), [(3, (90, 30)), (4, (60, 90))], ids=str)
def test_weights_of_every_number_of_points_are_legible(figures, count, shape):
    image = RNG.integers(0, 255, (*shape, 3), np.uint8)
    points = [[float(3 * i), float(i)] for i in range(count)]
    panels = [
        WeightPanel("row 10 FLABlock, rank 29-32 of 380, mean of heads", RNG.random((count, 4, 6))),
        WeightPanel(
            "row 12.attn MagnitudeAwareLinearAttention, head 11, rank 1280 of 1600", 1000 * RNG.random((count, 8, 8))
        ),
    ]
    notes = ["weight × tokens; 1: as much as in an even mixture", "not part of the weights: the depth-wise 5×5 branch"]
    captions = ["红细胞", "a class of…", "(1234, 987)"]
    plot_attention(image, panels, points, (0, -10, 90, 70), [captions[i % 3] for i in range(count)], "a.png", notes)
    assert [path.suffix for _, path in figures] == [".png", ".pdf"]
    texts = [t.get_text() for t in check(figures[0][0])]
    together = " ".join(texts)
    assert all(text in together for text in (*notes, *(p.title for p in panels)))


def test_an_even_mixture_looks_even_and_its_numbers_differ(figures):
    image = RNG.integers(0, 255, (60, 90, 3), np.uint8)
    panel = WeightPanel("row 10 FLABlock", 1 + 1e-5 * RNG.random((1, 4, 6)))
    plot_attention(image, [panel], [[3, 4]], (0, 0, 90, 60), ["a"], "a.png")
    texts = [t.get_text() for t in check(figures[0][0])]
    assert {"0.99", "1", "1.01"} <= set(texts)
    panel = WeightPanel("row 10 FLABlock", np.linspace(0.85, 0.89, 24).reshape(1, 4, 6))
    plot_attention(image, [panel], [[3, 4]], (0, 0, 90, 60), ["a"], "b.png")
    assert {"0.85", "0.87", "0.89"} <= {t.get_text() for t in check(figures[2][0])}


def test_each_pixel_has_the_weight_of_the_cell_it_lies_in():
    values = np.arange(6.0).reshape(2, 3)
    # A frame of 60 × 40 pixels over an image of 60 × 20, the borders above and below.
    shown = explain_plots._sampled(values, (0, -10, 60, 30), (20, 60), (20, 60))
    assert shown[9, 19] == values[0, 0]
    assert shown[9, 20] == values[0, 1]
    assert shown[10, 59] == values[1, 2]
    assert shown[19, 0] == values[1, 0]


@pytest.mark.parametrize("whens", [("before", "after", "after"), ("after",) * 2], ids=str)
def test_receptive_fields_stand_before_beside_after(figures, whens):
    fields = []
    for i, when in enumerate(whens):
        field = RNG.random((32, 32))
        sides, areas = np.array([3.0, 5, 9, 31]), np.array([0.009, 0.5, 1, 1])
        fields.append(Field(f"row {10 + i} MagnitudeAwareLinearAttention", when, field, sides, areas, (16.0, 16.0)))
    notes = ["|∂ centre / ∂ pixel|, mean of 50 images at 640, relative"]
    plot_erf(fields, "a.png", [*notes, "squares and lines below: part of the gradient in part of the area"])
    figure = figures[0][0]
    texts = [t.get_text() for t in check(figure)]
    assert "20% in 0.90%  30% in 50%\n50% in 100%  99% in 100%" in texts
    if "before" in whens:
        for axes in figure.axes:
            if axes.get_title():
                assert (axes.get_position().x0 > 0.4) == axes.get_title().endswith("after")


def test_a_field_of_zeros_is_drawn(figures):
    plot_erf([Field("row 1 X", "after", np.zeros((8, 8)), np.full(4, np.nan), np.full(4, np.nan), (4.0, 4.0))], "a.png")
    check(figures[0][0])
