"""A server of the tests' own that runs beside them, and ends with the block though a test in it fails."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer
from typing import TypeVar

Server = TypeVar("Server", bound=BaseServer)


@contextmanager
def in_background(server: Server, *, poll_s: float = 0.5) -> Iterator[Server]:
    """Serve, looking for the block's end every `poll_s` seconds."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(poll_s,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
