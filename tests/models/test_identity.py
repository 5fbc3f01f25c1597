"""What identifies a model: its content, or its commit on the hub."""

import hashlib
from dataclasses import replace

import pytest

from fusionchat.artifacts import sha256_file
from fusionchat.models import identity as module
from fusionchat.models.identity import (
    configuration_identity,
    file_identity,
    folder_identity,
    generation_identity,
    identity,
    tokenizer_identity,
)
from fusionchat.models.ref import ModelRef


@pytest.fixture
def ref(tmp_path):
    """A folder of weights, a configuration, a tokenizer and generation settings."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json", "generation_config.json", "README.md"):
        (folder / name).write_text(name)
    return ModelRef("m", str(folder), str(folder))


ALL = {
    "model": identity, "configuration": configuration_identity, "tokenizer": tokenizer_identity,
    "generation": generation_identity,
}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "moved"),
    [
        ("model.safetensors", {"model"}),
        ("config.json", {"model", "configuration"}),
        ("tokenizer.json", {"tokenizer"}),
        ("generation_config.json", {"generation"}),
        ("README.md", set()),
    ],
)
def test_each_identity_follows_its_own_files(ref, tmp_path, file, moved):
    before = {name: of(ref) for name, of in ALL.items()}
    (tmp_path / "model" / file).write_text("other")
    assert {name for name, of in ALL.items() if of(ref) != before[name]} == moved
    assert len(set(before.values())) == 4


def test_where_a_folder_is_does_not_matter(ref, tmp_path):
    before = identity(ref)
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    assert identity(replace(ref, model=str(moved))) == before
    assert folder_identity(tmp_path / "gone") == folder_identity(tmp_path / "gone as well")


@pytest.mark.parametrize(
    "changes",
    [{"template": "{{ messages }}"}, {"thinking": "drop"}, {"variables": {"enable_thinking": False}}],
)
def test_a_template_and_its_variables_belong_to_the_tokenizer(ref, changes):
    assert tokenizer_identity(replace(ref, **changes)) != tokenizer_identity(ref)
    assert identity(replace(ref, **changes)) == identity(ref)


def test_a_borrowed_template_is_followed(ref, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_text("other")
    lender = ModelRef("n", str(other), str(other))
    before = tokenizer_identity(replace(ref, borrows=lender))
    assert before != tokenizer_identity(ref)
    (other / "tokenizer.json").write_text("changed")
    assert tokenizer_identity(replace(ref, borrows=lender)) != before


def test_a_small_file_is_hashed_whole_and_a_large_one_by_samples(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    path.write_bytes(bytes(3 * 2**20))
    assert file_identity(path) == sha256_file(path)
    monkeypatch.setattr(module, "WHOLE_HASH_BYTES", 2**20)
    size, last = 3 * 2**20, 3 * 2**20 - module.SAMPLE_BYTES
    expected = hashlib.sha256(str(size).encode() + bytes(2**20) + bytes(module.SAMPLES * module.SAMPLE_BYTES))
    assert file_identity(path) == expected.hexdigest() and last > 0
    for place in (0, 2**20 - 1, size - 1):  # in the first megabyte, and in the last sample
        raw = bytearray(size)
        raw[place] = 1
        path.write_bytes(raw)
        assert file_identity(path) != expected.hexdigest()


def test_a_hub_model_is_its_commit(monkeypatch):
    monkeypatch.setattr(module, "hub_commit", lambda place: f"commit of {place.name}")
    ref = ModelRef("m", "owner/name", "owner/name")
    assert identity(ref) == "hub:owner/name@commit of owner/name"
    assert (
        identity(ModelRef("m", "owner/name:q4.gguf", "owner/name"))
        == "hub:owner/name@commit of owner/name:q4.gguf"
    )


def test_a_gguf_file_holds_weights_and_configuration(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF weights")
    ref = ModelRef("m", str(tmp_path / "m.gguf"), str(tmp_path / "m.gguf"))
    assert identity(ref) == configuration_identity(ref) == sha256_file(tmp_path / "m.gguf")
    assert generation_identity(ref) == ""
