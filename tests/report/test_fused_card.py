import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import Recipe, validate_recipe
from fusionchat.report.fused_card import model_card
from fusionchat.yaml import parse_value
from tests.report.sample import BITS, report


def recipe(**more: object) -> Recipe:
    tree = {
        "name": "demo",
        "pivot": "openchat/openchat_3.5",
        "sources": {
            "source_a": "NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO",
            "source_b": "/data/models/private-b",
        },
        "corpus": {"train": "corpus.jsonl"},
    }
    return validate_recipe({**tree, **more}, name="test", folder=".")


def made_card(shown, made: Recipe) -> str:
    """The card, of models that need not be here."""
    refs = {name: ModelRef(name, spec.model, spec.model) for name, spec in made.models.items()}
    return model_card(shown, made, refs)


@pytest.fixture(scope="module")
def text() -> str:
    return made_card(report(), recipe())


def test_the_front_matter_is_what_the_hub_reads(text):
    _, matter, body = text.split("---\n", 2)
    value = parse_value(matter, where="")
    assert value["base_model"] == ["openchat/openchat_3.5", "NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO"]
    assert value["base_model_relation"] == "merge"
    assert value["library_name"] == "transformers" and value["pipeline_tag"] == "text-generation"
    assert {"fusionchat", "merge", "distillation"} <= set(value["tags"])
    assert "license" not in value
    metrics = value["model-index"][0]["results"][0]["metrics"]
    expected = report().row("varm").value(BITS).overall.value
    assert metrics[0] == {"type": "bits_per_byte", "name": "bits per byte", "value": round(expected, 4)}
    assert body.startswith("\n# demo\n")


def test_the_hub_accepts_the_card(text):
    data = ModelCard(text).data
    assert data.base_model == ["openchat/openchat_3.5", "NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO"]
    figures = {result.metric_type: result for result in data.eval_results}
    assert figures.keys() == {"bits_per_byte", "exact_match"}
    bits = figures["bits_per_byte"]
    assert (bits.task_type, bits.task_name, bits.metric_name) == (
        "text-generation",
        "held-out answers",
        "bits per byte",
    )
    assert bits.metric_value == round(report().row("varm").value(BITS).overall.value, 4)
    assert str(ModelCard(text)) == text, "the hub would write the same"


def test_folders_of_the_machine_stay_out_of_the_names(text):
    before_recipe = text.split("### Recipe")[0]
    assert "/data/models" not in before_recipe and "`private-b`" in before_recipe


def test_results_lineage_weights_and_recipe_are_there(text):
    assert "The fused model (varm) needs 0.697 bits per byte" in text
    assert "| **varm** |" in text and "| sft |" in text
    assert (
        "- source `source_b`: `private-b` (vocabulary `byte_prefix`, mass kept 98.1 %, retention 0.953)"
        in text
    )
    assert "- merge `varm granularity=layer`; stored as bfloat16" in text  # what was made, not the recipe's
    assert re.search(r"- `source_a`: mean 0\.\d{3}, from 0\.2\d\d to 0\.7\d\d", text)
    assert "```yaml\nname: demo" in text
    assert "licence of each of them applies" in text


def test_the_code_to_load_it_is_python(text):
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 1
    compile(blocks[0], "card", "exec")
    assert "vllm serve" in text and "fusionchat chat" in text


def test_local_models_only_give_no_base_model():
    made = recipe(pivot="./p", sources={"a": "../models/a"})
    value = parse_value(made_card(report(), made).split("---\n")[1], where="")
    assert "base_model" not in value and "base_model_relation" not in value


def test_a_folder_of_the_form_owner_name_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = recipe(pivot="models/pivot", sources={"a": "org/a"})
    assert ModelCard(made_card(report(), made)).data.base_model == ["models/pivot", "org/a"]
    (tmp_path / "models" / "pivot").mkdir(parents=True)
    assert ModelCard(made_card(report(), made)).data.base_model == ["org/a"]


def test_a_run_without_results_still_has_a_card():
    bare = replace(report(), metrics=(), rows=(), fused="", weights=(), pairs=(), domains=())
    text = made_card(bare, recipe())
    assert "model-index" not in text and "no fused model that was evaluated" in text
