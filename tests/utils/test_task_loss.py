"""The losses of masks, keypoints and rotated boxes: the reference's numbers, and what the formulas say."""

import math

import numpy as np
import pytest
import torch

from ultralytics.nn.tasks import OBBModel, PoseModel, SegmentationModel
from ultralytics.utils import loss, tal, task_loss
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.task_loss import KeypointLoss, v8OBBLoss, v8PoseLoss, v8SegmentationLoss

KINDS = {
    "seg": (v8SegmentationLoss, ("coefficients", "proto")),
    "pose": (v8PoseLoss, ("pred_kpt",)),
    "obb": (v8OBBLoss, ("angle",)),
}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("case", "abc")
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_equal_the_references(fixtures, monkeypatch, kind, case, whole):
    for module in (loss, tal, task_loss):  # the form for GPUs, on the CPU
        monkeypatch.setattr(module, "masked", lambda device: whole)
    z = np.load(fixtures / f"loss_{kind}_{case}.npz")
    cls, names = KINDS[kind]
    leaves = {k: torch.from_numpy(z[k]).float().requires_grad_() for k in ("feat0", "feat1", "feat2", *names)}
    more = {"kpt_shape": z["kpt_shape"].tolist()} if kind == "pose" else {}
    criterion = cls(int(z["nc"]), [8, 16, 32], **more)
    if kind == "seg":
        criterion.overlap = bool(z["overlap_mask"])
    batch = {k: torch.from_numpy(z[k]) for k in ("batch_idx", "cls", "bboxes", "masks", "keypoints") if k in z}
    total, items = criterion(([leaves[f"feat{i}"] for i in range(3)], *(leaves[k] for k in names)), batch)
    np.testing.assert_allclose(items.numpy(), z["items"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(float(total.detach()), float(z["total"]), rtol=1e-4)
    total.backward()
    for name, leaf in leaves.items():
        want = z[f"grad_{name}"] if name in names else z[name.replace("feat", "grad")]
        assert leaf.grad is not None, name
        np.testing.assert_allclose(leaf.grad.numpy(), want, atol=1e-5 * max(np.abs(want).max(), 1), rtol=1e-4)


B, NC, SIZE = 3, 2, (64, 96)


def outputs(kind, seed=0):
    """What a head gives in training for three images, random."""
    g = torch.Generator().manual_seed(seed)
    maps = [torch.randn(B, 64 + NC, SIZE[0] // s, SIZE[1] // s, generator=g) for s in (8, 16, 32)]
    more = {
        "seg": lambda: (torch.randn(B, 32, 126, generator=g), torch.randn(B, 32, 16, 24, generator=g)),
        "pose": lambda: (torch.randn(B, 15, 126, generator=g),),
        "obb": lambda: ((torch.rand(B, 1, 126, generator=g) - 0.25) * math.pi,),
    }[kind]()
    return [m.requires_grad_() for m in maps], tuple(m.requires_grad_() for m in more)


def labels(kind, counts=(2, 0, 3), seed=1):
    """Labels of so many objects in each image."""
    g = torch.Generator().manual_seed(seed)
    image = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    M = len(image)
    bboxes = torch.cat((torch.rand(M, 2, generator=g) * 0.5 + 0.25, torch.rand(M, 2, generator=g) * 0.4 + 0.1), 1)
    found = {"batch_idx": image.float(), "cls": torch.randint(0, NC, (M, 1), generator=g).float(), "bboxes": bboxes}
    if kind == "seg":
        found["masks"] = torch.randint(0, max(counts) + 1, (len(counts), 16, 24), generator=g, dtype=torch.uint8)
    if kind == "pose":
        points = torch.rand(M, 5, 3, generator=g)
        points[..., 2] = torch.randint(0, 3, (M, 5), generator=g).float()
        found["keypoints"] = points
    if kind == "obb":
        found["bboxes"] = torch.cat((bboxes, torch.rand(M, 1, generator=g) * 3), 1)
    return found


def criterion_of(kind, **more):
    return KINDS[kind][0](NC, [8, 16, 32], **({"kpt_shape": (5, 3)} if kind == "pose" else {}), **more)


def gradients(kind, criterion, batch, seed=0):
    maps, more = outputs(kind, seed)
    total, parts = criterion((maps, *more), batch)
    total.backward()
    return [total.detach(), parts, *(m.grad for m in (*maps, *more))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_both_forms_find_the_same(monkeypatch, kind, seed):
    batch, found = labels(kind, (4, 1, 0), seed), []
    monkeypatch.setattr(task_loss, "PIXELS", B * 16 * 24 * 7)  # several turns
    for whole in (False, True):
        for module in (loss, tal, task_loss):
            monkeypatch.setattr(module, "masked", lambda device, whole=whole: whole)
        found.append(gradients(kind, criterion_of(kind), batch, seed))
    for some, every in zip(*found, strict=True):
        torch.testing.assert_close(every, some, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_processes_that_share_a_batch_compute_its_loss(kind):
    """Two ranks, one with image 0 and one with images 1 and 2: their losses add up to that of the whole batch."""
    counts = (2, 0, 3)
    maps, more = outputs(kind)
    batch = labels(kind, counts)
    whole = gradients(kind, criterion_of(kind), batch)
    sums, found = [], []

    def part(first, last):
        mine = (batch["batch_idx"] >= first) & (batch["batch_idx"] < last)
        some = {k: v[mine] for k, v in batch.items() if k != "masks"} | (
            {"masks": batch["masks"][first:last]} if kind == "seg" else {}
        )
        some["batch_idx"] = some["batch_idx"] - first

        def cut(m):
            return m.detach()[first:last].clone().requires_grad_()

        return some, [cut(m) for m in maps], tuple(cut(m) for m in more)

    for first, last in ((0, 1), (1, 3)):  # what each adds to the sums
        some, mine, others = part(first, last)
        asked = []
        criterion_of(kind, reduce=lambda t, asked=asked: asked.append(t) or t)((mine, *others), some)
        sums.append(asked[0])
    for first, last in ((0, 1), (1, 3)):
        some, mine, others = part(first, last)
        turn = iter((sums[0] + sums[1], None))
        total, parts = criterion_of(kind, reduce=lambda t, turn=turn: s if (s := next(turn)) is not None else t)(
            (mine, *others), some
        )
        total.backward()
        found.append([total.detach(), parts, *(m.grad for m in (*mine, *others))])
    torch.testing.assert_close(found[0][0] + found[1][0], whole[0])
    torch.testing.assert_close(found[0][1] + found[1][1], whole[1])
    for one, two, both in zip(found[0][2:], found[1][2:], whole[2:], strict=True):
        torch.testing.assert_close(torch.cat((one, two)), both, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_objects_has_a_gradient_everywhere(monkeypatch, kind, whole):
    for module in (loss, tal, task_loss):
        monkeypatch.setattr(module, "masked", lambda device: whole)
    batch = labels(kind, (0, 0, 0))
    for given in (batch, {k: v for k, v in batch.items() if k not in ("masks", "keypoints")}):
        total, parts, *found = gradients(kind, criterion_of(kind), given)
        names = criterion_of(kind).parts
        assert dict(zip(names, parts.tolist(), strict=True)) | {"cls": 0} == dict.fromkeys(names, 0)
        assert parts[names.index("cls")] > 0
        assert all(g is not None and torch.isfinite(g).all() for g in (total, *found))


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("seg", lambda b: b.pop("masks"), r"no masks: the dataset is of boxes.*task=detect"),
        ("seg", lambda b: b.update(masks=b["masks"][:2]), r"2 masks for 3 labels"),
        ("pose", lambda b: b.pop("keypoints"), r"no keypoints: the dataset is of boxes.*kpt_shape"),
        ("pose", lambda b: b.update(keypoints=b["keypoints"][:, :4]), r"4 keypoints an object, and the network 5"),
        ("pose", lambda b: b.update(keypoints=b["keypoints"][:3]), r"3 keypoints for 5 labels"),
        ("obb", lambda b: b.update(bboxes=b["bboxes"][:, :4]), r"upright boxes, and this network learns rotated ones"),
    ],
)
def test_a_dataset_of_another_kind_is_one_line(kind, change, says):
    batch = labels(kind)
    change(batch)
    maps, more = outputs(kind)
    with pytest.raises(DatasetError, match=says):
        criterion_of(kind)((maps, *more), batch)


def test_a_small_rotated_box_is_told_by_its_own_sides():
    """The reference multiplies the width by the image's height: of 64×256 pixels it keeps a width of 1.5 pixels, and
    drops one of 6."""
    criterion = v8OBBLoss(1, [8, 16, 32])
    H, W = 64, 256
    bboxes = torch.tensor([[0.5, 0.5, 1.5 / W, 0.5, 0.1], [0.5, 0.5, 6 / W, 0.5, 0.1], [0.5, 0.5, 0.5, 1.9 / H, 0.1]])
    boxes = criterion.in_pixels({"bboxes": bboxes}, torch.tensor([W, H, W, H]).float())
    torch.testing.assert_close(boxes, torch.tensor([[0.0] * 5, [128, 32, 6, 32, 0.1], [0.0] * 5]))


def test_the_loss_of_a_mask_worked_out_by_hand(monkeypatch):
    """A map of 4×4 with one prototype of log 3 everywhere: pixels have the probability ¾. The box takes columns 1 and 2
    of all rows; of these 8 pixels 2 are the object's, so that 2 log 4/3 + 6 log 4 are averaged over 16 pixels, and
    divided by the box's half of the image."""
    index = torch.zeros(1, 4, 4, dtype=torch.uint8)
    index[0, 1, 1:4] = 1
    index[0, 3] = 2
    matched = loss.Matched(
        torch.tensor([[0.5, 0.5]]),
        torch.tensor([[8.0]]),
        torch.tensor([16.0, 16, 16, 16]),
        torch.tensor([[[4.0, 0, 12, 16]]]),
        torch.tensor([[0]]),
        torch.tensor([[0, 1]]),
        torch.tensor([[True]]),
        torch.tensor(1.0),
    )
    batch = {"batch_idx": torch.zeros(2), "masks": index}
    more = (torch.ones(1, 1, 1), torch.full((1, 1, 4, 4), math.log(3)))
    wanted = (2 * math.log(4 / 3) + 6 * math.log(4)) / 16 / 0.5
    for whole in (False, True):
        monkeypatch.setattr(task_loss, "masked", lambda device, whole=whole: whole)
        found = v8SegmentationLoss(1, [4])
        assert float(found.others(matched, more, batch)["seg"]) == pytest.approx(wanted, rel=1e-6)
        found.overlap = False
        apart = {"batch_idx": torch.zeros(2), "masks": torch.stack([index[0] == 1, index[0] == 2]).to(torch.uint8)}
        assert float(found.others(matched, more, apart)["seg"]) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("padded", [False, True])
def test_the_gradient_of_masks_is_that_of_its_values(padded):
    g = torch.Generator().manual_seed(0)
    coefficients, prototypes = torch.randn(3, 2, generator=g).double(), torch.randn(2, 2, 3, 4, generator=g)
    masks = torch.randint(0, 3, (2, 3, 4), generator=g)
    crop, weight = torch.tensor([[0, 0, 2, 3], [0, 0, 2, 3], [1, 1, 4, 2]]), torch.tensor([0.5, 0.5, 2.0])
    work = task_loss.MaskWork(
        torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]), torch.tensor([0, 0, 2]), crop, weight, masks, True
    )
    if padded:  # the second image has one anchor; another comes to it
        at = torch.tensor([[0, 1], [2, 2]])
        weight = weight[at] * torch.tensor([[1, 1], [1, 0]])
        work = task_loss.MaskWork(
            torch.tensor([[0], [1]]), work.object[at], work.row[at], crop[at], weight, masks, True
        )
        coefficients = coefficients[at]
    leaf = coefficients.float().requires_grad_()
    shown = prototypes.clone().requires_grad_()
    (3 * task_loss.MaskLoss.apply(leaf, shown, work, True)).backward()
    step = 1e-2
    for tensor, found in ((leaf, leaf.grad), (shown, shown.grad)):
        for i in range(tensor.numel()):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    tensor.view(-1)[i] += sign * step
                    values.append(float(3 * task_loss.MaskLoss.apply(leaf, shown, work, False)))
                    tensor.view(-1)[i] -= sign * step
            assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(found.view(-1)[i]), abs=3e-3)


def test_the_loss_of_keypoints_worked_out_by_hand():
    """Two points with σ ½, one labelled and 2 off, in an object of area 4: e = 4 / (1 · 4 · 2), counted twice."""
    found = KeypointLoss([0.5, 0.5])(
        torch.tensor([[[3.0, 1], [9, 9]]]),
        torch.tensor([[[1.0, 1], [0, 0]]]),
        torch.tensor([[True, False]]),
        torch.tensor([[4.0]]),
    )
    assert float(found) == pytest.approx(2 * (1 - math.exp(-0.5)) / 2, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_learns_by_its_own_criterion(kind):
    """The gains are those of the run; every parameter but the frozen ones gets a gradient, under autocast too."""
    network = {"seg": SegmentationModel, "pose": PoseModel, "obb": OBBModel}[kind]
    model = network(f"yolov8n-{kind}.yaml", nc=NC, verbose=False, kpt_shape=(5, 3)).train()
    model.args = {"box": 7.5, "cls": 0.5, "dfl": 1.5, "pose": 3.0, "kobj": 2.0, "overlap_mask": True}
    batch = {**labels(kind), "img": torch.rand(B, 3, *SIZE, generator=torch.Generator().manual_seed(0))}
    with torch.autocast("cpu", torch.bfloat16):
        total, parts = model(batch)
    total.backward()
    assert torch.isfinite(parts).all()
    assert len(parts) == len(model.criterion.parts)
    assert not [
        k for k, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    if kind == "pose":
        assert (model.criterion.gains["pose"], model.criterion.gains["kobj"], model.criterion.kpt_shape) == (
            3,
            2,
            (5, 3),
        )
    with torch.inference_mode():  # as in validation
        again, _ = model.criterion(model.eval()(batch["img"]), batch)
    assert torch.isfinite(again)
