"""`Conversation`: the only form of a dialogue inside FusionChat, whatever file it came from."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

PARAGRAPH = r"([^\n]+)"
"""The default pattern of a conversation in plain text: a line that is not empty."""

SHOWN_DETAIL = 100
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn.

    Attributes:
        role: Who speaks.
        content: The text.
        complete: False if a long conversation was cut inside the turn; its end is then not supervised.
        train: False if the corpus excludes the turn from the loss; it is then only context for later turns.
    """

    role: Role
    content: str
    complete: bool = True
    train: bool = True

    @property
    def supervised(self) -> bool:
        """Whether the turn is scored and trained on."""
        return self.role == "assistant" and self.train


@dataclass(frozen=True)
class Conversation:
    """One training dialogue.

    Attributes:
        id: Unique within its corpus; the file's own id (with the record's number where another has it), or
            ``<file stem>-<record number>``.
        messages: The turns; at least one of them is the assistant's.
        domain: A label for reports; "" if there is none.
        answer: The checkable answer to the last user turn; None if there is none.
    """

    id: str
    messages: tuple[Message, ...]
    domain: str = ""
    answer: str | None = None

    @property
    def supervised_bytes(self) -> int:
        """UTF-8 bytes of the supervised turns: the denominator of bits per byte."""
        return sum(len(m.content.encode()) for m in self.messages if m.supervised)

    @property
    def message_bytes(self) -> tuple[int, ...]:
        """UTF-8 bytes of every message."""
        return tuple(len(m.content.encode()) for m in self.messages)


class Reject(NamedTuple):
    """A record that cannot be used: its id, a short reason to count by, the detail, the model (if any)."""

    id: str
    reason: str
    detail: str = ""
    model: str = ""

    @property
    def cause(self) -> str:
        """The reason, after the model's name if it is one model's."""
        return f"{self.model}: {self.reason}" if self.model else self.reason

    @property
    def example(self) -> str:
        """The reason with its detail, as the example of all rejects with that reason."""
        return f"{self.reason}, e.g. {self.detail[:SHOWN_DETAIL]}" if self.detail else self.reason
