"""The detection loss by plain arithmetic on single numbers, each function from the paper it names and none from ours.

What the tests compare with where the reference's fixtures are not: the numbers a change of formula, gain or weight
would move. Boxes are corners (x1, y1, x2, y2).
"""

import math


def iou(a, b):
    """Intersection over union."""
    inter = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def giou(a, b):
    """IoU − (|C| − |A ∪ B|) / |C|, C the smallest box around both (Rezatofighi et al. 2019, algorithm 1)."""
    around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    union = areas / (1 + iou(a, b))  # IoU = I / U and areas = U + I
    return iou(a, b) - (around - union) / around


def diou(a, b):
    """IoU − ρ² / c², ρ between the centres, c the diagonal of the box around both (Zheng et al. 2020, eq. 7)."""
    rho2 = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
    c2 = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    return iou(a, b) - rho2 / c2


def ciou(a, b):
    """DIoU − α v, v = 4/π² (atan(w/h) − atan(w'/h'))², α = v / (1 − IoU + v) (Zheng et al. 2020, eqs. 8 to 11)."""
    ratio = [math.atan((x[2] - x[0]) / (x[3] - x[1])) for x in (a, b)]
    v = 4 / math.pi**2 * (ratio[0] - ratio[1]) ** 2
    return diou(a, b) - (v * v / (1 - iou(a, b) + v) if v else 0)


def softmax(logits):
    """exp(x) / Σ exp(x)."""
    powers = [math.exp(x) for x in logits]
    return [p / sum(powers) for p in powers]


def sigmoid(x):
    """1 / (1 + exp(−x))."""
    return 1 / (1 + math.exp(-x))


def bce(x, target):
    """−t log σ(x) − (1 − t) log(1 − σ(x))."""
    return -target * math.log(sigmoid(x)) - (1 - target) * math.log(1 - sigmoid(x))


def dfl(logits, distance):
    """Cross entropy with the two bins around a distance, by nearness (Li et al. 2020, eq. 6)."""
    left = math.floor(distance)
    p = softmax(logits)
    return -(left + 1 - distance) * math.log(p[left]) - (distance - left) * math.log(p[left + 1])


def assigned(scores, boxes, points, labels, truths, topk, alpha, beta):
    """Task-aligned assignment (Feng et al. 2021, eq. 1 and §3.2): anchor → (object, target score).

    An object takes the `topk` anchors of largest t = s^α · CIoU^β among those whose point lies in it; an anchor that
    several take goes to the one it overlaps most. The target score is t, scaled so that an object's largest is its
    largest overlap.
    """
    taken, overlap, align = {}, {}, {}
    for g, (label, truth) in enumerate(zip(labels, truths, strict=True)):
        for a, (x, y) in enumerate(points):
            if truth[0] < x < truth[2] and truth[1] < y < truth[3]:
                overlap[g, a] = max(ciou(truth, boxes[a]), 0)
                align[g, a] = scores[a][label] ** alpha * overlap[g, a] ** beta
        mine = sorted((a for h, a in align if h == g), key=lambda a: -align[g, a])
        for a in mine[:topk]:
            taken.setdefault(a, []).append(g)
    given = {a: max(wanting, key=lambda g: overlap[g, a]) for a, wanting in taken.items()}
    found = {}
    for a, g in given.items():
        others = [b for b, h in given.items() if h == g]
        best = max(align[g, b] for b in others)
        found[a] = g, align[g, a] / best * max(overlap[g, b] for b in others) if best else 0.0
    return found


def detection_loss(logits, sides, points, strides, labels, truths, gains, topk, alpha, beta):
    """Box, class and DFL parts of one image, after their gains.

    Args:
        logits: anchors × classes; sides: anchors × 4 × bins.
        points: anchors × 2, in cells of the anchor's stride in pixels.
        labels, truths: of the objects, pixels.
        gains: of box, class and DFL; topk, alpha, beta: of the assignment.
    """
    boxes = []
    for (x, y), four in zip(points, sides, strict=True):
        left, top, right, bottom = (sum(i * p for i, p in enumerate(softmax(s))) for s in four)
        boxes.append((x - left, y - top, x + right, y + bottom))
    scores = [[sigmoid(x) for x in row] for row in logits]
    in_pixels = [[[s * n for n in row] for s, row in zip(strides, rows, strict=True)] for rows in (boxes, points)]
    found = assigned(scores, *in_pixels, labels, truths, topk, alpha, beta)
    total = max(sum(t for _, t in found.values()), 1)
    box = cls = distances = 0.0
    for a, row in enumerate(logits):
        g, t = found.get(a, (None, 0.0))
        cls += sum(bce(x, t if g is not None and c == labels[g] else 0.0) for c, x in enumerate(row))
        if g is None:
            continue
        truth = [n / strides[a] for n in truths[g]]
        (x, y), last = points[a], len(sides[a][0]) - 1 - 0.01
        box += t * (1 - ciou(boxes[a], truth))
        wanted = (x - truth[0], y - truth[1], truth[2] - x, truth[3] - y)
        distances += t * sum(dfl(s, min(d, last)) for s, d in zip(sides[a], wanted, strict=True)) / 4
    return [gain * part / total for gain, part in zip(gains, (box, cls, distances), strict=True)]
