"""Capture: only tokens of the tokenizer are kept, and what cannot be captured is said."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered_part import join
from fusionchat.errors import ModelError
from fusionchat.models.head import Head
from fusionchat.models.logits import Tile
from fusionchat.represent.batching import pad_batch
from fusionchat.represent.forward import capture, supervised_states

ROWS, TOKENS = 40, 30


def made_head():
    """A tiny model with more rows in its head than its tokenizer has tokens."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=ROWS,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
    ).eval()
    return Head.of(model)


def conversation(*ids):
    rows = np.arange(1, len(ids), dtype=np.int32)
    zero = np.zeros(len(rows), np.int32)
    return Rendered(np.array(ids, np.int32), rows, zero, zero, zero)


def run(head, *conversations, k=5):
    names = [f"talk-{i}" for i in range(len(conversations))]
    return capture(
        head,
        join(conversations),
        k=k,
        vocabulary=TOKENS,
        batch_tokens=64,
        names=names,
        advance=lambda _: None,
    )


def test_a_batch_s_states_are_those_before_its_supervised_tokens():
    head = made_head()
    with torch.no_grad():
        found = supervised_states(head, pad_batch([0, 1], [conversation(3, 1, 4), conversation(5, 9)]))
        alone = [head.body(torch.tensor([ids])).last_hidden_state[0, :-1] for ids in ([3, 1, 4], [5, 9])]
    torch.testing.assert_close(found, torch.cat(alone))


@pytest.mark.parametrize("k", [5, TOKENS, ROWS])
def test_rows_that_pad_the_head_are_tail(k):
    head, said = made_head(), conversation(3, 1, 4, 1, 5)
    tokens, topk, label_logprob = run(head, said, k=k)
    assert tokens.labels.tolist() == [1, 4, 1, 5] and topk.present.all()
    assert topk.ids.max() < TOKENS and topk.k == min(k, TOKENS)
    with torch.no_grad():
        own = head.model(torch.tensor([said.input_ids.tolist()])).logits[0, :-1].log_softmax(-1).numpy()
    np.testing.assert_allclose(label_logprob, own[np.arange(4), [1, 4, 1, 5]], rtol=1e-5)
    kept = np.exp(topk.logprobs.astype(np.float64)).sum(1)
    np.testing.assert_allclose(kept + np.exp(topk.tail.astype(np.float64)), 1.0, atol=1e-3)
    if k >= TOKENS:
        np.testing.assert_allclose(
            np.exp(topk.tail.astype(np.float64)), np.exp(own[:, TOKENS:]).sum(1), rtol=2e-3
        )


def test_a_token_without_a_row_is_an_error_that_names_it():
    with pytest.raises(ModelError, match=r"token 40, but the model has 40 rows"):
        run(made_head(), conversation(3, ROWS))


def test_nan_is_an_error():
    head = made_head()
    head.model.model.norm.weight.data[:] = float("nan")
    with pytest.raises(ModelError, match="no finite probability to its text: NaN"):
        run(head, conversation(3, 1))


class Logits:
    """A head that gives chosen logits: one conversation has ``value`` at ``token``, in the row of its second token."""

    def __init__(self, value, token):
        self.head, self.value, self.token = made_head(), value, token
        self.weight, self.device = self.head.weight, self.head.device

    def states(self, tokens, mask):
        self.tokens = tokens.flatten()
        return torch.arange(tokens.numel(), dtype=torch.float32).view(*tokens.shape, 1)

    def tiles(self, hidden):
        rows = hidden[:, 0].long()
        logits = torch.randn(len(rows), ROWS, generator=torch.Generator().manual_seed(0))
        logits[self.tokens[rows] == 9, self.token] = self.value
        return [Tile(0, 0, logits)]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("token", [1, 4, TOKENS + 2])
def test_infinite_logits_are_an_error_that_names_the_conversation(value, token):
    """Also where the label's own logit (token 4 after 9) is finite, and in a row of the head past the tokenizer."""
    with pytest.raises(ModelError) as caught:
        run(Logits(value, token), conversation(3, 1, 5), conversation(3, 9, 4), conversation(2, 2, 2))
    assert "no finite probability" in caught.value.what and caught.value.where == "conversation talk-1"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [-float("inf"), -3.4e38, -7e4])
def test_a_token_that_the_model_excludes_is_an_error_only_where_the_text_has_it(value):
    """Some models have -inf at such a token, others the least number of their dtype."""
    scored = run(Logits(value, 1), conversation(3, 9, 4), k=ROWS)
    assert np.isfinite(scored.label_logprob).all() and scored.topk.logprobs[1].min() == -np.inf
    assert not (scored.topk.ids[1][np.isfinite(scored.topk.logprobs[1])] == 1).any()
    with pytest.raises(ModelError, match="probability 0"):
        run(Logits(value, 4), conversation(3, 9, 4))


def test_a_capture_does_not_depend_on_its_batches_but_for_the_order_of_sums():
    head = made_head()
    said = [conversation(*range(1, n)) for n in (5, 3, 9, 7, 4)]
    done = []
    one, all_ = (
        capture(
            head, join(said), k=5, vocabulary=TOKENS, batch_tokens=size, names="abcde", advance=done.append
        )
        for size in (1, 10_000)
    )
    np.testing.assert_array_equal(one.topk.ids, all_.topk.ids)
    np.testing.assert_allclose(one.label_logprob, all_.label_logprob, rtol=1e-5)
    assert done == [8, 6, 4, 3, 2, 23]
