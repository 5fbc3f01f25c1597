"""How weights are brought into memory: quantized, spread over devices, with an adapter, with code of their own."""

import json

import pytest
import torch

from fusionchat.errors import ModelError
from fusionchat.models.adapter import base_of, require_base
from fusionchat.models.head import Head
from fusionchat.models.identity import identity
from fusionchat.models.lent import device_of, is_placed
from fusionchat.models.load import load_model
from fusionchat.models.opening import PLAIN, Opening
from fusionchat.models.own_code import describe as own_code
from fusionchat.models.own_code import require_pinned
from fusionchat.models.packed import packed, require_unpackable
from fusionchat.models.quantization import bits_of, configured, describe, held_quantization, lacks
from fusionchat.models.ref import ModelRef
from fusionchat.run.estimate import OVERHEAD, capture_memory, parameters
from fusionchat.stages.openable import require_openable
from tests.small import add_own_code, save_adapter, small_model

CPU = torch.device("cpu")
IDS = torch.arange(30)[None]
NF4 = Opening(
    quantization={"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
)


@pytest.fixture(scope="module")
def small(tiny_input, tmp_path_factory):
    """A folder with a model, an adapter for it, and the model quantized."""
    root = tmp_path_factory.mktemp("small")
    small_model(root / "m", tiny_input / "models/qwen")
    return root


def ref(folder, **more):
    return ModelRef("qwen", str(folder), str(folder), **more)


def opened(one, opening=PLAIN, **more):
    return load_model(one, dtype=torch.float32, device=CPU, opening=opening, **more)


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


@pytest.fixture(scope="module")
def nf4(small):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes, of the extra [quant], is not here")
    model = opened(ref(small / "m"), NF4)
    model.save_pretrained(small / "nf4")
    return model


def test_four_bits_are_near_the_model_and_its_head_is_its_own(small, nf4):
    """nf4 has 16 values: the worst error of a weight is half the widest gap (0.152) of its block's largest."""
    from bitsandbytes.functional import dequantize_4bit

    plain = opened(ref(small / "m"))
    assert is_placed(nf4) and not is_placed(plain)
    Head.of(nf4)
    original = plain.model.layers[0].mlp.up_proj.weight.detach()
    fresh = opened(ref(small / "m"), NF4).model.layers[0].mlp.up_proj.weight
    error = (dequantize_4bit(fresh.data, fresh.quant_state) - original).abs()
    largest = original.reshape(-1, 64).abs().amax(1, keepdim=True)
    assert 0 < float((error.reshape(-1, 64) / largest).max()) <= 0.1521
    assert torch.equal(nf4.model.embed_tokens.weight, plain.model.embed_tokens.weight)


def test_a_model_that_is_stored_quantized_is_opened_as_it_is_and_made_plain_where_asked(small, nf4):
    stored = ref(small / "nf4")
    held = held_quantization(stored)
    assert describe(held) == "bitsandbytes nf4" and bits_of(held) == 4 and lacks(held) == ""
    again = opened(stored)
    assert type(again.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    assert torch.equal(logits(again), logits(nf4))
    plain = opened(stored, plain=True)
    assert type(plain.model.layers[0].mlp.up_proj) is torch.nn.Linear and not is_placed(plain)
    assert {p.dtype for p in plain.parameters()} == {torch.float32}
    assert torch.allclose(logits(plain), logits(nf4), atol=2e-2 * float(logits(nf4).abs().max()))
    with pytest.raises(ModelError, match="are quantized already"):
        opened(stored, NF4)


def test_sizes_are_those_of_the_unpacked_model(small, nf4):
    count = sum(p.numel() for p in opened(ref(small / "m")).parameters())
    assert parameters(ref(small / "m")) == parameters(ref(small / "nf4")) == count
    assert capture_memory(ref(small / "nf4"), "float32") == pytest.approx(count * 1.05 / 2 + OVERHEAD)
    assert capture_memory(ref(small / "m"), "float32", NF4) == pytest.approx(count * 1.05 / 2 + OVERHEAD)
    assert capture_memory(ref(small / "m"), "bfloat16") == 2 * count + OVERHEAD


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"quant_method": "nf5"}, "no quantization method 'nf5'"),
        ({"quant_method": "bitsandbites"}, "did you mean 'bitsandbytes'"),
        ({"quant_method": "bitsandbytes", "load_in_4bits": True}, r"no setting 'load_in_4bits' \(did you mean 'load_in_4bit'"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": 3}, "cannot be set up"),
        ({"quant_method": "gguf"}, "no quantization method 'gguf'"),
    ],
)  # fmt: skip
def test_unknown_methods_and_settings_are_refused_by_name(wanted, words):
    with pytest.raises(ModelError, match=words) as error:
        configured(wanted, dtype="float32", where="sources.qwen.capture.quantization")
    assert error.value.where == "sources.qwen.capture.quantization" and error.value.exit_code == 2


def test_a_four_bit_layer_computes_in_the_capture_s_dtype_unless_it_is_said():
    made = configured(NF4.quantization, dtype="bfloat16", where="x")
    assert made.bnb_4bit_compute_dtype == torch.bfloat16
    given = {**NF4.quantization, "bnb_4bit_compute_dtype": "float16"}
    assert configured(given, dtype="bfloat16", where="x").bnb_4bit_compute_dtype == torch.float16
    short = configured({"quant_method": "bitsandbytes_8bit"}, dtype="bfloat16", where="x")
    assert short.load_in_8bit and not short.load_in_4bit


def test_methods_are_described_and_what_is_missing_is_transformers_word(tmp_path):
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    assert describe(gptq) == "gptq 4 bit" and bits_of(gptq) == 4
    assert describe({"quant_method": "fp8"}) == "fp8" and bits_of({"quant_method": "fp8"}) == 8
    assert "optimum" in lacks(gptq) or "gptqmodel" in lacks(gptq) or lacks(gptq) == ""
    assert held_quantization(ref(tmp_path)) is None
    for text in ("{", "[]", "{}", '{"quantization_config": null}'):
        (tmp_path / "config.json").write_text(text)
        assert held_quantization(ref(tmp_path)) is None
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": gptq}))
    pivot = ModelRef("pivot", str(tmp_path), str(tmp_path))
    assert packed(pivot)
    with pytest.raises(ModelError, match="quantized with gptq 4 bit"):
        require_unpackable(pivot)
    (tmp_path / "config.json").write_text(
        json.dumps({"text_config": {"quantization_config": {"quant_method": "fp8"}}})
    )
    require_unpackable(pivot)


@pytest.mark.parametrize(
    "opening",
    [
        Opening(device_map={"": "cpu"}),
        Opening(device_map="auto"),
        Opening(device_map="auto", max_memory={"cpu": "1200KB"}),
        Opening(device_map={"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu",
                            "model.rotary_emb": "cpu", "lm_head": "cpu"}),
    ],
)  # fmt: skip
def test_a_spread_model_gives_the_same_logits_and_its_head_is_lent(small, opening):
    plain = Head.of(opened(ref(small / "m")))
    model = opened(ref(small / "m"), opening)
    assert torch.equal(logits(model), logits(plain.model))
    head = Head.of(model)
    mask = torch.ones_like(IDS)
    hidden = head.hidden(IDS.to(head.device), mask.to(head.device))[0]
    assert torch.equal(hidden, plain.hidden(IDS, mask)[0])
    assert torch.equal(head.logits(hidden), plain.logits(hidden))
    tiles = [part.clone() for _, _, part in head.tiles(hidden)]
    assert all(torch.equal(a, b.logits) for a, b in zip(tiles, plain.tiles(hidden), strict=True))
    assert device_of(head.linear) == CPU
    if head.weight.is_meta:
        assert head.model.get_output_embeddings().weight.is_meta  # it was taken away again


def test_settings_of_devices_are_checked():
    assert Opening(device_map="auto", max_memory={0: "1GB", "cpu": 5}).most == {0: "1GB", "cpu": 5}
    with pytest.raises(ValueError, match="quant_method"):
        Opening(quantization={"load_in_4bit": True})
    with pytest.raises(ValueError, match="device_map"):
        Opening(device_map="automatic")


def test_an_adapter_is_merged_and_part_of_the_identity(small, tmp_path):
    adapted = save_adapter(tmp_path / "a", small / "m")
    one = ref(small / "m", adapter=str(tmp_path / "a"))
    model = opened(one)
    assert type(model).__name__ == "Qwen2ForCausalLM"
    assert torch.allclose(logits(model), logits(adapted), atol=1e-4)
    assert not torch.allclose(logits(model), logits(opened(ref(small / "m"))), atol=0.05)
    assert base_of(one.adapter_place) == str(small / "m")
    before = identity(one)
    assert before != identity(ref(small / "m"))
    (tmp_path / "a/adapter_config.json").write_text((tmp_path / "a/adapter_config.json").read_text() + " ")
    assert identity(one) != before
    eight = opened(one, Opening(quantization={"quant_method": "bitsandbytes_8bit"}))
    assert torch.allclose(logits(eight), logits(adapted), atol=0.1 * float(logits(adapted).abs().max()))


def test_an_adapter_of_another_base_is_refused(small, tiny_input, tmp_path):
    save_adapter(tmp_path / "a", small / "m")
    other = ref(tiny_input / "models/qwen", adapter=str(tmp_path / "a"))
    for check in (lambda: require_openable(other, Opening()), lambda: opened(other)):
        with pytest.raises(ModelError, match="The adapter of 'qwen' does not fit its model"):
            check()
    require_openable(ref(small / "m", adapter=str(tmp_path / "a")), Opening())
    config = tmp_path / "a/adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "org/Base"}))
    with pytest.raises(ModelError, match="was trained on org/Base, and its model is org/other"):
        require_base(ModelRef("s", "org/other", "org/other", adapter=str(tmp_path / "a")))
    require_base(ModelRef("s", "org/base", "org/base", adapter=str(tmp_path / "a")))
    with pytest.raises(ModelError, match="holds no adapter"):
        require_base(ref(small / "m", adapter=str(small / "m")))


def test_own_code_runs_only_where_it_is_allowed_and_is_part_of_the_identity(small, tmp_path):
    import shutil

    folder = add_own_code(shutil.copytree(small / "m", tmp_path / "own"))
    one = ref(folder, own_code=True)
    model = opened(one)
    assert type(model).__name__ == "ToyForCausalLM"
    assert torch.equal(logits(model), logits(opened(ref(small / "m"))))
    Head.of(model)
    assert own_code(one) == "its own Python files run: configuration_toy.py, modeling_toy.py"
    with pytest.raises(ModelError, match="only with `trust_remote_code`"):
        opened(ref(folder))
    before, without = identity(one), identity(ref(folder))
    (folder / "modeling_toy.py").write_text((folder / "modeling_toy.py").read_text() + "\n# x\n")
    assert identity(one) != before and identity(ref(folder)) == without


def test_own_code_of_the_hub_is_pinned_and_of_one_repository(tmp_path):
    from fusionchat.hub import find

    for revision in (None, "main", "a" * 39):
        with pytest.raises(ModelError, match="may change from one day to the next") as error:
            require_pinned(find("org/m", revision=revision), "sources.m")
        assert error.value.where == "sources.m.trust_remote_code"
    require_pinned(find("org/m", revision="a" * 40), "sources.m")
    require_pinned(find(str(tmp_path)), "sources.m")
    mapped = {"auto_map": {"AutoConfig": "other/repo--configuration.C"}}
    (tmp_path / "config.json").write_text(json.dumps(mapped))
    with pytest.raises(ModelError, match=r"other/repo--configuration\.C"):
        require_pinned(find(str(tmp_path)), "sources.m")
