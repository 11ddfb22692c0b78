"""Small networks with one fault each; a fault is named with its row before anything is trained."""

import copy
import itertools
import os
import random
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ultralytics.engine.hooks import rescale
from ultralytics.engine.preflight.probes import Probe, probes
from ultralytics.engine.preflight.report import Memory, PreflightError, PreflightReport, does_not_fit
from ultralytics.engine.preflight.trial import check_copies, preflight
from ultralytics.nn.tasks import DetectionModel

CPU = torch.device("cpu")
SQUARE = [(64, 64)]
RECTANGLES = [(96, 64), (64, 96)]


class Net(nn.Module):
    """Rows one after another."""

    def __init__(self, *rows):
        super().__init__()
        self.model = nn.Sequential(*rows)
        for i, row in enumerate(rows):
            row.i = i

    def forward(self, x):
        for row in self.model:
            x = row(x)
        return [x]


class Row(nn.Module):
    """A row that does what it is reported."""

    def __init__(self, function):
        super().__init__()
        self.function, self.calls = function, 0

    def forward(self, x):
        return self.function(self, x)


def conv(c1=3, c2=4, s=2):
    return nn.Sequential(nn.Conv2d(c1, c2, 3, s, 1, bias=False), nn.BatchNorm2d(c2), nn.SiLU())


def net(function):
    torch.manual_seed(0)
    return Net(conv(), Row(function), conv(4, 4))


def shapes(val=SQUARE, imgsz=64, batch=4, images=8, multi_scale=False, stride=32):
    return probes(imgsz, stride, batch, images, multi_scale, val)


def fly(model, tried=None, amp=None, deterministic=True, **more):
    tried = shapes() if tried is None else tried
    return preflight(model, tried, device=CPU, amp_dtype=amp, deterministic=deterministic, **{"batch": 4, **more})


def fails(model, *args, **more):
    with pytest.raises(PreflightError) as caught:
        fly(model, *args, **more)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return str(caught.value)


# Shapes


def reported(found):
    return {p.name: (p.batch, p.size, p.train) for p in found}


def test_the_shapes_of_a_run():
    assert reported(probes(640, 32, 16, 1000, True, [(672, 384), (384, 672), (672, 672)])) == {
        "training size": (2, (640, 640), True),
        "smallest size of multi_scale": (2, (320, 320), True),
        "largest size of multi_scale": (2, (960, 960), True),
        "last batch of an epoch": (8, (64, 64), True),  # its true number, where that costs little
        "tallest validation rectangle": (2, (672, 384), False),
        "widest validation rectangle": (2, (384, 672), False),
        "a single stride": (1, (32, 32), False),
    }
    assert reported(probes(64, 32, 4, 9, False, SQUARE)) == {
        "training size": (2, (64, 64), True),
        "last batch of an epoch": (1, (64, 64), True),
        "validation size": (2, (64, 64), False),
        "a single stride": (1, (32, 32), False),
    }


def test_odd_sizes_few_images_and_no_validation():
    assert reported(probes(70, 32, 16, 1, False, [])) == {
        "training size": (1, (96, 96), True),
        "a rectangle, as in prediction": (1, (64, 96), False),
        "a single stride": (1, (32, 32), False),
    }
    assert len(probes(64, 32, 16, 6, False, [])) == 2  # one batch of all six: no last part
    assert len(probes(64, 32, 4, 6, False, [])) == 2  # a last part of two is what is tried anyway
    tall = probes(64, 32, 4, 8, False, np.array([[96, 64], [128, 64]]))
    assert [p.size for p in tall if not p.train] == [(128, 64), (96, 64), (32, 32)]
    assert all(type(n) is int for p in tall for n in p.size)


def test_training_rectangles():
    found = probes(64, 32, 4, 8, False, SQUARE, train_shapes=[(32, 64), (64, 64), (64, 32)])
    assert {p.size for p in found if p.train} == {(64, 64), (64, 32), (32, 64)}
    assert found[0].size == (64, 64)


@pytest.mark.parametrize("imgsz", [32, 64, 96, 320, 416, 640, 672])
@pytest.mark.parametrize("stride", [32, 64])
def test_the_extremes_of_multi_scale_are_the_trainers(imgsz, stride):
    imgsz = -(-imgsz // stride) * stride

    args = SimpleNamespace(seed=0, imgsz=imgsz)
    img = torch.zeros(1, 1, imgsz, imgsz)
    drawn = {rescale(img, args, stride, i).shape[-1] for i in range(400)}
    tried = [p.size[0] for p in probes(imgsz, stride, 4, 8, True, []) if p.train]
    assert min(drawn) == min(tried)
    assert max(drawn) == max(tried)


# Networks that are fine


@pytest.mark.parametrize("amp", [None, torch.bfloat16])
def test_a_sound_network_passes(amp):
    report = fly(net(lambda _, x: x), shapes(RECTANGLES, images=9, multi_scale=True), amp)
    assert report.warnings == []
    assert len(report.probes) == 7
    (line,) = report.lines()
    precision = "mixed bf16" if amp else "fp32"
    assert line.startswith(f"Preflight: 5 shapes from 32×32 to 96×96 pass forward and backward in {precision}, equal")
    assert line.endswith("MiB at batch 4")


@pytest.mark.parametrize("name", ["tiny", "yolov8n.yaml"])
def test_the_real_networks_pass(name, request):
    cfg = str(request.getfixturevalue("tiny")) if name == "tiny" else name
    model = DetectionModel(cfg, nc=3, verbose=False)
    report = fly(model, shapes(RECTANGLES, images=9))
    assert report.warnings == []


@pytest.mark.slow
@pytest.mark.parametrize("amp", [None, torch.bfloat16])
def test_yolov8n_is_tried_within_seconds(amp):
    model = DetectionModel("yolov8n.yaml", verbose=False).to(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two of them wait for each other on a busy machine
    started = time.process_time()
    report = fly(model, shapes([(672, 384), (384, 672)], imgsz=640, batch=16, images=1001), amp, batch=16)
    spent = time.process_time() - started
    torch.set_num_threads(threads)
    assert report.warnings == []
    assert spent < 10


def test_rows_that_work_in_place_pass():
    assert fly(net(lambda _, x: x.relu_())).warnings == []
    assert fly(net(lambda _, x: x.chunk(2, 1)[0].repeat(1, 2, 1, 1).add_(1))).warnings == []


@pytest.mark.parametrize("training", [True, False])
def test_the_model_and_all_random_streams_are_left_alone(training):
    model = net(lambda _, x: x + torch.rand_like(x) + random.random() + np.random.rand())
    model.model[2].requires_grad_(False)
    model.train(training)
    before = copy.deepcopy(model.state_dict())
    state = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    deterministic = torch.are_deterministic_algorithms_enabled()
    fly(model, shapes(RECTANGLES))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert all(m.training is training for m in model.modules())
    assert not model.model[2][0].weight.requires_grad
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert random.getstate() == state[0]
    assert torch.equal(torch.get_rng_state(), state[1])
    assert (np.random.get_state()[1] == state[2]).all()
    assert torch.are_deterministic_algorithms_enabled() == deterministic


def test_gradients_under_way_and_a_surrounding_no_grad_do_not_matter():
    model = net(lambda _, x: x)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    with torch.no_grad():
        fly(model)
    with torch.inference_mode():
        fly(model)
    assert all((p.grad == 1).all() for p in model.parameters())


# Faults


def square_tokens(_, x):
    b, c, _, _ = x.shape
    side = int((x.shape[2] * x.shape[3]) ** 0.5)
    return x.reshape(b, c, side * side).reshape(b, c, side, side)


def test_a_row_locked_to_squares_is_named_with_the_setting_that_avoids_it():
    message = fails(net(square_tokens), shapes([(96, 64)]))
    assert "row 1 (Row): it is locked to 64×64 images: it fails at 96×64 (validation size)" in message
    assert "2×4×48×32" in message
    assert "rect_val=False" in message
    assert fly(net(square_tokens), shapes(SQUARE)).warnings == []


def locked(_, x):
    return x * x.new_ones(32, 32)


def test_a_row_locked_to_one_size():
    message = fails(net(locked), shapes(multi_scale=True))
    assert "locked to 64×64 images: it fails at 32×32 (smallest size of multi_scale)" in message
    assert "multi_scale=False" in message
    (warning,) = fly(net(locked), shapes(SQUARE)).warnings  # such a run is possible
    assert "it fails at 32×32 (a single stride), 1 image, in evaluation" in warning
    assert "64×64 images pass" in warning


def test_a_row_of_a_model_yaml_is_named_with_file_and_line(tiny):
    model = DetectionModel(str(tiny), nc=3, verbose=False)
    model.model[4].forward = lambda x: x.reshape(1, 2, 3)
    message = fails(model)
    assert f"{tiny}, line " in message
    assert "row 4" in message
    assert "at 64×64 (training size), 2 images" in message


def test_a_row_that_takes_one_number_of_images_only():
    message = fails(net(lambda _, x: x + x.new_zeros(2, 1, 1, 1) if len(x) == 2 else x[:, :0] @ x), shapes(images=9))
    assert "row 1 (Row): it fails at 64×64 (last batch of an epoch), 1 image" in message
    assert "2 images at 64×64 pass" in message


def test_a_row_that_fails_in_evaluation_only():
    message = fails(net(lambda row, x: x if row.training else x + None))
    assert "it trains, but cannot be evaluated: it fails at 64×64 (validation size)" in message
    assert "TypeError" in message


def test_batch_norm_of_one_value():
    torch.manual_seed(0)
    deep = Net(*[conv(3 if i == 0 else 4) for i in range(5)])
    assert fly(deep, shapes(imgsz=32)).warnings == []
    message = fails(deep, shapes(imgsz=32, images=9))
    assert "row 4 (Sequential)" in message
    assert "batch norm needs two values per channel" in message
    for p in deep.model[4].parameters():  # a frozen row keeps its statistics, as in the trainer
        p.requires_grad_(False)
    assert fly(deep, shapes(imgsz=32, images=9)).warnings == []


def test_nan_where_height_and_width_differ():
    message = fails(net(lambda _, x: x if x.shape[2] == x.shape[3] else x * float("nan")), shapes(RECTANGLES))
    assert "row 1 (Row): its output is not finite at 96×64 (tallest validation rectangle)" in message
    assert "64×64 images pass" in message
    assert "rect_val=False" in message


def test_nan_gradients_are_traced_to_the_row_that_makes_them():
    """The square root of zero: every output is finite, and every weight before it gets NaN."""
    message = fails(net(lambda _, x: (x - x.detach()).sqrt() * 0 + x))
    assert "row 1 (Row): its gradient is not finite at 64×64 (training size)" in message


def test_infinities_of_mixed_precision_are_told_from_others():
    message = fails(net(lambda _, x: ((x.to(torch.float16) + 60000) * 2).to(x.dtype)), amp=torch.bfloat16)
    assert "mixed" not in message

    def narrow(_, x):
        half = torch.is_autocast_enabled("cpu")
        return x * (float("inf") if half else 1.0)

    message = fails(net(narrow), amp=torch.bfloat16)
    assert "in mixed bf16 only, not in fp32: its output is not finite" in message
    assert "amp=False" in message


def test_types_that_do_not_meet_under_autocast():
    class Mixed(nn.Module):
        def forward(self, x):
            with torch.autocast("cpu", enabled=False):
                return torch.einsum("bchw,cd->bdhw", x, torch.eye(4))

    message = fails(Net(conv(), Mixed(), conv(4, 4)), amp=torch.bfloat16)
    assert "row 1 (Mixed): in mixed bf16 only, not in fp32: it fails" in message


def test_weights_that_are_not_finite():
    model = net(lambda _, x: x)
    with torch.no_grad():
        model.model[2][0].weight.fill_(float("nan"))
    assert "row 2 (Sequential): its weights are not finite: 0.weight" in fails(model)


def test_a_tensor_kept_from_the_forward_pass():
    def keep(row, x):
        row.last = [x * 2]
        return row.last[0]

    message = fails(net(keep))
    assert "row 1 (Row): it cannot be copied: self.last holds on" in message
    assert ".detach()" in message

    def keep_detached(row, x):
        row.last = x.detach()
        return x * 2

    assert fly(net(keep_detached)).warnings == []


def test_a_tensor_computed_in_the_constructor():
    model = net(lambda _, x: x)
    model.model[1].scale = model.model[0][0].weight * 2
    with pytest.raises(PreflightError, match=r"row 1 \(Row\): it cannot be copied: self\.scale holds .*in forward"):
        check_copies(model, model)


def test_what_cannot_be_copied_at_all():
    model = net(lambda _, x: x)
    model.model[1].file = (n for n in range(3))
    assert "row 1 (Row): it cannot be copied: TypeError" in fails(model)


def test_randomness_that_no_seed_controls():
    message = fails(net(lambda _, x: x + os.urandom(1)[0] + os.urandom(1)[0] / 256 + os.urandom(1)[0] / 7))
    assert "row 1 (Row): its output differs between two equal passes at 64×64 (training size)" in message
    assert "deterministic=False" in message
    fly(net(lambda _, x: x + os.urandom(1)[0]), deterministic=False)
    assert fly(net(lambda _, x: x + random.random() + torch.rand(1) + np.random.rand())).warnings == []


def test_a_counter_outside_of_the_module():
    count = itertools.count()
    assert "its output differs" in fails(net(lambda _, x: x + next(count)))


def test_a_counter_that_no_checkpoint_holds_is_a_warning():
    def counted(row, x):
        row.calls += 1
        return x * row.calls

    (warning,) = fly(net(counted)).warnings
    assert "row 1 (Row): its output hangs on state that is in no buffer: a resumed run will differ" in warning


def test_gradients_that_differ_alone():
    class Noisy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return g * (1 + int.from_bytes(os.urandom(4), "little") / 2**32)

    assert "row 1 (Row): its gradient differs" in fails(net(lambda _, x: Noisy.apply(x)))


def test_operations_without_a_deterministic_form_are_warnings():
    def put(_, x):
        return x + torch.zeros(4).put_(torch.tensor([1]), torch.tensor([2.0])).view(1, 4, 1, 1)

    (warning,) = fly(net(put)).warnings
    assert "row 1 (Row): put_ has no deterministic form on this device" in warning
    assert fly(net(put), deterministic=False).warnings == []


def test_such_an_operation_of_the_backward_pass_is_traced_to_its_row():
    class UpsampleBilinear2D(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            op = "upsample_bilinear2d_backward_out_cuda"
            warnings.warn(f"{op} does not have a deterministic implementation, but you set …", stacklevel=1)
            return g

    (warning,) = fly(net(lambda _, x: UpsampleBilinear2D.apply(x))).warnings
    assert warning.startswith("row 1 (Row): upsample_bilinear2d_backward_out_cuda has no deterministic form")


def test_a_backward_pass_that_fails():
    def overwrite(_, x):
        y = x.sigmoid()
        y += 1
        return y

    message = fails(net(overwrite))
    assert "row 1 (Row): its backward pass fails" in message
    assert "change no tensor in place" in message


def test_weights_that_no_gradient_reaches():
    whole = Net(conv(), nn.Sequential(nn.Conv2d(4, 4, 1), Row(lambda _, x: x.detach())), conv(4, 4))
    (warning,) = fly(whole).warnings
    assert warning.startswith("no gradient reaches rows 0 (Sequential), 1 (Sequential): row 1 (Sequential) cuts it")

    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.used(x)

    (warning,) = fly(Net(conv(), Partly(), conv(4, 4))).warnings
    assert warning.startswith("row 1 (Partly): no gradient reaches unused.weight, unused.bias")


def test_nothing_to_train_is_an_error():
    message = fails(Net(conv(), Row(lambda _, x: x.detach())))
    assert "row 1 (Row): it cuts the gradient, and nothing would be trained" in message


def test_running_out_of_memory_is_one_line():
    def huge(_, x):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    message = fails(net(huge))
    assert "row 1 (Row): memory runs out at 64×64 (training size), 2 images, on an input of 2×4×32×32" in message


# Memory and the report


def test_the_estimate_is_near_a_count_by_hand():
    model = Net(conv(3, 16), conv(16, 32))
    memory = fly(model, shapes(), batch=8).memory
    weights = 4 * sum(p.numel() for p in model.parameters())
    assert memory.gradients == weights
    assert memory.optimizer == 2 * weights
    assert weights <= memory.weights == memory.ema < 1.1 * weights + 100
    # A convolution keeps its input, a batch norm its input, SiLU its input; the last output goes to the loss.
    by_hand = 4 * (3 * 64 * 64 + 2 * 16 * 32 * 32 + 16 * 32 * 32 + 2 * 32 * 16 * 16)
    assert by_hand / 2 < memory.activations < by_hand * 2
    assert memory.total == memory.fixed + 8 * memory.activations


def test_multi_scale_needs_the_memory_of_its_largest_size():
    one, more = (fly(net(lambda _, x: x), shapes(multi_scale=m)).memory for m in (False, True))
    assert more.activations == pytest.approx(one.activations * (96 / 64) ** 2, rel=0.05)


def test_a_batch_that_does_not_fit_is_told_with_one_that_does(monkeypatch):
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (7 * gib, 8 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: gib)
    fits = Memory(gib, gib, gib, gib, gib, 4)
    assert does_not_fit(fits, torch.device("cuda", 0)) == []
    (warning,) = does_not_fit(Memory(gib, gib, gib, gib, gib, 16), torch.device("cuda", 0))
    assert warning == "training needs about 20.0 GiB at batch 16, and the GPU has 8.0 GiB: batch=4 would fit"
    (warning,) = does_not_fit(Memory(9 * gib, 0, 0, 0, gib, 1), torch.device("cuda", 0))
    assert "not even one image" in warning


def test_the_line_of_a_report():
    tried = [Probe("training size", 2, (640, 640), True), Probe("a single stride", 1, (32, 32), False)]
    report = PreflightReport(tried, 1.94, Memory(2**20, 0, 0, 0, 2**27, 16), torch.bfloat16)
    assert report.lines() == [
        "Preflight: 2 shapes from 32×32 to 640×640 pass forward and backward in mixed bf16 (1.9 s); "
        "about 2.0 GiB at batch 16"
    ]
    assert "64×64 passes" in PreflightReport([Probe("", 2, (64, 64), True)], 1, report.memory).lines()[0]


@pytest.mark.gpu
@pytest.mark.parametrize("amp", [None, torch.bfloat16, torch.float16])
def test_a_gpu_is_tried_as_well(tiny, amp):
    device = torch.device("cuda", 0)
    model = DetectionModel(str(tiny), nc=3, verbose=False).to(device, memory_format=torch.channels_last)
    state = torch.cuda.get_rng_state_all()
    report = preflight(model, shapes(RECTANGLES), device=device, amp_dtype=amp, deterministic=True, batch=4)
    assert len(report.probes) == 4
    assert all(torch.equal(a, b) for a, b in zip(state, torch.cuda.get_rng_state_all(), strict=True))
