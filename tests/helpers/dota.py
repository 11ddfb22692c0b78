"""DOTA's task 1 evaluation, plainly: one detection after another, polygons clipped as Sutherland and Hodgman did."""

import math


def turned(x, y, w, h, angle):
    """The corners of a rotated box."""
    c, s = math.cos(angle), math.sin(angle)
    ends = ((-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2))
    return [(x + c * u - s * v, y + s * u + c * v) for u, v in ends]


def area(points):
    pairs = zip(points, [*points[1:], *points[:1]], strict=True)
    return sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs) / 2


def clipped(subject, clip):
    """What of a polygon lies in a convex one, whose corners go round in the direction of a positive area."""
    for (ax, ay), (bx, by) in zip(clip, [*clip[1:], *clip[:1]], strict=True):
        kept = []
        sides = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in subject]
        for i, (here, side) in enumerate(zip(subject, sides, strict=True)):
            before, other = subject[i - 1], sides[i - 1]
            if side * other < 0:
                part = other / (other - side)
                kept.append((before[0] + part * (here[0] - before[0]), before[1] + part * (here[1] - before[1])))
            if side >= 0:
                kept.append(here)
        subject = kept
        if not subject:
            return []
    return subject


def iou(polygon, convex):
    shared = abs(area(clipped(polygon, convex if area(convex) > 0 else convex[::-1])))
    return shared / (abs(area(polygon)) + abs(area(convex)) - shared)


def evaluate(detections, objects, threshold=0.5):
    """Recall and precision behind each detection of a class.

    detections: (image, score, corners); objects: image → (corners, difficult).
    """
    taken, hits, misses = set(), 0, 0
    count = sum(not difficult for found in objects.values() for _, difficult in found)
    recall, precision = [], []
    for image, _, corners in sorted(detections, key=lambda d: -d[1]):
        overlaps = [iou(polygon, corners) for polygon, _ in objects.get(image, [])]
        best = max(range(len(overlaps)), key=overlaps.__getitem__, default=None)
        if best is None or overlaps[best] <= threshold:
            misses += 1
        elif objects[image][best][1]:
            continue
        elif (image, best) in taken:
            misses += 1
        else:
            taken.add((image, best))
            hits += 1
        recall.append(hits / count)
        precision.append(hits / (hits + misses))
    return recall, precision


def ap(recall, precision):
    """The area under the largest precision that any recall from here on has."""
    total, before = 0.0, 0.0
    for i, r in enumerate(recall):
        total += (r - before) * max(precision[i:])
        before = r
    return total


def ap_voc07(recall, precision):
    """The mean of eleven precisions."""
    total = 0.0
    for i in range(11):
        at = i * 0.1  # 0.30000000000000004, as in DOTA's script
        total += max([p for r, p in zip(recall, precision, strict=True) if r >= at], default=0.0)
    return total / 11
