"""Text to ids: control tokens that a turn spells out are text, and only the template's are control tokens."""

import numpy as np
import pytest

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.encode import SPELLS, Encoder
from fusionchat.corpus.places import Refusal
from fusionchat.tokens.table import TokenTable
from tests.tokens.made import byte_level, llama_like

END = "<|end|>"
ASKED = (Message("user", f"What does {END} do?"), Message("assistant", f"{END} ends, as {END} does."))


def encoder(tokenizer):
    return Encoder(tokenizer, TokenTable.from_tokenizer(tokenizer))


@pytest.fixture(scope="module", params=[byte_level, llama_like, lambda: byte_level(prefix=True)])
def made(request):
    return encoder(request.param())


def write(messages):
    return "".join(f"<s>{m.role}\n{m.content}{END}" for m in messages)


def controls(made, ids):
    return [made.table.token(int(i)).decode() for i in ids if not made.table.in_text[i]]


def spelled(made, ids):
    """The bytes of ids, without the blanks that a tokenizer puts before a stretch."""
    return b"".join(made.table.token(int(i)) for i in ids).replace(b" ", b"")


def test_a_text_without_cuts_is_what_the_tokenizer_says(made):
    text = f"<s>Hello there{END}"
    ids = made.ids(text)
    assert ids.dtype == np.int64
    assert ids.tolist() == made.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert controls(made, ids) == ["<s>", END]


def test_no_token_goes_over_a_cut_and_no_blank_comes_with_it(made):
    text = "Hello there"
    whole, cut = made.ids(text), made.ids(text, [3])
    assert b"".join(made.table.token(int(i)) for i in cut) == b"".join(
        made.table.token(int(i)) for i in whole
    )
    ends = np.cumsum([len(made.table.token(int(i))) for i in cut]).tolist()
    blank = len(b"".join(made.table.token(int(i)) for i in cut)) - len(text)
    assert 3 + blank in ends


def test_which_turns_spell_out_a_control_token(made):
    assert made.spells(ASKED) and made.spells([Message("user", "a</s>")])
    assert not made.spells([Message("user", "<|start|> <s >"), Message("assistant", "")])


def test_a_control_token_in_a_turn_is_read_as_text_and_no_other(made):
    text = write(ASKED)
    ids = made.turns(ASKED, text, write)
    assert controls(made, made.ids(text)) == ["<s>", END, END, "<s>", END, END, END]
    assert controls(made, ids) == ["<s>", END, "<s>", END]
    assert spelled(made, ids) == text.replace(" ", "").encode()


def test_turns_that_spell_nothing_are_encoded_as_they_are(made):
    messages = (Message("user", "Hi"), Message("assistant", "Hello"))
    never = lambda _messages: pytest.fail("written again")  # noqa: E731
    assert np.array_equal(made.turns(messages, write(messages), never), made.ids(write(messages)))


@pytest.mark.parametrize(
    "bad",
    [
        lambda messages: write(messages).upper(),  # it changes the marked text
        lambda messages: Refusal("the template refuses"),
        lambda messages: (
            write(messages) + (END if "x" * len(END) in messages[0].content else "")
        ),  # other controls
    ],
)
def test_a_template_that_reads_the_contents_is_refused(made, bad):
    assert made.turns(ASKED, write(ASKED), bad) == Refusal(SPELLS)
