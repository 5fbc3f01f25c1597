"""The records that `check` shows, on a screen and in a log."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from fusionchat import console
from fusionchat.align.preview import Piece
from fusionchat.cli.show_check import SHOWN_CHARACTERS, cut, shortened, show
from fusionchat.recipe.schema import load_recipe
from fusionchat.stages.check import check
from fusionchat.stages.check_corpus import describe, sample_entries
from tests.tiny import write_recipe


@pytest.fixture
def recipe(tiny: Path):
    rows = [
        {"task": f"Add {i} and {i}.", "reply": f"It is {2 * i}. " * (90 if i == 1 else 1)} for i in range(6)
    ]
    rows += [{"task": "", "reply": "x"}]
    (tiny / "b.jsonl").write_text(
        "".join(json.dumps(row | {"lang": "ab"[i % 2]}) + "\n" for i, row in enumerate(rows))
    )
    mapped = {
        "columns": {"instruction": "task", "output": "reply"},
        "domain": "sums",
        "filter": {"lang": "b"},
    }
    train = ["input/corpus/train.jsonl", {"path": "b.jsonl", **mapped}]
    corpus = {"train": train, "validation": "input/corpus/validation.jsonl", "test": 0.1, "max_tokens": 96}
    write_recipe(tiny / "recipe.yaml", corpus=corpus)
    return load_recipe("recipe.yaml")


def test_three_records_of_each_entry_as_each_model_reads_them(recipe):
    found = check(recipe, sample=8)
    shown = [record for record in found.renderings if record.entry.startswith("train.1")]
    assert [(r.entry, r.id, r.domain) for r in shown] == [
        ("train.1 b.jsonl", f"b-00000{i}", "sums") for i in (1, 3, 5)
    ]
    assert [sum(r.entry == e for r in found.renderings) for e in ("train.0 train.jsonl", "validation")] == [
        3,
        3,
    ]
    for record in shown:
        number = int(record.id[-1])
        for name in ("pivot", "mixtral", "qwen"):
            pieces = record.models[name]
            said = "".join(piece.text for piece in pieces)
            assert f"Add {number} and {number}." in said
            (answer,) = [piece.text for piece in pieces if piece.supervised]
            assert f"It is {2 * number}." in answer and "Add" not in answer
    assert found.corpus == [
        "Corpus, train.0 train.jsonl: 4 records looked at",
        "Corpus, train.1 b.jsonl: 3 records looked at; 4 others filtered out",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_the_screen_and_the_log(recipe, monkeypatch, terminal):
    out = io.StringIO()
    monkeypatch.setattr(console, "_out", Console(file=out, width=150, force_terminal=terminal))
    show(check(recipe, sample=8))
    said = out.getvalue()
    assert ("\x1b[" in said) is terminal and ("«" in said) is not terminal
    assert "corpus.train.1 b.jsonl: b-000003, domain sums" in said and "corpus.validation: " in said
    assert " characters ... " in " ".join(said.split())  # the long one is cut


def test_long_texts_are_cut_in_the_middle():
    assert cut("x" * SHOWN_CHARACTERS) == "x" * SHOWN_CHARACTERS
    half = SHOWN_CHARACTERS // 2
    assert cut("a" * 500 + "b" * 500) == f"{'a' * half} ... {1000 - 2 * half} characters ... {'b' * half}"


def test_of_many_turns_the_first_and_the_last_are_shown():
    pieces = [Piece(str(i), i % 2 == 1) for i in range(9)]
    assert shortened(pieces[:6]) == [(str(i), i % 2 == 1) for i in range(6)]
    assert [text for text, _ in shortened(pieces)] == ["0", "1", "2", " ... 3 stretches ... ", "6", "7", "8"]
    assert [marked for _, marked in shortened(pieces)] == [False, True, False, False, False, True, False]


def test_a_hub_that_does_not_answer_is_noted(recipe):
    train = [*recipe.corpus.train, recipe.corpus.train[0].model_copy(update={"path": "org/none"})]
    corpus = recipe.corpus.model_copy(update={"train": tuple(train)})
    unseen = []
    found = sample_entries(recipe.model_copy(update={"corpus": corpus}), 6, unseen)
    assert [sample.name for sample in found][:3] == ["train.0 train.jsonl", "train.1 b.jsonl", "train.2 none"]
    assert unseen[0].startswith("corpus.train.2 org/none: ") and len(unseen) == 1
    assert describe(found[2]) == ["Corpus, train.2 none: 0 records looked at"]
