"""How users name the models of a merge: folders, hub ids with or without a revision, names of targets."""

from pathlib import Path

import huggingface_hub
import pytest

from fusionchat.errors import MergeError, ModelError
from fusionchat.hub import Place
from fusionchat.merge.inputs.references import find_model, folder_of, name_targets


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub gives one folder for every id; what it was asked for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").mkdir()
    asked = []

    def give(name, *, revision, allow_patterns):
        asked.append((name, revision, "*.bin" in allow_patterns))
        return str(tmp_path / "given")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", give)
    return asked


def test_a_folder_is_itself_and_another_name_an_id(hub, tmp_path):
    (tmp_path / "org/a").mkdir(parents=True)
    assert find_model("org/a") == Path("org/a") and hub == []
    assert find_model("org/a@v2") == tmp_path / "given", "a folder has no revision"
    assert find_model("org/b") == tmp_path / "given"
    assert hub == [("org/a", "v2", False), ("org/b", None, False)]


@pytest.mark.parametrize("wrong", ["pivto", "./org/a", "/org/a@v2", "a/b/c", "pivto@v2"])
def test_what_can_be_no_id_with_an_owner_is_a_folder_that_is_missing(hub, wrong):
    with pytest.raises(MergeError, match=f"no such model folder: {wrong}"):
        find_model(wrong)
    assert hub == []


def test_pickles_are_fetched_only_where_they_are_allowed_and_needed(hub, tmp_path):
    folder_of(Place("org/a"), allow_pickle=True)
    assert hub == [("org/a", None, False), ("org/a", None, True)]
    (tmp_path / "given/model.safetensors").touch()
    folder_of(Place("org/a"), allow_pickle=True)
    assert hub[2:] == [("org/a", None, False)]
    assert folder_of(Place("x", tmp_path), allow_pickle=True) == tmp_path and len(hub) == 3


def test_what_the_hub_does_not_give_is_said(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(ModelError, match="org/a cannot be downloaded from the hub: division by zero"):
        find_model("org/a@v2")


def test_a_folder_with_an_equals_sign_is_not_split(hub, tmp_path):
    (tmp_path / "lr=1").mkdir()
    assert name_targets(["a=org/x", "lr=1", "org/x@v2"]) == {"a": "org/x", "lr=1": "lr=1", "x": "org/x@v2"}


def test_targets_get_names():
    assert name_targets(["a/x", "b/x@main", "c=d/e", "pivot"]) == {
        "x": "a/x", "x-2": "b/x@main", "c": "d/e", "pivot-2": "pivot",
    }  # fmt: skip
