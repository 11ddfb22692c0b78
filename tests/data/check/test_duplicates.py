import cv2
import numpy as np
import pytest

from ultralytics.data.check.duplicates import CROPS, MAX_DISTANCE, Groups, distance, fingerprint, near_groups
from ultralytics.utils.images import imread


def prints(images):
    found = [fingerprint(i) for i in images]
    return np.array([h for h, _ in found]), np.array([t for _, t in found])


def coarse(seed, size=(120, 160)):
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 255, (9, 12, 3), np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC)


def jpeg(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def cut(image, left, top, right, bottom):
    h, w = image.shape[:2]
    return image[round(top * h) : h - round(bottom * h), round(left * w) : w - round(right * w)]


COPIES = {
    "JPEG 90": lambda i: jpeg(i, 90),
    "JPEG 25": lambda i: jpeg(i, 25),
    "half": lambda i: cv2.resize(i, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "square": lambda i: cv2.resize(i, (640, 640)),
    "brighter": lambda i: cv2.convertScaleAbs(i, alpha=1.2),
    "darker": lambda i: cv2.convertScaleAbs(i, alpha=0.7),
    "shifted": lambda i: cv2.convertScaleAbs(i, beta=30),
    "gamma": lambda i: np.uint8(255 * (i / 255.0) ** 1.4),
    "grey": lambda i: cv2.cvtColor(cv2.cvtColor(i, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
    "blurred": lambda i: cv2.GaussianBlur(i, (5, 5), 1.5),
    "2 % off": lambda i: cut(i, 0.02, 0.02, 0.02, 0.02),
    "5 % off": lambda i: cut(i, 0.05, 0.05, 0.05, 0.05),
    "4 % off a side": lambda i: cut(i, 0.04, 0, 0, 0),
    "askew, JPEG 80": lambda i: jpeg(cut(i, 0.05, 0.01, 0, 0.03), 80),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_found_and_nothing_else(copy):
    images = [coarse(i) for i in range(12)]
    groups = near_groups(*prints([*images, *(COPIES[copy](i) for i in images)]))
    assert groups == [[i, i + 12] for i in range(12)]


def test_blank_pictures_are_no_duplicates():
    """A picture in which there is nothing to see says nothing about another."""
    blank = [np.full((50, 60, 3), v, np.uint8) for v in (0, 0, 120, 255)]
    assert near_groups(*prints(blank)) == []
    assert near_groups(np.zeros((0, len(CROPS)), np.uint64), np.zeros((0, 32, 32), np.uint8)) == []


def test_the_index_finds_every_hash_within_the_distance():
    """Against all pairs, on hashes that differ from another by a few bits at random."""
    rng = np.random.default_rng(0)
    n, thumb = 400, coarse(0, (32, 32))[..., 0]
    hashes = rng.integers(0, 2**63, (n, 1), np.uint64)
    for i in range(1, n, 2):
        bits = rng.choice(64, rng.integers(0, 10), replace=False).astype(np.uint64)
        hashes[i] = hashes[i - 1] ^ np.bitwise_or.reduce(np.uint64(1) << bits, initial=np.uint64(0))
    # All thumbnails are alike, so the hashes alone decide.
    groups = near_groups(hashes, np.repeat(thumb[None], n, 0))
    apart = distance(np.repeat(hashes[:, 0], n), np.tile(hashes[:, 0], n)).reshape(n, n)
    near = np.argwhere(np.triu(apart <= MAX_DISTANCE, 1))
    assert 100 < len(near) < 300
    assert {tuple(g) for g in groups} == {tuple(p) for p in near.tolist()}


def test_a_hash_alone_is_no_proof():
    """Equal hashes with other thumbnails are not reported."""
    hashes = np.full((2, 1), 12345, np.uint64)
    thumbs = np.stack([coarse(i, (32, 32))[..., 0] for i in range(2)])
    assert near_groups(hashes, thumbs) == []
    assert near_groups(hashes, thumbs[[0, 0]]) == [[0, 1]]


def test_thousands_alike_are_one_group_in_good_time():
    h, t = fingerprint(coarse(1))
    assert near_groups(np.repeat(h[None], 3000, 0), np.repeat(t[None], 3000, 0)) == [list(range(3000))]


def test_groups_join():
    groups = Groups(6)
    groups.join([4, 1], [1, 0])
    groups.join([5], [3])
    assert groups.lists() == [[0, 1, 4], [3, 5]]
    assert groups.apart(np.array([0, 0]), np.array([4, 5])).tolist() == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "known"),
    [
        ("data/coco128-val/images/val2017", []),
        # Looked at: each of these two scenes was photographed twice.
        (
            "data/bccd/JPEGImages",
            [["BloodImage_00037.jpg", "BloodImage_00038.jpg"], ["BloodImage_00386.jpg", "BloodImage_00391.jpg"]],
        ),
    ],
)
def test_real_pictures(shared, folder, known):
    """No false alarm among photographs and blood cells; their copies are found, 99 % of the slightly cropped too."""
    files = sorted((shared / folder).glob("*.jpg"))
    images = [imread(f) for f in files]
    hashes, thumbs = prints(images)
    assert [[files[i].name for i in g] for g in near_groups(hashes, thumbs)] == known
    twins = {f for g in known for f in g}
    n = len(files)
    for name, copy in COPIES.items():
        h, t = prints([copy(i) for i in images])
        groups = near_groups(np.concatenate([hashes, h]), np.concatenate([thumbs, t]))
        found = sum(i + n in g for g in groups for i in g if i < n)
        assert found >= (0.99 if "askew" in name else 1) * n, name
        for g in groups:
            assert len({i % n for i in g}) == 1 or {files[i % n].name for i in g} <= twins, name
