from fusionchat.distill.schedule import label_weight_at


def test_on_a_straight_line_from_the_first_step_to_the_last():
    assert [label_weight_at(step, 5, first=0.5, last=0.9) for step in (0, 2, 4)] == [0.5, 0.7, 0.9]
    assert label_weight_at(1, 3, first=1.0, last=0.0) == 0.5


def test_without_a_last_one_or_with_one_step_it_stays():
    assert label_weight_at(3, 5, first=0.3, last=None) == 0.3
    assert label_weight_at(0, 1, first=0.3, last=0.9) == 0.3
