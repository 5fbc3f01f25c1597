"""A model in a recipe."""

import pytest
from pydantic import ValidationError

from fusionchat.models.settings import ModelSpec


def test_one_word_is_the_model():
    assert ModelSpec.model_validate("owner/name") == ModelSpec(model="owner/name", template="own")


@pytest.mark.parametrize(
    "wrong", [{"model": "m", "thinking": "keep it"}, {"tokenizer": "t"}, {"model": "m", "teacher": "x"}]
)
def test_what_is_not_known_is_refused(wrong):
    with pytest.raises(ValidationError):
        ModelSpec.model_validate(wrong)


@pytest.mark.parametrize("name", ["messages", "add_generation_prompt", "not a name"])
def test_variables_that_the_template_is_given_anyway_cannot_be_set(name):
    assert ModelSpec(model="m", template_variables={"enable_thinking": False}).template_variables
    with pytest.raises(ValidationError):
        ModelSpec(model="m", template_variables={name: 1})
