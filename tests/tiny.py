"""A tiny world for end-to-end tests: the demo's models and corpus at a small scale, made once a session."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusionchat.yaml import to_yaml

SCALE = 0.03

SETTINGS = {
    "name": "tiny",
    "pivot": {"model": "input/models/pivot"},
    "sources": {"mixtral": {"model": "input/models/mixtral"}, "qwen": {"model": "input/models/qwen"}},
    "corpus": {part: f"input/corpus/{part}.jsonl" for part in ("train", "validation", "test")} | {"max_tokens": 96},
    "represent": {"k": 5},
    "distill": {
        "label_weight": 0.5, "epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "precision": "fp32",
    },
    "fused": {"dtype": "float32"},
    "compare": {"sft": True, "sft_seeds": 1},
    "runtime": {"micro_batch_tokens": 256, "checkpoint_steps": 1, "device": "cpu", "threads": 1},
}  # fmt: skip


@contextmanager
def silent(_label, _total):
    yield lambda _count: None


@pytest.fixture(scope="session")
def tiny_input(tmp_path_factory) -> Path:
    """The demo's input folder at a small scale."""
    from fusionchat.demo.make import make_demo

    root = tmp_path_factory.mktemp("tiny") / "input"
    make_demo(root, seed=0, scale=SCALE, progress=silent)
    return root


@pytest.fixture(scope="session")
def finished(tiny_input, tmp_path_factory):
    """An undisturbed run, made once a session; a test that changes it takes a copy."""
    from fusionchat.recipe.schema import load_recipe
    from fusionchat.stages.pipeline import run

    folder = tmp_path_factory.mktemp("finished")
    (folder / "input").symlink_to(tiny_input)
    write_recipe(folder / "recipe.yaml", output=str(folder / "runs"))
    return run(load_recipe(folder / "recipe.yaml"))


@pytest.fixture
def tiny(tiny_input, tmp_path, monkeypatch) -> Path:
    """A working directory with the input and `recipe.yaml`; runs go to ``runs/tiny`` in it."""
    (tmp_path / "input").symlink_to(tiny_input)
    write_recipe(tmp_path / "recipe.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def copied(finished, tiny) -> Path:
    """A copy of a finished run, in a working directory of its own."""
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    return tiny / "runs/tiny"


def write_recipe(path: Path, **changes) -> None:
    path.write_text(to_yaml(SETTINGS | changes))


def copy_input(tiny_folder: Path) -> None:
    """Replace the shared input by a copy that a test may damage."""
    source = (tiny_folder / "input").resolve()
    (tiny_folder / "input").unlink()
    shutil.copytree(source, tiny_folder / "input")
