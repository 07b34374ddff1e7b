"""The Prefect server of a run by hand where no other one is named.

Prefect would start it on first use, in the process group of the run.  There a Ctrl-C, or a SIGTERM to the whole
group (as `timeout`, systemd and SLURM send it), ends the server together with the run, which then asks for it in
vain for minutes; and a run that is killed leaves it behind.
"""

import subprocess
from functools import partial
from typing import Any

from prefect.server.api.server import SubprocessASGIServer

from bdpo.lifetime import end_with_parent


class _Apart(SubprocessASGIServer):
    """In a process group of its own, and gone when this process is."""

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        plain = subprocess.Popen
        subprocess.Popen = partial(plain, process_group=0, preexec_fn=end_with_parent)  # type: ignore[assignment,misc]
        try:
            return super()._run_uvicorn_command()
        finally:
            subprocess.Popen = plain  # type: ignore[misc]


def start_temporary_server() -> None:
    """Start a server that lasts as long as this process.

    Prefect keeps one temporary server a process, and finds this one.  To be called in the main thread: the kernel
    ends the server with the thread that started it.
    """
    # Not ended here: what Prefect delivers when the process ends goes to it first.
    _Apart().start()
