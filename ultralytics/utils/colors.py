"""Colours of classes."""

from __future__ import annotations

PALETTE = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#00a3c4", "#f032e6", "#7a9a01", "#c2185b", "#008080",
    "#9a6324", "#800000", "#5c6bc0", "#808000", "#d4a017", "#000075", "#546e7a", "#2e7d32", "#ad1457", "#6d4c41",
)  # fmt: skip


class Colors:
    """A colour per class id, repeating after twenty."""

    def __init__(self) -> None:
        self.palette = [self.hex2rgb(h) for h in PALETTE]
        self.n = len(self.palette)

    @staticmethod
    def hex2rgb(h: str) -> tuple[int, int, int]:
        """ "#FF8000" as (255, 128, 0)."""
        r, g, b = (int(h[i : i + 2], 16) for i in (1, 3, 5))
        return r, g, b

    def __call__(self, i: int, bgr: bool = False) -> tuple[int, int, int]:
        """RGB, or BGR."""
        r, g, b = self.palette[int(i) % self.n]
        return (b, g, r) if bgr else (r, g, b)


colors = Colors()
