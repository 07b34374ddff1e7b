"""The launcher's command line, and what its log says."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from deepspeed.launcher.runner import fetch_hostfile

from bdpo.errors import UserError
from bdpo.training.launch import _failure, _follow, _whole_lines, launch_command
from bdpo.training.worker_files import Job
from tests.paths import ROOT


def test_on_this_machine_nothing_else_is_reached() -> None:
    command = launch_command(Path("job.json"), processes=2, hostfile=None, launcher_args=[])
    assert command[3:7] == ["--num_gpus", "2", "--master_addr", "127.0.0.1"]
    # DeepSpeed reads /job/hostfile where none is named, which some clusters put there.
    assert fetch_hostfile(command[command.index("--hostfile") + 1]) is None
    assert command[-3:] == ["--module", "bdpo.training.worker", "job.json"]


def test_hostfile_and_further_arguments_are_passed_through(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    more = ["--master_addr=node-1", "--launcher=pdsh"]
    command = launch_command(Path("job.json"), processes=8, hostfile=hosts, launcher_args=more)
    assert command[3:8] == ["--num_gpus", "8", "--force_multi", "--hostfile", str(hosts)]
    assert "127.0.0.1" not in command
    assert command.index("--launcher=pdsh") < command.index("--module")


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (241, "[launch.py:259:sigkill_handler] ['python', 'job.json'] exits with return code = -15"),
        (1, "[launch.py:262:sigkill_handler] Main process received SIGTERM, exiting"),
        (-15, ""),
        (0, ""),
    ],
)
def test_a_training_that_a_signal_ended_can_be_run_again(tmp_path: Path, code: int, line: str) -> None:
    (tmp_path / "train.log").write_text(line)
    failure = _failure(tmp_path, code, earlier=0, alone=True)
    assert isinstance(failure, UserError)
    assert "something killed it or its launcher; run the same command again" in str(failure)


def test_what_is_a_bug_keeps_its_log(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("KeyError: 'x'\n")
    assert isinstance(_failure(tmp_path, 1, earlier=0, alone=True), RuntimeError)


def test_want_of_memory_is_found_behind_the_errors_of_the_others_and_not_in_earlier_attempts(tmp_path: Path) -> None:
    found_none = "[rank1]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    others = "".join(f'  File "distributed_c10d.py", line {i}\n' for i in range(60))
    earlier = (tmp_path / "train.log").write_text(f"{found_none}\n")
    with (tmp_path / "train.log").open("a") as log:
        log.write(others)
    assert isinstance(_failure(tmp_path, 1, earlier=earlier, alone=True), RuntimeError)
    with (tmp_path / "train.log").open("a") as log:
        log.write(f"{found_none}\n{others}")
    for alone, more in (
        (True, "more GPUs (train.processes), or, if it is the GPU's memory, a config with offload in train.deepspeed"),
        (False, "or a ZeRO stage 2 or 3 config in train.deepspeed"),
    ):
        failure = _failure(tmp_path, 1, earlier=earlier, alone=alone)
        assert isinstance(failure, UserError)
        assert "begin anew with a lower train.token_budget" in str(failure)
        assert f"train.lora, {more}" in str(failure)
    assert (ROOT / "configs/deepspeed/zero2-offload.json").is_file(), "the first names it"


def test_arguments_that_the_launcher_does_not_know_are_the_users(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("usage: runner.py [-h] ...\nrunner.py: error: unrecognized arguments: --x\n")
    failure = _failure(tmp_path, 2, earlier=0, alone=True)
    assert isinstance(failure, UserError)
    assert str(failure) == ("train.launcher_args: DeepSpeed's launcher refuses them: unrecognized arguments: --x.")


def test_what_a_lost_machine_said_is_told_and_the_others_are_not_waited_for(tmp_path: Path) -> None:
    """The launcher would go on for a minute, as it does while the other machines wait for this one."""
    (tmp_path / "train.log").write_text("pdsh@here: earlier: ssh exited with exit code 255\n")
    earlier = (tmp_path / "train.log").stat().st_size
    with (tmp_path / "train.log").open("a") as log:
        log.write("node-2: Host key verification failed.\npdsh@here: node-2: ssh exited with exit code 255\n")
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        assert list(_follow(tmp_path, child, earlier=earlier)) == []
        child.kill()
    assert time.monotonic() - began < 30
    failure = _failure(tmp_path, -9, earlier=earlier, alone=True)
    assert isinstance(failure, UserError)
    assert "the machine node-2 was not reached by ssh, or was lost: Host key verification failed; when" in str(failure)


def test_a_line_that_is_completed_while_it_is_read_is_taken_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step"')
    opened = Path.open

    class Growing:
        """The file, whose writer goes on as soon as the half of its line is read."""

        def __init__(self, file: Any) -> None:
            self.seek, self._file = file.seek, file

        def __enter__(self) -> "Growing":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def __iter__(self) -> Iterator[bytes]:
            for line in self._file:
                if not line.endswith(b"\n"):
                    with opened(path, "ab") as more:
                        more.write(b": 2}\n")
                yield line

    monkeypatch.setattr(Path, "open", lambda self, *given: Growing(opened(self, *given)))
    lines = _whole_lines(path, 0)
    assert [next(lines), next(lines)] == [['{"step": 1}\n'], ['{"step": 2}\n']]


def test_what_failed_on_another_machine_is_not_taken_for_our_own_signal(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("node-2: KeyError: 'x'\npdsh@here: node-2: ssh exited with exit code 1\n")
    failure = _failure(tmp_path, -9, earlier=0, alone=True)
    assert isinstance(failure, RuntimeError)
    assert "node-2: KeyError: 'x'" in str(failure)


def test_a_worker_finds_the_programs_of_its_environment(tmp_path: Path) -> None:
    """PyTorch asks for ninja; a login by ssh has not activated anything."""
    (tmp_path / "torch.py").write_text("import shutil\nprint(shutil.which('ninja'))\nraise SystemExit\n")
    job = dict.fromkeys(field.name for field in fields(Job)) | {"parent_place": "elsewhere"}
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        [sys.executable, "-m", "bdpo.training.worker", str(tmp_path / "job.json")],
        env={"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{Path(sys.executable).parent / 'ninja'}\n"


def test_a_worker_sees_the_users_gpus_and_not_the_launchers(tmp_path: Path) -> None:
    """The launcher counts from 0 whatever the user has set; torch looks when it is imported, here a stand-in."""
    (tmp_path / "torch.py").write_text("import os\nprint(os.environ['CUDA_VISIBLE_DEVICES'])\nraise SystemExit\n")
    job = dict.fromkeys(field.name for field in fields(Job)) | {"parent_place": "elsewhere", "visible_gpus": "GPU-5,2"}
    (tmp_path / "job.json").write_text(json.dumps(job))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "bdpo.training.worker", str(tmp_path / "job.json")],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "0,1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "GPU-5,2\n"
