"""The store: whole or not at all, whatever happens to its files or its process."""

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from bdpo.artifacts.manifest import MANIFEST, read_manifest
from bdpo.artifacts.store import SCRATCH, ArtifactStore, Identity, State, note_progress

IDENTITY = Identity(stage="ingest", fingerprint="abc", run="demo", reads={"ingest.seed": 0}, inputs={})


def make(store: ArtifactStore, data: bytes = b"rows") -> Path:
    workspace = store.begin(IDENTITY, afresh=False)
    (workspace / SCRATCH / "restart").write_bytes(b"kept only while working")
    (workspace / "docs").mkdir(exist_ok=True)
    (workspace / "docs" / "page.html").write_text("page")
    (workspace / "pairs.parquet").write_bytes(data)
    store.commit(IDENTITY, {"pairs": 3}, time.monotonic())
    return store.folder("ingest", "abc")


def state(store: ArtifactStore) -> tuple[State, str]:
    inspection = store.inspect("ingest", "abc")
    return inspection.state, inspection.reason


def replace(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def test_a_committed_artifact_is_whole_and_names_every_file(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    assert state(store) == (State.ABSENT, "not computed yet")
    folder = make(store)
    assert state(store) == (State.WHOLE, "")
    manifest = read_manifest(folder)
    assert manifest is not None
    # sha256 of b"rows" and b"page", worked with coreutils.
    assert {name: (entry.sha256[:12], entry.size) for name, entry in manifest.files.items()} == {
        "docs/page.html": ("3660315a9af3", 4),
        "pairs.parquet": ("bc51e9e65d79", 4),
    }
    assert manifest.summary == {"pairs": 3}
    assert not (folder / SCRATCH).exists()
    assert not store.workspace("ingest", "abc").exists()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda f: (f / "pairs.parquet").unlink(), "pairs.parquet is missing"),
        (lambda f: (f / "pairs.parquet").write_bytes(b"row"), "pairs.parquet has 3 bytes where the manifest says 4"),
        (lambda f: (f / "pairs.parquet").write_bytes(b"rowz"), "pairs.parquet was altered: its digest is not the"),
        (lambda f: (f / MANIFEST).unlink(), "manifest.json is missing or damaged"),
        (lambda f: (f / MANIFEST).write_text("{"), "manifest.json is missing or damaged"),
        (lambda f: (f / MANIFEST).write_text("[]"), "manifest.json is missing or damaged"),
        (lambda f: (f / MANIFEST).write_bytes(b"\xff"), "manifest.json is missing or damaged"),
        (lambda f: replace(f / MANIFEST, b'"pairs": 3', b'"pairs": 2'), "manifest.json is missing or damaged"),
        (lambda f: replace(f / MANIFEST, b'"digest"', b'"digesu"'), "manifest.json is missing or damaged"),
    ],
)
def test_damage_is_noticed_and_mended(tmp_path: Path, harm: object, reason: str) -> None:
    store = ArtifactStore(tmp_path)
    folder = make(store)
    assert callable(harm)
    harm(folder)
    found, why = state(store)
    assert found is State.DAMAGED
    assert why.startswith(reason)
    make(store)
    assert state(store) == (State.WHOLE, "")
    assert sorted(p.name for p in (tmp_path / "ingest").iterdir()) == ["abc"]


def test_a_manifest_of_before_it_held_a_digest_is_read(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    path = make(store) / MANIFEST
    fields = json.loads(path.read_text())
    assert fields.pop("digest")
    path.write_text(json.dumps(fields))
    assert state(store) == (State.WHOLE, "")


def test_an_alteration_that_keeps_size_and_mtime_is_noticed(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    file = make(store) / "pairs.parquet"
    before = file.stat()
    assert state(store)[0] is State.WHOLE
    file.write_bytes(b"rowz")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert state(store)[0] is State.DAMAGED


def test_work_in_progress_is_partial_and_says_how_far(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    workspace = store.begin(IDENTITY, afresh=False)
    assert state(store) == (State.PARTIAL, "begun")
    note_progress(workspace, 3, 8, "shards")
    assert state(store) == (State.PARTIAL, "3 of 8 shards done")
    (workspace / "progress.json").write_text('{"done": 3, "total" 8}')
    assert state(store) == (State.PARTIAL, "begun")
    (workspace / SCRATCH / "piece").write_text("x")
    (workspace / ".half.tmp").write_text("x")
    (workspace / ".spilled.tmp").mkdir()
    assert (store.begin(IDENTITY, afresh=False) / SCRATCH / "piece").is_file()
    assert not list(workspace.glob(".*.tmp"))
    assert not (store.begin(IDENTITY, afresh=True) / SCRATCH / "piece").exists()


def test_work_begun_on_inputs_that_were_computed_again_is_not_carried_on(tmp_path: Path) -> None:
    """A forced training gives other weights: what a killed evaluation had of the old ones is of no use."""
    store = ArtifactStore(tmp_path)
    before, after = (dataclasses.replace(IDENTITY, inputs={"train": content}) for content in ("old", "new"))
    (store.begin(before, afresh=False) / SCRATCH / "piece").write_text("x")
    assert (store.begin(before, afresh=False) / SCRATCH / "piece").is_file()
    workspace = store.begin(after, afresh=False)
    assert not (workspace / SCRATCH / "piece").exists()
    (workspace / SCRATCH / "piece").write_text("y")
    assert (store.begin(after, afresh=False) / SCRATCH / "piece").read_text() == "y"


def test_a_commit_killed_before_its_renaming_is_finished_later(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    folder = make(store)
    workspace = store.workspace("ingest", "abc")
    folder.rename(workspace)
    (workspace / SCRATCH).mkdir()
    assert store.recover("ingest", "abc")
    assert state(store) == (State.WHOLE, "")
    assert not (folder / SCRATCH).exists()
    assert not store.recover("ingest", "abc")


def test_a_workspace_with_a_manifest_that_does_not_fit_is_not_put_in_place(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    folder = make(store)
    workspace = store.workspace("ingest", "abc")
    folder.rename(workspace)
    (workspace / "pairs.parquet").write_bytes(b"")
    assert not store.recover("ingest", "abc")
    assert state(store)[0] is State.PARTIAL


def test_the_content_digest_ignores_pages_but_not_data(tmp_path: Path) -> None:
    digests = []
    for data in (b"rows", b"rows", b"rowz"):
        folder = make(ArtifactStore(tmp_path), data)
        manifest = read_manifest(folder)
        assert manifest is not None
        digests.append(manifest.content)
    assert digests[0] == digests[1] != digests[2]


def _hold(root: Path, held: Event) -> None:
    with ArtifactStore(root).lock("ingest", "abc", lambda: None):
        held.set()
        time.sleep(60)


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held))
    process.start()
    assert held.wait(30)
    assert process.pid is not None
    waited = []

    def waiting() -> None:
        waited.append(True)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)

    with ArtifactStore(tmp_path).lock("ingest", "abc", waiting):
        assert waited == [True]
    process.join()
