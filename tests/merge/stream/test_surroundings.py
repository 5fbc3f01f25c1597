"""What a fused model takes over from its pivot beside the weights."""

import json

import pytest

from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.stream.merge import merge_models
from fusionchat.merge.stream.surroundings import carried, code_files, copy_files, copy_surroundings
from tests.merge.folders import family


def test_licences_and_the_models_own_code_come_along(tmp_path):
    pivot, targets = family(tmp_path, 1)
    config = {
        "model_type": "llama",
        "auto_map": {
            "AutoConfig": "configuration_mine.Config",
            "AutoModelForCausalLM": "modeling_mine.Model",
            "AutoModel": "someone/other--modeling_far.Model",
            "AutoProcessor": "../secret.Processor",
        },
    }
    (pivot / "config.json").write_text(json.dumps(config))
    (pivot / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["tokenization_mine.Tokenizer", None]}})
    )
    files = {
        "modeling_mine.py": "from .layers_mine import (\n    Layer,\n)\nimport os\n",
        "layers_mine.py": "from . import modeling_mine\n",
        "configuration_mine.py": "class Config: ...\n",
        "tokenization_mine.py": "class Tokenizer: ...\n",
        "LICENSE.md": "words",
    }
    for name, text in files.items():
        (pivot / name).write_text(text)
    (pivot / "setup.py").write_text("not the model's")
    merge_models(pivot, targets, Linear(), tmp_path / "out", threads=1)
    assert {p.name: p.read_text() for p in (tmp_path / "out").glob("*.py")} | {"LICENSE.md": "words"} == files
    assert (tmp_path / "out/LICENSE.md").read_text() == "words"
    assert "auto_map" in json.loads((tmp_path / "out/config.json").read_text())


def test_only_another_tokenizer_is_deleted(tmp_path):
    pivot, _ = family(tmp_path, 1)
    out = tmp_path / "out"
    out.mkdir()
    for name in ("LICENSE", "LICENSE.txt", "NOTICE", "vocab.txt", "chat_template.jinja"):
        (out / name).write_text("there before")
    copy_surroundings(pivot, out, "bfloat16", {}, ())
    assert sorted(path.name for path in out.iterdir()) == ["LICENSE", "LICENSE.txt", "NOTICE", "config.json"]


def test_the_config_says_the_new_type_and_no_quantization(tmp_path):
    pivot, out = tmp_path / "p", tmp_path / "out"
    pivot.mkdir()
    out.mkdir()
    config = {
        "torch_dtype": "float32", "quantization_config": {}, "vocab_size": 6, "text_config": {"torch_dtype": "float32", "a": 1}
    }  # fmt: skip
    (pivot / "config.json").write_text(json.dumps(config))
    copy_surroundings(pivot, out, "bfloat16", {"vocab_size": 7}, ())
    written = json.loads((out / "config.json").read_text())
    assert written == {"vocab_size": 7, "text_config": {"a": 1}, "dtype": "bfloat16"}


def test_added_tokens_are_put_into_the_tokenizer(tmp_path):
    pivot, out = tmp_path / "p", tmp_path / "out"
    pivot.mkdir()
    out.mkdir()
    (pivot / "tokenizer.json").write_text('{"added_tokens": []}')
    copy_surroundings(pivot, out, "bfloat16", {}, [{"id": 6, "content": "<x>"}])
    assert json.loads((out / "tokenizer.json").read_text()) == {"added_tokens": [{"id": 6, "content": "<x>"}]}
    assert not (out / "config.json").exists()  # the pivot has none


def test_weights_and_strangers_are_not_carried(tmp_path):
    for name in (
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "training.log",
        "LICENSE",
        "README.md",
    ):
        (tmp_path / name).write_text("{}")
    assert set(carried(tmp_path)) == {"tokenizer.json", "LICENSE"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from .a import X\n", ["a.py", "m.py"]),
        ("from . import a\nif True:\n    from .b import Y\n", ["a.py", "b.py", "m.py"]),
        ("from .gone import X\nimport a\nfrom a import b\n", ["m.py"]),
    ],
)
def test_code_is_what_auto_map_names_and_imports_from_beside(tmp_path, text, expected):
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "m.C", "AutoModel": "o/r--n.C"}}')
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": 3}')
    (tmp_path / "m.py").write_text(text)
    for name in "abn":
        (tmp_path / f"{name}.py").write_text("from .m import C\n")
    assert code_files(tmp_path) == expected


def test_files_are_copied_byte_for_byte(tmp_path):
    (tmp_path / "a").write_bytes(b"\x00\xff")
    (tmp_path / "out").mkdir()
    copy_files(tmp_path, tmp_path / "out", ["a"])
    assert (tmp_path / "out/a").read_bytes() == b"\x00\xff"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
