import dataclasses

import numpy as np

from ultralytics.cfg.dataset import load_dataset
from ultralytics.data.digest import labels_digest
from ultralytics.data.labels import scan


def test_the_digest_follows_names_sizes_and_boxes_alone(toy):
    data = load_dataset(toy)
    labels = scan(data.split("train"), 3)
    digest = labels_digest(labels, data.root)
    assert digest.startswith("sha256:")
    assert len(digest) == 71
    assert labels_digest(labels.take(list(reversed(range(len(labels))))), data.root) == digest
    moved = dataclasses.replace(labels, im_files=[f.replace(str(data.root), "/elsewhere") for f in labels.im_files])
    assert labels_digest(moved, "/elsewhere") == digest
    changed = [
        labels.take(range(len(labels) - 1)),
        labels.keep_classes([0, 1]),
        dataclasses.replace(labels, shapes=labels.shapes + 1),
        dataclasses.replace(labels, bboxes=labels.bboxes * np.float32(0.999)),
        dataclasses.replace(labels, im_files=[f + "x" for f in labels.im_files]),
    ]
    assert len({digest, *(labels_digest(c, data.root) for c in changed)}) == 1 + len(changed)
