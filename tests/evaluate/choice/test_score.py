import numpy as np
import pytest

from fusionchat.evaluate.choice.score import Choice, common_begin, option_bits


def spans(*ends: int, begin: int = 0):
    """Of tokens that end at these bytes and follow each other."""
    return np.array([begin, *ends[:-1]]), np.array(ends)


def test_options_are_scored_from_where_they_begin():
    both = [spans(2, 4, 6), spans(2, 4, 5, 8)]
    assert common_begin(both, 4) == 4
    assert option_bits([np.array([9.0, 9, 1]), np.array([9.0, 9, 2, 3])], both, 4) == [1.0, 5.0]


def test_a_token_that_begins_in_what_is_given_is_charged_to_all_options():
    """One option's first token takes in the byte before it: the other option is charged for that byte, too."""
    merged, apart = spans(3, 6), spans(3, 4, 6)
    assert common_begin([merged, apart], 4) == 3
    assert option_bits([np.array([9.0, 4]), np.array([9.0, 1, 2])], [merged, apart], 4) == [4.0, 3.0]


def test_the_common_begin_is_found_through_a_chain_of_tokens():
    assert common_begin([spans(2, 5, 9), spans(3, 4, 9), spans(1, 3, 6, 9)], 4) == 0
    assert common_begin([spans(4, 9), spans(4, 9)], 4) == 4
    assert common_begin([spans(3, 6, begin=-1)] * 2, 2) == -1  # a token with a byte of the template
    assert common_begin([spans(5, begin=0)] * 2, 0) == 0


def test_the_option_with_the_fewest_bits_per_byte_is_chosen_not_the_shortest():
    assert Choice((10.0, 12.0), (5, 8), right=1).best == [1]
    assert Choice((10.0, 12.0), (5, 8), right=1).credit == 1
    assert Choice((10.0, 12.0), (5, 8), right=0).credit == 0


@pytest.mark.parametrize(("right", "credit"), [(0, 0.5), (1, 0), (2, 0.5)])
def test_equal_options_share_the_credit(right, credit):
    found = Choice((4.0, 5.0, 8.0), (2, 2, 4), right)
    assert found.best == [0, 2] and found.credit == credit
