"""Thoughts: what a reasoning model writes before its answer, ``<think> ... </think>``. PURE."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, NamedTuple

from fusionchat.corpus.conversation import Conversation

Thinking = Literal["keep", "drop"]
"""Whether the thoughts of assistant turns are kept or dropped."""

TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
"""How a thought begins and ends. The first pair is what chat templates look for."""

DROPPED = "thoughts are removed from assistant turns (corpus.thinking: drop)"
OPENED = "an assistant turn begins inside a thought, whose opening tag was in the prompt; the tag is put back"

SPELLINGS = frozenset(tag for pair in TAGS for tag in pair)


class Thought(NamedTuple):
    """An assistant's turn in parts that add up to it.

    Attributes:
        opening: The tag that begins the thought, with the spaces around it; "" if the turn begins inside a
            thought, as it does where the prompt ends with the tag.
        words: The thought.
        closing: The tag that ends it, with the spaces around it; "" if the turn was cut inside the thought.
        answer: The rest.
        tags: The pair of tags.
    """

    opening: str
    words: str
    closing: str
    answer: str
    tags: tuple[str, str]


def split(content: str) -> Thought | None:
    """The parts of a turn that begins with a thought; None for any other.

    Without an opening tag, a closing one on a line of its own ends a thought that began in the prompt.
    """
    for tags in TAGS:
        begin, end = tags
        opened = re.match(rf"\s*{re.escape(begin)}\s*", content)
        if opened is None and (tags != TAGS[0] or begin in content or content.count(end) != 1):
            continue
        start = opened.end() if opened else 0
        at = content.find(end, start)
        if at < 0:
            return Thought(content[:start], content[start:], "", "", tags)
        words = content[start:at].rstrip()
        answer = content[at + len(end) :].lstrip()
        closing = content[start + len(words) : len(content) - len(answer)]
        if opened is None and "\n" not in closing:
            continue
        return Thought(content[:start], words, closing, answer, tags)
    return None


def without(content: str) -> str:
    """A turn without the thought that it begins with."""
    found = split(content)
    return content if found is None else found.answer


def opening(prompt: str) -> str:
    """The opening tag that ends a prompt, with the spaces after it.

    "" if answers do not begin inside a thought.
    """
    found = (re.search(rf"{re.escape(begin)}\s*\Z", prompt) for begin, _ in TAGS)
    return next((match.group() for match in found if match), "")


def spoken(prompt: str, reply: str) -> str | None:
    """What a model says after its thought; None if the reply ends inside it.

    Args:
        prompt: `opening` of the prompt.
        reply: What the model wrote after that.
    """
    found = split(prompt + reply)
    if found is None:
        return reply
    return found.answer if found.closing else None


def with_opening(content: str) -> str:
    """A turn, with the opening tag of the thought that it begins inside of."""
    found = split(content)
    return content if found is None or found.opening.strip() else f"{TAGS[0][0]}\n{content.lstrip()}"


def needs_care(content: str) -> bool:
    """Whether a template may treat a turn differently because of a thought in it, or a thought's tags."""
    return any(end in content for _, end in TAGS) or split(content) is not None


def without_thoughts(conversation: Conversation) -> Conversation:
    """The conversation without thoughts in its assistant turns."""
    return _answers(conversation, without)


def with_openings(conversation: Conversation) -> Conversation:
    """The conversation with opening tags added, so that no assistant turn begins inside a thought."""
    return _answers(conversation, with_opening)


def _answers(conversation: Conversation, change: Callable[[str], str]) -> Conversation:
    messages = tuple(
        replace(m, content=change(m.content)) if m.role == "assistant" else m for m in conversation.messages
    )
    return conversation if messages == conversation.messages else replace(conversation, messages=messages)
