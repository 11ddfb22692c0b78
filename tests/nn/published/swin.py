"""A Swin block (Liu et al., 2021) that takes its window functions from a file beside it."""

import torch
import torch.nn.functional as F
from torch import nn

from .windows import window_partition, window_reverse


class SwinTransformerBlock(nn.Module):
    def __init__(self, c1, c2, num_heads=4, window_size=8):
        super().__init__()
        self.size, self.proj = window_size, nn.Conv2d(c1, c2, 1) if c1 != c2 else nn.Identity()
        self.norm1, self.norm2 = nn.LayerNorm(c2), nn.LayerNorm(c2)
        self.attn = nn.MultiheadAttention(c2, num_heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(c2, 4 * c2), nn.GELU(), nn.Linear(4 * c2, c2))

    def forward(self, x):
        x = self.proj(x).permute(0, 2, 3, 1)
        b, h, w, c = x.shape
        padded = F.pad(self.norm1(x), (0, 0, 0, -w % self.size, 0, -h % self.size))
        tokens = window_partition(padded, self.size)
        out = self.attn(tokens, tokens, tokens, need_weights=False)[0]
        x = x + window_reverse(out, self.size, padded.shape[1], padded.shape[2])[:, :h, :w]
        return torch.permute(x + self.mlp(self.norm2(x)), (0, 3, 1, 2))
