"""Three parts that share nothing, whatever the corpus repeats."""

import json
import tempfile
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionchat.corpus.parts import PARTS, count_rejects, count_words, read_parts
from fusionchat.corpus.settings import CorpusFile, CorpusSettings
from fusionchat.errors import CorpusError

STORIES = [" ".join(f"{letter}{i}" for i in range(12)) for letter in "abc"]
QUESTIONS = st.sampled_from(
    [
        "",
        "Hi",
        "Is it?",
        "is it",
        "Why, please tell me?",
        "How many apples are in seven large boxes of fruit?",
    ]
)
ANSWERS = st.sampled_from(
    ["Yes.", "Hello!", "hello", "是的。", *STORIES, STORIES[0].upper(), f"So: {STORIES[0]} {STORIES[1]}"]
)
DIALOGUES = st.lists(st.lists(st.tuples(QUESTIONS, ANSWERS), min_size=1, max_size=3), min_size=3, max_size=25)


def record(pairs, **more):
    turns = [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return {"messages": turns} | more


def write(path, records):
    Path(path).write_text("".join(json.dumps(r) + "\n" for r in records))
    return str(path)


def plain(text):
    """A text's letters, digits and other characters, one space between words: written anew for this test."""
    kept = "".join(c if c.isalnum() else " " for c in text.lower())
    return " ".join(kept.split())


def pairs_of(conversation):
    contents = [plain(m.content) for m in conversation.messages]
    return set(zip(contents[::2], contents[1::2], strict=True))


def check_apart(parts):
    for a, b in combinations(parts, 2):
        for one in map(pairs_of, a):
            for other in map(pairs_of, b):
                assert not one <= other and not other <= one


@settings(deadline=None, max_examples=60)
@given(DIALOGUES, st.integers(0, 3))
def test_no_conversation_of_one_part_is_inside_one_of_another(dialogues, seed):
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "c.jsonl", [record(d) for d in dialogues])
        try:
            read = read_parts(CorpusSettings(train=path, validation=0.2, test=0.2), ".", seed=seed)
        except CorpusError as error:
            assert "part is empty" in error.what
            return
    check_apart(read.parts)
    assert sum(map(len, read.parts)) + len(read.rejects) == len(dialogues)  # each is in one place, or counted


@settings(deadline=None, max_examples=40)
@given(DIALOGUES, DIALOGUES, DIALOGUES)
def test_nor_where_the_parts_are_files(train, validation, test):
    with tempfile.TemporaryDirectory() as folder:
        files = {
            name: write(Path(folder) / f"{name}.jsonl", [record(d) for d in dialogues])
            for name, dialogues in zip(PARTS, (train, validation, test), strict=True)
        }
        try:
            read = read_parts(CorpusSettings(**files), ".", seed=0)
        except CorpusError as error:
            assert "part is empty" in error.what
            return
    check_apart(read.parts)
    assert len(read.parts.test) == len(test)  # test has priority: it loses nothing


def test_each_part_loses_what_one_with_priority_has(tmp_path):
    lots = [record([(f"Question {i}, please?", f"Answer {i}.")]) for i in range(6)]
    train = [
        *lots,
        record([("Say a", STORIES[0]), ("Say c", "C.")]),
        record([("Say b", STORIES[1]), ("x", "y")]),
    ]
    validation = [record([("Say b", STORIES[1])]), record([("Say a", STORIES[0])]), record([("v", "w")])]
    files = {
        "train": write(tmp_path / "train.jsonl", train),
        "validation": write(tmp_path / "validation.jsonl", validation),
        "test": write(tmp_path / "test.jsonl", [record([("tell me", STORIES[0]), ("t", "u")])]),
    }
    read = read_parts(CorpusSettings(**files), ".", seed=0)
    assert [len(part) for part in read.parts] == [6, 2, 1]
    assert [(r.id, r.reason) for r in read.rejects] == [
        ("validation-000001", "text shared with the test part"),
        ("train-000006", "text shared with the test part"),
        ("train-000007", "text shared with the validation part"),
    ]


def test_shares_come_from_every_domain_of_a_sorted_file(tmp_path):
    records = [record([(f"Question {i}?", f"Answer {i}.")], domain="abc"[i // 40]) for i in range(120)]
    path = write(tmp_path / "c.jsonl", records)
    read = read_parts(CorpusSettings(train=path, validation=0.1, test=0.1), ".", seed=0)
    assert [Counter(c.domain for c in part) for part in read.parts] == [
        {"a": 32, "b": 32, "c": 32}, {"a": 4, "b": 4, "c": 4}, {"a": 4, "b": 4, "c": 4},
    ]  # fmt: skip
    again = read_parts(CorpusSettings(train=path, validation=0.1, test=0.1), ".", seed=0)
    other = read_parts(CorpusSettings(train=path, validation=0.1, test=0.1), ".", seed=1)
    assert again == read and other.parts.test != read.parts.test


def test_nothing_left_is_an_error_that_names_the_part(tmp_path):
    same = write(tmp_path / "c.jsonl", [record([("Hi", "Hello!")])] * 3)
    with pytest.raises(
        CorpusError,
        match=r"(?s)The train part.*not used: 5 text shared with the test part",
    ):
        read_parts(CorpusSettings(train=same, validation={"path": same}, test=0.1), ".", seed=0)


def test_counts_in_words():
    assert count_words({"b": 1, "a": 1, "c": 5}) == "5 c, 1 a, 1 b"
    assert count_words({str(i): 1 for i in range(20)}).endswith("and 8 more")
    assert count_rejects([]) == {} and count_words({}) == ""


@pytest.mark.parametrize(("problems", "wordings"), [(12, 5), (30, 6), (15, 4), (10, 2)])
def test_a_small_corpus_of_problems_in_several_wordings_leaks_no_answer(tmp_path, problems, wordings):
    """Four wordings and more were taken for a phrase that is common: test answers stayed in train, word for word."""
    answers = [" ".join(f"w{p}x{i}" for i in range(30)) for p in range(problems)]
    asked(tmp_path, [(f"Way {j} to ask {p}?", answers[p]) for j in range(wordings) for p in range(problems)])
    parts = read_parts(SMALL, str(tmp_path), seed=0).parts
    said = [{c.messages[1].content for c in part} for part in parts]
    assert not any(a & b for a, b in combinations(said, 2))


@pytest.mark.parametrize("size", [10, 24, 60])
@pytest.mark.parametrize("phrases", [1, 3])
def test_a_small_corpus_of_few_phrases_is_kept(tmp_path, size, phrases):
    """What a tenth of the conversations say is a phrase: nothing is rejected because of it."""
    said = [" ".join(f"p{p}x{i}" for i in range(12)) for p in range(phrases)]
    asked(tmp_path, [(f"Question {i} of {size}?", f"{said[i % phrases]}: {i}.") for i in range(size)])
    read = read_parts(SMALL, str(tmp_path), seed=0)
    assert not read.rejects if size // phrases > 3 else sum(map(len, read.parts)) > 2


SMALL = CorpusSettings(train=CorpusFile(path="c.jsonl"), validation=0.1, test=0.1)


def asked(folder, pairs):
    lines = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in pairs
    ]
    (folder / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
