"""A real HTTP server that answers as the hub does, for data sets and models whose files it holds."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.serving import in_background

COMMIT = "a" * 40
REVISIONS = ("main", COMMIT)
Files = Mapping[str, bytes]


class HubServer(ThreadingHTTPServer):
    """Data sets or models by name: their files by path, or None for one whose terms were not accepted."""

    def __init__(self, repos: Mapping[str, Files | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos = repos

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(json.loads(asked)["paths"])

    def do_GET(self) -> None:
        self._answer([])

    def do_HEAD(self) -> None:
        self._answer([])

    def _answer(self, asked: list[str]) -> None:
        path = unquote(urlsplit(self.path).path)
        is_api = path.startswith("/api")
        owner, name, *rest = re.sub(r"^(/api)?/(datasets/|models/)?", "", path).split("/")
        repo = f"{owner}/{name}"
        kind, revision, place = [*rest, "", ""][0], [*rest, "", "main"][1] or "main", "/".join(rest[2:])
        if repo not in self.server.repos:
            self._fail(404, "RepoNotFound")
        elif revision not in REVISIONS:
            self._fail(404, "RevisionNotFound")
        elif is_api and kind in ("", "revision"):
            self._send(json.dumps({"id": repo, "sha": COMMIT, "siblings": [], "tags": []}).encode())
        elif (files := self.server.repos[repo]) is None:
            self._fail(401, "GatedRepo")
        elif is_api:
            found = _tree(files, place) if kind == "tree" else [_entry(files, path) for path in asked]
            self._send(json.dumps([entry for entry in found if entry]).encode())
        elif place not in files:
            self._fail(404, "EntryNotFound")
        else:
            self._send(files[place])

    def _send(self, data: bytes) -> None:
        wanted = self.headers.get("Range")
        first, last = 0, len(data) - 1
        if wanted:
            first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
        part = data[first : last + 1]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("ETag", f'"{_digest(data)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(part)

    def _fail(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _entry(files: Files, path: str) -> dict[str, Any] | None:
    if path in files:
        return {"type": "file", "path": path, "size": len(files[path]), "oid": _digest(files[path])}
    return {"type": "directory", "path": path, "oid": "d" * 40} if _tree(files, path) else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:40]


def _tree(files: Files, folder: str) -> list[dict[str, Any] | None]:
    """Everything below a folder."""
    below = [path for path in files if not folder or path.startswith(f"{folder}/")]
    parts = [path.split("/") for path in below]
    folders = {"/".join(names[:end]) for names in parts for end in range(1, len(names))}
    return [_entry(files, path) for path in below] + [
        {"type": "directory", "path": path, "oid": "d" * 40} for path in sorted(folders) if len(path) > len(folder)
    ]


@contextmanager
def hub_server(repos: Mapping[str, Files | None]) -> Iterator[HubServer]:
    """A running server."""
    with in_background(HubServer(repos)) as running:
        yield running
