"""Where the processes of a training on one machine meet: on loopback, so that nobody else can join them."""

import os
import socket
from datetime import timedelta

import torch.distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

LOOPBACK = "127.0.0.1"


def meet_on_loopback(backend: str, *, timeout: timedelta, device: torch.device | None) -> None:
    """Begin PyTorch's process group by a store that listens on loopback alone.

    By itself the store would listen on all interfaces, whatever `MASTER_ADDR` says, and takes whoever connects.

    Args:
        backend: such as `gloo` or `nccl`.
        timeout: how long the processes wait for each other.
        device: to bind the group to, as NCCL wants it.
    """
    rank, world, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    # Gloo would listen where the machine's name leads to.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    listener = None
    if rank == 0:
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((LOOPBACK, port))
            listening.listen()
            listener = listening.detach()  # the store closes it
    store = TCPStore(
        LOOPBACK, port, world, is_master=rank == 0, timeout=timeout, multi_tenant=True, master_listen_fd=listener
    )
    torch.distributed.init_process_group(
        backend, store=store, rank=rank, world_size=world, timeout=timeout, device_id=device
    )
