"""A source is added to a recipe, and every other byte stays."""

import pytest

from fusionchat.errors import RecipeError
from fusionchat.recipe.edit import insert_source, with_source
from fusionchat.recipe.schema import load_recipe

ENTRY = "new: {model: ./m, template: pivot}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("sources:\n  b:\n    model: ./b\n", "sources:\n  b:\n    model: ./b\n  NEW\n"),
        ("sources:\n  b: {}\n\n# data\ncorpus: x\n", "sources:\n  b: {}\n  NEW\n\n# data\ncorpus: x\n"),
        ("sources:  # s\n    b: {}\n    # c: {}\ncorpus: x", "sources:  # s\n    b: {}\n    # c: {}\n    NEW\ncorpus: x"),
        ("sources:\n  b: {}", "sources:\n  b: {}\n  NEW"),
        ("sources:\n  b: {}\n  # last", "sources:\n  b: {}\n  # last\n  NEW"),
        ("sources: &s\n  b: {}\nx: *s\n", "sources: &s\n  b: {}\n  NEW\nx: *s\n"),
        ("m: &m {model: x}\nsources:\n  b: *m\nx: 1\n", "m: &m {model: x}\nsources:\n  b: *m\n  NEW\nx: 1\n"),
        ("sources: {b: {model: x}}\nx: 1\n", "sources: {b: {model: x}, NEW}\nx: 1\n"),
        ("sources: {b: x, # one\n  c: y, # two\n}\n", "sources: {b: x, # one\n  c: y, NEW, # two\n}\n"),
        ("m: &m x\nsources: {b: *m}\n", "m: &m x\nsources: {b: *m, NEW}\n"),
        ("sources: {}\n", "sources: {NEW}\n"),
        ('{"sources": {"b": {"model": "x"}}, "x": 1}', '{"sources": {"b": {"model": "x"}, NEW}, "x": 1}'),
        ("sources:\r\n  b: {}\r\nx: 1\r\n", "sources:\r\n  b: {}\r\n  NEW\r\nx: 1\r\n"),
        ("sources:\n  b:\n    m: |\n      x\n\n      y\nx: 1\n", "sources:\n  b:\n    m: |\n      x\n\n      y\n  NEW\nx: 1\n"),
        ("---\nsources:\n  b: {}\n...\n", "---\nsources:\n  b: {}\n  NEW\n...\n"),
        ("s: &s {b: x}\nsources: *s\n", None),
    ],
)  # fmt: skip
def test_the_entry_goes_last_and_nothing_else_changes(before, after):
    assert with_source(before, ENTRY) == (after and after.replace("NEW", ENTRY))


HEAD = "name: x\npivot: P\n"


@pytest.fixture
def folder(tmp_path):
    for name in ("b", "m", "it's"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "sources", ["sources:\n  b: {model: ./b}  # one\n  # two\n", "sources: {b: {model: ./b}}\n"]
)
def test_the_file_is_the_old_one_with_the_source(folder, sources, newline):
    path = folder / "r.yaml"
    text = (HEAD + sources + "corpus: {train: t}  # end").replace("\n", newline)
    path.write_bytes(text.encode())
    insert_source(path, "new=./it's", "pivot")
    entry = "new: {model: './it''s', template: 'pivot'}"
    now = path.read_bytes().decode()
    assert entry in now and load_recipe(path).sources["new"].model.endswith("it's")
    assert list(load_recipe(path).sources) == ["b", "new"]
    assert now.replace(f"  {entry}{newline}", "").replace(f", {entry}", "") == text


def test_sources_from_elsewhere_are_refused_with_the_line_to_add(folder):
    path = folder / "r.yaml"
    path.write_text(HEAD + "sources:\n  b: &s {model: ./b}\n  c: *s\ncorpus: {train: t}\n")
    insert_source(path, "new=./m", "pivot")
    assert list(load_recipe(path).sources) == ["b", "c", "new"]
    with pytest.raises(RecipeError, match="already"):
        insert_source(path, "new=./m", "pivot")
    with pytest.raises(RecipeError, match="NAME=MODEL"):
        insert_source(path, "new", "pivot")
