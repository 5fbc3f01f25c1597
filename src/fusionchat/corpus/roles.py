"""The role of added tokens in a chat template: are they text?

The template decides, not the tokenizer's `special` flag.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fusionchat.corpus.chat_template import ChatTemplate
from fusionchat.corpus.conversation import Message
from fusionchat.corpus.thoughts import SPELLINGS
from fusionchat.tokens.spans import ADDED
from fusionchat.tokens.table import TokenTable

TURNS = (Message("user", "Hi"), Message("assistant", "Hi"))
PROBES = (
    (*TURNS, *TURNS),
    TURNS,
    (Message("system", "Hi"), *TURNS),
)


def with_roles(
    table: TokenTable, template: ChatTemplate, encode: Callable[[str], NDArray[np.int64]]
) -> TokenTable:
    """The table in which tokens that a template writes around turns are not text.

    Spaces and words that a template writes are text, and so are the tags of thoughts, which belong to an
    answer.
    """
    in_text = table.in_text.copy()
    texts = [template.write(messages) for messages in PROBES]
    texts += [template.write(TURNS[:1], generate=True)]
    for text in texts:
        if isinstance(text, str):
            ids = np.unique(encode(text))
            own = ids[(table.flags[ids] & ADDED > 0) & in_text[ids]]
            in_text[[i for i in own if not is_plain(table.token(int(i)))]] = False
    for index in np.flatnonzero(table.flags & ADDED):
        if table.token(int(index)).decode(errors="replace") in SPELLINGS:
            in_text[index] = True
    return table.with_text(in_text)


def is_plain(raw: bytes) -> bool:
    """Whether a token is spaces, a word, or a tag of a thought: text, although templates write it too."""
    spelling = raw.decode(errors="replace").strip()
    return not spelling or spelling.isalnum() or spelling in SPELLINGS
