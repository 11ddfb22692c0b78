"""Operations of our own for CUDA devices, each beside a plain twin in `nn/modules` that is used everywhere else."""
