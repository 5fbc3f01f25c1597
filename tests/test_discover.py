"""Kinds are found in the files of a folder."""

import sys

import pytest

from fusionchat.discover import discover

FILES = {
    "base": "class Kind:\n    method: str\n",
    "one": "from kinds_{n}.base import Kind\nclass One(Kind):\n    method = 'one'\nclass Half(Kind):\n    pass\n",
    "two": "from kinds_{n}.one import One\nclass Two(One):\n    method = 'another'\nclass Stranger:\n    method = 'x'\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that writes a package with these files and finds its kinds."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def get(files, **options):
        name = f"kinds_{len(made)}"
        made.append(name)
        folder = tmp_path / name
        for file, text in {"__init__": "", **files}.items():
            path = folder / f"{file}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("{n}", str(len(made) - 1)))
        base = __import__(f"{name}.base", fromlist=["Kind"]).Kind
        return discover(name, [str(folder)], base, **options)

    yield get
    for name in [module for module in sys.modules if module.startswith("kinds_")]:
        del sys.modules[name]


def test_subclasses_with_a_name_are_found_sorted(package):
    found = package(FILES)
    assert list(found) == ["another", "one"] and found["one"].__name__ == "One"


def test_the_key_may_be_another_and_pydantics_default_counts(package):
    files = {
        "base": "from pydantic import BaseModel\nclass Kind(BaseModel):\n    pass\n",
        "one": "from kinds_{n}.base import Kind\nclass One(Kind):\n    backend: str = 'one'\n",
    }
    assert [kind.__name__ for kind in package(files, key="backend").values()] == ["One"]


def test_folders_count_too(package):
    found = package(
        {
            **FILES,
            "deep/__init__": "from kinds_{n}.base import Kind\nclass Deep(Kind):\n    method = 'deep'\n",
        }
    )
    assert list(found) == ["another", "deep", "one"]


def test_two_kinds_of_one_name_are_a_mistake(package):
    with pytest.raises(AssertionError, match="two kinds are called one"):
        package(
            {**FILES, "three": "from kinds_{n}.base import Kind\nclass Three(Kind):\n    method = 'one'\n"}
        )
