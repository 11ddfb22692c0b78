"""Heads as tutorials bring them, written anew: shared convolutions with a scale per level, a subclass of Detect that
decodes as the reference's did, and heads that mix the maps of several levels before they predict."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.nn.modules import DFL, Conv, Detect
from ultralytics.utils.tal import dist2bbox, make_anchors


class Scale(nn.Module):
    """A learned factor."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float))

    def forward(self, x):
        return x * self.scale


class ConvGN(nn.Module):
    def __init__(self, c1, c2, k=1, g=1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, padding=k // 2, groups=g, bias=False)
        self.gn = nn.GroupNorm(4, c2)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(self.gn(self.conv(x)))


class Detect_LSCD(nn.Module):
    """Lightweight shared convolutions: no subclass of Detect, and everything that the reference's head has."""

    dynamic = False
    export = False
    shape = None
    anchors = torch.empty(0)
    strides = torch.empty(0)

    def __init__(self, nc=80, hidc=256, ch=()):
        super().__init__()
        self.nc = nc
        self.nl = len(ch)
        self.reg_max = 16
        self.no = nc + self.reg_max * 4
        self.stride = torch.zeros(self.nl)
        self.conv = nn.ModuleList(ConvGN(x, hidc, 3) for x in ch)
        self.share_conv = nn.Sequential(ConvGN(hidc, hidc, 3, hidc), ConvGN(hidc, hidc, 1))
        self.cv2 = nn.Conv2d(hidc, 4 * self.reg_max, 1)
        self.cv3 = nn.Conv2d(hidc, self.nc, 1)
        self.scale = nn.ModuleList(Scale(1.0) for x in ch)
        self.dfl = DFL(self.reg_max) if self.reg_max > 1 else nn.Identity()

    def forward(self, x):
        for i in range(self.nl):
            x[i] = self.share_conv(self.conv[i](x[i]))
            x[i] = torch.cat((self.scale[i](self.cv2(x[i])), self.cv3(x[i])), 1)
        if self.training:
            return x
        shape = x[0].shape
        x_cat = torch.cat([xi.view(shape[0], self.no, -1) for xi in x], 2)
        if self.dynamic or self.shape != shape:
            self.anchors, self.strides = (a.transpose(0, 1) for a in make_anchors(x, self.stride, 0.5))
            self.shape = shape
        box, cls = x_cat.split((self.reg_max * 4, self.nc), 1)
        dbox = self.decode_bboxes(box)
        y = torch.cat((dbox, cls.sigmoid()), 1)
        return y if self.export else (y, x)

    def bias_init(self):
        m = self
        m.cv2.bias.data[:] = 1.0
        m.cv3.bias.data[: m.nc] = math.log(5 / m.nc / (640 / 16) ** 2)

    def decode_bboxes(self, bboxes):
        return dist2bbox(self.dfl(bboxes), self.anchors.unsqueeze(0), xywh=True, dim=1) * self.strides


class Detect_Efficient(Detect):
    """A subclass that replaces the branches and decodes as the reference's Detect did."""

    def __init__(self, nc=80, ch=()):
        super().__init__(nc, ch)
        self.stem = nn.ModuleList(nn.Sequential(Conv(x, x, 3, g=max(x // 16, 1)), Conv(x, x, 3)) for x in ch)
        self.cv2 = nn.ModuleList(nn.Conv2d(x, 4 * self.reg_max, 1) for x in ch)
        self.cv3 = nn.ModuleList(nn.Conv2d(x, self.nc, 1) for x in ch)

    def forward(self, x):
        shape = x[0].shape
        for i in range(self.nl):
            x[i] = self.stem[i](x[i])
            x[i] = torch.cat((self.cv2[i](x[i]), self.cv3[i](x[i])), 1)
        if self.training:
            return x
        if self.dynamic or self.shape != shape:
            self.anchors, self.strides = (a.transpose(0, 1) for a in make_anchors(x, self.stride, 0.5))
            self.shape = shape
        x_cat = torch.cat([xi.view(shape[0], self.no, -1) for xi in x], 2)
        if self.export and self.format in ("saved_model", "pb", "tflite", "edgetpu", "tfjs"):
            box = x_cat[:, : self.reg_max * 4]
            cls = x_cat[:, self.reg_max * 4 :]
        else:
            box, cls = x_cat.split((self.reg_max * 4, self.nc), 1)
        dbox = self.decode_bboxes(self.dfl(box), self.anchors.unsqueeze(0)) * self.strides
        y = torch.cat((dbox, cls.sigmoid()), 1)
        return y if self.export else (y, x)

    def bias_init(self):
        m = self
        for a, b, s in zip(m.cv2, m.cv3, m.stride, strict=True):
            a.bias.data[:] = 1.0
            b.bias.data[: m.nc] = math.log(5 / m.nc / (640 / s) ** 2)


class Detect_ASFF(Detect):
    """Adaptively spatial feature fusion: every level is a weighted sum of all levels, resized to it."""

    def __init__(self, nc=80, ch=()):
        super().__init__(nc, ch)
        self.resize = nn.ModuleList(nn.ModuleList(Conv(a, b, 1) for a in ch) for b in ch)
        self.weight = nn.ModuleList(nn.Conv2d(b * len(ch), len(ch), 1) for b in ch)

    def forward(self, x):
        mixed = []
        for i, level in enumerate(x):
            size = level.shape[2:]
            parts = [F.interpolate(to(m), size=size, mode="nearest") for to, m in zip(self.resize[i], x, strict=True)]
            w = self.weight[i](torch.cat(parts, 1)).softmax(1)
            mixed.append(sum(p * w[:, k : k + 1] for k, p in enumerate(parts)))
        return super().forward(mixed)


class Detect_DyHead(nn.Module):
    """Attention over the levels, then over places, `block_num` times; no subclass, with branches of its own."""

    shape = None

    def __init__(self, nc=80, hidc=64, block_num=2, ch=()):
        super().__init__()
        self.nc, self.nl, self.reg_max = nc, len(ch), 16
        self.no = nc + 4 * self.reg_max
        self.stride = torch.zeros(self.nl)
        self.conv = nn.ModuleList(Conv(x, hidc, 1) for x in ch)
        self.scale = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(hidc, 1, 1)) for _ in range(block_num)
        )
        self.space = nn.ModuleList(nn.Conv2d(hidc, 1, 3, padding=1) for _ in range(block_num))
        self.cv2 = nn.ModuleList(nn.Sequential(Conv(hidc, hidc, 3), nn.Conv2d(hidc, 4 * self.reg_max, 1)) for _ in ch)
        self.cv3 = nn.ModuleList(nn.Sequential(Conv(hidc, hidc, 3), nn.Conv2d(hidc, nc, 1)) for _ in ch)
        self.dfl = DFL(self.reg_max)

    def forward(self, x):
        maps = [conv(m) for conv, m in zip(self.conv, x, strict=True)]
        for scale, space in zip(self.scale, self.space, strict=True):
            mixed = []
            for i, m in enumerate(maps):
                near = maps[max(i - 1, 0) : i + 2]
                parts = torch.stack([F.interpolate(n, size=m.shape[2:], mode="bilinear") for n in near])
                weight = torch.stack([F.hardsigmoid(scale(p)) for p in parts])
                mixed.append((parts * weight).mean(0) * space(m).sigmoid())
            maps = mixed
        raw = [torch.cat((a(m), b(m)), 1) for a, b, m in zip(self.cv2, self.cv3, maps, strict=True)]
        if self.training:
            return raw
        if self.shape != raw[0].shape:
            self.anchors, self.strides = (a.transpose(0, 1) for a in make_anchors(raw, self.stride, 0.5))
            self.shape = raw[0].shape
        box, cls = torch.cat([r.flatten(2) for r in raw], 2).split((4 * self.reg_max, self.nc), 1)
        box = dist2bbox(self.dfl(box), self.anchors.unsqueeze(0), xywh=True, dim=1) * self.strides
        return torch.cat((box, cls.sigmoid()), 1), raw
