from fusionchat.corpus.conversation import Message
from fusionchat.evaluate.choice.question import Exchange
from fusionchat.evaluate.tasks.continuation import Continuation

CODE = Exchange("c", (Message("user", "?"),), "def f(a):\n    b = a + 1\n    return b * 2", "code")


def test_the_first_lines_are_given_and_the_option_is_how_the_rest_begins():
    assert Continuation().question(CODE) == ("def f(a):\n    b = a + 1", "\n    ", "return b * 2")
    assert Continuation(max_bytes=8).question(CODE)[2] == "return b"
    assert Continuation(given=0.2).question(CODE) == ("def f(a):", "\n    ", "b = a + 1\n    return b *")


def test_one_word_has_no_continuation():
    assert Continuation().question(CODE._replace(answer="Yes.")) is None
