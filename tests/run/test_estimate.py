"""Costs before anything has run."""

import gzip
import json

import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import Recipe, load_recipe
from fusionchat.run import estimate
from fusionchat.run.assumed import Assumed, assuming
from fusionchat.run.estimate import (
    capture_cost,
    evaluation_cost,
    most_disk,
    parameters,
    part_size,
    part_tokens,
    shards,
    trained_parameters,
    training_cost,
)
from fusionchat.run.job import Cost


def test_parameters_are_counted_from_headers(tiny):
    refs = load_recipe("recipe.yaml").refs()
    tensors = load_file(tiny / "input/models/mixtral/model.safetensors")
    assert parameters(refs["mixtral"]) == sum(t.size for t in tensors.values())
    assert parameters(ModelRef("x", "org/name", "org/name")) is None


def test_only_the_models_own_weights_are_counted(tmp_path):
    ref = ModelRef("m", str(tmp_path), str(tmp_path))
    assert parameters(ref) is None
    torch.save({"w": torch.ones(3, 4)}, tmp_path / "pytorch_model.bin")
    assert parameters(ref) == 12
    for name, size in (("model-00001-of-00002", 5), ("model-00002-of-00002", 6), ("consolidated", 100)):
        save_file({name: torch.ones(size)}, tmp_path / f"{name}.safetensors")
    assert parameters(ref) == 11


def test_headers_are_read_again_only_where_files_have_changed(tmp_path, monkeypatch):
    ref = ModelRef("m", str(tmp_path), str(tmp_path))
    save_file({"w": torch.ones(5)}, tmp_path / "model.safetensors")
    opened = []
    real = estimate.open_checkpoint
    monkeypatch.setattr(
        estimate, "open_checkpoint", lambda *args, **more: opened.append(args) or real(*args, **more)
    )
    assert [parameters(ref), parameters(ref)] == [5, 5] and len(opened) == 1
    save_file({"w": torch.ones(6)}, tmp_path / "model.safetensors")
    assert [parameters(ref), parameters(ref)] == [6, 6] and len(opened) == 2


def test_costs_follow_from_parameters_and_corpus(tiny):
    recipe = load_recipe("recipe.yaml", ("distill.epochs=2",))
    refs = recipe.refs()
    size = (tiny / "input/corpus/train.jsonl").stat().st_size
    count = parameters(refs["pivot"])
    assert capture_cost(recipe, refs["pivot"]).flops == 2 * count * size / 4
    assert training_cost(recipe, refs["pivot"]).flops == 2 * 6 * count * size / 4
    unknown = capture_cost(recipe, ModelRef("x", "org/name", "org/name"))
    assert unknown.flops is None and unknown.disk > 0


def test_a_store_is_estimated_by_how_it_is_kept(tiny):
    """k = 5: 4 + 2 bytes a slot and 7 beside them; of tokens, a quarter of the file's bytes."""
    tokens = (tiny / "input/corpus/train.jsonl").stat().st_size / 4
    assert shards(load_recipe("recipe.yaml")) == tokens * 37
    small = load_recipe("recipe.yaml", ("represent.logprobs=uint8", "represent.compression=zstd"))
    assert shards(small) == tokens * 32 * 0.6


def test_tokens_of_entries_by_their_sizes(tiny):
    (tiny / "a.jsonl").write_text(("x" * 39 + "\n") * 100)  # 4,000 bytes
    with gzip.open(tiny / "b.jsonl.gz", "wb") as file:
        file.write((b"y" * 79 + b"\n") * 100)
    packed = (tiny / "b.jsonl.gz").stat().st_size

    def tokens(*entries):
        tree = load_recipe("recipe.yaml").model_dump(exclude={"folder"})
        tree["corpus"]["train"] = list(entries)
        return part_tokens(Recipe(**tree), "train")

    assert tokens("a.jsonl") == 4000 / 4 and tokens({"path": "a.jsonl", "share": 0.5}) == 4000 / 8
    assert tokens({"path": "a.jsonl", "limit": 30}) == 30 * 40 / 4
    assert tokens({"path": "a.jsonl", "limit": 300}) == 4000 / 4
    assert tokens("b.jsonl.gz") == 3 * packed / 4
    assert tokens({"path": "b.jsonl.gz", "limit": 1}) == 80 / 4
    assert tokens("a.jsonl", {"path": "b.jsonl.gz", "limit": 1}) == 1000 + 20
    assert tokens({"path": "[a].jsonl"}) == 1000 and tokens("a.jsonl", "org/name") is None
    assert tokens("none.jsonl") is None


def test_a_training_s_checkpoints_are_on_the_disk_while_it_runs(tiny):
    """fp32 weights and two moments are 12 bytes a parameter; one is kept while another is written."""
    recipe = load_recipe("recipe.yaml")
    refs = recipe.refs()
    cost = training_cost(recipe, refs["pivot"])
    assert cost.disk == 4 * parameters(refs["pivot"])
    assert cost.scratch == 2 * 12 * parameters(refs["pivot"])
    assert training_cost(recipe, ModelRef("x", "org/name", "org/name")).scratch is None


def test_factors_cost_what_their_matrices_sides_say(tiny):
    """Factors of the queries of rank 2, and the embedding whole."""
    config = json.loads((tiny / "input/models/pivot/config.json").read_text())
    full, how = (
        load_recipe("recipe.yaml"),
        "distill.train={lora: {r: 2, targets: [q_proj], modules_to_save: [embed_tokens]}}",
    )
    recipe = load_recipe("recipe.yaml", (how,))
    pivot = recipe.refs()["pivot"]
    size, hidden = parameters(pivot), config["hidden_size"]
    queries = config["num_hidden_layers"] * 2 * (hidden + config["num_attention_heads"] * config["head_dim"])
    embedding = hidden * config["vocab_size"]
    trained = trained_parameters(recipe, pivot)
    assert trained == queries + embedding and trained_parameters(full, pivot) == size
    cost = training_cost(recipe, pivot)
    assert (cost.disk, cost.scratch) == (4 * trained, training_cost(full, pivot).scratch * trained / size)
    assert cost.flops == training_cost(full, pivot).flops * 4 / 6
    assert trained_parameters(recipe, ModelRef("x", "org/name", "org/name")) is None


def test_a_real_checkpoint_is_as_large_as_estimated(tiny, monkeypatch):
    from fusionchat.stages import distill as stage
    from fusionchat.stages.pipeline import run, run_job

    sizes = []

    def measure(folder, **_):
        found = folder.glob("checkpoint-*") if folder.name == stage.CHECKPOINTS else []
        sizes.extend(sum(p.stat().st_size for p in one.rglob("*") if p.is_file()) for one in found)

    monkeypatch.setattr(stage.shutil, "rmtree", measure)
    recipe = load_recipe("recipe.yaml", ("distill.epochs=0.2",))
    run(recipe, until="corpus")
    run_job(recipe, "distill/sft")
    expected = 12 * parameters(recipe.refs()["pivot"])
    assert sizes and all(0.95 * expected < size < 1.25 * expected + 1e5 for size in sizes)


def test_disk_is_what_is_left_and_the_most_that_is_needed_besides():
    costs = [Cost(10.0, 0.0, 5.0), Cost(1.0, 0.0, 30.0), Cost(2.0)]
    assert most_disk(costs) == 43.0
    assert most_disk([*costs, Cost(None)]) is None and most_disk([*costs, Cost(1.0, 0.0, None)]) is None


def test_a_hub_model_is_counted_in_the_cache_and_else_by_the_hub(tmp_path, monkeypatch):
    ref = ModelRef("solar", "org/solar", "org/solar")
    monkeypatch.setattr(estimate, "configuration_folder", lambda place: tmp_path)
    monkeypatch.setattr(estimate, "hub_parameters", lambda place: 7)
    assert estimate.parameters(ref) == 7  # only its tokenizer is in the cache
    save_file({"a": torch.zeros(2, 3)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert estimate.parameters(ref) == 6


def test_an_evaluation_costs_the_passes_of_its_tasks(tiny):
    """A drawn part has its share of train; one from the hub is not known."""
    recipe = load_recipe("recipe.yaml", ("corpus.train=input/corpus/train.jsonl", "corpus.test=0.25"))
    pivot = recipe.refs()["pivot"]
    train, quarter = part_size(recipe, "train"), part_size(recipe, "test")
    assert quarter == (train.tokens / 4, train.conversations / 4)
    lines = (tiny / "input/corpus/train.jsonl").read_text().count("\n")
    assert train.conversations == pytest.approx(lines, rel=0.01)
    plain = evaluation_cost(recipe, pivot, "test")
    assert plain.flops == pytest.approx(2 * parameters(pivot) * quarter.tokens)
    tasks = EvaluateSettings.model_validate({"exact_match": {"max_new_tokens": 7}}).tasks
    more = evaluation_cost(recipe, pivot, "test", tasks)
    assert more.flops == pytest.approx(2 * plain.flops + 2 * parameters(pivot) * 7 * quarter.conversations)
    away = load_recipe("recipe.yaml", ("corpus.train=org/name", "corpus.test=0.25"))
    assert part_size(away, "test") is None and evaluation_cost(away, pivot, "test") == Cost(0.0, None)
    with assuming(Assumed(tokens=66e3)):
        assert part_size(away, "test") == (16.5e3, 25)
