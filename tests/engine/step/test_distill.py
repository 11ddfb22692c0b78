"""What a teacher adds to the loss."""

import math

import pytest
import torch
from torch import nn

from ultralytics.engine.step.distill import (
    FORMS,
    PROJECTORS,
    Distillation,
    changed_teacher,
    channel_loss,
    feature_loss,
    gain_of,
    logit_loss,
)


def maps(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).float() for shape in shapes]


SHAPES = [(2, 3, 4, 5), (2, 6, 2, 3)]


def test_the_loss_of_features_by_hand():
    mine, theirs = maps(*SHAPES), maps(*SHAPES, seed=1)
    scores = [t.sigmoid().amax(1) for t in maps((2, 7, 4, 5), (2, 7, 2, 3), seed=2)]
    for parts, a, b, s in zip(feature_loss(mine, theirs, scores), mine, theirs, scores, strict=True):
        want = weight = 0.0
        for i in range(a.shape[0]):
            for y in range(a.shape[2]):
                for x in range(a.shape[3]):
                    d = a[i, :, y, x] - b[i, :, y, x]
                    want += float(s[i, y, x]) * float(d @ d) / a.shape[1]
                    weight += float(s[i, y, x])
        assert parts.tolist() == pytest.approx([want, weight], rel=1e-5)


def test_channel_wise_distillation_by_hand():
    [mine], [theirs] = maps((2, 3, 2, 2)), maps((2, 3, 2, 2), seed=1)
    want = 0.0
    for i in range(2):
        for c in range(3):
            p, q = ((m[i, c].flatten() / 4).softmax(0) for m in (theirs, mine))
            want += 16 / 3 * sum(float(a) * math.log(float(a) / float(b)) for a, b in zip(p, q, strict=True))
    assert channel_loss([mine], [theirs])[0].tolist() == pytest.approx([want, 2], rel=1e-4)
    shifted = theirs + 5  # what a channel holds on average is nothing to it
    torch.testing.assert_close(channel_loss([shifted], [theirs])[0, 0], torch.tensor(0.0), atol=1e-5, rtol=0)


def test_the_loss_of_logits_by_hand():
    [mine], [theirs] = maps((1, 2, 1, 3)), maps((1, 2, 1, 3), seed=1)
    scores = [theirs.sigmoid().amax(1)]
    want = 0.0
    for x in range(3):
        for k in range(2):
            p, q = float(theirs[0, k, 0, x].sigmoid()), float(mine[0, k, 0, x].sigmoid())
            kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
            want += float(scores[0][0, 0, x]) * kl
    assert logit_loss([mine], [theirs], scores)[0, 0].item() == pytest.approx(want, rel=1e-4)
    assert float(logit_loss([theirs], [theirs], scores)[0, 0]) == pytest.approx(0, abs=1e-6)


class Net(nn.Module):
    """Two maps, and a head that reads them and gives two classes."""

    def __init__(self, width):
        super().__init__()
        self.body = nn.ModuleList([nn.Conv2d(3, width, 3, 2, 1), nn.Conv2d(3, 2 * width, 3, 4, 1)])
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.ModuleDict({"a": nn.Conv2d(width, 2, 1), "b": nn.Conv2d(2 * width, 2, 1)})
        self.last = Head(self.head)

    def forward(self, x):
        first, second = (conv(x) for conv in self.body)
        return self.last([self.norm(first), second])


class Head(nn.Module):
    def __init__(self, convs):
        super().__init__()
        self.convs = convs

    def forward(self, x):
        return [conv(m) for conv, m in zip(self.convs.values(), x, strict=True)]


def distillation(student, teacher, form, reduce=lambda t: t):
    channels = [(4, 6), (8, 12)]
    return Distillation(teacher, lambda n: n.last, lambda _, out: out, channels, form, gain_of(form, None), reduce)


@pytest.mark.parametrize("form", FORMS)
def test_a_student_comes_nearer_to_its_teacher(form):
    torch.manual_seed(0)
    student, teacher = Net(4), Net(6)
    made = distillation(student, teacher, form)
    made.attach(student)
    before = {n: t.clone() for n, t in teacher.state_dict().items()}
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.01)
    img, losses = torch.rand(3, 3, 8, 8), []
    student.train()
    for _ in range(25):
        with made.watching(student) as seen:
            out = student(img)
        loss, value = made.loss(student, seen, out, img)
        assert loss.item() == pytest.approx(3 * value.item(), rel=1e-5)
        losses.append(float(value))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]
    assert not teacher.training
    assert all(torch.equal(t, before[n]) for n, t in teacher.state_dict().items())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not student.last._forward_pre_hooks
    names = {n.partition(".")[0] for n in student.state_dict()}
    assert (PROJECTORS in names) == (form != "logits")
    made.detach(student)
    assert not any(n.startswith(PROJECTORS) for n in student.state_dict())


@pytest.mark.parametrize("form", FORMS)
def test_processes_that_share_a_batch_find_the_loss_of_the_whole(form):
    """Each calls with its images; what they differentiate adds up to the whole batch's."""
    torch.manual_seed(0)
    student, teacher = Net(4).eval(), Net(6)
    whole = distillation(student, teacher, form)
    img = torch.rand(5, 3, 8, 8)

    def loss(made, part):
        with made.watching(student) as seen:
            out = student(part)
        return made.loss(student, seen, out, part)

    want, value = loss(whole, img)
    sums = []
    for part in (img[:2], img[2:]):
        whole.reduce = lambda t, seen=sums: seen.append(t) or t
        loss(whole, part)
    totals = [a + b for a, b in zip(sums[:2], sums[2:], strict=True)]
    found = []
    for part in (img[:2], img[2:]):
        answers = iter([totals[0], torch.zeros(())])
        whole.reduce = lambda t, answers=answers: next(answers)
        found.append(loss(whole, part)[0])
    assert float(sum(found)) == pytest.approx(float(want), rel=1e-4)
    assert float(want) == pytest.approx(5 * float(value), rel=1e-5)


def test_another_teacher_is_noticed():
    assert changed_teacher({"teacher": {"digest": "a"}}, {"teacher": {"digest": "b"}})
    for before, now in (({"teacher": {"digest": "a"}},) * 2, ({}, {"teacher": {"digest": "b"}}), ({"teacher": 1}, {})):
        assert not changed_teacher(before, now)
