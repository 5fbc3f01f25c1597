import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.evaluate import noise
from fusionchat.evaluate.noise import Gain, Side, gain
from fusionchat.evaluate.statistics import Estimate, proportion_gain, ratio
from fusionchat.evaluate.t_distribution import critical
from fusionchat.evaluate.tasks.exact_match import EXACT_MATCH
from fusionchat.evaluate.tasks.likelihood import BITS_PER_BYTE

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, conversations: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bits of two related models and bytes: rates differ between conversations, lengths vary widely."""
    rng = np.random.default_rng(seed)
    bytes_C = rng.integers(20, 400, conversations)
    rate_C = rng.gamma(20, 0.05, conversations)
    a_C = bytes_C * rate_C + rng.normal(0, 3, conversations)
    b_C = bytes_C * rate_C * 0.97 + rng.normal(0, 3, conversations)
    return a_C, b_C, bytes_C


def fixed(model_C, base_C, bytes_C, domains=()) -> noise.Gains:
    """The gain of one model that was not trained over another."""
    return BITS_PER_BYTE.gains(Side(model_C), Side(base_C), bytes_C, domains or [""] * len(bytes_C))


def bootstrap(estimate, n: int, rounds: int = 4000) -> float:
    rng = np.random.default_rng(7)
    return float(np.std([estimate(rng.integers(0, n, n)) for _ in range(rounds)]))


def test_sampling_error_agrees_with_the_paired_bootstrap_and_is_far_below_the_unpaired_one():
    model_C, base_C, bytes_C = sample(2)
    found = fixed(model_C, base_C, bytes_C).overall
    expected = bootstrap(lambda i: (base_C[i] - model_C[i]).sum() / bytes_C[i].sum(), len(bytes_C))
    unpaired = np.hypot(ratio(model_C, bytes_C).se, ratio(base_C, bytes_C).se)
    assert found.se == found.sampling_se == pytest.approx(expected, rel=0.08)
    assert found.se < unpaired / 3 and found.training_se == 0


@given(SEEDS)
def test_gains_are_differences_of_values_and_change_sign_with_the_sides(seed):
    a_C, b_C, bytes_C = sample(seed, 15)
    domains = ["x", "y", "z"] * 5
    there, back = fixed(a_C, b_C, bytes_C, domains), fixed(b_C, a_C, bytes_C, domains)
    for name, one in there.domains.items():
        rows = np.array(domains) == name
        values = [ratio(bits[rows], bytes_C[rows]).value for bits in (a_C, b_C)]
        assert one.value == pytest.approx(values[1] - values[0])
        assert one.value == pytest.approx(-back.domains[name].value)
        assert one.se == pytest.approx(back.domains[name].se)


@given(SEEDS)
def test_a_model_against_itself_gains_nothing_and_is_not_clear(seed):
    bits_C, _, bytes_C = sample(seed, 9)
    found = fixed(bits_C, bits_C, bytes_C).overall
    assert (found.value, found.se) == (0, 0) and not found.is_clear


def test_one_conversation_has_no_known_error():
    found = fixed(np.array([3.0]), np.array([4.0]), np.array([2])).overall
    assert found == Gain(0.5, None, 1) and found.interval is None and not found.is_clear


def test_hand_computed_training_noise():
    """Every conversation shifts alike, so seeds have no noise of their own by conversation: S^2 is all of training's."""
    sizes_C = np.full(4, 10.0)
    base_C = np.array([10.0, 12.0, 14.0, 16.0])
    sft_RC = np.stack([base_C, base_C + 2.0])  # 1.3 and 1.5 bits per byte: S^2 = 0.02
    fused_C = base_C - 1.0
    sides = Side(fused_C, 1.0, sft_RC), Side(sft_RC.mean(axis=0), 0.5, sft_RC)
    found = BITS_PER_BYTE.gains(*sides, sizes_C, [""] * 4).overall
    assert found.value == pytest.approx(0.2)
    assert found.sampling_se == pytest.approx(0)
    assert found.se == found.training_se == pytest.approx((0.02 * (1 + 1 / 2)) ** 0.5)
    assert found.t == pytest.approx(critical(1)) and not found.is_clear
    assert found.interval == pytest.approx((0.2 - 12.7062 * 0.173205, 0.2 + 12.7062 * 0.173205), rel=1e-4)


def test_two_errors_of_three_seeds_are_not_clear():
    """Three seeds leave two degrees of freedom: 4.30 standard errors, not two."""
    sizes_C = np.full(20, 100.0)
    base_C = np.linspace(80, 120, 20)
    sft_RC = np.stack([base_C - 1, base_C, base_C + 1])  # S = 0.01 bits per byte
    baseline = Side(base_C, 1 / 3, sft_RC)
    error = 0.01 * (4 / 3) ** 0.5

    def of(errors: float) -> Gain:
        return BITS_PER_BYTE.gains(
            Side(base_C - 100 * errors * error, 1.0, sft_RC), baseline, sizes_C, [""] * 20
        ).overall

    assert not of(4.2).is_clear and of(4.4).is_clear and of(-4.4).is_clear
    assert of(4.2).value / of(4.2).se == pytest.approx(4.2)


def test_one_seed_everywhere_says_nothing_is_clear():
    base_C = np.linspace(80, 120, 20)
    rng = np.random.default_rng(0)
    fused_C = base_C - 50 + rng.normal(0, 1, 20)
    found = BITS_PER_BYTE.gains(Side(fused_C, 1.0), Side(base_C, 1.0), np.full(20, 100), [""] * 20)
    overall = found.overall
    assert overall.value > 100 * overall.se and overall.se == overall.sampling_se
    assert overall.training_se is None and overall.t is None
    assert overall.interval is None and not overall.is_clear


def test_models_that_nobody_trained_here_have_the_other_side_s_noise_only():
    sizes_C, base_C = np.full(12, 10.0), np.linspace(5, 9, 12)
    sft_RC = np.stack([base_C, base_C + 1.0, base_C + 2.0])  # S^2 = 0.01
    found = BITS_PER_BYTE.gains(
        Side(base_C), Side(sft_RC.mean(axis=0), 1 / 3, sft_RC), sizes_C, [""] * 12
    ).overall
    assert found.training_se == pytest.approx((0.01 / 3) ** 0.5)


def test_each_side_has_its_own_spread_where_both_were_trained_several_times():
    sizes_C, base_C = np.full(12, 10.0), np.linspace(5, 9, 12)
    sft_RC = np.stack([base_C, base_C + 1.0])  # S^2 = 0.005
    fused_RC = np.stack([base_C, base_C + 2.0, base_C - 2.0])  # S^2 = 0.04
    sides = Side(fused_RC.mean(axis=0), 1 / 3, fused_RC), Side(sft_RC.mean(axis=0), 1 / 2, sft_RC)
    found = BITS_PER_BYTE.gains(*sides, sizes_C, [""] * 12).overall
    parts = 0.005 / 2, 0.04 / 3
    assert found.se == pytest.approx(sum(parts) ** 0.5)
    welch = sum(parts) ** 2 / (parts[0] ** 2 / 1 + parts[1] ** 2 / 2)
    assert found.t == pytest.approx(critical(welch))


def test_equal_numbers_of_trainings_have_all_degrees_of_freedom():
    assert noise.degrees_of_freedom([(1.0, 2), (3.0, 2)]) == 4
    assert noise.degrees_of_freedom([(1.0, 1), (1.0, 4)]) == pytest.approx(4 / 1.25)
    assert noise.degrees_of_freedom([(5.0, 2)]) == 2


def test_the_t_of_a_mixed_variance_is_between_those_of_its_parts():
    assert noise.mixed_t(1.97, 2, 1.0) == pytest.approx(critical(2))
    assert noise.mixed_t(1.97, 2, 0.0) == 1.97
    assert noise.mixed_t(2.0, 2, 0.5) == pytest.approx(2 + (critical(2) - 2) * 0.5**1.25)
    assert noise.mixed_t(2.0, 1, 0.5) == pytest.approx((2 + critical(1)) / 2)  # Cochran and Cox's


def test_a_spread_s_own_part_is_half_the_sampling_variance_of_pairs():
    rng = np.random.default_rng(3)
    bytes_C = rng.integers(20, 400, 30)
    runs_RC = bytes_C * rng.gamma(20, 0.05, 30) + rng.normal(0, 9, (4, 30))
    found = noise.spread(runs_RC, bytes_C)
    pairs = [(i, k) for i in range(4) for k in range(i)]
    halves = [ratio(runs_RC[i] - runs_RC[k], bytes_C).se ** 2 / 2 for i, k in pairs]
    assert found.own == pytest.approx(np.mean(halves))
    assert found.variance == pytest.approx(np.var(runs_RC.sum(axis=1) / bytes_C.sum(), ddof=1))
    assert found.df == 3


def null(rng: np.random.Generator, trainings: int, *, item: float, training: float) -> np.ndarray:
    """Bits of ``trainings`` of one recipe on 40 conversations: none is better than another but by chance."""
    bytes_C = np.linspace(40, 400, 40)
    shift_R1 = rng.normal(0, training, (trainings, 1))
    return bytes_C * (1.0 + np.sin(bytes_C) / 5 + shift_R1 + rng.normal(0, item, (trainings, 40)))


@pytest.mark.parametrize("fused", ["once", "as often as SFT"])
@pytest.mark.parametrize(("item", "training"), [(0.1, 0.001), (0.01, 0.05), (0.05, 0.02)])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_models_are_called_different_in_five_percent(seeds, item, training, fused):
    """2,000 experiments in which nothing is to be found; two standard errors would find 18 % with three seeds."""
    rng, sizes_C = np.random.default_rng(seeds), np.linspace(40, 400, 40)
    again = 1 if fused == "once" else seeds
    wrong = naive = 0
    for _ in range(2000):
        runs_RC = null(rng, seeds + again, item=item, training=training)
        sft_RC, fused_RC = runs_RC[:seeds], runs_RC[seeds:]
        known_RC = sft_RC if again == 1 else fused_RC
        model = Side(fused_RC.mean(axis=0), 1 / again, known_RC)
        baseline = Side(sft_RC.mean(axis=0), 1 / seeds, sft_RC)
        sampled = ratio(baseline.scores_C - model.scores_C, sizes_C)
        found = gain(sampled, model, baseline, sizes_C, shared=noise.one_noise(model, baseline))
        wrong += found.is_clear
        naive += abs(sampled.value) > 2 * sampled.se
    assert 0.03 <= wrong / 2000 <= 0.07
    if training > item / 10:
        assert naive / 2000 > 0.12  # what the errors of the sampling alone called clear


def test_what_recipes_do_differently_by_conversation_is_no_noise_of_training():
    """Two recipes that differ conversation by conversation, but not on average: sampling alone is at work."""
    rng, sizes_C, wrong = np.random.default_rng(4), np.full(40, 100.0), 0
    for _ in range(1000):
        sft_RC = 100 + rng.normal(0, 0.05, (3, 40)) * 100
        model_C = 100 + 30 * rng.normal(0, 1, 40)
        model, baseline = Side(model_C, 1.0, sft_RC), Side(sft_RC.mean(axis=0), 1 / 3, sft_RC)
        sampled = ratio(baseline.scores_C - model.scores_C, sizes_C)
        wrong += gain(sampled, model, baseline, sizes_C, shared=True).is_clear
    assert 0.03 <= wrong / 1000 <= 0.07


def test_exact_match_of_equal_models_is_called_different_in_five_percent():
    rng, wrong = np.random.default_rng(6), 0
    easy_C = rng.beta(2, 2, 60)
    for _ in range(1000):
        runs_RC = (rng.random((4, 60)) < easy_C).astype(float)
        sft_RC = runs_RC[:3]
        sides = Side(runs_RC[3], 1.0, sft_RC), Side(sft_RC.mean(axis=0), 1 / 3, sft_RC)
        wrong += EXACT_MATCH.gains(*sides, np.ones(60), [""] * 60).overall.is_clear
    assert 0.02 <= wrong / 1000 <= 0.07


def test_exact_match_gains_have_the_paired_error_of_their_sides():
    ours, theirs = np.array([1.0, 1, 0, 1, 0]), np.array([1.0, 0, 0, 0.5, 0.5])
    found = EXACT_MATCH.gains(Side(ours), Side(theirs), np.ones(5), [""] * 5).overall
    assert found[:3] == proportion_gain(ours, theirs)
    assert found.value == pytest.approx(0.2)


def test_domains_have_training_noise_of_their_own():
    sizes_C, base_C = np.full(8, 10.0), np.full(8, 12.0)
    moved_C = np.where(np.arange(8) < 4, 2.0, 0.0)  # seeds differ in the first domain only
    sft_RC = np.stack([base_C, base_C + moved_C])
    sides = Side(base_C, 1.0, sft_RC), Side(sft_RC.mean(axis=0), 0.5, sft_RC)
    found = BITS_PER_BYTE.gains(*sides, sizes_C, ["a"] * 4 + ["b"] * 4)
    assert found.domains["a"].training_se == pytest.approx((0.02 * 1.5) ** 0.5)
    assert found.domains["b"].training_se == 0


def test_clear_needs_enough_conversations():
    assert Gain(-2.1, 1.0, 10, 1.0, 0.0, 2.0).is_clear and not Gain(1.9, 1.0, 10, 1.0, 0.0, 2.0).is_clear
    assert not Gain(9.0, 1.0, 9, 1.0, 0.0, 2.0).is_clear
    assert not Gain(9.0, None, 99).is_clear and not Gain(9.0, 1.0, 99, 1.0).is_clear


def test_an_unknown_sampling_error_is_not_made_up():
    side = Side(np.ones(1))
    assert gain(Estimate(1.0, None, 1), side, side, np.ones(1), shared=True) == Gain(1.0, None, 1)
