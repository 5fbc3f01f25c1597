"""Rows are brought together by token whatever file says the tokens, and no token is beyond a fused model's rows."""

import base64

import numpy as np
import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.vocabulary.files import same_tokenizer
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.standalone import Settings, run_mergekit
from fusionchat.merge.stream.merge import merge_models
from fusionchat.yaml import to_yaml
from tests.merge.folders import load, save
from tests.merge.inputs.vocabulary.tokenizers import WORDS, as_json, sentencepiece


def folder(place, rows, seed=0, **files):
    """A model of one embedding, with tokenizer files (``tokenizer__model`` for ``tokenizer.model``)."""
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32))
    save(place, {"model.embed_tokens.weight": values}, config={"vocab_size": rows})
    for name, content in files.items():
        path = place / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return place


@pytest.mark.parametrize("embeddings", ["pivot", "union"])
def test_rows_meet_by_token_across_formats(tmp_path, embeddings):
    """The pivot's tokens are in tokenizer.json, the target's in tokenizer.model in another order, one of them new."""
    pivot = folder(tmp_path / "p", 8, tokenizer__json=as_json(WORDS))
    turned = WORDS[::-1]
    files = {"tokenizer__model": sentencepiece(turned), "added_tokens__json": '{"<new>": 8}'}
    target = folder(tmp_path / "t", 9, 1, **files)
    merge_models(
        pivot, {"t": target}, Linear(), tmp_path / "out", dtype="float32", threads=1, embeddings=embeddings
    )
    result, theirs = (load(place)["model.embed_tokens.weight"] for place in (tmp_path / "out", target))
    expected = [theirs[turned.index(word)] for word in WORDS] + ([theirs[8]] if embeddings == "union" else [])
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("rows", "files", "words"),
    [
        (8, {"tokenizer__model": sentencepiece(["<unk>"])}, "only 1 of its 8 rows have a token"),
        (9, {"tokenizer__model": sentencepiece(["<un>", "x", "y"])}, "only 0 of its 9 rows have"),
        (8, {"tokenizer__json": as_json(["<unk>", "v", "w", "x", "y", "z"])}, "only 1 of its 8 rows have"),
        (9, {}, "9 rows and no tokenizer"),
        (9, {"vocab__json": "{broken"}, "damaged"),
        (
            9,
            {"x__tiktoken": base64.b64encode(b"v") + b" 0\n" + base64.b64encode(b"w") + b" 1\n"},
            "only 0 of its 9 rows",
        ),
    ],
)
def test_rows_that_cannot_be_brought_together_are_refused(tmp_path, rows, files, words):
    pivot = folder(tmp_path / "p", 8, tokenizer__json=as_json(WORDS))
    target = folder(tmp_path / "t", rows, 1, **files)
    with pytest.raises(MergeError, match=words):
        merge_models(pivot, {"t": target}, Linear(), tmp_path / "out", threads=1, embeddings="pivot")
    assert not (tmp_path / "out").exists()


def test_other_tokens_in_as_many_rows_are_refused_across_formats(tmp_path):
    pivot = folder(tmp_path / "p", 8, tokenizer__json=as_json(WORDS))
    same = folder(tmp_path / "s", 8, 1, tokenizer__model=sentencepiece(WORDS))
    merge_models(pivot, {"t": same}, Linear(), tmp_path / "out", threads=1)
    turned = folder(tmp_path / "t", 8, 1, tokenizer__model=sentencepiece([*WORDS[:6], "e", "d"]))
    with pytest.raises(MergeError, match="'e' is row 6, the pivot has it in row 7"):
        merge_models(pivot, {"t": turned}, Linear(), tmp_path / "no", threads=1)
    assert not same_tokenizer(same, turned) and same_tokenizer(same, same)
    (turned / "tokenizer.model").write_bytes((same / "tokenizer.model").read_bytes())
    assert same_tokenizer(same, turned)
    (turned / "added_tokens.json").write_text('{"<x>": 8}')
    assert not same_tokenizer(same, turned)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"tokenizer__json": as_json(WORDS, ["<x>"])}, "'<x>' is row 8, .* 8 rows"),
        ({"tokenizer__json": as_json(WORDS), "added_tokens__json": '{"<pad>": 32}'}, "'<pad>' is row 32"),
        ({"tokenizer__model": sentencepiece([*WORDS, "f"])}, "'f' is row 8"),
        ({"tokenizer__json": as_json(WORDS),
          "tokenizer_config__json": '{"added_tokens_decoder": {"9": {"content": "<y>"}}}'}, "'<y>' is row 9"),
    ],
)  # fmt: skip
def test_no_fused_model_has_a_token_beyond_its_rows(tmp_path, files, words):
    pivot, target = folder(tmp_path / "p", 8, **files), folder(tmp_path / "t", 8, 1)
    with pytest.raises(MergeError, match=words):
        merge_models(pivot, {"t": target}, Linear(), tmp_path / "out", threads=1)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_source_must_have_rows_for_all_its_tokens(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("fusionchat.merge.inputs.vocabulary.vocabularies.warn", said.append)
    pivot = folder(tmp_path / "p", 9, tokenizer__json=as_json(WORDS))
    target = folder(tmp_path / "t", 9, 1, tokenizer__json=as_json(WORDS))
    path = tmp_path / "merge.yml"

    def run(source, out):
        models = [{"model": str(place), "parameters": {"weight": 1}} for place in (pivot, target)]
        path.write_text(
            to_yaml({"merge_method": "linear", "models": models, "tokenizer_source": str(source)})
        )
        run_mergekit(path, tmp_path / out, settings=Settings(threads=1))

    run(folder(tmp_path / "same", 9, tokenizer__json=as_json(WORDS)), "a")
    assert said == []
    run(folder(tmp_path / "padded", 9, tokenizer__json=as_json(WORDS, ["<x>"])), "b")  # row 8 is there
    assert len(said) == 1 and "1 tokens ('<x>')" in said[0]
    for n, source in enumerate(
        (
            folder(tmp_path / "more", 10, tokenizer__json=as_json(WORDS, ["<x>", "<y>"])),
            folder(tmp_path / "spm", 10, tokenizer__model=sentencepiece([*WORDS, "f", "g"])),
        )
    ):
        with pytest.raises(MergeError, match=r"1 tokens .* beyond the 9 rows"):
            run(source, f"no{n}")
        assert not (tmp_path / f"no{n}").exists()
