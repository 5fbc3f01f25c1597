"""Heads of every shape give the model's own logits, or are refused by name."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from fusionchat.errors import ModelError
from fusionchat.models import head as heads
from fusionchat.models import logits, onednn
from fusionchat.models.head import Head
from fusionchat.models.logits import HeadShape

SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "tied": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=True)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**SMALL, num_local_experts=2)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2)),
    "bias": lambda: PhiForCausalLM(PhiConfig(**SMALL)),
    "softcap": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=2.0)),
    "scale": lambda: CohereForCausalLM(CohereConfig(**SMALL, logit_scale=0.25)),
    "divisor": lambda: GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=4.0)),
}


def make(name):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():  # sharp logits, so that a wrong shape shows
        model.get_output_embeddings().weight.mul_(50)
        if name == "bias":
            model.lm_head.bias.normal_()
    return model


@pytest.mark.parametrize("name", MODELS)
def test_logits_of_right_padded_rows_are_the_models_own(name):
    model = make(name)
    head = Head.of(model)
    tokens = torch.tensor([[1, 5, 7, 2], [3, 9, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    with torch.no_grad():
        ours = head.logits(head.hidden(tokens, mask).flatten(0, 1)).unflatten(0, (2, 4))
        torch.testing.assert_close(ours[0], model(tokens[:1]).logits[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours[1, :2], model(tokens[1:, :2]).logits[0], rtol=1e-4, atol=1e-4)


def test_the_shape_is_read_from_the_configuration():
    assert Head.of(make("softcap")).shape == HeadShape(softcap=2.0)
    assert Head.of(make("scale")).shape == HeadShape(scale=0.25)
    assert Head.of(make("divisor")).shape == HeadShape(scale=0.25)
    assert Head.of(make("bias")).bias is not None


def test_a_head_that_bends_its_logits_otherwise_is_refused_by_name():
    model = make("llama")
    forward = model.forward

    def bent(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = output.logits.tanh()
        return output

    model.forward = bent
    with pytest.raises(ModelError, match="LlamaForCausalLM"):
        Head.of(model)


def long_rope():
    """Other frequencies past 16 tokens, as Phi-3's models for long contexts have past 4,096."""
    torch.manual_seed(0)
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [9.0] * 4}
    return Phi3ForCausalLM(
        Phi3Config(
            **SMALL, max_position_embeddings=64, original_max_position_embeddings=16, rope_parameters=rope,
            pad_token_id=0, bos_token_id=None, eos_token_id=None,
        )
    ).eval()  # fmt: skip


@pytest.mark.parametrize("lengths", [(20, 9, 16, 17), (5, 30), (4, 12), (18, 19)])
def test_a_conversation_does_not_depend_on_what_shares_its_batch(lengths):
    model = long_rope()
    head = Head.of(model)
    assert head.switch == 16 and Head.of(make("llama")).switch is None
    texts = [torch.arange(n)[None] % 40 for n in lengths]
    tokens, mask = torch.zeros(2, len(texts), max(lengths), dtype=torch.long).unbind()
    for row, text in enumerate(texts):
        tokens[row, : text.shape[1]], mask[row, : text.shape[1]] = text[0], 1
    with torch.no_grad():
        together = head.hidden(tokens, mask)
        for row, text in enumerate(texts):
            alone = model.model(text).last_hidden_state[0]
            torch.testing.assert_close(together[row, : len(alone)], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [HeadShape(), HeadShape(softcap=30.0), HeadShape(scale=0.25)])
@pytest.mark.parametrize("name", ["llama", "bias"])
def test_bf16_heads_give_logits_that_are_not_rounded(name, shape):
    """Against the fp64 product of the same bf16 inputs; a bf16 result is off by up to 0.06 at logits near 20."""
    model = MODELS[name]().to(torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(500, 256, generator=generator).to(torch.bfloat16)
    hidden = (torch.randn(64, 256, generator=generator) / 2).to(torch.bfloat16)
    bias = torch.randn(500, generator=generator).to(torch.bfloat16) if name == "bias" else None
    linear = torch.nn.Linear(256, 500, bias=bias is not None, dtype=torch.bfloat16)
    linear.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    head = Head(model, model.base_model, linear, shape)
    ours = head.logits(hidden).detach()
    exact = hidden.double() @ weight.double().T + (0 if bias is None else bias.double())
    exact = exact * shape.scale
    exact = torch.tanh(exact / shape.softcap) * shape.softcap if shape.softcap else exact
    assert ours.dtype == torch.float32 and float(exact.abs().max()) > 5
    assert float((ours - exact).abs().max() / exact.abs().max()) < 1e-5
    p, q = exact.log_softmax(1), ours.double().log_softmax(1)
    assert float((p.exp() * (p - q)).sum(1).max()) < 1e-7


def test_the_weight_is_converted_once():
    model = MODELS["llama"]().to(torch.bfloat16)
    head = Head.of(model)
    head.logits(torch.zeros(1, 16, dtype=torch.bfloat16))
    first = head._operand
    head.logits(torch.zeros(1, 16, dtype=torch.bfloat16))
    assert head._operand is first
    full = Head.of(MODELS["tied"]())
    full.logits(torch.zeros(1, 16))
    assert full._operand.data_ptr() == full.weight.data_ptr()


def test_a_gpu_multiplies_into_fp32_without_a_copy(monkeypatch):
    """torch's meta device checks types and shapes as a GPU would."""
    monkeypatch.setattr(logits, "MIXED", ("meta",))
    weight = torch.zeros(7, 4, dtype=torch.bfloat16, device="meta")
    operand = logits.operand(weight, torch.bfloat16)
    assert operand is weight
    made = logits.product(torch.zeros(3, 4, dtype=torch.bfloat16, device="meta"), operand)
    assert made.dtype == torch.float32 and made.shape == (3, 7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["bias", "softcap", "scale"])
def test_tiles_put_together_are_the_logits(name, dtype, monkeypatch):
    monkeypatch.setattr(logits, "TILE_TOKENS", 16)
    monkeypatch.setattr(logits, "TILE_ROWS", 3)
    head = Head.of(make(name).to(dtype))
    hidden = torch.randn(7, 16, generator=torch.Generator().manual_seed(2)).to(dtype)
    together = torch.full((7, 40), torch.nan)
    with torch.no_grad():
        for row, token, part in head.tiles(hidden):
            together[row : row + part.shape[0], token : token + part.shape[1]] = part
        torch.testing.assert_close(together, head.logits(hidden), rtol=2e-5, atol=2e-5)
        assert [part.shape for _, _, part in head.tiles(hidden[:0])] == []


def test_a_device_gets_all_tokens_of_a_row_at_once(monkeypatch):
    monkeypatch.setattr(logits, "DEVICE_ELEMENTS", 14)
    weight = torch.zeros(7, 4, device="meta")
    hidden = torch.zeros(5, 4, device="meta")
    made = list(logits.tiles(hidden, weight, None, HeadShape(scale=2.0)))
    assert [(row, token, tuple(part.shape)) for row, token, part in made] == [
        (0, 0, (2, 7)), (2, 0, (2, 7)), (4, 0, (1, 7)),
    ]  # fmt: skip
    assert [tuple(part.shape) for _, _, part in logits.tiles(hidden[:0], weight, None, HeadShape())] == [
        (0, 7)
    ]


def test_a_bf16_head_is_never_held_in_fp32_by_its_tiles():
    head = Head.of(make("tied").to(torch.bfloat16))
    assert "_operand" not in head.__dict__
    assert all(part.dtype == torch.float32 for _, _, part in head.tiles(torch.ones(2, 16).to(torch.bfloat16)))
    assert "_operand" not in head.__dict__


def test_the_precision_of_products_is_put_back():
    """Products of bf16 inputs are those of fp32, also where the setting is another, and after an error."""
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(RuntimeError), logits._exact_in_bf16(True):
        assert torch.get_float32_matmul_precision() == "medium"
        raise RuntimeError
    assert torch.get_float32_matmul_precision() == "highest"


def test_tiles_of_bf16_inputs_are_as_exact_as_an_fp32_product():
    g = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 512, generator=g).to(torch.bfloat16) for n in (64, 3000))
    exact = hidden.double() @ weight.double().T
    for row, token, part in logits.tiles(hidden, weight, None, HeadShape()):
        own = exact[row : row + part.shape[0], token : token + part.shape[1]]
        assert float((part - own).abs().max() / exact.abs().max()) < 2e-6


@pytest.mark.parametrize("shape", [HeadShape(), HeadShape(softcap=3.0), HeadShape(scale=0.3, softcap=2.0)])
def test_in_place_gives_the_same_bits(shape):
    x = torch.randn(50, 40, generator=torch.Generator().manual_seed(0)) * 9
    assert torch.equal(shape.apply(x), shape.apply_(x.clone()))


def test_without_a_mask_the_states_are_the_same_where_nothing_looks_ahead():
    head = Head.of(make("llama"))
    tokens = torch.tensor([[1, 5, 7, 2], [3, 9, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    assert head.looks_back_only
    with torch.no_grad():
        with_mask, without = head.hidden(tokens, mask), head.states(tokens, mask)
    torch.testing.assert_close(with_mask[0], without[0])
    torch.testing.assert_close(with_mask[1, :2], without[1, :2])


def test_products_are_onednn_s_where_it_is_faster_and_the_model_is_not_small(monkeypatch):
    made = []
    monkeypatch.setattr(onednn, "linear", lambda *given: made.append(given) or nn.functional.linear(*given))
    monkeypatch.setattr(heads, "is_faster", lambda: True)
    tokens, mask, states = torch.tensor([[1, 5, 7, 2]]), torch.ones(1, 4, dtype=torch.long), []
    for small in (10**9, 1):
        monkeypatch.setattr(heads, "SMALL", small)
        head = Head.of(make("llama"))
        assert head.by_onednn == (small == 1)
        made.clear()
        with torch.no_grad():
            states.append(head.states(tokens, mask))
            counts = [len(made)]
            head.hidden(tokens, mask)
            counts.append(len(made))
            head.logits(states[-1][0])
        made_by_each = np.diff([0, *counts, len(made)])
        assert (made_by_each > 0).tolist() == [small == 1] * 3
    torch.testing.assert_close(*states)
    monkeypatch.setattr(heads, "is_faster", lambda: False)
    assert not Head.of(make("llama")).by_onednn


def test_a_body_that_looks_ahead_keeps_the_mask():
    model = make("llama")
    for layer in model.model.layers:
        forward = layer.forward

        def ahead(hidden_states, *args, forward=forward, **kwargs):
            return forward(hidden_states + hidden_states.mean(1, keepdim=True), *args, **kwargs)

        layer.forward = ahead
    head, given = Head(model, model.model, model.lm_head, HeadShape()), []
    assert not head.looks_back_only
    forward_body = model.model.forward
    model.model.forward = lambda **kwargs: given.append(kwargs["attention_mask"]) or forward_body(**kwargs)
    mask = torch.tensor([[1, 1, 0]])
    with torch.no_grad():
        head.states(torch.tensor([[1, 2, 0]]), mask)
    assert given[0] is mask
