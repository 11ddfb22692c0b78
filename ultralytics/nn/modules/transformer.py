"""Transformer layers of YOLOv5's C3TR and of RT-DETR's encoder.

Legend: L tokens, B images, C channels; maps are (B, C, H, W).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ultralytics.nn.modules.attention import layer_norm
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.registry import register, same_width
from ultralytics.utils.errors import ModelError


class TransformerEncoderLayer(nn.Module):
    """Encoder layer of "Attention Is All You Need" with learned widths: (B, L, C) tokens → the same.

    Args:
        c1: channels C; cm: width of the feed-forward part; num_heads: heads, must divide C.
        dropout: 0..1.
        act: of the feed-forward part.
        normalize_before: layer norms before attention and feed-forward part instead of behind.
    """

    def __init__(
        self,
        c1: int,
        cm: int = 2048,
        num_heads: int = 8,
        dropout: float = 0.0,
        act: nn.Module | None = None,
        normalize_before: bool = False,
    ) -> None:
        super().__init__()
        self.ma = nn.MultiheadAttention(c1, num_heads, dropout=dropout, batch_first=True)
        self.fc1 = nn.Linear(c1, cm)
        self.fc2 = nn.Linear(cm, c1)
        self.norm1 = nn.LayerNorm(c1)
        self.norm2 = nn.LayerNorm(c1)
        self.dropout = nn.Dropout(dropout)
        self.dropout1 = nn.Dropout(dropout)
        self.dropout2 = nn.Dropout(dropout)
        self.act = nn.GELU() if act is None else act
        self.normalize_before = normalize_before

    @staticmethod
    def with_pos_embed(tensor: Tensor, pos: Tensor | None = None) -> Tensor:
        """Tokens with positions added, where there are any."""
        return tensor if pos is None else tensor + pos

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        pos: Tensor | None = None,
    ) -> Tensor:
        before = self.normalize_before
        tokens = layer_norm(self.norm1, src) if before else src
        q = self.with_pos_embed(tokens, pos)
        mixed = self.ma(q, q, tokens, attn_mask=src_mask, key_padding_mask=src_key_padding_mask)[0]
        src = src + self.dropout1(mixed)
        src = src if before else layer_norm(self.norm1, src)
        tokens = layer_norm(self.norm2, src) if before else src
        src = src + self.dropout2(self.fc2(self.dropout(self.act(self.fc1(tokens)))))
        return src if before else layer_norm(self.norm2, src)


@register(same_width)
class AIFI(TransformerEncoderLayer):
    """An encoder layer over a map, with fixed sine positions (RT-DETR, CVPR 2024, §4.2): (B, C, H, W) → the same.

    Raises:
        ModelError: channels that 4 does not divide, which the positions need.
    """

    def __init__(
        self,
        c1: int,
        cm: int = 2048,
        num_heads: int = 8,
        dropout: float = 0,
        act: nn.Module | None = None,
        normalize_before: bool = False,
    ) -> None:
        if c1 % 4:
            raise ModelError(f"its positions need channels that 4 divides, not {c1}")
        super().__init__(c1, cm, num_heads, dropout, act, normalize_before)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # a map in the place of tokens
        C, H, W = x.shape[1:]
        pos = self.build_2d_sincos_position_embedding(W, H, C).to(x.device, x.dtype)
        out = super().forward(x.flatten(2).transpose(1, 2), pos=pos)
        return out.transpose(1, 2).reshape(-1, C, H, W)

    @staticmethod
    def build_2d_sincos_position_embedding(
        w: int, h: int, embed_dim: int = 256, temperature: float = 10000.0
    ) -> Tensor:
        """Sine and cosine of column and row at frequencies temperature^(−4i/C), (1, h·w, C)."""
        frequency = 1.0 / temperature ** (torch.arange(embed_dim // 4, dtype=torch.float32) / (embed_dim // 4))
        x, y = (torch.arange(n, dtype=torch.float32) for n in (w, h))
        grid = torch.meshgrid(x, y, indexing="ij")
        along = [axis.flatten()[:, None] * frequency[None] for axis in grid]
        return torch.cat([f(a) for a in along for f in (torch.sin, torch.cos)], 1)[None]


class TransformerLayer(nn.Module):
    """Attention and two linear layers with residuals, without norms, which cost accuracy there (YOLOv5):
    (L, B, C) tokens → the same."""

    def __init__(self, c: int, num_heads: int) -> None:
        super().__init__()
        self.q = nn.Linear(c, c, bias=False)
        self.k = nn.Linear(c, c, bias=False)
        self.v = nn.Linear(c, c, bias=False)
        self.ma = nn.MultiheadAttention(embed_dim=c, num_heads=num_heads)
        self.fc1 = nn.Linear(c, c, bias=False)
        self.fc2 = nn.Linear(c, c, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ma(self.q(x), self.k(x), self.v(x))[0] + x
        out: Tensor = self.fc2(self.fc1(x)) + x
        return out


class TransformerBlock(nn.Module):
    """`num_layers` transformer layers over a map with learned positions (YOLOv5): (B, c1, H, W) → (B, c2, H, W)."""

    def __init__(self, c1: int, c2: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.conv = Conv(c1, c2) if c1 != c2 else None
        self.linear = nn.Linear(c2, c2)
        self.tr = nn.Sequential(*(TransformerLayer(c2, num_heads) for _ in range(num_layers)))
        self.c2 = c2

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.conv is None else self.conv(x)
        B, C, H, W = x.shape
        tokens = x.flatten(2).permute(2, 0, 1)
        out: Tensor = self.tr(tokens + self.linear(tokens))
        return out.permute(1, 2, 0).reshape(B, C, H, W)


class MLPBlock(nn.Module):
    """Two linear layers with an activation between: (…, C) → the same."""

    def __init__(self, embedding_dim: int, mlp_dim: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(self.act(self.lin1(x)))
        return out


class MLP(nn.Module):
    """`num_layers` linear layers with activations between, at the end a sigmoid where asked: (…, input_dim) →
    (…, output_dim)."""

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        num_layers: int,
        act: type[nn.Module] = nn.ReLU,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        self.num_layers = num_layers
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.sigmoid = sigmoid
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = self.act(layer(x)) if i + 1 < self.num_layers else layer(x)
        return x.sigmoid() if self.sigmoid else x


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of each place of a map: (B, C, H, W) → the same."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        scaled = centred / torch.sqrt(centred.square().mean(1, keepdim=True) + self.eps)
        return self.weight[:, None, None] * scaled + self.bias[:, None, None]
