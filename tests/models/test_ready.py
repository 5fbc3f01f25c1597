"""Before transformers reads a model, and what is said of its errors."""

import pytest

from fusionchat.artifacts import Manifest, checksums, finish, stamp_of
from fusionchat.errors import DamagedError
from fusionchat.hub import Place
from fusionchat.models import ready as module
from fusionchat.models.ready import advice, first_line, quiet, ready

OWN = ValueError("This needs trust_remote_code=True to run")


def test_a_run_s_own_files_are_as_they_were_written(tmp_path):
    folder = tmp_path / "distill/a/model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    job = tmp_path / "distill/a"
    files = checksums(job)
    stamps = {name: stamp_of(job / name) for name in files}
    finish(job, Manifest("f", {}, {}, files, {}, 1.0, {}, 1, stamps))
    ready(Place(str(folder), path=folder), (".safetensors",))
    (folder / "model.safetensors").write_bytes(b"weightx")
    with pytest.raises(DamagedError):
        ready(Place(str(folder), path=folder), (".safetensors",))
    ready(Place(str(folder), path=folder), (".json",))  # only the endings that are read


def test_the_hub_is_asked_once(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "ask_the_hub_once", lambda: asked.append(1))
    ready(Place("owner/name"), (".json",))
    assert asked == [1]


def test_transformers_is_quiet():
    from transformers.utils import logging

    logging.set_verbosity_info()
    logging.enable_progress_bar()
    quiet()
    assert logging.get_verbosity() == logging.ERROR and not logging.is_progress_bar_enabled()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("  the first\nthe second"), "the first"),
        (KeyError(), "KeyError"),
        (OWN, "it needs Python files that come with it, and these are run only with `trust_remote_code`"),
    ],
)
def test_an_error_in_one_line(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize(
    ("name", "local", "error", "words"),
    [
        ("x", True, OWN, "whose structure and tokenizer transformers supports"),
        ("x", True, OSError("x"), "holds a complete model"),
        ("owner/name", False, OSError("x"), "check the id and your connection"),
    ],
)
def test_what_to_do_about_it(tmp_path, name, local, error, words):
    assert words in advice(Place(name, path=tmp_path if local else None), error)
