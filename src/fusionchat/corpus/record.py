"""One record of a corpus as a `Conversation`: which columns hold its turns, and what the others mean."""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from fusionchat.corpus.columns import Format, base_turns, looks_like_turn, repeats, with_answer, with_system
from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.keys import (
    LOSS_OFF,
    LOSS_ON,
    REFUSED_RECORD,
    Unusable,
    bears_loss,
    given,
    refuse,
    unused,
)
from fusionchat.corpus.turns import ROLES, encodable, printable

ALWAYS_USED = REFUSED_RECORD.union(["id", "domain", "answer", "label"], LOSS_ON, LOSS_OFF)


class Parsed(NamedTuple):
    """A conversation or why there is none, and the keys of a usable record that nothing reads."""

    found: Conversation | Reject
    unused: tuple[str, ...] = ()


def parse_record(record: object, *, default_id: str, format: Format = "auto") -> Parsed:
    """One record as a conversation, or why it cannot be one.

    Read are turns in a column (`messages`, `conversations` ...), or a question and an answer in columns of their own
    (prompt and completion, Alpaca's instruction, input and output, question and answer); a system prompt beside them
    becomes the first turn, and the `chosen` answer of a preference record the last one. Any other key is known to be
    harmless, makes the record a reject, or is handed back as unused.
    """
    if isinstance(record, list) and record and all(looks_like_turn(turn) for turn in record):
        record = {"messages": record}
    if not isinstance(record, dict):
        return Parsed(Reject(default_id, "not a JSON object", printable(str(record)[:80])))
    said = given(record)
    try:
        identifier = encodable(str(said.get("id", default_id)))
    except Unusable as error:
        return Parsed(Reject(default_id, error.reason))
    try:
        return parse_columns(
            said, identifier, format, empty="messages" in record or "conversations" in record
        )
    except Unusable as error:
        return Parsed(Reject(identifier, error.reason, printable(error.detail)))


def parse_columns(said: dict[str, object], identifier: str, format: Format, *, empty: bool) -> Parsed:
    """The conversation of a record whose absent values are gone; raises Unusable."""
    odd = check_switches(said)
    refuse(said, REFUSED_RECORD)
    turns = base_turns(said, format)
    turns = with_answer(said, with_system(said, turns))
    if not turns.messages:
        raise Unusable("empty" if empty else "no messages", f"keys: {', '.join(sorted(said)[:12])}")
    check_messages(turns.messages)
    left = [
        key for key in unused(said, turns.columns | ALWAYS_USED) if not repeats(said[key], turns.messages)
    ]
    domain, answer = encodable(str(said.get("domain", ""))), said.get("answer")
    asks = (
        any(m.role == "user" for m in turns.messages) and answer is not None and "answer" not in turns.columns
    )
    conversation = Conversation(identifier, turns.messages, domain, encodable(str(answer)) if asks else None)
    return Parsed(conversation, tuple(printable(key[:60]) for key in (*left, *odd, *turns.unused)))


def check_switches(said: dict[str, object]) -> list[str]:
    """Switches of a whole record that say something else than on or off; raises Unusable where it is off.

    A number beside them is a sampling weight or a measured loss: no change of the text, so it is only counted. The
    `label` of KTO data is false for an answer that nobody wants; `mask: User` takes out the user's turns, as always.
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
    if said.get("label") is False:
        raise Unusable("`label` is false: an answer that is not wanted")
    if "label" in said and said["label"] is not True:
        odd.append("label")
    return odd


def check_messages(messages: Iterable[Message]) -> None:
    """Raise Unusable where turns cannot be trained on; trailing turns without an answer are no obstacle."""
    turns = list(messages)
    if not any(m.role == "assistant" for m in turns):
        raise Unusable("no assistant turn")
    if not any(m.content for m in turns if m.role == "assistant"):
        raise Unusable("empty")
    if not any(m.content for m in turns if m.supervised):
        raise Unusable("no assistant turn bears loss")
    if any(m.role == "system" for m in turns[1:]):
        raise Unusable("system turn inside")
    roles = [m.role for m in turns if m.role != "system"]
    if any(a == b for a, b in pairwise(roles)):
        raise Unusable("roles do not alternate")
