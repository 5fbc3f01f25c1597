import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.align.projection.arrays import EXACT, INSIDE, UNALIGNED
from fusionchat.align.projection.project import project
from fusionchat.align.settings import AlignSettings, BytePrefix, Exact
from fusionchat.align.vocabulary import build_map
from fusionchat.tokens.spans import make_table
from tests.align.projection.rows import PIVOT, hello, scored
from tests.align.worlds import capture, worlds
from tests.reference import align as slow
from tests.shared import ROOT


def project_world(world, method=None, **options):
    mapping = build_map(world.source_table, world.pivot_table, method or BytePrefix())
    settings_ = AlignSettings(**options)
    result = project(
        world.pivot.tokens, world.source, mapping, (world.pivot_table, world.source_table), settings_
    )
    return mapping, settings_, result


def row(topk, i):
    return {
        int(t): float(np.exp(np.float64(p)))
        for t, p in zip(topk.ids[i], topk.logprobs[i], strict=True)
        if p > -np.inf
    }


@settings(max_examples=150, deadline=None)
@given(worlds(), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.05, 0.3]))
def test_equals_the_slow_reference(world, observed, exact, min_mass):
    mapping, _, result = project_world(
        world,
        Exact() if exact else None,
        observed_path=observed,
        min_mass=min_mass,
        k=world.source.topk.k + 2,
    )
    if mapping.method == "identity":
        return
    targets = {t: int(p) for t, p in enumerate(mapping.target) if p >= 0}
    for i, (j, residual) in enumerate(slow.attach(world.pivot.tokens, world.source.tokens)):
        expected = None
        if j is not None:
            expected = slow.project_row(
                world.pivot.tokens,
                i,
                slow.flat(world.source),
                j,
                residual,
                world.source_table,
                world.pivot_table,
                target=targets,
                observed=observed,
                min_mass=min_mass,
                whole=exact,
            )
        if expected is None:
            assert result.kind[i] == UNALIGNED and np.isnan(result.label_logprob[i])
            continue
        mass, tail, plain, path = expected
        got = row(result.topk, i)
        for t in set(mass) | set(got):
            assert got.get(t, 0.0) == pytest.approx(mass.get(t, 0.0), abs=2e-3)
        assert float(np.exp(np.float64(result.topk.tail[i]))) == pytest.approx(tail, abs=2e-3)
        if plain > 1e-6:
            assert np.exp(result.map_logprob[i]) == pytest.approx(plain, abs=2e-3)
        if path is None:
            assert np.isnan(result.path_logprob[i])
        else:
            assert np.exp(result.path_logprob[i]) == pytest.approx(path, abs=2e-3)
        gold = mass.get(int(world.pivot.tokens.labels[i]))
        if gold:
            assert np.exp(result.label_logprob[i]) == pytest.approx(gold, abs=2e-3)


@settings(max_examples=100, deadline=None)
@given(worlds(), st.booleans(), st.integers(1, 6))
def test_mass_is_conserved_and_the_label_has_a_slot(world, observed, k):
    mapping, _, result = project_world(world, observed_path=observed, k=k, min_mass=0.0)
    topk = result.topk
    aligned = result.kind != UNALIGNED
    assert (topk.present == aligned).all()
    kept, tail = np.exp(topk.logprobs.astype(np.float64)).sum(1), np.exp(topk.tail.astype(np.float64))
    assert np.abs(kept + tail - 1)[aligned].max(initial=0.0) < 1e-3
    assert np.abs(kept - result.kept)[aligned].max(initial=0.0) < 1e-3
    assert (topk.logprobs[~aligned] == -np.inf).all() and (topk.tail[~aligned] == -np.inf).all()
    assert topk.k == k
    if observed and mapping.method != "identity":
        told = aligned & ~np.isnan(result.path_logprob) & (result.path_logprob > -10)
        assert (
            ((topk.ids == world.pivot.tokens.labels[:, None]) & (topk.logprobs > -np.inf)).any(1)[told].all()
        )
        assert (result.label_logprob[told] >= result.path_logprob[told] - 1e-3).all()
    for i in range(topk.rows):
        ids = topk.ids[i][topk.logprobs[i] > -np.inf]
        assert len(set(ids.tolist())) == len(ids)


@settings(max_examples=100, deadline=None)
@given(worlds(led=False), st.booleans())
def test_the_observed_path_costs_what_the_source_costs(world, observed):
    """The chain rule telescopes, whatever is in the tail: over a text it gives the source's own probability of it."""
    mapping, _, result = project_world(world, min_mass=0.0, observed_path=observed)
    if mapping.method == "identity":
        return
    assert (result.kind != UNALIGNED).all()
    for c in range(world.pivot.tokens.conversations):
        mine = slice(world.pivot.tokens.offsets[c], world.pivot.tokens.offsets[c + 1])
        theirs = slice(world.source.tokens.offsets[c], world.source.tokens.offsets[c + 1])
        assert result.path_logprob[mine].sum() == pytest.approx(
            world.source.label_logprob[theirs].sum(), abs=2e-2
        )


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_identical_tokenizers_project_to_themselves_bit_for_bit(world):
    mapping = build_map(world.pivot_table, world.pivot_table, BytePrefix())
    other = world.pivot
    result = project(other.tokens, other, mapping, (world.pivot_table, world.pivot_table), AlignSettings())
    assert mapping.method == "identity"
    for name in ("ids", "logprobs", "tail", "present"):
        assert getattr(result.topk, name).tobytes() == getattr(other.topk, name).tobytes()
    assert result.label_logprob.tobytes() == other.label_logprob.tobytes()
    assert (result.kind == EXACT).all()


def test_same_vocabulary_with_another_end_of_turn_keeps_the_bits():
    mine = make_table([b"a", b"b", b"ab", b"<x>", b"<y>"], np.array([1, 1, 1, 0, 0], bool), ends=(3, 3))
    rng = np.random.default_rng(0)
    pivot = capture(rng, mine, [[(0, [0, 1, 3]), (0, [2, 3])]], 5)
    source = capture(rng, mine, [[(0, [0, 1, 4]), (0, [2, 4])]], 5)
    renamed = make_table([b"a", b"b", b"ab", b"<p>", b"<q>"], np.array([1, 1, 1, 0, 0], bool), ends=(4, 4))
    mapping = build_map(renamed, mine, BytePrefix())
    result = project(pivot.tokens, source, mapping, (mine, renamed), AlignSettings(k=5))
    assert mapping.method == "identity"
    shown = source.topk.ids != 3
    assert (result.topk.logprobs > -np.inf).sum() == shown.sum()
    for i in range(source.tokens.rows):
        expected = [
            (4 if t == 4 else int(t), p)
            for t, p in zip(source.topk.ids[i], source.topk.logprobs[i], strict=True)
            if t != 3
        ]
        expected = [(3 if t == 4 else t, p) for t, p in expected]
        got = list(zip(result.topk.ids[i].tolist(), result.topk.logprobs[i], strict=True))[: len(expected)]
        assert got == expected


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_without_the_mid_token_rule_inside_rows_are_unaligned(world):
    _, _, with_rule = project_world(world, min_mass=0.0)
    _, _, without = project_world(world, min_mass=0.0, mid_token=False)
    assert (without.kind[with_rule.kind == INSIDE] == UNALIGNED).all()
    exact = with_rule.kind == EXACT
    assert (without.topk.logprobs[exact] == with_rule.topk.logprobs[exact]).all()


def test_a_hand_written_row():
    result = project(*hello(4), AlignSettings())
    assert row(result.topk, 0) == pytest.approx({0: 0.9, 5: 0.1}, abs=1e-3)
    assert row(result.topk, 1) == pytest.approx({2: 6 / 9, 3: 2 / 9, 4: 1 / 9}, abs=1e-3)
    assert result.path_logprob.sum() == pytest.approx(np.log(0.6), abs=1e-3)


def test_the_tail_has_its_share_by_hand():
    """Of the two tokens in the tail, 0.2 in all, one begins with h: half of the tail belongs to h, and is after it unknown."""
    result = project(*hello(2), AlignSettings())
    assert row(result.topk, 0) == pytest.approx({0: 0.9}, abs=1e-3)
    assert row(result.topk, 1) == pytest.approx({2: 6 / 9, 3: 2 / 9}, abs=1e-3)
    assert np.exp(result.topk.tail.astype(np.float64)) == pytest.approx([0.1, 1 / 9], abs=1e-3)
    assert result.path_logprob.sum() == pytest.approx(np.log(0.6), abs=1e-3)
    rare = project(*hello(2), AlignSettings(min_mass=0.95))
    assert rare.kind.tolist() == [EXACT, UNALIGNED]
    plain = project(*hello(2), AlignSettings(observed_path=False))
    assert row(plain.topk, 0) == pytest.approx({0: 0.8}, abs=1e-3)


def test_the_example_of_the_docs():
    """The results in the tables of docs/alignment.md: a source token over two pivot tokens, and the other way round."""
    text = (ROOT / "docs" / "alignment.md").read_text()
    told = [
        {token.encode(): float(mass) for token, mass in re.findall(r"`(\w+)` ([\d.]+)", line.split("|")[4])}
        for line in re.findall(r"^\| `\w+` \|.*$", text, re.MULTILINE)
    ]
    finer = project(*hello(4), AlignSettings()).topk
    found = [{PIVOT[token]: mass for token, mass in row(finer, i).items()} for i in range(2)]
    words, theirs = [b"hello", b"hell", b"o", b"x", b"p"], [b"hell", b"o", b"x", b"p"]
    tables = make_table(words), make_table(theirs)
    source = scored([{0: 0.5, 2: 0.5}, {1: 0.8, 3: 0.2}], [0, 1], end=[4, 5])
    pivot = scored([{0: 1.0}], [0]).tokens
    coarser = project(
        pivot, source, build_map(tables[1], tables[0], BytePrefix()), tables, AlignSettings(k=3)
    )
    found.append({words[token]: mass for token, mass in row(coarser.topk, 0).items()})
    assert len(told) == len(found)
    for mine, written in zip(found, told, strict=True):
        assert mine == pytest.approx(written, abs=1e-3)
