import pytest

from fusionchat.align.preview import preview, show, show_all
from fusionchat.align.settings import AlignSettings, Statistics
from fusionchat.corpus.conversation import Conversation, Message, Reject
from fusionchat.corpus.render import Renderer
from tests.corpus.templates import FOUR, TEMPLATES, tokenizer_for
from tests.tokens.made import llama_like

BAD = Conversation("bad", (Message("user", "x"), Message("assistant", "a ▁ b")))
LONG = Conversation("long", (Message("user", "x"), Message("assistant", "the dog " * 200)))


@pytest.fixture(scope="module")
def pair():
    plain = TEMPLATES["plain"]
    return Renderer(tokenizer_for(plain), template=plain, name="p"), Renderer(
        llama_like(), template=plain, name="s"
    )


@pytest.mark.parametrize("settings", [AlignSettings(), AlignSettings(vocabulary=Statistics())])
def test_a_preview_counts_what_alignment_will_do(pair, settings):
    seen = preview(*pair, [FOUR, BAD, LONG], settings, max_tokens=200)
    assert (seen.name, seen.conversations, seen.cut) == ("s", 3, 1)
    assert seen.reasons == {"s: the tokenizer changes the text": 1} and seen.rejects[0].id == "bad"
    assert seen.accepted == pytest.approx(2 / 3)
    assert seen.exact + seen.inside + seen.unaligned == pytest.approx(1)
    assert seen.unaligned == 0 and 0 < seen.shared_boundaries < 1
    assert sum(seen.coverage.used.values()) == pytest.approx(1) and seen.method == settings.vocabulary.method


def test_a_model_with_itself(pair):
    seen = preview(pair[0], pair[0], [FOUR], AlignSettings())
    assert (seen.exact, seen.shared_boundaries, seen.method, seen.cut) == (1.0, 1.0, "identity", 0)
    assert seen.pivot_tokens == seen.source_tokens > 0


def test_nothing_left_is_no_crash(pair):
    seen = preview(*pair, [BAD], AlignSettings())
    assert seen.accepted == 0 and seen.pivot_tokens == 0


def test_what_is_supervised_is_shown(pair):
    pieces = show(pair[0], FOUR)
    assert [p.text for p in pieces if p.supervised] == ["Hi there<|end|>", "I am\n\nan assistant.<|end|>"]
    assert pieces[0] == ("<s>user\nHello<|end|>\n<s>assistant\n", False)
    assert isinstance(show(pair[1], BAD), Reject)


def test_all_models_are_shown_what_they_will_see():
    template = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content | trim }}<|end|>\n{% endfor %}"
    trims = Renderer(tokenizer_for(template), template=template, name="trims")
    plain = Renderer(tokenizer_for(TEMPLATES["plain"]), template=TEMPLATES["plain"], name="plain")
    spaced = Conversation("c", (Message("user", "Hi"), Message("assistant", " spaced ")))
    shown = show_all({"plain": plain, "trims": trims}, spaced)
    assert [shown[name][1].text for name in shown] == ["spaced<|end|>"] * 2
