"""Chat templates: rendering a conversation to text, and where each assistant turn's content stands in it.

The content is found by construction: the conversation is rendered once as it is and once with a mark in place of
every assistant content. What stands between the marks is the template's own text; the real rendering must be that
text with the contents, or a known edit of them (trimmed, thinking removed), in place of the marks.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.jinja import compiled

THOUGHT = "</think>"
PROBE = (Message("user", "Hi"), Message("assistant", "Hi"))


class Refusal(NamedTuple):
    """Why a template cannot show a conversation: a short reason to count by, and the detail."""

    reason: str
    detail: str = ""


class Place(NamedTuple):
    """Where an assistant turn's content stands.

    Attributes:
        message: Index of the message.
        begin, end: Character span in the rendered text.
        kept: Character span of the message's content that the template shows.
        closed: Whether text of the template's own follows (else there is no end of turn).
    """

    message: int
    begin: int
    end: int
    kept: tuple[int, int]
    closed: bool


class ChatTemplate:
    """A chat template and the special tokens it may spell out.

    Args:
        source: Jinja source.
        special_tokens: Spelling of ``bos_token``, ``eos_token`` and the like.

    Raises:
        ModelError: The template is not valid Jinja.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, object]) -> None:
        self.source = source
        self.special_tokens = dict(special_tokens)
        self.tools: list[object] | None = None
        compiled(source)
        if isinstance(self.write(PROBE), Refusal):  # made for tools only: show it a conversation without any
            self.tools = []
            if isinstance(self.write(PROBE), Refusal):
                self.tools = None

    def write(self, messages: Sequence[Message], *, generate: bool = False) -> str | Refusal:
        """The text of a conversation, or why the template refuses it.

        Args:
            messages: The turns.
            generate: Add what comes before an assistant's answer.
        """
        variables = {
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "tools": self.tools,
            "documents": None,
            "add_generation_prompt": generate,
        }
        try:
            return compiled(self.source).render(**self.special_tokens, **variables)
        except Exception as error:  # a template is a foreign program: whatever it raises is its refusal
            return Refusal("the chat template refuses the conversation", str(error))

    def locate(self, messages: Sequence[Message], text: str) -> list[Place] | Refusal:
        """Where the content of every assistant turn stands in ``text``, the rendering of ``messages``.

        Returns a refusal where the template leaves out, repeats, reorders or rewrites a turn.
        """
        said = [i for i, m in enumerate(messages) if m.role == "assistant"]
        marks = make_marks(len(said), messages)
        altered = list(messages)
        for mark, i in zip(marks, said, strict=True):
            altered[i] = Message("assistant", mark)
        skeleton = self.write(altered)
        if isinstance(skeleton, Refusal):
            return skeleton
        found = [skeleton.find(mark) for mark in marks]
        once = all(skeleton.count(mark) == 1 for mark in marks)
        if not once or any(a > b for a, b in pairwise(found)):
            return Refusal("the chat template leaves out, repeats or reorders a turn")
        cuts = [0, *(at + len(mark) for at, mark in zip(found, marks, strict=True))]
        between = [skeleton[a:b] for a, b in zip(cuts, [*found, len(skeleton)], strict=True)]
        return read_between(messages, said, between, text)


def read_between(
    messages: Sequence[Message], said: Sequence[int], between: Sequence[str], text: str
) -> list[Place] | Refusal:
    """The places of the contents in ``text``, given the template's text before, between and after them."""
    at = len(between[0])
    if not text.startswith(between[0]):
        return Refusal("the chat template rewrites a turn")
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
            return Refusal("the chat template rewrites a turn")
    return places


def follows_bare(messages: Sequence[Message], index: int, after: str) -> bool:
    """Whether nothing of the template's own comes between an assistant turn and what follows it."""
    if not after:
        return True
    following = messages[index + 1].content if index + 1 < len(messages) else ""
    return bool(following) and messages[index + 1].role != "assistant" and after.startswith(following)


def edits(content: str) -> list[tuple[int, int]]:
    """Character spans of a content that published templates show: all of it, trimmed, without its thinking."""
    size = len(content)
    left, right = size - len(content.lstrip()), len(content.rstrip())
    newline = size - len(content.lstrip("\n"))
    if right <= left:
        spans = [(0, size), (0, 0)]
    else:
        spans = [(0, size), (left, right), (left, size), (0, right), (newline, size), (newline, right)]
    if THOUGHT in content:
        begin = content.rindex(THOUGHT) + len(THOUGHT)
        spans += [(begin + a, begin + b) for a, b in edits(content[begin:])]
    return list(dict.fromkeys(spans))


def make_marks(count: int, messages: Sequence[Message]) -> list[str]:
    """Strings of letters and digits that no template edits and no message contains."""
    everything = "\n".join(m.content for m in messages)
    salt = 0
    while f"Qx{salt}Mark" in everything:
        salt += 1
    return [f"Qx{salt}Mark{i}xQ" for i in range(count)]
