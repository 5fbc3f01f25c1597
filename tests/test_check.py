"""`check` on a recipe before and after a run."""

import json

import pytest
import torch

from fusionchat.check import check, show
from fusionchat.errors import MergeError
from fusionchat.estimate import size, total, work
from fusionchat.pipeline import run
from fusionchat.recipe import load_recipe
from tests.tiny import copy_input, write_recipe


def test_before_and_after_a_capture(tiny):
    recipe = load_recipe("recipe.yaml")
    before = check(recipe, sample=8)
    assert before.retention == {} and before.unseen == [] and before.records == 8
    assert [pair.name for pair in before.previews] == ["mixtral", "qwen"]
    assert before.disk > 0 and before.flops > 0
    for name, pieces in before.renderings.items():
        supervised = [piece.text for piece in pieces if piece.supervised]
        assert supervised and name in ("pivot", "mixtral", "qwen")

    run(recipe, until="align")
    after = check(recipe, sample=8)
    assert set(after.retention) == {"mixtral", "qwen"}
    assert 0.999 < after.retention["qwen"]["retention"] <= 1.0001
    # What the sample promised is what the whole corpus gave, roughly.
    exact = {pair.name: pair.exact for pair in after.previews}
    assert abs(exact["qwen"] - after.retention["qwen"]["exact_share"]) < 0.15
    assert after.retention["mixtral"]["exact_share"] == 1.0


def test_totals_and_words():
    assert total([1.0, 2.0]) == 3.0 and total([1.0, None]) is None and total([]) == 0.0
    assert (size(None), size(999), size(2.5e9)) == ("?", "999 B", "2 GB")
    assert (work(None), work(3e15), work(10)) == ("?", "3.0 PFLOP", "-")


def test_a_candidate_that_cannot_take_so_many_sources_is_told_beforehand(tiny, capsys):
    candidates = ["linear", {"method": "ties", "density": [0.1, 0.2, 0.3]}]
    write_recipe(tiny / "recipe.yaml", search={"candidates": candidates})
    found = check(load_recipe("recipe.yaml"), sample=2)
    assert found.unfit == ["search.candidates.1: Method ties has 3 values of `density` for 2 targets"]
    show(found)
    assert "search.candidates.1" in capsys.readouterr().err


def test_keys_that_nothing_reads_are_said(tiny, capsys):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    records = [
        {"messages": messages, "persona": "a pirate"},
        {"messages": messages, "tools": [{"name": "f"}]},
    ]
    (tiny / "odd.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    show(check(load_recipe("recipe.yaml", ("corpus.train=odd.jsonl",))))
    said = capsys.readouterr().out
    assert "Corpus: 2 records looked at; rejected: 1 key `tools` cannot be followed" in said
    assert "Corpus: keys of records that are not used: 1 persona" in said


def test_a_pivot_whose_merge_would_be_refused_is_refused_before_anything_is_run(tiny):
    from safetensors.torch import load_file, save_file

    copy_input(tiny)
    file = tiny / "input/models/pivot/model.safetensors"
    held = load_file(file)
    lost = next(name for name in sorted(held) if "mlp" in name)
    save_file({name: t for name, t in held.items() if name != lost}, file, metadata={"format": "pt"})
    recipe = load_recipe("recipe.yaml")
    for look in (lambda: check(recipe, sample=2), lambda: run(recipe, until="represent")):
        with pytest.raises(MergeError, match=lost):
            look()
    assert not (tiny / "runs/tiny/represent").exists() and not (tiny / "runs/tiny/corpus").exists()
    save_file(held | {"score.weight": torch.ones(1, 4)}, file, metadata={"format": "pt"})
    found = check(recipe, sample=2)
    assert found.pivot == [
        "score.weight is no parameter of its structure: not trained, carried over as stored"
    ]
