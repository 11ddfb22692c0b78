"""Several outputs of an image: passes over it, and networks of an ensemble."""

import numpy as np
import pytest
import torch

from tests.conftest import write_tiny
from tests.helpers.networks import settled
from ultralytics.cfg.config import get_cfg
from ultralytics.models.yolo.detect.postprocess import detections, prepared
from ultralytics.nn.backend import backend_of
from ultralytics.nn.several import Augmented, EnsembleBackend, Several, networks_in, passes
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError

STRIDE = 32


def weigh(model, seed):
    """The rule by which the reference's weights were drawn: a generator for each tensor, in the order of its name."""
    state = model.state_dict()
    for i, name in enumerate(sorted(state)):
        t, g = state[name], torch.Generator().manual_seed(seed * 100003 + i)
        if name.endswith("num_batches_tracked"):
            t.zero_()
        elif name.endswith("dfl.conv.weight"):
            t.copy_(torch.arange(16.0).view_as(t))
        elif name.endswith(("running_mean", "bias")):
            t.copy_(torch.randn(t.shape, generator=g) * 0.1)
        elif t.dim() == 1:
            t.copy_(torch.rand(t.shape, generator=g) * 0.5 + 0.75)
        else:
            t.copy_(torch.randn(t.shape, generator=g) * (2 / (t.numel() / t.shape[0])) ** 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
    """The tiny network with attention, as if it had learned."""
    torch.manual_seed(0)
    return settled(DetectionModel(write_tiny(tmp_path_factory.mktemp("net")), nc=3, verbose=False), (64, 96))


def test_passes_equal_the_reference(fixtures):
    z = np.load(fixtures / "tta.npz")
    model = weigh(DetectionModel("yolov8n.yaml", nc=int(z["nc"]), verbose=False), int(z["weight_seed"]))
    x = torch.from_numpy(z["x"]).float()
    with torch.inference_mode():
        y, nothing = model(x, augment=True)
        joined = Augmented(backend_of(model))(x)
    assert nothing is None
    np.testing.assert_allclose(model(x)[0].detach().numpy(), z["y_single"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(y.numpy(), z["y"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(torch.cat([y for y, _ in joined.outputs], -1).numpy(), z["y"], rtol=1e-4, atol=2e-3)


def test_a_network_with_attention_finds_in_each_pass_what_it_finds_in_such_an_image(attention):
    x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    run = backend_of(attention)
    with torch.inference_mode():
        (first, _), (flipped, _), (last, _) = passes(run, x, STRIDE, trim=False)
        small = torch.nn.functional.interpolate(x.flip(3), size=(53, 79), mode="bilinear", align_corners=False)
        frame = torch.full((2, 3, 64, 96), 0.447)
        frame[..., :53, :79] = small
        expected = run(frame)[0]
    assert torch.equal(first, run(x)[0])
    assert torch.allclose(flipped[:, 0], 96 - expected[:, 0] / 0.83, atol=1e-4)
    assert torch.allclose(flipped[:, 1:4], expected[:, 1:4] / 0.83, atol=1e-4)
    assert torch.equal(flipped[:, 4:], expected[:, 4:])
    assert last.shape == first.shape  # 42 by 64 pixels are padded to 64 by 96
    trimmed = [y.shape[-1] for y, _ in passes(run, x, STRIDE)]
    assert trimmed == [126 - 6, 126, 126 - 96]


@pytest.mark.parametrize(("anchors", "kept"), [(7, 7), (6, 6)])
def test_maps_that_do_not_double_keep_all_anchors(anchors, kept):
    def run(x):
        return torch.zeros(1, 7, anchors), []

    assert [y.shape[-1] for y, _ in passes(run, torch.zeros(1, 3, 64, 96), STRIDE)] == [kept] * 3


def test_final_boxes_come_back_by_their_corners():
    def run(x):
        return torch.tensor([[[10.0, 20.0, 30.0, 40.0, 0.9, 2.0]]]), {}

    (a, _), (b, _), (c, _) = passes(run, torch.zeros(1, 3, 64, 96), STRIDE)
    assert a[0, 0].tolist() == [10, 20, 30, 40, pytest.approx(0.9), 2]
    assert b[0, 0, :4].tolist() == pytest.approx([96 - 30 / 0.83, 20 / 0.83, 96 - 10 / 0.83, 40 / 0.83])
    assert c[0, 0, :4].tolist() == pytest.approx([n / 0.67 for n in (10, 20, 30, 40)])


class Given:
    """A backend that gives what it is given."""

    device, dtype, layout, stride = torch.device("cpu"), torch.float32, torch.contiguous_format, 32

    def __init__(self, names, y, final=False, fixed=None):
        self.names, self.y, self.final, self.fixed = dict(enumerate(names)), y, final, fixed

    @property
    def nc(self):
        return len(self.names)

    def __call__(self, images):
        return self.y, {} if self.final else []


def boxes(*rows):
    """Rows of (centre, size, scores …) as an output (1, 4 + nc, n)."""
    return torch.tensor(rows, dtype=torch.float32).t()[None]


def test_classes_are_found_by_their_names():
    """The second network has the classes in another order, and the third gives final boxes."""
    a = Given("xyz", boxes((10, 10, 10, 10, 0.9, 0, 0)))
    b = Given("zxy", boxes((10, 10, 10, 10, 0, 0.6, 0), (50, 50, 10, 10, 0.6, 0, 0)))
    c = Given("yzx", torch.tensor([[[5.0, 5, 15, 15, 0.3, 2]]]), final=True)
    args = get_cfg(None, {"conf": 0.1}, mode="predict")
    [found] = detections(EnsembleBackend([a, b, c])(torch.zeros(1, 3, 64, 64)), args, 3, 0.25)
    assert found[0].tolist() == pytest.approx([5, 5, 15, 15, 0.6, 0])
    assert found[1].tolist() == pytest.approx([45, 45, 55, 55, 0.2, 2])
    assert len(found) == 2


def test_a_score_below_conf_lifts_one_above_it_and_what_stays_below_is_dropped():
    a = Given("x", boxes((10, 10, 10, 10, 0.5), (50, 50, 10, 10, 0.4)))
    b = Given("x", boxes((10, 10, 10, 10, 0.2)))
    args = get_cfg(None, {"conf": 0.3}, mode="predict")
    [found] = detections(EnsembleBackend([a, b])(torch.zeros(1, 3, 64, 64)), args, 1, 0.25)
    assert found.tolist() == [pytest.approx([5, 5, 15, 15, 0.35, 0])]


def test_with_nms_an_ensemble_suppresses_all_anchors_together():
    """As the reference: a box that a better one of another network suppresses, suppresses nothing itself."""
    a = Given("x", boxes((10, 10, 10, 10, 0.8), (12, 10, 10, 10, 0.5)))
    b = Given("x", boxes((8.5, 10, 10, 10, 0.9)))
    args = get_cfg(None, {"merge": "nms", "iou": 0.6}, mode="predict")
    [found] = detections(EnsembleBackend([a, b])(torch.zeros(1, 3, 64, 64)), args, 1, 0.25)
    assert found[:, 4].tolist() == pytest.approx([0.9, 0.5])


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"names": "xw"}, "network 2 lacks 'y' and has 'w' besides"),
        ({"names": "xyz"}, "network 2 has 'z' besides"),
        ({"fixed": (32, 32)}, "the exported files take images of 64×64 and 32×32 pixels alone"),
    ],
)
def test_networks_that_cannot_be_joined_are_one_line(others, message):
    first, second = (
        Given(n, None, fixed=f) for n, f in (("xy", (64, 64)), (others.get("names", "xy"), others.get("fixed")))
    )
    with pytest.raises(ConfigError, match=message) as e:
        EnsembleBackend([first, second])
    assert "\n" not in str(e.value)


def test_passes_of_a_file_of_one_size_are_refused():
    with pytest.raises(ConfigError, match=r"the exported file takes 64×96 pixels alone .*dynamic=True"):
        Augmented(Given("x", None, fixed=(64, 96)))


def test_an_ensemble_of_passes_joins_them_first(attention):
    args = get_cfg(None, {"augment": True, "conf": 0.02, "iou": 0.5}, mode="predict")
    x = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    one, pair = (
        prepared(n, args) for n in (backend_of(attention), EnsembleBackend([attention] * 2).ready(None, False))
    )
    assert isinstance(one, Augmented)
    assert len(list(networks_in(pair))) == 2
    with torch.inference_mode():
        output = pair(x)
        assert isinstance(output.outputs[0], Several)
        [alone], [both] = (detections(n(x), args, 3, 0.25) for n in (one, pair))
    assert len(both) == len(alone) > 0
    assert torch.allclose(both, alone, atol=1e-3)  # two equal boxes are joined to one
    assert prepared(one, get_cfg(None, {"augment": False}, mode="predict")) is one
