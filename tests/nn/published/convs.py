"""Convolutions, blocks, and ways to change or join maps."""

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.nn.modules import Bottleneck, Conv, DWConv, autopad


class iRMB(nn.Module):
    """Inverted residual mobile block (Zhang et al., 2023, EMO): attention weights inside an inverted residual."""

    def __init__(self, dim_in, dim_out, exp_ratio=1.0, dw_ks=3, num_head=4):
        super().__init__()
        hidden = int(dim_in * exp_ratio)
        self.norm, self.heads = nn.BatchNorm2d(dim_in), num_head
        self.qk, self.v = nn.Conv2d(dim_in, 2 * dim_in, 1), nn.Conv2d(dim_in, hidden, 1)
        self.local = nn.Conv2d(hidden, hidden, dw_ks, padding=dw_ks // 2, groups=hidden)
        self.proj, self.skip = nn.Conv2d(hidden, dim_out, 1), dim_in == dim_out

    def forward(self, x):
        b, c, h, w = x.shape
        y = self.norm(x)
        q, k = (t.reshape(b, self.heads, c // self.heads, -1) for t in self.qk(y).chunk(2, 1))
        v = self.v(y)
        weights = (q.transpose(-1, -2) @ k * (c // self.heads) ** -0.5).softmax(-1)
        v = (v.reshape(b, self.heads, -1, h * w) @ weights.transpose(-1, -2)).reshape(b, -1, h, w)
        out = self.proj(v + self.local(v))
        return x + out if self.skip else out


class ODConv2d(nn.Module):
    """Omni-dimensional dynamic convolution (Li et al., 2022), with its attentions over channels and filters."""

    def __init__(self, in_planes, out_planes, kernel_size=3, stride=1, padding=1, reduction=0.0625):
        super().__init__()
        hidden = max(int(in_planes * reduction), 16)
        self.stride, self.padding = stride, padding
        self.fc = nn.Conv2d(in_planes, hidden, 1)
        self.channel_fc, self.filter_fc = nn.Conv2d(hidden, in_planes, 1), nn.Conv2d(hidden, out_planes, 1)
        self.weight = nn.Parameter(torch.randn(out_planes, in_planes, kernel_size, kernel_size) * 0.02)

    def forward(self, x):
        z = F.relu(self.fc(F.adaptive_avg_pool2d(x, 1)))
        out = F.conv2d(x * self.channel_fc(z).sigmoid(), self.weight, None, self.stride, self.padding)
        return out * self.filter_fc(z).sigmoid()


class DySample(nn.Module):
    """Upsampling by sampled places (Liu et al., 2023); it views channels as places."""

    def __init__(self, in_channels, scale=2, groups=4):
        super().__init__()
        assert in_channels >= groups
        self.scale, self.groups = scale, groups
        self.offset = nn.Conv2d(in_channels, 2 * groups * scale**2, 1)
        nn.init.normal_(self.offset.weight, std=0.001)
        h = (torch.arange((-scale + 1) / 2, (scale - 1) / 2 + 1)) / scale
        start = torch.stack(torch.meshgrid([h, h], indexing="ij")).transpose(1, 2).repeat(1, groups, 1)
        self.register_buffer("init_pos", start.reshape(1, -1, 1, 1))

    def forward(self, x):
        offset = self.offset(x) * 0.25 + self.init_pos
        B, _, H, W = offset.shape
        offset = offset.view(B, 2, -1, H, W)
        coords_h, coords_w = torch.arange(H) + 0.5, torch.arange(W) + 0.5
        coords = torch.stack(torch.meshgrid([coords_w, coords_h], indexing="ij")).transpose(1, 2)
        coords = coords.unsqueeze(1).unsqueeze(0).type(x.dtype).to(x.device)
        size = torch.tensor([W, H], dtype=x.dtype, device=x.device).view(1, 2, 1, 1, 1)
        coords = F.pixel_shuffle((2 * (coords + offset) / size - 1).view(B, -1, H, W), self.scale)
        coords = coords.view(B, 2, -1, self.scale * H, self.scale * W).permute(0, 2, 3, 4, 1).contiguous().flatten(0, 1)
        x = x.reshape(B * self.groups, -1, H, W)
        return F.grid_sample(x, coords, mode="bilinear", align_corners=False, padding_mode="border").view(
            B, -1, self.scale * H, self.scale * W
        )


class CARAFE(nn.Module):
    """Content-aware reassembly (Wang et al., 2019): an own kernel for every place of the larger map."""

    def __init__(self, c, k_enc=3, k_up=5, c_mid=64, scale=2):
        super().__init__()
        self.scale, self.k_up = scale, k_up
        self.comp = Conv(c, c_mid)
        self.enc = Conv(c_mid, (scale * k_up) ** 2, k=k_enc, act=False)
        self.shuffle = nn.PixelShuffle(scale)
        self.up = nn.Upsample(scale_factor=scale, mode="nearest")
        self.unfold = nn.Unfold(k_up, dilation=scale, padding=k_up // 2 * scale)

    def forward(self, x):
        b, c, h, w = x.size()
        weights = self.shuffle(self.enc(self.comp(x))).softmax(1)
        near = self.unfold(self.up(x)).view(b, c, -1, h * self.scale, w * self.scale)
        return torch.einsum("bkhw,bckhw->bchw", [weights, near])


class SPDConv(nn.Module):
    """Space to depth, then a convolution (Sunkara & Luo, 2022): half the size without a stride."""

    def __init__(self, inc, ouc, dimension=1):
        super().__init__()
        self.d, self.conv = dimension, Conv(inc * 4, ouc, k=3)

    def forward(self, x):
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        return self.conv(torch.cat(parts, self.d))


class space_to_depth(nn.Module):
    """The first half of it alone: four times the channels."""

    def __init__(self, dimension=1):
        super().__init__()
        self.d = dimension

    def forward(self, x):
        return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], self.d)


class BiFPN_Concat2(nn.Module):
    """Concatenation with learned weights (Tan et al., 2020, eq. of fast normalised fusion)."""

    def __init__(self, dimension=1):
        super().__init__()
        self.d, self.epsilon = dimension, 0.0001
        self.w = nn.Parameter(torch.ones(2, dtype=torch.float32), requires_grad=True)

    def forward(self, x):
        weight = self.w / (torch.sum(self.w, dim=0) + self.epsilon)
        return torch.cat([weight[0] * x[0], weight[1] * x[1]], self.d)


class GhostConv(nn.Module):
    """Ghost convolution (Han et al., 2020)."""

    def __init__(self, c1, c2, k=1, s=1, g=1, act=True):
        super().__init__()
        self.cv1, self.cv2 = (
            Conv(c1, c2 // 2, k, s, None, g, act=act),
            Conv(c2 // 2, c2 // 2, 5, 1, None, c2 // 2, act=act),
        )

    def forward(self, x):
        y = self.cv1(x)
        return torch.cat((y, self.cv2(y)), 1)


class GhostBottleneck(nn.Module):
    def __init__(self, c1, c2, k=3, s=1):
        super().__init__()
        self.conv = nn.Sequential(
            GhostConv(c1, c2 // 2, 1, 1), DWConv(c2 // 2, c2 // 2, k, s, act=False) if s == 2 else nn.Identity(),
            GhostConv(c2 // 2, c2, 1, 1, act=False),
        )  # fmt: skip

    def forward(self, x):
        return self.conv(x) + x


class C3(nn.Module):
    """CSP block with three convolutions; its bottlenecks have kernels written as tuples."""

    def __init__(self, c1, c2, n=1, shortcut=True, g=1, e=0.5):
        super().__init__()
        c_ = int(c2 * e)
        self.cv1, self.cv2, self.cv3 = Conv(c1, c_, 1, 1), Conv(c1, c_, 1, 1), Conv(2 * c_, c2, 1)
        self.m = nn.Sequential(*(Bottleneck(c_, c_, shortcut, g, k=((1, 1), (3, 3)), e=1.0) for _ in range(n)))

    def forward(self, x):
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class C3Ghost(C3):
    def __init__(self, c1, c2, n=1, shortcut=True, g=1, e=0.5):
        super().__init__(c1, c2, n, shortcut, g, e)
        c_ = int(c2 * e)
        self.m = nn.Sequential(*(GhostBottleneck(c_, c_) for _ in range(n)))


class RepConv(nn.Module):
    """Two branches in training (Ding et al., 2021, RepVGG)."""

    def __init__(self, c1, c2, k=3, s=1, p=1, g=1, d=1, act=True):
        super().__init__()
        self.act = nn.SiLU() if act is True else nn.Identity()
        self.conv1 = Conv(c1, c2, k, s, p=p, g=g, act=False)
        self.conv2 = Conv(c1, c2, 1, s, p=(p - k // 2), g=g, act=False)

    def forward(self, x):
        return self.act(self.conv1(x) + self.conv2(x))


class AsymmetricConv(nn.Module):
    """A 1×3 and a 3×1 convolution, with the reference's `autopad` of a tuple."""

    def __init__(self, c1, c2, k=3, s=1):
        super().__init__()
        self.a = nn.Conv2d(c1, c2, (1, k), (1, s), autopad((1, k)))
        self.b = Conv(c2, c2, (k, 1), (s, 1))

    def forward(self, x):
        return self.b(self.a(x))


class CondConv(nn.Module):
    """A convolution with a mixture of kernels for each image (Yang et al. 2019): weights of five dimensions."""

    def __init__(self, in_planes, out_planes, kernel_size=3, num_experts=3):
        super().__init__()
        self.route = nn.Linear(in_planes, num_experts)
        self.weight = nn.Parameter(torch.randn(num_experts, out_planes, in_planes, kernel_size, kernel_size) * 0.02)

    def forward(self, x):
        share = self.route(x.mean((2, 3))).sigmoid().to(self.weight.dtype)
        kernels = torch.einsum("be,eoikl->boikl", share, self.weight)
        pad = self.weight.shape[-1] // 2
        return torch.cat([torch.conv2d(one[None], kernel, padding=pad) for one, kernel in zip(x, kernels, strict=True)])


class ScaleSequence(nn.Module):
    """Maps of several scales as the frames of a video, a convolution over them, and their maximum (ASF-YOLO, Kang et
    al. 2023)."""

    def __init__(self, inc, channel):
        super().__init__()
        self.fit = nn.ModuleList(nn.Conv2d(c, channel, 1) for c in inc)
        self.conv3d = nn.Conv3d(channel, channel, (1, 1, 1))
        self.bn = nn.BatchNorm3d(channel)

    def forward(self, x):
        size = x[0].shape[2:]
        frames = [nn.functional.interpolate(fit(m), size=size) for fit, m in zip(self.fit, x, strict=True)]
        return self.bn(self.conv3d(torch.stack(frames, 2))).relu().amax(2)
