"""A real HTTP server that speaks as an OpenAI-compatible endpoint does."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.serving import in_background


class ChatServer(ThreadingHTTPServer):
    """Answers with the replies that were put in, in order; the last one again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: list[tuple[int, str] | bytes] = []
        """Status and what is said, or a body as it is."""
        self.headers: dict[str, str] = {}
        """Sent with every answer."""
        self.wait_s = 0.0
        """Before every answer."""
        self.ended = threading.Event()
        self.requests: list[tuple[float, dict[str, Any], str | None]] = []
        self.agents: list[str | None] = []
        """Who says to have asked."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        assert self.path == "/v1/chat/completions"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((time.monotonic(), body, self.headers.get("Authorization")))
        self.server.agents.append(self.headers.get("User-Agent"))
        if self.server.ended.wait(self.server.wait_s):
            return
        reply = self.server.replies[min(len(self.server.requests), len(self.server.replies)) - 1]
        status, text = (200, reply) if isinstance(reply, bytes) else (reply[0], reply[1].encode())
        if status == 200 and not isinstance(reply, bytes):
            text = json.dumps({"choices": [{"message": {"content": reply[1]}}]}).encode()
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """A running server."""
    with in_background(ChatServer(), poll_s=0.02) as running:
        try:
            yield running
        finally:
            running.ended.set()
