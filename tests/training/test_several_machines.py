"""Two machines, stood for by network namespaces of this one, reached by the real ssh and pdsh."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.training.stage_runs import PARENT, Run, same, train

_SSHD = "/usr/sbin/sshd"
_MISSING = [name for name in ("ip", "nsenter", "pdsh", "ssh", "ssh-keygen", _SSHD) if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="only root makes network namespaces"),
    pytest.mark.skipif(bool(_MISSING), reason=f"without {', '.join(_MISSING)}"),
]
_SHORT = "train.epochs=3"
_SERVER = "Port 22\nHostKey {key}\nAuthorizedKeysFile {key}.pub\nStrictModes no\nUsePAM no\nPidFile none\n"
_CLIENT = "Host {name}\n HostName {address}\n"
_KNOWN = " IdentityFile {key}\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n"


def _call(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Two namespaces with addresses, host names and ssh servers of their own: names, and the servers' numbers."""
    switch = f"bdpo-{os.getpid()}"
    names = [f"{switch}-{letter}" for letter in "ab"]
    key = tmp_path / "key"
    _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    (tmp_path / "sshd").write_text(_SERVER.format(key=key))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/client "$@"\n')
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    # The machines' names lead nowhere but by ssh, and gloo would take the loopback for an address.
    (tmp_path / "variables").write_text("GLOO_SOCKET_IFNAME=eth0\n")
    monkeypatch.setenv("DS_ENV_FILE", str(tmp_path / "variables"))
    Path("/run/sshd").mkdir(exist_ok=True)
    servers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        _call("ip", "netns", "add", switch)
        _call("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _call("ip", "-n", switch, "link", "set", "bridge", "up")
        with (tmp_path / "client").open("w") as client:
            for number, name in enumerate(names, start=1):
                address = f"10.77.0.{number}"
                _call("ip", "netns", "add", name)
                _call("ip", "-n", switch, "link", "add", f"to{number}", "type", "veth", "peer", "eth0", "netns", name)
                _call("ip", "-n", switch, "link", "set", f"to{number}", "master", "bridge", "up")
                _call("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
                _call("ip", "-n", name, "link", "set", "lo", "up")
                _call("ip", "-n", name, "link", "set", "eth0", "up")
                client.write(_CLIENT.format(name=name, address=address) + _KNOWN.format(key=key))
                serve = f"hostname {name}; exec {_SSHD} -D -f {tmp_path}/sshd"
                command = ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", serve]
                servers[name] = subprocess.Popen(command)
        time.sleep(1)
        yield {name: server.pid for name, server in servers.items()}
    finally:
        for name, server in servers.items():
            for pid in _processes(name):
                os.kill(pid, signal.SIGKILL)
            server.wait()
        for name in (*names, switch):
            with suppress(subprocess.CalledProcessError):
                _call("ip", "netns", "del", name)


def _processes(name: str) -> list[int]:
    return [int(pid) for pid in _call("ip", "netns", "pids", name).split()]


def _trainings(name: str, sign: bytes = b"bdpo") -> list[int]:
    """Processes on a machine that have something in their command line."""
    found = []
    for pid in _processes(name):
        with suppress(OSError):  # it has ended meanwhile
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if sign in command and b"sshd" not in command:
                found.append(pid)
    return found


def test_two_machines_train_as_two_processes_do_and_end_when_the_command_is_killed(
    config: Path, machines: dict[str, int], tmp_path: Path
) -> None:
    shutil.copytree(config.parent, tmp_path / "other")
    expected = train(tmp_path / "other" / "config.yaml", "train.processes=2", _SHORT)
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"{name} slots=1\n" for name in machines))
    first, second = machines
    on_first = ["nsenter", "-t", str(machines[first]), "--net", "--uts"]
    command = [*on_first, sys.executable, "-c", PARENT, str(config), f"train.hostfile={hosts}", _SHORT]

    run = Run(config, command=command)
    run.until(lambda: run.steps() >= 10, "step 10")
    assert any(b"bdpo.training.worker" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in _trainings(second))
    run.parent.kill()
    run.parent.wait()
    deadline = time.monotonic() + 30
    while _trainings(first) or _trainings(second):
        assert time.monotonic() < deadline, "processes outlived the command that wanted their work"
        time.sleep(0.1)

    subprocess.run(command, cwd=ROOT, check=True)
    result = train(config, f"train.hostfile={hosts}", _SHORT)
    assert result.cached
    assert result.summary["resumed_from_step"] >= 8
    assert result.summary["processes"] == 2
    assert same(result, expected)


@pytest.mark.parametrize("number", [0, 1], ids=["its own", "another"])
def test_a_hostfile_with_one_machine_trains_there(config: Path, machines: dict[str, int], number: int) -> None:
    first, there = next(iter(machines)), list(machines)[number]
    elsewhere = list(machines)[1 - number]
    hosts = config.parent / "hosts"
    hosts.write_text(f"{there} slots=1\n")
    on_first = ["nsenter", "-t", str(machines[first]), "--net", "--uts"]
    run = Run(config, command=[*on_first, sys.executable, "-c", PARENT, str(config), f"train.hostfile={hosts}", _SHORT])
    run.until(lambda: run.steps() >= 2, "step 2")
    worker = b"\0-m\0bdpo.training.worker\0"
    assert (len(_trainings(there, worker)), len(_trainings(elsewhere, worker))) == (1, 0)
    assert run.parent.wait(timeout=300) == 0
