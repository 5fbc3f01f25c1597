"""Slow, obvious references for alignment: strings and dictionaries, nothing shared with the package's loops."""

import math
from types import SimpleNamespace

import numpy as np


def edit_distance(left, right):
    """Levenshtein's distance of two sequences by the textbook recursion."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left):
        new = [i + 1]
        for j, b in enumerate(right):
            new.append(min(row[j] + (a != b), row[j + 1] + 1, new[j] + 1))
        row = new
    return row[-1]


def dtw(mine, theirs):
    """The published alignment of two token lists: edit distances between all pairs, then dynamic time warping.

    Returns, for each of ``mine``, the first index of ``theirs`` that the path matches with it.
    """
    n, m = len(mine), len(theirs)
    far = float("inf")
    total = [[far] * (m + 1) for _ in range(n + 1)]
    total[0][0] = 0.0
    for i in range(n):
        for j in range(m):
            cost = edit_distance(bare(mine[i]), bare(theirs[j]))
            total[i + 1][j + 1] = cost + min(total[i][j], total[i][j + 1], total[i + 1][j])
    first = [0] * n
    i, j = n, m
    while i > 0 and j > 0:
        first[i - 1] = j - 1
        if i == 1 and j == 1:
            break
        steps = [(total[i - 1][j - 1], 0), (total[i - 1][j], 1), (total[i][j - 1], 2)]
        move = min(steps)[1]
        i, j = (i - 1, j - 1) if move == 0 else (i - 1, j) if move == 1 else (i, j - 1)
    return first


def bare(token):
    """A token without its leading space."""
    return token[1:] if token[:1] == b" " else token


def flat(scored):
    """Tokens and distributions as one thing with all their arrays."""
    return SimpleNamespace(
        **vars(scored.tokens),
        **vars(scored.topk),
        label_logprob=scored.label_logprob,
        rows=scored.tokens.rows,
    )


def text_begin(rows, i):
    """Where the text of a row begins: no earlier than its turn and the end of the row before."""
    same = i > 0 and i not in rows.offsets and rows.turn[i - 1] == rows.turn[i]
    return max(int(rows.begin[i]), int(rows.end[i - 1]) if same else 0)


def attach(pivot, source):
    """(source row or None, residual) of every pivot row, by looking at every source row of the turn."""
    found = []
    for c in range(pivot.conversations):
        for i in range(pivot.offsets[c], pivot.offsets[c + 1]):
            context = text_begin(pivot, i)
            turn = [
                j for j in range(source.offsets[c], source.offsets[c + 1]) if source.turn[j] == pivot.turn[i]
            ]
            begin_here = [j for j in turn if text_begin(source, j) == context]
            covers = [j for j in turn if text_begin(source, j) < context < source.end[j]]
            fits = begin_here or covers
            j = fits[0 if pivot.begin[i] < context else -1] if fits else None
            found.append((None, 0) if j is None else (j, context - int(source.begin[j])))
    return found


def known(source, j):
    """The known tokens of a source row as a dictionary, and its tail mass."""
    mass = {
        int(t): math.exp(float(p))
        for t, p in zip(source.ids[j], source.logprobs[j], strict=True)
        if p > -np.inf
    }
    tail = math.exp(float(source.tail[j]))
    label = int(source.labels[j])
    if label not in mass and not np.isnan(source.label_logprob[j]):
        mass[label] = math.exp(float(source.label_logprob[j]))
        tail = max(tail - mass[label], 0.0)
    return mass, tail


def text_of(table, token):
    """The bytes of a text token, None for a control token."""
    return table.token(token) if table.in_text[token] else None


def longest(tokens, rest, *, beyond=0, whole=False):
    """The token (of a dictionary from bytes to ids) that is the longest prefix of ``rest``, None if there is none."""
    sizes = [len(rest)] if whole else range(len(rest), beyond, -1)
    return next((tokens[rest[:n]] for n in sizes if n > beyond and rest[:n] in tokens), None)


def tail_share(mass, tail, start, words):
    """The part of a row's tail that begins with ``start``, the tail spread evenly over the text tokens in it."""
    outside = [t for t in range(words.size) if words.in_text[t] and t not in mass]
    same = [t for t in outside if words.token(t).startswith(start)]
    return tail * len(same) / len(outside) if outside else 0.0


def chain(source, j, end, words):
    """Probability of the source tokens after row j up to byte ``end`` of the turn, None where they do not say."""
    product = 1.0
    while source.end[j] < end:
        following = j + 1
        if following >= source.rows or source.turn[following] != source.turn[j]:
            return None
        if text_begin(source, following) != source.end[j]:
            return None
        j = following
        mass, tail = known(source, j)
        label = int(source.labels[j])
        if source.end[j] <= end:
            product *= math.exp(float(source.label_logprob[j]))
        else:
            start = words.token(label)[: end - source.begin[j]]
            same = [p for t, p in mass.items() if words.in_text[t] and words.token(t).startswith(start)]
            product *= sum(same) + tail_share(mass, tail, start, words)
    return product


def project_row(
    pivot, i, source, j, residual, words, words_pivot, *, target, observed, min_mass, whole=False
):
    """One row by the text of docs/alignment.md.

    Args:
        target: Dictionary from source ids to pivot ids for whole tokens, control tokens included.

    Returns:
        None for an unaligned row, else (mass by pivot id, tail, mass by the map alone, chain-rule mass or None).
    """
    tokens = {}
    for t in reversed(range(words_pivot.size)):
        if words_pivot.in_text[t]:
            tokens[words_pivot.token(t)] = t
    gold, label = int(pivot.labels[i]), int(source.labels[j])
    begin, end = int(pivot.begin[i]), int(pivot.end[i])
    seen = words.token(label)[:residual]
    before = words_pivot.token(gold)[: text_begin(pivot, i) - begin]
    shared = min(len(seen), len(before))
    if shared and seen[-shared:] == before[-shared:]:
        seen, before = seen[:-shared], before[:-shared]
    if end <= text_begin(pivot, i) and (seen or before):
        return None
    everything, rest_of_row = known(source, j)
    mass, tail = dict(everything), rest_of_row
    if seen:
        mass = {t: p for t, p in mass.items() if words.in_text[t] and words.token(t).startswith(seen)}
        tail = tail_share(everything, rest_of_row, seen, words)
        if sum(mass.values()) < min_mass * (sum(mass.values()) + tail):
            return None
    goal = {}
    for t in mass:
        own = text_of(words, t)
        if own is None or (not seen and not before):
            goal[t] = target.get(t)
        else:
            rest = before + own[len(seen) :]
            goal[t] = longest(tokens, rest, beyond=len(before), whole=whole) if own[len(seen) :] else None
    plain = sum(p for t, p in mass.items() if goal[t] == gold)
    moved, taken = 0.0, 0.0
    if end < source.end[j]:
        start = words.token(label)[: end - source.begin[j]]
        same = [t for t in mass if words.in_text[t] and words.token(t).startswith(start)]
        share = tail_share(everything, rest_of_row, start, words)
        path = sum(mass[t] for t in same) + share
        if observed:
            goal.update(dict.fromkeys(same, gold))
            taken = share
    elif end == source.end[j]:
        path = mass[label]
        if observed or not words.in_text[label]:
            goal[label] = gold
    else:
        rest = chain(source, j, end, words)
        path = None if rest is None else mass[label] * rest
        if observed and path is not None and goal[label] != gold:
            moved = max(path - plain, 0.0)
    result = {}
    for t in mass:
        p = mass[t] - moved if t == label else mass[t]
        if goal[t] is None:
            tail += p
        else:
            result[goal[t]] = result.get(goal[t], 0.0) + p
    if moved or taken:
        result[gold] = result.get(gold, 0.0) + moved + taken
        tail -= taken
    total = tail + sum(result.values())
    if not result:
        return None
    return (
        {t: p / total for t, p in result.items()},
        tail / total,
        plain / total,
        None if path is None else path / total,
    )
