import torch

from ultralytics.utils.confusion import ConfusionMatrix


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def detections(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)


def test_confusion_matrix_counts_pairs_misses_and_inventions():
    c = ConfusionMatrix(nc=2)
    c.process_batch(
        detections([0, 0, 10, 10, 0.9, 1], [50, 50, 60, 60, 0.8, 0], [0, 0, 10, 10, 0.1, 0]),
        boxes([0, 0, 10, 10], [100, 100, 110, 110]),
        torch.tensor([0.0, 1.0]),
    )
    assert c.matrix.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]  # the detection below the threshold does not count
    tp, fp = c.tp_fp()
    assert tp.tolist() == [0, 0]
    assert fp.tolist() == [1, 1]


def test_confusion_matrix_counts_inventions_where_nothing_matches():
    """The reference counts neither of these."""
    c = ConfusionMatrix(nc=1)
    found = detections([0, 0, 5, 5, 0.9, 0], [20, 20, 30, 30, 0.9, 0])
    c.process_batch(found, boxes([100, 100, 110, 110]), torch.zeros(1))  # labels, but no match
    c.process_batch(found, boxes(), torch.zeros(0))  # no labels
    c.process_batch(None, boxes([0, 0, 5, 5]), torch.zeros(1))  # no detections
    assert c.matrix.tolist() == [[0, 4], [2, 0]]


def test_the_confusion_matrix_spares_ignored_detections():
    detections = torch.tensor([[0.0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.9, 0], [80, 80, 90, 90, 0.1, 0]])
    true, cls = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0.0])
    matrix = ConfusionMatrix(nc=1)
    matrix.process_batch(detections, true, cls, torch.tensor([True, True, False]))
    assert matrix.matrix.tolist() == [[1, 0], [0, 0]]
    matrix.process_batch(detections, true, cls)
    assert matrix.matrix.tolist() == [[2, 1], [0, 0]]
