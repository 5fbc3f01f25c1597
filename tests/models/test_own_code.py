"""Python files that come with a model."""

import json
import shutil

import pytest
import torch

from fusionchat.errors import ModelError
from fusionchat.hub import find
from fusionchat.models.head import Head
from fusionchat.models.identity import identity
from fusionchat.models.own_code import describe as own_code
from fusionchat.models.own_code import named, python_files, require_pinned, trusted
from tests.models.placed import logits, opened, ref
from tests.small import add_own_code


def test_own_code_runs_only_where_it_is_allowed_and_is_part_of_the_identity(small, tmp_path):
    folder = add_own_code(shutil.copytree(small / "m", tmp_path / "own"))
    one = ref(folder, own_code=True)
    model = opened(one)
    assert type(model).__name__ == "ToyForCausalLM"
    assert torch.equal(logits(model), logits(opened(ref(small / "m"))))
    Head.of(model)
    assert own_code(one) == "its own Python files run: configuration_toy.py, modeling_toy.py"
    with pytest.raises(ModelError, match="only with `trust_remote_code`"):
        opened(ref(folder))
    before, without = identity(one), identity(ref(folder))
    (folder / "modeling_toy.py").write_text((folder / "modeling_toy.py").read_text() + "\n# x\n")
    assert identity(one) != before and identity(ref(folder)) == without


def test_own_code_of_the_hub_is_pinned_and_of_one_repository(tmp_path):
    for revision in (None, "main", "a" * 39):
        with pytest.raises(ModelError, match="may change from one day to the next") as error:
            require_pinned(find("org/m", revision=revision), "sources.m")
        assert error.value.where == "sources.m.trust_remote_code"
    require_pinned(find("org/m", revision="a" * 40), "sources.m")
    require_pinned(find(str(tmp_path)), "sources.m")
    mapped = {"auto_map": {"AutoConfig": "other/repo--configuration.C"}}
    (tmp_path / "config.json").write_text(json.dumps(mapped))
    with pytest.raises(ModelError, match=r"other/repo--configuration\.C"):
        require_pinned(find(str(tmp_path)), "sources.m")


def test_classes_are_named_by_both_configurations(tmp_path):
    for file, mapped in {
        "config.json": {"AutoConfig": "configuration_x.C", "AutoModel": "modeling_x.M"},
        "tokenizer_config.json": {"AutoTokenizer": ["tokenization_x.T", None]},
    }.items():
        (tmp_path / file).write_text(json.dumps({"auto_map": mapped}))
    place = find(str(tmp_path))
    assert named(place) == ["configuration_x.C", "modeling_x.M", "tokenization_x.T"]
    (tmp_path / "config.json").write_text("{")
    assert named(place) == ["tokenization_x.T"]
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": 3}')
    assert named(place) == []


def test_what_runs_is_said(tmp_path):
    one = ref(tmp_path, own_code=True)
    assert "no Python files of it are on this machine" in own_code(one)
    (tmp_path / "deep").mkdir()
    for name in ("b.py", "a.py", "deep/c.py", "notes.txt"):
        (tmp_path / name).write_text("")
    assert python_files(tmp_path) == ["a.py", "b.py", "deep/c.py"]
    assert "its configuration names none" in own_code(one)
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "a.C"}}')
    assert own_code(one) == "its own Python files run: a.py, b.py, deep/c.py"


def test_only_what_is_allowed_is_trusted(tmp_path):
    place = find(str(tmp_path))
    assert trusted(ref(tmp_path, own_code=True), place) and not trusted(ref(tmp_path), place)
