"""A server that answers every request with one status."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.serving import in_background


class StatusServer(ThreadingHTTPServer):
    """Answers every request with one status, but 401 to one that lacks the Authorization it wants."""

    status = 200
    asked = 0
    wanted: str | None = None


class _Handler(BaseHTTPRequestHandler):
    server: StatusServer

    def do_GET(self) -> None:
        self.server.asked += 1
        known = self.server.wanted in (None, self.headers["Authorization"])
        self.send_response(self.server.status if known else 401)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(status: int) -> Iterator[StatusServer]:
    """A running one."""
    with in_background(StatusServer(("127.0.0.1", 0), _Handler)) as server:
        server.status = status
        yield server
