"""Operations of our own for CUDA devices, each beside a plain twin in `nn/modules` that is used everywhere else."""

EPS = 1e-6  # keeps a token whose every channel is negative from vanishing, and the normaliser from dividing by zero


def state_size(C: int, heads: int, kind: str) -> int:
    """Return the numbers of an image's state: S and s of its heads, and for "magnitude" the mean of v."""
    return C * (C // heads) + (2 * C if kind == "magnitude" else C)
