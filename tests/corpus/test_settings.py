"""What an entry of a corpus may say, and what is said of a mistake in it."""

import pytest
from pydantic import ValidationError

from fusionchat.corpus.mapping import Names
from fusionchat.corpus.settings import (
    CorpusFile,
    CorpusSettings,
    Domain,
    kind_of,
    kind_of_train,
    plain_values,
)


def test_one_entry_or_a_list_or_a_share():
    one = CorpusSettings(train="a.jsonl", validation=["b.jsonl", {"path": "c.jsonl"}])
    assert one.entries("train") == {"train": CorpusFile(path="a.jsonl")}
    assert list(one.entries("validation")) == ["validation.0", "validation.1"]
    assert one.entries("test") == {} and one.test == 0.02
    assert CorpusSettings.model_validate_json(one.model_dump_json()) == one
    assert (kind_of(0.1), kind_of(["a"]), kind_of({}), kind_of(None)) == (
        "a share", "a list of entries", "an entry", "a share",
    )  # fmt: skip
    assert kind_of_train(0.1) == "an entry" and kind_of_train(()) == "a list of entries"


def test_domain_in_short():
    assert CorpusFile(path="a", domain="code").domain == Domain(name="code")
    entry = CorpusFile(path="a", domain={"column": "source"}, columns={"prompt": "q"})
    assert entry.names == Names({"prompt": "q"}, None, "source")
    assert CorpusFile(path="a").names == Names()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"limit": 3, "share": 0.5}, "use one of the two"),
        ({"share": 1.5}, "less than or equal to 1"),
        ({"share": 0}, "greater than 0"),
        ({"domain": {}}, "either a name or"),
        ({"domain": {"name": "a", "column": "b"}}, "either a name or"),
        ({"columns": {"promt": "q"}}, r"no role 'promt' \(did you mean 'prompt'\?\)"),
        ({"columns": {"domain": "q"}}, "domain: {column: NAME}"),
        ({"filter": {"score": {"min": 3}}}, ".score: must be text, a number"),
        ({"filter": {"score": [[3]]}}, ".score: must be text, a number"),
        ({"pattern": "x"}, "needs a group"),
    ],
)
def test_mistakes(more, words):
    with pytest.raises(ValidationError, match=words):
        CorpusFile(path="a", **more)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_an_empty_list_is_a_mistake(part):
    with pytest.raises(ValidationError, match="at least one entry"):
        CorpusSettings(**{"train": "a.jsonl", part: []})


def test_values_of_a_filter_keep_their_types():
    wanted = {"a": 1, "b": True, "c": "1", "d": None, "e": 1.5, "f": [1, "x", None]}
    assert plain_values(wanted) is wanted
    held = CorpusFile(path="a", filter=wanted)
    assert repr(held.filter) == repr(wanted | {"f": (1, "x", None)})
    assert repr(CorpusFile.model_validate_json(held.model_dump_json()).filter) == repr(held.filter)
