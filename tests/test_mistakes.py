"""The mistakes in a YAML file, in a reader's words: a recipe's here, a mergekit file's in merge/mergekit/test_schema.py."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusionchat.mistakes import SHOWN_MISTAKES, explain
from fusionchat.recipe.schema import BRANCHES, Recipe

FULL = {
    "name": "x", "pivot": "p", "sources": {"a": "m"},
    "corpus": {"train": "t.jsonl", "validation": 0.1, "test": 0.1},
}  # fmt: skip


def said(**changes):
    """What is said of a recipe with these changes, line by line, without the title."""
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(FULL | changes)
    title, *lines = explain(caught.value, Recipe.model_json_schema(), BRANCHES).splitlines()
    assert title == ("There is a mistake:" if len(lines) == 1 else "There are mistakes:")
    return [line.strip() for line in lines]


def test_a_recipe_without_mistakes_is_accepted():
    assert Recipe.model_validate(FULL).name == "x"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"distill": {"epohcs": 3}}, "distill.epohcs: there is no such key (did you mean 'epochs'?)"),
        ({"distill": {"xyz": 3}}, "distill.xyz: there is no such key"),
        ({"distill": {"epochs": -1}}, "distill.epochs: must be greater than 0, not -1"),
        ({"distill": {"epochs": "three"}}, "distill.epochs: must be a number, not 'three'"),
        ({"distill": {"batch_size": 2.5}}, "distill.batch_size: must be a whole number, not 2.5"),
        ({"distill": {"label_weight": 2}}, "distill.label_weight: must be at most 1, not 2"),
        ({"distill": 3}, "distill: must be a mapping, not 3"),
        ({"runtime": {"gradient_checkpointing": "maybe"}}, "runtime.gradient_checkpointing: must be true or false, not 'maybe'"),
        ({"runtime": {"device": "gpu"}}, "runtime.device: must be auto, cpu, cuda, cuda:N or mps, not 'gpu'"),
        ({"merge": {"method": "varm", "powr": 2}}, "merge.powr: there is no such key (did you mean 'power'?)"),
        ({"merge": {"power": 2}}, "merge: say which method it is for: {method: NAME, ...}"),
        ({"fuse": {"method": "min_ce", "per": "word"}}, "fuse.per: must be 'conversation', 'turn' or 'token', not 'word'"),
        ({"align": {"vocabulary": {"method": "exact", "x": 1}}}, "align.vocabulary.x: there is no such key"),
        ({"pivot": {"tokenizer": "t"}}, "pivot.model: this key is missing"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_path(changes, line):
    assert said(**changes) == [line]


def test_a_method_that_is_not_there_may_be_misspelt():
    (line,) = said(merge="vram")
    assert line.startswith("merge: there is no method 'vram' (did you mean 'varm'?); there are ")


def test_a_name_that_yaml_reads_as_a_number_is_to_be_quoted():
    assert said(sources={3: "m"}) == ["sources.3: a name is text: write '3' in quotes"]


def test_many_mistakes_are_counted():
    lines = said(distill={f"a{n}": n for n in range(SHOWN_MISTAKES + 2)})
    assert len(lines) == SHOWN_MISTAKES + 1 and lines[-1] == "and 2 more"


class One(BaseModel):
    model_config = ConfigDict(extra="forbid")
    method: Literal["one"] = "one"
    size: int = 1


class Two(BaseModel):
    model_config = ConfigDict(extra="forbid")
    method: Literal["two"] = "two"
    width: int = 1


class Whole(BaseModel):
    part: One | Two
    tagged: Annotated[One | Two, Field(discriminator="method")] = One()


def test_only_the_branch_that_is_meant_is_spoken_of():
    """An undiscriminated union: pydantic lists what is wrong with every branch."""
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(
            {"part": {"method": "two", "widht": 3}, "tagged": {"method": "two", "width": "x"}}
        )
    text = explain(caught.value, Whole.model_json_schema())
    assert "widht: there is no such key" in text and "size" not in text and "'one'" not in text
    assert "tagged.width: must be a whole number, not 'x'" in text
