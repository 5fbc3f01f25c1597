"""Prompts: records of a corpus whose questions are to be answered.

They may have answers, but need none.
"""

from collections.abc import Sequence
from dataclasses import replace

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.keys import Unusable
from fusionchat.corpus.read import ReadCorpus, read_corpus
from fusionchat.corpus.settings import CorpusFile


def read_prompts(source: CorpusFile | str, folder: str = ".") -> ReadCorpus:
    """The conversations of an entry, with or without answers; a line of plain text is a question.

    Raises:
        CorpusError: As `read_corpus`.
    """
    entry = CorpusFile.model_validate(source)
    read = read_corpus(entry, folder, check=check_prompt)
    if entry.format != "text" and not entry.path.lower().removesuffix(".gz").endswith(".txt"):
        return read
    return read._replace(conversations=[as_question(one) for one in read.conversations])


def as_question(conversation: Conversation) -> Conversation:
    """The conversation with all turns as a user's; plain text is read as an assistant's."""
    return replace(conversation, messages=tuple(replace(one, role="user") for one in conversation.messages))


def check_prompt(messages: Sequence[Message]) -> None:
    """Raise Unusable where turns ask nothing.

    User turns may follow each other if their answers were removed.
    """
    asks = [m for m in messages if m.role == "user"]
    plain = len(messages) == 1 and messages[0].role == "assistant"
    if not asks and not plain:
        raise Unusable("no user turn")
    if not any(m.content.strip() for m in asks) and not plain:
        raise Unusable("empty")
    if any(m.role == "system" for m in messages[1:]):
        raise Unusable("system turn inside")
