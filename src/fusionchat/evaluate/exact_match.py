"""Exact match: the model writes the last answer greedily, and what a pattern finds in it is compared."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.errors import ModelError
from fusionchat.heads import switch_length
from fusionchat.represent.batching import length_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Prompter(Protocol):
    """What is needed of `fusionchat.corpus.render.Renderer`."""

    @property
    def stop_ids(self) -> Sequence[int]:
        """Tokens that end an answer."""
        ...

    def prompt_ids(self, messages: Sequence[Message]) -> Sequence[int]:
        """Token ids of the messages in the model's template, up to where its answer begins."""
        ...


class ExactMatch(NamedTuple):
    """One model's answers to the conversations that have a checkable one.

    Attributes:
        asked: int [A], their places among the conversations given.
        correct: bool [A].
        replies: What the model wrote.
        extracted: What the pattern found in it, None for nothing.
    """

    asked: NDArray[np.intp]
    correct: NDArray[np.bool_]
    replies: tuple[str, ...]
    extracted: tuple[str | None, ...]


def exact_match(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    renderer: Prompter,
    conversations: Sequence[Conversation],
    *,
    pattern: str,
    max_new_tokens: int,
    device: torch.device | str,
    batch_tokens: int,
    progress: Callable[[int], None],
) -> ExactMatch:
    """Ask the model the last user turn of every conversation that has an ``answer`` and compare.

    Args:
        model: A causal language model; it is moved to ``device``.
        tokenizer: Its tokenizer.
        renderer: Its chat template.
        conversations: Those without an ``answer`` are passed over.
        pattern: Regular expression for the answer, see `extract`.
        max_new_tokens: Where an answer is cut.
        device: Where to run.
        batch_tokens: Most padded tokens (prompt and answer) of one batch.
        progress: Called with the number of conversations done.
    """
    asked = [i for i, c in enumerate(conversations) if c.answer is not None]
    prompts = [list(renderer.prompt_ids(question(conversations[i]))) for i in asked]
    answers = generate(
        model.to(device).eval(),  # type: ignore[arg-type]
        prompts,
        stop_ids=renderer.stop_ids,
        max_new_tokens=max_new_tokens,
        batch_tokens=batch_tokens,
        names=[conversations[i].id for i in asked],
        progress=progress,
    )
    replies = tuple(str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in answers)
    extracted = tuple(extract(reply, pattern) for reply in replies)
    correct = [same(found, conversations[i].answer) for i, found in zip(asked, extracted, strict=True)]
    return ExactMatch(np.array(asked, dtype=np.intp), np.array(correct, dtype=bool), replies, extracted)


def question(conversation: Conversation) -> tuple[Message, ...]:
    """The conversation up to its last user turn, that turn included."""
    last = max(i for i, m in enumerate(conversation.messages) if m.role == "user")
    return conversation.messages[: last + 1]


def extract(reply: str, pattern: str) -> str | None:
    """The answer in a reply: the last thing the pattern finds in it, None for nothing.

    The last, because models reason before they answer; what is found is group 1 of a match where the pattern
    has groups. Empty finds do not count, whitespace is normalised.
    """
    compiled = re.compile(pattern)
    found = [normal(match.group(min(1, compiled.groups)) or "") for match in compiled.finditer(reply)]
    return next((text for text in reversed(found) if text), None)


def normal(text: str) -> str:
    """Text with every run of whitespace as one space, none at the ends."""
    return " ".join(text.split())


def same(extracted: str | None, answer: str | None) -> bool:
    """Whether what was found is the answer, whitespace aside."""
    return extracted is not None and answer is not None and extracted == normal(answer)


def generate(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Sequence[int],
    max_new_tokens: int,
    batch_tokens: int,
    names: Sequence[str],
    progress: Callable[[int], None],
) -> list[list[int]]:
    """Greedy continuations in the order of the prompts, without the stop token that ended them.

    An answer depends on its own prompt alone, never on what shares its batch: its room is ``max_new_tokens``, or what
    its own prompt leaves of the model's context; a prompt that fills the context gets an empty answer. A batch holds
    prompts with the same room, so that nobody is generated for past the context, is padded on the left (positions
    count from each prompt's first token), and has neighbouring lengths.

    Raises:
        ModelError: The model gives NaN or infinite logits; it says of which of the ``names``.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    window, switch = context_window(model), switch_length(model.config.get_text_config())
    groups: dict[Alike, list[int]] = {}
    for i, prompt in enumerate(prompts):
        groups.setdefault(alike(len(prompt), window, switch, max_new_tokens), []).append(i)
    for (room, _), own in sorted(groups.items(), reverse=True):
        for group in length_batches([len(prompts[i]) + room for i in own], batch_tokens):
            members = [own[i] for i in group]
            if room > 0:
                watch = require_finite_logits([names[i] for i in members])
                batch = continue_batch(model, [prompts[i] for i in members], stop_ids, room, watch)
                for i, ids in zip(members, batch, strict=True):
                    answers[i] = ids
            progress(len(members))
    return answers


Alike = tuple[int, int]


def alike(length: int, window: int | None, switch: int | None, max_new_tokens: int) -> Alike:
    """What prompts of one batch have in common: the room for their answers, and where the model changes frequencies.

    The latter is 0 for never, -1 for before the answer, and the prompt's length for within it (see `switch_length`).
    """
    room = answer_room(window, length, max_new_tokens)
    if switch is None or length + room <= switch:
        return room, 0
    return room, length if length <= switch else -1


def answer_room(window: int | None, prompt: int, max_new_tokens: int) -> int:
    """Tokens an answer may have after a prompt of ``prompt`` tokens; 0 where the prompt fills the window."""
    return max_new_tokens if window is None else max(0, min(max_new_tokens, window - prompt))


def context_window(model: "PreTrainedModel") -> int | None:
    """The most positions a model's configuration allows, None where it states no limit."""
    value = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return value if isinstance(value, int) and value > 0 else None


Watch = Callable[[Tensor, Tensor], Tensor]


def require_finite_logits(names: Sequence[str]) -> Watch:
    """A logits processor that changes nothing and refuses a next token that has no largest finite logit.

    The greedy choice among NaN or +inf is a token like any other: a broken model's answers would count as wrong ones.
    """

    def watch(_ids: Tensor, scores_BV: Tensor) -> Tensor:
        bad_B = ~torch.isfinite(scores_BV.amax(dim=1))
        if bool(bad_B.any()):
            raise ModelError(
                "The model gives NaN or infinite logits while it answers",
                where=f"conversation {names[int(bad_B.int().argmax())]}",
                do="look for NaN in its weights, or set `dtype` (of represent or evaluate) to bfloat16 or float32",
            )
        return scores_BV

    return watch


@torch.inference_mode()
def continue_batch(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    max_new_tokens: int,
    watch: Watch,
) -> list[list[int]]:
    """Greedy continuations of one batch, each cut before its first stop token; ``watch`` sees all logits."""
    from transformers import GenerationConfig, LogitsProcessorList

    length = max(map(len, prompts))
    padding = stop_ids[0] if stop_ids else 0  # masked, so any id will do
    ids = torch.tensor([[padding] * (length - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    # Everything that would change greedy decoding is set: what is unset comes from the model's folder.
    greedy = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        min_new_tokens=0,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(stop_ids) or None,
        pad_token_id=padding,
    )
    out = model.generate(  # type: ignore[operator]
        input_ids=ids,
        attention_mask=mask,
        generation_config=greedy,
        logits_processor=LogitsProcessorList([watch]),  # type: ignore[list-item]
    )
    return [until_stop(row, set(stop_ids)) for row in out[:, length:].tolist()]


def until_stop(ids: Sequence[int], stop_ids: set[int]) -> list[int]:
    """The ids before the first stop token."""
    return list(ids[: next((i for i, token in enumerate(ids) if token in stop_ids), len(ids))])
