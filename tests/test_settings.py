"""The base of all settings, and what is said of names that nobody knows."""

from typing import ClassVar

import pytest
from pydantic import ValidationError

from fusionchat.settings import Frozen, Grown, Named, method_from_name, no_such, no_such_method, with_group


class Part(Named):
    short: ClassVar[str] = "model"
    model: str
    size: int = 3


def test_settings_are_frozen_and_know_their_keys():
    part = Part(model="a")
    with pytest.raises(ValidationError, match="frozen"):
        part.size = 4
    with pytest.raises(ValidationError, match="siez"):
        Part(model="a", siez=4)
    assert part == Part(model="a") and hash(part) == hash(Part(model="a"))


def test_defaults_are_checked_too():
    class Wrong(Frozen):
        size: int = "three"

    with pytest.raises(ValidationError):
        Wrong()


def test_one_word_is_short_for_a_part():
    assert Part.model_validate("a") == Part(model="a")
    assert Part.model_validate({"model": "a", "size": 4}).size == 4
    with pytest.raises(ValidationError):
        Part.model_validate(3)


def test_a_method_s_name_is_short_for_its_settings():
    assert method_from_name("varm") == {"method": "varm"}
    assert method_from_name({"method": "varm", "power": 2}) == {"method": "varm", "power": 2}


def test_a_pattern_needs_a_group():
    assert with_group("answer: (.*)") == "answer: (.*)"
    with pytest.raises(ValueError, match="needs a group"):
        with_group("answer: .*")
    with pytest.raises(ValueError, match="not a regular expression: "):
        with_group("answer: (")


def test_a_name_that_nobody_knows_may_be_misspelt():
    assert (
        no_such_method("vram", ["varm", "ties"])
        == "there is no method 'vram' (did you mean 'varm'?); there are varm, ties"
    )
    assert no_such("task", "x", ["likelihood"]) == "there is no task 'x'; there are likelihood"


class Older(Grown):
    later: ClassVar[tuple[str, ...]] = ("new", "other")
    old: int = 1
    new: str = "off"
    other: int = 0


def test_an_added_key_is_written_only_where_it_is_not_at_its_default():
    assert Older().model_dump() == {"old": 1} and Older(new="on").model_dump() == {"old": 1, "new": "on"}
    assert Older.model_validate_json(Older(new="on", other=3).model_dump_json()) == Older(new="on", other=3)
