"""Every file of a model folder is a tokenizer's, carried over, replaced, or named."""

import pytest

from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.standalone import Settings, run_standalone
from fusionchat.merge.stream.surroundings import carried
from fusionchat.models.files import TOKENIZER, left_out, matching
from tests.merge.folders import family

TOKENIZERS = {  # as they are published
    "mistral": ["tekken.json", "tokenizer.model.v3", "tokenizer.json", "special_tokens_map.json"],
    "qwen1": ["qwen.tiktoken", "vocab.json", "merges.txt"],
    "xglm": ["sentencepiece.bpe.model", "dict.txt"],
    "t5": ["spiece.model", "added_tokens.json", "tokenizer_config.json"],
    "named templates": [
        "additional_chat_templates/tool_use.jinja",
        "additional_chat_templates/rag.jinja",
        "chat_template.jinja",
    ],
    "kimi": ["tiktoken.model"],
    "bert": ["vocab.txt"],
    "marian": ["source.spm", "target.spm"],
}
OTHERS = [
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
]
LICENCES = ["LICENSE", "LICENSE.txt", "LICENCE.md", "NOTICE", "USE_POLICY.md"]
REPLACED = [
    "config.json",
    "README.md",
    ".gitattributes",
    "pytorch_model.bin",
    "consolidated.safetensors",
    "tf_model.h5",
    "model.gguf",
]


def put(folder, names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"content of {name}")


@pytest.mark.parametrize("names", TOKENIZERS.values(), ids=list(TOKENIZERS))
def test_all_files_of_a_tokenizer_are_carried_over_byte_for_byte(tmp_path, names):
    pivot, targets = family(tmp_path, 1)
    put(pivot, names)
    out = tmp_path / "out"
    run_standalone(str(pivot), {"t": str(targets["t0"])}, Linear(), out)
    assert matching(out, TOKENIZER) == matching(pivot, TOKENIZER) == sorted(names)
    assert all((out / name).read_bytes() == (pivot / name).read_bytes() for name in names)


def test_what_belongs_to_a_model_is_carried_over_and_the_rest_is_named(tmp_path, capsys):
    pivot, targets = family(tmp_path, 1)
    put(pivot, [*OTHERS, *LICENCES, "training_args.json", "original/params.json", *REPLACED[1:]])
    assert carried(pivot) == sorted([*OTHERS, *LICENCES])
    assert left_out(pivot, carried(pivot)) == ["original", "training_args.json"]
    out = tmp_path / "out"
    run_standalone(str(pivot), {"t": str(targets["t0"])}, Linear(), out)
    assert all((out / name).is_file() for name in [*OTHERS, *LICENCES])
    assert not any((out / name).exists() for name in ("original", "training_args.json", "tf_model.h5"))
    assert "not copied from the pivot's folder: original, training_args.json" in " ".join(
        capsys.readouterr().err.split()
    )


def test_an_older_tokenizers_files_are_removed(tmp_path):
    pivot, targets = family(tmp_path, 1)
    put(pivot, ["tokenizer.json"])
    out = tmp_path / "out"
    run_standalone(str(pivot), {"t": str(targets["t0"])}, Linear(), out)
    put(out, ["tekken.json", "additional_chat_templates/old.jinja", "notes.txt"])
    put(pivot, ["chat_template.jinja"])
    run_standalone(str(pivot), {"t": str(targets["t0"])}, Linear(), out, settings=Settings(overwrite=True))
    assert matching(out, TOKENIZER) == ["chat_template.jinja", "tokenizer.json"]
    assert (out / "notes.txt").is_file()
