"""Files as their editors and exporters write them: byte order marks, wrapped lists, wrong endings."""

import codecs
import gzip
import json
import sys

import pytest

from fusionchat.corpus.files import BrokenLine, hub_size, read_records
from fusionchat.corpus.read import read_corpus
from fusionchat.corpus.settings import CorpusFile
from fusionchat.errors import CorpusError
from fusionchat.hub import Place

RECORDS = [{"messages": [{"role": "user", "content": f"Hi {i}"}]} for i in range(3)]
LINES = "".join(json.dumps(r) + "\n" for r in RECORDS)
LIST = json.dumps(RECORDS)


def records(path, text=False, split="train"):
    return list(read_records(path, text=text, split=split, pattern=r"([^\n]+)"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["c.jsonl", "c.json", "c.jsonl.gz", "c.JSON"])
def test_byte_order_marks(tmp_path, name, encoding):
    raw = (LIST if name.lower().split(".")[1] == "json" else LINES).encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    assert records(tmp_path / name) == RECORDS


def test_a_mark_in_plain_text_and_of_the_other_byte_order(tmp_path):
    (tmp_path / "t.txt").write_bytes(codecs.BOM_UTF16_BE + "One.\r\nTwo.\r\n".encode("utf-16-be"))
    assert [r["messages"][0]["content"] for r in records(tmp_path / "t.txt")] == ["One.", "Two."]
    (tmp_path / "u.txt").write_text("One.", encoding="utf-8-sig")
    assert records(tmp_path / "u.txt")[0]["messages"][0]["content"] == "One."


def test_a_mark_where_two_files_were_put_together(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(LINES.encode("utf-8-sig") * 2)
    assert records(tmp_path / "c.jsonl") == RECORDS * 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", LINES),
        ("c.json", "\n\n" + LINES.replace("\n", "\r\n\r\n")),
        ("c.jsonl", LIST),
        ("c.jsonl", json.dumps(RECORDS, indent=2)),
        ("c.jsonl", LINES.replace("\n", "\r\n\n")),
        ("c", LINES),
        ("c.json", json.dumps({"data": RECORDS, "version": "1"})),
        ("c.json", json.dumps({"type": "conversation", "instances": RECORDS})),
        ("c.json", json.dumps({"train": RECORDS, "test": []})),
        ("c.json", "\n".join(json.dumps(r, indent=2) for r in RECORDS)),
        ("c.jsonl", "\n\n".join(json.dumps(r, indent=2) for r in RECORDS)),
    ],
)
def test_the_ending_decides_only_where_the_text_does_not(tmp_path, name, text):
    (tmp_path / name).write_text(text, newline="")
    assert records(tmp_path / name) == RECORDS


def test_one_conversation_alone(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(RECORDS[0]))
    (tmp_path / "b.json").write_text(json.dumps(RECORDS[0]["messages"]))
    assert records(tmp_path / "a.json") == RECORDS[:1] and records(tmp_path / "b.json") == [
        RECORDS[0]["messages"]
    ]


def test_a_list_of_lists_of_turns(tmp_path):
    turns = [record["messages"] for record in RECORDS]
    (tmp_path / "c.json").write_text(json.dumps({"conversations": turns}))
    assert records(tmp_path / "c.json") == turns
    (tmp_path / "c.json").write_text(json.dumps({"conversations": turns[0]}))
    assert records(tmp_path / "c.json") == [{"conversations": turns[0]}]


def test_a_list_a_line(tmp_path):
    (tmp_path / "c.jsonl").write_text((json.dumps(RECORDS[0]["messages"]) + "\n") * 2)
    assert records(tmp_path / "c.jsonl") == [RECORDS[0]["messages"]] * 2


def test_lines_that_are_not_json_are_handed_on(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"a": 1},\n{"a": 1}\nNaN\n')
    broken, whole, number = records(tmp_path / "c.jsonl")
    assert isinstance(broken, BrokenLine) and whole == {"a": 1} and number != number


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("c.json", b'[{"a": 1},\n {"a": 2},\n]', r"(?s)not JSON.*correct line [23]; a comma after the last"),
        ("c.json", b'{"a": {"0": 1}}', "list of records"),
        ("c.json", b"3", "list of records"),
        ("c.jsonl", b'{"a": 1}\n{"b": "caf\xe9"}\n', r"(?s)not UTF-8 text.*line 2.*save it as UTF-8"),
        ("c.jsonl", b"\xff\xfe\x00", "not UTF-16 text"),
        ("c.jsonl.gz", b"\x1f\x8b\x08 cut", "cannot be read"),
    ],
)
def test_broken_files_are_errors_that_say_where(tmp_path, name, raw, message):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(CorpusError, match=message):
        records(tmp_path / name)


def test_numbers_and_nests_that_python_does_not_read_are_broken_lines(tmp_path):
    odd = ['{"id": ' + "9" * 5000 + "}", "[" * 100_000 + "]" * 100_000]
    for one in odd:
        (tmp_path / "c.jsonl").write_text(LINES + one + "\n")
        assert records(tmp_path / "c.jsonl") == [*RECORDS, BrokenLine(one)]
        (tmp_path / "c.json").write_text(f"[{one}]")
        with pytest.raises(CorpusError, match="not JSON"):
            records(tmp_path / "c.json")


@pytest.mark.parametrize("name", ["c.csv", "c.jsonl.zst", "c.arrow", "c.zip"])
def test_formats_that_are_not_read_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"prompt,completion\na,b\n")
    with pytest.raises(CorpusError, match=f"ending in {(tmp_path / name).suffix} are not supported"):
        records(tmp_path / name)


@pytest.mark.parametrize("name", ["c.jsonl", "c.parquet", "c.jsonl.gz", "c.txt"])
def test_a_pointer_in_place_of_the_file_is_called_so(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(CorpusError, match="Git LFS pointer"):
        records(tmp_path / name)


class Fake:
    """The package `datasets` with one data set of ten records."""

    def __init__(self, size):
        self.size, self.read, self.given = size, 0, {}

    def load_dataset(self, path, subset, **settings):
        self.given = {"path": path, "subset": subset, **settings}
        for i in range(10):
            self.read += 1
            yield {"prompt": f"Number {i}?", "completion": f"{i}.", "level": i % 2}

    def load_dataset_builder(self, path, subset, revision):
        splits = {"train": type("Split", (), {"num_examples": self.size})}
        return type("Builder", (), {"info": type("Info", (), {"splits": splits})})


@pytest.mark.parametrize(("size", "over"), [(10, 3), (None, None)])
def test_a_hub_data_set_is_streamed_to_its_limit_and_its_page_says_the_rest(monkeypatch, size, over):
    fake = Fake(size)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    revision = "c" * 40
    entry = CorpusFile(path="org/sums", subset="main", revision=revision, filter={"level": 0}, limit=4)
    read = read_corpus(entry)
    assert [c.messages[1].content for c in read.conversations] == ["0.", "2.", "4.", "6."]
    assert read.left == {"filtered out": 3, "over the limit": over} and fake.read == 7
    assert fake.given == {
        "path": "org/sums", "subset": "main", "split": "train", "revision": revision, "streaming": True,
    }  # fmt: skip
    place = Place("org/sums", revision=revision, kind="datasets")
    assert hub_size(place, "train", "main") == size and hub_size(place, "test", "main") is None
    assert read_corpus(entry.model_copy(update={"limit": 9})).left == {"filtered out": 5}


def test_a_sample_of_a_hub_data_set_reads_no_more_than_it_needs(monkeypatch):
    fake = Fake(10)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    read = read_corpus(CorpusFile(path="org/sums", revision="c" * 40, limit=8), sample=3)
    assert len(read.conversations) == 3 and fake.read == 3 and read.left == {}
