"""Exact match: the model writes the last answer greedily, and a pattern's match in it is compared.

A thought does not belong to the answer, whether the model opens it or its prompt does. A reply that ends
inside its thought has no answer: it is wrong, and counted. Thought and answer share ``max_new_tokens``.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.thoughts import spoken
from fusionchat.evaluate.metric import SHARE, Metric
from fusionchat.evaluate.scores import Items
from fusionchat.evaluate.tasks.base import Measured, PartSize, Progress, Prompter, Subject, Task
from fusionchat.settings import with_group

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

EXACT_MATCH = Metric(
    "exact_match",
    title="exact match",
    unit="%",
    better="higher",
    estimator=SHARE,
    scale=100.0,
    places=1,
    floor=0.05,
)


class ExactMatchSettings(Task):
    """Greedy answers compared with the records' ``answer``."""

    name: ClassVar[str] = "exact_match"
    metrics: ClassVar[tuple[Metric, ...]] = (EXACT_MATCH,)
    needs: ClassVar[str] = "records with an `answer`"

    answer_pattern: str = Field(
        r"(?s)(.*)", description="regular expression; group 1 of its last match is the answer"
    )
    max_new_tokens: int = Field(256, ge=1, description="longest reply in tokens, including its thought")
    limit: int | None = Field(None, ge=1, description="at most this many conversations")

    @field_validator("answer_pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        return with_group(value)

    def places(self, conversations: Sequence[Conversation]) -> list[int]:
        """The places of the first conversations that have an answer, at most ``limit`` of them."""
        return [i for i, c in enumerate(conversations) if c.answer is not None][: self.limit]

    def tokens(self, part: PartSize, files: Mapping[str, Path]) -> float:
        """The upper bound of the tokens: every conversation has an answer, and every reply the full length."""
        asked = part.of(self.limit)
        return asked.tokens + asked.conversations * self.max_new_tokens

    def measure(self, subject: Subject, progress: Progress) -> Measured:
        """Whether each conversation's answer is right; the replies are saved in a file."""
        asked = [subject.conversations[i] for i in self.places(subject.conversations)]
        with progress("answer", len(asked), "questions") as advance:
            result = exact_match(
                subject.model,
                subject.renderer,
                asked,
                pattern=self.answer_pattern,
                max_new_tokens=self.max_new_tokens,
                device=subject.device,
                batch_tokens=subject.batch_tokens,
                progress=advance,
            )
        lines = [
            {"id": c.id, "answer": c.answer, "reply": reply, "correct": bool(right)}
            for c, right, reply in zip(asked, result.correct, result.replies, strict=True)
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        items = Items.of(asked, result.correct.astype(np.float64))
        unfinished = int(result.unfinished.sum())
        return Measured(
            {EXACT_MATCH.name: items},
            {"replies.jsonl": text.encode()},
            {"unfinished_thoughts": unfinished},
            (f"{unfinished} of {len(asked)} answers ended inside a thought",) if unfinished else (),
        )

    @classmethod
    def remark(cls, counts: Mapping[str, Mapping[str, int]]) -> str:
        """Which models' answers ended inside a thought; "" for none."""
        found = {label: own.get("unfinished_thoughts", 0) for label, own in counts.items()}
        said = ", ".join(f"{label} {count}" for label, count in found.items() if count)
        return f"Answers that ended inside a thought, counted as wrong: {said}." if said else ""


class ExactMatch(NamedTuple):
    """One model's answers to the conversations that have a checkable one.

    Attributes:
        asked: int [A], their places among the conversations given.
        correct: bool [A].
        unfinished: bool [A], whether the reply ends inside a thought.
        replies: What the model wrote, its thought included.
        extracted: What the pattern found after the thought; None for nothing.
    """

    asked: NDArray[np.intp]
    correct: NDArray[np.bool_]
    unfinished: NDArray[np.bool_]
    replies: tuple[str, ...]
    extracted: tuple[str | None, ...]


def exact_match(
    model: "PreTrainedModel",
    renderer: Prompter,
    conversations: Sequence[Conversation],
    *,
    pattern: str,
    max_new_tokens: int,
    device: "torch.device | str",
    batch_tokens: int,
    progress: Callable[[int], None],
) -> ExactMatch:
    """The model's answers to the last user turn of every conversation with an ``answer``, compared.

    Args:
        model: A causal language model; it is moved to ``device``.
        renderer: Its chat template.
        conversations: The conversations; those without an ``answer`` are skipped.
        pattern: Regular expression for the answer, see `extract`.
        max_new_tokens: Where a reply is cut, thought and answer together.
        device: Where to run.
        batch_tokens: Most padded tokens (prompt and answer) of one batch.
        progress: Called with the number of conversations done.
    """
    from fusionchat.evaluate.greedy import generate
    from fusionchat.models.offloaded import is_placed

    asked = [i for i, c in enumerate(conversations) if c.answer is not None]
    prompts = [list(renderer.prompt_ids(question(conversations[i]))) for i in asked]
    answers = generate(
        (model if is_placed(model) else model.to(device)).eval(),  # type: ignore[arg-type]
        prompts,
        stop_ids=renderer.stop_ids,
        max_new_tokens=max_new_tokens,
        batch_tokens=batch_tokens,
        names=[conversations[i].id for i in asked],
        progress=progress,
    )
    replies = tuple(renderer.text(ids) for ids in answers)
    said = [spoken(renderer.opening, reply) for reply in replies]
    extracted = tuple(None if answer is None else extract(answer, pattern) for answer in said)
    correct = [same(found, conversations[i].answer) for i, found in zip(asked, extracted, strict=True)]
    return ExactMatch(
        np.array(asked, dtype=np.intp),
        np.array(correct, dtype=bool),
        np.array([answer is None for answer in said], dtype=bool),
        replies,
        extracted,
    )


def question(conversation: Conversation) -> tuple[Message, ...]:
    """The conversation up to its last user turn, that turn included."""
    last = max(i for i, m in enumerate(conversation.messages) if m.role == "user")
    return conversation.messages[: last + 1]


def extract(reply: str, pattern: str) -> str | None:
    """The answer in a reply: the pattern's last match in it; None for nothing.

    The last, because models reason before they answer. If the pattern has groups, the answer is group 1 of
    the match. Empty matches do not count, and whitespace is normalised.
    """
    compiled = re.compile(pattern)
    found = [normal(match.group(min(1, compiled.groups)) or "") for match in compiled.finditer(reply)]
    return next((text for text in reversed(found) if text), None)


def normal(text: str) -> str:
    """Text with every run of whitespace as one space, none at the ends."""
    return " ".join(text.split())


def same(extracted: str | None, answer: str | None) -> bool:
    """Whether the extracted text is the answer, ignoring whitespace."""
    return extracted is not None and answer is not None and extracted == normal(answer)
