"""The Prefect server of a run by hand where no other one is named.

Prefect would start it on first use, in the process group of the run.  There a Ctrl-C, or a SIGTERM to the whole
group (as `timeout`, systemd and SLURM send it), ends the server together with the run, which then asks for it in
vain for minutes; and a run that is killed leaves it behind.
"""

import atexit
import socket
import subprocess
from pathlib import Path
from typing import Any

import psutil
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_HOME, get_current_settings

from bdpo.errors import UserError
from bdpo.lifetime import end_with_parent
from flows.up import own_pages_alone, wait_until_healthy

_STARTS = 3
_DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
_NETWORK = frozenset(
    ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "ceph", "afs", "wekafs", "panfs", "orangefs", "9p")
)
"""File systems that hosts share; those of FUSE may be too."""


class _Apart(SubprocessASGIServer):
    """In a process group of its own, and gone when this process is."""

    def start(self, timeout: int | None = None) -> None:
        """Start it; Prefect would start one that cannot run again and again, and give up on a busy machine."""
        if self.running:
            return
        atexit.register(self.stop)
        for _ in range(_STARTS):
            self.port = self.find_available_port()
            self.server_process = self._run_uvicorn_command()
            try:
                wait_until_healthy(f"{self.api_url}/health", self.server_process)
            except UserError:
                if self.server_process.poll() is None or self.is_port_available(self.port):
                    break
                continue  # another process was faster to take the port
            self.running = True
            return
        raise UserError(
            "Prefect's temporary server did not start; what it said stands above. Its files are in "
            f"{PREFECT_HOME.value()}, which has to be writable and not a newer Prefect's: set PREFECT_HOME to another "
            "folder, and run the same command again."
        )

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        plain, port = subprocess.Popen, self.port
        assert port is not None, "it is chosen before"

        def start(args: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
            added = own_pages_alone(port) | own_database()
            return plain(args, env=env | added, process_group=0, preexec_fn=end_with_parent)

        subprocess.Popen = start  # type: ignore[assignment,misc]
        try:
            return super()._run_uvicorn_command()
        finally:
            subprocess.Popen = plain  # type: ignore[misc]


def own_database() -> dict[str, str]:
    """What to add to the server's environment, so that no other host writes to its database; nothing where none can.

    Prefect has it in the home folder, which the nodes of a cluster often share, and SQLite's write-ahead log works
    among the processes of one host only.  One that the user names is taken as it is.
    """
    configured, home = get_current_settings().server.database, PREFECT_HOME.value()
    url = configured.connection_url
    usual = url is not None and url.get_secret_value() == f"sqlite+aiosqlite:///{home}/prefect.db"
    if "connection_url" in configured.model_fields_set or not usual or not _is_on_network(home):
        return {}
    return {_DATABASE: f"sqlite+aiosqlite:///{home}/temporary-{socket.gethostname()}.db"}


def _is_on_network(folder: Path) -> bool:
    """Whether other hosts may have the file system that a folder is on."""
    place = folder.resolve()
    mounts = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    kind = next((mounts[str(at)] for at in (place, *place.parents) if str(at) in mounts), "")
    return kind in _NETWORK or kind.startswith("fuse.")


def start_temporary_server() -> None:
    """Start a server that lasts as long as this process.

    Prefect keeps one temporary server a process, and finds this one.  To be called in the main thread: the kernel
    ends the server with the thread that started it.

    Raises:
        UserError: it does not start.
    """
    # Not ended here: what Prefect delivers when the process ends goes to it first.
    _Apart().start()
