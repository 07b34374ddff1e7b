"""Published benchmarks: fetched from a real server once, checked, kept; and the table of them."""

import hashlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from bdpo import __version__
from bdpo.config.evaluate import BenchmarkSettings, PublishedBenchmark
from bdpo.errors import UserError
from bdpo.evaluation import published
from bdpo.evaluation.benchmarks import load_benchmark
from bdpo.evaluation.published import PUBLISHED, Published, fetch, locate
from tests.paths import shared_data

LOCAL: dict[PublishedBenchmark, str] = {
    "xstest": "xstest/xstest_prompts.csv",
    "strongreject": "strongreject/strongreject_dataset.csv",
    "gsm8k": "gsm8k/test.jsonl",
    "gcg-vicuna": "jailbreakbench/GCG/white_box/vicuna-13b-v1.5.json",
    "gcg-llama2": "jailbreakbench/GCG/white_box/llama-2-7b-chat-hf.json",
    "gcg-gpt35": "jailbreakbench/GCG/transfer/gpt-3.5-turbo-1106.json",
    "pair-vicuna": "jailbreakbench/PAIR/black_box/vicuna-13b-v1.5.json",
    "pair-llama2": "jailbreakbench/PAIR/black_box/llama-2-7b-chat-hf.json",
    "pair-gpt35": "jailbreakbench/PAIR/black_box/gpt-3.5-turbo-1106.json",
    "jbc-vicuna": "jailbreakbench/JBC/manual/vicuna-13b-v1.5.json",
}
CONTENT = b"goal,target\nDo it,Sure\n"
CUT = "/cut.csv"
"""Of it the server sends a part only."""


def zipped() -> bytes:
    """AdvGLUE's dev set in its archive, with the litter that a Mac leaves there."""
    buffer = io.BytesIO()
    row = {"label": 1, "idx": 0, "sentence": "It works."}
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("dev/dev.json", json.dumps({"sst2": [row]}))
        archive.writestr("__MACOSX/dev/dev.json", "x")
    return buffer.getvalue()


FILES = {
    "/a.csv": CONTENT,
    "/latin.csv": b"caf\xe9",
    "/dev.zip": zipped(),
    "/one.json": json.dumps({"name": "One", "examples": [{"input": "p", "target_scores": {"a": 1, "b": 0}}]}).encode(),
    "/two.json": json.dumps({"name": "Two", "examples": [{"input": "q", "target_scores": {"a": 0, "b": 1}}]}).encode(),
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A server's address and what was asked of it; an empty cache."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            refused = self.headers["User-Agent"] != f"bdpo/{__version__}"  # as some do by the name of `urllib`
            self.send_response(403 if refused else 200 if self.path in FILES or self.path == CUT else 404)
            if self.path == CUT:
                self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(FILES.get(self.path, b"metadata,problem,answer"))

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setenv("BDPO_CACHE", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


def put(monkeypatch: pytest.MonkeyPatch, name: PublishedBenchmark, entry: Published) -> None:
    monkeypatch.setattr(published, "PUBLISHED", {**PUBLISHED, name: entry})


def test_it_is_fetched_once_and_read(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    address, asked = server
    digest = hashlib.sha256(CONTENT).hexdigest()
    put(monkeypatch, "advbench", PUBLISHED["advbench"]._replace(urls=(f"{address}/a.csv",), sha256=digest))
    path = locate(BenchmarkSettings(published="advbench"))
    assert path.read_bytes() == CONTENT
    assert fetch("advbench") == path
    assert asked == ["/a.csv"]
    path.write_bytes(CONTENT + b"x")
    assert fetch("advbench").read_bytes() == CONTENT, "what was altered since is fetched again"
    assert asked == ["/a.csv"] * 2
    assert load_benchmark(path, format_name="advbench").available["harmful"] == 1


def test_another_file_than_expected_is_refused(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address, _ = server
    put(monkeypatch, "advbench", PUBLISHED["advbench"]._replace(urls=(f"{address}/a.csv",)))
    with pytest.raises(UserError, match=r"the sha256 of http.*/a\.csv is [0-9a-f]{64}, but 6cd1a5c6.* is expected"):
        fetch("advbench")
    assert not list((tmp_path / "cache").rglob("*.csv"))
    put(monkeypatch, "hhh", PUBLISHED["hhh"]._replace(urls=(f"{address}/a.csv",)))
    with pytest.raises(UserError, match="holds another file than expected"):
        fetch("hhh")
    put(monkeypatch, "advbench", PUBLISHED["advbench"]._replace(urls=(f"{address}/gone",)))
    with pytest.raises(UserError, match=r"cannot be fetched from http.*/gone: Not Found; where there is no"):
        fetch("advbench")


def test_no_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BDPO_CACHE", str(tmp_path))
    put(monkeypatch, "simpleqa", PUBLISHED["simpleqa"]._replace(urls=("http://127.0.0.1:9/none.csv",)))
    with pytest.raises(UserError, match=r"^benchmark .simpleqa. cannot be fetched from .*; .* give its `path`\.$"):
        fetch("simpleqa")


@pytest.mark.parametrize(
    ("file", "message"), [(CUT, "cannot be fetched from .*IncompleteRead"), ("/latin.csv", "holds another file")]
)
def test_a_cut_or_foreign_file_is_one_sentence_and_not_kept(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, message: str
) -> None:
    """Of SimpleQA no digest is known."""
    put(monkeypatch, "simpleqa", PUBLISHED["simpleqa"]._replace(urls=(f"{server[0]}{file}",)))
    with pytest.raises(UserError, match=message):
        fetch("simpleqa")
    assert not list((tmp_path / "cache").rglob("*.csv"))


def test_an_archive_and_a_document_in_parts(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    address, _ = server
    put(monkeypatch, "advglue", PUBLISHED["advglue"]._replace(urls=(f"{address}/dev.zip",)))
    assert [p.answer for p in load_benchmark(fetch("advglue")).prompts] == ["Positive"]
    parts = (f"{address}/one.json", f"{address}/two.json")
    put(monkeypatch, "hhh", PUBLISHED["hhh"]._replace(urls=parts))
    found = load_benchmark(fetch("hhh")).prompts
    assert [(p.text, p.answer, p.category) for p in found] == [("p", "a", "One"), ("q", "b", "Two")]


def test_the_table_names_every_benchmark_at_a_secure_address() -> None:
    assert PUBLISHED.keys() == set(get_args(PublishedBenchmark))
    for name, entry in PUBLISHED.items():
        assert all(url.startswith("https://") for url in entry.urls), name
        unpinned = name in ("simpleqa", "advglue")
        assert all(("raw.githubusercontent.com" in url) != unpinned for url in entry.urls), name


@pytest.mark.parametrize("name", sorted(LOCAL))
def test_the_digests_are_those_of_the_real_files(name: PublishedBenchmark) -> None:
    path = shared_data(LOCAL[name])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == PUBLISHED[name].sha256
    assert load_benchmark(path).format == PUBLISHED[name].format
