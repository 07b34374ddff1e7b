"""Several processes, on one machine or two, train as one does."""

import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bdpo.pipeline import StageResult
from tests.paths import ROOT
from tests.training.stage_runs import metric, pipeline, same, train

_SSH = """#!/bin/sh
# Runs on this machine what ssh would run on another.
while [ "${1#-}" != "$1" ]; do case "$1" in -o|-p) shift 2;; *) shift;; esac; done
shift
exec sh -c "$*"
"""
_PDSH = """#!/bin/sh
# Runs on this machine, once a host, what pdsh would run on the hosts after -w; %n is a host's number.
while [ "$1" != "-w" ]; do shift; done
hosts=$2; shift 2
number=0
for host in $(echo "$hosts" | tr , ' '); do
    sh -c "$(echo "$*" | sed "s/%n/$number/g")" &
    number=$((number + 1)); jobs="$jobs $!"
done
for job in $jobs; do wait "$job" || exit 1; done
"""


@pytest.mark.slow
def test_two_machines_of_a_hostfile_train_as_two_processes_do(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeepSpeed's own multi-node launch, but that both machines are this one."""
    expected = train(config, "train.processes=2", "train.seed=1")
    shutil.rmtree(config.parent / "artifacts" / "train")
    (tmp_path / "bin").mkdir()
    for name, text in (("ssh", _SSH), ("pdsh", _PDSH)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "hosts").write_text("node-1 slots=1\nnode-2 slots=1\n")
    where = (f"train.hostfile={tmp_path / 'hosts'}", "train.launcher_args=[--master_addr=127.0.0.1]")
    result = train(config, "train.seed=1", *where)
    assert not result.cached
    assert result.summary["processes"] == 2
    log = (result.artifact / "train.log").read_text() if (result.artifact / "train.log").exists() else ""
    assert same(result, expected), log


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_processes_train_as_one_does(config: Path, undisturbed: StageResult, stage: int) -> None:
    zero = f"train.deepspeed={ROOT}/configs/deepspeed/zero{stage}.json"
    two = train(config, "train.processes=2", zero)
    for name in ("loss", "eval_loss", "grad_norm", "rewards/margins", "mi_correlation/chosen", "num_tokens"):
        assert metric(two, name) == pytest.approx(metric(undisturbed, name), rel=2e-3, abs=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_processes_in_bfloat16_train_as_one_does(config: Path, stage: int) -> None:
    bfloat16 = ("model.dtype=bfloat16", f"train.deepspeed={ROOT}/configs/deepspeed/zero{stage}.json")
    one, two = train(config, *bfloat16), train(config, *bfloat16, "train.processes=2")
    for name in ("loss", "eval_loss", "rewards/margins"):
        assert metric(two, name) == pytest.approx(metric(one, name), abs=0.02), name
    assert two.summary["last"]["validation"]["eval_loss"] < math.log(2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "dtype"), [*((stage, "float32") for stage in range(4)), *((stage, "bfloat16") for stage in (1, 2, 3))]
)
def test_two_processes_killed_carry_on(run: Any, config: Path, stage: int, dtype: str) -> None:
    """With ZeRO each process saves a part of its own; two processes add up in one order, so bit for bit too."""
    zero = (f"train.deepspeed={ROOT}/configs/deepspeed/zero{stage}.json", "train.processes=2", f"model.dtype={dtype}")
    pipeline(config, *zero).run_stage("score")
    shutil.copytree(config.parent, config.parent.parent / "other")
    expected = train(config.parent.parent / "other" / "config.yaml", *zero)
    once = run(*zero)
    once.wait_for(lambda: once.steps() >= 10, "step 10")
    once.kill("worker")
    assert same(train(config, *zero), expected)
