"""A model on a server, open for capture: each conversation is one request."""

from collections.abc import Callable, Sequence

import numpy as np

from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered_part import RenderedPart
from fusionchat.errors import ModelError
from fusionchat.represent.asked import Asked
from fusionchat.represent.endpoint.before import COMPLETIONS
from fusionchat.represent.endpoint.client import Server
from fusionchat.represent.endpoint.prompt import read, request
from fusionchat.represent.endpoint.side_by_side import side_by_side
from fusionchat.represent.entries import Entries
from fusionchat.represent.from_entries import scored
from fusionchat.represent.topk import Scored


class Prompts:
    """A model on a server.

    Args:
        server: The server.
        model: The model's name on the server.
        asked: What is captured.
        concurrency: The most requests at once.
    """

    def __init__(self, server: Server, model: str, asked: Asked, concurrency: int) -> None:
        self.server, self.model, self.asked, self.concurrency = server, model, asked, concurrency

    def __call__(
        self, rendered: RenderedPart, *, names: Sequence[str], advance: Callable[[int], None]
    ) -> Scored:
        """The model's distributions for every supervised token; raises as `Server.post`, and ModelError."""
        found = self._ask_all(rendered, names, advance)
        entries = Entries(
            np.concatenate([one.ids for one in found]),
            np.concatenate([one.logprobs for one in found]),
            np.concatenate([one.counts for one in found]),
        )
        return scored(entries, rendered, names, self.asked)

    def _ask_all(
        self, rendered: RenderedPart, names: Sequence[str], advance: Callable[[int], None]
    ) -> list[Entries]:
        """The answers in the order of the conversations; the first permanent error ends all requests."""
        # The longest go first, so that the end does not wait for one of them.
        order = np.argsort(-rendered.lengths, kind="stable").tolist()
        found: dict[int, Entries] = {}
        try:
            for index, entries in side_by_side(
                lambda i: self._ask(rendered[i], names[i]), order, self.concurrency
            ):
                found[index] = entries
                advance(int(rendered.lengths[index]))
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
                f"The server's response cannot be used: {found.fault}",
                where=f"{self.asked.place}: conversation {name}",
                do="check that the server supports prompt_logprobs, and that no proxy changes its responses",
            )
        return found.entries
