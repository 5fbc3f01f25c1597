# N pivot rows, M source rows, K source slots, S entries of one row, O output slots
"""The inputs, scratch and outputs of the projection's loops, as tuples of flat arrays. PURE."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionchat.align.positions import Places
from fusionchat.tokens.spans import Words

UNALIGNED, EXACT, INSIDE = 0, 1, 2
"""How a pivot row is aligned, as a code.

UNALIGNED: it has no source row; EXACT: a source row has the same context; INSIDE: its context ends inside a
source token.
"""


class Side(NamedTuple):
    """The arrays of a source for the loops: its places, and its distributions with halves as bits.

    ``values`` and ``exps`` are the value and the exponential of every half, fp32 [65536].
    """

    ids: NDArray[np.int32]
    logprobs: NDArray[np.uint16]
    tail: NDArray[np.uint16]
    labels: NDArray[np.int32]
    label_logprob: NDArray[np.float32]
    turn: NDArray[np.int32]
    begin: NDArray[np.int32]
    text: NDArray[np.int32]
    end: NDArray[np.int32]
    present: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    values: NDArray[np.float32]
    exps: NDArray[np.float32]


class Lookup(NamedTuple):
    """Which pivot token takes which mass: the map, the source's text tokens, the pivot's trie.

    With ``whole``, a pivot token must cover all of the remaining bytes.
    """

    target: NDArray[np.int32]
    rest: NDArray[np.int32]
    alike: NDArray[np.int32]
    text_tokens: int
    keys: NDArray[np.int64]
    children: NDArray[np.int32]
    token: NDArray[np.int32]
    whole: bool


class Rules(NamedTuple):
    """The switches of the projection, see `fusionchat.align.settings`."""

    mid_token: bool
    observed_path: bool
    min_mass: float


class Pair(NamedTuple):
    """A pivot row i and its source row j.

    ``residual`` is how many bytes of the source's token come before the end of the pivot row's context.
    """

    i: int
    j: int
    residual: int


class Fronts(NamedTuple):
    """How many bytes the source's and the pivot's token of a row have before the end of its context."""

    source: int
    pivot: int


class Prefix(NamedTuple):
    """The first ``length`` bytes of a source token, which begins at ``low`` of the vocabulary's bytes."""

    low: int
    length: int


class Known(NamedTuple):
    """What is known of a source row.

    Attributes:
        entries: Number of entries.
        label: The entry of its label, -1 if there is none.
        tail: Mass of its tail.
        text: How many of the entries, before some were left out, are text tokens.
        goal: The pivot token that the observed path gives mass to, -1 where it gives none.
    """

    entries: int
    label: int
    tail: float
    text: int
    goal: int


class Task(NamedTuple):
    """All that is read while rows are projected."""

    pivot: Places
    source: Side
    words: Words
    words_W: Words
    lookup: Lookup
    rules: Rules


class Made(NamedTuple):
    """What is written of a row beside its output entries.

    Attributes:
        slots: Number of output entries.
        tail: Mass of its tail.
        scale: What masses are divided by.
        label: The pivot's label.
        vocabulary: Number of tokens that the tail is spread over.
    """

    slots: int
    tail: float
    scale: float
    label: int
    vocabulary: int


class Entries(NamedTuple):
    """Scratch arrays for the entries of one row.

    Attributes:
        token: int64 [S], source token.
        mass: float64 [S].
        logprob: float32 [S], the stored log-probability the mass was made from.
        goal: int64 [S], pivot token, -1 for the tail.
        slot: int64 [S], pivot token of an output entry; ``slot_mass``, ``slot_logprob`` and ``slot_parts``
            its mass, its log-probability if it has one part only, and the number of its parts.
    """

    token: NDArray[np.int64]
    mass: NDArray[np.float64]
    logprob: NDArray[np.float32]
    goal: NDArray[np.int64]
    slot: NDArray[np.int64]
    slot_mass: NDArray[np.float64]
    slot_logprob: NDArray[np.float32]
    slot_parts: NDArray[np.int64]


class Out(NamedTuple):
    """The outputs of the loops, one entry per pivot row; log-probabilities in fp32."""

    ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    tail: NDArray[np.float32]
    label_logprob: NDArray[np.float32]
    map_logprob: NDArray[np.float32]
    path_logprob: NDArray[np.float32]
    kept: NDArray[np.float32]
    kind: NDArray[np.uint8]
