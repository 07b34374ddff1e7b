"""The machines of a training on several: the hostfile that names them, and what went wrong on the way to them."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bdpo.errors import UserError

_DEEPSPEED_ENV = ".deepspeed_env"
_SSH_ARGUMENTS = "PDSH_SSH_ARGS_APPEND"
_ALIVE = "-oServerAliveInterval=10 -oServerAliveCountMax=3"
"""Without these ssh waits for hours for a machine that is switched off."""
_TRACKER = "MLFLOW"
_ENDED = re.compile(r"pdsh@\S+: (\S+): ssh exited with exit code (\d+)")
_SSH_FAILED = 255
_NO_PROGRAM = (126, 127)
"""What a shell ends with if it cannot start a program."""
_NO_FOLDER = re.compile(r"\bcd: ")
"""In what a shell says of a folder that is not there; it goes on all the same."""
_CHECK_FAILED = re.compile(r"host=(\S+) was not reachable via ssh")
_NO_PDSH = "RuntimeError: launcher 'pdsh' not installed"


def read_hostfile(path: Path, processes: int) -> dict[str, int]:
    """The machines of a DeepSpeed hostfile and their slots.

    Args:
        path: of the file.
        processes: how many are to run on each of them.

    Raises:
        UserError: it cannot be read, a line is not `name slots=N`, a name stands twice, there is none, or one has
            fewer slots.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"field `train.hostfile`: {path} cannot be read: {error}.") from error
    slots: dict[str, int] = {}
    for line in lines:
        if not line or line.startswith("#"):
            continue
        found = re.match(r"(\S+)\s+slots=(\d+)", line)
        if found is None:
            raise UserError(f"{path}: {line!r} is not a line of a DeepSpeed hostfile, such as `node-1 slots=8`.")
        if found[1] in slots:
            raise UserError(f"{path}: a hostfile names each machine once, and {found[1]} stands there twice.")
        slots[found[1]] = int(found[2])
        if slots[found[1]] < processes:
            raise UserError(f"{path}: {line!r} has fewer slots than train.processes, which is {processes}.")
    if not slots:
        raise UserError(f"{path}: a hostfile names at least one machine, as in `node-1 slots=8`.")
    return slots


def require_plain_paths(*paths: str) -> None:
    """Refuse paths that the shells on other machines would take apart.

    Raises:
        UserError: one has a character that means something to a shell.
    """
    for path in paths:
        if re.search(r"[^\w@%+=:,./-]", path):
            raise UserError(
                f"train.hostfile: DeepSpeed's launcher hands {path!r} to a shell on each machine as it is, so it may "
                "have no spaces or other characters that a shell reads; move it."
            )


def bring_environment(folder: Path) -> None:
    """Put the working folder's `.deepspeed_env` where the launcher looks for it, which is started in `folder`."""
    (folder / _DEEPSPEED_ENV).unlink(missing_ok=True)
    if Path(_DEEPSPEED_ENV).is_file():
        (folder / _DEEPSPEED_ENV).touch(mode=0o600)  # before it has content: the user's own may be closed to others
        shutil.copyfile(_DEEPSPEED_ENV, folder / _DEEPSPEED_ENV)


def for_other_machines(environment: Mapping[str, str]) -> dict[str, str]:
    """The launcher's environment, of which it writes some variables into the command line of ssh and into its log.

    Without MLflow's, a password for its server among them: trackers run in the process that starts the launcher.
    A machine that no longer answers is given up after half a minute, but of ssh's arguments the user's come first.
    """
    arguments = {_SSH_ARGUMENTS: f"{environment.get(_SSH_ARGUMENTS, '')} {_ALIVE}".strip()}
    return {name: value for name, value in environment.items() if not name.startswith(_TRACKER)} | arguments


def ended_with(line: str) -> int | None:
    """The exit code of a machine's part of a training, if a line of the launcher's log says that it failed."""
    found = _ENDED.search(line)
    return None if found is None else int(found[2])


def unreached_machine(lines: Sequence[str]) -> str | None:
    """What is to be said where a machine could not be reached, or lacks what it needs; from the launcher's log."""
    for line in lines:
        if line.startswith(_NO_PDSH):
            return "train.hostfile: `pdsh`, by which this machine reaches those of the file, is not installed"
        check = _CHECK_FAILED.search(line)
        if check is not None:
            return _not_by_ssh(check[1], "")
    ends = [(found[1], int(found[2])) for found in map(_ENDED.search, lines) if found is not None]
    for name, code in ends:
        said = [line.removeprefix(f"{name}: ").strip() for line in lines if line.startswith(f"{name}: ")]
        last = next((line for line in reversed(said) if line), "")
        if code == _SSH_FAILED:
            return _not_by_ssh(name, last)
        no_folder = next(filter(_NO_FOLDER.search, said), None)
        if no_folder is not None or code in _NO_PROGRAM or "No module named" in last:
            return (
                f"train.hostfile: the machine {name} cannot start the training: {no_folder or last}; it needs the same "
                "paths to Python, to the installed packages, to the model and to the artifacts as this one"
            )
    return None


def _not_by_ssh(name: str, said: str) -> str:
    said = f": {said.rstrip('.')}" if said else ""
    return (
        f"train.hostfile: the machine {name} was not reached by ssh, or was lost{said}; when `ssh {name} hostname` "
        "works and asks nothing, run the same command again: it goes on from the last checkpoint if there is one"
    )
