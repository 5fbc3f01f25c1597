"""The turns of a question in its own column, with its context and history."""

from collections.abc import Mapping

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.base import Turns
from fusionchat.corpus.formats.lists import looks_like_turn, read_turns
from fusionchat.corpus.keys import Unusable
from fusionchat.corpus.turns import as_text

CONTEXT_COLUMNS = ("input", "context")


def question(said: Mapping[str, object], column: str) -> Turns:
    """The user turn of a question column, with its context below and `history` (pairs of texts) before."""
    value = said[column]
    if isinstance(value, list) and all(looks_like_turn(turn) for turn in value):
        return read_turns(value, column)
    contexts = [name for name in CONTEXT_COLUMNS if name in said and name != column]
    text = "\n".join(column_text(said[name], name) for name in (column, *contexts))
    before = history(said.get("history", []))
    return Turns((*before, Message("user", text)), frozenset([column, *contexts, "history"]))


def history(value: object) -> list[Message]:
    """The turns of a `history`: a list of turns, or Alpaca's list of pairs of question and answer."""
    turns = list[Message]()
    if isinstance(value, list) and value and all(looks_like_turn(turn) for turn in value):
        return list(read_turns(value, "history").messages)
    for pair in value if isinstance(value, list) else [value]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Unusable("`history` is not a list of pairs")
        texts = [column_text(part, "history") for part in pair]
        turns += [Message("user", texts[0]), Message("assistant", texts[1])]
    return turns


def column_text(value: object, column: str) -> str:
    """The text of a column; raises Unusable if it is not a text."""
    if isinstance(value, list | dict):
        raise Unusable(f"`{column}` is not text", str(value)[:80])
    return as_text(value)[0]
