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
