from itertools import islice

import pytest

from fusionchat.demo.corpus import training_text
from fusionchat.demo.domains import DOMAINS
from fusionchat.demo.models import CONTEXT, VOCABULARY, tokenizer_of
from fusionchat.demo.tokenizer import CHATML, INSTRUCT, OPENCHAT

CHAT = [
    {"role": "user", "content": "Hi there"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Bye"},
]
RENDERED = {
    "pivot": "<s>User: Hi there<|end_of_turn|>Assistant: Hello.<|end_of_turn|>User: Bye<|end_of_turn|>Assistant:",
    "mixtral": "<s>[INST] Hi there [/INST] Hello.</s>[INST] Bye [/INST]",
    "qwen": "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
    "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
}


@pytest.fixture(scope="module")
def tokenizers():
    return {name: tokenizer_of(name, 0, set()) for name in ("pivot", "mixtral", "qwen")}


@pytest.fixture(scope="module")
def records():
    return list(islice(training_text(0, "test", dict.fromkeys(DOMAINS, 1.0), set()), 400))


@pytest.mark.parametrize("name", RENDERED)
def test_templates(tokenizers, name):
    text = tokenizers[name].apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert text == RENDERED[name]
    assert tokenizers[name].chat_template == {"pivot": OPENCHAT, "mixtral": INSTRUCT, "qwen": CHATML}[name]


def test_vocabularies(tokenizers):
    assert tokenizers["pivot"].get_vocab() == tokenizers["mixtral"].get_vocab()
    assert len(tokenizers["pivot"]) == VOCABULARY["sentencepiece"]
    assert len(tokenizers["qwen"]) == VOCABULARY["bytelevel"]
    for tokenizer in tokenizers.values():
        assert tokenizer.eos_token_id != tokenizer.pad_token_id != tokenizer.unk_token_id


def test_training_is_deterministic(tokenizers):
    again = tokenizer_of("qwen", 0, set())
    assert again.backend_tokenizer.to_str() == tokenizers["qwen"].backend_tokenizer.to_str()


@pytest.mark.parametrize("name", RENDERED)
@pytest.mark.parametrize(
    "text", ["café 🙂 日本\n\n  x", "Zoë's naïve 200°", "def f(x):\n    return x ** 2", "12 34"]
)
def test_any_text_comes_back(tokenizers, name, text):
    tokenizer = tokenizers[name]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids


def test_conversations_are_short(tokenizers, records):
    for tokenizer in tokenizers.values():
        lengths = [len(tokenizer.apply_chat_template(r.chat(), tokenize=True)["input_ids"]) for r in records]
        assert max(lengths) <= CONTEXT and sum(lengths) / len(lengths) < 90


def test_byte_fallback_is_used(tokenizers):
    pieces = tokenizers["pivot"].tokenize("a\n日")
    assert pieces == ["▁a", "<0x0A>", "<0xE6>", "<0x97>", "<0xA5>"]
