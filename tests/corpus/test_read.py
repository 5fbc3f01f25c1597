"""Reading a corpus: every format, and every reject counted by its reason."""

import gzip
import json
from dataclasses import replace

import pytest

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.read import from_record, read_corpus, to_record
from fusionchat.corpus.settings import CorpusFile
from fusionchat.errors import CorpusError
from tests.shared import SHARED, needs_shared

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
SHAREGPT = {"id": "a", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}


def lines(*records):
    return "".join(json.dumps(r) + "\n" for r in records)


def test_json_lines_plain_and_zipped(tmp_path):
    (tmp_path / "c.jsonl").write_text(lines(GOOD, SHAREGPT))
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.write(lines(GOOD, SHAREGPT))
    plain, zipped = (read_corpus(str(tmp_path / name)) for name in ("c.jsonl", "c.jsonl.gz"))
    assert plain == zipped
    assert [c.id for c in plain.conversations] == ["c-000000", "a"]
    assert plain.conversations[1].messages == (Message("user", "Hi"), Message("assistant", "Hello"))


def test_json_list_parquet_and_limit(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "c.json").write_text(json.dumps([SHAREGPT, GOOD]))
    pq.write_table(pa.Table.from_pylist([GOOD, GOOD, GOOD]), tmp_path / "c.parquet")
    assert len(read_corpus(str(tmp_path / "c.json")).conversations) == 2
    assert len(read_corpus(CorpusFile(path=str(tmp_path / "c.parquet"), limit=2)).conversations) == 2


def test_text_is_one_turn_a_paragraph(tmp_path):
    (tmp_path / "t.txt").write_text("One.\n\n  Two. \nThree.\n")
    read = read_corpus(str(tmp_path / "t.txt"))
    assert read == read_corpus(CorpusFile(path=str(tmp_path / "t.txt"), format="text"))
    assert [c.messages for c in read.conversations] == [
        (Message("assistant", text),) for text in ("One.", "Two.", "Three.")
    ]


def test_text_by_a_pattern_of_ones_own(tmp_path):
    (tmp_path / "t.txt").write_text(
        "Opening one.\n\nMore.\nOpening two.\n\nMore.\n\nYet more.\nOpening three.\n"
    )
    openings = read_corpus(CorpusFile(path=str(tmp_path / "t.txt"), pattern=r"(?:\A|(?<!\n)\n)([^\n]+)"))
    assert [c.messages[0].content for c in openings.conversations] == [
        "Opening one.", "Opening two.", "Opening three.",
    ]  # fmt: skip


def test_rejects_are_counted_and_broken_lines_are_no_crash(tmp_path):
    (tmp_path / "c.jsonl").write_text(lines(GOOD, {"messages": []}) + "{broken\n" + lines(SHAREGPT, SHAREGPT))
    read = read_corpus(str(tmp_path / "c.jsonl"))
    assert len(read.conversations) == 2
    assert sorted(r.reason for r in read.rejects) == ["appears twice with the same id", "empty", "not JSON"]


def test_dialogues_with_one_id_are_told_apart(tmp_path):
    """Files that were put together count from zero each; a record that is there twice is counted."""
    others = [GOOD | {"id": 7, "domain": d} for d in ("a", "b", "c", "a")]
    (tmp_path / "c.jsonl").write_text(lines(*others))
    read = read_corpus(str(tmp_path / "c.jsonl"))
    assert [(c.id, c.domain) for c in read.conversations] == [
        ("7", "a"),
        ("7-000001", "b"),
        ("7-000002", "c"),
    ]
    assert [r.reason for r in read.rejects] == ["appears twice with the same id"]


@pytest.mark.parametrize("content", ["", "\n", '{"messages": []}\n'])
def test_nothing_usable_is_an_error(tmp_path, content):
    (tmp_path / "c.jsonl").write_text(content)
    with pytest.raises(CorpusError, match="No record"):
        read_corpus(str(tmp_path / "c.jsonl"))


def test_missing_folder_and_binary_files_are_errors(tmp_path):
    with pytest.raises(CorpusError, match="no such corpus file"):
        read_corpus(str(tmp_path / "none.jsonl"))
    with pytest.raises(CorpusError, match="folder"):
        read_corpus(str(tmp_path))
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorpusError, match="cannot be read"):
        read_corpus(str(tmp_path / "b.jsonl"))
    (tmp_path / "b.parquet").write_bytes(b"nothing")
    with pytest.raises(CorpusError, match="Parquet"):
        read_corpus(str(tmp_path / "b.parquet"))
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(CorpusError, match="not JSON"):
        read_corpus(str(tmp_path / "b.json"))


def test_records_read_back_unchanged():
    conversation = Conversation(
        "x", (Message("user", "a"), Message("assistant", "b\u2028", complete=False)), "math", "4"
    )
    conversation = replace(
        conversation, messages=(Message("assistant", "No.", train=False), *conversation.messages)
    )
    assert from_record(json.loads(json.dumps(to_record(conversation)))) == conversation


@needs_shared
def test_real_files_are_read():
    multi = read_corpus(str(SHARED / "chat" / "sharegpt_multi_turn_500.json"))
    chinese = read_corpus(CorpusFile(path=str(SHARED / "chat" / "instructions_zh_1000.jsonl.gz"), limit=50))
    assert len(multi.conversations) + len(multi.rejects) == 500 and len(multi.rejects) <= 25
    assert len(chinese.conversations) == 50


def test_keys_that_nothing_reads_are_counted_by_name(tmp_path):
    odd = GOOD | {"persona": "a pirate", "score": 4.5, "source": "here", "notes": None}
    (tmp_path / "c.jsonl").write_text(lines(odd, odd, GOOD, {"persona": "x"}))
    read = read_corpus(str(tmp_path / "c.jsonl"))
    assert read.unused == {"persona": 2} and [r.reason for r in read.rejects] == ["no messages"]


def test_an_empty_id_is_none(tmp_path):
    (tmp_path / "c.jsonl").write_text(lines(*[GOOD | {"id": ""}] * 3))
    assert [c.id for c in read_corpus(str(tmp_path / "c.jsonl")).conversations] == [
        "c-000000",
        "c-000001",
        "c-000002",
    ]


def test_the_error_says_every_reason_with_an_example(tmp_path):
    (tmp_path / "c.jsonl").write_text(
        lines({"text": "a"}, {"messages": [{"role": "narrator", "content": "x"}]})
    )
    with pytest.raises(CorpusError, match=r"no messages: keys: text; wrong role: narrator"):
        read_corpus(str(tmp_path / "c.jsonl"))
