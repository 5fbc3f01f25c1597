"""Columns beside the turns of a record: a system prompt, an answer, repetitions."""

from collections.abc import Mapping, Sequence

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.base import Turns
from fusionchat.corpus.formats.lists import looks_like_turn, read_turns
from fusionchat.corpus.formats.questions import column_text
from fusionchat.corpus.keys import Unusable

SYSTEM_COLUMNS = ("system", "system_prompt", "system_message")


def with_system(said: Mapping[str, object], turns: Turns) -> Turns:
    """The turns, after the system prompt of a system column."""
    for column in SYSTEM_COLUMNS:
        if column in said and turns.messages:
            text = column_text(said[column], column)
            first = turns.messages[0]
            if first.role == "system" and first.content != text:
                raise Unusable(f"`{column}` differs from the system turn")
            before = () if first.role == "system" else (Message("system", text),)
            turns = turns._replace(messages=before + turns.messages, columns=turns.columns | {column})
    return turns


def with_answer(said: Mapping[str, object], turns: Turns, columns: Sequence[str]) -> Turns:
    """The turns with the answer of the first existing column: a question's, or a preference's chosen one."""
    for column in columns:
        if column in said:
            answer = answer_turns(said[column], column)
            messages = joined(turns.messages, answer.messages)
            if messages is None and not any(m.role != "system" for m in turns.messages):
                raise Unusable(
                    f"`{column}` has no question to answer", f"keys: {', '.join(sorted(said)[:12])}"
                )
            if messages is None:
                raise Unusable(f"`{column}` does not follow the turns")
            used = turns.columns | answer.columns | ({"rejected"} if column == "chosen" else set())
            return Turns(messages, used, (*turns.unused, *answer.unused))
    return turns


def answer_turns(value: object, column: str) -> Turns:
    """An answer column as turns: a text is one assistant turn."""
    listed = isinstance(value, list) and all(isinstance(turn, dict) for turn in value)
    if listed or looks_like_turn(value):
        return read_turns(value, column)
    return Turns((Message("assistant", column_text(value, column)),), frozenset([column]))


def joined(before: tuple[Message, ...], answer: tuple[Message, ...]) -> tuple[Message, ...] | None:
    """The turns with an answer that follows them or repeats them; None if it does neither."""
    system = before[:1] if before and before[0].role == "system" else ()
    if answer and answer[0].role == "assistant" and len(before) > len(system):
        if before[-1].role == "user":
            return before + answer
        return before if same_texts(before[-len(answer) :], answer) else None
    if not answer or not any(m.role == "user" for m in answer):
        return None  # an answer to nothing
    own = answer[1:] if answer[0].role == "system" else answer
    if same_texts(own[: len(before) - len(system)], before[len(system) :]) or inside(
        before[len(system) :], own
    ):
        return answer if own is not answer else system + answer
    return None


def same_texts(a: Sequence[Message], b: Sequence[Message]) -> bool:
    """Whether two runs of turns have the same roles and texts."""
    return [(m.role, m.content) for m in a] == [(m.role, m.content) for m in b]


def inside(part: Sequence[Message], whole: Sequence[Message]) -> bool:
    """Whether a run of turns occurs in another."""
    return any(same_texts(part, whole[i : i + len(part)]) for i in range(len(whole) - len(part) + 1))


def repeats(value: object, messages: Sequence[Message]) -> bool:
    """Whether a column only repeats the turns: the text of one, or a run of them."""
    if isinstance(value, str):
        return any(value.strip() == m.content.strip() for m in messages)
    if isinstance(value, list) and value:
        try:
            return inside(read_turns(value, "").messages, messages)
        except Unusable:
            return False
    return False
