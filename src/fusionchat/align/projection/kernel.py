# N pivot rows, M source rows, K source slots, S entries of one row, O output slots
"""The loops of `fusionchat.align.projection.project`: one source row onto one pivot row. PURE.

All arrays are flat.

A row is a short list of entries (token, mass): the kept tokens of the source row, and its label, whose
probability is always known. Each entry gets a pivot token, entries with the same one are added up, and the
largest are kept.

Arrays are taken out of `Task` once, before the first row: numba copies a tuple and counts a reference to each of
its arrays at every call, and with tuples of tuples handed on a row took 1.75 times as long. Tuples of numbers
(`Pair`, `Known`) cost nothing.
"""

import numpy as np

from fusionchat.align.positions import Attached, Places
from fusionchat.align.projection.arrays import (
    EXACT,
    INSIDE,
    Entries,
    Fronts,
    Known,
    Lookup,
    Made,
    Out,
    Pair,
    Prefix,
    Side,
    Task,
)
from fusionchat.align.projection.path import (
    chain,
    goal_mass,
    observe_inside,
    observe_whole,
    starts_with,
    swallows,
    tail_share,
)
from fusionchat.align.trie import step
from fusionchat.compiled import njit
from fusionchat.tokens.spans import Array, Words

LEAST_TAIL = 1e-30
"""The least mass of a tail, so that a label that takes its share has a finite log-probability."""


@njit(nogil=True, inline="always")
def load(source: Side, j: int, scratch: Entries) -> tuple[int, int, float]:
    """Write row j's known tokens into ``scratch``: (entries, index of the label or -1, tail mass)."""
    count, label = 0, -1
    for k in range(source.ids.shape[1]):
        bits = source.logprobs[j, k]
        mass = source.exps[bits]
        if mass > 0.0 or source.values[bits] > -np.inf:
            if source.ids[j, k] == source.labels[j]:
                label = count
            scratch.token[count] = source.ids[j, k]
            scratch.mass[count] = mass
            scratch.logprob[count] = source.values[bits]
            count += 1
    tail = np.float64(source.exps[source.tail[j]])
    known = source.label_logprob[j]
    if label < 0 and not np.isnan(known) and known > -np.inf:
        label = count
        scratch.token[count] = source.labels[j]
        scratch.mass[count] = np.exp(np.float64(known))
        scratch.logprob[count] = known
        tail = max(tail - scratch.mass[count], 0.0)
        count += 1
    return count, label, tail


@njit(nogil=True)
def text_entries(scratch: Entries, count: int, words: Words) -> int:
    """How many entries are text tokens."""
    known = 0
    for e in range(count):
        known += words.in_text[scratch.token[e]]
    return known


@njit(nogil=True)
def condition(
    scratch: Entries, count: int, label: int, words: Words, prefix: Prefix
) -> tuple[int, int, float]:
    """Keep the text tokens with a prefix: (entries left, index of the label or -1, their mass)."""
    kept, moved, total = 0, -1, 0.0
    for e in range(count):
        token = scratch.token[e]
        if words.in_text[token] and starts_with(words.data, words.offsets, token, prefix.low, prefix.length):
            if e == label:
                moved = kept
            scratch.token[kept], scratch.mass[kept], scratch.logprob[kept] = (
                token,
                scratch.mass[e],
                scratch.logprob[e],
            )
            total += scratch.mass[e]
            kept += 1
    return kept, moved, total


@njit(nogil=True)
def after_prefix(token: int, words: Words, lookup: Lookup, before: Array, source_prefix: int) -> int:
    """The longest pivot token that is a prefix of the given bytes and the rest of a token; -1 for none.

    The bytes are ``before``, and the pivot token must be longer than they are.
    """
    node, best = 0, -1
    for at in range(len(before)):
        node = step(lookup.keys, lookup.children, node, before[at])
        if node < 0:
            return best
    last = words.offsets[token + 1]
    for at in range(words.offsets[token] + source_prefix, last):
        node = step(lookup.keys, lookup.children, node, words.data[at])
        if node < 0:
            return best
        if lookup.token[node] >= 0 and (not lookup.whole or at == last - 1):
            best = int(lookup.token[node])
    return best


@njit(nogil=True, inline="always")
def goal_of(token: int, words: Words, lookup: Lookup, before: Array, source_prefix: int) -> int:
    """The pivot token for a source token, or for its bytes after ``source_prefix``; -1 for none.

    ``before`` is what the pivot's label has before the end of the context.
    """
    goal = np.int64(-1)
    if len(before) > 0 and words.in_text[token]:
        goal = after_prefix(token, words, lookup, before, source_prefix)
    elif source_prefix == 0:
        goal = np.int64(lookup.target[token])
    elif words.offsets[token] + source_prefix < words.offsets[token + 1]:
        goal = np.int64(lookup.rest[words.offsets[token] + source_prefix])
    return goal  # type: ignore[return-value]


@njit(nogil=True, inline="always")
def add_up(scratch: Entries, count: int) -> tuple[int, float, int]:
    """Add up entries with the same pivot token: (output entries, mass without one, entries that met)."""
    slots, lost, met = 0, 0.0, 0
    for e in range(count):
        goal, mass = scratch.goal[e], scratch.mass[e]
        if goal < 0:
            lost += mass
            continue
        s = 0
        while s < slots and scratch.slot[s] != goal:
            s += 1
        if s == slots:
            scratch.slot[s], scratch.slot_mass[s], scratch.slot_parts[s] = goal, mass, 1
            scratch.slot_logprob[s] = scratch.logprob[e]
            slots += 1
        else:
            scratch.slot_mass[s] += mass
            scratch.slot_parts[s] += 1
            met += 1
    return slots, lost, met


@njit(nogil=True, inline="always")
def with_masses(tail: float, scratch: Entries, count: int) -> float:
    """A tail's mass plus that of all entries."""
    for e in range(count):
        tail += scratch.mass[e]
    return tail


@njit(nogil=True, inline="always")
def sort_slots(scratch: Entries, slots: int) -> None:
    """Order the output entries by mass, largest first, equal ones as they were."""
    for s in range(1, slots):
        token, mass = scratch.slot[s], scratch.slot_mass[s]
        logprob, parts = scratch.slot_logprob[s], scratch.slot_parts[s]
        at = s
        while at > 0 and scratch.slot_mass[at - 1] < mass:
            scratch.slot[at], scratch.slot_mass[at] = scratch.slot[at - 1], scratch.slot_mass[at - 1]
            scratch.slot_logprob[at], scratch.slot_parts[at] = (
                scratch.slot_logprob[at - 1],
                scratch.slot_parts[at - 1],
            )
            at -= 1
        scratch.slot[at], scratch.slot_mass[at] = token, mass
        scratch.slot_logprob[at], scratch.slot_parts[at] = logprob, parts


@njit(nogil=True, inline="always")
def emit(scratch: Entries, out: Out, i: int, made: Made) -> None:
    """Write the largest output entries, the label among them, to row i; masses are divided by the scale."""
    slots, tail, scale, pivot_label, vocabulary = made
    # 1. entries beyond the last slot join the tail, except the label
    most = out.ids.shape[1]
    for s in range(most, slots):
        if scratch.slot[s] == pivot_label:  # it takes the last slot, whose mass joins the tail
            tail += scratch.slot_mass[most - 1]
            scratch.slot[most - 1], scratch.slot_mass[most - 1] = pivot_label, scratch.slot_mass[s]
            scratch.slot_logprob[most - 1], scratch.slot_parts[most - 1] = (
                scratch.slot_logprob[s],
                scratch.slot_parts[s],
            )
        else:
            tail += scratch.slot_mass[s]
    # 2. each kept mass over the scale; a log-probability that nothing was added to stays bit by bit
    kept, label = 0.0, np.float32(np.nan)
    for s in range(min(slots, most)):
        mass = scratch.slot_mass[s] / scale
        kept += mass
        if scale == 1.0 and scratch.slot_parts[s] == 1 and not np.isnan(scratch.slot_logprob[s]):
            logprob = scratch.slot_logprob[s]
        else:
            logprob = np.float32(np.log(mass)) if mass > 0.0 else np.float32(-np.inf)
        out.ids[i, s], out.logprobs[i, s] = scratch.slot[s], logprob
        if scratch.slot[s] == pivot_label:
            label = logprob
    # 3. kept mass, tail and the label's log-probability
    tail /= scale
    out.kept[i] = kept
    out.tail[i] = np.log(tail) if tail > 0.0 else -np.inf
    out.label_logprob[i] = spread(tail, vocabulary) if np.isnan(label) else label


@njit(nogil=True)
def spread(tail: float, vocabulary: int) -> np.float32:
    """Log-probability of one token of the tail, spread evenly over the vocabulary."""
    return np.float32(np.log(max(tail, LEAST_TAIL) / vocabulary))


@njit(nogil=True)
def shorten(fronts: Fronts, words: Words, label: int, words_W: Words, pivot_label: int) -> tuple[int, int]:
    """Template bytes left on the first tokens, (source, pivot), after removing those that both have.

    ``fronts`` are the bytes of the source's label and of the pivot's before the end of the context; where one
    of the two ends with the other, the shared bytes are context on both sides.
    """
    shared = min(fronts.source, fronts.pivot)
    mine = words.offsets[label] + fronts.source - shared
    theirs = words_W.offsets[pivot_label] + fronts.pivot - shared
    for at in range(shared):
        if words.data[mine + at] != words_W.data[theirs + at]:
            return fronts.source, fronts.pivot
    return fronts.source - shared, fronts.pivot - shared


@njit(nogil=True)
def kinds_of_rows(attached: Attached, pivot: Places, source: Places, words: Words, words_W: Words) -> Array:
    """`UNALIGNED`, `INSIDE` or `EXACT` for every pivot row, uint8 [N]."""
    kind_N = np.zeros(len(attached.row), np.uint8)
    for i in range(len(kind_N)):
        pair = Pair(i, attached.row[i], attached.residual[i])
        if pair.j >= 0:
            fronts = Fronts(*fronts_of(pair, pivot, source, words, words_W))
            if meets(pair, fronts, pivot, source, words):
                kind_N[i] = INSIDE if fronts.source > 0 or fronts.pivot > 0 else EXACT
    return kind_N


@njit(nogil=True)
def fronts_of(
    pair: Pair, pivot: Places, source: Places | Side, words: Words, words_W: Words
) -> tuple[int, int]:
    """Bytes before the context's end in source token j and in pivot token i, without the shared ones."""
    before = np.int64(pivot.text[pair.i] - pivot.begin[pair.i])
    fronts = Fronts(np.int64(pair.residual), before)  # type: ignore[arg-type]
    if fronts.source > 0 and fronts.pivot > 0:
        return shorten(fronts, words, source.labels[pair.j], words_W, pivot.labels[pair.i])
    return fronts.source, fronts.pivot


@njit(nogil=True)
def meets(pair: Pair, fronts: Fronts, pivot: Places, source: Places | Side, words: Words) -> bool:
    """Whether source row j can say anything of pivot row i.

    A pivot token of no byte needs a source that writes the same space. The bytes inside an added token that
    swallows the spaces around it are unknown.
    """
    i, j = pair.i, pair.j
    if pivot.end[i] <= pivot.text[i] and (fronts.source > 0 or fronts.pivot > 0):
        return False
    return not swallows(source, j, words) or (fronts.source == 0 and pivot.end[i] >= source.end[j])


@njit(nogil=True)
def project_rows(attached: Attached, task: Task, out: Out) -> None:
    """Project every pivot row that has a source row; the others are left as they are in ``out``."""
    pivot, source, words, words_W, lookup, rules = task
    scratch, vocabulary = room(source.ids.shape[1] + 2), len(words_W.in_text)
    for i, j in enumerate(attached.row):
        # 1. the bytes u of the context that are inside the source's token, and those of the template before the pivot's
        pair = Pair(i, j, attached.residual[i])
        if j < 0 or not source.present[j]:
            continue
        pivot_label, label, end = pivot.labels[i], source.labels[j], pivot.end[i]
        fronts = Fronts(*fronts_of(pair, pivot, source, words, words_W))
        inside = fronts.source > 0 or fronts.pivot > 0
        if (inside and not rules.mid_token) or not meets(pair, fronts, pivot, source, words):
            continue
        # 2. the known tokens T with their masses; the rest is the tail U
        count, at, tail_mass = load(source, j, scratch)
        if at < 0:
            continue
        text, low = text_entries(scratch, count, words), words.offsets[label]
        tail, scale = tail_mass, 1.0
        # 3. condition on u: M = sum of T over the tokens that begin with u, t = U's even share; the row is divided by M + t
        if fronts.source > 0:
            prefix = Prefix(low, fronts.source)
            count, at, mass = condition(scratch, count, at, words, prefix)
            tail = tail_share(tail_mass, count, text, prefix, lookup)
            scale = mass + tail
            if mass <= 0.0 or mass < rules.min_mass * scale:
                continue
        # 4. each token goes to the pivot token of what follows u; the mass of one without is lost to the tail
        before = words_W.data[words_W.offsets[pivot_label] :][: fronts.pivot]
        for e in range(count):
            scratch.goal[e] = goal_of(scratch.token[e], words, lookup, before, fronts.source)
        plain, full = goal_mass(scratch, count, pivot_label), tail + goal_mass(scratch, count, -1)
        # 5. the observed path: what the source's own tokens say of the label, by the chain rule
        known = Known(count, at, tail_mass, text, pivot_label if rules.observed_path else -1)
        if end < source.end[j]:
            begun = Prefix(low, end - source.begin[j])
            count, label_mass, taken = observe_inside(scratch, known, begun, words, lookup)
            tail = max(tail - taken, 0.0)
        else:
            told = rules.observed_path or not words.in_text[label]
            label_mass = scratch.mass[at] * chain(source, j, end, words, lookup)
            count = observe_whole(scratch, known, pivot_label, label_mass, told and end == source.end[j])
        # 6. masses that meet on a pivot token add up; where some met, rounded masses are divided by their sum
        slots, nowhere, met = add_up(scratch, count)
        if slots == 0:
            continue
        if fronts.source == 0 and met > 0:
            scale = with_masses(tail, scratch, count)
        # 7. the largest are kept, the label among them
        sort_slots(scratch, slots)
        emit(scratch, out, i, Made(slots, tail + nowhere, scale, pivot_label, vocabulary))
        out.map_logprob[i] = np.log(plain / scale) if plain > 0.0 else spread(full / scale, vocabulary)
        out.path_logprob[i] = np.log(label_mass / scale)
        out.kind[i] = INSIDE if inside else EXACT


@njit(nogil=True)
def room(most: int) -> Entries:
    """Scratch arrays for rows of up to ``most`` entries."""
    return Entries(
        np.zeros(most, np.int64),
        np.zeros(most, np.float64),
        np.zeros(most, np.float32),
        np.zeros(most, np.int64),
        np.zeros(most, np.int64),
        np.zeros(most, np.float64),
        np.zeros(most, np.float32),
        np.zeros(most, np.int64),
    )
