"""Numbers as text."""

import pytest

from fusionchat.units import counted, duration, rate, size, weight_text


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (12345, "12,345 jobs")]
)
def test_a_count_and_its_noun(count, said):
    assert counted(count, "job") == said


def test_nouns_whose_plural_is_another_word():
    assert (counted(1, "entry", "entries"), counted(3, "entry", "entries")) == ("1 entry", "3 entries")
    assert counted(1, "end of turn", "ends of turns") == "1 end of turn"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.44, "0.4 s"), (9.96, "10 s"), (12.3, "12 s"), (59.7, "1 min 00 s"), (72, "1 min 12 s"), (185, "3 min 05 s"),
     (3599.6, "1 h 00 min"), (7640, "2 h 07 min"), (100_000, "1 d 03 h")],
)  # fmt: skip
def test_durations(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(None, "?"), (999, "999 B"), (2.5e9, "2 GB"), (1.2e13, "12.0 TB")]
)
def test_sizes(count, shown):
    assert size(count) == shown


@pytest.mark.parametrize(
    ("a_second", "unit", "shown"),
    [(13.2, "steps", "13 steps/s"), (1.26, "steps", "1.3 steps/s"), (0.1, "shards", "6 shards/min"),
     (0.01, "merges", "0.6 merges/min"), (2400, "steps", "2,400 steps/s"), (3.2e8, "bytes", "320 MB/s")],
)  # fmt: skip
def test_rates(a_second, unit, shown):
    assert rate(a_second, unit) == shown


def test_a_weight_has_as_few_digits_as_name_it_and_no_other():
    assert [weight_text(weight) for weight in (0.5, 1.0, 0.1234567)] == ["0.5", "1", "0.1234567"]
