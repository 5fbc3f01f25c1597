"""What a task is given, what it gives, and the base of all tasks."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.scores import Items, Scores
from fusionchat.settings import Frozen

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from fusionchat.corpus.render import Rendered

Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]
"""Shows work in progress: a verb, how many of what; what it gives is called with the number that is done."""


class Prompter(Protocol):
    """What is needed of `fusionchat.corpus.render.Renderer`."""

    @property
    def stop_ids(self) -> Sequence[int]:
        """Tokens that end an answer."""
        ...

    def prompt_ids(self, messages: Sequence[Message]) -> Sequence[int]:
        """Token ids of the messages in the model's template, up to where its answer begins."""
        ...

    def render(self, conversation: Conversation) -> "Rendered | Reject":
        """A conversation as tokens, with the bytes that each supervised one covers, or why it cannot be used."""
        ...

    @property
    def opening(self) -> str:
        """The opening tag of a thought that ends these prompts, "" for none."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """What a model wrote, without control tokens, with the tags of thoughts."""
        ...


@dataclass(frozen=True)
class Subject:
    """One model, and what it is measured on.

    Attributes:
        model: A causal language model; a task moves it to ``device``.
        renderer: Its tokenizer and chat template.
        conversations: Of one part of the corpus.
        rendered: The same conversations in the model's template.
        device: Where to run.
        batch_tokens: Most padded tokens of one batch.
        files: Where the files are that tasks read, by ``TASK.SETTING``.
    """

    model: "PreTrainedModel"
    renderer: Prompter
    conversations: Sequence[Conversation]
    rendered: Sequence["Rendered"]
    device: "torch.device | str"
    batch_tokens: int
    files: Mapping[str, Path] = field(default_factory=dict)


class PartSize(NamedTuple):
    """About how large a part of the corpus is, before it is read: tokens, and conversations."""

    tokens: float
    conversations: float

    def of(self, limit: int | None) -> "PartSize":
        """The first ``limit`` conversations; all of them for None."""
        share = 1.0 if limit is None else min(1.0, limit / max(self.conversations, 1.0))
        return PartSize(self.tokens * share, self.conversations * share)


class Measured(NamedTuple):
    """What a task gives.

    Attributes:
        items: By the name of each of its metrics.
        files: What to keep beside the scores, by file name.
        counts: Figures to keep in the scores that are no metric, by name.
        warnings: What to warn of.
    """

    items: Mapping[str, Items]
    files: Mapping[str, bytes] = {}
    counts: Mapping[str, int] = {}
    warnings: tuple[str, ...] = ()


class Task(Frozen):
    """The base of all tasks: a task's settings, which are what `evaluate: {NAME: ...}` of a recipe holds.

    Attributes:
        name: Its key in a recipe.
        metrics: What it measures; names are unique among all tasks.
        always: Whether it is on without being asked for, and then it has no settings and no key.
        needs: What it needs of a corpus, for messages.
        from_corpus: Whether it measures a model on the part of the corpus that it is given, so that a choice made on
            validation has not seen test.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    always: ClassVar[bool] = False
    needs: ClassVar[str] = "conversations"
    from_corpus: ClassVar[bool] = True

    @property
    def reads(self) -> Mapping[str, str]:
        """The paths of the files that it reads, by setting."""
        return {}

    def refuse(self, files: Mapping[str, Path]) -> None:
        """Raise FusionChatError where one of its files, by setting, is not what it has to be."""

    def places(self, conversations: Sequence[Conversation]) -> list[int]:
        """The places of the conversations that it measures."""
        return list(range(len(conversations)))

    def tokens(self, part: PartSize, files: Mapping[str, Path]) -> float:
        """Tokens that a model goes through, about; ``files`` as for `refuse`."""
        return part.tokens

    def measure(self, subject: Subject, progress: Progress) -> Measured:
        """Measure a model."""
        raise NotImplementedError

    @classmethod
    def comparable(cls, scores: Mapping[str, Scores]) -> tuple[list[Scores], str]:
        """Several models' scores as they may be compared, and a sentence on what was left out, "" for nothing.

        Args:
            scores: By the names of the models' rows.
        """
        return list(scores.values()), ""

    @classmethod
    def remark(cls, counts: Mapping[str, Mapping[str, int]]) -> str:
        """What a reader of the report has to know of the models' counts, "" for nothing.

        Args:
            counts: What `measure` counted, by the models' labels; summed over the seeds of one model.
        """
        return ""
