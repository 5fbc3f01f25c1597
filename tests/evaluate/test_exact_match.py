import numpy as np
import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.errors import ModelError
from fusionchat.evaluate import exact_match as em

STOP = 3


class Letters:
    """A tokenizer of code points 32..95 with 4 control tokens in front."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str:
        return "".join(chr(i + 28) for i in token_ids if i > STOP or not skip_special_tokens)


class Template:
    """``<1> content`` for a user, ``<2> content <3>`` for an assistant, ``<2>`` to ask for an answer."""

    stop_ids = (STOP,)

    def prompt_ids(self, messages):
        ids = []
        for m in messages:
            text = [ord(c) - 28 for c in m.content]
            ids += [1, *text] if m.role == "user" else [2, *text, STOP]
        return [*ids, 2]


def llama(**more) -> LlamaForCausalLM:
    torch.manual_seed(0)
    settings = {"vocab_size": 68, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    settings |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
    settings |= {"bos_token_id": None, "eos_token_id": None}
    return LlamaForCausalLM(LlamaConfig(**settings | more)).eval()


def gpt2(positions: int = 64) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": positions}
    return GPT2LMHeadModel(GPT2Config(vocab_size=68, bos_token_id=None, eos_token_id=None, **sizes)).eval()


def opt() -> OPTForCausalLM:
    """Learned positions that come from the attention mask."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {
        "word_embed_proj_dim": 16,
        "max_position_embeddings": 64,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return OPTForCausalLM(OPTConfig(vocab_size=68, **sizes)).eval()


def bloom() -> BloomForCausalLM:
    """No positions at all, and no limit."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "n_layer": 1, "n_head": 2, "bos_token_id": None, "eos_token_id": None}
    return BloomForCausalLM(BloomConfig(vocab_size=68, **sizes)).eval()


def phi3() -> Phi3ForCausalLM:
    """Other frequencies past 32 tokens."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"max_position_embeddings": 64, "original_max_position_embeddings": 32, "num_key_value_heads": 2}
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [9.0] * 8}
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    return Phi3ForCausalLM(Phi3Config(vocab_size=68, rope_parameters=rope, **sizes, **ids)).eval()


def talk(text: str, answer: str | None) -> Conversation:
    messages = (Message("user", text), Message("assistant", f"= {answer}"))
    return Conversation(id=text, messages=messages, answer=answer)


def teach(model, conversations: list[Conversation], steps: int = 200) -> None:
    """Overfit the model on a few question and answer pairs."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rows = []
    for c in conversations:
        prompt = Template().prompt_ids(c.messages[:1])
        answer = [ord(x) - 28 for x in c.messages[1].content] + [STOP]
        rows.append((prompt + answer, [-100] * len(prompt) + answer))
    length = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([i + [0] * (length - len(i)) for i, _ in rows])
    labels = torch.tensor([y + [-100] * (length - len(y)) for _, y in rows])
    model.train()
    for _ in range(steps):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.01:
            break
    model.eval()


KNOWN = [talk("1+1", "2"), talk("7+15", "22"), talk("3", "3"), talk("100+200+300", "600")]


@pytest.fixture(scope="module")
def taught() -> LlamaForCausalLM:
    model, threads = llama(), torch.get_num_threads()
    torch.set_num_threads(1)  # far faster for a model as small as this
    teach(model, KNOWN)
    torch.set_num_threads(threads)
    return model


@pytest.mark.parametrize("batch_tokens", [1, 60, 1000])
def test_a_model_that_knows_some_answers_gets_those_right(taught, batch_tokens):
    unknown = Conversation("free", (Message("user", "HI"), Message("assistant", "YO")))
    wrong = Conversation("w", KNOWN[0].messages, answer="5")
    done: list[int] = []
    result = em.exact_match(
        taught,
        Letters(),
        Template(),
        [unknown, *KNOWN, wrong],
        pattern=r"= (\S+)",
        max_new_tokens=12,
        device="cpu",
        batch_tokens=batch_tokens,
        progress=done.append,
    )
    assert result.asked.tolist() == [1, 2, 3, 4, 5]
    assert result.replies == ("= 2", "= 22", "= 3", "= 600", "= 2")
    assert result.extracted == ("2", "22", "3", "600", "2")
    assert result.correct.tolist() == [True, True, True, True, False]
    assert sum(done) == 5


def test_greedy_decoding_ignores_what_the_model_s_folder_says():
    model = llama()
    prompts = [[1, 40, 2], [1, 50, 51, 52, 2]]
    settings = {"stop_ids": (STOP,), "max_new_tokens": 10, "batch_tokens": 99, "progress": lambda _: None}
    plain = generate(model, prompts, **settings)
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, eos_token_id=50)
    assert generate(model, prompts, **settings) == plain


@pytest.mark.parametrize("make", [llama, gpt2])
def test_left_padding_does_not_change_a_greedy_answer(make):
    model = make()
    prompts = [[1, *range(30, 30 + n), 2] for n in (1, 9, 4, 20)]
    settings = {"stop_ids": (STOP,), "max_new_tokens": 8, "progress": lambda _: None}
    alone = generate(model, prompts, batch_tokens=1, **settings)
    assert generate(model, prompts, batch_tokens=10_000, **settings) == alone


def test_a_short_context_cuts_the_answer_instead_of_failing():
    model = gpt2(positions=16)
    prompts = [[5] * 13, [6] * 16, [7] * 4]
    settings = {"stop_ids": (STOP,), "max_new_tokens": 6, "batch_tokens": 1, "progress": lambda _: None}
    assert [len(a) for a in generate(model, prompts, **settings)] == [3, 0, 6]
    assert em.context_window(model) == 16


def generate(model, prompts, **settings):
    return em.generate(model, prompts, names=[f"talk-{i}" for i in range(len(prompts))], **settings)


PLACES = {"llama": llama, "gpt2": gpt2, "opt": opt, "alibi": bloom, "longrope": phi3}


@pytest.mark.parametrize("name", PLACES)
def test_an_answer_depends_on_its_own_prompt_alone(name):
    """Prompts of every length up to and past the window of 64, one a batch and all in one: the same answers.

    Each has the room that its own prompt leaves: 8 tokens, fewer in the last 8 places, none from 64 on.
    """
    model = PLACES[name]()
    with torch.no_grad():  # sharp, so that a wrong position shows in the answer
        for weight in model.parameters():
            weight.mul_(6) if weight.ndim > 1 else None
    lengths = [64, 1, 30, 63, 57, 56, 62, 5, 70, 60, 60]
    rng = np.random.default_rng(0)
    prompts = [rng.integers(4, 68, n).tolist() for n in lengths]
    settings = {"stop_ids": (), "max_new_tokens": 8, "progress": lambda _: None}
    alone = generate(model, prompts, batch_tokens=1, **settings)
    window = em.context_window(model)
    rooms = [8 if window is None else max(0, min(8, window - n)) for n in lengths]
    assert [len(answer) for answer in alone] == rooms
    assert window is None or rooms == [0, 8, 8, 1, 7, 8, 2, 8, 0, 4, 4]
    for batch_tokens in (150, 300, 100_000):
        assert generate(model, prompts, batch_tokens=batch_tokens, **settings) == alone


@pytest.mark.parametrize("batch_tokens", [1, 16384])
def test_a_long_prompt_takes_nothing_from_its_neighbours(taught, batch_tokens):
    """A prompt of 62 of 64 tokens left its batch 2 tokens for every answer: " = 22" became " = "."""
    long = Conversation("long", (Message("user", "7" * 60), Message("assistant", "= 1")), answer="1")
    result = em.exact_match(taught, Letters(), Template(), [*KNOWN, long], pattern=r"= (\S+)", max_new_tokens=12,
                            device="cpu", batch_tokens=batch_tokens, progress=lambda _: None)  # fmt: skip
    assert result.replies[:4] == ("= 2", "= 22", "= 3", "= 600")
    assert result.correct[:4].all() and len(result.replies[4]) <= 2


def test_progress_counts_prompts_without_room():
    done: list[int] = []
    generate(
        gpt2(16), [[5] * 16, [5] * 3], stop_ids=(), max_new_tokens=2, batch_tokens=9, progress=done.append
    )
    assert sum(done) == 2


def test_no_checkable_conversation_gives_no_rows():
    result = em.exact_match(
        llama(),
        Letters(),
        Template(),
        [Conversation("a", (Message("user", "A"), Message("assistant", "B")))],
        pattern="(.*)",
        max_new_tokens=4,
        device="cpu",
        batch_tokens=10,
        progress=lambda _: None,
    )
    assert result.asked.size == 0 and result.correct.size == 0 and result.replies == ()


def test_the_question_ends_with_the_last_user_turn():
    messages = tuple(Message(r, r) for r in ("system", "user", "assistant", "user", "assistant"))
    assert em.question(Conversation("x", messages, answer="1")) == messages[:4]


@pytest.mark.parametrize(
    ("reply", "pattern", "found"),
    [
        ("so 3 + 4 = 7, and 7 * 2 = 14", r"= (\d+)", "14"),
        ("the answer is 5", r"\d+", "5"),
        ("no number", r"\d+", None),
        ("  two\n words ", r"(?s)(.*)", "two words"),
        ("#### 1  000\nthanks", r"(?m)^#### (.+)$", "1 000"),
        ("x=1 y", r"x=(\d)|y", "1"),
        ("", r"(?s)(.*)", None),
    ],
)
def test_extract_takes_the_last_match(reply, pattern, found):
    assert em.extract(reply, pattern) == found


def test_whitespace_does_not_count_but_everything_else_does():
    assert em.same("a b", " a\n b ")
    assert not em.same("a b", "ab") and not em.same(None, "a") and not em.same("A", "a")


def test_until_stop_leaves_the_stop_token_out():
    assert em.until_stop([5, 6, 3, 7], {3}) == [5, 6]
    assert em.until_stop([5, 6], {3}) == [5, 6]
    assert np.array(em.until_stop([3], {3})).size == 0


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("batch_tokens", [1, 1000])
def test_a_model_that_breaks_while_it_answers_is_an_error_that_names_the_conversation(value, batch_tokens):
    """Token 60's embedding is broken; only the second prompt has it."""
    model = llama(tie_word_embeddings=False)
    model.model.embed_tokens.weight.data[60] = float(value)
    settings = {"stop_ids": (), "max_new_tokens": 3, "batch_tokens": batch_tokens, "progress": lambda _: None}
    with pytest.raises(ModelError, match="while it answers") as caught:
        generate(model, [[5, 6], [5, 60], [5, 7, 8]], **settings)
    assert caught.value.where == "conversation talk-1"


def test_a_masked_vocabulary_is_no_error():
    model = llama()
    head = model.lm_head.forward
    model.lm_head.forward = lambda hidden: head(hidden).index_fill(-1, torch.tensor([4, 9]), -torch.inf)
    settings = {"stop_ids": (), "max_new_tokens": 3, "batch_tokens": 99, "progress": lambda _: None}
    assert len(generate(model, [[5, 6]], **settings)[0]) == 3
