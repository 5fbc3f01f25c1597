"""The columns of a record that hold its turns: a list of them, or a question and an answer."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.keys import Unusable, missing
from fusionchat.corpus.turns import ROLE_KEYS, TEXT_KEYS, Turn, as_text, read_turn

Format = Literal["auto", "messages", "sharegpt", "text"]

TURN_COLUMNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns")
QUESTION_COLUMNS = ("instruction", "prompt", "question", "query")
CONTEXT_COLUMNS = ("input", "context")
ANSWER_COLUMNS = ("completion", "response", "output", "chosen", "answer")
PAIRS = (
    ("input", "output"),
    ("human", "assistant"),
    ("user", "assistant"),
    ("question", "answer"),
    ("prompt", "response"),
)
"""Keys of a question with its answer in a list of such pairs (XTuner, Capybara; Firefly ...)."""
SYSTEM_COLUMNS = ("system", "system_prompt", "system_message")


class Turns(NamedTuple):
    """Messages of a record, the columns they came from, and the keys of turns that nothing reads."""

    messages: tuple[Message, ...]
    columns: frozenset[str] = frozenset()
    unused: tuple[str, ...] = ()


def base_turns(said: Mapping[str, object], format: Format) -> Turns:
    """The turns of the first column that has any, or of a question column with what comes before it."""
    columns = {"messages": TURN_COLUMNS[:1], "sharegpt": TURN_COLUMNS[1:2]}.get(format, TURN_COLUMNS)
    for column in columns:
        if isinstance(said.get(column), list) or (column in said and column in TURN_COLUMNS[:2]):
            return read_turns(said[column], column)
    if format in ("messages", "sharegpt"):
        raise Unusable("no messages", f"there is no key `{columns[0]}`")
    for column in (*QUESTION_COLUMNS, "input"):  # Alpaca's instruction may be empty, and all be in its input
        if column in said:
            return question(said, column)
    return Turns(())


def looks_like_turn(value: object) -> bool:
    """Whether a value has a role and a text, and so is a turn and not a record."""
    return (
        isinstance(value, dict)
        and any(key in value for key in ROLE_KEYS)
        and any(key in value for key in TEXT_KEYS)
    )


def read_turns(value: object, column: str) -> Turns:
    """Turns of a column: a list of them, one of them, or a list as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise Unusable(f"`{column}` is text, not a list of turns") from error
    if isinstance(value, dict) and looks_like_turn(value):
        value = rows(value) if all(isinstance(cell, list) for cell in value.values()) else [value]
    if not isinstance(value, list):
        raise Unusable(f"`{column}` is not a list of turns", str(value)[:80])
    parts = [turn for one in value for turn in of_pair(one)]
    turns: list[Turn] = [read_turn(turn) for turn in parts if not absent(turn)]
    left = tuple(dict.fromkeys(key for turn in turns for key in turn.unused))
    return Turns(tuple(turn.message for turn in turns), frozenset([column]), left)


def of_pair(value: object) -> list[object]:
    """The turns of a question with its answer (and a system prompt) in one object; any other value is one turn."""
    if isinstance(value, dict) and not any(key in value for key in ROLE_KEYS):
        for asked, answered in PAIRS:
            if asked in value and answered in value:
                names = {"system": "system", asked: "user", answered: "assistant"}
                rest = {key: cell for key, cell in value.items() if key not in names}
                turns = [{"role": role, "content": value.get(key)} for key, role in names.items()]
                turns[-1] |= rest
                return [turn for turn in turns if not missing(turn["content"])]
    return [value]


def absent(turn: object) -> bool:
    """Whether a turn is a system prompt that is null, as tables have it where a dialogue has none."""
    return (
        isinstance(turn, dict)
        and any(turn.get(key) == "system" for key in ROLE_KEYS)
        and all(missing(turn.get(key)) and turn.get(key) != "" for key in TEXT_KEYS)
        and any(key in turn for key in TEXT_KEYS)
    )


def rows(columns: Mapping[object, object]) -> list[object]:
    """Turns from one list per key, as `datasets` gives them; raises Unusable where lengths differ."""
    cells = [column for column in columns.values() if isinstance(column, list)]
    if len({len(column) for column in cells}) > 1:
        raise Unusable("roles and texts of turns differ in number")
    return [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]


def question(said: Mapping[str, object], column: str) -> Turns:
    """The user turn of a question column, with its context under it and `history` (pairs of texts) before it."""
    value = said[column]
    if isinstance(value, list) and all(looks_like_turn(turn) for turn in value):
        return read_turns(value, column)
    contexts = [name for name in CONTEXT_COLUMNS if name in said and name != column]
    text = "\n".join(column_text(said[name], name) for name in (column, *contexts))
    before = history(said.get("history", []))
    return Turns((*before, Message("user", text)), frozenset([column, *contexts, "history"]))


def history(value: object) -> list[Message]:
    """The turns of a `history`: a list of turns, or Alpaca's, of pairs of a question and its answer."""
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
    """The text of a column that is a text."""
    if isinstance(value, list | dict):
        raise Unusable(f"`{column}` is not text", str(value)[:80])
    return as_text(value)[0]


def with_system(said: Mapping[str, object], turns: Turns) -> Turns:
    """The turns with the system prompt of a system column in front."""
    for column in SYSTEM_COLUMNS:
        if column in said and turns.messages:
            text = column_text(said[column], column)
            first = turns.messages[0]
            if first.role == "system" and first.content != text:
                raise Unusable(f"`{column}` beside another system turn")
            before = () if first.role == "system" else (Message("system", text),)
            turns = turns._replace(messages=before + turns.messages, columns=turns.columns | {column})
    return turns


def with_answer(said: Mapping[str, object], turns: Turns) -> Turns:
    """The turns with the answer of an answer column: of a question, or the chosen one of a preference."""
    listed = bool(turns.columns.intersection(TURN_COLUMNS))
    for column in ("chosen",) if listed else ANSWER_COLUMNS:
        if column in said:
            answer = answer_turns(said[column], column)
            messages = joined(turns.messages, answer.messages)
            if messages is None and not any(m.role != "system" for m in turns.messages):
                raise Unusable(f"`{column}` answers no question", f"keys: {', '.join(sorted(said)[:12])}")
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
    """The turns with an answer that follows them or repeats them, None where it does neither."""
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
    """Whether a run of turns is met in another."""
    return any(same_texts(part, whole[i : i + len(part)]) for i in range(len(whole) - len(part) + 1))


def repeats(value: object, messages: Sequence[Message]) -> bool:
    """Whether a column only says again what the turns say: the text of one, or a run of them."""
    if isinstance(value, str):
        return any(value.strip() == m.content.strip() for m in messages)
    if isinstance(value, list) and value:
        try:
            return inside(read_turns(value, "").messages, messages)
        except Unusable:
            return False
    return False
