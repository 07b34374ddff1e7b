"""Starting the worker by DeepSpeed's launcher, and following it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bdpo.errors import UserError
from bdpo.training.lifetime import kill_group
from bdpo.training.worker_files import ERROR_FILE, METRICS_FILE

_LOG_FILE = "train.log"
_PERIOD_S = 0.2
_TAIL_LINES = 20
_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "exits with return code = -9")


def launch(job: Path, *, processes: int, on_row: Callable[[dict[str, Any]], None]) -> None:
    """Run `bdpo.training.worker` to its end.

    Args:
        job: the job file; logs and metrics lie beside it.
        processes: how many the launcher starts on this machine.
        on_row: called with each row that rank 0 writes, those of the checkpoint that it goes on from included.

    Raises:
        UserError: the training stopped for something that the user can put right.
        RuntimeError: it failed otherwise; the message ends with the log's last lines.
    """
    folder = job.parent
    (folder / ERROR_FILE).unlink(missing_ok=True)
    (folder / METRICS_FILE).unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "deepspeed.launcher.runner",
        "--num_gpus", str(processes),
        "--master_addr", "127.0.0.1",
        "--master_port", str(_free_port()),
        "--module", "bdpo.training.worker",
        str(job),
    ]  # fmt: skip
    with (folder / _LOG_FILE).open("ab") as log:
        child = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(),
            cwd=folder,
            start_new_session=True,
        )
        try:
            for row in _follow(folder / METRICS_FILE, child):
                on_row(row)
        finally:
            # Also after an interrupt: nobody may go on writing into this workspace.
            kill_group(child.pid)
            child.wait()
    if child.returncode != 0:
        raise _failure(folder, child.returncode)


def _follow(path: Path, child: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Rows of the worker's metrics file, as they come, until the worker has ended."""
    position = 0
    while True:
        ended = child.poll() is not None
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    position += len(line)
                    yield json.loads(line)
        if ended:
            return
        time.sleep(_PERIOD_S)


def _failure(folder: Path, code: int) -> Exception:
    error = folder / ERROR_FILE
    if error.exists():
        return UserError(error.read_text(encoding="utf-8"))
    log = (folder / _LOG_FILE).read_text(encoding="utf-8", errors="replace")
    tail = log.splitlines()[-_TAIL_LINES:]
    if any(sign in line.lower() for sign in _MEMORY_SIGNS for line in tail):
        return UserError(
            "Training was killed, most likely for want of memory; lower train.token_budget, use a ZeRO stage 2 or 3 "
            f"config in train.deepspeed, or free memory, then run again; the log is {folder / _LOG_FILE}."
        )
    return RuntimeError(
        f"the training process ended with code {code}; its log {folder / _LOG_FILE} ends:\n" + "\n".join(tail)
    )


def _environment() -> dict[str, str]:
    """This environment, in which DeepSpeed finds ninja and itself though no virtual environment is active."""
    programs = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])}
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
