"""Which questions a target is asked, and which of its answers are taken."""

import numpy as np
import pytest

from fusionchat.answer.settings import Sampling
from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.render import Renderer
from fusionchat.corpus.rendered_part import join
from fusionchat.stages import answer
from fusionchat.stages.answering import Draws
from fusionchat.stages.names import Trained
from tests.chat.tiny import make_tokenizer

TALKS = [
    Conversation(f"c{i}", (Message("user", f"ask {i}"), Message("assistant", f"old {i}")), "ab"[i % 2])
    for i in range(8)
]


def settings(**changes):
    own = {"share": 0.5, "max_tokens": 64} | changes
    return answer.Settings(
        of=Trained(base="a", weight=0.9, round=2),
        sources=(),
        draws=Draws(sampling=Sampling(), seed=3, dtype="float32"),
        **own,
    )


def test_a_share_of_the_questions_is_drawn_by_domain_and_what_asks_nothing_is_counted():
    chosen, questions, rejects = answer.drawn(settings(), TALKS)
    assert len(chosen) == 4 and [TALKS[i].domain for i in chosen].count("a") == 2 and not rejects
    assert [one.id for one in questions] == [TALKS[i].id for i in chosen]
    other = answer.drawn(settings().model_copy(update={"of": Trained(base="a", weight=0.9, round=3)}), TALKS)
    assert other[0] != chosen  # the next round draws others
    plain = [Conversation("n", (Message("assistant", "x"),)), *TALKS[:1]]
    chosen, questions, rejects = answer.drawn(settings(share=1), plain)
    assert chosen == [1] and rejects == [Reject("n", "asks nothing")]


@pytest.fixture
def rendered(monkeypatch):
    renderer = Renderer(make_tokenizer(), name="pivot")
    part = join([renderer.render(one) for one in TALKS])
    monkeypatch.setattr(answer, "renderer_of", lambda *_: (renderer, 40))
    monkeypatch.setattr(answer, "read_tokens", lambda *_: part)
    return renderer


class Folders:
    def folder(self, _):
        return None


def test_answers_that_models_can_take_are_put_in_place(rendered):
    def said(text, complete=True):
        return Conversation("c", (Message("user", "ask"), Message("assistant", text, complete=complete)))

    long = Conversation("c", (Message("user", "ask" * 40), Message("assistant", "x")))
    replies = {
        1: said("new"),
        2: Reject("c2", "an empty answer"),
        3: long,
        5: said("cut he", complete=False),
    }
    taken, rejects = answer.take(settings(), TALKS, replies, Folders())
    assert taken.own == [1, 5]
    assert [one.reason for one in rejects] == [
        "an empty answer",
        "no whole token of an answer fits the maximum length",
    ]
    assert [c.messages[-1].content for c in taken.conversations] == [
        "old 0", "new", "old 2", "old 3", "old 4", "cut he", "old 6", "old 7",
    ]  # fmt: skip
    whole, cut = (taken.rendered["pivot"][i] for i in (1, 5))
    assert whole.end[-1] == len("new") + 1 and cut.end[-1] == len("cut he")  # no end where it was cut
    assert np.array_equal(taken.rendered["pivot"][0].input_ids, rendered.render(TALKS[0]).input_ids)


def test_the_corpus_s_own_folder_has_no_own_answers(tmp_path):
    assert answer.own_answers(tmp_path) == set()
