"""Columns of other names, read as those of the formats."""

import pytest

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats import FORMATS
from fusionchat.corpus.mapping import ROLES, Names, keys_of_turns
from fusionchat.corpus.record import parse_record

ASKED, SAID = Message("user", "Two?"), Message("assistant", "2")


def parsed(record, columns, **more):
    return parse_record(record, default_id="r", names=Names(columns, **more))


@pytest.mark.parametrize(
    ("columns", "record", "messages"),
    [
        (
            {"prompt": "problem", "completion": "solution"},
            {"problem": "Two?", "solution": "2"},
            (ASKED, SAID),
        ),
        ({"question": "q", "answer": "a"}, {"q": "Two?", "a": "2"}, (ASKED, SAID)),
        (
            {"instruction": "task", "output": "reply"},  # input keeps its own meaning
            {"task": "Add.", "input": "1 and 1", "reply": "2"},
            (Message("user", "Add.\n1 and 1"), SAID),
        ),
        (
            {"input": "context", "instruction": "task", "output": "reply", "system": "persona"},
            {"task": "Add.", "context": "1 and 1", "reply": "2", "persona": "You add."},
            (Message("system", "You add."), Message("user", "Add.\n1 and 1"), SAID),
        ),
        (
            {"messages": "chat"},
            {"chat": [{"role": "user", "content": "Two?"}, {"from": "gpt", "value": "2"}]},
            (ASKED, SAID),
        ),
        (
            {"messages": "chat", "role": "speaker", "content": "utterance"},
            {"chat": [{"speaker": "human", "utterance": "Two?"}, {"speaker": "bot", "utterance": "2"}]},
            (ASKED, SAID),
        ),
        (
            {"role": "speaker", "content": "utterance"},  # a list for each key, as `datasets` gives it
            {"conversations": {"speaker": ["human", "bot"], "utterance": ["Two?", "2"]}},
            (ASKED, SAID),
        ),
        ({"question": "answer", "answer": "question"}, {"answer": "Two?", "question": "2"}, (ASKED, SAID)),
    ],
)
def test_columns_are_read_as_the_roles_that_they_are_given(columns, record, messages):
    found = parsed(record, columns)
    assert found.found.messages == messages and found.unused == ()


def test_where_turns_are_named_no_other_column_with_turns_is_read():
    record = {
        "messages": [{"role": "user", "content": "other"}, {"role": "assistant", "content": "other too"}],
        "problem": "Two?",
        "output": "4",
        "solution": "2",
        "answer": "two",
    }
    found = parsed(record, {"prompt": "problem", "response": "solution"})
    assert found.found.messages == (ASKED, SAID)
    assert found.found.answer == "two"  # not mapped: what a reply is checked by, as ever
    assert set(found.unused) == {"messages", "output"}


def test_a_column_whose_name_another_has_been_given_is_counted():
    found = parsed({"prompt": "a template", "problem": "Two?", "completion": "2"}, {"prompt": "problem"})
    assert found.found.messages == (ASKED, SAID)
    assert found.unused == ("prompt (another column is read as it)",)
    lacking = parsed({"prompt": "a template", "completion": "2"}, {"prompt": "problem"})
    assert lacking.found.reason == "no messages"


def test_the_domain_is_a_name_or_a_column_s_value():
    record = {"prompt": "Two?", "completion": "2", "domain": "own", "topic": "maths"}
    assert parsed(record, {}).found.domain == "own"
    assert parsed(record, {}, domain="code").found.domain == "code"
    assert parsed(record, {}, domain_column="topic").found.domain == "maths"
    assert parsed(record | {"topic": None}, {}, domain_column="topic").found.domain == ""
    assert parsed(record | {"topic": 7}, {}, domain_column="topic").found.domain == "7"
    turns = [{"role": "user", "content": "Two?"}, {"role": "assistant", "content": "2"}]
    assert parsed(turns, {}, domain="code").found.domain == "code"  # a record that is a list


def test_ids_are_mapped_too():
    record = {"prompt": "Two?", "completion": "2", "uid": "x7", "id": "0"}
    assert parsed(record, {"id": "uid"}).found.id == "x7"


def test_every_format_s_columns_are_roles():
    assert {name for one in FORMATS.values() for name in (*one.columns, *one.answers)} <= set(ROLES)
    assert {"system", "history", "context", "id", "role", "content"} <= set(ROLES)


def test_what_is_named_and_what_a_record_has():
    names = Names({"prompt": "problem", "role": "speaker"}, domain_column="topic")
    assert names.wanted == {
        "columns.prompt": "problem", "columns.role": "speaker", "domain.column": "topic",
    }  # fmt: skip
    assert set(keys_of_turns({"a": [{"b": 1}, {"c": 2}], "d": {"e": 3}})) == {"b", "c", "e"}
    assert list(keys_of_turns([{"role": "user"}])) == ["role"] and list(keys_of_turns("text")) == []
    assert names.format("auto") == "prompt_completion" and names.format("alpaca") == "alpaca"
    assert Names({"answer": "a"}).format("auto") == "auto"
