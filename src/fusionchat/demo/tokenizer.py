"""The demo's two tokenizers, which are trained here, and the three chat templates.

``sentencepiece``: BPE with byte fallback, ``▁`` for spaces and a dummy prefix, with the layout of Llama's
tokenizer.json. ``bytelevel``: GPT-2's byte-level BPE, as Qwen's, of a different size.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

Kind = Literal["sentencepiece", "bytelevel"]

OPENCHAT = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'].title() + ': ' + m['content'] + '<|end_of_turn|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
INSTRUCT = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class ChatFormat:
    """How a model writes a dialogue: its template and the tokens with a role."""

    template: str
    bos: str | None
    eos: str
    pad: str


FORMATS = {
    "openchat": ChatFormat(OPENCHAT, "<s>", "<|end_of_turn|>", "<pad>"),
    "instruct": ChatFormat(INSTRUCT, "<s>", "</s>", "<pad>"),
    "chatml": ChatFormat(CHATML, None, "<|im_end|>", "<|endoftext|>"),
}
SPECIALS = {
    "sentencepiece": ("<unk>", "<s>", "</s>", "<pad>", "<|end_of_turn|>"),
    "bytelevel": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
}
HEADERS = ("User: ", "Assistant: ", "[INST] ", " [/INST] ", "user\n", "assistant\n")
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's pre-tokenizer pattern.

Words with the space or sign before them, single digits, signs, line ends.
"""
COMMON = 90
"""The number of characters in the SentencePiece-like vocabulary; rarer ones fall back to bytes."""


def train_tokenizer(kind: Kind, texts: Sequence[str], size: int) -> Tokenizer:
    """A tokenizer of the given kind with about ``size`` entries."""
    text = [*texts, *(HEADERS * (len(texts) // 8))]
    return _sentencepiece(text, size) if kind == "sentencepiece" else _bytelevel(text, size)


def _sentencepiece(texts: Iterable[str], size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    pieces = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    newline = pre_tokenizers.Split("\n", "removed")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([newline, pieces])
    specials = [*SPECIALS["sentencepiece"], *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, limit_alphabet=COMMON, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _plain_bytes(tokenizer)


def _plain_bytes(trained: Tokenizer) -> Tokenizer:
    """The trained vocabulary in Llama's layout, where byte pieces are ordinary entries, not added tokens."""
    vocabulary = trained.get_vocab()
    merges = _merges(trained)
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in SPECIALS["sentencepiece"]]
    )
    return tokenizer


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def _bytelevel(texts: Iterable[str], size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(WORDS),
                "isolated",
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIALS["bytelevel"]),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def chat_tokenizer(tokenizer: Tokenizer, chat: ChatFormat, context: int) -> PreTrainedTokenizerFast:
    """The tokenizer with its chat template, ready to be saved beside a model."""
    extra = {"bos_token": chat.bos} if chat.bos else {}
    unk = {"unk_token": "<unk>"} if tokenizer.token_to_id("<unk>") is not None else {}
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=chat.eos, pad_token=chat.pad, model_max_length=context,
        padding_side="left", clean_up_tokenization_spaces=False, **extra, **unk,
    )  # fmt: skip
    made.chat_template = chat.template
    return made
