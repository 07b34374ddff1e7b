"""A chat model behind an OpenAI-compatible endpoint: requests are spaced and retried."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from bdpo.errors import UserError

_TRIES = 5
_FIRST_PAUSE_S = 1.0
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


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
        timeout_s: float = 60.0,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        """Take the endpoint.

        Args:
            url: base, such as `http://localhost:8000/v1`.
            model: its name there.
            role: what it is here, for messages.
            key_variable: environment variable that holds the key; none is sent where it is not set.
            requests_per_minute: most requests, retries included.
            timeout_s: of one request.
            first_pause_s: before the first retry; doubled for each further one.

        Raises:
            UserError: the URL is no HTTP address.
        """
        if urlsplit(url).scheme not in ("http", "https"):
            raise UserError(f"{role} URL {url!r}: an address that starts with http:// or https:// is expected.")
        self.url = url.rstrip("/") + "/chat/completions"
        self.model = model
        self._role = role
        self._key = os.environ.get(key_variable)
        self._spacing_s = 60.0 / requests_per_minute
        self._timeout_s = timeout_s
        self._first_pause_s = first_pause_s
        self._next = 0.0

    def ask(self, messages: Sequence[Mapping[str, str]], *, temperature: float = 0.0) -> str:
        """What the model answers.

        Args:
            messages: `{"role", "content"}` each.
            temperature: of its sampling.

        Raises:
            UserError: the endpoint refuses the request, or stays unreachable after five tries.
        """
        body = {"model": self.model, "temperature": temperature, "messages": list(messages)}
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self.url, json.dumps(body).encode(), headers, method="POST"
        )
        reason = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(self._first_pause_s * 2 ** (attempt - 1))
            self._wait_for_turn()
            try:
                with urllib.request.urlopen(request, timeout=self._timeout_s) as response:  # noqa: S310
                    return str(json.load(response)["choices"][0]["message"]["content"])
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code} {error.reason}"
                if error.code not in _RETRIED:
                    raise UserError(f"The {self._role} at {self.url} refuses the request: {reason}.") from None
            except (OSError, json.JSONDecodeError) as error:
                reason = str(getattr(error, "reason", error))
            except (KeyError, IndexError, TypeError):
                raise UserError(f"{self.url}: the answer is not that of an OpenAI-compatible endpoint.") from None
        raise UserError(f"The {self._role} at {self.url} gave no answer in {_TRIES} tries; the last said: {reason}.")

    def _wait_for_turn(self) -> None:
        now = time.monotonic()
        if now < self._next:
            time.sleep(self._next - now)
        self._next = max(now, self._next) + self._spacing_s
