"""Several entries as one part: ids, shares, and every record accounted for."""

import json
from collections import Counter

import pytest

from fusionchat.corpus.entries import Account, draw_share, read_entries, read_entry
from fusionchat.corpus.parts import read_parts
from fusionchat.corpus.settings import CorpusFile, CorpusSettings
from fusionchat.corpus.thoughts import DROPPED, OPENED
from fusionchat.errors import CorpusError


def record(i, **more):
    return {"prompt": f"What is the number {i}?", "completion": f"It is {i}."} | more


def write(path, records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path.name


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "a.jsonl", [record(i, domain="xy"[i % 2]) for i in range(20)])
    write(tmp_path / "b.jsonl", [record(100 + i, lang="en" if i % 4 else "de") for i in range(12)])
    write(tmp_path / "c.jsonl", [{"id": "a-000001", **record(200)}, {"prompt": "nothing"}])
    return tmp_path


def entries(*given):
    settings = CorpusSettings(train=list(given))
    return settings.entries("train")


def test_every_record_of_every_entry_is_used_or_counted(folder):
    given = entries(
        {"path": "a.jsonl", "share": 0.25},
        {"path": "b.jsonl", "filter": {"lang": "en"}, "limit": 5, "domain": "code"},
        "c.jsonl",
    )
    read = read_entries("train", given, str(folder), seed=0)
    assert read.accounts == [
        Account("train.0", "a.jsonl", 5, 0, {"not drawn": 15}),
        Account("train.1", "b.jsonl", 5, 0, {"filtered out": 3, "over the limit": 4}),
        Account("train.2", "c.jsonl", 1, 1, {}),
    ]
    assert [account.records for account in read.accounts] == [20, 12, 2]
    assert str(read.accounts[1]) == "train.1 b.jsonl: 5 of 12 records, 3 filtered out, 4 over the limit"
    assert str(read.accounts[2]) == "train.2 c.jsonl: 1 of 2 records, 1 rejected"
    assert str(Account("test", "org/d", 3, 0, {"over the limit": None})) == (
        "test org/d: 3 of 3 records, an unknown number over the limit"
    )
    assert len(read.conversations) == 11 and len(read.rejects) == 1
    numbers = [int(c.id[-6:]) for c in read.conversations if c.domain == "code"]
    assert numbers == [1, 2, 3, 5, 6]  # the first that pass the filter, in order


def test_a_share_is_drawn_by_seed_and_domain(folder):
    given = entries({"path": "a.jsonl", "share": 0.3})
    one, again = (read_entries("train", given, str(folder), seed=0).conversations for _ in range(2))
    assert Counter(c.domain for c in one) == {"x": 3, "y": 3} and one == again
    assert [c.id for c in one] == sorted(c.id for c in one)
    assert one != read_entries("train", given, str(folder), seed=1).conversations
    assert (
        len(draw_share(one, 0.01, seed=0, part="train")) == 1
        and draw_share(one, 1.0, seed=0, part="t") == one
    )


def test_ids_that_another_entry_has_get_a_number(folder):
    read = read_entries("train", entries("a.jsonl", "c.jsonl"), str(folder), seed=0)
    ids = [c.id for c in read.conversations]
    assert ids[1] == "a-000001" and ids[-1] == "a-000001-000000" and len(set(ids)) == len(ids)


def test_an_entry_that_others_have_is_named(folder):
    with pytest.raises(CorpusError, match="Earlier entries already have all records") as error:
        read_entries("train", entries("a.jsonl", "a.jsonl"), str(folder), seed=0)
    assert error.value.where == "corpus.train.1: a.jsonl"
    read = read_entries("train", entries({"path": "a.jsonl", "limit": 3}, "a.jsonl"), str(folder), seed=0)
    assert len(read.conversations) == 20 and read.accounts[1] == Account("train.1", "a.jsonl", 17, 3, {})
    assert {r.reason for r in read.rejects} == {"appears twice with the same id"}


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"columns": {"prompt": "problem"}}, "None of the 12 records has a column 'problem'"),
        ({"filter": {"lang": "fr"}}, "The filter matches none of the 12 records"),
        ({"filter": {"lng": "en"}}, "None of the 12 records has a column 'lng'"),
        ({"domain": {"column": "topic"}}, "None of the 12 records has a column 'topic'"),
        ({"path": "none.jsonl"}, "no such corpus file"),
        ({"path": "."}, "This is a folder"),
        ({"columns": {"messages": "prompt"}}, "No record of this corpus can be used"),
    ],
)
@pytest.mark.parametrize("sample", [None, 2])
def test_a_mistake_names_the_entry(folder, more, what, sample):
    given = entries("a.jsonl", {"path": "b.jsonl", **more})
    with pytest.raises(CorpusError, match=what) as error:
        read_entry("train.1", given["train.1"], str(folder), sample=sample)
    assert error.value.where.startswith("corpus.train.1: ")


def test_a_sample_reads_on_until_a_column_is_seen(tmp_path):
    late = [record(i) for i in range(30)] + [record(30, persona="You count.")]
    write(tmp_path / "late.jsonl", late)
    entry = CorpusFile(path="late.jsonl", columns={"system": "persona"})
    read = read_entry("train", entry, str(tmp_path), sample=3)
    assert len(read.conversations) == 3 and read.left == {}


def test_the_files_of_a_pattern_are_one_entry(folder):
    read = read_entry("train", CorpusFile(path="[ab].jsonl", limit=25), str(folder))
    assert len(read.conversations) == 25 and read.left == {"over the limit": 7}
    assert [c.id for c in read.conversations[19:21]] == ["a-000019", "b-000000"]


def test_entries_of_different_parts_share_no_text(folder):
    write(folder / "t.jsonl", [record(3), record(300)])
    read = read_parts(
        CorpusSettings(train=["a.jsonl", "b.jsonl"], validation=["c.jsonl"], test=["t.jsonl"]),
        str(folder),
        seed=0,
    )
    assert [len(part) for part in read.parts] == [31, 1, 2]
    assert [r.reason for r in read.rejects if r.id == "a-000003"] == ["text shared with the test part"]
    assert [account.place for account in read.accounts] == ["train.0", "train.1", "validation.0", "test.0"]


def test_thoughts_begin_with_their_tag(tmp_path):
    turns = [("Hello", "hm\n</think>\n\nHi"), ("Bye", "<think>\nhm\n</think>\n\nBye"), ("Yes", "No")]
    write(tmp_path / "c.jsonl", [{"prompt": q, "completion": a} for q, a in turns])
    source = CorpusFile(path="c.jsonl")
    kept = read_entry("train", source, str(tmp_path))
    assert [c.messages[1].content[:8] for c in kept.conversations] == ["<think>\n", "<think>\n", "No"]
    assert kept.notes == {OPENED: 1}
    dropped = read_entry("train", source, str(tmp_path), thinking="drop")
    assert [c.messages[1].content for c in dropped.conversations] == ["Hi", "Bye", "No"]
    assert dropped.notes == {DROPPED: 2}
