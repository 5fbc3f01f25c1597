"""One turn of a record as a `Message`: role, text, and whether it is trained on."""

from collections.abc import Mapping
from typing import NamedTuple

from fusionchat.corpus.conversation import Message, Role
from fusionchat.corpus.keys import (
    LOSS_OFF,
    LOSS_ON,
    REFUSED_TURN,
    THOUGHTS,
    Unusable,
    bears_loss,
    given,
    missing,
    refuse,
    unused,
)
from fusionchat.corpus.thoughts import split

ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "value", "text")
TEXT_PARTS = ("text", "input_text", "output_text")
TOOL_ROLES = (
    "tool",
    "function",
    "observation",
    "ipython",
    "tool_response",
    "function_response",
    "tool_call",
    "function_call",
)
USED = REFUSED_TURN.union(ROLE_KEYS, TEXT_KEYS, LOSS_ON, LOSS_OFF)
THOUGHT_PARTS = ("thinking", "reasoning")
PART_USED = REFUSED_TURN.union(["type", "text", "cache_control", "annotations"])
THOUGHT_USED = PART_USED.union(THOUGHT_PARTS, ["signature", "closed"])

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "model": "assistant",
}


class Turn(NamedTuple):
    """A message, and the keys of its turn that have a value but that nothing reads."""

    message: Message
    unused: tuple[str, ...] = ()


def read_turn(turn: object) -> Turn:
    """A turn from an object like ``{"role", "content"}`` or ``{"from", "value"}``.

    Raises:
        Unusable: It has no role or text, or contains what text cannot represent (images, tool calls).
    """
    if not isinstance(turn, dict):
        raise Unusable("a turn is not an object", str(turn)[:80])
    said = given(turn)
    role = role_of(said)
    refuse(said, REFUSED_TURN)
    content, left = text_of(turn)
    if role != "assistant" and any(is_thought(p) for k in TEXT_KEYS for p in as_list(turn.get(k))):
        raise Unusable("a thought outside an assistant turn")
    train = bears_loss(said)
    used = USED
    if role == "assistant":
        content = with_thoughts(content, said)
        used |= frozenset(THOUGHTS)
    elif train:  # only assistant turns are ever trained on
        used -= frozenset([*LOSS_ON, *LOSS_OFF])
    left += [f"{key} (of a turn)" for key in unused(said, used)]
    return Turn(Message(role, content, train=role != "assistant" or train is not False), tuple(left))


def role_of(turn: Mapping[str, object]) -> Role:
    """The role of a turn, however it is spelled."""
    names = {str(turn[key]).strip().lower() for key in ROLE_KEYS if key in turn}
    if not names:
        raise Unusable("a turn without a role", f"keys: {', '.join(sorted(turn)[:12])}")
    for name in sorted(names.intersection(TOOL_ROLES)):
        raise Unusable(f"role `{name}` is not supported")
    roles = {ROLES.get(name) for name in names}
    role = roles.pop() if len(roles) == 1 else None
    if role is None:
        raise Unusable("wrong role", ", ".join(sorted(names))[:80])
    return role


def text_of(turn: Mapping[object, object]) -> tuple[str, list[str]]:
    """The text of a turn, and the keys of its parts that nothing reads."""
    values = [turn[key] for key in TEXT_KEYS if key in turn]
    full = [value for value in values if not missing(value)] or [value for value in values if value == ""]
    texts = [as_text(value) for value in full]
    if not texts:
        raise Unusable("a turn without text")
    if any(text != texts[0] for text in texts):
        raise Unusable("a turn with two texts")
    return texts[0]


def as_text(value: object) -> tuple[str, list[str]]:
    """A content as text: a string, a whole number, or a list of text parts, which are joined.

    A number with a fraction is not accepted, since its original digits are unknown (4.50).
    """
    if isinstance(value, str):
        return encodable(value), []
    if isinstance(value, bool | float):
        raise Unusable(f"content is {'a number' if isinstance(value, float) else 'true or false'}, not text")
    if isinstance(value, int):
        return str(value), []
    if isinstance(value, list):
        if any(map(is_thought, value[1:])):
            raise Unusable("a thought after other parts of the content")
        parts = [part_text(part) for part in value]
        return "".join(text for text, _ in parts), [key for _, keys in parts for key in keys]
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        return part_text(value)
    raise Unusable("content is an object, not text")


def part_text(part: object) -> tuple[str, list[str]]:
    """The text of one part of a content, and the keys of it that nothing reads."""
    if isinstance(part, str):
        return encodable(part), []
    if not isinstance(part, dict):
        raise Unusable("a content part is not an object", str(part)[:80])
    if is_thought(part):
        return thought_text(part)
    kind, text = part.get("type", "text"), part.get("text")
    if kind not in TEXT_PARTS:
        raise Unusable(f"a content part of type `{str(kind)[:40]}`")
    if not isinstance(text, str):
        raise Unusable("a turn without text")
    said = given(part)
    refuse(said, REFUSED_TURN)
    return encodable(text), [f"{key} (of a content part)" for key in unused(said, PART_USED)]


def as_list(value: object) -> list[object]:
    """A list as it is; an empty list for anything else."""
    return value if isinstance(value, list) else []


def is_thought(part: object) -> bool:
    """Whether a part of a content is a thought, as `{"type": "thinking", "thinking": ...}`.

    Anthropic and Mistral use this form.
    """
    return isinstance(part, dict) and part.get("type") in THOUGHT_PARTS


def thought_text(part: Mapping[object, object]) -> tuple[str, list[str]]:
    """A thought (a text or a list of parts) as a `<think>` block, and its keys that nothing reads."""
    said = given(part)
    values = [said[key] for key in (*THOUGHT_PARTS, "text") if key in said]
    if len(values) > 1 or not all(isinstance(value, str | list) for value in values):
        raise Unusable("thoughts that are not one text")
    refuse(said, REFUSED_TURN)
    text, left = as_text(values[0]) if values else ("", [])
    left += [f"{key} (of a content part)" for key in unused(said, THOUGHT_USED)]
    return (think_block(text) if text.strip() else ""), left


def think_block(thought: str) -> str:
    """A thought in its tags, as chat templates write it before an answer."""
    inner = thought.strip("\n")
    return f"<think>\n{inner}\n</think>\n\n"


def with_thoughts(content: str, turn: Mapping[str, object]) -> str:
    """The content after the thoughts that a turn has in a key of their own, as `<think>` blocks."""
    thoughts = {
        encodable(value) for key in THOUGHTS if isinstance(value := turn.get(key), str) and value.strip()
    }
    if any(key in turn and not isinstance(turn[key], str) for key in THOUGHTS) or len(thoughts) > 1:
        raise Unusable("thoughts that are not one text")
    if not thoughts:
        return content
    thought, found = thoughts.pop(), split(content)
    if found is not None and found.words.strip() == thought.strip():
        return content
    if found is not None or "<think>" in content:
        raise Unusable("thoughts both in a key and in the content")
    return think_block(thought) + content.lstrip("\n")


def printable(text: str) -> str:
    """The text with a question mark for every lone surrogate, so that it can be printed and counted."""
    return text.encode(errors="replace").decode()


def encodable(text: str) -> str:
    """The text, if it can be written as UTF-8; raises Unusable if it has a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unusable("not valid Unicode") from error
    return text
