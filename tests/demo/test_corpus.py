import json
import re
from collections import Counter
from itertools import islice

import pytest

from fusionchat.demo.corpus import SPLITS, answer_pattern, fusion_corpus, training_text, write_corpus
from fusionchat.demo.domains import DOMAINS


@pytest.fixture(scope="module")
def corpus():
    return fusion_corpus(0, 1.0)


@pytest.fixture(scope="module")
def records(corpus):
    return [record for split in corpus.values() for record in split]


def test_sizes_and_domains(corpus):
    for split, full in SPLITS.items():
        assert Counter(record.domain for record in corpus[split]) == dict.fromkeys(DOMAINS, full)
    assert {split: len(rows) for split, rows in fusion_corpus(0, 0.02).items()} == {
        "train": 16, "validation": 16, "test": 16,
    }  # fmt: skip


def test_nothing_is_there_twice(records):
    assert len({record.key for record in records}) == len(records)
    assert len({record.reply_key for record in records}) == len(records)
    assert len({record.id for record in records}) == len(records)


def test_the_models_own_text_has_nothing_of_the_corpus():
    uniform = dict.fromkeys(DOMAINS, 1.0)
    would_be = [record.key for record in islice(training_text(0, "pivot", uniform, set()), 1000)]
    corpus = set(would_be[::3])
    assert not corpus & {record.key for record in islice(training_text(0, "pivot", uniform, corpus), 1000)}


def test_a_mixture_is_kept():
    counts = Counter(r.domain for r in islice(training_text(0, "m", {"math": 3.0, "stem": 1.0}, set()), 2000))
    assert set(counts) == {"math", "stem"} and 2.4 < counts["math"] / counts["stem"] < 3.7


def test_made_again_it_is_the_same_and_the_seed_changes_it(corpus):
    assert fusion_corpus(0, 1.0) == corpus
    assert fusion_corpus(1, 0.02)["train"] != fusion_corpus(0, 0.02)["train"]


def test_files(tmp_path, corpus):
    write_corpus(tmp_path, corpus)
    lines = (tmp_path / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(corpus["test"])
    for line in lines:
        record = json.loads(line)
        assert [m["role"] for m in record["messages"]] == ["user", "assistant"] * (
            len(record["messages"]) // 2
        )
        found = re.search(answer_pattern, record["messages"][-1]["content"])
        assert (found and found.group(1)) == record.get("answer")
    assert sum("answer" in json.loads(line) for line in lines) == len(lines) * 6 // 8
    assert any(len(json.loads(line)["messages"]) == 4 for line in lines)
