"""What a hub id stands for: the hub's word, then the cache's, then the name's."""

import sys
import threading
import time
import types
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.hf_api import SafeTensorsInfo

from fusionchat import hub
from fusionchat.corpus.located import content_of
from fusionchat.errors import ModelError
from fusionchat.hub import (
    Place,
    cached_folder,
    configuration_folder,
    find,
    here,
    hub_commit,
    hub_parameters,
    local_file,
    local_folder,
)

OLD, NEW = "a" * 40, "b" * 40
NAME = Place("org/name")


class Info:
    """What the hub says of a repository."""

    sha = NEW
    safetensors = SafeTensorsInfo({"BF16": 7}, 7)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A local cache with an old commit of a model and a dataset, and no network."""
    for kind in ("models", "datasets"):
        refs = tmp_path / f"{kind}--org--name" / "refs"
        refs.mkdir(parents=True)
        (refs / "main").write_text(OLD)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "ask_the_hub_once", lambda: None)
    hub.forget()
    yield tmp_path
    hub.forget()


@pytest.fixture
def online(cache, monkeypatch):
    """The hub answers: each name has moved on to a new commit."""
    asked = []

    def answer(self, name, *, revision=None, timeout=None):
        asked.append((name, revision))
        return Info()

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "model_info", answer)
    monkeypatch.setattr(HfApi, "dataset_info", answer)
    return asked


@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_offline_the_cache_knows(cache, kind):
    assert hub_commit(Place("org/name", kind=kind)) == OLD
    assert hub_commit(Place("org/name", revision="v2", kind=kind)) == "v2"
    assert hub_commit(Place("org/other", kind=kind)) == "main"


@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_what_is_read_comes_from_the_hub_so_its_commit_counts(online, kind):
    assert hub_commit(Place("org/name", kind=kind)) == NEW and online == [("org/name", None)]
    assert hub_commit(Place("org/name", revision="v2", kind=kind)) == NEW and online[1:] == [
        ("org/name", "v2")
    ]
    assert hub_commit(Place("org/name", revision=OLD, kind=kind)) == OLD, "a commit stands for itself"


def test_a_dataset_is_identified_by_its_commit(cache, online, monkeypatch):
    assert content_of("org/name", None) == f"hub:org/name@{NEW}"
    hub.forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert content_of("org/name", None) == f"hub:org/name@{OLD}"
    assert content_of("org/name", "c" * 40) == f"hub:org/name@{'c' * 40}"


def test_a_dataset_is_read_at_the_commit_that_it_is_identified_by(online, monkeypatch):
    from fusionchat.corpus.read import read_corpus
    from fusionchat.corpus.settings import CorpusFile

    given = {}
    record = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    module = types.ModuleType("datasets")
    module.load_dataset = lambda path, name, **settings: given.update(settings) or iter([record])
    monkeypatch.setitem(sys.modules, "datasets", module)
    assert len(read_corpus(CorpusFile(path="org/name", revision="v2")).conversations) == 1
    assert given["revision"] == NEW and given["split"] == "train"


def test_the_hub_is_asked_once_for_commit_and_size(online):
    assert hub_parameters(NAME) == 7 and hub_commit(NAME) == NEW
    assert online == [("org/name", None)]


def test_offline_or_where_the_hub_does_not_know_there_is_no_size(cache, online, monkeypatch):
    monkeypatch.setattr(Info, "safetensors", None)
    assert hub_parameters(NAME) is None
    hub.forget()
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: 1 / 0)
    assert hub_parameters(NAME) is None
    hub.forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub_parameters(NAME) is None


def test_a_model_in_the_cache_is_found_by_its_commit(cache):
    assert cached_folder(NAME) is None
    folder = cache / "models--org--name" / "snapshots" / OLD
    folder.mkdir(parents=True)
    assert cached_folder(NAME) == cached_folder(Place("org/name", revision=OLD)) == folder
    assert cached_folder(Place("org/name", revision=NEW)) is None


def test_a_models_configuration_comes_from_the_hub_where_that_answers(cache, online, monkeypatch, tmp_path):
    folder = cache / "models--org--name" / "snapshots" / NEW
    asked = []
    monkeypatch.setattr(hub, "local_folder", lambda place, patterns: asked.append(patterns) or tmp_path)
    assert configuration_folder(NAME) == tmp_path and asked == [("config.json",)]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert configuration_folder(NAME) == folder and len(asked) == 1, "what is in the cache is not asked for"
    assert configuration_folder(Place("x", tmp_path)) == tmp_path
    (folder / "config.json").unlink()

    def refuses(_place, _patterns):
        raise ModelError("gated")

    monkeypatch.setattr(hub, "local_folder", refuses)
    assert configuration_folder(NAME) == folder
    hub.forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert configuration_folder(Place("org/other")) is None


def test_a_folder_is_a_folder_and_another_name_an_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find("a/b", revision="v2") == Place("a/b", None, "v2")
    (tmp_path / "recipes/a/b").mkdir(parents=True)
    assert find("a/b", revision="v2").hub_id == "a/b"
    found = find("a/b", "recipes", "v2")
    assert found == Place("recipes/a/b", Path("recipes/a/b")) and found.hub_id is None, (
        "relative to the recipe first"
    )
    (tmp_path / "a/b").mkdir(parents=True)
    assert find("a/b").path == find("a/b", "elsewhere").path == Path("a/b"), "then to the working directory"
    assert find("a/b", "recipes").path == Path("recipes/a/b")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find("~/a").path == tmp_path / "a"


def test_a_dataset_is_a_file(tmp_path):
    (tmp_path / "c").write_text("{}")
    assert find("c", str(tmp_path), kind="datasets") == Place(
        str(tmp_path / "c"), tmp_path / "c", kind="datasets"
    )
    assert find("c", str(tmp_path)).path is None, "a model is a folder"


def test_names_that_can_be_ids():
    names = {"gpt2": True, "a/b": True, "./a": False, "/a": False, "~/a": False, "a/b/c": False, "..": False}
    assert {name: Place(name).hub_id is not None for name in names} == names


def test_a_models_folder_is_its_own_or_what_the_hub_gives(tmp_path, monkeypatch):
    assert local_folder(Place("x", tmp_path), ["*"]) == cached_folder(Place("x", tmp_path)) == tmp_path
    asked = {}
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, **how: asked.update(how, name=name) or str(tmp_path),
    )
    assert local_folder(Place("org/name", revision="v2"), ("*.json",)) == tmp_path
    assert asked == {"name": "org/name", "revision": "v2", "allow_patterns": ["*.json"]}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(ModelError, match="org/name cannot be downloaded from the hub: division by zero"):
        local_folder(NAME, ["*"])


def test_a_hub_that_does_not_answer_is_waited_for_once(cache, monkeypatch):
    """Neither a lookup of its name nor each of its addresses counts against the client's own limit."""
    hang, asked = threading.Event(), []

    def head(*_, **__):
        asked.append(1)
        hang.wait(60)

    monkeypatch.undo()  # ask_the_hub_once is the real one
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: types.SimpleNamespace(head=head))
    monkeypatch.setattr(hub, "ANSWERS_IN_S", 0.1)
    hub.forget()
    hub.ask_the_hub_once.cache_clear()
    try:
        start = time.monotonic()
        commits = [hub_commit(Place(name)) for name in ("org/name", "org/other")]
        assert time.monotonic() - start < 5
        assert commits == [OLD, "main"] and asked == [1] and constants.HF_HUB_OFFLINE
    finally:
        hang.set()
        hub.ask_the_hub_once.cache_clear()


def test_a_gguf_file_is_found_as_a_path_or_in_a_model_on_the_hub(tmp_path):
    (tmp_path / "x.gguf").touch()
    found = find("x.gguf", str(tmp_path))
    assert found == Place(str(tmp_path), tmp_path, file="x.gguf") and found.hub_id is None
    assert found.given == str(tmp_path / "x.gguf") and find(found.given) == found
    assert here(found) == tmp_path / "x.gguf" == local_file(found)
    on_hub = find("owner/name:sub/x.gguf", revision="v1")
    assert on_hub == Place("owner/name", revision="v1", file="sub/x.gguf")
    assert on_hub.hub_id == "owner/name" and on_hub.given == "owner/name:sub/x.gguf"
    for name in ("C:\\x.gguf", "C:/x.gguf", "owner/name:/x.gguf", "owner/name:x.bin", "a/b/c:x.gguf"):
        assert find(name).file is None
    assert find("x.gguf", str(tmp_path), kind="datasets").file is None
