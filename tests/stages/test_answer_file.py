"""A corpus of answers: what it holds, that a killed call goes on with the same bits, and what is refused."""

import json

import pytest

from fusionchat.answer import shards
from fusionchat.answer.settings import Sampling
from fusionchat.artifacts import Manifest, finish
from fusionchat.corpus.read import read_corpus
from fusionchat.errors import ArtifactError, CorpusError, RecipeError
from fusionchat.recipe.schema import Recipe
from fusionchat.stages.answer_file import model_of, write_answers
from tests.answer.tiny import ending_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return ending_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def recipe(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shards, "SHARD", 4)
    lines = [
        {"id": f"p{i}", "prompt": f"the cat {i}", "domain": "cats", "completion": "gone"} for i in range(6)
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    spec = {"model": str(model)}
    return Recipe(
        name="x", pivot=spec, sources={"a": spec}, corpus={"train": "t.jsonl"}, runtime={"device": "cpu"},
        represent={"dtype": "float32"},
    )  # fmt: skip


SAMPLING = Sampling(max_new_tokens=8)


def write(recipe, output, *, model="a", samples=2, **more):
    return write_answers(recipe, model, "prompts.jsonl", output, sampling=SAMPLING, samples=samples, **more)


def test_a_killed_call_goes_on_with_the_same_bits(recipe, tmp_path, monkeypatch):
    whole = write(recipe, tmp_path / "whole.jsonl")
    made, real = [], shards.write_text

    def killed(path, text):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(path)
        real(path, text)

    monkeypatch.setattr(shards, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        write(recipe, tmp_path / "again.jsonl")
    monkeypatch.setattr(shards, "write_text", real)
    with pytest.raises(ArtifactError, match="other settings"):
        write(recipe, tmp_path / "again.jsonl", seed=1)
    kept = made[0].stat().st_mtime_ns
    seen = []
    monkeypatch.setattr(shards, "write_text", lambda path, text: (seen.append(path), real(path, text)))
    again = write(recipe, tmp_path / "again.jsonl")
    assert len(seen) == 2 and made[0] not in seen and kept
    assert again._replace(path=whole.path) == whole
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not list(tmp_path.glob("*.parts"))


def test_the_file_is_a_corpus_with_the_model_s_name(recipe, tmp_path):
    done = write(recipe, tmp_path / "out.jsonl")
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert done.answers + done.cut == 12 and 0 < done.cut < 12 and done.answers == len(records)
    assert {one["model"] for one in records} == {"a"} and {one["domain"] for one in records} == {"cats"}
    assert any(one["id"].endswith("#2") for one in records)
    read = read_corpus(str(tmp_path / "out.jsonl"))
    assert len(read.conversations) == done.answers and not read.unused and not read.rejects
    assert all([m.role for m in one.messages] == ["user", "assistant"] for one in read.conversations)
    with pytest.raises(ArtifactError, match="already exists"):
        write(recipe, tmp_path / "out.jsonl")


def test_nothing_answered_to_its_end_is_an_error(recipe, tmp_path):
    with pytest.raises(CorpusError, match="6 answers were cut"):
        write_answers(
            recipe,
            "pivot",
            "prompts.jsonl",
            tmp_path / "o",
            sampling=Sampling(max_new_tokens=1),
        )


def test_models_by_name(recipe, model, tmp_path):
    assert model_of(recipe, "pivot")[0].name == "pivot" and model_of(recipe, "a")[0].model == str(model)
    with pytest.raises(RecipeError, match="did you mean 'pivot'"):
        model_of(recipe, "pivto")
    with pytest.raises(ArtifactError, match=r"no model of distill/a@0\.9 yet"):
        model_of(recipe, "target")
    folder = recipe.run_folder / "distill/a@0.9"
    (folder / "model").mkdir(parents=True)
    finish(folder, Manifest(fingerprint="f", settings={}, inputs={}, files={}))
    assert model_of(recipe, "target")[0].model == str(folder / "model")
