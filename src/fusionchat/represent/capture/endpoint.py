"""Capture from a server that scores prompts: `vllm serve`, or one that answers as it does."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field, field_validator

from fusionchat.console import warn
from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered import RenderedPart
from fusionchat.errors import FusionChatError, ModelError, RecipeError
from fusionchat.represent.batching import require_finite
from fusionchat.represent.capture.base import Asked, Capture, Capturer
from fusionchat.represent.endpoint.before import COMPLETIONS, require_model, require_tokenizer, version_of
from fusionchat.represent.endpoint.client import Limits, Server
from fusionchat.represent.endpoint.prompt import read, request
from fusionchat.represent.endpoint.side_by_side import side_by_side
from fusionchat.represent.entries import Entries, Kept, keep
from fusionchat.represent.topk import Scored, TopK

LOOK = Limits(timeout=5.0, retries=0, concurrency=1)
"""How `check` asks whether a server is there."""


class Endpoint(Capturer):
    """A running server scores the conversations: `vllm serve`, or one with the same `prompt_logprobs`."""

    reads_weights: ClassVar[bool] = False

    backend: Literal["endpoint"] = "endpoint"
    model: str | None = Field(
        None, description="the model's name on the server; nothing for the recipe's `model`"
    )
    url: str | None = Field(None, exclude=True, description="the server's address, as `http://host:8000`")
    key_env: str | None = Field(
        None, exclude=True, description="environment variable with the key, where the server wants one"
    )
    concurrency: int = Field(32, ge=1, le=1024, exclude=True, description="requests under way at once")
    timeout: float = Field(600.0, gt=0, exclude=True, description="seconds that one answer may take")
    retries: int = Field(
        8,
        ge=0,
        exclude=True,
        description="how often a request is tried again after a timeout, a cut answer, 429 or 5xx, with longer and longer "
        "pauses; 8 are about a minute",
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give the server's address, as http://host:8000")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "a key does not belong into the address: name its environment variable in key_env"
            )
        return value

    @property
    def version(self) -> str:
        """Of the server."""
        with self._server(self._limits, "capture") as server:
            return version_of(server)

    def precision(self, dtype: str) -> str:
        """The server's own; nobody says what it is."""
        return "the server's"

    def require(self, place: str) -> None:
        """Raise RecipeError where there is no address."""
        if self.url is None:
            raise RecipeError(
                "This backend needs the server's address",
                where=f"{place}.url",
                do="set it, as http://host:8000",
            )

    def faults(self, place: str) -> list[str]:
        """Why the server cannot be used."""
        try:
            with self._server(LOOK, place) as server:
                require_model(server, self.model or "", 0, place=place) if self.model else version_of(server)
        except FusionChatError as error:
            return [f"{error.where}: {error.what[0].lower()}{error.what[1:]}"]
        return []

    @property
    def _limits(self) -> Limits:
        return Limits(self.timeout, self.retries, self.concurrency)

    def _server(self, limits: Limits, place: str) -> Server:
        self.require(place)
        return Server(str(self.url), key=self._key(place), limits=limits, place=place)

    def _key(self, place: str) -> str:
        if self.key_env is None:
            return ""
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            raise RecipeError(
                f"The environment variable {self.key_env} is not set",
                where=f"{place}.key_env",
                do="set it to the server's key, in every shell that captures",
            )
        if not key.isascii() or not key.isprintable():
            raise RecipeError(
                f"The key in {self.key_env} has characters that cannot be sent", where=f"{place}.key_env"
            )
        return key

    @contextmanager
    def open(self, asked: Asked) -> Iterator[Capture]:
        """See that the server has the model and its tokenizer."""
        model = self.model or asked.ref.model
        with self._server(self._limits, asked.place) as server:
            require_model(server, model, asked.longest, place=asked.place)
            samples = [(sample.text, sample.ids) for sample in asked.samples]
            if not require_tokenizer(server, model, samples, place=asked.place):
                warn(
                    f"{asked.place}: the server has no /tokenize, so that its tokenizer could not be compared with the recipe's"
                )
            yield Prompts(server, model, asked, self.concurrency)


class Prompts:
    """A model on a server, open for capture: each conversation is one request.

    Args:
        server: The server.
        model: Its name there.
        asked: What is captured.
        concurrency: Requests under way at once.
    """

    def __init__(self, server: Server, model: str, asked: Asked, concurrency: int) -> None:
        self.server, self.model, self.asked, self.concurrency = server, model, asked, concurrency

    def __call__(
        self, rendered: RenderedPart, *, names: Sequence[str], advance: Callable[[int], None]
    ) -> Scored:
        """The model's distributions for every supervised token; raises as `Server.post`, and ModelError."""
        found = self._ask_all(rendered, names, advance)
        counts = [entries.counts for entries in found]
        entries = Entries(
            np.concatenate([one.ids for one in found]),
            np.concatenate([one.logprobs for one in found]),
            np.concatenate(counts),
        )
        kept = kept_of(entries, rendered, names, self.asked)
        present = np.ones(len(kept.tail), dtype=bool)
        topk = TopK(kept.ids, kept.logprobs.astype(np.float16), kept.tail.astype(np.float16), present)
        return Scored(rendered.supervised, topk, kept.label_logprob)

    def _ask_all(
        self, rendered: RenderedPart, names: Sequence[str], advance: Callable[[int], None]
    ) -> list[Entries]:
        """The answers in the order of the conversations; the first error that is for good ends all of them."""
        order = np.argsort(
            -rendered.lengths, kind="stable"
        ).tolist()  # the longest first: none is waited for at the end
        found: dict[int, Entries] = {}
        try:
            for index, entries in side_by_side(
                lambda i: self._ask(rendered[i], names[i]), order, self.concurrency
            ):
                found[index] = entries
                advance(1)
        except BaseException:
            self.server.stop()
            raise
        return [found[i] for i in range(len(rendered))]

    def _ask(self, one: Rendered, name: str) -> Entries:
        body = request(self.model, one, min(self.asked.k, self.asked.vocabulary))
        answer = self.server.post(COMPLETIONS, body)
        assert answer is not None, "completions are not optional"
        found = read(answer, self.model, one)
        if found.fault:
            raise ModelError(
                f"The server's answer cannot be used: {found.fault}",
                where=f"{self.asked.place}: conversation {name}",
                do="check that it is a server with prompt_logprobs, and that nothing between it and here changes answers",
            )
        return found.entries


def kept_of(entries: Entries, rendered: RenderedPart, names: Sequence[str], asked: Asked) -> Kept:
    """What is kept of the entries of some conversations.

    Raises:
        ModelError: They are no log-probabilities, or not finite where the text's own tokens are.
    """
    supervised = rendered.supervised
    k = min(asked.k, asked.vocabulary)
    try:
        kept = keep(entries, supervised.labels, k, vocabulary=asked.vocabulary)
    except ValueError as error:
        raise ModelError(
            f"These are no log-probabilities: {error}",
            where=f"{asked.place}: conversations {names[0]} to {names[-1]}",
            do="let the server give log-probabilities, not logits (`--logprobs-mode raw_logprobs`)",
        ) from error
    rows = np.diff(supervised.offsets).tolist()
    require_finite(kept.label_logprob, range(len(rows)), rows, names)
    return kept
