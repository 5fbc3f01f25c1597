"""YAML: what people mean by it, and errors with their line."""

import math

import pytest

from fusionchat.errors import RecipeError
from fusionchat.yaml import parse_mergekit, parse_value, parse_yaml, to_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-6", 5e-6),
        ("1E5", 1e5),
        ("+.5", 0.5),
        ("2.", 2.0),
        ("on", "on"),
        ("No", "No"),
        ("yes", "yes"),
        ("true", True),
        ("012", 12),
        ("0x1F", 31),
        ("12:30", "12:30"),
        ("2026-11-28", "2026-11-28"),
        ("~", None),
        ("[1, '2']", [1, "2"]),
    ],
)
def test_plain_values_are_what_yaml_1_2_says(text, value):
    read = parse_value(text, where="--set x")
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"(?s)key 'a' is given twice.*r.yaml, line 3, column 1"),
        ("a:\n  b: 1\n  b: 1\n", r"(?s)key 'b' is given twice.*r.yaml, line 3, column 3"),
        ("a: {b: 1, b: 1}\n", r"(?s)key 'b' is given twice.*r.yaml, line 1, column 11"),
        ("a: 1\nb: c: d\n", r"(?s)not YAML: mapping values are not allowed here.*r.yaml, line 2, column 5"),
        (
            "a: !!python/object:os.system x",
            r"(?s)could not determine a constructor.*r.yaml, line 1, column 4",
        ),
        ("a: 1\n---\nb: 2\n", r"(?s)another document.*r.yaml, line 2, column 1"),
        ("a: \0", r"(?s)not YAML.*r.yaml"),
        ("- 1", "A recipe must be a mapping"),
        ("", "A recipe must be a mapping"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_column(text, message):
    with pytest.raises(RecipeError, match=message):
        parse_yaml(text, name="r.yaml")


def test_mergekit_s_booleans_are_yaml_1_1_s_and_its_numbers_are_numbers():
    text = "normalize: on\nmask: 'on'\nweight: 1e-5\nfilter: No\nint8_mask: YES\n---\n- off\n"
    assert parse_mergekit(text, name="m.yaml") == [
        {"normalize": True, "mask": "on", "weight": 1e-5, "filter": False, "int8_mask": True},
        [False],
    ]
    with pytest.raises(RecipeError, match=r"(?s)key 'a' is given twice.*m.yaml, line 2"):
        parse_mergekit("a: 1\na: 2\n", name="m.yaml")


def test_what_is_written_is_read_the_same_by_yaml_1_1_and_1_2():
    value = {
        "z": 5e-6,
        "a": [1e20, 0.1, math.inf, 3],
        "word": "on",
        "No": None,
        "text": "ä: x # y",
        "day": "2026-11-28",
        "number": "012",
        "lines": "a\nb\n",
        "deep": {"x": [], "y": {}, "z": True},
    }
    text = to_yaml(value)
    assert parse_yaml(text, name="") == value and list(parse_yaml(text, name="")) == list(value)
    assert parse_mergekit(text, name="") == [value]
    assert "z: 5.0e-06\n" in text and "- 1.0e+20\n" in text and "word: 'on'\n" in text and "ä" in text
