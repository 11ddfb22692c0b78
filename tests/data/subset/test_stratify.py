import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.data.subset.stratify import rank, stratify


def skewed(n, classes, seed):
    """Images with one to several classes, the last of which are rare."""
    draw = random.Random(seed)
    weights = [1 / (c + 1) ** 1.3 for c in range(classes)]
    images = []
    for _ in range(n):
        chosen = set(draw.choices(range(classes), weights, k=1 + min(int(draw.expovariate(0.6)), classes)))
        images.append({c: 1 + int(draw.expovariate(0.4)) for c in chosen})
    return images


def shares(counts, chosen, each):
    total: dict[int, int] = {}
    for i in chosen:
        for c, m in counts[i].items():
            total[c] = total.get(c, 0) + (m if each == "boxes" else 1)
    whole = sum(total.values())
    return {c: m / whole for c, m in total.items()}


def distance(counts, chosen, each):
    """Half the sum of the differences of the classes' shares: 0 equal, 1 disjoint."""
    a, b = shares(counts, range(len(counts)), each), shares(counts, chosen, each)
    return sum(abs(a[c] - b.get(c, 0)) for c in a) / 2


def test_a_rank_knows_the_seed_and_the_name_however_its_accents_are_composed():
    assert rank(0, "a/\u00e9.jpg") == rank(0, "a/e\u0301.jpg")
    assert rank(0, "a") != rank(1, "a")
    assert rank(0, "b.jpg").hex()[:12] == "092f0e0b9d47"  # forever, on every machine


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_drawing_resembles_the_whole_far_better_than_a_random_one(seed):
    counts = skewed(2000, 40, seed)
    ranks = [rank(seed, f"{i}.jpg") for i in range(2000)]
    chosen = [i for i, p in enumerate(stratify(counts, ranks, [200, 1800])) if p == 0]
    drawn = sorted(range(2000), key=ranks.__getitem__)[:200]
    for each in ("boxes", "images"):
        assert distance(counts, chosen, each) < distance(counts, drawn, each) / 3
        assert distance(counts, chosen, each) < 0.03


def test_every_fold_has_its_share():
    counts = skewed(1003, 20, 5)
    parts = stratify(counts, [rank(5, str(i)) for i in range(1003)], [201, 201, 201, 200, 200])
    for fold in range(5):
        chosen = [i for i, p in enumerate(parts) if p == fold]
        assert len(chosen) == (201 if fold < 3 else 200)
        assert distance(counts, chosen, "images") < 0.03
        rare = sum(19 in counts[i] for i in chosen)
        assert abs(rare - sum(19 in c for c in counts) / 5) <= 1


images = st.lists(st.dictionaries(st.integers(0, 5), st.integers(1, 4), max_size=4), min_size=1, max_size=30)


@given(images, st.integers(1, 5), st.integers(0, 3), st.randoms(use_true_random=False))
def test_sizes_are_exact_and_the_order_of_the_images_is_nothing(counts, parts, seed, random):
    n = len(counts)
    sizes = [n // parts + (p < n % parts) for p in range(parts)]
    ranks = [rank(seed, str(i)) for i in range(n)]
    result = stratify(counts, ranks, sizes)
    assert [result.count(p) for p in range(parts)] == sizes
    shuffled = list(range(n))
    random.shuffle(shuffled)
    again = stratify([counts[i] for i in shuffled], [ranks[i] for i in shuffled], sizes)
    assert [again[shuffled.index(i)] for i in range(n)] == result
