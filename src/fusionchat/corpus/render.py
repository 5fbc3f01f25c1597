# L tokens of a rendering, N supervised tokens
"""`Renderer`: a conversation in a model's chat template, as ids and byte spans."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat.corpus.chat_template import ChatTemplate, Shown
from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.encode import SPELLS, Encoder
from fusionchat.corpus.jinja import own_template
from fusionchat.corpus.places import Place, Refusal, byte_places, make_marks
from fusionchat.corpus.roles import with_roles
from fusionchat.corpus.thoughts import Thinking, opening, without
from fusionchat.corpus.variables import Variables, refuse_names
from fusionchat.errors import ModelError
from fusionchat.tokens.spans import Ends, Spans, Untiled
from fusionchat.tokens.table import TokenTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EDITED = "the chat template edits a turn"
NOTHING = "nothing to supervise"
SWALLOWED = "a control token takes in spaces of a turn"


class Rendered(NamedTuple):
    """A conversation as one model sees it.

    The ids end with the last supervised token, since later tokens have no loss.

    Attributes:
        input_ids: int32 [L].
        rows: int32 [N], index in ``input_ids`` of each supervised token; it is predicted from ``rows - 1``.
        turn: int32 [N], index of the message that it belongs to.
        begin, end: int32 [N], its byte span in that message's content; the end-of-turn event is
            [len, len + 1); a negative begin counts template bytes in the token, and a begin before the end of
            the previous token counts the space that the tokenizer puts after an added token.
    """

    input_ids: NDArray[np.int32]
    rows: NDArray[np.int32]
    turn: NDArray[np.int32]
    begin: NDArray[np.int32]
    end: NDArray[np.int32]


class Renderer:
    """Renders conversations for one model.

    Args:
        tokenizer: The model's tokenizer.
        template: Jinja source of the chat template; None for the tokenizer's own.
        variables: What the template gets besides the conversation.
        thinking: Whether the model sees the thoughts of a conversation. Spans count the bytes of a thought
            even if it does not see them, so that they are the same for all models.
        name: The model's name, for messages.
        rows: The number of tokens that the model has rows for; None to skip the check.

    Raises:
        ModelError: There is no chat template, it is not valid Jinja, or a variable is a special token's.
        TokenizerError: The tokenizer cannot be expressed in bytes.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        template: str | None = None,
        variables: Variables = MappingProxyType({}),
        thinking: Thinking = "keep",
        name: str = "",
        rows: int | None = None,
    ) -> None:
        self.tokenizer, self.name, self.thinking, self.rows = tokenizer, name, thinking, rows
        if template is None:
            template = own_template(tokenizer, name)
        refuse_special(variables, tokenizer.special_tokens_map, name)
        self.template = ChatTemplate(template, tokenizer.special_tokens_map, variables)
        plain = TokenTable.from_tokenizer(tokenizer)
        table = with_roles(plain, self.template, Encoder(tokenizer, plain).ids)
        self.encoder, self.table = Encoder(tokenizer, table), table
        self._last: tuple[Conversation, Rendered | Reject] | None = None
        self.table = table.with_ends(self._ends())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what a rendering depends on: the template, its variables and the tokenizer's table."""
        own = self.template
        held = (self.table.digest, self.thinking, own.special_tokens, own.source)
        return hashlib.sha256(
            "\n".join(map(str, (*held, *sorted(own.variables.items())))).encode()
        ).hexdigest()

    def render(self, conversation: Conversation) -> Rendered | Reject:
        """The ids of a conversation and the spans of its supervised tokens, or why it cannot be used.

        A conversation whose content the template edits (by trimming, for example) is rejected, since `fit`
        makes the same edit for all models first. The last rendering is cached, because `fit` and its caller
        ask for the same one.
        """
        last = self._last
        if last is None or last[0] != conversation:
            last = self._last = conversation, self._render(conversation)
        return last[1]

    def seen(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages as this model sees them: without thoughts if ``thinking`` is ``drop``."""
        if self.thinking == "keep":
            return tuple(messages)
        return tuple(replace(m, content=without(m.content)) if m.role == "assistant" else m for m in messages)

    def show(self, messages: Sequence[Message]) -> Shown | Refusal:
        """The messages in the model's template."""
        return self.template.show(self.seen(messages))

    def _render(self, conversation: Conversation) -> Rendered | Reject:
        try:
            "".join(m.content for m in conversation.messages).encode()
        except UnicodeEncodeError as error:
            return Reject(conversation.id, "the text is not valid Unicode", str(error))
        messages = self.seen(conversation.messages)
        shown = self.template.show(messages)
        if isinstance(shown, Refusal):
            return Reject(conversation.id, shown.reason, shown.detail)
        for place in shown.places:
            if place.kept != (0, len(messages[place.message].content)):
                return Reject(conversation.id, EDITED, f"message {place.message}")
        ids, raw = self.encoder.turns(messages, shown.text, self._write), shown.text.encode()
        if isinstance(ids, Refusal):
            return Reject(conversation.id, ids.reason, ids.detail)
        if self.rows is not None and max(ids, default=0) >= self.rows:
            raise ModelError(
                f"The tokenizer of {self.name!r} produces token {max(ids)}, but the model has {self.rows} rows",
                where=f"conversation {conversation.id}",
                do="use the tokenizer that belongs to the model, or resize the model's embeddings",
            )
        spans = self.table.tile(ids, raw)
        if isinstance(spans, Untiled):
            near = raw[max(spans.byte - 20, 0) : spans.byte + 20].decode(errors="replace")
            return Reject(conversation.id, spans.reason, f"token {spans.token} near {near!r}")
        found = self._supervise(ids, spans, messages, byte_places(shown.text, shown.places))
        if isinstance(found, Refusal):
            return Reject(conversation.id, found.reason, found.detail)
        found = moved(found, unseen_bytes(conversation.messages, messages))
        return found if found.rows.size else Reject(conversation.id, NOTHING)

    def _write(self, messages: Sequence[Message]) -> str | Refusal:
        shown = self.template.show(messages)
        return shown if isinstance(shown, Refusal) else shown.text

    def _ends(self) -> Ends:
        """The first token after an assistant's turn: after the last one, and before a user's."""
        turns = (Message("user", "Hi"), Message("assistant", "Hi"))
        rendered = self.render(Conversation("", turns + turns))
        if isinstance(rendered, Reject):
            rendered = self.render(Conversation("", turns))
        if isinstance(rendered, Reject):
            return None, None
        at = np.flatnonzero(rendered.begin == len("Hi"))
        ends = {int(rendered.turn[i]): int(rendered.input_ids[rendered.rows[i]]) for i in at}
        return ends.get(3, ends.get(1)), ends.get(1)

    def _supervise(
        self, ids: NDArray[np.int64], spans: Spans, messages: Sequence[Message], places: Sequence[Place]
    ) -> Rendered | Refusal:
        parts = []
        places = [place for place in places if messages[place.message].train]
        for place in places:
            complete = messages[place.message].complete
            part = self._turn(ids, spans, place, complete=complete)
            if isinstance(part, Refusal):
                return part
            parts.append(part)
            if not complete:
                break
        rows = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.int64)
        if rows.size == 0:
            return Refusal(NOTHING)
        turn = np.concatenate(
            [np.full(len(part[0]), place.message) for part, place in zip(parts, places, strict=False)]
        )
        return Rendered(
            input_ids=ids[: rows[-1] + 1].astype(np.int32),
            rows=rows.astype(np.int32),
            turn=turn.astype(np.int32),
            begin=np.concatenate([part[1] for part in parts]).astype(np.int32),
            end=np.concatenate([part[2] for part in parts]).astype(np.int32),
        )

    def _turn(
        self, ids: NDArray[np.int64], spans: Spans, place: Place, *, complete: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]] | Refusal:
        """Rows, begins and ends of one turn's supervised tokens."""
        size, text = place.end - place.begin, spans.text_begin
        first = int(np.searchsorted(spans.end, place.begin, side="right"))
        last = max(first, int(np.searchsorted(text, place.end, side="left")))
        begin, end = spans.begin[first:last] - place.begin, spans.end[first:last] - place.begin
        if not self.table.in_text[ids[first:last]].all():
            strays = np.flatnonzero(~self.table.in_text[ids[first:last]])
            swallowed = all(begin[i] < 0 or end[i] > size for i in strays)
            return Refusal(SWALLOWED if swallowed else SPELLS, f"message {place.message}")
        # Spaces of the template that a tag of a thought swallows do not belong to the turn.
        wide = end - begin > np.diff(self.table.offsets)[ids[first:last]]
        begin, end = np.where(wide, np.maximum(begin, 0), begin), np.where(wide, np.minimum(end, size), end)
        closed = complete and place.closed
        merged = last > first and end[-1] > size
        if merged and not closed:
            last, begin, end = last - 1, begin[:-1], end[:-1]
        if closed and not merged:
            while (
                last < len(ids) and spans.end[last] <= place.end
            ):  # the tokenizer's own space, before the end
                last, begin, end = last + 1, np.append(begin, size - 1), np.append(end, size)
            if last < len(ids):
                last, begin, end = last + 1, np.append(begin, size), np.append(end, size + 1)
        rows, end = np.arange(first, last), np.minimum(end, size + 1)
        if first > 0:
            return rows, begin, end
        # Nothing predicts the first token; tokens that share its bytes cannot be scored without it.
        kept = 1 + int(np.argmin(np.append(spans.begin[1:last] < text[1:last], False)))
        return rows[kept:], begin[kept:], end[kept:]

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the text before an assistant's answer to ``messages``.

        Raises:
            ModelError: The template refuses the messages.
        """
        messages = self.seen(messages)
        text = self._prompt(messages)
        ids = text if isinstance(text, Refusal) else self.encoder.turns(messages, text, self._prompt)
        if isinstance(ids, Refusal):
            raise ModelError(
                f"The chat template refuses this conversation: {ids.detail or ids.reason}",
                where=self.name or None,
                do="alternate user and assistant turns, or set another `template:`",
            )
        return [int(i) for i in ids]

    def _prompt(self, messages: Sequence[Message]) -> str | Refusal:
        plain = self.template.write(messages)
        text = self.template.write(messages, generate=True)
        if isinstance(text, Refusal) or text == plain:
            mark = make_marks(1, messages)[0]
            text = self.template.write([*messages, Message("assistant", mark)])
            if isinstance(text, str) and mark in text:
                text = text[: text.index(mark)].rstrip(" ")
        return text

    @cached_property
    def opening(self) -> str:
        """The opening tag of a thought that ends the template's generation prompt; "" if none does."""
        prompt = self.template.write((Message("user", "Hi"),), generate=True)
        return opening(prompt) if isinstance(prompt, str) else ""

    def text(self, ids: Sequence[int]) -> str:
        """The text of a model's output, without control tokens but with the tags of thoughts."""
        text = [i for i in ids if i < self.table.size and self.table.in_text[i]]
        return str(self.tokenizer.decode(text, skip_special_tokens=False))

    @cached_property
    def stop_ids(self) -> list[int]:
        """Ids that end an answer: the first control token after one in the template, and the tokenizer's eos."""
        mark, after = make_marks(2, [])
        opening = (Message("user", "Hi"), Message("assistant", mark))
        stops = []
        for messages in (opening, (*opening, Message("user", after)), opening[1:]):
            text = self.template.write(messages)
            if isinstance(text, str) and mark in text:
                closing = self.encoder.ids(text[text.index(mark) + len(mark) :].split(after)[0])
                stops += [int(i) for i in closing if not self.table.in_text[i]][:1]
        if self.table.eos is not None:
            stops.append(self.table.eos)
        return list(dict.fromkeys(stops))


def refuse_special(variables: Variables, special_tokens: Mapping[str, object], name: str) -> None:
    """Raise ModelError if a variable of a template is one of the tokenizer's special tokens."""
    try:
        refuse_names(variables, special_tokens)
    except ValueError as error:
        raise ModelError(
            f"A variable of the chat template is already set by the tokenizer: {error}",
            where=f"template_variables of {name or 'this model'}",
            do="remove it, or change it in the tokenizer's files",
        ) from error


def unseen_bytes(messages: Sequence[Message], seen: Sequence[Message]) -> NDArray[np.int32]:
    """Bytes of each message that a model does not see, int32; they come first in it."""
    return np.array(
        [len(m.content.encode()) - len(s.content.encode()) for m, s in zip(messages, seen, strict=True)],
        np.int32,
    )


def moved(rendered: Rendered, unseen: NDArray[np.int32]) -> Rendered:
    """The rendering with spans counted from the ``unseen`` bytes that come first in each content.

    A token with template bytes at the beginning of the answer after a thought is not supervised, because
    those bytes do not belong to the thought.
    """
    if not unseen.any():
        return rendered
    before = unseen[rendered.turn]
    kept = (before == 0) | (rendered.begin >= 0)
    return Rendered(
        rendered.input_ids,
        rendered.rows[kept],
        rendered.turn[kept],
        (rendered.begin + before)[kept],
        (rendered.end + before)[kept],
    )
