"""Near-duplicates of held-out conversations."""

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.overlap import near_duplicates


def talk(text):
    return Conversation("x", (Message("user", "q"), Message("assistant", text)))


def test_copies_and_near_copies_are_found_and_others_kept():
    words = [f"w{i}" for i in range(40)]
    held = [talk(" ".join(words)), talk("Short answer.")]
    near = talk(" ".join([*words[:30], "other", "end"]))
    far = talk(" ".join([*words[:12], *(f"v{i}" for i in range(30))]))
    flags = near_duplicates(
        [talk(" ".join(words).upper()), near, far, talk("short  answer."), talk("No.")], held
    )
    assert flags == [True, True, False, True, False]


def test_a_short_answer_to_another_question_is_no_copy():
    def yes(question):
        return Conversation("x", (Message("user", question), Message("assistant", "Yes.")))

    held = [yes("Is water wet?")]
    assert near_duplicates([yes("Is 7 prime?"), yes("is  water wet?")], held) == [False, True]
