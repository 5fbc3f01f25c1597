"""`fit`: a conversation within every model's length, the same bytes for all of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fusionchat.corpus.agree import Fitted, agree_all
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.render import Rendered, Renderer

TOO_LONG = "no whole token of an answer fits the maximum length"
TRIES = 32


def fit(conversation: Conversation, renderers: Sequence[tuple[Renderer, int]]) -> Fitted | Reject:
    """The conversation as edited by the templates and cut to every model's length, or why it cannot be.

    A conversation that fits is returned untouched. A longer one is cut at the largest byte of an assistant
    turn where every model has a token boundary and no more than its maximum number of tokens; the turn that
    was cut is marked incomplete, later turns are dropped, and an answer is kept only if the last user turn
    is.

    Args:
        conversation: The conversation.
        renderers: Each model's renderer and its maximum number of tokens.
    """
    agreed = agree_all(conversation, [renderer for renderer, _ in renderers])
    if isinstance(agreed, Reject):
        return agreed
    whole = render_all(agreed.conversation, renderers)
    if isinstance(whole, Reject):
        return whole
    if fits(whole, renderers):
        return agreed
    for turn, byte in shared_cuts(agreed.conversation, whole, renderers)[:TRIES]:
        shorter = cut(agreed.conversation, turn, byte)
        rendered = render_all(shorter, renderers)
        if not isinstance(rendered, Reject) and fits(rendered, renderers):
            return agreed._replace(conversation=shorter)
    return Reject(conversation.id, TOO_LONG, f"{max(len(r.input_ids) for r in whole)} tokens")


def render_all(
    conversation: Conversation, renderers: Sequence[tuple[Renderer, int]]
) -> list[Rendered] | Reject:
    """The conversation in every model's template, or the first reject."""
    rendered = []
    for renderer, _ in renderers:
        one = renderer.render(conversation)
        if isinstance(one, Reject):
            return one._replace(model=renderer.name)
        rendered.append(one)
    return rendered


def fits(rendered: Sequence[Rendered], renderers: Sequence[tuple[Renderer, int]]) -> bool:
    """Whether every rendering has at most its maximum number of tokens."""
    return all(len(one.input_ids) <= most for one, (_, most) in zip(rendered, renderers, strict=True))


def shared_cuts(
    conversation: Conversation, rendered: Sequence[Rendered], renderers: Sequence[tuple[Renderer, int]]
) -> list[tuple[int, int]]:
    """The (message, byte) pairs where every model's tokens end within its maximum length, the last first.

    One byte past a content means the whole turn with its end.
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


def cut(conversation: Conversation, turn: int, byte: int) -> Conversation:
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
