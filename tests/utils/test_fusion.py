import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.utils.fusion import greedy_merging, join, join_parts, weighted_boxes_fusion


def area(box):
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def shared(a, b):
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def plain_wbf(found, iou, members, agnostic):
    """As the paper's steps say: clusters as lists, everything computed anew."""
    clusters = []
    for row in sorted(found, key=lambda r: -r[4]):
        best, best_iou = None, iou
        for cluster in clusters:
            if not agnostic and cluster[0][5] != row[5]:
                continue
            mean = averaged(cluster)
            overlap = shared(mean, row) / (area(mean) + area(row) - shared(mean, row))
            if overlap > best_iou:
                best, best_iou = cluster, overlap
        if best is None:
            clusters.append([row])
        else:
            best.append(row)
    fused = []
    for cluster in clusters:
        score = sum(r[4] for r in cluster) / len(cluster) * min(len(cluster), members) / members
        fused.append([*averaged(cluster), score, cluster[0][5]])
    return sorted(fused, key=lambda r: -r[4])


def averaged(cluster):
    return [sum(r[4] * r[k] for r in cluster) / sum(r[4] for r in cluster) for k in range(4)]


def plain_merging(found, overlap, agnostic):
    left, joined = sorted(found, key=lambda r: -r[4]), []
    while left:
        best = list(left.pop(0))
        seen = tuple(best)
        near = [
            r for r in left if (agnostic or r[5] == best[5]) and shared(seen, r) > overlap * min(area(seen), area(r))
        ]
        left = [r for r in left if r not in near]
        for r in near:
            if shared(best, r) > overlap * min(area(best), area(r)):
                best[:4] = min(best[0], r[0]), min(best[1], r[1]), max(best[2], r[2]), max(best[3], r[3])
        joined.append(best)
    return joined


numbers = st.integers(0, 2**32 - 1)


def drawn(seed, count=20):
    """Boxes in heaps, so that many overlap; no two scores are equal."""
    rng = np.random.default_rng(seed)
    centres, sizes = (
        rng.choice([20.0, 30.0, 60.0], (count, 2)) + rng.normal(0, 4, (count, 2)),
        rng.uniform(4, 30, (count, 2)),
    )
    scores = rng.permutation(np.linspace(0.01, 0.99, count))
    return np.column_stack([centres - sizes / 2, centres + sizes / 2, scores, rng.integers(0, 2, count)])


@settings(max_examples=30)
@given(numbers, st.integers(1, 5), st.floats(0.3, 0.8), st.booleans())
def test_fusion_equals_a_plain_implementation(seed, members, iou, agnostic):
    found = drawn(seed)
    fused = weighted_boxes_fusion(found, iou, members, agnostic)
    np.testing.assert_allclose(fused, plain_wbf(found.tolist(), iou, members, agnostic), rtol=1e-9)


@settings(max_examples=30)
@given(numbers, st.floats(0.2, 0.9), st.booleans())
def test_merging_equals_a_plain_implementation(seed, overlap, agnostic):
    found = drawn(seed)
    np.testing.assert_allclose(
        greedy_merging(found, overlap, agnostic), plain_merging(found.tolist(), overlap, agnostic)
    )


def test_fusion_worked_out_by_hand():
    """Two of three networks find the first object: (0.8·0 + 0.4·3) / 1.2 = 1, and 1.2 / 2 · 2 / 3 = 0.4; one finds the
    second: 0.6 / 3. Four boxes count for three: their mean."""
    found = np.array([[0, 0, 10, 10, 0.8, 1], [3, 0, 13, 10, 0.4, 1], [50, 50, 60, 60, 0.6, 1]], float)
    assert weighted_boxes_fusion(found, 0.5, 3) == pytest.approx(
        np.array([[1, 0, 11, 10, 0.4, 1], [50, 50, 60, 60, 0.2, 1]])
    )
    four = np.repeat(found[:1], 4, 0)
    assert weighted_boxes_fusion(four, 0.5, 3) == pytest.approx(found[:1])


def test_boxes_of_other_classes_and_without_a_size_stay_apart():
    found = np.array(
        [[0, 0, 10, 10, 0.8, 0], [0, 0, 10, 10, 0.7, 1], [5, 5, 5, 5, 0.6, 0], [5, 5, 5, 5, 0.0, 0]], float
    )
    assert len(weighted_boxes_fusion(found, 0.5, 1)) == 4
    assert len(weighted_boxes_fusion(found, 0.5, 1, agnostic=True)) == 3
    assert len(greedy_merging(found, 0.5)) == 4


def test_merging_puts_the_parts_of_a_cut_object_together():
    """Two halves that share the overlap of their tiles, a part that lies within, and a neighbour that does not."""
    found = np.array(
        [[0, 0, 60, 20, 0.9, 0], [40, 0, 80, 20, 0.8, 0], [10, 5, 20, 15, 0.3, 0], [75, 0, 95, 20, 0.7, 0]], float
    )
    merged = greedy_merging(found, 0.4)
    assert merged == pytest.approx(np.array([[0, 0, 80, 20, 0.9, 0], [75, 0, 95, 20, 0.7, 0]]))


def parts(rows, tiles, cut, iou=0.7):
    return join_parts(np.array(rows, float), np.array(tiles), np.array(cut), iou).tolist()


def test_a_part_that_is_cut_belongs_to_the_whole_box_it_fits_best():
    left, right = [815, 632, 1082, 996, 0.84, 0], [929, 601, 1095, 991, 0.69, 0]  # two people, side by side
    cut = [960, 604, 1096, 993, 0.92, 0]  # the right one again, in the next tile
    strips = [[813, 944, 1086, 996, 0.82, 0], [961, 945, 1085, 996, 0.65, 0]]  # of both, in the tiles below
    found = parts([left, right, cut, *strips], [0, 0, 1, 2, 3], [False, False, True, True, True])
    assert found == [[*right[:4], 0.92, 0], left]


def test_a_part_of_what_a_cut_box_has_become_is_dropped():
    rows = [[100, 100, 260, 200, 0.85, 0], [180, 100, 260, 200, 0.92, 0], [100, 185, 200, 200, 0.7, 0]]
    assert parts(rows, [0, 1, 2], [False, True, True]) == [[100, 100, 260, 200, 0.92, 0]]


def test_parts_without_a_whole_box_become_one_around_them():
    rows = [[100, 100, 200, 300, 0.9, 0], [150, 100, 260, 300, 0.8, 0], [150, 100, 250, 120, 0.1, 0]]
    found = parts(rows, [0, 1, 2], [True, True, True])
    assert found == [[100, 100, 200, 300, 0.9, 0], [150, 100, 260, 300, 0.8, 0]], "half is no part"
    rows[1][0] = 120
    assert parts(rows, [0, 1, 2], [True, True, True]) == [[100, 100, 260, 300, 0.9, 0]]


def test_whole_boxes_of_other_tiles_are_dropped_by_their_overlap_alone():
    rows = [[0, 0, 100, 100, 0.9, 0], [2, 0, 100, 100, 0.8, 0], [20, 20, 60, 60, 0.7, 0]]
    assert parts(rows, [0, 1, 1], [False, False, False]) == [rows[0], rows[2]]


@pytest.mark.parametrize("how", ["nms", "nmm", "wbf"])
def test_nothing_found_and_one_box_are_joined(how):
    assert join(torch.zeros(0, 6), how, 0.5).shape == (0, 6)
    one = torch.tensor([[1.0, 2.0, 3.0, 5.0, 0.5, 7.0]])
    assert torch.equal(join(one, how, 0.5), one)


def test_fusion_gives_the_numbers_of_its_authors_package():
    """Recorded from ensemble-boxes 1.0.9: the boxes went to three networks in turn, iou_thr=0.3."""
    found = np.array(
        [
            [18.18, 21.38, 35.93, 37.32, 0.37, 0],
            [55.26, 52.06, 60.88, 72.73, 0.63, 0],
            [7.07, 9.12, 33.24, 28.54, 0.19, 0],
            [51.49, 46.05, 62.25, 71.89, 0.54, 0],
            [11.41, 10.26, 28.66, 27.54, 0.81, 1],
            [53.39, 30.1, 76.97, 37.95, 0.99, 1],
            [0.0, 41.56, 21.81, 63.33, 0.46, 0],
            [54.45, 27.09, 70.72, 38.21, 0.28, 0],
        ]
    )
    theirs = [
        [53.52, 49.2862, 61.5123, 72.3423, 0.39, 0],
        [53.39, 30.1, 76.97, 37.95, 0.33, 1],
        [11.41, 10.26, 28.66, 27.54, 0.27, 1],
        [0.0, 41.56, 21.81, 63.33, 0.1533, 0],
        [18.18, 21.38, 35.93, 37.32, 0.1233, 0],
        [54.45, 27.09, 70.72, 38.21, 0.0933, 0],
        [7.07, 9.12, 33.24, 28.54, 0.0633, 0],
    ]
    np.testing.assert_allclose(weighted_boxes_fusion(found, 0.3, 3), theirs, atol=1e-4)
