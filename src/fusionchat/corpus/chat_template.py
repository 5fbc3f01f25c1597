"""Chat templates: rendering a conversation to text, and where each assistant turn's content is in it.

The content is found by construction: the conversation is rendered once unchanged and once with a mark in
place of every assistant content. The text between the marks is the template's own; the real rendering must be
that text with the contents, or a known edit of them (trimmed), in place of the marks.

Published templates differ most in thoughts (``<think> ... </think>``): some show them, some write them with
other spaces, some omit them, always or in earlier turns. Where a template does not show a thought unchanged,
the whole turn is put in place of its answer: the model reads what it would itself have written.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from fusionchat.corpus.conversation import Message, Role
from fusionchat.corpus.jinja import compiled
from fusionchat.corpus.places import (
    REWRITES,
    Place,
    Refusal,
    between_marks,
    make_marks,
    read_between,
)
from fusionchat.corpus.thoughts import TAGS, needs_care, split
from fusionchat.corpus.variables import Variables

PROBE = (Message("user", "Hi"), Message("assistant", "Hi"))
WANTS_PARTS = "the chat template takes content as a list of parts, not as text"


class Shown(NamedTuple):
    """A conversation as a template writes it.

    Attributes:
        text: The rendering.
        places: Where the assistant turns are in it.
        hidden: Messages whose thought the template omits; it is put back.
        respaced: Messages whose thought the template writes with other spaces, and how it writes them.
    """

    text: str
    places: list[Place]
    hidden: tuple[int, ...] = ()
    respaced: Mapping[int, str] = {}


class _Turn(NamedTuple):
    """An assistant turn while it is being rendered.

    Attributes:
        form: The text in place of the content in the rendering with marks.
        pattern: How the form appears there, if the template changes it.
        natural: Whether the template gets the content itself; otherwise it gets the form, which is replaced
            afterwards.
    """

    form: str
    pattern: re.Pattern[str] | None = None
    natural: bool = True


class ChatTemplate:
    """A chat template and the special tokens that it may spell out.

    Args:
        source: Jinja source.
        special_tokens: Spelling of ``bos_token``, ``eos_token`` and the like.
        variables: Other variables of the template.

    Raises:
        ModelError: The template is not valid Jinja.
    """

    def __init__(
        self, source: str, special_tokens: Mapping[str, object], variables: Variables = MappingProxyType({})
    ) -> None:
        self.source, self.variables = source, dict(variables)
        self.special_tokens = dict(special_tokens)
        self.tools: list[object] | None = None
        compiled(source)
        if isinstance(self.write(PROBE), Refusal):  # made only for tools: render a conversation without tools
            self.tools = []
            if isinstance(self.write(PROBE), Refusal):
                self.tools = None

    def write(self, messages: Sequence[Message], *, generate: bool = False) -> str | Refusal:
        """The text of a conversation, or why the template refuses it.

        Args:
            messages: The turns.
            generate: Whether to add the text that comes before an assistant's answer.
        """
        return self._render([{"role": m.role, "content": m.content} for m in messages], generate)

    def _render(self, messages: Sequence[Mapping[str, object]], generate: bool = False) -> str | Refusal:
        own = {
            "messages": messages,
            "tools": self.tools,
            "documents": None,
            "add_generation_prompt": generate,
        }
        try:
            return compiled(self.source).render({**self.variables, **self.special_tokens, **own})
        except Exception as error:  # a template is foreign code: anything it raises is its refusal
            return Refusal("the chat template refuses the conversation", str(error))

    @cached_property
    def wants_parts(self) -> bool:
        """Whether content must be a list of parts, as templates of vision models may require."""
        marks = make_marks(2, [])
        roles = ("user", "assistant")
        plain = self._render([{"role": r, "content": m} for r, m in zip(roles, marks, strict=True)])
        if isinstance(plain, str) and all(mark in plain for mark in marks):
            return False
        parts = [
            {"role": r, "content": [{"type": "text", "text": m}]} for r, m in zip(roles, marks, strict=True)
        ]
        shown = self._render(parts)
        return isinstance(shown, str) and all(mark in shown for mark in marks)

    @cached_property
    def hidden_roles(self) -> frozenset[Role]:
        """Which of the roles system and user the template omits without an error."""
        mark = make_marks(1, [])[0]
        probes: dict[Role, tuple[Message, ...]] = {
            "system": (Message("system", mark), *PROBE),
            "user": (Message("user", mark), *PROBE[1:]),
        }
        texts = {role: self.write(messages) for role, messages in probes.items()}
        return frozenset(role for role, text in texts.items() if isinstance(text, str) and mark not in text)

    def show(self, messages: Sequence[Message]) -> Shown | Refusal:
        """The text of a conversation and where the content of every assistant turn is in it.

        Returns a refusal where the template omits, repeats, reorders or rewrites a turn; thoughts that it
        omits or rewrites are put back.
        """
        if self.wants_parts:
            return Refusal(WANTS_PARTS)
        said = [i for i, m in enumerate(messages) if m.role == "assistant"]
        marks = dict(zip(said, make_marks(len(said), messages), strict=True))
        turns = {i: _Turn(marks[i]) for i in said}
        if not any(needs_care(messages[i].content) for i in said):
            return self._show(messages, turns, {})
        turns, respaced = self._care(messages, marks)
        shown = self._show(messages, turns, respaced)
        if isinstance(shown, Refusal) and shown.reason == REWRITES:
            thoughtful = {
                i: t._replace(natural=False) for i, t in turns.items() if needs_care(messages[i].content)
            }
            shown = self._show(messages, turns | thoughtful, respaced)
        return shown

    def _care(
        self, messages: Sequence[Message], marks: Mapping[int, str]
    ) -> tuple[dict[int, _Turn], dict[int, str]]:
        """How to find each turn, depending on how its thought is shown; and the thoughts with other spaces."""
        turns = {i: thinking_turn(messages[i].content, mark) for i, mark in marks.items()}
        skeleton = self.write(with_contents(messages, {i: t.form for i, t in turns.items()}))
        respaced: dict[int, str] = {}
        for i, turn in turns.items():
            if not needs_care(messages[i].content):
                continue
            found = turn.pattern.search(skeleton) if turn.pattern and isinstance(skeleton, str) else None
            if found is None:
                begin, end = map(re.escape, TAGS[0])
                # The template may write an empty thought of its own.
                pattern = re.compile(rf"(?:{begin}\s*{end}\s*)?{marks[i]}")
                turns[i] = _Turn(marks[i], pattern, natural=False)
            elif isinstance(skeleton, str) and skeleton.count(turn.form) == 1:
                turns[i] = turn._replace(pattern=None)
            elif found.group() == turn.form.strip():
                turns[i] = _Turn(turn.form.strip())
            else:
                turns[i] = turn._replace(natural=False)
                respaced[i] = as_written(messages[i].content, found.group(), marks[i])
        return turns, respaced

    def _show(
        self, messages: Sequence[Message], turns: Mapping[int, _Turn], respaced: Mapping[int, str]
    ) -> Shown | Refusal:
        said = list(turns)
        skeleton = self.write(with_contents(messages, {i: t.form for i, t in turns.items()}))
        forms = {i: turn.form for i, turn in turns.items() if not turn.natural}
        text = self.write(with_contents(messages, forms))
        if isinstance(text, Refusal):
            return text
        if isinstance(skeleton, Refusal):
            return skeleton
        shown = dict[int, str]()
        for i, turn in turns.items():
            found = turn.pattern.search(skeleton) if turn.pattern else None
            shown[i] = found.group() if found else turn.form
        between = between_marks(skeleton, list(shown.values()))
        if isinstance(between, Refusal):
            return between
        given = with_contents(messages, {i: shown[i] for i in forms})
        places = read_between(given, said, between, text)
        if isinstance(places, Refusal):
            return places
        hidden = tuple(i for i in forms if i not in respaced)
        return put_back(messages, Shown(text, places, hidden, respaced), set(forms))


def with_contents(messages: Sequence[Message], contents: Mapping[int, str]) -> list[Message]:
    """The messages with other contents for some of them."""
    return [replace(m, content=contents[i]) if i in contents else m for i, m in enumerate(messages)]


def thinking_turn(content: str, mark: str) -> _Turn:
    """A content with marks in place of its thought and its answer, and how a template may show that."""
    thought = split(content)
    if thought is None or not thought.closing:
        return _Turn(mark)
    begin, end = map(re.escape, thought.tags)
    words = f"Thought{mark}" if thought.words else ""
    tag = rf"{begin}\s*" if thought.opening else ""
    pattern = re.compile(rf"{tag}{words}\s*{end}\s*{mark}")
    return _Turn(thought.opening + words + thought.closing + mark, pattern)


def as_written(content: str, shown: str, mark: str) -> str:
    """A content with the spaces around its thought as a template writes them.

    ``shown`` has marks for its words.
    """
    thought = split(content)
    assert thought is not None, "only a thought is written with other spaces"
    front = shown.removesuffix(mark)
    return front.replace(f"Thought{mark}", thought.words) + thought.answer


def put_back(messages: Sequence[Message], shown: Shown, replaced: set[int]) -> Shown:
    """The rendering with the contents themselves in place of the forms of turns ``replaced``."""
    parts, places, at, size = list[str](), list[Place](), 0, 0
    for place in shown.places:
        before, content = shown.text[at : place.begin], shown.text[place.begin : place.end]
        kept = place.kept
        if place.message in replaced:
            content = messages[place.message].content
            kept = (0, len(content))
        parts += [before, content]
        begin = size + len(before)
        size, at = begin + len(content), place.end
        places.append(place._replace(begin=begin, end=size, kept=kept))
    return shown._replace(text="".join([*parts, shown.text[at:]]), places=places)
