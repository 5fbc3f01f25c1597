"""No dropout: how a step is cut into passes does not change what is learnt, whatever the structure draws."""

import pytest
import torch
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from fusionchat.distill.dropout import without_dropout

SIZES = {"vocab_size": 29, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE = {"intermediate_size": 24, "num_key_value_heads": 2}
MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=29, n_embd=16, n_layer=2, n_head=2)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **WIDE, attention_dropout=0.3)),
    "falcon": lambda: FalconForCausalLM(FalconConfig(**SIZES, hidden_dropout=0.3, attention_dropout=0.2)),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(**SIZES, ffn_dim=24, word_embed_proj_dim=16, dropout=0.2, layerdrop=0.5)
    ),
    "mixtral": lambda: MixtralForCausalLM(
        MixtralConfig(**SIZES, **WIDE, num_local_experts=2, router_jitter_noise=0.5)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_training_pass_is_the_pass_of_evaluation(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    before, ids = model.config.to_dict(), torch.arange(24).view(2, 12)
    with torch.no_grad():
        expected = model.eval()(ids).logits
        assert not torch.equal(model.train()(ids).logits, expected), "this structure draws nothing"
        with without_dropout(model):
            torch.testing.assert_close(model.train()(ids).logits, expected)
        assert model.config.to_dict() == before
        assert not torch.equal(model.train()(ids).logits, expected)


def test_a_rate_of_loras_factors_stays():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(MODELS["gpt2"](), LoraConfig(lora_dropout=0.25, target_modules=["c_attn"]))
    with without_dropout(model):
        rates = {n: m.p for n, m in model.named_modules() if type(m).__name__ == "Dropout"}
    assert {rate for name, rate in rates.items() if "lora_dropout" in name} == {0.25}
    assert {rate for name, rate in rates.items() if "lora_dropout" not in name} == {0.0}
