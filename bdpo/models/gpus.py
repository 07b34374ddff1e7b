"""Which GPUs there are to compute on, and what a model is on."""

import torch
from torch import nn

from bdpo.errors import UserError


def count_gpus() -> int:
    """How many GPUs are seen; 0 where there are none, or `CUDA_VISIBLE_DEVICES` hides them.

    NVIDIA's library counts them, which says nothing of whether this torch can use them; where it cannot, all work would
    go to the CPU without a word.

    Raises:
        UserError: torch cannot use those that are seen.
    """
    gpus = torch.cuda.device_count()
    if gpus and not torch.cuda.is_available():
        raise UserError(
            f"{gpus} GPUs are seen, and torch {torch.__version__}, made for CUDA {torch.version.cuda}, cannot use "
            "them: most likely their driver is too old (`nvidia-smi` shows its version; CUDA 13 wants 580 or newer); "
            "update it, or delete .venv and run `make setup` after `export "
            "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cu129`, or set CUDA_VISIBLE_DEVICES to nothing to "
            "compute on the CPU."
        )
    return gpus


def shown_device(model: nn.Module) -> str:
    """What a model is on, in words."""
    names = sorted({str(p.device) for p in model.parameters()})
    return "the CPU" if names == ["cpu"] else ", ".join(names)
