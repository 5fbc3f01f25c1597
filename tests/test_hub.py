"""What a hub id stands for: the hub's word, then the cache's, then the name's."""

import pytest
from huggingface_hub import HfApi, constants

from fusionchat import hub
from fusionchat.hub import hub_commit
from fusionchat.stages.corpus import content_of

OLD, NEW = "a" * 40, "b" * 40


class Info:
    """What the hub says of a repository."""

    sha = NEW


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
    hub_commit.cache_clear()
    yield tmp_path
    hub_commit.cache_clear()


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
    hub_commit.cache_clear()
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
