"""A loaded model's answers: the same alone and in a batch, ended and cut where they should be."""

import pytest

from fusionchat.answer.question import Asked
from fusionchat.answer.settings import Sampling
from fusionchat.answer.weights import NO_ROOM, REFUSED, Weights, stop_ids
from fusionchat.corpus.conversation import Message
from fusionchat.corpus.render import Renderer
from tests.answer.tiny import ending_model
from tests.chat.tiny import NO_SYSTEM, make_model, make_tokenizer


@pytest.fixture(scope="module")
def renderer():
    return Renderer(make_tokenizer())


@pytest.fixture(scope="module")
def model(renderer):
    return make_model(renderer.table.size, positions=96)


def asked(*texts):
    return [Asked(f"q{i}", (Message("user", text),)) for i, text in enumerate(texts)]


def ask(model, renderer, prompts, *, batch_tokens=4096, seed=0, **sampling):
    own = Weights(
        model, renderer, Sampling(**{"max_new_tokens": 8} | sampling), seed=seed, batch_tokens=batch_tokens,
        advance=lambda _: None,
    )  # fmt: skip
    return own(prompts)


def test_an_answer_is_the_same_alone_and_among_others(model, renderer):
    prompts = asked("hello there", "how are you today? the cat", "a")
    together = ask(model, renderer, prompts)
    assert together == ask(model, renderer, prompts, batch_tokens=1)
    assert together[1:2] == ask(model, renderer, prompts[1:2])
    assert len({reply.text for reply in together}) == 3


def test_another_seed_or_name_draws_another_answer_and_temperature_0_none(model, renderer):
    prompts = asked("hello there")
    first = ask(model, renderer, prompts)
    assert first != ask(model, renderer, prompts, seed=1)
    renamed = [replace_name(prompts[0], "other")]
    assert first != ask(model, renderer, renamed)
    assert ask(model, renderer, prompts, temperature=0) == ask(
        model, renderer, renamed, temperature=0, seed=1
    )


def replace_name(one, name):
    return one._replace(name=name)


def test_an_answer_ends_at_the_stop_token_or_is_cut(renderer):
    model, prompts = ending_model(renderer.table.size), asked(*(f"{'cat ' * i}?" for i in range(8)))
    short, long = (ask(model, renderer, prompts, max_new_tokens=most) for most in (4, 12))
    assert {reply.cut for reply in short} == {True, False}
    for first, more in zip(short, long, strict=True):
        assert "<|im_end|>" not in more.text
        assert more.text.startswith(first.text.rstrip("\ufffd")) if first.cut else more == first


def test_a_prompt_that_fills_the_context_or_that_the_template_refuses_has_no_answer(model):
    renderer = Renderer(make_tokenizer(NO_SYSTEM))
    long, system = asked("x" * 200), [Asked("s", (Message("system", "S"), Message("user", "a")))]
    found = ask(model, renderer, [*long, *system, *asked("a")])
    assert [reply.fault for reply in found] == [NO_ROOM, REFUSED, ""]


def test_stop_tokens_are_the_template_s_and_the_folder_s(model, renderer):
    assert stop_ids(model, renderer) == [1]
    model.generation_config.eos_token_id = [7, 1]
    assert stop_ids(model, renderer) == [1, 7]
    model.generation_config.eos_token_id = 1
