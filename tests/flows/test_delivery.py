"""What cannot be delivered to a Prefect server is said once and left out; what it calls wrong is a bug."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectHTTPStatusError, TerminationSignal
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, temporary_settings
from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import PydanticSerializationError

from flows.delivery import Delivery, client_of, what_ended
from tests.flows.status_server import StatusServer, serving
from tests.paths import ROOT
from tests.tiny_run import tiny_run


def ask(server: StatusServer) -> int:
    with SyncPrefectClient(f"http://127.0.0.1:{server.server_address[1]}/api") as client:
        return client._client.get("/hello").status_code


@pytest.mark.parametrize(
    ("setting", "value", "wanted"),
    [(PREFECT_API_AUTH_STRING, "admin:pass", "Basic YWRtaW46cGFzcw=="), (PREFECT_API_KEY, "key", "Bearer key")],
)
def test_a_protected_server_is_given_what_prefects_settings_hold(setting: Any, value: str, wanted: str) -> None:
    with serving(200) as server, temporary_settings({setting: value}):
        server.wanted = wanted
        with client_of(f"http://127.0.0.1:{server.server_address[1]}/api") as client:
            assert client.api_healthcheck() is None
    assert server.asked == 1


class _Interrupted(BaseModel):
    """Meets a signal while it is serialised."""

    by: ClassVar[BaseException]

    @model_serializer
    def _serialise(self) -> dict[str, object]:
        raise self.by


class _Outer(BaseModel):
    """Holds it, as Prefect's settings hold others; of what is raised pydantic then keeps the name alone."""

    inner: _Interrupted = _Interrupted()

    @model_serializer(mode="wrap")
    def _serialise(self, handler: SerializerFunctionWrapHandler) -> object:
        return handler(self)


@pytest.mark.parametrize("model", [_Interrupted, _Outer])
@pytest.mark.parametrize("by", [KeyboardInterrupt(), TerminationSignal(signal=15), ValueError("KeyboardInterrupt: ")])
def test_a_signal_within_a_serializer_is_no_error_of_pydantics(
    by: BaseException, model: type[BaseModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Interrupted, "by", by, raising=False)
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - whichever it is
        Delivery(pytest.fail)(lambda: model().model_dump())
    if isinstance(by, Exception):
        assert isinstance(raised.value, PydanticSerializationError)
    else:
        assert type(raised.value) is type(by)
        assert getattr(raised.value, "signal", None) == getattr(by, "signal", None)


@pytest.mark.parametrize("status", [404, 429, 503])
def test_an_absent_server_is_asked_once_and_left_alone(status: int) -> None:
    said: list[str] = []
    deliver = Delivery(said.append)
    with serving(status) as server:
        assert deliver(lambda: ask(server)) is None
        server.status = 200
        assert deliver(lambda: ask(server)) is None, "for a while it is not asked again"
        assert server.asked == 1
        deliver._next = 0.0
        assert deliver(lambda: ask(server)) == 200
    assert deliver(lambda: ask(server)) is None, "nothing listens there any more"
    (line,) = said
    assert "does not answer" in line
    assert "the work goes on" in line


def test_a_server_that_is_slow_to_be_missed_is_asked_the_more_seldom() -> None:
    """A host that drops all packets takes each call minutes."""
    deliver = Delivery(lambda _: None)

    def late() -> None:
        time.sleep(1.5)
        raise httpx.ReadTimeout("timed out")

    assert deliver(late) is None
    assert deliver._next - time.monotonic() > 25


@pytest.mark.parametrize("by", [KeyboardInterrupt(), TerminationSignal(signal=15)])
def test_a_signal_of_which_the_server_could_not_be_told_is_the_signal(by: BaseException) -> None:
    with serving(503) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/api"
    with SyncPrefectClient(address) as client:

        def tell(ending: BaseException | None) -> None:
            try:
                if ending is not None:
                    raise ending
            finally:
                client._client.get("/hello")

        with pytest.raises(httpx.ConnectError) as alone:
            tell(None)
        with pytest.raises(httpx.ConnectError) as raised:
            tell(by)
    assert what_ended(raised.value) is by
    assert what_ended(alone.value) is alone.value


def test_a_wrong_request_is_no_absent_server() -> None:
    said: list[str] = []
    with serving(422) as server, pytest.raises(PrefectHTTPStatusError):
        Delivery(said.append)(lambda: ask(server))
    assert not said


@pytest.mark.slow
def test_a_run_whose_server_is_not_there_ends_in_a_sentence(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, num_pairs=20)
    url = "http://127.0.0.1:9/api"  # the port of `discard`, where nobody listens
    command = [sys.executable, "-m", "bdpo.cli", "run", str(config)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": url}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    line = done.stderr
    assert line.startswith(f"error: The Prefect server at {url} does not answer (")
    assert "unset PREFECT_API_URL" in line
