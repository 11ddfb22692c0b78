"""The mixing operations and the frame they share."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.export import Dim, export
from torch.utils._python_dispatch import TorchDispatchMode

from ultralytics.nn.modules import (
    C2f,
    C2f_FLA,
    ConvBlock,
    FLABlock,
    FLALayer,
    FocusedLinearAttention,
    GatedAdd,
    MagnitudeAwareLinearAttention,
    MALABlock,
    PSABlock,
    RALABlock,
    RankAugmentedLinearAttention,
    ReLULinearAttention,
    ReLULinearBlock,
    SoftmaxAttention,
)
from ultralytics.nn.modules.attention import ChannelNorm, layer_norm
from ultralytics.nn.modules.transformer import TransformerEncoderLayer
from ultralytics.nn.ops import EPS
from ultralytics.nn.registry import Row, gated_sum
from ultralytics.utils.errors import ModelError

# Every block a YAML may use, at C channels.
BLOCKS = {
    "FocusedLinearAttention": lambda C, p: FocusedLinearAttention(C, (5, 7), 4, focusing_factor=p),
    "FLABlock": lambda C, p: FLABlock(C, 4, (5, 7), focusing_factor=p),
    "FLABlock without DWC": lambda C, p: FLABlock(C, 4, (5, 7), focusing_factor=p, kernel_size=0),
    "C2f_FLA": lambda C, p: C2f_FLA(C, C, 1, True, num_heads=4, window_size=(5, 7), focusing_factor=p),
    "PSABlock": lambda C, p: PSABlock(C, 4, (5, 7)),
    "ReLULinearBlock": lambda C, p: ReLULinearBlock(C, 4, (5, 7)),
    "MALABlock": lambda C, p: MALABlock(C, 4, (5, 7)),
    "RALABlock": lambda C, p: RALABlock(C, 4, (5, 7)),
    "FLALayer": lambda C, p: FLALayer(C, 4, (5, 7), focusing_factor=p),
    "ConvBlock": lambda C, p: ConvBlock(C, 4, (5, 7)),
}
FRAMED = [FLABlock, PSABlock, ReLULinearBlock, MALABlock, RALABlock]


def opened(block):
    """The block with its gates open and its tables filled, so that everything in it counts."""
    for module in block.modules():
        for name in ("gate", "positional_encoding", "scale"):
            if isinstance(getattr(module, name, None), nn.Parameter):
                nn.init.normal_(getattr(module, name))
    return block


def image(kind, shape, scale, seed):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale
    return {"random": x, "negative": -x.abs(), "zero": torch.zeros(shape), "one hot": torch.zeros(shape)}[kind] + (
        scale * (torch.arange(shape[1]).view(1, -1, 1, 1) == 1) if kind == "one hot" else 0
    )


def check_finite(name, p, size, dtype, mode, kind, scale, seed=0):
    torch.manual_seed(seed)
    block = opened(BLOCKS[name](16, p))
    x = image(kind, (2 if size[0] * size[1] < 200 else 1, 16, *size), scale, seed)
    if mode == "pure":
        block, x = block.to(dtype), x.to(dtype)
    x.requires_grad_()
    with torch.autocast("cpu", dtype=dtype, enabled=mode == "autocast" and dtype != torch.float32):
        y = block(x)
    assert y.shape == x.shape
    y.float().mean().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    for n, parameter in block.named_parameters():
        assert parameter.grad is not None, n
        assert torch.isfinite(parameter.grad).all(), n


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(BLOCKS)),
    p=st.sampled_from([1, 2, 3, 4, 5, 6, 8, 16, 32]),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
    mode=st.sampled_from(["pure", "autocast"]),
    kind=st.sampled_from(["random", "negative", "zero", "one hot"]),
    scale=st.sampled_from([1e-3, 1e-2, 1.0, 30.0, 1e3]),
    seed=st.integers(0, 100),
)
def test_outputs_and_gradients_are_finite(name, p, size, dtype, mode, kind, scale, seed):
    check_finite(name, p, size, dtype, mode, kind, scale, seed)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (1, 160), (160, 160), (160, 96), (40, 80)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_outputs_and_gradients_are_finite_on_large_maps(name, dtype, size):
    if name == "PSABlock" and size == (160, 160):  # minutes: once is enough
        check_finite(name, 3, size, dtype, "pure", "random", 1e3)
        return
    for p in (1, 2, 3, 4, 5, 6, 8, 16, 32) if "FLA" in name or "Focused" in name else (3,):
        for scale in (1e-3, 1.0, 1e3):
            check_finite(name, p, size, dtype, "pure", "random", scale)
        check_finite(name, p, size, dtype, "autocast", "negative", 1e3)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_low_precision_is_near_fp64(name, dtype, bound):
    """p = 3, N = 6400: the error's norm against the output's."""
    torch.manual_seed(0)
    wide = opened(BLOCKS[name](32, 3)).double()
    x = torch.randn(1, 32, 80, 80, dtype=torch.float64)
    with torch.no_grad():
        want = wide(x)
        pure = copy.deepcopy(wide).to(dtype)(x.to(dtype)).double()
        with torch.autocast("cpu", dtype=dtype):
            mixed = copy.deepcopy(wide).float()(x.float()).double()
    for got in (pure, mixed):
        assert float((got - want).norm() / want.norm()) <= bound


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("mode", ["pure", "autocast"])
@pytest.mark.parametrize("of", ["map", "tokens"])
def test_gradients_of_a_norm_are_right_for_large_maps_in_half_precision(of, mode, device):
    """Of 38,400 places; in 16 bits the sum of each stops at some thousand."""
    torch.manual_seed(0)
    norm, layer = ChannelNorm(16).to(device), TransformerEncoderLayer(16, 16, 4).to(device)
    x = torch.randn(6, 16, 80, 80, device=device).bfloat16().requires_grad_()
    grad = (torch.randn_like(x) * 0.1 + 0.05).detach()
    made = norm if of == "map" else layer.norm2
    if mode == "pure":
        made.bfloat16()
    with torch.autocast(device, torch.bfloat16, enabled=mode == "autocast"):
        y = norm(x) if of == "map" else layer_norm(layer.norm2, x.flatten(2).transpose(1, 2))
    y.backward(grad if of == "map" else grad.flatten(2).transpose(1, 2))
    assert y.dtype == torch.bfloat16
    wide = nn.functional.layer_norm(x.detach().double().permute(0, 2, 3, 1), (16,)) * grad.double().permute(0, 2, 3, 1)
    for got, want in ((made.bias.grad, grad.double().sum((0, 2, 3))), (made.weight.grad, wide.sum((0, 1, 2)))):
        torch.testing.assert_close(got.double(), want, rtol=0.01, atol=0.01 * float(want.abs().max()))


class Wide(TorchDispatchMode):
    """Note the operations that make a map of fp32."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers, self.seen = numbers, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else (out,):
            if isinstance(made, torch.Tensor) and made.dtype == torch.float32 and made.numel() >= self.numbers:
                self.seen.append(str(func))
        return out


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("kind", ["frame", "sum"])
def test_the_frame_of_a_half_precision_run_makes_no_map_of_fp32(kind, device):
    """Such maps took a third of the bytes that a block moves. Mixing has its own reasons for fp32: here it is a
    convolution. So has the norm on a CPU."""
    frame, gate = opened(ConvBlock(16)).to(device), opened(GatedAdd(16)).to(device)
    if device == "cpu":
        frame.norm = nn.Identity()
    x = torch.randn(2, 16, 30, 40, device=device).bfloat16().requires_grad_()
    with torch.autocast(device, torch.bfloat16), Wide(x.numel()) as watch:
        y = frame(x) if kind == "frame" else gate([x, x.square()])
        y.backward(torch.ones_like(y))
    assert y.dtype == torch.bfloat16
    assert not watch.seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cls", [*FRAMED, ConvBlock])
def test_a_new_block_passes_its_input_on_to_the_bit(cls, dtype):
    block = cls(32).to(dtype)
    x = (torch.randn(2, 32, 6, 9) * 50).to(dtype)
    assert torch.equal(block(x), x)
    if cls is ConvBlock and dtype is torch.float16:
        return  # torch has no batch norm on a CPU for a bf16 map and fp16 weights
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(block(x), x)
        assert block(x).dtype == dtype


def test_the_gate_opens_with_training():
    block = FLABlock(16, 4, (4, 4))
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    x, target = torch.randn(2, 16, 4, 4), torch.randn(2, 16, 4, 4)
    for _ in range(3):
        optimizer.zero_grad()
        (block(x) - target).square().mean().backward()
        optimizer.step()
    assert (block.gate != 0).any()
    assert (block.attn.qkv.weight.grad != 0).any()


@pytest.mark.parametrize("cls", FRAMED)
def test_framed_blocks_differ_in_the_mixing_alone(cls):
    """The frame's tensors have equal names and shapes in every block."""
    block, own = cls(32, 4, (5, 5)), ("attn.dwc", "attn.scale", "attn.phi")
    shapes = {n: tuple(p.shape) for n, p in block.named_parameters() if not n.startswith(own)}
    want = {n: tuple(p.shape) for n, p in PSABlock(32, 4, (5, 5)).named_parameters()}
    assert shapes == want


def naive(layer, q, k, v):
    """Each mixing operation written as its N×N matrix, from the formulas."""
    h, (B, N, C) = layer.num_heads, q.shape
    q, k, v = (t.view(B, N, h, C // h).transpose(1, 2) for t in (q, k, v))
    d = C // h
    if isinstance(layer, SoftmaxAttention):
        weights = (q @ k.transpose(-2, -1) / d**0.5).softmax(-1)
    elif isinstance(layer, ReLULinearAttention):
        s = q.relu() @ k.relu().transpose(-2, -1)
        weights = s / (s.sum(-1, keepdim=True) + 1e-6)
    elif isinstance(layer, RankAugmentedLinearAttention):
        q, k = nn.functional.elu(q) + 1, nn.functional.elu(k) + 1
        alpha = N * (q.mean(-2, keepdim=True) @ k.transpose(-2, -1) / d**0.5).softmax(-1)  # (B, h, 1, N)
        torch.testing.assert_close(alpha.sum(-1), torch.full_like(alpha[..., 0], N))
        s = alpha * (q @ k.transpose(-2, -1))
        weights = s / (s.sum(-1, keepdim=True) + 1e-6)
    else:
        s = (nn.functional.elu(q) + 1) @ (nn.functional.elu(k) + 1).transpose(-2, -1) / (N * d**0.5)
        z = s.sum(-1, keepdim=True)
        weights = (1 + 1 / (z + 1e-6)) * s - z / N
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(z[..., 0]), atol=1e-5, rtol=0)
    return (weights @ v).transpose(1, 2).reshape(B, N, C)


@pytest.mark.parametrize(
    "cls", [SoftmaxAttention, ReLULinearAttention, MagnitudeAwareLinearAttention, RankAugmentedLinearAttention]
)
def test_mixing_equals_its_matrix_form_gradients_included(cls):
    torch.manual_seed(0)
    layer = cls(12, (3, 5), 3).double()
    inputs = [torch.randn(2, 15, 12, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    grad = torch.randn(2, 15, 12, dtype=torch.float64)
    got, want = layer.mix(*inputs, (3, 5)), naive(layer, *inputs)
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)
    for a, b in zip(torch.autograd.grad(got, inputs, grad), torch.autograd.grad(want, inputs, grad), strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_magnitude_awareness_sharpens_with_the_query():
    """What focused linear attention is blind to: a longer query attends more sharply."""
    torch.manual_seed(0)
    q, k = torch.rand(1, 20, 8), torch.rand(1, 20, 8)
    eye = torch.eye(20).unsqueeze(0)  # values that read the weights off
    spread = {}
    for cls in (MagnitudeAwareLinearAttention, ReLULinearAttention):
        layer = cls(20, (4, 5), 1)
        pad = torch.zeros(1, 20, 12)
        deviation = [
            float(layer.mix(torch.cat((a * q, pad), -1), torch.cat((k, pad), -1), eye, (4, 5)).std(-1).mean())
            for a in (1.0, 10.0)
        ]
        spread[cls] = deviation[1] / deviation[0]
    assert spread[MagnitudeAwareLinearAttention] > 2
    assert spread[ReLULinearAttention] == pytest.approx(1, abs=1e-3)


def test_rank_augmentation_gates_its_output_and_raises_its_rank():
    """out = Linear(φ(x) ⊙ mix), and the map of weights that alone tells tokens apart has a higher rank with φ."""
    torch.manual_seed(0)
    layer = RankAugmentedLinearAttention(32, (4, 6), 8).double()
    x = torch.randn(1, 32, 4, 6, dtype=torch.float64)
    tokens = x.flatten(2).transpose(1, 2)
    q, k, v = layer.qkv(tokens).chunk(3, -1)
    mixed = naive(layer, q, k, v)
    want = layer.proj(layer.phi(tokens) * mixed).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(layer(x), want, atol=1e-10, rtol=1e-10)
    v = v[..., :1].expand_as(v)  # every head mixes one number per token
    mixed = layer.mix(q, k, v, (4, 6))
    ranks = [int(torch.linalg.matrix_rank(t[0], rtol=1e-9)) for t in (mixed, layer.modulate(mixed, x))]
    assert ranks[0] == 8
    assert ranks[1] == 24


def test_a_gated_sum_is_its_first_source_until_it_opens():
    block, x, z = GatedAdd(8), torch.randn(2, 8, 3, 5) * 50, torch.randn(2, 8, 3, 5)
    assert torch.equal(block([x, z]), x)
    assert torch.equal(block.half()([x.half(), z]), x.half())
    block = GatedAdd(8)
    nn.init.normal_(block.gate)
    torch.testing.assert_close(block([x, z]), x + block.gate[None, :, None, None] * z)


@pytest.mark.parametrize(
    ("channels", "strides", "message"),
    [
        ([8], [16.0], "adds one map to another, and `from` names 1"),
        ([8, 16], [16.0, 16.0], "its two sources have 8 and 16 channels"),
        ([8, 8], [16.0, 32.0], "its two sources are at strides 16 and 32"),
    ],
)
def test_a_gated_sum_of_maps_that_do_not_fit(channels, strides, message):
    with pytest.raises(ModelError, match=message):
        gated_sum(Row(channels, [], 1, 1.0, 1024, strides=strides))


def test_c2f_fla_with_the_weights_of_a_c2f_computes_the_same():
    torch.manual_seed(0)
    plain, attended = C2f(24, 32, 2, True).eval(), C2f_FLA(24, 32, 2, True).eval()
    keys = attended.load_state_dict(plain.state_dict(), strict=False)
    assert keys.unexpected_keys == []
    assert all(k.startswith("attn.") for k in keys.missing_keys)
    x = torch.randn(2, 24, 9, 6)
    assert torch.equal(attended(x), plain(x))


@pytest.mark.parametrize("dim", [64, 96, 128, 192, 256, 320, 384, 512, 576, 640])  # P3–P5 of n, s, m, l, x
@pytest.mark.parametrize("arguments", [{}, {"num_heads": 4, "window_size": (40, 40), "kernel_size": 0}])
def test_the_plain_convolutions_have_the_parameters_of_the_attention(dim, arguments):
    with torch.device("meta"):
        ours, want = (sum(p.numel() for p in cls(dim, **arguments).parameters()) for cls in (ConvBlock, FLABlock))
    assert ours == pytest.approx(want, rel=0.02)


def test_the_plain_convolutions_take_what_the_attention_takes():
    with pytest.raises(ModelError, match="5 heads do not divide"):
        ConvBlock(16, 5)
    state = torch.get_rng_state()
    with torch.device("meta"):
        ConvBlock(64)
    assert torch.equal(torch.get_rng_state(), state)  # counting draws no random numbers


def test_without_the_convolution_there_is_none():
    assert FocusedLinearAttention(16, kernel_size=0).dwc is None
    assert not any("dwc" in k for k in FLABlock(16, kernel_size=0).state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PSABlock(16, 5), "valid counts: 1, 2, 4, 8, 16"),
        (lambda: MALABlock(16, 4, 20), "window_size must be"),
        (lambda: FLABlock(16, proj_drop=2), "proj_drop must lie in 0..1"),
        (lambda: FLABlock(16, kernel_size=4), "kernel_size must be odd, or 0"),
        (lambda: FLALayer(16, ratio=0), "ratio must be a number above 0 and up to 16, not 0"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ModelError, match=message.replace(".", r"\.")):
        make()


def test_an_undecayed_parameter_exists():
    """`undecayed` names parameters; a misspelt one would be decayed without a word."""
    for block in (FLABlock(16), PSABlock(16), GatedAdd(16)):
        for module in block.modules():
            for name in getattr(module, "undecayed", ()):
                assert isinstance(getattr(module, name), nn.Parameter)


@pytest.mark.parametrize("name", sorted(BLOCKS))
@pytest.mark.filterwarnings("ignore:.*:torch.jit.TracerWarning", "ignore:.*:DeprecationWarning")
def test_a_traced_block_computes_the_same(name):
    block = opened(BLOCKS[name](8, 3)).eval()
    x = torch.randn(1, 8, 6, 9)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.trace(block, x)(x), block(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_an_exported_block_computes_the_same_at_other_sizes(name):
    block = opened(BLOCKS[name](8, 3)).eval()
    auto = torch.export.Dim.AUTO
    exported = torch.export.export(block, (torch.randn(2, 8, 6, 9),), dynamic_shapes=({0: auto, 2: auto, 3: auto},))
    x = torch.randn(3, 8, 10, 7)
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(x), block(x))


@pytest.mark.parametrize("batch", [1, 3])
def test_named_patterns_give_what_plain_views_give(batch):
    """Values, and the strides on which the rounding of kernels hangs, of a single image too."""
    attention = FocusedLinearAttention(16, (5, 7), 4)
    tokens = torch.randn(batch, 35, 48)[..., :16]
    plain = tokens.reshape(batch, 35, 4, 4).transpose(1, 2)
    named = attention.heads(tokens)
    assert torch.equal(named, plain)
    assert named.stride() == plain.stride()
    back = attention.merge(named)
    assert torch.equal(back, plain.transpose(1, 2).flatten(2))
    assert back.stride() == plain.transpose(1, 2).flatten(2).stride()
    kernel = attention.dwc.weight
    v = torch.randn(batch, 35, 16)
    padded = nn.functional.conv2d(
        v.transpose(1, 2).reshape(-1, 16, 5, 7), kernel.repeat(4, 1, 1, 1), attention.dwc.bias.repeat(4), 1, 2, 1, 16
    )
    assert torch.equal(attention.convolve(v, (5, 7)), padded.flatten(2).transpose(1, 2))


MIXERS = {
    "FocusedLinearAttention": lambda C, **o: FocusedLinearAttention(C, (5, 7), 4, **o),
    "without DWC": lambda C: FocusedLinearAttention(C, (5, 7), 4, kernel_size=0, focusing_factor=1),
    "SoftmaxAttention": lambda C: SoftmaxAttention(C, (5, 7), 4),
    "ReLULinearAttention": lambda C: ReLULinearAttention(C, (5, 7), 4),
    "MagnitudeAwareLinearAttention": lambda C: MagnitudeAwareLinearAttention(C, (5, 7), 4),
}


@pytest.mark.parametrize("name", MIXERS)
@settings(max_examples=6)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_weights_are_those_with_which_the_tokens_are_mixed(name, H, W, seed):
    torch.manual_seed(seed)
    mixer = opened(MIXERS[name](16)).double().eval()
    q, k, v = mixer.project(torch.randn(2, 16, H, W, dtype=torch.float64))
    weights = mixer.weights(q, k)
    assert weights.shape == (2, 4, H * W, H * W)
    whole = torch.ones(())
    if not isinstance(mixer, SoftmaxAttention | MagnitudeAwareLinearAttention):
        phi = mixer.features(q, k) if isinstance(mixer, FocusedLinearAttention) else (q.relu(), k.relu())
        products = (mixer.heads(phi[0]) @ mixer.heads(phi[1]).transpose(-2, -1)).sum(-1)
        whole = products / (products + EPS)  # ReLU may leave a token nothing to look at; then ε is all there is
    torch.testing.assert_close(weights.sum(-1), whole.double().expand(2, 4, H * W), rtol=1e-4, atol=1e-9)
    added = mixer.convolve(v, (H, W)) if mixer.besides else 0
    torch.testing.assert_close(
        mixer.merge(weights @ mixer.heads(v)) + added, mixer.mix(q, k, v, (H, W)), rtol=1e-9, atol=1e-9
    )
    some = torch.tensor([0, H * W - 1])
    torch.testing.assert_close(mixer.weights(q[:, some], k), weights[:, :, some])  # of some tokens alone


def test_the_rank_of_linear_attention_is_at_most_its_heads_width():
    x = torch.randn(1, 16, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for name, most in (("FocusedLinearAttention", 4), ("MagnitudeAwareLinearAttention", 5)):
        mixer = opened(MIXERS[name](16)).double()
        q, k, _ = mixer.project(x)
        ranks = torch.linalg.matrix_rank(mixer.weights(q, k))
        assert ranks.max() <= most
        assert mixer.factors(q, k)[0].shape[-1] == most
    mixer = opened(MIXERS["SoftmaxAttention"](16)).double()
    assert torch.linalg.matrix_rank(mixer.weights(*mixer.project(x)[:2])).min() > 5


def test_what_is_not_part_of_the_weights_is_named():
    assert MIXERS["FocusedLinearAttention"](16).besides == "the depth-wise 5×5 branch"
    assert MIXERS["without DWC"](16).besides == ""
    assert MIXERS["SoftmaxAttention"](16).besides == ""


def test_a_mix_of_its_own_does_not_take_the_weights_of_another():
    class Own(FocusedLinearAttention):
        def mix(self, q, k, v, size):
            return v

    class Named(FocusedLinearAttention):
        pass

    assert Named.offers_weights()
    assert SoftmaxAttention.offers_weights()
    assert not Own.offers_weights()
    with pytest.raises(ModelError, match="Own does not offer its weights"):
        Own(16).weights(torch.zeros(1, 4, 16), torch.zeros(1, 4, 16))
    with pytest.raises(ModelError, match="as two factors"):
        SoftmaxAttention(16).factors(torch.zeros(1, 4, 16), torch.zeros(1, 4, 16))


def test_an_attention_is_exported_with_any_height_and_width_and_at_its_window():
    torch.manual_seed(0)
    layer = ReLULinearAttention(16, (4, 4), 2).eval()
    nn.init.normal_(layer.positional_encoding)
    dynamic = ({0: Dim.AUTO, 2: Dim("h", min=1, max=64), 3: Dim("w", min=1, max=64)},)
    exported = export(layer, (torch.rand(2, 16, 5, 6),), dynamic_shapes=dynamic, strict=False).module()
    for h, w in ((4, 4), (5, 6), (3, 8)):
        x = torch.rand(1, 16, h, w)
        torch.testing.assert_close(exported(x), layer(x), rtol=0, atol=1e-6)
