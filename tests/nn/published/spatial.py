"""Attention over places: large kernels, strips, windows, sampled places."""

import torch
import torch.nn.functional as F
from torch import nn


class TripletGate(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1)

    def forward(self, x):
        return x * self.bn(self.conv(torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1))).sigmoid()


class TripletAttention(nn.Module):
    """Triplet attention (Misra et al., 2021): a gate over each pair of axes."""

    def __init__(self, no_spatial=False):
        super().__init__()
        self.cw, self.hc, self.no_spatial = TripletGate(), TripletGate(), no_spatial
        if not no_spatial:
            self.hw = TripletGate()

    def forward(self, x):
        a = self.cw(x.permute(0, 2, 1, 3).contiguous()).permute(0, 2, 1, 3).contiguous()
        b = self.hc(x.permute(0, 3, 2, 1).contiguous()).permute(0, 3, 2, 1).contiguous()
        return (a + b) / 2 if self.no_spatial else (self.hw(x) + a + b) / 3


class SKAttention(nn.Module):
    """Selective kernels (Li et al., 2019): branches weighed by a softmax over them."""

    def __init__(self, channel=512, kernels=(1, 3, 5, 7), reduction=16, group=1, L=32):
        super().__init__()
        d = max(L, channel // reduction)
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channel, channel, k, padding=k // 2, groups=group), nn.BatchNorm2d(channel), nn.ReLU()
            )
            for k in kernels
        )
        self.fc = nn.Linear(channel, d)
        self.fcs = nn.ModuleList(nn.Linear(d, channel) for _ in kernels)

    def forward(self, x):
        b, c, _, _ = x.size()
        maps = torch.stack([conv(x) for conv in self.convs], 0)
        z = self.fc(maps.sum(0).mean(-1).mean(-1))
        weights = torch.stack([fc(z).view(b, c, 1, 1) for fc in self.fcs], 0).softmax(0)
        return (weights * maps).sum(0)


class LSKA(nn.Module):
    """Large separable kernel attention (Lau et al., 2023), for a kernel of 7, 11 or 23."""

    def __init__(self, dim, k_size=7):
        super().__init__()
        near, far, dilation = {7: (3, 3, 2), 11: (3, 5, 2), 23: (5, 7, 3)}[k_size]
        pad = dilation * (far - 1) // 2
        self.h0 = nn.Conv2d(dim, dim, (1, near), padding=(0, near // 2), groups=dim)
        self.v0 = nn.Conv2d(dim, dim, (near, 1), padding=(near // 2, 0), groups=dim)
        self.h1 = nn.Conv2d(dim, dim, (1, far), padding=(0, pad), groups=dim, dilation=dilation)
        self.v1 = nn.Conv2d(dim, dim, (far, 1), padding=(pad, 0), groups=dim, dilation=dilation)
        self.conv1 = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        return x * self.conv1(self.v1(self.h1(self.v0(self.h0(x)))))


class CAA(nn.Module):
    """Context anchor attention (Cai et al., 2024, PKINet): strips of a pooled map."""

    def __init__(self, ch, h_kernel_size=11, v_kernel_size=11):
        super().__init__()
        self.pool, self.conv1, self.conv2 = nn.AvgPool2d(7, 1, 3), nn.Conv2d(ch, ch, 1), nn.Conv2d(ch, ch, 1)
        self.h = nn.Conv2d(ch, ch, (1, h_kernel_size), padding=(0, h_kernel_size // 2), groups=ch)
        self.v = nn.Conv2d(ch, ch, (v_kernel_size, 1), padding=(v_kernel_size // 2, 0), groups=ch)

    def forward(self, x):
        return self.conv2(self.v(self.h(self.conv1(self.pool(x))))).sigmoid() * x


class CPCA(nn.Module):
    """Channel prior convolutional attention (Huang et al., 2023)."""

    def __init__(self, channels, channelAttention_reduce=4):
        super().__init__()
        c = channels // channelAttention_reduce
        self.fc1, self.fc2 = nn.Conv2d(channels, c, 1), nn.Conv2d(c, channels, 1)
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.strips = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, (1, k), padding=(0, k // 2), groups=channels),
                nn.Conv2d(channels, channels, (k, 1), padding=(k // 2, 0), groups=channels),
            )
            for k in (7, 11, 21)
        )
        self.conv, self.act = nn.Conv2d(channels, channels, 1), nn.GELU()

    def forward(self, x):
        x = self.act(self.conv(x))
        gates = [
            self.fc2(F.relu(self.fc1(pool(x, 1)))).sigmoid() for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d)
        ]
        x = (gates[0] + gates[1]) * x
        near = self.near(x)
        return self.conv(self.conv(near + sum(strip(near) for strip in self.strips)) * x)


class BiLevelRoutingAttention(nn.Module):
    """Bi-level routing attention (Zhu et al., 2023, BiFormer): each window attends to its `topk` nearest windows."""

    def __init__(self, dim, num_heads=8, n_win=7, topk=4):
        super().__init__()
        self.heads, self.n_win, self.topk, self.scale = num_heads, n_win, topk, (dim // num_heads) ** -0.5
        self.qkv, self.lepe = nn.Conv2d(dim, 3 * dim, 1), nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.out = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        _, c, h, w = x.size()
        q, k, v = self.qkv(x).chunk(3, dim=1)
        cell = (h // self.n_win, w // self.n_win)
        q_r, k_r = (F.avg_pool2d(t.detach(), kernel_size=cell, ceil_mode=True, count_include_pad=False) for t in (q, k))
        near = torch.topk(
            q_r.permute(0, 2, 3, 1).flatten(1, 2) @ k_r.flatten(2), min(self.topk, k_r[0, 0].numel()), -1
        )[1]
        # Every place attends to the mean of the windows chosen for its own.
        chosen = torch.zeros(*near.shape[:2], near.shape[1], device=x.device, dtype=x.dtype).scatter_(-1, near, 1.0)
        v_r = F.avg_pool2d(v, kernel_size=cell, ceil_mode=True, count_include_pad=False)
        mixed = (chosen @ v_r.flatten(2).transpose(1, 2) / near.shape[-1]).transpose(1, 2).reshape(v_r.shape)
        return self.out(F.interpolate(mixed, (h, w)) + self.lepe(v)) * self.scale + x


class DAttention(nn.Module):
    """Deformable attention (Xia et al., 2022): keys and values are sampled where an offset network looks."""

    def __init__(self, channel, q_size=(20, 20), n_heads=8, stride=4):
        super().__init__()
        self.heads, self.scale = n_heads, (channel // n_heads) ** -0.5
        self.offset = nn.Sequential(
            nn.Conv2d(channel, channel, stride, stride, groups=channel), nn.GELU(), nn.Conv2d(channel, 2, 1, bias=False)
        )
        self.q, self.k, self.v, self.out = (nn.Conv2d(channel, channel, 1) for _ in range(4))
        self.table = nn.Parameter(torch.zeros(n_heads, *q_size))

    def forward(self, x):
        b, c, h, w = x.size()
        q = self.q(x)
        offset = self.offset(q)
        hk, wk = offset.shape[2:]
        ys, xs = torch.linspace(-1, 1, hk, device=x.device), torch.linspace(-1, 1, wk, device=x.device)
        grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij"), -1)[None] + offset.tanh().permute(0, 2, 3, 1)
        sampled = F.grid_sample(x, grid[..., (1, 0)].to(x.dtype), align_corners=True)
        d = c // self.heads
        q, k, v = (t.reshape(b, self.heads, d, -1) for t in (q, self.k(sampled), self.v(sampled)))
        weights = torch.einsum("bhdm,bhdn->bhmn", q, k) * self.scale
        bias = F.interpolate(self.table[None], (h, w), mode="bilinear").flatten(2).unsqueeze(-1)
        weights = (weights + bias).softmax(-1)
        return self.out(torch.einsum("bhmn,bhdn->bhdm", weights, v).reshape(b, c, h, w))
