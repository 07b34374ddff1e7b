"""The devices of this machine, each of which one training at a time has for itself."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from bdpo.artifacts.locks import hold
from bdpo.errors import UserError
from bdpo.models.gpus import count_gpus

CPU = "cpu"


def training_devices(processes: int, *, alone: bool) -> list[str]:
    """The devices that a training's processes on this machine take.

    Args:
        processes: on each machine.
        alone: whether this machine is the only one, so that all processes have to find a place here.

    Returns:
        The first GPUs of those that are seen, by their identity, which does not change with `CUDA_VISIBLE_DEVICES`;
        where there is none, the CPU, all of whose cores count as one device.

    Raises:
        UserError: there are fewer GPUs than processes, or torch cannot use them.
    """
    gpus = count_gpus()
    if alone and 0 < gpus < processes:
        raise UserError(f"train.processes is {processes} where {gpus} GPUs are seen: each process takes one.")
    return [f"gpu-{torch.cuda.get_device_properties(i).uuid}" for i in range(min(processes, gpus))] or [CPU]


@contextmanager
def have_devices(names: Sequence[str], *, work: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Have devices for this process alone, among all trainings of this user on this machine.

    The system frees them when the process ends, however it ends.

    Args:
        names: of `training_devices`.
        work: the folder that is worked on, by which whoever waits is told for whom.
        say: told once for each device that another training has.

    Raises:
        UserError: the folder of the locks is another user's.
    """
    folder = Path(tempfile.gettempdir(), f"bdpo-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise UserError(f"{folder}: this folder should be yours and is another user's; set TMPDIR to another place.")
    with ExitStack() as stack:
        # In one order, or two trainings could wait for each other.
        for name in sorted(names):
            lock = folder / f"{name}.lock"
            stack.enter_context(hold(lock, lambda lock=lock, name=name: say(_waiting(name, lock))))  # type: ignore[misc]
            lock.write_text(f"process {os.getpid()} of {socket.gethostname()}, which works on {work}", encoding="utf-8")
        yield


def _waiting(name: str, lock: Path) -> str:
    device = "the CPU" if name == CPU else f"the GPU {name.removeprefix('gpu-')}"
    holder = lock.read_text(encoding="utf-8") or "another process"
    return f"train: another training has {device}: {holder}; waiting for it to end"
