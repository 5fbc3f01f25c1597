"""Merges without a recipe: settings, cards, and the files beside the weights."""

import json

import numpy as np
import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.references import find_model
from fusionchat.merge.mergekit.config import load_mergekit
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.standalone import (
    Settings,
    model_card,
    plan_mergekit,
    plan_standalone,
    run_mergekit,
    run_standalone,
)
from fusionchat.yaml import parse_value
from tests.merge.folders import family, load, stacked
from tests.merge.mergekit.files import models, written
from tests.reference import merge as reference


def test_standalone_merges_write_a_card(tmp_path):
    pivot, targets = family(tmp_path, 2)
    (targets["t0"] / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (targets["t1"] / "LICENSE").write_text("words")
    references = [str(path) for path in targets.values()]
    report = run_standalone(str(pivot), references, Varm(), tmp_path / "out", settings=Settings(threads=1))
    card = (tmp_path / "out/README.md").read_text()
    assert "apache-2.0" in card and "see its LICENSE" in card and "unknown" in card
    weights = report.summary()["weights"]
    assert sum(weights) == pytest.approx(1)
    assert f"{weights[1]:.4f}" in card
    assert plan_standalone(str(pivot), references, Varm()).output_bytes == report.bytes_written
    with pytest.raises(MergeError, match="no such model folder"):
        find_model("./nowhere")
    base, others = load(pivot), stacked(targets)
    expected = reference.varm(base["lm_head.weight"], others["lm_head.weight"])
    np.testing.assert_allclose(load(tmp_path / "out")["lm_head.weight"], expected, rtol=5e-3)


def test_the_folder_keeps_the_mergekit_file(tmp_path):
    pivot, targets = family(tmp_path, 1)
    config = {
        "merge_method": "linear",
        "models": models((str(pivot), {"weight": [1, 0]}), (str(targets["t0"]), {"weight": [0, 1]})),
    }
    words = written(tmp_path, config).read_text()
    run_mergekit(tmp_path / "merge.yaml", tmp_path / "out", settings=Settings(threads=1))
    assert (tmp_path / "out/mergekit_config.yml").read_text() == words
    assert words in (tmp_path / "out/README.md").read_text()
    run_standalone(
        str(pivot), [str(targets["t0"])], Varm(), tmp_path / "out", settings=Settings(overwrite=True)
    )
    assert not (tmp_path / "out/mergekit_config.yml").exists()


def test_a_tokenizer_with_other_rows_is_refused(tmp_path):
    pivot, targets = family(tmp_path, 1)
    other = targets["t0"]
    (pivot / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "b": 1}}}')
    (other / "tokenizer.json").write_text('{"model": {"vocab": {"a": 1, "b": 0}}}')
    config = {
        "merge_method": "linear",
        "models": models((str(pivot), {"weight": 1})),
        "tokenizer_source": str(other),
    }
    with pytest.raises(MergeError, match=r"row 1 in .* but row 0 in the pivot"):
        run_mergekit(written(tmp_path, config), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (other / "tokenizer.json").unlink()
    with pytest.raises(MergeError, match="cannot be compared"):
        plan_mergekit(tmp_path / "merge.yaml")


def test_a_card_names_hub_models_and_promises_no_weights_that_are_not_there(tmp_path):
    pivot, targets = family(tmp_path, 1)
    report = run_standalone(
        str(pivot), [str(targets["t0"])], Ties(), tmp_path / "out", settings=Settings(threads=1)
    )
    card = model_card(report, "o/p@main", {"t0": "o/t"}, pivot, targets)
    front = parse_value(card.split("---")[1], where="")
    assert front["base_model"] == ["o/p", "o/t"] and front["base_model_relation"] == "merge"
    assert "mean weight" not in card and "Weights" not in card and "from_pretrained" in card
    assert "base_model" not in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
    ("given", "said", "dtype", "embeddings"),
    [
        ({}, {}, "bfloat16", "error"),
        ({}, {"dtype": "float16", "tokenizer_source": "union"}, "float16", "union"),
        (
            {"dtype": "float32", "embeddings": "pivot"},
            {"dtype": "float16", "tokenizer_source": "union"},
            "float32",
            "pivot",
        ),
    ],
)
def test_what_is_set_comes_before_the_file_and_the_file_before_the_defaults(
    tmp_path, given, said, dtype, embeddings
):
    config = {"merge_method": "linear", "models": models(("a", None), ("b", None)), **said}
    filled = Settings(threads=3, **given).filled(load_mergekit(written(tmp_path, config)))
    assert (filled.dtype, filled.embeddings, filled.threads) == (dtype, embeddings, 3)


def test_a_tokenizer_source_s_files_are_taken(tmp_path):
    pivot, targets = family(tmp_path, 1)
    other = targets["t0"]
    vocabulary = {"model": {"vocab": {"a": 0, "b": 1}}}
    (pivot / "tokenizer.json").write_text(json.dumps(vocabulary))
    (pivot / "special_tokens_map.json").write_text("{}")
    (other / "tokenizer.json").write_text(json.dumps({**vocabulary, "theirs": 1}))
    config = {
        "merge_method": "linear",
        "models": models((str(pivot), {"weight": 1}), (str(other), {"weight": 1})),
        "tokenizer_source": str(other),
    }
    run_mergekit(written(tmp_path, config), tmp_path / "out", settings=Settings(threads=1))
    assert json.loads((tmp_path / "out/tokenizer.json").read_text())["theirs"] == 1
    assert not (tmp_path / "out/special_tokens_map.json").exists()


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({}, "unknown"),
        ({"LICENSE": "words"}, "see its LICENSE"),
        ({"README.md": "---\nlicense: 'mit'\n---\n", "LICENSE": "words"}, "mit"),
        ({"README.md": "---\nlicense_name: gemma\n---\n"}, "gemma"),
        ({"README.md": "---\nlicense:\n---\n"}, "unknown"),
    ],
)
def test_the_licence_of_an_input_is_named(tmp_path, files, licence):
    pivot, targets = family(tmp_path, 1)
    for name, text in files.items():
        (pivot / name).write_text(text)
    report = run_standalone(
        str(pivot), [str(targets["t0"])], Varm(), tmp_path / "out", settings=Settings(threads=1)
    )
    card = model_card(report, str(pivot), {"t0": str(targets["t0"])}, pivot, targets)
    assert f"| pivot | {pivot} | | {licence} |" in card
