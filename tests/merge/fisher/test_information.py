"""`fusionchat fisher`: the diagonal against a slow reference, through the command line, and on into a merge."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from fusionchat.cli.verbs import guarded
from fusionchat.corpus.render import Renderer
from fusionchat.errors import CorpusError, MergeError
from fusionchat.merge.fisher.diagonal import fisher_diagonal
from fusionchat.merge.fisher.information import as_stored, draw, make_fisher
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from fusionchat.models.load import load_tokenizer
from fusionchat.models.ref import ModelRef
from tests.cli.calls import call, refused
from tests.reference import merge as reference

CORPUS = "input/corpus/train.jsonl"
near = {"rtol": 2e-4, "atol": 1e-9}


def renderer(folder):
    return Renderer(load_tokenizer(ModelRef("m", str(folder), str(folder))))


def slow_diagonal(folder, rendered):
    """Mean squared gradient of each conversation's log-likelihood, by parameter: autograd, one conversation at a time."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    names, parameters = zip(*model.named_parameters(), strict=True)
    total = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
    for one in rendered:
        ids = torch.from_numpy(one.input_ids).long()
        logprobs = model(input_ids=ids[None]).logits[0].double().log_softmax(-1)
        likelihood = sum(logprobs[row - 1, ids[row]] for row in one.rows.tolist())
        for held, gradient in zip(total, torch.autograd.grad(likelihood, parameters), strict=True):
            held.addcmul_(gradient.double(), gradient.double())
    return {name: held / len(rendered) for name, held in zip(names, total, strict=True)}


def make(model, out, **settings):
    return make_fisher(
        str(model), CORPUS, out, **{"examples": 5, "max_tokens": 64, "seed": 3, "device": "cpu", **settings}
    )


def test_the_diagonal_is_that_of_the_slow_reference(tiny):
    folder = tiny / "input/models/pivot"
    report = make(folder, tiny / "f")
    rendered, rejects = draw(CORPUS, renderer(folder), 64, 5, 3)
    assert (report.examples, report.tokens) == (5, sum(len(r.rows) for r in rendered)) and not rejects
    assert max(len(r.input_ids) for r in rendered) <= 64
    assert any((np.diff(r.rows) > 1).any() or r.rows[0] > 1 for r in rendered), (
        "some tokens are not supervised"
    )
    found, wanted = load_file(tiny / "f/model.safetensors"), slow_diagonal(folder, rendered)
    assert set(found) == set(load_file(folder / "model.safetensors")) == set(wanted)
    for name, value in wanted.items():
        assert value.abs().max() > 0
        torch.testing.assert_close(found[name].double(), value, **near)
    note = json.loads((tiny / "f/fisher.json").read_text())
    assert note["examples"] == 5 and note["supervised_tokens"] == report.tokens


def test_experts_that_are_held_in_one_tensor_are_written_as_they_are_stored(tiny):
    folder = tiny / "input/models/mixtral"
    make(folder, tiny / "f", examples=2)
    found = load_file(tiny / "f/model.safetensors")
    wanted = slow_diagonal(folder, draw(CORPUS, renderer(folder), 64, 2, 3)[0])
    assert set(found) == set(load_file(folder / "model.safetensors")) != set(wanted)
    for expert in range(4):
        here = f"model.layers.1.block_sparse_moe.experts.{expert}"
        both = torch.cat([found[f"{here}.w1.weight"], found[f"{here}.w3.weight"]]).double()
        torch.testing.assert_close(both, wanted["model.layers.1.mlp.experts.gate_up_proj"][expert], **near)
        down = wanted["model.layers.1.mlp.experts.down_proj"][expert]
        torch.testing.assert_close(found[f"{here}.w2.weight"].double(), down, **near)


def targets_of(tiny):
    """Two models of the pivot's structure, the second with its tied head stored, too; and a pivot that stores it as well."""
    pivot = load_file(tiny / "input/models/pivot/model.safetensors")
    rng = torch.Generator().manual_seed(1)
    for name, head in (("pivot", True), ("a", False), ("b", True)):
        shutil.copytree(tiny / "input/models/pivot", tiny / name)
        noise = 0.0 if name == "pivot" else 0.02
        tensors = {k: v + noise * torch.randn(v.shape, generator=rng) for k, v in pivot.items()}
        if head:
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        save_file(tensors, tiny / name / "model.safetensors", metadata={"format": "pt"})


def test_two_folders_from_the_command_line_make_a_fisher_merge(capsys, tiny):
    targets_of(tiny)
    for name in ("a", "b"):
        code, text = call(capsys, "fisher", name, CORPUS, "--out", f"f{name}", "--examples", "4")
        assert code == 0 and "4 conversations" in text, text
    told = {name: load_file(tiny / f"f{name}/model.safetensors") for name in ("a", "b")}
    assert "lm_head.weight" in told["b"] and "lm_head.weight" not in told["a"]
    told["a"]["lm_head.weight"] = told["a"]["model.embed_tokens.weight"]
    arguments = ["--pivot", "pivot", "--target", "a", "--target", "b", "--dtype", "float32", "--threads", "1"]
    arguments += ["--method", "fisher", "--set", "fisher=[fa,fb]", "--out", "merged"]
    code, text = call(capsys, "merge", *arguments)
    assert code == 0, text
    models = {name: load_file(tiny / name / "model.safetensors") for name in ("a", "b", "merged")}
    models["a"]["lm_head.weight"] = models["a"]["model.embed_tokens.weight"]
    for name, values in models["merged"].items():
        both = np.stack([models[t][name].double().numpy() for t in ("a", "b")])
        information = np.stack([told[t][name].double().numpy() for t in ("a", "b")])
        np.testing.assert_allclose(values.numpy(), reference.fisher(both, information), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        models["merged"]["lm_head.weight"], models["merged"]["model.embed_tokens.weight"]
    )
    save_file({k: v for k, v in told["b"].items() if k != "model.norm.weight"}, tiny / "fb/model.safetensors")
    assert "model.norm.weight" in refused(capsys, "merge", *arguments, "--overwrite")


def test_a_checkpoint_of_the_body_alone_with_a_buffer(tmp_path):
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20, n_positions=8))
    model.transformer.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 8, 8)  # as old files have it: a mask
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([[1, 2, 3, 4]])
    diagonal = fisher_diagonal(loaded, [{"input_ids": ids, "labels": ids}])
    stored = open_checkpoint(tmp_path).tensors
    found = as_stored(loaded, diagonal, stored, where="x")
    assert set(found) == set(tensors) and not found["h.0.attn.bias"].any()
    torch.testing.assert_close(found["wte.weight"], diagonal["transformer.wte.weight"])
    with pytest.raises(MergeError, match="ln_f"):
        as_stored(loaded, diagonal, {k: v for k, v in stored.items() if k != "ln_f.weight"}, where="x")


def test_what_cannot_be_used_is_counted_and_said(capsys, tiny):
    lines = (tiny / CORPUS).read_text().splitlines()[:3]
    bad = [{"messages": [{"role": "user", "content": "x"}]}, {"messages": []}, {"text": "x"}]
    (tiny / "mixed.jsonl").write_text("\n".join([*lines, *map(json.dumps, bad)]))
    code, text = call(capsys, "fisher", "input/models/pivot", "mixed.jsonl", "--out", "f")
    assert code == 0 and "3 conversations" in text
    assert "not used: 1 empty, 1 no assistant turn, 1 no messages" in text
    assert json.loads((tiny / "f/fisher.json").read_text())["rejects"]["no assistant turn"] == 1
    (tiny / "long.jsonl").write_text(
        json.dumps({"messages": [{"role": r, "content": "w " * 300} for r in ("user", "assistant")]})
    )
    with pytest.raises(CorpusError, match="1 no whole token of an answer fits"):
        make_fisher(
            "input/models/pivot", "long.jsonl", tiny / "g", examples=1, max_tokens=64, seed=0, device="cpu"
        )


def test_the_draw_depends_on_the_seed_alone(tiny):
    mine = renderer(tiny / "input/models/pivot")
    drawn = [[r.input_ids.tolist() for r in draw(CORPUS, mine, 64, 4, seed)[0]] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_wrong_inputs_are_told(capsys, tiny):
    pivot = "input/models/pivot"
    (tiny / "full").mkdir()
    (tiny / "full/x").write_text("")
    assert "not empty" in refused(capsys, "fisher", pivot, CORPUS, "--out", "full")
    assert list((tiny / "full").iterdir()) == [tiny / "full/x"]
    assert "no such model folder" in refused(capsys, "fisher", "./none", CORPUS, "--out", "f")
    assert "no such corpus" in refused(capsys, "fisher", pivot, "none.jsonl", "--out", "f")
    assert "device" in refused(capsys, "fisher", pivot, CORPUS, "--out", "f", "--device", "gpu", code=3)
    assert guarded(["fisher", pivot, CORPUS, "--out", "f", "--examples", "0"]) == 2
    (tiny / "lora").mkdir()
    (tiny / "lora/adapter_config.json").write_text("{}")
    assert "LoRA" in refused(capsys, "fisher", "lora", CORPUS, "--out", "f")
    (tiny / "pickle").mkdir()
    (tiny / "pickle/pytorch_model.bin").write_bytes(b"x")
    assert "more than weights" in refused(capsys, "fisher", "pickle", CORPUS, "--out", "f")
    assert not (tiny / "f").exists()


def test_infinite_weights_are_told_and_leave_no_diagonal(tiny):
    shutil.copytree(tiny / "input/models/pivot", tiny / "broken")
    tensors = load_file(tiny / "broken/model.safetensors")
    tensors["model.norm.weight"][0] = float("inf")
    save_file(tensors, tiny / "broken/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MergeError, match="loss of example 0"):
        make("broken", tiny / "f")
    assert not list((tiny / "f").iterdir())
