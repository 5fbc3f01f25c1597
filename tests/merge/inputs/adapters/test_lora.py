"""Adapters as peft saves them: the merged weights are peft's, or the setting that has no right merge is named."""

import json
import shutil

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.config import BdLoraConfig, KasaConfig, VeloraConfig
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from fusionchat.errors import MergeError
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.stream import cut
from fusionchat.merge.stream.merge import merge_models
from tests.merge.folders import SHAPES, adapter, family, load, random_tensors, save

ROWS = 20
IDS = torch.arange(1, 9)[None]
SIZES = {
    "vocab_size": ROWS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
KINDS = {
    "llama": ("llama", {**SIZES, "tie_word_embeddings": False}),
    "tied": ("llama", {**SIZES, "tie_word_embeddings": True}),
    "qwen2": ("qwen2", {**SIZES, "tie_word_embeddings": False}),
    "gpt2": ("gpt2", {"vocab_size": ROWS, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}),
    "moe": (
        "qwen3_moe",
        {**SIZES, "tie_word_embeddings": False, "num_experts": 3, "num_experts_per_tok": 2, "head_dim": 8}
        | {"moe_intermediate_size": 12, "decoder_sparse_step": 1, "mlp_only_layers": []},
    ),
}
KINDS["gpt_oss"] = (
    "gpt_oss",
    {**SIZES, "tie_word_embeddings": False, "num_local_experts": 3, "num_experts_per_tok": 2, "head_dim": 8}
    | {"intermediate_size": 16},
)
KINDS["mixtral"] = ("mixtral", {**SIZES, "tie_word_embeddings": False, "num_local_experts": 3})


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Folders of tiny models by kind, made when they are asked for."""
    root, made = tmp_path_factory.mktemp("bases"), {}

    def get(kind):
        if kind not in made:
            torch.manual_seed(0)
            name, sizes = KINDS[kind]
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **sizes))
            for value in model.parameters():
                value.data.add_(0.1 * torch.randn_like(value))  # biases and norms are all alike otherwise
            model.save_pretrained(root / kind)
            made[kind] = root / kind
        return made[kind]

    return get


def opened(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def trained(base, folder, *, rows=None, save="auto", noise=0.1, **settings):
    """An adapter whose trainable values were moved, as peft saves it, and the logits of the model that was trained."""
    model = opened(base)
    if rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], **settings}
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    with torch.no_grad():
        for value in peft.parameters():
            if value.requires_grad:
                value.add_(noise * torch.randn_like(value))
        peft.save_pretrained(folder, save_embedding_layers=save)
        return folder, peft(IDS).logits


def peft_weights(base, adapter):
    return PeftModel.from_pretrained(opened(base), adapter).merge_and_unload().state_dict()


def merged(base, adapter, out, **settings):
    merge_models(base, {"a": adapter}, Linear(), out, **{"dtype": "float32", "threads": 1, **settings})
    return load(out)


def assert_same(ours, theirs, base, atol):
    """Every stored tensor is peft's, and one at least is not the base's."""
    before, moved = load(base), 0.0
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name].double().numpy(), rtol=2e-5, atol=atol, err_msg=name)
        moved = max(moved, float(np.abs(value - before[name]).max()))
    assert moved > 1e-3


SETTINGS = {
    "plain": ("llama", {}),
    "lora_bias": ("qwen2", {"lora_bias": True, "target_modules": ["q_proj", "k_proj"], "use_rslora": True}),
    "lora_bias-square": (
        "gpt2",
        {"lora_bias": True, "target_modules": ["attn.c_proj"], "fan_in_fan_out": True},
    ),
    "bias-all": ("qwen2", {"bias": "all"}),
    "bias-lora_only": ("qwen2", {"bias": "lora_only", "lora_bias": True, "target_modules": ["q_proj"]}),
    "pissa": ("llama", {"init_lora_weights": "pissa"}),
    "pissa-wide-high": (
        "llama",
        {"init_lora_weights": "pissa", "r": 16, "target_modules": ["gate_proj", "q_proj"]},
    ),
    "pissa-rslora": (
        "qwen2",
        {"init_lora_weights": "pissa", "use_rslora": True, "rank_pattern": {"q_proj": 2}},
    ),
    "pissa-conv": (
        "gpt2",
        {"init_lora_weights": "pissa", "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True},
    ),
    "pissa-dora": ("llama", {"init_lora_weights": "pissa", "use_dora": True}),
    "olora": ("llama", {"init_lora_weights": "olora"}),
    "olora-head": ("llama", {"init_lora_weights": "olora", "target_modules": ["lm_head"]}),
    "pissa-head": ("llama", {"init_lora_weights": "pissa", "target_modules": ["lm_head", "q_proj"]}),
    "olora-scale": ("qwen2", {"init_lora_weights": "olora", "lora_alpha": 3, "alpha_pattern": {"q_proj": 9}}),
    "olora-conv": (
        "gpt2",
        {"init_lora_weights": "olora", "target_modules": ["attn.c_proj"], "fan_in_fan_out": True},
    ),
    "gaussian": ("llama", {"init_lora_weights": "gaussian"}),
    "orthogonal": ("llama", {"init_lora_weights": "orthogonal"}),
    "random": ("llama", {"init_lora_weights": False}),
    "mica": ("llama", {"init_lora_weights": "mica"}),
    "dora": ("llama", {"use_dora": True}),
    "dora-conv": ("gpt2", {"use_dora": True, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "dora-embedding": ("llama", {"use_dora": True, "target_modules": ["embed_tokens", "up_proj"]}),
    "kasa": ("llama", {"kasa_config": KasaConfig()}),
    "velora": ("llama", {"velora_config": VeloraConfig(num_groups=4)}),
    "bd-lora": (
        "llama",
        {
            "use_bdlora": BdLoraConfig(
                target_modules_bd_a=["down_proj"], target_modules_bd_b=["q_proj"], nblocks=2
            )
        },
    ),
    "embedding": ("llama", {"target_modules": ["embed_tokens", "lm_head"]}),
    "embedding-pissa": (
        "llama",
        {"target_modules": ["embed_tokens", "q_proj"], "init_lora_weights": "pissa"},
    ),
    "conv-said-wrongly": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": False}),
    "linear-said-wrongly": ("llama", {"fan_in_fan_out": True}),
    "patterns": (
        "llama",
        {
            "rank_pattern": {"^model.layers.0.self_attn.q_proj": 2, "down_proj": 3},
            "alpha_pattern": {r"layers\.1\..*": 5, "q_proj": 7, "model.layers.0.mlp.down_proj": 11},
        },
    ),
    "one-layer": ("llama", {"layers_to_transform": [1], "layers_pattern": "layers"}),
    "modules_to_save": ("llama", {"modules_to_save": ["embed_tokens", "lm_head", "norm"]}),
    "modules_to_save-whole": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["mlp"]}),
    "tokens": ("llama", {"trainable_token_indices": [1, 5]}),
    "tokens-by-module": ("llama", {"trainable_token_indices": {"embed_tokens": [7, 1], "lm_head": [2]}}),
    "save-embeddings": ("llama", {"trainable_token_indices": [1, 5], "save": True}),
    "save-lora-embedding": ("llama", {"target_modules": ["embed_tokens", "q_proj"], "save": True}),
    "experts": ("moe", {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}),
    "two-parameters": (
        "moe",
        {"target_modules": [], "target_parameters": ["experts.down_proj", "experts.gate_up_proj"], "r": 2},
    ),
    "patterns-of-parameters": (
        "moe",
        {
            "target_modules": [],
            "target_parameters": ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"],
            "alpha_pattern": {"gate_up_proj": 9, "layers.1.mlp.experts.down_proj": 3},
            "rank_pattern": {"down_proj": 2},
        },
    ),
    "all-linear-moe": ("mixtral", {"target_modules": "all-linear"}),
    # gpt-oss stores [experts, in, out], and its experts are square: the shape does not say so.
    "square-experts": (
        "gpt_oss",
        {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]},
    ),
    "square-and-wide-experts": (
        "gpt_oss",
        {"target_modules": [], "target_parameters": ["experts.down_proj", "experts.gate_up_proj"], "r": 2},
    ),
    "router": ("moe", {"target_modules": ["v_proj"], "target_parameters": ["mlp.gate.weight"]}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_merge_is_pefts(tmp_path, bases, setting, monkeypatch):
    monkeypatch.setattr(cut, "BLOCK", 50)  # blocks that begin inside a row
    kind, settings = SETTINGS[setting]
    base = bases(kind)
    adapter, logits = trained(base, tmp_path / "a", **settings)
    ours = merged(base, adapter, tmp_path / "out")
    if kind not in (
        "moe",
        "mixtral",
        "gpt_oss",
    ):  # whose experts transformers holds otherwise than they are stored
        atol = 5e-5 if "pissa" in setting else 2e-6  # peft takes singular vectors in fp32
        assert_same(ours, peft_weights(base, adapter), base, atol)
    with torch.no_grad():
        torch.testing.assert_close(opened(tmp_path / "out")(IDS).logits, logits, rtol=2e-4, atol=5e-5)
        assert (logits - opened(base)(IDS).logits).abs().max() > 1e-3


STARTS = {
    "pissa_niter": ("llama", {"init_lora_weights": "pissa_niter_4"}),
    "pissa_niter-dora": ("qwen2", {"init_lora_weights": "pissa_niter_2", "use_dora": True, "use_rslora": True}),
    "pissa_niter-conv": (
        "gpt2", {"init_lora_weights": "pissa_niter_4", "target_modules": ["c_attn"], "fan_in_fan_out": True}
    ),
    "pissa": ("llama", {"init_lora_weights": "pissa"}),
}  # fmt: skip


@pytest.mark.parametrize("case", STARTS)
def test_the_factors_that_an_adapter_began_with_say_what_was_taken_away(tmp_path, bases, case):
    """LLaMA-Factory keeps them in pissa_init, as peft's own conversion needs them: W + scale (B A - B0 A0)."""
    kind, settings = STARTS[case]
    base, out = bases(kind), tmp_path / "out"
    torch.manual_seed(3)
    settings = {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], **settings}
    peft = get_peft_model(opened(base), LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    peft.peft_config["default"].init_lora_weights = True
    peft.save_pretrained(tmp_path / "a/pissa_init")
    peft.peft_config["default"].init_lora_weights = settings["init_lora_weights"]
    with torch.no_grad():
        for value in peft.parameters():
            if value.requires_grad:
                value.add_(0.1 * torch.randn_like(value))
        peft.save_pretrained(tmp_path / "a")
        logits = peft(IDS).logits
        merged(base, tmp_path / "a", out)
        torch.testing.assert_close(opened(out)(IDS).logits, logits, rtol=2e-4, atol=5e-5)
        assert (logits - opened(base)(IDS).logits).abs().max() > 1e-3
    path = tmp_path / "a/pissa_init/adapter_model.safetensors"
    some = dict(list(load_file(path).items())[2:])
    save_file(some, path)
    with pytest.raises(MergeError, match="initial factors of"):
        merged(base, tmp_path / "a", tmp_path / "no")


@pytest.mark.parametrize("start", ["pissa_niter_4", "pissa_niter_16"])
def test_a_saved_base_layer_is_what_random_numbers_left_of_it(tmp_path, bases, start):
    """With save_embedding_layers peft saves the head's base layer, from which the part was taken."""
    settings = {"init_lora_weights": start, "target_modules": ["lm_head"], "save": True}
    adapter, logits = trained(bases("llama"), tmp_path / "a", **settings)
    merged(bases("llama"), adapter, tmp_path / "out")
    with torch.no_grad():
        torch.testing.assert_close(opened(tmp_path / "out")(IDS).logits, logits, rtol=2e-4, atol=5e-5)


@pytest.mark.parametrize("start", ["pissa_niter_4", "corda", "lora_ga", "loftq"])
def test_a_start_that_nobody_can_work_out_again_is_refused_by_name(tmp_path, start):
    pivot, _ = family(tmp_path, 0)
    folder = adapter(tmp_path / "a", factors(), init_lora_weights=start)
    if start == "loftq":  # the factors do not say what the quantizer left
        adapter(folder / "pissa_init", factors())
    with pytest.raises(MergeError, match=f"init_lora_weights is '{start}'.*pissa_init") as caught:
        merged(pivot, folder, tmp_path / "out")
    assert caught.value.exit_code == 2 and "base model" not in str(caught.value) and caught.value.do


@pytest.mark.parametrize("how", ["modules_to_save", "target_modules"])
def test_gpt2s_embedding_is_not_tied_by_peft_though_it_is_asked_to(tmp_path, bases, how):
    """ensure_weight_tying goes by the names embed_tokens and lm_head: wte is trained alone, and the head stays."""
    base = bases("gpt2")
    adapter, logits = trained(
        base, tmp_path / "a", **{"target_modules": ["c_attn"], how: ["wte"]}, ensure_weight_tying=True
    )
    ours, before = merged(base, adapter, tmp_path / "out"), load(base)
    np.testing.assert_array_equal(ours["lm_head.weight"], before["transformer.wte.weight"])
    assert np.abs(ours["transformer.wte.weight"] - before["transformer.wte.weight"]).max() > 1e-3
    with torch.no_grad():
        model = opened(tmp_path / "out")
        torch.testing.assert_close(model(IDS).logits, logits, rtol=2e-4, atol=2e-5)
    assert model.config.tie_word_embeddings is False


@pytest.mark.parametrize(
    ("targets", "switches"),
    [
        (["q_proj"], {"attention_bias": True, "mlp_bias": False}),
        (["gate_proj", "down_proj"], {"attention_bias": False, "mlp_bias": True}),
        (["k_proj", "up_proj"], {"attention_bias": True, "mlp_bias": True}),
    ],
)
def test_biases_that_the_base_does_not_have_are_added(tmp_path, bases, targets, switches):
    """peft cannot merge these; what the adapter computes is a layer with a bias, which the config can switch on."""
    base = bases("llama")
    adapter, logits = trained(base, tmp_path / "a", lora_bias=True, target_modules=targets)
    ours = merged(base, adapter, tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert {key: config[key] for key in switches} == switches
    assert any(name.endswith(f"{targets[0]}.bias") for name in ours)
    with torch.no_grad():
        torch.testing.assert_close(opened(tmp_path / "out")(IDS).logits, logits, rtol=2e-4, atol=2e-5)
    out = tmp_path / "both"
    merge_models(base, {"a": adapter, "full": base}, Linear(), out, dtype="float32", threads=1)
    both = load(out)
    for name, value in ours.items():
        before = load(base).get(name, np.zeros_like(value))
        np.testing.assert_allclose(both[name], (before + value) / 2, rtol=1e-5, atol=1e-6)


TIED = {
    "copy-of-the-embedding": ({"modules_to_save": ["embed_tokens"]}, False),
    "copies-of-both": ({"modules_to_save": ["embed_tokens", "lm_head"]}, False),
    "one-copy": ({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, True),
    "one-copy-of-the-head": ({"modules_to_save": ["lm_head"], "ensure_weight_tying": True}, True),
    "factors-of-the-embedding": ({"target_modules": ["embed_tokens"]}, False),
    "factors-of-the-head": ({"target_modules": ["lm_head"]}, False),
    "factors-of-both": ({"target_modules": ["embed_tokens", "lm_head"]}, False),
    "the-same-factors": ({"target_modules": ["embed_tokens"], "ensure_weight_tying": True}, True),
    "tokens": ({"trainable_token_indices": [1, 5]}, True),
    "tokens-of-both": ({"trainable_token_indices": {"embed_tokens": [1, 5], "lm_head": [1, 5]}}, True),
    "other-tokens": ({"trainable_token_indices": {"embed_tokens": [1, 5], "lm_head": [1]}}, False),
    "saved": ({"save": True}, True),
    "olora-head": ({"target_modules": ["lm_head"], "init_lora_weights": "olora"}, False),
    "olora-head-alone": (
        {"target_modules": ["lm_head"], "init_lora_weights": "olora", "save": False},
        False,
    ),
    "pissa-both": (
        {"target_modules": ["lm_head"], "init_lora_weights": "pissa", "ensure_weight_tying": True},
        False,  # peft starts the head's factors anew
    ),
}


@pytest.mark.parametrize("stored", [False, True], ids=["head-left-out", "head-stored"])
@pytest.mark.parametrize("setting", TIED)
def test_a_tied_head_stays_tied_only_where_it_was_trained_so(tmp_path, bases, setting, stored):
    from safetensors.torch import load_file, save_file

    settings, together = TIED[setting]
    base = bases("tied")
    adapter, logits = trained(base, tmp_path / "a", **settings)
    if stored:
        base = shutil.copytree(base, tmp_path / "base")
        weights = load_file(base / "model.safetensors")
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
        save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    ours = merged(base, adapter, tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["tie_word_embeddings"] is together
    assert ("lm_head.weight" in ours) is (stored or not together)
    with torch.no_grad():
        torch.testing.assert_close(opened(tmp_path / "out")(IDS).logits, logits, rtol=2e-4, atol=2e-5)


def resized(tmp_path, bases, kind, **settings):
    """A base of 20 tokens with its tokenizer, and an adapter that was trained with three more."""
    base = shutil.copytree(bases(kind), tmp_path / "base")
    tokens = {f"t{n}": n for n in range(ROWS)}
    write_tokenizer(base, tokens, {})
    adapter, logits = trained(base, tmp_path / "a", rows=ROWS + 3, **settings)
    write_tokenizer(adapter, tokens, {f"<{n}>": ROWS + n for n in range(3)})
    return base, adapter, logits


def write_tokenizer(folder, tokens, added):
    entries = [{"id": n, "content": text, "special": True} for text, n in added.items()]
    model = {"type": "WordLevel", "vocab": tokens, "unk_token": "t0"}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": entries}))


GROWN = {
    "stored": ("llama", {"save": True}),
    "copies": ("llama", {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "tied": ("tied", {"save": True}),
    "factors": ("llama", {"target_modules": ["embed_tokens", "lm_head"], "save": True}),
    "rows": ("llama", {"trainable_token_indices": [3, 21, 22], "save": True}),
    "tied-copies": ("tied", {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "tied-factors": ("tied", {"target_modules": ["lm_head"], "save": True}),
    "rows-only": ("tied", {"trainable_token_indices": [22, 21, 20], "save": False}),
}


@pytest.mark.parametrize("setting", GROWN)
def test_an_adapter_of_a_larger_vocabulary_is_united_with_the_pivots(tmp_path, bases, setting):
    kind, settings = GROWN[setting]
    base, adapter, logits = resized(tmp_path, bases, kind, **settings)
    with pytest.raises(MergeError, match="embeddings to pivot or union") as caught:
        merged(base, adapter, tmp_path / "refused")
    assert "base model" not in str(caught.value)
    ours = merged(base, adapter, tmp_path / "out", embeddings="union")
    assert ours["model.embed_tokens.weight"].shape[0] == ROWS + 3
    assert json.loads((tmp_path / "out/config.json").read_text())["vocab_size"] == ROWS + 3
    with torch.no_grad():
        torch.testing.assert_close(opened(tmp_path / "out")(IDS).logits, logits, rtol=2e-4, atol=2e-5)
    cut = merged(base, adapter, tmp_path / "cut", embeddings="pivot")["model.embed_tokens.weight"]
    np.testing.assert_array_equal(cut, ours["model.embed_tokens.weight"][:ROWS])


def test_rows_of_an_adapter_with_tokens_of_its_own_are_not_taken_for_the_pivots(tmp_path, bases):
    """Tokens put into rows that were padding: as for a full model, the user has to say whose vocabulary it is."""
    base = shutil.copytree(bases("llama"), tmp_path / "base")
    tokens = {f"t{n}": n for n in range(ROWS - 2)}
    write_tokenizer(base, tokens, {})
    adapter, _ = trained(base, tmp_path / "a", trainable_token_indices=[18, 19])
    plain, _ = trained(base, tmp_path / "b", target_modules=["lm_head"])
    for folder in (adapter, plain):
        write_tokenizer(folder, tokens, {"<new>": 18})
    with pytest.raises(MergeError, match="token '<new>' is row 18"):
        merged(base, adapter, tmp_path / "out")
    merged(base, plain, tmp_path / "plain")  # its rows are the pivot's with a change
    ours = merged(base, adapter, tmp_path / "out", embeddings="union")["model.embed_tokens.weight"]
    rows = load(adapter)["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"]
    np.testing.assert_allclose(ours[18:], rows, rtol=1e-6)


def test_a_larger_vocabulary_that_is_not_in_the_file_is_said_so(tmp_path, bases):
    base, adapter, _ = resized(tmp_path, bases, "llama", target_modules=["lm_head"], save=False)
    with pytest.raises(MergeError, match=r"23 rows in lm_head.weight, .*20") as caught:
        merged(base, adapter, tmp_path / "out", embeddings="union")
    assert "base model" not in str(caught.value)
    (tmp_path / "b").mkdir()
    base, adapter, _ = resized(tmp_path / "b", bases, "tied", trainable_token_indices=[22], save=False)
    with pytest.raises(MergeError, match="row 20 is not in its file"):
        merged(base, adapter, tmp_path / "out", embeddings="union")
    (tmp_path / "c").mkdir()
    base, adapter, _ = resized(tmp_path / "c", bases, "llama", save=True)
    (adapter / "tokenizer.json").unlink()
    with pytest.raises(MergeError, match=r"needs a tokenizer\.json"):
        merged(base, adapter, tmp_path / "out", embeddings="union")


UP = "base_model.model.model.layers.0.mlp.up_proj"
EMBED = "base_model.model.model.embed_tokens"


def factors(module=UP, outputs=40, inputs=16, rank=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    down, up = torch.randn(rank, inputs, generator=rng), torch.randn(outputs, rank, generator=rng)
    return {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}


Q = "base_model.model.model.layers.0.self_attn.q_proj"
BROKEN = {
    "no vector of DoRA": (factors(), {"use_dora": True}, "use_dora"),
    "DoRA unsaid": (factors() | {f"{UP}.lora_magnitude_vector": torch.ones(40)}, {}, "use_dora"),
    "a short vector": (
        factors() | {f"{UP}.lora_magnitude_vector": torch.ones(16)}, {"use_dora": True}, "magnitude_vector"
    ),
    "no bias of B": (factors(), {"lora_bias": True}, "lora_bias"),
    "a bias of B unsaid": (factors() | {f"{UP}.lora_B.bias": torch.ones(40)}, {}, "lora_bias"),
    "no bias to add to": (
        factors() | {f"{UP}.lora_B.bias": torch.ones(40)}, {"lora_bias": True}, r"lora_bias .*up_proj\.bias is not in the pivot"
    ),
    "no diagonal": (factors(), {"kasa_config": {}}, "kasa_config"),
    "another rank": (factors(rank=4), {}, r"rank_pattern.* rank 2 .*rank 4"),
    "another rank by pattern": (factors(), {"rank_pattern": {"up_proj": 8}}, "rank_pattern"),
    "two adapters": (
        factors() | {f"{UP}.lora_A.other.weight": torch.ones(2, 16)}, {}, "holds two adapters"
    ),
    "not gathered": ({k: v[:0] for k, v in factors().items()}, {}, "were not gathered"),
    "flat": ({k: v.reshape(-1) for k, v in factors().items()}, {}, "were not gathered"),
    "unknown": (factors() | {f"{UP}.lora_E": torch.ones(2, 1)}, {}, "lora_E"),
    "no copy": (factors(), {"modules_to_save": ["lm_head"]}, "modules_to_save .*lm_head"),
    "another head": (
        factors() | {"base_model.model.score.weight": torch.ones(3, 16)}, {"modules_to_save": ["score"]}, "modules_to_save"
    ),
    "rows unsaid": (
        factors() | {f"{EMBED}.token_adapter.trainable_tokens_delta": torch.ones(2, 16)}, {}, "trainable_token_indices"
    ),
    "too few rows": (
        factors() | {f"{EMBED}.token_adapter.trainable_tokens_delta": torch.ones(2, 16)},
        {"trainable_token_indices": [1, 2, 3]},
        "trainable_token_indices names 3 .* 2 rows",
    ),
    "no rows": (factors(), {"trainable_token_indices": [1]}, "trainable_token_indices"),
    "no such parameter": (
        factors("base_model.model.model.layers.0.mlp.experts"), {"target_parameters": ["experts.down_proj"]}, "target_parameters"
    ),
    "nothing": ({"base_model.model.lm_head.original_module.weight": torch.ones(60, 16)}, {}, "no trained tensor"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_named_and_no_other_base_model_is_asked_for(tmp_path, case):
    tensors, settings, words = BROKEN[case]
    pivot, _ = family(tmp_path, 0)
    with pytest.raises(MergeError, match=words) as caught:
        merged(pivot, adapter(tmp_path / "a", tensors, **settings), tmp_path / "out")
    assert "base model" not in str(caught.value)
    assert caught.value.where
    assert caught.value.do


def test_an_adapter_of_another_model_is_called_so(tmp_path):
    pivot, _ = family(tmp_path, 0)
    other = {"base_model_name_or_path": "owner/other"}
    for n, tensors in enumerate((factors(inputs=24), factors(UP.replace("layers.0", "layers.7")))):
        with pytest.raises(MergeError, match=r"base model \(owner/other\)"):
            merged(pivot, adapter(tmp_path / f"a{n}", tensors, **other), tmp_path / "out")


def test_files_that_are_missing_are_named(tmp_path):
    pivot, _ = family(tmp_path, 0)
    folder = adapter(tmp_path / "a", factors())
    (folder / "adapter_config.json").rename(folder / "kept.json")
    with pytest.raises(MergeError, match=r"no adapter_config\.json"):
        merged(pivot, folder, tmp_path / "out")
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(MergeError, match="damaged"):
        merged(pivot, folder, tmp_path / "out")
    (folder / "kept.json").rename(folder / "adapter_config.json")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(MergeError, match="no weights"):
        merged(pivot, folder, tmp_path / "out")
    with pytest.raises(MergeError, match="pivot is an adapter"):
        merged(folder, folder, tmp_path / "out")


def test_a_pickle_is_read_where_it_is_allowed(tmp_path):
    pivot, _ = family(tmp_path, 0)
    folder = adapter(tmp_path / "a", factors())
    expected = merged(pivot, folder, tmp_path / "one")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(factors(), folder / "adapter_model.bin")
    with pytest.raises(MergeError, match="--allow-pickle"):
        merged(pivot, folder, tmp_path / "two")
    ours = merged(pivot, folder, tmp_path / "two", allow_pickle=True)
    for name, values in expected.items():
        np.testing.assert_array_equal(ours[name], values)


NAMED = {
    "plain": lambda name: name.removeprefix("base_model.model."),
    "named": lambda name: name.replace(".weight", ".default.weight"),
    "compiled": lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."),
    "wrapped": lambda name: name.replace(".model.layers", ".model.language_model.layers"),
}


@pytest.mark.parametrize("form", NAMED)
def test_other_names_for_the_same_tensors(tmp_path, form):
    pivot, _ = family(tmp_path, 0)
    expected = merged(pivot, adapter(tmp_path / "a", factors()), tmp_path / "one")
    renamed = {NAMED[form](name): value for name, value in factors().items()}
    ours = merged(pivot, adapter(tmp_path / "b", renamed), tmp_path / "two")
    np.testing.assert_array_equal(
        ours["model.layers.0.mlp.up_proj.weight"], expected["model.layers.0.mlp.up_proj.weight"]
    )
    assert (
        np.abs(
            ours["model.layers.0.mlp.up_proj.weight"] - load(pivot)["model.layers.0.mlp.up_proj.weight"]
        ).max()
        > 0.1
    )


@pytest.mark.parametrize("names", [(".modules_to_save.weight", ".original_module.weight", ".weight"),
                                   (".modules_to_save.default.weight", ".original_module.weight"),
                                   (".weight", ".base_layer.weight")])  # fmt: skip
def test_of_a_modules_copies_the_trained_one_is_taken(tmp_path, names):
    pivot, _ = family(tmp_path, 0)
    new = torch.full((60, 16), 2.0)
    held = {f"{EMBED}{name}": new.clone() - float("origin" in name or "base" in name) for name in names}
    folder = adapter(tmp_path / "a", factors() | held, modules_to_save=["embed_tokens"])
    np.testing.assert_array_equal(merged(pivot, folder, tmp_path / "out")["model.embed_tokens.weight"], 2.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_change_is_worked_out_in_float64_and_rounded_once(tmp_path, dtype):
    pivot, _ = family(tmp_path, 0, dtype=dtype)
    tensors = factors(rank=3)
    folder = adapter(tmp_path / "a", tensors, r=3, lora_alpha=0.1)
    name = "model.layers.0.mlp.up_proj.weight"
    down, up = (t.double().numpy() for t in tensors.values())
    exact = load(pivot)[name] + 0.1 / 3 * (up @ down)
    np.testing.assert_array_equal(merged(pivot, folder, tmp_path / "out")[name], exact.astype(np.float32))


def test_singular_values_are_taken_exactly(tmp_path):
    """PiSSA of a matrix whose largest singular values lie close together, against numpy's SVD in float64."""
    rng = np.random.default_rng(0)
    u, v = np.linalg.qr(rng.normal(size=(40, 16)))[0], np.linalg.qr(rng.normal(size=(16, 16)))[0]
    weight = (u * np.geomspace(1, 1e-4, 16) ** 0.1) @ v
    tensors = random_tensors(0)
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = torch.from_numpy(weight.astype(np.float32))
    pivot = save(tmp_path / "pivot", tensors)
    new = factors(rank=3)
    folder = adapter(tmp_path / "a", new, r=3, lora_alpha=6, init_lora_weights="pissa")
    left, values, right = np.linalg.svd(tensors[name].double().numpy(), full_matrices=False)
    down, up = (t.double().numpy() for t in new.values())
    exact = (left[:, 3:] * values[3:]) @ right[3:] + 2 * up @ down
    ours = merged(pivot, folder, tmp_path / "out")[name]
    np.testing.assert_allclose(ours, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("turned", [False, True], ids=["out-in", "in-out"])
def test_experts_in_one_tensor(tmp_path, turned):
    """delta[e] = scale * B_e A_e (peft: einsum "o r e, e r i -> e o i"), or its transpose."""
    experts, rank, outputs, inputs = 3, 2, 6, 4
    name = "model.layers.0.mlp.experts.gate_up_proj"
    shape = (experts, inputs, outputs) if turned else (experts, outputs, inputs)
    pivot = save(tmp_path / "pivot", random_tensors(0, shapes={**SHAPES, name: shape}))
    module = "base_model.model.model.layers.0.mlp.experts"
    new = factors(module, outputs, inputs, rank * experts)
    folder = adapter(tmp_path / "a", new, target_parameters=["mlp.experts.gate_up_proj"])
    down, up = (t.double().numpy() for t in new.values())
    change = np.einsum(
        "ore,eri->eoi", up.reshape(outputs, rank, experts), down.reshape(experts, rank, inputs)
    )
    exact = load(pivot)[name] + 3 * (change.swapaxes(1, 2) if turned else change)
    np.testing.assert_allclose(merged(pivot, folder, tmp_path / "out")[name], exact, rtol=1e-6)


def test_targets_of_both_kinds_meet_where_an_adapter_parts_the_head(tmp_path, bases):
    """A tied full model and an adapter with a head of its own: the pivot's head is its embedding, the full model's too."""
    base = bases("tied")
    folder, _ = trained(base, tmp_path / "a", modules_to_save=["lm_head"])
    full = shutil.copytree(base, tmp_path / "full")
    weights = {name: torch.from_numpy(value).float() + 0.5 for name, value in load(base).items()}
    save(full, weights, config=json.loads((base / "config.json").read_text()))
    out = tmp_path / "out"
    merge_models(base, {"a": folder, "full": full}, Linear(), out, dtype="float32", threads=1)
    ours, copy = load(out), load(folder)["base_model.model.lm_head.weight"]
    embedding = weights["model.embed_tokens.weight"].double().numpy()
    np.testing.assert_allclose(ours["lm_head.weight"], (copy + embedding) / 2, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ours["model.embed_tokens.weight"], embedding - 0.25, rtol=1e-6, atol=1e-7)
