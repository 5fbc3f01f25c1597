# N supervised rows of a conversation, E entries of them
"""One conversation as a request to ``/v1/completions``, and its answer as entries."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fusionchat.artifacts import Json
from fusionchat.corpus.render import Rendered
from fusionchat.represent.entries import Entries

NO_MASS = -9999.0
"""What vLLM writes for -inf, which JSON lacks."""
MOST_TOKENS = 2**31
"""Ids are smaller: a store keeps them in 32 bits."""


class Answered(NamedTuple):
    """Entries of a conversation's supervised tokens, and why they are not its own ("" if they are)."""

    entries: Entries
    fault: str


def request(model: str, rendered: Rendered, k: int) -> dict[str, Json]:
    """The body of a request for the log-probabilities of a prompt, given as token ids.

    It also asks for one generated token, which the API demands and nobody reads.
    """
    return {
        "model": model,
        "prompt": [rendered.input_ids.tolist()],
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": k,
        "return_token_ids": True,
    }


def read(answer: Mapping[str, Json], model: str, rendered: Rendered) -> Answered:
    """The entries of the supervised tokens in an answer.

    Each element of ``prompt_logprobs`` maps ids to log-probabilities; the first is null. Equal ids prove only
    that nothing was added or cut, because they are the ids that were sent.
    """
    nothing = Entries(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return Answered(nothing, "it does not have exactly one choice")
    if answer.get("model", model) != model:
        return Answered(nothing, f"it is of another model, {answer['model']!r}")
    places, ids = choices[0].get("prompt_logprobs"), choices[0].get("prompt_token_ids")
    sent = rendered.input_ids.tolist()
    if not isinstance(places, list):
        return Answered(nothing, "it has no prompt_logprobs: the server cannot score prompts")
    if len(places) != len(sent) or (ids is not None and ids != sent):
        return Answered(nothing, "its tokens are not those that were sent")
    try:
        held = [
            {_token(i): _value(one) for i, one in dict(places[row]).items()}  # type: ignore[arg-type]
            for row in rendered.rows.tolist()
        ]
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        return Answered(nothing, f"its prompt_logprobs cannot be read: {type(error).__name__}: {error}")
    if any(sent[row] not in found for row, found in zip(rendered.rows.tolist(), held, strict=True)):
        return Answered(nothing, "its tokens are not those that were sent")
    entries = Entries(
        np.array([i for found in held for i in found], np.int64),
        np.array([value for found in held for value in found.values()], np.float64),
        np.array([len(found) for found in held], np.int64),
    )
    return Answered(entries, "")


def _token(name: object) -> int:
    """A token's id, from a key of the answer."""
    token = int(str(name))
    if not 0 <= token < MOST_TOKENS:
        raise ValueError(f"{token} is not a token")
    return token


def _value(entry: Json) -> float:
    """A log-probability: vLLM wraps it in an object, other servers return the number."""
    value = entry["logprob"] if isinstance(entry, dict) else entry
    number = float(value)  # type: ignore[arg-type]
    return -np.inf if number <= NO_MASS else number
