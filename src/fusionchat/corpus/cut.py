"""`fit`: one conversation that all models see alike: the same edits, the same bytes, within every model's length."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.render import Rendered, Renderer
from fusionchat.corpus.template import THOUGHT

TOO_LONG = "no whole token of an answer fits the maximum length"
TRIES = 32


def shown_as(conversation: Conversation, spans: Sequence[tuple[int, int]]) -> Conversation:
    """The conversation with its assistant contents cut to these character spans."""
    messages = tuple(
        replace(m, content=m.content[a:b]) if m.role == "assistant" else m
        for m, (a, b) in zip(conversation.messages, spans, strict=True)
    )
    return replace(conversation, messages=messages)


def without_thoughts(conversation: Conversation) -> Conversation:
    """The conversation with everything up to the end of the thinking taken out of its assistant contents."""
    spans = []
    for m in conversation.messages:
        begin = m.content.rfind(THOUGHT)
        begin = 0 if begin < 0 else begin + len(THOUGHT)
        blanks = len(m.content[begin:]) - len(m.content[begin:].lstrip()) if begin else 0
        spans.append((begin + blanks, len(m.content)))
    return shown_as(conversation, spans)


def fit(conversation: Conversation, renderers: Sequence[tuple[Renderer, int]]) -> Conversation | Reject:
    """The conversation as all models can take it: edited as their templates edit it, and cut to their lengths.

    A conversation that fits is returned untouched. A longer one is cut at the largest byte of an assistant turn
    where every model has a token boundary and no more than its maximum number of tokens; the turn that was cut is
    marked incomplete, later turns are dropped, and an answer is kept only if the last user turn is.

    Args:
        conversation: The conversation.
        renderers: Each model's renderer and its maximum number of tokens.
    """
    agreed = agree_all(conversation, [renderer for renderer, _ in renderers])
    if isinstance(agreed, Reject):
        return agreed
    whole = render_all(agreed, renderers)
    if isinstance(whole, Reject) or fits(whole, renderers):
        return whole if isinstance(whole, Reject) else agreed
    for turn, byte in shared_cuts(agreed, whole, renderers)[:TRIES]:
        shorter = cut(agreed, turn, byte)
        rendered = None if shorter is None else render_all(shorter, renderers)
        if shorter is not None and not isinstance(rendered, Reject | None) and fits(rendered, renderers):
            return shorter
    return Reject(conversation.id, TOO_LONG, f"{max(len(r.input_ids) for r in whole)} tokens")


def agree_all(conversation: Conversation, renderers: Sequence[Renderer]) -> Conversation | Reject:
    """Edit the conversation until every model's template shows it as it is."""
    for _ in range(3):
        before = conversation
        for renderer in renderers:
            edited = renderer.agree(conversation)
            if isinstance(edited, Reject):
                return edited._replace(detail=": ".join(filter(None, [renderer.name, edited.detail])))
            conversation = edited
        if conversation == before:
            break
    return conversation


def render_all(
    conversation: Conversation, renderers: Sequence[tuple[Renderer, int]]
) -> list[Rendered] | Reject:
    """The conversation in every model's template, or the first reject."""
    rendered = []
    for renderer, _ in renderers:
        one = renderer.render(conversation)
        if isinstance(one, Reject):
            return one._replace(detail=": ".join(filter(None, [renderer.name, one.detail])))
        rendered.append(one)
    return rendered


def fits(rendered: Sequence[Rendered], renderers: Sequence[tuple[Renderer, int]]) -> bool:
    """Whether every rendering has at most its maximum number of tokens."""
    return all(len(one.input_ids) <= most for one, (_, most) in zip(rendered, renderers, strict=True))


def shared_cuts(
    conversation: Conversation, rendered: Sequence[Rendered], renderers: Sequence[tuple[Renderer, int]]
) -> list[tuple[int, int]]:
    """(message, byte) where every model's tokens end within its maximum length, the latest first.

    A byte one past a content stands for the turn with its end.
    """
    shared: NDArray[np.int64] | None = None
    for one, (_, most) in zip(rendered, renderers, strict=True):
        inside = one.rows < most
        ends = one.turn[inside].astype(np.int64) << 32 | one.end[inside].astype(np.int64)
        shared = ends if shared is None else np.intersect1d(shared, ends)
    cuts = (
        [] if shared is None else [(int(key >> 32), int(key & 0xFFFFFFFF)) for key in np.unique(shared)[::-1]]
    )
    raw = {i: m.content.encode() for i, m in enumerate(conversation.messages) if m.role == "assistant"}
    return [(turn, byte) for turn, byte in cuts if byte > 0 and starts_character(raw[turn], byte)]


def starts_character(raw: bytes, byte: int) -> bool:
    """Whether a character ends before ``byte`` (or the content does)."""
    return byte >= len(raw) or raw[byte] & 0xC0 != 0x80


def cut(conversation: Conversation, turn: int, byte: int) -> Conversation | None:
    """The conversation up to a byte of an assistant turn; one byte past the content keeps the turn whole."""
    messages = conversation.messages
    raw = messages[turn].content.encode()
    complete = byte > len(raw) and messages[turn].complete
    last = replace(messages[turn], content=raw[:byte].decode(), complete=complete)
    kept = (*messages[:turn], last)
    asks_later = any(m.role == "user" for m in messages[turn + 1 :])
    return replace(
        conversation, messages=kept, answer=None if asks_later or not complete else conversation.answer
    )
