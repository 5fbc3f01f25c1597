"""`Question`: several options, one of them right, as the last turn of a dialogue."""

from dataclasses import replace
from typing import NamedTuple

from fusionchat.corpus.conversation import Conversation, Message


class Question(NamedTuple):
    """A dialogue whose last turn begins with ``given`` and continues with one of the options.

    Attributes:
        id: Unique within its task.
        messages: The turns before the one with the options.
        given: The beginning of that turn; "" if an option is all of it.
        options: Two or more texts, all different.
        right: The place of the right one.
        domain: A label for reports; "" if there is none.
    """

    id: str
    messages: tuple[Message, ...]
    given: str
    options: tuple[str, ...]
    right: int
    domain: str = ""

    def conversation(self, option: int) -> Conversation:
        """The dialogue with one option.

        Only the option's turn is scored, without its end, which is no byte of the option.
        """
        context = tuple(replace(message, train=False) for message in self.messages)
        turn = Message("assistant", self.given + self.options[option], complete=False)
        return Conversation(f"{self.id}/{option}", (*context, turn), self.domain)


class Exchange(NamedTuple):
    """A held-out answer and what it answers.

    Attributes:
        id: The conversation's id.
        messages: The turns before the answer.
        answer: The last turn.
        domain: The conversation's domain.
    """

    id: str
    messages: tuple[Message, ...]
    answer: str
    domain: str


def exchange(conversation: Conversation) -> Exchange | None:
    """The last answer of a dialogue, or None if it is not supervised or follows no question."""
    *before, last = conversation.messages
    if not last.supervised or not before or before[-1].role != "user" or not last.content.strip():
        return None
    return Exchange(conversation.id, tuple(before), last.content.strip(), conversation.domain)
