# N supervised rows, K kept tokens, C candidates of transformers
"""The probe: a few conversations, scored by a backend and by plain transformers.

It runs before the first shard.

It catches a capture that is silently wrong: a batch that is padded wrongly, a server with other weights, rows
that are off by one. Where transformers cannot score the model on this machine, only the bits per byte are
checked: no chat model needs more than `MOST_BITS` for text in its own template.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from fusionchat.errors import ModelError
from fusionchat.represent.plain import Plain
from fusionchat.represent.topk import Scored
from fusionchat.settings import Frozen

CONVERSATIONS = 16
SHORT = 512
"""Most tokens of a conversation of the probe, where the corpus has enough of that length."""
SEED = 0
MOST_BITS = 2.0
BOUNDS = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
OTHER_BOUND = 0.3
"""The bound for quantized models, and for a server whose dtype is unknown."""
STORED = 4e-3
"""The largest error of a log-probability stored in float16, in nats: half a step between 8 and 16."""


class Difference(Frozen):
    """How far log-probabilities are from transformers' own, in nats."""

    mean: float
    worst: float


class Probe(Frozen):
    """The result of a probe.

    Attributes:
        conversations, tokens: How many were scored, and their supervised tokens.
        bits_per_byte: Of their text, by the backend.
        bound: Nats by which `label` may differ on average.
        label: The difference of the tokens themselves; None if transformers could not score them.
        kept: The difference of the kept tokens, by rank or by id, whichever is larger.
        unchecked: Why transformers could not score them; "" if it did.
    """

    conversations: int
    tokens: int
    bits_per_byte: float
    bound: float
    label: Difference | None = None
    kept: Difference | None = None
    unchecked: str = ""


def choose(lengths: NDArray[np.int64]) -> list[int]:
    """The conversations of the probe: short ones, drawn with a fixed seed.

    Where there are too few, the shortest of the others join them.
    """
    order = np.random.default_rng(SEED).permutation(len(lengths))
    short = order[lengths[order] <= SHORT][:CONVERSATIONS]
    others = np.setdiff1d(order, short)
    others = others[np.argsort(lengths[others], kind="stable")][: CONVERSATIONS - len(short)]
    return sorted([*short.tolist(), *others.tolist()])


def candidates(k: int) -> int:
    """C, the number of transformers' most likely tokens that K kept tokens are compared with."""
    return 4 * k + 16


def bound_of(precision: str, own: float | None) -> float:
    """Nats by which the label's log-probabilities may differ on average.

    The recipe's own bound, else the one of the precision.
    """
    return BOUNDS.get(precision, OTHER_BOUND) if own is None else own


def compare(plain: Plain, scored: Scored) -> tuple[Difference, Difference]:
    """How far a backend is from transformers, on the tokens themselves and on the kept tokens.

    The k-th kept log-probability is compared with transformers' k-th, which reveals a missed token, and with
    transformers' value for that id, which reveals a wrong id. An id that is not among the candidates counts
    as the least likely of them, although it is less likely still.
    """
    label_N = np.abs(scored.label_logprob.astype(np.float64) - plain.label_logprob)
    kept_NK = scored.topk.logprobs.astype(np.float64)
    held_NK = kept_NK > -np.inf
    by_rank_NK = np.abs(
        kept_NK - plain.logprobs[:, : kept_NK.shape[1]], where=held_NK, out=np.zeros_like(kept_NK)
    )
    by_id_NK = np.abs(
        kept_NK - look_up(plain, scored.topk.ids.astype(np.int32)), where=held_NK, out=np.zeros_like(kept_NK)
    )
    return _difference(label_N), _difference(np.maximum(by_rank_NK, by_id_NK)[held_NK])


def look_up(plain: Plain, ids_NK: NDArray[np.int32]) -> Float[np.ndarray, "N K"]:
    """Transformers' log-probabilities of some ids of each row.

    An id that is no candidate gets the least candidate's.
    """
    rows_N1 = np.arange(len(ids_NK), dtype=np.int64)[:, None]
    size = 1 + int(max(plain.ids.max(initial=0), ids_NK.max(initial=0)))
    keys, wanted_NK = (rows_N1 * size + plain.ids).ravel(), rows_N1 * size + ids_NK
    order = np.argsort(keys)
    at_NK = np.minimum(np.searchsorted(keys, wanted_NK, sorter=order), len(keys) - 1)
    found_NK = order[at_NK]
    known_NK = keys[found_NK] == wanted_NK
    return np.where(known_NK, plain.logprobs.ravel()[found_NK], plain.logprobs[:, -1:])


def _difference(values: NDArray[np.float64]) -> Difference:
    mean, worst = (float(values.mean()), float(values.max())) if len(values) else (0.0, 0.0)
    return Difference(mean=float(f"{mean:.3g}"), worst=float(f"{worst:.3g}"))


def require_close(probe: Probe, *, backend: str, place: str) -> None:
    """Check the result of a probe.

    Args:
        probe: The probe.
        backend: The backend's name.
        place: The path of the model's `capture` in the recipe.

    Raises:
        ModelError: The backend is too far from transformers; or its bits per byte are too many for any chat
            model.
    """
    if probe.label is not None and probe.kept is not None:
        if probe.label.mean <= probe.bound and probe.kept.mean <= probe.bound + STORED:
            return
        raise ModelError(
            f"The backend {backend} disagrees with transformers: log-probabilities of the text differ by "
            f"{probe.label.mean:g} nats on average ({probe.label.worst:g} at most), those of the kept tokens by "
            f"{probe.kept.mean:g} ({probe.kept.worst:g}); the bound is {probe.bound:g}",
            where=place,
            do="check for other weights, another tokenizer or a fault of the backend; if the difference is expected (a "
            "quantized model), set `probe_bound`",
        )
    if not probe.bits_per_byte <= MOST_BITS:
        raise ModelError(
            f"The backend {backend} needs {probe.bits_per_byte:.2f} bits per byte for the text; over {MOST_BITS:g} is too many "
            f"for a chat model (not compared with transformers: {probe.unchecked})",
            where=place,
            do="check that it has this model and this tokenizer, and that the chat template is the model's own",
        )


def describe(probe: Probe) -> str:
    """A probe in a few words, for the report."""
    if probe.label is None:
        return f"{probe.bits_per_byte:.2f} bits per byte; not compared: {probe.unchecked}"
    return f"{probe.label.mean:g} nats from transformers on average, {probe.label.worst:g} at most"
