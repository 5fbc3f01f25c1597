"""Answers in files of some questions each; an existing file is complete and not asked again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fusionchat.answer.question import Ask, Question, answer_all
from fusionchat.artifacts import write_text
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.read import from_record, to_record

SHARD = 128
"""Questions of a file.

Batches are formed within a file, so that it is the same whenever and wherever it is made.
"""
FILES = "answers-*.jsonl"


def shards(count: int) -> list[range]:
    """The questions of each file."""
    return [range(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]


def shard_path(folder: Path, index: int) -> Path:
    """The path of a file of answers."""
    return folder / FILES.replace("*", f"{index:05d}")


class Work(NamedTuple):
    """How far the answering of some questions is.

    Attributes:
        missing: Indices of the shards without a file.
        asks: Answers of all questions.
        made: Those of them in existing files.
    """

    missing: list[int]
    asks: int
    made: int


def work_on(folder: Path, questions: Sequence[Question]) -> Work:
    """What is left to answer in a folder."""
    counts = [sum(len(questions[i].asks) for i in members) for members in shards(len(questions))]
    missing = [index for index in range(len(counts)) if not shard_path(folder, index).is_file()]
    return Work(missing, sum(counts), sum(counts) - sum(counts[index] for index in missing))


def make_shard(folder: Path, index: int, questions: Sequence[Question], ask: Ask) -> None:
    """Ask the questions of one file and write the results."""
    members = shards(len(questions))[index]
    found = answer_all(questions[members.start : members.stop], ask)
    lines = [
        {"reject": one._asdict()} if isinstance(one, Reject) else {"answer": to_record(one)} for one in found
    ]
    write_text(
        shard_path(folder, index), "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    )


def read_shard(folder: Path, index: int) -> list[Conversation | Reject]:
    """The conversations or rejects of the questions of one file."""
    lines = shard_path(folder, index).read_text(encoding="utf-8").split("\n")
    held = [json.loads(line) for line in lines if line]
    return [Reject(**one["reject"]) if "reject" in one else from_record(one["answer"]) for one in held]
