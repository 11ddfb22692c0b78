"""Images that are the same, or nearly: re-encoded, resized, brightened, cropped a little.

An image's hash is 64 signs of the lowest frequencies of its grey miniature (a DCT), which coding, size and brightness
hardly touch. A crop moves them, so an image also has the hashes of its own slight crops: of two images, one of which
is a crop of the other, the whole of the one is near a crop of the other. Pairs within MAX_DISTANCE bits are found by an
index and confirmed on thumbnails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ultralytics.utils.types import BoolArray, Float32Array, Int64Array, UInt8Array

UInt64Array = npt.NDArray[np.uint64]

MINIATURE, THUMB = 128, 32  # pixels a side
# The whole, two crops around the centre, and 6 of 128 off one or two sides: x1, y1, x2, y2 of the miniature.
_A, _B, _Z = 3, 6, MINIATURE
CROPS = (
    (0, 0, _Z, _Z),
    (_A, _A, _Z - _A, _Z - _A),
    (_B, _B, _Z - _B, _Z - _B),
    *((_B, 0, _Z, _Z), (0, _B, _Z, _Z), (0, 0, _Z - _B, _Z), (0, 0, _Z, _Z - _B)),
    *((_B, _B, _Z, _Z), (0, 0, _Z - _B, _Z - _B), (_B, 0, _Z, _Z - _B), (0, _B, _Z - _B, _Z)),
)
MAX_DISTANCE = 7  # bits of 64: four bands of 16 bits then hold one with at most one bit changed
MIN_LIKENESS = 0.75  # correlation of thumbnails without their slow shading
MIN_CONTRAST = 1.0  # grey levels of deviation below which a thumbnail says nothing
CHUNK = 2048  # pairs confirmed at once
WINDOW = 64  # entries of one bucket compared with a query: bounds the work where thousands of frames look alike

_ORDER = sorted(((i, j) for i in range(12) for j in range(12) if i + j), key=lambda p: (p[0] + p[1], p))[:64]
_ROWS, _COLUMNS = np.array([i for i, _ in _ORDER]), np.array([j for _, j in _ORDER])
_WEIGHTS = np.uint64(1) << np.arange(64, dtype=np.uint64)
_POPCOUNT = np.array([bin(i).count("1") for i in range(2**16)], np.uint8)


def fingerprint(image: UInt8Array) -> tuple[UInt64Array, UInt8Array]:
    """Return the hashes (len(CROPS),) of a BGR image and of its crops, and its grey thumbnail (THUMB, THUMB)."""
    small = cv2.cvtColor(cv2.resize(image, (MINIATURE, MINIATURE), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    thumbs = [cv2.resize(small[y1:y2, x1:x2], (THUMB, THUMB), interpolation=cv2.INTER_AREA) for x1, y1, x2, y2 in CROPS]
    signs = np.array([cv2.dct(t.astype(np.float32))[_ROWS, _COLUMNS] > 0 for t in thumbs])
    return (signs * _WEIGHTS).sum(1, dtype=np.uint64), thumbs[0]  # type: ignore[return-value]  # uint8 stays uint8


def distance(a: UInt64Array, b: UInt64Array) -> npt.NDArray[np.uint8]:
    """Count the bits in which hashes differ."""
    parts = np.ascontiguousarray(a ^ b).view(np.uint16).reshape(-1, 4)
    return _POPCOUNT[parts].sum(1, dtype=np.uint8)  # type: ignore[no-any-return]  # uint8, as asked for


def near_groups(hashes: UInt64Array, thumbs: UInt8Array) -> list[list[int]]:
    """Group images that show the same, two or more; members and groups in order.

    The index is a table per band of 16 bits; a query looks up its own value and those with one bit changed, which finds
    every hash within MAX_DISTANCE. Buckets of more than WINDOW entries are searched around the query only. Images
    that are in one group already are not compared again.

    Args:
        hashes: (n, len(CROPS)) and thumbs: (n, THUMB, THUMB) of `fingerprint`.
    """
    likeness = _Likeness(thumbs)
    usable = np.flatnonzero(likeness.contrast >= MIN_CONTRAST)
    groups = Groups(len(thumbs))
    whole = np.ascontiguousarray(hashes[usable, 0])
    index = [_Band(whole, 16 * band) for band in range(4)]
    rng = np.random.default_rng(0)
    for crop in range(hashes.shape[1]):
        queries = np.ascontiguousarray(hashes[usable, crop])
        for band in index:
            for left, right in band.candidates(queries):
                close = (distance(queries[left], whole[right]) <= MAX_DISTANCE) & (left != right)
                cropped, other = usable[left[close]], usable[right[close]]
                # In a random order a large group is connected by few of its pairs.
                order = rng.permutation(len(cropped))
                for start in range(0, len(order), CHUNK):
                    part = order[start : start + CHUNK]
                    a, b = cropped[part], other[part]
                    apart = groups.apart(a, b)
                    a, b = a[apart], b[apart]
                    same = likeness(a, b, crop) >= MIN_LIKENESS
                    groups.join(a[same], b[same])
    return groups.lists()


class Groups:
    """Which of n things belong together (union-find)."""

    def __init__(self, n: int) -> None:
        self.parent: Int64Array = np.arange(n, dtype=np.int64)

    def _root(self, i: int) -> int:
        parent = self.parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    def join(self, a: Iterable[int], b: Iterable[int]) -> None:
        """Connect each of `a` with its partner in `b`."""
        for i, j in zip(a, b, strict=True):
            x, y = self._root(int(i)), self._root(int(j))
            self.parent[max(x, y)] = min(x, y)

    def _flatten(self) -> Int64Array:
        while True:
            above: Int64Array = self.parent[self.parent]
            if (above == self.parent).all():
                return above
            self.parent = above

    def apart(self, a: Int64Array, b: Int64Array) -> BoolArray:
        """Tell which pairs (k,) are in different groups."""
        if not len(a):
            return np.zeros(0, np.bool_)
        root = self._flatten()
        return root[a] != root[b]  # type: ignore[no-any-return]  # comparison of integers

    def lists(self) -> list[list[int]]:
        """Groups of two or more; members and groups in order."""
        members: dict[int, list[int]] = {}
        for i, root in enumerate(self._flatten().tolist()):
            members.setdefault(root, []).append(i)
        return [m for m in members.values() if len(m) > 1]


class _Band:
    """An index of hashes by 16 of their bits; hashes of one bucket lie in the order of their other bits."""

    def __init__(self, hashes: UInt64Array, shift: int) -> None:
        self.shift = np.uint64(shift)
        rotated = self._rotate(hashes)
        self.order = np.argsort(rotated, kind="stable")
        self.sorted = rotated[self.order]
        sizes = np.bincount((self.sorted >> np.uint64(48)).astype(np.int64), minlength=2**16)
        self.starts = np.concatenate([[0], np.cumsum(sizes)])

    def _rotate(self, hashes: UInt64Array) -> UInt64Array:
        """Turn the band's bits to the top, the others in turn below."""
        up = np.uint64(48) - self.shift
        if not up:
            return hashes
        rotated: UInt64Array = (hashes << up) | (hashes >> (np.uint64(64) - up))
        return rotated

    def candidates(self, queries: UInt64Array) -> Iterator[tuple[Int64Array, Int64Array]]:
        """Query and entry numbers that may be near, by value of the band and by each of its bits changed."""
        rotated = self._rotate(queries)
        for flip in (0, *(1 << bit for bit in range(48, 64))):
            wanted = rotated ^ np.uint64(flip)
            bucket = (wanted >> np.uint64(48)).astype(np.int64)
            first, last = self.starts[bucket], self.starts[bucket + 1]
            crowded = np.flatnonzero(last - first > WINDOW)
            if len(crowded):
                middle = np.searchsorted(self.sorted, wanted[crowded])
                low = np.clip(middle - WINDOW // 2, first[crowded], last[crowded] - WINDOW)
                first[crowded], last[crowded] = low, low + WINDOW
            found = last - first
            left = np.repeat(np.arange(len(queries)), found)
            within = np.arange(len(left)) - np.repeat(np.cumsum(found) - found, found)
            yield left, self.order[np.repeat(first, found) + within]


class _Likeness:
    """Correlation of thumbnails, one cropped, without their mean and slow shading (lamps, vignettes, skies)."""

    def __init__(self, thumbs: UInt8Array) -> None:
        self.thumbs = thumbs
        self.contrast = np.array([t.std() for t in thumbs], np.float32).reshape(-1)

    def __call__(self, cropped: Int64Array, whole: Int64Array, crop: int) -> Float32Array:
        """Correlate pairs, (k,) in −1..1."""
        x1, y1, x2, y2 = (v * THUMB / MINIATURE for v in CROPS[crop])
        sx, sy = (x2 - x1) / THUMB, (y2 - y1) / THUMB
        # Pixel centres of the crop's own thumbnail, in the whole thumbnail.
        move = np.array([[sx, 0, x1 + sx / 2 - 0.5], [0, sy, y1 + sy / 2 - 0.5]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

        def cut(t: UInt8Array) -> Float32Array:
            moved = cv2.warpAffine(
                t.astype(np.float32), move, (THUMB, THUMB), flags=flags, borderMode=cv2.BORDER_REPLICATE
            )
            return _flat_detail(moved)  # type: ignore[arg-type]  # float32 stays float32

        a = np.array([cut(self.thumbs[i]) for i in cropped], np.float32).reshape(-1, THUMB * THUMB)
        b = np.array([_flat_detail(self.thumbs[i].astype(np.float32)) for i in whole], np.float32).reshape(
            -1, THUMB * THUMB
        )
        return (a * b).sum(1)  # type: ignore[no-any-return]  # of two float32 arrays


def _flat_detail(thumb: Float32Array) -> Float32Array:
    """Return a thumbnail's detail as a vector (THUMB², ) of length 1."""
    detail: npt.NDArray[Any] = (thumb - cv2.GaussianBlur(thumb, (0, 0), 4)).ravel()
    detail -= detail.mean()
    return np.asarray(detail / (np.linalg.norm(detail) + np.float32(1e-6)), np.float32)
