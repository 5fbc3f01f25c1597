"""A model on a server that answers: each prompt is one request, and the server forms its own batches."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from fusionchat.answer.question import Asked, Reply
from fusionchat.answer.settings import Sampling
from fusionchat.answer.weights import NO_ROOM, REFUSED, prompt_or_none
from fusionchat.artifacts import Json
from fusionchat.errors import ModelError
from fusionchat.represent.endpoint.before import COMPLETIONS, most_tokens
from fusionchat.represent.endpoint.client import Answer, Server
from fusionchat.represent.endpoint.side_by_side import side_by_side

if TYPE_CHECKING:
    from fusionchat.corpus.render import Renderer

ENDS = {"stop": False, "length": True}
"""Servers' names for the end of an answer, and whether it is cut there."""


class Served:
    """A model on a server that answers.

    Another release of the server may draw different tokens from the same seed.

    Args:
        server: The server.
        model: The model's name there.
        renderer: Its chat template, in which prompts are sent as ids.
        sampling: How tokens are drawn.
        seed: The seed of the draws.
        concurrency: The most requests at once.
        advance: Called with the number of prompts done.
    """

    def __init__(
        self,
        server: Server,
        model: str,
        renderer: "Renderer",
        sampling: Sampling,
        *,
        seed: int,
        concurrency: int,
        advance: Callable[[int], None],
    ) -> None:
        self.server, self.model, self.renderer, self.sampling = server, model, renderer, sampling
        self.seed, self.concurrency, self.advance = seed, concurrency, advance
        self.window = most_tokens(server, model)

    def __call__(self, asked: Sequence[Asked]) -> list[Reply]:
        """See `Ask`; raises as `Server.post`, and ModelError where an answer cannot be read."""
        prompts = [prompt_or_none(self.renderer, one.messages) for one in asked]
        rooms = [0 if prompt is None else self.room(len(prompt)) for prompt in prompts]
        replies = [Reply(fault=REFUSED if prompt is None else NO_ROOM) for prompt in prompts]
        known = [i for i, room in enumerate(rooms) if room > 0]
        self.advance(len(asked) - len(known))
        try:
            for i, reply in side_by_side(
                lambda i: self.ask(asked[i].name, prompts[i] or [], rooms[i]), known, self.concurrency
            ):
                replies[i] = reply
                self.advance(1)
        except BaseException:
            self.server.stop()
            raise
        return replies

    def room(self, prompt: int) -> int:
        """The most tokens of the answer to a prompt of ``prompt`` tokens."""
        most = self.sampling.max_new_tokens
        return most if self.window is None else max(0, min(most, self.window - prompt))

    def ask(self, name: str, prompt: Sequence[int], room: int) -> Reply:
        """The reply to one prompt."""
        body = request(self.model, prompt, room, self.sampling, seed=seed_of(self.seed, name))
        answer = self.server.post(COMPLETIONS, {**body, "stop_token_ids": list(self.renderer.stop_ids)})
        assert answer is not None, "completions are not optional"
        reply = read(answer)
        if reply is None:
            raise ModelError(
                "The server's response cannot be used: it has no text or no finish_reason",
                where=f"conversation {name.splitlines()[0]}",
                do="check that the server supports /v1/completions, and that no proxy changes its responses",
            )
        return reply._replace(text=self.renderer.opening + reply.text) if reply.text else reply


def seed_of(seed: int, name: str) -> int:
    """The seed of one prompt, 31 bits, which every server takes."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{name}".encode()).digest()[:4], "big") >> 1


def request(
    model: str, prompt: Sequence[int], room: int, sampling: Sampling, *, seed: int
) -> Mapping[str, Json]:
    """The body of a request, with everything set that would change the draws.

    Otherwise the server would take it from the model's folder.
    """
    return {
        "model": model,
        "prompt": [list(prompt)],
        "max_tokens": room,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": seed,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
    }


def read(answer: Answer) -> Reply | None:
    """The reply in a server's answer; None if it has none."""
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        return None
    text, end = first.get("text"), first.get("finish_reason")
    return Reply(text, ENDS[end]) if isinstance(text, str) and isinstance(end, str) and end in ENDS else None
