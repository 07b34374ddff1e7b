"""Requests over HTTP: by whom, and how long a host may take: less to be there than to answer."""

import http.client
import urllib.request
from typing import Any

from bdpo import __version__

USER_AGENT = f"bdpo/{__version__}"
"""Services behind Cloudflare, as Groq, refuse `urllib` by its own name (HTTP 403, error code 1010)."""
_CONNECT_S = 30.0
"""For each of a host's addresses."""


class _Connection(http.client.HTTPConnection):
    """Its timeout is that of an answer; connecting, through a proxy and TLS too, may take half a minute of it."""

    def connect(self) -> None:
        answer_s = self.timeout
        assert answer_s is not None, "a request has a timeout"
        self.timeout = min(answer_s, _CONNECT_S)
        super().connect()
        self.sock.settimeout(answer_s)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    """The same over TLS."""


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: followed, it would take the key and the prompts to an address that nobody named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


OPENER = urllib.request.build_opener(_Handler, _SecureHandler, _NoRedirects)
"""Raises `URLError` where a host is not there, and `TimeoutError` where it is silent for longer than `open` allows."""
