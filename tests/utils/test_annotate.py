import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.utils.annotate import Annotator, sizes_for
from ultralytics.utils.batch_plots import plot_images
from ultralytics.utils.colors import colors


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


def squares(*sides):
    return np.array([[10, 10, 10 + s, 10 + s] for s in sides], np.float32)


@pytest.mark.parametrize(
    ("shape", "sides", "sizes"),
    [
        ((3000, 4000), (54,), (2, 12)),  # 67.4 / √2⁵ = 11.9 ≤ 54/4; lines 11.9 · 0.156 = 1.86
        ((3000, 4000), (5, 100, 900), (4, 24)),  # 67.4 / √2³ = 23.8 ≤ 100/4; lines 3.71
        ((3000, 4000), (8,), (1, 11)),  # the least; lines 8/24
        ((3000, 4000), (135,), None),  # letters are 67.4, no more than half
        ((480, 640), (5,), None),  # letters are the least already
        ((640, 640), (20,), None),  # letters are 12.3: nothing to gain
        ((720, 1280), (20,), None),  # 19.25, less than twice 11
        ((1142, 1142), (20,), None),  # 21.98
        ((1144, 1144), (20,), (1, 11)),  # 22.02: large from here on; lines 20/24
        ((3000, 4000), (), None),
    ],
)
def test_small_boxes_on_a_large_image_have_small_letters_and_thin_lines(shape, sides, sizes):
    assert sizes_for(shape, squares(*sides).reshape(-1, 4)) == sizes


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


def test_ignored_regions_of_a_mosaic_have_no_place(tmp_path):
    batch = crowded(1, 64, [[0.1, 0.1, 0.5, 0.5]])
    batch |= {"ignored": [np.ones((1, 6), np.float32)], "ratio_pad": [None], "ori_shape": [(64, 64)]}
    plot_images(batch, tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()
