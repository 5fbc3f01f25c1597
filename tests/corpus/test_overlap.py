"""What conversations share with a held-out part, in either direction."""

import pytest

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.overlap import QUESTION, TEXT, Index, exchanges

STORY = " ".join(f"w{i}" for i in range(40))
OTHER = " ".join(f"v{i}" for i in range(40))
LONG_QUESTION = "How many apples are in seven boxes of twelve apples each?"


def talk(*texts, system=None):
    """A conversation of a question, its answer, a question ..."""
    turns = [Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]
    return Conversation("x", (*([Message("system", system)] if system else []), *turns))


def found(conversations, held, more=()):
    """What each conversation shares with the held-out ones."""
    talks, held = [exchanges(c) for c in conversations], [exchanges(c) for c in held]
    index = Index(held, [*talks, *held, *(exchanges(c) for c in more)])
    return [index.shares(t) for t in talks]


def test_copies_and_near_copies_are_found_and_others_kept():
    words = STORY.split()
    held = [talk("q", STORY), talk("q", "Short answer.")]
    near = talk("q", " ".join([*words[:30], "other", "end"]))
    far = talk("q", " ".join([*words[:12], *(f"u{i}" for i in range(30))]))
    given = [talk("q", STORY.upper()), near, far, talk("q", "short  answer."), talk("q", "No.")]
    assert found(given, held) == [TEXT, TEXT, None, TEXT, None]


@pytest.mark.parametrize(
    ("train", "held"),
    [
        # a held-out dialogue inside a longer training one, and the other way round
        (talk("a", "Aye sir.", "b", STORY, "c", OTHER), talk("b", STORY)),
        (talk("b", STORY), talk("a", "Aye sir.", "b", STORY, "c", OTHER)),
        (talk("What is the capital of Peru?", "Lima.", "Thanks", OTHER), talk("What is the capital of Peru?", "Lima.")),
        (talk("What is the capital of Peru?", "Lima."), talk("Hi", "Hello", "What is the capital of Peru?", "Lima.")),
        # a held-out dialogue of few words, all of which is in a longer one
        (talk("Hi", "Hello!", "a", OTHER), talk("hi", "hello")),
        # one exchange of each, all others different
        (talk("a", "b", "Is water wet, please?", "Yes, it is."), talk("c", "d", "Is water wet, please?", "Yes, it is.")),
        # a held-out answer inside a longer answer, and the other way round
        (talk("a", f"So: {OTHER} {STORY} end"), talk("b", STORY)),
        (talk("a", STORY), talk("b", f"So: {OTHER} {STORY} end")),
        # spread over turns
        (talk("a", " ".join(STORY.split()[:25]), "go on", " ".join(STORY.split()[15:])), talk("b", STORY)),
        # small things that are the same
        (talk("Hi", "Hello!"), talk("hi!", "hello")),
        (talk("Is Ｗater  wet？", "**Yes**"), talk("is water wet?", "Yes.")),
        (talk("3 + 4 = ?", "7", system="Calculate."), talk("3 + 4 = ?", "7", system="Be brief.")),
        # texts without spaces: Chinese, Japanese, Thai
        (talk("中国的首都是哪里？", "北京。", "谢谢", "不客气"),
         talk("中国的首都是哪里?", "北京")),
        (talk("a", "细胞理论是生物科学的一个理论，它认为所有生命体都是由微小的单元构成的。另外还有一点。"),
         talk("b", "细胞理论是生物科学的一个理论,它认为所有生命体都是由微小的单元构成的。")),
        (talk("日本の首都は？", "東京です。"), talk("日本の首都は", "東京です")),
        (talk("a", "สวัสดีครับผมชื่อสมชายอยู่กรุงเทพครับ " + OTHER),
         talk("b", "สวัสดีครับผมชื่อสมชายอยู่กรุงเทพครับ")),
        # plain text: no question
        (Conversation("x", (Message("assistant", f"{OTHER} {STORY}"),)), Conversation("y", (Message("assistant", STORY),))),
    ],
)  # fmt: skip
def test_shared_text_is_found_in_either_direction(train, held):
    assert found([train], [held]) == [TEXT] and found([held], [train]) == [TEXT]


@pytest.mark.parametrize(
    ("train", "held"),
    [
        (talk("Is 7 prime?", "Yes."), talk("Is water wet?", "Yes.")),  # a short answer to another question
        (
            talk("a", STORY, system="Be kind. " * 9),
            talk("b", OTHER, system="Be kind. " * 9),
        ),  # a system prompt
        (talk("Go on", STORY), talk("Go on", OTHER)),  # a short question
        (talk("Hi", "Hello!", "a", STORY), talk("Hi", "Hello!", "b", OTHER)),  # a greeting
        (talk("What is 3 + 4, then?", "7"), talk("What is 3 - 4, then?", "-1")),
        (talk("是吗？", "是的。"), talk("对吗？", "是的。")),
        (talk(f"Repeat: {STORY}", "No."), talk("Tell me a story", STORY)),  # a user's text is not trained on
    ],
)
def test_what_many_dialogues_have_is_no_evidence(train, held):
    assert found([train], [held]) == [None] and found([held], [train]) == [None]


def test_the_same_long_question_is_found_whatever_the_answer():
    assert found(
        [talk(LONG_QUESTION, "84"), talk("A box?", "84")], [talk(LONG_QUESTION.upper(), "I say 84.")]
    ) == [QUESTION, None]


def test_phrases_and_templates_of_many_conversations_do_not_count():
    refusal = "I'm sorry, but as an AI language model I cannot help you with that request."
    refusals = [talk(f"Can you do thing {i} for me?", refusal) for i in range(4)]
    assert found(refusals[:1], refusals[1:2]) == [TEXT]  # two are a copy
    assert found(refusals[:1], refusals[1:2], more=refusals[2:]) == [None]  # four are a phrase
    assert found(refusals[:1], refusals[:1], more=refusals) == [
        TEXT
    ]  # and a whole conversation is always a copy
    asked = [talk(LONG_QUESTION, f"Perhaps {i}.") for i in range(4)]
    assert found(asked[:1], asked[1:2], more=asked[2:]) == [None]
    hello = [talk("Hello there, how are you?", "I am fine!", f"q{i}", f"a{i}") for i in range(4)]
    assert found(hello[:1], hello[1:2]) == [TEXT] and found(hello[:1], hello[1:2], more=hello[2:]) == [None]


def test_nothing_held_out_shares_nothing():
    assert found([talk("a", STORY)], []) == [None]


def test_a_thought_is_compared_apart_from_its_answer():
    """The same short problem, answered after other thoughts, as sampled traces are; and a long answer after a longer thought."""
    thoughts = [" ".join(f"{c}{i}" for i in range(90)) for c in "xyz"]
    one, two, three = (f"<think>\n{t}\n</think>\n\n" for t in thoughts)
    given = [
        talk("12 - 3?", f"{one}It is 9, of course."),
        talk("a", one + STORY),
        talk("b", f"{three}No."),
        talk("c", two + OTHER),
    ]
    held = [talk("12 - 3?", f"{two}It is 9, of course."), talk("d", three + STORY)]
    assert found(given, held) == [TEXT, TEXT, TEXT, TEXT]
    assert found([talk("e", f"{one}No.")], [talk("f", f"{two}No.")]) == [None]
