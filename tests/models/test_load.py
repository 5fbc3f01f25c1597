"""Models: what identifies them, where they are looked for, which template they use."""

import json

import pytest

from fusionchat.errors import MachineError, ModelError
from fusionchat.models.device import pick_device
from fusionchat.models.identity import identity, tokenizer_identity
from fusionchat.models.load import load_config, load_model, load_tokenizer, other_template
from fusionchat.models.ref import ModelRef, locate
from fusionchat.recipe.schema import load_recipe
from tests.tiny import copy_input
from tests.tokens.test_own_file import declared


def test_folders_are_relative_to_the_recipe_and_other_names_are_hub_ids(tmp_path):
    (tmp_path / "m").mkdir()
    assert locate("m", str(tmp_path), where="pivot.model") == str(tmp_path / "m")
    assert locate("org/name", str(tmp_path), where="pivot.model") == "org/name"
    for name in ("./none", "/none", "a/b/c"):
        with pytest.raises(ModelError, match=r"pivot\.model"):
            locate(name, str(tmp_path), where="pivot.model")


def test_weights_and_tokenizer_have_identities_of_their_own(tiny):
    copy_input(tiny)
    ref = load_recipe("recipe.yaml").refs()["pivot"]
    weights, words = identity(ref), tokenizer_identity(ref)
    assert (weights, words) == (identity(ref), tokenizer_identity(ref))

    path = tiny / "input/models/pivot/model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert identity(ref) != weights and tokenizer_identity(ref) == words

    config = tiny / "input/models/pivot/tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"note": 1}))
    assert tokenizer_identity(ref) != words


def test_large_files_are_told_apart_by_samples(tmp_path, monkeypatch):
    from fusionchat.models import identity as module

    monkeypatch.setattr(module, "WHOLE_HASH_BYTES", 100)
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(3_000_000))
    ref = ModelRef("m", str(tmp_path), str(tmp_path))
    before = identity(ref)
    path.write_bytes(bytes(2_999_999) + b"x")
    assert identity(ref) != before


def test_a_template_changes_the_tokenizers_identity_and_pivot_borrows(tiny):
    plain = load_recipe("recipe.yaml").refs()
    (tiny / "t.jinja").write_text("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
    given = load_recipe("recipe.yaml", ("sources.qwen.template=t.jinja",)).refs()
    borrowed = load_recipe("recipe.yaml", ("sources.qwen.template=pivot",)).refs()
    ids = [tokenizer_identity(refs["qwen"]) for refs in (plain, given, borrowed)]
    assert len(set(ids)) == 3
    assert other_template(plain["qwen"]) is None
    assert other_template(given["qwen"]) == (tiny / "t.jinja").read_text()
    assert other_template(borrowed["qwen"]) == load_tokenizer(plain["pivot"]).get_chat_template()


def test_what_cannot_be_loaded_is_named(tmp_path):
    import torch

    ref = ModelRef("source", str(tmp_path), str(tmp_path))
    for load in (load_tokenizer, lambda r: load_model(r, dtype=torch.float32, device=torch.device("cpu"))):
        with pytest.raises(ModelError, match="'source'") as error:
            load(ref)
        assert str(tmp_path) in str(error.value)


def test_an_adapter_that_is_given_as_a_model_is_named(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ModelError, match="'a' is an adapter, not a model") as error:
        load_config(ModelRef("a", str(tmp_path), str(tmp_path)))
    assert "`adapter:`" in str(error.value)


@pytest.mark.parametrize("name", ["cuda:99", "cuda:x", "gpu", "meta"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(MachineError, match=f"no device '{name}'"):
        pick_device(name)
    assert pick_device("cpu").type == "cpu"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_python_files_of_a_model_are_never_run_and_nobody_is_asked(tmp_path, monkeypatch, file):
    """As internlm2 and others publish them: an `auto_map` to files beside it, of a type that transformers has not."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    folder = declared(tmp_path / "m", "OwnTokenizer")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    kind = "AutoConfig" if file == "config.json" else "AutoTokenizer"
    held = json.loads((folder / file).read_text())
    owned = {
        "auto_map": {kind: "own.Own" if kind == "AutoConfig" else ["own.Own", None]},
        "model_type": "own",
    }
    (folder / file).write_text(json.dumps(held | owned))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    ref = ModelRef("s", str(folder), str(folder))
    if kind == "AutoConfig":
        with pytest.raises(ModelError, match="Python files that come with it"):
            load_config(ref)
    else:
        assert load_tokenizer(ref)("1212", add_special_tokens=False)["input_ids"]  # tokenizer.json says all
    assert not (tmp_path / "ran").exists()


def test_variables_of_a_template_change_the_tokenizers_identity_alone(tiny):
    plain = load_recipe("recipe.yaml").refs()["qwen"]
    given, other = (
        load_recipe("recipe.yaml", (f"sources.qwen.template_variables={value}",)).refs()["qwen"]
        for value in ("{enable_thinking: false}", "{enable_thinking: true}")
    )
    assert len({tokenizer_identity(ref) for ref in (plain, given, other)}) == 3
    assert identity(plain) == identity(given)
