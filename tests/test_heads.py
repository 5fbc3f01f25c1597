"""Heads of every shape give the model's own logits, or are refused by name."""

import pytest
import torch
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
    PhiConfig,
    PhiForCausalLM,
)

from fusionchat.distill.loss import HeadShape
from fusionchat.errors import ModelError
from fusionchat.heads import Head

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
