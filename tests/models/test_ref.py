"""Which model a recipe means: where it is, where its tokenizer is, and the revision of what is on the hub."""

import pytest

from fusionchat.errors import ModelError
from fusionchat.hub import Place
from fusionchat.models.files import file_of
from fusionchat.models.ref import ModelRef, locate, made_of, resolve
from fusionchat.models.settings import ModelSpec


def test_a_revision_is_of_what_is_on_the_hub(tmp_path):
    ref = ModelRef("m", "org/m", str(tmp_path), revision="v2")
    assert ref.place == Place("org/m", revision="v2")
    assert ref.tokenizer_place == Place(str(tmp_path), tmp_path)


def test_a_path_that_is_not_there_is_an_error_and_a_folder_is_relative_to_the_recipe(tmp_path):
    (tmp_path / "org/m").mkdir(parents=True)
    assert locate("org/m", str(tmp_path), where="pivot") == str(tmp_path / "org/m")
    assert locate("org/n", str(tmp_path), where="pivot") == "org/n"
    with pytest.raises(ModelError, match=r"no such model folder: \./org/n") as error:
        locate("./org/n", str(tmp_path), where="pivot.model")
    assert error.value.where == "pivot.model"


def test_a_file_of_a_folder_is_there_or_not(tmp_path):
    (tmp_path / "tokenizer.json").touch()
    here = Place(str(tmp_path), tmp_path)
    assert file_of(here) == tmp_path / "tokenizer.json" and file_of(here, "chat_template.json") is None


def test_variables_of_a_template_are_lent_with_it_and_part_of_the_tokenizer():
    specs = {
        "pivot": ModelSpec(model="org/p", template_variables={"enable_thinking": False, "day": [1, "x"]}),
        "borrows": ModelSpec(model="org/b", template="pivot", template_variables={"day": None}),
        "own": ModelSpec(model="org/p"),
    }
    refs = resolve(specs, ".")
    assert refs["pivot"].variables == {"enable_thinking": False, "day": [1, "x"]}
    assert refs["borrows"].variables == {"enable_thinking": False, "day": None}
    assert refs["own"].variables == {}


def test_a_gguf_file_is_a_model_and_one_that_is_not_there_is_an_error(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/x.gguf").touch()
    assert locate("sub/x.gguf", str(tmp_path), where="pivot.model") == str(tmp_path / "sub/x.gguf")
    assert locate("org/name:x.gguf", str(tmp_path), where="pivot.model") == "org/name:x.gguf"
    ref = ModelRef("m", "org/name:x.gguf", str(tmp_path / "sub/x.gguf"), revision="v2")
    assert ref.place == Place("org/name", revision="v2", file="x.gguf")
    assert ref.tokenizer_place == Place(str(tmp_path / "sub"), tmp_path / "sub", file="x.gguf")
    for missing in ("sub/y.gguf", "y.gguf", "C:\\models\\x.gguf", "C:/models/x.gguf"):
        with pytest.raises(ModelError, match="no such GGUF file") as error:
            locate(missing, str(tmp_path), where="pivot.model")
        assert error.value.where == "pivot.model"


def test_what_was_made_of_the_pivot_is_a_model_or_the_pivot_with_an_adapter(tmp_path):
    pivot = ModelRef("pivot", "org/p", "org/p", revision="v2", template="{{ messages }}")
    place = str(tmp_path)
    model = made_of(pivot, tmp_path, "sft")
    assert model == ModelRef("sft", place, place, template=pivot.template)
    (tmp_path / "adapter_config.json").write_text("{}")
    adapted = made_of(pivot, tmp_path, "sft")
    assert adapted == ModelRef("sft", "org/p", place, "v2", template=pivot.template, adapter=place)
