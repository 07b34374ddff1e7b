"""A chat model behind an OpenAI-compatible endpoint: requests are spaced and retried."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bdpo.config.evaluate import require_http_address
from bdpo.errors import UserError
from bdpo.evaluation.chat_errors import Meaning, meaning_of, told_by, told_in
from bdpo.evaluation.web import OPENER, USER_AGENT

_TRIES = 5
_SILENT_TRIES = 2
"""Of these, those that may end without an answer in time: each may be billed."""
_ANSWER_S = 600.0
"""As OpenAI's own client has it: an answer comes as a whole, when a reasoning model has thought."""
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_SHOWN = 200
"""Characters of what an endpoint says of an error."""
_LARGEST = 16 << 20
"""Bytes of an answer; a chat model's has thousands."""


class TooLong(Exception):  # noqa: N818 (named for what the exchange is)
    """An exchange that is longer than the model's context, which who serves it can change."""


class ChatEndpoint:
    """One model behind `/chat/completions`."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        role: str = "judge",
        key_variable: str = "OPENAI_API_KEY",
        requests_per_minute: float = 60.0,
        timeout_s: float = _ANSWER_S,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        """Take the endpoint.

        Args:
            url: base, such as `http://localhost:8000/v1`.
            model: its name there.
            role: what it is here, for messages.
            key_variable: environment variable that holds the key; none is sent where it is not set.
            requests_per_minute: most requests, retries included.
            timeout_s: how long an answer may take; that the host is there is known within half a minute.
            first_pause_s: before the first retry; doubled for each further one.

        Raises:
            UserError: the URL is no plain HTTP address, or the key holds what no key can.
        """
        require_url(url, role)
        self.url = url.rstrip("/") + "/chat/completions"
        self.model = model
        self._role = role
        self._key = os.environ.get(key_variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise UserError(
                f"The environment variable {key_variable} holds a character that no key has, such as a line break or "
                "an ellipsis: put the whole key into it, as it was issued."
            )
        self._key_variable = key_variable
        self._spacing_s = 60.0 / requests_per_minute
        self._timeout_s = timeout_s
        self._first_pause_s = first_pause_s
        self._next = 0.0
        self._takes_temperature = True

    def ask(self, messages: Sequence[Mapping[str, str]], *, temperature: float = 0.0) -> str:
        """What the model answers; empty where a filter stops the exchange, or the model says nothing.

        Args:
            messages: `{"role", "content"}` each.
            temperature: of its sampling; sent no more once the model refuses it, as reasoning models do.

        Raises:
            TooLong: the exchange, or what a model thinks before it answers, is longer than its context.
            UserError: the endpoint refuses the request, does not speak as expected, or gives no answer in five tries,
                of which two may last as long as an answer may take.
        """
        reason, pause_s, num_silent = "", 0.0, 0
        for attempt in range(_TRIES):
            time.sleep(pause_s)
            pause_s = self._first_pause_s * 2**attempt
            self._wait_for_turn()
            try:
                with OPENER.open(self._request(messages, temperature), timeout=self._timeout_s) as response:
                    answer = json.loads(self._body(response))
                status, told = 200, told_in(answer)
                if told is None:
                    return self._content(answer)
                reason = f"HTTP 200 with an error{self._said(told)}"
            except urllib.error.HTTPError as error:
                status, told = error.code, told_by(error)
                reason = f"HTTP {status} {error.reason}{self._said(told)}"
                pause_s = max(pause_s, _asked_pause_s(error))
            except TimeoutError:
                reason = f"nothing within {self._timeout_s:g} seconds"
                num_silent += 1
                if num_silent == _SILENT_TRIES:
                    break
                continue
            except (OSError, http.client.HTTPException) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
                continue
            except (ValueError, RecursionError):
                reason = "something that is no JSON"
                continue
            match meaning_of(status, told):
                case Meaning.FILTERED:
                    return ""
                case Meaning.TOO_LONG:
                    raise TooLong
                case Meaning.NO_TEMPERATURE if self._takes_temperature:
                    self._takes_temperature, pause_s = False, 0.0
                case Meaning.PASSING:
                    pass
                case _:
                    raise UserError(
                        f"The {self._role} at {self.url} refuses the request: {reason}.{self._remedy(status)}"
                    )
        raise UserError(
            f"The {self._role} at {self.url} gave no answer in {attempt + 1} tries; the last said: {reason}."
        )

    def _request(self, messages: Sequence[Mapping[str, str]], temperature: float) -> urllib.request.Request:
        body: dict[str, Any] = {"model": self.model, "messages": list(messages)}
        if self._takes_temperature:
            body["temperature"] = temperature
        headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return urllib.request.Request(  # noqa: S310 - the scheme was checked
            self.url, json.dumps(body).encode(), headers, method="POST"
        )

    def _content(self, answer: Any) -> str:
        """The text of an answer; empty where a model says nothing, as one whose output was filtered does.

        Azure then leaves the field out, others give null.  Half of a character, where an answer was cut, becomes a
        question mark: it could not be kept.

        Raises:
            TooLong: the context ended before the answer began.
        """
        with suppress(KeyError, IndexError, TypeError, AttributeError):
            choice = answer["choices"][0]
            content = choice["message"].get("content")
            if not content and choice.get("finish_reason") == "length":
                raise TooLong
            if content is None or isinstance(content, str):
                return (content or "").encode("utf-8", "replace").decode()
        raise self._foreign("the answer")

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        body = response.read(_LARGEST + 1)
        if len(body) > _LARGEST:
            raise self._foreign(f"an answer of more than {_LARGEST >> 20} MiB")
        if response.length:  # what is to come yet: a read with a limit takes the end of the connection for the end
            raise http.client.IncompleteRead(body, response.length)
        return body

    def _foreign(self, what: str) -> UserError:
        return UserError(
            f"{self.url}: {what} is not that of an OpenAI-compatible endpoint; give the base address, such as "
            "http://localhost:8000/v1."
        )

    def _said(self, told: Mapping[str, Any]) -> str:
        """The message of an error, in one line; only where it is marked as such, for a body may repeat the request."""
        shown = "".join(c if c.isprintable() else " " for c in str(told.get("message", "")))
        shown = " ".join((shown.replace(self._key, "***") if self._key else shown).split())[:_SHOWN].rstrip(".")
        return f": {shown}" if shown else ""

    def _remedy(self, code: int) -> str:
        if 300 <= code < 400:
            return " Redirects are not followed; give the address that it leads to."
        if code not in (401, 403):
            return ""
        if self._key:
            return f" It does not take the key in the environment variable {self._key_variable}."
        return f" Put its key into the environment variable {self._key_variable}."

    def _wait_for_turn(self) -> None:
        now = time.monotonic()
        if now < self._next:
            time.sleep(self._next - now)
        self._next = max(now, self._next) + self._spacing_s


def require_url(url: str, role: str) -> None:
    """Refuse what is no endpoint's address; `role` is what the endpoint is, for the message.

    Raises:
        UserError: it is none.
    """
    try:
        require_http_address(url)
    except ValueError as error:
        raise UserError(f"{role} URL: {error}.") from None


def _asked_pause_s(error: urllib.error.HTTPError) -> float:
    """Seconds that the endpoint asks to be left alone, a minute at most; 0 where it names none."""
    asked = error.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_PAUSE_S) if asked.isdecimal() else 0.0
