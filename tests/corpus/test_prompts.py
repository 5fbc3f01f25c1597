"""Prompts are read from any record that asks something."""

import json

import pytest

from fusionchat.corpus.prompts import read_prompts
from fusionchat.errors import CorpusError


def write(path, records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return str(path)


def texts(read):
    return [[(m.role[0], m.content) for m in one.messages] for one in read.conversations]


def test_answers_are_neither_needed_nor_in_the_way(tmp_path):
    records = [
        {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"}]},
        {
            "conversations": [
                {"from": "human", "value": "a"},
                {"from": "gpt", "value": "x"},
                {"from": "human", "value": "b"},
            ]
        },
        {"instruction": "a", "input": "b"},
        {"instruction": "a", "output": "x"},
        {"prompt": "a"},
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
    ]
    read = read_prompts(write(tmp_path / "p.jsonl", records))
    assert texts(read) == [
        [("s", "S"), ("u", "a")],
        [("u", "a"), ("a", "x"), ("u", "b")],
        [("u", "a\nb")],
        [("u", "a"), ("a", "x")],
        [("u", "a")],
        [("u", "a"), ("u", "b")],
    ]
    assert read.rejects == []


def test_a_line_of_text_is_a_question(tmp_path):
    (tmp_path / "p.txt").write_text("One?\n\nTwo?\n")
    assert texts(read_prompts(str(tmp_path / "p.txt"))) == [[("u", "One?")], [("u", "Two?")]]


def test_what_asks_nothing_is_counted(tmp_path):
    turn = {"role": "user", "content": " "}
    late = [{"role": "user", "content": "a"}, {"role": "system", "content": "S"}]
    records = [
        {"messages": [{"role": "system", "content": "S"}]},
        {"messages": [turn]},
        {"messages": late},
        {"prompt": "a"},
    ]
    read = read_prompts(write(tmp_path / "p.jsonl", records))
    assert [one.reason for one in read.rejects] == ["no user turn", "empty", "system turn inside"]
    assert len(read.conversations) == 1
    with pytest.raises(CorpusError, match="no user turn"):
        read_prompts(write(tmp_path / "q.jsonl", records[:1]))
