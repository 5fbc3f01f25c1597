"""What ``auto`` is in a run: decided once, and kept."""

import json
from types import SimpleNamespace

import pytest

from fusionchat.errors import ArtifactError
from fusionchat.run import auto
from fusionchat.run.auto import RESOLVED, Resolved, keep, resolve


@pytest.fixture
def resolved(tmp_path, monkeypatch):
    """A function that resolves a recipe on a machine that would choose ``here``."""

    def get(represent="auto", evaluate="auto", here="float32"):
        monkeypatch.setattr(auto, "dtype_here", lambda device: here)
        monkeypatch.setattr(auto, "capture_dtype_here", lambda device, sizes: here)
        recipe = SimpleNamespace(
            represent=SimpleNamespace(dtype=represent, batch_tokens=64), evaluate=SimpleNamespace(dtype=evaluate),
            runtime=SimpleNamespace(device="auto"), run_folder=tmp_path, refs=dict,
        )  # fmt: skip
        return resolve(recipe)

    return get


def test_what_is_given_is_used(resolved):
    found = resolved("bfloat16", "float16")
    assert (found.dtype("represent.dtype"), found.dtype("evaluate.dtype")) == ("bfloat16", "float16")
    assert (found.kept, found.here, found.notices(), found.describe()) == ({}, {}, [], "")
    assert found.batch_tokens == 64


def test_auto_is_what_suits_the_machine_that_starts_the_run(resolved, tmp_path):
    found = resolved("auto", "float32", here="bfloat16")
    values = {"represent.dtype": "bfloat16", "represent.batch_tokens": 64, "evaluate.dtype": "float32"}
    assert found == Resolved(values, {}, {"represent.dtype": "bfloat16"})
    assert found.describe() == "represent.dtype: auto = bfloat16"
    keep(tmp_path, found)
    assert json.loads((tmp_path / RESOLVED).read_text()) == {"represent.dtype": "bfloat16"}


def test_another_machine_uses_what_is_kept_and_says_so(resolved, tmp_path):
    keep(tmp_path, resolved(here="bfloat16"))
    found = resolved(here="float32")
    assert found.kept == {"represent.dtype": "bfloat16", "evaluate.dtype": "bfloat16"}
    assert {found.values[key] for key in found.kept} == {"bfloat16"}
    assert found.notices()[0] == (
        "represent.dtype: auto is bfloat16, as when the run was started; this machine would choose float32 "
        "(set represent.dtype to use that)"
    )
    assert found.describe().startswith(
        "represent.dtype: auto = bfloat16 (as when the run was started), evaluate.dtype"
    )
    assert resolved(here="bfloat16").notices() == []


def test_what_is_kept_is_not_written_again_and_what_is_new_is_added(resolved, tmp_path):
    keep(tmp_path, resolved("auto", "float32"))
    before = (tmp_path / RESOLVED).stat().st_ino
    keep(tmp_path, resolved("auto", "float32"))
    assert (tmp_path / RESOLVED).stat().st_ino == before
    keep(tmp_path, resolved("auto", "auto", here="float16"))
    assert json.loads((tmp_path / RESOLVED).read_text()) == {
        "represent.dtype": "float32",
        "evaluate.dtype": "float16",
    }


@pytest.mark.parametrize("text", ["{", '{"represent.dtype": "float12"}', "[]"])
def test_a_damaged_file_is_no_choice(resolved, tmp_path, text):
    (tmp_path / RESOLVED).write_text(text)
    with pytest.raises(ArtifactError, match="does not say what `auto` is"):
        resolved()
