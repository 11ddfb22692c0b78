"""Kernels run in Triton's interpreter where there is no CUDA device. Triton asks for it once, when it is imported."""

import importlib.util
import os

import torch

if importlib.util.find_spec("triton") and not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
