"""Greedy answers depend on their own prompts alone, in every structure."""

import numpy as np
import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
)

from fusionchat.errors import ModelError
from fusionchat.evaluate import greedy

STOP = 3


def llama(**more) -> LlamaForCausalLM:
    torch.manual_seed(0)
    settings = {"vocab_size": 68, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    settings |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
    settings |= {"bos_token_id": None, "eos_token_id": None}
    return LlamaForCausalLM(LlamaConfig(**settings | more)).eval()


def gpt2(positions: int = 64) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": positions}
    return GPT2LMHeadModel(GPT2Config(vocab_size=68, bos_token_id=None, eos_token_id=None, **sizes)).eval()


def opt() -> OPTForCausalLM:
    """Learned positions that come from the attention mask."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {
        "word_embed_proj_dim": 16,
        "max_position_embeddings": 64,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return OPTForCausalLM(OPTConfig(vocab_size=68, **sizes)).eval()


def bloom() -> BloomForCausalLM:
    """No positions at all, and no limit."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "n_layer": 1, "n_head": 2, "bos_token_id": None, "eos_token_id": None}
    return BloomForCausalLM(BloomConfig(vocab_size=68, **sizes)).eval()


def phi3() -> Phi3ForCausalLM:
    """Other frequencies past 32 tokens."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"max_position_embeddings": 64, "original_max_position_embeddings": 32, "num_key_value_heads": 2}
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [9.0] * 8}
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    return Phi3ForCausalLM(Phi3Config(vocab_size=68, rope_parameters=rope, **sizes, **ids)).eval()


def rwkv() -> RwkvForCausalLM:
    """Padding goes into its state."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "attention_hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    return RwkvForCausalLM(RwkvConfig(vocab_size=68, bos_token_id=None, eos_token_id=None, **sizes)).eval()


def test_greedy_decoding_ignores_what_the_model_s_folder_says():
    model = llama()
    prompts = [[1, 40, 2], [1, 50, 51, 52, 2]]
    settings = {"stop_ids": (STOP,), "max_new_tokens": 10, "batch_tokens": 99, "progress": lambda _: None}
    plain = generate(model, prompts, **settings)
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, eos_token_id=50)
    assert generate(model, prompts, **settings) == plain


@pytest.mark.parametrize("make", [llama, gpt2])
def test_left_padding_does_not_change_a_greedy_answer(make):
    model = make()
    prompts = [[1, *range(30, 30 + n), 2] for n in (1, 9, 4, 20)]
    settings = {"stop_ids": (STOP,), "max_new_tokens": 8, "progress": lambda _: None}
    alone = generate(model, prompts, batch_tokens=1, **settings)
    assert generate(model, prompts, batch_tokens=10_000, **settings) == alone


def test_a_short_context_cuts_the_answer_instead_of_failing():
    model = gpt2(positions=16)
    prompts = [[5] * 13, [6] * 16, [7] * 4]
    settings = {"stop_ids": (STOP,), "max_new_tokens": 6, "batch_tokens": 1, "progress": lambda _: None}
    assert [len(a) for a in generate(model, prompts, **settings)] == [3, 0, 6]
    assert greedy.context_window(model) == 16


def generate(model, prompts, **settings):
    return greedy.generate(model, prompts, names=[f"talk-{i}" for i in range(len(prompts))], **settings)


PLACES = {"llama": llama, "gpt2": gpt2, "opt": opt, "alibi": bloom, "longrope": phi3, "rwkv": rwkv}


@pytest.mark.parametrize("name", PLACES)
def test_an_answer_depends_on_its_own_prompt_alone(name):
    """Prompts of every length up to and past the window of 64, one a batch and all in one: the same answers.

    Each has the room that its own prompt leaves: 8 tokens, fewer in the last 8 places, none from 64 on.
    """
    model = PLACES[name]()
    with torch.no_grad():  # sharp, so that a wrong position shows in the answer
        for weight in model.parameters():
            weight.mul_(6) if weight.ndim > 1 else None
    lengths = [64, 1, 30, 63, 57, 56, 62, 5, 70, 60, 60]
    rng = np.random.default_rng(0)
    prompts = [rng.integers(4, 68, n).tolist() for n in lengths]
    settings = {"stop_ids": (), "max_new_tokens": 8, "progress": lambda _: None}
    alone = generate(model, prompts, batch_tokens=1, **settings)
    window = greedy.context_window(model)
    rooms = [8 if window is None else max(0, min(8, window - n)) for n in lengths]
    assert [len(answer) for answer in alone] == rooms
    assert window != 64 or rooms == [0, 8, 8, 1, 7, 8, 2, 8, 0, 4, 4]
    for batch_tokens in (150, 300, 100_000):
        assert generate(model, prompts, batch_tokens=batch_tokens, **settings) == alone


def test_progress_counts_prompts_without_room():
    done: list[int] = []
    generate(
        gpt2(16), [[5] * 16, [5] * 3], stop_ids=(), max_new_tokens=2, batch_tokens=9, progress=done.append
    )
    assert sum(done) == 2


def test_until_stop_leaves_the_stop_token_out():
    assert greedy.until_stop([5, 6, 3, 7], {3}) == [5, 6]
    assert greedy.until_stop([5, 6], {3}) == [5, 6]
    assert np.array(greedy.until_stop([3], {3})).size == 0


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("batch_tokens", [1, 1000])
def test_a_model_that_breaks_while_it_answers_is_an_error_that_names_the_conversation(value, batch_tokens):
    """Token 60's embedding is broken; only the second prompt has it."""
    model = llama(tie_word_embeddings=False)
    model.model.embed_tokens.weight.data[60] = float(value)
    settings = {"stop_ids": (), "max_new_tokens": 3, "batch_tokens": batch_tokens, "progress": lambda _: None}
    with pytest.raises(ModelError, match="while it answers") as caught:
        generate(model, [[5, 6], [5, 60], [5, 7, 8]], **settings)
    assert caught.value.where == "conversation talk-1"


def test_a_masked_vocabulary_is_no_error():
    model = llama()
    head = model.lm_head.forward
    model.lm_head.forward = lambda hidden: head(hidden).index_fill(-1, torch.tensor([4, 9]), -torch.inf)
    settings = {"stop_ids": (), "max_new_tokens": 3, "batch_tokens": 99, "progress": lambda _: None}
    assert len(generate(model, [[5, 6]], **settings)[0]) == 3
