"""What a hub id stands for: the hub's word, then the cache's, then the name's."""

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.hf_api import SafeTensorsInfo

from fusionchat import hub
from fusionchat.hub import cached_model, hub_commit, hub_parameters, is_hub_id, looks_like_a_path
from fusionchat.stages.corpus import content_of

OLD, NEW = "a" * 40, "b" * 40


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
    assert hub_commit(kind, "org/name") == OLD
    assert hub_commit(kind, "org/name", "v2") == "v2"
    assert hub_commit(kind, "org/other") == "main"


@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_what_is_read_comes_from_the_hub_so_its_commit_counts(online, kind):
    assert hub_commit(kind, "org/name") == NEW and online == [("org/name", None)]
    assert hub_commit(kind, "org/name", "v2") == NEW and online[1:] == [("org/name", "v2")]
    assert hub_commit(kind, "org/name", OLD) == OLD, "a commit stands for itself"


def test_a_dataset_is_identified_by_its_commit(cache, online, monkeypatch):
    assert content_of("org/name", None) == f"hub:org/name@{NEW}"
    hub.forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert content_of("org/name", None) == f"hub:org/name@{OLD}"
    assert content_of("org/name", "c" * 40) == f"hub:org/name@{'c' * 40}"


def test_a_dataset_is_read_at_the_commit_that_it_is_identified_by(online, monkeypatch):
    import sys
    import types

    from fusionchat.corpus.read import read_corpus

    given = {}
    record = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    module = types.ModuleType("datasets")
    module.load_dataset = lambda name, **settings: given.update(settings) or iter([record])
    monkeypatch.setitem(sys.modules, "datasets", module)
    assert len(read_corpus("org/name", revision="v2").conversations) == 1
    assert given["revision"] == NEW and given["split"] == "train"


def test_the_hub_is_asked_once_for_commit_and_size(online):
    assert hub_parameters("org/name", None) == 7 and hub_commit("models", "org/name") == NEW
    assert online == [("org/name", None)]


def test_offline_or_where_the_hub_does_not_know_there_is_no_size(cache, online, monkeypatch):
    monkeypatch.setattr(Info, "safetensors", None)
    assert hub_parameters("org/name", None) is None
    hub.forget()
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: 1 / 0)
    assert hub_parameters("org/name", None) is None
    hub.forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub_parameters("org/name", None) is None


def test_a_model_in_the_cache_is_found_by_its_commit(cache):
    assert cached_model("org/name", None) is None
    folder = cache / "models--org--name" / "snapshots" / OLD
    folder.mkdir(parents=True)
    assert cached_model("org/name", None) == cached_model("org/name", OLD) == folder
    assert cached_model("org/name", NEW) is None


def test_names_that_can_be_ids(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [looks_like_a_path(name) for name in ("gpt2", "a/b", "./a", "/a", "~/a", "a/b/c")] == [
        False
    ] * 2 + [True] * 4
    assert is_hub_id("a/b") and not is_hub_id("gpt2") and not is_hub_id("./a")
    (tmp_path / "a/b").mkdir(parents=True)
    assert not is_hub_id("a/b")
