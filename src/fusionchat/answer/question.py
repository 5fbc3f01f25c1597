"""What a model is asked, and the conversations made from its answers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from fusionchat.answer.settings import AnswerTurns
from fusionchat.corpus.conversation import Conversation, Message, Reject

NO_QUESTION = "asks nothing"
EMPTY = "an empty answer"


class Question(NamedTuple):
    """A dialogue that is to be answered.

    Attributes:
        id: Its conversation's, and so the answer's.
        domain: Its conversation's domain.
        before: The turns before the first question; assistant turns in it are not trained on.
        asks: User turns; each is answered after the answers to the earlier ones.
        answer: The checkable answer to the last of them; None if there is none.
    """

    id: str
    domain: str
    before: tuple[Message, ...]
    asks: tuple[Message, ...]
    answer: str | None = None


class Asked(NamedTuple):
    """A prompt: a dialogue that ends in a user turn, and a unique name."""

    name: str
    messages: tuple[Message, ...]


class Reply(NamedTuple):
    """The reply to a prompt.

    Attributes:
        text: The answer.
        cut: Whether it was cut at the most tokens, and not ended by the model.
        fault: Why there is no answer; "" if there is one.
    """

    text: str = ""
    cut: bool = False
    fault: str = ""


Ask = Callable[[Sequence[Asked]], list[Reply]]
"""A model: replies to some prompts, in their order."""


def question_of(conversation: Conversation, turns: AnswerTurns) -> Question | Reject:
    """A conversation without the answers that a model will give, or why there is nothing to answer."""
    messages = conversation.messages
    asks = [place for place, one in enumerate(messages) if one.role == "user"]
    if not asks:
        return Reject(conversation.id, NO_QUESTION)
    first = asks[-1] if turns == "last" else 0
    if turns == "each":
        before = tuple(one for one in messages if one.role == "system")
    else:
        before = tuple(
            replace(one, train=False) if one.role == "assistant" else one for one in messages[:first]
        )
    asked = tuple(messages[place] for place in asks if place >= first)
    return Question(conversation.id, conversation.domain, before, asked, conversation.answer)


def answer_all(questions: Sequence[Question], ask: Ask) -> list[Conversation | Reject]:
    """The dialogues with the model's answers, in order, or why one has none.

    A dialogue ends early if an answer is cut, empty or unavailable. A cut answer is marked incomplete, since
    the model did not end it.
    """
    said = [list(one.before) for one in questions]
    faults: dict[int, str] = {}
    over = set[int]()
    for turn in range(max((len(one.asks) for one in questions), default=0)):
        now = [i for i, one in enumerate(questions) if i not in over and turn < len(one.asks)]
        prompts = [Asked(f"{questions[i].id}\n{turn}", (*said[i], questions[i].asks[turn])) for i in now]
        for i, prompt, reply in zip(now, prompts, ask(prompts), strict=True):
            fault = reply.fault or ("" if reply.text.strip() else EMPTY)
            if fault:
                faults[i] = fault
            else:
                said[i] = [*prompt.messages, Message("assistant", reply.text, complete=not reply.cut)]
            if fault or reply.cut:
                over.add(i)
    return [made(one, tuple(said[i]), faults.get(i, "")) for i, one in enumerate(questions)]


def made(question: Question, messages: tuple[Message, ...], fault: str) -> Conversation | Reject:
    """The conversation of a question, or a reject if nothing of it was answered."""
    if len(messages) == len(question.before):
        return Reject(question.id, fault)
    whole = len(messages) == len(question.before) + 2 * len(question.asks) and messages[-1].complete
    return Conversation(question.id, messages, question.domain, question.answer if whole else None)
