from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.evaluate.choice.question import Exchange, Question, exchange

ASKED, SAID = Message("user", "1+1?"), Message("assistant", " 2.\n")


def test_only_the_turn_of_the_option_is_scored_and_its_end_is_not():
    context = (ASKED, SAID, Message("user", "Why?"))
    found = Question("q", context, "Because ", ("it is", "so"), 0, "math").conversation(1)
    assert (found.id, found.domain) == ("q/1", "math")
    assert [(m.role, m.content, m.train) for m in found.messages] == [
        ("user", "1+1?", False),
        ("assistant", " 2.\n", False),
        ("user", "Why?", False),
        ("assistant", "Because so", True),
    ]
    assert found.supervised_bytes == len("Because so") and not found.messages[-1].complete


def test_an_exchange_is_the_last_answer_and_the_turns_before_it():
    first, last = (ASKED, SAID), (Message("user", "Why?"), Message("assistant", "So it is."))
    found = exchange(Conversation("c", (*first, *last), "math"))
    assert found == Exchange("c", (*first, last[0]), "So it is.", "math")
    assert exchange(Conversation("c", first)).answer == "2."


def test_dialogues_without_a_last_answer_make_no_question():
    none = [
        (SAID,),
        (ASKED, SAID, ASKED),
        (ASKED, Message("assistant", " \n")),
        (ASKED, Message("assistant", "2", train=False)),
        (Message("system", "Be brief."), SAID),
    ]
    assert [exchange(Conversation("c", turns)) for turns in none] == [None] * len(none)
    one = exchange(Conversation("5", (ASKED, SAID)))
    assert one is not None and one.id == "5"
