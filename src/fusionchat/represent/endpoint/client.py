"""Requests to a server, retried where that can help.

The key appears in no message, and nothing prints this object.
"""

import json
import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event
from typing import NamedTuple

import httpx2 as httpx

from fusionchat.artifacts import Json
from fusionchat.errors import MachineError, ModelError
from fusionchat.units import counted

FIRST_S, MOST_S = 0.5, 60.0
"""Seconds before the first retry, and the most before any."""
MOST_ASKED_S = 600.0
"""The longest ``Retry-After`` that is followed, in seconds."""
AGAIN = frozenset((408, 425, 429))
"""Status codes that a retry may cure."""
WORDS = 500
Answer = Mapping[str, Json]


class Stopped(Exception):
    """Another request has failed for good."""


class Limits(NamedTuple):
    """How a server is asked.

    Attributes:
        timeout: Seconds to wait for one answer.
        retries: How often a request is retried.
        concurrency: The most requests at once.
    """

    timeout: float
    retries: int
    concurrency: int


class Server:
    """A client of one server.

    Args:
        url: The server's address, with or without ``/v1``.
        key: Sent as a bearer token; "" for none.
        limits: How it is asked.
        place: Where the recipe says so, for messages.
    """

    def __init__(self, url: str, *, key: str, limits: Limits, place: str) -> None:
        self._key, self._limits, self._place = key, limits, place
        self.url = url.rstrip("/").removesuffix("/v1")
        self._stop = Event()
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(limits.timeout, connect=min(30.0, limits.timeout)),
            limits=httpx.Limits(
                max_connections=limits.concurrency + 1, max_keepalive_connections=limits.concurrency + 1
            ),
        )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._client.close()

    def stop(self) -> None:
        """Make requests that wait for a retry give up."""
        self._stop.set()

    def get(self, path: str, *, optional: bool = False) -> Answer | None:
        """The server's answer at a path; None if an ``optional`` path does not exist."""
        return self._ask("GET", path, None, optional=optional)

    def post(self, path: str, body: Answer, *, optional: bool = False) -> Answer | None:
        """The server's answer to a request; None if an ``optional`` path does not exist.

        Raises:
            ModelError: It refuses the request; its own words are in the message.
            MachineError: It gives no usable answer in all tries.
            Stopped: `stop` was called meanwhile.
        """
        return self._ask("POST", path, body, optional=optional)

    def _ask(self, method: str, path: str, body: Answer | None, *, optional: bool) -> Answer | None:
        said = ""
        for attempt in range(self._limits.retries + 1):
            if self._stop.is_set():
                raise Stopped
            asked: float | None = None
            try:
                response = self._client.request(method, f"{self.url}{path}", json=body)
                if response.status_code == httpx.codes.OK:
                    return self._read(response)
                if optional and response.status_code in (404, 405, 501):
                    return None
                said = f"{response.status_code} {response.reason_phrase}: {self._words(response)}"
                if response.status_code < 500 and response.status_code not in AGAIN:
                    raise self._refused(path, said)
                asked = retry_after(response.headers.get("Retry-After"))
            except httpx.RequestError as error:  # no answer, or a cut one
                said = self._scrub(f"{type(error).__name__}: {error}")
            except (ValueError, RecursionError) as error:
                said = self._scrub(f"it is not a JSON object ({error})")
            if attempt < self._limits.retries:
                self._stop.wait(pause(attempt) if asked is None else asked)
        raise MachineError(
            f"No usable response from the server in {counted(self._limits.retries + 1, 'try', 'tries')}: {said}",
            where=f"{self._place}: {self.url}{path}",
            do="check that it is running, then run again: finished shards are kept. Slow responses need a longer `timeout`",
        ) from None

    def _read(self, response: httpx.Response) -> Answer:
        value = json.loads(response.content)
        if not isinstance(value, dict):
            raise ValueError("another kind of value")
        return value

    def _refused(self, path: str, said: str) -> ModelError:
        return ModelError(
            f"The server refused the request: {said}",
            where=f"{self._place}: {self.url}{path}",
            do="correct what the message names; a key is read from the variable that `key_env` names",
        )

    def _words(self, response: httpx.Response) -> str:
        """The server's own message about an error, in one line."""
        try:
            held = json.loads(response.content)
            error = held.get("error", held) if isinstance(held, dict) else held
            words = error.get("message", error) if isinstance(error, dict) else error
        except ValueError:
            words = response.text
        return self._scrub(" ".join(str(words).split()))[:WORDS]

    def _scrub(self, words: str) -> str:
        """The text without the key, which some servers repeat."""
        return words.replace(self._key, "(key)") if self._key else words


def pause(attempt: int) -> float:
    """Seconds before a retry: twice as long each time, times 0.5 to 1 at random.

    The random factor keeps requests from coming back all at once.
    """
    return min(MOST_S, FIRST_S * 2.0**attempt) * random.uniform(0.5, 1.0)


def retry_after(value: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, from a number or a date; None if it has neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
        if math.isnan(seconds):
            return None
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MOST_ASKED_S)
