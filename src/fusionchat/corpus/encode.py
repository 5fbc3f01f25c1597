"""Token ids of a text for one model; control tokens that a turn spells out are read as text."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.places import Refusal
from fusionchat.tokens.spans import ADDED, UNKNOWN, ByteTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPELLS = "a turn spells out a control token"
PRIVATE_USE = range(0xE000, 0xF900)
GUARDS = ("\n", "0", ".")

Write = Callable[[Sequence[Message]], "str | Refusal"]


class Encoder:
    """Encodes renderings.

    Where a turn spells out a control token ("what does <|im_end|> do?"), the text is cut inside that spelling
    and the pieces are encoded one by one, so that the tokenizer finds no control token there. The bytes are
    the same for a model with the token and for one without.

    Args:
        tokenizer: The model's tokenizer.
        table: Its bytes; tokens that are not text are control tokens.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", table: ByteTable) -> None:
        self.tokenizer, self.table = tokenizer, table

    def ids(self, text: str, cuts: Sequence[int] = ()) -> NDArray[np.int64]:
        """Ids of a text in which control tokens are spelled out; none are added.

        Args:
            text: The text.
            cuts: Characters before which a piece ends, so that no token crosses them.
        """
        bounds = [0, *cuts, len(text)]
        pieces = [text[a:b] for a, b in pairwise(bounds)]
        return np.concatenate([self._plain(pieces[0]), *(self._inner(piece) for piece in pieces[1:])])

    def _plain(self, text: str) -> NDArray[np.int64]:
        encoded = self.tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return np.asarray(encoded["input_ids"], dtype=np.int64)

    def _inner(self, piece: str) -> NDArray[np.int64]:
        """Ids of a piece that follows another, without the space that some tokenizers put first."""
        if self.table.prefix != "none":
            for guard in GUARDS:
                before, both = self._plain(guard), self._plain(guard + piece)
                if np.array_equal(both[: len(before)], before):
                    return both[len(before) :]
        return self._plain(piece)

    @cached_property
    def _control(self) -> re.Pattern[str]:
        table = self.table
        out = np.flatnonzero(~table.in_text & (table.flags & (ADDED | UNKNOWN) > 0))
        spellings = {table.token(int(i)).decode(errors="replace") for i in out} - {""}
        longest = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
        return re.compile("|".join(map(re.escape, longest)) or "(?!)")

    def spells(self, messages: Sequence[Message]) -> bool:
        """Whether a turn spells out a control token of this model."""
        return any(self._control.search(m.content) for m in messages)

    def turns(self, messages: Sequence[Message], text: str, write: Write) -> NDArray[np.int64] | Refusal:
        """Ids of ``text``, made by ``write`` from the messages; all its control tokens are the template's."""
        if not self.spells(messages):
            return self.ids(text)
        mark = next(chr(c) for c in PRIVATE_USE if chr(c) not in text)
        broken = write(self._changed(messages, lambda m: m[0][:1] + mark + m[0][1:]))
        harmless = write(self._changed(messages, lambda m: "x" * len(m[0])))
        if isinstance(broken, Refusal) or isinstance(harmless, Refusal) or broken.replace(mark, "") != text:
            return Refusal(SPELLS)
        pieces = broken.split(mark)
        ids = self.ids(text, np.cumsum([len(piece) for piece in pieces[:-1]]).tolist())
        if self._count(ids) != self._count(self.ids(harmless)):
            return Refusal(SPELLS)
        return ids

    def _changed(self, messages: Sequence[Message], change: Callable[[re.Match[str]], str]) -> list[Message]:
        return [replace(m, content=self._control.sub(change, m.content)) for m in messages]

    def _count(self, ids: NDArray[np.int64]) -> int:
        return int((~self.table.in_text[ids]).sum())
