"""A new corpus format is one file: a recipe may name it, and `auto` finds its records among others."""

import json
from pathlib import Path

from transformers import LlamaConfig

from fusionchat.corpus.record import parse_record
from fusionchat.yaml import to_yaml
from tests.corpus.templates import TEMPLATES
from tests.tokens.made import byte_level
from tests.toys import toy

RUN = (
    "from fusionchat.recipe.schema import load_recipe\n"
    "from fusionchat.stages.pipeline import run\n"
    "run(load_recipe('recipe.yaml'), until='corpus')\n"
)


def script(i: int) -> dict[str, object]:
    return {"id": f"s{i}", "dialogue": f"A: What is {i}?\nB: It is {'xyz'[i % 3] * (i + 1)}: {i}."}


def messages(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def write_inputs(folder: Path) -> None:
    """A model without weights, three corpus files, and a recipe that reads one by ``auto`` and two by name."""
    tokenizer = byte_level()
    tokenizer.chat_template = TEMPLATES["plain"]
    tokenizer.save_pretrained(folder / "model")
    LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, max_position_embeddings=256).save_pretrained(
        folder / "model"
    )
    plain = {"id": "m", "messages": messages(("user", "Hi"), ("assistant", "Hello"))}
    pirate = {"id": "p", "system": "Arr.", "dialogue": "A: One?\nB: Aye.\nA: Two?\nB: Aye aye."}
    corpora = {
        "train": [script(1), plain, pirate, {"id": "x", "dialogue": "no script"}],
        "validation": [script(2), plain, {"id": "x", "dialogue": "A: Who?\nC: Me."}],
        "test": [script(3)],
    }
    for part, records in corpora.items():
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    named = {part: {"path": f"{part}.jsonl", "format": "toy"} for part in ("validation", "test")}
    recipe = {
        "name": "toy", "pivot": {"model": "model"}, "sources": {"other": {"model": "model"}},
        "corpus": {"train": "train.jsonl", "max_tokens": 96, **named},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(to_yaml(recipe))


def test_a_new_format_is_one_file_and_is_read_by_auto_and_by_name(tmp_path):
    assert toy.files("format") == ["src/fusionchat/corpus/formats/toy.py"]
    assert parse_record(script(1), default_id="d").found.reason == "no messages"  # without the patch
    write_inputs(tmp_path)
    toy.python(toy.apply("format", tmp_path), "-c", RUN, cwd=tmp_path)
    made = tmp_path / "runs/toy/corpus/corpus"
    parts = {
        part: {one["id"]: one["messages"] for one in map(json.loads, (made / f"{part}.jsonl").open())}
        for part in ("train", "validation", "test")
    }
    assert parts["train"] == {
        "s1": messages(("user", "What is 1?"), ("assistant", "It is yy: 1.")),
        "m": messages(("user", "Hi"), ("assistant", "Hello")),
        "p": messages(
            ("system", "Arr."),
            ("user", "One?"),
            ("assistant", "Aye."),
            ("user", "Two?"),
            ("assistant", "Aye aye."),
        ),
    }
    assert parts["validation"] == {"s2": messages(("user", "What is 2?"), ("assistant", "It is zzz: 2."))}
    assert parts["test"] == {"s3": messages(("user", "What is 3?"), ("assistant", "It is xxxx: 3."))}
    rejects = [json.loads(line) for line in (made / "rejects.jsonl").open()]
    assert sorted((one["id"], one["reason"]) for one in rejects) == [
        ("m", "no messages"), ("x", "a line of neither A nor B"), ("x", "no messages"),
    ]  # fmt: skip
