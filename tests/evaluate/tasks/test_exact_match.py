import json
from contextlib import nullcontext

import pytest

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.evaluate.tasks import exact_match as em
from fusionchat.evaluate.tasks.base import PartSize, Subject
from tests.evaluate.tasks.toys import KNOWN, Template
from tests.evaluate.test_greedy import llama


@pytest.mark.parametrize("batch_tokens", [1, 60, 1000])
def test_a_model_that_knows_some_answers_gets_those_right(taught, batch_tokens):
    unknown = Conversation("free", (Message("user", "HI"), Message("assistant", "YO")))
    wrong = Conversation("w", KNOWN[0].messages, answer="5")
    done: list[int] = []
    result = em.exact_match(
        taught,
        Template(),
        [unknown, *KNOWN, wrong],
        pattern=r"= (\S+)",
        max_new_tokens=12,
        device="cpu",
        batch_tokens=batch_tokens,
        progress=done.append,
    )
    assert result.asked.tolist() == [1, 2, 3, 4, 5]
    assert result.replies == ("= 2", "= 22", "= 3", "= 600", "= 2")
    assert result.extracted == ("2", "22", "3", "600", "2")
    assert result.correct.tolist() == [True, True, True, True, False]
    assert sum(done) == 5


@pytest.mark.parametrize("batch_tokens", [1, 16384])
def test_a_long_prompt_takes_nothing_from_its_neighbours(taught, batch_tokens):
    """A prompt of 62 of 64 tokens left its batch 2 tokens for every answer: " = 22" became " = "."""
    long = Conversation("long", (Message("user", "7" * 60), Message("assistant", "= 1")), answer="1")
    result = em.exact_match(taught, Template(), [*KNOWN, long], pattern=r"= (\S+)", max_new_tokens=12,
                            device="cpu", batch_tokens=batch_tokens, progress=lambda _: None)  # fmt: skip
    assert result.replies[:4] == ("= 2", "= 22", "= 3", "= 600")
    assert result.correct[:4].all() and len(result.replies[4]) <= 2


@pytest.mark.parametrize(
    ("opening", "tags", "correct", "unfinished"),
    [
        # The reply "= 22" is read as what the tags make of it; ":" stands in for what is after the model's words.
        ("", "{}", True, False),
        ("<think>\n", "{}", False, True),  # never closed: no answer
        ("", "<think>\n{}", False, True),
        ("<think>\n", "= 5\n</think>\n\n{}", True, False),
        ("<think>\n", "{}</think>", False, False),  # said in the thought only
        ("<think>\n", "{}</think>\n\n= 5", False, False),
        ("", "<think>\n= 5\n</think>\n\n{}", True, False),
        ("", "= 5\n</think>\n\n{}", True, False),
        ("[THINK]", "= 5[/THINK]{}", True, False),
    ],
)
def test_an_answer_is_compared_after_its_thought(taught, opening, tags, correct, unfinished):
    class Thinking(Template):
        def text(self, ids):
            return tags.format(super().text(ids))

    Thinking.opening = opening
    result = em.exact_match(taught, Thinking(), KNOWN[1:2], pattern=r"= (\S+)", max_new_tokens=12,
                            device="cpu", batch_tokens=100, progress=lambda _: None)  # fmt: skip
    assert (result.correct.tolist(), result.unfinished.tolist()) == ([correct], [unfinished])
    assert result.replies == (tags.format("= 22"),)


def test_no_checkable_conversation_gives_no_rows():
    result = em.exact_match(
        llama(),
        Template(),
        [Conversation("a", (Message("user", "A"), Message("assistant", "B")))],
        pattern="(.*)",
        max_new_tokens=4,
        device="cpu",
        batch_tokens=10,
        progress=lambda _: None,
    )
    assert result.asked.size == 0 and result.correct.size == 0 and result.replies == ()


def test_the_question_ends_with_the_last_user_turn():
    messages = tuple(Message(r, r) for r in ("system", "user", "assistant", "user", "assistant"))
    assert em.question(Conversation("x", messages, answer="1")) == messages[:4]


@pytest.mark.parametrize(
    ("reply", "pattern", "found"),
    [
        ("so 3 + 4 = 7, and 7 * 2 = 14", r"= (\d+)", "14"),
        ("the answer is 5", r"\d+", "5"),
        ("no number", r"\d+", None),
        ("  two\n words ", r"(?s)(.*)", "two words"),
        ("#### 1  000\nthanks", r"(?m)^#### (.+)$", "1 000"),
        ("x=1 y", r"x=(\d)|y", "1"),
        ("", r"(?s)(.*)", None),
    ],
)
def test_extract_takes_the_last_match(reply, pattern, found):
    assert em.extract(reply, pattern) == found


def test_whitespace_does_not_count_but_everything_else_does():
    assert em.same("a b", " a\n b ")
    assert not em.same("a b", "ab") and not em.same(None, "a") and not em.same("A", "a")


@pytest.mark.parametrize(("limit", "places"), [(None, [1, 2, 3, 4, 5]), (2, [1, 2])])
def test_the_task_measures_the_first_conversations_that_have_an_answer(taught, limit, places):
    unknown = Conversation("free", (Message("user", "HI"), Message("assistant", "YO")))
    talks = [unknown, *KNOWN, Conversation("w", KNOWN[0].messages, answer="5", domain="sums")]
    task = em.ExactMatchSettings(answer_pattern=r"= (\S+)", max_new_tokens=12, limit=limit)
    assert task.places(talks) == places
    subject = Subject(taught, Template(), talks, [], "cpu", 100)
    found = task.measure(subject, lambda *_: nullcontext(lambda _: None))
    items = found.items["exact_match"]
    assert items.ids == tuple(talks[i].id for i in places)
    assert items.values.tolist() == [1, 1, 1, 1, 0][: len(places)]
    replies = [json.loads(line) for line in found.files["replies.jsonl"].decode().splitlines()]
    assert [line["reply"] for line in replies] == ["= 2", "= 22", "= 3", "= 600", "= 2"][: len(places)]
    assert [line["correct"] for line in replies] == [bool(value) for value in items.values]


def test_replies_cost_at_most_their_room():
    task = em.ExactMatchSettings(max_new_tokens=10, limit=3)
    assert task.tokens(PartSize(600.0, 6.0), {}) == 300 + 3 * 10
