import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.utils import charts
from ultralytics.utils.classification import ClassifyMetrics
from ultralytics.utils.metrics import (
    ConfusionMatrix,
    DetMetrics,
    OBBMetrics,
    PoseMetrics,
    SegmentMetrics,
    ap_per_class,
    average_precision,
    compute_ap,
    curve_numbers,
    smooth,
)


def test_average_precision_equals_the_reference(fixtures):
    z = np.load(fixtures / "ap.npz")
    out = ap_per_class(z["tp"], z["conf"], z["pred_cls"], z["target_cls"])
    for name, value in zip(("out_tp", "out_fp", "p", "r", "f1", "ap", "classes"), out, strict=False):
        np.testing.assert_allclose(value, z[name], atol=1e-9)


def test_average_precision_worked_out_by_hand():
    """Of three detections, best first, the first and the last find one of two objects each.

    Recall ½, ½, 1; precision 1, ½, ⅔; its envelope is 1 up to recall ½ and ⅔ from there, and 0 at the end. At 101
    recalls: 50 times 1, 50 times ⅔, once 0; the area between them is (49 + 5/6 + 49 · 2/3 + 1/3) / 100.
    """
    area, envelope, recall = compute_ap(np.array([0.5, 0.5, 1]), np.array([1, 0.5, 2 / 3]))
    assert area == pytest.approx((49 + 5 / 6 + 49 * 2 / 3 + 1 / 3) / 100)
    np.testing.assert_allclose(envelope, [1, 1, 2 / 3, 2 / 3, 0])
    np.testing.assert_allclose(recall, [0, 0.5, 0.5, 1, 1])
    tp = np.array([[True, False], [False, False], [True, True]])
    got = average_precision(tp, np.array([0.9, 0.8, 0.7]), np.zeros(3), np.zeros(2))
    # At the second threshold the last alone finds one: ⅓ up to recall ½, and from there a line to 0 at recall 1.
    assert got.all_ap[0].tolist() == pytest.approx([area, 1 / 2 / 3 + 1 / 2 / 3 / 2])
    assert [float(v[0]) for v in (got.tp, got.fp, got.p, got.r, got.f1)] == pytest.approx([2, 1, 2 / 3, 1, 0.8])
    assert (got.p_curve[0, -1], got.r_curve[0, -1]) == (1, 0)  # above every score nothing is found, and nothing wrong
    assert (got.p_curve[0, 850], got.r_curve[0, 850]) == pytest.approx((0.75, 0.5), abs=5e-3)  # half-way from ½ to 1


def test_the_confidence_of_the_figures_is_where_f1_is_high_over_a_tenth_of_them():
    """One of three objects is found first, then two mistakes are made close behind: F1 is ½ at 0.9 alone, and ⅓ from
    0.88 down. A spike is no place for a threshold."""
    got = average_precision(np.array([[True], [False], [False]]), np.array([0.9, 0.89, 0.88]), np.zeros(3), np.zeros(3))
    assert got.f1_curve.max() == pytest.approx(0.5, abs=0.01)
    assert [float(v[0]) for v in (got.tp, got.fp, got.p, got.r)] == pytest.approx([1, 2, 1 / 3, 1 / 3])


def test_perfect_detections_score_one():
    tp = np.ones((5, 10), bool)
    metrics = DetMetrics(names={0: "a", 1: "b"})
    metrics.process(tp, np.linspace(0.9, 0.5, 5), np.array([0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1]))
    assert metrics.box.map == pytest.approx(0.995, abs=1e-3)  # 101 points: the last falls to 0
    assert metrics.box.map50 == metrics.box.map75
    assert metrics.fitness == pytest.approx(0.1 * metrics.box.map50 + 0.9 * metrics.box.map)


def test_no_true_positive_gives_zeros_not_the_figures_of_before():
    metrics = DetMetrics(names={0: "a"})
    metrics.process(np.ones((1, 10), bool), np.ones(1), np.zeros(1), np.zeros(1))
    assert metrics.box.map > 0.9
    metrics.process(np.zeros((1, 10), bool), np.ones(1), np.zeros(1), np.zeros(1))
    assert metrics.box.map == 0
    assert metrics.fitness == 0
    metrics.process(np.zeros((0, 10), bool), np.zeros(0), np.zeros(0), np.zeros(0))
    assert metrics.results_dict["metrics/mAP50-95(B)"] == 0
    assert metrics.to_dict()["instances"] == 0


def test_means_are_over_classes_with_labels_and_maps_over_all():
    metrics = DetMetrics(names={0: "a", 1: "b", 2: "c"})
    metrics.process(np.array([[True] * 10, [False] * 10]), np.array([0.9, 0.8]), np.array([0, 2]), np.array([0, 2]))
    assert metrics.ap_class_index.tolist() == [0, 2]
    assert metrics.maps.shape == (3,)
    assert metrics.maps[1] == pytest.approx(metrics.box.map)
    assert metrics.nt_per_class.tolist() == [1, 0, 1]


def test_classes_of_one_name_have_figures_each():
    metrics = DetMetrics(names={0: "a", 1: "a", 2: "b"})
    right = np.array([[True] * 10, [False] * 10, [True] * 10])
    metrics.process(right, np.array([0.9, 0.8, 0.7]), np.array([0, 1, 2]), np.array([0, 1, 2]))
    by_name = {"a": pytest.approx(0.995), "a (1)": 0, "b": pytest.approx(0.995)}
    assert metrics.by_name == by_name
    classes = metrics.to_dict()["classes"]
    assert {k: (row["id"], row["mAP50-95"]) for k, row in classes.items()} == {
        k: (i, ap) for i, (k, ap) in enumerate(by_name.items())
    }
    assert [c["name"] for c in curve_numbers(metrics.box, metrics.names)["classes"]] == list(by_name)
    answers = ClassifyMetrics({0: "a", 1: "a"})
    answers.update(np.array([[0], [0]]), np.array([0, 1]))
    assert answers.by_name == {"a": 1, "a (1)": 0}
    assert answers.to_dict()["classes"]["a (1)"] == {"id": 1, "images": 1, "top1": 0}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 80))
def test_average_precision_is_bounded_and_rises_with_better_order(hits, labels):
    labels = max(labels, sum(hits))

    def ap(order):
        tp = np.cumsum(order)
        return compute_ap(tp / labels, tp / np.arange(1, len(order) + 1))[0]

    assert 0 <= ap(hits) <= 1
    assert ap(sorted(hits, reverse=True)) >= ap(hits) - 1e-12


def test_smoothing_keeps_length_and_constants():
    np.testing.assert_allclose(smooth(np.full(1000, 0.3), 0.1), np.full(1000, 0.3))


def test_curves_and_matrix_are_drawn(tmp_path):
    metrics = DetMetrics(save_dir=tmp_path, plot=True, names={0: "a", 1: "细胞"})
    metrics.process(np.eye(2, 10, dtype=bool), np.array([0.9, 0.8]), np.array([0, 1]), np.array([0, 1]))
    ConfusionMatrix(nc=2).plot(save_dir=tmp_path, names=("a", "b"))
    for name in ("PR_curve", "F1_curve", "P_curve", "R_curve", "confusion_matrix_normalized"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(1, 4))
def test_an_ignored_detection_counts_as_if_it_had_not_been_made(seed, n, nc):
    rng = np.random.default_rng(seed)
    tp = np.sort(rng.random((n, 10)) < 0.5, 1)[:, ::-1].copy()
    conf, pred, target = rng.random(n), rng.integers(0, nc, n), rng.integers(0, nc, 30)
    ignored = np.repeat(rng.random(n) < 0.3, 10).reshape(n, 10)
    tp &= ~ignored
    kept = ~ignored[:, 0]
    with_it = ap_per_class(tp, conf, pred, target, ignored=ignored)
    without = ap_per_class(tp[kept], conf[kept], pred[kept], target)
    for a, b in zip(with_it, without, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(1, 4), st.floats(0, 1))
def test_every_threshold_has_its_own_ignored_detections(seed, n, nc, part):
    """The same bits as a selection of each class and threshold out of all detections."""
    rng = np.random.default_rng(seed)
    tp = np.sort(rng.random((n, 10)) < 0.5, 1)[:, ::-1].copy()
    conf, pred, target = rng.random(n).round(1), rng.integers(0, nc, n), rng.integers(0, nc, 30)
    ignored = (rng.random((n, 10)) < part) & ~tp
    got = ap_per_class(tp, conf, pred, target, ignored=ignored)
    order = np.argsort(-conf, kind="stable")
    for i, c in enumerate(got[6]):
        for j in range(10):
            rows = [k for k in order if pred[k] == c and not ignored[k, j]]
            hits = tp[rows, j].astype(float).cumsum()
            precision = hits / np.arange(1, len(rows) + 1)
            ap = compute_ap(hits / ((target == c).sum() + 1e-16), precision)[0] if rows else 0.0
            assert got[5][i, j].tobytes() == np.float64(ap).tobytes()
            if j == 0 and rows:
                curve = np.interp(-np.linspace(0, 1, 1000), -conf[rows], precision, left=1)
                assert got[7][i].tobytes() == curve.tobytes()


def hits(*columns):
    """Which detections are right at all thresholds."""
    return np.array(columns, bool)[:, None].repeat(10, 1)


@pytest.mark.parametrize(("kind", "letter", "part"), [(SegmentMetrics, "M", "seg"), (PoseMetrics, "P", "pose")])
def test_metrics_of_two_parts(kind, letter, part, tmp_path, monkeypatch):
    """Two objects: both boxes are right, and one mask or pose; the fitness is the sum of both."""
    both = kind(save_dir=tmp_path, names={0: "a", 1: "b"})
    scores, classes = np.array([0.9, 0.8]), np.array([0.0, 1.0])
    both.process(hits(1, 1), hits(1, 0), scores, classes, classes)
    figures = [f"metrics/{name}" for name in ("precision", "recall", "mAP50", "mAP50-95")]
    assert both.keys == [f"{name}({at})" for at in ("B", letter) for name in figures]
    assert both.box.map50 == pytest.approx(0.995)
    assert getattr(both, part) is both.main
    assert both.main.map50 == pytest.approx(0.4975)
    assert both.fitness == pytest.approx(0.995 + 0.4975)
    assert list(both.results_dict) == [*both.keys, "fitness"]
    assert both.maps.tolist() == pytest.approx([1.99, 0.995])
    assert len(both.class_result(0)) == 8
    assert len(both.curves) == len(both.curves_results) == 8
    plain = both.to_dict()
    assert plain["mAP50"] == pytest.approx(0.995)
    name = {"seg": "mask"}.get(part, part)
    assert plain[name]["classes"]["b"]["mAP50"] == 0
    drawn = set()  # to draw them takes seconds; the test above does
    monkeypatch.setattr(charts, "_save_figure", lambda _, path, **__: drawn.add(path.name))
    both.plot_curves()
    drawn = {name for name in drawn if name.endswith(".png")}
    assert drawn == {f"{w}{c}_curve.png" for w in ("Box", name.title()) for c in ("PR", "F1", "P", "R")}


def test_every_curve_says_what_it_is_of(tmp_path, monkeypatch):
    """Those of boxes and of masks have the same axes; where there are boxes alone nothing needs saying."""
    titles = []
    real = charts._curves
    monkeypatch.setattr(charts, "_save_figure", lambda *_, **__: None)
    monkeypatch.setattr(charts, "_curves", lambda *args: titles.append(args[-1]) or real(*args))
    for kind in (SegmentMetrics, DetMetrics):
        metrics = kind(save_dir=tmp_path, names={0: "a"})
        both = [hits(1)] * len(metrics.kinds)
        metrics.process(*both, np.array([0.9]), np.zeros(1), np.zeros(1))
        metrics.plot_curves()
    curves = ["Precision-Recall curve", "F1-Confidence curve", "Precision-Confidence curve", "Recall-Confidence curve"]
    assert titles == [*(f"{of}: {c}" for of in ("Box", "Mask") for c in curves), *curves]


def test_metrics_of_rotated_boxes_have_one_part():
    metrics = OBBMetrics(names={0: "a"})
    metrics.process(hits(1), np.array([0.9]), np.zeros(1), np.zeros(1))
    assert (metrics.task, metrics.main is metrics.box) == ("obb", True)
    assert metrics.keys == DetMetrics().keys
