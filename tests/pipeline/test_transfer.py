"""Runs whose remote store takes nothing.  Nothing is computed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from prefect.states import Completed

from bdpo.artifacts.manifest import Manifest
from bdpo.artifacts.remote import RemoteStore
from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.fingerprints import STAGES, Stage
from bdpo.pipeline import Pipeline
from bdpo.progress import Progress
from bdpo.stages import StageContext
from flows.flow import run_stages
from tests.rules_alone import RulesAlone
from tests.said import Said
from tests.tiny_run import tiny_run


def pipeline(config: Path) -> Pipeline:
    return Pipeline(load_config(config, ["remote_artifacts=memory://bucket/runs"]), checks=RulesAlone())


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Stages make a file each, and from a call on the store may be read alone."""

    def compute(stage: Stage, context: StageContext) -> dict[str, Any]:
        (context.workdir / "rows.parquet").write_bytes(stage.encode())
        return {}

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr("bdpo.pipeline.run.compute", compute)
    monkeypatch.setattr("bdpo.pipeline.record.rebuild_catalogue", lambda *_: None)

    def begin() -> None:
        for name in ("put_file", "pipe_file", "rm_file"):
            monkeypatch.setattr(type(fsspec.filesystem("memory")), name, refuse)

    return begin


def test_a_store_that_takes_nothing_fails_no_run_in_which_all_is_cached(
    memory: Any, tmp_path: Path, refusing: Callable[[], None]
) -> None:
    config = tiny_run(tmp_path)
    pipeline(config).run()
    memory.store.clear()
    refusing()
    said = Said()
    results = pipeline(config).run(progress=said)
    assert [result.cached for result in results] == [True] * 4
    (line,) = [line for line in said.texts if "nothing of it pushed" in line]
    assert line.startswith("ingest: what is cached here is used, and nothing of it pushed to the remote store: memory:")
    assert "Access Denied; the credentials in the environment need the right to read, write, delete" in line


def test_what_could_not_be_pushed_ends_a_run_when_all_is_done(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusing: Callable[[], None]
) -> None:
    """The store refuses from the end of the training on."""
    config, said = tiny_run(tmp_path), Said()
    push = RemoteStore.push

    def refused_later(self: RemoteStore, folder: Path, manifest: Manifest, progress: Progress) -> None:
        if manifest.stage == "train":
            refusing()
        push(self, folder, manifest, progress)

    with monkeypatch.context() as until_then:
        until_then.setattr(RemoteStore, "push", refused_later)
        run = pipeline(config)
        with pytest.raises(UserError) as raised:
            run.run(progress=said)
    assert str(raised.value).startswith("Stage train is finished, and its artifact here, but not in the remote store: ")
    assert [line.partition(":")[0] for line in said.texts if "finished, but not pushed" in line] == [
        "train",
        "evaluate",
    ]
    assert {plan.stage: plan.state for plan in pipeline(config).plan()} == dict.fromkeys(STAGES, "cached")
    with pytest.raises(UserError, match="writable cannot be written: Access Denied"):
        pipeline(config).run(force=["train"])


def test_a_flow_fails_by_it_when_all_is_done(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusing: Callable[[], None]
) -> None:
    done: list[Stage] = []

    def push(store: RemoteStore, *_: object) -> None:
        refusing()
        store.require_writable()

    def task_of(work: Pipeline, stage: Stage) -> Any:
        def run(*_: object, **__: object) -> Any:
            result = work.run_stage(stage)
            done.append(stage)
            return Completed(data=result)

        return run

    monkeypatch.setattr(RemoteStore, "push", push)
    monkeypatch.setattr("flows.flow._materializing", task_of)
    config = str(tiny_run(tmp_path))
    with pytest.raises(
        UserError, match=r"^Stage ingest is finished, and its artifact here, but not in the remote store"
    ):
        run_stages(config, ["remote_artifacts=memory://bucket/runs"], None, [], False, False, None, None)
    assert done == list(STAGES)
