"""Questions with options in a file of the user."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusionchat.corpus.conversation import Message, Role
from fusionchat.corpus.files import BrokenLine, read_records
from fusionchat.errors import CorpusError
from fusionchat.evaluate.choice.question import Question

FORM = '{"question": "...", "options": ["...", "..."], "answer": 0}'


class Turn(BaseModel):
    """A turn before the options."""

    model_config = ConfigDict(strict=True)

    role: Role
    content: str


class Record(BaseModel):
    """A record of the file; other keys are ignored."""

    model_config = ConfigDict(strict=True)

    question: str | None = None
    messages: list[Turn] | None = None
    options: list[str] = Field(min_length=2)
    answer: int | str
    domain: str = ""
    id: str | None = None


def read_questions(path: Path) -> list[Question]:
    """The questions of a file, in order.

    Raises:
        CorpusError: There are none, or a record is not a question.
    """
    records = enumerate(read_records(path, text=False, split="test", pattern=""), 1)
    questions = [read_question(record, f"{path}, record {number}", number) for number, record in records]
    ids = [question.id for question in questions]
    twice = next((id for id in ids if ids.count(id) > 1), None) if len(set(ids)) < len(ids) else None
    if twice is not None:
        raise CorpusError(f"Two questions have the id {twice!r}", where=str(path), do="rename one of them")
    if not questions:
        raise CorpusError("This file has no questions", where=str(path), do=f"give one per line: {FORM}")
    return questions


def read_question(record: object, where: str, number: int) -> Question:
    """A record as a question; raises CorpusError that says ``where``."""
    if isinstance(record, BrokenLine):
        raise CorpusError("This line is not JSON", where=where, do=f"give one question per line: {FORM}")
    try:
        read = Record.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the record"
        raise CorpusError(
            f"This record is not a question with options: {key}: {first['msg']}",
            where=where,
            do=f"give {FORM}",
        ) from error
    wrong = next(mistakes(read), "")
    if wrong:
        raise CorpusError(wrong, where=where, do=f"give {FORM}")
    turns = read.messages or [Turn(role="user", content=read.question or "")]
    return Question(
        read.id if read.id is not None else f"question-{number:06d}",
        tuple(Message(turn.role, turn.content) for turn in turns),
        "",
        tuple(option.strip() for option in read.options),
        place_of(read.answer, read.options) or 0,
        read.domain,
    )


def mistakes(read: Record) -> Iterator[str]:
    """What is wrong with a record whose keys have the right types."""
    bare = [option.strip() for option in read.options]
    if (read.question is None) == (read.messages is None):
        yield "A question has `question` or `messages`, one of them"
    elif read.messages is not None and (not read.messages or read.messages[-1].role != "user"):
        yield "`messages` ends with a user's turn: the options are the answer to it"
    if not all(bare):
        yield "An option is empty"
    if len(set(bare)) < len(bare):
        yield "Two options are the same"
    if place_of(read.answer, read.options) is None:
        yield f"`answer` is the right option's number, from 0 to {len(bare) - 1}, or its text; it is {read.answer!r}"


def place_of(answer: int | str, options: list[str]) -> int | None:
    """The place of the right option, given by its number or its text; None for no such option."""
    if isinstance(answer, str):
        bare = [option.strip() for option in options]
        return bare.index(answer.strip()) if answer.strip() in bare else None
    return answer if 0 <= answer < len(options) else None
