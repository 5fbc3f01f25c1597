"""The tensor of the pivot that each change of an adapter is made on, and the errors of those that do not fit."""

import re

import numpy as np
import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.config import read_settings
from fusionchat.merge.inputs.adapters.file import open_weights, read_contents
from fusionchat.merge.inputs.adapters.ground import Ground
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from tests.merge.folders import adapter, save
from tests.merge.inputs.sources import numbered, read

EMBEDDING, HEAD, PROJECTION = "model.embed_tokens.weight", "lm_head.weight", "model.layers.0.q_proj.weight"
TENSORS = {
    EMBEDDING: torch.arange(12.0).reshape(6, 2), PROJECTION: torch.ones(2, 2), "model.norm.weight": torch.ones(2),
    "model.layers.0.codes.weight": torch.ones(2, 2, dtype=torch.int32),
}  # fmt: skip
FACTORS = {
    "model.layers.0.q_proj.lora_A.weight": torch.ones(2, 2),
    "model.layers.0.q_proj.lora_B.weight": torch.ones(2, 2),
}


@pytest.fixture
def ground(tmp_path):
    """A function that puts an adapter with these tensors beside a tied pivot, or one that stores its head."""
    closing = []

    def get(tensors=FACTORS, *, head=False, tied=True, **config):
        held = {**TENSORS, **({HEAD: TENSORS[EMBEDDING].clone()} if head else {})}
        settings = {"model_type": "llama", "vocab_size": 6, "tie_word_embeddings": tied}
        pivot = open_checkpoint(save(tmp_path / f"p{len(closing)}", held, config=settings))
        folder = adapter(
            tmp_path / f"a{len(closing)}", {f"base_model.model.{n}": t for n, t in tensors.items()}, **config
        )
        file = open_weights(folder, False)
        closing.append((pivot, file))
        return Ground(read_settings(folder), read_contents(file), pivot, lambda: None)

    yield get
    for pivot, file in closing:
        pivot.close()
        file.close()


def test_a_change_is_made_on_the_pivot_s_tensor_or_on_the_change_before(ground):
    made = ground()
    found, base = made.find("language_model." + PROJECTION)
    assert found == PROJECTION and base is made.pivot.tensors[PROJECTION]
    made.changed[PROJECTION] = changed = numbered(2, 2)
    assert made.find(PROJECTION) == (PROJECTION, changed)


def test_a_tied_head_is_the_embedding_until_it_is_changed(ground):
    made = ground()
    assert made.find(HEAD, rows=6) == (HEAD, made.pivot.tensors[EMBEDDING])
    made.changed[HEAD] = changed = numbered(6, 2)
    assert made.find(HEAD, rows=7) == (HEAD, changed)


def test_a_head_with_fewer_rows_is_another_one(ground):
    with pytest.raises(MergeError, match=r"changes lm_head\.weight, which the pivot does not have"):
        ground().find(HEAD, rows=2)


def test_a_pivot_with_a_head_of_its_own_lacks_others(ground):
    with pytest.raises(MergeError, match=r"score\.weight, which the pivot does not have"):
        ground(tied=False).find("score.weight")


@pytest.mark.parametrize(
    ("name", "config", "words", "do"),
    [
        ("model.layers.9.q_proj.weight", {}, "layers.9.q_proj.weight, which the pivot does not", "own base model as"),
        ("model.layers.9.w", {"base_model_name_or_path": "org/base"}, "model.layers.9.w", r"own base model \(org/base\)"),
        ("model.layers.0.codes.weight", {}, "stores quantized", "unquantized"),
        ("model.layers.0.q_proj.bias", {}, "has no bias there", "own base model"),
        ("score.0.weight", {"modules_to_save": ["score"]}, "modules_to_save holds score.0.weight", "without it"),
    ],
)  # fmt: skip
def test_changes_that_do_not_fit_are_named(ground, name, config, words, do):
    with pytest.raises(MergeError, match=words) as caught:
        ground(**config).find(name)
    assert re.search(do, caught.value.do) and caught.value.where.endswith("adapter_model.safetensors")


def test_what_is_one_parameter_until_it_is_changed(ground):
    made = ground(head=True)
    assert made.is_shared(EMBEDDING) and made.is_shared(HEAD) and not made.is_shared(PROJECTION)
    made.changed[HEAD] = numbered(6, 2)
    assert not made.is_shared(EMBEDDING)
    assert ground().is_shared(HEAD) and not ground(head=True, tied=False).is_shared(EMBEDDING)


def test_what_peft_took_from_a_tied_head_is_taken_from_the_embedding_too(ground):
    """OLoRA of rank 1 at scale 0.5: half of the weights' projection on their first column goes."""
    made = ground(head=True)
    left = made.take_from_both(made.pivot.tensors[HEAD], "first columns", 1, 0.5)
    assert made.changed == {EMBEDDING: left, HEAD: left} and made.how == {EMBEDDING: "stored", HEAD: "stored"}
    whole = TENSORS[EMBEDDING].double().numpy()
    first = whole[:, :1] / np.linalg.norm(whole[:, 0])
    np.testing.assert_allclose(read(left), whole - 0.5 * first @ (first.T @ whole), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "tensors", "as_one"),
    [
        ({"ensure_weight_tying": True, "modules_to_save": ["embed_tokens"]}, FACTORS, True),
        ({"ensure_weight_tying": True}, {"lm_head.lora_A.weight": torch.ones(2, 2)}, True),
        ({"ensure_weight_tying": True}, FACTORS, False),
        ({"modules_to_save": ["embed_tokens"]}, FACTORS, False),
    ],
)
def test_peft_ties_what_it_was_told_to_tie(ground, config, tensors, as_one):
    assert ground(tensors, **config).trains_tied_as_one() == as_one


def test_tensors_with_a_row_for_each_token(ground):
    made = ground()
    assert made.is_vocabulary(EMBEDDING) and made.is_vocabulary(HEAD)
    assert not made.is_vocabulary(PROJECTION) and not made.is_vocabulary("model.norm.weight")


def test_the_adapter_s_file_is_blamed(ground):
    made = ground()
    error = made.lacks("use_dora", "lora_magnitude_vector")
    assert str(error).startswith("use_dora is set, but the file lacks lora_magnitude_vector")
    assert error.where == str(made.contents.file.path) and error.do == "save the adapter again with peft"
