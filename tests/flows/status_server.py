"""A server that answers every request with one status."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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
    with StatusServer(("127.0.0.1", 0), _Handler) as server:
        server.status = status
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
