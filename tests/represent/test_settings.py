"""Settings of the capture: the defaults, and what is refused."""

import pytest
from pydantic import ValidationError

from fusionchat.represent.settings import RepresentSettings


def test_defaults_and_bounds():
    assert RepresentSettings().model_dump() == {
        "k": 10,
        "dtype": "auto",
        "batch_tokens": "auto",
        "logprobs": "float16",
        "compression": "none",
    }
    for wrong in (
        {"k": 0},
        {"k": 1025},
        {"batch_tokens": 0},
        {"batch_tokens": "many"},
        {"dtype": "float64"},
        {"top": 1},
        {"logprobs": "int8"},
        {"compression": "gzip"},
    ):
        with pytest.raises(ValidationError):
            RepresentSettings(**wrong)


@pytest.mark.parametrize("value", ["lots", 0, 2.5, True, None])
def test_one_mistake_is_said_once(value):
    with pytest.raises(ValidationError, match="1 validation error") as caught:
        RepresentSettings(batch_tokens=value)
    assert f"must be auto or a whole number of at least 1, not {value!r}" in str(caught.value)
    assert RepresentSettings(batch_tokens=1).batch_tokens == 1
