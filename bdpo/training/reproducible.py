"""Seeds, and arithmetic that gives the same bits each time."""

import os

import torch
from transformers import set_seed


def make_reproducible(seed: int, *, deterministic: bool) -> None:
    """Seed every generator of this process; call before anything is computed.

    Nothing that trains draws random numbers but the data order and the adapters, which have generators of
    their own; the seeds are for what a model's own code may draw.

    Args:
        seed: of Python, NumPy and torch.
        deterministic: use slower kernels whose sums do not depend on timing, and raise an error where an
            operation has none.  On a CPU every kernel used here is so anyway.
    """
    set_seed(seed)
    if deterministic:
        # cuBLAS reads it when a process first multiplies; the launcher does not carry it to other machines.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
