"""Which settings of the alignment are refused."""

import pytest
from pydantic import TypeAdapter, ValidationError

from fusionchat.align.settings import AlignSettings, BytePrefix, Exact, MinEdit, Statistics


def test_settings_are_checked():
    with pytest.raises(ValueError, match="min_mass"):
        AlignSettings(min_mass=1.5)
    with pytest.raises(ValueError, match="k must be at least 1"):
        AlignSettings(k=0)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_bounds_themselves_are_taken(share):
    assert AlignSettings(min_mass=share, k=1).min_mass == share


@pytest.mark.parametrize("kind", [BytePrefix, Exact, MinEdit, Statistics])
def test_a_recipe_names_the_method(kind):
    read = TypeAdapter(AlignSettings).validate_python({"vocabulary": {"method": kind().method}})
    assert read.vocabulary == kind()


@pytest.mark.parametrize(
    "wrong", [{"vocabulary": {"method": "spelling"}}, {"minmass": 0.1}, {"positions": "words"}]
)
def test_what_is_not_there_is_an_error(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(AlignSettings).validate_python(wrong)
