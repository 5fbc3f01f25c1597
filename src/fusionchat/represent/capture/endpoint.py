"""Capture from a server that scores prompts: `vllm serve`, or a compatible one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator

from fusionchat.console import warn
from fusionchat.errors import FusionChatError, RecipeError
from fusionchat.represent.capture.base import Asked, Capture, Capturer

if TYPE_CHECKING:
    from fusionchat.represent.endpoint.client import Server

LOOK_S = 5.0
"""Seconds that `check` waits for a server."""


def _has_port(parts: SplitResult) -> bool:
    """Whether an address has a valid port, or none."""
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


class Endpoint(Capturer):
    """A running server scores the conversations: `vllm serve`, or one with the same `prompt_logprobs`."""

    reads_weights: ClassVar[bool] = False

    backend: Literal["endpoint"] = "endpoint"
    model: str | None = Field(None, description="the model's name on the server; unset: the recipe's `model`")
    url: str | None = Field(None, exclude=True, description="the server's URL, such as `http://host:8000`")
    key_env: str | None = Field(
        None, exclude=True, description="environment variable with the key, if the server needs one"
    )
    concurrency: int = Field(32, ge=1, le=1024, exclude=True, description="concurrent requests")
    timeout: float = Field(600.0, gt=0, exclude=True, description="timeout of one request in seconds")
    retries: int = Field(
        8,
        ge=0,
        exclude=True,
        description=(
            "retries of a request after a timeout, a truncated response, 429 or 5xx, with growing pauses; 8 "
            "take about a minute"
        ),
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.strip()
        parts = urlsplit(value)
        plain = value.isprintable() and " " not in value and not parts.fragment
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain or not _has_port(parts):
            raise ValueError("must be the server's URL, such as http://host:8000")
        if parts.username or parts.password or parts.query:
            raise ValueError("must not contain a key: put the name of its environment variable in key_env")
        return value

    def __str__(self) -> str:
        """The backend with the model's name on the server."""
        return self.backend if self.model is None else f"{self.backend} ({self.model})"

    @property
    def version(self) -> str:
        """The server's version."""
        from fusionchat.represent.endpoint.before import version_of

        with self.server("capture") as server:
            return version_of(server)

    def precision(self, dtype: str) -> str:
        """The server's own precision, which it does not report."""
        return "the server's"

    def require(self, place: str) -> None:
        """Raise RecipeError if there is no address."""
        if self.url is None:
            raise RecipeError(
                "This backend needs the server's URL",
                where=f"{place}.url",
                do="set it, for example to http://host:8000",
            )

    def faults(self, place: str, model: str) -> list[str]:
        """Why the server cannot be used."""
        from fusionchat.represent.endpoint.before import require_model

        patient = self.model_copy(update={"timeout": LOOK_S, "retries": 0})
        try:
            with patient.server(place) as server:
                require_model(server, self.model or model, 0, place=place)
        except FusionChatError as error:
            return [f"{error.where}: {error.what[0].lower()}{error.what[1:]}"]
        return []

    def server(self, place: str) -> "Server":
        """A client of the server; raises RecipeError if its address or key is missing."""
        from fusionchat.represent.endpoint.client import Limits, Server

        self.require(place)
        limits = Limits(self.timeout, self.retries, self.concurrency)
        return Server(str(self.url), key=self._key(place), limits=limits, place=place)

    def _key(self, place: str) -> str:
        if self.key_env is None:
            return ""
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise RecipeError(
                f"The environment variable {self.key_env} is not set",
                where=f"{place}.key_env",
                do="set it to the server's key, in every shell that runs a capture",
            )
        if not key.isascii() or not key.isprintable():
            raise RecipeError(
                f"The key in {self.key_env} has characters that cannot be sent", where=f"{place}.key_env"
            )
        return key

    @contextmanager
    def open(self, asked: Asked) -> Iterator[Capture]:
        """The model on the server, once it is known to have the model and its tokenizer."""
        from fusionchat.represent.endpoint.before import require_model, require_tokenizer
        from fusionchat.represent.endpoint.prompts import Prompts

        model = self.model or asked.ref.model
        with self.server(asked.place) as server:
            require_model(server, model, asked.longest, place=asked.place)
            samples = [(sample.text, sample.ids) for sample in asked.samples]
            if not require_tokenizer(server, model, samples, place=asked.place):
                warn(
                    f"{asked.place}: the server has no /tokenize, so that its tokenizer could not be compared with the recipe's"
                )
            yield Prompts(server, model, asked, self.concurrency)
