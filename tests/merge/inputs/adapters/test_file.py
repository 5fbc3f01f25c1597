"""An adapter's weight file: which tensors are factors, copies and rows, and which are left out or refused."""

import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.file import is_adapter, open_weights, plain_name, read_contents
from tests.merge.folders import adapter, save

A, B = torch.ones(2, 4), torch.ones(6, 2)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("base_model.model.model.layers.0.q.lora_A.weight", "model.layers.0.q.lora_A.weight"),
        ("module.base_model.model.lm_head.weight", "lm_head.weight"),
        ("base_model.model._orig_mod.model.norm.weight", "model.norm.weight"),
        (
            "_fsdp_wrapped_module.base_model.model.model._checkpoint_wrapped_module.norm.weight",
            "model.norm.weight",
        ),
        ("model.layers.0.q.lora_A.weight", "model.layers.0.q.lora_A.weight"),
    ],
)
def test_what_wrappers_put_into_names_is_left_out(name, plain):
    assert plain_name(name) == plain


@pytest.fixture
def contents(tmp_path):
    """A function that reads an adapter with these tensors; ``base_model.model.`` is put before their names."""
    files = []

    def get(tensors):
        held = {f"base_model.model.{name}": tensor.clone() for name, tensor in tensors.items()}
        files.append(open_weights(adapter(tmp_path / f"a{len(files)}", held), False))
        return read_contents(files[-1])

    yield get
    for file in files:
        file.close()


def test_factors_are_sorted_by_module_and_kind(contents):
    found = contents({
        "h.0.q.lora_A.weight": A, "h.0.q.lora_B.weight": B, "h.0.q.lora_B.bias": B[:, 0],
        "h.0.q.lora_magnitude_vector": B[:, 0], "h.1.k.lora_A.default.weight": A, "h.1.k.lora_B.default.weight": B,
        "wte.lora_embedding_A": A, "wte.lora_embedding_B": B, "h.2.q.lora_diag": A[:, 0],
    })  # fmt: skip
    assert {name: sorted(held) for name, held in found.modules.items()} == {
        "h.0.q": ["A", "B", "bias", "magnitude_vector"], "h.1.k": ["A", "B"], "wte": ["embedding_A", "embedding_B"],
        "h.2.q": ["diag"],
    }  # fmt: skip
    assert found.replaced == {} and found.rows == {}
    assert found.modules["h.0.q"]["A"].shape == (2, 4)


def test_copies_take_the_place_of_the_base_s_tensors(contents):
    found = contents({
        "lm_head.modules_to_save.default.weight": A, "lm_head.original_module.weight": B, "norm.weight": B[:, 0],
        "h.0.q.base_layer.weight": A, "h.0.q.lora_A.weight": A,
    })  # fmt: skip
    assert sorted(found.replaced) == ["h.0.q.weight", "lm_head.weight", "norm.weight"]
    assert found.replaced["lm_head.weight"].shape == A.shape


def test_of_two_copies_the_trained_one_counts(contents):
    """What the module holds itself, then the trained copy, then the base layer beside the factors."""
    one, two, three = torch.ones(1, 4), torch.ones(2, 4), torch.ones(3, 4)
    names = {"e.weight": one, "e.modules_to_save.weight": two, "e.base_layer.weight": three}
    assert contents(names).replaced["e.weight"].shape == (1, 4)
    del names["e.weight"]
    assert contents(names).replaced["e.weight"].shape == (2, 4)
    del names["e.modules_to_save.weight"]
    assert contents(names).replaced["e.weight"].shape == (3, 4)


def test_trained_rows_and_what_is_needed_in_training_only(contents):
    found = contents({
        "embed.token_adapter.trainable_tokens_delta": A, "embed.token_adapter.trainable_tokens_original": A,
        "embed.token_adapter.base_layer.weight": B, "q.lora_monteclora_sampler.x": A,
    })  # fmt: skip
    assert list(found.rows) == ["embed"] and list(found.replaced) == ["embed.weight"] and found.modules == {}


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"q.lora_A.one.weight": A, "q.lora_A.two.weight": A}, "two adapters"),
        ({"q.lora_C.weight": A}, "cannot merge .*q.lora_C.weight"),
        ({"q.lora_A.bias": A[0]}, "cannot merge .*q.lora_A.bias"),
        ({"e.token_adapter.other": A}, "cannot merge the adapter.s tensor"),
        ({"q.original_module.weight": A}, "no trained tensor"),
    ],
)
def test_what_cannot_be_merged_is_named(contents, tensors, words):
    with pytest.raises(MergeError, match=words):
        contents(tensors)


def test_an_adapter_has_no_model_beside_it(tmp_path):
    lora = adapter(tmp_path / "lora", {"q.lora_A.weight": A})
    assert is_adapter(lora)
    (lora / "config.json").write_text("{}")
    assert is_adapter(lora)
    assert not is_adapter(save(tmp_path / "model", {"w": A}))
    save(lora, {"w": A})
    assert not is_adapter(lora)
    assert not is_adapter(tmp_path / "nothing")


def test_weights_that_cannot_be_opened(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    with pytest.raises(MergeError, match="has no weights"):
        open_weights(folder, True)
    torch.save({"q.lora_A.weight": A}, folder / "adapter_model.bin")
    with pytest.raises(MergeError, match="pickle, which can run code"):
        open_weights(folder, False)
    opened = open_weights(folder, True)
    assert opened.path.name == "adapter_model.bin"
    assert list(read_contents(opened).modules) == ["q"]
    opened.close()
    (folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(MergeError, match="empty"):
        open_weights(folder, False)
