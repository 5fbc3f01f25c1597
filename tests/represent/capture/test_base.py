"""Backends: chosen by a word or a mapping, unknown ones refused by name, part of a capture's fingerprint."""

import pytest
from pydantic import TypeAdapter, ValidationError

from fusionchat.discover import discover
from fusionchat.represent import capture
from fusionchat.represent.capture.base import Capturer
from fusionchat.represent.capture.endpoint import Endpoint
from fusionchat.represent.capture.transformers import Transformers
from fusionchat.represent.capture.vllm import Vllm
from fusionchat.stages.represent import Settings

ANY = TypeAdapter(capture.AnyCapturer)


@pytest.mark.parametrize("given", ["transformers", {"backend": "transformers"}, {}])
def test_a_word_a_mapping_or_nothing(given):
    assert ANY.validate_python(given) == Transformers() == capture.DEFAULT


@pytest.mark.parametrize("given", ["transfomers", {"backend": "transfomers"}])
def test_an_unknown_backend_is_refused_with_those_that_are_there(given):
    with pytest.raises(
        ValidationError,
        match=r"no backend 'transfomers' \(did you mean 'transformers'\?\); there are endpoint, transformers, vllm",
    ):
        ANY.validate_python(given)
    with pytest.raises(ValidationError):
        ANY.validate_python({"backend": "transformers", "device": 3})


def test_devices_are_numbers_in_a_recipe():
    made = ANY.validate_python({"device_map": "auto", "max_memory": {0: "70GB", "cpu": "100GB"}})
    assert made.max_memory == {"0": "70GB", "cpu": "100GB"}


@pytest.mark.parametrize(("value", "words"), [(5, "must be a backend's name"), (None, "must be a backend's name"),
                                              ({"backend": ["vllm"]}, "there is no backend")])  # fmt: skip
def test_what_names_no_backend_is_refused(value, words):
    with pytest.raises(ValidationError, match=words):
        ANY.validate_python(value)


def test_backends_are_found_by_the_default_of_their_field():
    assert discover(capture.__name__, capture.__path__, Capturer, key="backend") == {
        "endpoint": Endpoint,
        "transformers": Transformers,
        "vllm": Vllm,
    }


def test_it_is_in_the_settings_of_a_capture_there_and_back():
    settings = Settings(model="a", represent={}, capture="transformers", rows=9)
    assert settings.model_dump(mode="json")["capture"] == {
        "backend": "transformers", "quantization": None, "device_map": None, "max_memory": None,
    }  # fmt: skip
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings
