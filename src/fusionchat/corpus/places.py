"""Where a conversation's contents are in its rendering. PURE.

They are found with a second rendering that has marks.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from fusionchat.corpus.conversation import Message

LOST = "the chat template leaves out, repeats or reorders a turn"
REWRITES = "the chat template rewrites a turn"


class Refusal(NamedTuple):
    """Why a template cannot show a conversation: a short reason to count by, and the detail."""

    reason: str
    detail: str = ""


class Place(NamedTuple):
    """Where an assistant turn's content is.

    Attributes:
        message: Index of the message.
        begin, end: Character span in the rendered text.
        kept: Character span of the message's content that the template shows.
        closed: Whether text of the template itself follows; otherwise there is no end of turn.
    """

    message: int
    begin: int
    end: int
    kept: tuple[int, int]
    closed: bool


def between_marks(skeleton: str, marks: Sequence[str]) -> list[str] | Refusal:
    """The template's text before, between and after the marks.

    A refusal if a mark does not occur exactly once.
    """
    found = [skeleton.find(mark) for mark in marks]
    once = all(skeleton.count(mark) == 1 for mark in marks)
    if not once or any(a > b for a, b in pairwise(found)):
        return Refusal(LOST)
    cuts = [0, *(at + len(mark) for at, mark in zip(found, marks, strict=True))]
    return [skeleton[a:b] for a, b in zip(cuts, [*found, len(skeleton)], strict=True)]


def read_between(
    messages: Sequence[Message], said: Sequence[int], between: Sequence[str], text: str
) -> list[Place] | Refusal:
    """The places of turns ``said`` in ``text``, from the template's text before, between and after them."""
    at = len(between[0])
    if not text.startswith(between[0]):
        return Refusal(REWRITES)
    places = []
    for position, index in enumerate(said):
        after = between[position + 1]
        last = position == len(said) - 1
        for begin, end in edits(messages[index].content):
            shown = messages[index].content[begin:end]
            stop = at + len(shown) + len(after)
            if text.startswith(shown + after, at) and (not last or stop == len(text)):
                closed = not follows_bare(messages, index, after)
                places.append(Place(index, at, at + len(shown), (begin, end), closed))
                at = stop
                break
        else:
            return Refusal(REWRITES)
    return places


def follows_bare(messages: Sequence[Message], index: int, after: str) -> bool:
    """Whether the template writes nothing between an assistant turn and what follows it."""
    if not after:
        return True
    following = messages[index + 1].content if index + 1 < len(messages) else ""
    return bool(following) and messages[index + 1].role != "assistant" and after.startswith(following)


def edits(content: str) -> list[tuple[int, int]]:
    """Character spans of a content that published templates show: all of it, or trimmed."""
    size = len(content)
    left, right = size - len(content.lstrip()), len(content.rstrip())
    newline = size - len(content.lstrip("\n"))
    if right <= left:
        spans = [(0, size), (0, 0)]
    else:
        spans = [(0, size), (left, right), (left, size), (0, right), (newline, size), (newline, right)]
    return list(dict.fromkeys(spans))


def make_marks(count: int, messages: Sequence[Message]) -> list[str]:
    """Strings of letters and digits that no template edits and no message contains."""
    everything = "\n".join(m.content for m in messages)
    salt = 0
    while f"Qx{salt}Mark" in everything:
        salt += 1
    return [f"Qx{salt}Mark{i}xQ" for i in range(count)]


def byte_places(text: str, places: Sequence[Place]) -> list[Place]:
    """The same places with byte spans."""
    if text.isascii():
        return list(places)
    moved, at, byte = [], 0, 0
    for place in places:
        begin = byte + len(text[at : place.begin].encode())
        byte = begin + len(text[place.begin : place.end].encode())
        at = place.end
        moved.append(place._replace(begin=begin, end=byte))
    return moved
