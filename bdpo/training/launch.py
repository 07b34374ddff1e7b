"""Starting the worker by DeepSpeed's launcher, and following it."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from bdpo.artifacts.disk import full_disk_error
from bdpo.errors import ProcessFailed, UserError
from bdpo.lifetime import child_groups, guarded
from bdpo.models.allocator import wants_memory
from bdpo.training.machines import (
    bring_environment,
    ended_with,
    for_other_machines,
    require_plain_paths,
    unreached_machine,
)
from bdpo.training.rendezvous import LOOPBACK
from bdpo.training.worker_files import DONE_FILE, ERROR_FILE, METRICS_FILE, own_path

_LOG_FILE = "train.log"
_PERIOD_S = 0.2
_LAST_WORDS_S = 5.0
_TAIL_LINES = 20
_KILLED = "exits with return code = -9"
"""What the launcher says of a worker that the system killed."""
_REFUSED = "runner.py: error: "
"""What the launcher says of arguments that it does not know."""
_SIGNAL_SIGNS = ("exits with return code = -15", "main process received sig")
"""What the launcher says of a worker that SIGTERM ended, and of itself."""
_OF_ONE = (
    "more GPUs (train.processes), or, if it is the GPU's memory, a config with offload in train.deepspeed, such as "
    "configs/deepspeed/zero2-offload.json"
)
"""What else spares one process memory; ZeRO has nothing to divide there, and stages 2 and 3 take more."""
_OF_SEVERAL = "or a ZeRO stage 2 or 3 config in train.deepspeed"
_ENDED_BY = (-signal.SIGHUP, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL)


def launch(
    job: Path,
    *,
    processes: int,
    hostfile: Path | None,
    launcher_args: Sequence[str],
    on_row: Callable[[dict[str, Any]], None],
) -> None:
    """Run `bdpo.training.worker` to its end.

    Args:
        job: the job file; logs and metrics lie beside it.
        processes: how many the launcher starts on each machine.
        hostfile: of a run on several machines.
        launcher_args: more arguments for the launcher.
        on_row: called with each row that rank 0 writes, those of the checkpoint that it goes on from included.

    Raises:
        UserError: the training stopped for something that the user can put right.
        OSError: the disk is full.
        ProcessFailed: it failed otherwise; the message ends with the log's last lines.
    """
    folder = job.parent
    if hostfile is not None:
        require_plain_paths(sys.executable, str(job))
        bring_environment(folder)
        # The launcher writes its command line into it, with the variables of `.deepspeed_env`.
        (folder / _LOG_FILE).touch(mode=0o600)
        (folder / _LOG_FILE).chmod(0o600)
    for name in (ERROR_FILE, METRICS_FILE, DONE_FILE):
        (folder / name).unlink(missing_ok=True)
    command = launch_command(job, processes=processes, hostfile=hostfile, launcher_args=launcher_args)
    with (folder / _LOG_FILE).open("ab") as log:
        earlier = log.tell()

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                guarded(command),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(several=hostfile is not None),
                cwd=folder,
                start_new_session=True,
            )

        # Also after an interrupt: nobody may go on writing into this workspace.
        with child_groups([start]) as (child,):
            for row in _follow(folder, child, earlier=earlier):
                on_row(row)
    # DeepSpeed's launcher ends with code 0 where the process that it started was killed by a signal.
    if child.returncode != 0 or not (folder / DONE_FILE).exists():
        alone = processes == 1 and hostfile is None
        raise _failure(folder, child.returncode, earlier=earlier, alone=alone)


def launch_command(job: Path, *, processes: int, hostfile: Path | None, launcher_args: Sequence[str]) -> list[str]:
    """The launcher's command line; arguments as `launch`."""
    if hostfile is None:
        # Left to itself the launcher looks for machines in /job/hostfile; what is no regular file it passes over.
        place = ["--master_addr", LOOPBACK, "--hostfile", os.devnull]
    else:
        # Without `--force_multi` the processes of a hostfile with one machine are started here, whichever it names.
        place = ["--force_multi", "--hostfile", str(hostfile)]
    return [
        sys.executable, "-m", "deepspeed.launcher.runner",
        "--num_gpus", str(processes),
        *place,
        "--master_port", str(_free_port()),
        *launcher_args,
        "--module", "bdpo.training.worker",
        str(job),
    ]  # fmt: skip


def _follow(folder: Path, child: subprocess.Popen[bytes], *, earlier: int) -> Iterator[dict[str, Any]]:
    """Rows of the worker's metrics file, as they come, until the worker has ended or one of the machines is lost.

    The launcher waits for all machines, and those that are left for the lost one, for hours.
    """
    metrics, log = _whole_lines(folder / METRICS_FILE, 0), _whole_lines(folder / _LOG_FILE, earlier)
    give_up = math.inf
    while True:
        ended = child.poll() is not None or time.monotonic() > give_up
        for line in next(metrics):
            yield json.loads(line)
        if any(ended_with(line) is not None for line in next(log)):
            # Until then the others may say what they met themselves.
            give_up = min(give_up, time.monotonic() + _LAST_WORDS_S)
        if ended:
            return
        time.sleep(_PERIOD_S)


def _whole_lines(path: Path, position: int) -> Iterator[list[str]]:
    """Each time what a file behind a position has got since the last time, whole lines only."""
    while True:
        lines = []
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                # Not behind a line that is being written: its rest may have come by then, and would be one of its own.
                lines = list(takewhile(lambda line: line.endswith(b"\n"), file))
            position += sum(map(len, lines))
        yield [line.decode("utf-8", errors="replace") for line in lines]


def _failure(folder: Path, code: int, *, earlier: int, alone: bool) -> Exception:
    """Why a training, of one process `alone` or several, ended; its log goes on behind `earlier` bytes of others."""
    full = full_disk_error(folder)
    if full is not None:
        return full
    error = folder / ERROR_FILE
    if error.exists():
        return UserError(error.read_text(encoding="utf-8"))
    lines = (folder / _LOG_FILE).read_bytes()[earlier:].decode("utf-8", errors="replace").splitlines()
    tail = lines[-_TAIL_LINES:]
    # Of several machines the first that failed counts: the launcher is ended while it waits for the others.
    code = next((ended for ended in map(ended_with, lines) if ended is not None), code)
    refused = next((line.partition(_REFUSED)[2] for line in tail if line.startswith(_REFUSED)), None)
    if refused is not None:
        return UserError(f"train.launcher_args: DeepSpeed's launcher refuses them: {refused}.")
    unreached = unreached_machine(lines)
    if unreached is not None:
        return UserError(f"{unreached}; the log is {folder / _LOG_FILE}.")
    # Behind the process that found no memory come the errors of those that waited for it.
    if any(wants_memory(line) or _KILLED in line.lower() for line in lines):
        return UserError(
            "Training was killed, most likely for want of memory: free memory and run again, and it goes on from its "
            "last checkpoint; or let it begin anew with a lower train.token_budget, train.gradient_checkpointing=true, "
            f"train.lora, {_OF_ONE if alone else _OF_SEVERAL}; the log is {folder / _LOG_FILE}."
        )
    if code == 0 or code in _ENDED_BY or any(sign in line.lower() for sign in _SIGNAL_SIGNS for line in tail):
        return UserError(
            "Training ended before it was done: something killed it or its launcher; run the same command again, and "
            f"it goes on from its last checkpoint; the log is {folder / _LOG_FILE}."
        )
    return ProcessFailed(
        f"the training process ended with code {code}; its log {folder / _LOG_FILE} ends:\n" + "\n".join(tail)
    )


def _environment(*, several: bool) -> dict[str, str]:
    """This environment, in which DeepSpeed finds ninja and itself though no virtual environment is active."""
    environment = os.environ | {"PATH": own_path(), "PYTHONUNBUFFERED": "1"}
    return for_other_machines(environment) if several else environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
