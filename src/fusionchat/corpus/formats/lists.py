"""Turns from a list of objects, of pairs, of one list per key, or from JSON text."""

import json
from collections.abc import Mapping

from fusionchat.corpus.formats.base import Turns
from fusionchat.corpus.keys import Unusable, missing
from fusionchat.corpus.turns import ROLE_KEYS, TEXT_KEYS, Turn, read_turn

PAIRS = (
    ("input", "output"),
    ("human", "assistant"),
    ("user", "assistant"),
    ("question", "answer"),
    ("prompt", "response"),
)
"""Keys of a question with its answer in a list of such pairs (XTuner, Capybara; Firefly ...)."""


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
    """The turns of a question with its answer (and a system prompt) in one object.

    Any other value is a single turn.
    """
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
    """Whether a turn is a null system prompt, as tables have for a dialogue without one."""
    return (
        isinstance(turn, dict)
        and any(turn.get(key) == "system" for key in ROLE_KEYS)
        and all(missing(turn.get(key)) and turn.get(key) != "" for key in TEXT_KEYS)
        and any(key in turn for key in TEXT_KEYS)
    )


def rows(columns: Mapping[object, object]) -> list[object]:
    """Turns from one list per key, as `datasets` returns them; raises Unusable if lengths differ."""
    cells = [column for column in columns.values() if isinstance(column, list)]
    if len({len(column) for column in cells}) > 1:
        raise Unusable("the turns have different numbers of roles and texts")
    return [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]
