import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from fusionchat.errors import ModelError
from fusionchat.evaluate import likelihood


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
    bits = likelihood.head_bits(
        PlainHead(model), rendered, device="cpu", batch_tokens=batch_tokens, progress=seen.append
    )
    assert bits.dtype == np.float64
    np.testing.assert_allclose(bits, [slow_bits(model, r) for r in rendered], rtol=2e-5)
    assert sum(seen) == len(rendered)


def test_only_supervised_rows_reach_the_head_in_chunks(monkeypatch):
    head, rendered = PlainHead(llama()), corpus()
    whole = likelihood.head_bits(head, rendered, device="cpu", batch_tokens=200, progress=lambda _: None)
    assert sum(head.seen) == sum(len(r.rows) for r in rendered)
    monkeypatch.setattr(likelihood, "LOGITS", 61 * 3)
    head.seen.clear()
    chunked = likelihood.head_bits(head, rendered, device="cpu", batch_tokens=200, progress=lambda _: None)
    assert max(head.seen) == 3
    np.testing.assert_allclose(chunked, whole, rtol=1e-6)


def test_a_conversation_without_supervised_tokens_costs_nothing():
    rendered = [Rendered(np.array([1, 2, 3], dtype=np.int32), np.zeros(0, dtype=np.int32)), *corpus(2)]
    bits = likelihood.head_bits(
        PlainHead(llama()), rendered, device="cpu", batch_tokens=500, progress=lambda _: None
    )
    assert bits[0] == 0 and (bits[1:] > 0).all()
    alone = likelihood.head_bits(
        PlainHead(llama()), rendered[:1], device="cpu", batch_tokens=500, progress=lambda _: None
    )
    assert alone.tolist() == [0.0]


def test_the_first_token_cannot_be_supervised():
    bad = Rendered(np.array([1, 2], dtype=np.int32), np.array([0], dtype=np.int32))
    with pytest.raises(AssertionError, match="first token"):
        likelihood.head_bits(PlainHead(llama()), [bad], device="cpu", batch_tokens=9, progress=lambda _: None)


@pytest.mark.parametrize("make", [llama, gpt2])
def test_the_whole_path_from_a_model_in_training_mode(make):
    model, rendered = make(), corpus(5)
    expected = [slow_bits(model, r) for r in rendered]
    bits = likelihood.conversation_bits(
        model.train(), rendered, device="cpu", batch_tokens=99, progress=lambda _: None
    )
    np.testing.assert_allclose(bits, expected, rtol=2e-5)


def test_a_model_that_gives_nan_is_an_error_that_says_so():
    model = llama()
    model.model.norm.weight.data[:] = float("nan")
    with pytest.raises(ModelError, match="no finite probability"):
        likelihood.head_bits(
            PlainHead(model), corpus(), device="cpu", batch_tokens=64, progress=lambda _: None
        )
