"""A model that knows some answers chooses them, each question by itself, whatever shares its batch."""

import json
from contextlib import nullcontext
from typing import ClassVar

import numpy as np
import pytest
import torch

from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.render import Rendered
from fusionchat.evaluate.choice.question import Exchange, Question
from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.scores import Items, Scores
from fusionchat.evaluate.tasks import choice
from fusionchat.evaluate.tasks.base import PartSize, Subject
from fusionchat.evaluate.tasks.choice import ChoiceTask, HeldOutTask, choice_metric, choose, of_ids
from tests.evaluate.tasks.toys import KNOWN, Template

ASKED = [
    Question(c.id, c.messages[:1], "= ", ("2", "22", "3", "600"), place, "sums")
    for place, c in enumerate(KNOWN)
]


class Renders(Template):
    """`Template` with one supervised token a byte of the last turn."""

    def render(self, conversation):
        *before, last = conversation.messages
        if "~" in last.content:
            return Reject(conversation.id, "no such letter")
        prompt = self.prompt_ids(before)
        ids = prompt + [ord(c) - 28 for c in last.content]
        rows = np.arange(len(prompt), len(ids))
        begin = rows - len(prompt)
        return Rendered(np.array(ids), rows, np.full(len(rows), len(before)), begin, begin + 1)


class Sums(ChoiceTask):
    name: ClassVar[str] = "sums"
    metrics: ClassVar[tuple[Metric, ...]] = (choice_metric("sums", "right sum", "Percent of sums"),)
    wrong: int = 0

    def questions(self, subject):
        odd = Question("odd", KNOWN[0].messages[:1], "= ", ("2", "~"), 0)
        return [*ASKED, odd, ASKED[0]._replace(id="w", right=2, domain="")], self.wrong


def silent(*_):
    return nullcontext(lambda _: None)


def subject(model, batch_tokens: int = 100, conversations=()) -> Subject:
    return Subject(model, Renders(), conversations, [], "cpu", batch_tokens)


@pytest.mark.parametrize("batch_tokens", [1, 60, 1000])
def test_a_model_chooses_what_it_knows_in_batches_of_any_size(taught, batch_tokens):
    asked, found, rejects = choose(subject(taught, batch_tokens), ASKED, silent)
    assert asked == ASKED and rejects == {}
    assert [one.best for one in found] == [[0], [1], [2], [3]]
    assert [one.sizes for one in found] == [(1, 2, 1, 3)] * 4


def test_only_the_bytes_of_an_option_are_scored(taught):
    """The same options with nothing given cost what "= " costs more."""
    whole = [q._replace(given="", options=tuple("= " + o for o in q.options)) for q in ASKED]
    _, found, _ = choose(subject(taught), ASKED, silent)
    _, more, _ = choose(subject(taught), whole, silent)
    for one, other in zip(found, more, strict=True):
        given = np.array(other.bits) - np.array(one.bits)
        assert (given > 0).all() and given == pytest.approx(given[0], rel=1e-4)


def test_bits_are_those_of_the_option_s_tokens_alone(taught):
    ids = Renders().prompt_ids(KNOWN[1].messages[:1]) + [ord(c) - 28 for c in "= 22"]
    with torch.inference_mode():
        logprobs = taught(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    expected = -sum(float(logprobs[at - 1, ids[at]]) for at in (-2, -1)) / np.log(2)
    _, found, _ = choose(subject(taught), ASKED[1:2], silent)
    assert found[0].bits[1] == pytest.approx(expected, rel=1e-4)


def test_what_a_task_gives(taught):
    found = Sums(wrong=2).measure(subject(taught), silent)
    items = found.items["sums"]
    assert items.ids == (*(q.id for q in ASKED), "w") and items.domains == ("sums",) * 4 + ("",)
    assert items.values.tolist() == [1, 1, 1, 1, 0] and items.sizes.tolist() == [1] * 5
    lines = [json.loads(line) for line in found.files["sums.jsonl"].decode().splitlines()]
    assert [(line["right"], line["chosen"]) for line in lines] == [(0, 0), (1, 1), (2, 2), (3, 3), (2, 0)]
    assert lines[0]["options"] == ["2", "22", "3", "600"] and lines[0]["bytes"] == [1, 2, 1, 3]
    assert found.counts == {"sums_questions": 5, "sums_guessed": 1}  # 5 / 4 of them
    assert found.warnings == (
        "right sum: 1 of 8 questions left out: no such letter",
        f"right sum: 2 of 8 questions left out: {choice.FEW}",
    )


def test_an_option_that_is_longer_than_the_context_leaves_its_question_out(taught):
    long = ASKED[0]._replace(options=("2", "2" * 500))
    asked, found, rejects = choose(subject(taught), [long, ASKED[1]], silent)
    assert asked == [ASKED[1]] and len(found) == 1 and rejects == {choice.LONG: 1}


def test_no_question_is_no_item(taught):
    assert choose(subject(taught), [], silent) == ([], [], {})


def items(*ids: str, right: float = 1.0) -> Items:
    return Items(ids, ("d",) * len(ids), np.full(len(ids), right), np.ones(len(ids), np.int64))


def test_models_are_compared_over_the_questions_that_all_can_be_asked():
    scores = {
        "a": Scores(1, {"sums": items("x", "y", "z")}),
        "b": Scores(1, {"sums": items("y", "z", right=0)}),
    }
    found, note = Sums.comparable(scores)
    assert [one.items["sums"].ids for one in found] == [("y", "z"), ("y", "z")]
    assert [one.items["sums"].values.tolist() for one in found] == [[1, 1], [0, 0]]
    assert note == "Right sum covers the 2 of 3 questions that every model can be asked."
    same = {"a": scores["a"], "b": scores["a"]}
    assert Sums.comparable(same) == ([scores["a"]] * 2, "")


def test_a_metric_without_a_common_question_is_left_out():
    scores = {"a": Scores(1, {"sums": items("x")}), "b": Scores(1, {"sums": items("y"), "o": items("x")})}
    found, note = Sums.comparable(scores)
    assert [sorted(one.items) for one in found] == [[], ["o"]] and "the 0 of 1 question " in note


def test_items_are_taken_by_their_ids():
    assert of_ids(items("x", "y", "z"), {"z", "x"}).ids == ("x", "z")


def test_the_reader_is_told_what_guessing_reaches():
    counts = {"a": {"sums_questions": 10, "sums_guessed": 2}, "b": {"sums_questions": 10, "sums_guessed": 3}}
    assert Sums.remark(counts) == "Right sum: guessing gets 25 % right."
    assert Sums.remark({"a": {}}) == ""


class Ends(HeldOutTask):
    name: ClassVar[str] = "ends"
    metrics: ClassVar[tuple[Metric, ...]] = (choice_metric("ends", "right end", "Percent"),)

    def question(self, one: Exchange):
        return None if one.answer.startswith("?") else ("= ", "\n", one.answer)


def talks(*answers: str, domain: str = "sums") -> list[Conversation]:
    return [Conversation(f"{domain}-{i}", (Message("user", f"q{i}"), Message("assistant", a)), domain)
            for i, a in enumerate(answers)]  # fmt: skip


def test_wrong_options_are_answers_of_other_dialogues_of_the_domain():
    held = [
        *talks(*"12345"),
        *talks(*"abcde", domain="letters"),
        Conversation("t", (Message("assistant", "x"),)),
    ]
    found, unmade = Ends().questions(subject(None, conversations=held))
    assert unmade == 0 and [q.id for q in found] == [c.id for c in held[:-1]]
    for question, talk in zip(found, held, strict=False):
        own = "12345" if question.domain == "sums" else "abcde"
        bare = [option[1:] for option in question.options]
        assert {option[0] for option in question.options} == {"\n"} and question.given == "= "
        assert len(set(bare)) == 4 and set(bare) < set(own) and question.messages == talk.messages[:1]
        assert bare[question.right] == talk.messages[1].content
    assert found == Ends().questions(subject(None, conversations=held))[0]
    other = Ends(seed=2).questions(subject(None, conversations=held))[0]
    assert [q.options for q in other] != [q.options for q in found]
    assert Ends().places(held) == list(range(10))


def test_questions_that_cannot_be_made_are_counted():
    held = [*talks("1", "2", "3", "4", "?"), *talks("a", "b", "c", domain="letters")]
    found, unmade = Ends().questions(subject(None, conversations=held))
    assert len(found) == 4 and unmade == 4  # one has no question, and three letters make no four options


def test_a_limit_draws_questions_of_every_domain_and_options_of_all_dialogues():
    held = [*talks(*"12345678"), *talks(*"abcdefgh", domain="letters")]
    found, unmade = Ends(limit=4).questions(subject(None, conversations=held))
    assert sorted(q.domain for q in found) == ["letters", "letters", "sums", "sums"] and unmade == 0
    whole = {q.id: q for q in Ends(limit=None).questions(subject(None, conversations=held))[0]}
    assert [whole[q.id] for q in found] == found


def test_each_option_is_a_pass():
    assert HeldOutTask(options=5, limit=2).tokens(PartSize(600.0, 6.0), {}) == 5 * 200
