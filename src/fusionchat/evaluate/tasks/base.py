"""The base of all tasks: what a task takes and returns."""

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
"""Shows progress, given a verb, a total and a unit.

The context yields a function that takes the number done.
"""


class Prompter(Protocol):
    """The part of `fusionchat.corpus.render.Renderer` that tasks use."""

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
        """The opening tag of a thought that ends these prompts; "" for none."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """The text of a model's output, without control tokens but with the tags of thoughts."""
        ...


@dataclass(frozen=True)
class Subject:
    """One model, and the data that it is measured on.

    Attributes:
        model: A causal language model; a task moves it to ``device``.
        renderer: Its tokenizer and chat template.
        conversations: The conversations of one part of the corpus.
        rendered: The same conversations in the model's template.
        device: Where to run.
        batch_tokens: Most padded tokens of one batch.
        files: The paths of the files that tasks read, by ``TASK.SETTING``.
    """

    model: "PreTrainedModel"
    renderer: Prompter
    conversations: Sequence[Conversation]
    rendered: Sequence["Rendered"]
    device: "torch.device | str"
    batch_tokens: int
    files: Mapping[str, Path] = field(default_factory=dict)


class PartSize(NamedTuple):
    """The approximate size of a part of the corpus before it is read: tokens, and conversations."""

    tokens: float
    conversations: float

    def of(self, limit: int | None) -> "PartSize":
        """The size of the first ``limit`` conversations; of all of them for None."""
        share = 1.0 if limit is None else min(1.0, limit / max(self.conversations, 1.0))
        return PartSize(self.tokens * share, self.conversations * share)


class Measured(NamedTuple):
    """The result of a task.

    Attributes:
        items: Items by the name of each of its metrics.
        files: The contents of files to save beside the scores, by file name.
        counts: Figures to save in the scores that are no metric, by name.
        warnings: The texts of warnings.
    """

    items: Mapping[str, Items]
    files: Mapping[str, bytes] = {}
    counts: Mapping[str, int] = {}
    warnings: tuple[str, ...] = ()


class Task(Frozen):
    """The base of all tasks: the settings in `evaluate: {NAME: ...}` of a recipe.

    Attributes:
        name: Its key in a recipe.
        metrics: What it measures; names are unique among all tasks.
        always: Whether it is always on; it then has no settings and no key.
        needs: What it needs of a corpus, for messages.
        from_corpus: Whether it measures a model on the given part of the corpus, so that a choice made on
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
        """Raise FusionChatError if one of its files, by setting, is not what it must be."""

    def places(self, conversations: Sequence[Conversation]) -> list[int]:
        """The places of the conversations that it measures."""
        return list(range(len(conversations)))

    def tokens(self, part: PartSize, files: Mapping[str, Path]) -> float:
        """Approximate number of tokens that a model processes; ``files`` as for `refuse`."""
        return part.tokens

    def measure(self, subject: Subject, progress: Progress) -> Measured:
        """Measure a model."""
        raise NotImplementedError

    @classmethod
    def comparable(cls, scores: Mapping[str, Scores]) -> tuple[list[Scores], str]:
        """Several models' scores, made comparable, and a sentence on what was left out; "" for nothing.

        Args:
            scores: The scores by the names of the models' rows.
        """
        return list(scores.values()), ""

    @classmethod
    def remark(cls, counts: Mapping[str, Mapping[str, int]]) -> str:
        """What a reader of the report must know about the models' counts; "" for nothing.

        Args:
            counts: What `measure` counted, by the models' labels; summed over the seeds of one model.
        """
        return ""
