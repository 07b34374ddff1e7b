"""Connecting and answering have times of their own, over TLS too; real sockets on loopback."""

import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bdpo.evaluation import web
from bdpo.evaluation.web import OPENER
from tests.chat_server import ChatServer, chat_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """It answers later than it may take to be there."""
    monkeypatch.setattr(web, "_CONNECT_S", 2.0)
    with chat_server() as running:
        running.replies, running.wait_s = [(200, "Sure")], 2.5
        yield running


def test_an_answer_may_take_longer_than_connecting(server: ChatServer) -> None:
    with OPENER.open(f"{server.url}/chat/completions", b"{}", timeout=60) as response:
        assert b"Sure" in response.read()
    with pytest.raises(TimeoutError):
        OPENER.open(f"{server.url}/chat/completions", b"{}", timeout=1)


def test_over_tls_too(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
    for_loopback = ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *for_loopback], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:") + "/chat/completions"
    with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
        OPENER.open(url, b"{}", timeout=60)
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    with OPENER.open(url, b"{}", timeout=60) as response:
        assert b"Sure" in response.read()
    with pytest.raises(TimeoutError):
        OPENER.open(url, b"{}", timeout=1)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_that_is_not_there_is_known_soon(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the one the queue of those who want to connect is full; the other never says a word of TLS."""
    monkeypatch.setattr(web, "_CONNECT_S", 0.3)
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        if scheme == "http":
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listening.getsockname())
        began = time.monotonic()
        with pytest.raises(urllib.error.URLError, match="timed out"):
            OPENER.open(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/", b"{}", timeout=600)
        assert time.monotonic() - began < 30
