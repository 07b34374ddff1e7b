"""Whatever ends a training, the same command carries it on, or says in a sentence why not."""

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from bdpo.errors import UserError
from bdpo.pipeline import StageResult
from tests.training.stage_runs import Run, pipeline, same, train


def test_killed_again_and_again_it_ends_as_if_undisturbed(run: Any, config: Path, undisturbed: StageResult) -> None:
    """The parent killed while a checkpoint is written, then the worker between two of them."""
    first = run()
    first.wait_for(lambda: first.steps() >= 5, "step 5")
    first.until(lambda: stopped_while_writing(first), "a checkpoint in the making")
    first.kill("parent")
    assert first.checkpoints("*.tmp")
    second = run()
    second.wait_for(lambda: second.steps() >= 14, "step 14")
    second.kill("worker")
    result = train(config)
    assert 12 <= result.summary["resumed_from_step"] < result.summary["steps"], (
        "it was killed too late to show anything"
    )
    assert same(result, undisturbed)


def stopped_while_writing(training: Run) -> bool:
    """Whether a checkpoint is in the making, which it is for milliseconds; the worker then stands still."""
    if not training.checkpoints("*.tmp"):
        return False
    worker = training.tree["worker"]
    worker.suspend()
    training.until(lambda: worker.status() == psutil.STATUS_STOPPED, "the worker stands still")
    if not training.checkpoints("*.tmp"):
        worker.resume()
        return False
    return True


@pytest.mark.slow
def test_in_bfloat16_a_killed_training_carries_on(run: Any, config: Path) -> None:
    """The default dtype, whose float32 weights and sums are beside the model's own in a checkpoint."""
    pipeline(config, "model.dtype=bfloat16").run_stage("score")
    shutil.copytree(config.parent, config.parent.parent / "other")
    expected = train(config.parent.parent / "other" / "config.yaml", "model.dtype=bfloat16")
    once = run("model.dtype=bfloat16")
    once.wait_for(lambda: once.steps() >= 10, "step 10")
    once.kill("worker")
    result = train(config, "model.dtype=bfloat16")
    assert result.summary["resumed_from_step"] >= 8
    assert same(result, expected)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["runner", "launch", "parent", "worker"])
@pytest.mark.parametrize("step", [1, 10, 21])
def test_whoever_is_killed_whenever(run: Any, config: Path, undisturbed: StageResult, who: str, step: int) -> None:
    once = run()
    once.wait_for(lambda: once.steps() >= step, f"step {step}")
    once.kill(who)
    if who == "launch" and once.parent.returncode != 0:
        assert "something killed it or its launcher; run the same command again" in once.errors.read_text()
    assert same(train(config), undisturbed)


@pytest.mark.slow
def test_a_full_disk_loses_no_checkpoint(run: Any, config: Path, undisturbed: StageResult) -> None:
    """The artifacts lie on a small disk of their own, which fills up when the first checkpoint is there."""
    artifacts = config.parent / "artifacts"
    artifacts.rename(config.parent / "before")
    artifacts.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("there is no program to mount a disk")
    small = [mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(artifacts)]
    if subprocess.run(small, capture_output=True, check=False).returncode != 0:
        pytest.skip("no disk can be mounted without more rights")
    try:
        shutil.copytree(config.parent / "before", artifacts, dirs_exist_ok=True)
        once = run()
        once.wait_for(lambda: once.checkpoints("step-*/complete.json"), "a checkpoint")
        with suppress(OSError), (artifacts / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        once.parent.wait(timeout=500)
        assert "the disk is full; nothing finished is lost" in once.errors.read_text()
        kept = once.checkpoints("step-*/complete.json")
        assert kept
        (artifacts / "filler").unlink()
        result = train(config)
        assert result.summary["resumed_from_step"] >= 4
        assert same(result, undisturbed)
    finally:
        subprocess.run([umount, "-l", str(artifacts)], check=True)


@pytest.mark.slow
def test_want_of_memory_says_what_to_lower(run: Any) -> None:
    """The system ends a process that takes too much by SIGKILL."""
    once = run()
    once.wait_for(lambda: once.steps() >= 2, "step 2")
    once.kill("worker")
    said = once.errors.read_text()
    for name in ("train.token_budget", "train.gradient_checkpointing=true", "train.lora", "ZeRO stage 2 or 3"):
        assert name in said


@pytest.mark.slow
def test_another_number_of_processes_is_refused_and_the_first_carries_on(run: Any, config: Path) -> None:
    once = run("train.processes=2")
    once.wait_for(lambda: once.checkpoints("step-*/complete.json"), "a checkpoint")
    once.kill("parent")
    with pytest.raises(UserError, match=r"made by 2 processes and this run has 1; set train\.processes=2, or train"):
        train(config)
    result = train(config, "train.processes=2", "train.checkpoint_every=3")
    assert result.summary["resumed_from_step"] >= 4
    assert result.summary["processes"] == 2
    assert train(config).cached, "how a training was run changes nothing of what it is"
