"""A request that forces stages and is made again, as by a cluster that took its node away.  Nothing is computed."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from bdpo.artifacts.store import note_progress
from bdpo.config import load_config
from bdpo.fingerprints import Stage
from bdpo.pipeline import Pipeline
from bdpo.stages import StageContext
from tests.rules_alone import RulesAlone
from tests.tiny_run import tiny_run


class KilledError(Exception):
    """Where the process would end."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tiny_run(tmp_path, num_pairs=4)


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> list[StageContext]:
    """What stages were told, the newest last: each goes on from what is there, and is killed where `steps` ends."""
    told: list[StageContext] = []

    def compute(stage: Stage, context: StageContext) -> dict[str, Any]:
        told.append(context)
        kept = context.workdir / "scratch" / "steps"
        before = int(kept.read_text()) if kept.exists() else 0
        if before == 0:
            kept.write_text("4")
            note_progress(context.workdir, 4, 8, "steps")
            raise KilledError
        (context.workdir / "rows.parquet").write_bytes(b"rows")
        return {"resumed_from_step": before}

    monkeypatch.setattr("bdpo.pipeline.run.compute", compute)
    return told


def test_it_goes_on_with_what_it_began_and_finds_what_it_finished(config: Path, works: list[StageContext]) -> None:
    def run(request: str | None, *, force: bool = True) -> Any:
        work = Pipeline(load_config(config), checks=RulesAlone())
        return work.run_stage("ingest", force=force, request=request)

    with pytest.raises(KilledError):
        run(None, force=False)
    assert run(None, force=False).summary == {"resumed_from_step": 4}

    with pytest.raises(KilledError):
        run("first")
    again = run("first")
    assert (again.cached, again.reasons, again.summary) == (False, ["forced"], {"resumed_from_step": 4})
    assert [told.afresh for told in works] == [False, False, True, False]
    assert run("first").cached
    for other in ("second", None, None):
        with pytest.raises(KilledError):
            run(other)
        assert works[-1].afresh


def test_what_it_began_before_anything_came_of_it_begins_anew(
    config: Path, works: list[StageContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`score` has yet to take the old scores out then."""
    work = Pipeline(load_config(config), checks=RulesAlone())
    for _ in range(2):
        monkeypatch.setattr("tests.pipeline.test_requests.note_progress", lambda *_: None)
        with pytest.raises(KilledError):
            work.run_stage("ingest", force=True, request="first")
    assert [told.afresh for told in works] == [True, True]


def test_on_another_machine_it_fetches_what_it_finished(config: Path, works: list[StageContext], memory: Any) -> None:
    def run(request: str) -> Any:
        work = Pipeline(load_config(config, ["remote_artifacts=memory://bucket"]), checks=RulesAlone())
        return work.run_stage("ingest", force=True, request=request)

    with pytest.raises(KilledError):
        run("first")
    assert not run("first").cached
    shutil.rmtree(config.parent / "artifacts")
    assert run("first").fetched_from is not None
    shutil.rmtree(config.parent / "artifacts")
    with pytest.raises(KilledError):
        run("second")
