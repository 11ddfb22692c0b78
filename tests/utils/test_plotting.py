import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.utils.plotting import Annotator, colors, plot_images, plot_labels, plot_results


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


def test_a_boxs_edge_is_where_the_box_is():
    annotator = Annotator(np.zeros((60, 60, 3), np.uint8), line_width=1)
    annotator.box_label((10, 20, 40, 50), "", (0, 255, 0))
    ys, xs = np.nonzero(annotator.result()[..., 1])
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == (10, 20, 40, 50)


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
