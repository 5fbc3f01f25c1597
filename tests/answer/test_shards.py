"""Files of answers are read back as they were, and made one by one."""

from fusionchat.answer import shards as own
from fusionchat.answer.question import Reply, question_of
from fusionchat.corpus.conversation import Conversation, Message, Reject


def questions(count):
    return [question_of(Conversation(f"c{i}", (Message("user", f"ü{i}"),)), "last") for i in range(count)]


def test_every_question_is_in_one_file():
    assert [list(one) for one in own.shards(0)] == []
    ranges = own.shards(2 * own.SHARD + 3)
    assert [len(one) for one in ranges] == [own.SHARD, own.SHARD, 3]
    assert [i for one in ranges for i in one] == list(range(2 * own.SHARD + 3))


def test_a_file_holds_answers_and_rejects_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "SHARD", 2)
    seen = []

    def ask(asked):
        seen.extend(one.messages[-1].content for one in asked)
        return [
            Reply("", fault="no") if "3" in one.name else Reply("a\u2028b", cut="2" in one.name)
            for one in asked
        ]

    own.make_shard(tmp_path, 1, questions(5), ask)
    assert seen == ["ü2", "ü3"] and own.shard_path(tmp_path, 1).name == "answers-00001.jsonl"
    cut, none = own.read_shard(tmp_path, 1)
    assert cut.messages == (Message("user", "ü2"), Message("assistant", "a\u2028b", complete=False))
    assert none == Reject("c3", "no")
    assert [path.name for path in tmp_path.glob(own.FILES)] == ["answers-00001.jsonl"]


def test_work_on_names_the_missing_files_and_counts_what_is_made(tmp_path, monkeypatch):
    """Of five questions in files of two, the second file is there."""
    monkeypatch.setattr(own, "SHARD", 2)
    assert own.work_on(tmp_path, questions(5)) == ([0, 1, 2], 5, 0)
    own.shard_path(tmp_path, 1).touch()
    assert own.work_on(tmp_path, questions(5)) == ([0, 2], 5, 2)
