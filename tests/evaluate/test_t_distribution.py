import pytest

from fusionchat.evaluate import t_distribution as student


@pytest.mark.parametrize(
    ("df", "t"),
    [  # Table of the t distribution, NIST/SEMATECH e-Handbook 1.3.6.7.2, column 0.975
        (1, 12.706),
        (2, 4.303),
        (3, 3.182),
        (4, 2.776),
        (10, 2.228),
        (30, 2.042),
        (100, 1.984),
        (1e6, 1.960),
    ],
)
def test_critical_values_are_those_of_the_tables(df, t):
    assert student.critical(df) == pytest.approx(t, abs=6e-4)


def test_two_degrees_of_freedom_have_a_closed_form():
    # P(|T| > t) = 1 - t / sqrt(2 + t^2)
    for t in (0.1, 1.0, 4.0, 30.0):
        assert student.outside(t, 2) == pytest.approx(1 - t / (2 + t * t) ** 0.5, rel=1e-9)


def test_between_whole_numbers_it_falls():
    values = [student.critical(df) for df in (0.5, 1, 1.5, 2, 2.5, 40, 400)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("df", [0.7, 1, 2.4, 19, 300])
def test_degrees_undo_critical(df):
    assert student.degrees(student.critical(df)) == pytest.approx(df, rel=1e-4)


def test_no_interval_is_worth_more_than_the_normal_distribution_s():
    assert student.degrees(1.9) == student.degrees(1.95996) == student.LARGEST


def test_the_incomplete_beta_function_at_its_ends_and_mirrored():
    assert student.incomplete_beta(0, 2, 3) == 0 and student.incomplete_beta(1, 2, 3) == 1
    # I_x(1, 1) = x; I_x(2, 1) = x^2; I_x(a, b) + I_{1-x}(b, a) = 1
    assert student.incomplete_beta(0.3, 1, 1) == pytest.approx(0.3)
    assert student.incomplete_beta(0.9, 2, 1) == pytest.approx(0.81)
    mirrored = student.incomplete_beta(0.2, 3, 0.5) + student.incomplete_beta(0.8, 0.5, 3)
    assert mirrored == pytest.approx(1)
