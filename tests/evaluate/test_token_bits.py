import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from fusionchat.errors import ModelError
from fusionchat.evaluate import token_bits as likelihood


class Rendered(NamedTuple):
    input_ids: np.ndarray
    rows: np.ndarray


class PlainHead:
    """A head for models whose last layer is ``lm_head``; notes how many rows reach it."""

    def __init__(self, model):
        self.model, self.seen = model, []

    def hidden(self, input_ids, attention_mask):
        return self.model.base_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    def logits(self, hidden_NH):
        self.seen.append(len(hidden_NH))
        return self.model.lm_head(hidden_NH).float()


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config).eval()


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(1)
    return GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=16, n_layer=1, n_head=2, n_positions=64)).eval()


def corpus(count: int = 11) -> list[Rendered]:
    rng = np.random.default_rng(4)
    made = []
    for _ in range(count):
        length = int(rng.integers(3, 40))
        rows = np.flatnonzero(rng.random(length) < 0.5)
        made.append(Rendered(rng.integers(0, 61, length).astype(np.int32), rows[rows > 0].astype(np.int32)))
    return made


def per_conversation(function, model, rendered, **options):
    """Bits of each conversation from those of each token."""
    bits = function(model, rendered, names=[str(i) for i in range(len(rendered))], device="cpu", **options)
    return np.array([part.sum() for part in np.split(bits, np.cumsum([len(r.rows) for r in rendered])[:-1])])


def head_bits(model, rendered, **options):
    return per_conversation(likelihood.head_bits, model, rendered, **options)


def slow_bits(model, one: Rendered) -> float:
    """One conversation alone, the whole [L, V] table of log-probabilities."""
    with torch.no_grad():
        logits = model(torch.tensor(one.input_ids[None].astype(np.int64))).logits[0].double()
    table = torch.log_softmax(logits, -1)
    return -sum(float(table[r - 1, int(one.input_ids[r])]) for r in one.rows) / math.log(2)


@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.parametrize("batch_tokens", [1, 90, 10_000])
def test_bits_equal_the_slow_sum_whatever_the_batches(make, batch_tokens):
    model, rendered, seen = make(), corpus(), []
    bits = head_bits(PlainHead(model), rendered, batch_tokens=batch_tokens, progress=seen.append)
    assert bits.dtype == np.float64
    np.testing.assert_allclose(bits, [slow_bits(model, r) for r in rendered], rtol=2e-5)
    assert sum(seen) == len(rendered)


def test_only_supervised_rows_reach_the_head_in_chunks(monkeypatch):
    head, rendered = PlainHead(llama()), corpus()
    whole = head_bits(head, rendered, batch_tokens=200, progress=lambda _: None)
    assert sum(head.seen) == sum(len(r.rows) for r in rendered)
    monkeypatch.setattr(likelihood, "LOGITS", 61 * 3)
    head.seen.clear()
    chunked = head_bits(head, rendered, batch_tokens=200, progress=lambda _: None)
    assert max(head.seen) == 3
    np.testing.assert_allclose(chunked, whole, rtol=1e-6)


def test_a_conversation_without_supervised_tokens_costs_nothing():
    rendered = [Rendered(np.array([1, 2, 3], dtype=np.int32), np.zeros(0, dtype=np.int32)), *corpus(2)]
    bits = head_bits(PlainHead(llama()), rendered, batch_tokens=500, progress=lambda _: None)
    assert bits[0] == 0 and (bits[1:] > 0).all()
    alone = head_bits(PlainHead(llama()), rendered[:1], batch_tokens=500, progress=lambda _: None)
    assert alone.tolist() == [0.0]


def test_the_first_token_cannot_be_supervised():
    bad = Rendered(np.array([1, 2], dtype=np.int32), np.array([0], dtype=np.int32))
    with pytest.raises(AssertionError, match="first token"):
        head_bits(PlainHead(llama()), [bad], batch_tokens=9, progress=lambda _: None)


@pytest.mark.parametrize("make", [llama, gpt2])
def test_the_whole_path_from_a_model_in_training_mode(make):
    model, rendered = make(), corpus(5)
    expected = [slow_bits(model, r) for r in rendered]
    bits = per_conversation(
        likelihood.token_bits, model.train(), rendered, batch_tokens=99, progress=lambda _: None
    )
    np.testing.assert_allclose(bits, expected, rtol=2e-5)


def test_every_token_has_its_own_bits():
    model, rendered = llama(), corpus(3)
    bits = likelihood.head_bits(
        PlainHead(model), rendered, names="abc", device="cpu", batch_tokens=64, progress=lambda _: None
    )
    one = rendered[1]
    first = len(rendered[0].rows)
    with torch.no_grad():
        table = model(torch.tensor(one.input_ids[None].astype(np.int64))).logits[0].double().log_softmax(-1)
    expected = [-float(table[r - 1, int(one.input_ids[r])]) / math.log(2) for r in one.rows]
    np.testing.assert_allclose(bits[first : first + len(one.rows)], expected, rtol=2e-5)


class Spoilt(PlainHead):
    """A head with one value of its own in the column of one token."""

    def __init__(self, model, value, token):
        super().__init__(model)
        self.value, self.token = value, token

    def logits(self, hidden_NH):
        logits = super().logits(hidden_NH)
        logits[:, self.token] = self.value
        return logits


@pytest.mark.parametrize(("value", "label"), [("nan", 5), ("inf", 5), ("inf", 7), ("-inf", 7)])
def test_a_model_that_gives_no_finite_probability_is_an_error_that_names_the_conversation(value, label):
    """Token 7 has the value; -inf is an error only where the text has the token."""
    rows = np.array([1], dtype=np.int32)
    talks = [Rendered(np.array([1, 2], np.int32), rows[:0]), Rendered(np.array([3, label], np.int32), rows)]
    with pytest.raises(ModelError, match="no finite probability") as caught:
        likelihood.head_bits(
            Spoilt(llama(), float(value), 7), talks, names=["quiet", "said"], device="cpu", batch_tokens=64,
            progress=lambda _: None,
        )  # fmt: skip
    assert caught.value.where == "conversation said"
    fine = likelihood.head_bits(
        Spoilt(llama(), -float("inf"), 9), talks, names=["quiet", "said"], device="cpu", batch_tokens=64,
        progress=lambda _: None,
    )  # fmt: skip
    assert np.isfinite(fine).all()
