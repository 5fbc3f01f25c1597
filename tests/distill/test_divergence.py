"""When a loss has grown too much."""

from fusionchat.distill.divergence import Divergence


def steps_until(losses):
    watch = Divergence()
    return next((step for step, loss in enumerate(losses) if watch.has(loss)), None)


def test_it_is_the_median_of_ten_steps_above_twice_the_first_ten_and_a_nat():
    start = [1.5] * 9 + [90.0]  # one odd step says nothing
    assert steps_until([*start, *[4.0] * 100]) is None  # 2 x 1.5 + 1
    assert steps_until([*start, *[1.5] * 5, *[4.01] * 20]) == 10 + 5 + 5  # of the last ten, six are above
    assert steps_until([*start, *[1.5, 99.0] * 50]) == 10 + 9
    assert steps_until([*start, *[1.5, 1.5, 99.0] * 50]) is None
    assert steps_until([0.0] * 10 + [0.9] * 100) is None


def test_nothing_is_said_of_the_first_steps():
    assert steps_until([1.0, 100.0] * 5) is None
    assert Divergence().limit is None
