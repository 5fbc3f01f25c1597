from fusionchat.corpus.conversation import Conversation, Message, Reject

DIALOGUE = Conversation(
    "c",
    (
        Message("system", "Sé."),
        Message("user", "你好"),
        Message("assistant", "Hi 😀"),
        Message("user", "?"),
        Message("assistant", "wrong", train=False),
    ),
)


def test_bytes_are_those_of_utf8_and_only_supervised_turns_bear_loss():
    assert DIALOGUE.message_bytes == (4, 6, 7, 1, 5)
    assert [m.supervised for m in DIALOGUE.messages] == [False, False, True, False, False]
    assert DIALOGUE.supervised_bytes == 7


def test_a_reject_s_cause_names_its_model_and_its_example_the_detail():
    reject = Reject("c", "refused", "x" * 300, "qwen")
    assert reject.cause == "qwen: refused" and reject.example == "refused, e.g. " + "x" * 100
    assert Reject("c", "empty").cause == Reject("c", "empty").example == "empty"
