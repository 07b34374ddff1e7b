"""Showing things in the Prefect UI without depending on it: a server that goes away must not fail the work it shows."""

import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import PrefectHTTPStatusError, TerminationSignal
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)
from pydantic_core import PydanticSerializationError

from bdpo.errors import without_users

T = TypeVar("T")

UNREACHABLE = (httpx.TransportError, PrefectHTTPStatusError)
"""What Prefect's client raises when the server cannot be reached or takes nothing."""
_PAUSE_S = 20.0
_PAUSE_FACTOR = 20.0
"""How often as long as a failed call took the next one is put off: a host that drops all packets is noticed late."""
_REQUEST_S = 10.0
_WRONG = frozenset({400, 405, 409, 415, 422})
"""What a server answers to a request that is wrong."""


_ENDINGS: Mapping[str, Callable[[], BaseException]] = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "TerminationSignal": lambda: TerminationSignal(signal=signal.SIGTERM),
}
_ENDED = re.compile(rf"^Error calling function `\w+`: ({'|'.join(_ENDINGS)}):")


def is_away(error: BaseException) -> bool:
    """Whether an error says that the server is away or takes nothing now; a request that it calls wrong is our bug.

    A server that came back with an empty database finds no earlier run (404); one that is busy answers 429.
    """
    if isinstance(error, PrefectHTTPStatusError):
        return error.response.status_code not in _WRONG
    return isinstance(error, httpx.TransportError)


def what_ended(error: BaseException) -> BaseException:
    """What a signal's handler raised, where something else was made of it; else the error itself.

    Pydantic makes an error of it in a serializer, and Prefect an error of its own where the server could not be told.
    """
    if isinstance(error, UNREACHABLE):
        before = error.__context__
        while isinstance(before, Exception):
            before = before.__context__
        return before or error
    if not isinstance(error, PydanticSerializationError):
        return error
    cause = error.__cause__
    if cause is not None and not isinstance(cause, Exception):
        return cause
    # Of one model within another, such as Prefect's settings, the name alone is left.
    named = _ENDED.search(str(error))
    return error if named is None else _ENDINGS[named[1]]()


def server_address() -> str:
    """What messages call the server."""
    url = PREFECT_API_URL.value()
    return f"the Prefect server at {without_users(url)}" if url else "Prefect's temporary server"


@contextmanager
def client_of(url: str) -> Iterator[SyncPrefectClient]:
    """A client of a server, with the password or key that Prefect's settings have for it."""
    settings = {PREFECT_API_URL: url, PREFECT_API_REQUEST_TIMEOUT: _REQUEST_S}
    with temporary_settings(settings), get_client(sync_client=True) as client:
        yield client


def try_once_from_now_on() -> None:
    """For a run that is ending: what Prefect still has to say to a server that is away would take it a minute."""
    before = get_settings_context()
    settings = before.settings.copy_with_update({PREFECT_CLIENT_MAX_RETRIES: 0})
    SettingsContext(profile=before.profile, settings=settings).__enter__()


class Delivery:
    """Calls of the API whose results nobody needs.

    Prefect's own retries would hold the work up for a minute each; here a call is tried once, and after one that
    failed the next are left out for a while.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        """Take where to say, once, that the server is away."""
        self._say = say
        self._said = False
        self._next = 0.0

    def __call__(self, send: Callable[[], T]) -> T | None:
        """Make a call; None where it was not delivered."""
        begun = time.monotonic()
        if begun < self._next:
            return None
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                return send()
        except PydanticSerializationError as error:
            ended = what_ended(error)
            if ended is error:
                raise
            raise ended from None
        except UNREACHABLE as error:
            if not is_away(error):
                raise
            now = time.monotonic()
            self._next = now + max(_PAUSE_S, _PAUSE_FACTOR * (now - begun))
            if not self._said:
                self._said = True
                self._say(f"{server_address()} does not answer ({reason(error)}): the work goes on, unseen there")
            return None


def reason(error: BaseException) -> str:
    """An error in one line, without passwords."""
    return without_users(" ".join(str(error).split())) or type(error).__name__
