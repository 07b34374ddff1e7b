"""Hostfiles, and what the launcher's log says of a machine that could not be reached."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bdpo.errors import UserError
from bdpo.training.machines import (
    bring_environment,
    for_other_machines,
    read_hostfile,
    require_plain_paths,
    unreached_machine,
)
from tests.paths import ROOT


def hostfile(folder: Path, text: str) -> Path:
    path = folder / "hosts"
    path.write_text(text)
    return path


def test_machines_are_read(tmp_path: Path) -> None:
    found = read_hostfile(hostfile(tmp_path, "# ours\nnode-1 slots=8\n\nnode-2  slots=4 # small\n"), 4)
    assert found == {"node-1": 8, "node-2": 4}


@pytest.mark.parametrize("text", ["", "node-1\n", "node-1 slots=8\nnode-1 slots=4\n", "node-1 slots=eight\n"])
def test_what_is_no_hostfile_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="hosts: "):
        read_hostfile(hostfile(tmp_path, text), 1)


def test_a_hostfile_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"field `train\.hostfile`: .*hosts cannot be read: .*No such file"):
        read_hostfile(tmp_path / "hosts", 1)


def test_more_processes_than_slots_are_refused(tmp_path: Path) -> None:
    """DeepSpeed would start them, on GPUs that are not there."""
    hosts = hostfile(tmp_path, "node-1 slots=8\nnode-2 slots=4\n")
    with pytest.raises(UserError, match=r"'node-2 slots=4' has fewer slots than train\.processes, which is 8\."):
        read_hostfile(hosts, 8)


def test_a_path_that_a_shell_takes_apart_is_refused() -> None:
    require_plain_paths("/shared/runs/my-run_2/job.json")
    with pytest.raises(UserError, match=r"hands '/shared/my runs/job\.json' to a shell on each machine"):
        require_plain_paths("/venv/bin/python", "/shared/my runs/job.json")


def test_the_working_folders_environment_file_is_brought_to_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".deepspeed_env").write_text("NCCL_SOCKET_IFNAME=eth1\n")
    bring_environment(tmp_path / "scratch")
    assert (tmp_path / "scratch" / ".deepspeed_env").read_text() == "NCCL_SOCKET_IFNAME=eth1\n"
    assert (tmp_path / "scratch" / ".deepspeed_env").stat().st_mode & 0o777 == 0o600
    (tmp_path / ".deepspeed_env").unlink()
    bring_environment(tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_users_ssh_arguments_come_first() -> None:
    """Of one option given twice ssh takes the first."""
    arguments = for_other_machines({"PDSH_SSH_ARGS_APPEND": "-oServerAliveInterval=60"})["PDSH_SSH_ARGS_APPEND"]
    assert arguments.startswith("-oServerAliveInterval=60 -oServerAliveInterval=10")


def test_other_machines_get_no_variable_of_a_tracker() -> None:
    found = for_other_machines({"MLFLOW_TRACKING_PASSWORD": "let-me-in", "NCCL_DEBUG": "INFO"})
    assert set(found) == {"NCCL_DEBUG", "PDSH_SSH_ARGS_APPEND"}


_LAUNCH = """
import sys
from pathlib import Path
from bdpo.training.launch import launch
launch(Path(sys.argv[1]), processes=1, hostfile=Path(sys.argv[2]), launcher_args=[], on_row=print)
"""


def launched(folder: Path, hosts: str) -> str:
    """The log of the real launcher, by a pdsh that only shows its command line."""
    for name, script in {"pdsh": 'echo "$@"', "ssh": "echo 10.0.0.1"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_PASSWORD": "let-me-in",
        "HOME": str(folder),
    }
    command = [sys.executable, "-c", _LAUNCH, str(folder / "job.json"), str(hostfile(folder, hosts))]
    subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=False)
    return (folder / "train.log").read_text()


@pytest.mark.slow
def test_the_one_machine_of_a_hostfile_is_where_the_processes_are_started(tmp_path: Path) -> None:
    """The launcher of itself would start them here, for a rendezvous there."""
    log = launched(tmp_path, "node-1 slots=1\n")
    assert " -w node-1 export " in log
    assert "--node_rank=%n --master_addr=10.0.0.1 " in log


@pytest.mark.slow
def test_the_launcher_gets_no_password_of_a_tracker_and_its_log_is_the_users_alone(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("an earlier attempt\n")
    (tmp_path / "train.log").chmod(0o644)
    log = launched(tmp_path, "node-1 slots=1\nnode-2 slots=1\n")
    assert "export PYTHONPATH=" in log
    assert "let-me-in" not in log
    assert (tmp_path / "train.log").stat().st_mode & 0o777 == 0o600


_ENDED = "pdsh@a: b: ssh exited with exit code"
_NO_FILE = "bash: line 1: /venv/bin/python: No such file or directory"
_NO_FOLDER = "bash: line 1: cd: /runs/x.partial/scratch: No such file or directory"
_NO_MODULE = "python: Error while finding module: No module named 'deepspeed'"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["b: ssh: Could not resolve hostname b: Name or service not known", f"{_ENDED} 255"],
            "the machine b was not reached by ssh, or was lost: ssh: Could not resolve hostname b: Name or service",
        ),
        (
            ["b: Timeout, server b not responding.", "a: step 3", f"{_ENDED} 255"],
            "the machine b was not reached by ssh, or was lost: Timeout, server b not responding; when `ssh b",
        ),
        ([f"b: {_NO_FILE}", f"{_ENDED} 127"], f"the machine b cannot start the training: {_NO_FILE}; it needs"),
        ([f"b: {_NO_FOLDER}", "b: later", f"{_ENDED} 1"], f"cannot start the training: {_NO_FOLDER}; it needs"),
        ([f"b: {_NO_MODULE}", f"{_ENDED} 1"], f"the machine b cannot start the training: {_NO_MODULE}; it needs"),
        (
            ["RuntimeError: Using hostfile at /h but host=a was not reachable via ssh. If you are running with"],
            "the machine a was not reached by ssh, or was lost; when `ssh a hostname` works",
        ),
        (["RuntimeError: launcher 'pdsh' not installed."], "train.hostfile: `pdsh`, by which this machine"),
    ],
)
def test_a_machine_that_cannot_be_had_is_one_sentence(lines: list[str], said: str) -> None:
    found = unreached_machine(lines)
    assert found is not None
    assert said in found


def test_a_machine_that_failed_by_itself_is_not_called_unreached() -> None:
    assert unreached_machine(["b: KeyError: 'x'", "pdsh@a: b: ssh exited with exit code 1"]) is None
