"""One record of a corpus as a `Conversation`: which columns have its turns, and what the others mean."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from fusionchat.corpus.columns import repeats, with_answer, with_system
from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.formats import FORMATS, FormatName
from fusionchat.corpus.formats.base import ANSWER_COLUMNS, Format, Turns
from fusionchat.corpus.formats.lists import looks_like_turn
from fusionchat.corpus.keys import (
    LOSS_OFF,
    LOSS_ON,
    REFUSED_RECORD,
    SWITCH,
    UNWANTED,
    Unusable,
    bears_loss,
    given,
    missing,
    refuse,
    unused,
)
from fusionchat.corpus.mapping import AS_THEY_ARE, Names
from fusionchat.corpus.turns import ROLES, encodable, printable

ALWAYS_USED = REFUSED_RECORD.union(["id", "domain", "answer"], UNWANTED, LOSS_ON, LOSS_OFF)


class Parsed(NamedTuple):
    """A conversation, or why there is none, and the keys of a usable record that nothing reads."""

    found: Conversation | Reject
    unused: tuple[str, ...] = ()


Check = Callable[[Sequence[Message]], None]
"""Raises Unusable where turns cannot be used."""


def parse_record(
    record: object,
    *,
    default_id: str,
    format: FormatName = "auto",
    names: Names = AS_THEY_ARE,
    check: "Check | None" = None,
) -> Parsed:
    """One record as a conversation, or why it cannot be one.

    The turns are read by a format (`fusionchat.corpus.formats`); a system prompt beside them becomes the
    first turn, an answer in a column of its own the last one. Any other key is known to be harmless, makes
    the record a reject, or is returned as unused. ``check`` checks the turns; by default it must be possible
    to train on them.
    """
    if isinstance(record, list) and record and all(looks_like_turn(turn) for turn in record):
        record = {"messages": record}
    if not isinstance(record, dict):
        return Parsed(Reject(default_id, "not a JSON object", printable(str(record)[:80])))
    said = names.read(given(record))
    try:
        identifier = encodable(str(said.get("id", default_id)))
    except Unusable as error:
        return Parsed(Reject(default_id, error.reason))
    try:
        empty = any(names.columns.get(key, key) in record for key in ("messages", "conversations"))
        first = tuple(names.columns)
        return parse_columns(
            said, identifier, names.format(format), first=first, empty=empty, check=check or check_messages
        )
    except Unusable as error:
        return Parsed(Reject(identifier, error.reason, printable(error.detail)))


def parse_columns(
    said: dict[str, object],
    identifier: str,
    format: FormatName,
    *,
    first: tuple[str, ...] = (),
    empty: bool,
    check: Check,
) -> Parsed:
    """The conversation of a record without its absent values; raises Unusable.

    Args:
        said: The record.
        identifier: Its id.
        format: The format of its turns.
        first: Columns whose answer is preferred to others'.
        empty: Whether it has an empty column for turns.
        check: Checks the turns.
    """
    lists = {key: value for key in (*LOSS_ON, *LOSS_OFF) if isinstance(value := said.get(key), list)}
    odd = check_switches({key: value for key, value in said.items() if key not in lists})
    refuse(said, REFUSED_RECORD)
    shape = format_of(said, format)
    turns, answers = (shape.turns(said), shape.answers) if shape else (Turns(()), ANSWER_COLUMNS)
    answers = tuple(sorted(answers, key=lambda column: column not in first))
    turns = with_answer(said, with_system(said, turns), answers)
    if not turns.messages:
        raise Unusable("empty" if empty else "no messages", f"keys: {', '.join(sorted(said)[:12])}")
    for key, value in lists.items():
        switched = switched_by(key, value, turns.messages)
        odd += [key] if switched is None else []
        turns = turns._replace(messages=switched or turns.messages)
    check(turns.messages)
    left = [
        key for key in unused(said, turns.columns | ALWAYS_USED) if not repeats(said[key], turns.messages)
    ]
    domain, answer = encodable(str(said.get("domain", ""))), said.get("answer")
    asks = (
        any(m.role == "user" for m in turns.messages) and answer is not None and "answer" not in turns.columns
    )
    conversation = Conversation(identifier, turns.messages, domain, encodable(str(answer)) if asks else None)
    return Parsed(conversation, tuple(printable(key[:60]) for key in (*left, *odd, *turns.unused)))


def format_of(said: Mapping[str, object], name: FormatName) -> Format | None:
    """The format of that name; for ``auto`` the first that fits the record, None if none does.

    If none does, a `chosen` answer may still contain the whole dialogue. Records of ``text`` have the form of
    messages.
    """
    if name in FORMATS:
        return FORMATS[name]
    return next((one for one in FORMATS.values() if one.fits(said)), None)


def check_switches(said: dict[str, object]) -> list[str]:
    """Switches of a whole record that are neither on nor off; raises Unusable if the record is off.

    Any other number is a sampling weight or a measured loss, which does not change the text, so it is only
    counted. The `label` of KTO data is false for an undesired answer; `mask: User` excludes the user's turns,
    as always.
    """
    odd = []
    for key in (*LOSS_ON, *LOSS_OFF):
        if key in said and not (key == "mask" and ROLES.get(str(said[key]).lower()) == "user"):
            try:
                if bears_loss({key: said[key]}) is False:
                    raise Unusable(f"`{key}` says not to train on it")
            except Unusable as error:
                if "neither" not in error.reason:
                    raise
                odd.append(key)
    for key in UNWANTED:
        wanted = said.get(key, True)
        wanted = SWITCH.get(wanted.strip().lower()) if isinstance(wanted, str) else wanted
        if wanted is False:
            raise Unusable(f"`{key}` is false: an unwanted answer")
        odd += [key] if wanted is not True else []
    return odd


def switched_by(key: str, values: list[object], messages: tuple[Message, ...]) -> tuple[Message, ...] | None:
    """The turns with the switches of a list that has one for each turn; None if its length differs.

    The list may have one for each turn except the system's, or for each answer. A mask of tokens, for
    example, has a different length.
    """
    every = range(len(messages))
    choices = (
        list(every),
        [i for i in every if messages[i].role != "system"],
        [i for i in every if messages[i].role == "assistant"],
    )
    places = next((choice for choice in choices if len(choice) == len(values)), None)
    if places is None:
        return None
    off = {
        i
        for i, value in zip(places, values, strict=True)
        if not missing(value) and not bears_loss({key: value})
    }
    return tuple(
        replace(m, train=False) if i in off and m.role == "assistant" else m for i, m in enumerate(messages)
    )


def check_messages(messages: Sequence[Message]) -> None:
    """Raise Unusable where turns cannot be trained on; trailing turns without an answer are allowed."""
    turns = messages
    if not any(m.role == "assistant" for m in turns):
        raise Unusable("no assistant turn")
    if not any(m.content for m in turns if m.role == "assistant"):
        raise Unusable("empty")
    if not any(m.content for m in turns if m.supervised):
        raise Unusable("no assistant turn has loss")
    if any(m.role == "system" for m in turns[1:]):
        raise Unusable("system turn inside")
    roles = [m.role for m in turns if m.role != "system"]
    if any(a == b for a, b in pairwise(roles)):
        raise Unusable("roles do not alternate")
