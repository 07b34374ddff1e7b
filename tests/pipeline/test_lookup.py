"""Reasons and copies of artifacts whose files are made up: nothing is computed."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from bdpo.artifacts.manifest import Manifest
from bdpo.artifacts.store import Identity, State
from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.fingerprints import Stage
from bdpo.models.source import ModelSource
from bdpo.pipeline import transfer
from bdpo.pipeline.lookup import ArtifactLookup
from bdpo.progress import Silent
from tests.tiny import save_tiny


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "pairs.jsonl").write_text("one\n")
    (tmp_path / "prompts.jsonl").write_text("one\n")
    path = tmp_path / "config.yaml"
    settings = {
        "name": "tiny",
        "artifacts": "artifacts",
        "ingest": {"sources": [{"path": "pairs.jsonl"}]},
        "evaluate": {"benchmarks": [{"path": "prompts.jsonl"}]},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def look(config: Path, *overrides: str) -> ArtifactLookup:
    lookup = ArtifactLookup(load_config(config, overrides))
    lookup.__dict__["source"] = ModelSource("tiny", config.parent, "a" * 64, "b" * 64)
    return lookup


def make(lookup: ArtifactLookup, stage: Stage, content: bytes) -> Manifest:
    """An artifact of these settings."""
    inputs: dict[str, str] = {above: lookup.whole(above).content for above in lookup.inputs[stage]}
    own = Identity(stage, lookup.fingerprints[stage], lookup.config.name, lookup.reads[stage], inputs)
    (lookup.store.begin(own, afresh=True) / "rows.parquet").write_bytes(content)
    return lookup.store.commit(own, {}, time.monotonic())


def reasons(lookup: ArtifactLookup, stage: Stage) -> list[str]:
    inspection = lookup.inspect(stage)
    assert inspection.state is not State.WHOLE
    return lookup.reasons(stage, inspection)


def test_an_input_that_changed_is_the_reason_once_it_is_computed_too(config: Path) -> None:
    """By then the newest artifact of the stage before is the one that these settings stand for."""
    first = look(config)
    for stage in ("ingest", "score", "train"):
        make(first, stage, b"rows")
    (config.parent / "pairs.jsonl").write_text("two\n")
    assert reasons(look(config), "score") == ["its input from ingest changed"]
    make(look(config), "ingest", b"more rows")
    assert reasons(look(config), "score") == ["its input from ingest changed"]
    make(look(config), "score", b"more rows")
    assert reasons(look(config), "train") == ["its input from ingest changed", "its input from score changed"]


def test_an_input_that_changed_for_other_settings_is_no_reason(config: Path) -> None:
    for stage in ("ingest", "score", "train"):
        make(look(config), stage, b"rows")
    make(look(config, "ingest.validation_fraction=0.2"), "ingest", b"other rows")
    assert reasons(look(config, "train.beta=0.2"), "train") == ["train.beta: 0.1 -> 0.2"]


def test_an_input_of_another_name_and_equal_content_is_the_reason(config: Path) -> None:
    for stage in ("ingest", "score"):
        make(look(config), stage, b"rows")
    other = look(config, "ingest.max_quarantined_fraction=0.6")
    make(other, "ingest", b"rows")
    assert reasons(other, "score") == ["its input from ingest changed"]


def test_an_artifact_is_used_while_its_inputs_have_the_content_that_it_was_made_from(config: Path) -> None:
    for stage in ("ingest", "score", "train", "evaluate"):
        make(look(config), stage, b"one")
    made = look(config).whole("evaluate")
    make(look(config), "train", b"two")
    lookup = look(config)
    inspection = lookup.inspect("evaluate")
    assert inspection.state is State.WHOLE, "its own files are as they were"
    assert lookup.reasons("evaluate", inspection) == ["its input from train was computed again and differs"]
    assert lookup.is_missing("evaluate")
    assert lookup.if_it_fits("evaluate", made) is None, "nor is a copy of it fetched"
    make(look(config), "train", b"one")
    again = look(config)
    assert again.reasons("evaluate", again.inspect("evaluate")) == []
    assert not again.is_missing("evaluate")
    assert again.if_it_fits("evaluate", made) == made


def test_of_two_machines_that_differ_the_later_has_its_artifact_in_the_store(memory: Any, config: Path) -> None:
    one, other = (
        look(config, f"artifacts={config.parent / name}", "remote_artifacts=memory://bucket/runs")
        for name in ("one", "other")
    )

    def push(lookup: ArtifactLookup, manifest: Manifest, *, computed: bool = False) -> str:
        transfer.push(lookup, "ingest", manifest, Silent(), computed=computed)
        there = other.remote_manifest("ingest")
        assert there is not None
        return there.content

    early, late = make(one, "ingest", b"rows"), make(other, "ingest", b"rows, rounded otherwise")
    assert push(one, early) == early.content, "what could not be pushed when it was computed"
    assert push(other, late) == late.content
    assert push(one, early) == late.content, "the next run of the first machine leaves it"
    assert push(one, early, computed=True) == early.content, "whatever the clocks say"


def test_code_of_another_repository_is_refused_where_it_would_run(config: Path) -> None:
    folder = save_tiny(config.parent / "model")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"auto_map": {"AutoConfig": "owner/base--own.C"}}))
    model = f"model.path={folder}"
    assert ArtifactLookup(load_config(config, [model])).source.folder == folder
    with pytest.raises(UserError, match=r"names code of another repository, 'owner/base--own\.C'"):
        _ = ArtifactLookup(load_config(config, [model, "model.trust_remote_code=true"])).source
