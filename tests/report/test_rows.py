from dataclasses import replace

import numpy as np
import pytest

from fusionchat.evaluate.scores import Scores
from fusionchat.evaluate.t_distribution import critical, degrees
from fusionchat.report.as_json import headline_json
from fusionchat.report.rows import Trained, make_rows
from tests.report.sample import BITS, MATCH, METRICS, models, report, scored

BYTES = np.array([100, 200, 300, 400] * 5)


def scores(rate: float, right: bool | None = None) -> Scores:
    """A model that needs ``rate`` bits for every byte of every conversation."""
    return scored(BYTES * rate, BYTES, [""] * 20, [right] * 20, 7)


def trained(label, kind, *rates) -> Trained:
    return Trained(label, kind, tuple(scores(rate) for rate in rates))


def rows_of(*made: Trained, fused: str = "varm"):
    return {row.label: row for row in make_rows(made, fused, METRICS[:1])}


PIVOT = trained("pivot", "pivot", 2.0)
SFT = trained("SFT", "sft", 1.0, 1.02)  # S^2 = 0.0002
SOUP = trained("SFT soup", "soup", 1.005)


def test_every_seed_of_sft_has_a_row_and_their_mean_is_what_gains_are_over():
    rows = rows_of(PIVOT, SFT, SOUP, trained("varm", "merge", 0.9))
    assert list(rows) == ["pivot", "SFT seed 1", "SFT seed 2", "SFT", "SFT soup", "varm"]
    assert rows["SFT"].value(BITS).overall.value == pytest.approx(1.01)
    assert rows["varm"].gain(BITS).overall.value == pytest.approx(0.11)
    assert rows["varm"].gain(BITS, "soup").overall.value == pytest.approx(0.105)
    assert rows["SFT seed 1"].gain(BITS) is None and rows["SFT seed 1"].gain(BITS, "soup") is None
    assert rows["SFT"].gain(BITS) is None and rows["SFT soup"].gain(BITS, "soup") is None


def test_a_merge_of_one_seed_has_the_noise_of_an_sft_training():
    rows = rows_of(PIVOT, SFT, SOUP, trained("varm", "merge", 0.9))
    for gains in (rows["varm"].gain(BITS), rows["varm"].gain(BITS, "soup")):
        assert gains.overall.se == pytest.approx((0.0002 * (1 + 1 / 2)) ** 0.5)
        assert gains.overall.t == pytest.approx(critical(1))
    assert not rows["varm"].gain(BITS).overall.is_clear  # 12.7 standard errors are 0.22
    far = rows_of(PIVOT, SFT, SOUP, trained("varm", "merge", 0.7))
    assert far["varm"].gain(BITS).overall.is_clear


def test_the_pivot_has_no_noise_of_its_own_and_the_soup_none_beside_its_mean():
    rows = rows_of(PIVOT, SFT, SOUP, trained("varm", "merge", 0.9))
    for gains in (rows["pivot"].gain(BITS), rows["SFT soup"].gain(BITS), rows["SFT"].gain(BITS, "soup")):
        assert gains.overall.se == pytest.approx((0.0002 / 2) ** 0.5)
    assert rows["SFT soup"].gain(BITS).overall.value == pytest.approx(0.005)


def test_targets_trained_several_times_show_their_own_noise():
    rows = rows_of(PIVOT, SFT, SOUP, trained("varm", "merge", 0.9, 0.94, 0.92))  # S^2 = 0.0004
    gain = rows["varm"].gain(BITS).overall
    parts = 0.0004 / 3, 0.0002 / 2
    assert gain.value == pytest.approx(1.01 - 0.92)
    assert gain.se == pytest.approx(sum(parts) ** 0.5)
    assert degrees(gain.t) == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2), rel=1e-3)


def test_the_fused_model_s_seeds_show_the_noise_of_sft_trained_once():
    once = trained("SFT", "sft", 1.0)
    rows = rows_of(PIVOT, once, trained("varm", "merge", 0.9, 0.94), trained("linear", "merge", 0.9))
    assert rows["varm"].gain(BITS).overall.se == pytest.approx((0.0008 / 2 + 0.0008) ** 0.5)
    assert rows["varm"].gain(BITS).overall.t == pytest.approx(critical(1))  # two trainings tell of both sides
    assert rows["pivot"].gain(BITS).overall.se == pytest.approx(0.0008**0.5)
    assert rows["linear"].gain(BITS).overall.se == pytest.approx((2 * 0.0008) ** 0.5)
    assert rows["varm"].gain(BITS, "soup") is None


def test_one_training_of_everything_leaves_the_noise_unknown():
    rows = rows_of(PIVOT, trained("SFT", "sft", 1.0), trained("varm", "merge", 0.1))
    gain = rows["varm"].gain(BITS).overall
    assert gain.training_se is None and gain.t is None and not gain.is_clear
    assert list(rows) == ["pivot", "SFT", "varm"]


def test_without_sft_there_are_no_gains():
    rows = rows_of(PIVOT, trained("varm", "merge", 0.1, 0.2))
    assert rows["varm"].gain(BITS) is None and rows["varm"].value(BITS).overall.value == pytest.approx(0.15)


def test_exact_match_is_the_mean_share_of_the_trainings():
    sft = Trained("SFT", "sft", (scores(1.0, True), scores(1.0, False)))
    merge = Trained("varm", "merge", (scores(0.9, True),))
    rows = {row.label: row for row in make_rows((sft, merge), "varm", METRICS)}
    assert rows["SFT"].value(MATCH).overall.value == 0.5
    assert rows["varm"].gain(MATCH).overall.value == 0.5
    assert rows["varm"].gain(MATCH).overall.training_se == pytest.approx((0.5 * 1.5) ** 0.5)


def test_the_headline_in_json_holds_what_the_benchmark_reads():
    made = report()
    found, row = headline_json(made), made.row("varm")
    assert found["row"] == "varm"
    for over, gains in (("sft", row.gain(BITS)), ("soup", row.gain(BITS, "soup"))):
        gain = gains.overall
        assert (found[f"over_{over}"], found[f"se_{over}"]) == (gain.value, gain.se)
        assert found[f"se_{over}"] > found[f"sampling_se_{over}"]
        assert found[f"t_{over}"] == pytest.approx(critical(found[f"df_{over}"]), rel=1e-4)
        assert found[f"interval_{over}"] == list(gain.interval) and found[f"clear_{over}"] is True


def test_the_headline_in_json_has_no_error_where_the_training_noise_is_unknown():
    once = tuple(model._replace(runs=model.runs[:1]) for model in models() if model.kind != "soup")
    found = headline_json(replace(report(), rows=make_rows(once, "varm", METRICS), soup="", sft_seeds=1))
    assert found["over_sft"] > 0 and found["sampling_se_sft"] > 0
    assert found["se_sft"] is None and found["interval_sft"] is None and found["clear_sft"] is False
    assert found["over_soup"] is None and found["se_soup"] is None
