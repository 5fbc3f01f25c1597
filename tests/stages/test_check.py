"""`check` on a recipe before and after a run."""

import json
from types import SimpleNamespace

import pytest
import torch

from fusionchat.cli.show_check import show
from fusionchat.corpus.agree import HIDES
from fusionchat.corpus.conversation import Reject
from fusionchat.corpus.parts import PARTS as PART_NAMES
from fusionchat.corpus.thoughts import DROPPED
from fusionchat.errors import CorpusError, MergeError
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.estimate import total, work
from fusionchat.stages.check import check
from fusionchat.stages.check_usable import TOGETHER, require_usable, usable
from fusionchat.stages.corpus import read_counts, read_part
from fusionchat.stages.pipeline import run
from fusionchat.units import size
from tests.tiny import copy_input, write_recipe


def test_before_and_after_a_capture(tiny):
    recipe = load_recipe("recipe.yaml")
    before = check(recipe, sample=8)
    assert before.retention == {} and before.unseen == [] and before.records == 8
    assert [pair.name for pair in before.previews] == ["mixtral", "qwen"]
    assert before.disk > 0 and before.flops > 0
    assert len(before.renderings) == 9
    for record in before.renderings:
        assert list(record.models) == ["pivot", "mixtral", "qwen"]
        assert all(any(piece.supervised for piece in pieces) for pieces in record.models.values())

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
    assert "Corpus: 2 records looked at; rejected: 1 key `tools` is not supported" in said
    assert "Corpus: keys of records that are not used: 1 persona" in said


def test_a_pivot_whose_merge_would_be_refused_is_refused_before_the_first_capture(tiny):
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
    assert not (tiny / "runs/tiny/represent").exists()
    save_file(held | {"score.weight": torch.ones(1, 4)}, file, metadata={"format": "pt"})
    found = check(recipe, sample=2)
    assert found.pivot == [
        "score.weight is no parameter of its structure: not trained, carried over as stored"
    ]


PARTS = (
    "{% for m in messages %}<s>{{ m.role }}\n"
    "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% else %}[picture]{% endif %}{% endfor %}</s>\n"
    "{% endfor %}"
)
DROPS = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}</s>\n{% endfor %}"


def with_template(tiny, source, **changes):
    (tiny / "t.jinja").write_text(source)
    sources = {
        "mixtral": {"model": "input/models/mixtral"},
        "qwen": {"model": "input/models/qwen", "template": "t.jinja"},
    }
    write_recipe(tiny / "recipe.yaml", sources=sources, **changes)
    return load_recipe("recipe.yaml")


def test_a_model_that_can_use_nothing_is_named(tiny, capsys):
    recipe = with_template(tiny, PARTS)
    found = check(recipe, sample=4)
    assert [(u.model, u.used, u.of, u.few) for u in found.usable] == [("qwen", 0, 4, True)]
    show(found)
    assert "No problems found" not in capsys.readouterr().out
    with pytest.raises(CorpusError, match=r"qwen: can use none of the 4 .* list of parts"):
        require_usable(found.usable)
    with pytest.raises(
        CorpusError, match=r"qwen: the chat template takes content as a list of parts.* \((\d+) of \1\)"
    ):
        run(recipe, until="corpus")


def test_a_model_that_can_use_little_is_a_warning(tiny, capsys):
    lines = [
        {"messages": [{"role": "user", "content": str(i)}, {"role": "assistant", "content": str(i)}]}
        for i in range(8)
    ]
    (tiny / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = "{% if messages[0].content not in '12' %}{{ raise_exception('odd') }}{% endif %}" + DROPS
    found = check(with_template(tiny, source, corpus={"train": "c.jsonl", "max_tokens": 96}), sample=8)
    assert str(found.usable[0]).startswith("qwen: can use only 2 of the 8") and found.usable[0].few
    assert "refuses the conversation, e.g. odd (6)" in str(found.usable[0])  # in the template's own words
    require_usable(found.usable)
    show(found)
    said = capsys.readouterr()
    assert "No problems found" not in said.out and "qwen: can use only 2" in said.err


def test_what_all_models_can_use_together():
    def pair(name, *rejected):
        rejects = [Reject(i, "odd", "", name) for i in rejected]
        return SimpleNamespace(name=name, conversations=4, rejects=rejects, notes={})

    found = {u.model: u.used for u in usable([pair("a", "1", "2"), pair("b", "3", "4")])}
    assert found == {"a": 2, "b": 2, TOGETHER: 0}
    assert {u.model: u.used for u in usable([pair("a", "1"), pair("b", "1")])} == {"a": 3, "b": 3}
    assert [u.model for u in usable([pair("a", "1"), pair("b")])] == ["a"] and usable([pair("a")]) == []
    with pytest.raises(CorpusError, match="together: can use none"):
        require_usable(usable([pair("a", "1", "2"), pair("b", "3", "4")]))


@pytest.mark.parametrize("thinking", ["keep", "drop"])
def test_thoughts_are_kept_or_dropped_and_counted(tiny, capsys, thinking):
    thought = "<think>\nSlowly, {}.\n</think>\n\nIt is {}."
    turns = [[("user", f"What is {i}?"), ("assistant", thought.format(i, i))] for i in range(12)]
    lines = [{"messages": [{"role": r, "content": c} for r, c in pair]} for pair in turns]
    (tiny / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = {"train": "c.jsonl", "validation": 0.2, "test": 0.2, "max_tokens": 96, "thinking": thinking}
    recipe = with_template(tiny, DROPS, corpus=corpus)
    found = check(recipe, sample=12)
    said = {"keep": f"qwen: {HIDES}", "drop": DROPPED}[thinking]
    assert found.notes[said] == 12
    show(found)
    assert f"Corpus: {said[:20]}" in capsys.readouterr().out
    done = run(recipe, until="corpus")
    kept = sum(
        "Slowly" in c.messages[1].content
        for part in PART_NAMES
        for c in read_part(done.path("corpus/corpus"), part)
    )
    assert (
        kept == {"keep": 12, "drop": 0}[thinking]
        and read_counts(done.path("corpus/corpus"), "notes")[said] == 12
    )


def test_a_tokenizer_that_transformers_rebuilds_is_said(tiny, capsys):
    copy_input(tiny)
    folder = tiny / "input/models/qwen"
    path = folder / "tokenizer.json"
    held = json.loads(path.read_text())
    digits = {"type": "Digits", "individual_digits": True}
    held["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, held["pre_tokenizer"]]}
    path.write_text(json.dumps(held))
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tokenizer_class": "GPT2Tokenizer"}))
    found = check(load_recipe("recipe.yaml"), sample=2)
    assert set(found.rebuilt) == {"qwen"}
    show(found)
    assert "qwen: transformers would split" in capsys.readouterr().out


def test_a_corpus_needs_no_weights(tiny):
    copy_input(tiny)
    (tiny / "input/models/pivot/model.safetensors").unlink()
    recipe = load_recipe("recipe.yaml")
    assert any("weights of" in line for line in check(recipe, sample=2).unseen)
    run(recipe, until="corpus")
    assert (recipe.run_folder / "corpus/corpus/train.jsonl").is_file()


def test_every_part_that_is_a_file_is_looked_at(tiny, capsys):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    (tiny / "odd.jsonl").write_text(json.dumps({"messages": turns, "mood": "sad"}) + "\n{}\n")
    recipe = load_recipe("recipe.yaml", ("corpus.validation=odd.jsonl",))
    show(check(recipe, sample=2))
    said = capsys.readouterr().out
    assert "Corpus, validation: 2 records looked at; rejected: 1 no messages" in said
    assert (
        "Corpus, validation: keys of records that are not used: 1 mood" in said and "Corpus, test" not in said
    )
    (tiny / "odd.jsonl").write_text("{}\n")
    with pytest.raises(CorpusError, match="No record"):
        check(recipe, sample=2)


def test_a_source_whose_weights_are_missing_or_cut_short_is_said_before_the_pivot_is_captured(tiny, capsys):
    copy_input(tiny)
    weights = tiny / "input/models/qwen/model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    (line,) = check(load_recipe("recipe.yaml"), sample=2).unseen
    assert line.startswith("the weights of qwen: ") and "cut short" in line
    weights.unlink()
    found = check(load_recipe("recipe.yaml"), sample=2)
    assert len(found.unseen) == 1 and "there are no weights of 'qwen'" in found.unseen[0]
    show(found)
    said = capsys.readouterr()
    assert "could not check the weights of qwen" in said.err and "in what could be checked" in said.out
