"""Matrix products in bfloat16 on a CPU that has no instructions for them, or slow ones.

PyTorch's own kernels for a CPU without them (x86 without AVX-512, as in most desktops) take 7 to 80 times as long
as those of float32, and twice as long on an Intel CPU whose only ones are AVX-512's.  Here they are float32's: a
product of two bfloat16 numbers is exact in float32, sums are kept in float32 as other devices keep them, and the
result is rounded to bfloat16 once.
"""

import warnings
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

_BLOCK = 2**22
"""Numbers of the second factor that are widened at a time: 16 MiB in float32."""
_FEW = 4
"""Rows of the first factor for which PyTorch's kernel is the faster one: it reads a third of the bytes."""
_overriding: torch.library.Library | None = None


def prepare_bfloat16_products() -> None:
    """Let this process multiply bfloat16 matrices on the CPU by float32's kernels, where those are the faster ones.

    For the whole process, because gradients, attention and other people's modules multiply too.
    """
    global _overriding
    if _overriding is not None or cpu_is_fast_in_bfloat16():
        return
    _overriding = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")
        kernels = {"mm": _mm, "mm.out": _mm_out, "addmm": _addmm, "bmm": _bmm, "baddbmm": _baddbmm}
        for name, kernel in kernels.items():
            _overriding.impl(name, kernel, "CPU", allow_override=True)  # type: ignore[no-untyped-call]


def cpu_is_fast_in_bfloat16() -> bool:
    """Whether PyTorch's kernels for bfloat16 are faster on this CPU than those of float32.

    Intel's `vdpbf16ps` starts every second cycle and so does half of what float32's fused multiply-add does (84
    against 158 GFLOP/s measured on a core without AMX); AMX does many times as much.
    """
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return torch.cpu._is_amx_tile_supported() or not _is_intels()


@cache
def _is_intels() -> bool:
    cpus = Path("/proc/cpuinfo")
    return cpus.is_file() and "GenuineIntel" in cpus.read_text(encoding="utf-8")


# What is called below are the other variants with `out`: operators of their own, which stay PyTorch's.


def _mm(one: Tensor, other: Tensor) -> Tensor:
    """(M, K) and (K, N) to (M, N)."""
    return _mm_out(one, other, out=one.new_empty(len(one), other.shape[1]))


def _mm_out(one: Tensor, other: Tensor, *, out: Tensor) -> Tensor:
    """The same into a tensor that is there."""
    if not _are_bfloat16(one, other, out) or len(one) <= _FEW:
        return _plain_mm(one, other, out)
    return out.resize_(len(one), other.shape[1]).copy_(_wide_mm(one, other))


def _plain_mm(one: Tensor, other: Tensor, out: Tensor) -> Tensor:
    """PyTorch's own product, by the kernel that it shares with `addmm`; a beta of 0 leaves the addend out."""
    return torch.addmm(one.new_empty(()), one, other, beta=0, out=out)


def _addmm(addend: Tensor, one: Tensor, other: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """(M, K) @ (K, N) times alpha, plus beta times an addend that is broadcast to (M, N)."""
    if not _are_bfloat16(addend, one, other) or len(one) <= _FEW:
        out = one.new_empty(len(one), other.shape[1])
        return torch.addmm(addend, one, other, beta=beta, alpha=alpha, out=out)
    product = _wide_mm(one, other).mul_(alpha)
    # What a beta of 0 leaves out may be no number.
    return (product if beta == 0 else product.add_(addend, alpha=beta)).to(torch.bfloat16)


def _bmm(one: Tensor, other: Tensor) -> Tensor:
    """(B, M, K) and (B, K, N) to (B, M, N)."""
    kept = one.dtype
    if _are_bfloat16(one, other):
        one, other = one.float(), other.float()
    return torch.bmm(one, other, out=one.new_empty(len(one), one.shape[1], other.shape[2])).to(kept)


def _baddbmm(addend: Tensor, one: Tensor, other: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """(B, M, K) @ (B, K, N) times alpha, plus beta times an addend that is broadcast to (B, M, N)."""
    kept = one.dtype
    if _are_bfloat16(addend, one, other):
        addend, one, other = addend.float(), one.float(), other.float()
    out = one.new_empty(len(one), one.shape[1], other.shape[2])
    return torch.baddbmm(addend, one, other, beta=beta, alpha=alpha, out=out).to(kept)


def _are_bfloat16(*tensors: Tensor) -> bool:
    return all(tensor.dtype == torch.bfloat16 for tensor in tensors)


def _wide_mm(one: Tensor, other: Tensor) -> Tensor:
    """(M, K) and (K, N) in bfloat16 to (M, N) in float32; the second may be the output layer of a large model."""
    one = one.float()
    columns = max(_BLOCK // max(len(other), 1), 1)
    if columns >= other.shape[1]:
        return _plain_mm(one, other.float(), one.new_empty(len(one), other.shape[1]))
    # The transpose, in which the columns of a block lie together.
    out = one.new_empty(other.shape[1], len(one))
    for start in range(0, other.shape[1], columns):
        block = slice(start, start + columns)
        _plain_mm(other[:, block].float().t(), one.t(), out[block])
    return out.t()
