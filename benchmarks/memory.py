"""The memory of this process, its own alone, as Linux counts it."""

from pathlib import Path


def peak_bytes() -> int:
    """Peak of the resident set.

    `getrusage` would also count the process that started this one, from before its program was loaded.
    """
    return _status("VmHWM")


def resident_bytes() -> int:
    """The resident set now."""
    return _status("VmRSS")


def forget_peak() -> None:
    """Measure the peak anew, from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024
