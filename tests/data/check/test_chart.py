import numpy as np

from ultralytics.data.check import chart
from ultralytics.data.check.chart import plot_dataset


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


def test_the_commonest_image_size_is_named(monkeypatch, tmp_path):
    kept = []
    original = chart.new_figure
    monkeypatch.setattr(chart, "new_figure", lambda *size: kept.append(original(*size)) or kept[-1])
    shapes = np.array([[480, 640]] * 49 + [[400, 640]])
    boxes = np.tile([0.0, 9, 9, 5, 5], (50, 1))
    plot_dataset({"train": boxes}, {"train": np.ones(50, int)}, {"train": shapes}, {0: "x"}, tmp_path / "c.png")
    panel = kept[0].axes[5]
    assert panel.get_xlim()[0] > 500
    assert [t.get_text() for t in panel.texts] == ["640×480: 98 %"]
    assert not any("$" in t.get_text() for axis in kept[0].axes for t in axis.get_xticklabels())
