"""What a sampling may be."""

import pytest
from pydantic import ValidationError

from fusionchat.answer.settings import RoundsSettings, Sampling


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"max_new_tokens": 0}])
def test_values_that_draw_nothing_are_refused(wrong):
    with pytest.raises(ValidationError):
        Sampling(**wrong)


def test_at_the_defaults_nothing_changes_the_model_s_distribution():
    assert Sampling().model_dump() == {
        "temperature": 1.0,
        "top_p": 1.0,
        "max_new_tokens": 512,
        "turns": "last",
    }


def test_a_number_of_rounds_is_short_for_all_their_settings():
    assert RoundsSettings.model_validate(3) == RoundsSettings(n=3)
    assert RoundsSettings(temperature=0.5, share=1).sampling == Sampling(temperature=0.5)
    for wrong in (0, {"share": 0}, {"share": 1.1}, {"epochs": 0}, {"rounds": 2}):
        with pytest.raises(ValidationError):
            RoundsSettings.model_validate(wrong)
