"""Focused Linear Attention (Han et al., "FLatten Transformer", ICCV 2023, arXiv 2308.00442), after a tutorial's module
for YOLOv8.

Legend: B images, C channels, H×W map, N = H·W tokens, h heads of width d = C/h, p the focusing factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812  # torch's customary name
from torch import Tensor, nn

from ultralytics.nn.registry import attention_like, register
from ultralytics.utils.errors import ModelError
from ultralytics.utils.log import LOGGER

EPS = 1e-6  # keeps a token whose every channel is negative from vanishing, and the normaliser from dividing by zero


def focus(u: Tensor, p: float) -> Tensor:
    """The focusing function φ_p(u) = u^p · ‖u‖ / ‖u^p‖ (paper, eq. 5-6), norms over the last dimension.

    φ is unchanged when its argument is scaled by the token's maximum before the power and back afterwards; that keeps
    u^p finite for every p. Needs u > 0.
    """
    if p == 1:
        return u
    peak = u.detach().amax(-1, keepdim=True)
    t = u / peak
    powered = t * t * t if p == 3 else t.pow(p)
    norm, powered_norm = (torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (t, powered))
    out: Tensor = powered * (peak * norm / powered_norm)
    return out


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """out_i = Σ_j (q_i·k_j) v_j / (Σ_j q_i·k_j + ε) in O(N·d²) (paper, eq. 4). q, k ≥ 0; all (B, h, N, d).

    Sums over tokens are means here: the quotient is the same, and its terms do not grow with N.
    """
    N = k.shape[-2]
    state = k.transpose(-2, -1) @ (v / N)  # (B, h, d, d)
    weight = q @ k.mean(-2, keepdim=True).transpose(-2, -1) + EPS / N  # (B, h, N, 1)
    return (q @ state) / weight


def interpolation_matrix(n_out: int, n_in: int, like: Tensor) -> Tensor:
    """(n_out, n_in): linear interpolation of n_in samples at n_out equally spread places; the identity when they are
    equal.

    A matrix product has a deterministic gradient on every device, which the bilinear kernels do not.
    """
    centre = (torch.arange(n_out, device=like.device, dtype=like.dtype) + 0.5) * (n_in / n_out) - 0.5
    place = torch.arange(n_in, device=like.device, dtype=like.dtype)
    return (1 - (centre.clamp(0, n_in - 1).unsqueeze(1) - place).abs()).clamp(min=0)


@register(attention_like)
class FocusedLinearAttention(nn.Module):
    """Focused linear attention over a map: (B, C, H, W) → (B, C, H, W), any H and W, in fp32, bf16 or fp16.

        q, k, v = Linear(tokens);  k ← k + position;  u = (ReLU(·) + 1e-6) / softplus(scale) for q and k
        out = Linear( linear_attention(φ_p(u_q), φ_p(u_k), v) + DWC(v) )          (paper, eq. 5-6, 10, 12)

    φ_p takes its norms over all C channels, before the heads are split. DWC is a depth-wise k×k convolution whose
    d-channel kernel all heads share; it restores the rank that linear attention lacks (paper, eq. 9, 11). There is no
    residual: the layer replaces the map it is given. Positions are a table over a `window_size` grid, interpolated to
    H×W and used as it is at the window's size. φ and the attention are computed in fp32 (fp64 for fp64 input), whatever
    the input's type or autocast.

    Args:
        dim: channels C.
        window_size: rows and columns of the positional table.
        num_heads: heads; must divide dim.
        qkv_bias: whether the first projection has a bias.
        qk_scale, attn_drop: accepted from YAMLs of the tutorial, where they did nothing either; a message says so.
        proj_drop: dropout after the last projection, 0..1.
        focusing_factor: p, 1..32.
        kernel_size: odd size of the depth-wise convolution.

    Raises:
        ModelError: heads that do not divide dim (the valid counts are named), or an argument out of its range.
    """

    def __init__(
        self,
        dim: int,
        window_size: Sequence[int] = (20, 20),
        num_heads: int = 8,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        focusing_factor: float = 3,
        kernel_size: int = 5,
    ) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            valid = [n for n in range(1, dim + 1) if dim % n == 0]
            raise ModelError(
                f"{num_heads} heads do not divide {dim} channels", mend=f"valid counts: {', '.join(map(str, valid))}"
            )
        if len(window_size) != 2 or min(window_size) < 1:
            raise ModelError(f"window_size must be [rows, columns], both 1 or more, not {list(window_size)}")
        if not 1 <= focusing_factor <= 32:
            raise ModelError(f"focusing_factor must lie in 1..32, not {focusing_factor}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ModelError(f"kernel_size must be odd, not {kernel_size}")
        if qk_scale is not None or attn_drop:
            LOGGER.warning(
                "FocusedLinearAttention: qk_scale and attn_drop have no meaning in linear attention and are ignored"
            )
        self.dim, self.num_heads, self.window_size = dim, num_heads, (int(window_size[0]), int(window_size[1]))
        self.focusing_factor = focusing_factor
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        head = dim // num_heads
        self.dwc = nn.Conv2d(head, head, kernel_size, padding=kernel_size // 2, groups=head)
        self.scale = nn.Parameter(torch.zeros(1, 1, dim))
        self.positional_encoding = nn.Parameter(torch.zeros(1, self.window_size[0] * self.window_size[1], dim))

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        h = self.num_heads
        tokens = x.flatten(2).transpose(1, 2)  # (B, N, C)
        q, k, v = self.qkv(tokens).chunk(3, -1)
        with torch.autocast(x.device.type, enabled=False):
            wide = torch.promote_types(q.dtype, torch.float32)
            sigma = F.softplus(self.scale.to(wide))
            k = k.to(wide) + self.positions(H, W).to(wide)
            phi_q, phi_k = (focus((F.relu(u.to(wide)) + EPS) / sigma, self.focusing_factor) for u in (q, k))
            heads = (t.view(B, H * W, h, C // h).transpose(1, 2) for t in (phi_q, phi_k, v.to(wide)))  # (B, h, N, d)
            out = linear_attention(*heads).transpose(1, 2).reshape(B, H * W, C)
        # Every head is convolved with the same kernel: one depth-wise convolution over C with the kernel repeated.
        v_map = v.transpose(1, 2).reshape(B, C, H, W)
        dwc = F.conv2d(v_map, self.dwc.weight.repeat(h, 1, 1, 1), self._dwc_bias(), padding=self.dwc.padding, groups=C)
        out = out.to(v.dtype) + dwc.flatten(2).transpose(1, 2)
        mixed: Tensor = self.proj_drop(self.proj(out))
        return mixed.transpose(1, 2).reshape(B, C, H, W)

    def positions(self, H: int, W: int) -> Tensor:
        """The positional table on an H×W grid, (1, N, C):
        bilinear between the window's cells, itself at the window's size."""
        rows, cols = self.window_size
        if (rows, cols) == (H, W):
            return self.positional_encoding
        table = self.positional_encoding.view(rows, cols, self.dim)
        along_y, along_x = (interpolation_matrix(out, n, table) for out, n in ((H, rows), (W, cols)))
        grid = torch.einsum("yr,xc,rcd->yxd", along_y, along_x, table)
        return grid.reshape(1, H * W, self.dim)

    def _dwc_bias(self) -> Tensor:
        assert self.dwc.bias is not None
        return self.dwc.bias.repeat(self.num_heads)
