# N pivot rows, M source rows, K source slots, S entries of one row, O output slots
"""The loops of `fusionchat.align.projection.project`: one source row onto one pivot row. PURE.

All arrays are flat.

A row is a short list of entries (token, mass): the kept tokens of the source row, and its label, whose
probability is always known. Each entry gets a pivot token, entries with the same one are added up, and the
largest are kept.

Functions that are called for each row take many arguments on purpose: with all arrays in one tuple, a row
took 1.7 times as long, because numba copies the tuple and counts a reference to each of its arrays at every
call.
"""

import numpy as np

from fusionchat.align.positions import Places
from fusionchat.align.projection.arrays import EXACT, INSIDE, Entries, Lookup, Out, Rules, Side
from fusionchat.align.projection.path import (
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
def load(source: Side, j: int, rules: Rules, scratch: Entries) -> tuple[int, int, float]:
    """Write row j's known tokens into ``scratch``: (entries, index of the label or -1, tail mass)."""
    count, label = 0, -1
    for k in range(source.ids.shape[1]):
        bits = source.logprobs[j, k]
        mass = rules.exps[bits]
        if mass > 0.0 or rules.values[bits] > -np.inf:
            if source.ids[j, k] == source.labels[j]:
                label = count
            scratch.token[count] = source.ids[j, k]
            scratch.mass[count] = mass
            scratch.logprob[count] = rules.values[bits]
            count += 1
    tail = np.float64(rules.exps[source.tail[j]])
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
    scratch: Entries, count: int, label: int, words: Words, low: int, source_prefix: int
) -> tuple[int, int, float]:
    """Keep the text tokens with a prefix: (entries left, index of the label or -1, their mass).

    The prefix is data[low:low + source_prefix].
    """
    kept, moved, total = 0, -1, 0.0
    for e in range(count):
        token = scratch.token[e]
        if words.in_text[token] and starts_with(words.data, words.offsets, token, low, source_prefix):
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
def after_prefix(
    lookup: Lookup, before: Array, low: int, high: int, words: Words, token: int, source_prefix: int
) -> int:
    """The longest pivot token that is a prefix of the given bytes and the rest of a token; -1 for none.

    The bytes are before[low:high], and the pivot token must be longer than they are.
    """
    node, best = 0, -1
    for at in range(low, high):
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
def aim(
    scratch: Entries,
    count: int,
    words: Words,
    lookup: Lookup,
    source_prefix: int,
    before: Array,
    low: int,
    high: int,
) -> None:
    """Give every entry its pivot token: for the whole token, or for its bytes after ``source_prefix``."""
    for e in range(count):
        token = scratch.token[e]
        if high > low and words.in_text[token]:
            scratch.goal[e] = after_prefix(lookup, before, low, high, words, token, source_prefix)
        elif source_prefix == 0:
            scratch.goal[e] = lookup.target[token]
        elif words.offsets[token] + source_prefix < words.offsets[token + 1]:
            scratch.goal[e] = lookup.rest[words.offsets[token] + source_prefix]
        else:
            scratch.goal[e] = -1


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
def emit(
    scratch: Entries,
    slots: int,
    tail: float,
    pivot_label: int,
    scale: float,
    vocabulary: int,
    out: Out,
    i: int,
) -> None:
    """Write the largest output entries, the label among them, to row i; masses are divided by ``scale``."""
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
def shorten(
    source_prefix: int, pivot_prefix: int, words: Words, label: int, words_W: Words, pivot_label: int
) -> tuple[int, int]:
    """Template bytes left on the first tokens, (source, pivot), after removing those that both have.

    ``source_prefix`` bytes of the source's label and ``pivot_prefix`` bytes of the pivot's come before the
    end of the context; where one of the two ends with the other, the shared bytes are context on both sides.
    """
    shared = min(source_prefix, pivot_prefix)
    mine, theirs = (
        words.offsets[label] + source_prefix - shared,
        words_W.offsets[pivot_label] + pivot_prefix - shared,
    )
    for at in range(shared):
        if words.data[mine + at] != words_W.data[theirs + at]:
            return source_prefix, pivot_prefix
    return source_prefix - shared, pivot_prefix - shared


@njit(nogil=True)
def kinds_of_rows(
    row_N: Array, residual_N: Array, pivot: Places, source: Places, words: Words, words_W: Words
) -> Array:
    """`UNALIGNED`, `INSIDE` or `EXACT` for every pivot row, uint8 [N]."""
    kind_N = np.zeros(len(row_N), np.uint8)
    for i in range(len(row_N)):
        if row_N[i] >= 0:
            source_prefix, pivot_prefix = fronts(i, row_N[i], residual_N[i], pivot, source, words, words_W)
            if meets(i, row_N[i], source_prefix, pivot_prefix, pivot, source, words):
                kind_N[i] = INSIDE if source_prefix > 0 or pivot_prefix > 0 else EXACT
    return kind_N


@njit(nogil=True)
def fronts(
    i: int, j: int, source_prefix: int, pivot: Places, source: Places | Side, words: Words, words_W: Words
) -> tuple[int, int]:
    """Bytes before the context's end in source token j and in pivot token i, without the shared ones."""
    pivot_prefix = pivot.text[i] - pivot.begin[i]
    if source_prefix > 0 and pivot_prefix > 0:
        return shorten(source_prefix, pivot_prefix, words, source.labels[j], words_W, pivot.labels[i])
    return source_prefix, pivot_prefix


@njit(nogil=True)
def meets(
    i: int, j: int, source_prefix: int, pivot_prefix: int, pivot: Places, source: Places | Side, words: Words
) -> bool:
    """Whether source row j can say anything of pivot row i.

    A pivot token of no byte needs a source that writes the same space. The bytes inside an added token that
    swallows the spaces around it are unknown.
    """
    if pivot.end[i] <= pivot.text[i] and (source_prefix > 0 or pivot_prefix > 0):
        return False
    return not swallows(source, j, words) or (source_prefix == 0 and pivot.end[i] >= source.end[j])


@njit(nogil=True, inline="always")
def project_row(
    i: int,
    j: int,
    source_prefix: int,
    pivot: Places,
    source: Side,
    words: Words,
    words_W: Words,
    lookup: Lookup,
    rules: Rules,
    scratch: Entries,
    out: Out,
) -> None:
    """Project source row j, ``source_prefix`` bytes into its token, onto pivot row i."""
    # 1. the bytes u of the context that are inside the source's token, and those of the template before the pivot's
    pivot_label, label = pivot.labels[i], source.labels[j]
    source_prefix, pivot_prefix = fronts(i, j, source_prefix, pivot, source, words, words_W)
    inside = source_prefix > 0 or pivot_prefix > 0
    if (inside and not rules.mid_token) or not meets(i, j, source_prefix, pivot_prefix, pivot, source, words):
        return
    # 2. the known tokens T with their masses; the rest is the tail U
    count, at, tail_mass = load(source, j, rules, scratch)
    if at < 0:
        return
    known, low = text_entries(scratch, count, words), words.offsets[label]
    tail, scale = tail_mass, 1.0
    # 3. condition on u: M = sum of T over the tokens that begin with u, t = U's even share; the row is divided by M + t
    if source_prefix > 0:
        count, at, mass = condition(scratch, count, at, words, low, source_prefix)
        tail = tail_share(tail_mass, count, known, low, source_prefix, lookup)
        scale = mass + tail
        if mass <= 0.0 or mass < rules.min_mass * scale:
            return
    # 4. each token goes to the pivot token of what follows u; the mass of one without is lost to the tail
    before = words_W.offsets[pivot_label]
    aim(scratch, count, words, lookup, source_prefix, words_W.data, before, before + pivot_prefix)
    lost = 0.0
    for e in range(count):
        lost += scratch.mass[e] if scratch.goal[e] < 0 else 0.0
    plain, full, end = goal_mass(scratch, count, pivot_label), tail + lost, pivot.end[i]
    # 5. the observed path: what the source's own tokens say of the label, by the chain rule
    if end < source.end[j]:
        count, label_mass, taken = observe_inside(
            scratch, count, pivot_label, low, end - source.begin[j], tail_mass, known, words, lookup, rules
        )
        tail = max(tail - taken, 0.0)
    else:
        count, label_mass = observe_whole(
            source, j, pivot.turn[i], end, at, pivot_label, scratch, count, words, lookup, rules
        )
    # 6. masses that meet on a pivot token add up; where some met, rounded masses are divided by their sum
    slots, nowhere, met = add_up(scratch, count)
    if slots == 0:
        return
    if source_prefix == 0 and met > 0:
        scale = tail
        for e in range(count):
            scale += scratch.mass[e]
    # 7. the largest are kept, the label among them
    vocabulary = len(words_W.in_text)
    sort_slots(scratch, slots)
    emit(scratch, slots, tail + nowhere, pivot_label, scale, vocabulary, out, i)
    out.map_logprob[i] = np.log(plain / scale) if plain > 0.0 else spread(full / scale, vocabulary)
    out.path_logprob[i] = np.log(label_mass / scale)
    out.kind[i] = INSIDE if inside else EXACT


@njit(nogil=True)
def project_rows(
    row_N: Array,
    residual_N: Array,
    pivot: Places,
    source: Side,
    words: Words,
    words_W: Words,
    lookup: Lookup,
    rules: Rules,
    out: Out,
) -> None:
    """Project every pivot row that has a source row; the others are left as they are in ``out``."""
    most = source.ids.shape[1] + 2
    scratch = Entries(
        np.zeros(most, np.int64),
        np.zeros(most, np.float64),
        np.zeros(most, np.float32),
        np.zeros(most, np.int64),
        np.zeros(most, np.int64),
        np.zeros(most, np.float64),
        np.zeros(most, np.float32),
        np.zeros(most, np.int64),
    )
    for i in range(len(row_N)):
        j = row_N[i]
        if j >= 0 and source.present[j]:
            project_row(i, j, residual_N[i], pivot, source, words, words_W, lookup, rules, scratch, out)
