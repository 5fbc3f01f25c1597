"""What `check` says of each model before it is opened."""

import json
import shutil

import pytest

from fusionchat.cli.show_check import show
from fusionchat.errors import ModelError
from fusionchat.recipe.schema import load_recipe
from fusionchat.stages.check import check
from fusionchat.stages.pipeline import open_run, run
from tests.small import add_own_code, save_adapter, small_model


def test_variables_are_said_and_those_that_a_template_never_reads_are_doubted(tiny, capsys):
    (tiny / "t.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}"
        "{% if enable_thinking %}{% endif %}"
    )
    given = "sources.qwen.template_variables={enable_thinking: false, enable_thinkin: [1, 2.5], zzz: null}"
    found = check(load_recipe("recipe.yaml", ("sources.qwen.template=t.jinja", given)), sample=2)
    assert found.opens == [
        "qwen: its chat template is given enable_thinking = false, enable_thinkin = [1, 2.5], zzz = null"
    ]
    path = "sources.qwen.template_variables"
    assert found.doubts == [
        f"{path}.enable_thinkin: the chat template never reads it (did you mean 'enable_thinking'?)",
        f"{path}.zzz: the chat template never reads it",
    ]
    show(found)
    printed = capsys.readouterr()
    assert found.opens[0] in printed.out and found.doubts[1] in printed.err


NF4 = "{quantization: {quant_method: bitsandbytes, load_in_4bit: true, bnb_4bit_quant_type: nf4}}"


def test_each_way_of_opening_a_model_has_its_line_and_a_source_is_captured_and_evaluated_in_it(tiny):
    small_model(tiny / "m", tiny / "input/models/qwen")
    save_adapter(tiny / "a", tiny / "m")
    add_own_code(shutil.copytree(tiny / "m", tiny / "own"))
    settings = (
        "sources.qwen={model: m, adapter: a, capture: {device_map: auto, max_memory: {cpu: 1GB}}}",
        f"sources.mixtral={{model: m, capture: {NF4}}}",
        "sources.toy={model: own, trust_remote_code: true}",
        "pivot={model: input/models/pivot}",
    )
    recipe = load_recipe("recipe.yaml", settings)
    found = check(recipe, sample=4)
    assert found.opens == [
        "mixtral: quantized with bitsandbytes nf4 on loading",
        "qwen: with the adapter a; spread over devices (auto, at most 1GB on cpu)",
        "toy: its own Python files run: configuration_toy.py, modeling_toy.py",
    ]
    made = run(recipe, until="represent")
    bits = {
        name: made.manifest(f"represent/{name}").summary["bits_per_byte"]
        for name in ("qwen", "mixtral", "toy")
    }
    assert len(set(bits.values())) == 3  # an adapter, four bits, neither
    evaluated = made.jobs["evaluate/test/sources/mixtral"].settings.opening
    assert evaluated.quantization["bnb_4bit_quant_type"] == "nf4"
    assert made.jobs["evaluate/test/pivot"].settings.opening.quantization is None


def test_a_pivot_with_an_adapter_is_unpacked(tiny):
    from safetensors.torch import load_file

    small_model(tiny / "m", tiny / "input/models/qwen")
    adapted = save_adapter(tiny / "a", tiny / "m")
    recipe = load_recipe("recipe.yaml", ("pivot={model: m, adapter: a}",))
    assert (
        check(recipe, sample=2)
        .opens[0]
        .startswith(
            "pivot: with the adapter a; written once into an ordinary folder of the run, 2 MB in float32"
        )
    )
    made = run(recipe, until="unpack")
    merged = load_file(made.folder / "unpack/pivot/model/model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    layer = adapted.base_model.model.model.layers[0].mlp.up_proj
    wanted = layer.base_layer.weight + layer.get_delta_weight("default")
    assert merged[name].allclose(wanted, atol=1e-6)
    read = made.jobs["distill/sft"].models["pivot"]
    assert read.adapter is None and read.model.endswith("unpack/pivot/model")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("sources.qwen.model=none.gguf", "no such GGUF file: none.gguf"),
        ("sources.qwen.model=cut.gguf", "cut short"),
        ("sources.qwen.adapter=input/models/qwen", "holds no adapter"),
        ("sources.qwen.capture={quantization: {quant_method: nf5}}", "no quantization method 'nf5'"),
        ("pivot.trust_remote_code=true", "pivot's own Python files"),
        ("sources.qwen={model: org/m, trust_remote_code: true}", "may change from one day to the next"),
        ("pivot.model=gptq", "quantized with gptq 4 bit"),
    ],
)
def test_what_cannot_be_opened_is_one_clear_error(tiny, setting, words):
    (tiny / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    shutil.copytree(tiny / "input/models/pivot", tiny / "gptq")
    config = json.loads((tiny / "gptq/config.json").read_text())
    quantized = config | {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (tiny / "gptq/config.json").write_text(json.dumps(quantized))
    with pytest.raises(ModelError, match=words) as error:
        check(load_recipe("recipe.yaml", (setting,)), sample=2)
    assert error.value.exit_code == 2
    with pytest.raises(ModelError, match=words):
        planned = load_recipe("recipe.yaml", (setting,))
        open_run(planned)
        run(planned, until="represent")
