"""Attention over channels, and over both."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class SEAttention(nn.Module):
    """Squeeze and excitation (Hu et al., 2018, eq. 2 to 4)."""

    def __init__(self, channel=512, reduction=16):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channel, channel // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channel // reduction, channel, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.pool(x).view(b, c)
        return x * self.fc(y).view(b, c, 1, 1).expand_as(x)


class ECAAttention(nn.Module):
    """Efficient channel attention (Wang et al., 2020): a convolution along the channels, its kernel by their number."""

    def __init__(self, channels, gamma=2, b=1):
        super().__init__()
        t = int(abs((math.log2(channels) + b) / gamma))
        k = t if t % 2 else t + 1
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, x):
        y = x.mean((2, 3)).unsqueeze(1)
        return x * self.conv(y).sigmoid().transpose(1, 2).unsqueeze(-1)


class ECAKernel(nn.Module):
    """The same with its kernel given: no argument is a number of channels."""

    def __init__(self, kernel_size=3):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=(kernel_size - 1) // 2)

    def forward(self, x):
        y = x.mean((2, 3)).unsqueeze(1)
        return x * self.conv(y).sigmoid().transpose(1, 2).unsqueeze(-1).expand_as(x)


class ChannelGate(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1, bias=False), nn.ReLU(),
            nn.Conv2d(channels // reduction, channels, 1, bias=False),
        )  # fmt: skip

    def forward(self, x):
        return (self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1))).sigmoid()


class CBAMBlock(nn.Module):
    """Convolutional block attention (Woo et al., 2018): channels, then places."""

    def __init__(self, c1, kernel_size=7, ratio=16):
        super().__init__()
        assert kernel_size in (3, 7), "kernel size must be 3 or 7"
        self.channel = ChannelGate(c1, ratio)
        self.spatial = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x):
        x = x * self.channel(x)
        return x * self.spatial(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()


class SimAM(nn.Module):
    """Energy of each neuron (Yang et al., 2021, eq. 5); it has no parameters."""

    def __init__(self, e_lambda=1e-4):
        super().__init__()
        self.e_lambda = e_lambda

    def forward(self, x):
        n = x.shape[2] * x.shape[3] - 1
        d = (x - x.mean(dim=[2, 3], keepdim=True)).pow(2)
        y = d / (4 * (d.sum(dim=[2, 3], keepdim=True) / n + self.e_lambda)) + 0.5
        return x * torch.sigmoid(y)


class CoordAtt(nn.Module):
    """Coordinate attention (Hou et al., 2021): pooled along each axis, mixed, and taken apart again."""

    def __init__(self, inp, oup, reduction=32):
        super().__init__()
        mip = max(8, inp // reduction)
        self.conv1, self.bn1, self.act = nn.Conv2d(inp, mip, 1), nn.BatchNorm2d(mip), nn.Hardswish()
        self.conv_h, self.conv_w = nn.Conv2d(mip, oup, 1), nn.Conv2d(mip, oup, 1)

    def forward(self, x):
        h, w = x.shape[2:]
        y = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).permute(0, 1, 3, 2)], 2)
        y_h, y_w = torch.split(self.act(self.bn1(self.conv1(y))), [h, w], dim=2)
        return x * self.conv_h(y_h).sigmoid() * self.conv_w(y_w.permute(0, 1, 3, 2)).sigmoid()


class EMA(nn.Module):
    """Efficient multi-scale attention (Ouyang et al., 2023): groups, two branches that weigh each other's places."""

    def __init__(self, channels, c2=None, factor=32):
        super().__init__()
        self.groups = factor
        assert channels // self.groups > 0
        c = channels // self.groups
        self.gn = nn.GroupNorm(c, c)
        self.conv1x1, self.conv3x3 = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        b, c, h, w = x.size()
        g = x.reshape(b * self.groups, -1, h, w)
        hw = self.conv1x1(torch.cat([g.mean(3, keepdim=True), g.mean(2, keepdim=True).permute(0, 1, 3, 2)], 2))
        x_h, x_w = torch.split(hw, [h, w], dim=2)
        x1 = self.gn(g * x_h.sigmoid() * x_w.permute(0, 1, 3, 2).sigmoid())
        x2 = self.conv3x3(g)
        a1, a2 = (m.mean((2, 3), keepdim=True).flatten(1).softmax(-1).unsqueeze(1) for m in (x1, x2))
        weights = (a1 @ x2.flatten(2) + a2 @ x1.flatten(2)).reshape(b * self.groups, 1, h, w)
        return (g * weights.sigmoid()).reshape(b, c, h, w)


class GAM_Attention(nn.Module):
    """Global attention mechanism (Liu et al., 2021): a perceptron over channels, two wide convolutions over places."""

    def __init__(self, in_channels, out_channels, rate=4):
        super().__init__()
        hidden = int(in_channels / rate)
        self.channel = nn.Sequential(nn.Linear(in_channels, hidden), nn.ReLU(True), nn.Linear(hidden, in_channels))
        self.spatial = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 7, padding=3), nn.BatchNorm2d(hidden), nn.ReLU(True),
            nn.Conv2d(hidden, out_channels, 7, padding=3), nn.BatchNorm2d(out_channels),
        )  # fmt: skip

    def forward(self, x):
        b, c, h, w = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(b, -1, c)
        x = x * self.channel(tokens).view(b, h, w, c).permute(0, 3, 1, 2)
        return x * self.spatial(x).sigmoid()


class NAMAttention(nn.Module):
    """Normalisation-based attention (Liu et al., 2021): a batch norm's gains as weights of the channels."""

    def __init__(self, channels, shape=None):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, affine=True)

    def forward(self, x):
        y = self.bn(x)
        weight = self.bn.weight.data.abs() / torch.sum(self.bn.weight.data.abs())
        y = y.permute(0, 2, 3, 1).contiguous().mul(weight).permute(0, 3, 1, 2).contiguous()
        return y.sigmoid() * x


class ShuffleAttention(nn.Module):
    """Shuffle attention (Zhang & Yang, 2021). It views the map, which a channels-last one does not allow."""

    def __init__(self, channel=512, reduction=16, G=8):
        super().__init__()
        self.G, c = G, channel // (2 * G)
        self.gn = nn.GroupNorm(c, c)
        self.cweight, self.cbias = nn.Parameter(torch.zeros(1, c, 1, 1)), nn.Parameter(torch.ones(1, c, 1, 1))
        self.sweight, self.sbias = nn.Parameter(torch.zeros(1, c, 1, 1)), nn.Parameter(torch.ones(1, c, 1, 1))

    def forward(self, x):
        b, c, h, w = x.size()
        x0, x1 = x.view(b * self.G, -1, h, w).chunk(2, dim=1)
        x0 = x0 * (self.cweight * x0.mean((2, 3), keepdim=True) + self.cbias).sigmoid()
        x1 = x1 * (self.sweight * self.gn(x1) + self.sbias).sigmoid()
        out = torch.cat([x0, x1], dim=1).contiguous().view(b, -1, h, w)
        return out.reshape(b, 2, -1, h, w).permute(0, 2, 1, 3, 4).reshape(b, -1, h, w)


class SpatialGroupEnhance(nn.Module):
    """Spatial group-wise enhance (Li et al., 2019); it views the map as well."""

    def __init__(self, groups=8):
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.zeros(1, groups, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, groups, 1, 1))

    def forward(self, x):
        b, c, h, w = x.shape
        x = x.view(b * self.groups, -1, h, w)
        t = (x * x.mean((2, 3), keepdim=True)).sum(1, keepdim=True).view(b * self.groups, -1)
        t = t - t.mean(dim=1, keepdim=True)
        t = (t / (t.std(dim=1, keepdim=True) + 1e-5)).view(b, self.groups, h, w)
        t = (t * self.weight + self.bias).view(b * self.groups, 1, h, w)
        return (x * t.sigmoid()).view(b, c, h, w)


class BAMBlock(nn.Module):
    """Bottleneck attention (Park et al., 2018): channels and places side by side."""

    def __init__(self, channel=512, reduction=16, dia_val=2):
        super().__init__()
        c = channel // reduction
        self.channel = nn.Sequential(nn.Linear(channel, c), nn.ReLU(), nn.Linear(c, channel))
        self.spatial = nn.Sequential(
            nn.Conv2d(channel, c, 1), nn.BatchNorm2d(c), nn.ReLU(),
            nn.Conv2d(c, c, 3, padding=dia_val, dilation=dia_val), nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 1, 1),
        )  # fmt: skip

    def forward(self, x):
        weight = (self.channel(x.mean((2, 3)))[:, :, None, None] + self.spatial(x)).sigmoid()
        return x + x * weight


class MLCA(nn.Module):
    """Mixed local channel attention (Wan et al., 2023): ECA on a coarse grid and on the whole map."""

    def __init__(self, in_size, local_size=5, gamma=2, b=1, local_weight=0.5):
        super().__init__()
        self.local_size, self.local_weight = local_size, local_weight
        t = int(abs(math.log2(in_size) + b) / gamma)
        k = t if t % 2 else t + 1
        self.conv = nn.Conv1d(1, 1, k, padding=(k - 1) // 2, bias=False)
        self.conv_local = nn.Conv1d(1, 1, k, padding=(k - 1) // 2, bias=False)

    def forward(self, x):
        b, c, h, w = x.shape
        local = F.adaptive_avg_pool2d(x, self.local_size)
        near = self.conv_local(local.view(b, c, -1).transpose(-1, -2).reshape(b, 1, -1))
        near = near.reshape(b, -1, c).transpose(-1, -2).reshape(b, c, self.local_size, self.local_size).sigmoid()
        far = self.conv(local.mean((2, 3)).unsqueeze(1)).sigmoid().view(b, c, 1, 1)
        weight = far * (1 - self.local_weight) + near * self.local_weight
        return x * F.adaptive_avg_pool2d(weight, [h, w])


class ELA(nn.Module):
    """Efficient local attention (Xu & Wan, 2024): a convolution along each axis of the strips."""

    def __init__(self, channel, kernel_size=7):
        super().__init__()
        self.conv = nn.Conv1d(channel, channel, kernel_size, padding=kernel_size // 2, groups=channel, bias=False)
        self.gn = nn.GroupNorm(16, channel)

    def forward(self, x):
        b, c, h, w = x.size()
        rows = self.gn(self.conv(x.mean(3))).sigmoid().view(b, c, h, 1)
        columns = self.gn(self.conv(x.mean(2))).sigmoid().view(b, c, 1, w)
        return x * rows * columns


class PolarizedSelfAttention(nn.Module):
    """Polarised self-attention in parallel (Liu et al., 2021)."""

    def __init__(self, channel=512):
        super().__init__()
        c = channel // 2
        self.wv, self.wq, self.wz = nn.Conv2d(channel, c, 1), nn.Conv2d(channel, 1, 1), nn.Conv2d(c, channel, 1)
        self.ln = nn.LayerNorm(channel)
        self.sv, self.sq = nn.Conv2d(channel, c, 1), nn.Conv2d(channel, c, 1)

    def forward(self, x):
        b, c, h, w = x.size()
        q = self.wq(x).reshape(b, -1, 1).softmax(1)
        z = self.wz(torch.matmul(self.wv(x).reshape(b, c // 2, -1), q).unsqueeze(-1))
        channels = self.ln(z.reshape(b, c, 1).permute(0, 2, 1)).sigmoid().permute(0, 2, 1).reshape(b, c, 1, 1)
        q = self.sq(x).mean((2, 3)).reshape(b, 1, c // 2).softmax(-1)
        places = torch.matmul(q, self.sv(x).reshape(b, c // 2, -1)).sigmoid().reshape(b, 1, h, w)
        return x * channels + x * places
