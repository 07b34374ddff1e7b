"""The remote store: whole or not at all, every flipped byte noticed, and a real S3 server of moto's."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from bdpo.artifacts.manifest import MANIFEST, Manifest
from bdpo.artifacts.remote import DamagedCopy, RemoteCopy, RemoteStore
from bdpo.artifacts.store import ArtifactStore, Identity, State
from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.pipeline import Pipeline, StageResult
from bdpo.progress import Silent
from data_checks import GreatExpectationsChecks
from tests.said import Said
from tests.tiny_run import tiny_run

IDENTITY = Identity(stage="ingest", fingerprint="abc", run="demo", reads={"ingest.seed": 0}, inputs={})
FILES = {"pairs.parquet": b"rows", "docs/page.html": b"page"}


def make(root: Path, files: dict[str, bytes] | None = None) -> tuple[ArtifactStore, Manifest]:
    store = ArtifactStore(root)
    workspace = store.begin(IDENTITY, afresh=True)
    for name, data in (files or FILES).items():
        (workspace / name).parent.mkdir(exist_ok=True)
        (workspace / name).write_bytes(data)
    return store, store.commit(IDENTITY, {"pairs": 3}, time.monotonic())


def push(remote: RemoteStore, store: ArtifactStore, manifest: Manifest) -> None:
    remote.push(store.folder("ingest", "abc"), manifest, Silent())


def fetch(remote: RemoteStore, store: ArtifactStore) -> None:
    found = remote.look("ingest", "abc")
    if found.manifest is None:
        raise DamagedCopy(found.damage)
    remote.fetch(found.manifest, store.incoming("ingest", "abc"), Silent())
    store.accept("ingest", "abc")


@pytest.mark.parametrize("place", ["memory://bucket/prefix/", "file://{}/shared", "file://{}/my share/b-dpo"])
def test_what_was_pushed_is_fetched_whole(place: str, memory: Any, tmp_path: Path) -> None:
    remote = RemoteStore(place.format(tmp_path))
    assert remote.look("ingest", "abc").manifest is None
    remote.require_writable()
    push(remote, *make(tmp_path / "here"))
    there = ArtifactStore(tmp_path / "there")
    fetch(remote, there)
    inspection = there.inspect("ingest", "abc")
    assert inspection.state is State.WHOLE
    assert inspection.manifest == ArtifactStore(tmp_path / "here").inspect("ingest", "abc").manifest
    assert sorted(p.name for p in (tmp_path / "there" / "ingest").iterdir()) == ["abc"]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Objects of a pushed artifact: path to content."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    push(RemoteStore("memory://bucket"), *make(tmp_path_factory.mktemp("pushed")))
    objects = {path: system.cat_file(path) for path in system.find("/bucket")}
    system.store.clear()
    assert len(objects) == len(FILES) + 2
    return objects


@settings(max_examples=60)
@given(data=st.data())
def test_any_flipped_bit_in_the_store_is_noticed(
    data: st.DataObject, pushed: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    system = fsspec.filesystem("memory")
    path = data.draw(st.sampled_from(sorted(pushed)))
    place = data.draw(st.integers(0, len(pushed[path]) - 1))
    bit = data.draw(st.integers(0, 7))
    flipped = bytearray(pushed[path])
    flipped[place] ^= 1 << bit
    for name, content in (pushed | {path: bytes(flipped)}).items():
        system.pipe_file(name, content)
    store = ArtifactStore(tmp_path_factory.mktemp("there"))
    with pytest.raises(DamagedCopy):
        fetch(RemoteStore("memory://bucket"), store)
    assert store.inspect("ingest", "abc").state is State.ABSENT


@pytest.mark.parametrize("survived", range(len(FILES) + 2))
def test_a_push_that_was_stopped_leaves_no_artifact_even_where_one_was(
    survived: int, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = RemoteStore("memory://bucket")
    push(remote, *make(tmp_path / "first"))
    later = make(tmp_path / "second", {"pairs.parquet": b"other", "docs/page.html": b"page"})
    writes = 0

    def stopping(real: Any) -> Any:
        def write(*arguments: Any, **options: Any) -> Any:
            nonlocal writes
            if writes == survived:
                raise KeyboardInterrupt
            writes += 1
            return real(*arguments, **options)

        return write

    with monkeypatch.context() as patched:
        for name in ("put_file", "pipe_file"):
            patched.setattr(memory, name, stopping(getattr(memory, name)))
        with pytest.raises(KeyboardInterrupt):
            push(remote, *later)
    found = remote.look("ingest", "abc")
    assert (found.manifest, found.damage) == (None, None)
    push(remote, *later)
    assert remote.look("ingest", "abc").manifest == later[1]


def test_a_fetch_that_was_stopped_goes_on_with_what_is_missing(memory: Any, tmp_path: Path) -> None:
    remote = RemoteStore("memory://bucket")
    push(remote, *make(tmp_path / "here"))
    there = ArtifactStore(tmp_path / "there")
    (there.incoming("ingest", "abc") / "pairs.parquet").write_bytes(FILES["pairs.parquet"])
    memory.rm_file("/bucket/ingest/abc/pairs.parquet")
    fetch(remote, there)
    assert there.inspect("ingest", "abc").state is State.WHOLE


def test_of_a_fetch_that_was_stopped_nothing_stays_that_the_artifact_does_not_have(memory: Any, tmp_path: Path) -> None:
    """Such as a model's second file of weights, where what was replaced there meanwhile has one."""
    remote = RemoteStore("memory://bucket")
    push(remote, *make(tmp_path / "here"))
    there = ArtifactStore(tmp_path / "there")
    (there.incoming("ingest", "abc") / "more.parquet").write_bytes(b"rows of another attempt")
    fetch(remote, there)
    assert not (there.folder("ingest", "abc") / "more.parquet").exists()

    there.incoming("ingest", "abc")
    make(tmp_path / "there")
    assert sorted(p.name for p in (tmp_path / "there" / "ingest").iterdir()) == ["abc"], "computed in its place"


@pytest.mark.parametrize("name", ["../../outside", "/etc/outside", "a/../../b", "..\\outside", "", MANIFEST])
def test_a_manifest_that_names_a_place_outside_is_refused(name: str, memory: Any, tmp_path: Path) -> None:
    store, manifest = make(tmp_path / "here")
    entry = manifest.files["docs/page.html"]
    harmful = manifest.model_copy(update={"files": manifest.files | {name: entry}})
    place = tmp_path / "here" / "ingest" / "abc"
    remote = RemoteStore("memory://bucket")
    remote.push(place, harmful.model_copy(update={"files": {}}), Silent())
    text = (harmful.model_dump_json(indent=2) + "\n").encode()
    memory.pipe_file("/bucket/ingest/abc/manifest.sha256", hashlib.sha256(text).hexdigest().encode())
    memory.pipe_file("/bucket/ingest/abc/manifest.json", text)
    found = remote.look("ingest", "abc")
    assert found.manifest is None
    assert found.damage == f"manifest.json names {name!r}"
    assert store.inspect("ingest", "abc").state is State.WHOLE


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nothing://bucket", r"field `remote_artifacts`: nothing://bucket: Protocol not known: nothing\."),
        (
            "gs://bucket",
            r"field `remote_artifacts`: gs://bucket needs a package that is missing: `pip install gcsfs`\.",
        ),
    ],
)
def test_a_store_without_a_package_names_it(url: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        RemoteStore(url).require_writable()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real S3 server on loopback with one bucket; s3fs finds it by the environment alone."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    system = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    system.makedirs("bucket", exist_ok=True)  # what a server of this process held, the next one holds
    yield system
    server.stop()


def test_s3_takes_an_artifact_and_tells_damage(s3: Any, tmp_path: Path) -> None:
    remote = RemoteStore("s3://bucket/prefix")
    remote.require_writable()
    push(remote, *make(tmp_path / "here"))
    fetch(remote, ArtifactStore(tmp_path / "there"))
    s3.pipe_file("bucket/prefix/ingest/abc/pairs.parquet", b"rowz")
    with pytest.raises(DamagedCopy, match=r"pairs\.parquet was altered"):
        fetch(remote, ArtifactStore(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match=r"s3://gone/writable cannot be written: .*make the bucket, or change"):
        RemoteStore("s3://gone").require_writable()


def test_s3_lists_and_takes_pieces(s3: Any, tmp_path: Path) -> None:
    remote = RemoteStore("s3://bucket/pieces")
    for name in ("here", "there"):
        (tmp_path / name / "scorer").mkdir(parents=True)
    content = b"rows"
    piece = f"{hashlib.sha256(content).hexdigest()}.parquet"
    other = remote.pieces("sequences", tmp_path / "there" / "scorer")
    assert other.bring(pytest.fail) == 0, "nothing is there yet, not even the folder"
    (tmp_path / "here" / "scorer" / piece).write_bytes(content)
    remote.pieces("sequences", tmp_path / "here" / "scorer").push()
    assert other.bring(pytest.fail) == 1
    assert (tmp_path / "there" / "scorer" / piece).read_bytes() == content


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot be written: .*credentials are read from the environment"):
        RemoteStore("s3://without-credentials").require_writable()


@pytest.mark.slow
def test_an_unreachable_store_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot be read: Could not connect .*see whether the address is right"):
        RemoteStore("s3://unreachable").look("ingest", "abc")


def pipeline(config: Path, artifacts: Path, *overrides: str) -> Pipeline:
    settings = [f"artifacts={artifacts}", "remote_artifacts=memory://bucket/runs", *overrides]
    return Pipeline(load_config(config, settings), checks=GreatExpectationsChecks())


def origin(result: StageResult) -> str:
    return "fetched" if result.fetched_from else "cached" if result.cached else "computed"


def test_a_cached_run_needs_no_store_and_says_once_that_nothing_was_pushed(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run(tmp_path)
    assert origin(pipeline(config, tmp_path / "here").run_stage("ingest")) == "computed"

    def away(self: RemoteStore, stage: str, fingerprint: str) -> RemoteCopy:
        raise UserError(f"{self.folder(stage, fingerprint)} cannot be read: Could not connect.")

    monkeypatch.setattr(RemoteStore, "look", away)
    later, said = pipeline(config, tmp_path / "here"), Said()
    assert [origin(later.run_stage("ingest", progress=said)) for _ in range(2)] == ["cached", "cached"]
    (line,) = said.texts
    assert line.startswith("ingest: what is cached here is used, and nothing of it pushed to the remote store: memory:")
    assert line.endswith("cannot be read: Could not connect.")
    for missing in (pipeline(config, tmp_path / "there"), later):
        with pytest.raises(UserError, match="cannot be read: Could not connect"):
            missing.run(only="ingest", force=["ingest"] if missing is later else [])


def test_a_plan_asks_once_for_each_manifest_and_the_next_asks_anew(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    look = RemoteStore.look

    def counted(self: RemoteStore, stage: str, fingerprint: str) -> RemoteCopy:
        asked.append(stage)
        return look(self, stage, fingerprint)

    monkeypatch.setattr(RemoteStore, "look", counted)
    planned = pipeline(tiny_run(tmp_path), tmp_path / "here")
    for _ in range(2):
        assert {plan.state for plan in planned.plan()} == {"stale"}
        assert sorted(asked) == ["evaluate", "ingest", "score", "train"]
        asked.clear()


@pytest.mark.slow
def test_a_second_machine_fetches_and_computes_only_what_is_damaged(memory: Any, tmp_path: Path) -> None:
    config = tiny_run(tmp_path)
    first = pipeline(config, tmp_path / "first")
    assert origin(first.run_stage("ingest")) == "computed"
    assert origin(first.run_stage("score")) == "computed"
    second = pipeline(config, tmp_path / "second")
    assert [plan.state for plan in second.plan()] == ["remote", "remote", "stale", "stale"]
    assert second.missing_inputs("train") == []
    score = second.run_stage("score")
    assert (origin(score), score.summary) == ("fetched", first.run_stage("score").summary)
    assert [plan.state for plan in second.plan()][:2] == ["remote", "cached"]

    (pairs,) = memory.glob("/bucket/runs/ingest/*/pairs.parquet")
    content = memory.cat_file(pairs)
    memory.pipe_file(pairs, content[:-1] + bytes([content[-1] ^ 1]))
    ingest = second.run_stage("ingest")
    assert origin(ingest) == "computed"
    assert ingest.reasons[-1].endswith("is damaged: pairs.parquet was altered: its digest is not the manifest's")
    third = pipeline(config, tmp_path / "third")
    assert [origin(third.run_stage(stage)) for stage in ("ingest", "score")] == ["fetched", "fetched"]

    # What was finished before the store was named is pushed by the next run, though cached.
    memory.store.clear()
    assert origin(third.run_stage("ingest")) == "cached"
    assert next(plan.state for plan in pipeline(config, tmp_path / "fourth").plan()) == "remote"
    # The address has no part in what is computed, nor in any manifest.
    (manifest,) = (tmp_path / "first" / "ingest").glob("*/manifest.json")
    assert "bucket" not in json.dumps(json.loads(manifest.read_text())["reads"])
