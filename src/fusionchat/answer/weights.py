"""A model whose weights are on this machine, which answers in batches of similar lengths."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fusionchat.answer.question import Asked, Reply
from fusionchat.answer.settings import Sampling
from fusionchat.corpus.conversation import Message
from fusionchat.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from fusionchat.corpus.render import Renderer
    from fusionchat.evaluate.greedy import Watch

REFUSED = "the chat template refuses the prompt"
NO_ROOM = "the prompt fills the model's context"


def stop_ids(model: "PreTrainedModel", renderer: "Renderer") -> list[int]:
    """Tokens that end an answer: those of the chat template, and those that the model's folder names."""
    own = model.generation_config.eos_token_id if model.generation_config else None
    named = [own] if isinstance(own, int) else list(own or [])
    return list(dict.fromkeys([*renderer.stop_ids, *named]))


def prompt_or_none(renderer: "Renderer", messages: Sequence[Message]) -> list[int] | None:
    """The ids of a prompt; None if the chat template refuses it."""
    try:
        return renderer.prompt_ids(messages)
    except ModelError:
        return None


class Weights:
    """A loaded model that answers.

    The same prompt gets the same answer in every call, except for rounding in its batch.

    Args:
        model: The model.
        renderer: Its chat template.
        sampling: How tokens are drawn.
        seed: The seed of the draws.
        batch_tokens: Positions of a batch, answers and padding included.
        advance: Called with the number of prompts done.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        renderer: "Renderer",
        sampling: Sampling,
        *,
        seed: int,
        batch_tokens: int,
        advance: Callable[[int], None],
    ) -> None:
        self.model, self.renderer, self.sampling = model, renderer, sampling
        self.seed, self.batch_tokens, self.advance = seed, batch_tokens, advance
        self.stops = stop_ids(model, renderer)

    def __call__(self, asked: Sequence[Asked]) -> list[Reply]:
        """See `Ask`."""
        from fusionchat.evaluate.greedy import answer_room, context_window, generate

        prompts = [prompt_or_none(self.renderer, one.messages) for one in asked]
        known = [i for i, prompt in enumerate(prompts) if prompt is not None]
        self.advance(len(asked) - len(known))
        ids = [prompts[i] or [] for i in known]
        names = [asked[i].name for i in known]
        found = generate(
            self.model,
            ids,
            stop_ids=self.stops,
            max_new_tokens=self.sampling.max_new_tokens,
            batch_tokens=self.batch_tokens,
            names=names,
            progress=self.advance,
            choose=None if self.sampling.temperature == 0 else lambda members: self.draw(members, names),
        )
        window, replies = context_window(self.model), [Reply(fault=REFUSED)] * len(asked)
        for i, prompt, answer in zip(known, ids, found, strict=True):
            room = answer_room(window, len(prompt), self.sampling.max_new_tokens)
            text = self.renderer.opening + self.renderer.text(answer) if answer else ""
            replies[i] = Reply(text, cut=len(answer) == room) if room else Reply(fault=NO_ROOM)
        return replies

    def draw(self, members: Sequence[int], names: Sequence[str]) -> "Watch":
        """The logits processor that draws the tokens of a batch of prompts."""
        import numpy as np
        import torch

        from fusionchat.answer.draw import Draw, uniforms

        own = self.sampling
        numbers = [uniforms(self.seed, names[i], own.max_new_tokens) for i in members]
        return Draw(
            torch.from_numpy(np.stack(numbers)),
            vocabulary=self.renderer.table.size,
            temperature=own.temperature,
            top_p=own.top_p,
        )
