"""The extension that DeepSpeed communicates with on a CPU, built or loaded with no killed process in the way."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch.utils.cpp_extension

from bdpo.artifacts.digest import digest_value
from bdpo.artifacts.locks import hold

_LONGEST_BUILD_S = 60.0
"""A mark of another program's build that is older is nobody's any more; the build takes half a minute."""


def build_extension(builder: Any) -> None:
    """Build the extension, or load what was built.

    PyTorch marks a build under way by a file named `lock`, which a process that is killed then leaves behind,
    and for which every later one would wait for ever.  Here our own processes take turns by a lock that the
    system frees, and the mark that is found by whoever has it is another program's, or nobody's.

    Args:
        builder: DeepSpeed's, of `ShareMemCommBuilder`.
    """
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(own_builds()))
    folder = Path(torch.utils.cpp_extension._get_build_directory(builder.name, verbose=False))
    with hold(folder.with_suffix(".bdpo-lock"), lambda: None):
        clear_mark(folder / "lock", _LONGEST_BUILD_S)
        builder.load(verbose=False)


def own_builds() -> Path:
    """Where this virtual environment's extensions are built, in the user's cache.

    PyTorch's default is one folder for all of them.  Headers and compiler flags name the environment, so two that
    train at once would build it anew in turns, each time under the feet of the other.
    """
    environment = digest_value(sys.prefix)[:16]
    return Path(torch.utils.cpp_extension.get_default_build_root()) / f"bdpo-{environment}"


def clear_mark(mark: Path, longest_s: float) -> None:
    """Wait until a build's mark is gone; remove one that is older than `longest_s` seconds, or waited for as long."""
    deadline = time.monotonic() + longest_s
    while time.monotonic() < deadline:
        try:
            age = time.time() - mark.stat().st_mtime
        except FileNotFoundError:
            return
        if age > longest_s:
            break
        time.sleep(0.1)
    mark.unlink(missing_ok=True)
