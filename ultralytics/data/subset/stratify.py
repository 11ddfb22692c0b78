"""Dividing images that hold several classes each, so that every part resembles the whole.

All arithmetic is of integers and all chance comes from SHA-256 of a seed and a name: the same division on every
machine.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence

ATTEMPTS = 200_000  # exchanges of two images that are looked at; bounds the time to a second or two
NEAR = 32  # partners an image is compared with at a time


def rank(seed: int, name: str) -> bytes:
    """Return an image's place in the random order of a seed: SHA-256 of the seed and the name, normalised to NFC."""
    text = f"{seed}\n{unicodedata.normalize('NFC', name)}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()  # a name may be no UTF-8


def stratify(counts: Sequence[Mapping[int, int]], ranks: Sequence[bytes], sizes: Sequence[int]) -> list[int]:
    """Divide images into parts of given sizes, each class spread over them in proportion.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011, algorithm 1): the class with the fewest images left
    is served first, each of its images going to the part that lacks most of the class. Here a full part takes no more,
    so the sizes are exact, and exchanges of two images follow that bring the numbers of images and of boxes of each
    class closer to their parts' shares.

    Args:
        counts: per image, boxes by class id, all above 0; an image without boxes goes where there is room.
        ranks: per image, a `rank`; all different.
        sizes: images of each part; their sum is the number of images.

    Returns:
        The part of each image.
    """
    n, parts = len(counts), len(sizes)
    assert sum(sizes) == n == len(ranks)
    order = sorted(range(n), key=ranks.__getitem__)
    part = [-1] * n
    room = list(sizes)
    table = _Table(counts, sizes)
    members: dict[int, list[int]] = {}
    for i in order:
        for c in counts[i]:
            members.setdefault(c, []).append(i)
    left = {c: len(m) for c, m in members.items()}

    def put(i: int, to: int) -> None:
        part[i] = to
        room[to] -= 1
        table.add(i, to)
        for c in counts[i]:
            left[c] -= 1

    def turn(i: int, p: int) -> int:  # a tie's order is the image's own
        return (ranks[i][0] + p) % parts

    while any(left.values()):
        scarce = min((count, c) for c, count in left.items() if count)[1]
        for i in members[scarce]:
            if part[i] < 0:
                put(i, max((*table.lacks(scarce, p), room[p], turn(i, p), p) for p in range(parts) if room[p])[-1])
    for i in order:
        if part[i] < 0:
            put(i, max((room[p], turn(i, p), p) for p in range(parts))[-1])
    _exchange(table, order, part, sizes)
    return part


class _Table:
    """How far the parts are from their shares. Features 2c and 2c + 1 are the images and the boxes of class c."""

    def __init__(self, counts: Sequence[Mapping[int, int]], sizes: Sequence[int]) -> None:
        self.n, self.sizes = len(counts), sizes
        self.features = [
            tuple(pair for c, m in sorted(image.items()) for pair in ((2 * c, 1), (2 * c + 1, m))) for image in counts
        ]
        total: dict[int, int] = {}
        for image in self.features:
            for f, m in image:
                total[f] = total.get(f, 0) + m
        # What a part has beyond its share, times n, so that it stays an integer.
        self.excess = {f: [-size * t for size in sizes] for f, t in total.items()}
        self.weight = {f: (1 << 40) // t for f, t in total.items()}  # as in Pearson's chi-squared

    def add(self, i: int, part: int, sign: int = 1) -> None:
        """Count an image in a part, or with sign −1 no longer."""
        for f, m in self.features[i]:
            self.excess[f][part] += sign * m * self.n

    def lacks(self, c: int, part: int) -> tuple[int, int]:
        """Return images and boxes of a class that a part lacks, times n."""
        return -self.excess[2 * c][part], -self.excess[2 * c + 1][part]

    def change(self, a: int, b: int, p: int, q: int) -> int:
        """Return what exchanging image a of part p with image b of part q adds to the weighted squares of the
        excesses."""
        moved = dict(self.features[b])
        for f, m in self.features[a]:
            moved[f] = moved.get(f, 0) - m
        total = 0
        for f, m in moved.items():
            if m:
                m *= self.n
                excess = self.excess[f]
                total += self.weight[f] * m * (excess[p] - excess[q] + m)
        return total


def _exchange(table: _Table, order: Sequence[int], part: list[int], sizes: Sequence[int]) -> None:
    """Exchange images between parts as long as it helps, within a budget."""
    largest = max(range(len(sizes)), key=sizes.__getitem__)
    n = len(order)
    movable = [k for k in range(n) if part[order[k]] != largest or len(sizes) > 2]
    attempts, start = ATTEMPTS, 1
    while attempts > 0 and start < n:
        found = False
        for k in movable:
            a = order[k]
            p, best = part[a], (0, 0)
            for step in range(start, min(start + NEAR, n)):
                b = order[(k + step) % n]
                if part[b] != p:
                    attempts -= 1
                    best = min(best, (table.change(a, b, p, part[b]), step))
            if best[0] < 0:
                b, found = order[(k + best[1]) % n], True
                q = part[b]
                for image, old, new in ((a, p, q), (b, q, p)):
                    table.add(image, old, -1)
                    table.add(image, new)
                    part[image] = new
            if attempts <= 0:
                return
        start = 1 if found and start > 1 else start + NEAR
