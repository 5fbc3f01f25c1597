"""What is asked of a dialogue, and the dialogues that come of the answers."""

from fusionchat.answer.question import Reply, answer_all, question_of
from fusionchat.corpus.conversation import Conversation, Message, Reject

SYSTEM, A, B = Message("system", "S"), Message("user", "a"), Message("user", "b")
OLD = Message("assistant", "old")
TALK = Conversation("t", (SYSTEM, A, OLD, B, OLD), "d", "42")


def echo(asked):
    """Answers with the last two texts."""
    return [Reply("+".join(m.content for m in one.messages[-2:])) for one in asked]


def test_the_last_question_keeps_the_dialogue_before_it_which_bears_no_loss():
    question = question_of(TALK, "last")
    assert question.asks == (B,) and [m.train for m in question.before] == [True, True, False]
    (made,) = answer_all([question], echo)
    assert made.messages == (
        SYSTEM,
        A,
        Message("assistant", "old", train=False),
        B,
        Message("assistant", "old+b"),
    )
    assert (made.id, made.domain, made.answer) == ("t", "d", "42")


def test_each_question_follows_the_model_s_own_answers():
    (made,) = answer_all([question_of(TALK, "each")], echo)
    assert [m.content for m in made.messages] == ["S", "a", "S+a", "b", "S+a+b"]
    assert all(m.train for m in made.messages)


def test_dialogues_of_any_length_are_asked_side_by_side_under_names_of_their_own():
    seen = []

    def ask(asked):
        seen.append([one.name for one in asked])
        return echo(asked)

    answer_all([question_of(TALK, "each"), question_of(Conversation("u", (A,)), "each")], ask)
    assert seen == [["t\n0", "u\n0"], ["t\n1"]]


def test_a_dialogue_ends_where_an_answer_is_cut_and_its_checkable_answer_goes():
    (made,) = answer_all([question_of(TALK, "each")], lambda asked: [Reply("x", cut=True) for _ in asked])
    assert made.messages == (SYSTEM, A, Message("assistant", "x", complete=False)) and made.answer is None


def test_an_empty_answer_or_a_fault_leaves_what_was_answered_before():
    def ask(asked):
        return [Reply("fine") if one.name == "t\n0" else Reply(" \n") for one in asked]

    made, none = answer_all([question_of(TALK, "each"), question_of(Conversation("u", (A,)), "last")], ask)
    assert [m.content for m in made.messages] == ["S", "a", "fine"] and made.answer is None
    assert none == Reject("u", "an empty answer")
    (refused,) = answer_all([question_of(TALK, "last")], lambda asked: [Reply(fault="too long")])
    assert refused == Reject("t", "too long")


def test_what_asks_nothing_is_a_reject():
    assert question_of(Conversation("n", (OLD,)), "last") == Reject("n", "asks nothing")
    assert answer_all([], echo) == []
