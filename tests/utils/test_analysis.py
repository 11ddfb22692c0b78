"""Kinds of errors against a set done by hand, and against the library's own counts."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.coco import NAMES, made, same
from ultralytics.utils import gallery
from ultralytics.utils.analysis import KINDS, analyse, countable, mistakes, table_lines, worst
from ultralytics.utils.coco import Seen, coco_figures
from ultralytics.utils.images import imread, imwrite
from ultralytics.utils.types import ANY_CLASS

NOTHING = np.zeros((0, 6))


def by_hand(file="a.png"):
    """One error of each kind. Class 0 has three objects, class 1 one; detections by falling score."""
    truths = [
        [0, 0, 100, 100, 0, 0],
        [200, 0, 100, 100, 1, 0],
        [0, 200, 100, 100, 0, 0],
        [300, 300, 60, 60, 0, 0],  # missed
        [200, 200, 50, 50, ANY_CLASS, 1],
    ]
    found = [
        [0, 0, 100, 100, 0.9, 0],  # right
        [0, 0, 100, 95, 0.8, 0],  # the same again
        [200, 0, 100, 90, 0.7, 0],  # an object of class 1
        [0, 270, 100, 100, 0.6, 0],  # IoU 30/170 with the third
        [200, 80, 100, 100, 0.5, 0],  # IoU 20/180 with that of class 1
        [110, 110, 40, 40, 0.4, 1],  # on nothing
        [210, 210, 20, 20, 0.3, 1],  # in the ignored region
    ]
    return Seen(file, (400, 400), np.array(found, float), np.array(truths, float))


def test_every_kind_by_hand():
    found = mistakes([by_hand()])
    assert [(m.kind, m.score) for m in found] == [
        ("Dupe", 0.8), ("Cls", 0.7), ("Loc", 0.6), ("Both", 0.5), ("Bkg", 0.4), ("Miss", None),
    ]  # fmt: skip
    assert [m.iou for m in found] == [pytest.approx(v) for v in (0.95, 0.9, 30 / 170, 20 / 180)] + [None, None]
    assert found[1].truth_cls == 1
    assert found[-1].truth == (300, 300, 60, 60)
    figures = analyse([by_hand()], {0: "a", 1: "b"})
    assert {k: v["count"] for k, v in figures["errors"].items()} == dict.fromkeys(KINDS, 1)
    # Class 0 finds one of three first (recall up to 1/3 at precision 1: 34 of 101 points); class 1 none of one.
    base = 34 / 101 / 2
    assert figures["AP50"] == pytest.approx(base, abs=1e-12)
    # Moved onto its object, the fourth detection finds the third: two of three, the second at precision 2/4 (33
    # points).
    assert figures["errors"]["Loc"]["dAP"] == pytest.approx(33 / 101 * 0.5 / 2, abs=1e-12)
    # Given its object's class, the third finds that of class 1, first of its class: AP 1 there.
    assert figures["errors"]["Cls"]["dAP"] == pytest.approx(0.5, abs=1e-12)
    # Without the missed one there are two of class 0: recall 1/2 (51 points).
    assert figures["errors"]["Miss"]["dAP"] == pytest.approx((51 - 34) / 101 / 2, abs=1e-12)
    assert [figures["errors"][k]["dAP"] for k in ("Both", "Dupe", "Bkg")] == [0, 0, 0]  # no true positive behind them


def test_calibration_by_hand():
    calibration = analyse([by_hand()], {0: "a", 1: "b"})["calibration"]
    assert calibration["detections"] == 6  # one is ignored
    filled = [(b["count"], b["score"], b["precision"]) for b in calibration["bins"] if b["count"]]
    assert sum(n for n, _, _ in filled) == 6
    ece = sum(n * abs(s - p) for n, s, p in filled) / 6
    assert calibration["ece"] == pytest.approx(ece)
    assert ece == pytest.approx((0.1 + 0.8 + 0.7 + 0.6 + 0.5 + 0.4) / 6)
    assert set(calibration["per_class"]) == {"a", "b"}


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), crowds=st.sampled_from([0.0, 0.4]), whole=st.booleans(), masks=st.booleans())
def test_kinds_are_the_librarys(seed, crowds, whole, masks):
    seen = made(seed, crowds=crowds, whole=whole, masks=masks)
    figures = analyse(seen, NAMES)
    if not whole:  # which of two detections of one score comes first is not reported
        counts = Counter(m.kind for m in mistakes(seen))
        assert {k: v["count"] for k, v in figures["errors"].items()} == {k: counts[k] for k in KINDS}
    whole_set = coco_figures(seen, NAMES)
    if whole_set["AP50"] is not None:
        assert figures["AP50"] == pytest.approx(whole_set["AP50"], abs=1e-9)
    own = {b["name"]: b["AP"] for b in figures["sizes"]}
    for name in own.keys() & {"S", "M", "L"}:
        assert own[name] == pytest.approx(whole_set[f"AP_{name}"], abs=1e-9)
    quantiles = [b["objects"] for b in figures["sizes"] if b["name"].startswith("Q")]
    assert sum(quantiles) == sum(len(countable(s).truths) for s in seen)
    assert all(quantiles)
    json.dumps(figures, allow_nan=False)


def test_crowds_are_spared_as_the_figures_spare_them():
    region = [0.0, 0, 100, 100, 0, 1]
    inside, beside = [10.0, 10, 40, 40, 0.9, 0], [60.0, 60, 100, 100, 0.8, 0]
    seen = Seen("a", (300, 300), np.array([inside, beside]), np.array([region, [200, 200, 50, 50, 0, 0]]))
    assert [m.kind for m in mistakes([seen])] == ["Bkg", "Miss"]
    assert countable(seen).found[:, 4].tolist() == [0.8]


@pytest.mark.parametrize(
    ("seen", "names"),
    [
        ([Seen("a", (9, 9), NOTHING, NOTHING)], NAMES),
        (made(3, objects=0), NAMES),
        (made(4, detections=0), NAMES),
        (made(5, nc=1), {0: "only"}),
        (made(6), {**NAMES, 7: "never seen"}),
        (made(7, images=2, detections=300, objects=30), NAMES),
    ],
    ids=["nothing", "no objects", "no detections", "one class", "a class without objects", "300 detections"],
)
def test_odd_sets(seen, names):
    figures = analyse(seen, names)
    json.dumps(figures, allow_nan=False)
    assert all(table_lines(figures))
    counts = Counter(m.kind for m in mistakes(seen))
    assert {k: v["count"] for k, v in figures["errors"].items()} == {k: counts[k] for k in KINDS}
    same(seen, names)
    for draw in (gallery.plot_errors, gallery.plot_sizes, gallery.plot_calibration):
        draw.__wrapped__(figures, None)
    for kind, some in worst(mistakes(seen), 1).items():
        assert gallery.sheet(kind, some, seen, names).std() > 0  # the image is not there


def test_the_gallery(tmp_path):
    """Boxes lie where they belong, whatever the crop: at an edge, of a wide image, of a tiny object."""
    file = str(tmp_path / "图.png")
    imwrite(file, np.full((400, 400, 3), 128, np.uint8))
    seen, names = [by_hand(file)], {0: "细胞", 1: "b"}
    figures = analyse(seen, names)
    gallery.draw_analysis(figures, seen, names, tmp_path, 3)
    assert {p.name for p in tmp_path.glob("analysis_*")} == {
        f"analysis_{k}.{suffix}" for k in ("errors", "sizes", "calibration") for suffix in ("png", "pdf")
    }
    rows = json.loads((tmp_path / "gallery.json").read_text(encoding="utf-8"))
    assert list(rows) == list(KINDS)
    assert rows["Loc"] == [
        {
            "file": file, "score": 0.6, "class": "细胞", "box": [0, 270, 100, 100], "true_class": "细胞",
            "true_box": [0, 200, 100, 100], "iou": pytest.approx(30 / 170),
        }
    ]  # fmt: skip
    for kind in KINDS:
        assert imread(tmp_path / f"gallery_{kind}.jpg") is not None
        sheet = gallery.sheet(kind, [m for m in mistakes(seen) if m.kind == kind], seen, names).astype(int)
        near = {
            name: (abs(sheet[60:340, 10:310] - colour).sum(2) < 60).sum()
            for name, colour in (("box", gallery.WRONG), ("true", gallery.TRUE))
        }
        assert (near["box"] > 50) == (kind != "Miss"), kind
        assert (near["true"] > 50) == (kind != "Bkg"), kind
    assert [m.score for m in worst(mistakes(made(9, detections=40)), 3)["Bkg"]] == sorted(
        (m.score for m in mistakes(made(9, detections=40)) if m.kind == "Bkg"), reverse=True
    )[:3]


def test_what_cannot_be_drawn_costs_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("ultralytics.utils.log.LOGGER.propagate", True)
    monkeypatch.setattr(gallery, "new_figure", lambda *_: 1 / 0)
    monkeypatch.setattr(gallery, "_crop", lambda *_: 1 / 0)
    seen, names = [by_hand()], {0: "a", 1: "b"}
    gallery.draw_analysis(analyse(seen, names), seen, names, tmp_path, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["gallery.json"]
    assert len({r.getMessage() for r in caplog.records if "not drawn" in r.getMessage()}) == 3 + len(KINDS)


def test_charts_are_legible_in_a_column():
    figures = analyse(made(7, images=4, detections=60), NAMES)
    for draw in (gallery.plot_errors, gallery.plot_sizes, gallery.plot_calibration):
        figure, _ = draw.__wrapped__(figures, None)
        assert figure.get_size_inches()[0] == pytest.approx(8.5 / 2.54, abs=0.01)
        texts = [t for t in figure.findobj(lambda o: hasattr(o, "get_fontsize")) if t.get_text()]
        assert min(t.get_fontsize() for t in texts) >= 7


def test_a_bucket_of_its_own_may_be_one_of_cocos():
    """The set's quantile is COCO's border: both have the same objects, and figures."""
    box = [0.0, 0, 100, 100]
    seen = [
        Seen(str(i), (200, 200), np.array([[*box, 0.9, 0]]), np.array([[*box, 0, 0]]), np.array([area]))
        for i, area in enumerate((100.0, 100.0, 9216.0, 9216.0, 9216.0, 9300.0))
    ]
    figures = {b["name"]: b for b in analyse(seen, {0: "a"})["sizes"]}
    assert figures["L"]["AP"] == figures["Q2"]["AP"] == pytest.approx(1)
