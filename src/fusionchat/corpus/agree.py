"""A conversation that every template shows unchanged: one template's edits apply to all models."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.places import Refusal
from fusionchat.corpus.render import EDITED, SWALLOWED, Renderer
from fusionchat.corpus.thoughts import needs_care, split

TRIMS = "its template trims a turn; trimmed for all models"
SWALLOWS = "a control token takes in the spaces around a turn; trimmed for all models"
RESPACES = "its template changes the spaces around a thought; changed for all models"
HIDES = "its template leaves out or rewrites a thought; put back as text"
DROPS = "sees no thought (thinking: drop)"
PROMPTED = "its generation prompt begins a thought, but the conversation's answers have none"
SPELLED = "a turn spells out a control token; read as text"
LEAVES_OUT = "its template leaves out {role} turns"


class Note(NamedTuple):
    """What a model's template or tokenizer does to a conversation, or what was changed because of it."""

    model: str
    what: str

    def __str__(self) -> str:
        return f"{self.model}: {self.what}" if self.model else self.what


class Fitted(NamedTuple):
    """A conversation that all models can use, and what was changed in it or differs for a model."""

    conversation: Conversation
    notes: tuple[Note, ...] = ()


def agree_all(conversation: Conversation, renderers: Sequence[Renderer]) -> Fitted | Reject:
    """The conversation edited until every model's template shows it unchanged, or why it cannot be."""
    conversation, notes = respace(conversation, renderers)
    for _ in range(3):
        before = conversation
        for renderer in renderers:
            agreed = agree(renderer, conversation)
            if isinstance(agreed, Reject):
                return agreed._replace(model=renderer.name)
            conversation = agreed.conversation
            notes += agreed.notes
        if conversation == before:
            break
    notes += [note for renderer in renderers for note in differences(renderer, conversation)]
    return Fitted(conversation, tuple(dict.fromkeys(notes)))


def respace(conversation: Conversation, renderers: Sequence[Renderer]) -> tuple[Conversation, list[Note]]:
    """The conversation with the spaces of the first template that changes the spaces of thoughts.

    The pivot's template comes first.
    """
    if not thoughtful(conversation):
        return conversation, []
    for renderer in renderers:
        if renderer.thinking == "drop":
            continue
        shown = renderer.show(conversation.messages)
        if not isinstance(shown, Refusal) and shown.respaced:
            edited = [
                replace(m, content=shown.respaced.get(i, m.content))
                for i, m in enumerate(conversation.messages)
            ]
            return replace(conversation, messages=tuple(edited)), [Note(renderer.name, RESPACES)]
    return conversation, []


def agree(renderer: Renderer, conversation: Conversation) -> Fitted | Reject:
    """The conversation with its assistant turns as one model's template shows them.

    Trimmed spaces are removed from the content itself, so that every model sees the same bytes; rendering the
    result proves it.
    """
    notes: list[Note] = []
    for _ in range(3):
        rendered = renderer.render(conversation)
        if not isinstance(rendered, Reject):
            return Fitted(conversation, tuple(notes))
        edited = _edit(renderer, conversation, rendered)
        if edited is None or edited == conversation:
            return rendered
        conversation = edited
        notes.append(Note(renderer.name, SWALLOWS if rendered.reason == SWALLOWED else TRIMS))
    return Reject(conversation.id, EDITED, "again and again")


def _edit(renderer: Renderer, conversation: Conversation, reject: Reject) -> Conversation | None:
    messages = conversation.messages
    if reject.reason == SWALLOWED:
        spans = [(len(m.content) - len(m.content.lstrip()), len(m.content.rstrip())) for m in messages]
        return shown_as(conversation, spans)
    shown = renderer.show(messages)
    if isinstance(shown, Refusal):
        return None
    kept = {place.message: place.kept for place in shown.places}
    seen = renderer.seen(messages)
    return shown_as(
        conversation,
        [whole_span(m, s, kept.get(i)) for i, (m, s) in enumerate(zip(messages, seen, strict=True))],
    )


def whole_span(message: Message, seen: Message, kept: tuple[int, int] | None) -> tuple[int, int]:
    """The span of a message that is kept, its unseen thought included.

    ``kept`` is the span of what is seen.
    """
    unseen, size = len(message.content) - len(seen.content), len(message.content)
    if kept is None:
        return 0, size
    return (0 if unseen else kept[0]), kept[1] + unseen


def shown_as(conversation: Conversation, spans: Sequence[tuple[int, int]]) -> Conversation:
    """The conversation with its assistant contents cut to these character spans."""
    messages = tuple(
        replace(m, content=m.content[a:b]) if m.role == "assistant" else m
        for m, (a, b) in zip(conversation.messages, spans, strict=True)
    )
    return replace(conversation, messages=messages)


def differences(renderer: Renderer, conversation: Conversation) -> list[Note]:
    """Where a model sees something other than the conversation, or than its template alone would show."""
    roles = {m.role for m in conversation.messages} & renderer.template.hidden_roles
    found = [LEAVES_OUT.format(role=role) for role in sorted(roles)]
    if renderer.encoder.spells(conversation.messages):
        found.append(SPELLED)
    if renderer.opening and any(m.supervised and split(m.content) is None for m in conversation.messages):
        found.append(PROMPTED)
    if thoughtful(conversation):
        if renderer.thinking == "drop":
            found.append(DROPS)
        else:
            shown = renderer.show(conversation.messages)
            assert not isinstance(shown, Refusal), "it has been rendered"
            if shown.hidden or shown.respaced:
                found.append(HIDES)
    return [Note(renderer.name, what) for what in found]


def thoughtful(conversation: Conversation) -> bool:
    """Whether an assistant turn has a thought, or tags of a thought."""
    return any(m.role == "assistant" and needs_care(m.content) for m in conversation.messages)
