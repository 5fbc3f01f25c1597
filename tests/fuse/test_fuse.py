"""Fused rows are the better model's or a mixture; unaligned rows fall back to the pivot and are counted."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.fuse import fuse as rules
from fusionchat.fuse.fuse import combine, entropies, fall_back, label_of_units
from fusionchat.fuse.rules.confidence import Confidence
from fusionchat.fuse.rules.gate import Gate
from fusionchat.fuse.rules.mean_ce import MeanCE
from fusionchat.fuse.rules.min_ce import MinCE
from fusionchat.fuse.rules.route import Route
from fusionchat.fuse.temper import temper
from fusionchat.represent.events import events_of
from fusionchat.represent.topk import TopK
from tests.build import lengths, make_scored, moved


def fuse(models, captures, rule, sizes=None):
    """`rules.fuse` where every turn is as long as the pivot's rows say, without an end of turn."""
    return rules.fuse(models, captures, rule, lengths(models[0]) if sizes is None else np.array(sizes))


def test_min_ce_takes_the_better_model_of_each_conversation():
    pivot = make_scored(0, [3, 2], label_logprob=[-1, -1, -1, -1, -1])
    source = make_scored(1, [3, 2], label_logprob=[-0.5, -0.5, -0.5, -2, -2])
    fused = fuse([pivot, source], [pivot, source], MinCE())
    assert fused.weights.tolist() == [[0, 0, 0, 1, 1], [1, 1, 1, 0, 0]]
    np.testing.assert_array_equal(fused.topk.ids[:3], source.topk.ids[:3])
    np.testing.assert_array_equal(fused.topk.ids[3:], pivot.topk.ids[3:])
    assert fused.topk.present.all() and not fused.fallback.any()


@pytest.mark.parametrize("rule", [MinCE(), MinCE(per="token"), MeanCE()])
def test_given_weights_replace_the_rule_s_in_their_conversations(rule):
    pivot, source = make_scored(0, [3, 2, 1]), make_scored(1, [3, 2, 1])
    given = np.array([[np.nan, 0.2, 1.0], [np.nan, 0.8, 0.0]], np.float32)
    plain, fused = (
        rules.fuse([pivot, source], [pivot, source], rule, lengths(pivot), given=one) for one in (None, given)
    )
    np.testing.assert_array_equal(fused.weights[:, :3], plain.weights[:, :3])
    assert fused.weights[:, 3:].T.tolist() == [pytest.approx([0.2, 0.8])] * 2 + [[1, 0]]
    if not rule.mixes:
        np.testing.assert_array_equal(fused.topk.ids[3:5], source.topk.ids[3:5])


def test_a_route_goes_by_the_domain_of_each_conversation():
    models = [make_scored(m, [2, 1, 2]) for m in range(3)]
    labels, names = ("code", "zh", "maths"), ("pivot", "a", "b")
    rule = Route(map={"code": "b", "maths": "a"})
    fused = rules.fuse(models, models, rule, lengths(models[0]), names=names, labels=labels)
    assert np.argmax(fused.weights, axis=0).tolist() == [2, 2, 0, 1, 1]
    assert fused.to_pivot == {"domain 'zh' is not in fuse.map": 1}
    for rows, model in ((slice(0, 2), 2), (slice(2, 3), 0), (slice(3, 5), 1)):
        np.testing.assert_array_equal(fused.topk.ids[rows], models[model].topk.ids[rows])
    nameless = rules.fuse(models, models, rule, lengths(models[0]))
    assert nameless.to_pivot == {"no domain": 3} and (nameless.weights[0] == 1).all()


@pytest.mark.parametrize(("per", "expected"), [("conversation", "ab"), ("turn", "aabb"), ("token", "aabbb")])
def test_every_unit_has_the_label_of_its_conversation(per, expected):
    pivot = make_scored(0, [2, 3], turn=[0, 1, 0, 0, 1])
    sizes = np.array([[1, 1], [2, 1]])
    events = events_of(pivot.tokens, sizes)
    assert list(label_of_units(("a", "b"), per, sizes, events)) == list(expected)
    assert list(label_of_units((), per, sizes, events)) == [""] * len(expected)


def sure(rows, *surest):
    """Distributions that are certain in some rows and even over three tokens in the others."""
    model = make_scored(0, rows)
    logprobs = np.full(model.topk.logprobs.shape, np.log(1 / 3))
    for row in surest:
        logprobs[row] = [0, -np.inf, -np.inf]
    tail = np.full(len(logprobs), -np.inf)
    return model._replace(
        topk=replace(model.topk, logprobs=logprobs.astype(np.float16), tail=tail.astype(np.float16))
    )


def test_the_surest_model_takes_a_token_or_a_conversation():
    models = [sure([2, 3], 0), sure([2, 3], 1, 3), sure([2, 3], 1, 2, 3)]
    fused = fuse(models, models, Confidence())
    assert np.argmax(fused.weights, axis=0).tolist() == [0, 1, 2, 1, 0]
    fused = fuse(models, models, Confidence(per="conversation"))
    assert np.argmax(fused.weights, axis=0).tolist() == [0, 0, 2, 2, 2]  # 1 each, then 0, 1 and 2 of 3
    assert entropies([m.topk for m in models], MinCE(), np.arange(5), 5) is None


def test_a_temperature_is_of_one_model_and_changes_no_score():
    pivot = make_scored(0, [2], label_logprob=[-1, -1])
    source = make_scored(1, [2], label_logprob=[-0.5, -0.5])
    plain, hot = (
        rules.fuse(
            [pivot, source], [pivot, source], MinCE(temperatures=t), lengths(pivot), names=("pivot", "a")
        )
        for t in ({}, {"a": 2.0, "b": 9.0})
    )
    np.testing.assert_array_equal(plain.weights, hot.weights)
    np.testing.assert_array_equal(plain.topk.ids, hot.topk.ids)
    np.testing.assert_array_equal(hot.topk.logprobs, temper(source.topk, 2.0).logprobs)
    np.testing.assert_array_equal(plain.topk.logprobs, source.topk.logprobs)


def test_a_gated_row_is_a_mixture_and_others_are_the_pivot_s():
    pivot = make_scored(0, [3], label_logprob=[-1, -2, -1], vocabulary=9)
    source = make_scored(1, [3], label_logprob=[-2, -1, -0.5], vocabulary=9)
    fused = fuse([pivot, source], [pivot, source], Gate(unit="nats_per_token", margin=0.75, weight=0.25))
    assert fused.weights.tolist() == [[1, 0.75, 1], [0, 0.25, 0]]
    dense = 0.75 * scatter(pivot.topk, 9) + 0.25 * scatter(source.topk, 9)
    got = scatter(fused.topk, 9)
    np.testing.assert_allclose(got[1][got[1] > 0], dense[1][got[1] > 0], rtol=5e-3)
    np.testing.assert_allclose(got[[0, 2]], scatter(pivot.topk, 9)[[0, 2]], rtol=2e-3)


def test_ties_go_to_the_pivot():
    pivot = make_scored(0, [2], label_logprob=[-1, -1])
    source = make_scored(1, [2], label_logprob=[-1, -1])
    assert fuse([pivot, source], [pivot, source], MinCE()).weights[0].tolist() == [1, 1]


def test_per_turn_takes_turns_apart_and_a_missing_turn_never_wins():
    pivot = make_scored(0, [4], label_logprob=[-1, -1, -1, -1], turn=[1, 1, 3, 3])
    source = make_scored(1, [2], label_logprob=[-0.1, -0.1], turn=[3, 3])
    own = source.tokens
    source = moved(source, own.begin + 2, own.end + 2)  # where the pivot's rows of turn 3 are
    aligned = make_scored(1, [4], label_logprob=[-0.1] * 4, turn=[1, 1, 3, 3])
    fused = fuse([pivot, aligned], [pivot, source], MinCE(per="turn"))
    assert fused.weights[1].tolist() == [0, 0, 1, 1]


def test_per_token_uses_the_aligned_scores():
    pivot = make_scored(0, [3], label_logprob=[-1, -2, -1])
    aligned = make_scored(1, [3], label_logprob=[-2, -1, np.nan], present=[True, True, False])
    other_rows = make_scored(2, [5], label_logprob=[-9] * 5)
    fused = fuse([pivot, aligned], [pivot, other_rows], MinCE(per="token"))
    assert fused.weights[1].tolist() == [0, 1, 0] and not fused.fallback.any()


def test_unaligned_rows_fall_back_to_the_pivot_and_are_counted():
    pivot = make_scored(0, [3], label_logprob=[-1, -1, -1])
    source = make_scored(1, [3], label_logprob=[-0.5] * 3, present=[True, False, True])
    fused = fuse([pivot, source], [pivot, source], MinCE())
    assert fused.fallback.tolist() == [False, True, False]
    np.testing.assert_array_equal(fused.topk.ids[1], pivot.topk.ids[1])
    np.testing.assert_array_equal(fused.topk.logprobs[1], pivot.topk.logprobs[1])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), temperature=st.floats(0.05, 20))
def test_a_mixture_is_the_weighted_sum_of_its_distributions(seed, temperature):
    vocabulary, k = 9, 4
    models = [make_scored(seed + m, [3, 2], k=k, vocabulary=vocabulary) for m in range(3)]
    fused = fuse(models, models, MeanCE(temperature=temperature))
    np.testing.assert_allclose(fused.weights.sum(0), 1, rtol=1e-5)
    dense = sum(w[:, None] * scatter(t.topk, vocabulary) for t, w in zip(models, fused.weights, strict=True))
    got = scatter(fused.topk, vocabulary)
    kept = got > 0
    np.testing.assert_allclose(got[kept], dense[kept], rtol=5e-3)
    np.testing.assert_allclose(got.sum(1) + np.exp(fused.topk.tail.astype(np.float64)), 1, atol=2e-3)
    # What was left out is never larger than what was kept.
    assert (np.where(kept, -1, dense).max(1) <= np.where(kept, dense, 9).min(1) + 1e-3).all()


def row(masses, tail, label_logprob=-1.0):
    """A one-row capture with given masses, stored as captures are."""
    return make_scored(0, [1], label_logprob=[label_logprob])._replace(
        topk=TopK(
            ids=np.arange(len(masses), dtype=np.int32)[None],
            logprobs=np.log([masses]).astype(np.float16),
            tail=np.log([tail]).astype(np.float16),
            present=np.ones(1, bool),
        )
    )


@pytest.mark.parametrize("tail", [7e-5, 1e-9, 1e-25, 0.3])
def test_a_mixture_adds_the_stored_tails(tail):
    """By hand: equal scores weigh 1/2 each, so the tail is (tail + 3 tail) / 2; 1 - sum of fp16 masses is noise below 1e-3."""
    rest = (1 - tail) / 3
    one, two = row([rest, rest, rest], tail), row([rest, rest, rest], 3 * tail)
    mixed = fuse([one, two], [one, two], MeanCE()).topk
    assert np.exp(mixed.tail.astype(np.float64))[0] == pytest.approx(2 * tail, rel=0.02)


def test_a_mixture_of_many_rows_loses_no_small_tail():
    rng = np.random.default_rng(0)
    rest = rng.dirichlet(np.ones(4), 500) * (1 - 7e-5)
    topk = TopK(
        ids=np.tile(np.arange(4, dtype=np.int32), (500, 1)), logprobs=np.log(rest).astype(np.float16),
        tail=np.full(500, np.log(7e-5), np.float16), present=np.ones(500, bool),
    )  # fmt: skip
    models = [make_scored(s, [500], label_logprob=[-1] * 500)._replace(topk=topk) for s in range(2)]
    tails = np.exp(fuse(models, models, MeanCE()).topk.tail.astype(np.float64))
    np.testing.assert_allclose(tails, 7e-5, rtol=5e-3)


def test_what_a_narrower_mixture_cuts_off_joins_its_tail():
    """By hand: tokens {0: .6, 1: .3} + .1 and {2: .5, 3: .4} + .1 mix to {0: .3, 2: .25} + .15 + .2 + .1."""
    one, two = row([0.6, 0.3], 0.1), row([0.5, 0.4], 0.1)
    two = two._replace(topk=replace(two.topk, ids=two.topk.ids + 2))
    mixed = fuse([one, two], [one, two], MeanCE()).topk
    assert mixed.ids.tolist() == [[0, 2]]
    np.testing.assert_allclose(np.exp(mixed.logprobs.astype(float)), [[0.3, 0.25]], rtol=2e-3)
    assert np.exp(float(mixed.tail[0])) == pytest.approx(0.45, rel=2e-3)


def test_a_cold_mixture_is_min_ce():
    models = [make_scored(s, [2, 2, 2]) for s in range(3)]
    cold = fuse(models, models, MeanCE(temperature=1e-4)).weights
    np.testing.assert_allclose(cold, fuse(models, models, MinCE()).weights, atol=1e-3)


def test_rows_that_were_compared_are_marked():
    pivot = make_scored(0, [3], label_logprob=[-1, -1, -1])
    source = make_scored(1, [2], label_logprob=[-1, -1])
    source = moved(source, source.tokens.begin + 1, source.tokens.end + 1)
    aligned = make_scored(1, [3], label_logprob=[np.nan, -1, -1], present=[False, True, True])
    for per in ("conversation", "turn", "token"):
        assert fuse([pivot, aligned], [pivot, source], MinCE(per=per)).shared.tolist() == [False, True, True]


def test_fall_back_keeps_the_sum():
    weights, missing = fall_back(
        np.array([[0.25, 0.5], [0.75, 0.5]], np.float32), np.array([[True, True], [False, True]])
    )
    assert weights.tolist() == [[1, 0.5], [0, 0.5]] and missing.tolist() == [True, False]


def test_combine_adds_equal_ids_and_ignores_empty_slots():
    ids, mass, cut = combine(np.array([[5, 3, 5, 0]]), np.array([[0.2, 0.5, 0.4, 0.0]], np.float32), 3)
    assert ids.tolist() == [[5, 3, 0]]
    np.testing.assert_allclose(mass, [[0.6, 0.5, 0]], rtol=1e-6)
    assert cut.tolist() == [0]


def test_combine_says_what_it_cut_off():
    ids, mass, cut = combine(np.array([[5, 3, 5, 1]]), np.array([[0.2, 0.5, 0.4, 1e-9]]), 1)
    assert ids.tolist() == [[5]] and mass[0] == pytest.approx([0.6])
    assert cut[0] == pytest.approx(0.5 + 1e-9, abs=1e-15)


def scatter(topk, vocabulary):
    dense = np.zeros((topk.rows, vocabulary))
    for row in range(topk.rows):
        for token, logprob in zip(topk.ids[row], topk.logprobs[row].astype(np.float64), strict=True):
            if np.isfinite(logprob):
                dense[row, token] += np.exp(logprob)
    return dense
