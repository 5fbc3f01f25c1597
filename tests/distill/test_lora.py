"""LoRA: which layers get factors, what a target's folder holds, and that PEFT and the merge read the same model from it."""

import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from fusionchat.distill.lora import (
    chosen_layers,
    is_called,
    linear_layers,
    load_factors,
    opening_of,
    require_fitting,
    require_quantizer,
    round_frozen,
    save_adapter,
    with_factors,
)
from fusionchat.distill.student import Student
from fusionchat.distill.trainable import Lora, LoraSettings, Qlora, QloraSettings
from fusionchat.errors import ModelError
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.stream.merge import merge_models
from fusionchat.models.base import BASE
from fusionchat.models.load import load_model
from fusionchat.models.opening import PLAIN
from fusionchat.models.quantization import keep_layout
from fusionchat.models.ref import ModelRef

LEAVES = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
IDS = torch.arange(10)[None]


def llama(*, tied=False):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=29, **sizes, **heads, tie_word_embeddings=tied))


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=29, n_embd=16, n_layer=2, n_head=2))


def ref(folder):
    return ModelRef("pivot", str(folder), str(folder))


def adapted(tmp_path, model, **settings):
    """The model with factors, all of which and what is trained whole moved; its base is saved before."""
    base = tmp_path / "base"
    model.save_pretrained(base)
    made = with_factors(model, LoraSettings(r=4, **settings), ref(base), seed=1)
    torch.manual_seed(2)
    for parameter in (p for p in model.parameters() if p.requires_grad):
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made, base


def test_every_linear_layer_but_the_head_has_its_sides():
    found = linear_layers(llama())
    assert {name.rpartition(".")[2] for name in found} == LEAVES and len(found) == 14
    assert found["model.layers.0.mlp.down_proj"] == (24, 16)
    assert linear_layers(gpt2())["transformer.h.0.attn.c_attn"] == (16, 48)
    with torch.device("meta"):
        assert linear_layers(llama()) == found


def test_a_name_means_a_module_or_the_end_of_one():
    assert is_called("a.b.norm", "norm") and is_called("a.b.norm", "b.norm") and is_called("norm", "norm")
    assert not is_called("a.input_norm", "norm")


def test_targets_choose_layers():
    assert len(chosen_layers(llama(), LoraSettings(r=4))) == 14
    found = chosen_layers(llama(), LoraSettings(r=4, targets=("q_proj", "model.layers.1.mlp.up_proj")))
    assert list(found) == [
        "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.layers.1.mlp.up_proj",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "what", "do"),
    [
        (
            {"targets": ("q_prj",)},
            "no linear layer 'q_prj'.*did you mean 'q_proj'",
            "use some of q_proj, k_proj",
        ),
        ({"targets": ("lm_head",)}, "no linear layer 'lm_head'", "as a whole, with modules_to_save"),
        ({"r": 9}, r"A matrix of 8 x 16 .*k_proj.* cannot have rank 9", "use at most 8"),
        ({"modules_to_save": ("head",)}, "no module 'head' with weights", "embed_tokens.*lm_head"),
        (
            {"targets": ("q_proj",), "modules_to_save": ("q_proj",)},
            "would be trained both as a whole and by factors",
            "remove",
        ),
    ],
)
def test_what_does_not_fit_the_pivot_is_refused_by_name(tmp_path, settings, what, do):
    model = llama()
    with pytest.raises(ModelError, match=what) as error:
        chosen_layers(model, LoraSettings(**{"r": 4} | settings))
    assert re.search(do, error.value.do) and error.value.where.startswith("distill.train.lora")
    model.config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=what):  # from the configuration alone
        require_fitting(ref(tmp_path), Lora(lora=LoraSettings(**{"r": 4} | settings)))


def test_only_factors_are_trained_and_the_same_seed_makes_the_same(tmp_path):
    llama().save_pretrained(tmp_path)
    one, same, other = (
        with_factors(llama(), LoraSettings(r=4), ref(tmp_path), seed=seed) for seed in (1, 1, 2)
    )
    trained = {name for name, p in one.named_parameters() if p.requires_grad}
    assert len(trained) == 28 and all(".lora_" in name for name in trained)
    a, b, c = (dict(m.named_parameters()) for m in (one, same, other))
    name = next(name for name in trained if ".lora_A." in name)
    assert torch.equal(a[name], b[name]) and not torch.equal(a[name], c[name])
    assert all(not a[name].any() for name in trained if ".lora_B." in name)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "saved", [(), ("embed_tokens",), ("lm_head",), ("embed_tokens", "lm_head"), ("norm",)]
)
def test_peft_and_the_merge_read_the_trained_model(tmp_path, saved, tied):
    from peft import PeftModel

    made, base = adapted(tmp_path, llama(tied=tied), modules_to_save=saved)
    out = tmp_path / "a"
    save_adapter(made, ref(base), out, Lora())
    model = made.get_base_model().eval()
    with torch.no_grad():
        own = model(IDS).logits
        again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(out)).eval()
        assert torch.equal(again(IDS).logits, own)
        merge_models(base, {"a": out}, Linear(), tmp_path / "merged", dtype="float32")
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
        torch.testing.assert_close(merged(IDS).logits, own, rtol=1e-5, atol=1e-6)
    assert merged.config.tie_word_embeddings == tied  # what is tied is trained as one
    student = Student.of(model, label_weight=0.5)
    head = student.head.linear.weight
    assert head.requires_grad == (bool({"lm_head"} & set(saved)) or (tied and "embed_tokens" in saved))
    assert any(head is p for p in student.parameters())


@pytest.mark.parametrize("saved", [(), ("norm",)])
def test_a_training_goes_on_from_the_factors_of_an_adapter(tmp_path, saved):
    made, base = adapted(tmp_path, llama(), modules_to_save=saved)
    save_adapter(made, ref(base), tmp_path / "target", Lora(lora=LoraSettings(r=4, modules_to_save=saved)))
    again = with_factors(llama(), LoraSettings(r=4, modules_to_save=saved), ref(base), seed=9)
    load_factors(again, tmp_path / "target")
    want, found = (dict(one.named_parameters()) for one in (made, again))
    trained = [name for name, one in want.items() if one.requires_grad]
    assert trained and all(
        torch.equal(want[name], found[name]) and found[name].requires_grad for name in trained
    )


def test_a_layer_that_is_trained_whole_has_no_factors(tmp_path):
    made, base = adapted(tmp_path, llama(), modules_to_save=("o_proj",))
    save_adapter(made, ref(base), tmp_path / "a", Lora())
    with safe_open(tmp_path / "a/adapter_model.safetensors", "pt") as held:
        of_output = [name for name in held.keys() if "o_proj" in name]  # noqa: SIM118
    assert len(of_output) == 2 and not any("lora" in name for name in of_output)


def test_layers_stored_the_other_way_round_are_read_by_the_merge(tmp_path):
    made, base = adapted(tmp_path, gpt2())
    save_adapter(made, ref(base), tmp_path / "a", Lora())
    merge_models(base, {"a": tmp_path / "a"}, Linear(), tmp_path / "merged", dtype="float32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        own = made.get_base_model().eval()(IDS).logits
        torch.testing.assert_close(merged(IDS).logits, own, rtol=1e-5, atol=1e-6)


def test_a_targets_folder_is_small_names_its_base_and_has_no_empty_card(tmp_path):
    made, base = adapted(tmp_path, llama())
    save_adapter(made, ref(base), tmp_path / "a", Lora())
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", BASE,
    ]  # fmt: skip
    config = json.loads((tmp_path / "a/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base) and config["target_modules"] == sorted(LEAVES)
    assert (config["r"], config["lora_alpha"], config["task_type"]) == (4, 8, "CAUSAL_LM")


@pytest.mark.parametrize("tied", [False, True])
def test_rounding_frozen_layers_changes_no_bit_of_a_pass_under_autocast(tmp_path, tied):
    losses, grads = [], []
    for rounds in (False, True):
        made, _ = adapted(tmp_path / str(rounds), llama(tied=tied))
        model = made.get_base_model()
        if rounds:
            round_frozen(model, torch.bfloat16)
            assert model.model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.bfloat16
            assert model.model.embed_tokens.weight.dtype == model.model.norm.weight.dtype == torch.float32
            assert model.lm_head.weight.dtype == (torch.float32 if tied else torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(IDS, labels=IDS).loss
        loss.backward()
        losses.append(loss.detach())
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]))
    assert torch.equal(*losses) and torch.equal(*grads)


def test_qlora_opens_the_pivot_in_4_bits_and_says_what_is_missing(monkeypatch):
    how = Qlora(qlora=QloraSettings(quant_type="fp4"))
    assert opening_of(Lora(), "float32") == PLAIN
    found = opening_of(how, "bfloat16").quantization
    assert (found["bnb_4bit_quant_type"], found["bnb_4bit_compute_dtype"]) == ("fp4", "bfloat16")
    require_quantizer(how)
    monkeypatch.setattr("fusionchat.distill.lora.lacks", lambda _: "no bitsandbytes")
    require_quantizer(Lora())
    with pytest.raises(ModelError, match="cannot train with QLoRA: no bitsandbytes") as error:
        require_quantizer(how)
    assert "fusionchat[quant]" in error.value.do and error.value.where == "distill.train.qlora"


@pytest.mark.parametrize("half", [False, True])
def test_factors_beside_4_bits_are_trained_and_both_bases_are_opened(tmp_path, half):
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=29, **sizes)).save_pretrained(tmp_path / "base")
    base, how, cpu = ref(tmp_path / "base"), Qlora(qlora=QloraSettings(r=4)), torch.device("cpu")
    opening = opening_of(how, "bfloat16" if half else "float32")
    model = load_model(base, dtype=torch.float32, device=cpu, opening=opening)
    keep_layout(model)
    made = with_factors(model, how.factors, base, seed=0)
    if half:
        round_frozen(model, torch.bfloat16)
    assert model.model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.uint8
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    losses = []
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = model(IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[2] < losses[0]
    save_adapter(made, base, tmp_path / "a", how)
    assert json.loads((tmp_path / "a" / BASE).read_text())["trained_in"] == "bitsandbytes nf4"
    both = replace(base, adapter=str(tmp_path / "a"))
    four, whole = (load_model(both, dtype=torch.float32, device=cpu, opening=one) for one in (opening, PLAIN))
    keep_layout(four)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        own = model.eval()(IDS).logits
        assert torch.equal(four(IDS).logits, own)
        assert not torch.allclose(whole(IDS).logits, own, atol=1e-4)
