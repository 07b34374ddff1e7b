"""When freed memory is kept for the next tensor, when it goes back to the system, and when there is too little."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bdpo.errors import UserError, first_line

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of glibc's `mallopt`, malloc.h."""
_KEEP = 2**31 - 1
_USUAL = 32 * 2**20
"""Where glibc's own adaptation of both thresholds ends."""
_WANT = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "memoryerror",
    "bad_alloc",
    "cublas_status_alloc_failed",
    "failed to cuda calloc",
)
"""What torch on either device, Python, DuckDB, C++, cuBLAS and NCCL say."""


@contextmanager
def kept_memory() -> Iterator[None]:
    """Spare the passes within a page fault for every page of every large tensor: 5 to 10% of a CPU's time.

    glibc maps blocks of tens of MiB afresh each time.  What was freed before goes back to the system first, and what
    is freed within at the end; so what stays for long, such as weights and the optimizer's sums, is better made
    before, or it leaves gaps that no tensor of a pass fits.  Anywhere but on Linux with glibc this does nothing.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.malloc_trim(0)
    for threshold in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
        libc.mallopt(threshold, _KEEP)
    try:
        yield
    finally:
        for threshold in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            libc.mallopt(threshold, _USUAL)
        libc.malloc_trim(0)


def trim_memory() -> None:
    """Give back what `kept_memory` keeps, for something else needs as much: a checkpoint copies all that it saves."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if libc is not None and hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def release_memory() -> None:
    """Give back what a finished stage's model and tensors took, for the next stage may train in another process."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def wants_memory(said: str) -> bool:
    """Whether an error, or the log of a process that ended by one, speaks of too little memory."""
    said = said.lower()
    return any(words in said for words in _WANT)


def explain_memory_error(error: Exception, what: str, remedy: str) -> UserError | None:
    """The sentence for want of memory, which torch says in a plain RuntimeError on a CPU; None for any other error.

    Args:
        error: what was raised.
        what: what wanted memory.
        remedy: what to do, in an imperative.
    """
    if isinstance(error, UserError) or not (isinstance(error, MemoryError) or wants_memory(str(error))):
        return None
    return UserError(f"{what}: there is too little memory ({first_line(error)}); {remedy}.")


@contextmanager
def explained_memory(what: str, remedy: str) -> Iterator[None]:
    """Raise that sentence for want of memory within; arguments as of `explain_memory_error`."""
    try:
        yield
    except Exception as error:
        explained = explain_memory_error(error, what, remedy)
        if explained is not None:
            raise explained from error
        raise
