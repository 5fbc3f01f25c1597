"""Which tensors are a tied head and its embedding, and when they stay one."""

import numpy as np
import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.inputs import tied
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from fusionchat.merge.inputs.tied import (
    alike,
    head_name,
    settle,
    tied_names,
    untied,
    vocabulary_rows,
    with_head,
)
from tests.merge.folders import save
from tests.merge.inputs.sources import Memory, numbered
from tests.merge.models import SIZE

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TENSORS = {
    EMBEDDING: torch.arange(12.0).reshape(6, 2),
    "model.layers.0.table.weight": torch.ones(6, 2),
    "model.norm.weight": torch.ones(6),
}
TIED = {"model_type": "llama", "vocab_size": 6}


@pytest.fixture
def pivot(tmp_path):
    """A function that opens a pivot with a config and, if given, a head."""
    opened = []

    def get(config=TIED, head=None):
        tensors = TENSORS if head is None else {**TENSORS, HEAD: head}
        opened.append(open_checkpoint(save(tmp_path / f"m{len(opened)}", tensors, config=config)))
        return opened[-1]

    yield get
    for one in opened:
        one.close()


@pytest.mark.parametrize(
    ("config", "rows"),
    [({"vocab_size": 6}, 6), ({"text_config": {"vocab_size": 7}, "vocab_size": 6}, 7), ({}, None), ({"vocab_size": "6"}, None)],
)  # fmt: skip
def test_rows_of_the_vocabulary(config, rows):
    assert vocabulary_rows(config) == rows


def test_a_head_is_tied_where_it_is_not_stored_or_equal(pivot):
    same = TENSORS[EMBEDDING].clone()
    assert tied_names(pivot()) == (EMBEDDING,)
    assert tied_names(pivot(head=same)) == (EMBEDDING, HEAD)
    assert tied_names(pivot(head=same + 1)) == ()
    assert tied_names(pivot(head=same.half())) == ()
    assert tied_names(pivot({**TIED, "tie_word_embeddings": False})) == ()
    assert tied_names(pivot({**TIED, "text_config": {"vocab_size": 6, "tie_word_embeddings": False}})) == ()
    assert tied_names(pivot({"model_type": "llama"})) == ()


def test_tensors_alike_but_for_rounding(monkeypatch):
    monkeypatch.setattr(tied, "_STEP", 5)
    one = numbered(3, 4, first=1)
    assert alike(one, Memory(one.values.copy()))
    assert alike(one, Memory(one.values * np.float32(1 + 5e-7)))
    assert not alike(one, Memory(one.values * np.float32(1 + 1e-4)))
    assert alike(one, Memory(one.values * np.float32(1 + 1e-4)), rounding=1e-3)
    last = one.values.copy()
    last[-1, -1] += 1
    assert not alike(one, Memory(last))
    assert not alike(one, Memory(one.values.reshape(4, 3)))


def test_a_config_with_a_head_of_its_own():
    assert untied({"vocab_size": 6}) == {"vocab_size": 6, "tie_word_embeddings": False}
    inner = {"text_config": {"tie_word_embeddings": True}}
    assert untied(inner) == {"text_config": {"tie_word_embeddings": False}, "tie_word_embeddings": False}


def test_a_pivot_gets_a_head_equal_to_the_embedding(pivot):
    made = with_head(pivot(), EMBEDDING, HEAD)
    assert made.tensors[HEAD] is made.tensors[EMBEDDING] and set(made.tensors) == {*TENSORS, HEAD}


ONE, OTHER = numbered(6, 2), numbered(6, 2, first=9)


@pytest.mark.parametrize("how", ["stored", "rows"])
def test_a_tied_embedding_that_was_trained_is_the_head_too(pivot, how):
    changed = {EMBEDDING: ONE}
    assert settle(changed, {EMBEDDING: how}, pivot(), ensured=False) is None
    assert changed == {EMBEDDING: ONE}
    changed = {EMBEDDING: ONE}
    assert settle(changed, {EMBEDDING: how}, pivot(head=TENSORS[EMBEDDING].clone()), ensured=False) is None
    assert changed == {EMBEDDING: ONE, HEAD: ONE}


@pytest.mark.parametrize("how", ["copy", "factors"])
def test_copies_and_factors_are_tied_only_if_peft_was_told_to(pivot, how):
    stored = pivot(head=TENSORS[EMBEDDING].clone())
    assert settle({EMBEDDING: ONE}, {EMBEDDING: how}, stored, ensured=False) == HEAD
    changed = {EMBEDDING: ONE}
    assert settle(changed, {EMBEDDING: how}, stored, ensured=True) is None and changed[HEAD] is ONE


def test_two_changes_are_one_where_they_are_equal(pivot):
    twin = Memory(ONE.values.copy())
    changed = {EMBEDDING: ONE, HEAD: twin}
    assert settle(changed, dict.fromkeys(changed, "copy"), pivot(), ensured=False) is None
    assert changed == {EMBEDDING: ONE}  # the pivot stores no head
    changed = {EMBEDDING: ONE, HEAD: OTHER}
    assert settle(changed, dict.fromkeys(changed, "copy"), pivot(), ensured=True) == HEAD
    assert changed == {EMBEDDING: ONE, HEAD: OTHER}


def test_what_is_not_tied_or_not_changed_is_left_alone(pivot):
    changed = {"model.norm.weight": ONE}
    assert settle(changed, {}, pivot(), ensured=False) is None and changed == {"model.norm.weight": ONE}
    loose = {EMBEDDING: ONE, HEAD: OTHER}
    apart = pivot({**TIED, "tie_word_embeddings": False}, head=TENSORS[EMBEDDING] + 1)
    assert settle(loose, dict.fromkeys(loose, "copy"), apart, ensured=False) is None
    assert loose == {EMBEDDING: ONE, HEAD: OTHER}


def test_the_name_of_a_head_that_is_not_stored(pivot):
    assert head_name(pivot({"model_type": "llama", **SIZE, "num_hidden_layers": 1})) == HEAD
    with pytest.raises(MergeError, match="whose name is not known"):
        head_name(pivot({"model_type": "of my own"}))
